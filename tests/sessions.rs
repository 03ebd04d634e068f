//! Random sessions against a simple model of what the editor must see.
//!
//! ```text
//! open, type, ask, edit, cancel, accept a word, undo, kill the engine, ask, reconfigure, revive it, close, …
//! each ask      one answer: text that continues its version, nothing with a reason, or an error that fits what was done since
//! each prompt   begins a text that some document had
//! ```
//! `INFILL_SESSIONS=N` runs so many operations (100,000 when it is not set). A failure is cut down to the fewest operations
//! that still fail, and those are printed.
#[path = "sessions/editor.rs"]
mod editor;
mod harness;
#[path = "sessions/mortal.rs"]
mod mortal;
#[path = "sessions/ops.rs"]
mod ops;
mod plain;

use editor::{ASKED, Editor, SHOWN, STALE};
use ops::{Op, Random};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Operations of one session.
const LENGTH: usize = 1000;

/// Runs the operations in a session of their own.
fn run(seed: u64, ops: &[Op]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut editor = Editor::start(seed).await;
            for (n, op) in ops.iter().enumerate() {
                editor.act(op).await.map_err(|e| format!("at operation {n}, {op:?}: {e}"))?;
            }
            editor.leave().await
        })
    }));
    ran.unwrap_or_else(|_| Err("a panic: see above".into()))
}

/// Fewer operations that still fail: pieces are left out, half of them first.
fn shrink(seed: u64, mut ops: Vec<Op>, mut error: String) -> (Vec<Op>, String) {
    let mut size = ops.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            match run(seed, &fewer) {
                Err(e) => (ops, error) = (fewer, e),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (ops, error)
}

#[test]
fn random_sessions_show_what_the_model_allows() {
    let wanted = std::env::var("INFILL_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000usize);
    let sessions = wanted.div_ceil(LENGTH) as u64;
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= sessions {
                return;
            }
            let mut random = Random::new(seed);
            let ops: Vec<Op> = (0..LENGTH).map(|_| random.op()).collect();
            if let Err(error) = run(seed, &ops) {
                let (ops, error) = shrink(seed, ops, error);
                panic!("session {seed}: {error}\n{} operations are enough: {ops:#?}", ops.len());
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism().map_or(2, |n| n.get())).map(|_| scope.spawn(work)).collect();
        let failed = threads.into_iter().filter_map(|t| t.join().err()).next();
        if let Some(panic) = failed {
            std::panic::resume_unwind(panic);
        }
    });
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    let (asked, shown, stale) = (count(&ASKED), count(&SHOWN), count(&STALE));
    println!("{asked} asks, {shown} answered with text, {stale} made stale by an edit");
    assert!(shown > asked / 10 && stale > asked / 1000, "{asked} asks, {shown} answered with text, {stale} made stale: too few");
}
