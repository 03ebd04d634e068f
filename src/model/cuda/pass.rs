//! The launches of one forward pass, in order.
//!
//! ```text
//! one token, a MoE layer:  gemv(q, kv) latent mla combine gemv(output) router gate_up down      8 launches, a graph for all layers
//! a prefill:               norm gemm latent gemm mla means gemm gemm | norm router gated gemm sort gated gemm gather
//! ```
//! Nothing here touches the device: a pass is a list, which is launched, recorded as a graph, or looked at by a test.
use super::args::{self, Ptr};
use super::gpu::Launch;
use super::kind::{Kind, Placed};
use super::latents::Latents;
use super::scratch::{FEW, ROWS, SPLITS, STEPS, Scratch, act_width};
use super::weights::{Columns, Expert, Half, Layer, OnDevice};
use crate::model::config::Config;

mod many;

/// What a pass works on.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    pub config: &'a Config,
    pub weights: &'a OnDevice,
    pub scratch: &'a Scratch,
    pub latents: Latents,
    pub pool: Ptr,
    /// f32 `[positions, rope / 2, 2]`: cos and sin.
    pub turns: Ptr,
    pub processors: usize,
    pub shared_limit: usize,
}

/// The pick after a decode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Picking {
    /// Whether the mask buffer restricts it.
    pub masked: bool,
    /// Tokens from here on are never taken.
    pub limit: usize,
}

struct Pass<'a> {
    m: Model<'a>,
    n: usize,
    /// Tokens of one sequence that follow each other; 1: each token says where it is, whichever sequence it is of.
    group: usize,
    /// Positions that attention must reach.
    bound: usize,
    launches: Vec<Launch>,
}

