//! Products with weight matrices of any format, over the cores when that pays.
//!
//! ```text
//! products([gate of expert 3 · 2 rows, up of expert 3 · 2 rows, gate of expert 9 · 1 row, …])
//!     -> pieces of 64 outputs -> all pieces of all products, spread over the cores at once
//! ```
use super::blocks;
use super::lanes::{Element, Level};
use super::product::{self, Block};
use super::rounded::{Input, Rounded};
use super::view::{Out, Rows};
use crate::model::matrix::{Format, Matrix};
use rayon::prelude::*;
use std::cell::RefCell;

/// Multiply-adds below which waking another core costs more than it saves.
const WORTH: usize = 1 << 17;
/// Outputs of one piece of work: a multiple of every kernel's width.
const PIECE: usize = 64;

/// Whether so many multiply-adds are worth a second core.
pub fn worth(work: usize) -> bool {
    work >= 2 * WORTH && rayon::current_num_threads() > 1
}

/// Runs `f(0)`, …, `f(tasks - 1)`, side by side where there is enough `work` (multiply-adds in all).
pub fn spread(tasks: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    if tasks < 2 || !worth(work) {
        return (0..tasks).for_each(f);
    }
    let least = (tasks * WORTH / work).max(1);
    (0..tasks).into_par_iter().with_min_len(least).for_each(f);
}

/// out = x · Wᵀ for `out.rows` rows of `x` from `first` on. `out` has a column for each row of `w`; its contents are
/// replaced.
pub struct Product<'a> {
    pub w: &'a Matrix,
    pub x: Input<'a>,
    pub first: usize,
    pub out: Out<'a>,
}

impl Product<'_> {
    fn check(&self) {
        let (w, x, out) = (self.w, self.x.rows, self.out);
        assert!(x.cols == w.cols && x.n >= self.first + out.rows && out.cols == w.rows, "a product of unequal sizes");
    }

    fn work(&self) -> usize {
        self.w.rows * self.w.cols * self.out.rows
    }

    /// Outputs `o..o + count`.
    fn piece(&self, level: Level, o: usize, count: usize) {
        let (w, out) = (self.w, self.out.part(0, self.out.rows, o, count));
        match w.format {
            Format::F32 => self.floats::<f32>(level, o, out),
            Format::F16 => self.floats::<half::f16>(level, o, out),
            Format::BF16 => self.floats::<half::bf16>(level, o, out),
            // Expanded at each product: right, not fast. Files in FP8 are made for GPUs.
            Format::F8 => {
                let part = w.part(o, count).to_f32();
                let all = Block::<f32>::new(part.values(), count, w.cols, w.cols);
                product::rows(level, self.x.rows.part(self.first, out.rows), all, out);
            }
            format => {
                let row = w.row_bytes();
                blocks::rows(level, format, self.x.rounded, self.first, &w.bytes()[o * row..(o + count) * row], out);
            }
        }
    }

    fn floats<E: Element>(&self, level: Level, o: usize, out: Out<'_>) {
        let all = Block::<E>::new(self.w.values(), self.w.rows, self.w.cols, self.w.cols);
        product::rows(level, self.x.rows.part(self.first, out.rows), all.part(o, out.cols), out);
    }
}

