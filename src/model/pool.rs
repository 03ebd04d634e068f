//! The latent pool: for every position of every cached sequence, per layer, the normed latent and the rotated key.
//!
//! ```
//! use infill::{cache::BlockId, model::pool::Pool};
//! let mut pool = Pool::new(2, 3); // layers, values per position
//! pool.grow(BlockId(4));
//! pool.slot_mut(BlockId(4), 1, 15).copy_from_slice(&[1.0, 2.0, 3.0]);
//! assert_eq!(pool.block(BlockId(4), 1)[45..], [1.0, 2.0, 3.0]);
//! assert!(pool.block(BlockId(4), 0)[0].is_nan());
//! ```
//! A block is one allocation, so the pool grows without moving anything. Slots that nobody has written hold NaN: a
//! read of one reaches the logits, where a test sees it.
use super::BLOCK;
use crate::cache::BlockId;

/// Blocks of 16 positions, `[layers][16][width]` f32 each.
pub struct Pool {
    layers: usize,
    width: usize,
    /// By block id; empty where the id has never been used.
    blocks: Vec<Box<[f32]>>,
}

impl Pool {
    /// An empty pool for `layers` layers with `width` values per position.
    pub fn new(layers: usize, width: usize) -> Self {
        Self { layers, width, blocks: Vec::new() }
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.layers * BLOCK * self.width * size_of::<f32>()
    }

    /// Makes block `id` usable.
    pub fn grow(&mut self, id: BlockId) {
        let i = id.0 as usize;
        if i >= self.blocks.len() {
            self.blocks.resize_with(i + 1, Box::default);
        }
        if self.blocks[i].is_empty() {
            self.blocks[i] = vec![f32::NAN; self.layers * BLOCK * self.width].into();
        }
    }

    /// One layer of a block that [`Pool::grow`] has seen, `[16, width]`.
    pub fn block(&self, id: BlockId, layer: usize) -> &[f32] {
        let n = BLOCK * self.width;
        &self.blocks[id.0 as usize][layer * n..(layer + 1) * n]
    }

    /// One position of one layer, `[width]`.
    pub fn slot_mut(&mut self, id: BlockId, layer: usize, slot: usize) -> &mut [f32] {
        let at = (layer * BLOCK + slot) * self.width;
        &mut self.blocks[id.0 as usize][at..at + self.width]
    }

    /// Copies the first `slots` positions of `from` to `to`; the rest of `to` becomes unwritten.
    pub fn copy(&mut self, from: BlockId, to: BlockId, slots: usize) {
        self.grow(from);
        self.grow(to);
        if from == to {
            return;
        }
        self.poison(to, slots);
        let copy = std::mem::take(&mut self.blocks[from.0 as usize]);
        let n = BLOCK * self.width;
        for (to, from) in self.blocks[to.0 as usize].chunks_exact_mut(n).zip(copy.chunks_exact(n)) {
            to[..slots * self.width].copy_from_slice(&from[..slots * self.width]);
        }
        self.blocks[from.0 as usize] = copy;
    }

    /// Marks the positions of a block from `slot` on as unwritten.
    pub fn poison(&mut self, id: BlockId, slot: usize) {
        self.grow(id);
        for layer in self.blocks[id.0 as usize].chunks_exact_mut(BLOCK * self.width) {
            layer[slot * self.width..].fill(f32::NAN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_the_first_slots_of_every_layer() {
        let mut pool = Pool::new(2, 4);
        pool.grow(BlockId(0));
        for (layer, slot) in [(0, 0), (1, 2), (1, 3)] {
            pool.slot_mut(BlockId(0), layer, slot).fill(5.0);
        }
        pool.copy(BlockId(0), BlockId(7), 3);
        assert_eq!(pool.block(BlockId(7), 0)[..4], [5.0; 4]);
        assert_eq!(pool.block(BlockId(7), 1)[8..12], [5.0; 4]);
        assert!(pool.block(BlockId(7), 1)[12..].iter().all(|x| x.is_nan()));
        assert_eq!(pool.block(BlockId(0), 1)[12..16], [5.0; 4]);
    }

    #[test]
    fn poison_reaches_every_layer() {
        let mut pool = Pool::new(2, 1);
        pool.grow(BlockId(0));
        (0..BLOCK).for_each(|s| (0..2).for_each(|l| pool.slot_mut(BlockId(0), l, s).fill(1.0)));
        pool.poison(BlockId(0), 15);
        assert!((0..2).all(|l| pool.block(BlockId(0), l)[14] == 1.0 && pool.block(BlockId(0), l)[15].is_nan()));
    }
}
