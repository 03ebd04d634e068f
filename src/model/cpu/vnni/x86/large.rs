//! Formats with blocks of 256: Q4_K, Q5_K, Q6_K.
//!
//! ```text
//! Q4_K of a row: d, dmin, 8 factors and 8 minima of 6 bits | 128 bytes of nibbles
//! ```
use super::*;

/// Sixteen rows × 256 weights, unpacked.
pub struct Tile {
    pub words: [Words; 8],
    /// Per 16 weights (or per 32, then the first eight), as i32.
    pub factors: [__m512i; 16],
    pub heads: Heads,
}

impl Tile {
    #[inline(always)]
    pub unsafe fn new() -> Self {
        // SAFETY: AVX-512 F is there (caller).
        let (none, heads) = unsafe { (_mm512_setzero_si512(), Heads::new()) };
        Self { words: [[none; 8]; 8], factors: [none; 16], heads }
    }
}

/// What sixteen rows × 256 weights have beside their numbers and the factors of these.
#[derive(Clone, Copy)]
pub struct Heads {
    /// Pairs of i16 that meet the activations' sums: minima per 32 (four), or factors per 16 (eight).
    pairs: [__m512i; 8],
    scale: __m512,
    min: __m512,
}

impl Heads {
    #[inline(always)]
    pub unsafe fn new() -> Self {
        // SAFETY: AVX-512 F is there (caller).
        let (none, zero) = unsafe { (_mm512_setzero_si512(), _mm512_setzero_ps()) };
        Self { pairs: [none; 8], scale: zero, min: zero }
    }
}

pub trait Format {
    const BYTES: usize;
    /// Factors per 16 weights and none but their sign; else per 32, with minima.
    const SIXTEENS: bool;
    /// # Safety
    /// AVX-512 F and BW; a block at `w` and at each of fifteen `stride`s after it.
    unsafe fn unpack(w: *const u8, stride: usize, tile: &mut Tile);
}

/// `outputs` columns of `out`, a multiple of sixteen, for all its rows.
///
/// # Safety
/// AVX-512 F, BW, VL and VNNI; `w` holds the outputs' rows, `x` the rows from `first`; nobody else uses the columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn large_rows<F: Format>(x: &Large, first: usize, w: &[u8], outputs: usize, out: Out<'_>) {
    let blocks = x.cols / LARGE;
    let stride = blocks * F::BYTES;
    let zero = _mm512_setzero_ps();
    // SAFETY: AVX-512 F is there (caller).
    let mut tile = unsafe { Tile::new() };
    // One vector of sums per row, while the tiles go by.
    let mut sums = vec![zero; out.rows];
    for o in (0..outputs).step_by(WIDE) {
        let group = &w[o * stride..(o + WIDE) * stride];
        sums.fill(zero);
        for b in 0..blocks {
            // SAFETY: the caller's contract; block b of the sixteen rows; rows stay below `out.rows`.
            unsafe {
                fetch(group.as_ptr().wrapping_add(WIDE * stride), b * WIDE * F::BYTES, (b + 1) * WIDE * F::BYTES);
                F::unpack(group.as_ptr().add(b * F::BYTES), stride, &mut tile);
                by_rows!(out.rows, part::<F>(&tile, x; first, b, &mut sums));
            }
        }
        // SAFETY: the caller's contract.
        (0..out.rows).for_each(|r| unsafe { _mm512_storeu_ps(out.at(r, o), sums[r]) });
    }
}

/// Block `b` of `R` rows from `first + r` against the tile, added to `sums[r..]`.
#[inline(always)]
unsafe fn part<F: Format, const R: usize>(t: &Tile, x: &Large, r: usize, first: usize, b: usize, sums: &mut [__m512]) {
    let at = |i: usize| x.at(first + r + i, b);
    // SAFETY: the rows are there (caller).
    unsafe {
        let mut bytes = [x.bytes.as_ptr(); R];
        for (i, row) in bytes.iter_mut().enumerate() {
            *row = row.add(at(i) * LARGE);
        }
        let mut whole = [_mm512_setzero_si512(); R];
        for s in 0..8 {
            let words = t.words[s];
            for i in 0..R {
                let x = bytes[i].add(s * SMALL);
                let zero = _mm512_setzero_si512();
                let (low, high) = (dot::<4>(zero, &words, 0, x), dot::<4>(zero, &words, 4, x));
                whole[i] = if F::SIXTEENS {
                    let low = _mm512_mullo_epi32(low, t.factors[2 * s]);
                    _mm512_add_epi32(_mm512_add_epi32(whole[i], low), _mm512_mullo_epi32(high, t.factors[2 * s + 1]))
                } else {
                    _mm512_add_epi32(whole[i], _mm512_mullo_epi32(_mm512_add_epi32(low, high), t.factors[s]))
                };
            }
        }
        for (i, &whole) in whole.iter().enumerate() {
            let pairs = x.sums.as_ptr().add(at(i) * WORDS);
            let scale = _mm512_set1_ps(*x.scales.get_unchecked(at(i)));
            let sum = sums.get_unchecked_mut(r + i);
            *sum = finish::<F>(&t.heads, whole, pairs, scale, *sum);
        }
    }
}

