//! With what stands around mixed in: the same invariants, and the text that is copied.
//!
//! ```text
//! above "let abab = x1⏎"   tail "let a"   a model that prefers nothing writes "bab = x1"
//! ```
use super::*;
use crate::engine::Sampling;
use crate::worker::copy::Copying;

fn copying(share: f32) -> Copying {
    Copying { reach: 1000, sharpness: 1.0, weights: [share, 0.3, 1.0, 0.5, 0.1] }
}

fn copies(model: TestModel, blocks: usize, share: f32) -> Worker {
    let options = Options { cache_blocks: blocks, chunk: 16, copying: Some(copying(share)), ..Options::default() };
    Worker::spawn(Box::new(model), TOKENS.clone(), options)
}

fn chaos_copying(blocks: usize) -> Worker {
    copies(TestModel::new(VOCAB, blocks, chaotic()), blocks, 0.0)
}

/// Requests as in an editor, some of them drawn, with more of the file around.
fn requests() -> impl Strategy<Value = Vec<Request>> {
    let more = prop::collection::vec((piece(), piece(), prop::option::of(0..9u64)), 12);
    (edits(), more).prop_map(|(edits, more)| {
        let around = |(request, (above, below, seed)): (Request, (String, String, Option<u64>))| {
            let sampling = seed.map(|seed| Sampling { temperature: 1.0, top_p: 0.9, seed });
            Request { above, below, sampling, ..request }
        };
        edits.into_iter().zip(more).map(around).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn warm_equals_cold_and_drafted_when_copying(requests in requests(), small in any::<bool>()) {
        let blocks = if small { 16 } else { 256 };
        let warm = chaos_copying(blocks);
        for request in requests {
            let cold = chaos_copying(blocks);
            let expected = ask(&cold, request.clone());
            let got = ask(&warm, request.clone());
            prop_assert_eq!(got.content(), expected.content());
            let again = ask(&warm, request.clone());
            prop_assert_eq!(again.content(), expected.content());
            let other = ask(&cold, Request { draft: !request.draft, ..request });
            prop_assert_eq!(other.content(), expected.content());
        }
    }

    /// A backend that chooses by itself knows of no copies: it is asked for logits.
    #[test]
    fn running_ahead_copies_too(requests in requests()) {
        let plain = chaos_copying(64);
        let mut model = TestModel::new(VOCAB, 64, chaotic());
        model.ahead = true;
        let ahead = copies(model, 64, 0.0);
        for request in requests {
            let (expected, got) = (ask(&plain, request.clone()), ask(&ahead, request));
            prop_assert_eq!(got.content(), expected.content());
        }
    }
}

#[test]
fn a_model_that_prefers_nothing_writes_what_stands_around() {
    let flat = || TestModel::new(VOCAB, 64, Box::new(|_, _, row| row.fill(0.0)));
    let asked = |above: &str, tail: &str, below: &str| Request {
        above: above.into(),
        below: below.into(),
        max_tokens: 20,
        stop: vec!["\n".into()],
        ..request("", "", tail)
    };
    let line = "let abab = x1;\n";
    for (above, below) in [(line, ""), ("", line)] {
        let worker = copies(flat(), 64, 5.0);
        for cut in 2..line.len() - 1 {
            let got = ask(&worker, asked(above, &line[..cut], below));
            assert_eq!(got.text, line[cut..line.len() - 1], "after {:?}", &line[..cut]);
            assert!(got.logprobs.iter().all(|&logprob| logprob <= 0.0));
        }
    }
    // Not asked to copy, it does not.
    let (plain, _) = worker(flat(), 64);
    assert_ne!(ask(&plain, asked(line, "let ", "")).text, "abab = x1;");
}
