//! Files of models: the headers of GGUF and safetensors, and tokenizers.
//!
//! ```text
//! gguf, safetensors   the bytes of a file          tokenizer   {…} a tokenizer.json, anything else text for a good one
//! ```
//! What is accepted is used: tensors are asked for, text is encoded and decoded.
use infill::model::config::{from_gguf, from_json};
use infill::model::gguf::{Header, vocabulary};
use infill::model::store::Store;
use infill::tokens::Tokens;
use std::sync::LazyLock;

pub fn gguf(data: &[u8]) {
    let Ok(header) = Header::read("fuzz.gguf", data) else { return };
    // An accepted tensor begins inside the file.
    header.tensors.values().for_each(|tensor| assert!(tensor.offset <= data.len()));
    let _ = from_gguf(&header);
    if let Ok(found) = vocabulary(&header) {
        let ids = [found.bos, found.eos, found.fim_pre, found.fim_suf, found.fim_mid];
        ids.into_iter().flatten().for_each(|id| assert!((id as usize) < found.tokens.len()));
    }
}

const CONFIG: &str = include_str!("../../../fixtures/reference/lite/config.json");

/// A folder whose model.safetensors is what comes; where the first byte is a bracket, whose config.json is.
pub fn safetensors(data: &[u8]) {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), CONFIG).expect("config.json");
        folder
    });
    if data.first() == Some(&b'{') {
        let _ = from_json("config.json", &String::from_utf8_lossy(data));
        return;
    }
    std::fs::write(FOLDER.path().join("model.safetensors"), data).expect("a file");
    if let Ok((store, config)) = Store::open(FOLDER.path()) {
        for name in ["lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"] {
            let _ = store.matrix(name, config.vocab, config.hidden);
        }
    }
}

pub fn tokenizer(data: &[u8]) {
    static GOOD: LazyLock<Tokens> = LazyLock::new(|| {
        let json = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/nano/tokenizer.json")).expect("nano's tokenizer");
        Tokens::from_json(&json).expect("it is good")
    });
    if data.first() == Some(&b'{') {
        if let Ok(tokens) = Tokens::from_json(data) {
            tokens.prompt("let x", "\n", b"y");
        }
        return;
    }
    let text = String::from_utf8_lossy(data);
    let ids = GOOD.encode(&text);
    let bytes: Vec<u8> = ids.iter().flat_map(|id| GOOD.bytes(*id)).copied().collect();
    assert_eq!(bytes, text.as_bytes(), "encoded and decoded");
    let half = text.len() / 2;
    let half = (0..=half).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    // The typed end: any bytes, also those that are no text.
    GOOD.prompt(&text[..half], &text[half..], data);
}
