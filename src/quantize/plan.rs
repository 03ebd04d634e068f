//! Which tensors a GGUF file of a model holds: names, shapes, types, and where their rows come from.
//!
//! ```text
//! blk.3.ffn_down_exps.weight [64, 2048, 1408] Q5_0   from mlp.experts.0.down_proj … mlp.experts.63.down_proj
//! blk.3.attn_k_b.weight      [16, 512, 128]   Q5_0   from the first 128 rows of each head of kv_b_proj, transposed
//! ```
use super::Target;
use crate::model::config::Config;
use crate::model::matrix::{Format, Matrix};
use crate::model::store::Store;
use anyhow::{Result, ensure};

/// One tensor of the file. The shape has the fastest dimension last.
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub format: Format,
    pub source: Source,
}

/// Where rows come from, as names of the folder's tensors.
pub enum Source {
    Vector(String, usize),
    /// Matrices of `rows` × `cols` one after the other.
    Matrices(Vec<String>, usize, usize),
    /// Of `kv_b`: for each head a part of its rows, transposed or not.
    Heads {
        name: String,
        config: Box<Config>,
        keys: bool,
    },
}

impl Tensor {
    pub fn bytes(&self) -> u64 {
        let (last, rest) = self.shape.split_last().map_or((0, &[][..]), |(l, r)| (*l, r));
        (self.format.row_bytes(last).unwrap_or(0) * rest.iter().product::<usize>()) as u64
    }
}

impl Source {
    /// Calls `f` with the rows, in order.
    pub fn each(&self, store: &Store, mut f: impl FnMut(&Matrix) -> Result<()>) -> Result<()> {
        match self {
            Self::Vector(name, n) => f(&Matrix::of_f32(1, *n, &store.vector(name, *n)?)),
            Self::Matrices(names, rows, cols) => names.iter().try_for_each(|name| f(&store.matrix(name, *rows, *cols)?)),
            Self::Heads { name, config: c, keys } => {
                let each = c.nope + c.v;
                let all = store.matrix(name, c.heads * each, c.kv_lora)?;
                (0..c.heads).try_for_each(|h| match keys {
                    true => f(&transposed(&all.part(h * each, c.nope))),
                    false => f(&all.part(h * each + c.nope, c.v)),
                })
            }
        }
    }
}

fn transposed(m: &Matrix) -> Matrix {
    let from = m.to_f32();
    let from = from.values::<f32>();
    let values: Vec<f32> = (0..m.rows * m.cols).map(|i| from[i % m.rows * m.cols + i / m.rows]).collect();
    Matrix::of_f32(m.cols, m.rows, &values)
}

/// All tensors, in llama.cpp's order. Every one is there and of its shape, or this is an error.
pub fn tensors(store: &Store, config: &Config, target: Target) -> Result<Vec<Tensor>> {
    ensure!(config.moe_every == 1, "{}: has layers without experts in between, which a GGUF file cannot say", store.name);
    let mut plan = Plan { config, target, out: Vec::new() };
    plan.matrix("token_embd", 0, "model.embed_tokens", config.vocab, config.hidden);
    plan.vector("output_norm", "model.norm", config.hidden);
    if !config.tied {
        plan.matrix("output", 0, "lm_head", config.vocab, config.hidden);
    }
    (0..config.layers).for_each(|i| plan.layer(i));
    // What is missing is said before gigabytes are written.
    plan.out.iter().try_for_each(|t| t.source.each(store, |_| Ok(())))?;
    Ok(plan.out)
}

struct Plan<'a> {
    config: &'a Config,
    target: Target,
    out: Vec<Tensor>,
}

