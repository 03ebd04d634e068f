//! Elementwise work in f32: norms, softmax, SiLU.
//!
//! ```text
//! softmax([1, 2, 3] · scale) -> [0.09, 0.24, 0.67]
//! ```
//! One element's result depends on the row it is in and on nothing else.
use super::lanes::{LANES, Lanes, by_level};

/// e^x for sixteen values, to about 1 ulp; below -87 it is the smallest normal number rather than 0.
/// The polynomial is Cephes' `expf`.
#[inline(always)]
fn exp(x: [f32; LANES]) -> [f32; LANES] {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that n · ln 2 is exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 · 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    std::array::from_fn(|i| {
        let x = x[i].clamp(-87.0, 88.0);
        let n = (x * LOG2_E + ROUND) - ROUND;
        let r = x - n * HIGH - n * LOW;
        let p = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
        let p = p.iter().fold(1.987_569_1e-4, |s, c| s * r + c);
        (p * r * r + r + 1.0) * f32::from_bits(((n as i32 + 127) << 23) as u32)
    })
}

/// Calls `f` on sixteen values at a time; the last ones are padded with `pad`.
#[inline(always)]
fn sixteen(x: &mut [f32], pad: f32, mut f: impl FnMut([f32; LANES]) -> [f32; LANES]) {
    let mut whole = x.chunks_exact_mut(LANES);
    for chunk in &mut whole {
        let values: [f32; LANES] = std::array::from_fn(|i| chunk[i]);
        chunk.copy_from_slice(&f(values));
    }
    let rest = whole.into_remainder();
    if !rest.is_empty() {
        let values = f(std::array::from_fn(|i| *rest.get(i).unwrap_or(&pad)));
        rest.iter_mut().zip(values).for_each(|(r, v)| *r = v);
    }
}

by_level! {
    /// x = softmax(scale · x). An empty row stays empty.
    pub fn softmax(x: &mut [f32], scale: f32) = softmax_kernel
}

#[inline(always)]
unsafe fn softmax_kernel<L: Lanes>(x: &mut [f32], scale: f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    // `max` passes NaN over, but its exponential is NaN, and with it the sum and the whole row.
    sixteen(x, f32::NEG_INFINITY, |v| {
        (0..LANES).for_each(|i| most[i] = most[i].max(v[i] * scale));
        v
    });
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    let mut left = x.len();
    sixteen(x, f32::NEG_INFINITY, |v| {
        let e = exp(std::array::from_fn(|i| v[i] * scale - most));
        (0..LANES).for_each(|i| sums[i] += if i < left { e[i] } else { 0.0 });
        left = left.saturating_sub(LANES);
        e
    });
    // SAFETY: `sums` holds sixteen values.
    let inverse = 1.0 / unsafe { L::load(sums.as_ptr()).sum() };
    x.iter_mut().for_each(|x| *x *= inverse);
}

by_level! {
    /// gate = silu(gate) · up, elementwise; silu(x) = x / (1 + e^-x).
    pub fn silu(gate: &mut [f32], up: &[f32]) = silu_kernel
}

#[inline(always)]
unsafe fn silu_kernel<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    sixteen(gate, 0.0, |x| {
        let e = exp(x.map(|x| -x));
        std::array::from_fn(|i| x[i] / (1.0 + e[i]))
    });
    gate.iter_mut().zip(up).for_each(|(g, u)| *g *= u);
}

by_level! {
    /// out = weight · x / √(mean(x²) + eps)
    pub fn norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = norm_kernel
}

#[inline(always)]
unsafe fn norm_kernel<L: Lanes>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut sums = [0.0; LANES];
    for chunk in x.chunks(LANES) {
        chunk.iter().zip(&mut sums).for_each(|(x, s)| *s += x * x);
    }
    // SAFETY: `sums` holds sixteen values.
    let mean = unsafe { L::load(sums.as_ptr()).sum() } / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    out.iter_mut().zip(x).zip(weight).for_each(|((o, x), w)| *o = w * (x * scale));
}

by_level! {
    /// out += factor · x
    pub fn add(out: &mut [f32], x: &[f32], factor: f32) = add_kernel
}

#[inline(always)]
unsafe fn add_kernel<L: Lanes>(out: &mut [f32], x: &[f32], factor: f32) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o += factor * x);
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Level;
    use super::*;

    #[test]
    fn exp_is_near_the_library() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (got, want) = (exp([x; LANES])[3], x.exp());
            assert!((got / want - 1.0).abs() < 3e-7, "exp({x}) = {got}, not {want}");
        }
    }

    #[test]
    fn softmax_sums_to_one_and_keeps_nan() {
        for level in Level::available() {
            let mut x: Vec<f32> = (0..37).map(|i| (i * i % 11) as f32).collect();
            let want: Vec<f64> = x.iter().map(|x| f64::from(x * 0.5).exp()).collect();
            softmax(level, &mut x, 0.5);
            let total: f64 = want.iter().sum();
            x.iter().zip(want).for_each(|(x, w)| assert!((f64::from(*x) - w / total).abs() < 1e-7));
            let mut x = vec![1.0, f32::NAN, 2.0];
            softmax(level, &mut x, 1.0);
            assert!(x.iter().all(|x| x.is_nan()));
        }
    }

    #[test]
    fn silu_and_norm_are_what_they_say() {
        for level in Level::available() {
            let (mut gate, up) = ((0..21).map(|i| i as f32 - 10.0).collect::<Vec<_>>(), vec![2.0; 21]);
            let x = gate.clone();
            silu(level, &mut gate, &up);
            x.iter().zip(&gate).for_each(|(x, g)| assert!((2.0 * x / (1.0 + (-x).exp()) - g).abs() < 1e-6));
            let mut out = vec![0.0; 21];
            norm(level, &x, &up, 1e-6, &mut out);
            let rms = (x.iter().map(|x| x * x).sum::<f32>() / 21.0 + 1e-6).sqrt();
            x.iter().zip(&out).for_each(|(x, o)| assert!((2.0 * x / rms - o).abs() < 1e-5));
        }
    }
}
