//! The keys of a GGUF file, as bytes.
//!
//! ```text
//! count: u64 | "deepseek2.block_count" u32 27 | "tokenizer.ggml.tokens" [text] … | …
//! ```
use super::Target;
use super::words::Words;
use crate::model::config::Config;
use anyhow::{Result, ensure};
use std::path::Path;

/// GGUF's numbers of types.
mod kind {
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const TEXT: u32 = 8;
    pub const LIST: u32 = 9;
}

/// A text with its length.
pub fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.bytes());
}

#[derive(Default)]
struct Keys {
    count: u64,
    bytes: Vec<u8>,
}

impl Keys {
    fn put(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
    }

    fn number(&mut self, key: &str, value: usize) {
        self.put(key, kind::U32, &u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f64) {
        self.put(key, kind::F32, &(value as f32).to_le_bytes());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.put(key, kind::BOOL, &[value.into()]);
    }

    fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.put(key, kind::TEXT, &bytes);
    }

    fn list(&mut self, key: &str, kind: u32, count: usize, values: &[u8]) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(values);
        self.put(key, kind::LIST, &bytes);
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let mut bytes = Vec::new();
        values.iter().for_each(|v| text(&mut bytes, v));
        self.list(key, kind::TEXT, values.len(), &bytes);
    }
}

/// The count and all keys, as they stand in the file.
///
/// # Errors
/// A model whose rotation is scaled, which no key can say.
pub fn all(folder: &Path, config: &Config, target: Target, words: &Words) -> Result<Vec<u8>> {
    let mut keys = Keys::default();
    let name = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_string_lossy().into_owned()));
    keys.text("general.architecture", "deepseek2");
    keys.text("general.type", "model");
    keys.text("general.name", name.as_deref().unwrap_or("DeepSeek-V2"));
    keys.number("general.file_type", if target == Target::Q8_0 { 7 } else { 15 });
    keys.number("general.quantization_version", 2);
    shape(&mut keys, config);
    rotation(&mut keys, config)?;
    tokenizer(&mut keys, words);
    let mut out = keys.count.to_le_bytes().to_vec();
    out.extend(keys.bytes);
    Ok(out)
}

fn shape(keys: &mut Keys, c: &Config) {
    let mut number = |key: &str, n: usize| keys.number(&format!("deepseek2.{key}"), n);
    number("block_count", c.layers);
    number("context_length", c.context);
    number("embedding_length", c.hidden);
    number("feed_forward_length", c.dense_ffn);
    number("attention.head_count", c.heads);
    // llama.cpp caches the latent, as one head that all queries share.
    number("attention.head_count_kv", 1);
    number("attention.key_length", c.latent());
    number("attention.value_length", c.kv_lora);
    number("attention.key_length_mla", c.query());
    number("attention.value_length_mla", c.v);
    number("attention.kv_lora_rank", c.kv_lora);
    number("rope.dimension_count", c.rope);
    number("vocab_size", c.vocab);
    number("leading_dense_block_count", c.first_moe);
    number("expert_count", c.experts);
    number("expert_used_count", c.chosen);
    number("expert_shared_count", c.shared);
    number("expert_feed_forward_length", c.expert_ffn);
    // Softmax.
    number("expert_gating_func", 1);
    if let Some(low) = c.q_lora {
        number("attention.q_lora_rank", low);
    }
    if let Some((groups, used)) = c.groups {
        number("expert_group_count", groups);
        number("expert_group_used_count", used);
    }
    keys.float("deepseek2.attention.layer_norm_rms_epsilon", f64::from(c.eps));
    keys.float("deepseek2.expert_weights_scale", f64::from(c.scale));
    keys.flag("deepseek2.expert_weights_norm", c.normalise);
}

fn rotation(keys: &mut Keys, c: &Config) -> Result<()> {
    keys.float("deepseek2.rope.freq_base", c.theta);
    let Some(yarn) = &c.yarn else {
        return Ok(());
    };
    ensure!((yarn.amplitude - 1.0).abs() < 1e-6, "config.json: mscale and mscale_all_dim differ, which a GGUF file cannot say");
    keys.text("deepseek2.rope.scaling.type", "yarn");
    keys.float("deepseek2.rope.scaling.factor", yarn.factor);
    keys.number("deepseek2.rope.scaling.original_context_length", yarn.original);
    keys.float("deepseek2.rope.scaling.yarn_log_multiplier", yarn.log_multiplier);
    keys.float("deepseek2.rope.scaling.yarn_beta_fast", yarn.fast);
    keys.float("deepseek2.rope.scaling.yarn_beta_slow", yarn.slow);
    Ok(())
}

fn tokenizer(keys: &mut Keys, w: &Words) {
    keys.text("tokenizer.ggml.model", "gpt2");
    keys.text("tokenizer.ggml.pre", "deepseek-llm");
    keys.texts("tokenizer.ggml.tokens", &w.tokens);
    let kinds: Vec<u8> = w.kinds.iter().flat_map(|k| k.to_le_bytes()).collect();
    keys.list("tokenizer.ggml.token_type", kind::I32, w.kinds.len(), &kinds);
    keys.texts("tokenizer.ggml.merges", &w.merges);
    for (key, id) in
        [("bos", w.bos), ("eos", w.eos), ("padding", w.eos), ("fim_pre", w.fim_begin), ("fim_suf", w.fim_hole), ("fim_mid", w.fim_end)]
    {
        keys.number(&format!("tokenizer.ggml.{key}_token_id"), id as usize);
    }
    keys.flag("tokenizer.ggml.add_bos_token", true);
    keys.flag("tokenizer.ggml.add_eos_token", false);
}
