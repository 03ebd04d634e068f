//! Several windows at one worker: turns, and what a request may be beside a hole.
use super::*;
use crate::engine::{Form, Role, Sampling, Turn};

/// Two windows prefill; a third one types. Each pass is held back until everyone has asked.
#[test]
fn nobody_is_behind_another_windows_prefill_for_longer_than_a_chunk() {
    let long = |letter: &str| format!("let {letter}\n").repeat(60);
    let (worker, probe) = chaos(512);
    let expected: Vec<_> = ["a", "b", "1"].map(|letter| ask(&chaos(512).0, request(&long(letter), "", ""))).into();
    probe.close_after(0);
    let first = worker.submit(request(&long("a"), "", ""));
    probe.wait_for_passes(1);
    let second = worker.submit(request(&long("b"), "", ""));
    let typed = worker.submit(Request { max_tokens: 1, ..request("x", "", "") });
    probe.open();
    let typed = collect(typed);
    // One chunk of each prefill, and its own pass; the thread may run on before the answer is seen, so it is asked by time.
    let (first, second) = (collect(first), collect(second));
    assert!(typed.usage().total < first.usage().total && typed.usage().total < second.usage().total);
    assert_eq!((first.content(), second.content()), (expected[0].content(), expected[1].content()));
    assert_eq!(first.usage().computed, expected[0].usage().computed, "what gave way was not computed again");
}

/// The order in which passes run: one each, in turn.
#[test]
fn prefills_of_two_windows_take_turns() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, marks) = (order.clone(), ["a", "b"].map(|text| TOKENS.encode(text)[0]));
    let rule = move |tokens: &[u32], _: u64, row: &mut [f32]| {
        let whose = marks.iter().position(|mark| tokens.contains(mark));
        seen.lock().unwrap().push(whose);
        row[TOKENS.special().eos as usize] = 9.0;
    };
    // Every pass says whose it is: a prefill that yields no row would not call the rule, so chunks of one answer each.
    let (worker, probe) = worker(TestModel::new(VOCAB, 64, Box::new(rule)), 64);
    probe.close_after(0);
    let gate = worker.submit(Request { max_tokens: 0, ..request("", "", "") });
    probe.wait_for_passes(1);
    let long = worker.submit(request(&"a\n".repeat(300), "", ""));
    let short = worker.submit(request("b", "", ""));
    probe.open();
    collect(gate);
    let (long, short) = (collect(long), collect(short));
    assert!(long.end.is_ok() && short.end.is_ok());
    assert_eq!(*order.lock().unwrap(), [Some(1), Some(0)], "the short one ended while the long one was in its prefill");
}

#[test]
fn a_long_answer_gives_way_and_goes_on_where_it_was() {
    let long = Request { max_tokens: 400, ..request("let ab", "", "") };
    for draft in [false, true] {
        let long = Request { draft, ..long.clone() };
        let expected = ask(&chaos(256).0, long.clone());
        let (worker, probe) = chaos(256);
        probe.close_after(10);
        let answer = worker.submit(long);
        probe.wait_for_passes(11);
        let mut short: Vec<_> = (0..3).map(|n| worker.submit(request(&format!("{n}"), "", ""))).collect();
        probe.open();
        probe.wait_for_passes(12);
        // Enough for a turn of the long one and for all of the short ones, and not for the long one's end.
        probe.close_after(100);
        probe.wait_for_passes(112);
        for short in &mut short {
            let ended = std::iter::from_fn(|| short.try_recv().ok()).any(|event| matches!(event, Event::Done { .. }));
            assert!(ended, "it waited for the long answer's end");
        }
        probe.open();
        let answer = collect(answer);
        assert_eq!(answer.content(), expected.content());
        assert_eq!(answer.usage().computed, expected.usage().computed);
    }
}

