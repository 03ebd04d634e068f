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

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
        file.tensor(name).unwrap().data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// Up to the last position of the published 128k, against transformers.
    #[test]
    fn far_positions_turn_as_in_transformers() {
        let text = include_str!("../../../fixtures/reference/lite/config.json");
        let mut rope = Rope::new(&crate::model::config::from_json("config.json", text).unwrap());
        let file = SafeTensors::deserialize(include_bytes!("../../../fixtures/reference/lite/positions.safetensors")).unwrap();
        let at = file.tensor("turns.at").unwrap();
        let at: Vec<usize> = at.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect();
        assert_eq!(at.last(), Some(&131_071));
        let (cos, sin) = (floats(&file, "turns.cos"), floats(&file, "turns.sin"));
        let pairs = rope.frequencies.len();
        for (i, position) in at.into_iter().enumerate() {
            rope.prepare(position, 1);
            for (j, (c, s)) in rope.turns.iter().enumerate() {
                let (c, s) = ((c - cos[i * pairs + j]).abs(), (s - sin[i * pairs + j]).abs());
                // Half a step of the angle itself, in f32, is 0.004 at the far end: both must round alike.
                assert!(c < 1e-4 && s < 1e-4, "position {position}, pair {j}: {c:.1e} {s:.1e}");
            }
        }
    }
}