/// A block's integers, less minima, times the scales.
#[inline(always)]
pub unsafe fn finish<F: Format>(t: &Heads, whole: __m512i, pairs: *const i32, scale: __m512, sum: __m512) -> __m512 {
    // SAFETY: twelve words are there (caller).
    unsafe {
        if F::SIXTEENS {
            // The words hold w + 32.
            let whole = _mm512_sub_epi32(whole, _mm512_slli_epi32::<5>(less(t, pairs.add(4), 8)));
            return _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_mul_ps(t.scale, scale), sum);
        }
        let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_mul_ps(t.scale, scale), sum);
        _mm512_fnmadd_ps(_mm512_cvtepi32_ps(less(t, pairs, 4)), _mm512_mul_ps(t.min, scale), sum)
    }
}

/// The products of `n` pairs with as many words of an activation's sums.
#[inline(always)]
unsafe fn less(t: &Heads, sums: *const i32, n: usize) -> __m512i {
    // SAFETY: `n` words are there (caller).
    unsafe {
        let mut all = _mm512_setzero_si512();
        for i in 0..n {
            all = _mm512_dpwssd_epi32(all, t.pairs[i], _mm512_set1_epi32(*sums.add(i)));
        }
        all
    }
}

pub struct Q4K;
pub struct Q5K;
pub struct Q6K;

impl Format for Q4K {
    const BYTES: usize = 144;
    const SIXTEENS: bool = false;
    #[inline(always)]
    unsafe fn unpack(w: *const u8, stride: usize, tile: &mut Tile) {
        // SAFETY: the caller's contract.
        unsafe {
            head(w, stride, tile);
            let low = _mm512_set1_epi8(15);
            for c in 0..4 {
                let both = words!(o => _mm256_loadu_si256(w.add(o * stride + 16 + c * SMALL).cast()));
                for (j, &both) in both.iter().enumerate() {
                    tile.words[2 * c][j] = _mm512_and_si512(both, low);
                    tile.words[2 * c + 1][j] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
                }
            }
        }
    }
}

impl Format for Q5K {
    const BYTES: usize = 176;
    const SIXTEENS: bool = false;
    #[inline(always)]
    unsafe fn unpack(w: *const u8, stride: usize, tile: &mut Tile) {
        // SAFETY: the caller's contract.
        unsafe {
            head(w, stride, tile);
            let (low, one) = (_mm512_set1_epi8(15), _mm512_set1_epi8(1));
            let mut fifth = words!(o => _mm256_loadu_si256(w.add(o * stride + 16).cast()));
            for c in 0..4 {
                let both = words!(o => _mm256_loadu_si256(w.add(o * stride + 48 + c * SMALL).cast()));
                for j in 0..8 {
                    let (even, odd) = (both[j], _mm512_srli_epi16::<4>(both[j]));
                    let bits = [fifth[j], _mm512_srli_epi16::<1>(fifth[j])];
                    let [even_bit, odd_bit] = [_mm512_and_si512(bits[0], one), _mm512_and_si512(bits[1], one)];
                    let (even_bit, odd_bit) = (_mm512_slli_epi16::<4>(even_bit), _mm512_slli_epi16::<4>(odd_bit));
                    tile.words[2 * c][j] = _mm512_or_si512(_mm512_and_si512(even, low), even_bit);
                    tile.words[2 * c + 1][j] = _mm512_or_si512(_mm512_and_si512(odd, low), odd_bit);
                    fifth[j] = _mm512_srli_epi16::<2>(fifth[j]);
                }
            }
        }
    }
}

