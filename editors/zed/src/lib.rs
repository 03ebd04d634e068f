//! The extension that Zed loads: it asks Zed for the settings and for what is on the PATH, and
//! [`launch`] and [`settings`], which know nothing of Zed's process, decide.
//!
//! ```text
//! Zed opens a .py file  ->  language_server_command("infill")  ->  /usr/bin/infill lsp
//! ```
mod launch;
mod settings;

use zed_extension_api::settings::LspSettings;
use zed_extension_api::{self as zed, serde_json::Value, LanguageServerId, Result, Worktree};

struct Infill;

impl zed::Extension for Infill {
    fn new() -> Self {
        Infill
    }

    fn language_server_command(&mut self, id: &LanguageServerId, worktree: &Worktree) -> Result<zed::Command> {
        let binary = read(id, worktree)?.binary;
        launch::command(binary, || worktree.which(launch::PROGRAM))
    }

    fn language_server_initialization_options(&mut self, id: &LanguageServerId, worktree: &Worktree) -> Result<Option<Value>> {
        Ok(Some(settings::section(read(id, worktree)?)))
    }

    fn language_server_workspace_configuration(&mut self, id: &LanguageServerId, worktree: &Worktree) -> Result<Option<Value>> {
        Ok(Some(settings::workspace(read(id, worktree)?)))
    }
}

/// What the user wrote under `lsp.infill`.
fn read(id: &LanguageServerId, worktree: &Worktree) -> Result<LspSettings> {
    LspSettings::for_worktree(id.as_ref(), worktree).map_err(|error| {
        format!(
            "infill: \"lsp.{id}\" in Zed's settings cannot be read ({error}). Correct it, then run \"editor: restart language server\"."
        )
    })
}

zed::register_extension!(Infill);
