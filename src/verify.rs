//! Does this machine compute what transformers computes? Logits against a reference file beside the checkpoint.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let report = infill::verify::verify("fixtures/reference/lite".as_ref())?;
//! println!("{} ({:.1e})", if report.pass { "ok" } else { "differs" }, report.max_difference);
//! # Ok(()) }
//! ```
//! `reference.safetensors` (written by `fixtures/reference/reference_model.py`) holds for each prompt NAME the tensors
//! `NAME.ids`, int64 `[n]`, and `NAME.logits`, f32 `[min(n, 32), vocab]`: the last positions, in float32.
use crate::cache::BlockId;
use crate::model::{BLOCK, Backend, cpu::Cpu};
use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Serialize;
use std::path::Path;

/// The largest difference of a logit that passes.
pub const TOLERANCE: f32 = 1e-3;

/// The outcome for one checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub model: String,
    /// The format of the weights.
    pub format: String,
    pub prompts: Vec<Prompt>,
    /// Over all prompts: the largest absolute difference of a logit.
    pub max_difference: f32,
    /// Share of positions where the most probable token is the same, 0 to 1.
    pub argmax_equal: f32,
    /// At most [`TOLERANCE`] apart everywhere, and every most probable token the same.
    pub pass: bool,
}

/// The outcome for one prompt.
#[derive(Clone, Debug, Serialize)]
pub struct Prompt {
    pub name: String,
    pub tokens: usize,
    /// How many positions were compared.
    pub positions: usize,
    pub max_difference: f32,
    pub argmax_equal: f32,
}

/// Runs every prompt of `dir/reference.safetensors` through the checkpoint in `dir`, on the CPU.
///
/// # Errors
/// A checkpoint that does not load, or a reference that is missing, malformed or of another vocabulary.
pub fn verify(dir: &Path) -> Result<Report> {
    let mut model = Cpu::open(dir)?;
    let path = dir.join("reference.safetensors");
    let bytes = std::fs::read(&path).with_context(|| {
        format!("{} cannot be read: a reference to compare with is made by fixtures/reference/reference_model.py", path.display())
    })?;
    let file = SafeTensors::deserialize(&bytes)
        .with_context(|| format!("{} is malformed: make it again with fixtures/reference/reference_model.py", path.display()))?;
    let mut names: Vec<_> = file.names().into_iter().filter_map(|n| n.strip_suffix(".ids")).collect();
    names.sort_unstable();
    ensure!(!names.is_empty(), "{} holds no prompts", path.display());
    let prompts = names.into_iter().map(|name| prompt(&mut model, &file, name));
    let prompts: Vec<Prompt> = prompts.collect::<Result<_>>().with_context(|| path.display().to_string())?;
    Ok(report(&model, prompts))
}

fn report(model: &Cpu, prompts: Vec<Prompt>) -> Report {
    let positions: usize = prompts.iter().map(|p| p.positions).sum();
    let equal: f32 = prompts.iter().map(|p| p.argmax_equal * p.positions as f32).sum();
    let max_difference = prompts.iter().map(|p| p.max_difference).fold(0.0, worse);
    let all = prompts.iter().all(|p| p.argmax_equal == 1.0);
    Report {
        model: model.name().into(),
        format: model.format(),
        max_difference,
        argmax_equal: equal / positions as f32,
        pass: max_difference <= TOLERANCE && all,
        prompts,
    }
}

/// The larger; NaN is worse than anything.
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

fn prompt(model: &mut Cpu, file: &SafeTensors, name: &str) -> Result<Prompt> {
    let (ids, want, rows) = reference(file, name, model.vocab())?;
    let table: Vec<_> = (0..ids.len().div_ceil(BLOCK) as u32).map(BlockId).collect();
    let got = model.forward(&table, 0, &ids, rows)?;
    let pairs = got.iter().zip(&want);
    let vocab = model.vocab();
    let same = got.chunks_exact(vocab).zip(want.chunks_exact(vocab)).filter(|(g, w)| argmax(g) == argmax(w));
    Ok(Prompt {
        name: name.into(),
        tokens: ids.len(),
        positions: rows,
        argmax_equal: same.count() as f32 / rows as f32,
        max_difference: pairs.map(|(g, w)| (g - w).abs()).fold(0.0, worse),
    })
}

fn argmax(x: &[f32]) -> usize {
    (0..x.len()).fold(0, |b, i| if x[i] > x[b] { i } else { b })
}

/// Tokens, logits, and how many positions these cover.
fn reference(file: &SafeTensors, name: &str, vocab: usize) -> Result<(Vec<u32>, Vec<f32>, usize)> {
    let ids = tensor(file, &format!("{name}.ids"), Dtype::I64)?;
    let logits = tensor(file, &format!("{name}.logits"), Dtype::F32)?;
    let [n] = ids.shape()[..] else { anyhow::bail!("{name}.ids has shape {:?}, not [n]", ids.shape()) };
    let [rows, width] = logits.shape()[..] else { anyhow::bail!("{name}.logits has shape {:?}, not [rows, vocab]", logits.shape()) };
    ensure!(width == vocab, "{name}.logits are for {width} tokens, the model has {vocab}");
    ensure!(rows > 0 && rows <= n, "{name} has logits for {rows} of {n} positions");
    let (words, _) = ids.data().as_chunks::<8>();
    let ids = words.iter().map(|w| u32::try_from(i64::from_le_bytes(*w)));
    let ids = ids.collect::<std::result::Result<_, _>>().with_context(|| format!("{name}.ids"))?;
    let (words, _) = logits.data().as_chunks::<4>();
    Ok((ids, words.iter().map(|w| f32::from_le_bytes(*w)).collect(), rows))
}

fn tensor<'a>(file: &'a SafeTensors, name: &str, dtype: Dtype) -> Result<TensorView<'a>> {
    let view = file.tensor(name).with_context(|| format!("tensor {name}"))?;
    ensure!(view.dtype() == dtype, "tensor {name} is {:?}, not {dtype:?}", view.dtype());
    Ok(view)
}
