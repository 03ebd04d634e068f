//! How weights lie on the device, and how they get there from what the file holds.
//!
//! ```
//! use infill::model::{cuda::kind::{Kind, Precision, Role}, matrix::Format};
//! // A checkpoint in bf16 on a small card: Q4_K where rows are whole blocks of 256, else Q8_0.
//! assert_eq!(Kind::of(Role::Inner, Format::BF16, 2048, Precision::Q4K), Kind::Q4K);
//! assert_eq!(Kind::of(Role::Inner, Format::BF16, 1408, Precision::Q4K), Kind::Q8);
//! ```
//! F32 and F16 are rounded to bf16. Of the other GGUF formats those of four and five bits with an offset of their own and Q6_K
//! become Q8_0; Q8_0, Q4_K and FP8 keep their values. FP8 becomes Q4_K where nothing else fits.
use super::args::Ptr;
use super::gpu::{Buffer, Gpu};
use crate::model::matrix::f8::BLOCK;
use crate::model::matrix::{Format, Matrix};
use anyhow::Result;
use candle_core::quantized::k_quants::{BlockQ4K, BlockQ8_0, GgmlType};
use rayon::prelude::*;
use std::sync::Arc;

/// A format of the kernels (kernels/common.cuh), from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    F32,
    Bf16,
    Q8,
    Q4K,
    F8,
}

/// The coarsest format that weights may be rounded to when they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Bf16,
    Q8,
    Q4K,
}

impl Precision {
    /// From the best to the smallest.
    pub const ALL: [Self; 3] = [Self::Bf16, Self::Q8, Self::Q4K];
}

/// What a matrix is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Inner,
    /// Embedding and head: not rounded below Q8_0.
    Outer,
    Router,
    /// The expansions of latents: 113 MB in all for the Lite model.
    Expansion,
}

impl Kind {
    /// The format on the device for rows of `cols` values that the file holds in `format`.
    pub fn of(role: Role, format: Format, cols: usize, precision: Precision) -> Self {
        let smallest = (role, precision) == (Role::Inner, Precision::Q4K) && Self::Q4K.suits(cols);
        let most = match (role, precision) {
            (Role::Router, _) => return Self::F32,
            (Role::Expansion, _) => return Self::Bf16,
            _ if format == Format::F8 && Self::F8.suits(cols) && !smallest => return Self::F8,
            (_, Precision::Bf16) => Self::Bf16,
            (Role::Inner, Precision::Q4K) => Self::Q4K,
            _ => Self::Q8,
        };
        let natural = match format {
            Format::F32 | Format::F16 | Format::BF16 | Format::F8 => Self::Bf16,
            Format::Q4K => Self::Q4K,
            _ => Self::Q8,
        };
        let wanted = most.max(natural);
        [wanted, Self::Q8].into_iter().find(|k| *k <= wanted && k.suits(cols)).unwrap_or(Self::Bf16)
    }

    /// The one format for matrices of several: the finest, so that nothing loses for its neighbour's sake.
    pub fn common(kinds: impl IntoIterator<Item = Self>) -> Self {
        let all: Vec<Self> = kinds.into_iter().collect();
        let equal = all.iter().all(|k| Some(k) == all.first());
        match all.iter().min() {
            Some(finest) if equal || !all.contains(&Self::F8) => *finest,
            // Nothing is rounded to FP8.
            _ => Self::Bf16,
        }
    }

    /// Whether a row may have `cols` values.
    pub fn suits(self, cols: usize) -> bool {
        let whole = match self {
            Self::F32 | Self::Bf16 => 8,
            Self::F8 => 16,
            Self::Q8 => 32,
            Self::Q4K => 256,
        };
        cols.is_multiple_of(whole)
    }

    /// The end of a kernel's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8_0",
            Self::Q4K => "q4_k",
            Self::F8 => "f8",
        }
    }

    /// Bytes of one row without its scales.
    pub fn row_bytes(self, cols: usize) -> usize {
        match self {
            Self::F32 => cols * 4,
            Self::Bf16 => cols * 2,
            Self::Q4K => cols / 256 * 144,
            Self::Q8 | Self::F8 => cols,
        }
    }

    /// Bytes of the scales of `rows` rows, where they lie apart.
    pub fn scale_bytes(self, rows: usize, cols: usize) -> usize {
        match self {
            Self::Q8 => rows * cols / 32 * 2,
            Self::F8 => rows * cols.div_ceil(BLOCK) * 4,
            Self::F32 | Self::Bf16 | Self::Q4K => 0,
        }
    }

    /// Bytes on the device.
    pub fn bytes(self, rows: usize, cols: usize) -> usize {
        rows * self.row_bytes(cols) + self.scale_bytes(rows, cols)
    }

    /// Bytes of shared memory for one vector of `cap` values (kernels/dot.cuh).
    pub fn staged(self, cap: usize) -> usize {
        match self {
            Self::Q8 | Self::Q4K => cap + cap / 32 * 4 + cap / 16 * 4,
            Self::F32 | Self::Bf16 | Self::F8 => cap * 4,
        }
    }
}

