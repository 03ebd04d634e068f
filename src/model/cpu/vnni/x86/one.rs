//! One row of activations: nothing to share an unpacked tile with, so the weights stay as they lie.
//!
//! ```text
//! 16 rows × 1 block: each row's products added into a vector -> sixteen vectors summed across -> one vector of sums
//! ```
//! A tile costs more than its products when one row uses it, and decoding must keep up with the memory. The integers
//! are the same as in `large` and `small`, and so are the bits.
use super::large::{self, Heads, Q4K, Q6K};
use super::*;

/// A block of 256 weights, against one row of activations.
pub trait Row: large::Format {
    /// Σ factor · Σ w · x of the block at `w`, spread over sixteen lanes, for the weights as [`large::Format::unpack`]
    /// stores them. `factors` are the row's own, from [`Row::heads`].
    ///
    /// # Safety
    /// AVX-512 F, BW and VNNI; a block at `w`.
    unsafe fn products(w: *const u8, x: &[__m512i; 4], factors: u64) -> __m512i;
    /// Scales and minima of sixteen rows' blocks, and of each row the factors, where they do not lie in the block as
    /// bytes.
    ///
    /// # Safety
    /// As [`large::Format::unpack`].
    unsafe fn heads(w: *const u8, stride: usize, heads: &mut Heads, factors: &mut [u64; WIDE]);
    /// The order in which [`Row::products`] wants the 32-byte parts of the activations.
    const ORDER: [usize; 8];
}

/// `outputs` columns, a multiple of sixteen, of row `to` of `out`, for row `from` of `x`.
///
/// # Safety
/// As [`large_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn large_row<F: Row>(x: &Large, from: usize, w: &[u8], outputs: usize, out: Out<'_>, to: usize) {
    let blocks = x.cols / LARGE;
    let stride = blocks * F::BYTES;
    // SAFETY: AVX-512 F is there (caller).
    let (mut heads, mut factors) = (unsafe { Heads::new() }, [0; WIDE]);
    for o in (0..outputs).step_by(WIDE) {
        let group = &w[o * stride..(o + WIDE) * stride];
        let mut sum = _mm512_setzero_ps();
        for b in 0..blocks {
            let at = x.at(from, b);
            // SAFETY: the caller's contract; block b of the sixteen rows; `Large` has scales and sums for each block.
            unsafe {
                let next = group.as_ptr().wrapping_add(WIDE * stride);
                let w = group.as_ptr().add(b * F::BYTES);
                let bytes = ordered::<F>(x.bytes.as_ptr().add(at * LARGE));
                F::heads(w, stride, &mut heads, &mut factors);
                let mut each = [_mm512_setzero_si512(); WIDE];
                for (o, each) in each.iter_mut().enumerate() {
                    // A few lines at a time: the second-level cache takes no more orders than that at once.
                    fetch(next, lines((b * WIDE + o) * F::BYTES), lines((b * WIDE + o + 1) * F::BYTES));
                    *each = F::products(w.add(o * stride), &bytes, factors[o]);
                }
                let scale = _mm512_set1_ps(*x.scales.get_unchecked(at));
                sum = large::finish::<F>(&heads, sums(&each), x.sums.as_ptr().add(at * WORDS), scale, sum);
            }
        }
        // SAFETY: the caller's contract.
        unsafe { _mm512_storeu_ps(out.at(to, o), sum) };
    }
}

/// So many bytes, down to whole cache lines.
#[inline(always)]
fn lines(bytes: usize) -> usize {
    bytes / 64 * 64
}

/// 256 bytes of activations, two parts in a vector.
#[inline(always)]
unsafe fn ordered<F: Row>(x: *const i8) -> [__m512i; 4] {
    // SAFETY: the bytes are there (caller).
    unsafe {
        let mut all = [_mm512_setzero_si512(); 4];
        for (i, both) in all.iter_mut().enumerate() {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(x.add(F::ORDER[2 * i] * SMALL).cast()));
            *both = _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(x.add(F::ORDER[2 * i + 1] * SMALL).cast()));
        }
        all
    }
}

