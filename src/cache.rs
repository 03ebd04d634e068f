//! Prefix cache: a radix tree from tokens to latent blocks. No tensors and no IO: it hands out block numbers.
//!
//! Each node is one block with its tokens; only full blocks have children. With blocks of two tokens:
//!
//! ```
//! use infill::cache::Cache;
//! let mut cache = Cache::new(2, 8);
//! let (a, b) = (cache.alloc()?, cache.alloc()?);
//! cache.insert(&[1, 2, 3], vec![a, b]); // a holds [1, 2], b holds [3]
//! let found = cache.lookup(&[1, 2, 3, 4]);
//! assert_eq!((found.matched, &found.blocks, found.partial), (3, &vec![a], Some((b, 1))));
//! cache.release(found.lease);
//! # Ok::<(), infill::cache::Full>(())
//! ```
//! Blocks in the tree never change. A sequence that goes on inside a block copies it first, so the block it writes is its own.
use std::collections::{BTreeSet, HashSet};

mod account;
mod check;
#[cfg(test)]
mod tests;

use account::Evicted;
pub use check::Place;

/// Index of a block in the backend's latent pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Nothing can be evicted: every block belongs to a sequence in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} blocks of the cache are in use ({tokens} tokens)")]
pub struct Full {
    pub capacity: usize,
    /// How many tokens the whole cache can hold.
    pub tokens: usize,
}

/// A path in the tree that must stay. Give it back with [`Cache::release`].
#[derive(Debug)]
#[must_use]
pub struct Lease {
    node: usize,
    partial: Option<usize>,
}

/// The longest cached beginning of a sequence.
#[derive(Debug)]
pub struct Match {
    pub lease: Lease,
    /// Full blocks, shared: position `p` lies in `blocks[p / block_size]`.
    pub blocks: Vec<BlockId>,
    /// A block whose first `n` positions match too; copy them into a block of your own.
    pub partial: Option<(BlockId, usize)>,
    /// Tokens matched: all of `blocks` and the `n` of `partial`.
    pub matched: usize,
    /// A longer beginning was cached once: so many tokens, and it was evicted.
    pub evicted: Option<usize>,
}

#[derive(Debug)]
struct Node {
    parent: usize,
    children: Vec<usize>,
    tokens: Box<[u32]>,
    block: BlockId,
    leases: u32,
    last_used: u64,
    /// Hash of all tokens from the root to the end of this node; only for the account of misses.
    path_hash: u64,
}

/// Node 0: the empty sequence. It has no block and is never evicted.
const ROOT: usize = 0;

/// The tree and the list of free blocks.
#[derive(Debug)]
pub struct Cache {
    block_size: usize,
    capacity: usize,
    nodes: Vec<Option<Node>>,
    vacant: Vec<usize>,
    /// Blocks that came back, and the number of the first that was never used: a large budget costs nothing until then.
    free: Vec<BlockId>,
    fresh: u32,
    /// Blocks handed out by `alloc` and not yet given back.
    lent: HashSet<BlockId>,
    /// Unleased leaves, least recently used first.
    evictable: BTreeSet<(u64, usize)>,
    evicted: Evicted,
    clock: u64,
}

impl Cache {
    /// An empty cache of `capacity_blocks` blocks, `block_size` tokens each.
    pub fn new(block_size: usize, capacity_blocks: usize) -> Cache {
        let root = Node {
            parent: ROOT,
            children: Vec::new(),
            tokens: Box::default(),
            block: BlockId(u32::MAX),
            leases: 0,
            last_used: 0,
            path_hash: account::SEED,
        };
        Cache {
            block_size: block_size.max(1),
            capacity: capacity_blocks.min(u32::MAX as usize - 1),
            nodes: vec![Some(root)],
            vacant: Vec::new(),
            free: Vec::new(),
            fresh: 0,
            lent: HashSet::new(),
            evictable: BTreeSet::new(),
            evicted: Evicted::default(),
            clock: 0,
        }
    }

    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Blocks in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Blocks that the tree holds.
    pub fn cached_blocks(&self) -> usize {
        self.fresh as usize - self.free.len() - self.lent.len()
    }

