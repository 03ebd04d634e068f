//! The quantised formats, block by block: what each stores, and products with it in plain Rust.
//!
//! ```text
//! small (32):  out = Σ_b fma(Σ q(w)·q(x), scale(w)·scale(x))  + fma(min(w), scale(x)·Σ q(x))        Q4_0 … Q8_0
//! large (256): out = Σ_b fma(Σ_s part(w)·Σ q(w)·q(x), scale(w)·scale(x)) - fma(Σ_s min_s·Σ q(x), …)  Q4_K, Q5_K, Q6_K
//! ```
//! Inner sums are of integers and exact; only the blocks' order matters, and it is always the same. So a row gives the
//! same bits alone or in a batch, and here or in `vnni`. The layouts are ggml's (ggml-common.h and ggml-quants.c).
use super::lanes::{Lanes, Level, by_level};
use super::rounded::{LARGE, Large, Rounded, Rounding, SMALL, Small, WORDS};
use super::view::Out;
use crate::model::matrix::Format;
use half::f16;

/// `out[r][o] = x[first + r] · w[o]` for `out.rows` rows and as many outputs as `w` has rows of `cols` elements.
/// Nobody else may write those columns meanwhile.
pub fn rows(level: Level, format: Format, x: &Rounded, first: usize, w: &[u8], out: Out<'_>) {
    let (cols, rows, stored) = match Rounding::of(format) {
        Rounding::Large => (x.large.cols, x.large.rows, x.large.bytes.len()),
        _ => (x.small.cols, x.small.rows, x.small.bytes.len()),
    };
    let bytes = format.row_bytes(cols).unwrap_or(0);
    assert!(bytes > 0 && stored >= rows * cols && rows >= first + out.rows && w.len() == out.cols * bytes, "a product of unequal sizes");
    let done = super::vnni::rows(level, format, x, first, w, out);
    if done < out.cols {
        let (w, out) = (&w[done * bytes..], out.part(0, out.rows, done, out.cols - done));
        match Rounding::of(format) {
            Rounding::Large => large_rows(level, format, &x.large, first, w, out),
            _ => small_rows(level, format, &x.small, first, w, out),
        }
    }
}

