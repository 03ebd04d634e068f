//! The forward pass on an NVIDIA GPU: our kernels (kernels/), nothing of CUDA but the driver.
//!
//! ```no_run
//! use infill::model::{Backend, cuda::{Cuda, driver::Driver, Options}};
//! # fn main() -> anyhow::Result<()> {
//! let gpu = std::sync::Arc::new(Driver::open(0)?);
//! let mut model = Cuda::open("DeepSeek-Coder-V2-Lite-Base".as_ref(), gpu, &Options::default())?;
//! model.reserve(4096)?; // blocks of the latent pool
//! let logits = model.forward(&[infill::cache::BlockId(0)], 0, &[1, 2, 3], 1)?;
//! # Ok(()) }
//! ```
//! The pool lies on the device under the same block ids as the prefix cache's; rolling back is a shorter table. Up to [`FEW`] tokens
//! run as a recorded graph (one start for all layers); more go through the tensor cores in pieces. [`Cuda::greedy`] decodes
//! without a word from the host: the pick of one step is the input of the next.
//!
//! **Not batch-invariant.** Latents are bf16 or FP8 ([`latents`]) and sums run in another order for many tokens than for few, so at a near-tie a warm and a
//! cold cache may choose differently; the CPU backend is the exact one.
use super::config::Config;
use super::matrix::Format;
use super::store::Store;
use super::weights::Weights;
use super::{BLOCK, Backend, Part};
use crate::cache::BlockId;
use anyhow::{Context, Result, ensure};
use gpu::{Buffer, Gpu, Recording, megabytes};
use kind::Precision;
use latents::Latents;
use pass::Model;
use scratch::{FEW, STEPS, Scratch, Sizes};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use steps::Key;
use weights::OnDevice;

pub mod args;
pub mod driver;
#[doc(hidden)]
pub mod emulated;
pub mod gpu;
pub mod kind;
pub mod latents;
pub mod pass;
pub mod ptx;
pub mod scratch;
mod steps;
pub mod weights;

/// How to load a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The coarsest format that weights are rounded to; `None`: the finest that fits.
    pub precision: Option<Precision>,
    /// Bytes to leave for the latent pool when the format is picked; `None`: 4,096 positions.
    pub pool_bytes: Option<u64>,
    /// The format of the latent pool.
    pub latents: Latents,
}

/// A model on a device, with its latent pool.
pub struct Cuda {
    // Dropped in this order: what uses buffers before the buffers.
    graphs: HashMap<Key, Box<dyn Recording>>,
    pool: Buffer,
    turns: Buffer,
    scratch: Scratch,
    weights: OnDevice,
    gpu: Arc<dyn Gpu>,
    config: Config,
    name: String,
    precision: Precision,
    latents: Latents,
    format: Format,
    blocks: usize,
    /// The block table that the device has.
    table: Vec<i32>,
    /// A launch failed: tickets may not be zero, and the device's table is unknown.
    dirty: bool,
    /// What `copy_block`, which returns nothing, came upon.
    failed: Option<anyhow::Error>,
}

/// A token picked on the device, and the natural log of its probability among those allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pick {
    pub token: u32,
    pub logprob: f32,
}

impl Cuda {
    /// Opens a Hugging Face folder or a `.gguf` file and copies its weights to `gpu`.
    ///
    /// # Errors
    /// As [`super::cpu::Cpu::open`]; a model that does not fit the device even in Q4_K, or whose widths the kernels do not take.
    pub fn open(path: &Path, gpu: Arc<dyn Gpu>, options: &Options) -> Result<Self> {
        let (store, config) = Store::open(path)?;
        let name = path.file_stem().unwrap_or(path.as_os_str());
        Self::new(&name.to_string_lossy(), &store, config, gpu, options)
    }

    /// Opens a GGUF file that is part of the program.
    ///
    /// # Errors
    /// As [`Cuda::open`].
    pub fn from_static(name: &str, bytes: &'static [u8], gpu: Arc<dyn Gpu>, options: &Options) -> Result<Self> {
        let (store, config) = Store::from_static(name, bytes)?;
        Self::new(name, &store, config, gpu, options)
    }

