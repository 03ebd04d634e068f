//! The kernels of latent attention against their plain references, in both formats of the pool: its writes, decode and tiles, the sum of splits.
//!
//! ```text
//! slot of FP8, 512 latents and a key of 64:  512 bytes E4M3 | 4 scales f32 | 64 bf16      656 bytes (kernels/slot.cuh)
//! ```
use crate::bench::{At, Bench, Case, floats, halves, numbers};
use crate::kernels::int;
use infill::model::cuda::args::{Combine, Latent, Mla, Ptr};
use infill::model::cuda::latents::Latents;
use infill::model::matrix::f8::value;

/// The format that a kernel's name says.
fn format(kernel: &str) -> Latents {
    if kernel.ends_with("_f8") { Latents::F8 } else { Latents::Bf16 }
}

/// Widths of a slot.
#[derive(Clone, Copy)]
struct Slot {
    format: Latents,
    lora: usize,
    rope: usize,
}

impl Slot {
    fn bytes(self) -> usize {
        self.format.slot(self.lora, self.rope)
    }

    /// Random values below 1; in FP8 with a scale of its own for each group, and every eighth value any code but NaN.
    fn random(self, seed: u32) -> Vec<u8> {
        let bf16 = |n: usize, seed| numbers(n, seed).iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect::<Vec<u8>>();
        if self.format == Latents::Bf16 {
            return bf16(self.lora + self.rope, seed);
        }
        let near = |x: f32| (0..127).min_by(|a, b| (value(*a) - x).abs().total_cmp(&(value(*b) - x).abs())).unwrap_or(0);
        let code =
            |(k, x): (usize, &f32)| if k % 8 == 0 { (x.abs() * 126.9) as u8 } else { near(x.abs() * 448.0) } | u8::from(*x < 0.0) << 7;
        let scales = (0..self.lora.div_ceil(128)).flat_map(|g| 2f32.powi(-9 - ((seed as usize + g) % 3) as i32).to_le_bytes());
        numbers(self.lora, seed).iter().enumerate().map(code).chain(scales).chain(bf16(self.rope, seed + 1)).collect()
    }

    /// What a slot holds.
    fn read(self, slot: &[u8]) -> Vec<f32> {
        if self.format == Latents::Bf16 {
            return halves(slot);
        }
        let key = self.bytes() - 2 * self.rope;
        let scales = floats(&slot[self.lora..key]);
        slot[..self.lora].iter().enumerate().map(|(k, x)| value(*x) * scales[k / 128]).chain(halves(&slot[key..])).collect()
    }
}

/// Blocks in no order, with gaps; `written` positions of them random, the rest NaN.
struct Pool {
    table: Vec<i32>,
    bytes: Vec<u8>,
}

impl Pool {
    fn new(positions: usize, written: usize, layers: usize, slot: Slot) -> Pool {
        let count = positions.div_ceil(16);
        let table: Vec<i32> = (0..count).map(|i| ((i * 7 + 3) % (count + 2)) as i32).collect();
        let table: Vec<i32> = if (count + 2).is_multiple_of(7) { (0..count).rev().map(|i| i as i32 + 1).collect() } else { table };
        let mut bytes = vec![0xff; (count + 2) * layers * 16 * slot.bytes()];
        for p in 0..written {
            for l in 0..layers {
                let at = ((table[p / 16] as usize * layers + l) * 16 + p % 16) * slot.bytes();
                bytes[at..at + slot.bytes()].copy_from_slice(&slot.random(77 + (p * layers + l) as u32 * 2));
            }
        }
        Pool { table, bytes }
    }
}

/// A kernel that appends: its shapes, and which tokens of which sequences it is given.
struct Append {
    kernel: &'static str,
    n: usize,
    heads: usize,
    nope: usize,
    slot: Slot,
    starts: &'static [i32],
    first: &'static [i32],
}

const LAYERS: usize = 2;
const LAYER: usize = 1;

impl Append {
    /// A row of projections, and where the latent begins in it.
    fn row(&self) -> (usize, usize) {
        let at = self.heads * (self.nope + self.slot.rope);
        (at + self.slot.lora + self.slot.rope + 6, at)
    }

    fn norm(&self) -> Vec<f32> {
        numbers(self.slot.lora, 2)
    }

