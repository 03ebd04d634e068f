//! The same model as GGUF: both layouts of kv_b, plain and quantised.
//!
//! ```text
//! safetensors bf16 -> GGUF F32, joint kv_b: the same bits
//!                  -> GGUF Q8_0: the same within what eight bits lose
//!                  -> safetensors FP8: the same bits as its numbers in f32
//! ```
mod checkpoint;

use candle_core::quantized::GgmlDType;
use checkpoint::fp8::{Layout8, fp8};
use checkpoint::*;
use infill::model::cpu::Cpu;
use infill::quantize::{self, Options, Target};

const SHAPES: [&str; 2] = ["lite", "236b"];

fn run(path: &std::path::Path, ids: &[u32], chunk: usize) -> Vec<f32> {
    let mut model = Cpu::open(path).unwrap();
    logits(&mut model, &shuffled(ids.len()), ids, chunk)
}

fn rewritten(shape: &str, layout: Layout, dtype: GgmlDType, ids: &[u32], chunk: usize) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    run(&gguf(&reference(shape), folder.path(), layout, dtype), ids, chunk)
}

#[test]
fn f32_in_the_joint_layout_gives_the_same_bits() {
    for shape in SHAPES {
        let ids = prompt(shape, "short");
        assert!(rewritten(shape, Layout::Joint, GgmlDType::F32, &ids, 24) == run(&reference(shape), &ids, 24), "{shape}");
    }
}

#[test]
fn f32_in_the_split_layout_differs_only_in_rounding() {
    for shape in SHAPES {
        let ids = prompt(shape, "short");
        let apart = distance(&rewritten(shape, Layout::Split, GgmlDType::F32, &ids, 24), &run(&reference(shape), &ids, 24));
        assert!(apart < 1e-4, "{shape}: {apart}");
    }
}

#[test]
fn half_precision_is_near() {
    let ids = prompt("lite", "short");
    let want = run(&reference("lite"), &ids, 24);
    // The weights are bf16 already: nothing is lost.
    assert!(rewritten("lite", Layout::Joint, GgmlDType::BF16, &ids, 24) == want);
    let apart = distance(&rewritten("lite", Layout::Split, GgmlDType::F16, &ids, 24), &want);
    assert!(apart < 0.02, "{apart}");
}

#[test]
fn fp8_is_its_numbers_in_f32_in_every_layout_of_scales() {
    for shape in SHAPES {
        let ids = &prompt(shape, "short")[..12];
        let want = run(&reference(shape), ids, 12);
        for layout in [Layout8::Block, Layout8::Row, Layout8::Whole] {
            let folder = tempfile::tempdir().unwrap();
            let (eight, plain) = fp8(&reference(shape), folder.path(), layout);
            let got = run(&eight, ids, 12);
            assert!(got == run(&plain, ids, 12) && got == run(&eight, ids, 5), "{shape}, {layout:?}");
            // And these are the model's, less what three bits of mantissa lose.
            let apart = mean(&got, &want);
            assert!(apart > 0.0 && apart < 0.6, "{shape}, {layout:?}: {apart}");
        }
    }
}

#[test]
fn fp8_without_its_scales_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (eight, _) = fp8(&reference("lite"), folder.path(), Layout8::Row);
    let file = eight.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(13).position(|w| w == b"weight_scale\"").unwrap();
    bytes[at + 7..at + 12].copy_from_slice(b"other");
    std::fs::write(&file, bytes).unwrap();
    let error = Cpu::open(&eight).err().unwrap().to_string();
    assert!(error.contains("is in FP8") && error.contains("_proj.weight_scale") && error.contains("128 × 128"), "{error}");
}

/// Mean absolute difference of logits whose standard deviation is 2.
fn mean(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

#[test]
fn q8_0_is_near_in_both_layouts() {
    for shape in SHAPES {
        let ids = prompt(shape, "short");
        let want = run(&reference(shape), &ids, 24);
        for layout in [Layout::Joint, Layout::Split] {
            let folder = tempfile::tempdir().unwrap();
            let got = rewritten(shape, layout, GgmlDType::Q8_0, &ids, 24);
            let lost = run(&rounded(&reference(shape), folder.path(), layout, GgmlDType::Q8_0), &ids, 24);
            let same = argmax(&got, 512).iter().zip(argmax(&want, 512)).filter(|(a, b)| **a == *b).count();
            let (apart, lost) = (mean(&got, &want), mean(&lost, &want));
            println!("{shape}: mean {apart}, of which the weights {lost}, argmax {same}/24");
            // Rounding the activations must not cost more than rounding the weights did.
            assert!(apart < 2.0 * lost && lost < 0.15 && same >= 18, "{shape}: {apart}, {lost}, {same} of 24");
        }
    }
}

#[test]
fn every_quantised_format_gives_the_same_bits_in_any_chunking() {
    let ids = &prompt("lite", "long")[..80];
    use GgmlDType::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    for dtype in [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1] {
        let folder = tempfile::tempdir().unwrap();
        let file = gguf(&reference("lite"), folder.path(), Layout::Split, dtype);
        let whole = run(&file, ids, 80);
        assert!(whole.iter().all(|x| x.is_finite()), "{dtype:?}");
        [1, 7, 16, 64].iter().for_each(|chunk| assert!(run(&file, ids, *chunk) == whole, "{dtype:?}, {chunk}"));
    }
}

#[test]
fn bytes_of_the_program_are_a_model_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = gguf(&reference("lite"), folder.path(), Layout::Split, GgmlDType::Q8_0);
    let ids = prompt("lite", "short");
    let want = run(&file, &ids, 24);
    // One byte further: nothing is aligned, so every tensor is copied.
    let bytes = std::fs::read(&file).unwrap();
    for shift in [0, 1] {
        let moved: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
        let moved: &'static [u8] = Vec::leak(moved);
        let mut model = Cpu::from_static("nano", &moved[shift..]).unwrap();
        assert_eq!((model.name(), model.format().as_str()), ("nano", "Q8_0"));
        assert!(logits(&mut model, &shuffled(24), &ids, 24) == want);
    }
}