    fn new(name: &str, store: &Store, config: Config, gpu: Arc<dyn Gpu>, options: &Options) -> Result<Self> {
        pass::check(&config, gpu.shared_limit() as usize).map_err(anyhow::Error::msg)?;
        let weights = Weights::load(store, &config)?;
        let (free, _) = gpu.memory()?;
        let precision = pick_precision(&weights, &config, options, free).with_context(|| format!("{name} on {}", gpu.name()))?;
        let format = weights.format();
        let layers = config.layers;
        let mut said = |done| tracing::info!(done, layers, "layers copied to the GPU");
        let placed = OnDevice::load(&gpu, &weights, &config, precision, &mut said)?;
        let scratch = Scratch::new(&gpu, &config, Sizes::new(&config, usize::MAX))?;
        let (pool, turns) = (Buffer::new(&gpu, 16, "the latent pool")?, Buffer::new(&gpu, 16, "rope")?);
        let graphs = HashMap::new();
        let (table, failed) = (Vec::new(), None);
        let name = name.to_owned();
        let mut all = Self {
            graphs,
            pool,
            turns,
            scratch,
            weights: placed,
            gpu,
            config,
            name,
            precision,
            latents: options.latents,
            format,
            blocks: 0,
            table,
            dirty: false,
            failed,
        };
        tracing::info!(
            gpu = all.gpu.name(),
            weights = megabytes(all.weights.bytes()),
            ?precision,
            cache = options.latents.name(),
            "model on the GPU"
        );
        all.reserve(1)?;
        Ok(all)
    }

    /// Makes the latent pool `blocks` blocks large. What was in it is lost.
    ///
    /// # Errors
    /// Not enough memory; then the pool holds one block.
    pub fn reserve(&mut self, blocks: usize) -> Result<()> {
        let blocks = blocks.max(1);
        self.graphs.clear();
        // The old one first: two may not fit.
        self.blocks = 0;
        self.pool = Buffer::new(&self.gpu, 16, "the latent pool")?;
        let pool = Buffer::new(&self.gpu, blocks * self.block_bytes(), "the latent pool (cache.bytes)")?;
        // Every slot that nobody has written reads as NaN.
        pool.fill(0xff)?;
        let positions = (blocks * BLOCK).min(self.config.context.next_multiple_of(BLOCK));
        let turns = turns(&self.config, positions);
        let buffer = Buffer::new(&self.gpu, turns.len() * 4, "rope")?;
        self.gpu.upload(buffer.at(0), &bytes(&turns))?;
        (self.pool, self.turns, self.blocks) = (pool, buffer, blocks);
        Ok(())
    }

    /// As [`Cuda::reserve`], in another format from now on.
    ///
    /// # Errors
    /// As [`Cuda::reserve`].
    pub fn reserve_as(&mut self, latents: Latents, blocks: usize) -> Result<()> {
        self.latents = latents;
        self.reserve(blocks)
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file's name without its ending, or the folder's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// "NVIDIA H200 (sm_90), weights from BF16 as Q8 at most, cache in bf16".
    pub fn device(&self) -> String {
        format!("{}, weights from {:?} as {:?} at most, cache in {}", self.gpu.name(), self.format, self.precision, self.latents.name())
    }

    /// Bytes that are free on the device.
    ///
    /// # Errors
    /// The driver's.
    pub fn free(&self) -> Result<u64> {
        Ok(self.gpu.memory()?.0)
    }

    /// Bytes of weights, pool and everything else on the device.
    pub fn used(&self) -> u64 {
        self.weights.bytes() + Scratch::bytes(&self.config, self.scratch.sizes) + (self.pool.bytes() + self.turns.bytes()) as u64
    }

    /// Bytes of weights, and of the pool: what a user's card must have room for, beside what is the same for all.
    pub fn sizes(&self) -> (u64, u64) {
        (self.weights.bytes(), self.pool.bytes() as u64)
    }

    /// Makes the positions of a block from `slot` on read as NaN. For tests: a freed slot must never be read again.
    ///
    /// # Errors
    /// A block outside the pool, or the driver's.
    pub fn poison(&mut self, block: BlockId, slot: usize) -> Result<()> {
        self.known(block)?;
        // From the block to itself: the first slots stay, the others become NaN.
        self.gpu.launch(&self.copy(block, block, slot))
    }

    fn copy(&self, from: BlockId, to: BlockId, slots: usize) -> gpu::Launch {
        pass::copy(&self.config, self.latents, self.pool.at(0), (from.0, to.0), slots.min(BLOCK))
    }

    fn known(&self, block: BlockId) -> Result<()> {
        ensure!((block.0 as usize) < self.blocks, "block {} is outside the pool of {}", block.0, self.blocks);
        Ok(())
    }

    fn check(&self, table: &[BlockId], start: usize, count: usize, tokens: &[u32], rows: usize) -> Result<()> {
        let c = &self.config;
        let end = start.saturating_add(count);
        ensure!(end <= c.context, "position {end} is beyond the model's {} positions", c.context);
        ensure!(end <= table.len() * BLOCK, "{} blocks do not hold {end} positions", table.len());
        ensure!(rows <= tokens.len(), "logits of {rows} tokens wanted, but only {} are new", tokens.len());
        let bad = tokens.iter().find(|t| **t as usize >= c.vocab);
        ensure!(bad.is_none(), "token {} is outside the vocabulary of {}", bad.unwrap_or(&0), c.vocab);
        ensure!(end <= self.blocks * BLOCK, "position {end} is beyond the pool's {} positions", self.blocks * BLOCK);
        table[..end.div_ceil(BLOCK)].iter().try_for_each(|b| self.known(*b))
    }

    fn model(&self) -> Model<'_> {
        Model {
            config: &self.config,
            weights: &self.weights,
            scratch: &self.scratch,
            latents: self.latents,
            pool: self.pool.at(0),
            turns: self.turns.at(0),
            processors: self.gpu.processors() as usize,
            shared_limit: self.gpu.shared_limit() as usize,
        }
    }
}

