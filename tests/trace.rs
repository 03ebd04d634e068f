//! Our own typing trace through the real state machine and nano: warm equals cold, and type-through needs no model.
//!
//! ```text
//! key: "self.it|"  roomy cache -> "ems.len()"   tiny cache -> "ems.len()"   no cache at all -> "ems.len()"
//! ```
#![cfg(feature = "nano")]
use infill::bench::timed::{Driver, Served};
use infill::bench::trace::Trace;
use infill::bench::typist::Typist;
use infill::config::Config;
use infill::document::Snapshot;
use infill::engine::local::{Local, LocalOptions};
use infill::engine::{Answer, Engine, Miss, Request, State, Totals};
use infill::model::{Backend, cpu::Cpu};
use infill::suggest::{Settings, Suggest, Suggestion};
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

/// Typed characters of the trace that are replayed.
const KEYS: usize = 520;
/// Blocks that hold one prompt of the trace and its answer, and not much beside it.
const TINY: u64 = 56;

static BLOCK_BYTES: LazyLock<u64> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nano/nano.gguf");
    Cpu::open(&file).unwrap().block_bytes() as u64
});

fn open(blocks: u64) -> Local {
    Local::open("nano", LocalOptions { cache_bytes: Some(blocks * *BLOCK_BYTES), ..LocalOptions::default() }).unwrap()
}

/// An engine without a memory: each request meets a model that has just been loaded.
#[derive(Default)]
struct Forgetful {
    now: Mutex<Option<Local>>,
}

impl Engine for Forgetful {
    fn state(&self) -> State {
        State::Loading
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, request: Request) -> Answer {
        let fresh = open(256);
        let answer = fresh.submit(request);
        // Kept until the next request: an engine that is dropped gives up its work.
        *self.now.lock().unwrap() = Some(fresh);
        answer
    }
}

/// The same for all engines, so that only the caches differ.
async fn settings() -> Settings {
    let info = open(1024).loaded().await.unwrap();
    // Everything is shown, however busy the machine is: what is hidden would be compared as nothing.
    let settings = Settings {
        threshold: 0.0,
        patience: Duration::from_secs(60),
        ..Settings::new(&Config::default(), info.bytes_per_token, info.context)
    };
    assert!(settings.budget.prefix > 500, "{settings:?}");
    settings
}

fn trace() -> Trace {
    Trace::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/trace/short.json")).unwrap()
}

/// A key as it was served: the text, the cursor, what came of it.
type Key = (Snapshot, usize, Served);

async fn replay(engine: &dyn Engine, settings: Settings) -> (Vec<Key>, Suggest) {
    let mut driver = Driver::new(engine, Suggest::new(settings));
    let mut keys = Vec::new();
    for key in Typist::new(&trace()) {
        let (text, cursor, typed) = (key.text.clone(), key.cursor, key.typed);
        let served = driver.key(key).await.unwrap();
        if typed {
            keys.push((text, cursor, served));
        }
        if keys.len() == KEYS {
            break;
        }
    }
    (keys, driver.suggest)
}

fn answers(keys: &[Key]) -> Vec<Option<&[Suggestion]>> {
    keys.iter().map(|(_, _, served)| served.items.as_deref()).collect()
}

fn same(warm: &[Key], other: &[Key], name: &str) {
    for (n, ((text, cursor, warm), (_, _, other))) in warm.iter().zip(other).enumerate() {
        let line = text.text(text.line_start(*cursor), *cursor);
        assert_eq!(warm.items, other.items, "{name}: key {n}, after {line:?} ({:?} {:?})", warm.misses, other.misses);
    }
}

fn misses(keys: &[Key], wanted: Miss) -> usize {
    keys.iter().flat_map(|(_, _, served)| &served.misses).filter(|miss| **miss == wanted).count()
}

#[tokio::test]
async fn the_answers_are_the_same_with_a_roomy_cache_a_tiny_one_and_none() {
    let settings = settings().await;
    let (roomy, tiny) = (open(4096), open(TINY));
    let (warm, _) = replay(&roomy, settings.clone()).await;
    let (evicted, _) = replay(&tiny, settings.clone()).await;
    let (cold, _) = replay(&Forgetful::default(), settings).await;
    assert!(answers(&warm).iter().all(Option::is_some), "every key is answered");
    assert!(answers(&warm).iter().flatten().filter(|items| !items.is_empty()).count() > KEYS / 4, "most often with a suggestion");
    same(&warm, &evicted, "a tiny cache");
    same(&warm, &cold, "no cache");
    // And they were what they should be.
    assert_eq!(misses(&warm, Miss::Evicted), 0);
    assert!(misses(&evicted, Miss::Evicted) > 3, "{} evictions met", misses(&evicted, Miss::Evicted));
    assert!(tiny.totals().computed > roomy.totals().computed);
    let asked: usize = cold.iter().map(|(_, _, served)| served.misses.len()).sum();
    assert_eq!(misses(&cold, Miss::Cold), asked);
}

/// What was shown, as the text that it would make of the document up to the cursor, and the text after it.
struct Shown {
    /// Where the cursor stood.
    from: usize,
    whole: String,
    after: String,
}

impl Shown {
    fn agrees(&self, before: &str, after: &str) -> bool {
        before.len() >= self.from && before.len() < self.whole.len() && self.whole.starts_with(before) && self.after == after
    }
}

#[tokio::test]
async fn a_key_that_agrees_with_what_is_shown_needs_no_model() {
    let engine = open(4096);
    let (keys, suggest) = replay(&engine, settings().await).await;
    let mut shown: Option<Shown> = None;
    let mut agreeing = 0;
    for (text, cursor, served) in &keys {
        let (before, after) = (text.text(0, *cursor), text.text(*cursor, usize::MAX));
        let items = served.items.as_deref().unwrap_or_default();
        if shown.as_ref().is_some_and(|shown| shown.agrees(&before, &after)) {
            agreeing += 1;
            // A prefill in the pause before the key is a request too, but not one that the key waits for.
            let asked = served.misses.len() > usize::from(served.idle > 0);
            assert!(!asked && served.computed == 0, "{served:?} after {:?}", before.lines().last());
            let whole = items.first().map(|item| before + &item.text).unwrap_or_default();
            assert!(shown.as_ref().is_some_and(|shown| whole == shown.whole), "the rest of it is shown, and not {whole:?}");
            continue;
        }
        shown = items.first().map(|item| Shown { from: before.len(), whole: before + &item.text, after });
    }
    assert_eq!(suggest.counts().asks, KEYS as u64);
    assert_eq!(suggest.counts().without_model, agreeing);
    assert!(agreeing > 20, "only {agreeing} keys agree: this trace shows nothing");
}
