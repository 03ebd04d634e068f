//! The worker with exact little backends: warm equals cold, drafts change nothing, cancel, priority, failures.
use super::testing::{Probe, TestModel, chaotic, memorised, tiny_tokens};
use super::*;
use crate::engine::{Finish, Miss, Usage};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::SeqCst;

static TOKENS: LazyLock<Arc<Tokens>> = LazyLock::new(tiny_tokens);
/// One row more than the tokenizer has tokens, as real models have.
const VOCAB: usize = 270;

#[derive(Debug, PartialEq)]
struct Answered {
    text: String,
    logprobs: Vec<f32>,
    end: Result<(Finish, Usage), EngineError>,
}

impl Answered {
    fn usage(&self) -> &Usage {
        &self.end.as_ref().unwrap().1
    }

    fn error(&self) -> String {
        self.end.as_ref().unwrap_err().to_string()
    }

    /// What must be the same whatever the cache held.
    fn content(&self) -> (&str, &[f32], Finish) {
        (&self.text, &self.logprobs, self.end.as_ref().unwrap().0)
    }
}

fn collect(mut answer: Answer) -> Answered {
    let mut got = Answered { text: String::new(), logprobs: Vec::new(), end: Err(broken()) };
    let mut ends = 0;
    while let Some(event) = answer.blocking_recv() {
        match event {
            Event::Text { text, logprob } => {
                assert!(ends == 0 && !text.is_empty());
                got.text += &text;
                got.logprobs.push(logprob);
            }
            Event::Top(_) => {}
            Event::Done { finish, usage } => (got.end, ends) = (Ok((finish, usage)), ends + 1),
            Event::Failed(error) => (got.end, ends) = (Err(error), ends + 1),
        }
    }
    assert_eq!(ends, 1, "exactly one end");
    got
}

fn worker(model: TestModel, blocks: usize) -> (Worker, Arc<Probe>) {
    let probe = model.probe.clone();
    let options = Options { cache_blocks: blocks, chunk: 16, ..Options::default() };
    (Worker::spawn(Box::new(model), TOKENS.clone(), options), probe)
}

fn chaos(blocks: usize) -> (Worker, Arc<Probe>) {
    worker(TestModel::new(VOCAB, blocks, chaotic()), blocks)
}

/// A worker whose model writes `line` after the prompt, then ends.
fn reciter(line: &str) -> (Worker, Arc<Probe>) {
    let special = TOKENS.special();
    worker(TestModel::new(VOCAB, 64, memorised(special.fim_end, TOKENS.encode(line), special.eos)), 64)
}

fn request(prefix: &str, suffix: &str, tail: &str) -> Request {
    Request { prefix: prefix.into(), suffix: suffix.into(), tail: tail.into(), max_tokens: 8, ..Request::default() }
}

fn ask(worker: &Worker, request: Request) -> Answered {
    collect(worker.submit(request))
}

fn piece() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["let ", "ab", " ", "\n", "é", "x1", "+", "    "]), 0..24)
        .prop_map(|parts| parts.concat())
}

