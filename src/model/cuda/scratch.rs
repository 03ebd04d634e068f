//! Device memory that a forward pass needs beside weights and pool, allocated once.
//!
//! ```text
//! Lite, pieces of 2,048 tokens: sorted experts' rows 100 MB, attention's sums 67 MB, queries 38–75 MB, … about 0.5 GB
//! ```
use super::args::Ptr;
use super::gpu::{Buffer, Gpu};
use super::weights::Columns;
use crate::model::config::Config;
use anyhow::Result;
use std::sync::Arc;

/// Tokens, of one sequence or several, up to which a pass reads its weights by rows (gemv, experts) instead of in tiles.
pub const FEW: usize = 8;
/// Numbers before the tokens in `control`.
pub const CONTROL: usize = 3 * FEW;
/// Rows of logits that are computed together.
pub const ROWS: usize = 32;
/// Decode steps without a word from the host.
pub const STEPS: usize = 64;
/// Most parts that attention over one context is split into.
pub const SPLITS: usize = 64;

/// Sizes that follow from the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Most tokens that go through the layers together.
    pub piece: usize,
    /// Splits times tokens that attention has room for.
    pub parts: usize,
    /// Most blocks in a block table.
    pub table: usize,
}

impl Sizes {
    pub fn new(c: &Config, blocks: usize) -> Self {
        // Attention's sums: 128 heads take eight times the memory of 16.
        let piece = (32_768 / c.heads.max(1)).clamp(64, 2048).min(c.context.max(FEW));
        Self { piece, parts: piece.max(FEW * SPLITS), table: blocks.min(c.context.div_ceil(crate::model::BLOCK)).max(1) }
    }
}

/// The buffers, by what they hold.
pub struct Scratch {
    pub sizes: Sizes,
    /// int32: for each of [`FEW`] sequences where it goes on, steps taken and the first entry of its table; then the tokens.
    pub control: Buffer,
    pub table: Buffer,
    /// f32 `[piece, hidden]`; the same after a norm, bf16.
    pub hidden: Buffer,
    pub normed: Buffer,
    /// f32 `[piece, queries | latent | low rank]`, and the low rank after its norm, bf16.
    pub qkv: Buffer,
    pub low: Buffer,
    /// bf16 `[piece, heads, nope]`; f32 or bf16 `[piece, heads, latent]`.
    pub nope: Buffer,
    pub query: Buffer,
    /// f32 `[parts, heads, kv_lora]` and `[parts, heads, 2]`.
    pub acc: Buffer,
    pub ml: Buffer,
    /// bf16 `[piece, heads, kv_lora]`; f32 or bf16 `[piece, heads, v]`.
    pub means: Buffer,
    pub values: Buffer,
    /// f32 for few tokens, bf16 for many: what is between the halves of an MLP.
    pub act: Buffer,
    /// f32 `[piece · chosen, hidden]`
    pub rows: Buffer,
    pub scores: Buffer,
    pub ids: Buffer,
    pub weights: Buffer,
    pub from: Buffer,
    pub place: Buffer,
    pub tiles: Buffer,
    /// int32, zero between launches.
    pub tickets: Buffer,
    /// f32 `[ROWS, vocab]`
    pub logits: Buffer,
    /// A bit for each token that may be picked, `[FEW, vocab / 32]`.
    pub mask: Buffer,
    pub partial: Buffer,
    pub picked: Buffer,
    /// int32 and f32 bits `[FEW, STEPS]`
    pub trace: Buffer,
}

/// Tiles of 64 rows that `pairs` rows of `experts` experts may need.
pub fn most_tiles(pairs: usize, experts: usize) -> usize {
    pairs.div_ceil(64) + experts.min(pairs)
}

/// Width of `act`: the chosen experts, then what every token goes through.
pub fn act_width(c: &Config) -> usize {
    (c.chosen * c.expert_ffn + c.shared * c.expert_ffn).max(c.dense_ffn)
}

