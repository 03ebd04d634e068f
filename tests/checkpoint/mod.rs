//! Helpers of the model's tests: the reference checkpoints, runs over shuffled blocks, and checkpoints rewritten as GGUF.
//!
//! ```ignore
//! let folder = tempfile::tempdir()?;
//! let file = gguf(&reference("lite"), folder.path(), Layout::Split, GgmlDType::Q8_0);
//! let mut model = Cpu::open(&file)?;
//! ```
#![allow(dead_code)]
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use infill::cache::BlockId;
use infill::model::cpu::Cpu;
use infill::model::{BLOCK, Backend};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub mod fp8;

/// The folder of one reference checkpoint.
pub fn reference(shape: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference").join(shape)
}

/// The tokens of a prompt of the reference.
pub fn prompt(shape: &str, name: &str) -> Vec<u32> {
    let path = reference(shape).join("reference.safetensors");
    let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let ids = all[&format!("{name}.ids")].to_vec1::<i64>().unwrap();
    ids.into_iter().map(|i| i as u32).collect()
}

/// A block table for `n` positions in no order, with gaps.
pub fn shuffled(n: usize) -> Vec<BlockId> {
    let blocks = n.div_ceil(BLOCK) as u32;
    (0..blocks).map(|i| BlockId((i * 37 + 11) % 101 + i / 101 * 101)).collect()
}

/// Fills the blocks of a table, and their neighbours, with NaN.
pub fn poison(model: &mut Cpu, table: &[BlockId]) {
    table.iter().for_each(|b| (0..2).for_each(|i| model.poison(BlockId(b.0 + i), 0)));
}

/// The logits of every position, with the prompt in chunks of `chunk`.
pub fn logits(model: &mut Cpu, table: &[BlockId], ids: &[u32], chunk: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for (i, piece) in ids.chunks(chunk).enumerate() {
        all.extend(model.forward(table, i * chunk, piece, piece.len()).unwrap());
    }
    all
}

/// The index of the largest logit of each row.
pub fn argmax(logits: &[f32], vocab: usize) -> Vec<usize> {
    let best = |row: &[f32]| (0..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b });
    logits.chunks_exact(vocab).map(best).collect()
}

/// The largest absolute difference; infinite where one is NaN.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let worse = |m: f32, d: f32| if d.is_nan() { f32::INFINITY } else { m.max(d) };
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
}

/// How a GGUF file holds the expansion of latents.
#[derive(Clone, Copy, PartialEq)]
pub enum Layout {
    /// attn_kv_b, as in files before llama.cpp's MLA cache.
    Joint,
    /// attn_k_b (transposed) and attn_v_b.
    Split,
}

/// Rewrites a reference checkpoint as GGUF, matrices in `dtype`, and returns the file.
pub fn gguf(from: &Path, to: &Path, layout: Layout, dtype: GgmlDType) -> PathBuf {
    write(from, to, layout, |t| QTensor::quantize(t, dtype).unwrap())
}

/// The same with the matrices rounded to `dtype`, but written in f32: what the format alone loses.
pub fn rounded(from: &Path, to: &Path, layout: Layout, dtype: GgmlDType) -> PathBuf {
    write(from, to, layout, |t| {
        let rounded = QTensor::quantize(t, dtype).unwrap().dequantize(&Device::Cpu).unwrap();
        QTensor::quantize(&rounded, GgmlDType::F32).unwrap()
    })
}

