//! Random operations on the cache against a list of sequences, with two tokens and blocks of two.
use super::{BlockId, Cache, Match};
use proptest::prelude::*;
use std::collections::HashMap;

/// What a slot of the pool holds: the hash of all tokens up to it, as latents depend on all tokens before.
type Pool = HashMap<(BlockId, usize), u64>;

#[derive(Clone, Debug)]
enum Op {
    /// Look up, write the rest, insert the first `keep` tokens (as after a cancel), release.
    Run { tokens: Vec<u32>, keep: usize },
    /// Look up and hold the lease.
    Hold(Vec<u32>),
    /// Let the oldest held lease go.
    Drop,
    /// Take private blocks and give them back.
    Churn(usize),
}

struct Model {
    cache: Cache,
    pool: Pool,
    /// Every sequence that was ever inserted.
    inserted: Vec<Vec<u32>>,
    held: Vec<Match>,
}

const SIZE: usize = 2;

impl Model {
    fn new(capacity: usize) -> Model {
        Model { cache: Cache::new(SIZE, capacity), pool: Pool::new(), inserted: Vec::new(), held: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Run { tokens, keep } => self.run(tokens, *keep),
            Op::Hold(tokens) => {
                let found = self.look(tokens);
                self.held.push(found);
            }
            Op::Drop if !self.held.is_empty() => {
                let found = self.held.remove(0);
                self.cache.release(found.lease);
            }
            Op::Drop => {}
            Op::Churn(n) => {
                let taken: Vec<_> = (0..*n).map_while(|_| self.cache.alloc().ok()).collect();
                taken.into_iter().for_each(|block| self.cache.free(block));
            }
        }
        self.cache.check().unwrap();
        self.verify_held();
    }

    /// A lookup, compared with the list of sequences and with the contents of the pool.
    fn look(&mut self, tokens: &[u32]) -> Match {
        let found = self.cache.lookup(tokens);
        let best = self.inserted.iter().map(|old| shared(old, tokens)).max().unwrap_or(0);
        assert!(found.matched <= best, "{} matched, {best} ever inserted", found.matched);
        let whole = found.blocks.len() * SIZE;
        assert_eq!(found.matched, whole + found.partial.map_or(0, |(_, n)| n));
        if let Some(length) = found.evicted {
            assert!(length > found.matched && length <= best, "evicted {length}, best {best}");
        }
        // Only whole blocks are in the account: a block whose end the lookup shares.
        if best / SIZE * SIZE > found.matched {
            assert!(found.evicted.is_some(), "{best} once, {} now, and no account of it", found.matched);
        }
        self.verify(tokens, &found);
        found
    }

    fn verify(&self, tokens: &[u32], found: &Match) {
        let whole = found.blocks.len() * SIZE;
        for at in 0..found.matched {
            let block = if at < whole { found.blocks[at / SIZE] } else { found.partial.unwrap().0 };
            let slot = self.pool.get(&(block, at % SIZE)).copied();
            assert_eq!(slot, Some(hash(&tokens[..=at])), "position {at} of {tokens:?} in {block:?}");
        }
    }

    fn verify_held(&self) {
        for found in &self.held {
            for block in found.blocks.iter().copied().chain(found.partial.map(|(block, _)| block)) {
                assert!(!self.cache.free.contains(&block) && !self.cache.lent.contains(&block), "{block:?} is leased");
            }
        }
    }

    fn run(&mut self, tokens: &[u32], keep: usize) {
        let found = self.look(tokens);
        let (mut lease, mut table) = (found.lease, found.blocks);
        let mut len = table.len() * SIZE;
        if let Some((from, n)) = found.partial {
            if let Ok(own) = self.cache.alloc() {
                for slot in 0..n {
                    self.pool.insert((own, slot), self.pool[&(from, slot)]);
                }
                table.push(own);
                len += n;
            }
            self.cache.unpin_partial(&mut lease);
        }
        while len < tokens.len().min(keep.max(len)) {
            if len == table.len() * SIZE {
                let Ok(own) = self.cache.alloc() else { break };
                table.push(own);
            }
            self.pool.insert((table[len / SIZE], len % SIZE), hash(&tokens[..=len]));
            len += 1;
        }
        self.cache.insert(&tokens[..len], table);
        self.inserted.push(tokens[..len].to_vec());
        self.cache.check().unwrap();
        self.cache.release(lease);
    }
}

fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn hash(tokens: &[u32]) -> u64 {
    tokens.iter().fold(7, |h: u64, &t| h.wrapping_mul(31).wrapping_add(u64::from(t) + 1))
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..2u32, 0..9)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (tokens(), 0..9usize).prop_map(|(tokens, keep)| Op::Run { tokens, keep }),
        2 => tokens().prop_map(Op::Hold),
        2 => Just(Op::Drop),
        1 => (0..5usize).prop_map(Op::Churn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_keep_the_invariants(capacity in 0..14usize, ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(capacity);
        for op in &ops {
            model.apply(op);
        }
        for found in std::mem::take(&mut model.held) {
            model.cache.release(found.lease);
        }
        model.cache.check().unwrap();
        prop_assert_eq!(model.cache.leased_nodes(), 0);
        // With no lease left, every block can be had.
        let all = (0..capacity).filter(|_| model.cache.alloc().is_ok()).count();
        prop_assert_eq!(all, capacity);
    }

    #[test]
    fn without_eviction_the_longest_match_is_found(sequences in prop::collection::vec(tokens(), 1..30), asked in tokens()) {
        let mut model = Model::new(1000);
        for sequence in &sequences {
            model.run(sequence, usize::MAX);
        }
        let best = sequences.iter().map(|old| shared(old, &asked)).max().unwrap_or(0);
        let found = model.look(&asked);
        prop_assert_eq!((found.matched, found.evicted), (best, None));
        model.cache.release(found.lease);
    }
}

fn filled(capacity: usize, sequences: &[&[u32]]) -> Model {
    let mut model = Model::new(capacity);
    for sequence in sequences {
        model.run(sequence, usize::MAX);
    }
    model
}

#[test]
fn nothing_fits_in_no_blocks() {
    let mut cache = Cache::new(SIZE, 0);
    assert_eq!(cache.alloc().unwrap_err().to_string(), "all 0 blocks of the cache are in use (0 tokens)");
    cache.insert(&[1, 2, 3], vec![]);
    let found = cache.lookup(&[1, 2, 3]);
    assert_eq!((found.matched, found.blocks.len()), (0, 0));
    cache.release(found.lease);
    cache.check().unwrap();
}

#[test]
fn a_sequence_longer_than_the_cache_is_an_error() {
    let mut cache = Cache::new(SIZE, 1);
    let only = cache.alloc().unwrap();
    assert!(cache.alloc().is_err());
    cache.insert(&[1, 2, 3, 4], vec![only]);
    let found = cache.lookup(&[1, 2, 3, 4]);
    assert_eq!((found.matched, found.blocks.clone()), (2, vec![only]));
    assert!(cache.alloc().is_err(), "the only block is leased");
    cache.release(found.lease);
    assert_eq!(cache.alloc(), Ok(only));
    cache.check().unwrap();
}

#[test]
fn the_least_recently_used_leaf_goes_first_and_is_accounted_for() {
    let mut model = filled(4, &[&[0, 0, 0, 0], &[1, 1, 1, 1]]);
    let found = model.look(&[0, 0, 0, 0]);
    model.cache.release(found.lease);
    let block = model.cache.alloc().unwrap();
    model.cache.free(block);
    let found = model.look(&[1, 1, 1, 1]);
    assert_eq!((found.matched, found.evicted), (2, Some(4)));
    model.cache.release(found.lease);
    let found = model.look(&[0, 0, 0, 0]);
    assert_eq!((found.matched, found.evicted), (4, None));
    model.cache.release(found.lease);
}

#[test]
fn a_longer_leaf_takes_the_place_of_a_shorter_one() {
    let mut model = filled(8, &[&[0, 1, 1], &[0, 1, 1, 0]]);
    assert_eq!(model.cache.cached_blocks(), 2);
    // The same, while the shorter one is leased: both stay until the lease ends.
    let held = model.look(&[1]);
    model.run(&[1], usize::MAX);
    let short = model.look(&[1]);
    model.run(&[1, 1], usize::MAX);
    assert_eq!(model.cache.cached_blocks(), 4);
    model.cache.release(short.lease);
    assert_eq!(model.cache.cached_blocks(), 3);
    model.cache.release(held.lease);
    model.cache.check().unwrap();
}

#[test]
fn a_match_inside_a_block_names_the_block_to_copy() {
    let mut model = filled(8, &[&[0, 1, 1, 0]]);
    let found = model.look(&[0, 1, 1, 1]);
    assert_eq!((found.blocks.len(), found.partial.map(|(_, n)| n), found.matched), (1, Some(1), 3));
    model.cache.release(found.lease);
}
