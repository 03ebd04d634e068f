//! Several windows in one pass: what each gets must be what it gets alone, whoever flies beside it.
use super::*;
use crate::cache::BlockId;
use crate::model::{Backend, Part};

/// A worker whose backend takes eight tokens of any sequences in one pass.
fn wide(blocks: usize, ahead: bool) -> (Worker, Arc<Probe>) {
    let mut model = TestModel::new(VOCAB, blocks, chaotic());
    (model.together, model.ahead) = (8, ahead);
    worker(model, blocks)
}

/// Submits all while the worker is held in its first pass, then lets it go.
fn at_once((worker, probe): &(Worker, Arc<Probe>), requests: Vec<Request>) -> Vec<Answered> {
    let gate = worker.submit(Request { max_tokens: 0, ..request("gate", "", "") });
    probe.wait_for_passes(1);
    let answers: Vec<_> = requests.into_iter().map(|r| worker.submit(r)).collect();
    probe.open();
    collect(gate);
    answers.into_iter().map(collect).collect()
}

fn held(blocks: usize, ahead: bool) -> (Worker, Arc<Probe>) {
    let all = wide(blocks, ahead);
    all.1.close_after(0);
    all
}

fn prompts(count: usize) -> Vec<Request> {
    let one =
        |n: usize| Request { max_tokens: 30 + n, draft: n.is_multiple_of(3), ..request(&format!("let {n}\n").repeat(9 + n), "}", "le") };
    (0..count).map(one).collect()
}

#[test]
fn windows_share_passes_and_get_what_they_get_alone() {
    for ahead in [false, true] {
        let all = held(256, ahead);
        let got = at_once(&all, prompts(5));
        for (got, request) in got.iter().zip(prompts(5)) {
            let alone = ask(&chaos(256).0, request);
            assert_eq!(got.content(), alone.content());
            assert_eq!(got.usage().generated, alone.usage().generated);
            // The first tokens of every prompt are the same, and may be there.
            assert_eq!(got.usage().computed + got.usage().reused, alone.usage().computed);
        }
        let widths = all.1.widths.lock().unwrap().clone();
        assert!(widths.iter().any(|w| *w >= 3), "{widths:?}");
    }
}

#[test]
fn nine_windows_and_drafts_fit_into_passes_of_eight_tokens() {
    let all = held(512, false);
    let requests: Vec<Request> = prompts(9).into_iter().map(|r| Request { draft: true, max_tokens: 60, ..r }).collect();
    for (got, request) in at_once(&all, requests.clone()).iter().zip(requests) {
        assert_eq!(got.content(), ask(&chaos(512).0, request).content());
    }
    assert!(all.1.widths.lock().unwrap().iter().all(|w| *w <= 8));
}

/// The cache holds two of the four: the others wait, and nobody is lost.
#[test]
fn who_does_not_fit_beside_the_others_flies_later() {
    for ahead in [false, true] {
        let requests: Vec<Request> =
            (0..4).map(|n| Request { max_tokens: 70, ..request(&format!("let {n}\n").repeat(30), "", "") }).collect();
        let all = held(26, ahead);
        for (got, request) in at_once(&all, requests.clone()).iter().zip(requests) {
            assert_eq!(got.content(), ask(&chaos(64).0, request).content());
        }
    }
}

/// Three alternatives of one hole: its prompt is computed once.
#[test]
fn who_asks_for_the_same_prompt_waits_for_it_and_then_flies_beside() {
    let all = held(256, false);
    let prefix = "let ab\n".repeat(40);
    let requests: Vec<Request> = (0..3).map(|rank| Request { rank, max_tokens: 20, ..request(&prefix, "}", "") }).collect();
    let got = at_once(&all, requests.clone());
    for (got, request) in got.iter().zip(requests) {
        assert_eq!(got.content(), ask(&chaos(256).0, request).content());
    }
    let computed: usize = got.iter().map(|a| a.usage().computed).sum();
    assert!(computed < got[0].usage().prompt_tokens + 8, "{computed} of {}", got[0].usage().prompt_tokens);
    assert!(all.1.widths.lock().unwrap().contains(&3));
}

#[test]
fn a_newcomer_joins_a_long_answer() {
    let (worker, probe) = wide(256, false);
    probe.close_after(10);
    let long = worker.submit(Request { max_tokens: 400, ..request("let ab", "", "") });
    probe.wait_for_passes(11);
    let short = worker.submit(request("1", "", ""));
    probe.open();
    let (short, long) = (collect(short), collect(long));
    assert!(short.usage().total < long.usage().total && long.usage().generated == 400);
    assert_eq!(
        probe.widths.lock().unwrap().iter().filter(|w| **w == 2).count(),
        8,
        "all of its steps, and its prompt, beside the long one"
    );
}

