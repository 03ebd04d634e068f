//! Rotary positions on interleaved pairs.
//!
//! ```text
//! (x[2i], x[2i+1]) · e^(j · position · frequency[i]), scaled by the amplitude (1 for the published models)
//! ```
use crate::model::config::Config;

/// cos and sin for the positions of one forward pass.
pub struct Rope {
    frequencies: Vec<f32>,
    amplitude: f32,
    /// `[positions, rope / 2]` pairs.
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// For the rotated width of `config`.
    pub fn new(config: &Config) -> Self {
        Self { frequencies: config.frequencies(), amplitude: config.amplitude(), turns: Vec::new() }
    }

    /// Computes the turns of positions `start..start + n`.
    pub fn prepare(&mut self, start: usize, n: usize) {
        self.turns.clear();
        for position in start..start + n {
            self.turns.extend(self.frequencies.iter().map(|f| {
                let (sin, cos) = (position as f32 * f).sin_cos();
                (cos * self.amplitude, sin * self.amplitude)
            }));
        }
    }

    /// Rotates `x`, `[rope]`, to the `i`-th position prepared.
    pub fn turn(&self, i: usize, x: &mut [f32]) {
        let n = self.frequencies.len();
        for (pair, (cos, sin)) in x.chunks_exact_mut(2).zip(&self.turns[i * n..(i + 1) * n]) {
            let (a, b) = (pair[0], pair[1]);
            (pair[0], pair[1]) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
}
