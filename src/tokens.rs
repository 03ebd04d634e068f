//! Tokenizer: text to tokens and back, the fill-in-the-middle template, and what token healing needs.
//!
//! ```no_run
//! let tokens = infill::tokens::Tokens::from_file("fixtures/nano/tokenizer.json".as_ref())?;
//! let prompt = tokens.prompt("fn add(a: i32, b: i32) -> i32 {\n", "\n}\n", b"    a + b.cou");
//! assert_eq!(prompt.held, b"cou"); // these bytes can still become `count`, so they are not tokens yet
//! # Ok::<(), infill::tokens::TokenError>(())
//! ```
//! File text never becomes a special token: the tokenizer inside has none. Ours are added by id, read by name.
use crate::model::gguf::Vocabulary;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;

pub mod decode;
pub mod load;
pub mod split;
pub mod template;
#[cfg(test)]
mod tests;
pub mod trie;

pub use load::TokenError;
pub use template::Prompt;
use trie::Trie;

/// The tokens that are not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    pub bos: u32,
    pub eos: u32,
    pub fim_begin: u32,
    pub fim_hole: u32,
    pub fim_end: u32,
}

/// A loaded tokenizer.
pub struct Tokens {
    bpe: BPE,
    special: Special,
    /// The bytes of each id; empty for special tokens and for numbers without an entry.
    bytes: Vec<Box<[u8]>>,
    trie: Trie,
    bytes_per_token: f32,
    recent: Mutex<VecDeque<(String, Arc<[u32]>)>>,
}

/// Prefixes and suffixes whose tokens are kept: the holes of a few documents. A keystroke changes neither.
const KEPT: usize = 16;

impl Tokens {
    /// The tokens of a piece of text. Text that looks like a special token is only text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_pieces(split::pieces(text))
    }

    fn encode_pieces<'a>(&self, pieces: impl Iterator<Item = &'a str>) -> Vec<u32> {
        let (mut out, mut word) = (Vec::new(), String::new());
        for piece in pieces {
            word.clear();
            decode::to_alphabet(piece.as_bytes(), &mut word);
            match self.bpe.tokenize(&word) {
                Ok(tokens) => out.extend(tokens.into_iter().map(|token| token.id)),
                // It fails only with an unknown-token setting, which `load` never makes.
                Err(error) => tracing::error!("a piece of text was left out of the prompt: {error}"),
            }
        }
        out
    }

    /// The first token of a text.
    pub fn first(&self, text: &str) -> Option<u32> {
        self.encode_pieces(split::pieces(text).take(1)).first().copied()
    }

    /// As `encode`, and remembers the answer.
    fn encode_kept(&self, text: &str) -> Arc<[u32]> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = recent.iter().position(|(known, _)| known == text) {
            let entry = recent.swap_remove_front(at);
            let tokens = entry.as_ref().map(|(_, tokens)| tokens.clone()).unwrap_or_default();
            recent.extend(entry);
            return tokens;
        }
        let tokens: Arc<[u32]> = self.encode(text).into();
        recent.push_back((text.to_owned(), tokens.clone()));
        if recent.len() > KEPT {
            recent.pop_front();
        }
        tokens
    }

    /// The bytes of one token: not always whole characters. Empty for special tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// The bytes of several tokens.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        tokens.iter().flat_map(|&token| self.bytes(token)).copied().collect()
    }

    /// Is this a token without text: a special one, or a row of the model that the tokenizer does not know?
    pub fn is_special(&self, token: u32) -> bool {
        self.bytes(token).is_empty()
    }

    /// One more than the largest id. A model may have more rows; those are never chosen.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn special(&self) -> Special {
        self.special
    }

    /// The tokens that agree with `held` bytes: a beginning of them, or beginning with them. Never special ones.
    pub fn agreeing(&self, held: &[u8], allowed: &mut Vec<u32>) {
        self.trie.agreeing(held, allowed);
    }

    /// The tokens whose bytes begin with `start`.
    pub fn beginning_with(&self, start: &[u8]) -> &[u32] {
        self.trie.beginning_with(start)
    }

    /// Measured on source code with this tokenizer.
    pub fn bytes_per_token(&self) -> f32 {
        self.bytes_per_token
    }

    /// From a `tokenizer.json` with DeepSeek's pre-tokenizer.
    pub fn from_file(path: &Path) -> Result<Tokens, TokenError> {
        load::from_file(path)
    }

    /// From the text of a `tokenizer.json`.
    pub fn from_json(json: &[u8]) -> Result<Tokens, TokenError> {
        load::from_json(json)
    }

    /// From the vocabulary inside a GGUF file.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Result<Tokens, TokenError> {
        load::from_vocabulary(vocabulary)
    }

    fn new(bpe: BPE, special: Special, bytes: Vec<Box<[u8]>>) -> Tokens {
        let filled = bytes.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty());
        let trie = Trie::new(filled.map(|(id, bytes)| (id as u32, &**bytes)));
        let mut tokens = Tokens { bpe, special, bytes, trie, bytes_per_token: 1.0, recent: Mutex::default() };
        let sample = include_str!("tokens/trie.rs");
        tokens.bytes_per_token = sample.len() as f32 / tokens.encode(sample).len().max(1) as f32;
        tokens
    }
}

/// Name to id, as a tokenizer file gives it.
type Names = HashMap<String, u32>;
