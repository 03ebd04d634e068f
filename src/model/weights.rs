//! The weights of a model, layer by layer, under both naming schemes.
//!
//! ```text
//! Hugging Face  model.layers.3.self_attn.kv_b_proj.weight    [heads · (nope + v), kv_lora]
//! GGUF, older   blk.3.attn_kv_b.weight                       the same
//! GGUF, newer   blk.3.attn_k_b.weight [heads, kv_lora, nope] and blk.3.attn_v_b.weight [heads, v, kv_lora]
//! ```
use super::config::Config;
use super::error::Result;
use super::matrix::{Format, Matrix};
use super::store::{Naming, Store};
use std::collections::HashMap;

/// All weights of a model.
pub struct Weights {
    /// `[vocab, hidden]`
    pub embedding: Matrix,
    pub layers: Vec<Layer>,
    pub norm: Vec<f32>,
    /// `[vocab, hidden]`
    pub head: Matrix,
}

/// One transformer layer.
pub struct Layer {
    pub attention_norm: Vec<f32>,
    pub query: Query,
    /// `[kv_lora + rope, hidden]`: the latent, and the key that is rotated.
    pub latent: Matrix,
    pub latent_norm: Vec<f32>,
    pub keys: Keys,
    /// Per head `[v, kv_lora]`: from the latent to the value.
    pub values: Vec<Matrix>,
    /// `[hidden, heads · v]`
    pub output: Matrix,
    pub ffn_norm: Vec<f32>,
    pub ffn: Ffn,
}

/// From the hidden state to the queries `[heads · (nope + rope)]`.
pub enum Query {
    Full(Matrix),
    /// Through a low rank, with a norm between.
    Low {
        down: Matrix,
        norm: Vec<f32>,
        up: Matrix,
    },
}

/// What turns a query's unrotated part into a query of the latent, per head.
pub enum Keys {
    /// `[kv_lora, nope]`: each output is a dot product with a row.
    Rows(Vec<Matrix>),
    /// `[nope, kv_lora]`, as kv_b stores it: the output is a sum of rows. Always plain numbers.
    Columns(Vec<Matrix>),
}

/// The second half of a layer.
pub enum Ffn {
    Dense(Mlp),
    Mixture {
        /// `[experts, hidden]`
        router: Matrix,
        experts: Vec<Mlp>,
        shared: Option<Mlp>,
    },
}

/// down(silu(gate x) · up x)
pub struct Mlp {
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

impl Weights {
    /// Finds every tensor that `config` asks for and checks its shape.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape or in an unsupported format, by name.
    pub fn load(store: &Store, config: &Config) -> Result<Self> {
        let reader = Reader { store, config };
        let (embedding, norm, head) = match store.naming {
            Naming::HuggingFace => ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"),
            Naming::Ggml => ("token_embd.weight", "output_norm.weight", "output.weight"),
        };
        let matrix = |name| store.matrix(name, config.vocab, config.hidden);
        Ok(Self {
            embedding: matrix(embedding)?,
            layers: (0..config.layers).map(|i| reader.layer(i)).collect::<Result<_>>()?,
            norm: store.vector(norm, config.hidden)?,
            head: matrix(if config.tied { embedding } else { head })?,
        })
    }

    /// Bytes of weights that one token reads, and multiply-adds that it takes.
    pub fn per_token(&self, config: &Config) -> (usize, usize) {
        let (mut bytes, mut work) = (self.embedding.row_bytes(), 0);
        let mut add = |m: &Matrix| {
            bytes += m.bytes().len();
            work += m.rows * m.cols;
        };
        add(&self.head);
        for layer in &self.layers {
            layer.query.each(&mut add);
            let (Keys::Rows(keys) | Keys::Columns(keys)) = &layer.keys;
            keys.iter().chain(&layer.values).chain([&layer.latent, &layer.output]).for_each(&mut add);
            layer.ffn.used(config, &mut add);
        }
        (bytes, work)
    }

    /// The format that holds most of the bytes.
    pub fn format(&self) -> Format {
        let mut bytes: HashMap<Format, usize> = HashMap::new();
        let mut add = |m: &Matrix| *bytes.entry(m.format).or_default() += m.bytes().len();
        add(&self.head);
        for layer in &self.layers {
            layer.ffn.each(&mut add);
            add(&layer.output);
        }
        bytes.into_iter().max_by_key(|(f, n)| (*n, *f as u32)).map_or(Format::F32, |(f, _)| f)
    }
}

impl Query {
    fn each(&self, f: &mut impl FnMut(&Matrix)) {
        match self {
            Self::Full(full) => f(full),
            Self::Low { down, up, .. } => [down, up].into_iter().for_each(f),
        }
    }
}

impl Ffn {
    /// The matrices that one token meets; experts are of one size.
    fn used(&self, config: &Config, f: &mut impl FnMut(&Matrix)) {
        let mut all = |m: &Mlp| [&m.gate, &m.up, &m.down].into_iter().for_each(&mut *f);
        match self {
            Self::Dense(mlp) => all(mlp),
            Self::Mixture { router, experts, shared } => {
                experts.iter().take(config.chosen).chain(shared).for_each(all);
                f(router);
            }
        }
    }

    fn each(&self, f: &mut impl FnMut(&Matrix)) {
        let mlps = match self {
            Self::Dense(mlp) => std::slice::from_ref(mlp),
            Self::Mixture { experts, .. } => experts,
        };
        mlps.iter().for_each(|m| [&m.gate, &m.up, &m.down].into_iter().for_each(&mut *f));
    }
}

/// Reads layers out of a store.
struct Reader<'a> {
    store: &'a Store,
    config: &'a Config,
}

