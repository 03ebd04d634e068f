//! FP8: eight-bit floats (E4M3, no infinities) and the scales that they are multiplied by, as published checkpoints have them.
//!
//! | tensor beside `X.weight` [rows, cols] F8_E4M3 | shape | who writes it |
//! |---|---|---|
//! | `X.weight_scale_inv` f32 | [⌈rows / 128⌉, ⌈cols / 128⌉] | DeepSeek-V3's own checkpoints (`quantization_config.weight_block_size`) |
//! | `X.weight_scale` f32 or bf16 | [] or [1] | compressed-tensors and AutoFP8, a scale for each tensor |
//! | `X.weight_scale` f32 or bf16 | [rows] or [rows, 1] | compressed-tensors, a scale for each row ("channel") |
//!
//! All of them multiply, also the one called `inv`. `input_scale` is left aside: activations stay as fine as they are.
//!
//! ```
//! use infill::model::matrix::f8::{Scales, value};
//! assert_eq!((value(0x38), value(0xb9), value(0x7e), value(0x01)), (1.0, -1.125, 448.0, 1.0 / 512.0));
//! let blocks = Scales::new(vec![2.0, 3.0], &[1, 2], 100, 200).unwrap();
//! assert_eq!((blocks.at(99, 127), blocks.at(0, 128)), (2.0, 3.0));
//! ```
//! Sources: OCP's "8-bit Floating Point Specification"; `inference/kernel.py` of deepseek-ai/DeepSeek-V3; compressed-tensors' README.
use std::sync::Arc;

/// Rows and columns of a block.
pub const BLOCK: usize = 128;

/// Factors of a matrix: one for all, one for each row, or one for each 128 × 128.
#[derive(Clone, Debug)]
pub struct Scales {
    values: Arc<[f32]>,
    /// Rows and columns that share one, and how many there are beside each other.
    rows: usize,
    cols: usize,
    across: usize,
    /// The row of the whole matrix that row 0 is.
    first: usize,
}

impl Scales {
    /// `values` in `shape` for a matrix of `rows` × `cols`; `None` where that is none of the layouts above.
    pub fn new(values: Vec<f32>, shape: &[usize], rows: usize, cols: usize) -> Option<Self> {
        let (down, across) = (rows.div_ceil(BLOCK), cols.div_ceil(BLOCK));
        let (step, width) = match shape {
            [] | [1] | [1, 1] => ((usize::MAX, usize::MAX), 1),
            [n] | [n, 1] if *n == rows => ((1, usize::MAX), 1),
            [a, b] if (*a, *b) == (down, across) => ((BLOCK, BLOCK), across),
            _ => return None,
        };
        let count = shape.iter().product::<usize>();
        (values.len() == count).then(|| Self { values: values.into(), rows: step.0, cols: step.1, across: width, first: 0 })
    }

    /// The factor of an element.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.values[(self.first + row) / self.rows * self.across + col / self.cols]
    }

    /// Those of the rows from `row` on.
    pub fn from_row(&self, row: usize) -> Self {
        Self { first: self.first + row, ..self.clone() }
    }

    /// Itself, where every element of `rows` × `cols` has a factor.
    pub(super) fn covers(self, rows: usize, cols: usize) -> Option<Self> {
        let last = rows.checked_sub(1)?.saturating_add(self.first) / self.rows * self.across + cols.checked_sub(1)? / self.cols;
        (last < self.values.len() && cols.div_ceil(self.cols) <= self.across).then_some(self)
    }
}

/// What a byte stands for, without its scale; 0x7f and 0xff are no numbers.
pub fn value(x: u8) -> f32 {
    // Moved up, the bits are an f16 that is 2^8 too small; subnormals come out right.
    let bits = (u16::from(x) & 0x80) << 8 | (u16::from(x) & 0x7f) << 7;
    if x & 0x7f == 0x7f { f32::NAN } else { half::f16::from_bits(bits).to_f32() * 256.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matrix::Matrix;
    use crate::model::source::{Slice, Source};

    #[test]
    fn every_byte_is_what_the_standard_says() {
        for x in 0..=255u8 {
            let (exponent, mantissa) = (i32::from(x >> 3 & 15), f32::from(x & 7));
            let size = if exponent == 0 { mantissa / 8.0 * 2f32.powi(-6) } else { (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7) };
            let want = if x >> 7 == 1 { -size } else { size };
            assert!(value(x) == want || x & 0x7f == 0x7f && value(x).is_nan(), "{x:#x}: {}, not {want}", value(x));
        }
    }

    #[test]
    fn all_three_layouts_reach_rows_and_parts() {
        let (rows, cols) = (130, 260);
        let bytes = vec![0x38; rows * cols];
        let of = |shape: &[usize]| {
            let n = shape.iter().product();
            let scales = Scales::new((0..n).map(|i| i as f32 + 1.0).collect(), shape, rows, cols)?;
            Matrix::with_scales(rows, cols, Slice::new(&Arc::new(Source::copy(&bytes)), 0, bytes.len(), 1)?, scales)
        };
        let row = |m: &Matrix, r: usize| {
            let mut out = vec![0.0; cols];
            m.row(r, &mut out);
            [out[0], out[127], out[128], out[259]]
        };
        let blocks = of(&[2, 3]).unwrap();
        assert_eq!((row(&blocks, 127), row(&blocks, 128)), ([1.0, 1.0, 2.0, 3.0], [4.0, 4.0, 5.0, 6.0]));
        // A part goes on inside its block.
        assert_eq!(row(&blocks.part(100, 30).part(20, 10), 9), [4.0, 4.0, 5.0, 6.0]);
        assert_eq!(row(&of(&[130, 1]).unwrap(), 129), [130.0; 4]);
        assert_eq!(row(&of(&[130]).unwrap(), 5), [6.0; 4]);
        assert_eq!(row(&of(&[]).unwrap(), 129), [1.0; 4]);
        for wrong in [&[3, 3][..], &[2, 2], &[129, 1], &[2]] {
            assert!(of(wrong).is_none(), "{wrong:?}");
        }
    }
}