    /// Runs kernel and reference over `qkv`; both pools, the device's first.
    fn run(&self, bench: &Bench, qkv: &[f32]) -> [Vec<u8>; 2] {
        let Append { kernel, n, heads, nope, slot, .. } = *self;
        let (split, exact) = (kernel.contains("split"), kernel.contains("f32"));
        let (width, (ld, kv_at)) = (slot.lora + slot.rope, self.row());
        let pool = Pool::new(64, 0, LAYERS, slot);
        let mut case = Case::new(bench);
        let (qkv, norm) = (case.f32(qkv), case.f32(&self.norm()));
        let wk = case.bf16(&numbers(heads * slot.lora * nope, 3));
        let turns = case.f32(&numbers(40 * slot.rope, 4));
        let (at_start, at_first, table) = (case.i32(self.starts), case.i32(self.first), case.i32(&pool.table));
        // Looked at by the test.
        let latents = case.bytes(pool.bytes);
        case.free(latents);
        let q = if exact { case.out_f32(n * heads * width, 2e-5) } else { case.out_bf16(n * heads * width, 4e-3) };
        let queries = case.out_bf16(n * heads * nope, 4e-3);
        if !split {
            // The unused output stays as it is.
            case.only_in(queries);
        }
        let parts = if split { 0 } else { slot.lora.div_ceil(128) };
        let build = |at: &dyn Fn(At) -> Ptr| Latent {
            qkv: at(qkv),
            norm: at(norm),
            wk: at(wk),
            turns: at(turns),
            start: at(at_start),
            first: at(at_first),
            table: at(table),
            pool: at(latents),
            q: at(q),
            nope: at(queries),
            n: int(n),
            heads: int(heads),
            width_nope: int(nope),
            rope: int(slot.rope),
            kv_lora: int(slot.lora),
            ld: int(ld),
            q_at: 0,
            kv_at: int(kv_at),
            layer: int(LAYER),
            layers: int(LAYERS),
            parts: int(parts.max(1)),
            group: int(n / self.starts.len()),
            eps: 1e-6,
            unused: 0,
        };
        let got = case.run(kernel, kernel, [heads * parts + 1, n, 1], (nope * 4).max(64), build);
        [got, case.reference(kernel, build)].map(|mut all| all.swap_remove(latents.0))
    }

    /// Token `t`'s slot in a pool.
    fn slot_of<'a>(&self, pool: &'a [u8], t: usize) -> &'a [u8] {
        let (group, table) = (self.n / self.starts.len(), Pool::new(64, 0, LAYERS, self.slot).table);
        let position = self.starts[t / group] as usize + t % group;
        let block = table[self.first[t / group] as usize + position / 16] as usize;
        &pool[((block * LAYERS + LAYER) * 16 + position % 16) * self.slot.bytes()..][..self.slot.bytes()]
    }

    /// The normed latent of token `t`.
    fn normed(&self, qkv: &[f32], t: usize) -> Vec<f32> {
        let (ld, at) = self.row();
        let row = &qkv[t * ld + at..][..self.slot.lora];
        let mean = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + 1e-6).sqrt();
        row.iter().zip(self.norm()).map(|(x, n)| (f64::from(*x) * scale * f64::from(n)) as f32).collect()
    }
}

/// Three sequences of a token each, or one of several.
const APPENDS: [(&str, usize, usize, usize, usize, usize); 8] = [
    ("latent_f32", 3, 2, 24, 10, 136),
    ("latent_f32", 1, 4, 32, 16, 64),
    ("latent_bf16", 2, 3, 128, 64, 512),
    ("latent_split", 5, 3, 128, 64, 512),
    ("latent_f32_f8", 3, 2, 24, 10, 136),
    ("latent_f32_f8", 1, 4, 32, 16, 64),
    ("latent_bf16_f8", 2, 3, 128, 64, 512),
    ("latent_split_f8", 5, 3, 128, 64, 512),
];

pub fn latent(bench: &Bench) {
    for (kernel, n, heads, nope, rope, lora) in APPENDS {
        let (starts, first): (&[i32], &[i32]) = if n == 3 { (&[30, 0, 17], &[1, 0, 2]) } else { (&[14], &[0]) };
        let case = Append { kernel, n, heads, nope, slot: Slot { format: format(kernel), lora, rope }, starts, first };
        let (ld, kv_at) = case.row();
        let mut qkv = numbers(n * ld, 1);
        // One value that dwarfs its neighbours: they end among the smallest that E4M3 has, or as zero.
        qkv[kv_at + 7] = 3e4;
        let [got, want] = case.run(bench, &qkv);
        compare(&case, &got, &want, &qkv);
        // Nothing but zeros, and no number.
        qkv[kv_at..kv_at + lora].fill(0.0);
        let [zero, want] = case.run(bench, &qkv);
        assert!(case.slot.read(case.slot_of(&zero, 0))[..lora].iter().all(|x| *x == 0.0), "{kernel}");
        compare(&case, &zero, &want, &qkv);
        qkv[kv_at + lora - 1] = f32::NAN;
        let [odd, _] = case.run(bench, &qkv);
        assert!(case.slot.read(case.slot_of(&odd, 0))[..lora].iter().all(|x| x.is_nan()), "{kernel}");
    }
}

