//! Layers, errors, variables: what a user may write, and what is said to them.
use super::*;
use serde_json::json;

fn layer(place: &str, value: Value) -> Layer {
    Layer { place: place.into(), value }
}

#[test]
fn later_layers_win_and_their_place_is_kept() {
    let layers = [
        layer("file", json!({"completion": {"max_tokens": 64, "lines": "one"}})),
        layer("INFILL_COMPLETION_MAX_TOKENS", json!({"completion": {"max_tokens": 32}})),
    ];
    let loaded = merge(&layers).unwrap();
    assert_eq!(loaded.config.completion.max_tokens, 32);
    assert_eq!(loaded.config.completion.lines, Lines::One);
    assert_eq!(loaded.origin["completion.max_tokens"], "INFILL_COMPLETION_MAX_TOKENS");
    assert_eq!(loaded.origin["completion.lines"], "file");
    assert!(!loaded.origin.contains_key("enabled"));
}

#[test]
fn errors_name_place_key_and_what_is_accepted() {
    let error = |value: Value| merge(&[layer("config.toml", value)]).unwrap_err().to_string();
    for (value, parts) in [
        (json!({"modle": "x"}), vec!["config.toml", "modle", "unknown key", "`model`"]),
        (json!({"completion": {"linez": "one"}}), vec!["completion.linez", "unknown key", "`lines`"]),
        (json!({"completion": {"lines": "two"}}), vec!["completion.lines", "two", "`block`"]),
        (json!({"completion": {"max_tokens": "many"}}), vec!["completion.max_tokens", "many"]),
        (json!({"completion": {"max_tokens": 0}}), vec!["completion.max_tokens", "1 to 1024"]),
        (json!({"completion": {"max_tokens": true}}), vec!["completion.max_tokens", "true", "a whole number"]),
        (json!({"cache": {"bytes": "lots"}}), vec!["cache.bytes", "256MB"]),
        (json!({"completion": {"show_threshold": 2}}), vec!["completion.show_threshold", "from 0 to 1"]),
        (json!({"cache": {"bytes": [1]}}), vec!["cache.bytes", "256MB"]),
        (json!({"cache": {"format": "int4"}}), vec!["cache.format", "int4", "`bf16`", "`fp8`"]),
        (json!({"languages": "rust"}), vec!["languages", "rust", "a list"]),
        (json!({"server": {"connections": 0}}), vec!["server.connections", "1 to 65536"]),
        (json!({"server": {"transport": "pigeon"}}), vec!["server.transport", "pigeon", "`loopback`"]),
        (json!({"enabled": 3}), vec!["enabled", "3", "boolean"]),
    ] {
        let text = error(value);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

#[test]
fn a_file_that_is_no_toml_is_named_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "enabled = true\n[completion\n").unwrap();
    let error = file_layer(&file).unwrap_err().to_string();
    assert!(error.contains("config.toml: is not TOML (line 2, column 12: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
    std::fs::write(&file, b"model = \"\xff\"\n").unwrap();
    assert!(file_layer(&file).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn environment_variables_set_keys_and_unknown_ones_are_named() {
    let vars =
        |pairs: &[(&str, &str)]| env_layers(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>().into_iter());
    let layers = vars(&[("INFILL_LANGUAGES", "python, rust"), ("INFILL_ENABLED", "false"), ("HOME", "x")]).unwrap();
    let config = merge(&layers).unwrap().config;
    assert_eq!(config.languages, ["python", "rust"]);
    assert!(!config.enabled);
    assert!(vars(&[("INFILL_MODLE", "x")]).unwrap_err().to_string().contains("INFILL_MODEL"));
}

#[test]
fn an_editor_cannot_name_a_model_file() {
    assert!(editor_layer("initializationOptions", &json!({"model": "nano"})).is_ok());
    let error = editor_layer("initializationOptions", &json!({"model": "./evil.gguf"})).unwrap_err();
    assert!(error.to_string().contains("INFILL_MODEL"), "{error}");
}

#[test]
fn an_editor_cannot_name_an_engine() {
    let keys = ["url", "model", "template", "key_env", "key_file"].map(|key| json!({"engine": {key: "x"}}));
    for settings in keys.into_iter().chain([json!({"engine": {"api": "ollama"}})]) {
        let error = editor_layer("initializationOptions", &settings).unwrap_err();
        assert!(error.key == "engine" && error.why.contains("a workspace can change"), "{error}");
    }
    assert!(editor_layer("initializationOptions", &json!({"engine": {}})).is_ok());
    let vars =
        [("INFILL_ENGINE_URL".to_owned(), "http://127.0.0.1:1".to_owned()), ("INFILL_ENGINE_API".to_owned(), "llama.cpp".to_owned())];
    let engine = merge(&env_layers(vars.into_iter()).unwrap()).unwrap().config.engine;
    assert_eq!((engine.url.as_str(), engine.api), ("http://127.0.0.1:1", Api::LlamaCpp));
}

#[test]
fn a_workspace_cannot_choose_the_engine_nor_open_a_port() {
    for value in [json!({"engine": {"shared": false}}), json!({"server": {"listen": "0.0.0.0:80"}}), json!({"server": {"token_file": "x"}})]
    {
        let error = editor_layer("initializationOptions", &value).unwrap_err();
        assert!(error.to_string().contains("a workspace can change"), "{error}");
    }
    assert!(editor_layer("initializationOptions", &json!({"engine": {}, "server": {}})).is_ok());
}

#[test]
fn what_is_excluded_somewhere_stays_excluded() {
    let layer = |place: &str, patterns: &[&str]| Layer { place: place.into(), value: json!({ "exclude": patterns }) };
    let merged = merge(&[layer("file", &["a", "b"]), layer("editor", &["b", "c"]), layer("later", &[])]).unwrap();
    assert_eq!(merged.config.exclude, ["a", "b", "c"]);
}

#[test]
fn languages_include_and_exclude() {
    let config = |l: &[&str]| Config { languages: l.iter().map(|s| s.to_string()).collect(), ..Config::default() };
    assert!(config(&[]).covers("python"));
    assert!(!config(&["rust"]).covers("python"));
    assert!(!config(&["!python"]).covers("python"));
    assert!(config(&["!python"]).covers("rust"));
}

#[test]
fn sizes() {
    let bytes = |s: &str| Bytes::Word(s.into()).get();
    assert_eq!(bytes("auto"), Ok(None));
    assert_eq!(bytes("256MB"), Ok(Some(256 << 20)));
    assert_eq!(bytes("1 GiB"), Ok(Some(1 << 30)));
    assert!(bytes("18446744073709551615GB").is_err());
    assert!(bytes("-1").is_err());
}

#[test]
fn the_schema_documents_every_key() {
    let text = schema().to_string();
    for key in keys() {
        let name = key.rsplit('.').next().unwrap_or(&key);
        assert!(text.contains(&format!("\"{name}\"")), "{key}");
    }
    assert!(text.contains("Most tokens of one suggestion"));
}

#[test]
fn devices_are_words() {
    let read = |word: &str| Device::try_from(word.to_owned());
    assert_eq!(read("auto"), Ok(Device::Auto));
    assert_eq!((read("cuda"), read("cuda:3")), (Ok(Device::Cuda(0)), Ok(Device::Cuda(3))));
    for wrong in ["gpu", "cuda:", "cuda:x", "cuda0", "cuda:-1", ""] {
        assert!(read(wrong).unwrap_err().contains("cuda:0"), "{wrong}");
    }
    let layer = |word: &str| Layer { place: "test".into(), value: nest("device", word.into()) };
    assert_eq!(merge(&[layer("cuda:1")]).unwrap().config.device, Device::Cuda(1));
    let error = merge(&[layer("gpu")]).unwrap_err();
    assert!(error.key == "device" && error.why.contains("\"cpu\""), "{error}");
}
