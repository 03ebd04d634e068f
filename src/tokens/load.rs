//! Reading a tokenizer: from a `tokenizer.json` or from the vocabulary inside a GGUF file.
//!
//! ```
//! let error = infill::tokens::Tokens::from_json(b"{}").err().unwrap();
//! assert!(error.to_string().contains("tokenizer.json"));
//! ```
use super::{Names, Special, Tokens, decode, split};
use crate::model::gguf::Vocabulary;
use serde_json::Value;
use std::path::Path;
use tokenizers::models::bpe::{BPE, Merges, Vocab};

/// Why a tokenizer cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the tokenizer {path}: {reason}; put the model's tokenizer.json there")]
    Read { path: String, reason: String },
    #[error("this is not a byte-level BPE tokenizer.json ({0}); use the file that comes with the model")]
    Format(String),
    #[error(
        "the tokenizer splits text in a way infill does not know ({0}); use a DeepSeek-V2 model, whose pre-tokenizer is `deepseek-llm` or `deepseek-coder`"
    )]
    Split(String),
    #[error(
        "the model cannot fill in the middle: its tokenizer has no token {0}; use a model trained for it, such as DeepSeek-Coder-V2-Lite-Base"
    )]
    Special(&'static str),
    #[error("the vocabulary has no token for byte {0:#04x}, so some text could not be written; use the model's own tokenizer file")]
    Byte(u8),
}

/// What both kinds of file hold.
struct Parts {
    vocabulary: Vocab,
    merges: Merges,
    /// Tokens that are not text, by name.
    added: Names,
}

pub fn from_file(path: &Path) -> Result<Tokens, TokenError> {
    let read = |error: std::io::Error| TokenError::Read { path: path.display().to_string(), reason: error.to_string() };
    from_json(&std::fs::read(path).map_err(read)?)
}

pub fn from_json(json: &[u8]) -> Result<Tokens, TokenError> {
    let file: Value = serde_json::from_slice(json).map_err(|error| TokenError::Format(error.to_string()))?;
    check_splits(&file)?;
    let vocabulary = file["model"]["vocab"].as_object().ok_or_else(|| missing("model.vocab"))?;
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let merges = file["model"]["merges"].as_array().ok_or_else(|| missing("model.merges"))?;
    let added = file["added_tokens"].as_array().ok_or_else(|| missing("added_tokens"))?;
    build(Parts {
        vocabulary: vocabulary.iter().filter_map(|(text, value)| Some((text.clone(), id(value)?))).collect(),
        merges: merges.iter().map(merge).collect::<Option<_>>().ok_or_else(|| missing("a pair in model.merges"))?,
        added: added.iter().filter_map(|token| Some((token["content"].as_str()?.to_owned(), id(&token["id"])?))).collect(),
    })
}

/// A merge is written `"a b"` or `["a", "b"]`.
fn merge(value: &Value) -> Option<(String, String)> {
    match value {
        Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(pair) => Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())),
        _ => None,
    }
}

fn missing(what: &str) -> TokenError {
    TokenError::Format(format!("{what} is missing in the tokenizer.json"))
}

/// `split::pieces` is DeepSeek's pre-tokenizer and no other.
fn check_splits(file: &Value) -> Result<(), TokenError> {
    let normalizer = &file["normalizer"];
    let idle = normalizer.is_null() || normalizer["normalizers"].as_array().is_some_and(Vec::is_empty);
    if !idle {
        return Err(TokenError::Split(format!("normalizer {}", normalizer["type"])));
    }
    let steps = file["pre_tokenizer"]["pretokenizers"].as_array().ok_or_else(|| missing("pre_tokenizer.pretokenizers"))?;
    let found: Vec<String> = steps.iter().map(describe).collect();
    let expected = expected_splits();
    match found.iter().zip(&expected).find(|(found, expected)| found != expected) {
        Some((found, _)) => Err(TokenError::Split(found.chars().take(60).collect())),
        None if found.len() != expected.len() => Err(TokenError::Split(format!("{} steps", found.len()))),
        None => Ok(()),
    }
}

fn describe(step: &Value) -> String {
    let kind = step["type"].as_str().unwrap_or("?");
    match kind {
        "Split" => format!("Split {} {} {}", step["pattern"]["Regex"].as_str().unwrap_or("?"), step["behavior"], step["invert"]),
        "Digits" => format!("Digits {}", step["individual_digits"]),
        "ByteLevel" => format!("ByteLevel {} {}", step["add_prefix_space"], step["use_regex"]),
        other => other.to_owned(),
    }
}

