//! The invariants of the cache, as one method for the tests.
//!
//! ```
//! let cache = infill::cache::Cache::new(16, 4);
//! assert_eq!(cache.check(), Ok(()));
//! ```
use super::{BlockId, Cache, Node, ROOT};
use std::collections::HashMap;

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// Handed out: who has it may write it.
    Lent,
    /// Read only; it stays while it is leased.
    Tree {
        leased: bool,
    },
}

impl Cache {
    /// Every block is in exactly one place, links agree, leases cover their ancestors, the clock never runs backwards
    /// towards the root, and no idle leaf repeats its sibling.
    pub fn check(&self) -> Result<(), String> {
        self.check_blocks()?;
        for (id, node) in self.live() {
            self.check_links(id, node)?;
            self.check_tokens(id, node)?;
            self.check_eviction(id, node)?;
        }
        let reachable = self.count_below(ROOT);
        ensure(reachable == self.live().count(), || format!("{reachable} nodes hang on the root of {}", self.live().count()))
    }

    /// Leases on nodes below the root, by number of leases; for tests that know how many they hold.
    pub fn leased_nodes(&self) -> usize {
        self.live().filter(|(_, node)| node.leases > 0).count()
    }

    /// Where a block is, for tests that hold tables.
    pub fn place(&self, block: BlockId) -> Place {
        let in_tree = self.live().find(|&(id, node)| id != ROOT && node.block == block);
        match in_tree {
            Some((_, node)) => Place::Tree { leased: node.leases > 0 },
            None if self.lent.contains(&block) => Place::Lent,
            None => Place::Free,
        }
    }

    /// Blocks that sequences at work hold for themselves.
    pub fn lent_blocks(&self) -> usize {
        self.lent.len()
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(id, node)| Some((id, node.as_ref()?)))
    }

    fn count_below(&self, id: usize) -> usize {
        1 + self.node(id).children.iter().map(|&child| self.count_below(child)).sum::<usize>()
    }

    fn check_blocks(&self) -> Result<(), String> {
        let mut places: HashMap<u32, usize> = HashMap::new();
        let in_tree = self.live().filter(|&(id, _)| id != ROOT).map(|(_, node)| node.block);
        for block in self.free.iter().chain(&self.lent).copied().chain(in_tree) {
            *places.entry(block.0).or_default() += 1;
        }
        ensure(self.fresh as usize <= self.capacity, || format!("{} blocks of {}", self.fresh, self.capacity))?;
        for block in 0..self.fresh {
            let count = places.remove(&block).unwrap_or(0);
            ensure(count == 1, || format!("block {block} is in {count} places"))?;
        }
        ensure(places.is_empty(), || format!("unknown blocks {places:?}"))
    }

    fn check_links(&self, id: usize, node: &Node) -> Result<(), String> {
        let mut child_leases = 0;
        for &child in &node.children {
            let entry = self.nodes.get(child).and_then(Option::as_ref).ok_or(format!("{id} names a missing child {child}"))?;
            ensure(entry.parent == id, || format!("{child} is a child of {id} and of {}", entry.parent))?;
            ensure(entry.last_used <= node.last_used, || format!("{child} was used after its parent {id}"))?;
            child_leases = child_leases.max(entry.leases);
        }
        ensure(id == ROOT || node.leases > 0 || child_leases == 0, || format!("{id} has a leased child and no lease"))?;
        ensure(node.last_used <= self.clock, || format!("{id} was used in the future"))
    }

    fn check_tokens(&self, id: usize, node: &Node) -> Result<(), String> {
        let full = node.tokens.len() == self.block_size;
        ensure(id == ROOT || (1..=self.block_size).contains(&node.tokens.len()), || format!("{id} has {} tokens", node.tokens.len()))?;
        ensure(id == ROOT || full || node.children.is_empty(), || format!("{id} is partial and has children"))?;
        for (at, &a) in node.children.iter().enumerate() {
            for &b in &node.children[at + 1..] {
                self.check_siblings(a, b)?;
            }
        }
        Ok(())
    }

    fn check_siblings(&self, a: usize, b: usize) -> Result<(), String> {
        let (short, long) = if self.node(a).tokens.len() <= self.node(b).tokens.len() { (a, b) } else { (b, a) };
        let (short_node, long_node) = (self.node(short), self.node(long));
        let repeats = long_node.tokens.starts_with(&short_node.tokens);
        let same_length = long_node.tokens.len() == short_node.tokens.len();
        ensure(!repeats || (!same_length && short_node.leases > 0), || format!("{short} repeats its sibling {long}"))
    }

    fn check_eviction(&self, id: usize, node: &Node) -> Result<(), String> {
        let may = id != ROOT && node.leases == 0 && node.children.is_empty();
        let listed = self.evictable.contains(&(node.last_used, id));
        ensure(may == listed, || format!("{id}: may be evicted {may}, listed {listed}"))?;
        let unique = self.evictable.iter().filter(|&&(_, other)| other == id).count() <= 1;
        ensure(unique, || format!("{id} is listed twice"))
    }
}

fn ensure(holds: bool, say: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(say()) }
}