/// Requests as an editor makes them: now and then another prefix or suffix, mostly another tail.
fn edits() -> impl Strategy<Value = Vec<Request>> {
    let texts = || prop::collection::vec(piece(), 3);
    let step = (0..3usize, 0..3usize, piece(), 0..12usize, any::<bool>(), 0..3usize);
    (texts(), texts(), prop::collection::vec(step, 1..12)).prop_map(|(prefixes, suffixes, steps)| {
        let make = |(prefix, suffix, tail, max_tokens, draft, rank): (usize, usize, String, usize, bool, usize)| Request {
            max_tokens,
            draft,
            rank,
            ..request(&prefixes[prefix], &suffixes[suffix], &tail)
        };
        steps.into_iter().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// A backend that chooses by itself gives the same answers, and leaves the same in the cache.
    #[test]
    fn running_ahead_changes_nothing(requests in edits()) {
        let (plain, _) = chaos(64);
        let mut model = TestModel::new(VOCAB, 64, chaotic());
        model.ahead = true;
        let (ahead, _) = worker(model, 64);
        for request in requests {
            let (expected, got) = (ask(&plain, request.clone()), ask(&ahead, request));
            prop_assert_eq!(got.content(), expected.content());
            prop_assert_eq!(got.usage().generated, expected.usage().generated);
            prop_assert_eq!(got.usage().reused, expected.usage().reused);
        }
    }

    /// Large: everything stays. Small: about half is evicted between two requests.
    #[test]
    fn warm_equals_cold(requests in edits(), small in any::<bool>()) {
        let blocks = if small { 16 } else { 256 };
        let (warm, _) = chaos(blocks);
        for request in requests {
            let (cold, _) = chaos(blocks);
            let expected = ask(&cold, request.clone());
            prop_assert_eq!(expected.usage().reused, 0);
            let got = ask(&warm, request.clone());
            prop_assert_eq!(got.content(), expected.content());
            prop_assert_eq!(got.usage().prompt_tokens, expected.usage().prompt_tokens);
            // Drafts are rolled back inside one answer; without them nothing is.
            let plain = ask(&cold, Request { draft: !request.draft, ..request });
            prop_assert_eq!(plain.content(), expected.content());
        }
    }

    #[test]
    fn a_stop_ends_the_answer_before_it(prefix in piece(), stop in "[a-z ]{1,2}", draft in any::<bool>()) {
        let (worker, _) = chaos(64);
        let whole = ask(&worker, Request { max_tokens: 24, draft, ..request(&prefix, "", "") });
        let cut = ask(&worker, Request { max_tokens: 24, draft, stop: vec![stop.clone()], ..request(&prefix, "", "") });
        match whole.text.find(&stop) {
            Some(at) => prop_assert_eq!((cut.text.as_str(), cut.content().2), (&whole.text[..at], Finish::Stop)),
            None => prop_assert_eq!(cut.content().0, whole.text),
        }
    }
}

/// The same with the real forward pass: a Lite-shaped model with random weights, unused slots NaN.
#[test]
fn warm_equals_cold_with_a_real_model() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/lite");
    let open = |blocks| {
        let model = super::testing::Poisoned(crate::model::cpu::Cpu::open(&folder).unwrap());
        Worker::spawn(Box::new(model), TOKENS.clone(), Options { cache_blocks: blocks, chunk: 16, ..Options::default() })
    };
    let cold = |request: &Request| ask(&open(64), request.clone());
    let (prefix, other) = ("let ab = x1;\n".repeat(6), "ab + ab;\n".repeat(9));
    let edits = [
        (&prefix, "}\n", ""),
        (&prefix, "}\n", "l"),
        (&prefix, "}\n", "let a"),
        (&prefix, "}\n", "let ab\n  "),
        (&other, "", "é"),
        (&prefix, "} \n", "x"),
    ];
    for blocks in [14, 64] {
        let warm = open(blocks);
        for (prefix, suffix, tail) in edits.iter().chain(&edits) {
            for draft in [false, true] {
                let request = Request { max_tokens: 24, draft, ..request(prefix, suffix, tail) };
                let (got, expected) = (ask(&warm, request.clone()), cold(&request));
                assert_eq!(got.content(), expected.content(), "{blocks} blocks, {tail:?}, draft {draft}");
            }
        }
    }
}

#[test]
fn drafts_are_counted_and_some_are_right() {
    let (worker, probe) = chaos(256);
    let plain = ask(&worker, Request { max_tokens: 200, ..request("let ab", "", "") });
    let (worker, drafting) = chaos(256);
    let drafted = ask(&worker, Request { max_tokens: 200, draft: true, ..request("let ab", "", "") });
    assert_eq!(plain.content(), drafted.content());
    let usage = drafted.usage();
    assert!(usage.accepted > 20 && usage.accepted < usage.drafted, "{usage:?}");
    assert!(drafting.passes.load(SeqCst) + usage.accepted <= probe.passes.load(SeqCst) + 1);
    assert_eq!((plain.usage().drafted, plain.usage().generated, usage.generated), (0, 200, 200));
}

#[test]
fn healed_answers_are_the_memorised_line_from_every_character() {
    let line = "    let naïve = \"日本 🦙\" + ab1;  // letab\n";
    let (worker, _) = reciter(line);
    for (cut, _) in line.char_indices() {
        let got = ask(&worker, Request { max_tokens: 100, ..request("fn\n", "}\n", &line[..cut]) });
        assert_eq!((got.text.as_str(), got.content().2), (&line[cut..], Finish::Stop), "after {:?}", &line[..cut]);
        assert!(got.logprobs.iter().all(|&logprob| logprob <= 0.0));
    }
}

#[test]
fn a_keystroke_costs_the_tokens_typed() {
    let line = "let abab = 1 + ab;\n";
    let (worker, probe) = reciter(line);
    let prefix = "let x\n".repeat(100);
    assert_eq!(ask(&worker, request(&prefix, "}\n", "")).usage().miss, Miss::Cold);
    let mut without_a_pass = 0;
    for cut in 1..line.len() - 1 {
        let before = probe.tokens.load(SeqCst);
        let got = ask(&worker, Request { max_tokens: 1, ..request(&prefix, "}\n", &line[..cut]) });
        let usage = got.usage();
        assert!(usage.computed <= 2 && usage.miss == Miss::None, "after {:?}: {usage:?}", &line[..cut]);
        assert_eq!(probe.tokens.load(SeqCst) - before, usage.computed, "what is reported is what ran");
        assert!(usage.reused + 2 >= usage.prompt_tokens);
        without_a_pass += usize::from(usage.computed == 0);
        // The same again needs no pass for its first token.
        let again = ask(&worker, Request { max_tokens: 1, ..request(&prefix, "}\n", &line[..cut]) });
        assert_eq!((again.content(), again.usage().computed), (got.content(), 0));
    }
    assert!(without_a_pass > 3, "inside a word only the mask changes: {without_a_pass}");
}

#[test]
fn the_account_says_why_it_missed() {
    let (worker, _) = chaos(32);
    let (prefix, suffix) = ("let ab\n".repeat(8), "+ab\n".repeat(8));
    let miss = |prefix: &str, suffix: &str, tail: &str| ask(&worker, request(prefix, suffix, tail)).usage().miss;
    assert_eq!(miss(&prefix, &suffix, "x"), Miss::Cold);
    assert_eq!(miss(&prefix, &suffix, "x"), Miss::None);
    assert_eq!(miss(&prefix, &suffix, "+1+2+3+4\n"), Miss::Tail);
    assert_eq!(miss(&prefix, &suffix.replace('b', "c"), ""), Miss::Suffix);
    assert_eq!(miss(&prefix.replacen("ab\nlet ab\nlet ab", "y", 1), &suffix, ""), Miss::Prefix);
    for n in 0..9 {
        miss(&format!("{n}").repeat(100), "", "");
    }
    assert_eq!(miss(&prefix, &suffix, "x"), Miss::Evicted);
}

#[test]
fn prefill_only_generates_nothing_and_is_kept() {
    let (worker, probe) = chaos(64);
    let long = "let ab\n".repeat(20);
    let got = ask(&worker, Request { max_tokens: 0, ..request(&long, "", "") });
    assert_eq!((got.content().0, got.usage().generated, got.usage().first_token), ("", 0, None));
    assert_eq!(got.usage().computed, got.usage().prompt_tokens);
    assert_eq!(ask(&worker, request(&long, "", "")).usage().computed, 1);
    let before = probe.passes.load(SeqCst);
    assert_eq!(ask(&worker, Request { max_tokens: 0, ..request(&long, "", "") }).usage().computed, 0);
    assert_eq!(probe.passes.load(SeqCst), before);
}

#[test]
fn ranks_begin_with_different_tokens_the_best_first() {
    let preferred = ["let", "le", "l", "c", "b"].map(|text| TOKENS.encode(text)[0]);
    let rule = move |_: &[u32], _: u64, row: &mut [f32]| {
        row[TOKENS.special().fim_hole as usize] = 8.5;
        preferred.iter().zip([9.0, 8.0, 7.0, 6.0, 5.0]).for_each(|(&token, logit)| row[token as usize] = logit);
    };
    let (worker, _) = worker(TestModel::new(VOCAB, 64, Box::new(rule)), 64);
    let begin = |tail: &str| {
        let answer = |rank| ask(&worker, Request { max_tokens: 1, rank, ..request("", "", tail) });
        (0..5).map(answer).map(|got| (got.text, got.logprobs.first().copied())).collect::<Vec<_>>()
    };
    let free = begin("");
    assert_eq!(free.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["let", "le", "l", "c", "b"]);
    assert!(free.windows(2).all(|pair| pair[0].1 > pair[1].1));
    // Healing: an alternative must bring new text, and there are only two tokens that do.
    assert_eq!(begin("l").iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["et", "e", "", "", ""]);
}

#[test]
fn a_dropped_answer_stops_the_work_and_keeps_what_was_done() {
    let (worker, probe) = chaos(128);
    let long = "let ab\n".repeat(60);
    probe.close_after(2);
    let answer = worker.submit(request(&long, "", ""));
    probe.wait_for_passes(3);
    drop(answer);
    probe.open();
    let got = ask(&worker, request(&long, "", ""));
    // Three chunks of 16 ran before the cancel was seen, and none of them ran again.
    assert_eq!(got.usage().reused, 48);
    // And between two decode steps.
    let before = probe.passes.load(SeqCst);
    probe.close_after(5);
    let answer = worker.submit(Request { max_tokens: 500, ..request(&long, "", "") });
    probe.wait_for_passes(before + 6);
    drop(answer);
    probe.open();
    let after = ask(&worker, Request { max_tokens: 0, ..request(&long, "", "") });
    assert!(after.end.is_ok() && probe.passes.load(SeqCst) == before + 6);
}

#[test]
fn a_slow_machine_prefills_in_chunks_that_are_worth_a_pass() {
    // A pass takes a fifth of a second, whatever is in it: after the first, the pace asks for as few tokens as may be.
    let passes = |worthwhile| {
        let mut model = TestModel::new(VOCAB, 128, chaotic());
        (model.worthwhile, model.pause) = (worthwhile, std::time::Duration::from_millis(200));
        let probe = model.probe.clone();
        let worker = Worker::spawn(Box::new(model), TOKENS.clone(), Options { cache_blocks: 128, ..Options::default() });
        let got = ask(&worker, Request { max_tokens: 0, ..request(&"let ab\n".repeat(60), "", "") });
        (got.usage().computed, probe.passes.load(SeqCst))
    };
    let (computed, large) = passes(64);
    assert_eq!(large, computed.div_ceil(64));
    let (computed, small) = passes(16);
    assert!(small > computed / 32, "{small} passes for {computed} tokens");
}

#[test]
fn background_work_gives_way_and_is_resumed() {
    let (long, other) = ("let ab\n".repeat(60), "x1\n".repeat(10));
    let background = Request { max_tokens: 20, priority: Priority::Background, ..request(&long, "", "") };
    let expected = ask(&chaos(256).0, background.clone());
    // While it prefills, and after some of its text was sent.
    for held_at in [2, 20] {
        let (worker, probe) = chaos(256);
        probe.close_after(held_at);
        let waiting = worker.submit(background.clone());
        probe.wait_for_passes(held_at + 1);
        let urgent = worker.submit(Request { max_tokens: 3, ..request(&other, "", "") });
        probe.open();
        let (urgent, waiting) = (collect(urgent), collect(waiting));
        assert_eq!(urgent.usage().generated, 3);
        assert_eq!(waiting.content(), expected.content(), "interrupted after {held_at} passes");
        assert!(urgent.usage().total < waiting.usage().total, "the urgent one came later and was done first");
    }
}

#[test]
fn interactive_requests_overtake_waiting_background_ones() {
    let (worker, probe) = chaos(256);
    probe.close_after(0);
    let first = worker.submit(Request { max_tokens: 0, ..request("a", "", "") });
    probe.wait_for_passes(1);
    let background = worker.submit(Request { priority: Priority::Background, ..request("let b", "", "") });
    let interactive = worker.submit(request("let c", "", ""));
    probe.open();
    collect(first);
    let (background, interactive) = (collect(background), collect(interactive));
    // Submitted first, finished last.
    assert!(background.usage().total > interactive.usage().total);
}

#[test]
fn a_failure_ends_one_request_only() {
    let (worker, probe) = chaos(64);
    let expected = ask(&worker, request("let ab", "", ""));
    probe.fail.store(true, SeqCst);
    assert!(ask(&worker, request("other", "", "")).error().contains("a failure that the test asked for"));
    assert_eq!(ask(&worker, request("let ab", "", "")).content(), expected.content());
}

#[test]
fn a_panic_is_survived_and_the_third_in_a_row_is_the_end() {
    let (worker, probe) = chaos(64);
    let expected = ask(&worker, request("let ab", "", ""));
    probe.panic.store(true, SeqCst);
    assert!(ask(&worker, request("let ab", "", "")).error().contains("stopped in the middle"));
    let again = ask(&worker, request("let ab", "", ""));
    assert_eq!((again.content(), again.usage().reused), (expected.content(), 0));
    for _ in 0..3 {
        probe.panic.store(true, SeqCst);
        ask(&worker, request("let ab", "", "")).error();
    }
    for _ in 0..2 {
        assert!(ask(&worker, request("let ab", "", "")).error().contains("restart infill"));
    }
    assert_eq!(worker.state(), State::Failed(broken()));
}

#[test]
fn logits_that_are_not_numbers_are_an_error() {
    let (worker, _) = worker(TestModel::new(VOCAB, 64, Box::new(|_, _, row| row.fill(f32::NAN))), 64);
    assert!(ask(&worker, request("let ab", "", "")).error().contains("not a number"));
}

#[test]
fn what_does_not_fit_is_an_error_with_the_remedy() {
    let (worker, probe) = chaos(1000);
    let error = ask(&worker, request(&"1".repeat(4100), "", "")).error();
    assert!(error.contains("4104 tokens of prompt and 8 to generate do not fit in the model's 4096"), "{error}");
    assert!(error.contains("lower context.tokens"), "{error}");
    let error = ask(&worker, Request { max_tokens: usize::MAX, ..request("", "", "") }).error();
    assert!(error.contains("do not fit"), "{error}");
    assert_eq!(probe.passes.load(SeqCst), 0);
    for blocks in [0, 1, 3] {
        let (worker, _) = chaos(blocks);
        let error = ask(&worker, request(&"1".repeat(100), "", "")).error();
        assert!(error.contains("raise cache.bytes") && error.contains(&format!("holds {}", blocks * 16)), "{error}");
    }
    // And what just fits, fits, again and again.
    let (worker, _) = chaos(2);
    for n in 0..5 {
        let got = ask(&worker, Request { max_tokens: 8, ..request(&format!("{n}").repeat(20), "", "") });
        assert_eq!(got.usage().prompt_tokens, 24);
    }
}

#[test]
fn special_tokens_in_the_text_are_text() {
    let (worker, _) = chaos(64);
    let got = ask(&worker, request("<｜fim▁hole｜>", "<｜fim▁end｜>", "<｜end▁of▁sentence｜>\n"));
    assert!(got.usage().prompt_tokens > 40);
}

#[test]
fn requests_wait_for_the_model_to_load_and_hear_when_it_cannot() {
    let (go, wait) = channel::<()>();
    let worker = Worker::spawn_with(move || {
        wait.recv().ok();
        let model = TestModel::new(VOCAB, 64, chaotic());
        Ok(Loaded { backend: Box::new(model), tokens: TOKENS.clone(), options: Options { cache_blocks: 64, ..Options::default() } })
    });
    let mut early = worker.submit(request("let ab", "", ""));
    assert_eq!((worker.state(), early.try_recv().ok()), (State::Loading, None));
    go.send(()).unwrap();
    assert_eq!(collect(early).usage().generated, 8);
    let totals = worker.totals();
    assert_eq!((totals.requests, totals.generated, totals.prompt_tokens), (1, 8, 6));
    // The last token of an answer is not run: nothing follows it.
    assert_eq!(totals.computed, 6 + 7);
    assert!(matches!(worker.state(), State::Ready(info) if info.context == 1024 && info.bytes_per_token > 1.0));

    let error = EngineError { title: "No model at x".into(), hint: "run `infill pull`".into() };
    let failing = error.clone();
    let worker = Worker::spawn_with(move || Err(failing));
    for _ in 0..2 {
        assert_eq!(ask(&worker, request("", "", "")).end.unwrap_err(), error);
    }
    assert_eq!(worker.state(), State::Failed(error));
    let worker = Worker::spawn_with(|| panic!("a panic that the test asked for"));
    assert!(ask(&worker, request("", "", "")).error().contains("restart infill"));
}

mod copying;
mod orders;
mod together;
mod turns;
