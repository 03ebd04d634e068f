//! Whole models: the device's logits against the CPU backend's, warm against cold, drafts and picks.
//!
//! The CPU keeps latents in f32, the device in bf16, so logits differ by about 2^-8 of their size; a wrong index, scale or order differs by all
//! of it.
use crate::bench::{Bench, numbers, prompt, reference};
use crate::checkpoint::fp8::{Layout8, fp8};
use crate::checkpoint::{Layout, gguf, shuffled};
use candle_core::quantized::GgmlDType;
use infill::cache::BlockId;
use infill::model::cpu::Cpu;
use infill::model::cuda::kind::Precision;
use infill::model::cuda::latents::Latents;
use infill::model::cuda::{Cuda, Options};
use infill::model::{BLOCK, Backend, Part};
use std::path::Path;

const SHAPES: [&str; 2] = ["lite", "236b"];
/// Blocks that `shuffled` may name.
const BLOCKS: usize = 128;

fn open(bench: &Bench, path: &Path, precision: Precision) -> Cuda {
    open_with(bench, path, precision, Latents::Bf16)
}

fn open_with(bench: &Bench, path: &Path, precision: Precision, latents: Latents) -> Cuda {
    let options = Options { precision: Some(precision), latents, ..Options::default() };
    let mut model = Cuda::open(path, bench.gpu.clone(), &options).unwrap();
    model.reserve(BLOCKS).unwrap();
    model
}

fn run(model: &mut dyn Backend, table: &[BlockId], ids: &[u32], chunk: usize) -> Vec<f32> {
    let pieces = ids.chunks(chunk).enumerate();
    pieces.flat_map(|(i, piece)| model.forward(table, i * chunk, piece, piece.len()).unwrap()).collect()
}

/// How far each row of logits is off, as a share of the row's size, sorted.
fn apart(got: &[f32], want: &[f32], vocab: usize) -> Vec<f32> {
    assert_eq!(got.len(), want.len());
    let norm = |row: &mut dyn Iterator<Item = f32>| row.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let off = |g: &[f32], w: &[f32]| norm(&mut g.iter().zip(w).map(|(g, w)| g - w)) / norm(&mut w.iter().copied());
    let mut all: Vec<f32> = got.chunks_exact(vocab).zip(want.chunks_exact(vocab)).map(|(g, w)| off(g, w) as f32).collect();
    all.sort_by(f32::total_cmp);
    all
}

/// Half of the rows within `tolerance`, and at most a fifth far from it: a latent in sixteen bits sends a few tokens to other experts.
fn near(what: &str, got: &[f32], want: &[f32], vocab: usize, tolerance: f32) {
    let off = apart(got, want, vocab);
    let far = off.iter().filter(|x| x.is_nan() || **x >= 4.0 * tolerance).count();
    println!("{what}: rows off by {:.1e} (median), {:.1e} (worst); {far} of {} far off", off[off.len() / 2], off[off.len() - 1], off.len());
    assert!(off[off.len() / 2] < tolerance && far * 5 <= off.len(), "{what}: {off:?}");
}

pub fn few_tokens_agree_with_the_cpu(bench: &Bench) {
    for shape in SHAPES {
        let ids = &prompt(shape, "short")[..20];
        let want = run(&mut Cpu::open(&reference(shape)).unwrap(), &shuffled(20), ids, 20);
        for chunk in [1, 3, 8] {
            let mut model = open(bench, &reference(shape), Precision::Bf16);
            let got = run(&mut model, &shuffled(20), ids, chunk);
            near(&format!("{shape}, {chunk} at a time"), &got, &want, 512, 0.012);
        }
    }
}

/// The 236B's small stand-in multiplies its experts by 16: rounded activations send its later tokens elsewhere, so it is held to a short prompt.
pub fn many_tokens_agree_with_the_cpu(bench: &Bench) {
    for (shape, name, n, tolerance) in [("lite", "long", 75, 0.018), ("236b", "short", 24, 0.03)] {
        let ids = &prompt(shape, name)[..n];
        let want = run(&mut Cpu::open(&reference(shape)).unwrap(), &shuffled(n), ids, n);
        for chunk in [n, n / 2] {
            let mut model = open(bench, &reference(shape), Precision::Bf16);
            let got = run(&mut model, &shuffled(n), ids, chunk);
            // Activations are bf16 too.
            near(&format!("{shape}, {chunk} at a time"), &got, &want, 512, tolerance);
        }
        let mut model = open(bench, &reference(shape), Precision::Bf16);
        assert!(model.forward(&shuffled(n), 0, &ids[..n - 5], 0).unwrap().is_empty());
        let last = model.forward(&shuffled(n), n - 5, &ids[n - 5..], 5).unwrap();
        near("prefilled, then five", &last, &want[(n - 5) * 512..], 512, tolerance);
    }
}