impl Plan<'_> {
    fn put(&mut self, name: &str, layer: usize, shape: Vec<usize>, source: Source) {
        let format = if shape.len() == 1 { Format::F32 } else { self.format(name, layer, shape.last().copied().unwrap_or(0)) };
        self.out.push(Tensor { name: format!("{name}.weight"), shape, format, source });
    }

    fn vector(&mut self, name: &str, from: &str, n: usize) {
        self.put(name, 0, vec![n], Source::Vector(format!("{from}.weight"), n));
    }

    fn matrix(&mut self, name: &str, layer: usize, from: &str, rows: usize, cols: usize) {
        self.put(name, layer, vec![rows, cols], Source::Matrices(vec![format!("{from}.weight")], rows, cols));
    }

    /// llama.cpp's mix: better types for the head and, in some layers, for what comes down; smaller blocks where a row is not a
    /// multiple of 256.
    fn format(&self, name: &str, layer: usize, cols: usize) -> Format {
        let (layers, eighth) = (self.config.layers, self.config.layers / 8);
        let better = name.contains("ffn_down") && (layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2);
        if name.contains("ffn_gate_inp") || !cols.is_multiple_of(32) {
            return Format::F32;
        }
        let head = name == "output" || (name == "token_embd" && self.config.tied);
        match (self.target, cols.is_multiple_of(256), better || head) {
            (Target::Q8_0, ..) | (_, false, true) => Format::Q8_0,
            (_, false, false) => Format::Q5_0,
            (_, true, true) => Format::Q6K,
            (_, true, false) => Format::Q4K,
        }
    }

    fn layer(&mut self, i: usize) {
        let c = self.config;
        let (to, from) = (|n: &str| format!("blk.{i}.{n}"), |n: &str| format!("model.layers.{i}.{n}"));
        self.vector(&to("attn_norm"), &from("input_layernorm"), c.hidden);
        let width = c.heads * c.query();
        match c.q_lora {
            None => self.matrix(&to("attn_q"), i, &from("self_attn.q_proj"), width, c.hidden),
            Some(low) => {
                self.matrix(&to("attn_q_a"), i, &from("self_attn.q_a_proj"), low, c.hidden);
                self.vector(&to("attn_q_a_norm"), &from("self_attn.q_a_layernorm"), low);
                self.matrix(&to("attn_q_b"), i, &from("self_attn.q_b_proj"), width, low);
            }
        }
        self.matrix(&to("attn_kv_a_mqa"), i, &from("self_attn.kv_a_proj_with_mqa"), c.latent(), c.hidden);
        self.vector(&to("attn_kv_a_norm"), &from("self_attn.kv_a_layernorm"), c.kv_lora);
        let heads = |keys| Source::Heads { name: from("self_attn.kv_b_proj.weight"), config: Box::new(c.clone()), keys };
        self.put(&to("attn_k_b"), i, vec![c.heads, c.kv_lora, c.nope], heads(true));
        self.put(&to("attn_v_b"), i, vec![c.heads, c.v, c.kv_lora], heads(false));
        self.matrix(&to("attn_output"), i, &from("self_attn.o_proj"), c.hidden, c.heads * c.v);
        self.vector(&to("ffn_norm"), &from("post_attention_layernorm"), c.hidden);
        match c.is_moe(i) {
            true => self.mixture(i),
            false => self.mlp(i, "", "mlp", c.dense_ffn),
        }
    }

    fn mlp(&mut self, i: usize, ending: &str, from: &str, inner: usize) {
        let hidden = self.config.hidden;
        for (part, rows, cols) in [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)] {
            self.matrix(&format!("blk.{i}.ffn_{part}{ending}"), i, &format!("model.layers.{i}.{from}.{part}_proj"), rows, cols);
        }
    }

    fn mixture(&mut self, i: usize) {
        let c = self.config;
        self.matrix(&format!("blk.{i}.ffn_gate_inp"), i, &format!("model.layers.{i}.mlp.gate"), c.experts, c.hidden);
        for (part, rows, cols) in [("gate", c.expert_ffn, c.hidden), ("up", c.expert_ffn, c.hidden), ("down", c.hidden, c.expert_ffn)] {
            let names = (0..c.experts).map(|e| format!("model.layers.{i}.mlp.experts.{e}.{part}_proj.weight")).collect();
            self.put(&format!("blk.{i}.ffn_{part}_exps"), i, vec![c.experts, rows, cols], Source::Matrices(names, rows, cols));
        }
        if c.shared > 0 {
            self.mlp(i, "_shexp", "mlp.shared_experts", c.shared * c.expert_ffn);
        }
    }
}