fn int(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Positions for which a recorded graph is made: the context, rounded up coarsely, so that a few graphs serve all lengths.
pub fn bucket(positions: usize) -> usize {
    positions.max(512).next_power_of_two()
}

/// (splits, positions of each) for `n` tokens that see up to `bound` positions, `rows` blocks of work without splitting.
pub fn splits(bound: usize, rows: usize, most: usize, processors: usize) -> (usize, usize) {
    let wanted = (2 * processors).div_ceil(rows.max(1)).clamp(1, SPLITS.min(most.max(1)));
    let span = bound.div_ceil(wanted).next_multiple_of(64).max(64);
    (bound.div_ceil(span).max(1), span)
}

/// Rows (token, head) in a tile of the tensor-core attention, which exists for the published widths.
fn has_tiles(c: &Config) -> bool {
    (c.kv_lora, c.rope) == (512, 64)
}

/// A pass over up to [`FEW`] tokens of any sequences, and the logits of the last `rows`; with `picking`, each is of another sequence, and its
/// successor is chosen.
pub fn few(m: Model<'_>, n: usize, bound: usize, rows: usize, picking: Option<Picking>) -> Vec<Launch> {
    let mut pass = Pass { m, n, group: 1, bound, launches: Vec::new() };
    pass.embed();
    for (i, layer) in m.weights.layers.iter().enumerate() {
        pass.few_projections(layer);
        pass.few_attention(layer, i);
        if i + 1 == m.config.layers && rows == 0 {
            break;
        }
        pass.few_ffn(layer);
    }
    if rows > 0 {
        pass.head(n - rows, rows);
    }
    if let Some(picking) = picking {
        pass.pick(picking);
    }
    pass.launches
}

/// A pass over more tokens, of one sequence. The logits of the last `rows` follow with [`head`].
pub fn many(m: Model<'_>, n: usize, bound: usize, rows: usize) -> Vec<Launch> {
    let mut pass = Pass { m, n, group: n, bound, launches: Vec::new() };
    pass.embed();
    for (i, layer) in m.weights.layers.iter().enumerate() {
        pass.many_projections(layer);
        if pass.many_attention(layer, i, i + 1 == m.config.layers && rows == 0) {
            break;
        }
        pass.many_ffn(layer);
    }
    pass.launches
}

/// The logits of tokens `first..first + rows` of the pass before, at most [`ROWS`].
pub fn head(m: Model<'_>, first: usize, rows: usize) -> Vec<Launch> {
    let mut pass = Pass { m, n: rows, group: 1, bound: 0, launches: Vec::new() };
    pass.head(first, rows);
    pass.launches
}

/// Copies `slots` positions of a block.
pub fn copy(c: &Config, latents: Latents, pool: Ptr, (from, to): (u32, u32), slots: usize) -> Launch {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let (from, to, width) = (number(from), number(to), int(latents.slot(c.kv_lora, c.rope) / 2));
    let args = args::CopyBlock { pool, from, to, slots: int(slots), layers: int(c.layers), width, unused: 0 };
    Launch::new("copy_block", [c.layers, 1, 1], 0, &args)
}

/// Everything that the kernels ask of a model's widths; says what is wrong.
pub fn check(c: &Config, shared_limit: usize) -> Result<(), String> {
    let widths = [c.hidden, c.kv_lora, c.nope, c.v, c.rope, c.dense_ffn, c.expert_ffn, c.q_lora.unwrap_or(8)];
    let staged = Kind::Bf16.staged(act_width(c).next_multiple_of(256));
    let wrong = |what: &str| Err(format!("{what}; set device to \"cpu\""));
    match () {
        () if widths.iter().any(|w| !w.is_multiple_of(8)) => wrong("a width of the model is no multiple of 8"),
        () if c.kv_lora > 512 => wrong("kv_lora_rank is more than 512"),
        () if c.chosen > 32 || c.groups.is_some_and(|g| g.0 > 32) || c.experts > 1024 => wrong("the model has too many experts"),
        () if staged > shared_limit || decode_shared(c) > shared_limit => wrong("the model is too wide for this GPU's shared memory"),
        () => Ok(()),
    }
}

/// Shared memory of the attention for any widths.
fn decode_shared(c: &Config) -> usize {
    let queries = (16 * (c.latent() + 1)).div_ceil(4) * 4;
    queries * 4 + 16 * 16 * 4 + 3 * 16 * 4 + 16 * (c.latent() + 2) * 2
}

/// Shared memory of the attention in tiles: `groups` of 16 rows, `stages` buffers of keys.
fn tiles_shared(groups: usize, stages: usize) -> usize {
    let (rows, keys) = (16 * groups, 64 / groups);
    (rows + stages * keys) * 584 * 2 + rows * (keys + 4) * 4
}

impl Pass<'_> {
    fn add(&mut self, kernel: impl Into<String>, grid: [usize; 3], shared: usize, args: &impl args::Args) {
        self.launches.push(Launch::new(kernel, grid, shared, args));
    }

    fn embed(&mut self) {
        let (m, table) = (self.m, &self.m.weights.embedding);
        let (w, scales, x) = (table.data, table.scales, m.scratch.hidden.at(0));
        let args = args::Embed { w, scales, tokens: m.scratch.tokens(), x, vocab: int(table.rows), cols: int(table.cols) };
        self.add(format!("embed_{}", table.kind.suffix()), [self.n, 1, 1], 0, &args);
    }

    /// y = W · norm(x) for `n` tokens, or y += W · x.
    fn gemv(&mut self, w: &Placed, n: usize, x: (Ptr, usize), norm: Ptr, y: (Ptr, usize), add: bool) {
        let t = n.next_power_of_two().min(FEW);
        let most = if t == FEW { 1024 } else { 2048 };
        let shared = (t * w.kind.staged(w.cols.next_multiple_of(256).min(most))).max(t * 32);
        let args = args::Gemv {
            w: w.data,
            scales: w.scales,
            x: x.0,
            norm,
            y: y.0,
            rows: int(w.rows),
            cols: int(w.cols),
            n: int(n),
            ldx: int(x.1),
            ldy: int(y.1),
            add: i32::from(add),
            eps: self.m.config.eps,
            unused: 0,
        };
        self.add(format!("gemv_{}_{t}", w.kind.suffix()), [w.rows.div_ceil(16), n.div_ceil(t), 1], shared, &args);
    }

    fn few_projections(&mut self, layer: &Layer) {
        let (c, s) = (self.m.config, self.m.scratch);
        let columns = Columns::new(c);
        let at = |column: usize| s.qkv.at(column * 4);
        for (w, column) in &layer.projections {
            self.gemv(w, self.n, (s.hidden.at(0), c.hidden), layer.attention_norm, (at(*column), columns.width), false);
        }
        if let Some((norm, up)) = &layer.up {
            self.gemv(up, self.n, (at(columns.low), columns.width), *norm, (at(0), columns.width), false);
        }
    }

    fn latent(&mut self, layer: &Layer, index: usize, kernel: &str) {
        let (m, c, s) = (self.m, self.m.config, self.m.scratch);
        let columns = Columns::new(c);
        let parts = if kernel == "latent_split" { 0 } else { c.kv_lora.div_ceil(128) };
        let args = args::Latent {
            qkv: s.qkv.at(0),
            norm: layer.latent_norm,
            wk: layer.keys.data,
            turns: m.turns,
            start: s.start(),
            first: s.first(),
            table: s.table.at(0),
            pool: m.pool,
            q: s.query.at(0),
            nope: s.nope.at(0),
            n: int(self.n),
            heads: int(c.heads),
            width_nope: int(c.nope),
            rope: int(c.rope),
            kv_lora: int(c.kv_lora),
            ld: int(columns.width),
            q_at: 0,
            kv_at: int(columns.latent),
            layer: int(index),
            layers: int(c.layers),
            parts: int(parts.max(1)),
            group: int(self.group),
            eps: c.eps,
            unused: 0,
        };
        self.add(m.latents.kernel(kernel), [c.heads * parts + 1, self.n, 1], (c.nope * 4).max(64), &args);
    }

    /// Attention; how many splits there are.
    fn attend(&mut self, index: usize, tiles: bool) -> usize {
        let (m, c, s) = (self.m, self.m.config, self.m.scratch);
        let (rows, sequences) = (self.group * c.heads, self.n / self.group);
        let (kernel, y, z, shared) = match (tiles, rows <= 16 * FEW) {
            (true, true) => ("mla_tiles_1", rows.div_ceil(16), sequences, tiles_shared(1, 1)),
            // FP8 cannot be brought ahead.
            (true, false) if tiles_shared(4, 2) <= m.shared_limit && m.latents == Latents::Bf16 => {
                ("mla_tiles_4x2", rows.div_ceil(64), sequences, tiles_shared(4, 2))
            }
            (true, false) => ("mla_tiles_4", rows.div_ceil(64), sequences, tiles_shared(4, 1)),
            (false, _) => ("mla_decode", c.heads.div_ceil(16), self.n, decode_shared(c)),
        };
        let (splits, span) = splits(self.bound, y * z, s.sizes.parts / self.n, m.processors);
        let args = args::Mla {
            q: s.query.at(0),
            pool: m.pool,
            table: s.table.at(0),
            first: s.first(),
            start: s.start(),
            acc: s.acc.at(0),
            ml: s.ml.at(0),
            n: int(self.n),
            heads: int(c.heads),
            kv_lora: int(c.kv_lora),
            rope: int(c.rope),
            layer: int(index),
            layers: int(c.layers),
            splits: int(splits),
            span: int(span),
            group: int(self.group),
            scale: c.softmax_scale(),
        };
        self.add(m.latents.kernel(kernel), [splits, y, z], shared, &args);
        splits
    }

    fn combine(&mut self, layer: &Layer, kernel: &str, splits: usize) {
        let (c, s) = (self.m.config, self.m.scratch);
        let means = kernel == "means_bf16";
        let args = args::Combine {
            acc: s.acc.at(0),
            ml: s.ml.at(0),
            wv: layer.values.data,
            out: if means { s.means.at(0) } else { s.values.at(0) },
            n: int(self.n),
            heads: int(c.heads),
            kv_lora: int(c.kv_lora),
            v: int(c.v),
            splits: int(splits),
            unused: 0,
        };
        self.add(kernel, [c.heads, if means { 1 } else { c.v.div_ceil(32) }, self.n], c.kv_lora * 4, &args);
    }

    fn few_attention(&mut self, layer: &Layer, index: usize) {
        let (c, s) = (self.m.config, self.m.scratch);
        let tiles = has_tiles(c);
        self.latent(layer, index, if tiles { "latent_bf16" } else { "latent_f32" });
        let splits = self.attend(index, tiles);
        self.combine(layer, "combine_f32", splits);
        let values = (s.values.at(0), c.heads * c.v);
        self.gemv(&layer.output, self.n, values, 0, (s.hidden.at(0), c.hidden), true);
    }

    fn few_ffn(&mut self, layer: &Layer) {
        match &layer.ffn {
            Half::Dense(dense) => {
                self.gate_up(layer.ffn_norm, None, Some(dense), 0);
                self.down(None, Some(dense), 0);
            }
            Half::Mixture { router, experts, shared } => {
                self.router(layer, *router);
                // Alone, the shared part still lies behind the experts'.
                let behind = self.m.config.chosen * experts.inner;
                let together = |f: fn(&Expert) -> Kind| shared.as_ref().is_none_or(|s| f(s) == f(experts));
                if together(|e| e.gate.kind) {
                    self.gate_up(layer.ffn_norm, Some(experts), shared.as_ref(), 0);
                } else {
                    self.gate_up(layer.ffn_norm, None, shared.as_ref(), behind);
                    self.gate_up(layer.ffn_norm, Some(experts), None, 0);
                }
                if together(|e| e.down.kind) {
                    self.down(Some(experts), shared.as_ref(), 0);
                } else {
                    self.down(None, shared.as_ref(), behind);
                    self.down(Some(experts), None, 0);
                }
            }
        }
    }

    fn gate_up(&mut self, norm: Ptr, routed: Option<&Expert>, shared: Option<&Expert>, before: usize) {
        let (c, s) = (self.m.config, self.m.scratch);
        let (chosen, inner) = routed.map_or((0, 0), |e| (c.chosen, e.inner));
        let shared_inner = shared.map_or(0, |e| e.inner);
        let Some(kind) = routed.or(shared).map(|e| e.gate.kind) else { return };
        let at = |e: Option<&Expert>, f: fn(&Expert) -> Ptr| e.map_or(0, f);
        let args = args::GateUp {
            gate: at(routed, |e| e.gate.data),
            gate_scales: at(routed, |e| e.gate.scales),
            up: at(routed, |e| e.up.data),
            up_scales: at(routed, |e| e.up.scales),
            shared_gate: at(shared, |e| e.gate.data),
            shared_gate_scales: at(shared, |e| e.gate.scales),
            shared_up: at(shared, |e| e.up.data),
            shared_up_scales: at(shared, |e| e.up.scales),
            x: s.hidden.at(0),
            norm,
            ids: s.ids.at(0),
            act: s.act.at(before * 4),
            hidden: int(c.hidden),
            inner: int(inner),
            shared_inner: int(shared_inner),
            n: int(self.n),
            chosen: int(chosen),
            ldact: int(act_width(c)),
            eps: c.eps,
            unused: 0,
        };
        let pairs = self.n * (chosen + usize::from(shared_inner > 0));
        let staged = kind.staged(c.hidden.next_multiple_of(256).min(2048)).max(64);
        self.add(format!("gate_up_{}", kind.suffix()), [inner.max(shared_inner).div_ceil(8), pairs, 1], staged, &args);
    }

    fn down(&mut self, routed: Option<&Expert>, shared: Option<&Expert>, before: usize) {
        let (c, s) = (self.m.config, self.m.scratch);
        let (chosen, inner) = routed.map_or((0, 0), |e| (c.chosen, e.inner));
        let shared_inner = shared.map_or(0, |e| e.inner);
        let Some(kind) = routed.or(shared).map(|e| e.down.kind) else { return };
        let at = |e: Option<&Expert>, f: fn(&Expert) -> Ptr| e.map_or(0, f);
        let args = args::Down {
            w: at(routed, |e| e.down.data),
            scales: at(routed, |e| e.down.scales),
            shared_w: at(shared, |e| e.down.data),
            shared_scales: at(shared, |e| e.down.scales),
            act: s.act.at(before * 4),
            ids: s.ids.at(0),
            weights: s.weights.at(0),
            x: s.hidden.at(0),
            hidden: int(c.hidden),
            inner: int(inner),
            shared_inner: int(shared_inner),
            n: int(self.n),
            chosen: int(chosen),
            ldact: int(act_width(c)),
            ldx: int(c.hidden),
            unused: 0,
        };
        let staged = kind.staged((chosen * inner + shared_inner).next_multiple_of(256)).max(64);
        self.add(format!("down_{}", kind.suffix()), [c.hidden.div_ceil(8), self.n, 1], staged, &args);
    }

    fn router(&mut self, layer: &Layer, w: Ptr) {
        let (c, s) = (self.m.config, self.m.scratch);
        let (t, most) = if self.n == 1 { (1, 2048) } else { (8, 1024) };
        let (groups, used) = c.groups.unwrap_or((0, 0));
        let args = args::Router {
            x: s.hidden.at(0),
            norm: layer.ffn_norm,
            w,
            scores: s.scores.at(0),
            tickets: s.tickets.at(0),
            ids: s.ids.at(0),
            weights: s.weights.at(0),
            hidden: int(c.hidden),
            experts: int(c.experts),
            chosen: int(c.chosen),
            groups: int(groups),
            used: int(used),
            normalise: i32::from(c.normalise),
            n: int(self.n),
            scale: c.scale,
            eps: c.eps,
            unused: 0,
        };
        let shared = (t * Kind::F32.staged(c.hidden.next_multiple_of(256).min(most))).max(8 * c.experts * 4);
        self.add(format!("router_{t}"), [c.experts.div_ceil(8), self.n.div_ceil(t), 1], shared, &args);
    }

    fn head(&mut self, first: usize, rows: usize) {
        let (m, c, s) = (self.m, self.m.config, self.m.scratch);
        let rows = rows.min(ROWS);
        let x = (s.hidden.at(first * c.hidden * 4), c.hidden);
        self.gemv(&m.weights.head, rows, x, m.weights.norm, (s.logits.at(0), c.vocab), false);
    }

    fn pick(&mut self, picking: Picking) {
        let (c, s) = (self.m.config, self.m.scratch);
        let args = args::Sample {
            logits: s.logits.at(0),
            mask: if picking.masked { s.mask.at(0) } else { 0 },
            partial: s.partial.at(0),
            tickets: s.tickets.at(0),
            picked: s.picked.at(0),
            tokens: s.tokens(),
            start: s.start(),
            trace: s.trace.at(0),
            step: s.step(),
            vocab: int(c.vocab),
            limit: int(picking.limit),
            next: int(STEPS),
            unused: 0,
        };
        self.add("sample", [c.vocab.div_ceil(1024).clamp(1, 128), self.n, 1], 128, &args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_the_context_and_fill_the_device() {
        for (bound, rows, most) in [(1, 1, 64), (512, 1, 64), (2048, 1, 64), (100_000, 1, 64), (2000, 512, 1), (70, 8, 8)] {
            let (splits, span) = splits(bound, rows, most, 132);
            assert!(span.is_multiple_of(64) && splits * span >= bound && (splits - 1) * span < bound && splits <= most, "{bound} {rows}");
        }
        assert_eq!(splits(2048, 1, 64, 132), (32, 64));
        assert_eq!(splits(2048, 512, 1, 132), (1, 2048));
        assert_eq!((bucket(1), bucket(513), bucket(2048)), (512, 1024, 2048));
    }

    #[test]
    fn attention_in_tiles_fits_the_cards_it_is_for() {
        // 99 KB on the 24 GB cards, 227 KB on Hopper.
        assert!(tiles_shared(1, 1) <= 99 << 10 && tiles_shared(4, 1) <= 99 << 10);
        assert!(tiles_shared(4, 2) > 99 << 10 && tiles_shared(4, 2) <= 163 << 10);
        const { assert!(many::GEMM_SHARED <= 99 << 10) };
    }
}
