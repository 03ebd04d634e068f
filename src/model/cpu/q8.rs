//! Products with Q8_0 weights: blocks of 32 signed bytes with an f16 scale, against activations rounded the same way.
//!
//! ```text
//! out[r][o] = Σ_b (Σ_i q(w)[o][b][i] · q(x)[r][b][i]) · (scale(w)[o][b] · scale(x)[r][b])   b in order
//! ```
//! The inner sum is of integers and exact, so only the order of the blocks matters, and it is always the same: one row
//! gives the same bits alone or in a batch, and with any instructions that fuse multiply and add.
use super::lanes::{Lanes, Level};
use super::view::{Out, Rows};
use half::f16;

/// Elements and bytes of a block.
pub const BLOCK: usize = 32;
pub const BYTES: usize = 34;
/// Outputs that the AVX-512 kernel computes side by side.
const WIDE: usize = 16;

/// Rows of activations in blocks of 32 bytes.
#[derive(Default)]
pub struct Quantised {
    blocks: usize,
    bytes: Vec<i8>,
    scales: Vec<f32>,
    /// -128 · Σ bytes of each block: the kernel reads weights as w + 128, because the instruction wants one side unsigned.
    offsets: Vec<i32>,
}

impl Quantised {
    /// Rounds rows to 127 steps of their blocks' largest value; `x.cols` must be a multiple of 32.
    pub fn fill(&mut self, level: Level, x: Rows<'_>) {
        self.blocks = x.cols / BLOCK;
        self.bytes.resize(x.n * x.cols, 0);
        self.scales.resize(x.n * self.blocks, 0.0);
        self.offsets.resize(x.n * self.blocks, 0);
        for r in 0..x.n {
            let at = r * self.blocks..(r + 1) * self.blocks;
            let bytes = &mut self.bytes[r * x.cols..(r + 1) * x.cols];
            round(level, x.get(r), bytes, &mut self.scales[at.clone()], &mut self.offsets[at]);
        }
    }
}

super::lanes::by_level! {
    pub fn round(x: &[f32], bytes: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) = round_kernel
}

#[inline(always)]
unsafe fn round_kernel<L: Lanes>(x: &[f32], bytes: &mut [i8], scales: &mut [f32], offsets: &mut [i32]) {
    let blocks = x.chunks_exact(BLOCK).zip(bytes.chunks_exact_mut(BLOCK));
    for ((x, q), (scale, offset)) in blocks.zip(scales.iter_mut().zip(offsets)) {
        let most = x.iter().fold(0f32, |m, x| m.max(x.abs()));
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        // A NaN has no byte, and `max` passes it over: it goes into the scale, and so into every output.
        *scale = if x.iter().fold(true, |all, x| all & x.is_finite()) { most / 127.0 } else { f32::NAN };
        // Adding 1.5 · 2^23 rounds to the nearest even whole number, which then lies in the low bits.
        x.iter().zip(q.iter_mut()).for_each(|(x, q)| *q = (x * inverse + 12_582_912.0).to_bits() as i8);
        *offset = -128 * q.iter().map(|q| i32::from(*q)).sum::<i32>();
    }
}

/// `out[r][o] = x[r] · w[o]` for the rows of `w`, `cols / 32 · 34` bytes each.
///
/// Nobody else may write the columns of `out` meanwhile.
pub fn rows(level: Level, x: &Quantised, n: usize, w: &[u8], out: Out<'_>) {
    let outputs = w.len() / (x.blocks * BYTES);
    assert!(out.rows >= n && out.cols >= outputs && x.scales.len() >= n * x.blocks);
    #[cfg(target_arch = "x86_64")]
    if level.min(Level::best()) == Level::Avx512 {
        let wide = outputs / WIDE * WIDE;
        // SAFETY: the processor has the instructions; sizes were checked above.
        (0..wide).step_by(WIDE).for_each(|o| unsafe { x86::group(x, n, w, o, out) });
        return few(level, x, n, w, wide..outputs, out);
    }
    few(level, x, n, w, 0..outputs, out);
}

