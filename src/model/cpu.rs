//! The forward pass on the CPU.
//!
//! ```no_run
//! use infill::{cache::BlockId, model::{Backend, cpu::Cpu}};
//! # fn main() -> anyhow::Result<()> {
//! let mut model = Cpu::open("nano.gguf".as_ref())?;
//! let logits = model.forward(&[BlockId(0)], 0, &[1, 2, 3], 1)?; // [1, vocab], after token 3
//! # Ok(()) }
//! ```
//! **Batch invariance.** The logits of a position have the same bits whether its tokens came one by one, in chunks or all
//! at once, and wherever their blocks lie: every output element is summed in an order that depends on its own row and
//! position only (see `product`, `blocks`, `attention`, `moe`). This holds for every weight format.
use super::config::Config;
use super::error::{ModelError, Result};
use super::matrix::Matrix;
use super::pool::Pool;
use super::store::Store;
use super::weights::{Layer, Weights};
use super::{BLOCK, Backend};
use crate::cache::BlockId;
use attention::Cached;
use lanes::Level;
use linear::linear;
use rope::Rope;
use scratch::{Scratch, fit};
use std::path::Path;
use view::{Out, Rows};

mod amx;
mod attention;
mod blocks;
pub(crate) mod lanes;
pub mod limits;
mod linear;
mod math;
mod moe;
mod product;
mod rope;
mod rounded;
mod scratch;
mod view;
mod vnni;

/// Most tokens that go through the layers together: it bounds the scratch buffers.
const PIECE: usize = 512;

/// A loaded model with its latent pool.
pub struct Cpu {
    name: String,
    config: Config,
    weights: Weights,
    pool: Pool,
    threads: rayon::ThreadPool,
    run: Run,
}

/// What a forward pass needs beside weights and pool.
struct Run {
    level: Level,
    rope: Rope,
    scratch: Scratch,
}

impl Cpu {
    /// Opens a Hugging Face folder or a `.gguf` file. The weights stay in the mapped files.
    ///
    /// # Errors
    /// Another architecture, a file or tensor that is missing, truncated, corrupt or of the wrong shape; each names the
    /// file and the tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let (store, config) = Store::open(path)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self::new(&name.to_string_lossy(), &store, config)
    }

    /// Opens a GGUF file that is part of the program.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let (store, config) = Store::from_static(name, bytes)?;
        Self::new(name, &store, config)
    }

    fn new(name: &str, store: &Store, config: Config) -> Result<Self> {
        let weights = Weights::load(store, &config)?;
        let threads = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("model-{i}")).build();
        let threads = threads.map_err(|e| ModelError::File {
            file: store.name.clone(),
            problem: format!("cannot be run: the system gives no threads ({e})"),
            remedy: "Raise the limit on processes".into(),
        })?;
        let run = Run { level: Level::best(), rope: Rope::new(&config), scratch: Scratch::default() };
        let pool = Pool::new(config.layers, config.latent());
        Ok(Self { name: name.into(), config, weights, pool, threads, run })
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file's name without its ending, or the folder's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format of most weights: "F32", "BF16", "Q8_0", "Q4K", …
    pub fn format(&self) -> String {
        format!("{:?}", self.weights.format())
    }

    /// Bytes of weights that a decoded token reads, and multiply-adds with weights that it takes.
    pub fn per_token(&self) -> (usize, usize) {
        self.weights.per_token(&self.config)
    }

    /// What this machine allows the model's threads. Takes a second and a gigabyte.
    pub fn limits(&self) -> limits::Limits {
        limits::limits(self.run.level, &self.threads)
    }

    /// Makes the positions of a block from `slot` on read as NaN. For tests: a freed slot must never be read again.
    pub fn poison(&mut self, block: BlockId, slot: usize) {
        self.pool.poison(block, slot);
    }

    fn check(&self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<()> {
        let c = &self.config;
        let end = start.saturating_add(tokens.len());
        anyhow::ensure!(end <= c.context, "position {end} is beyond the model's {} positions", c.context);
        anyhow::ensure!(end <= table.len() * BLOCK, "{} blocks do not hold {end} positions", table.len());
        anyhow::ensure!(rows <= tokens.len(), "logits of {rows} tokens wanted, but only {} are new", tokens.len());
        let bad = tokens.iter().find(|t| **t as usize >= c.vocab);
        anyhow::ensure!(bad.is_none(), "token {} is outside the vocabulary of {}", bad.unwrap_or(&0), c.vocab);
        Ok(())
    }
}

impl Backend for Cpu {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn block_bytes(&self) -> usize {
        self.pool.block_bytes()
    }

    fn worthwhile(&self) -> usize {
        worthwhile(self.config.experts, self.config.chosen)
    }

    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<Vec<f32>> {
        self.check(table, start, tokens, rows)?;
        let table = &table[..(start + tokens.len()).div_ceil(BLOCK)];
        // Also the blocks before `start`: one that was never written reads as NaN.
        table.iter().for_each(|b| self.pool.grow(*b));
        let Self { config, weights, pool, threads, run, .. } = self;
        let mut logits = vec![0.0; rows * config.vocab];
        // The logits of the tokens before this one are not wanted.
        let first = tokens.len() - rows;
        // Inside the pool from the beginning: entering it for every product would cost a wake-up each.
        threads.install(|| {
            let mut out = &mut logits[..];
            for (i, piece) in tokens.chunks(PIECE).enumerate() {
                let done = i * PIECE;
                let wanted = (done + piece.len()).saturating_sub(first.max(done));
                let (now, rest) = out.split_at_mut(wanted * config.vocab);
                run.piece(config, weights, pool, (table, start + done), piece, now);
                out = rest;
            }
        });
        Ok(logits)
    }

    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize) {
        self.pool.copy(from, to, slots.min(BLOCK));
    }
}