impl Reader<'_> {
    /// The name of a layer's tensor, from its Hugging Face and its ggml form.
    fn name(&self, layer: usize, hugging_face: &str, ggml: &str) -> String {
        match self.store.naming {
            Naming::HuggingFace => format!("model.layers.{layer}.{hugging_face}.weight"),
            Naming::Ggml => format!("blk.{layer}.{ggml}.weight"),
        }
    }

    fn layer(&self, i: usize) -> Result<Layer> {
        let c = self.config;
        let vector = |hf: &str, ggml: &str, n| self.store.vector(&self.name(i, hf, ggml), n);
        let matrix = |hf: &str, ggml: &str, rows, cols| self.store.matrix(&self.name(i, hf, ggml), rows, cols);
        let (keys, values) = self.expansion(i)?;
        Ok(Layer {
            attention_norm: vector("input_layernorm", "attn_norm", c.hidden)?,
            query: self.query(i)?,
            latent: matrix("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", c.latent(), c.hidden)?,
            latent_norm: vector("self_attn.kv_a_layernorm", "attn_kv_a_norm", c.kv_lora)?,
            keys,
            values,
            output: matrix("self_attn.o_proj", "attn_output", c.hidden, c.heads * c.v)?,
            ffn_norm: vector("post_attention_layernorm", "ffn_norm", c.hidden)?,
            ffn: if c.is_moe(i) { self.mixture(i)? } else { self.dense(i)? },
        })
    }

    fn query(&self, i: usize) -> Result<Query> {
        let c = self.config;
        let width = c.heads * c.query();
        let matrix = |hf: &str, ggml: &str, rows, cols| self.store.matrix(&self.name(i, hf, ggml), rows, cols);
        let Some(low) = c.q_lora else {
            return matrix("self_attn.q_proj", "attn_q", width, c.hidden).map(Query::Full);
        };
        Ok(Query::Low {
            down: matrix("self_attn.q_a_proj", "attn_q_a", low, c.hidden)?,
            norm: self.store.vector(&self.name(i, "self_attn.q_a_layernorm", "attn_q_a_norm"), low)?,
            up: matrix("self_attn.q_b_proj", "attn_q_b", width, low)?,
        })
    }

    /// The two halves of kv_b, per head.
    fn expansion(&self, i: usize) -> Result<(Keys, Vec<Matrix>)> {
        let c = self.config;
        let split = format!("blk.{i}.attn_k_b.weight");
        if self.store.naming == Naming::Ggml && self.store.has(&split) {
            let keys = self.store.stack(&split, c.heads, c.kv_lora, c.nope)?;
            let values = self.store.stack(&format!("blk.{i}.attn_v_b.weight"), c.heads, c.v, c.kv_lora)?;
            return Ok((Keys::Rows(keys), values));
        }
        let name = self.name(i, "self_attn.kv_b_proj", "attn_kv_b");
        let each = c.nope + c.v;
        let all = self.store.matrix(&name, c.heads * each, c.kv_lora)?;
        let keys = (0..c.heads).map(|h| plain(all.part(h * each, c.nope))).collect();
        let values = (0..c.heads).map(|h| all.part(h * each + c.nope, c.v)).collect();
        Ok((Keys::Columns(keys), values))
    }

    fn dense(&self, i: usize) -> Result<Ffn> {
        let c = self.config;
        self.mlp(i, ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"], ["ffn_gate", "ffn_up", "ffn_down"], c.dense_ffn).map(Ffn::Dense)
    }

    fn mlp(&self, i: usize, hf: [&str; 3], ggml: [&str; 3], inner: usize) -> Result<Mlp> {
        let hidden = self.config.hidden;
        let matrix = |n: usize, rows, cols| self.store.matrix(&self.name(i, hf[n], ggml[n]), rows, cols);
        Ok(Mlp { gate: matrix(0, inner, hidden)?, up: matrix(1, inner, hidden)?, down: matrix(2, hidden, inner)? })
    }

    fn mixture(&self, i: usize) -> Result<Ffn> {
        let c = self.config;
        let hf = ["gate", "up", "down"].map(|p| format!("mlp.shared_experts.{p}_proj"));
        let ggml = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"];
        let shared = || self.mlp(i, [&hf[0], &hf[1], &hf[2]], ggml, c.shared * c.expert_ffn);
        Ok(Ffn::Mixture {
            router: self.store.matrix(&self.name(i, "mlp.gate", "ffn_gate_inp"), c.experts, c.hidden)?,
            experts: self.experts(i)?,
            shared: if c.shared > 0 { Some(shared()?) } else { None },
        })
    }

    fn experts(&self, i: usize) -> Result<Vec<Mlp>> {
        let c = self.config;
        if self.store.naming == Naming::HuggingFace {
            let expert = |e: usize| {
                let hf = ["gate", "up", "down"].map(|p| format!("mlp.experts.{e}.{p}_proj"));
                self.mlp(i, [&hf[0], &hf[1], &hf[2]], [""; 3], c.expert_ffn)
            };
            return (0..c.experts).map(expert).collect();
        }
        let stack = |part: &str, rows, cols| self.store.stack(&format!("blk.{i}.ffn_{part}_exps.weight"), c.experts, rows, cols);
        let (gate, up) = (stack("gate", c.expert_ffn, c.hidden)?, stack("up", c.expert_ffn, c.hidden)?);
        let down = stack("down", c.hidden, c.expert_ffn)?;
        Ok(gate.into_iter().zip(up).zip(down).map(|((gate, up), down)| Mlp { gate, up, down }).collect())
    }
}

/// Sums of rows need plain numbers: quantised rows are expanded once (113 MB in all for the Lite model).
fn plain(matrix: Matrix) -> Matrix {
    if matrix.format.is_float() { matrix } else { matrix.to_f32() }
}
