//! A sequence at work: its tokens, its block table and its lease.
//!
//! ```text
//! begin [a b c d e …]   table = [shared, shared, own copy]   len = what the cache had
//! grow                  the next tokens write into the last block, which is our own; a new block from the cache when it is full
//! truncate              forgets positions (a draft that was wrong); the next write goes over them
//! end                   the table goes into the tree, the lease ends
//! ```
use super::Machine;
use super::run::Fault;
use crate::cache::{BlockId, Lease};
use crate::engine::{EngineError, Totals};
use crate::model::BLOCK;
use std::sync::PoisonError;

/// See the module.
pub struct Sequence {
    /// The tokens whose latents lie in `table`.
    pub tokens: Vec<u32>,
    pub table: Vec<BlockId>,
    lease: Lease,
    /// Tokens that came from the cache, and the longer match that was evicted.
    pub reused: usize,
    pub evicted: Option<usize>,
}

impl Machine {
    /// Takes from the cache what it has of `tokens`.
    pub fn begin(&mut self, tokens: &[u32]) -> Sequence {
        let found = self.cache.lookup(tokens);
        let (mut lease, mut table, mut matched) = (found.lease, found.blocks, found.matched);
        if let Some((from, slots)) = found.partial {
            match self.cache.alloc() {
                Ok(own) => {
                    self.backend.copy_block(from, own, slots);
                    table.push(own);
                }
                // Only with a tiny cache: the block to copy is itself the one that must make room.
                Err(_) => matched -= slots,
            }
            self.cache.unpin_partial(&mut lease);
        }
        Sequence { tokens: tokens[..matched].to_vec(), table, lease, reused: matched, evicted: found.evicted }
    }

    /// Blocks for `len` tokens.
    pub fn grow(&mut self, sequence: &mut Sequence, len: usize) -> Result<(), Fault> {
        while sequence.table.len() * BLOCK < len {
            sequence.table.push(self.cache.alloc().map_err(|full| pool_is_full(len, full.tokens))?);
        }
        Ok(())
    }

    /// Adds to the sums over the worker's life.
    pub fn add(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Gives the sequence to the cache.
    pub fn end(&mut self, sequence: Sequence) {
        self.cache.insert(&sequence.tokens, sequence.table);
        self.cache.release(sequence.lease);
    }
}

impl Sequence {
    /// Forgets all but the first `len` tokens. Never less than the prompt, so shared blocks are never written.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len.max(self.reused));
    }
}

/// The sequence is longer than the whole cache.
pub fn pool_is_full(needed: usize, holds: usize) -> Fault {
    let title = format!("{needed} tokens do not fit in the cache, which holds {holds}");
    Fault::Failed(EngineError { title, hint: "raise cache.bytes, or lower context.tokens".to_owned() })
}