super::lanes::by_level! {
    pub fn few(x: &Quantised, n: usize, w: &[u8], outputs: std::ops::Range<usize>, out: Out<'_>) = few_kernel
}

#[inline(always)]
unsafe fn few_kernel<L: Lanes>(x: &Quantised, n: usize, w: &[u8], outputs: std::ops::Range<usize>, out: Out<'_>) {
    let row = x.blocks * BYTES;
    for o in outputs {
        let w = &w[o * row..(o + 1) * row];
        for r in 0..n {
            let at = r * x.blocks..(r + 1) * x.blocks;
            let q = x.bytes[r * x.blocks * BLOCK..(r + 1) * x.blocks * BLOCK].chunks_exact(BLOCK);
            let mut sum = 0.0;
            for ((w, q), scale) in w.chunks_exact(BYTES).zip(q).zip(&x.scales[at]) {
                // SAFETY: the lanes' contract holds in a kernel.
                sum = unsafe { L::fma1(sum, exact(&w[2..], q) as f32, scale_of(w) * scale) };
            }
            // SAFETY: the caller owns the column.
            unsafe { out.set(r, o, sum) };
        }
    }
}

#[inline(always)]
fn exact(w: &[u8], q: &[i8]) -> i32 {
    // Products of two bytes fit i16: this is the shape that becomes `pmaddwd`.
    w.iter().zip(q).map(|(w, q)| i32::from(i16::from(*w as i8) * i16::from(*q))).sum()
}

#[inline(always)]
fn scale_of(block: &[u8]) -> f32 {
    f16::from_le_bytes([block[0], block[1]]).to_f32()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BLOCK, BYTES, Out, Quantised, WIDE};
    use std::arch::x86_64::*;

    /// Sixteen outputs from `o` for all rows of activations.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL and VNNI; `w` holds rows up to `o + 16`, `x` holds `n` rows, `out` the elements, and nobody
    /// else uses them.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
    pub unsafe fn group(x: &Quantised, n: usize, w: &[u8], o: usize, out: Out<'_>) {
        let w = w[o * x.blocks * BYTES..(o + WIDE) * x.blocks * BYTES].as_ptr();
        let (eights, fours) = (n / 8 * 8, n / 4 * 4);
        // SAFETY: the caller's contract; rows stay below `n`.
        unsafe {
            (0..eights).step_by(8).for_each(|r| tile::<8>(x, r, w, o, out));
            (eights..fours).step_by(4).for_each(|r| tile::<4>(x, r, w, o, out));
            (fours..n).for_each(|r| tile::<1>(x, r, w, o, out));
        }
    }

    /// `R` rows against sixteen outputs.
    #[inline(always)]
    unsafe fn tile<const R: usize>(x: &Quantised, r: usize, w: *const u8, o: usize, out: Out<'_>) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); R];
            for b in 0..x.blocks {
                let (words, scales) = sixteen(w.add(b * BYTES), x.blocks * BYTES);
                for (i, sum) in sums.iter_mut().enumerate() {
                    let at = (r + i) * x.blocks + b;
                    let dot = dot(&words, x.bytes.as_ptr().add(at * BLOCK).cast(), *x.offsets.get_unchecked(at));
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(*x.scales.get_unchecked(at)));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
                }
            }
            sums.iter().enumerate().for_each(|(i, s)| _mm512_storeu_ps(out.at(r + i, o), *s));
        }
    }

    /// The 32-byte dot products of sixteen weight rows with one block of activations.
    #[inline(always)]
    unsafe fn dot(words: &[__m512i; 8], x: *const i32, offset: i32) -> __m512i {
        // SAFETY: `x` holds 32 bytes.
        unsafe {
            let word = |j: usize| _mm512_set1_epi32(x.add(j).read_unaligned());
            // Two chains, because each instruction waits for the last of its chain.
            let (mut even, mut odd) = (_mm512_set1_epi32(offset), _mm512_setzero_si512());
            for j in (0..8).step_by(2) {
                even = _mm512_dpbusd_epi32(even, words[j], word(j));
                odd = _mm512_dpbusd_epi32(odd, words[j + 1], word(j + 1));
            }
            _mm512_add_epi32(even, odd)
        }
    }

    /// One block of sixteen rows: word j of every row in vector j (as w + 128), and the scales.
    #[inline(always)]
    unsafe fn sixteen(w: *const u8, stride: usize) -> ([__m512i; 8], __m512) {
        // SAFETY: sixteen rows of a block each (caller).
        unsafe {
            let half = |o: usize| _mm256_loadu_si256(w.add(o * stride + 2).cast());
            let flip = _mm512_set1_epi8(-128);
            let pair = |o: usize| {
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(o)), half(o + 8));
                _mm512_xor_si512(both, flip)
            };
            let scales: [u16; WIDE] = std::array::from_fn(|o| w.add(o * stride).cast::<u16>().read_unaligned());
            let scales = _mm512_cvtph_ps(_mm256_loadu_si256(scales.as_ptr().cast()));
            (transpose(std::array::from_fn(pair)), scales)
        }
    }

    /// In each half: eight rows of eight words become eight columns.
    #[inline(always)]
    unsafe fn transpose(z: [__m512i; 8]) -> [__m512i; 8] {
        // SAFETY: AVX-512 F is there (caller).
        unsafe {
            // Words 0..4 of four rows, per 128-bit lane.
            let four = |a: usize| {
                let (l0, h0) = (_mm512_unpacklo_epi32(z[a], z[a + 1]), _mm512_unpackhi_epi32(z[a], z[a + 1]));
                let (l1, h1) = (_mm512_unpacklo_epi32(z[a + 2], z[a + 3]), _mm512_unpackhi_epi32(z[a + 2], z[a + 3]));
                let (low, high) = (_mm512_unpacklo_epi64(l0, l1), _mm512_unpackhi_epi64(l0, l1));
                [low, high, _mm512_unpacklo_epi64(h0, h1), _mm512_unpackhi_epi64(h0, h1)]
            };
            let (top, bottom) = (four(0), four(4));
            let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            std::array::from_fn(|j| {
                let lanes = if j < 4 { first } else { second };
                _mm512_permutex2var_epi64(top[j % 4], lanes, bottom[j % 4])
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some weights and activations, the same every time.
    fn example(outputs: usize, n: usize, blocks: usize) -> (Vec<u8>, Vec<f32>) {
        let mut seed = 1u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut w = Vec::new();
        for _ in 0..outputs * blocks {
            w.extend(f16::from_f32(next() / 50.0).to_le_bytes());
            (0..BLOCK).for_each(|_| w.push((next() * 128.0) as i8 as u8));
        }
        (w, (0..n * blocks * BLOCK).map(|_| next()).collect())
    }

    fn run(level: Level, w: &[u8], x: &[f32], n: usize, outputs: usize) -> Vec<f32> {
        let (mut q, mut out) = (Quantised::default(), vec![0.0; n * outputs]);
        q.fill(level, Rows::all(x, x.len() / n));
        rows(level, &q, n, w, Out::all(&mut out, outputs));
        out
    }

    #[test]
    fn near_the_product_in_f32() {
        let (outputs, n, blocks) = (37, 5, 6);
        let (w, x) = example(outputs, n, blocks);
        let got = run(Level::best(), &w, &x, n, outputs);
        for (at, got) in got.iter().enumerate() {
            let (x, w) = (&x[at / outputs * blocks * BLOCK..], &w[at % outputs * blocks * BYTES..]);
            let value = |i: usize| scale_of(&w[i / BLOCK * BYTES..]) * f32::from(w[i / BLOCK * BYTES + 2 + i % BLOCK] as i8);
            let want: f32 = (0..blocks * BLOCK).map(|i| x[i] * value(i)).sum();
            assert!((got - want).abs() < 0.15, "{at}: {got}, not {want}");
        }
    }

    #[test]
    fn one_row_at_a_time_and_other_instructions_give_the_same_bits() {
        let (outputs, n, blocks) = (49, 15, 4);
        let (w, x) = example(outputs, n, blocks);
        let whole = run(Level::best(), &w, &x, n, outputs);
        for (r, x) in x.chunks_exact(blocks * BLOCK).enumerate() {
            assert_eq!(run(Level::best(), &w, x, 1, outputs), whole[r * outputs..(r + 1) * outputs]);
        }
        for level in Level::available().filter(|l| *l > Level::Portable) {
            assert_eq!(run(level, &w, &x, n, outputs), whole, "{level:?}");
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        let mut w = Vec::new();
        for _ in 0..16 {
            w.extend(f16::ONE.to_le_bytes());
            w.extend([0x80u8; BLOCK]);
        }
        for level in Level::available() {
            let got = run(level, &w, &[-1.0; BLOCK], 1, 16);
            assert!(got.iter().all(|g| (g - 4096.0).abs() < 0.01), "{level:?} {got:?}");
        }
    }
}