by_level! {
    pub fn small_rows(format: Format, x: &Small, first: usize, w: &[u8], out: Out<'_>) = small_kernel
}

/// One row of small blocks: the numbers without their scale, scales, minima.
#[derive(Default)]
struct Plain {
    q: Vec<i8>,
    scales: Vec<f32>,
    mins: Vec<f32>,
}

#[inline(always)]
unsafe fn small_kernel<L: Lanes>(format: Format, x: &Small, first: usize, w: &[u8], out: Out<'_>) {
    let (blocks, size) = (x.cols / SMALL, format.block().1);
    let mut row = Plain { q: vec![0; x.cols], scales: vec![0.0; blocks], mins: vec![0.0; blocks] };
    for (o, w) in w.chunks_exact(blocks * size).enumerate() {
        for (b, block) in w.chunks_exact(size).enumerate() {
            (row.scales[b], row.mins[b]) = small(format, block, row.q[b * SMALL..].first_chunk_mut().expect("a block"));
        }
        for r in 0..out.rows {
            let mut sum = 0.0;
            for (b, w) in row.q.as_chunks::<SMALL>().0.iter().enumerate() {
                let at = x.at(first + r, b);
                let (q, scale) = (x.bytes[at * SMALL..].first_chunk().expect("a block"), x.scales[at]);
                // SAFETY: the lanes' contract holds in a kernel.
                unsafe {
                    sum = L::fma1(sum, dot(w, q) as f32, row.scales[b] * scale);
                    if matches!(format, Format::Q4_1 | Format::Q5_1) {
                        sum = L::fma1(sum, row.mins[b], scale * x.sums[at] as f32);
                    }
                }
            }
            // SAFETY: the caller owns the column.
            unsafe { out.set(r, o, sum) };
        }
    }
}

/// Unpacks a small block; scale and minimum.
#[inline(always)]
fn small(format: Format, block: &[u8], q: &mut [i8; SMALL]) -> (f32, f32) {
    let nibbles = |q: &mut [i8; SMALL], from: &[u8], less: i8| {
        for i in 0..SMALL / 2 {
            (q[i], q[i + SMALL / 2]) = ((from[i] & 15) as i8 - less, (from[i] >> 4) as i8 - less);
        }
    };
    let fifth = |q: &mut [i8; SMALL], bits: &[u8]| {
        let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
        q.iter_mut().enumerate().for_each(|(i, q)| *q += (bits >> i << 4 & 16) as i8);
    };
    let scale = half_at(block, 0);
    match format {
        Format::Q8_0 => block[2..].iter().zip(q).for_each(|(w, q)| *q = *w as i8),
        Format::Q4_0 => nibbles(q, &block[2..], 8),
        Format::Q4_1 => nibbles(q, &block[4..], 0),
        Format::Q5_0 => {
            nibbles(q, &block[6..], 16);
            fifth(q, &block[2..]);
        }
        _ => {
            nibbles(q, &block[8..], 0);
            fifth(q, &block[4..]);
        }
    }
    (scale, if matches!(format, Format::Q4_1 | Format::Q5_1) { half_at(block, 2) } else { 0.0 })
}

#[inline(always)]
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[inline(always)]
fn dot<const N: usize>(w: &[i8; N], q: &[i8; N]) -> i32 {
    // Products of two bytes fit i16: this is the shape that becomes `pmaddwd`.
    w.iter().zip(q).map(|(w, q)| i32::from(i16::from(*w) * i16::from(*q))).sum()
}

by_level! {
    pub fn large_rows(format: Format, x: &Large, first: usize, w: &[u8], out: Out<'_>) = large_kernel
}

/// One large block without its scale: numbers, the parts' factors (by sixteens), minima (by pairs as in
/// [`Large::sums`]), scale and scale of the minima.
struct Parts {
    q: [i8; LARGE],
    factors: [i32; 16],
    mins: [[i16; 2]; 4],
    scale: f32,
    min: f32,
}

const EMPTY: Parts = Parts { q: [0; LARGE], factors: [0; 16], mins: [[0; 2]; 4], scale: 0.0, min: 0.0 };

#[inline(always)]
unsafe fn large_kernel<L: Lanes>(format: Format, x: &Large, first: usize, w: &[u8], out: Out<'_>) {
    let (blocks, size) = (x.cols / LARGE, format.block().1);
    let mut row: Vec<Parts> = (0..blocks).map(|_| EMPTY).collect();
    for (o, w) in w.chunks_exact(blocks * size).enumerate() {
        w.chunks_exact(size).zip(&mut row).for_each(|(w, parts)| large(format, w, parts));
        for r in 0..out.rows {
            let mut sum = 0.0;
            for (b, w) in row.iter().enumerate() {
                let at = x.at(first + r, b);
                let (q, scale) = (x.bytes[at * LARGE..].first_chunk().expect("a block"), x.scales[at]);
                let sums = x.sums[at * WORDS..].first_chunk().expect("the words of a block");
                // SAFETY: the lanes' contract holds in a kernel.
                unsafe {
                    sum = L::fma1(sum, weighted(w, q) as f32, w.scale * scale);
                    if format != Format::Q6K {
                        sum = L::fma1(sum, -(minima(w, sums) as f32), w.min * scale);
                    }
                }
            }
            // SAFETY: the caller owns the column.
            unsafe { out.set(r, o, sum) };
        }
    }
}

#[inline(always)]
fn weighted(w: &Parts, q: &[i8; LARGE]) -> i32 {
    let parts = w.q.as_chunks::<16>().0.iter().zip(q.as_chunks::<16>().0);
    parts.zip(w.factors).map(|((w, q), factor)| factor * dot(w, q)).sum()
}

#[inline(always)]
fn minima(w: &Parts, sums: &[i32; 4]) -> i32 {
    let pair = |(m, s): (&[i16; 2], &i32)| i32::from(m[0]) * i32::from(*s as i16) + i32::from(m[1]) * (*s >> 16);
    w.mins.iter().zip(sums).map(pair).sum()
}

/// Unpacks a large block.
#[inline(always)]
fn large(format: Format, block: &[u8], out: &mut Parts) {
    if format == Format::Q6K {
        return six(block, out);
    }
    (out.scale, out.min) = (half_at(block, 0), half_at(block, 2));
    factors(&block[4..16], out);
    let (high, low) = if format == Format::Q5K { (Some(&block[16..48]), &block[48..]) } else { (None, &block[16..]) };
    for (s, q) in out.q.as_chunks_mut::<SMALL>().0.iter_mut().enumerate() {
        let from = &low[s / 2 * SMALL..][..SMALL];
        q.iter_mut().zip(from).for_each(|(q, w)| *q = (w >> (s % 2 * 4) & 15) as i8);
        if let Some(high) = high {
            q.iter_mut().zip(high).for_each(|(q, h)| *q += (h >> s << 4 & 16) as i8);
        }
    }
}

/// Eight factors and eight minima of six bits, in twelve bytes.
#[inline(always)]
fn factors(s: &[u8], out: &mut Parts) {
    for j in 0..8 {
        let (factor, min) = match j {
            0..4 => (s[j] & 63, s[j + 4] & 63),
            _ => (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4),
        };
        (out.factors[2 * j], out.factors[2 * j + 1]) = (factor.into(), factor.into());
        // Pairs (0, 2), (1, 3), (4, 6), (5, 7).
        out.mins[j / 4 * 2 + j % 2][j / 2 % 2] = min.into();
    }
}

#[inline(always)]
fn six(block: &[u8], out: &mut Parts) {
    let (low, high, factors) = (&block[..128], &block[128..192], &block[192..208]);
    for (s, q) in out.q.as_chunks_mut::<SMALL>().0.iter_mut().enumerate() {
        let (half, quarter) = (s / 4, s % 4);
        let low = &low[half * 64 + quarter % 2 * SMALL..][..SMALL];
        for ((q, l), h) in q.iter_mut().zip(low).zip(&high[half * SMALL..][..SMALL]) {
            *q = (l >> (quarter / 2 * 4) & 15 | (h >> (quarter * 2) & 3) << 4) as i8 - 32;
        }
    }
    out.factors.iter_mut().zip(factors).for_each(|(out, f)| *out = i32::from(*f as i8));
    out.scale = half_at(block, 208);
}
