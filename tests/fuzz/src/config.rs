//! Settings from a file and from an editor, the environment, and typing traces.
//!
//! ```text
//! {…}    an editor's settings        NAME=value    a variable        anything else    config.toml
//! ```
use infill::bench::trace::Trace;
use infill::config::{Layer, editor_layer, env_layers, merge};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let layer = if text.starts_with('{') {
        let Ok(value) = serde_json::from_str(&text) else { return };
        editor_layer("fuzz", &value)
    } else if let Some((name, value)) = text.split_once('=').filter(|(name, _)| name.starts_with("INFILL_")) {
        let Ok(layers) = env_layers(std::iter::once((name.to_owned(), value.to_owned()))) else { return };
        let _ = merge(&layers);
        return;
    } else {
        let Ok(value) = toml::from_str(&text) else { return };
        Ok(Layer { place: "fuzz".into(), value })
    };
    let Ok(layer) = layer else { return };
    if let Ok(loaded) = merge(std::slice::from_ref(&layer)) {
        // What is in force can be printed, and read back as the same.
        let again = loaded.to_toml().expect("settings are TOML");
        let value = toml::from_str(&again).expect("what is printed is TOML");
        let back = merge(&[Layer { place: "again".into(), value }]).expect("what is printed is accepted");
        assert_eq!(back.config, loaded.config);
    }
}

pub fn trace(data: &[u8]) {
    let Ok(trace) = Trace::parse(data) else { return };
    // Each step lies inside the text that the steps before it left.
    let mut length = trace.start.chars().count();
    for step in &trace.steps {
        assert!(step.at + step.deleted <= length, "{step:?} in {length} characters");
        length = length - step.deleted + step.inserted.chars().count();
    }
}
