//! The passes over many tokens: products in tiles, tokens sorted by expert.
//!
//! ```text
//! norm gemm latent gemm mla means gemm gemm | norm router gated gemm sort gated gemm gather      a MoE layer
//! ```
use super::super::args::{self, Ptr};
use super::super::gpu::Launch;
use super::super::kind::Placed;
use super::super::scratch::most_tiles;
use super::super::weights::{Columns, Expert, Half, Layer};
use super::{Pass, has_tiles, int};

/// Three tiles of 64 and 128 rows of 72 bf16.
pub const GEMM_SHARED: usize = 3 * (64 + 128) * 72 * 2;

impl Pass<'_> {
    fn norm(&mut self, x: Ptr, ldx: usize, weight: Ptr, out: Ptr, cols: usize) {
        let args = args::Norm { x, delta: 0, weight, out, cols: int(cols), ldx: int(ldx), eps: self.m.config.eps, unused: 0 };
        self.add("rms_norm", [self.n, 1, 1], 64, &args);
    }

    /// A product of tiles: `gated` names the second matrix.
    fn gemm(&mut self, w: &Placed, gated: Option<&Placed>, args: &args::Gemm, grid: (usize, usize)) {
        let second = gated.map_or((0, 0), |w| (w.data, w.scales));
        let args = args::Gemm { w: w.data, scales: w.scales, w2: second.0, scales2: second.1, k: int(w.cols), ..*args };
        let n = usize::try_from(args.n).unwrap_or(0);
        let (name, wide) = if gated.is_some() { ("gated", 64) } else { ("gemm", 128) };
        self.add(format!("{name}_{}", w.kind.suffix()), [n.div_ceil(wide), grid.0, grid.1], GEMM_SHARED, &args);
    }

    /// c = a · Wᵀ for all tokens: mode 0 f32, 1 added to f32, 2 bf16.
    fn product(&mut self, w: &Placed, gated: Option<&Placed>, a: (Ptr, usize), c: (Ptr, usize), mode: i32) {
        let (n, m) = (int(w.rows), int(self.n));
        let args = args::Gemm { a: a.0, c: c.0, m, n, lda: int(a.1), ldc: int(c.1), mode, ..args::Gemm::default() };
        self.gemm(w, gated, &args, (self.n.div_ceil(64), 1));
    }

    /// The same per head, columns of `a` and `c` moving on with it.
    fn per_head(&mut self, w: &Placed, a: (Ptr, usize), c: (Ptr, usize), rows: usize) {
        let heads = self.m.config.heads;
        let args = args::Gemm {
            a: a.0,
            c: c.0,
            a_step: a.1 as u64,
            w_step: rows as u64,
            c_step: c.1 as u64,
            m: int(self.n),
            n: int(rows),
            lda: int(a.1 * heads),
            ldc: int(c.1 * heads),
            mode: 2,
            ..args::Gemm::default()
        };
        self.gemm(w, None, &args, (self.n.div_ceil(64), heads));
    }

    pub fn many_projections(&mut self, layer: &Layer) {
        let (c, s) = (self.m.config, self.m.scratch);
        let columns = Columns::new(c);
        let at = |column: usize| (s.qkv.at(column * 4), columns.width);
        self.norm(s.hidden.at(0), c.hidden, layer.attention_norm, s.normed.at(0), c.hidden);
        for (w, column) in &layer.projections {
            self.product(w, None, (s.normed.at(0), c.hidden), at(*column), 0);
        }
        if let Some((norm, up)) = &layer.up {
            self.norm(at(columns.low).0, columns.width, *norm, s.low.at(0), up.cols);
            self.product(up, None, (s.low.at(0), up.cols), at(0), 0);
        }
    }

    /// Writes the latents and, unless they are all that is `wanted`, goes on to the values' output. Whether it stopped.
    pub fn many_attention(&mut self, layer: &Layer, index: usize, only_latents: bool) -> bool {
        let (c, s) = (self.m.config, self.m.scratch);
        let tiles = has_tiles(c);
        self.latent(layer, index, if tiles { "latent_split" } else { "latent_f32" });
        if only_latents {
            return true;
        }
        if tiles {
            self.per_head(&layer.keys, (s.nope.at(0), c.nope), (s.query.at(0), c.latent()), c.kv_lora);
            let splits = self.attend(index, true);
            self.combine(layer, "means_bf16", splits);
            self.per_head(&layer.values, (s.means.at(0), c.kv_lora), (s.values.at(0), c.v), c.v);
        } else {
            let splits = self.attend(index, false);
            self.combine(layer, "combine_bf16", splits);
        }
        self.product(&layer.output, None, (s.values.at(0), c.heads * c.v), (s.hidden.at(0), c.hidden), 1);
        false
    }

    pub fn many_ffn(&mut self, layer: &Layer) {
        let (c, s) = (self.m.config, self.m.scratch);
        self.norm(s.hidden.at(0), c.hidden, layer.ffn_norm, s.normed.at(0), c.hidden);
        match &layer.ffn {
            Half::Dense(dense) => self.mlp(dense),
            Half::Mixture { router, experts, shared } => {
                // It reads the hidden state, so before anything is added to that.
                self.router(layer, *router);
                shared.iter().for_each(|shared| self.mlp(shared));
                self.mixture(experts);
            }
        }
    }

    fn mlp(&mut self, e: &Expert) {
        let (c, s) = (self.m.config, self.m.scratch);
        self.product(&e.gate, Some(&e.up), (s.normed.at(0), c.hidden), (s.act.at(0), e.inner), 2);
        self.product(&e.down, None, (s.act.at(0), e.inner), (s.hidden.at(0), c.hidden), 1);
    }

    fn mixture(&mut self, experts: &Expert) {
        let (c, s) = (self.m.config, self.m.scratch);
        let pairs = self.n * c.chosen;
        let most = most_tiles(pairs, c.experts);
        let (ids, from, place, tiles) = (s.ids.at(0), s.from.at(0), s.place.at(0), s.tiles.at(0));
        let sort = args::Sort { ids, from, place, tiles, n: int(self.n), chosen: int(c.chosen), experts: int(c.experts), most: int(most) };
        self.launches.push(Launch { threads: 1024, ..Launch::new("sort", [1, 1, 1], (2 * c.experts + 1) * 4, &sort) });
        let up = args::Gemm {
            a: s.normed.at(0),
            c: s.act.at(0),
            from,
            tiles,
            n: int(experts.inner),
            lda: int(c.hidden),
            ldc: int(experts.inner),
            mode: 2,
            ..args::Gemm::default()
        };
        self.gemm(&experts.gate, Some(&experts.up), &up, (most, 1));
        let (n, lda) = (int(c.hidden), int(experts.inner));
        let down = args::Gemm { a: s.act.at(0), c: s.rows.at(0), tiles, n, lda, ldc: n, ..args::Gemm::default() };
        self.gemm(&experts.down, None, &down, (most, 1));
        let (rows, weights, x) = (s.rows.at(0), s.weights.at(0), s.hidden.at(0));
        let gather = args::Gather { rows, place, weights, x, hidden: int(c.hidden), chosen: int(c.chosen) };
        self.add("gather", [self.n, 1, 1], 0, &gather);
    }
}
