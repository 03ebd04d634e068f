//! Text that no editor should send, through the real state machine and nano: right answers, no panic, no growth.
//!
//! ```text
//! one line of a megabyte, the cursor in its middle  ->  an answer from a prompt within its budget, as from a cold cache
//! ```
#![cfg(feature = "nano")]
use infill::bench::timed::Driver;
use infill::bench::typist::Key;
use infill::config::Config;
use infill::document::{Change, Document, Encoding, Range};
use infill::engine::local::{Local, LocalOptions};
use infill::engine::{Answer, Engine, Request, State, Totals};
use infill::prompt::{Budget, Reanchor};
use infill::suggest::{Settings, Suggest, Suggestion};
use std::sync::Mutex;
use std::time::Duration;

fn open(cache_bytes: Option<u64>) -> Local {
    Local::open("nano", LocalOptions { cache_bytes, ..LocalOptions::default() }).unwrap()
}

/// Small, so that budgets are soon used up.
fn settings() -> Settings {
    Settings { budget: Budget::new(256, 3.0), max_tokens: 24, ..Settings::new(&Config::default(), 3.0, 1024) }
}

/// With time for parses, so that how busy the machine is decides nothing.
fn patient() -> Settings {
    Settings { patience: Duration::from_secs(60), ..settings() }
}

/// Longer texts are not parsed while a key waits, on any machine.
const QUICK: usize = 10_000;

/// Passes requests on, and holds each against the budgets. `cold`: to a model that has just been loaded.
struct Watched {
    engine: Mutex<Local>,
    cold: bool,
    budget: Budget,
}

impl Watched {
    fn new(engine: Local, cold: bool) -> Watched {
        Watched { engine: Mutex::new(engine), cold, budget: settings().budget }
    }
}

impl Engine for Watched {
    fn state(&self) -> State {
        self.engine.lock().unwrap().state()
    }

    fn totals(&self) -> Totals {
        self.engine.lock().unwrap().totals()
    }

    fn submit(&self, request: Request) -> Answer {
        let Request { prefix, suffix, tail, .. } = &request;
        assert!(prefix.len() <= self.budget.prefix, "{} bytes of prefix", prefix.len());
        assert!(suffix.len() <= self.budget.suffix, "{} bytes of suffix", suffix.len());
        assert!(tail.len() <= self.budget.tail, "{} bytes of tail", tail.len());
        let mut engine = self.engine.lock().unwrap();
        if self.cold {
            *engine = open(Some(16 << 20));
        }
        engine.submit(request)
    }
}

/// How an edit reaches the server.
#[derive(Clone, Copy, PartialEq)]
enum Sync {
    Incremental,
    /// The whole text, at each key.
    Full,
}

/// Types `typed` between `before` and `after`; the answer to each key.
async fn answers(engine: &Watched, texts: (&str, &str), typed: &str, sync: Sync) -> (Vec<Vec<Suggestion>>, Suggest) {
    let quick = texts.0.len() < QUICK;
    let mut driver = Driver::new(engine, Suggest::new(if quick { patient() } else { settings() }));
    let mut document = Document::new("file:///bad.py", "python", 0, &[texts.0, texts.1].concat());
    let (mut all, mut cursor) = (Vec::new(), texts.0.len());
    for (n, character) in typed.chars().enumerate() {
        let place = document.snapshot().position(cursor, Encoding::Utf8);
        cursor += character.len_utf8();
        let change = match sync {
            Sync::Incremental => Change { range: Some(Range { start: place, end: place }), text: character.into() },
            Sync::Full => {
                let so_far: String = typed.chars().take(n + 1).collect();
                Change { range: None, text: [texts.0, &so_far, texts.1].concat() }
            }
        };
        let edits = document.apply(n as i32 + 1, &[change], Encoding::Utf8);
        if quick {
            document.settle();
        }
        let served = driver.key(Key { text: document.snapshot(), edits, cursor, typed: true, idle: n % 5 == 4 }).await.unwrap();
        all.push(served.items.expect("each key is answered"));
    }
    (all, driver.suggest)
}

