//! config.json of a Hugging Face checkpoint.
//!
//! ```
//! let error = infill::model::config::from_json("config.json", r#"{"model_type": "llama"}"#).unwrap_err();
//! assert!(error.to_string().contains("llama"));
//! ```
use super::{Config, Yarn};
use crate::model::error::{ModelError, Result};
use serde::Deserialize;

fn one() -> usize {
    1
}

fn one_f() -> f32 {
    1.0
}

/// The keys that matter; the rest (initialisers, training) is passed over.
#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    moe_intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    kv_lora_rank: usize,
    q_lora_rank: Option<usize>,
    qk_nope_head_dim: usize,
    qk_rope_head_dim: usize,
    v_head_dim: usize,
    n_routed_experts: usize,
    num_experts_per_tok: usize,
    n_shared_experts: Option<usize>,
    #[serde(default)]
    first_k_dense_replace: usize,
    #[serde(default = "one")]
    moe_layer_freq: usize,
    #[serde(default = "one_f")]
    routed_scaling_factor: f32,
    topk_method: Option<String>,
    n_group: Option<usize>,
    topk_group: Option<usize>,
    norm_topk_prob: Option<bool>,
    scoring_func: Option<String>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    rms_norm_eps: f32,
    rope_theta: Option<f64>,
    max_position_embeddings: usize,
    rope_scaling: Option<Rope>,
    /// transformers 5 writes this in the place of `rope_theta` and `rope_scaling`.
    rope_parameters: Option<Rope>,
    #[serde(default)]
    tie_word_embeddings: bool,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(alias = "rope_type")]
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
}

/// Reads a config.json; `file` names it in errors.
///
/// # Errors
/// Another architecture, a missing key, a variant that is not implemented (sigmoid routing, biases), or sizes that
/// make no sense.
pub fn from_json(file: &str, text: &str) -> Result<Config> {
    let json = |e: serde_json::Error| ModelError::config(file, "config.json", format!("cannot be used ({e})"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(json)?;
    let kind = value["model_type"].as_str().or(value["architectures"][0].as_str()).unwrap_or("unnamed");
    if !matches!(kind, "deepseek_v2" | "DeepseekV2ForCausalLM") {
        return Err(ModelError::Architecture { file: file.into(), found: kind.into() });
    }
    // Two names for the same value would be a "duplicate field": some publishers write both `type` and `rope_type`.
    let raw: Raw = serde_json::from_value(without_twins(value)).map_err(json)?;
    raw.unsupported(file)?;
    raw.config(file)?.check(file)
}

fn without_twins(mut value: serde_json::Value) -> serde_json::Value {
    for key in ["rope_scaling", "rope_parameters"] {
        let rope = value.get_mut(key).and_then(|r| r.as_object_mut());
        if let Some(rope) = rope.filter(|r| r.contains_key("rope_type")) {
            rope.remove("type");
        }
    }
    value
}

impl Raw {
    fn unsupported(&self, file: &str) -> Result<()> {
        let wrong = |key: &str, found: String| Err(ModelError::config(file, key, format!("is {found}, which is not DeepSeek-V2's")));
        for (key, found, known) in [
            ("scoring_func", &self.scoring_func, &["softmax"][..]),
            ("hidden_act", &self.hidden_act, &["silu"]),
            ("topk_method", &self.topk_method, &["greedy", "group_limited_greedy"]),
        ] {
            if let Some(found) = found.as_deref().filter(|f| !known.contains(f)) {
                return wrong(key, format!("{found:?}"));
            }
        }
        for (key, bias) in [("attention_bias", self.attention_bias), ("mlp_bias", self.mlp_bias)] {
            if bias == Some(true) {
                return wrong(key, "true".into());
            }
        }
        Ok(())
    }

    fn config(&self, file: &str) -> Result<Config> {
        let normalise = self.norm_topk_prob.unwrap_or(false) && self.num_experts_per_tok > 1;
        let theta = self.rope_parameters.as_ref().and_then(|r| r.rope_theta).or(self.rope_theta);
        Ok(Config {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            kv_lora: self.kv_lora_rank,
            q_lora: self.q_lora_rank,
            nope: self.qk_nope_head_dim,
            rope: self.qk_rope_head_dim,
            v: self.v_head_dim,
            dense_ffn: self.intermediate_size,
            expert_ffn: self.moe_intermediate_size,
            experts: self.n_routed_experts,
            chosen: self.num_experts_per_tok,
            shared: self.n_shared_experts.unwrap_or(0),
            groups: self.groups(file)?,
            normalise,
            // DeepSeek's own code scales only the weights that it does not normalise.
            scale: if normalise { 1.0 } else { self.routed_scaling_factor },
            first_moe: self.first_k_dense_replace,
            moe_every: self.moe_layer_freq,
            eps: self.rms_norm_eps,
            theta: theta.unwrap_or(10_000.0),
            context: self.max_position_embeddings,
            yarn: self.yarn(file)?,
            tied: self.tie_word_embeddings,
        })
    }

    fn groups(&self, file: &str) -> Result<Option<(usize, usize)>> {
        if self.topk_method.as_deref() != Some("group_limited_greedy") {
            return Ok(None);
        }
        match (self.n_group, self.topk_group) {
            (Some(groups), Some(used)) => Ok(Some((groups, used))),
            _ => Err(ModelError::config(file, "n_group or topk_group", "is missing")),
        }
    }

    fn yarn(&self, file: &str) -> Result<Option<Yarn>> {
        let Some(rope) = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()) else {
            return Ok(None);
        };
        match rope.r#type.as_deref() {
            None | Some("default") => Ok(None),
            Some("yarn") => rope.yarn(file).map(Some),
            Some(other) => Err(ModelError::config(file, "rope_scaling", format!("is {other:?}; \"yarn\" is supported"))),
        }
    }
}

impl Rope {
    /// As `_compute_yarn_parameters` and `yarn_apply_mscale` of transformers 5.23: zero counts as absent.
    fn yarn(&self, file: &str) -> Result<Yarn> {
        let missing = |key: &str| ModelError::config(file, key, "is missing");
        let factor = self.factor.ok_or_else(|| missing("rope_scaling.factor"))?;
        let original = self.original_max_position_embeddings;
        let mscale = |m: f64| {
            if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
        };
        let all = self.mscale_all_dim.unwrap_or(0.0);
        let one = self.mscale.unwrap_or(0.0);
        let ratio = if one != 0.0 && all != 0.0 { mscale(one) / mscale(all) } else { mscale(1.0) };
        Ok(Yarn {
            factor,
            original: original.ok_or_else(|| missing("rope_scaling.original_max_position_embeddings"))?,
            fast: self.beta_fast.filter(|b| *b != 0.0).unwrap_or(32.0),
            slow: self.beta_slow.filter(|b| *b != 0.0).unwrap_or(1.0),
            log_multiplier: 0.1 * all,
            amplitude: self.attention_factor.unwrap_or(ratio),
        })
    }
}
