//! DeepSeek-V2: what a backend owes the worker.
//!
//! A backend owns the weights and the pool of latent blocks. The worker decides which blocks a sequence uses
//! (its block table) and asks for a forward pass over new tokens only:
//!
//! ```text
//! table = [7, 3]            block 7 holds positions 0..16, block 3 holds 16..32
//! forward(table, 20, [a, b], 1)   writes latents at positions 20 and 21 (slots 4, 5 of block 3), returns logits after b
//! ```
use crate::cache::BlockId;

pub mod config;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod error;
pub mod gguf;
pub mod matrix;
pub mod pool;
pub(crate) mod source;
pub mod store;
pub mod weights;

/// Positions per latent block.
pub const BLOCK: usize = 16;

/// New tokens of one sequence: what [`Backend::forward`] takes.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub table: &'a [BlockId],
    pub start: usize,
    pub tokens: &'a [u32],
    pub rows: usize,
}

/// One loaded model on one device, with its latent pool. Used by one thread.
pub trait Backend: Send {
    /// Size of the vocabulary: the length of one row of logits.
    fn vocab(&self) -> usize;
    /// Most positions one sequence may have.
    fn context(&self) -> usize;
    /// Bytes of latent cache in one block, over all layers.
    fn block_bytes(&self) -> usize;
    /// Runs `tokens` at positions `start..start + tokens.len()` of the sequence whose latents lie in `table`
    /// (`table[p / BLOCK]` holds position `p`), writes their latents, and returns the logits of the last `rows`
    /// tokens, row-major `[rows, vocab]`. `rows` may be 0 (prefill only).
    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<Vec<f32>>;
    /// Most tokens that one pass of [`Backend::batch`] takes for little more than the price of one; 1: sequences gain nothing by running together.
    fn together(&self) -> usize {
        1
    }
    /// Fewest tokens of a prompt that are worth a pass: with fewer it costs about the same.
    fn worthwhile(&self) -> usize {
        16
    }
    /// Runs the parts of several sequences, in one pass where that is cheaper; the logits of each, as [`Backend::forward`] gives them. No block
    /// that one part writes may be in the table of another.
    fn batch(&mut self, parts: &[Part<'_>]) -> anyhow::Result<Vec<Vec<f32>>> {
        parts.iter().map(|p| self.forward(p.table, p.start, p.tokens, p.rows)).collect()
    }
    /// Most steps that one call of [`Backend::ahead`] takes; 0: it takes none, and the caller chooses from logits.
    fn steps(&self) -> usize {
        0
    }
    /// For each part, at most [`Backend::together`] of one token each: runs its token, then the most probable one after it, and so on, `steps`
    /// tokens in all, without a look at the logits in between. What was chosen after each, with the natural log of its probability; never a
    /// token from `limit` on. The tables must have room for all of them.
    fn ahead(&mut self, _parts: &[Part<'_>], _limit: usize, _steps: usize) -> anyhow::Result<Vec<Vec<(u32, f32)>>> {
        anyhow::bail!("this backend chooses no tokens")
    }
    /// Copies the first `slots` positions of block `from` into block `to` (a sequence branches inside a block).
    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize);
}
