//! Replays a trace into a document: what both the counting and the timed bench drive.
//!
//! ```text
//! for key in Typist::new(&trace) { key.text, key.cursor, key.pause_before }
//! ```
use super::trace::{Step, Trace};
use crate::document::{Change, Document, Edit, Encoding, Range, Snapshot};

/// A pause this long, in seconds, lets the engine prefill.
pub const IDLE: f64 = 0.25;

/// One edit, made.
pub struct Key {
    pub text: Snapshot,
    pub edits: Vec<Edit>,
    /// Byte offset after what was inserted.
    pub cursor: usize,
    /// A character was typed: a request follows.
    pub typed: bool,
    /// There was an idle pause before this edit.
    pub idle: bool,
}

pub struct Typist<'a> {
    steps: std::slice::Iter<'a, Step>,
    document: Document,
    version: i32,
    last: Option<f64>,
}

impl<'a> Typist<'a> {
    pub fn new(trace: &'a Trace) -> Self {
        let document = Document::new("file:///trace.rs", "rust", 0, &trace.start);
        Typist { steps: trace.steps.iter(), document, version: 0, last: None }
    }
}

impl Iterator for Typist<'_> {
    type Item = Key;

    fn next(&mut self) -> Option<Key> {
        let step = self.steps.next()?;
        let before = self.document.snapshot();
        let place = |at: usize| before.position(before.rope.char_to_byte(at), Encoding::Utf32);
        let range = Range { start: place(step.at), end: place(step.at + step.deleted) };
        self.version += 1;
        let change = Change { range: Some(range), text: step.inserted.clone() };
        let edits = self.document.apply(self.version, &[change], Encoding::Utf32);
        // A busy machine would leave it to later, and the same keys would be answered otherwise.
        self.document.settle();
        let cursor = edits.last().map_or(0, |e| e.start + e.inserted);
        let idle = self.last.is_some_and(|last| step.time - last >= IDLE);
        self.last = Some(step.time);
        Some(Key { text: self.document.snapshot(), edits, cursor, typed: step.typed(), idle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_trace_ends_as_it_says() {
        let trace = Trace::parse(include_bytes!("../../fixtures/trace/short.json")).expect("a trace");
        let last = Typist::new(&trace).last().expect("edits");
        assert_eq!(Some(last.text.rope.to_string()), trace.end);
        assert!(Typist::new(&trace).filter(|k| k.typed).count() > 500);
    }
}
