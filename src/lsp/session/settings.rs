//! Settings as the editor sends them.
//!
//! ```text
//! {"infill": {"completion": {"lines": "one"}}}    over the layers of the program's start; what is wrong changes nothing
//! ```
use super::Session;
use crate::config::{self, Layer};
use serde_json::Value;
use std::sync::Arc;
use tower_lsp::lsp_types::MessageType;

impl Session {
    /// Takes the editor's settings (with or without the section's name around them). Wrong ones change nothing.
    pub fn set_editor_settings(self: &Arc<Self>, place: &str, value: &Value) {
        let value = value.get("infill").unwrap_or(value);
        if value.is_null() {
            return;
        }
        let merged = config::editor_layer(place, value).and_then(|layer| {
            let layers: Vec<Layer> = self.options.layers.iter().cloned().chain([layer]).collect();
            config::merge(&layers)
        });
        match merged {
            Ok(loaded) => {
                let mut state = self.lock();
                state.config = loaded.config;
                self.workspace.enable(state.config.context.other_files);
                // The same mistake, made again, is worth a word again.
                state.said.clear();
                self.news.notify_one();
                let exclude = state.config.exclude.clone();
                drop(state);
                self.exclude(exclude);
            }
            // Some clients send the same settings in two ways.
            Err(error) => {
                let same = format!("{}: {}", error.key, error.why);
                self.say_once(&mut self.lock(), MessageType::ERROR, &same, format!("infill: {error}. The settings before stay in force."));
            }
        }
    }
}
