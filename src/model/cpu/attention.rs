//! Absorbed multi-head latent attention over blocks of the pool.
//!
//! ```text
//! query of a head (nope | rope) -- keys --> query of the latent (kv_lora | rope)
//! scores over positions 0..=p -> softmax -> weighted sum of latents -- values --> (v)
//! ```
//! Keys and values are never expanded (DeepSeek-V2, arXiv 2405.04434, section 2.1.2): a head reads the shared latents.
//! A query is worked on alone, over its own positions in order, so its result does not depend on what it is batched with.
use super::lanes::Level;
use super::linear::{linear, linear_columns, spread};
use super::product::{self, Block};
use super::scratch::{Attention, fit};
use super::view::{Out, Rows};
use super::{math, norms, project, rope::Rope};
use crate::cache::BlockId;
use crate::model::BLOCK;
use crate::model::config::Config;
use crate::model::pool::Pool;
use crate::model::weights::{Keys, Layer, Query};
use rayon::prelude::*;
use std::cell::RefCell;

/// Heads that one piece of work takes: they share the loads of a latent.
const HEADS: usize = 4;

/// Where the latents of one sequence lie, in one layer.
#[derive(Clone, Copy)]
pub struct Cached<'a> {
    pub pool: &'a Pool,
    pub table: &'a [BlockId],
    pub layer: usize,
}

/// From the normed hidden states to what attention adds, in `s.out`. `at.1` is (the first position that `rope`
/// prepared, how many tokens after it the first one here is).
pub fn attention(
    level: Level,
    c: &Config,
    layer: &Layer,
    cached: Cached<'_>,
    at: (&Rope, (usize, usize)),
    normed: &[f32],
    s: &mut Attention,
) {
    let n = normed.len() / c.hidden;
    let (rope, (start, skip)) = at;
    let query = match &layer.query {
        Query::Full(full) => project(level, full, normed, &mut s.query),
        Query::Low { down, norm, up } => {
            let low = project(level, down, normed, &mut s.low);
            let low = norms(level, low, norm, c.eps, &mut s.low_normed);
            project(level, up, low, &mut s.query)
        }
    };
    let absorbed = fit(&mut s.absorbed, n * c.heads * c.latent());
    absorb(level, c, layer, (rope, skip), query, absorbed);
    let means = fit(&mut s.means, n * c.heads * c.kv_lora);
    attend(level, c, cached, start + skip, absorbed, means);
    let values = fit(&mut s.values, n * c.heads * c.v);
    expand(level, c, layer, means, values);
    project(level, &layer.output, values, &mut s.out);
}

/// Queries of the latent for `n` tokens: `query` `[n, heads · (nope + rope)]` -> `out` `[n, heads · (kv_lora + rope)]`.
fn absorb(level: Level, c: &Config, layer: &Layer, rope: (&Rope, usize), query: &[f32], out: &mut [f32]) {
    let (width, latent) = (c.heads * c.query(), c.heads * c.latent());
    let n = query.len() / width;
    out.fill(0.0);
    let whole = Out::all(out, latent);
    spread(c.heads, c.heads * n * c.nope * c.kv_lora, |h| {
        let x = Rows::new(&query[h * c.query()..], n, c.nope, width);
        let head = whole.part(0, n, h * c.latent(), c.latent());
        let unrotated = head.part(0, n, 0, c.kv_lora);
        match &layer.keys {
            Keys::Rows(keys) => linear(level, &keys[h], x, unrotated),
            Keys::Columns(keys) => linear_columns(level, &keys[h], x, unrotated),
        }
        for i in 0..n {
            // SAFETY: a task has the columns of its head to itself, and the product above is done with them.
            let turned = unsafe { &mut head.row(i)[c.kv_lora..] };
            turned.copy_from_slice(&query[i * width + h * c.query() + c.nope..][..c.rope]);
            rope.0.turn(rope.1 + i, turned);
        }
    });
}

/// For each query, `[n, heads · (kv_lora + rope)]`, at positions `start..`: the mean of the latents that it attends to,
/// `[n, heads · kv_lora]`.
fn attend(level: Level, c: &Config, cached: Cached<'_>, start: usize, queries: &[f32], out: &mut [f32]) {
    let n = queries.len() / (c.heads * c.latent());
    let scale = c.softmax_scale();
    let one = |query: &[f32], position: usize, out: &mut [f32]| {
        thread_local!(static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
        let mut scores = SCORES.take();
        heads(level, c, cached, position + 1, scale, (query, out), &mut scores);
        SCORES.set(scores);
    };
    let groups = c.heads.div_ceil(HEADS);
    let work = n * c.heads * (start + n) * (c.latent() + c.kv_lora);
    let tasks = queries.chunks(c.heads * c.latent()).zip(out.chunks_mut(c.heads * c.kv_lora)).enumerate();
    let tasks = tasks.flat_map(|(i, (q, o))| {
        let pairs = q.chunks(HEADS * c.latent()).zip(o.chunks_mut(HEADS * c.kv_lora));
        pairs.map(move |(q, o)| (q, start + i, o))
    });
    if work < 1 << 18 || n * groups < 2 {
        return tasks.for_each(|(q, position, o)| one(q, position, o));
    }
    let tasks: Vec<_> = tasks.collect();
    tasks.into_par_iter().for_each(|(q, position, o)| one(q, position, o));
}

/// A few heads of one query over the first `len` positions.
fn heads(level: Level, c: &Config, cached: Cached<'_>, len: usize, scale: f32, io: (&[f32], &mut [f32]), scores: &mut Vec<f32>) {
    let (query, out) = io;
    let n = query.len() / c.latent();
    scores.resize(n * len, 0.0);
    let x = Rows::new(query, n, c.latent(), c.latent());
    let all = Out::all(scores, len);
    cached.each(c, len, |at, block| product::rows(level, x, block, all.part(0, n, at, block.rows)));
    scores.chunks_exact_mut(len).for_each(|s| math::softmax(level, s, scale));
    out.fill(0.0);
    let sums = Out::all(out, c.kv_lora);
    cached.each(c, len, |at, block| {
        let weights = Rows::new(&scores[at..], n, block.rows, len);
        product::columns(level, weights, block.narrow(c.kv_lora), sums);
    });
}

impl<'a> Cached<'a> {
    /// Calls `f(position, latents)` for the blocks of the first `len` positions.
    fn each(self, c: &Config, len: usize, mut f: impl FnMut(usize, Block<'a, f32>)) {
        for at in (0..len).step_by(BLOCK) {
            let block = self.pool.block(self.table[at / BLOCK], self.layer);
            f(at, Block::new(block, BLOCK.min(len - at), c.latent(), c.latent()));
        }
    }
}

/// From the mean latents `[n, heads · kv_lora]` to the heads' values `[n, heads · v]`.
fn expand(level: Level, c: &Config, layer: &Layer, latents: &[f32], out: &mut [f32]) {
    let n = latents.len() / (c.heads * c.kv_lora);
    let whole = Out::all(out, c.heads * c.v);
    spread(c.heads, c.heads * n * c.v * c.kv_lora, |h| {
        let x = Rows::new(&latents[h * c.kv_lora..], n, c.kv_lora, c.heads * c.kv_lora);
        linear(level, &layer.values[h], x, whole.part(0, n, h * c.v, c.v));
    });
}
