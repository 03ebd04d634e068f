//! Products with quantised weights on AVX-512 VNNI: sixteen outputs side by side, whatever the format.
//!
//! ```text
//! 16 rows × 256 bytes of blocks --unpack, transpose--> Tile: word (4 bytes) j of every row in vector j
//! tile × 8 rows of activations: each word of a row is broadcast against the sixteen outputs
//! ```
//! A tile is unpacked once for all rows of the batch and stays in the first-level cache. The sums have the order of
//! `blocks`, so the bits are the same.
use super::lanes::Level;
use super::rounded::{Rounded, Rounding};
use super::view::Out;
use crate::model::matrix::Format;

/// Computes as many outputs as this processor has a kernel for, from the first on; returns how many.
#[cfg(not(target_arch = "x86_64"))]
pub fn rows(_: Level, _: Format, _: &Rounded, _: usize, _: &[u8], _: Out<'_>) -> usize {
    0
}

/// Computes as many outputs as this processor has a kernel for, from the first on; returns how many. The sizes have been
/// checked by [`super::blocks::rows`].
#[cfg(target_arch = "x86_64")]
pub fn rows(level: Level, format: Format, x: &Rounded, first: usize, w: &[u8], out: Out<'_>) -> usize {
    let level = level.min(Level::best());
    if level < Level::Avx512 {
        return 0;
    }
    let whole = out.cols / x86::WIDE * x86::WIDE;
    if out.rows <= ALONE && alone(format, x, first, w, whole, out) {
        return whole;
    }
    let many = if Rounding::of(format) == Rounding::Large { MANY } else { 2 * MANY };
    if level >= Level::Amx && out.rows >= many { tiles(format, x, first, w, whole, out) } else { words(format, x, first, w, whole, out) }
}

/// All rows together, in vectors; returns how many outputs.
#[cfg(target_arch = "x86_64")]
fn words(format: Format, x: &Rounded, first: usize, w: &[u8], whole: usize, out: Out<'_>) -> usize {
    // SAFETY: the processor has the instructions; sizes were checked by the caller; whole groups only.
    unsafe {
        match format {
            Format::Q4K => x86::large_rows::<x86::Q4K>(&x.large, first, w, whole, out),
            Format::Q5K => x86::large_rows::<x86::Q5K>(&x.large, first, w, whole, out),
            Format::Q6K => x86::large_rows::<x86::Q6K>(&x.large, first, w, whole, out),
            Format::Q8_0 => x86::small_rows::<x86::Q8_0>(&x.small, first, w, whole, out),
            Format::Q5_0 => x86::small_rows::<x86::Q5_0>(&x.small, first, w, whole, out),
            Format::Q5_1 => x86::small_rows::<x86::Q5_1>(&x.small, first, w, whole, out),
            Format::Q4_0 => x86::small_rows::<x86::Q4_0>(&x.small, first, w, whole, out),
            Format::Q4_1 => x86::small_rows::<x86::Q4_1>(&x.small, first, w, whole, out),
            Format::F32 | Format::F16 | Format::BF16 | Format::F8 => return 0,
        }
    }
    whole
}

/// The same in tiles.
#[cfg(target_arch = "x86_64")]
fn tiles(format: Format, x: &Rounded, first: usize, w: &[u8], whole: usize, out: Out<'_>) -> usize {
    // SAFETY: as in `words`; the process has AMX.
    unsafe {
        match format {
            Format::Q4K => x86::large_tiles::<x86::Q4K>(&x.large, first, w, whole, out),
            Format::Q5K => x86::large_tiles::<x86::Q5K>(&x.large, first, w, whole, out),
            Format::Q6K => x86::large_tiles::<x86::Q6K>(&x.large, first, w, whole, out),
            Format::Q8_0 => x86::small_tiles::<x86::Q8_0>(&x.small, first, w, whole, out),
            Format::Q5_0 => x86::small_tiles::<x86::Q5_0>(&x.small, first, w, whole, out),
            Format::Q5_1 => x86::small_tiles::<x86::Q5_1>(&x.small, first, w, whole, out),
            Format::Q4_0 => x86::small_tiles::<x86::Q4_0>(&x.small, first, w, whole, out),
            Format::Q4_1 => x86::small_tiles::<x86::Q4_1>(&x.small, first, w, whole, out),
            Format::F32 | Format::F16 | Format::BF16 | Format::F8 => return 0,
        }
    }
    whole
}

