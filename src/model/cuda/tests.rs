//! What can be tested without a device: which precision fits, the tables of turns, the reading of picks.
use super::*;
use std::path::PathBuf;

fn lite() -> (Weights, Config) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/lite");
    let (store, config) = Store::open(&folder).unwrap();
    (Weights::load(&store, &config).unwrap(), config)
}

#[test]
fn the_finest_precision_that_fits_is_picked() {
    let (weights, c) = lite();
    let options = Options { pool_bytes: Some(0), ..Options::default() };
    let rest = Scratch::bytes(&c, Sizes::new(&c, usize::MAX)) + 300_000_000;
    let needs = |p| weights::bytes(&weights, &c, p) + rest;
    let all = Precision::ALL.map(needs);
    assert!(all[0] > all[1] && all[1] >= all[2], "{all:?}");
    assert_eq!(pick_precision(&weights, &c, &options, all[0]).unwrap(), Precision::Bf16);
    assert_eq!(pick_precision(&weights, &c, &options, all[0] - 1).unwrap(), Precision::Q8);
    // A pool that is asked for takes its share.
    let pool = Options { pool_bytes: Some(1000), ..options };
    assert_eq!(pick_precision(&weights, &c, &pool, all[0]).unwrap(), Precision::Q8);
    let error = format!("{:#}", pick_precision(&weights, &c, &options, 1_000_000).unwrap_err());
    assert!(error.contains("even in Q4K") && error.contains("1 MB are free") && error.contains("set device"), "{error}");
}

#[test]
fn turns_are_those_of_the_cpu() {
    let (_, c) = lite();
    let turns = turns(&c, 40);
    let f = c.frequencies();
    assert_eq!(turns.len(), 40 * c.rope);
    let (sin, cos) = (39.0 * f[3]).sin_cos();
    assert_eq!(turns[39 * c.rope + 6..39 * c.rope + 8], [cos * c.amplitude(), sin * c.amplitude()]);
}

#[test]
fn a_pick_that_is_no_token_is_an_error() {
    let pair = |token: i32| {
        let mut pair = [0; 8];
        pair[..4].copy_from_slice(&token.to_le_bytes());
        pair[4..].copy_from_slice(&(-0.5f32).to_le_bytes());
        pair
    };
    assert_eq!(pick(&pair(7)).unwrap(), Pick { token: 7, logprob: -0.5 });
    assert!(pick(&pair(-1)).unwrap_err().to_string().contains("not a number"));
}

#[test]
fn models_that_the_kernels_do_not_take_are_refused() {
    let (_, c) = lite();
    assert_eq!(pass::check(&c, 99 << 10), Ok(()));
    for bad in [
        Config { hidden: 60, ..c.clone() },
        Config { kv_lora: 1024, ..c.clone() },
        Config { chosen: 33, experts: 64, ..c.clone() },
        Config { dense_ffn: 65_536, ..c.clone() },
    ] {
        assert!(pass::check(&bad, 99 << 10).unwrap_err().contains("set device to \"cpu\""));
    }
}
