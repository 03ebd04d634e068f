//! Suggestions in texts that no one would write, with nano: an answer each time, no panic, bounded time and memory.
//!
//! ```text
//! 10 MB; 100,000 open brackets; nothing but syntax errors; CRLF, LF and CR in one file
//! ```
#![cfg(feature = "nano")]
use infill::complete::{Completion, complete};
use infill::config::Config;
use infill::document::{Document, Snapshot};
use infill::engine::local::{Local, LocalOptions};

fn config() -> Config {
    let mut config = Config::default();
    config.completion.max_tokens = 24;
    config.completion.show_threshold = infill::config::Threshold::Word("off".into());
    config
}

async fn nano() -> Local {
    let engine = Local::open("nano", LocalOptions { cache_bytes: Some(16 << 20), ..LocalOptions::default() }).unwrap();
    engine.loaded().await.unwrap();
    engine
}

/// Completes in the middle of a text and at its sides.
async fn at_places(engine: &Local, text: &Snapshot) -> Vec<Completion> {
    let bytes = text.rope.len_bytes();
    let boundary = |at: usize| text.rope.char_to_byte(text.rope.byte_to_char(at));
    let mut all = Vec::new();
    for at in [0, 1.min(bytes), bytes / 2, text.line_end(bytes / 2), bytes] {
        all.push(complete(engine, &config(), None, text.clone(), boundary(at)).await.unwrap());
    }
    all
}

#[tokio::test]
async fn texts_that_no_one_would_write() {
    let engine = nano().await;
    let line = "x = [call(a, 'b'), {'c': d}]  # http://e\n";
    for text in [
        line.repeat((10 << 20) / line.len()),
        "(".repeat(100_000),
        "[".repeat(50_000) + &"]".repeat(50_000),
        "{\n".repeat(50_000),
        ") } ] \" ' \n".repeat(10_000),
        "def f(:\n    if if )\n".repeat(2_000),
        "\"\"\"\n".repeat(9_999),
        "é😀\u{2028}\u{85}\u{b}".repeat(5_000),
        "\n".repeat(100_000),
        " ".repeat(100_000),
    ] {
        for language in ["python", "rust"] {
            // As the server has it before the background parse is done, and as it has it then.
            let document = Document::new("file:///bad", language, 1, &text);
            assert_eq!(at_places(&engine, &document.snapshot()).await.len(), 5);
            if text.len() < 1 << 20 {
                assert_eq!(at_places(&engine, &document.settled()).await.len(), 5);
            }
        }
    }
}

#[tokio::test]
async fn line_ends_of_all_kinds_in_one_file() {
    let engine = nano().await;
    let text = "def add(a, b):\r\n    return a + b\n\rdef sub(a, b):\r    x = a.\r\n\r\nprint(sub(1, 2))\n";
    let snapshot = Document::new("file:///mixed.py", "python", 1, text).settled();
    let mut said = 0;
    for at in 0..=text.len() {
        let found = complete(&engine, &config(), None, snapshot.clone(), at).await.unwrap();
        assert!(!found.text.contains('\r') && at + found.replaces <= text.len(), "{at}: {found:?}");
        said += usize::from(!found.text.is_empty());
    }
    assert!(said > 0, "nothing at all");
}
