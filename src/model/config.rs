//! The shape of a DeepSeek-V2 model, from Hugging Face's config.json or from GGUF metadata.
//!
//! ```
//! use infill::model::config::Yarn;
//! // DeepSeek-Coder-V2-Lite: YaRN ×40 from 4096, mscale_all_dim 0.707.
//! let yarn = Yarn { factor: 40.0, original: 4096, fast: 32.0, slow: 1.0, log_multiplier: 0.0707, amplitude: 1.0 };
//! assert!((yarn.mscale() - 1.2608).abs() < 1e-4);
//! ```
//! Sources: `modeling_deepseek_v2.py` and `_compute_yarn_parameters` of transformers 5.23; llama.cpp's `deepseek2` keys.
use super::error::{ModelError, Result};

mod gguf;
mod hugging_face;
pub use gguf::from_gguf;
pub use hugging_face::from_json;

/// The shape of a model. Sizes are counts of elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width of the shared latent that keys and values are expanded from.
    pub kv_lora: usize,
    /// Width of the query's low rank; none: one full matrix.
    pub q_lora: Option<usize>,
    /// Per head: the part of query and key without positions, the rotated part, and the value.
    pub nope: usize,
    pub rope: usize,
    pub v: usize,
    /// Inner width of the dense layers, and of one expert.
    pub dense_ffn: usize,
    pub expert_ffn: usize,
    /// Routed experts, how many a token is sent to, and experts that see every token.
    pub experts: usize,
    pub chosen: usize,
    pub shared: usize,
    /// Group-limited routing: groups, and groups a token may use. `None`: greedy over all experts.
    pub groups: Option<(usize, usize)>,
    /// The weights of the chosen experts are divided by their sum, then multiplied by `scale`.
    pub normalise: bool,
    pub scale: f32,
    /// Layers before this one are dense; from there on every `moe_every`-th is a mixture.
    pub first_moe: usize,
    pub moe_every: usize,
    pub eps: f32,
    pub theta: f64,
    /// Most positions of one sequence.
    pub context: usize,
    pub yarn: Option<Yarn>,
    /// The output matrix is the embedding.
    pub tied: bool,
}

/// YaRN (arXiv 2309.00071) as DeepSeek uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    pub factor: f64,
    /// Positions of the model before it was stretched.
    pub original: usize,
    /// Rotations over `original` above which a frequency stays, and below which it is divided by `factor`.
    pub fast: f64,
    pub slow: f64,
    /// 0.1 · mscale_all_dim.
    pub log_multiplier: f64,
    /// What cos and sin are multiplied by.
    pub amplitude: f64,
}

impl Yarn {
    /// m = log_multiplier · ln(factor) + 1; the softmax scale is multiplied by m².
    pub fn mscale(&self) -> f64 {
        if self.factor <= 1.0 { 1.0 } else { self.log_multiplier * self.factor.ln() + 1.0 }
    }