    /// The longest cached beginning of `tokens`, leased until [`Cache::release`].
    pub fn lookup(&mut self, tokens: &[u32]) -> Match {
        self.clock += 1;
        let (mut node, mut blocks) = (ROOT, Vec::new());
        self.touch(ROOT);
        for chunk in tokens.chunks_exact(self.block_size) {
            let Some(child) = self.child_equal(node, chunk) else { break };
            blocks.push(self.node(child).block);
            self.touch(child);
            node = child;
        }
        let done = blocks.len() * self.block_size;
        let partial = self.child_sharing(node, &tokens[done..]);
        let matched = done + partial.map_or(0, |(_, n)| n);
        if let Some((leaf, _)) = partial {
            self.touch(leaf);
        }
        let lease = self.lease(node, partial.map(|(leaf, _)| leaf));
        let partial = partial.map(|(leaf, n)| (self.node(leaf).block, n));
        let evicted = self.evicted.longest(tokens, matched);
        Match { lease, blocks, partial, matched, evicted }
    }

    /// A block for the caller alone. Evicts the least recently used leaf when none is free.
    pub fn alloc(&mut self) -> Result<BlockId, Full> {
        if self.free.is_empty() && self.fresh as usize == self.capacity {
            self.evict();
        }
        let full = Full { capacity: self.capacity, tokens: self.capacity * self.block_size };
        let block = self.free.pop().or_else(|| self.first_use()).ok_or(full)?;
        self.lent.insert(block);
        Ok(block)
    }

    fn first_use(&mut self) -> Option<BlockId> {
        let unused = (self.fresh as usize) < self.capacity;
        self.fresh += u32::from(unused);
        unused.then(|| BlockId(self.fresh - 1))
    }

    /// Gives back a block from `alloc`, with nothing in it worth keeping.
    pub fn free(&mut self, block: BlockId) {
        if self.lent.remove(&block) {
            self.free.push(block);
        }
    }

    /// Takes a sequence into the tree. `blocks` is its whole table: those from `lookup` and those from `alloc`; the
    /// latter belong to the cache from here on. Tokens that have no block are not kept.
    pub fn insert(&mut self, tokens: &[u32], blocks: Vec<BlockId>) {
        self.clock += 1;
        self.touch(ROOT);
        let mut node = Some(ROOT);
        for (chunk, &block) in tokens.chunks(self.block_size).zip(&blocks) {
            node = node.and_then(|parent| self.insert_chunk(parent, chunk, block));
        }
        // What the tree took is no longer lent; what is left is a duplicate or was never filled.
        for block in blocks {
            self.free(block);
        }
    }

    /// Ends a lease: its blocks may be evicted again.
    pub fn release(&mut self, mut lease: Lease) {
        self.unpin_partial(&mut lease);
        let mut node = lease.node;
        while node != ROOT {
            let entry = self.node_mut(node);
            entry.leases = entry.leases.saturating_sub(1);
            let parent = entry.parent;
            self.refresh(node);
            node = parent;
        }
    }

    /// Lets go of the partial block of a match, once it is copied (or given up).
    pub fn unpin_partial(&mut self, lease: &mut Lease) {
        let Some(leaf) = lease.partial.take() else { return };
        let entry = self.node_mut(leaf);
        entry.leases = entry.leases.saturating_sub(1);
        self.refresh(leaf);
        self.drop_if_covered(leaf);
    }

    fn lease(&mut self, deepest: usize, partial: Option<usize>) -> Lease {
        let mut node = deepest;
        while node != ROOT {
            self.node_mut(node).leases += 1;
            self.refresh(node);
            node = self.node(node).parent;
        }
        if let Some(leaf) = partial {
            self.node_mut(leaf).leases += 1;
            self.refresh(leaf);
        }
        Lease { node: deepest, partial }
    }

    /// One block of a new sequence below `parent`; the node to go on from, if the chunk was a full one.
    fn insert_chunk(&mut self, parent: usize, chunk: &[u32], block: BlockId) -> Option<usize> {
        let full = chunk.len() == self.block_size;
        if let Some(there) = self.child_covering(parent, chunk) {
            self.touch(there);
            return full.then_some(there);
        }
        self.lent.remove(&block);
        for shorter in self.children_within(parent, chunk) {
            self.remove(shorter);
        }
        let node = self.add(parent, chunk, block);
        full.then_some(node)
    }