/// What was appended is the reference's, but where a value lay between two codes; off the true one by no more than the format is; and no other
/// byte was written.
fn compare(case: &Append, got: &[u8], want: &[u8], qkv: &[f32]) {
    let (kernel, slot) = (case.kernel, case.slot);
    let mut other = 0;
    for t in 0..case.n {
        let [g, w] = [got, want].map(|pool| case.slot_of(pool, t));
        other += g.iter().zip(w).filter(|(g, w)| g != w).count();
        let (g, w) = (slot.read(g), slot.read(w));
        let (half, least) = if slot.format == Latents::F8 { (1.0 / 16.0, 1.0 / 229_376.0) } else { (1.0 / 256.0, 0.0) };
        for (k, x) in case.normed(qkv, t).iter().enumerate() {
            let group = &case.normed(qkv, t)[k / 128 * 128..slot.lora.min(k / 128 * 128 + 128)];
            let most = group.iter().fold(0f32, |most, x| most.max(x.abs()));
            let bound = (x.abs() * half + most * least) * 1.001;
            assert!(
                (g[k] - x).abs() <= bound && (w[k] - x).abs() <= bound,
                "{kernel}, value {k} of token {t}: {} and {}, not {x}",
                g[k],
                w[k]
            );
        }
        for k in slot.lora..slot.lora + slot.rope {
            assert!((g[k] - w[k]).abs() <= 4e-3 * (1.0 + w[k].abs()), "{kernel}, key {k} of token {t}: {}, not {}", g[k], w[k]);
        }
    }
    assert!(other * 50 <= case.n * slot.bytes(), "{kernel}: {other} bytes are not the reference's");
    let written = |pool: &[u8]| pool.chunks_exact(slot.bytes()).map(|s| s.iter().any(|b| *b != 0xff)).collect::<Vec<_>>();
    let slots = written(got);
    assert!(slots == written(want) && slots.iter().filter(|w| **w).count() == case.n, "{kernel}: other slots than those of the tokens");
}

