//! Rows of activations rounded to bytes, for products with quantised weights.
//!
//! ```text
//! large: blocks of 256 with one scale   for Q4_K, Q5_K, Q6_K
//! small: blocks of 32 with one scale    for Q4_0 … Q8_0
//! ```
//! A value is off by at most half of its block's largest, divided by 127: by 0.4 % of that. The published K formats are
//! made for exactly this rounding (ggml's Q8_K and Q8_0). Matrices of F32, F16 and BF16 see the activations as they are.
use super::lanes::{Lanes, Level, by_level};
use super::view::Rows;
use crate::model::matrix::Format;
use std::ops::{Deref, DerefMut};

/// Elements of a large and of a small block, and of the parts that K formats scale on their own.
pub const LARGE: usize = 256;
pub const SMALL: usize = 32;
/// Words of sums for a large block: four of pairs of 32, then eight of pairs of 16.
pub const WORDS: usize = 12;

/// Rows in both forms; buffers that grow once.
#[derive(Default)]
pub struct Rounded {
    pub large: Large,
    pub small: Small,
}

/// Blocks of 256: the first of all rows, the second of all rows, … (see [`Large::at`]), so that what is used together lies
/// together.
#[derive(Default)]
pub struct Large {
    pub rows: usize,
    pub cols: usize,
    pub bytes: Bytes,
    /// One per block.
    pub scales: Vec<f32>,
    /// [`WORDS`] per block: sums of 32 (0 with 2, 1 with 3, 4 with 6, 5 with 7), and of 16 likewise, two i16 in a word.
    pub sums: Vec<i32>,
}

/// Blocks of 32, in the same order.
#[derive(Default)]
pub struct Small {
    pub rows: usize,
    pub cols: usize,
    pub bytes: Bytes,
    pub scales: Vec<f32>,
    /// Σ bytes of each block.
    pub sums: Vec<i32>,
}

/// Bytes that begin at a cache line: a tile loads seven times slower when its rows straddle lines.
#[derive(Default)]
pub struct Bytes(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as bytes (`Deref`)")] [i8; 64]);

impl Bytes {
    /// To `n` bytes, up to whole lines.
    fn resize(&mut self, n: usize) {
        self.0.resize(n.div_ceil(64), Line([0; 64]));
    }
}

impl Deref for Bytes {
    type Target = [i8];
    fn deref(&self) -> &[i8] {
        // SAFETY: a line is 64 bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [i8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}

/// Rows as they are and, where a product needs it, rounded.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub rows: Rows<'a>,
    pub rounded: &'a Rounded,
}

/// Which rounding a format wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    None,
    Small,
    Large,
}

impl Rounding {
    pub fn of(format: Format) -> Self {
        match format {
            Format::F32 | Format::F16 | Format::BF16 | Format::F8 => Self::None,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => Self::Small,
            Format::Q4K | Format::Q5K | Format::Q6K => Self::Large,
        }
    }
}

impl Rounded {
    /// Rounds `rows` as matrices in these formats want it.
    pub fn fill<'a>(&'a mut self, level: Level, rows: Rows<'a>, formats: &[Format]) -> Input<'a> {
        let wanted = |r| formats.iter().any(|f| Rounding::of(*f) == r);
        if wanted(Rounding::Large) {
            self.large.fill(level, rows);
        }
        if wanted(Rounding::Small) {
            self.small.fill(level, rows);
        }
        self.input(rows)
    }

    /// The rows that were rounded last, for a product.
    pub fn input<'a>(&'a self, rows: Rows<'a>) -> Input<'a> {
        Input { rows, rounded: self }
    }
}

impl Large {
    /// Where block `block` of a row lies among all blocks.
    #[inline(always)]
    pub fn at(&self, row: usize, block: usize) -> usize {
        block * self.rows + row
    }

    fn fill(&mut self, level: Level, x: Rows<'_>) {
        assert!(x.cols.is_multiple_of(LARGE), "rows of {} are no blocks of {LARGE}", x.cols);
        (self.rows, self.cols) = (x.n, x.cols);
        let blocks = x.n * x.cols / LARGE;
        self.bytes.resize(x.n * x.cols);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks * WORDS, 0);
        (0..x.n).for_each(|r| round_large(level, x.get(r), r, self));
    }
}

impl Small {
    /// As [`Large::at`].
    #[inline(always)]
    pub fn at(&self, row: usize, block: usize) -> usize {
        block * self.rows + row
    }

    fn fill(&mut self, level: Level, x: Rows<'_>) {
        assert!(x.cols.is_multiple_of(SMALL), "rows of {} are no blocks of {SMALL}", x.cols);
        (self.rows, self.cols) = (x.n, x.cols);
        let blocks = x.n * x.cols / SMALL;
        self.bytes.resize(x.n * x.cols);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, 0);
        (0..x.n).for_each(|r| round_small(level, x.get(r), r, self));
    }
}

