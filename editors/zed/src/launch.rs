//! Which command starts the server.
//!
//! ```text
//! lsp.infill.binary.path  ->  that program    else    `infill` on the PATH    else    an error with the remedy
//! ```
use zed_extension_api::settings::CommandSettings;
use zed_extension_api::{Command, Result};

/// The program looked for on the PATH.
pub const PROGRAM: &str = "infill";

const MISSING: &str = "infill: the program `infill` is not on the PATH that Zed sees. Install it (`cargo install --path .` in \
infill's repository, or unpack a release and put `infill` on the PATH), or name it in Zed's settings: \
\"lsp\": { \"infill\": { \"binary\": { \"path\": \"/path/to/infill\", \"arguments\": [\"lsp\"] } } }. \
Then run \"editor: restart language server\".";

/// The command for the settings `lsp.infill.binary`; `on_path` is asked only when they name no program.
pub fn command(binary: Option<CommandSettings>, on_path: impl FnOnce() -> Option<String>) -> Result<Command> {
    let (path, arguments, env) = match binary {
        Some(binary) => (binary.path, binary.arguments, binary.env),
        None => (None, None, None),
    };
    Ok(Command {
        command: path.or_else(on_path).ok_or(MISSING)?,
        args: arguments.unwrap_or_else(|| vec!["lsp".into()]),
        env: env.unwrap_or_default().into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zed_extension_api::serde_json;

    fn binary(json: &str) -> Option<CommandSettings> {
        Some(serde_json::from_str(json).expect("settings"))
    }

    fn found() -> Option<String> {
        Some("/usr/bin/infill".into())
    }

    fn asked_in_vain() -> Option<String> {
        panic!("the PATH was asked although the settings name the program")
    }

    #[test]
    fn settings_go_before_the_path() {
        let named = binary(r#"{"path": "/opt/infill", "arguments": ["lsp", "--model", "/m"], "env": {"INFILL_LOG": "debug"}}"#);
        let command = command(named, asked_in_vain).expect("a command");
        assert_eq!(command.command, "/opt/infill");
        assert_eq!(command.args, ["lsp", "--model", "/m"]);
        assert_eq!(command.env, [("INFILL_LOG".to_string(), "debug".to_string())]);
    }

    #[test]
    fn without_settings_the_path_is_searched() {
        let command = command(None, found).expect("a command");
        assert_eq!((command.command.as_str(), command.args.len(), command.env.len()), ("/usr/bin/infill", 1, 0));
        assert_eq!(command.args, ["lsp"]);
    }

    #[test]
    fn each_part_of_the_settings_stands_alone() {
        let only_path = command(binary(r#"{"path": "/opt/infill"}"#), asked_in_vain).expect("a command");
        assert_eq!((only_path.command.as_str(), only_path.args[0].as_str()), ("/opt/infill", "lsp"));
        let only_env = command(binary(r#"{"env": {"A": "b"}}"#), found).expect("a command");
        assert_eq!((only_env.command.as_str(), only_env.env.len()), ("/usr/bin/infill", 1));
        let only_arguments = command(binary(r#"{"arguments": ["lsp", "--log", "f"]}"#), found).expect("a command");
        assert_eq!(only_arguments.args, ["lsp", "--log", "f"]);
    }

    #[test]
    fn a_missing_program_names_the_remedy() {
        let error = command(None, || None).expect_err("an error");
        for part in ["PATH", "cargo install", "\"lsp\"", "\"binary\"", "restart"] {
            assert!(error.contains(part), "no {part} in: {error}");
        }
    }
}
