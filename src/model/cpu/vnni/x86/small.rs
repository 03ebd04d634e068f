//! Formats with blocks of 32: Q8_0, Q5_0, Q5_1, Q4_0, Q4_1.
//!
//! ```text
//! Q5_0 of a row: scale | 32 fifth bits | 16 bytes of nibbles   ->   32 bytes of w + 16
//! ```
use super::*;

/// Blocks that go into one tile.
pub const DEEP: usize = 8;

/// Sixteen rows × up to 8 blocks, unpacked.
pub struct Tile {
    pub words: [Words; DEEP],
    pub scales: [__m512; DEEP],
    pub mins: [__m512; DEEP],
}

impl Tile {
    #[inline(always)]
    pub unsafe fn new() -> Self {
        // SAFETY: AVX-512 F is there (caller).
        let (none, zero) = unsafe { (_mm512_setzero_si512(), _mm512_setzero_ps()) };
        Self { words: [[none; 8]; DEEP], scales: [zero; DEEP], mins: [zero; DEEP] }
    }
}

pub trait Format {
    const BYTES: usize;
    /// What was added to the weights to make them unsigned.
    const ADDED: i32;
    /// Whether there is a minimum beside the scale.
    const MIN: bool;
    /// The 32 weights of a block, unsigned.
    ///
    /// # Safety
    /// AVX-512 BW and VL; a block at `w`.
    unsafe fn bytes(w: *const u8) -> __m256i;
}

/// As [`large_rows`](super::large_rows).
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn small_rows<F: Format>(x: &Small, first: usize, w: &[u8], outputs: usize, out: Out<'_>) {
    let blocks = x.cols / SMALL;
    let stride = blocks * F::BYTES;
    let zero = _mm512_setzero_ps();
    // SAFETY: AVX-512 F is there (caller).
    let mut tile = unsafe { Tile::new() };
    // One vector of sums per row, while the tiles go by.
    let mut sums = vec![zero; out.rows];
    for o in (0..outputs).step_by(WIDE) {
        let group = &w[o * stride..(o + WIDE) * stride];
        sums.fill(zero);
        for b in (0..blocks).step_by(DEEP) {
            let deep = DEEP.min(blocks - b);
            // SAFETY: the caller's contract; blocks b..b + deep of the sixteen rows; rows stay below `out.rows`.
            unsafe {
                fetch(group.as_ptr().wrapping_add(WIDE * stride), b * WIDE * F::BYTES, (b + deep) * WIDE * F::BYTES);
                unpack::<F>(group.as_ptr().add(b * F::BYTES), stride, deep, &mut tile);
                by_rows!(out.rows, part::<F>(&tile, x; first, b..b + deep, &mut sums));
            }
        }
        // SAFETY: the caller's contract.
        (0..out.rows).for_each(|r| unsafe { _mm512_storeu_ps(out.at(r, o), sums[r]) });
    }
}

#[inline(always)]
pub unsafe fn unpack<F: Format>(w: *const u8, stride: usize, deep: usize, tile: &mut Tile) {
    // SAFETY: `deep` blocks of sixteen rows are there (caller).
    unsafe {
        for b in 0..deep {
            let w = w.add(b * F::BYTES);
            tile.words[b] = words!(o => F::bytes(w.add(o * stride)));
            tile.scales[b] = halves(w, stride);
            if F::MIN {
                tile.mins[b] = halves(w.add(2), stride);
            }
        }
    }
}

/// Blocks `b` of `R` rows from `first + r` against the tile, added to `sums[r..]`.
#[inline(always)]
unsafe fn part<F: Format, const R: usize>(t: &Tile, x: &Small, r: usize, first: usize, b: std::ops::Range<usize>, sums: &mut [__m512]) {
    // SAFETY: the rows are there (caller).
    unsafe {
        let mut now = [_mm512_setzero_ps(); R];
        for (i, now) in now.iter_mut().enumerate() {
            *now = *sums.get_unchecked(r + i);
        }
        for k in 0..b.len() {
            let words = t.words[k];
            for (i, now) in now.iter_mut().enumerate() {
                let at = x.at(first + r + i, b.start + k);
                let bytes = x.bytes.as_ptr().add(at * SMALL);
                let (scale, sum) = (*x.scales.get_unchecked(at), *x.sums.get_unchecked(at));
                // Two chains, because each instruction waits for the last of its chain.
                let low = dot::<4>(_mm512_set1_epi32(-F::ADDED * sum), &words, 0, bytes);
                let whole = _mm512_add_epi32(low, dot::<4>(_mm512_setzero_si512(), &words, 4, bytes));
                *now = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_mul_ps(t.scales[k], _mm512_set1_ps(scale)), *now);
                if F::MIN {
                    *now = _mm512_fmadd_ps(t.mins[k], _mm512_set1_ps(scale * sum as f32), *now);
                }
            }
        }
        now.iter().enumerate().for_each(|(i, now)| *sums.get_unchecked_mut(r + i) = *now);
    }
}

/// Sixteen bytes of nibbles: the low ones, then the high ones.
#[inline(always)]
unsafe fn nibbles(w: *const u8) -> __m256i {
    // SAFETY: the bytes are there (caller).
    unsafe {
        let both = _mm_loadu_si128(w.cast());
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(both), both), _mm256_set1_epi8(15))
    }
}

/// The fifth bits in their place.
#[inline(always)]
unsafe fn fifths(w: *const u8) -> __m256i {
    // SAFETY: the bytes are there (caller).
    unsafe { _mm256_maskz_set1_epi8(w.cast::<u32>().read_unaligned(), 16) }
}

macro_rules! formats {
    ($($name:ident, $bytes:literal, $added:literal, $min:literal, |$w:ident| $unpack:expr;)*) => {$(
        #[allow(non_camel_case_types)]
        pub struct $name;
        impl Format for $name {
            const BYTES: usize = $bytes;
            const ADDED: i32 = $added;
            const MIN: bool = $min;
            #[inline(always)]
            unsafe fn bytes($w: *const u8) -> __m256i {
                // SAFETY: the caller's contract.
                unsafe { $unpack }
            }
        }
    )*};
}

formats! {
    Q8_0, 34, 128, false, |w| _mm256_xor_si256(_mm256_loadu_si256(w.add(2).cast()), _mm256_set1_epi8(-128));
    Q5_0, 22, 16, false, |w| _mm256_or_si256(nibbles(w.add(6)), fifths(w.add(2)));
    Q5_1, 24, 0, true, |w| _mm256_or_si256(nibbles(w.add(8)), fifths(w.add(4)));
    Q4_0, 18, 8, false, |w| nibbles(w.add(2));
    Q4_1, 20, 0, true, |w| nibbles(w.add(4));
}
