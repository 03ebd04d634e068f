//! Where settings stand: the user's file and the environment, each read as a [`Layer`].
//!
//! ```text
//! ~/.config/infill/config.toml      [completion] max_tokens = 64    -> one layer, its place the file's path
//! INFILL_COMPLETION_MAX_TOKENS=32                                   -> one layer, its place the variable's name
//! ```
use super::{ConfigError, Layer, keys, nest};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The user's own file: `$XDG_CONFIG_HOME/infill/config.toml`, or under `~/.config`; `%APPDATA%` on Windows.
pub fn user_file() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = var("XDG_CONFIG_HOME").or_else(|| var("APPDATA")).or_else(|| var("HOME").map(|h| h.join(".config")));
    base.map(|b| b.join("infill").join("config.toml"))
}

/// Reads a TOML file; `Ok(None)` when there is none.
pub fn file_layer(path: &Path) -> Result<Option<Layer>, ConfigError> {
    let place = path.display().to_string();
    let error = |why: String| ConfigError { place: place.clone(), key: String::new(), why };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(format!("cannot be read ({}): make it readable UTF-8 text, or remove it", plain(&e)))),
    };
    let value = toml::from_str::<Value>(&text)
        .map_err(|e| error(format!("is not TOML{}: correct it, or remove the file", toml_problem(&text, &e))))?;
    Ok(Some(Layer { place, value }))
}

/// Where and what, on one line: ` (line 3, column 7: unclosed table, expected "]")`.
fn toml_problem(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let head = text.get(..at).unwrap_or_default();
    let (line, column) = (head.matches('\n').count() + 1, head.chars().rev().take_while(|c| *c != '\n').count() + 1);
    format!(" (line {line}, column {column}: {})", error.message().replace('`', "\"").replace('\n', ", "))
}

/// A system's error without its number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words[..1.min(words.len())].to_lowercase() + words.get(1..).unwrap_or_default()
}

/// Names in the environment that are ours and set no key: the level of the log, the binary that tests look at, and a good
/// name for the variable that `server.token_env` names.
const RESERVED: [&str; 3] = ["INFILL_LOG", "INFILL_BIN", "INFILL_TOKEN"];

/// `INFILL_MODEL`, `INFILL_COMPLETION_MAX_TOKENS`, …: one layer a variable, so that an error names the variable.
pub fn env_layers(vars: impl Iterator<Item = (String, String)>) -> Result<Vec<Layer>, ConfigError> {
    let keys = keys();
    let mut layers = Vec::new();
    for (name, text) in vars.filter(|(n, _)| n.starts_with("INFILL_") && !RESERVED.contains(&n.as_str())) {
        let key = keys.iter().find(|k| env_name(k) == name).ok_or_else(|| ConfigError {
            place: "environment".into(),
            key: name.clone(),
            why: format!("unknown variable: remove it, or use one of {}", keys.iter().map(|k| env_name(k)).collect::<Vec<_>>().join(", ")),
        })?;
        layers.push(Layer { place: name, value: nest(key, env_value(key, &text)) });
    }
    Ok(layers)
}

/// The environment variable of a dotted key.
pub fn env_name(key: &str) -> String {
    format!("INFILL_{}", key.replace('.', "_").to_uppercase())
}

/// Lists are written with commas; numbers and true/false as such; everything else is text.
fn env_value(key: &str, text: &str) -> Value {
    if matches!(key, "languages" | "exclude") {
        return text.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.into()),
    }
}

/// File and environment.
pub fn user_layers() -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    if let Some(path) = user_file() {
        layers.extend(file_layer(&path)?);
    }
    layers.extend(env_layers(std::env::vars())?);
    Ok(layers)
}