/// A matrix on the device; the memory belongs to somebody else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    pub kind: Kind,
    pub data: Ptr,
    pub scales: Ptr,
    pub rows: usize,
    pub cols: usize,
}

/// Rows that are converted together.
const PIECE: usize = 512;

/// Puts matrices of the same width one below the other.
///
/// # Errors
/// Not enough memory, or the driver's.
pub fn place(gpu: &Arc<dyn Gpu>, kept: &mut Vec<Buffer>, parts: &[&Matrix], kind: Kind) -> Result<Placed> {
    let cols = parts.first().map_or(0, |m| m.cols);
    let rows = parts.iter().map(|m| m.rows).sum();
    let data = Buffer::new(gpu, rows * kind.row_bytes(cols), "a weight matrix")?;
    let scales = Buffer::new(gpu, kind.scale_bytes(rows, cols), "a weight matrix's scales")?;
    let placed = Placed { kind, data: data.at(0), scales: scales.at(0), rows, cols };
    let mut at = 0;
    for matrix in parts {
        upload(gpu, matrix, &placed, at)?;
        at += matrix.rows;
    }
    kept.extend([data, scales]);
    Ok(placed)
}

/// Rows `at..` of a placed matrix.
fn upload(gpu: &Arc<dyn Gpu>, matrix: &Matrix, to: &Placed, at: usize) -> Result<()> {
    let data = |row: usize| to.data + (row * to.kind.row_bytes(to.cols)) as u64;
    if (to.kind, matrix.format) == (Kind::Bf16, Format::BF16) || (to.kind, matrix.format) == (Kind::Q4K, Format::Q4K) {
        return gpu.upload(data(at), matrix.bytes());
    }
    for first in (0..matrix.rows).step_by(PIECE * 8) {
        let count = (PIECE * 8).min(matrix.rows - first);
        let (bytes, scales) = pack(&matrix.part(first, count), to.kind);
        gpu.upload(data(at + first), &bytes)?;
        if !scales.is_empty() {
            gpu.upload(to.scales + to.kind.scale_bytes(at + first, to.cols) as u64, &scales)?;
        }
    }
    Ok(())
}

/// A matrix in a format of the device: (data, scales).
pub fn pack(matrix: &Matrix, kind: Kind) -> (Vec<u8>, Vec<u8>) {
    let pieces: Vec<usize> = (0..matrix.rows).step_by(PIECE / 8).collect();
    let packed: Vec<(Vec<u8>, Vec<u8>)> =
        pieces.into_par_iter().map(|first| rows(&matrix.part(first, (PIECE / 8).min(matrix.rows - first)), kind)).collect();
    packed.into_iter().fold((Vec::new(), Vec::new()), |mut all, (data, scales)| {
        all.0.extend(data);
        all.1.extend(scales);
        all
    })
}

fn rows(matrix: &Matrix, kind: Kind) -> (Vec<u8>, Vec<u8>) {
    match (kind, matrix.format) {
        (Kind::Q8, Format::Q8_0) => return split(matrix.bytes()),
        (Kind::F8, Format::F8) => return (matrix.bytes().to_vec(), scales(matrix)),
        _ => {}
    }
    let mut values = vec![0.0; matrix.rows * matrix.cols];
    values.chunks_exact_mut(matrix.cols).enumerate().for_each(|(row, out)| matrix.row(row, out));
    match kind {
        Kind::F32 => (values.iter().flat_map(|x| x.to_le_bytes()).collect(), Vec::new()),
        Kind::Bf16 => (bf16(&values), Vec::new()),
        Kind::Q8 => split(&blocks::<BlockQ8_0>(&values)),
        Kind::Q4K => (blocks::<BlockQ4K>(&values), Vec::new()),
        Kind::F8 => unreachable!("nothing is rounded to FP8"),
    }
}

/// FP8's factors, for each row one for 128 columns.
fn scales(matrix: &Matrix) -> Vec<u8> {
    let at = |row| (0..matrix.cols).step_by(BLOCK).map(move |col| matrix.scale(row, col));
    (0..matrix.rows).flat_map(at).flat_map(f32::to_le_bytes).collect()
}

