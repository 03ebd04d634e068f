//! The forward pass against transformers' logits and candle's model, in every chunking, over shuffled blocks.
//!
//! ```text
//! cargo test --release --test reference
//! ```
mod checkpoint;

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::deepseek2::{DeepSeekV2, DeepSeekV2Config};
use checkpoint::*;
use infill::model::Backend;
use infill::model::cpu::Cpu;

const SHAPES: [&str; 2] = ["lite", "236b"];

fn open(shape: &str) -> Cpu {
    Cpu::open(&reference(shape)).unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    for shape in SHAPES {
        let report = infill::verify::verify(&reference(shape)).unwrap();
        assert!(report.pass, "{report:#?}");
        assert_eq!(report.prompts.iter().map(|p| p.positions).sum::<usize>(), 1 + 24 + 32);
        println!("{shape}: {:.1e}", report.max_difference);
    }
}

/// Prompts of 4,100 and of 16,384 tokens: YaRN stretches from 4,096 positions on.
#[test]
fn logits_beyond_the_original_context_are_those_of_transformers() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in
        [("config.json", "config.json"), ("model.safetensors", "model.safetensors"), ("positions.safetensors", "reference.safetensors")]
    {
        std::fs::copy(reference("lite").join(from), dir.path().join(to)).unwrap();
    }
    let report = infill::verify::verify(dir.path()).unwrap();
    assert!(report.pass, "{report:#?}");
    assert_eq!(report.prompts.iter().map(|p| (p.tokens, p.positions)).collect::<Vec<_>>(), [(4100, 32), (16_384, 32)]);
    println!("{:.1e}", report.max_difference);
}

#[test]
fn any_chunking_gives_the_same_bits() {
    for shape in SHAPES {
        let ids = prompt(shape, "long");
        let table = shuffled(ids.len());
        let mut model = open(shape);
        poison(&mut model, &table);
        let whole = logits(&mut model, &table, &ids, ids.len());
        assert!(whole.iter().all(|x| x.is_finite()));
        for chunk in [1, 7, 16, 64] {
            poison(&mut model, &table);
            assert!(logits(&mut model, &table, &ids, chunk) == whole, "{shape}, chunks of {chunk}");
        }
    }
}

#[test]
fn a_pass_longer_than_one_piece_gives_the_same_bits() {
    let ids: Vec<u32> = prompt("lite", "long").into_iter().cycle().take(700).collect();
    let table = shuffled(ids.len());
    let mut model = open("lite");
    let whole = model.forward(&table, 0, &ids, 300).unwrap();
    assert!(model.forward(&table, 0, &ids[..350], 0).unwrap().is_empty());
    let rest = model.forward(&table, 350, &ids[350..], 300).unwrap();
    assert!(whole == rest);
}

#[test]
fn the_place_of_the_blocks_does_not_matter() {
    let ids = prompt("lite", "long");
    let straight: Vec<_> = (0..19).map(infill::cache::BlockId).collect();
    let a = logits(&mut open("lite"), &straight, &ids, 64);
    let b = logits(&mut open("lite"), &shuffled(ids.len()), &ids, 64);
    assert!(a == b);
}

#[test]
fn truncated_and_extended_again_gives_the_same_bits() {
    for shape in SHAPES {
        let ids = prompt(shape, "long");
        let table = shuffled(ids.len());
        let mut model = open(shape);
        let vocab = model.vocab();
        let whole = logits(&mut model, &table, &ids, ids.len());
        // Other tokens from 100 on, then back to 100: what they left behind must not be seen.
        let other: Vec<u32> = ids[..120].iter().map(|t| (t + 1) % vocab as u32).collect();
        model.forward(&table, 100, &other, 1).unwrap();
        model.poison(table[6], 100 % 16);
        table[7..].iter().for_each(|b| model.poison(*b, 0));
        let again = model.forward(&table, 100, &ids[100..], ids.len() - 100).unwrap();
        assert!(again == whole[100 * vocab..], "{shape}");
    }
}

#[test]
fn a_branch_in_the_middle_of_a_block_leaves_both_sequences_whole() {
    let ids = prompt("lite", "long");
    let table = shuffled(48);
    let mut model = open("lite");
    let whole = logits(&mut model, &table, &ids[..48], 48);
    let mut branch = table.clone();
    (branch[1], branch[2]) = (infill::cache::BlockId(500), infill::cache::BlockId(501));
    model.copy_block(table[1], branch[1], 5);
    let vocab = model.vocab();
    let other = model.forward(&branch, 21, &ids[100..127], 27).unwrap();
    let first = model.forward(&table, 47, &ids[47..48], 1).unwrap();
    assert!(first == whole[47 * vocab..]);
    let cold: Vec<u32> = ids[..21].iter().chain(&ids[100..127]).copied().collect();
    assert!(other == logits(&mut open("lite"), &table, &cold, 48)[21 * vocab..]);
}

#[test]
fn an_unwritten_position_is_seen_in_the_logits() {
    let ids = prompt("lite", "long");
    let table = shuffled(ids.len());
    let mut model = open("lite");
    model.forward(&table, 0, &ids[..40], 0).unwrap();
    model.poison(table[1], 15);
    assert!(model.forward(&table, 40, &ids[40..41], 1).unwrap()[0].is_nan());
}

#[test]
fn what_the_worker_must_not_ask_is_an_error() {
    let mut model = open("lite");
    let table = shuffled(32);
    let mut error = |start, tokens: &[u32], rows| model.forward(&table, start, tokens, rows).unwrap_err().to_string();
    assert!(error(0, &[1, 512], 1).contains("token 512"));
    assert!(error(30, &[1, 2, 3], 1).contains("2 blocks"));
    assert!(error(0, &[1], 2).contains("2 tokens"));
    assert!(error(usize::MAX, &[1], 1).contains("beyond"));
    assert!(error(163_840, &[1], 1).contains("163840 positions"));
}

/// candle-transformers' own model, on the Lite shape. Not on the 236B's: its group-limited routing takes the groups'
/// indices from the experts' scores and the weights from the mask, so its logits are not DeepSeek's.
#[test]
fn logits_are_those_of_candle() {
    let text = std::fs::read_to_string(reference("lite").join("config.json")).unwrap();
    // Its tables of cos and sin reach over the whole context: a short one here.
    let config: DeepSeekV2Config = serde_json::from_str(&text.replace("163840", "1024")).unwrap();
    let tensors = candle_core::safetensors::load(reference("lite").join("model.safetensors"), &Device::Cpu).unwrap();
    let vars = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let mut candle = DeepSeekV2::new(&config, vars).unwrap();
    for name in ["one", "short", "long"] {
        let ids = prompt("lite", name);
        let input = Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        candle.clear_kv_cache();
        let want = candle.forward(&input, 0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let got = open("lite").forward(&shuffled(ids.len()), 0, &ids, 1).unwrap();
        let apart = distance(&got, &want);
        assert!(apart < 1e-3, "{name}: {apart}");
    }
}