/// A pass reads nearly every expert, also for few tokens: with about [`ROWS`] rows for each, multiplying takes as long as reading.
fn worthwhile(experts: usize, chosen: usize) -> usize {
    const ROWS: usize = 6;
    (ROWS * experts / chosen.max(1)).next_multiple_of(BLOCK).clamp(16, PIECE)
}

impl Run {
    /// Runs up to [`PIECE`] tokens at positions `at.1..`; `logits` has room for those of the last ones.
    fn piece(&mut self, c: &Config, weights: &Weights, pool: &mut Pool, at: (&[BlockId], usize), tokens: &[u32], logits: &mut [f32]) {
        let mut hidden = std::mem::take(&mut self.scratch.hidden);
        let x = fit(&mut hidden, tokens.len() * c.hidden);
        x.chunks_exact_mut(c.hidden).zip(tokens).for_each(|(row, token)| weights.embedding.row(*token as usize, row));
        self.rope.prepare(at.1, tokens.len());
        let wanted = logits.len() / c.vocab;
        for (i, layer) in weights.layers.iter().enumerate() {
            self.remember(c, layer, pool, (at.0, at.1, i), x);
            // After the last latents only the tokens whose logits are wanted go on.
            let skip = if i + 1 == c.layers { tokens.len() - wanted } else { 0 };
            if skip == tokens.len() {
                break;
            }
            let cached = Cached { pool, table: at.0, layer: i };
            self.layer(c, layer, cached, (at.1, skip), &mut x[skip * c.hidden..]);
        }
        let last = &mut x[(tokens.len() - wanted) * c.hidden..];
        self.head(c, weights, last, logits);
        self.scratch.hidden = hidden;
    }

    /// Writes the latents of the tokens `x` into layer `at.2` of the pool.
    fn remember(&mut self, c: &Config, layer: &Layer, pool: &mut Pool, at: (&[BlockId], usize, usize), x: &[f32]) {
        let (table, start, index) = at;
        let n = x.len() / c.hidden;
        let normed = norms(self.level, x, &layer.attention_norm, c.eps, &mut self.scratch.normed);
        let latent = project(self.level, &layer.latent, normed, &mut self.scratch.latent);
        for i in 0..n {
            let position = start + i;
            let slot = pool.slot_mut(table[position / BLOCK], index, position % BLOCK);
            let (low, key) = latent[i * c.latent()..(i + 1) * c.latent()].split_at(c.kv_lora);
            math::norm(self.level, low, &layer.latent_norm, c.eps, &mut slot[..c.kv_lora]);
            slot[c.kv_lora..].copy_from_slice(key);
            self.rope.turn(i, &mut slot[c.kv_lora..]);
        }
    }

    /// One layer for the tokens `x`, the first of which is the `at.1`-th of those at positions `at.0..`.
    /// [`Run::remember`] has left their norms in the scratch.
    fn layer(&mut self, c: &Config, layer: &Layer, cached: Cached<'_>, at: (usize, usize), x: &mut [f32]) {
        let normed = &self.scratch.normed[at.1 * c.hidden..][..x.len()];
        let (level, s) = (self.level, &mut self.scratch.attention);
        attention::attention(level, c, layer, cached, (&self.rope, at), normed, s);
        math::add(level, x, &s.out[..x.len()], 1.0);
        let normed = norms(level, x, &layer.ffn_norm, c.eps, &mut self.scratch.normed);
        let delta = fit(&mut self.scratch.delta, x.len());
        moe::ffn(level, c, &layer.ffn, normed, delta, &mut self.scratch.mlps);
        math::add(level, x, delta, 1.0);
    }

    fn head(&mut self, c: &Config, weights: &Weights, x: &[f32], logits: &mut [f32]) {
        let normed = norms(self.level, x, &weights.norm, c.eps, &mut self.scratch.normed);
        linear(self.level, &weights.head, Rows::all(normed, c.hidden), Out::all(logits, c.vocab));
    }
}

/// Each row of `x` through a norm.
fn norms<'a>(level: Level, x: &[f32], weight: &[f32], eps: f32, out: &'a mut Vec<f32>) -> &'a mut [f32] {
    let out = fit(out, x.len());
    let rows = x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len()));
    rows.for_each(|(x, out)| math::norm(level, x, weight, eps, out));
    out
}

/// Each row of `x` through a matrix.
fn project<'a>(level: Level, w: &Matrix, x: &[f32], out: &'a mut Vec<f32>) -> &'a mut [f32] {
    let out = fit(out, x.len() / w.cols * w.rows);
    linear(level, w, Rows::all(x, w.cols), Out::all(out, w.rows));
    out
}
