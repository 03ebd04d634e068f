//! Many rows of activations against sixteen outputs, with AMX: a tile of 16 × 64 bytes against another in one
//! instruction.
//!
//! ```text
//! activations, 16 rows × 64 bytes  ·  weights, 64 × 16 outputs  ->  16 × 16 sums
//! Q4_K: factor = low + 8 · high; low · w and high · w are bytes, a tile each:  Σ factor·w·x = Σ low·w·x + 8 · Σ high·w·x
//! ```
//! The sums are of integers and exact, and the scales are applied as everywhere else: the bits are those of [`large_rows`]
//! and [`small_rows`].
use super::large::{self, Heads};
use super::*;
use std::arch::asm;

pub use narrow::small_tiles;

mod narrow;

/// Rows of one tile of activations, and of its sums.
const TALL: usize = 16;
/// Bytes of a tile.
const TILE: usize = 1024;

/// What the tiles hold: rows and bytes of a row, for `ldtilecfg` (Intel's manual, volume 1, chapter 18).
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    zero: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Sums in tiles 0 to 3, activations in 4 and 5, weights in 6 and 7, `deep` bytes of a row of activations at a time.
    fn load(rows: usize, deep: usize) {
        let mut all = Self { palette: 1, start: 0, zero: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for i in 0..8 {
            all.bytes[i] = if matches!(i, 4 | 5) { deep as u16 } else { 64 };
            all.rows[i] = if i < 6 { rows as u8 } else { deep as u8 / 4 };
        }
        // SAFETY: the process may use tiles (`Level::Amx`), and the shapes are legal.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const all, options(nostack, readonly)) };
    }
}