/// Computes all products; their outputs must not overlap.
pub fn products(level: Level, all: &[Product<'_>]) {
    all.iter().for_each(Product::check);
    let work = all.iter().map(Product::work).sum();
    let pieces = |p: &Product| p.w.rows.div_ceil(PIECE);
    let run = |p: &Product, i: usize| p.piece(level, i * PIECE, PIECE.min(p.w.rows - i * PIECE));
    if let [only] = all {
        return spread(pieces(only), work, |i| run(only, i));
    }
    let list: Vec<_> = all.iter().flat_map(|p| (0..pieces(p)).map(move |i| (p, i))).collect();
    spread(list.len(), work, |at| run(list[at].0, list[at].1));
}

/// out = x · Wᵀ. `out` has a column for each row of `w`; its contents are replaced.
pub fn linear(level: Level, w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    thread_local!(static ROUNDED: RefCell<Rounded> = RefCell::default());
    if x.n == 0 {
        return;
    }
    // Taken out, not borrowed: while this thread waits for the others it may be given another product to do.
    let mut rounded = ROUNDED.take();
    let x = rounded.fill(level, x, &[w.format]);
    products(level, &[Product { w, x, first: 0, out: out.part(0, x.rows.n, 0, out.cols) }]);
    ROUNDED.set(rounded);
}

/// out += x · W for a matrix of plain numbers: `x` has a column for each row of `w`.
pub fn linear_columns(level: Level, w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    let (rows, cols) = (w.rows, w.cols);
    match w.format {
        Format::F32 => product::columns(level, x, Block::<f32>::new(w.values(), rows, cols, cols), out),
        Format::F16 => product::columns(level, x, Block::<half::f16>::new(w.values(), rows, cols, cols), out),
        Format::BF16 => product::columns(level, x, Block::<half::bf16>::new(w.values(), rows, cols, cols), out),
        other => unreachable!("the loader expands {other:?} before it is summed by rows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{Slice, Source};
    use candle_core::quantized::k_quants::{self as k, GgmlType};
    use std::sync::Arc;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let step = |s: &mut u32| {
            *s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*s >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        std::iter::successors(Some(seed), |s| Some(*s)).take(1).flat_map(|mut s| (0..n).filter_map(move |_| step(&mut s))).collect()
    }

    fn slice(bytes: &[u8], align: usize) -> Slice {
        Slice::new(&Arc::new(Source::copy(bytes)), 0, bytes.len(), align).unwrap()
    }

    /// The same matrix in every format: values, and what the format may lose per product of 512 terms.
    fn matrices(rows: usize, cols: usize) -> Vec<(Matrix, f32)> {
        let w = numbers(rows * cols, 7);
        let mut all = vec![(Matrix::new(Format::F32, rows, cols, Slice::of_f32(&w)), 1e-4)];
        let half: Vec<u8> = w.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        all.push((Matrix::new(Format::F16, rows, cols, slice(&half, 2)), 0.02));
        let brain: Vec<u8> = w.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        all.push((Matrix::new(Format::BF16, rows, cols, slice(&brain, 2)), 0.1));
        all.push((quantised::<k::BlockQ8_0>(&w, Format::Q8_0, rows, cols), 0.3));
        all.push((quantised::<k::BlockQ4_0>(&w, Format::Q4_0, rows, cols), 3.0));
        all.push((quantised::<k::BlockQ4_1>(&w, Format::Q4_1, rows, cols), 3.0));
        all.push((quantised::<k::BlockQ5_0>(&w, Format::Q5_0, rows, cols), 1.5));
        all.push((quantised::<k::BlockQ5_1>(&w, Format::Q5_1, rows, cols), 1.5));
        all.push((quantised::<k::BlockQ4K>(&w, Format::Q4K, rows, cols), 3.0));
        all.push((quantised::<k::BlockQ5K>(&w, Format::Q5K, rows, cols), 1.5));
        all.push((quantised::<k::BlockQ6K>(&w, Format::Q6K, rows, cols), 1.0));
        all
    }

    fn quantised<T: GgmlType>(w: &[f32], format: Format, rows: usize, cols: usize) -> Matrix {
        let mut blocks = vec![T::zeros(); w.len() / T::BLCK_SIZE];
        T::from_float(w, &mut blocks);
        // SAFETY: candle's blocks are plain bytes without padding.
        let bytes = unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), std::mem::size_of_val(&blocks[..])) };
        Matrix::new(format, rows, cols, slice(bytes, 2))
    }

    fn run(level: Level, w: &Matrix, x: &[f32]) -> Vec<f32> {
        let n = x.len() / w.cols;
        let mut out = vec![f32::NAN; n * w.rows];
        linear(level, w, Rows::all(x, w.cols), Out::all(&mut out, w.rows));
        out
    }

    #[test]
    fn every_format_is_near_f32() {
        let x = numbers(3 * 512, 3);
        let all = matrices(70, 512);
        let want = run(Level::Portable, &all[0].0, &x);
        for (w, error) in &all {
            let got = run(Level::best(), w, &x);
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < *error, "{:?}: {worst}", w.format);
        }
    }

    #[test]
    fn every_format_gives_a_row_the_same_bits_in_any_batch() {
        let x = numbers(13 * 256, 5);
        for (w, _) in matrices(67, 256) {
            let whole = run(Level::best(), &w, &x);
            for (r, x) in x.chunks_exact(256).enumerate() {
                assert_eq!(run(Level::best(), &w, x), whole[r * 67..(r + 1) * 67], "{:?}, row {r}", w.format);
            }
        }
    }

    #[test]
    fn quantised_formats_give_the_same_bits_with_any_instructions() {
        for (rows, cols, n) in [(67, 512, 13), (16, 256, 1), (35, 1280, 3), (67, 1280, 51), (35, 256, 33), (80, 512, 130)] {
            let x = numbers(n * cols, 5);
            for (w, _) in matrices(rows, cols).into_iter().filter(|(w, _)| !w.format.is_float()) {
                let want = run(Level::best(), &w, &x);
                // Without a fused multiply-add the last bits differ.
                for level in Level::available().filter(|l| *l > Level::Portable) {
                    assert_eq!(run(level, &w, &x), want, "{:?}, {level:?}", w.format);
                }
            }
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let ones = vec![-1.0; 256 * 2];
        for (format, block) in [
            (Format::Q8_0, [vec![0, 0x3c], vec![0x80; 32]].concat()),
            (Format::Q6K, [vec![0xff; 192], vec![0x80; 16], vec![0, 0x3c]].concat()),
            (Format::Q4K, [vec![0, 0x3c, 0, 0], vec![0xff; 140]].concat()),
        ] {
            let count = 256 / format.block().0 * 2 * 16;
            let w = Matrix::new(format, 16, 512, slice(&block.repeat(count), 2));
            let mut row = vec![0.0; 512];
            w.row(0, &mut row);
            let want: f32 = row.iter().map(|w| -w).sum();
            for level in Level::available() {
                let got = run(level, &w, &ones);
                assert!(got.iter().all(|g| (g / want - 1.0).abs() < 1e-5), "{format:?} {level:?} {got:?}, not {want}");
            }
        }
    }

    #[test]
    fn odd_widths_and_every_level_agree() {
        let (rows, cols) = (19, 37);
        let w = Matrix::new(Format::F32, rows, cols, Slice::of_f32(&numbers(rows * cols, 1)));
        let x = numbers(6 * cols, 2);
        let want = run(Level::Portable, &w, &x);
        for level in Level::available() {
            let got = run(level, &w, &x);
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{level:?}");
        }
    }

    #[test]
    fn sums_of_rows_are_products_with_the_transpose() {
        let (rows, cols) = (9, 150);
        let values = numbers(rows * cols, 1);
        let turned: Vec<f32> = (0..rows * cols).map(|i| values[i % rows * cols + i / rows]).collect();
        let w = Matrix::new(Format::F32, rows, cols, Slice::of_f32(&values));
        let turned = Matrix::new(Format::F32, cols, rows, Slice::of_f32(&turned));
        let x = numbers(6 * rows, 2);
        for level in Level::available() {
            let mut out = vec![0.0; 6 * cols];
            linear_columns(level, &w, Rows::all(&x, rows), Out::all(&mut out, cols));
            let want = run(level, &turned, &x);
            assert!(out.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{level:?}");
            let mut one = vec![0.0; cols];
            linear_columns(level, &w, Rows::all(&x[..rows], rows), Out::all(&mut one, cols));
            assert_eq!(one, out[..cols], "{level:?}: alone and in a batch");
        }
    }
}