/// Name and bytes of each buffer, in the order of the struct.
fn plan(c: &Config, s: Sizes) -> [(&'static str, usize); 26] {
    let (n, heads, pairs) = (s.piece, c.heads, s.piece * c.chosen);
    let widest = (pairs * c.expert_ffn).max(n * (c.shared * c.expert_ffn).max(c.dense_ffn));
    [
        ("control", (CONTROL + n) * 4),
        ("the block tables", s.table * FEW * 4),
        ("the hidden state", n * c.hidden * 4),
        ("its norm", n.max(ROWS) * c.hidden * 2),
        ("the projections", n * Columns::new(c).width * 4),
        ("the low rank", n * c.q_lora.unwrap_or(1) * 2),
        ("the queries", n * heads * c.nope * 2),
        ("the absorbed queries", n * heads * c.latent() * 4),
        ("attention", s.parts * heads * c.kv_lora * 4),
        ("attention's weights", s.parts * heads * 2 * 4),
        ("the means", n * heads * c.kv_lora * 2),
        ("the values", (n * 2).max(FEW * 4) * heads * c.v),
        ("the MLPs", (widest * 2).max(FEW * act_width(c) * 4)),
        ("the experts' results", pairs * c.hidden * 4),
        ("the scores", n * c.experts * 4),
        ("the choices", pairs * 4),
        ("the choices' weights", pairs * 4),
        ("the sorted tokens", pairs * 4),
        ("the places", pairs * 4),
        ("the tiles", most_tiles(pairs, c.experts) * 12),
        ("the tickets", n.max(ROWS) * 4),
        ("the logits", ROWS * c.vocab * 4),
        ("the mask", FEW * c.vocab.div_ceil(32) * 4),
        ("the partial picks", ROWS * 256 * 12),
        ("the picks", ROWS * 8),
        ("the trace", FEW * STEPS * 8),
    ]
}

impl Scratch {
    /// Bytes that [`Scratch::new`] takes.
    pub fn bytes(c: &Config, sizes: Sizes) -> u64 {
        plan(c, sizes).iter().map(|(_, n)| *n as u64).sum()
    }

    /// # Errors
    /// Not enough memory, or the driver's.
    pub fn new(gpu: &Arc<dyn Gpu>, c: &Config, sizes: Sizes) -> Result<Self> {
        let mut parts = plan(c, sizes).into_iter().map(|(what, n)| Buffer::new(gpu, n, what)).collect::<Result<Vec<_>>>()?.into_iter();
        let mut take = || parts.next().ok_or_else(|| anyhow::anyhow!("a buffer that is not in the plan"));
        let all = Self {
            sizes,
            control: take()?,
            table: take()?,
            hidden: take()?,
            normed: take()?,
            qkv: take()?,
            low: take()?,
            nope: take()?,
            query: take()?,
            acc: take()?,
            ml: take()?,
            means: take()?,
            values: take()?,
            act: take()?,
            rows: take()?,
            scores: take()?,
            ids: take()?,
            weights: take()?,
            from: take()?,
            place: take()?,
            tiles: take()?,
            tickets: take()?,
            logits: take()?,
            mask: take()?,
            partial: take()?,
            picked: take()?,
            trace: take()?,
        };
        all.tickets.fill(0)?;
        Ok(all)
    }

    pub fn start(&self) -> Ptr {
        self.control.at(0)
    }

    pub fn step(&self) -> Ptr {
        self.control.at(FEW * 4)
    }

    pub fn first(&self) -> Ptr {
        self.control.at(FEW * 8)
    }

    pub fn tokens(&self) -> Ptr {
        self.control.at(CONTROL * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lite() -> Config {
        let text = include_str!("../../../fixtures/reference/lite/config.json");
        let c = crate::model::config::from_json("config.json", text).unwrap();
        Config {
            vocab: 102_400,
            hidden: 2048,
            layers: 27,
            heads: 16,
            kv_lora: 512,
            nope: 128,
            rope: 64,
            v: 128,
            dense_ffn: 10_944,
            expert_ffn: 1408,
            experts: 64,
            chosen: 6,
            ..c
        }
    }

    #[test]
    fn the_true_shapes_stay_under_a_gigabyte() {
        let sizes = Sizes::new(&lite(), 4096);
        assert_eq!((sizes.piece, sizes.parts, sizes.table), (2048, 2048, 4096));
        let bytes = Scratch::bytes(&lite(), sizes);
        assert!((400_000_000..700_000_000).contains(&bytes), "{bytes}");
        let big = Config { hidden: 5120, heads: 128, q_lora: Some(1536), dense_ffn: 12_288, expert_ffn: 1536, experts: 160, ..lite() };
        let sizes = Sizes::new(&big, 4096);
        assert_eq!((sizes.piece, sizes.parts), (256, 512));
        assert!(Scratch::bytes(&big, sizes) < 1_000_000_000);
    }

    #[test]
    fn tiles_are_enough_for_any_distribution() {
        // All in one expert, one in each, and one more than a tile in each.
        for counts in [vec![640], vec![1; 64], vec![65; 6]] {
            let needed: usize = counts.iter().map(|n: &usize| n.div_ceil(64)).sum();
            assert!(needed <= most_tiles(counts.iter().sum(), 64));
        }
    }
}
