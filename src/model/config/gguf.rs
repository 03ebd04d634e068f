//! The `deepseek2` keys of a GGUF file.
//!
//! ```text
//! older: attention.key_length = nope + rope, value_length = v, tensors attn_kv_b
//! newer: attention.key_length_mla = nope + rope, value_length_mla = v, tensors attn_k_b and attn_v_b
//!        (attention.key_length is then the width of the latent, because llama.cpp caches that)
//! ```
use super::{Config, Yarn};
use crate::model::error::{ModelError, Result};
use crate::model::gguf::{Header, Value};

/// ggml's number for softmax routing; files older than the key have none.
const SOFTMAX: usize = 1;

/// Reads the configuration of a GGUF file.
///
/// # Errors
/// As [`super::from_json`].
pub fn from_gguf(header: &Header) -> Result<Config> {
    let architecture = header.text("general.architecture")?;
    if architecture != "deepseek2" {
        return Err(ModelError::Architecture { file: header.file.clone(), found: architecture });
    }
    let keys = Keys(header);
    keys.softmax_routing()?;
    let (query, v) = match keys.optional("attention.key_length_mla")? {
        Some(query) => (query, keys.size("attention.value_length_mla")?),
        None => (keys.size("attention.key_length")?, keys.size("attention.value_length")?),
    };
    let rope = keys.size("rope.dimension_count")?;
    let Some(nope) = query.checked_sub(rope) else {
        return Err(header.wrong("deepseek2.rope.dimension_count", format!("is {rope}, more than a key's {query}")));
    };
    Config {
        vocab: keys.vocabulary()?,
        hidden: keys.size("embedding_length")?,
        layers: keys.size("block_count")?,
        heads: keys.size("attention.head_count")?,
        kv_lora: keys.size("attention.kv_lora_rank")?,
        q_lora: keys.optional("attention.q_lora_rank")?.filter(|n| *n > 0),
        nope,
        rope,
        v,
        dense_ffn: keys.size("feed_forward_length")?,
        expert_ffn: keys.size("expert_feed_forward_length")?,
        experts: keys.size("expert_count")?,
        chosen: keys.size("expert_used_count")?,
        shared: keys.optional("expert_shared_count")?.unwrap_or(0),
        groups: keys.groups()?,
        normalise: keys.flag("expert_weights_norm"),
        scale: keys.number("expert_weights_scale", 1.0)? as f32,
        first_moe: keys.optional("leading_dense_block_count")?.unwrap_or(0),
        moe_every: 1,
        eps: keys.number("attention.layer_norm_rms_epsilon", 1e-6)? as f32,
        theta: keys.number("rope.freq_base", 10_000.0)?,
        context: keys.size("context_length")?,
        yarn: keys.yarn()?,
        tied: !header.tensors.contains_key("output.weight"),
    }
    .check(&header.file)
}

/// Looks keys up under the architecture's prefix.
struct Keys<'h, 'a>(&'h Header<'a>);

impl Keys<'_, '_> {
    fn size(&self, key: &str) -> Result<usize> {
        self.0.number(&format!("deepseek2.{key}"))
    }

    fn has(&self, key: &str) -> bool {
        self.0.metadata.contains_key(&format!("deepseek2.{key}"))
    }

    fn optional(&self, key: &str) -> Result<Option<usize>> {
        if self.has(key) { self.size(key).map(Some) } else { Ok(None) }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        if self.has(key) { self.0.float(&format!("deepseek2.{key}")) } else { Ok(default) }
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.0.metadata.get(&format!("deepseek2.{key}")), Some(Value::Bool(true)))
    }

    fn softmax_routing(&self) -> Result<()> {
        match self.optional("expert_gating_func")? {
            None | Some(0 | SOFTMAX) => Ok(()),
            Some(n) => {
                let problem = format!("is {n} (2 is DeepSeek-V3's sigmoid); DeepSeek-V2 routes by softmax");
                Err(self.0.wrong("deepseek2.expert_gating_func", problem))
            }
        }
    }

    fn vocabulary(&self) -> Result<usize> {
        if let Some(n) = self.optional("vocab_size")? {
            return Ok(n);
        }
        let embedding = self.0.tensors.get("token_embd.weight").and_then(|t| t.shape.first());
        let missing = || ModelError::tensor(&self.0.file, "token_embd.weight", "is missing");
        embedding.copied().ok_or_else(missing)
    }

    fn groups(&self) -> Result<Option<(usize, usize)>> {
        let count = self.optional("expert_group_count")?.filter(|n| *n > 1);
        count.map(|n| Ok((n, self.size("expert_group_used_count")?))).transpose()
    }

    /// As llama.cpp: without `yarn_log_multiplier` the softmax scale is plain, and cos and sin are never scaled.
    fn yarn(&self) -> Result<Option<Yarn>> {
        let key = "deepseek2.rope.scaling.type";
        let kind = if self.has("rope.scaling.type") { self.0.text(key)? } else { "none".into() };
        match kind.as_str() {
            "none" => return Ok(None),
            "yarn" => {}
            other => {
                return Err(self.0.wrong(key, format!("is {other:?}; \"yarn\" is supported")));
            }
        }
        Ok(Some(Yarn {
            factor: self.number("rope.scaling.factor", 1.0)?,
            original: self.size("rope.scaling.original_context_length")?,
            fast: self.number("rope.scaling.yarn_beta_fast", 32.0)?,
            slow: self.number("rope.scaling.yarn_beta_slow", 1.0)?,
            log_multiplier: self.number("rope.scaling.yarn_log_multiplier", 0.0)?,
            amplitude: 1.0,
        }))
    }
}