fn write(from: &Path, to: &Path, layout: Layout, quantise: impl Fn(&Tensor) -> QTensor) -> PathBuf {
    let text = std::fs::read_to_string(from.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let tensors = candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    let tensors: HashMap<_, _> = tensors.into_iter().map(|(k, v)| (k, v.to_dtype(DType::F32).unwrap())).collect();
    let mut out = Vec::new();
    rename(&config, &tensors, layout, |name: String, t: Tensor| {
        // Norms and routers stay in f32, as llama.cpp writes them, and so do rows that are not whole blocks.
        let exact = t.rank() == 1 || name.contains("ffn_gate_inp") || !t.dims().last().unwrap().is_multiple_of(32);
        let t = t.contiguous().unwrap();
        out.push((name, if exact { QTensor::quantize(&t, GgmlDType::F32).unwrap() } else { quantise(&t) }));
    });
    let path = to.join("model.gguf");
    let metadata = metadata(&config, layout);
    let metadata: Vec<_> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<_> = out.iter().map(|(k, v)| (k.as_str(), v)).collect();
    gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    path
}

fn metadata(config: &serde_json::Value, layout: Layout) -> Vec<(String, Value)> {
    let size = |key: &str| config[key].as_u64().unwrap() as u32;
    let (latent, rope) = (size("kv_lora_rank"), size("qk_rope_head_dim"));
    let (query, v) = (size("qk_nope_head_dim") + rope, size("v_head_dim"));
    let mut out = vec![
        ("general.architecture".into(), Value::String("deepseek2".into())),
        ("deepseek2.rope.scaling.type".into(), Value::String("yarn".into())),
    ];
    let mut float = |key: &str, x: f64| out.push((format!("deepseek2.{key}"), Value::F32(x as f32)));
    let scaling = &config["rope_scaling"];
    float("attention.layer_norm_rms_epsilon", config["rms_norm_eps"].as_f64().unwrap());
    float("rope.freq_base", config["rope_theta"].as_f64().unwrap());
    float("rope.scaling.factor", scaling["factor"].as_f64().unwrap());
    float("rope.scaling.yarn_log_multiplier", 0.1 * scaling["mscale_all_dim"].as_f64().unwrap());
    float("expert_weights_scale", config["routed_scaling_factor"].as_f64().unwrap());
    let mut put = |key: &str, n: u32| out.push((format!("deepseek2.{key}"), Value::U32(n)));
    put("rope.scaling.original_context_length", scaling["original_max_position_embeddings"].as_u64().unwrap() as u32);
    for (key, from) in [
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.kv_lora_rank", "kv_lora_rank"),
        ("rope.dimension_count", "qk_rope_head_dim"),
        ("vocab_size", "vocab_size"),
        ("leading_dense_block_count", "first_k_dense_replace"),
        ("expert_count", "n_routed_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_shared_count", "n_shared_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_group_count", "n_group"),
        ("expert_group_used_count", "topk_group"),
    ] {
        put(key, size(from));
    }
    if let Some(low) = config["q_lora_rank"].as_u64() {
        put("attention.q_lora_rank", low as u32);
    }
    match layout {
        Layout::Joint => [("attention.key_length", query), ("attention.value_length", v)].iter().for_each(|(k, n)| put(k, *n)),
        Layout::Split => [
            ("attention.key_length", latent + rope),
            ("attention.value_length", latent),
            ("attention.key_length_mla", query),
            ("attention.value_length_mla", v),
        ]
        .iter()
        .for_each(|(k, n)| put(k, *n)),
    }
    out
}

/// Calls `put` with every tensor under its name in GGUF.
fn rename(config: &serde_json::Value, tensors: &HashMap<String, Tensor>, layout: Layout, mut put: impl FnMut(String, Tensor)) {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let get = |name: &str| tensors[&format!("{name}.weight")].clone();
    for (from, to) in [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")] {
        put(format!("{to}.weight"), get(from));
    }
    for layer in 0..size("num_hidden_layers") {
        let from = format!("model.layers.{layer}");
        let to = |name: &str| format!("blk.{layer}.{name}.weight");
        for (hf, ggml) in [
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.q_a_proj", "attn_q_a"),
            ("self_attn.q_a_layernorm", "attn_q_a_norm"),
            ("self_attn.q_b_proj", "attn_q_b"),
            ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
            ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate", "ffn_gate_inp"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
            ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
            ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
        ] {
            if let Some(t) = tensors.get(&format!("{from}.{hf}.weight")) {
                put(to(ggml), t.clone());
            }
        }
        let kv_b = get(&format!("{from}.self_attn.kv_b_proj"));
        if layout == Layout::Joint {
            put(to("attn_kv_b"), kv_b);
        } else {
            let (nope, v) = (size("qk_nope_head_dim"), size("v_head_dim"));
            let heads = kv_b.reshape((size("num_attention_heads"), nope + v, size("kv_lora_rank"))).unwrap();
            put(to("attn_k_b"), heads.narrow(1, 0, nope).unwrap().transpose(1, 2).unwrap());
            put(to("attn_v_b"), heads.narrow(1, nope, v).unwrap());
        }
        for part in ["gate", "up", "down"] {
            let expert = |e: usize| tensors.get(&format!("{from}.mlp.experts.{e}.{part}_proj.weight"));
            let all: Vec<_> = (0..size("n_routed_experts")).filter_map(expert).collect();
            if !all.is_empty() {
                put(to(&format!("ffn_{part}_exps")), Tensor::stack(&all, 0).unwrap());
            }
        }
    }
}

/// Writes a folder of random weights whose rows are long enough for every block format, with nano's tokenizer.
/// Rows of 96 and 352 are not multiples of 256, as the published models' 1408 and 10944.
pub fn random(to: &Path) {
    const VOCAB: usize = 4096;
    let config = std::fs::read_to_string(reference("lite").join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    for (key, n) in [
        ("vocab_size", VOCAB),
        ("hidden_size", 256),
        ("intermediate_size", 352),
        ("moe_intermediate_size", 96),
        ("kv_lora_rank", 256),
        ("v_head_dim", 64),
    ] {
        config[key] = n.into();
    }
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (hidden, heads, latent, v) = (size("hidden_size"), size("num_attention_heads"), size("kv_lora_rank"), size("v_head_dim"));
    let (nope, rope) = (size("qk_nope_head_dim"), size("qk_rope_head_dim"));
    let mut shapes =
        vec![("model.embed_tokens".to_owned(), VOCAB, hidden), ("lm_head".into(), VOCAB, hidden), ("model.norm".into(), 1, hidden)];
    for layer in 0..size("num_hidden_layers") {
        let mut put = |name: &str, rows, cols| shapes.push((format!("model.layers.{layer}.{name}"), rows, cols));
        put("input_layernorm", 1, hidden);
        put("post_attention_layernorm", 1, hidden);
        put("self_attn.q_proj", heads * (nope + rope), hidden);
        put("self_attn.kv_a_proj_with_mqa", latent + rope, hidden);
        put("self_attn.kv_a_layernorm", 1, latent);
        put("self_attn.kv_b_proj", heads * (nope + v), latent);
        put("self_attn.o_proj", hidden, heads * v);
        let mut mlp = |name: &str, inner| {
            put(&format!("mlp.{name}gate_proj"), inner, hidden);
            put(&format!("mlp.{name}up_proj"), inner, hidden);
            put(&format!("mlp.{name}down_proj"), hidden, inner);
        };
        if layer == 0 {
            mlp("", size("intermediate_size"));
            continue;
        }
        (0..size("n_routed_experts")).for_each(|e| mlp(&format!("experts.{e}."), size("moe_intermediate_size")));
        mlp("shared_experts.", size("n_shared_experts") * size("moe_intermediate_size"));
        put("mlp.gate", size("n_routed_experts"), hidden);
    }
    let mut seed = 1u64;
    let mut tensors = HashMap::new();
    for (name, rows, cols) in shapes {
        // The sum of four uniform numbers is near enough to a normal one.
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (0..4).map(|i| f32::from((seed >> (16 * i)) as u16) / 65536.0 - 0.5).sum::<f32>() * 1.7
        };
        let std = if name.contains("embed") { 1.0 } else { (cols as f32).powf(-0.5) };
        let values: Vec<f32> = (0..rows * cols).map(|_| if rows == 1 { 1.0 } else { next() * std }).collect();
        let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
        tensors.insert(format!("{name}.weight"), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    candle_core::safetensors::save(&tensors, to.join("model.safetensors")).unwrap();
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nano/tokenizer.json");
    std::fs::copy(tokenizer, to.join("tokenizer.json")).unwrap();
}

/// Cuts a GGUF file into parts as llama.cpp's gguf-split does: the keys and the first tensors, then the rest.
pub fn split(file: &Path, parts: usize) -> Vec<PathBuf> {
    let mut from = std::fs::File::open(file).unwrap();
    let content = gguf_file::Content::read(&mut from).unwrap();
    let mut names: Vec<_> = content.tensor_infos.keys().cloned().collect();
    names.sort();
    let path = |i: usize| file.with_file_name(format!("part-{:05}-of-{parts:05}.gguf", i + 1));
    for (i, names) in names.chunks(names.len().div_ceil(parts)).enumerate() {
        let tensors: Vec<_> = names.iter().map(|n| (n.as_str(), content.tensor(&mut from, n, &Device::Cpu).unwrap())).collect();
        let tensors: Vec<_> = tensors.iter().map(|(n, t)| (*n, t)).collect();
        let (no, count) = (Value::U16(i as u16), Value::U16(parts as u16));
        let mut keys: Vec<_> = vec![("split.no", &no), ("split.count", &count)];
        keys.extend(content.metadata.iter().filter(|_| i == 0).map(|(k, v)| (k.as_str(), v)));
        gguf_file::write(&mut std::fs::File::create(path(i)).unwrap(), &keys, &tensors).unwrap();
    }
    (0..parts).map(path).collect()
}
