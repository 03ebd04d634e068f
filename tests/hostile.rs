//! Files that are not what they should be: an error that names the file and the tensor, never a panic.
//!
//! ```text
//! model.gguf: tensor "output.weight" is cut off: the file ends inside it. Download it again
//! ```
mod checkpoint;

use candle_core::quantized::GgmlDType;
use checkpoint::*;
use infill::model::cpu::Cpu;
use std::path::Path;

fn error(path: &Path) -> String {
    match Cpu::open(path) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error.to_string(),
    }
}

/// A copy of the Lite checkpoint whose weights and configuration `change` may spoil.
fn spoiled(change: impl FnOnce(&mut Vec<u8>, &mut String)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = std::fs::read(reference("lite").join("model.safetensors")).unwrap();
    let mut config = std::fs::read_to_string(reference("lite").join("config.json")).unwrap();
    change(&mut weights, &mut config);
    std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    error(folder.path())
}

#[test]
fn truncated_safetensors() {
    let error = spoiled(|w, _| w.truncate(w.len() - 100));
    assert!(error.contains("model.safetensors") && error.contains("model.norm.weight") && error.contains("cut off"), "{error}");
    for n in [0, 4, 8, 100, 3000] {
        assert!(spoiled(|w, _| w.truncate(n)).contains("model.safetensors"));
    }
}

#[test]
fn padded_safetensors() {
    let error = spoiled(|w, _| w.extend([0; 9]));
    assert!(error.contains("9 bytes after"), "{error}");
}

#[test]
fn hostile_safetensors_headers() {
    assert!(spoiled(|w, _| w[..8].copy_from_slice(&u64::MAX.to_le_bytes())).contains("header"));
    let with = |header: &str| {
        spoiled(|w, _| {
            *w = (header.len() as u64).to_le_bytes().to_vec();
            w.extend(header.bytes());
        })
    };
    assert!(with("[]").contains("header"));
    for (info, word) in [
        (r#"{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}"#, "cut off"),
        (r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#, "overflows"),
        (r#"{"dtype":"F32","shape":[1],"data_offsets":[9,0]}"#, "before it begins"),
        (r#"{"dtype":"F32","shape":[3],"data_offsets":[0,0]}"#, "0 bytes for shape [3]"),
        (r#"{"dtype":"F32","shape":[-3],"data_offsets":[0,0]}"#, "unreadable description"),
    ] {
        let error = with(&format!("{{\"lm_head.weight\":{info}}}"));
        assert!(error.contains("lm_head.weight") && error.contains(word), "{error}");
    }
    assert!(with("{}").contains("is missing"));
}

#[test]
fn an_unknown_element_type_is_an_error_for_who_needs_it() {
    let error = spoiled(|w, _| {
        let at = w.windows(6).position(|w| w == b"\"BF16\"").unwrap();
        w[at..at + 6].copy_from_slice(b"\"U16\" ");
    });
    assert!(error.contains("U16") && error.contains("not supported"), "{error}");
}

#[test]
fn a_configuration_of_another_model() {
    let error = spoiled(|_, c| *c = c.replace("deepseek_v2", "llama"));
    assert!(error.contains("\"llama\"") && error.contains("DeepSeek-V2"), "{error}");
    let error = spoiled(|_, c| *c = c.replace("\"vocab_size\": 512", "\"vocab_size\": 1024"));
    let named = error.contains("model.embed_tokens.weight") && error.contains("[512, 64]") && error.contains("[1024, 64]");
    assert!(named, "{error}");
    let error = spoiled(|_, c| *c = c.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"));
    assert!(error.contains("model.layers.3.") && error.contains("missing"), "{error}");
    let error = spoiled(|_, c| *c = c.replace("\"n_routed_experts\": 8", "\"n_routed_experts\": 4000000000"));
    assert!(error.contains("experts"), "{error}");
    assert!(spoiled(|_, c| c.truncate(40)).contains("config.json"));
}

#[test]
fn a_shard_outside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(reference("lite").join("config.json"), folder.path().join("config.json")).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"lm_head.weight": "../../etc/passwd"}}"#).unwrap();
    assert!(error(folder.path()).contains("../../etc/passwd"));
    std::fs::write(&index, r#"{"weight_map": {"lm_head.weight": "a.safetensors"}}"#).unwrap();
    assert!(error(folder.path()).contains("a.safetensors"));
}

#[test]
fn shards_are_one_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(reference("lite").join("config.json"), folder.path().join("config.json")).unwrap();
    let all = candle_core::safetensors::load(reference("lite").join("model.safetensors"), &candle_core::Device::Cpu).unwrap();
    let mut map = serde_json::Map::new();
    for (i, shard) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
        let part = all.iter().filter(|(name, _)| name.contains("layers.1") == (i == 0));
        let part: std::collections::HashMap<_, _> = part.map(|(k, v)| (k.clone(), v.clone())).collect();
        part.keys().for_each(|k| drop(map.insert(k.clone(), (*shard).into())));
        candle_core::safetensors::save(&part, folder.path().join(shard)).unwrap();
    }
    let index = serde_json::json!({"weight_map": map}).to_string();
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let ids = prompt("lite", "short");
    let run = |path: &Path| logits(&mut Cpu::open(path).unwrap(), &shuffled(24), &ids, 24);
    assert!(run(folder.path()) == run(&reference("lite")));
}

/// A GGUF copy of the Lite checkpoint that `change` may spoil.
fn spoiled_gguf(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = gguf(&reference("lite"), folder.path(), Layout::Split, GgmlDType::Q8_0);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    error(&path)
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn spoiled_gguf_files() {
    for n in [0, 3, 24, 500, 3000] {
        assert!(spoiled_gguf(|b| b.truncate(n)).contains("model.gguf"), "{n} bytes");
    }
    let error = spoiled_gguf(|b| b.truncate(b.len() / 2));
    assert!(error.contains("tensor \"") && error.contains("end"), "{error}");
    let error = spoiled_gguf(|b| b.extend([0; 64]));
    assert!(error.contains("64 bytes after its last tensor"), "{error}");
    let error = spoiled_gguf(|b| replace(b, b"deepseek2", b"deepseek3"));
    assert!(error.contains("deepseek3"), "{error}");
    let error = spoiled_gguf(|b| replace(b, b"output_norm.weight", b"output_warm"));
    assert!(error.contains("output_norm.weight") && error.contains("missing"), "{error}");
    assert!(spoiled_gguf(|b| b[..4].copy_from_slice(b"GGML")).contains("not a GGUF file"));
    // Another number of dimensions, a huge dimension, an unknown type, an offset past the end.
    let at = |b: &[u8]| b.windows(18).position(|w| w == b"output_norm.weight").unwrap() + 18;
    for (skip, value, word) in [
        (0, &9u32.to_le_bytes()[..], "dimensions"),
        (4, &u64::MAX.to_le_bytes(), "output_norm.weight"),
        (4, &63u64.to_le_bytes(), "[63]"),
        (12, &77u32.to_le_bytes(), "ggml type 77"),
        (16, &u64::MAX.to_le_bytes(), "past the end"),
    ] {
        let error = spoiled_gguf(|b| {
            let at = at(b) + skip;
            b[at..at + value.len()].copy_from_slice(value);
        });
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_missing_file_is_an_error() {
    assert!(error("/nowhere/model.gguf".as_ref()).contains("/nowhere/model.gguf"));
}
