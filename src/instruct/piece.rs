//! The lines that an action is about, and the change that an answer makes of them.
//!
//! ```
//! use infill::document::Document;
//! use infill::instruct::piece::Piece;
//! let text = Document::new("file:///a.py", "python", 1, "def f():\n    x = 1\n    retrun x\n").snapshot();
//! let piece = Piece::of(&text, 14..30); // "x = 1\n    retrun": whole lines
//! assert_eq!(piece.code, "x = 1\nretrun x\n"); // without the indentation they share
//! let change = piece.change(&text, "x = 1\nreturn x\n").unwrap();
//! assert_eq!((change.start, change.end, change.text.as_str()), (19, 32, "    return x\n")); // the lines that differ
//! ```
use crate::document::Snapshot;
use std::ops::Range;

/// Lines above and below a place that has no definition around it.
const AROUND: usize = 6;
/// A definition of more lines is not what a single place in it is about.
const LINES: usize = 120;

/// Whole lines of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub lines: Range<usize>,
    /// The blanks that all of them begin with.
    indent: String,
    /// The lines without them, with LF line ends.
    pub code: String,
}

/// Bytes of a text that become another text (LF line ends).
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub start: usize,
    pub end: usize,
    pub text: String,
}

impl Piece {
    /// The lines that a selection touches. One that ends at the beginning of a line does not touch that line.
    pub fn of(text: &Snapshot, bytes: Range<usize>) -> Piece {
        let last = if bytes.end > bytes.start && text.line_start(bytes.end) == bytes.end { bytes.end - 1 } else { bytes.end };
        Piece::lines(text, text.rope.byte_to_line(bytes.start)..text.rope.byte_to_line(last) + 1)
    }

    /// The innermost definition around a place, or else some lines around it.
    pub fn around(text: &Snapshot, bytes: Range<usize>) -> Piece {
        let scope = text.syntax.as_ref().and_then(|syntax| syntax.enclosing(&text.rope, bytes.clone()));
        let scope = scope.map(|scope| Piece::of(text, scope)).filter(|piece| piece.lines.len() <= LINES);
        scope.unwrap_or_else(|| {
            let (first, last) = (text.rope.byte_to_line(bytes.start), text.rope.byte_to_line(bytes.end));
            Piece::lines(text, first.saturating_sub(AROUND)..last + AROUND + 1)
        })
    }

    fn lines(text: &Snapshot, lines: Range<usize>) -> Piece {
        // What follows the last line end is a line without text: it is none to work on, unless it is all.
        let empty = text.rope.line(text.rope.len_lines() - 1).len_bytes() == 0;
        let all = (text.rope.len_lines() - usize::from(empty)).max(1);
        let end = lines.end.clamp(1, all);
        let lines = lines.start.min(end - 1)..end;
        let whole = text.text(text.rope.line_to_byte(lines.start), text.rope.line_to_byte(lines.end));
        let indent = indent(&whole).to_owned();
        Piece { lines, code: dedent(&whole, indent.len()), indent }
    }

    /// Where it stands in its text.
    pub fn bytes(&self, text: &Snapshot) -> Range<usize> {
        text.rope.line_to_byte(self.lines.start)..text.rope.line_to_byte(self.lines.end)
    }