    fn add(&mut self, parent: usize, tokens: &[u32], block: BlockId) -> usize {
        let path_hash = account::extend(self.node(parent).path_hash, tokens);
        let node = Node { parent, children: Vec::new(), tokens: tokens.into(), block, leases: 0, last_used: self.clock, path_hash };
        let id = self.vacant.pop().unwrap_or(self.nodes.len());
        if id == self.nodes.len() {
            self.nodes.push(None);
        }
        self.nodes[id] = Some(node);
        self.evicted.forget(path_hash);
        self.node_mut(parent).children.push(id);
        self.refresh(parent);
        self.refresh(id);
        id
    }

    /// Takes a leaf out of the tree; its block is free.
    fn remove(&mut self, id: usize) {
        let Some(node) = self.nodes[id].take() else { return };
        self.evictable.remove(&(node.last_used, id));
        self.vacant.push(id);
        self.free.push(node.block);
        self.node_mut(node.parent).children.retain(|&child| child != id);
        self.refresh(node.parent);
    }

    fn evict(&mut self) {
        let Some(&(_, id)) = self.evictable.first() else { return };
        self.evicted.remember(self.node(id).path_hash);
        self.remove(id);
    }

    /// A partial leaf that a sibling holds too (it was leased when the longer one came) is of no more use.
    fn drop_if_covered(&mut self, leaf: usize) {
        let node = self.node(leaf);
        if node.leases > 0 || !node.children.is_empty() || node.tokens.len() == self.block_size {
            return;
        }
        let covers = |&id: &usize| id != leaf && self.node(id).tokens.starts_with(&node.tokens);
        if self.node(node.parent).children.iter().any(covers) {
            self.remove(leaf);
        }
    }

    fn touch(&mut self, id: usize) {
        let clock = self.clock;
        let node = self.node_mut(id);
        let before = std::mem::replace(&mut node.last_used, clock);
        if self.evictable.remove(&(before, id)) {
            self.evictable.insert((clock, id));
        }
    }

    /// Puts a node on the list of what may be evicted, or takes it off.
    fn refresh(&mut self, id: usize) {
        let node = self.node(id);
        let key = (node.last_used, id);
        if id != ROOT && node.leases == 0 && node.children.is_empty() {
            self.evictable.insert(key);
        } else {
            self.evictable.remove(&key);
        }
    }

    fn child_equal(&self, parent: usize, chunk: &[u32]) -> Option<usize> {
        self.find_child(parent, |tokens| tokens == chunk)
    }

    /// A child that holds all of `chunk`.
    fn child_covering(&self, parent: usize, chunk: &[u32]) -> Option<usize> {
        self.find_child(parent, |tokens| tokens.starts_with(chunk))
    }

    fn find_child(&self, parent: usize, test: impl Fn(&[u32]) -> bool) -> Option<usize> {
        self.node(parent).children.iter().copied().find(|&id| test(&self.node(id).tokens))
    }

    /// Partial leaves that hold only the beginning of `chunk`, and that nobody leases.
    fn children_within(&self, parent: usize, chunk: &[u32]) -> Vec<usize> {
        let within = |id: &usize| {
            let node = self.node(*id);
            node.leases == 0 && node.children.is_empty() && chunk.starts_with(&node.tokens)
        };
        self.node(parent).children.iter().copied().filter(within).collect()
    }

    /// The child that shares most of the beginning of `rest`, and how much.
    fn child_sharing(&self, parent: usize, rest: &[u32]) -> Option<(usize, usize)> {
        let shared = |id: usize| self.node(id).tokens.iter().zip(rest).take_while(|(a, b)| a == b).count();
        let best = self.node(parent).children.iter().map(|&id| (id, shared(id)));
        best.filter(|&(_, n)| n > 0).max_by_key(|&(_, n)| n)
    }

    /// Ids come from the tree itself, so the node is there; `check` and the random tests hold this up.
    fn node(&self, id: usize) -> &Node {
        self.nodes[id].as_ref().expect("a node that the tree names exists")
    }

    fn node_mut(&mut self, id: usize) -> &mut Node {
        self.nodes[id].as_mut().expect("a node that the tree names exists")
    }
}