/// As `answers`, and holds them against those of a cold engine.
async fn checked(texts: (&str, &str), typed: &str) -> (Vec<Vec<Suggestion>>, Suggest) {
    let (warm, suggest) = answers(&Watched::new(open(Some(16 << 20)), false), texts, typed, Sync::Incremental).await;
    let (cold, _) = answers(&Watched::new(open(Some(16 << 20)), true), texts, typed, Sync::Incremental).await;
    assert_eq!(warm, cold);
    (warm, suggest)
}

#[tokio::test]
async fn a_tail_longer_than_its_budget() {
    let typed: String = (0..60).map(|n| format!("{}, ", n % 7)).collect();
    assert!(typed.len() > settings().budget.tail * 3 / 2);
    let (answers, suggest) = checked(("import os\n\nvalues = [", "]\n\nprint(values)\n"), &typed).await;
    assert_eq!(answers.len(), typed.len());
    assert!(suggest.counts().reanchors[&Reanchor::Tail] >= 1, "{:?}", suggest.counts());
}

#[tokio::test]
async fn one_line_of_a_megabyte() {
    let before = "x = [".to_owned() + &"12, ".repeat(128 << 10);
    let after = "34, ".repeat(128 << 10) + "]";
    let (answers, suggest) = checked((&before, &after), "foo(bar), ").await;
    assert_eq!((answers.len(), suggest.counts().asks), (10, 10));
}

#[tokio::test]
async fn the_whole_document_replaced_at_each_key() {
    let texts = ("def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n", "\n\nprint(add(1, 2))\n");
    let typed = "    return a - b\n\n\ndef mul(a, b):\n    ret";
    let (expected, edited) = checked(texts, typed).await;
    let engine = Watched::new(open(Some(16 << 20)), false);
    let (got, replaced) = answers(&engine, texts, typed, Sync::Full).await;
    assert_eq!(got, expected);
    assert!(expected.iter().any(|items| !items.is_empty()));
    // The text is the same, so what was frozen still holds.
    assert_eq!(replaced.counts().reanchors, edited.counts().reanchors);
    // And by another document each time.
    let (small, big) = (Watched::new(open(Some(0)), false), Watched::new(open(None), false));
    let mut suggests = [Suggest::new(patient()), Suggest::new(patient())].map(Some);
    let mut shown: [Vec<Vec<Suggestion>>; 2] = Default::default();
    for ((engine, suggest), shown) in [&small, &big].into_iter().zip(&mut suggests).zip(&mut shown) {
        let mut driver = Driver::new(engine, suggest.take().unwrap());
        let mut document = Document::new("file:///bad.py", "python", 0, "");
        for n in 0..20 {
            let text = format!("def f{n}(items):\n    total_{n} = 0\n    for item in items:\n        total_{n} +").repeat(n % 4 + 1);
            let cursor = text.len();
            let edits = document.apply(n as i32, &[Change { range: None, text }], Encoding::Utf8);
            document.settle();
            let key = Key { text: document.snapshot(), edits, cursor, typed: true, idle: true };
            shown.push(driver.key(key).await.unwrap().items.unwrap());
        }
    }
    assert_eq!(shown[0], shown[1]);
}

#[tokio::test]
async fn a_cache_of_nothing_and_one_beyond_memory() {
    let texts = ("def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n", "\n\nprint(add(1, 2))\n");
    let typed = "    return a - b\n";
    let (expected, _) = checked(texts, typed).await;
    for bytes in [0, 1, u64::MAX] {
        let engine = Watched::new(open(Some(bytes)), false);
        let (got, _) = answers(&engine, texts, typed, Sync::Incremental).await;
        assert_eq!(got, expected, "cache.bytes = {bytes}");
    }
}

#[tokio::test]
async fn special_tokens_in_the_text() {
    let markers = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"];
    let before = format!("MARKERS = [\n    {:?},\n    {:?},\n", markers[0], markers[2]);
    let after = format!("\n    {:?},\n]\n", markers[4]);
    let typed = format!("    {:?},\n    {:?}", markers[3], markers[1]);
    let (answers, suggest) = checked((&before, &after), &typed).await;
    assert_eq!(answers.len(), typed.chars().count());
    assert!(suggest.counts().reanchors.values().sum::<u64>() < 8, "{:?}", suggest.counts());
}