pub fn warm_is_cold(bench: &Bench) {
    warm(bench, Latents::Bf16, 0.015);
    // Other kernels bring other last bits, and a value that lies between two codes goes the other way.
    warm(bench, Latents::F8, 0.08);
}

fn warm(bench: &Bench, latents: Latents, tolerance: f32) {
    let ids = &prompt("lite", "long")[..60];
    let mut model = open_with(bench, &reference("lite"), Precision::Bf16, latents);
    let table = shuffled(64);
    let cold = run(&mut model, &table, ids, 60);
    // Something else after 40, rolled back by a shorter sequence, and the true rest again.
    let wrong: Vec<u32> = ids[40..].iter().map(|t| (t + 7) % 512).collect();
    model.forward(&table, 40, &wrong, 0).unwrap();
    let again = model.forward(&table, 40, &ids[40..], 20).unwrap();
    assert!(again == cold[40 * 512..], "the same kernels over the same latents give the same bits");
    // One by one other kernels run.
    let single = run(&mut model, &table, ids, 1);
    near(&format!("{latents:?}, one by one"), &single, &cold, 512, tolerance);
    let twice = run(&mut model, &table, ids, 1);
    assert!(single == twice, "and they give their own bits again");
}

pub fn decoding_on_the_device_is_decoding_step_by_step(bench: &Bench) {
    [Latents::Bf16, Latents::F8].iter().for_each(|latents| step_by_step(bench, *latents));
}

fn step_by_step(bench: &Bench, latents: Latents) {
    let ids = prompt("lite", "short");
    let (mut model, table) = (open_with(bench, &reference("lite"), Precision::Bf16, latents), shuffled(64));
    let (start, steps) = (15, 9);
    let best = |row: &[f32], allowed: &dyn Fn(usize) -> bool| {
        (0..row.len())
            .filter(|i| allowed(*i))
            .fold(None, |b: Option<usize>, i| if b.is_none_or(|b| row[i] > row[b]) { Some(i) } else { b })
            .unwrap()
    };
    // Only tokens that three divides, at the first step; never one from 500 on.
    let mask: Vec<u32> = (0..16u32).map(|w| (0..32).filter(|b| (w * 32 + b) % 3 == 0).fold(0, |m, b| m | 1 << b)).collect();
    for mask in [None, Some(&mask)] {
        model.forward(&table, 0, &ids[..start], 0).unwrap();
        let (mut token, mut want) = (ids[start], Vec::new());
        for step in 0..steps {
            let row = model.forward(&table, start + step, &[token], 1).unwrap();
            let allowed = |i: usize| i < 500 && (step > 0 || mask.is_none() || i.is_multiple_of(3));
            let next = best(&row, &allowed);
            let sum: f32 = (0..512).filter(|i| allowed(*i)).map(|i| (row[i] - row[next]).exp()).sum();
            want.push((next as u32, -sum.ln()));
            token = next as u32;
        }
        let got = model.greedy(&table, start, ids[start], mask.map(|m| m.as_slice()), 500, steps).unwrap();
        assert_eq!(got.iter().map(|p| p.token).collect::<Vec<_>>(), want.iter().map(|w| w.0).collect::<Vec<_>>());
        got.iter().zip(&want).for_each(|(g, w)| assert!((g.logprob - w.1).abs() < 1e-4, "{} {}", g.logprob, w.1));
    }
}

