//! The weights on the device.
//!
//! ```text
//! query [3072, 2048] and latent [576, 2048] of one layer, both bf16  ->  one matrix [3648, 2048]: one product instead of two
//! ```
use super::args::Ptr;
use super::gpu::{Buffer, Gpu};
use super::kind::{Kind, Placed, Precision, Role, bf16, place};
use crate::model::config::Config;
use crate::model::matrix::Matrix;
use crate::model::weights::{self, Ffn, Keys, Mlp, Query, Weights};
use anyhow::Result;
use std::sync::Arc;

/// Everything that stays on the device.
pub struct OnDevice {
    pub embedding: Placed,
    pub layers: Vec<Layer>,
    pub norm: Ptr,
    pub head: Placed,
    /// Owns the memory.
    kept: Vec<Buffer>,
}

pub struct Layer {
    pub attention_norm: Ptr,
    /// Products of the normed hidden state, and the column of a `qkv` row that each one's result begins at.
    pub projections: Vec<(Placed, usize)>,
    /// The second half of a query through a low rank: its norm and its matrix.
    pub up: Option<(Ptr, Placed)>,
    pub latent_norm: Ptr,
    /// bf16 `[heads, kv_lora, nope]` and `[heads, v, kv_lora]`.
    pub keys: Placed,
    pub values: Placed,
    pub output: Placed,
    pub ffn_norm: Ptr,
    pub ffn: Half,
}

/// The second half of a layer.
pub enum Half {
    Dense(Expert),
    Mixture { router: Ptr, experts: Expert, shared: Option<Expert> },
}

/// An MLP, or a stack of them with their rows one below the other; `inner` is the width of one.
#[derive(Clone, Copy)]
pub struct Expert {
    pub gate: Placed,
    pub up: Placed,
    pub down: Placed,
    pub inner: usize,
}

/// Where the parts of a row of `qkv` begin: the queries at 0, then the latent, then the query's low rank.
pub struct Columns {
    pub latent: usize,
    pub low: usize,
    pub width: usize,
}

impl Columns {
    pub fn new(c: &Config) -> Self {
        let latent = c.heads * c.query();
        let low = latent + c.latent();
        Self { latent, low, width: low + c.q_lora.unwrap_or(0) }
    }
}

/// Bytes that the weights take on the device.
pub fn bytes(weights: &Weights, c: &Config, precision: Precision) -> u64 {
    let one = |role, m: &Matrix| Kind::of(role, m.format, m.cols, precision).bytes(m.rows, m.cols) as u64;
    let mlp = |m: &Mlp| [&m.gate, &m.up, &m.down].map(|x| one(Role::Inner, x)).iter().sum::<u64>();
    let layer = |l: &weights::Layer| {
        let query = match &l.query {
            Query::Full(full) => one(Role::Inner, full),
            Query::Low { down, up, .. } => one(Role::Inner, down) + one(Role::Inner, up),
        };
        let expansion = (c.heads * (c.nope + c.v) * c.kv_lora * 2) as u64;
        let ffn = match &l.ffn {
            Ffn::Dense(dense) => mlp(dense),
            Ffn::Mixture { router, experts, shared } => one(Role::Router, router) + experts.iter().chain(shared).map(mlp).sum::<u64>(),
        };
        query + expansion + ffn + one(Role::Inner, &l.latent) + one(Role::Inner, &l.output) + 16 * c.hidden as u64
    };
    one(Role::Outer, &weights.embedding) + one(Role::Outer, &weights.head) + weights.layers.iter().map(layer).sum::<u64>()
}

impl OnDevice {
    /// Copies all weights; `said` hears after each layer how many there are.
    ///
    /// # Errors
    /// Not enough memory, or the driver's.
    pub fn load(gpu: &Arc<dyn Gpu>, weights: &Weights, c: &Config, precision: Precision, said: &mut dyn FnMut(usize)) -> Result<Self> {
        let mut loader = Loader { gpu, kept: Vec::new(), precision, c };
        let embedding = loader.matrix(Role::Outer, &[&weights.embedding])?;
        let head = loader.matrix(Role::Outer, &[&weights.head])?;
        let norm = loader.vector(&weights.norm)?;
        let mut layers = Vec::new();
        for (i, layer) in weights.layers.iter().enumerate() {
            layers.push(loader.layer(layer)?);
            said(i + 1);
        }
        Ok(Self { embedding, layers, norm, head, kept: loader.kept })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|b| b.bytes() as u64).sum()
    }
}

struct Loader<'a> {
    gpu: &'a Arc<dyn Gpu>,
    kept: Vec<Buffer>,
    precision: Precision,
    c: &'a Config,
}

