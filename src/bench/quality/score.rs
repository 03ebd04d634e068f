//! How probable a true continuation is after a prompt, and whether greedy decoding writes it.
//!
//! ```text
//! tail "    ret", truth "urn x":  held " ret", tokens ` return`, ` x`
//! bits = -log2 P(` return` | tokens that agree with " ret") - log2 P(` x`)
//! ```
//! The steps that heal are normalised over the tokens that the worker would allow there, so the held bytes cost nothing.
//! Without a tail nothing is held, and the tokens are those of the continuation alone.
use crate::cache::BlockId;
use crate::model::{BLOCK, Backend};
use crate::tokens::Tokens;
use crate::worker::pick;
use anyhow::{Context, Result};

/// What the model is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    pub prefix: String,
    pub suffix: String,
    pub tail: String,
}

/// What became of one continuation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub bits: f64,
    /// Greedy decoding gives exactly the continuation, then a line end or the end.
    pub exact: bool,
}

/// A model with one sequence in its pool: what two prompts in a row have in common is computed once.
pub struct Scorer {
    backend: Box<dyn Backend>,
    tokens: Tokens,
    table: Vec<BlockId>,
    cached: Vec<u32>,
    /// Most tokens that a line may take.
    max_tokens: usize,
}

impl Scorer {
    /// `longest`: most tokens of a prompt and its continuation.
    pub fn new(backend: Box<dyn Backend>, tokens: Tokens, longest: usize, max_tokens: usize) -> Scorer {
        let blocks = longest.min(backend.context()) / BLOCK;
        let table = (0..blocks as u32).map(BlockId).collect();
        Scorer { backend, tokens, table, cached: Vec::new(), max_tokens }
    }

    /// The same split, moved back to the last settled token before it: the bytes since then are held.
    pub fn healed(&self, text: Text) -> Text {
        let held = self.tokens.prompt("", "", text.prefix.as_bytes()).held.len();
        let at = text.prefix.len() - held;
        Text { prefix: text.prefix[..at].into(), tail: text.prefix[at..].into(), suffix: text.suffix }
    }

    /// `None` when it does not fit in the model.
    pub fn score(&mut self, text: &Text, truth: &str) -> Result<Option<Score>> {
        let prompt = self.tokens.prompt(&text.prefix, &text.suffix, text.tail.as_bytes());
        // Nothing that comes later can split the tail's settled tokens in another way.
        let settled = prompt.tokens.len() - prompt.suffix_end;
        let wanted = self.tokens.encode(&(text.tail.clone() + truth)).split_off(settled);
        if prompt.tokens.len() + wanted.len() + self.max_tokens > self.table.len() * BLOCK {
            return Ok(None);
        }
        let mut sequence = prompt.tokens;
        sequence.extend_from_slice(&wanted);
        let rows = self.run(&sequence, wanted.len() + 1)?;
        let bits = self.bits(&rows, prompt.held.clone(), &wanted)?;
        sequence.truncate(sequence.len() - wanted.len());
        let exact = self.greedy(sequence, rows, prompt.held, &wanted, truth.as_bytes())?;
        Ok(Some(Score { bits, exact }))
    }

    /// The logits of the last `rows` tokens of `sequence`.
    fn run(&mut self, sequence: &[u32], rows: usize) -> Result<Vec<f32>> {
        let same = self.cached.iter().zip(sequence).take_while(|(a, b)| a == b).count();
        let start = same.min(sequence.len() - rows);
        self.cached.clear();
        let logits = self.backend.forward(&self.table, start, &sequence[start..], rows)?;
        self.cached.extend_from_slice(sequence);
        Ok(logits)
    }

    fn bits(&self, rows: &[f32], mut held: Vec<u8>, wanted: &[u32]) -> Result<f64> {
        let mut bits = 0.0;
        for (row, &token) in rows.chunks_exact(self.backend.vocab()).zip(wanted) {
            let allowed = self.allowed(&held);
            let logprob = pick::logprob(row, token, allowed.iter().copied()).context("the model's output is not a number")?;
            bits -= f64::from(logprob) / std::f64::consts::LN_2;
            held.drain(..self.tokens.bytes(token).len().min(held.len()));
        }
        Ok(bits)
    }

    /// The worker's rule.
    fn allowed(&self, held: &[u8]) -> Vec<u32> {
        let mut allowed = Vec::new();
        if held.is_empty() {
            allowed.extend(0..self.backend.vocab().min(self.tokens.len()) as u32);
        } else {
            self.tokens.agreeing(held, &mut allowed);
        }
        allowed
    }

    /// As the worker decodes, until it is known whether `truth` comes of it. `rows` are those of `wanted` after
    /// `sequence`; a pass is needed only where the same text comes in other tokens.
    fn greedy(&mut self, mut sequence: Vec<u32>, mut rows: Vec<f32>, mut held: Vec<u8>, wanted: &[u32], truth: &[u8]) -> Result<bool> {
        let (vocab, begin) = (self.backend.vocab(), sequence.len());
        let mut text = Vec::new();
        let (mut generated, mut at) = (0, 0);
        while generated < self.max_tokens {
            let allowed = self.allowed(&held);
            let row = &rows[at * vocab..(at + 1) * vocab];
            let token = pick::best(row, allowed.into_iter()).context("the model's output is not a number")?.token;
            let bytes = self.tokens.bytes(token);
            if bytes.is_empty() {
                break;
            }
            let covered = bytes.len().min(held.len());
            held.drain(..covered);
            generated += usize::from(bytes.len() > covered);
            text.extend_from_slice(&bytes[covered..]);
            if let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                return Ok(text[..end] == *truth);
            }
            if !truth.starts_with(&text) {
                return Ok(false);
            }
            sequence.push(token);
            if wanted.starts_with(&sequence[begin..]) {
                at += 1;
            } else {
                (rows, at) = (self.run(&sequence, 1)?, 0);
            }
        }
        Ok(text == truth)
    }
}

#[cfg(test)]
mod tests;