    /// How far frequency `i` of `n` is interpolated: 0 kept, 1 divided by the factor.
    fn ramp(&self, i: usize, n: usize, theta: f64) -> f32 {
        let dim = (2 * n) as f64;
        let turn = |rotations: f64| dim * (self.original as f64 / (rotations * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
        let (low, mut high) = (turn(self.fast).floor().max(0.0), turn(self.slow).ceil().min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        ((i as f64 - low) / (high - low)).clamp(0.0, 1.0) as f32
    }
}

impl Config {
    /// Values cached per position and layer: the latent and the rotated key.
    pub fn latent(&self) -> usize {
        self.kv_lora + self.rope
    }

    /// Width of one head's query.
    pub fn query(&self) -> usize {
        self.nope + self.rope
    }

    /// Whether layer `layer` is a mixture of experts.
    pub fn is_moe(&self, layer: usize) -> bool {
        layer >= self.first_moe && layer.is_multiple_of(self.moe_every)
    }

    /// What scores are multiplied by before the softmax: (nope + rope)^-½ · m².
    pub fn softmax_scale(&self) -> f32 {
        let m = self.yarn.as_ref().map_or(1.0, Yarn::mscale);
        ((self.query() as f64).powf(-0.5) * m * m) as f32
    }

    /// Radians per position of each rotated pair, `[rope / 2]`.
    pub fn frequencies(&self) -> Vec<f32> {
        let n = self.rope / 2;
        let frequency = |i: usize| {
            let period = (self.theta as f32).powf((2 * i) as f32 / self.rope as f32);
            let Some(yarn) = &self.yarn else {
                return 1.0 / period;
            };
            let keep = 1.0 - yarn.ramp(i, n, self.theta);
            1.0 / (yarn.factor as f32 * period) * (1.0 - keep) + 1.0 / period * keep
        };
        (0..n).map(frequency).collect()
    }

    /// What cos and sin are multiplied by.
    pub fn amplitude(&self) -> f32 {
        self.yarn.as_ref().map_or(1.0, |y| y.amplitude as f32)
    }

    /// Checks that sizes are positive, bounded (so that products of two fit) and agree with each other.
    pub(crate) fn check(self, file: &str) -> Result<Self> {
        let wrong = |key: &str, problem: String| Err(ModelError::config(file, key, problem));
        for (key, size, most) in self.sizes() {
            if size == 0 || size > most {
                return wrong(key, format!("is {size}; 1 to {most} makes sense"));
            }
        }
        if !self.rope.is_multiple_of(2) {
            return wrong("the rotated width", format!("is {}, which is odd", self.rope));
        }
        if self.chosen > self.experts || self.shared > 1 << 10 || self.first_moe > 1 << 16 {
            return wrong("the number of experts", format!("is {}, fewer than the {} chosen", self.experts, self.chosen));
        }
        self.check_groups(file)?;
        self.check_numbers(file)?;
        Ok(self)
    }

    fn sizes(&self) -> [(&'static str, usize, usize); 15] {
        [
            ("the vocabulary", self.vocab, 1 << 24),
            ("the hidden width", self.hidden, 1 << 20),
            ("the number of layers", self.layers, 1 << 12),
            ("the number of heads", self.heads, 1 << 12),
            ("kv_lora_rank", self.kv_lora, 1 << 16),
            ("q_lora_rank", self.q_lora.unwrap_or(1), 1 << 20),
            ("the unrotated width", self.nope, 1 << 14),
            ("the rotated width", self.rope, 1 << 14),
            ("the value width", self.v, 1 << 14),
            ("the dense inner width", self.dense_ffn, 1 << 22),
            ("the expert's inner width", self.expert_ffn, 1 << 20),
            ("the number of experts", self.experts, 1 << 14),
            ("the number of chosen experts", self.chosen, 1 << 14),
            ("moe_layer_freq", self.moe_every, 1 << 12),
            ("the context length", self.context, 1 << 30),
        ]
    }

    fn check_groups(&self, file: &str) -> Result<()> {
        let Some((groups, used)) = self.groups else {
            return Ok(());
        };
        let fits = groups > 0 && self.experts.is_multiple_of(groups) && (1..=groups).contains(&used);
        if fits && self.chosen <= self.experts / groups * used {
            return Ok(());
        }
        let problem = format!("({groups} groups, {used} used) do not suit {} experts of which {} are chosen", self.experts, self.chosen);
        Err(ModelError::config(file, "the expert groups", problem))
    }

    fn check_numbers(&self, file: &str) -> Result<()> {
        let wrong = |key: &str, x: f64| Err(ModelError::config(file, key, format!("is {x}")));
        if !(self.eps > 0.0 && self.eps < 1.0) {
            return wrong("the norm's epsilon", f64::from(self.eps));
        }
        if !(self.theta > 1.0 && self.theta.is_finite()) {
            return wrong("rope_theta", self.theta);
        }
        if !self.scale.is_finite() {
            return wrong("the routed scaling factor", f64::from(self.scale));
        }
        let Some(yarn) = &self.yarn else {
            return Ok(());
        };
        let sane = |x: f64| x.is_finite() && x > 0.0;
        if !(sane(yarn.factor) && sane(yarn.fast) && sane(yarn.slow) && sane(yarn.mscale()) && sane(yarn.amplitude)) {
            return wrong("the YaRN scaling", yarn.factor);
        }
        if yarn.original == 0 {
            return wrong("YaRN's original context", 0.0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
