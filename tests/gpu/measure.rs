//! What tests/gpu/run measures on a GPU: logits for a file of tokens, and times.
//!
//! ```text
//! gpu_measure logits DIR bf16|q8|q4k|auto IDS OUT [CHUNK]   IDS u32, OUT f32 [tokens, vocab]; JSON on stdout
//! gpu_measure time DIR bf16|q8|q4k|auto TOKENS              with a cache in bf16, then in FP8
//! gpu_measure probe                                         the device, or why there is none
//! ```
//! `INFILL_TEST_DEVICE` as for the tests.
use anyhow::{Context, Result, bail};
use infill::cache::BlockId;
use infill::model::cuda::driver::Driver;
use infill::model::cuda::emulated::Emulated;
use infill::model::cuda::gpu::Gpu;
use infill::model::cuda::kind::Precision;
use infill::model::cuda::latents::Latents;
use infill::model::cuda::{Cuda, Options};
use infill::model::{BLOCK, Backend, Part};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["logits", dir, precision, ids, out] => logits(open(dir, precision, gpu()?)?, ids, out, usize::MAX),
        ["logits", dir, precision, ids, out, chunk] => logits(open(dir, precision, gpu()?)?, ids, out, chunk.parse()?),
        ["probe"] => probe(),
        ["time", dir, precision, tokens] => time(dir, precision, tokens.parse()?),
        _ => bail!("gpu_measure logits DIR PRECISION IDS OUT [CHUNK] | time DIR PRECISION TOKENS | probe"),
    }
}

fn gpu() -> Result<Arc<dyn Gpu>> {
    let device = std::env::var("INFILL_TEST_DEVICE").unwrap_or_else(|_| "cuda:0".into());
    match device.split_once(':').context("INFILL_TEST_DEVICE is no device")? {
        ("cuda", n) => Ok(Arc::new(Driver::open(n.parse()?)?)),
        _ => Ok(Arc::new(Emulated::open(std::env::var("INFILL_KERNELS")?.as_ref())?)),
    }
}

fn probe() -> Result<()> {
    let begun = Instant::now();
    let gpu = gpu()?;
    let open = begun.elapsed().as_secs_f64();
    let (free, all) = gpu.memory()?;
    println!("{}", json!({ "name": gpu.name(), "free": free, "all": all, "open_s": open }));
    Ok(())
}

fn open(dir: &str, precision: &str, gpu: Arc<dyn Gpu>) -> Result<Cuda> {
    let precision = match precision {
        "bf16" => Some(Precision::Bf16),
        "q8" => Some(Precision::Q8),
        "q4k" => Some(Precision::Q4K),
        "auto" => None,
        other => bail!("{other}: bf16, q8, q4k or auto"),
    };
    let begun = Instant::now();
    let model = Cuda::open(Path::new(dir), gpu, &Options { precision, ..Options::default() })?;
    eprintln!("{}: loaded in {:.1} s", model.device(), begun.elapsed().as_secs_f64());
    Ok(model)
}

/// Blocks for `positions`, in no order.
fn table(model: &mut Cuda, positions: usize) -> Result<Vec<BlockId>> {
    let blocks = positions.div_ceil(BLOCK) as u32;
    model.reserve(blocks as usize + 1)?;
    Ok((0..blocks).rev().map(BlockId).collect())
}

fn logits(mut model: Cuda, ids: &str, out: &str, chunk: usize) -> Result<()> {
    let raw = std::fs::read(ids)?;
    let ids: Vec<u32> = raw.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let table = table(&mut model, ids.len())?;
    let mut all: Vec<u8> = Vec::new();
    for (i, piece) in ids.chunks(chunk.min(ids.len())).enumerate() {
        let rows = model.forward(&table, i * chunk.min(ids.len()), piece, piece.len())?;
        all.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
    }
    std::fs::write(out, all)?;
    println!("{}", json!({ "tokens": ids.len(), "device": model.device() }));
    Ok(())
}

/// Milliseconds of each run, sorted.
fn runs(n: usize, mut f: impl FnMut(usize) -> Result<()>) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for i in 0..n {
        let begun = Instant::now();
        f(i)?;
        all.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn best(row: &[f32]) -> u32 {
    (0..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as u32
}

fn time(dir: &str, precision: &str, tokens: usize) -> Result<()> {
    let gpu = gpu()?;
    // After the driver's context, which is the same for every program.
    let before = gpu.memory()?.0;
    let mut model = open(dir, precision, gpu)?;
    let vocab = model.vocab() as u32;
    let ids: Vec<u32> = (0..tokens as u32).map(|i| i.wrapping_mul(2_654_435_761) % vocab).collect();
    let mut all = alone(&mut model, &ids)?;
    let (taken, (weights, cache)) = (before.saturating_sub(model.free()?), model.sizes());
    let four = four(&mut model, &ids)?;
    let wide = model.block_bytes() / BLOCK;
    model.reserve_as(Latents::F8, 1)?;
    let fp8 = json!({ "times": alone(&mut model, &ids)?, "bytes_a_token": model.block_bytes() / BLOCK, "bf16_bytes_a_token": wide });
    let more = json!({
        "decode_of_4_ms": four, "device": model.device(), "tokens": tokens, "taken": taken, "weights": weights, "cache": cache, "fp8_cache": fp8,
    });
    if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    println!("{all}");
    Ok(())
}

/// One window: milliseconds for its prompt, a token, a keystroke, a line.
fn alone(model: &mut Cuda, prompt: &[u32]) -> Result<serde_json::Value> {
    let (vocab, tokens) = (model.vocab(), prompt.len());
    let table = table(model, tokens + 256)?;
    model.forward(&table, 0, prompt, 1)?; // warm
    let prefill = runs(5, |_| model.forward(&table, 0, prompt, 1).map(drop))?;
    // 64 steps recorded as graphs: the first run records.
    model.greedy(&table, tokens, 1, None, vocab, 64)?;
    let decode = runs(7, |_| model.greedy(&table, tokens, 1, None, vocab, 64).map(drop))?;
    // Two tokens in, the first token out, the choice made on the host as the worker does.
    model.forward(&table, tokens, &prompt[..2], 1)?;
    let keystroke = runs(31, |_| model.forward(&table, tokens, &prompt[..2], 1).map(|row| assert!(best(&row) < vocab as u32)))?;
    let line = runs(15, |_| {
        let first = best(&model.forward(&table, tokens, &prompt[..2], 1)?);
        model.greedy(&table, tokens + 2, first, None, vocab, 15).map(drop)
    })?;
    Ok(json!({
        "prefill_ms": middle(&prefill), "decode_ms": middle(&decode) / 64.0, "keystroke_ms": middle(&keystroke), "line_of_16_ms": middle(&line),
    }))
}

/// Four windows with prompts as long as that: one pass serves all of them. Milliseconds of a step.
fn four(model: &mut Cuda, prompt: &[u32]) -> Result<f64> {
    let (vocab, tokens) = (model.vocab(), prompt.len());
    let all = table(model, 4 * (tokens + 256))?;
    let tables: Vec<&[BlockId]> = all.chunks_exact(all.len() / 4).collect();
    for t in &tables[..4] {
        model.forward(t, 0, prompt, 0)?;
    }
    let first = [[1u32], [2], [3], [4]];
    let parts: Vec<Part<'_>> = (0..4).map(|s| Part { table: tables[s], start: tokens, tokens: &first[s], rows: 1 }).collect();
    model.greedy_each(&parts, None, vocab, 64)?;
    let times = runs(7, |_| model.greedy_each(&parts, None, vocab, 64).map(drop))?;
    Ok(middle(&times) / 64.0)
}