/// Gives the tiles back: a thread that holds some has more to save when it is interrupted.
fn release() {
    // SAFETY: as in `Shapes::load`.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Rows of activations in groups of the same height, at most sixteen. The last group overlaps with the one before it
/// rather than ending behind the last row. Two groups make a step.
struct Groups {
    n: usize,
    rows: usize,
    count: usize,
}

/// One or two groups: where they begin, and which rows of theirs no earlier step had.
#[derive(Clone, Copy)]
struct Step {
    start: usize,
    second: Option<usize>,
    begin: usize,
    end: usize,
}

impl Groups {
    fn new(n: usize) -> Self {
        let count = n.div_ceil(TALL);
        Self { n, rows: n.div_ceil(count), count }
    }

    fn start(&self, i: usize) -> usize {
        (i * self.rows).min(self.n - self.rows)
    }

    fn steps(&self) -> usize {
        self.count.div_ceil(2)
    }

    fn step(&self, i: usize) -> Step {
        let second = (2 * i + 1 < self.count).then(|| self.start(2 * i + 1));
        let begin = 2 * i * self.rows;
        Step { start: self.start(2 * i), second, begin, end: (begin + 2 * self.rows).min(self.n) }
    }
}

/// Sums of products of a step's rows with sixteen outputs.
#[repr(align(64))]
struct Sums([i32; TILE / 2]);

/// Sixteen outputs × 256 weights: of 64 weights each the products with the lower part of the factors, and with the upper.
#[repr(align(64))]
pub struct Bytes([[[u8; TILE]; 2]; 4]);

/// Sums that wait to be added up: that is done while the tiles are busy with the next ones.
struct Waiting {
    heads: Heads,
    low: Sums,
    high: Sums,
    step: Step,
    block: usize,
    /// Where the sums of these outputs begin.
    sums: usize,
}

impl Waiting {
    unsafe fn new() -> Self {
        let step = Step { start: 0, second: None, begin: 0, end: 0 };
        // SAFETY: AVX-512 F is there (caller).
        Self { heads: unsafe { Heads::new() }, low: Sums([0; TILE / 2]), high: Sums([0; TILE / 2]), step, block: 0, sums: 0 }
    }

    /// Adds up a quarter of the rows.
    #[inline(always)]
    unsafe fn quarter<F: Tiles>(&self, i: usize, x: &Large, first: usize, sums: &mut [__m512]) {
        let (step, n) = (self.step, self.step.end - self.step.begin);
        let rows = step.begin + n * i / 4..step.begin + n * (i + 1) / 4;
        let at = x.at(first + rows.start, self.block);
        let sums = &mut sums[self.sums + rows.start..self.sums + rows.end];
        // SAFETY: the rows are there (caller).
        unsafe {
            let row = (rows.start - step.start) * WIDE;
            let shift = _mm_cvtsi32_si128(F::SHIFT as i32);
            let (low, high) = (self.low.0.as_ptr().add(row), self.high.0.as_ptr().add(row));
            let (scales, pairs) = (x.scales.as_ptr().add(at), x.sums.as_ptr().add(at * WORDS));
            for (r, sum) in sums.iter_mut().enumerate() {
                let high = _mm512_sll_epi32(_mm512_load_si512(high.add(r * WIDE).cast()), shift);
                let whole = _mm512_add_epi32(high, _mm512_load_si512(low.add(r * WIDE).cast()));
                *sum = large::finish::<F>(&self.heads, whole, pairs.add(r * WORDS), _mm512_set1_ps(*scales.add(r)), *sum);
            }
        }
    }
}

/// A format with blocks of 256 whose factors go into the weights.
pub trait Tiles: large::Format {
    /// Σ = low + (high << SHIFT)
    const SHIFT: u32;
    /// The weights of sixteen rows' blocks times the parts of their factors.
    ///
    /// # Safety
    /// As [`large::Format::unpack`].
    unsafe fn weigh(w: *const u8, stride: usize, out: &mut Bytes) -> Heads;
}

/// As [`large_rows`].
///
/// # Safety
/// As there, and the process must have been given AMX.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn large_tiles<F: Tiles>(x: &Large, first: usize, w: &[u8], outputs: usize, out: Out<'_>) {
    let (blocks, stride) = (x.cols / LARGE, x.cols / LARGE * F::BYTES);
    let (groups, wide) = (Groups::new(out.rows), outputs / WIDE);
    let mut bytes = Bytes([[[0; TILE]; 2]; 4]);
    // SAFETY: AVX-512 F is there (caller).
    let (mut last, mut now) = unsafe { (Waiting::new(), Waiting::new()) };
    let (mut last, mut now) = (&mut last, &mut now);
    let mut sums = vec![_mm512_setzero_ps(); out.rows * wide];
    Shapes::load(groups.rows, 64);
    for at in 0..blocks * wide {
        let (b, o) = (at / wide, at % wide);
        // SAFETY: the caller's contract; block b of sixteen rows from 16 · o on; each group of rows lies below `out.rows`.
        unsafe {
            let group = w.as_ptr().add(o * WIDE * stride + b * F::BYTES);
            // After the last block comes the first of the rows behind these.
            let next = if b + 1 < blocks { F::BYTES } else { (wide * WIDE - 1) * stride + F::BYTES };
            fetch_blocks(group.wrapping_add(next), stride, F::BYTES);
            let heads = F::weigh(group, stride, &mut bytes);
            for i in 0..groups.steps() {
                (now.heads, now.block, now.sums, now.step) = (heads, b, o * out.rows, groups.step(i));
                let row = |r: usize| x.bytes.as_ptr().add(x.at(first + r, b) * LARGE);
                let (one, two) = (row(now.step.start), now.step.second.map(row));
                clear();
                multiply::<0>(one, two, &bytes);
                last.quarter::<F>(0, x, first, &mut sums);
                multiply::<1>(one, two, &bytes);
                last.quarter::<F>(1, x, first, &mut sums);
                multiply::<2>(one, two, &bytes);
                last.quarter::<F>(2, x, first, &mut sums);
                multiply::<3>(one, two, &bytes);
                last.quarter::<F>(3, x, first, &mut sums);
                keep(now);
                std::mem::swap(&mut last, &mut now);
            }
        }
    }
    release();
    // SAFETY: the caller's contract.
    unsafe {
        (0..4).for_each(|i| last.quarter::<F>(i, x, first, &mut sums));
        store(&sums, out);
    }
}

