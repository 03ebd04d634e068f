//! Sixteen f32 side by side, and which instructions carry them.
//!
//! ```text
//! by_level! { pub fn add(out: &mut [f32], x: &[f32]) = add_kernel }
//! add(level, &mut y, &x);      // add_kernel::<V512>, ::<V256> or ::<Portable>
//! ```
//! Every variant keeps sixteen accumulators and adds them up in the same tree, so AVX-512 and AVX2 give the same bits.
use std::sync::OnceLock;

/// Values in one vector.
pub const LANES: usize = 16;

/// Which instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "elsewhere the compiler's own vectors (NEON) serve"))]
pub enum Level {
    Portable,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512,
    /// The same and AMX, for products of bytes.
    Amx,
}

impl Level {
    /// The best that this processor has.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(Self::detect)
    }

    #[cfg(target_arch = "x86_64")]
    fn detect() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        match (avx2, avx512) {
            (true, true) if super::amx::granted() => Self::Amx,
            (true, true) => Self::Avx512,
            (true, false) => Self::Avx2,
            _ => Self::Portable,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn detect() -> Self {
        Self::Portable
    }

    /// All levels up to the best: what tests compare.
    #[cfg(test)]
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx].into_iter().filter(|l| *l <= Self::best())
    }
}

/// Sixteen f32.
///
/// # Safety
/// Methods may be called only where the processor has the instructions of the implementation: in kernels that
/// [`by_level`](crate::model::cpu::lanes::by_level) started. Pointers must be valid for sixteen elements.
pub trait Lanes: Copy {
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn bf16(p: *const half::bf16) -> Self;
    unsafe fn f16(p: *const half::f16) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// self + a · b, rounded once where the processor can.
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    /// The same for one value.
    unsafe fn fma1(c: f32, a: f32, b: f32) -> f32;
    /// The sum, as a tree: i + (i + 8), then + 4, + 2, + 1.
    unsafe fn sum(self) -> f32;
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Portable([f32; LANES]);

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for sixteen elements (trait).
        Self(std::array::from_fn(|i| unsafe { *p.add(i) }))
    }
    #[inline(always)]
    unsafe fn bf16(p: *const half::bf16) -> Self {
        // SAFETY: as in `load`.
        Self(std::array::from_fn(|i| unsafe { *p.add(i) }.to_f32()))
    }
    #[inline(always)]
    unsafe fn f16(p: *const half::f16) -> Self {
        // SAFETY: as in `load`.
        Self(std::array::from_fn(|i| unsafe { *p.add(i) }.to_f32()))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as in `load`.
        (0..LANES).for_each(|i| unsafe { *p.add(i) = self.0[i] });
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: needs no instructions beyond the target's.
        Self(std::array::from_fn(|i| unsafe { Self::fma1(self.0[i], a.0[i], b.0[i]) }))
    }
    #[inline(always)]
    unsafe fn fma1(c: f32, a: f32, b: f32) -> f32 {
        // Without the instruction `mul_add` is a call into the C library, fifty times slower.
        if cfg!(any(target_feature = "fma", not(target_arch = "x86_64"))) { a.mul_add(b, c) } else { a * b + c }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut x = self.0;
        for half in [8, 4, 2, 1] {
            (0..half).for_each(|i| x[i] += x[i + half]);
        }
        x[0]
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{V256, V512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Lanes};
    use std::arch::x86_64::*;

    /// Two AVX registers.
    #[derive(Clone, Copy)]
    pub struct V256(__m256, __m256);

    /// One AVX-512 register.
    #[derive(Clone, Copy)]
    pub struct V512(__m512);

    /// The sum of eight lanes: + 4, + 2, + 1.
    #[inline(always)]
    unsafe fn sum8(x: __m256) -> f32 {
        // SAFETY: AVX is there where this is called.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }

    // SAFETY (both implementations): the trait's contract: the instructions are there, pointers hold sixteen elements.
    impl Lanes for V256 {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(LANES / 2))) }
        }
        #[inline(always)]
        unsafe fn bf16(p: *const half::bf16) -> Self {
            unsafe {
                let wide = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x)));
                Self(wide(_mm_loadu_si128(p.cast())), wide(_mm_loadu_si128(p.add(LANES / 2).cast())))
            }
        }
        #[inline(always)]
        unsafe fn f16(p: *const half::f16) -> Self {
            unsafe {
                let low = _mm256_cvtph_ps(_mm_loadu_si128(p.cast()));
                Self(low, _mm256_cvtph_ps(_mm_loadu_si128(p.add(LANES / 2).cast())))
            }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(LANES / 2), self.1);
            }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
        }
        #[inline(always)]
        unsafe fn fma1(c: f32, a: f32, b: f32) -> f32 {
            a.mul_add(b, c)
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { sum8(_mm256_add_ps(self.0, self.1)) }
        }
    }

    impl Lanes for V512 {
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            unsafe { Self(_mm512_set1_ps(x)) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm512_loadu_ps(p)) }
        }
        #[inline(always)]
        unsafe fn bf16(p: *const half::bf16) -> Self {
            unsafe {
                let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(x)))
            }
        }
        #[inline(always)]
        unsafe fn f16(p: *const half::f16) -> Self {
            unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm512_fmadd_ps(a.0, b.0, self.0)) }
        }
        #[inline(always)]
        unsafe fn fma1(c: f32, a: f32, b: f32) -> f32 {
            a.mul_add(b, c)
        }
        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
                sum8(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
            }
        }
    }
}

