//! The prompt: `BOS FIM_BEGIN prefix FIM_HOLE suffix FIM_END tail…`, and where its parts end.
//!
//! ```text
//! prompt("fn f() {\n", "}\n", b"  le")  ->  tokens: … FIM_END, ` `   held: b" le" (it can still become ` let`)
//! ```
use super::Tokens;
use super::decode::whole_characters;
use super::split;

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

    /// Tokens of the part of `tail` that no continuation can split in another way, and the bytes that are left.
    pub fn split_tail(&self, tail: &[u8]) -> (Vec<u32>, Vec<u8>) {
        let whole = whole_characters(tail);
        // Up to `whole` it is valid by definition.
        let text = std::str::from_utf8(&tail[..whole]).unwrap_or_default();
        let stable = split::stable(text);
        (self.encode_pieces(split::settled(text)), tail[stable..].to_vec())
    }
}
