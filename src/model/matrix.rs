//! A matrix of weights as it lies in the file: rows of numbers or of quantised blocks.
//!
//! ```text
//! Q8_0, 3 rows of 64:  [scale q×32][scale q×32]   row 0, 68 bytes
//!                      [scale q×32][scale q×32]   row 1
//!                      …
//! F8, 200 rows of 300: [q×300]                     E4M3, and apart from them f32 scales (module `f8`)
//! ```
use super::source::{Plain, Slice};
use candle_core::quantized::k_quants::{self as k, GgmlType};
use f8::Scales;

pub mod f8;

/// How the elements are stored. The numbers are ggml's, but for F8, which ggml does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    BF16 = 30,
    /// E4M3 without infinities, scaled: Hugging Face's checkpoints "in FP8".
    F8 = 1000,
}

impl Format {
    const ALL: [Self; 11] =
        [Self::F32, Self::F16, Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K, Self::BF16];

    /// The format that ggml numbers `kind`.
    pub fn from_ggml(kind: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| *f as u32 == kind)
    }

    /// Elements and bytes of one block, and the alignment of its Rust type.
    pub fn block(self) -> (usize, usize, usize) {
        match self {
            Self::F32 => (1, 4, 4),
            Self::F16 | Self::BF16 => (1, 2, 2),
            Self::F8 => (1, 1, 1),
            Self::Q4_0 => (32, 18, 2),
            Self::Q4_1 => (32, 20, 2),
            Self::Q5_0 => (32, 22, 2),
            Self::Q5_1 => (32, 24, 2),
            Self::Q8_0 => (32, 34, 2),
            Self::Q4K => (256, 144, 2),
            Self::Q5K => (256, 176, 2),
            Self::Q6K => (256, 210, 2),
        }
    }

    /// Bytes of a row of `cols` elements; `None` where the row is not a whole number of blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (elements, bytes, _) = self.block();
        cols.is_multiple_of(elements).then(|| cols / elements * bytes)
    }

    /// Whether elements are plain numbers rather than blocks, or numbers with a scale.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }
}

/// `rows` × `cols` weights; a product with it is `x · Wᵀ`, each output the dot product of `x` and one row.
#[derive(Clone)]
pub struct Matrix {
    pub format: Format,
    pub rows: usize,
    pub cols: usize,
    data: Slice,
    /// Of F8.
    scales: Option<Scales>,
}

impl Matrix {
    /// `data` must be exactly `rows` rows of `cols` elements.
    pub fn new(format: Format, rows: usize, cols: usize, data: Slice) -> Self {
        assert_eq!(format.row_bytes(cols).map(|n| n * rows), Some(data.bytes().len()));
        Self { format, rows, cols, data, scales: None }
    }

    /// `data` in F8 with its scales; `None` where they are not enough for so many rows and columns.
    pub fn with_scales(rows: usize, cols: usize, data: Slice, scales: Scales) -> Option<Self> {
        let scales = Some(scales.covers(rows, cols)?);
        Some(Self { scales, ..Self::new(Format::F8, rows, cols, data) })
    }

    /// A copy of numbers.
    pub fn of_f32(rows: usize, cols: usize, values: &[f32]) -> Self {
        Self::new(Format::F32, rows, cols, Slice::of_f32(values))
    }

    /// Rows `first..first + count`, still in place.
    pub fn part(&self, first: usize, count: usize) -> Self {
        let row = self.row_bytes();
        let scales = self.scales.as_ref().map(|s| s.from_row(first));
        Self { rows: count, data: self.data.part(first * row, count * row), scales, ..*self }
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.cols).unwrap_or(0)
    }

    /// All elements, for the formats that are plain numbers.
    pub fn values<T: Plain>(&self) -> &[T] {
        self.data.as_slice()
    }

    /// Of a matrix in F8: the factor of an element.
    pub fn scale(&self, row: usize, col: usize) -> f32 {
        self.scales.as_ref().map_or(1.0, |s| s.at(row, col))
    }

    /// The bytes of all rows.
    pub fn bytes(&self) -> &[u8] {
        self.data.bytes()
    }

    /// The blocks of all rows, as candle's type for this format.
    pub fn blocks<T: GgmlType>(&self) -> &[T] {
        let bytes = self.data.bytes();
        assert_eq!(T::DTYPE.type_size(), size_of::<T>());
        assert_eq!(self.format.block(), (T::BLCK_SIZE, size_of::<T>(), align_of::<T>()));
        assert_eq!(bytes.as_ptr().align_offset(align_of::<T>()), 0);
        // SAFETY: size and alignment as just checked; candle's block types are repr(C), of integers and f16 only, so
        // any bytes are a value.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }

    /// Writes row `row` as f32 into `out`, `[cols]`.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let one = self.part(row, 1);
        match self.format {
            Format::F32 => out.copy_from_slice(one.values()),
            Format::F16 => out.iter_mut().zip(one.values::<half::f16>()).for_each(|(o, x)| *o = x.to_f32()),
            Format::BF16 => out.iter_mut().zip(one.values::<half::bf16>()).for_each(|(o, x)| *o = x.to_f32()),
            Format::F8 => out.iter_mut().zip(one.bytes()).enumerate().for_each(|(c, (o, x))| *o = f8::value(*x) * one.scale(0, c)),
            Format::Q4_0 => k::BlockQ4_0::to_float(one.blocks(), out),
            Format::Q4_1 => k::BlockQ4_1::to_float(one.blocks(), out),
            Format::Q5_0 => k::BlockQ5_0::to_float(one.blocks(), out),
            Format::Q5_1 => k::BlockQ5_1::to_float(one.blocks(), out),
            Format::Q8_0 => k::BlockQ8_0::to_float(one.blocks(), out),
            Format::Q4K => k::BlockQ4K::to_float(one.blocks(), out),
            Format::Q5K => k::BlockQ5K::to_float(one.blocks(), out),
            Format::Q6K => k::BlockQ6K::to_float(one.blocks(), out),
        }
    }

    /// A copy in f32.
    pub fn to_f32(&self) -> Self {
        let mut all = vec![0.0; self.rows * self.cols];
        for (row, out) in all.chunks_exact_mut(self.cols).enumerate() {
            self.row(row, out);
        }
        Self::new(Format::F32, self.rows, self.cols, Slice::of_f32(&all))
    }
}