/// Some tokens of the random model.
fn ids(n: u32) -> Vec<u32> {
    (0..n).map(|i| i * 97 % 4000).collect()
}

fn quantised(folder: &std::path::Path, to: Target) -> std::path::PathBuf {
    let out = folder.join(format!("{to:?}.gguf"));
    quantize::run(&Options { folder: folder.to_owned(), out: out.clone(), to }).unwrap();
    out
}

#[test]
fn a_quantised_folder_is_near_the_folder_and_gives_the_same_bits_in_any_chunking() {
    let folder = tempfile::tempdir().unwrap();
    random(folder.path());
    let ids = ids(40);
    let want = run(folder.path(), &ids, 40);
    let size = (want.iter().map(|x| x * x).sum::<f32>() / want.len() as f32).sqrt();
    for (to, format, error) in [(Target::Q8_0, "Q8_0", 0.1), (Target::Q4KM, "Q4K", 0.5)] {
        let file = quantised(folder.path(), to);
        let model = Cpu::open(&file).unwrap();
        println!("{to:?}: {}", model.format());
        let got = run(&file, &ids, 40);
        let apart = mean(&got, &want) / size;
        println!("{to:?}: {apart} of {size}");
        assert!(apart < error && apart > 0.0, "{to:?} ({format}): {apart}");
        [1, 7, 16].iter().for_each(|chunk| assert!(run(&file, &ids, *chunk) == got, "{to:?}, {chunk}"));
        // The tokenizer came along.
        let words = infill::model::gguf::Vocabulary::read(&file).unwrap();
        assert_eq!((words.tokens.len(), words.pre.as_str()), (4096, "deepseek-llm"));
        assert!(words.fim_pre.is_some() && words.fim_suf.is_some() && words.fim_mid.is_some());
    }
}

#[test]
fn what_cannot_be_quantised_is_said() {
    let folder = tempfile::tempdir().unwrap();
    random(folder.path());
    let error = |from: &std::path::Path, out: &str| {
        let options = Options { folder: from.to_owned(), out: folder.path().join(out), to: Target::Q8_0 };
        format!("{:#}", quantize::run(&options).unwrap_err())
    };
    assert!(error(&folder.path().join("config.json"), "a.gguf").contains("is not a folder"));
    assert!(error(folder.path(), "config.json").contains("exists already"));
    assert!(error(folder.path(), "nowhere/a.gguf").contains("nowhere/a.gguf.part"));
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(error(folder.path(), "a.gguf").contains("tokenizer.json"));
    assert!(!folder.path().join("a.gguf").exists() && !folder.path().join("a.gguf.part").exists());
}

#[test]
fn a_model_in_parts_is_one_model() {
    let folder = tempfile::tempdir().unwrap();
    random(folder.path());
    let file = quantised(folder.path(), Target::Q8_0);
    let want = run(&file, &ids(9), 9);
    let parts = split(&file, 3);
    for part in &parts {
        assert!(run(part, &ids(9), 9) == want, "{}", part.display());
        assert_eq!(infill::model::gguf::Vocabulary::read(part).unwrap().tokens.len(), 4096);
    }
    let error = |path: &std::path::Path| Cpu::open(path).err().unwrap().to_string();
    // A part under another's name, then one that is not there.
    std::fs::copy(&parts[1], &parts[2]).unwrap();
    assert!(error(&parts[0]).contains("part 2 of 3") && error(&parts[0]).contains("part-00003-of-00003.gguf"));
    std::fs::remove_file(&parts[2]).unwrap();
    assert!(error(&parts[0]).contains("part-00003-of-00003.gguf"));
    let alone = folder.path().join("alone.gguf");
    std::fs::copy(&parts[0], &alone).unwrap();
    assert!(error(&alone).contains("part 1 of 3"), "{}", error(&alone));
}
