//! A product with a weight matrix of any format, over the cores when that pays.
//!
//! ```text
//! linear(Q8_0 matrix [10944, 2048], 16 rows of 2048)
//!     -> round the 16 rows once -> chunks of outputs, a core each -> 16 rows of 10944
//! ```
use super::lanes::Level;
use super::product::{self, Block};
use super::q8::{self, Quantised};
use super::view::{Out, Rows};
use crate::model::matrix::{Format, Matrix};
use candle_core::quantized::k_quants::{self as k, GgmlType};
use rayon::prelude::*;
use std::cell::RefCell;

/// Multiply-adds below which waking another core costs more than it saves.
const WORTH: usize = 1 << 17;
/// Outputs of one piece of work: a multiple of every kernel's width.
const PIECE: usize = 64;

/// Runs `f(0)`, …, `f(tasks - 1)`, side by side where there is enough `work` (multiply-adds in all).
pub fn spread(tasks: usize, work: usize, f: impl Fn(usize) + Send + Sync) {
    if work < 2 * WORTH || tasks < 2 || rayon::current_num_threads() < 2 {
        return (0..tasks).for_each(f);
    }
    let least = (tasks * WORTH / work).max(1);
    (0..tasks).into_par_iter().with_min_len(least).for_each(f);
}

/// out = x · Wᵀ. `out` has a column for each row of `w`; its contents are replaced.
pub fn linear(level: Level, w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    assert!(x.cols == w.cols && out.rows >= x.n && out.cols == w.rows, "a product of unequal sizes");
    if x.n == 0 {
        return;
    }
    match w.format {
        Format::F32 => floats::<f32>(level, w, x, out),
        Format::F16 => floats::<half::f16>(level, w, x, out),
        Format::BF16 => floats::<half::bf16>(level, w, x, out),
        Format::Q8_0 => bytes(level, w, x, out),
        Format::Q4_0 => blocks::<k::BlockQ4_0>(w, x, out),
        Format::Q4_1 => blocks::<k::BlockQ4_1>(w, x, out),
        Format::Q5_0 => blocks::<k::BlockQ5_0>(w, x, out),
        Format::Q5_1 => blocks::<k::BlockQ5_1>(w, x, out),
        Format::Q4K => blocks::<k::BlockQ4K>(w, x, out),
        Format::Q5K => blocks::<k::BlockQ5K>(w, x, out),
        Format::Q6K => blocks::<k::BlockQ6K>(w, x, out),
    }
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

/// Calls `f(first, count)` for pieces of a matrix's outputs.
fn pieces(w: &Matrix, n: usize, f: impl Fn(usize, usize) + Send + Sync) {
    let work = w.rows * w.cols * n;
    spread(w.rows.div_ceil(PIECE), work, |i| f(i * PIECE, PIECE.min(w.rows - i * PIECE)));
}

fn floats<E: super::lanes::Element>(level: Level, w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    let all = Block::<E>::new(w.values(), w.rows, w.cols, w.cols);
    pieces(w, x.n, |o, count| product::rows(level, x, all.part(o, count), out.part(0, x.n, o, count)));
}

fn bytes(level: Level, w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    thread_local!(static ROUNDED: RefCell<Quantised> = RefCell::default());
    // Taken out, not borrowed: while this thread waits for the others it may be given another product to do.
    let mut rounded = ROUNDED.take();
    rounded.fill(level, x);
    let row = w.row_bytes();
    pieces(w, x.n, |o, count| {
        q8::rows(level, &rounded, x.n, &w.bytes()[o * row..(o + count) * row], out.part(0, x.n, o, count));
    });
    ROUNDED.set(rounded);
}

/// candle's dot products: one row at a time, so the same bits in every batch.
fn blocks<T: GgmlType>(w: &Matrix, x: Rows<'_>, out: Out<'_>) {
    type Partner<T> = <T as GgmlType>::VecDotType;
    let per = x.cols / Partner::<T>::BLCK_SIZE;
    let mut rounded = vec![Partner::<T>::zeros(); x.n * per];
    rounded.chunks_exact_mut(per).enumerate().for_each(|(r, q)| Partner::<T>::from_float(x.get(r), q));
    let (weights, row) = (w.blocks::<T>(), x.cols / T::BLCK_SIZE);
    pieces(w, x.n, |o, count| {
        for o in o..o + count {
            let w = &weights[o * row..(o + 1) * row];
            let dots = rounded.chunks_exact(per).map(|x| T::vec_dot(w.len() * T::BLCK_SIZE, w, x));
            // SAFETY: pieces have columns of their own.
            dots.enumerate().for_each(|(r, dot)| unsafe { out.set(r, o, dot) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{Slice, Source};
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