by_level! {
    pub fn round_small(x: &[f32], row: usize, out: &mut Small) = small_kernel
}

#[inline(always)]
unsafe fn small_kernel<L: Lanes>(x: &[f32], row: usize, out: &mut Small) {
    for (b, x) in x.as_chunks::<SMALL>().0.iter().enumerate() {
        let at = out.at(row, b);
        let q = out.bytes[at * SMALL..].first_chunk_mut::<SMALL>().expect("a block");
        out.scales[at] = round(x, q);
        out.sums[at] = q.iter().map(|q| i32::from(*q)).sum();
    }
}

by_level! {
    pub fn round_large(x: &[f32], row: usize, out: &mut Large) = large_kernel
}

#[inline(always)]
unsafe fn large_kernel<L: Lanes>(x: &[f32], row: usize, out: &mut Large) {
    for (b, x) in x.as_chunks::<LARGE>().0.iter().enumerate() {
        let at = out.at(row, b);
        let q = out.bytes[at * LARGE..].first_chunk_mut::<LARGE>().expect("a block");
        out.scales[at] = round(x, q);
        let mut sixteens = [0i32; 16];
        q.chunks_exact(16).zip(&mut sixteens).for_each(|(q, s)| *s = q.iter().map(|q| i32::from(*q)).sum());
        out.sums[at * WORDS..][..WORDS].copy_from_slice(&pairs(&sixteens));
    }
}

/// The sums of 16 in pairs, as [`Large::sums`] has them.
#[inline(always)]
fn pairs(sixteens: &[i32; 16]) -> [i32; WORDS] {
    let pair = |low: i32, high: i32| (low & 0xffff) | (high << 16);
    // Pairs (0, 2), (1, 3), (4, 6), (5, 7), …
    let first = |i: usize| i / 2 * 4 + i % 2;
    let two = |n: usize| sixteens[2 * n] + sixteens[2 * n + 1];
    std::array::from_fn(|i| match i {
        0..4 => pair(two(first(i)), two(first(i) + 2)),
        _ => pair(sixteens[first(i - 4)], sixteens[first(i - 4) + 2]),
    })
}

/// Rounds one block to 127 steps of its largest value; returns the step.
#[inline(always)]
fn round<const N: usize>(x: &[f32; N], bytes: &mut [i8; N]) -> f32 {
    // Sixteen at a time, so that it becomes vectors.
    let mut most = [0f32; 16];
    let mut finite = [true; 16];
    for x in x.as_chunks::<16>().0 {
        for i in 0..16 {
            let size = x[i].abs();
            most[i] = if size > most[i] { size } else { most[i] };
            finite[i] &= size < f32::INFINITY;
        }
    }
    let most = most.into_iter().fold(0f32, f32::max);
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    // Adding 1.5 · 2^23 rounds to the nearest even whole number, which then lies in the low bits.
    x.iter().zip(bytes.iter_mut()).for_each(|(x, q)| *q = (x * inverse + 12_582_912.0).to_bits() as i8);
    // A NaN has no byte, and the maximum passes it over: it goes into the scale, and so into every output.
    if finite.into_iter().all(|f| f) { most / 127.0 } else { f32::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_off_by_half_a_step_at_most_and_sums_are_those_of_the_bytes() {
        let x: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        for level in Level::available() {
            let mut rounded = Rounded::default();
            rounded.fill(level, Rows::all(&x, 256), &[Format::Q4K, Format::Q8_0]);
            let (large, small) = (&rounded.large, &rounded.small);
            for (i, x) in x.iter().enumerate() {
                let (l, s) = (large.at(i / 256, 0), small.at(i / 256, i % 256 / 32));
                assert!((x - f32::from(large.bytes[l * 256 + i % 256]) * large.scales[l]).abs() <= large.scales[l] * 0.51);
                assert!((x - f32::from(small.bytes[s * 32 + i % 32]) * small.scales[s]).abs() <= small.scales[s] * 0.51);
            }
            let sum = |q: &[i8]| q.iter().map(|q| i32::from(*q)).sum::<i32>();
            let third = small.at(1, 3);
            assert_eq!(small.sums[third], sum(&small.bytes[third * 32..][..32]));
            let halves = |word: i32| (i32::from(word as i16), word >> 16);
            let second = &large.sums[WORDS..];
            assert_eq!(halves(second[3]), (sum(&large.bytes[256 + 160..][..32]), sum(&large.bytes[256 + 224..][..32])));
            assert_eq!(halves(second[4 + 6]), (sum(&large.bytes[256 + 192..][..16]), sum(&large.bytes[256 + 224..][..16])));
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_seen() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = vec![1.0; 256];
            x[77] = bad;
            let mut rounded = Rounded::default();
            rounded.fill(Level::best(), Rows::all(&x, 256), &[Format::Q6K, Format::Q5_0]);
            assert!(rounded.large.scales[0].is_nan() && rounded.small.scales[2].is_nan() && rounded.small.scales[1] > 0.0);
        }
    }
}