/// Rows of activations from which tiles pay, twice as many where blocks are small (measured).
#[cfg(target_arch = "x86_64")]
const MANY: usize = 12;

/// Rows of activations for which unpacking a tile does not pay.
#[cfg(target_arch = "x86_64")]
const ALONE: usize = 2;

/// Row by row; `false` for a format that always goes through a tile.
#[cfg(target_arch = "x86_64")]
fn alone(format: Format, x: &Rounded, first: usize, w: &[u8], whole: usize, out: Out<'_>) -> bool {
    // SAFETY: as in `rows`.
    (0..out.rows).all(|r| unsafe {
        match format {
            Format::Q4K => x86::large_row::<x86::Q4K>(&x.large, first + r, w, whole, out, r),
            Format::Q6K => x86::large_row::<x86::Q6K>(&x.large, first + r, w, whole, out, r),
            Format::Q8_0 => x86::small_row::<x86::Q8_0>(&x.small, first + r, w, whole, out, r),
            Format::Q5_0 => x86::small_row::<x86::Q5_0>(&x.small, first + r, w, whole, out, r),
            Format::Q5_1 => x86::small_row::<x86::Q5_1>(&x.small, first + r, w, whole, out, r),
            Format::Q4_0 => x86::small_row::<x86::Q4_0>(&x.small, first + r, w, whole, out, r),
            Format::Q4_1 => x86::small_row::<x86::Q4_1>(&x.small, first + r, w, whole, out, r),
            _ => return false,
        }
        true
    })
}

