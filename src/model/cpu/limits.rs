//! What the machine allows: how fast the model's threads read memory and multiply. For `infill bench model`.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let limits = infill::model::cpu::Cpu::open("lite.gguf".as_ref())?.limits();
//! println!("{:.0} GB/s", limits.bytes_per_second / 1e9);
//! # Ok(()) }
//! ```
use super::lanes::{Lanes, Level, by_level};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// Measured on the model's own threads.
pub struct Limits {
    pub threads: usize,
    /// The instructions that the kernels use.
    pub instructions: String,
    /// Reading, from memory that no cache holds.
    pub bytes_per_second: f64,
    /// Multiplications and additions of the kernels' narrowest type, in registers.
    pub operations_per_second: f64,
}

/// Measures for about a second; needs a gigabyte for that time.
pub fn limits(level: Level, pool: &rayon::ThreadPool) -> Limits {
    let threads = pool.current_num_threads();
    let (bytes_per_second, operations_per_second) = pool.install(|| (reading(threads), multiplying(level, threads)));
    Limits { threads, instructions: format!("{level:?}"), bytes_per_second, operations_per_second }
}

/// The best of some passes over a gigabyte.
fn reading(threads: usize) -> f64 {
    let words = vec![1u64; (1 << 27) / threads * threads];
    let pass = || {
        let begun = Instant::now();
        let sum: u64 = words.par_chunks(words.len() / threads).map(sum).sum();
        black_box(sum);
        (words.len() * 8) as f64 / begun.elapsed().as_secs_f64()
    };
    (0..5).map(|_| pass()).fold(0.0, f64::max)
}

fn sum(words: &[u64]) -> u64 {
    words.chunks(512).map(|c| c.iter().fold(0u64, |s, w| s ^ w)).fold(0, |s, w| s ^ w)
}

/// The best of some runs, operations a second over all threads.
fn multiplying(level: Level, threads: usize) -> f64 {
    const ROUNDS: usize = 1 << 20;
    let per_round = if super::vnni::spin(level, 1) > 0 { super::vnni::spin(level, 1) } else { FLOATS };
    let run = || {
        let begun = Instant::now();
        (0..threads).into_par_iter().for_each(|_| {
            if super::vnni::spin(level, ROUNDS) == 0 {
                floats(level, ROUNDS);
            }
        });
        (per_round * ROUNDS * threads) as f64 / begun.elapsed().as_secs_f64()
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}

/// Operations of one round: twelve vectors of sixteen.
const FLOATS: usize = 12 * 16 * 2;

by_level! {
    pub fn floats(rounds: usize) = floats_kernel
}

#[inline(always)]
unsafe fn floats_kernel<L: Lanes>(rounds: usize) {
    // SAFETY: the lanes' contract holds in a kernel.
    unsafe {
        let mut sums: [L; 12] = std::array::from_fn(|i| L::splat(i as f32));
        for _ in 0..rounds {
            let (a, b) = black_box((L::splat(0.5), L::splat(0.25)));
            sums.iter_mut().for_each(|s| *s = s.fma(a, b));
        }
        black_box(sums.iter().map(|s| s.sum()).sum::<f32>());
    }
}
