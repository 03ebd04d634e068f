//! Prefix cache: a radix tree from tokens to latent blocks.
/// Index of a block in the backend's latent pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);
