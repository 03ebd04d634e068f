//! Parsing, without ever holding up a key: what takes longer than [`BUDGET`] is finished in the background.
//!
//! ```text
//! open, 10 lines                  parsed at once
//! open, 10,000 lines              a Job; until it is done the document works without syntax
//! a key, while the job runs       remembered, and brought into the tree when it comes
//! ```
//! Until then questions are answered from the old tree, whose nodes have moved with the edits: what was typed in a string
//! is in it still. A text that takes long in a job too (an open bracket makes a new text of all that follows) is not tried
//! at the next key, but left to the next job at once, until one was quick.
use super::Syntax;
use super::inside::{self, Nested};
use super::languages::{self, Grammar};
use ropey::Rope;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tree_sitter::{InputEdit, ParseOptions, ParseState, Parser, Point, Range, Tree};

/// Longest time that a parse may take where a key waits for it.
pub const BUDGET: Duration = Duration::from_millis(5);

/// Some texts (100,000 open brackets) take minutes: after this long in the background a document goes without, and after
/// so many edits it is tried again: what made it hard (a bracket not closed yet) may be gone.
const GIVE_UP: Duration = Duration::from_secs(2);
const REST: u32 = 20;

/// A tree takes some ten times its text: larger ones work without.
const MAX_BYTES: usize = 2 << 20;

/// The tree of one open document.
#[derive(Debug)]
pub struct Parse {
    grammar: &'static Grammar,
    /// Edited along with the text; of the text as it is when `fresh`.
    tree: Option<Tree>,
    fresh: bool,
    /// The last job took too long for a key to wait.
    slow: bool,
    /// The job under way, and the edits that have come since it was begun.
    running: Option<u64>,
    since: Vec<InputEdit>,
    /// Edits to wait for before another try, after a parse that took too long.
    rest: u32,
    /// Of another language, around the last edit, and where that was.
    nested: Option<Nested>,
    edited: usize,
}

/// A parse for another thread.
#[derive(Debug)]
pub struct Job {
    id: u64,
    grammar: &'static Grammar,
    old: Option<Tree>,
    rope: Rope,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    id: u64,
    tree: Option<Tree>,
    /// Longer than a key may wait, although there was an old tree.
    slow: bool,
}

/// Jobs are told apart: a document may have been closed and opened again in between.
static JOBS: AtomicU64 = AtomicU64::new(0);

impl Job {
    /// Parses, unless that takes too long.
    pub fn run(self) -> Done {
        self.run_within(GIVE_UP)
    }

    fn run_within(self, limit: Duration) -> Done {
        let begun = Instant::now();
        let tree = parse(self.grammar, &self.rope, self.old.as_ref(), &[], limit);
        Done { id: self.id, tree, slow: self.old.is_some() && begun.elapsed() > BUDGET }
    }

    /// As if it had taken too long.
    #[cfg(test)]
    pub fn give_up(self) -> Done {
        Done { id: self.id, tree: None, slow: true }
    }

    /// As if it had taken longer than a key may wait, or not, however busy the machine is.
    #[cfg(test)]
    pub fn run_as(self, slow: bool) -> Done {
        Done { slow, ..self.run_within(Duration::from_secs(60)) }
    }
}

impl Parse {
    /// `None` where there is no grammar for the language.
    pub fn new(language: &str, rope: &Rope) -> Option<Parse> {
        let grammar = languages::find(language)?;
        let (since, nested) = (Vec::new(), None);
        let mut parse = Parse { grammar, tree: None, fresh: false, slow: false, running: None, since, rest: 0, nested, edited: 0 };
        parse.settle(rope);
        Some(parse)
    }

    /// The text has changed.
    pub fn edit(&mut self, edit: InputEdit) {
        self.fresh = false;
        self.rest = self.rest.saturating_sub(1);
        if let Some(tree) = &mut self.tree {
            tree.edit(&edit);
        }
        self.nested.iter_mut().for_each(|nested| nested.edit(&edit));
        self.edited = edit.new_end_byte;
        if self.running.is_some() {
            self.since.push(edit);
        }
    }

