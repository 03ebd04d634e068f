//! The published shape, the arithmetic of YaRN, and configurations that must be refused.
use super::*;
use serde_json::{Value, json};

/// DeepSeek-Coder-V2-Lite's config.json, in what matters.
fn lite() -> Value {
    json!({
        "model_type": "deepseek_v2", "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944,
        "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16, "kv_lora_rank": 512,
        "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2, "first_k_dense_replace": 1,
        "moe_layer_freq": 1, "routed_scaling_factor": 1.0, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
        "norm_topk_prob": false, "scoring_func": "softmax", "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "rope_theta": 10000, "max_position_embeddings": 163840,
        "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
            "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707}
    })
}

fn read(value: &Value) -> Result<Config> {
    from_json("config.json", &value.to_string())
}

#[test]
fn lite_is_read() {
    let config = read(&lite()).unwrap();
    assert_eq!((config.latent(), config.query(), config.groups), (576, 192, None));
    assert!(!config.is_moe(0) && config.is_moe(1));
    let scale = 1.5896 / 192f32.sqrt();
    assert!((config.softmax_scale() - scale).abs() < 1e-5, "{}", config.softmax_scale());
    assert_eq!(config.amplitude(), 1.0);
}

#[test]
fn yarn_keeps_fast_frequencies_and_slows_slow_ones() {
    let mut plain = lite();
    plain["rope_scaling"] = Value::Null;
    let (with, without) = (read(&lite()).unwrap().frequencies(), read(&plain).unwrap().frequencies());
    assert_eq!(with.len(), 32);
    assert_eq!(with[0], without[0]);
    assert!((with[31] * 40.0 / without[31] - 1.0).abs() < 1e-6);
    assert!(with[16] < without[16] && with[16] > without[16] / 40.0);
}

#[test]
fn different_mscales_scale_the_rotation() {
    let mut value = lite();
    value["rope_scaling"]["mscale"] = json!(1.0);
    let want = (0.1 * 40f32.ln() + 1.0) / (0.0707 * 40f32.ln() + 1.0);
    assert!((read(&value).unwrap().amplitude() - want).abs() < 1e-6);
}

#[test]
fn both_spellings_of_the_type_are_accepted() {
    let mut value = lite();
    value["rope_scaling"]["rope_type"] = json!("yarn");
    assert_eq!(read(&value).unwrap(), read(&lite()).unwrap());
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    for (key, bad, named) in [
        ("model_type", json!("llama"), "llama"),
        ("model_type", json!("deepseek_v3"), "deepseek_v3"),
        ("scoring_func", json!("sigmoid"), "sigmoid"),
        ("attention_bias", json!(true), "attention_bias"),
        ("topk_method", json!("noaux_tc"), "noaux_tc"),
        ("hidden_size", json!(0), "hidden"),
        ("vocab_size", json!(u64::MAX), "vocabulary"),
        ("num_experts_per_tok", json!(65), "experts"),
        ("qk_rope_head_dim", json!(63), "rotated"),
        ("hidden_size", json!("2048"), "string"),
        ("rms_norm_eps", json!(-1.0), "epsilon"),
    ] {
        let mut value = lite();
        value[key] = bad;
        let error = read(&value).unwrap_err().to_string();
        assert!(error.contains(named), "{key}: {error}");
    }
    let mut value = lite();
    value["topk_method"] = json!("group_limited_greedy");
    value["n_group"] = json!(7);
    assert!(read(&value).unwrap_err().to_string().contains("7 groups"));
}
