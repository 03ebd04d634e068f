//! The prompt: `BOS FIM_BEGIN prefix FIM_HOLE suffix FIM_END tail…`, and where its parts end.
//!
//! ```text
//! prompt("fn f() {\n", "}\n", b"  le")  ->  tokens: … FIM_END, ` `   held: b" le" (it can still become ` let`)
//! ```
use super::Tokens;
use super::decode::whole_characters;
use super::split;
use crate::engine::{Role, Turn};

/// A rendered prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// Tokens up to the end of the prefix, and up to `FIM_END` (included). The rest is the tail.
    pub prefix_end: usize,
    pub suffix_end: usize,
    /// Bytes of the tail that are not in `tokens`: they constrain the first tokens to be decoded.
    pub held: Vec<u8>,
}

impl Tokens {
    /// The prompt of a hole. None of the text is parsed for special tokens.
    pub fn prompt(&self, prefix: &str, suffix: &str, tail: &[u8]) -> Prompt {
        let ids = self.special();
        let (prefix, suffix) = (self.encode_kept(prefix), self.encode_kept(suffix));
        let (tail, held) = self.split_tail(tail);
        let mut tokens = Vec::with_capacity(prefix.len() + suffix.len() + tail.len() + 4);
        tokens.extend([ids.bos, ids.fim_begin]);
        tokens.extend_from_slice(&prefix);
        let prefix_end = tokens.len();
        tokens.push(ids.fim_hole);
        tokens.extend_from_slice(&suffix);
        tokens.push(ids.fim_end);
        let suffix_end = tokens.len();
        tokens.extend(tail);
        Prompt { tokens, prefix_end, suffix_end, held }
    }

    /// A prompt without a hole: the model goes on where the text ends.
    pub fn plain(&self, prefix: &str, tail: &[u8]) -> Prompt {
        let mut tokens = vec![self.special().bos];
        tokens.extend_from_slice(&self.encode_kept(prefix));
        let (prefix_end, (tail, held)) = (tokens.len(), self.split_tail(tail));
        tokens.extend(tail);
        Prompt { tokens, prefix_end, suffix_end: prefix_end, held }
    }

    /// A conversation in DeepSeek-V2's chat template, and the model to speak next: nothing follows its `Assistant:`, not
    /// even a space, which is the beginning of its first word.
    pub fn chat(&self, turns: &[Turn]) -> Prompt {
        let ids = self.special();
        let (mut tokens, mut text) = (vec![ids.bos], String::new());
        for turn in turns {
            match turn.role {
                Role::System => text += &format!("{}\n\n", turn.text),
                Role::User => text += &format!("User: {}\n\n", turn.text),
                Role::Assistant => {
                    text += &format!("Assistant: {}", turn.text);
                    tokens.extend(self.encode(&std::mem::take(&mut text)));
                    tokens.push(ids.eos);
                }
            }
        }
        tokens.extend(self.encode(&(text + "Assistant:")));
        let end = tokens.len();
        Prompt { tokens, prefix_end: end, suffix_end: end, held: Vec::new() }
    }

    /// Tokens of the part of `tail` that no continuation can split in another way, and the bytes that are left.
    pub fn split_tail(&self, tail: &[u8]) -> (Vec<u32>, Vec<u8>) {
        let whole = whole_characters(tail);
        // Up to `whole` it is valid by definition.
        let text = std::str::from_utf8(&tail[..whole]).unwrap_or_default();
        let stable = split::stable(text);
        (self.encode_pieces(split::settled(text)), tail[stable..].to_vec())
    }
}