/// To bf16, nearest and even.
pub fn bf16(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect()
}

/// ggml's blocks of 34 bytes as values and scales apart.
fn split(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (blocks, _) = bytes.as_chunks::<34>();
    (blocks.iter().flat_map(|b| b[2..].iter().copied()).collect(), blocks.iter().flat_map(|b| [b[0], b[1]]).collect())
}

/// Rounded by candle; the bytes of its blocks.
fn blocks<T: GgmlType>(values: &[f32]) -> Vec<u8> {
    let mut blocks = vec![T::zeros(); values.len() / T::BLCK_SIZE];
    T::from_float(values, &mut blocks);
    // SAFETY: candle's block types are repr(C) integers and f16 without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<u8>(), size_of_val(&blocks[..])) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{Slice, Source};

    fn matrix(rows: usize, cols: usize) -> Matrix {
        let values: Vec<f32> = (0..rows * cols).map(|i| ((i * 7919) % 257) as f32 / 128.0 - 1.0).collect();
        Matrix::new(Format::F32, rows, cols, Slice::of_f32(&values))
    }

    #[test]
    fn formats_follow_the_file_and_what_fits() {
        let of = |format, cols, precision| Kind::of(Role::Inner, format, cols, precision);
        assert_eq!(of(Format::F16, 64, Precision::Bf16), Kind::Bf16);
        assert_eq!(of(Format::BF16, 1408, Precision::Q8), Kind::Q8);
        assert_eq!(of(Format::BF16, 24, Precision::Q4K), Kind::Bf16);
        // What is coarse stays so; what the kernels do not know becomes Q8_0.
        assert_eq!(of(Format::Q4K, 2048, Precision::Bf16), Kind::Q4K);
        assert_eq!(of(Format::Q6K, 2048, Precision::Bf16), Kind::Q8);
        assert_eq!(of(Format::Q5_0, 1408, Precision::Q4K), Kind::Q8);
        assert_eq!(Kind::of(Role::Outer, Format::BF16, 2048, Precision::Q4K), Kind::Q8);
        assert_eq!(Kind::of(Role::Router, Format::Q8_0, 2048, Precision::Q4K), Kind::F32);
        // FP8 stays, unless only Q4_K fits; rows that are no whole 16 bytes are expanded.
        assert_eq!(Precision::ALL.map(|p| of(Format::F8, 2048, p)), [Kind::F8, Kind::F8, Kind::Q4K]);
        assert_eq!((of(Format::F8, 1408, Precision::Q4K), of(Format::F8, 24, Precision::Bf16)), (Kind::F8, Kind::Bf16));
        assert_eq!(Kind::common([Kind::Q8, Kind::Bf16, Kind::Q8]), Kind::Bf16);
        assert_eq!((Kind::common([Kind::F8, Kind::F8]), Kind::common([Kind::Q4K, Kind::F8])), (Kind::F8, Kind::Bf16));
    }

    #[test]
    fn q8_blocks_come_apart_in_order() {
        let from = matrix(70, 64);
        let (data, scales) = pack(&from, Kind::Q8);
        assert_eq!((data.len(), scales.len()), (70 * 64, 70 * 4));
        let mut row = vec![0.0; 64];
        from.row(69, &mut row);
        for (i, want) in row.iter().enumerate() {
            let at = 69 * 64 + i;
            let scale = half::f16::from_le_bytes([scales[at / 32 * 2], scales[at / 32 * 2 + 1]]).to_f32();
            let got = f32::from(data[at].cast_signed()) * scale;
            assert!((got - want).abs() < 0.005, "{got} {want}");
        }
        // A file in Q8_0 keeps its bits.
        let mut values = vec![0.0; 70 * 64];
        values.chunks_exact_mut(64).enumerate().for_each(|(r, out)| from.row(r, out));
        let ggml = blocks::<BlockQ8_0>(&values);
        let source = std::sync::Arc::new(Source::copy(&ggml));
        let same = Matrix::new(Format::Q8_0, 70, 64, Slice::new(&source, 0, ggml.len(), 2).unwrap());
        assert!(pack(&same, Kind::Q8) == (data, scales));
    }

    #[test]
    fn sizes_are_what_is_packed() {
        for (kind, cols) in [(Kind::F32, 24), (Kind::Bf16, 24), (Kind::Q8, 96), (Kind::Q4K, 512)] {
            let (data, scales) = pack(&matrix(67, cols), kind);
            assert_eq!(data.len() + scales.len(), kind.bytes(67, cols), "{kind:?}");
            assert_eq!(scales.len(), kind.scale_bytes(67, cols), "{kind:?}");
        }
    }
}
