//! The same model as GGUF: both layouts of kv_b, plain and quantised.
//!
//! ```text
//! safetensors bf16 -> GGUF F32, joint kv_b: the same bits
//!                  -> GGUF Q8_0: the same within what eight bits lose
//! ```
mod checkpoint;

use candle_core::quantized::GgmlDType;
use checkpoint::*;
use infill::model::cpu::Cpu;

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
