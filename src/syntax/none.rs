//! A build without grammars: no document has syntax, and everything works by lines and indentation.
//!
//! ```text
//! cargo build --release --no-default-features --features nano
//! ```
use ropey::Rope;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Code,
    Comment,
    String,
    Arguments,
    EmptyBody,
}

#[derive(Clone, Debug)]
pub enum Syntax {}

impl Syntax {
    pub fn place(&self, _: &Rope, _: usize) -> Place {
        match *self {}
    }

    pub fn headers(&self, _: &Rope, _: usize) -> Vec<Range<usize>> {
        match *self {}
    }

    pub fn enclosing(&self, _: &Rope, _: Range<usize>) -> Option<Range<usize>> {
        match *self {}
    }

    pub fn bare(&self, _: &Rope, _: Range<usize>) -> String {
        match *self {}
    }

    pub fn imports(&self, _: &Rope, _: usize) -> Vec<Range<usize>> {
        match *self {}
    }

    pub fn is_late(&self) -> bool {
        match *self {}
    }

    pub fn inside(&self, _: &Rope, _: usize) -> Option<(&'static str, Syntax)> {
        match *self {}
    }

    pub fn errors(&self) -> usize {
        match *self {}
    }

    pub fn after(&self, _: &Rope, _: usize, _: usize, _: &str) -> Option<Syntax> {
        match *self {}
    }

    pub fn after_within(&self, _: &Rope, _: usize, _: usize, _: &str, _: std::time::Duration) -> Option<Syntax> {
        match *self {}
    }

    pub fn ends_within(&self, _: &Rope, _: usize, _: &str) -> Option<usize> {
        match *self {}
    }
}

#[derive(Debug)]
pub enum Parse {}

/// What a parser would have to know of an edit.
#[derive(Clone, Copy, Debug)]
pub struct Replaced;

/// There never is one; who would run it does not know that.
#[derive(Debug)]
pub struct Job;

#[derive(Debug)]
pub struct Done;

impl Job {
    pub fn run(self) -> Done {
        Done
    }
}

impl Parse {
    pub fn new(_: &str, _: &Rope) -> Option<Parse> {
        None
    }

    pub fn edit(&mut self, _: Replaced) {}

    pub fn settle(&mut self, _: &Rope) {}

    pub fn job(&mut self, _: &Rope) -> Option<Job> {
        None
    }

    pub fn finish(&mut self, _: Done, _: &Rope) {}

    pub fn syntax(&self) -> Option<Syntax> {
        None
    }
}

/// Whether there is a grammar for an LSP language id.
pub fn known(_: &str) -> bool {
    false
}

/// Replaces bytes of a rope.
pub fn replace(rope: &mut Rope, at: usize, removed: usize, inserted: &str) -> Replaced {
    let from = rope.byte_to_char(at);
    rope.remove(from..rope.byte_to_char(at + removed));
    rope.insert(from, inserted);
    Replaced
}