impl Row for Q4K {
    // The low nibbles of 64 bytes are parts 0 and 2, the high ones 1 and 3.
    const ORDER: [usize; 8] = [0, 2, 1, 3, 4, 6, 5, 7];

    #[inline(always)]
    unsafe fn heads(w: *const u8, stride: usize, heads: &mut Heads, factors: &mut [u64; WIDE]) {
        // SAFETY: the caller's contract.
        unsafe {
            let [first, last] = large::minima(w, stride, heads);
            // In each lane two rows, and the two after them.
            let (a, b) = (_mm512_unpacklo_epi32(first, last), _mm512_unpackhi_epi32(first, last));
            let to = factors.as_mut_ptr();
            _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
            let upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
            _mm512_storeu_si512(to.add(8).cast(), _mm512_permutex2var_epi64(a, upper, b));
        }
    }

    #[inline(always)]
    unsafe fn products(w: *const u8, x: &[__m512i; 4], factors: u64) -> __m512i {
        // SAFETY: the caller's contract.
        unsafe {
            let low = _mm512_set1_epi8(15);
            let all = _mm512_set1_epi64(factors as i64);
            let mut sum = _mm512_setzero_si512();
            for c in 0..2 {
                let both = _mm512_loadu_si512(w.add(16 + 64 * c).cast());
                let (even, odd) = (_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16::<4>(both), low));
                let first = 4 * c as i16;
                sum = weigh(sum, even, x[2 * c], pick(all, first, first + 2));
                sum = weigh(sum, odd, x[2 * c + 1], pick(all, first + 1, first + 3));
            }
            sum
        }
    }
}

/// Bytes `a` and `b` of each 8, as i16: one in all words of the first half, the other in the second.
#[inline(always)]
unsafe fn pick(all: __m512i, a: i16, b: i16) -> __m512i {
    // SAFETY: AVX-512 BW is there (caller). The upper byte becomes zero, because its index has bit 7.
    unsafe {
        const UPPER: i16 = i16::MIN;
        _mm512_shuffle_epi8(all, _mm512_inserti64x4::<1>(_mm512_set1_epi16(a | UPPER), _mm256_set1_epi16(b | UPPER)))
    }
}

/// `sum` + 64 weights times 64 activations times a factor for each pair.
#[inline(always)]
unsafe fn weigh(sum: __m512i, w: __m512i, x: __m512i, factors: __m512i) -> __m512i {
    // SAFETY: AVX-512 VNNI is there (caller). 63 · 127 · 2 fits i16.
    unsafe { _mm512_dpwssd_epi32(sum, _mm512_maddubs_epi16(w, x), factors) }
}

impl Row for Q6K {
    const ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[inline(always)]
    unsafe fn heads(w: *const u8, stride: usize, heads: &mut Heads, _: &mut [u64; WIDE]) {
        // SAFETY: the caller's contract.
        unsafe { large::sixteens(w, stride, heads) };
    }

    #[inline(always)]
    unsafe fn products(w: *const u8, x: &[__m512i; 4], _: u64) -> __m512i {
        // SAFETY: the caller's contract.
        unsafe {
            let (low, high) = (_mm512_set1_epi8(15), _mm512_set1_epi8(48));
            // The upper two bits of parts 0 and 1 are shifted up by 4 and 2, those of 2 and 3 down by 0 and 2.
            let up = _mm512_inserti64x4::<1>(_mm512_set1_epi16(4), _mm256_set1_epi16(2));
            let down = _mm512_inserti64x4::<1>(_mm512_set1_epi16(0), _mm256_set1_epi16(2));
            let all = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(_mm_loadu_si128(w.add(192).cast())));
            let mut sum = _mm512_setzero_si512();
            for half in 0..2 {
                let both = _mm512_loadu_si512(w.add(64 * half).cast());
                let bits = _mm512_broadcast_i64x4(_mm256_loadu_si256(w.add(128 + SMALL * half).cast()));
                let upper = _mm512_and_si512(_mm512_sllv_epi16(bits, up), high);
                let first = _mm512_or_si512(_mm512_and_si512(both, low), upper);
                let upper = _mm512_and_si512(_mm512_srlv_epi16(bits, down), high);
                let second = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16::<4>(both), low), upper);
                sum = weigh(sum, first, x[2 * half], lanes(all, 8 * half as i16));
                sum = weigh(sum, second, x[2 * half + 1], lanes(all, 8 * half as i16 + 4));
            }
            sum
        }
    }
}