/// Elements that a product reads as f32.
pub trait Element: crate::model::source::Plain + Send + Sync {
    /// Sixteen of them. See [`Lanes`] for the contract.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L;
    fn one(self) -> f32;
    const ZERO: Self;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: the caller's contract.
        unsafe { L::load(p) }
    }
    #[inline(always)]
    fn one(self) -> f32 {
        self
    }
    const ZERO: Self = 0.0;
}

impl Element for half::bf16 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: the caller's contract.
        unsafe { L::bf16(p) }
    }
    #[inline(always)]
    fn one(self) -> f32 {
        self.to_f32()
    }
    const ZERO: Self = half::bf16::ZERO;
}

impl Element for half::f16 {
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(p: *const Self) -> L {
        // SAFETY: the caller's contract.
        unsafe { L::f16(p) }
    }
    #[inline(always)]
    fn one(self) -> f32 {
        self.to_f32()
    }
    const ZERO: Self = half::f16::ZERO;
}

/// Defines `fn name(level, arguments…)` that runs `kernel::<lanes, types…>` with the instructions of the level.
macro_rules! by_level {
    ($(#[$doc:meta])* pub fn $name:ident $(<$t:ident: $bound:path>)? ($($a:ident: $ty:ty),* $(,)?) = $kernel:ident) => {
        $(#[$doc])*
        pub fn $name $(<$t: $bound>)? (level: $crate::model::cpu::lanes::Level, $($a: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::model::cpu::lanes::{Level, V256, V512};
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
                fn v512 $(<$t: $bound>)? ($($a: $ty),*) {
                    // SAFETY: this function is entered only where the processor has the instructions.
                    unsafe { $kernel::<V512 $(, $t)?>($($a),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn v256 $(<$t: $bound>)? ($($a: $ty),*) {
                    // SAFETY: as above.
                    unsafe { $kernel::<V256 $(, $t)?>($($a),*) }
                }
                // SAFETY: a level is only ever one that `Level::best` detected, or a lower one.
                match level.min(Level::best()) {
                    Level::Amx | Level::Avx512 => return unsafe { v512 $(::<$t>)? ($($a),*) },
                    Level::Avx2 => return unsafe { v256 $(::<$t>)? ($($a),*) },
                    Level::Portable => {}
                }
            }
            let _ = level;
            // SAFETY: the portable lanes need no instructions beyond the target's.
            unsafe { $kernel::<$crate::model::cpu::lanes::Portable $(, $t)?>($($a),*) }
        }
    };
}
pub(crate) use by_level;
