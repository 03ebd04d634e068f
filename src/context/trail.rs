//! Recent edits, as short pieces of what was and what is.
//!
//! ```text
//! typing in lines 10 to 12 of a.py, then elsewhere      ->   Piece { before: "x = 1\n", after: "x = 2\ny = 3\n" }
//! ```
//! Keys that touch lines next to each other are one piece, until another place is edited.
use crate::document::Edit;
use ropey::Rope;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Pieces that are kept; lines of one; how far apart edits of one piece may be.
const KEPT: usize = 12;
const LINES: usize = 8;
const APART: usize = 2;

/// Lines of a file before and after some edits.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub path: Arc<str>,
    /// The first of its lines, counted from 0, when it was written.
    pub line: usize,
    pub before: String,
    pub after: String,
}

/// A place that is being edited.
#[derive(Debug)]
struct Open {
    path: Arc<str>,
    /// The text before the first of these edits, and the lines of it that they touch.
    base: Rope,
    old: Range<usize>,
    /// The text now, and those lines in it.
    now: Rope,
    new: Range<usize>,
}

/// The edits of one client's session.
#[derive(Debug, Default)]
pub struct Trail {
    open: Option<Open>,
    pieces: VecDeque<Piece>,
}

impl Trail {
    /// An edit has made `after` of `before`.
    pub fn edited(&mut self, path: &Arc<str>, before: &Rope, after: &Rope, edit: Edit) {
        let old = lines(before, edit.start, edit.removed);
        let new = lines(after, edit.start, edit.inserted);
        match &mut self.open {
            Some(open) if open.path == *path && open.touches(&old) => open.grow(&old, &new, after),
            _ => {
                self.close();
                self.open = Some(Open { path: path.clone(), base: before.clone(), old, now: after.clone(), new });
            }
        }
    }

    fn close(&mut self) {
        let Some(piece) = self.open.take().and_then(Open::piece) else { return };
        // Edited again: the newer piece tells both.
        self.pieces.retain(|p| p.path != piece.path || p.after != piece.before);
        self.pieces.push_back(piece);
        if self.pieces.len() > KEPT {
            self.pieces.pop_front();
        }
    }

    /// The last ones of other places than lines `here` of `path`, the newest first.
    pub fn pieces<'a>(&'a self, path: &'a str, here: Range<usize>) -> impl Iterator<Item = &'a Piece> {
        self.pieces.iter().rev().filter(move |p| &*p.path != path || !here.contains(&p.line))
    }

    /// Forgets a file: it may not be shown any more.
    pub fn forget(&mut self, path: &str) {
        self.open.take_if(|open| &*open.path == path);
        self.pieces.retain(|p| &*p.path != path);
    }
}

impl Open {
    fn touches(&self, lines: &Range<usize>) -> bool {
        lines.start <= self.new.end + APART && self.new.start <= lines.end + APART
    }

    /// Takes in another edit, whose lines are `old` in the present text and `new` after it.
    fn grow(&mut self, old: &Range<usize>, new: &Range<usize>, after: &Rope) {
        let above = self.new.start.saturating_sub(old.start);
        let below = old.end.saturating_sub(self.new.end);
        let old_lines = self.now.len_lines();
        self.old = self.old.start.saturating_sub(above)..(self.old.end + below).min(self.base.len_lines());
        let end = self.new.end.max(old.end) + after.len_lines();
        self.new = self.new.start.min(new.start)..end.saturating_sub(old_lines).max(new.end);
        self.now = after.clone();
    }

    /// `None` where nothing worth telling has changed.
    fn piece(self) -> Option<Piece> {
        if self.old.len() > LINES || self.new.len() > LINES {
            return None;
        }
        let (before, after) = (text(&self.base, self.old), text(&self.now, self.new.clone()));
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let told = bare(&before) != bare(&after) && !bare(&after).is_empty();
        told.then_some(Piece { path: self.path, line: self.new.start, before, after })
    }
}

/// The lines that `bytes` bytes at `start` touch.
fn lines(rope: &Rope, start: usize, bytes: usize) -> Range<usize> {
    let last = rope.byte_to_line((start + bytes).min(rope.len_bytes()));
    rope.byte_to_line(start.min(rope.len_bytes()))..last + 1
}

fn text(rope: &Rope, lines: Range<usize>) -> String {
    let at = |line: usize| rope.line_to_char(line.min(rope.len_lines()));
    rope.slice(at(lines.start)..at(lines.end)).to_string().replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Change, Document, Encoding, Position, Range as Lines};

    struct Desk {
        document: Document,
        trail: Trail,
        path: Arc<str>,
    }

    impl Desk {
        fn new(text: &str) -> Desk {
            Desk { document: Document::new("u", "text", 1, text), trail: Trail::default(), path: "a".into() }
        }

        fn edit(&mut self, from: (u32, u32), to: (u32, u32), text: &str) {
            let at = |(line, character): (u32, u32)| Position { line, character };
            let before = self.document.snapshot().rope;
            let range = Some(Lines { start: at(from), end: at(to) });
            let edits = self.document.apply(2, &[Change { range, text: text.into() }], Encoding::Utf8);
            self.trail.edited(&self.path, &before, &self.document.snapshot().rope, edits[0]);
        }

        fn told(&self) -> Vec<(usize, &str, &str)> {
            self.trail.pieces("b", 0..0).map(|p| (p.line, p.before.as_str(), p.after.as_str())).collect()
        }
    }

    #[test]
    fn keys_at_one_place_are_one_piece() {
        let mut desk = Desk::new("a\nb\nc\nd\ne\nf\ng\nh\n");
        desk.edit((1, 1), (1, 1), "x");
        desk.edit((1, 2), (1, 2), "\n");
        desk.edit((2, 0), (2, 0), "y");
        assert_eq!(desk.told(), [], "it is still going on");
        desk.edit((7, 0), (7, 1), "G");
        assert_eq!(desk.told(), [(1, "b\n", "bx\ny\n")]);
        desk.edit((0, 0), (0, 0), "A");
        assert_eq!(desk.told(), [(7, "g\n", "G\n"), (1, "b\n", "bx\ny\n")], "the newest first");
        assert_eq!(desk.trail.pieces("a", 1..3).count(), 1, "what stands around the cursor is seen anyway");
        desk.trail.forget("a");
        assert_eq!(desk.told(), []);
    }

    #[test]
    fn a_change_that_was_taken_back_is_none() {
        let mut desk = Desk::new("a\nb\nc\nd\ne\nf\ng\n");
        desk.edit((1, 1), (1, 1), "x");
        desk.edit((1, 1), (1, 2), "");
        desk.edit((6, 0), (6, 0), "z");
        assert_eq!(desk.told(), []);
    }

    #[test]
    fn lines_above_and_below_are_taken_in() {
        let mut desk = Desk::new("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n");
        desk.edit((4, 0), (4, 1), "E");
        desk.edit((3, 0), (3, 1), "D");
        desk.edit((5, 0), (6, 0), "");
        desk.edit((10, 0), (10, 0), "A");
        assert_eq!(desk.told(), [(3, "d\ne\nf\ng\n", "D\nE\ng\n")]);
    }
}
