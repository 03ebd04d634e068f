//! The kernels of latent attention against their plain references: the pool's writes, decode and tiles, the sum of splits.
//!
//! ```text
//! a pool of NaN, 37 positions written through a shuffled table  ->  every output is a number, and the reference's
//! ```
use crate::bench::{At, Bench, Case, numbers};
use crate::kernels::int;
use infill::model::cuda::args::*;

/// Blocks in no order, with gaps; `positions` of them written, the rest NaN.
struct Pool {
    table: Vec<i32>,
    values: Vec<f32>,
}

impl Pool {
    fn new(positions: usize, written: usize, layers: usize, width: usize) -> Pool {
        let count = positions.div_ceil(16);
        let table: Vec<i32> = (0..count).map(|i| ((i * 7 + 3) % (count + 2)) as i32).collect();
        let table: Vec<i32> = if (count + 2).is_multiple_of(7) { (0..count).rev().map(|i| i as i32 + 1).collect() } else { table };
        let mut values = vec![f32::NAN; (count + 2) * layers * 16 * width];
        let random = numbers(written * layers * width, 77);
        for p in 0..written {
            for l in 0..layers {
                let at = ((table[p / 16] as usize * layers + l) * 16 + p % 16) * width;
                values[at..at + width].copy_from_slice(&random[(p * layers + l) * width..][..width]);
            }
        }
        Pool { table, values }
    }
}

pub fn latent(bench: &Bench) {
    // The tokens of all but the first case are of one sequence; there are three, and each brings one.
    for (kernel, split, n, heads, nope, rope, lora) in [
        ("latent_f32", false, 3usize, 2usize, 24usize, 10usize, 136usize),
        ("latent_f32", false, 1, 4, 32, 16, 64),
        ("latent_bf16", false, 2, 3, 128, 64, 512),
        ("latent_split", true, 5, 3, 128, 64, 512),
    ] {
        let (layers, layer, width) = (2, 1, lora + rope);
        let (starts, first, group): (&[i32], &[i32], _) = if n == 3 { (&[30, 0, 17], &[1, 0, 2], 1) } else { (&[14], &[0], n) };
        let (kv_at, ld) = (heads * (nope + rope), heads * (nope + rope) + width + 6);
        let pool = Pool::new(64, 0, layers, width);
        let mut case = Case::new(bench);
        let (qkv, norm) = (case.f32(&numbers(n * ld, 1)), case.f32(&numbers(lora, 2)));
        let wk = case.bf16(&numbers(heads * lora * nope, 3));
        let turns = case.f32(&numbers(40 * rope, 4));
        let (at_start, at_first, table) = (case.i32(starts), case.i32(first), case.i32(&pool.table));
        // A bf16 may be rounded the other way.
        let latents = case.bf16(&pool.values);
        let latents = case.also_out(latents, 4e-3);
        let q = if kernel == "latent_f32" { case.out_f32(n * heads * width, 2e-5) } else { case.out_bf16(n * heads * width, 4e-3) };
        let queries = case.out_bf16(n * heads * nope, 4e-3);
        if !split {
            case.also_out(queries, 0.0);
        }
        let parts = if split { 0 } else { lora.div_ceil(128) };
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
            rope: int(rope),
            kv_lora: int(lora),
            ld: int(ld),
            q_at: 0,
            kv_at: int(kv_at),
            layer: int(layer),
            layers: int(layers),
            parts: int(parts.max(1)),
            group: int(group),
            eps: 1e-6,
            unused: 0,
        };
        if split {
            case.run(kernel, kernel, [1, n, 1], (nope * 4).max(64), build);
        } else {
            // The unused output stays as it is: it is no part of the comparison, which wants something written.
            let case = without(case, queries);
            case.run(kernel, kernel, [heads * parts + 1, n, 1], (nope * 4).max(64), build);
        }
    }
}

/// Turns an output back into an input, which must stay as it is.
fn without(mut case: Case, at: At) -> Case {
    case.only_in(at);
    case
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
    ] {
        let (layers, layer, width) = (2, 1, lora + rope);
        // Tables of 3, 5 and 1 blocks, one behind the other.
        let (starts, first, group): (&[i32], &[i32], _) =
            if start == 99 { (&[40, 70, 3], &[0, 3, 8], 1) } else { (&[start as i32], &[0], n) };
        let end = if start == 99 { 9 * 16 } else { start + n };
        let splits = end.div_ceil(span) + 1;
        let pool = Pool::new(end, end, layers, width);
        let mut case = Case::new(bench);
        let tiles = kernel != "mla_decode";
        let q = if tiles { case.bf16(&numbers(n * heads * width, 1)) } else { case.f32(&numbers(n * heads * width, 1)) };
        let latents = case.bf16(&pool.values);
        let (table, at_start, at_first) = (case.i32(&pool.table), case.i32(starts), case.i32(first));
        // Probabilities are rounded to bf16 in the tiles.
        let tolerance = if tiles { 6e-3 } else { 2e-5 };
        let acc = case.out_f32(splits * n * heads * lora, tolerance);
        let ml = case.out_f32(splits * n * heads * 2, if tiles { 2e-3 } else { 2e-5 });
        let (grid, shared) = match kernel {
            "mla_decode" => {
                ([splits, heads.div_ceil(16), n], ((16 * (width + 1)).div_ceil(4) * 4 + 16 * 16 + 48) * 4 + 16 * (width + 2) * 2)
            }
            "mla_tiles_1" => ([splits, (group * heads).div_ceil(16), n / group], (16 + 64) * 584 * 2 + 16 * 68 * 4),
            "mla_tiles_4" => ([splits, (n * heads).div_ceil(64), 1], (64 + 16) * 584 * 2 + 64 * 20 * 4),
            _ => ([splits, (n * heads).div_ceil(64), 1], (64 + 32) * 584 * 2 + 64 * 20 * 4),
        };
        let reference = if tiles { "mla_tiles" } else { kernel };
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