    /// What an answer makes of it, at the lines that differ; `None` where none does.
    pub fn change(&self, text: &Snapshot, answer: &str) -> Option<Change> {
        let bytes = self.bytes(text);
        let before = text.text(bytes.start, bytes.end);
        let after = self.whole(answer, before.ends_with('\n'));
        let (old, new): (Vec<&str>, Vec<&str>) = (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
        let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let (old, new) = (&old[head..], &new[head..]);
        let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
        let first = self.lines.start + head;
        let (start, end) = (text.rope.line_to_byte(first), text.rope.line_to_byte(first + old.len() - tail));
        let text = new[..new.len() - tail].concat();
        (start < end || !text.is_empty()).then_some(Change { start, end, text })
    }

    /// An answer's code with the indentation that its place has.
    fn whole(&self, answer: &str, ended: bool) -> String {
        let answer = answer.replace("\r\n", "\n");
        let answer = answer.trim_matches('\n');
        let mut out = indented(&dedent(answer, indent(answer).len()), &self.indent);
        if ended {
            out.push('\n');
        }
        out
    }
}

/// The blanks that all lines with text begin with.
fn indent(text: &str) -> &str {
    let blanks = |line| {
        let line: &str = line;
        &line[..line.len() - line.trim_start().len()]
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).map(blanks);
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    lines.reduce(|a, b| &a[..shared(a, b)]).unwrap_or_default()
}

fn dedent(text: &str, bytes: usize) -> String {
    text.split_inclusive('\n')
        .map(|line| line.get(bytes..).filter(|_| !line.trim().is_empty()).unwrap_or(line.trim_start_matches([' ', '\t'])))
        .collect()
}

/// With `indent` before each line that has text.
pub fn indented(text: &str, indent: &str) -> String {
    let line = |line: &str| if line.trim().is_empty() { line.to_owned() } else { format!("{indent}{line}") };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use proptest::prelude::*;

    fn text(text: &str) -> Snapshot {
        Document::new("file:///a.py", "python", 1, text).settled()
    }

    /// The text after the change.
    fn changed(text: &Snapshot, change: &Change) -> String {
        let whole = text.rope.to_string();
        format!("{}{}{}", &whole[..change.start], change.text, &whole[change.end..])
    }

    #[test]
    fn selections_become_whole_lines() {
        let t = text("a = 1\nif a:\n    b = 2\n\n    c = 3\nd = 4");
        let lines = |from: usize, to: usize| Piece::of(&t, from..to).lines;
        assert_eq!((lines(0, 0), lines(2, 8), lines(6, 12)), (0..1, 0..2, 1..2));
        let whole = t.rope.len_bytes();
        assert_eq!((lines(whole, whole), lines(0, whole)), (5..6, 0..6));
        assert_eq!(Piece::of(&t, 14..30).code, "b = 2\n\nc = 3\n");
        assert_eq!(Piece::of(&text(""), 0..0).code, "");
        assert_eq!(Piece::of(&text("x\n"), 2..2).lines, 0..1, "after the last line end there is no line");
    }

    #[cfg(feature = "languages")]
    #[test]
    fn a_place_stands_for_the_definition_around_it() {
        let body = "    x = 1\n".repeat(20);
        let t = text(&format!("import os\n\n\nclass A:\n    def f(self):\n    {}\n\nx = 1\n", body.replace('\n', "\n    ")));
        let at = t.rope.line_to_byte(8) + 9;
        assert_eq!(Piece::around(&t, at..at).lines, 4..25);
        let at = t.rope.to_string().rfind("x = 1").unwrap();
        assert_eq!(Piece::around(&t, at..at).lines.end, t.rope.len_lines() - 1, "lines around it");
    }

    #[test]
    fn only_lines_that_differ_change() {
        let t = text("def f():\n    a = 1\n    b = 2\n    c = 3\n");
        let piece = Piece::of(&t, 9..38);
        let change = |answer: &str| piece.change(&t, answer).map(|change| changed(&t, &change));
        assert_eq!(change("a = 1\nb = 2\nc = 3\n"), None);
        assert_eq!(change("\n\n        a = 1\n        b = 2\n        c = 3\n\n"), None, "another indentation is no change");
        assert_eq!(change("a = 1\nb = 9\nc = 3").as_deref(), Some("def f():\n    a = 1\n    b = 9\n    c = 3\n"));
        assert_eq!(change("a = 1\nc = 3\n").as_deref(), Some("def f():\n    a = 1\n    c = 3\n"));
        assert_eq!(
            change("a = 1\n# the second\nb = 2\nc = 3\n").as_deref(),
            Some("def f():\n    a = 1\n    # the second\n    b = 2\n    c = 3\n")
        );
        let only = piece.change(&t, "a = 1\nb = 9\nc = 3").unwrap();
        assert_eq!((only.start, only.end, only.text.as_str()), (19, 29, "    b = 9\n"));
    }

    #[test]
    fn crlf_and_a_last_line_without_an_end() {
        let t = text("if a:\r\n\tb = 1\r\n\tc = 2");
        let piece = Piece::of(&t, 8..20);
        assert_eq!(piece.code, "b = 1\nc = 2");
        let change = piece.change(&t, "b = 1\nd = 3\nc = 2\n").unwrap();
        assert_eq!((change.start, change.text.as_str()), (15, "\td = 3\n"));
        assert_eq!(piece.change(&t, "b = 1\r\nc = 2\r\n"), None);
        assert_eq!(piece.change(&t, "b = 1\nc = 5\n").unwrap().text, "\tc = 5");
    }

    proptest! {
        /// Whatever the lines are: the change makes of them what the answer says, and touches nothing outside.
        #[test]
        fn a_change_is_the_answer(lines in prop::collection::vec("[ a\t]{0,4}", 1..8), from in 0usize..8, count in 1usize..8, answer in prop::collection::vec("[ab]{1,2}", 1..6)) {
            let t = text(&format!("{}\n", lines.join("\n")));
            let from = from.min(lines.len() - 1);
            let piece = Piece::lines(&t, from..from + count);
            let bytes = piece.bytes(&t);
            let (whole, answer) = (t.rope.to_string(), answer.join("\n"));
            let result = piece.change(&t, &answer).map_or(whole.clone(), |change| changed(&t, &change));
            let expected = format!("{}{}\n{}", &whole[..bytes.start], indented(&answer, &piece.indent), &whole[bytes.end..]);
            prop_assert_eq!(result, expected);
        }
    }
}