fn expected_splits() -> [String; 7] {
    let split = |pattern: String| format!("Split {pattern} \"Isolated\" false");
    [
        split("[\r\n]".to_owned()),
        split(format!("\\s?[{}]+", split::LETTERS)),
        split(format!("\\s?[{}]+", split::SIGNS)),
        split("\\s+$".to_owned()),
        split(format!("[{}]+", split::IDEOGRAPHS)),
        "Digits true".to_owned(),
        "ByteLevel false false".to_owned(),
    ]
}

/// From the vocabulary inside a GGUF file.
pub fn from_vocabulary(from: &Vocabulary) -> Result<Tokens, TokenError> {
    if !matches!(from.pre.as_str(), "deepseek-llm" | "deepseek-coder") {
        return Err(TokenError::Split(format!("`{}`", from.pre)));
    }
    // 3: control, 4: user defined. The FIM tokens are one or the other, by converter; their names tell them apart.
    let is_added = |id: usize| matches!(from.token_types.get(id), Some(3 | 4));
    let named = || (0u32..).zip(&from.tokens).map(|(id, text)| (text.clone(), id));
    let pair = |text: &String| text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    build(Parts {
        vocabulary: named().filter(|&(_, id)| !is_added(id as usize)).collect(),
        merges: from.merges.iter().map(pair).collect::<Option<_>>().ok_or_else(|| TokenError::Format("a merge is no pair".to_owned()))?,
        added: named().filter(|(text, id)| is_added(*id as usize) || SPECIAL.contains(&text.as_str())).collect(),
    })
}

/// In the order of `Special`.
const SPECIAL: [&str; 5] = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"];

fn build(parts: Parts) -> Result<Tokens, TokenError> {
    let special = special(|name| parts.added.get(name).or_else(|| parts.vocabulary.get(name)).copied())?;
    let bytes = bytes_by_id(&parts)?;
    check_merges(&parts)?;
    // The cache inside the tokenizer keeps words it has seen; source code repeats its words.
    let bpe = BPE::builder().vocab_and_merges(parts.vocabulary, parts.merges).cache_capacity(50_000).build();
    Ok(Tokens::new(bpe.map_err(|error| TokenError::Format(error.to_string()))?, special, bytes))
}

/// The builder panics where what two tokens make is longer than any token.
fn check_merges(parts: &Parts) -> Result<(), TokenError> {
    let mut whole = String::new();
    for (a, b) in &parts.merges {
        whole.clear();
        whole.extend([a.as_str(), b]);
        if !parts.vocabulary.contains_key(&whole) {
            let shown = [a, b].map(|text| text.chars().take(20).collect::<String>());
            return Err(TokenError::Format(format!("what the merge of {:?} and {:?} makes is no token", shown[0], shown[1])));
        }
    }
    Ok(())
}

fn special(id: impl Fn(&str) -> Option<u32>) -> Result<Special, TokenError> {
    let find = |name: &'static str| id(name).ok_or(TokenError::Special(name));
    let [bos, eos, fim_begin, fim_hole, fim_end] = SPECIAL;
    Ok(Special { bos: find(bos)?, eos: find(eos)?, fim_begin: find(fim_begin)?, fim_hole: find(fim_hole)?, fim_end: find(fim_end)? })
}

fn bytes_by_id(parts: &Parts) -> Result<Vec<Box<[u8]>>, TokenError> {
    let ids = parts.vocabulary.values().chain(parts.added.values());
    let length = ids.max().map_or(0, |&id| id as usize + 1);
    // A file from outside: a wild id must not make us allocate gigabytes.
    if length > 4 * (parts.vocabulary.len() + parts.added.len()) + 1024 {
        return Err(TokenError::Format(format!("token id {} in a vocabulary of {}", length - 1, parts.vocabulary.len())));
    }
    let mut bytes: Vec<Box<[u8]>> = vec![Box::default(); length];
    for (text, &id) in parts.vocabulary.iter().filter(|(text, _)| !parts.added.contains_key(*text)) {
        bytes[id as usize] = decode::from_alphabet(text).unwrap_or_default().into();
    }
    for &id in parts.added.values() {
        bytes[id as usize] = Box::default();
    }
    let mut single = [false; 256];
    bytes.iter().filter(|bytes| bytes.len() == 1).for_each(|bytes| single[bytes[0] as usize] = true);
    // 0xc0, 0xc1 and what follows 0xf4 occur in no text.
    let needed = (0..=0xf4u8).filter(|byte| !matches!(byte, 0xc0 | 0xc1));
    match needed.into_iter().find(|&byte| !single[byte as usize]) {
        Some(byte) => Err(TokenError::Byte(byte)),
        None => Ok(bytes),
    }
}
