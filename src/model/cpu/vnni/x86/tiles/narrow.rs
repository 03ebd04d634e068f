//! Blocks of 32 in tiles: each has its own scale, so each has its own sums.
//!
//! ```text
//! activations, 16 rows × 32 bytes  ·  weights, 32 × 16 outputs  ->  16 × 16 sums, eight blocks before they are added up
//! ```
use super::super::small::{self, DEEP};
use super::*;

/// Signed weights of some blocks of 32.
#[repr(align(64))]
struct Signed([[u8; TILE / 2]; DEEP]);

/// The sums of a group of rows with some blocks, and where they are to be added.
#[repr(align(64))]
struct Group {
    products: [[i32; TILE / 4]; DEEP],
    /// Rows that no earlier group had, and those before them.
    begin: usize,
    end: usize,
    skip: usize,
}

impl Group {
    /// Adds up an eighth of the rows: all `deep` blocks from `b` on.
    #[inline(always)]
    unsafe fn eighth<F: small::Format>(
        &self,
        i: usize,
        t: &small::Tile,
        b: std::ops::Range<usize>,
        x: &Small,
        first: usize,
        sums: &mut [__m512],
    ) {
        let n = self.end - self.begin;
        for r in n * i / DEEP..n * (i + 1) / DEEP {
            let sum = &mut sums[self.begin + r];
            for (k, b) in b.clone().enumerate() {
                // SAFETY: the rows and blocks are there (caller).
                unsafe {
                    let at = x.at(first + self.begin + r, b);
                    let whole = _mm512_cvtepi32_ps(_mm512_load_si512(self.products[k].as_ptr().add((self.skip + r) * WIDE).cast()));
                    let scale = *x.scales.get_unchecked(at);
                    *sum = _mm512_fmadd_ps(whole, _mm512_mul_ps(t.scales[k], _mm512_set1_ps(scale)), *sum);
                    if F::MIN {
                        let total = scale * *x.sums.get_unchecked(at) as f32;
                        *sum = _mm512_fmadd_ps(t.mins[k], _mm512_set1_ps(total), *sum);
                    }
                }
            }
        }
    }
}

/// As [`small_rows`].
///
/// # Safety
/// As [`large_tiles`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
pub unsafe fn small_tiles<F: small::Format>(x: &Small, first: usize, w: &[u8], outputs: usize, out: Out<'_>) {
    let (blocks, stride) = (x.cols / SMALL, x.cols / SMALL * F::BYTES);
    let (groups, wide) = (Groups::new(out.rows), outputs / WIDE);
    // SAFETY: AVX-512 F is there (caller).
    let (mut tile, mut bytes) = (unsafe { small::Tile::new() }, Signed([[0; TILE / 2]; DEEP]));
    let empty = || Group { products: [[0; TILE / 4]; DEEP], begin: 0, end: 0, skip: 0 };
    let (mut last, mut now) = (&mut empty(), &mut empty());
    let mut sums = vec![_mm512_setzero_ps(); out.rows * wide];
    Shapes::load(groups.rows, SMALL);
    for at in 0..blocks.div_ceil(DEEP) * wide {
        let (b, o) = (at / wide * DEEP, at % wide);
        let b = b..blocks.min(b + DEEP);
        // SAFETY: the caller's contract; these blocks of sixteen rows from 16 · o on; each group of rows lies below
        // `out.rows`.
        unsafe {
            let group = w.as_ptr().add(o * WIDE * stride + b.start * F::BYTES);
            let next = if b.end < blocks { b.len() * F::BYTES } else { (wide * WIDE - 1) * stride + b.len() * F::BYTES };
            fetch_blocks(group.wrapping_add(next), stride, b.len() * F::BYTES);
            small::unpack::<F>(group, stride, b.len(), &mut tile);
            sign::<F>(&tile, b.len(), &mut bytes);
            let sums = &mut sums[o * out.rows..][..out.rows];
            (last.begin, last.end) = (0, 0);
            for g in 0..groups.count {
                let start = groups.start(g);
                (now.begin, now.end, now.skip) = (g * groups.rows, start + groups.rows, g * groups.rows - start);
                for k in 0..DEEP {
                    if k < b.len() {
                        let row = x.bytes.as_ptr().add(x.at(first + start, b.start + k) * SMALL);
                        multiply_small(row, &bytes.0[k], &mut now.products[k]);
                    }
                    last.eighth::<F>(k, &tile, b.clone(), x, first, sums);
                }
                std::mem::swap(&mut last, &mut now);
            }
            (0..DEEP).for_each(|i| last.eighth::<F>(i, &tile, b.clone(), x, first, sums));
        }
    }
    release();
    // SAFETY: the caller's contract.
    unsafe { store(&sums, out) };
}

#[inline(always)]
unsafe fn sign<F: small::Format>(tile: &small::Tile, deep: usize, out: &mut Signed) {
    // SAFETY: AVX-512 BW is there (caller); a block has eight words of 64 bytes.
    unsafe {
        let added = _mm512_set1_epi8(F::ADDED as i8);
        for k in 0..deep {
            for j in 0..8 {
                _mm512_store_si512(out.0[k].as_mut_ptr().add(64 * j).cast(), _mm512_sub_epi8(tile.words[k][j], added));
            }
        }
    }
}

/// 32 bytes of a group of rows of activations against a block.
#[inline(always)]
unsafe fn multiply_small(x: *const i8, w: &[u8; TILE / 2], out: &mut [i32; TILE / 4]) {
    // SAFETY: the rows are there (caller), and tiles have the shapes of `small_tiles`.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tileloadd tmm4, [{x} + {deep}]",
            "tileloadd tmm6, [{w} + {line}]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tilestored [{out} + {line}], tmm0",
            x = in(reg) x, deep = in(reg) SMALL, w = in(reg) w, line = in(reg) 64usize, out = in(reg) out,
            out("tmm0") _, out("tmm4") _, out("tmm6") _, options(nostack)
        );
    }
}