/// Three windows at three depths: their tokens in one pass, then steps chosen on the device.
pub fn several_sequences_share_a_pass(bench: &Bench) {
    let ids = prompt("lite", "long");
    let mut model = open(bench, &reference("lite"), Precision::Bf16);
    assert_eq!(model.together(), 8);
    let tables: Vec<Vec<BlockId>> = (0..3).map(|s| (0..4).map(|i| BlockId((i * 3 + s) * 5 + 1)).collect()).collect();
    let starts = [35, 2, 20];
    let counts = [2, 1, 4];
    let begin = |model: &mut Cuda| {
        for s in 0..3 {
            model.forward(&tables[s], 0, &ids[s..s + starts[s]], 0).unwrap();
        }
    };
    begin(&mut model);
    let news: Vec<&[u32]> = (0..3).map(|s| &ids[s + starts[s]..s + starts[s] + counts[s]]).collect();
    let alone: Vec<Vec<f32>> = (0..3).map(|s| model.forward(&tables[s], starts[s], news[s], counts[s]).unwrap()).collect();
    begin(&mut model);
    let rows = [1, 1, 4];
    let parts: Vec<Part<'_>> = (0..3).map(|s| Part { table: &tables[s], start: starts[s], tokens: news[s], rows: rows[s] }).collect();
    let got = model.batch(&parts).unwrap();
    for s in 0..3 {
        near(&format!("sequence {s} of three"), &got[s], &alone[s][(counts[s] - rows[s]) * 512..], 512, 0.012);
    }
    // What the pass left in the pool is what the next one reads.
    let next: Vec<[u32; 1]> = (0..3).map(|s| [ids[50 + s]]).collect();
    let at = |s: usize| starts[s] + counts[s];
    let parts: Vec<Part<'_>> = (0..3).map(|s| Part { table: &tables[s], start: at(s), tokens: &next[s], rows: 1 }).collect();
    let together = model.greedy_each(&parts, None, 500, 5).unwrap();
    for s in 0..3 {
        let single = model.greedy(&tables[s], at(s), next[s][0], None, 500, 5).unwrap();
        assert_eq!(together[s].iter().map(|p| p.token).collect::<Vec<_>>(), single.iter().map(|p| p.token).collect::<Vec<_>>());
        together[s].iter().zip(&single).for_each(|(a, b)| assert!((a.logprob - b.logprob).abs() < 0.02, "{} {}", a.logprob, b.logprob));
    }
}

pub fn blocks_are_copied_and_poisoned(bench: &Bench) {
    copied(bench, Latents::Bf16, 0.015);
    copied(bench, Latents::F8, 0.05);
}

fn copied(bench: &Bench, latents: Latents, tolerance: f32) {
    let ids = &prompt("lite", "short")[..24];
    let mut model = open_with(bench, &reference("lite"), Precision::Bf16, latents);
    let table = [BlockId(5), BlockId(9)];
    let cold = run(&mut model, &table, ids, 24);
    // A branch after position 20: block 9's first slots in a block of its own.
    model.copy_block(BlockId(9), BlockId(2), 4);
    let branch = [BlockId(5), BlockId(2)];
    let tail = model.forward(&branch, 20, &ids[20..], 4).unwrap();
    near("a branch", &tail, &cold[20 * 512..], 512, tolerance);
    // The slots behind a copy are NaN: whoever read them would see it.
    model.copy_block(BlockId(9), BlockId(2), 3);
    assert!(model.forward(&branch, 20, &ids[20..21], 1).unwrap()[0].is_nan());
    model.poison(BlockId(9), 0).unwrap();
    assert!(model.forward(&table, 20, &ids[20..21], 1).unwrap()[0].is_nan());
    // A block that does not exist is an error of the next pass, and then forgotten.
    model.copy_block(BlockId(5), BlockId(9999), 3);
    let error = format!("{:#}", model.forward(&[BlockId(5)], 0, &ids[..2], 1).unwrap_err());
    assert!(error.contains("9999") && error.contains("copied"), "{error}");
    assert!(model.forward(&[BlockId(5)], 0, &ids[..2], 1).unwrap()[0].is_finite());
}

