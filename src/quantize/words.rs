//! The tokenizer.json of a folder, as a GGUF file holds it.
//!
//! ```text
//! {"model": {"vocab": {"!": 0, …}, "merges": ["Ġ t", …]}, "added_tokens": [{"id": 100000, "content": "<｜begin▁of▁sentence｜>"}, …]}
//! ```
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// Tokens by id, what each is (1 normal, 3 control, 4 user defined, 5 unused), merges, special ids.
pub struct Words {
    pub tokens: Vec<String>,
    pub kinds: Vec<i32>,
    pub merges: Vec<String>,
    pub bos: u32,
    pub eos: u32,
    pub fim_begin: u32,
    pub fim_hole: u32,
    pub fim_end: u32,
}

/// Reads the file; `vocab` is how many tokens the weights have.
///
/// # Errors
/// A file that is missing or no DeepSeek-V2 tokenizer, or that has more tokens than the weights.
pub fn read(path: &Path, vocab: usize) -> Result<Words> {
    let bytes = std::fs::read(path).with_context(|| format!("{}: cannot be read; put the model's tokenizer there", path.display()))?;
    // Checks the form, the special tokens and the way text is split.
    let checked = crate::tokens::Tokens::from_json(&bytes).with_context(|| path.display().to_string())?;
    let (count, special) = (checked.len(), checked.special());
    ensure!(count <= vocab, "{}: has {count} tokens, the weights {vocab}; use the tokenizer that came with them", path.display());
    let file: Value = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    let mut tokens: Vec<String> = (0..vocab).map(|i| format!("[PAD{i}]")).collect();
    let mut kinds = vec![5; vocab];
    let mut put = |id: &Value, text: &str, kind: i32| {
        if let Some(id) = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < vocab) {
            (tokens[id], kinds[id]) = (text.to_owned(), kind);
        }
    };
    file["model"]["vocab"].as_object().into_iter().flatten().for_each(|(text, id)| put(id, text, 1));
    for added in file["added_tokens"].as_array().into_iter().flatten() {
        let text = added["content"].as_str().unwrap_or_default();
        let control = added["special"] == true || (text.starts_with("<｜") && text.ends_with("｜>"));
        put(&added["id"], text, if control { 3 } else { 4 });
    }
    let merge = |m: &Value| match m {
        Value::Array(pair) => format!("{} {}", pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    let merges = file["model"]["merges"].as_array().into_iter().flatten().map(merge).collect();
    let crate::tokens::Special { bos, eos, fim_begin, fim_hole, fim_end } = special;
    Ok(Words { tokens, kinds, merges, bos, eos, fim_begin, fim_hole, fim_end })
}