#[test]
fn background_work_does_not_fly_beside_a_user() {
    let (worker, probe) = wide(256, false);
    probe.close_after(0);
    let background = |text: &str| Request { priority: Priority::Background, max_tokens: 12, ..request(text, "", "") };
    let (a, b) = (worker.submit(background("let a\n")), worker.submit(background("x1\n")));
    probe.wait_for_passes(1);
    let user = worker.submit(request("let ab", "", ""));
    probe.open();
    let user = collect(user);
    for (got, text) in [(collect(a), "let a\n"), (collect(b), "x1\n")] {
        assert!(user.usage().total < got.usage().total);
        assert_eq!(got.content(), ask(&chaos(64).0, background(text)).content());
    }
}

#[test]
fn a_failure_or_panic_of_a_shared_pass_is_told_to_each() {
    for panics in [false, true] {
        let (worker, probe) = wide(256, false);
        probe.close_after(12);
        let answers: Vec<_> = prompts(3).into_iter().map(|r| worker.submit(Request { max_tokens: 300, draft: false, ..r })).collect();
        probe.wait_for_passes(13);
        let flag = if panics { &probe.panic } else { &probe.fail };
        flag.store(true, SeqCst);
        probe.open();
        let errors = answers.into_iter().map(collect).filter(|a| a.end.is_err()).count();
        assert!(errors > 0, "each has exactly one end, and some failed");
        assert_eq!(ask(&worker, request("let ab", "", "")).content(), ask(&chaos(64).0, request("let ab", "", "")).content());
    }
}

#[test]
fn dropped_answers_leave_the_others_alone() {
    let (worker, probe) = wide(256, false);
    probe.close_after(12);
    let mut answers: Vec<_> = prompts(4).into_iter().map(|r| worker.submit(r)).collect();
    probe.wait_for_passes(13);
    drop(answers.remove(1));
    probe.open();
    for (n, got) in [0, 2, 3].into_iter().zip(answers.into_iter().map(collect)) {
        assert_eq!(got.content(), ask(&chaos(256).0, prompts(4).remove(n)).content());
    }
}

/// The CPU's model with eight tokens to a pass: the path of a GPU, and the bits of the exact backend.
struct Wide(super::super::testing::Poisoned);

impl Backend for Wide {
    fn vocab(&self) -> usize {
        self.0.vocab()
    }

    fn context(&self) -> usize {
        self.0.context()
    }

    fn block_bytes(&self) -> usize {
        self.0.block_bytes()
    }

    fn together(&self) -> usize {
        8
    }

    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<Vec<f32>> {
        self.0.forward(table, start, tokens, rows)
    }

    fn batch(&mut self, parts: &[Part<'_>]) -> anyhow::Result<Vec<Vec<f32>>> {
        // A block that two parts write would be seen: each poisons what lies behind its own tokens.
        parts.iter().map(|p| self.forward(p.table, p.start, p.tokens, p.rows)).collect()
    }

    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize) {
        self.0.copy_block(from, to, slots);
    }
}

#[test]
fn windows_share_passes_of_a_real_model() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/lite");
    let cpu = || super::super::testing::Poisoned(crate::model::cpu::Cpu::open(&folder).unwrap());
    let options = |blocks| Options { cache_blocks: blocks, chunk: 16, ..Options::default() };
    for blocks in [24, 128] {
        let worker = Worker::spawn(Box::new(Wide(cpu())), TOKENS.clone(), options(blocks));
        let answers: Vec<_> = prompts(4).into_iter().map(|r| worker.submit(r)).collect();
        for (got, request) in answers.into_iter().map(collect).zip(prompts(4)) {
            let alone = Worker::spawn(Box::new(cpu()), TOKENS.clone(), options(128));
            assert_eq!(got.content(), ask(&alone, request).content(), "{blocks} blocks");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_requests_at_once_get_what_they_get_alone(requests in edits(), small in any::<bool>(), ahead in any::<bool>()) {
        // A request alone takes at most 15 blocks.
        let all = held(if small { 20 } else { 256 }, ahead);
        let got = at_once(&all, requests.clone());
        for (got, request) in got.iter().zip(requests) {
            let alone = ask(&chaos(256).0, request);
            prop_assert_eq!(got.content(), alone.content());
        }
    }
}