/// Scales, factors and minima of Q4_K and Q5_K.
#[inline(always)]
unsafe fn head(w: *const u8, stride: usize, tile: &mut Tile) {
    // SAFETY: the caller's contract.
    unsafe {
        let factors = minima(w, stride, &mut tile.heads);
        let byte = _mm512_set1_epi32(255);
        for j in 0..8 {
            let shift = _mm_cvtsi32_si128(8 * (j as i32 % 4));
            tile.factors[j] = _mm512_and_si512(_mm512_srl_epi32(factors[j / 4], shift), byte);
        }
    }
}

/// Scales and minima of Q4_K and Q5_K; returns the factors of parts 0 to 3 and 4 to 7, a byte each.
#[inline(always)]
pub unsafe fn minima(w: *const u8, stride: usize, heads: &mut Heads) -> [__m512i; 2] {
    // SAFETY: the caller's contract.
    unsafe {
        let [scales, a, b, c] = four_words(w, stride);
        let half = |x| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x));
        let (six, four, two) = (_mm512_set1_epi8(63), _mm512_set1_epi8(15), _mm512_set1_epi8(48));
        let join = |low, high| _mm512_or_si512(_mm512_and_si512(low, four), _mm512_and_si512(_mm512_srli_epi16::<2>(high), two));
        let factors = [_mm512_and_si512(a, six), join(c, a)];
        let mins = [_mm512_and_si512(b, six), join(_mm512_srli_epi16::<4>(c), b)];
        // Of four minima in a word, those at even places and those at odd ones.
        let even = _mm512_set1_epi16(255);
        let pair = |j: usize| match j % 2 {
            0 => _mm512_and_si512(mins[j / 2 % 2], even),
            _ => _mm512_srli_epi16::<8>(mins[j / 2 % 2]),
        };
        (0..4).for_each(|j| heads.pairs[j] = pair(j));
        (heads.scale, heads.min) = (half(scales), half(_mm512_srli_epi32::<16>(scales)));
        factors
    }
}

impl Format for Q6K {
    const BYTES: usize = 210;
    const SIXTEENS: bool = true;
    #[inline(always)]
    unsafe fn unpack(w: *const u8, stride: usize, tile: &mut Tile) {
        // SAFETY: the caller's contract.
        unsafe {
            let factors = sixteens(w, stride, &mut tile.heads);
            for j in 0..16 {
                let shift = _mm_cvtsi32_si128(24 - 8 * (j as i32 % 4));
                tile.factors[j] = _mm512_srai_epi32::<24>(_mm512_sll_epi32(factors[j / 4], shift));
            }
            let (low, high) = (_mm512_set1_epi8(15), _mm512_set1_epi8(48));
            for half in 0..2 {
                let (a, b) = (half_words(w, 64 * half, stride), half_words(w, 64 * half + SMALL, stride));
                let h = half_words(w, 128 + SMALL * half, stride);
                for j in 0..8 {
                    let parts = [
                        (a[j], _mm512_slli_epi16::<4>(h[j])),
                        (b[j], _mm512_slli_epi16::<2>(h[j])),
                        (_mm512_srli_epi16::<4>(a[j]), h[j]),
                        (_mm512_srli_epi16::<4>(b[j]), _mm512_srli_epi16::<2>(h[j])),
                    ];
                    for (i, (l, h)) in parts.into_iter().enumerate() {
                        tile.words[4 * half + i][j] = _mm512_or_si512(_mm512_and_si512(l, low), _mm512_and_si512(h, high));
                    }
                }
            }
        }
    }
}

/// Scales of Q6_K, and its factors as pairs; returns these as four bytes in a word.
#[inline(always)]
pub unsafe fn sixteens(w: *const u8, stride: usize, heads: &mut Heads) -> [__m512i; 4] {
    // SAFETY: the caller's contract.
    unsafe {
        let factors = four_words(w.add(192), stride);
        // Of four factors in a word, those at even places and those at odd ones, with their sign.
        for (j, &four) in factors.iter().enumerate() {
            heads.pairs[2 * j] = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(four));
            heads.pairs[2 * j + 1] = _mm512_srai_epi16::<8>(four);
        }
        heads.scale = halves(w.add(208), stride);
        factors
    }
}

/// Bytes `from..from + 32` of the block of each of sixteen rows, as words.
#[inline(always)]
unsafe fn half_words(w: *const u8, from: usize, stride: usize) -> Words {
    // SAFETY: the bytes are there (caller).
    unsafe { words!(o => _mm256_loadu_si256(w.add(o * stride + from).cast())) }
}
