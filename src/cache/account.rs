//! What was evicted: a small memory of hashes, only to tell the user why a request missed.
//!
//! A hash that collides makes the account wrong, never the answer: tokens are compared in the tree.
use std::collections::{HashSet, VecDeque};

/// Hash of the empty path.
pub const SEED: u64 = 0xcbf2_9ce4_8422_2325;
/// Paths remembered; older ones are forgotten.
const REMEMBERED: usize = 4096;

/// The hash of a path that goes on with `tokens`.
pub fn extend(hash: u64, tokens: &[u32]) -> u64 {
    tokens.iter().fold(hash, |hash, &token| step(hash, token))
}

fn step(hash: u64, token: u32) -> u64 {
    let mixed = (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// The paths evicted last.
#[derive(Debug, Default)]
pub struct Evicted {
    order: VecDeque<u64>,
    set: HashSet<u64>,
}

impl Evicted {
    pub fn remember(&mut self, path: u64) {
        if self.set.insert(path) {
            self.order.push_back(path);
        }
        // Entries that were forgotten in between still stand in the queue; they fall out in their turn.
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.set.remove(&oldest);
            }
        }
    }

    /// The path is cached again.
    pub fn forget(&mut self, path: u64) {
        self.set.remove(&path);
    }

    /// The longest beginning of `tokens`, longer than `matched`, that ended an evicted block.
    pub fn longest(&self, tokens: &[u32], matched: usize) -> Option<usize> {
        if self.set.is_empty() {
            return None;
        }
        let mut hash = SEED;
        let mut longest = None;
        for (at, &token) in tokens.iter().enumerate() {
            hash = step(hash, token);
            if at + 1 > matched && self.set.contains(&hash) {
                longest = Some(at + 1);
            }
        }
        longest
    }
}