pub fn mla(bench: &Bench) {
    // (kernel, heads, kv_lora, rope, start, n, span); tokens of one sequence, or (start 99) each of another.
    for (kernel, heads, lora, rope, start, n, span) in [
        ("mla_decode", 1usize, 64usize, 16usize, 0usize, 1usize, 64usize),
        ("mla_decode", 4, 64, 16, 0, 1, 64),
        ("mla_decode", 19, 136, 10, 85, 3, 64),
        ("mla_decode", 16, 512, 64, 130, 1, 64),
        ("mla_tiles_1", 16, 512, 64, 130, 1, 64),
        ("mla_tiles_1", 3, 512, 64, 61, 7, 128),
        ("mla_decode", 18, 64, 16, 99, 3, 64),
        ("mla_tiles_1", 18, 512, 64, 99, 3, 64),
        ("mla_tiles_4", 16, 512, 64, 40, 9, 64),
        ("mla_tiles_4x2", 16, 512, 64, 40, 9, 64),
        ("mla_tiles_4x2", 5, 512, 64, 0, 27, 128),
        ("mla_decode_f8", 1, 64, 16, 0, 1, 64),
        ("mla_decode_f8", 19, 136, 10, 85, 3, 64),
        ("mla_decode_f8", 18, 64, 16, 99, 3, 64),
        ("mla_decode_f8", 16, 512, 64, 130, 1, 64),
        ("mla_tiles_1_f8", 16, 512, 64, 130, 1, 64),
        ("mla_tiles_1_f8", 18, 512, 64, 99, 3, 64),
        ("mla_tiles_4_f8", 16, 512, 64, 40, 9, 64),
        ("mla_tiles_4_f8", 5, 512, 64, 0, 27, 128),
    ] {
        let (layers, layer, width, slot) = (2, 1, lora + rope, Slot { format: format(kernel), lora, rope });
        // Tables of 3, 5 and 1 blocks, one behind the other.
        let (starts, first, group): (&[i32], &[i32], _) =
            if start == 99 { (&[40, 70, 3], &[0, 3, 8], 1) } else { (&[start as i32], &[0], n) };
        let end = if start == 99 { 9 * 16 } else { start + n };
        let splits = end.div_ceil(span) + 1;
        let pool = Pool::new(end, end, layers, slot);
        let mut case = Case::new(bench);
        let tiles = !kernel.starts_with("mla_decode");
        let q = if tiles { case.bf16(&numbers(n * heads * width, 1)) } else { case.f32(&numbers(n * heads * width, 1)) };
        let latents = case.bytes(pool.bytes);
        let (table, at_start, at_first) = (case.i32(&pool.table), case.i32(starts), case.i32(first));
        // Probabilities are rounded to bf16 in the tiles; in FP8 some columns are four times the size of others.
        let tolerance = match (tiles, slot.format) {
            (false, _) => 2e-5,
            (true, Latents::Bf16) => 6e-3,
            (true, Latents::F8) => 1e-2,
        };
        let acc = case.out_f32(splits * n * heads * lora, tolerance);
        let ml = case.out_f32(splits * n * heads * 2, if tiles { 2e-3 } else { 2e-5 });
        let (grid, shared) = match kernel.trim_end_matches("_f8") {
            "mla_decode" => {
                ([splits, heads.div_ceil(16), n], ((16 * (width + 1)).div_ceil(4) * 4 + 16 * 16 + 48) * 4 + 16 * (width + 2) * 2)
            }
            "mla_tiles_1" => ([splits, (group * heads).div_ceil(16), n / group], (16 + 64) * 584 * 2 + 16 * 68 * 4),
            "mla_tiles_4" => ([splits, (n * heads).div_ceil(64), 1], (64 + 16) * 584 * 2 + 64 * 20 * 4),
            _ => ([splits, (n * heads).div_ceil(64), 1], (64 + 32) * 584 * 2 + 64 * 20 * 4),
        };
        let reference = match (tiles, slot.format) {
            (false, _) => kernel,
            (true, Latents::Bf16) => "mla_tiles",
            (true, Latents::F8) => "mla_tiles_f8",
        };
        case.run(kernel, reference, grid, shared, |at| Mla {
            q: at(q),
            pool: at(latents),
            table: at(table),
            first: at(at_first),
            start: at(at_start),
            acc: at(acc),
            ml: at(ml),
            n: int(n),
            heads: int(heads),
            kv_lora: int(lora),
            rope: int(rope),
            layer: int(layer),
            layers: int(layers),
            splits: int(splits),
            span: int(span),
            group: int(group),
            scale: 0.4,
        });
    }
}

pub fn combine(bench: &Bench) {
    for (kernel, n, heads, lora, v, splits) in [
        ("combine_f32", 2usize, 3usize, 72usize, 40usize, 5usize),
        ("combine_f32", 1, 2, 512, 128, 1),
        ("combine_bf16", 3, 2, 64, 33, 4),
        ("means_bf16", 3, 2, 136, 8, 3),
    ] {
        let mut case = Case::new(bench);
        let rows = n * heads;
        let mut ml: Vec<f32> = numbers(splits * rows * 2, 1).iter().map(|x| x * 4.0).collect();
        ml.chunks_exact_mut(2).for_each(|pair| pair[1] = pair[1].abs() + 0.5);
        let mut acc = numbers(splits * rows * lora, 2);
        // A split that saw nothing, with sums that nobody wrote.
        if splits > 1 {
            for row in rows..2 * rows {
                ml[row * 2..row * 2 + 2].copy_from_slice(&[f32::NEG_INFINITY, 0.0]);
                acc[row * lora..(row + 1) * lora].fill(f32::NAN);
            }
        }
        let (acc, ml, wv) = (case.f32(&acc), case.f32(&ml), case.bf16(&numbers(heads * v * lora, 3)));
        let width = if kernel == "means_bf16" { lora } else { v };
        let out = if kernel == "combine_f32" { case.out_f32(n * heads * width, 2e-5) } else { case.out_bf16(n * heads * width, 4e-3) };
        let grid = [heads, if kernel == "means_bf16" { 1 } else { v.div_ceil(32) }, n];
        case.run(kernel, kernel, grid, lora * 4, |at| Combine {
            acc: at(acc),
            ml: at(ml),
            wv: at(wv),
            out: at(out),
            n: int(n),
            heads: int(heads),
            kv_lora: int(lora),
            v: int(v),
            splits: int(splits),
            unused: 0,
        });
    }
}