impl Backend for Cuda {
    fn vocab(&self) -> usize {
        self.config.vocab
    }

    fn context(&self) -> usize {
        self.config.context
    }

    fn block_bytes(&self) -> usize {
        BLOCK * self.latents.position(&self.config)
    }

    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> Result<Vec<f32>> {
        self.check(table, start, tokens.len(), tokens, rows)?;
        let (piece, first) = (self.scratch.sizes.piece, tokens.len() - rows);
        let mut all = Vec::new();
        for (i, part) in tokens.chunks(piece).enumerate() {
            let done = i * piece;
            let wanted = (done + part.len()).saturating_sub(first.max(done));
            all.extend(self.piece(&Part { table, start: start + done, tokens: part, rows: wanted })?);
        }
        Ok(all)
    }

    fn together(&self) -> usize {
        FEW
    }

    fn batch(&mut self, parts: &[Part<'_>]) -> Result<Vec<Vec<f32>>> {
        let tokens = parts.iter().map(|p| p.tokens.len()).sum::<usize>();
        if parts.len() < 2 || tokens == 0 || tokens > FEW {
            return parts.iter().map(|p| self.forward(p.table, p.start, p.tokens, p.rows)).collect();
        }
        parts.iter().try_for_each(|p| self.check(p.table, p.start, p.tokens.len(), p.tokens, p.rows))?;
        self.few(parts)
    }

    fn steps(&self) -> usize {
        STEPS
    }

    fn ahead(&mut self, parts: &[Part<'_>], limit: usize, steps: usize) -> Result<Vec<Vec<(u32, f32)>>> {
        let picks = self.greedy_each(parts, None, limit, steps)?;
        Ok(picks.into_iter().map(|row| row.into_iter().map(|p| (p.token, p.logprob)).collect()).collect())
    }

    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize) {
        let done = self
            .known(from)
            .and_then(|()| self.known(to))
            .and_then(|()| if from == to { Ok(()) } else { self.gpu.launch(&self.copy(from, to, slots)) });
        self.failed = self.failed.take().or(done.err());
    }
}

/// The finest precision in which weights, scratch and a small pool fit.
fn pick_precision(weights: &Weights, c: &Config, options: &Options, free: u64) -> Result<Precision> {
    // What else a device needs: the context, modules, graphs.
    const SPARE: u64 = 300_000_000;
    let pool = options.pool_bytes.unwrap_or((options.latents.position(c) * 4096.min(c.context)) as u64);
    let rest = Scratch::bytes(c, Sizes::new(c, usize::MAX)) + pool + SPARE;
    let needs = |p| weights::bytes(weights, c, p) + rest;
    let wanted = options.precision.map_or(Precision::ALL.to_vec(), |p| vec![p]);
    let found = wanted.iter().copied().find(|p| needs(*p) <= free);
    found.with_context(|| {
        let least = wanted.iter().map(|p| needs(*p)).min().unwrap_or(rest);
        let last = wanted.last().copied().unwrap_or(Precision::Q4K);
        format!(
            "it needs {} even in {last:?} ({} of it weights), and {} are free: choose a smaller model or file, close what else uses the GPU, or set device to \"cpu\"",
            megabytes(least),
            megabytes(least - rest),
            megabytes(free)
        )
    })
}

/// cos and sin of every position, `[positions, rope / 2, 2]`, in the CPU backend's arithmetic.
fn turns(c: &Config, positions: usize) -> Vec<f32> {
    let (frequencies, amplitude) = (c.frequencies(), c.amplitude());
    let turn = |position: usize, f: f32| {
        let (sin, cos) = (position as f32 * f).sin_cos();
        [cos * amplitude, sin * amplitude]
    };
    (0..positions).flat_map(|p| frequencies.iter().flat_map(move |f| turn(p, *f))).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn ints(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn pick(pair: &[u8; 8]) -> Result<Pick> {
    let [a, b, c, d, e, f, g, h] = *pair;
    let token = i32::from_le_bytes([a, b, c, d]);
    let token = u32::try_from(token).ok().context("the model's output is not a number: its file may be damaged")?;
    Ok(Pick { token, logprob: f32::from_le_bytes([e, f, g, h]) })
}

#[cfg(test)]
mod tests;