/// Multiplies in registers for so many rounds; the operations of one round, or 0 without the instructions.
pub fn spin(level: Level, rounds: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    match level.min(Level::best()) {
        // SAFETY: the processor has the instructions.
        Level::Amx => return unsafe { x86::spin_tiles(rounds) },
        Level::Avx512 => return unsafe { x86::spin(rounds) },
        _ => {}
    }
    let _ = (level, rounds);
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::rounded::{LARGE, Large, SMALL, Small, WORDS};
    use super::Out;
    use std::arch::x86_64::*;

    pub use large::{Q4K, Q5K, Q6K, large_rows};
    pub use one::{large_row, small_row};
    pub use small::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, small_rows};
    pub use tiles::{large_tiles, small_tiles, spin_tiles};

    /// Outputs side by side.
    pub const WIDE: usize = 16;
    /// Words of 32 weights of sixteen rows: word j of every row in vector j.
    type Words = [__m512i; 8];

    mod large;
    mod one;
    mod small;
    mod tiles;

    /// Twelve chains of products of bytes; the operations of one round.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub unsafe fn spin(rounds: usize) -> usize {
        let mut sums = [_mm512_setzero_si512(); 12];
        for i in 0..rounds {
            let x = _mm512_set1_epi32(std::hint::black_box(i as i32));
            sums.iter_mut().for_each(|s| *s = _mm512_dpbusd_epi32(*s, x, x));
        }
        std::hint::black_box(sums);
        sums.len() * 64 * 2
    }

    /// `words!(o => bytes)`: thirty-two bytes of each of sixteen rows `o`, as words.
    macro_rules! words {
        ($o:ident => $row:expr) => {{
            let mut pairs = [_mm512_setzero_si512(); 8];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let $o = i;
                let first = $row;
                let $o = i + 8;
                *pair = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), $row);
            }
            transpose(pairs)
        }};
    }
    use words;

    // No closures around intrinsics here: one that the compiler does not inline loses the instructions' names, and each
    // becomes a call.

    /// In each half: eight rows of eight words become eight columns.
    #[inline(always)]
    unsafe fn transpose(z: Words) -> Words {
        // SAFETY: AVX-512 F is there (caller).
        unsafe {
            let (a, b) = (four(z[0], z[1], z[2], z[3]), four(z[4], z[5], z[6], z[7]));
            let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            [
                _mm512_permutex2var_epi64(a[0], first, b[0]),
                _mm512_permutex2var_epi64(a[1], first, b[1]),
                _mm512_permutex2var_epi64(a[2], first, b[2]),
                _mm512_permutex2var_epi64(a[3], first, b[3]),
                _mm512_permutex2var_epi64(a[0], second, b[0]),
                _mm512_permutex2var_epi64(a[1], second, b[1]),
                _mm512_permutex2var_epi64(a[2], second, b[2]),
                _mm512_permutex2var_epi64(a[3], second, b[3]),
            ]
        }
    }

    /// In each 128-bit lane: four rows of four words become four columns.
    #[inline(always)]
    unsafe fn four(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
        // SAFETY: AVX-512 F is there (caller).
        unsafe {
            let (l0, h0) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (l1, h1) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let (low, high) = (_mm512_unpacklo_epi64(l0, l1), _mm512_unpackhi_epi64(l0, l1));
            [low, high, _mm512_unpacklo_epi64(h0, h1), _mm512_unpackhi_epi64(h0, h1)]
        }
    }

    /// Sixteen bytes of each of sixteen rows, as four words.
    #[inline(always)]
    unsafe fn four_words(w: *const u8, stride: usize) -> [__m512i; 4] {
        // SAFETY: the bytes are there (caller).
        unsafe {
            let (a, b) = (four_rows(w, stride), four_rows(w.add(stride), stride));
            four(a, b, four_rows(w.add(2 * stride), stride), four_rows(w.add(3 * stride), stride))
        }
    }

    /// Sixteen bytes of rows 0, 4, 8 and 12, a lane each.
    #[inline(always)]
    unsafe fn four_rows(w: *const u8, stride: usize) -> __m512i {
        // SAFETY: the bytes are there (caller).
        unsafe {
            let z = _mm512_castsi128_si512(_mm_loadu_si128(w.cast()));
            let z = _mm512_inserti32x4::<1>(z, _mm_loadu_si128(w.add(4 * stride).cast()));
            let z = _mm512_inserti32x4::<2>(z, _mm_loadu_si128(w.add(8 * stride).cast()));
            _mm512_inserti32x4::<3>(z, _mm_loadu_si128(w.add(12 * stride).cast()))
        }
    }

    /// An f16 of each of sixteen rows.
    #[inline(always)]
    unsafe fn halves(w: *const u8, stride: usize) -> __m512 {
        // SAFETY: the bytes are there (caller).
        unsafe {
            let mut all = [0u16; WIDE];
            for (o, half) in all.iter_mut().enumerate() {
                *half = w.add(o * stride).cast::<u16>().read_unaligned();
            }
            _mm512_cvtph_ps(_mm256_loadu_si256(all.as_ptr().cast()))
        }
    }

    #[inline(always)]
    unsafe fn word(x: *const i8) -> __m512i {
        // SAFETY: four bytes are there (caller).
        unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
    }

    /// `begin` + the products of words `from..from + N` with as many words of one row of activations.
    #[inline(always)]
    unsafe fn dot<const N: usize>(begin: __m512i, words: &Words, from: usize, x: *const i8) -> __m512i {
        // SAFETY: 32 bytes are there (caller).
        unsafe {
            let mut sum = begin;
            for (j, &w) in words[from..from + N].iter().enumerate() {
                sum = _mm512_dpbusd_epi32(sum, w, word(x.add(4 * (from + j))));
            }
            sum
        }
    }

    /// Asks for the cache lines `from..to` of what comes next. Harmless past the end of the weights.
    #[inline(always)]
    unsafe fn fetch(w: *const u8, from: usize, to: usize) {
        for line in (from..to).step_by(64) {
            // SAFETY: a hint: no address faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(line).cast()) };
        }
    }

    /// Calls `f8`, `f4`, `f2` or `f1` for all of `0..n`, as many rows at a time.
    macro_rules! by_rows {
        ($n:expr, $f:ident :: <$($t:ty),*> ($($before:expr),* ; $($after:expr),*)) => {{
            let mut r = 0;
            while r + 8 <= $n { $f::<$($t,)* 8>($($before,)* r, $($after),*); r += 8; }
            if r + 4 <= $n { $f::<$($t,)* 4>($($before,)* r, $($after),*); r += 4; }
            if r + 2 <= $n { $f::<$($t,)* 2>($($before,)* r, $($after),*); r += 2; }
            if r < $n { $f::<$($t,)* 1>($($before,)* r, $($after),*); }
        }};
    }
    use by_rows;
}