/// Word `first` in all of the first lane, the next in the second, and so on.
#[inline(always)]
unsafe fn lanes(all: __m512i, first: i16) -> __m512i {
    // SAFETY: AVX-512 BW is there (caller).
    unsafe {
        let low = _mm256_set_m128i(_mm_set1_epi16(first + 1), _mm_set1_epi16(first));
        let high = _mm256_set_m128i(_mm_set1_epi16(first + 3), _mm_set1_epi16(first + 2));
        _mm512_permutexvar_epi16(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high), all)
    }
}

/// As [`large_row`], for formats with blocks of 32.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn small_row<F: Blocks>(x: &Small, from: usize, w: &[u8], outputs: usize, out: Out<'_>, to: usize) {
    let blocks = x.cols / SMALL;
    let stride = blocks * F::BYTES;
    for o in (0..outputs).step_by(WIDE) {
        let group = &w[o * stride..(o + WIDE) * stride];
        let mut sum = _mm512_setzero_ps();
        for b in 0..blocks {
            let at = x.at(from, b);
            // SAFETY: the caller's contract; block b of the sixteen rows; `Small` has a scale and a sum for each block.
            unsafe {
                fetch(group.as_ptr().wrapping_add(WIDE * stride), b * WIDE * F::BYTES, (b + 1) * WIDE * F::BYTES);
                let w = group.as_ptr().add(b * F::BYTES);
                let (products, scales, mins) = F::row(w, stride, x.bytes.as_ptr().add(at * SMALL));
                let (scale, total) = (*x.scales.get_unchecked(at), *x.sums.get_unchecked(at));
                let whole = _mm512_add_epi32(products, _mm512_set1_epi32(-F::ADDED * total));
                sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_mul_ps(scales, _mm512_set1_ps(scale)), sum);
                if F::MIN {
                    sum = _mm512_fmadd_ps(mins, _mm512_set1_ps(scale * total as f32), sum);
                }
            }
        }
        // SAFETY: the caller's contract.
        unsafe { _mm512_storeu_ps(out.at(to, o), sum) };
    }
}

/// A block of 32 weights of each of sixteen rows, against one row of activations.
pub trait Blocks: small::Format {
    /// Σ w · x for the weights as [`small::Format::bytes`] gives them; scales; minima, where there are any.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL and VNNI; a block at `w` and at each of fifteen `stride`s after it; 32 bytes at `x`.
    unsafe fn row(w: *const u8, stride: usize, x: *const i8) -> (__m512i, __m512, __m512);
}

impl Blocks for small::Q8_0 {
    #[inline(always)]
    unsafe fn row(w: *const u8, stride: usize, x: *const i8) -> (__m512i, __m512, __m512) {
        // SAFETY: the caller's contract.
        unsafe {
            let x = _mm512_broadcast_i64x4(_mm256_loadu_si256(x.cast()));
            // Rows 0 to 3 with 4 to 7, and 8 to 11 with 12 to 15, two in a vector.
            let mut each = [_mm512_setzero_si512(); 8];
            for (i, each) in each.iter_mut().enumerate() {
                let row = w.add((i + i / 4 * 4) * stride);
                let (a, b) = (<Self as small::Format>::bytes(row), <Self as small::Format>::bytes(row.add(4 * stride)));
                let pair = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
                *each = _mm512_dpbusd_epi32(_mm512_setzero_si512(), pair, x);
            }
            (two_sums(four_sums(&each, 0), four_sums(&each, 4)), halves(w, stride), _mm512_setzero_ps())
        }
    }
}