#[test]
fn two_that_do_not_fit_together_end_all_the_same() {
    // The cache holds 20 blocks; each prompt takes 16 of them.
    let (worker, probe) = chaos(20);
    let prompts = ["let a\n", "let b\n"].map(|line| line.repeat(60));
    let expected = prompts.clone().map(|prompt| ask(&chaos(64).0, request(&prompt, "", "")));
    probe.close_after(0);
    let answers = prompts.map(|prompt| worker.submit(request(&prompt, "", "")));
    probe.open();
    for (answer, expected) in answers.into_iter().map(collect).zip(&expected) {
        assert_eq!(answer.content(), expected.content());
    }
}

#[test]
fn the_same_seed_draws_the_same_text_warm_cold_and_drafted() {
    let sampled = |seed: u64, temperature: f32| Request {
        sampling: Some(Sampling { temperature, top_p: 0.95, seed }),
        max_tokens: 24,
        ..request("let ab", "}", "le")
    };
    let (worker, _) = chaos(256);
    let first = ask(&worker, sampled(1, 1.0));
    assert_eq!(ask(&worker, sampled(1, 1.0)).content(), first.content(), "warm");
    assert_eq!(ask(&chaos(64).0, sampled(1, 1.0)).content(), first.content(), "cold");
    assert_eq!(ask(&worker, Request { draft: true, ..sampled(1, 1.0) }).content(), first.content(), "drafted");
    assert_ne!(ask(&worker, sampled(2, 1.0)).content().0, first.content().0, "another seed");
    let greedy = ask(&worker, Request { sampling: None, ..sampled(1, 1.0) });
    assert_eq!(ask(&worker, sampled(1, 0.001)).content().0, greedy.content().0, "no temperature: the most probable");
}

#[test]
fn what_else_was_probable_comes_before_its_token() {
    let (worker, _) = chaos(64);
    let mut answer = worker.submit(Request { top: 3, ..request("let ab", "", "") });
    let mut tops = Vec::new();
    while let Some(event) = answer.blocking_recv() {
        match event {
            Event::Top(top) => tops.push(top),
            Event::Text { text, logprob } => {
                let top = &tops[tops.len() - 1];
                assert!(top.len() == 3 && top.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{top:?}");
                assert_eq!((&top[0].0, top[0].1), (&text, logprob), "greedy: the chosen one is the best");
            }
            Event::Done { .. } | Event::Failed(_) => {}
        }
    }
    assert_eq!(tops.len(), 8);
}

#[test]
fn a_text_without_a_hole_and_a_conversation() {
    let ids = TOKENS.special();
    let after = |last: &'static str, line: &'static str| {
        let (marker, line) = (*TOKENS.encode(last).last().unwrap(), TOKENS.encode(line));
        worker(TestModel::new(VOCAB, 64, memorised(marker, line, ids.eos)), 64).0
    };
    let plain = Request { form: Form::Plain, prefix: "let".into(), tail: ";".into(), max_tokens: 9, ..Request::default() };
    let got = ask(&after(";", "ab"), plain);
    // The sign is not settled yet: it is held, and healed.
    assert_eq!((got.text.as_str(), got.usage().prompt_tokens), ("ab", 2));
    let turn = |role, text: &str| Turn { role, text: text.into() };
    let turns = vec![turn(Role::System, "S"), turn(Role::User, "U"), turn(Role::Assistant, "A"), turn(Role::User, "<｜fim▁end｜>")];
    let mut expected = vec![ids.bos];
    expected.extend(TOKENS.encode("S\n\nUser: U\n\nAssistant: A"));
    expected.push(ids.eos);
    expected.extend(TOKENS.encode("User: <｜fim▁end｜>\n\nAssistant:"));
    assert_eq!(TOKENS.chat(&turns).tokens, expected);
    let got = ask(&after(":", " ab"), Request { form: Form::Chat(turns), max_tokens: 9, ..Request::default() });
    assert_eq!((got.text.as_str(), got.usage().prompt_tokens), (" ab", expected.len()));
}