/// Asks for one block of each of sixteen rows.
#[inline(always)]
unsafe fn fetch_blocks(w: *const u8, stride: usize, bytes: usize) {
    for o in 0..WIDE {
        // SAFETY: a hint: no address faults.
        unsafe { fetch(w.wrapping_add(o * stride), 0, bytes + 63) };
    }
}

/// The sums of sixteen outputs each, of all rows, to their place.
#[inline(always)]
unsafe fn store(sums: &[__m512], out: Out<'_>) {
    for (o, sums) in sums.chunks_exact(out.rows).enumerate() {
        // SAFETY: the caller owns the columns.
        sums.iter().enumerate().for_each(|(r, s)| unsafe { _mm512_storeu_ps(out.at(r, o * WIDE), *s) });
    }
}

// What follows leaves numbers in tiles from one piece of assembly to the next: the compiler itself never uses any.

#[inline(always)]
unsafe fn clear() {
    // SAFETY: tiles have shapes (caller).
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack, nomem)
        );
    }
}

/// 64 bytes of each row of one group or two against a quarter of the weights.
#[inline(always)]
unsafe fn multiply<const K: usize>(x: *const i8, y: Option<*const i8>, w: &Bytes) {
    // SAFETY: the rows are there (caller), and tiles have the shapes of `large_tiles`.
    unsafe {
        asm!(
            "tileloadd tmm4, [{x} + {deep} + {k}]",
            "tileloadd tmm6, [{w} + {line} + {low}]",
            "tileloadd tmm7, [{w} + {line} + {high}]",
            "tdpbsud tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            x = in(reg) x, deep = in(reg) LARGE, w = in(reg) w, line = in(reg) 64usize,
            k = const 64 * K, low = const 2 * TILE * K, high = const 2 * TILE * K + TILE,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _, options(nostack, readonly)
        );
        if let Some(y) = y {
            asm!(
                "tileloadd tmm5, [{y} + {deep} + {k}]",
                "tdpbsud tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                y = in(reg) y, deep = in(reg) LARGE, k = const 64 * K,
                out("tmm2") _, out("tmm3") _, out("tmm5") _, options(nostack, readonly)
            );
        }
    }
}

/// The sums of a step, from the tiles to memory.
#[inline(always)]
unsafe fn keep(now: &mut Waiting) {
    let (low, high) = (now.low.0.as_mut_ptr(), now.high.0.as_mut_ptr());
    // SAFETY: a group has at most sixteen rows, and the second begins at most as many after the first.
    unsafe {
        asm!(
            "tilestored [{low} + {line}], tmm0",
            "tilestored [{high} + {line}], tmm1",
            low = in(reg) low, high = in(reg) high, line = in(reg) 64usize, options(nostack)
        );
        if let Some(second) = now.step.second {
            let after = (second - now.step.start) * WIDE;
            asm!(
                "tilestored [{low} + {line}], tmm2",
                "tilestored [{high} + {line}], tmm3",
                low = in(reg) low.add(after), high = in(reg) high.add(after), line = in(reg) 64usize, options(nostack)
            );
        }
    }
}

impl Tiles for large::Q4K {
    const SHIFT: u32 = 3;

    #[inline(always)]
    unsafe fn weigh(w: *const u8, stride: usize, out: &mut Bytes) -> Heads {
        // SAFETY: the caller's contract.
        unsafe {
            let mut heads = Heads::new();
            let factors = large::minima(w, stride, &mut heads);
            let (nibble, three) = (_mm512_set1_epi8(15), _mm512_set1_epi16(7));
            for c in 0..4 {
                let both = words!(o => _mm256_loadu_si256(w.add(o * stride + 16 + c * SMALL).cast()));
                for odd in 0..2 {
                    let s = 2 * c + odd;
                    // Byte s % 4 of each word of factors, twice as i16; 7 · 15 is a byte, so one product does for two weights.
                    let f = factor_pairs(factors[s / 4], s % 4);
                    let (low, high) = (_mm512_and_si512(f, three), _mm512_srli_epi16::<3>(f));
                    for (j, &both) in both.iter().enumerate() {
                        let w = if odd == 0 { both } else { _mm512_srli_epi16::<4>(both) };
                        let w = _mm512_and_si512(w, nibble);
                        out.put(s, j, _mm512_mullo_epi16(w, low), _mm512_mullo_epi16(w, high));
                    }
                }
            }
            heads
        }
    }
}

