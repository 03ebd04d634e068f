//! Headers by hand: a good one, every truncation of it, and hostile lengths.
use super::*;

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

fn texts(out: &mut Vec<u8>, key: &str, items: &[&str]) {
    text(out, key);
    out.extend(9u32.to_le_bytes());
    out.extend(8u32.to_le_bytes());
    out.extend((items.len() as u64).to_le_bytes());
    items.iter().for_each(|i| text(out, i));
}

fn start(tensors: u64, keys: u64) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(tensors.to_le_bytes());
    out.extend(keys.to_le_bytes());
    out
}

fn file() -> Vec<u8> {
    let mut out = start(0, 6);
    text(&mut out, "tokenizer.ggml.model");
    out.extend(8u32.to_le_bytes());
    text(&mut out, "gpt2");
    texts(&mut out, "tokenizer.ggml.tokens", &["a", "b", "ab", "<｜fim▁hole｜>"]);
    texts(&mut out, "tokenizer.ggml.merges", &["a b"]);
    text(&mut out, "tokenizer.ggml.bos_token_id");
    out.extend(4u32.to_le_bytes());
    out.extend(2u32.to_le_bytes());
    text(&mut out, "tokenizer.ggml.add_bos_token");
    out.extend(7u32.to_le_bytes());
    out.push(0);
    text(&mut out, "tokenizer.ggml.token_type");
    out.extend(9u32.to_le_bytes());
    out.extend(5u32.to_le_bytes());
    out.extend(4u64.to_le_bytes());
    [1i32, 1, 1, 3].iter().for_each(|t| out.extend(t.to_le_bytes()));
    out
}

#[test]
fn a_vocabulary_is_read() {
    let bytes = file();
    let found = vocabulary(&Header::read("a.gguf", &bytes).unwrap()).unwrap();
    assert_eq!(found.tokens, ["a", "b", "ab", "<｜fim▁hole｜>"]);
    assert_eq!((found.merges, found.token_types), (vec!["a b".to_string()], vec![1, 1, 1, 3]));
    assert_eq!((found.bos, found.eos, found.fim_suf, found.fim_pre), (Some(2), None, Some(3), None));
    assert!(!found.add_bos);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = file();
    for n in 0..bytes.len() {
        assert!(Header::read("a.gguf", &bytes[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let bytes = file();
    for at in 0..bytes.len() {
        for flip in [0x80, 0xff, 0x01] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            if let Ok(header) = Header::read("a.gguf", &bad) {
                let _ = vocabulary(&header);
            }
        }
    }
}

#[test]
fn hostile_lengths_are_errors() {
    assert!(Header::read("a", &start(u64::MAX, 0)).is_err());
    assert!(Header::read("a", &start(0, u64::MAX)).is_err());
    let mut list = start(0, 1);
    text(&mut list, "k");
    list.extend(9u32.to_le_bytes());
    list.extend(10u32.to_le_bytes());
    list.extend((u64::MAX / 4).to_le_bytes());
    assert!(Header::read("a", &list).is_err());
}

#[test]
fn an_id_outside_the_vocabulary_is_an_error() {
    let mut bytes = file();
    let key = b"tokenizer.ggml.bos_token_id";
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    bytes[at] = 9;
    let error = vocabulary(&Header::read("a.gguf", &bytes).unwrap()).unwrap_err().to_string();
    assert!(error.contains("bos_token_id") && error.contains("4 tokens"), "{error}");
}