impl Loader<'_> {
    fn kind(&self, role: Role, m: &Matrix) -> Kind {
        Kind::of(role, m.format, m.cols, self.precision)
    }

    fn matrix(&mut self, role: Role, parts: &[&Matrix]) -> Result<Placed> {
        let kind = Kind::common(parts.iter().map(|m| self.kind(role, m)));
        place(self.gpu, &mut self.kept, parts, kind)
    }

    fn raw(&mut self, bytes: &[u8], what: &str) -> Result<Ptr> {
        let buffer = Buffer::new(self.gpu, bytes.len(), what)?;
        self.gpu.upload(buffer.at(0), bytes)?;
        let at = buffer.at(0);
        self.kept.push(buffer);
        Ok(at)
    }

    fn vector(&mut self, values: &[f32]) -> Result<Ptr> {
        self.raw(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(), "a norm")
    }

    fn layer(&mut self, l: &weights::Layer) -> Result<Layer> {
        let columns = Columns::new(self.c);
        let (projections, up) = match &l.query {
            Query::Full(full) => (self.pair((full, 0), (&l.latent, columns.latent))?, None),
            Query::Low { down, norm, up } => {
                let projections = self.pair((&l.latent, columns.latent), (down, columns.low))?;
                (projections, Some((self.vector(norm)?, self.matrix(Role::Inner, &[up])?)))
            }
        };
        Ok(Layer {
            attention_norm: self.vector(&l.attention_norm)?,
            projections,
            up,
            latent_norm: self.vector(&l.latent_norm)?,
            keys: self.keys(&l.keys)?,
            values: place(self.gpu, &mut self.kept, &l.values.iter().collect::<Vec<_>>(), Kind::Bf16)?,
            output: self.matrix(Role::Inner, &[&l.output])?,
            ffn_norm: self.vector(&l.ffn_norm)?,
            ffn: self.half(&l.ffn)?,
        })
    }

    /// Two products of the same input whose results lie side by side: one, where the formats allow.
    fn pair(&mut self, a: (&Matrix, usize), b: (&Matrix, usize)) -> Result<Vec<(Placed, usize)>> {
        if self.kind(Role::Inner, a.0) == self.kind(Role::Inner, b.0) {
            return Ok(vec![(self.matrix(Role::Inner, &[a.0, b.0])?, a.1)]);
        }
        Ok(vec![(self.matrix(Role::Inner, &[a.0])?, a.1), (self.matrix(Role::Inner, &[b.0])?, b.1)])
    }

    fn keys(&mut self, keys: &Keys) -> Result<Placed> {
        let heads = match keys {
            Keys::Rows(rows) => return place(self.gpu, &mut self.kept, &rows.iter().collect::<Vec<_>>(), Kind::Bf16),
            Keys::Columns(heads) => heads,
        };
        let (nope, lora) = (self.c.nope, self.c.kv_lora);
        let all: Vec<u8> = heads.iter().flat_map(|head| bf16(&turned(head))).collect();
        let data = self.raw(&all, "the keys' expansion")?;
        Ok(Placed { kind: Kind::Bf16, data, scales: 0, rows: heads.len() * lora, cols: nope })
    }

    fn half(&mut self, ffn: &Ffn) -> Result<Half> {
        let Ffn::Mixture { router, experts, shared } = ffn else {
            let Ffn::Dense(dense) = ffn else { unreachable!("a layer is one or the other") };
            return Ok(Half::Dense(self.stack(std::slice::from_ref(dense))?));
        };
        Ok(Half::Mixture {
            router: self.matrix(Role::Router, &[router])?.data,
            experts: self.stack(experts)?,
            shared: shared.as_ref().map(|s| self.stack(std::slice::from_ref(s))).transpose()?,
        })
    }

    fn stack(&mut self, experts: &[Mlp]) -> Result<Expert> {
        let parts = |f: fn(&Mlp) -> &Matrix| experts.iter().map(f).collect::<Vec<_>>();
        let (gates, ups, downs) = (parts(|m| &m.gate), parts(|m| &m.up), parts(|m| &m.down));
        // One kernel reads gate and up.
        let kind = Kind::common(gates.iter().chain(&ups).map(|m| self.kind(Role::Inner, m)));
        Ok(Expert {
            gate: place(self.gpu, &mut self.kept, &gates, kind)?,
            up: place(self.gpu, &mut self.kept, &ups, kind)?,
            down: self.matrix(Role::Inner, &downs)?,
            inner: gates.first().map_or(0, |m| m.rows),
        })
    }
}

/// The transpose, in f32.
fn turned(m: &Matrix) -> Vec<f32> {
    let mut out = vec![0.0; m.rows * m.cols];
    let mut row = vec![0.0; m.cols];
    for r in 0..m.rows {
        m.row(r, &mut row);
        row.iter().enumerate().for_each(|(c, x)| out[c * m.rows + r] = *x);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::matrix::Format;
    use crate::model::source::Slice;

    #[test]
    fn a_transpose_is_one() {
        let m = Matrix::new(Format::F32, 2, 3, Slice::of_f32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(turned(&m), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn a_row_of_projections_holds_queries_latent_and_low_rank() {
        let text = include_str!("../../../fixtures/reference/236b/config.json");
        let c = crate::model::config::from_json("config.json", text).unwrap();
        let columns = Columns::new(&c);
        assert_eq!((columns.latent, columns.low, columns.width), (4 * 48, 4 * 48 + 80, 4 * 48 + 80 + 48));
    }
}