/// A model with the latent and rotated widths of the published ones, random weights by a seed, otherwise small.
fn true_widths(folder: &Path) {
    let mut config: serde_json::Value = serde_json::from_str(include_str!("../../fixtures/reference/lite/config.json")).unwrap();
    let sizes =
        [("kv_lora_rank", 512), ("qk_rope_head_dim", 64), ("num_hidden_layers", 2), ("num_attention_heads", 5), ("num_key_value_heads", 5)];
    sizes.iter().for_each(|(key, n)| config[*key] = (*n).into());
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push((format!("{name}.weight"), shape.to_vec()));
    add("model.embed_tokens".into(), &[512, 64]);
    add("lm_head".into(), &[512, 64]);
    add("model.norm".into(), &[64]);
    for l in 0..2 {
        let at = format!("model.layers.{l}");
        add(format!("{at}.input_layernorm"), &[64]);
        add(format!("{at}.post_attention_layernorm"), &[64]);
        add(format!("{at}.self_attn.q_proj"), &[5 * 96, 64]);
        add(format!("{at}.self_attn.kv_a_proj_with_mqa"), &[576, 64]);
        add(format!("{at}.self_attn.kv_a_layernorm"), &[512]);
        add(format!("{at}.self_attn.kv_b_proj"), &[5 * 64, 512]);
        add(format!("{at}.self_attn.o_proj"), &[64, 5 * 32]);
        let mut mlp = |at: String, inner: usize| {
            ["gate", "up"].iter().for_each(|p| add(format!("{at}.{p}_proj"), &[inner, 64]));
            add(format!("{at}.down_proj"), &[64, inner]);
        };
        if l == 0 {
            mlp(format!("{at}.mlp"), 160);
        } else {
            (0..8).for_each(|e| mlp(format!("{at}.mlp.experts.{e}"), 32));
            mlp(format!("{at}.mlp.shared_experts"), 64);
            add(format!("{at}.mlp.gate"), &[8, 64]);
        }
    }
    let bytes: Vec<Vec<u8>> = tensors.iter().enumerate().map(|(i, (_, shape))| random(shape, i as u32)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// bf16: norms about 1, matrices so that a product keeps its size.
fn random(shape: &[usize], seed: u32) -> Vec<u8> {
    let norm = shape.len() == 1;
    let scale = if norm { 0.2 } else { 1.7 / (*shape.last().unwrap() as f32).sqrt() };
    let values = numbers(shape.iter().product(), seed + 100);
    values.iter().flat_map(|x| half::bf16::from_f32(x * scale + f32::from(u8::from(norm))).to_le_bytes()).collect()
}

pub fn true_widths_run_through_the_tiles(bench: &Bench) {
    let folder = tempfile::tempdir().unwrap();
    true_widths(folder.path());
    let ids: Vec<u32> = numbers(90, 3).iter().map(|x| ((x + 1.0) * 255.0) as u32).collect();
    let want = run(&mut Cpu::open(folder.path()).unwrap(), &shuffled(90), &ids, 90);
    for chunk in [90, 33, 8] {
        let mut model = open(bench, folder.path(), Precision::Bf16);
        let got = run(&mut model, &shuffled(90), &ids, chunk);
        near(&format!("true widths, {chunk} at a time"), &got, &want, 512, 0.012);
    }
    let mut model = open(bench, folder.path(), Precision::Bf16);
    let got = run(&mut model, &shuffled(90), &ids[..9], 1);
    near("true widths, one by one", &got, &want[..9 * 512], 512, 0.012);
}

/// A cache in FP8 against one in bf16, whose logits it moves by a tenth or two of their size; a wrong scale or place moves them by all of their size. Through the kernels for any widths and through the tiles, and in a bit more than half the memory.
pub fn a_cache_in_fp8_stays_near(bench: &Bench) {
    let folder = tempfile::tempdir().unwrap();
    true_widths(folder.path());
    let ids: Vec<u32> = numbers(90, 3).iter().map(|x| ((x + 1.0) * 255.0) as u32).collect();
    // The 236B's stand-in multiplies its experts by 16, and their choice hangs on the last bits.
    let cases =
        [("lite", reference("lite"), 40, 0.12), ("236b", reference("236b"), 20, 0.25), ("true widths", folder.path().into(), 90, 0.12)];
    for (name, path, n, tolerance) in cases {
        let mut fine = open(bench, &path, Precision::Bf16);
        let want = run(&mut fine, &shuffled(n), &ids[..n], n);
        for chunk in [n, 8] {
            let mut model = open_with(bench, &path, Precision::Bf16, Latents::F8);
            assert!(model.device().ends_with("cache in fp8"), "{}", model.device());
            let (eight, sixteen) = (model.block_bytes() as f64, fine.block_bytes() as f64);
            assert!((0.5..0.65).contains(&(eight / sixteen)), "{eight} bytes a block, and {sixteen} in bf16");
            let got = run(&mut model, &shuffled(n), &ids[..n], chunk);
            near(&format!("{name} with a cache in FP8, {chunk} at a time"), &got, &want, 512, tolerance);
            assert!(apart(&got, &want, 512)[n / 2] > 1e-3, "{name}: the cache is not in FP8");
        }
    }
}

pub fn quantised_files_agree_with_the_cpu(bench: &Bench) {
    let ids = &prompt("lite", "short")[..20];
    for (dtype, layout) in [(GgmlDType::Q8_0, Layout::Joint), (GgmlDType::Q8_0, Layout::Split), (GgmlDType::Q5_0, Layout::Split)] {
        let folder = tempfile::tempdir().unwrap();
        let file = gguf(&reference("lite"), folder.path(), layout, dtype);
        let want = run(&mut Cpu::open(&file).unwrap(), &shuffled(20), ids, 20);
        for chunk in [1, 20] {
            let mut model = open(bench, &file, Precision::Bf16);
            let got = run(&mut model, &shuffled(20), ids, chunk);
            // The CPU rounds activations to eight bits, the tiles to bf16.
            near(&format!("{dtype:?}, {chunk} at a time"), &got, &want, 512, if dtype == GgmlDType::Q8_0 { 0.05 } else { 0.12 });
        }
    }
}

/// FP8 as it is published: values and scales as they are on the device, so what remains is the latents' rounding.
pub fn checkpoints_in_fp8_agree_with_the_cpu(bench: &Bench) {
    let ids = &prompt("lite", "short")[..20];
    for (layout, chunk) in [(Layout8::Block, 1), (Layout8::Row, 3), (Layout8::Whole, 20)] {
        let folder = tempfile::tempdir().unwrap();
        let (eight, _) = fp8(&reference("lite"), folder.path(), layout);
        let want = run(&mut Cpu::open(&eight).unwrap(), &shuffled(20), ids, 20);
        let mut model = open(bench, &eight, Precision::Bf16);
        let got = run(&mut model, &shuffled(20), ids, chunk);
        near(&format!("FP8 {layout:?}, {chunk} at a time"), &got, &want, 512, 0.018);
        assert!(model.device().contains("from F8"), "{}", model.device());
    }
}

/// Rounded when loaded: near the plain model, by what the format loses.
pub fn smaller_precisions_stay_near(bench: &Bench) {
    let ids = &prompt("lite", "short")[..20];
    let want = run(&mut Cpu::open(&reference("lite")).unwrap(), &shuffled(20), ids, 20);
    for (precision, chunk) in [(Precision::Q8, 1), (Precision::Q8, 20)] {
        let mut model = open(bench, &reference("lite"), precision);
        let got = run(&mut model, &shuffled(20), ids, chunk);
        near(&format!("{precision:?}, {chunk} at a time"), &got, &want, 512, 0.06);
        assert!(model.device().contains("from BF16 as Q8"), "{}", model.device());
    }
}

pub fn nonsense_is_refused(bench: &Bench) {
    let mut model = open(bench, &reference("lite"), Precision::Bf16);
    let mut error =
        |table: &[BlockId], start, tokens: &[u32], rows| format!("{:#}", model.forward(table, start, tokens, rows).unwrap_err());
    assert!(error(&[BlockId(0)], 0, &[512], 1).contains("outside the vocabulary"));
    assert!(error(&[BlockId(0)], 15, &[1, 2], 1).contains("do not hold 17 positions"));
    assert!(error(&[BlockId(0)], 0, &[1], 2).contains("only 1 are new"));
    assert!(error(&[BlockId(BLOCKS as u32)], 0, &[1], 1).contains("outside the pool"));
    assert!(error(&[BlockId(0)], usize::MAX, &[1], 1).contains("beyond the model's"));
    let many = vec![BlockId(0); 200];
    assert!(error(&many, BLOCKS * BLOCK, &[1], 1).contains("beyond the pool's"));
    assert!(model.greedy(&[BlockId(0)], 0, 1, None, 512, 65).unwrap_err().to_string().contains("65 steps"));
    assert!(model.greedy(&[BlockId(0)], 10, 1, None, 512, 10).unwrap_err().to_string().contains("do not hold"));
    // More than the device has: an error that says so, and the model still runs.
    let full = format!("{:#}", model.reserve(1 << 30).unwrap_err());
    if bench.emulated {
        assert!(full.contains("out of memory") && full.contains("cache.bytes"), "{full}");
    }
    model.reserve(4).unwrap();
    assert!(model.forward(&[BlockId(3)], 0, &[1], 1).unwrap()[0].is_finite());
}
