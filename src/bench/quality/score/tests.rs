//! A line known by heart costs nothing from any cut, and what scores as exact is what the worker writes.
use super::*;
use crate::engine::{Event, Request};
use crate::worker::testing::{Rule, TestModel, memorised, tiny_tokens};
use crate::worker::{Options, Worker};

const LINE: &str = "  let abab = \"größe\" + lete;";
const VOCAB: usize = 300;

fn scorer(rule: Rule) -> Scorer {
    let tokens = Tokens::from_json(tiny_json().as_bytes()).unwrap();
    Scorer::new(Box::new(TestModel::new(VOCAB, 64, rule)), tokens, 1024, 48)
}

fn tiny_json() -> String {
    crate::worker::testing::tiny_json()
}

/// Knows the line, and is very sure.
fn sure() -> Rule {
    let tokens = tiny_tokens();
    let special = tokens.special();
    let rule = memorised(special.fim_end, tokens.encode(LINE), special.eos);
    Box::new(move |tokens, chain, row| {
        rule(tokens, chain, row);
        row.iter_mut().for_each(|logit| *logit *= 10.0);
    })
}

fn text(tail: &str) -> Text {
    Text { prefix: "fn f() {\n".into(), suffix: "\n}\n".into(), tail: tail.into() }
}

fn cuts() -> impl Iterator<Item = (&'static str, &'static str)> {
    LINE.char_indices().map(|(at, _)| LINE.split_at(at))
}

#[test]
fn a_line_known_by_heart_costs_no_bits_from_any_cut() {
    let mut scorer = scorer(sure());
    for (tail, truth) in cuts() {
        let score = scorer.score(&text(tail), truth).unwrap().unwrap();
        assert!(score.bits.abs() < 1e-3 && score.exact, "{tail:?} | {truth:?}: {score:?}");
        // Another line is a surprise, and one that ends sooner or later is not exact.
        let other = scorer.score(&text(tail), "QQQQ").unwrap().unwrap();
        assert!(other.bits > 50.0 && !other.exact, "{tail:?}: {other:?}");
        assert!(!scorer.score(&text(tail), &(truth.to_owned() + "!")).unwrap().unwrap().exact);
        let sooner = &truth[..truth.len() - 1];
        assert!(!scorer.score(&text(tail), sooner).unwrap().unwrap().exact, "{tail:?} | {sooner:?}");
    }
}

#[test]
fn held_bytes_cost_nothing_and_new_ones_their_share() {
    let mut scorer = scorer(Box::new(|_, _, _| {}));
    let mut bits = |tail: &str, truth: &str| scorer.score(&text(tail), truth).unwrap().unwrap().bits;
    // `l`, `le` and `let` agree with "le".
    assert!((bits("le", "t") - 3f64.log2()).abs() < 1e-4);
    // Nothing is held: any token of the vocabulary may come.
    let all = (tiny_tokens().len() as f64).log2();
    assert!((bits("", "let") - all).abs() < 1e-4);
    // In the middle of a word a fresh split has the tokens of the continuation alone: `t`.
    assert!((bits("", "t") - all).abs() < 1e-4);
}

#[test]
fn exact_is_what_the_worker_writes() {
    let model = TestModel::new(VOCAB, 64, sure());
    let worker = Worker::spawn(Box::new(model), tiny_tokens(), Options { cache_blocks: 64, ..Options::default() });
    let mut scorer = scorer(sure());
    for (tail, _) in cuts() {
        let Text { prefix, suffix, tail } = text(tail);
        let request = Request { prefix, suffix, tail: tail.clone(), max_tokens: 48, stop: vec!["\n".into()], ..Request::default() };
        let (mut answer, mut written) = (worker.submit(request), String::new());
        while let Some(event) = answer.blocking_recv() {
            match event {
                Event::Text { text, .. } => written += &text,
                Event::Done { .. } => break,
                Event::Top(_) => {}
                Event::Failed(error) => panic!("{error}"),
            }
        }
        assert!(scorer.score(&text(&tail), &written).unwrap().unwrap().exact, "{tail:?} | {written:?}");
    }
}

#[test]
fn what_does_not_fit_is_left_out() {
    let mut scorer = scorer(sure());
    let long = Text { prefix: "1".repeat(2000), ..text("") };
    assert_eq!(scorer.score(&long, "let").unwrap(), None);
    assert!(scorer.score(&text(""), LINE).unwrap().unwrap().exact);
}

#[test]
fn a_healed_split_is_the_same_text_moved_back_to_a_settled_token() {
    let scorer = scorer(sure());
    let text = Text { prefix: "fn f() {\n  let ab".into(), suffix: "\n}\n".into(), tail: String::new() };
    let healed = scorer.healed(text.clone());
    assert_eq!(healed.prefix.clone() + &healed.tail, text.prefix);
    assert_eq!(healed.suffix, text.suffix);
    assert!(healed.tail.ends_with("ab") && healed.tail.len() < 6, "{healed:?}");
}