macro_rules! nibbles {
    ($($name:ident: $nibbles:literal, $fifths:literal;)*) => {$(
        impl Blocks for small::$name {
            #[inline(always)]
            unsafe fn row(w: *const u8, stride: usize, x: *const i8) -> (__m512i, __m512, __m512) {
                // SAFETY: the caller's contract.
                unsafe { nibble_row::<$nibbles, $fifths>(w, stride, x) }
            }
        }
    )*};
}

// Where the nibbles begin, and the fifth bits; 0 where there are none.
nibbles! {
    Q5_0: 6, 2;
    Q5_1: 8, 4;
    Q4_0: 2, 0;
    Q4_1: 4, 0;
}

#[inline(always)]
unsafe fn nibble_row<const NIBBLES: usize, const FIFTHS: usize>(w: *const u8, stride: usize, x: *const i8) -> (__m512i, __m512, __m512) {
    // SAFETY: the caller's contract; a block has more than 16 bytes.
    unsafe {
        let low = _mm512_set1_epi8(15);
        let (first, last) = (_mm_loadu_si128(x.cast()), _mm_loadu_si128(x.add(16).cast()));
        let (first, last) = (_mm512_broadcast_i32x4(first), _mm512_broadcast_i32x4(last));
        let (mut each, mut heads) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
        for o in 0..4 {
            let both = four_rows(w.add(NIBBLES + o * stride), stride);
            heads[o] = four_rows(w.add(o * stride), stride);
            let (mut a, mut b) = (_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16::<4>(both), low));
            if FIFTHS > 0 {
                (a, b) = (fifth(a, heads[o], FIFTHS as i8), fifth(b, heads[o], FIFTHS as i8 + 2));
            }
            each[o] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), a, first), b, last);
        }
        let [a, b, c, d] = heads;
        let heads = _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let scales = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads));
        (four_sums(&each, 0), scales, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(heads))))
    }
}

/// Adds 16 to those of the 16 bytes in each lane whose bit is set in the lane's bytes `at` and `at + 1` of `bits`.
#[inline(always)]
unsafe fn fifth(w: __m512i, bits: __m512i, at: i8) -> __m512i {
    const EIGHT: i64 = 0x0101_0101_0101_0101;
    // SAFETY: AVX-512 BW is there (caller).
    unsafe {
        let places = _mm_set_epi64x(EIGHT * i64::from(at + 1), EIGHT * i64::from(at));
        let bytes = _mm512_shuffle_epi8(bits, _mm512_broadcast_i32x4(places));
        let set = _mm512_test_epi8_mask(bytes, _mm512_set1_epi64(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128])));
        _mm512_mask_add_epi8(w, set, w, _mm512_set1_epi8(16))
    }
}

/// The sum of each vector's lanes.
#[inline(always)]
unsafe fn sums(each: &[__m512i; WIDE]) -> __m512i {
    // SAFETY: AVX-512 F is there (caller).
    unsafe {
        let (a, b) = (four_sums(each, 0), four_sums(each, 4));
        let (c, d) = (four_sums(each, 8), four_sums(each, 12));
        two_sums(two_sums(a, b), two_sums(c, d))
    }
}

/// In each 128-bit lane: the sum of the lane's four words for vector `at`, for `at + 1`, …
#[inline(always)]
unsafe fn four_sums(each: &[__m512i], at: usize) -> __m512i {
    // SAFETY: AVX-512 F is there (caller).
    unsafe {
        let (a, b, c, d) = (each[at], each[at + 1], each[at + 2], each[at + 3]);
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))
    }
}

/// Neighbouring 128-bit lanes added: two lanes of `a`, then two of `b`.
#[inline(always)]
unsafe fn two_sums(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: AVX-512 F is there (caller).
    unsafe { _mm512_add_epi32(_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b)) }
}