    /// Brings the tree up to the text, when that is quick.
    pub fn settle(&mut self, rope: &Rope) {
        if self.wanting(rope) && !self.slow {
            let tree = parse(self.grammar, rope, self.tree.as_ref(), &[], BUDGET);
            self.fresh = tree.is_some();
            self.tree = tree.or(self.tree.take());
        }
        if let Some(tree) = self.tree.as_ref().filter(|_| self.fresh) {
            self.nested = inside::nested(tree, rope, self.edited, self.nested.take());
        }
    }

    /// What is left for another thread, which hands it to [`Parse::finish`]. One at a time.
    pub fn job(&mut self, rope: &Rope) -> Option<Job> {
        if !self.wanting(rope) {
            return None;
        }
        let id = JOBS.fetch_add(1, Ordering::Relaxed);
        self.running = Some(id);
        self.since.clear();
        Some(Job { id, grammar: self.grammar, old: self.tree.clone(), rope: rope.clone() })
    }

    fn wanting(&self, rope: &Rope) -> bool {
        !self.fresh && self.running.is_none() && self.rest == 0 && rope.len_bytes() <= MAX_BYTES
    }

    /// The job is done. What was typed since is quick to add; if not, there is another job.
    pub fn finish(&mut self, done: Done, rope: &Rope) {
        if self.running.take_if(|id| *id == done.id).is_none() {
            return;
        }
        self.rest = if done.tree.is_none() { REST } else { 0 };
        self.slow = done.slow;
        if let Some(mut tree) = done.tree {
            self.fresh = self.since.is_empty();
            self.since.drain(..).for_each(|edit| tree.edit(&edit));
            self.tree = Some(tree);
        }
        self.settle(rope);
    }

    /// What a snapshot of the present text sees.
    pub fn syntax(&self) -> Option<Syntax> {
        let tree = self.tree.clone().filter(|_| self.fresh || self.rest == 0)?;
        let nested = self.nested.clone().filter(|_| self.fresh);
        Some(Syntax { grammar: self.grammar, tree, nested, part: false, late: !self.fresh })
    }
}

/// Parses a text, or parts of it, from its old tree where there is one. `None` when it takes longer than `budget`.
pub fn parse(grammar: &Grammar, rope: &Rope, old: Option<&Tree>, parts: &[Range], budget: Duration) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&grammar.language).ok()?;
    parser.set_included_ranges(parts).ok()?;
    let begun = Instant::now();
    let mut too_long = |_: &ParseState| begun.elapsed() > budget;
    let options = ParseOptions::new().progress_callback(&mut too_long);
    let mut read = |at: usize, _: Point| {
        if at >= rope.len_bytes() {
            return &[][..];
        }
        let (chunk, start, ..) = rope.chunk_at_byte(at);
        &chunk.as_bytes()[at - start..]
    };
    parser.parse_with_options(&mut read, old, Some(options))
}

/// Replaces bytes of a rope; what the parser must know of it.
pub fn replace(rope: &mut Rope, at: usize, removed: usize, inserted: &str) -> InputEdit {
    let (start_position, old_end_position) = (point(rope, at), point(rope, at + removed));
    let from = rope.byte_to_char(at);
    rope.remove(from..rope.byte_to_char(at + removed));
    rope.insert(from, inserted);
    let new_end_byte = at + inserted.len();
    InputEdit {
        start_byte: at,
        old_end_byte: at + removed,
        new_end_byte,
        start_position,
        old_end_position,
        new_end_position: point(rope, new_end_byte),
    }
}

/// Row, and bytes into it. (For a text with lone CRs the parser counts fewer rows; only these figures differ then, and
/// nothing here looks at them.)
pub fn point(rope: &Rope, byte: usize) -> Point {
    let row = rope.byte_to_line(byte);
    Point { row, column: byte - rope.line_to_byte(row) }
}
