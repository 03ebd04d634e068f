//! The server's settings, as Zed's user wrote them.
//!
//! ```text
//! "lsp": { "infill": { "settings": { "languages": ["python"] } } }
//! initializationOptions     { "languages": ["python"] }
//! workspace/configuration   { "infill": { "languages": ["python"] } }
//! ```
//! Both places under `lsp.infill` are accepted, because Zed's users know both: `settings`, or else
//! `initialization_options`. The server gets the same from both requests, so neither undoes the other.
use zed_extension_api::serde_json::{json, Value};
use zed_extension_api::settings::LspSettings;

const SECTION: &str = "infill";

/// The section's keys, with or without its name written around them; none written: an empty object.
pub fn section(written: LspSettings) -> Value {
    let values = written.settings.or(written.initialization_options).unwrap_or_else(|| json!({}));
    match values.get(SECTION) {
        Some(inner) => inner.clone(),
        None => values,
    }
}

/// The same under the section's name: Zed answers the server's question for a section from this object.
pub fn workspace(written: LspSettings) -> Value {
    json!({ SECTION: section(written) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zed_extension_api::serde_json;

    fn written(json: &str) -> LspSettings {
        serde_json::from_str(json).expect("settings")
    }

    #[test]
    fn both_places_are_accepted() {
        for place in ["settings", "initialization_options"] {
            let settings = written(&format!(r#"{{"{place}": {{"enabled": false}}}}"#));
            assert_eq!(section(settings), json!({"enabled": false}), "{place}");
        }
        let both = written(r#"{"settings": {"enabled": true}, "initialization_options": {"enabled": false}}"#);
        assert_eq!(section(both), json!({"enabled": true}));
    }

    #[test]
    fn the_sections_name_may_be_written() {
        let settings = written(r#"{"settings": {"infill": {"enabled": false}}}"#);
        assert_eq!(workspace(settings), json!({"infill": {"enabled": false}}));
    }

    #[test]
    fn nothing_written_is_an_empty_section() {
        assert_eq!(section(LspSettings::default()), json!({}));
        assert_eq!(workspace(LspSettings::default()), json!({"infill": {}}));
    }
}