/// Byte `i` of each word, as two i16.
#[inline(always)]
unsafe fn factor_pairs(all: __m512i, i: usize) -> __m512i {
    // SAFETY: AVX-512 BW is there (caller).
    unsafe {
        let byte = _mm512_and_si512(_mm512_srl_epi32(all, _mm_cvtsi32_si128(8 * i as i32)), _mm512_set1_epi32(255));
        _mm512_or_si512(byte, _mm512_slli_epi32::<16>(byte))
    }
}

impl Bytes {
    /// Word `j` of part `s` of sixteen outputs.
    #[inline(always)]
    unsafe fn put(&mut self, s: usize, j: usize, low: __m512i, high: __m512i) {
        let at = (s % 2 * 8 + j) * 64;
        // SAFETY: a part has eight words of 64 bytes; AVX-512 F is there (caller).
        unsafe {
            _mm512_store_si512(self.0[s / 2][0].as_mut_ptr().add(at).cast(), low);
            _mm512_store_si512(self.0[s / 2][1].as_mut_ptr().add(at).cast(), high);
        }
    }
}

macro_rules! by_bytes {
    ($($name:ty),*) => {$(
        impl Tiles for $name {
            const SHIFT: u32 = 8;
            #[inline(always)]
            unsafe fn weigh(w: *const u8, stride: usize, out: &mut Bytes) -> Heads {
                // SAFETY: the caller's contract.
                unsafe { by_bytes::<Self>(w, stride, out) }
            }
        }
    )*};
}

// Products of 14 bits with a sign: the lower byte and the upper.
by_bytes!(large::Q5K, large::Q6K);

#[inline(always)]
unsafe fn by_bytes<F: large::Format>(w: *const u8, stride: usize, out: &mut Bytes) -> Heads {
    // SAFETY: the caller's contract.
    unsafe {
        let mut tile = large::Tile::new();
        F::unpack(w, stride, &mut tile);
        let even = _mm512_set1_epi16(255);
        let twice = |f: __m512i| _mm512_or_si512(_mm512_and_si512(f, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32::<16>(f));
        for s in 0..8 {
            for j in 0..8 {
                let factor = if F::SIXTEENS { 2 * s + j / 4 } else { s };
                let (w, f) = (tile.words[s][j], twice(tile.factors[factor]));
                let a = _mm512_mullo_epi16(_mm512_and_si512(w, even), f);
                let b = _mm512_mullo_epi16(_mm512_srli_epi16::<8>(w), f);
                // Bits of the first where the mask has them, else of the second.
                let low = _mm512_ternarylogic_epi32::<0xca>(even, a, _mm512_slli_epi16::<8>(b));
                let high = _mm512_ternarylogic_epi32::<0xca>(even, _mm512_srli_epi16::<8>(a), b);
                out.put(s, j, low, high);
            }
        }
        tile.heads
    }
}

/// Eight products of whole tiles a round; the operations of one round.
///
/// # Safety
/// The process must have been given AMX.
pub unsafe fn spin_tiles(rounds: usize) -> usize {
    Shapes::load(TALL, 64);
    for _ in 0..rounds {
        // SAFETY: tiles have a shape; what they hold does not matter.
        unsafe {
            asm!(
                "tdpbssd tmm0, tmm4, tmm6", "tdpbssd tmm1, tmm4, tmm6", "tdpbssd tmm2, tmm4, tmm6", "tdpbssd tmm3, tmm4, tmm6",
                "tdpbssd tmm0, tmm5, tmm7", "tdpbssd tmm1, tmm5, tmm7", "tdpbssd tmm2, tmm5, tmm7", "tdpbssd tmm3, tmm5, tmm7",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem)
            );
        }
    }
    release();
    8 * TALL * TILE * 2
}
