//! An open document: rope, version, line ends.
//!
//! ```
//! use infill::document::{Change, Document, Encoding, Position, Range};
//! let mut d = Document::new("file:///a.py", "python", 1, "x = '😀'\n");
//! // In UTF-16 the emoji is two units wide: columns 5..7.
//! let range = Range { start: Position { line: 0, character: 5 }, end: Position { line: 0, character: 7 } };
//! d.apply(2, &[Change { range: Some(range), text: "ok".into() }], Encoding::Utf16);
//! assert_eq!(d.snapshot().rope.to_string(), "x = 'ok'\n");
//! ```
//! Positions follow the LSP: lines end in LF, CRLF or CR; a character past the end of its line means the end of the
//! line; a line past the end means the end of the text; one inside a character means the character's start.
use ropey::Rope;
use std::sync::Arc;

/// Unit of `Position::character`, negotiated with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16,
    Utf32,
}

/// Zero-based line, and character within it in units of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Position {
    pub line: u32,
    pub character: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Range {
    pub start: Position,
    pub end: Position,
}

/// One content change: of a range, or (no range) of the whole text.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Change {
    pub range: Option<Range>,
    pub text: String,
}

/// What a change did, in bytes of the text before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    pub start: usize,
    pub removed: usize,
    pub inserted: usize,
}

/// The line end that a document uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eol {
    Lf,
    CrLf,
}

/// A document as it was at one version. Cloning shares the text: O(1).
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub uri: Arc<str>,
    pub language: Arc<str>,
    pub version: i32,
    pub rope: Rope,
}

/// An open document. Mutated in wire order by one place, read through snapshots.
#[derive(Debug)]
pub struct Document {
    state: Snapshot,
}

impl Document {
    pub fn new(uri: &str, language: &str, version: i32, text: &str) -> Document {
        Document { state: Snapshot { uri: uri.into(), language: language.into(), version, rope: Rope::from_str(text) } }
    }

    /// Applies changes in order, each to the result of the one before.
    pub fn apply(&mut self, version: i32, changes: &[Change], encoding: Encoding) -> Vec<Edit> {
        self.state.version = version;
        changes.iter().map(|change| self.replace(change, encoding)).collect()
    }

    fn replace(&mut self, change: &Change, encoding: Encoding) -> Edit {
        let Some(range) = change.range else {
            let removed = self.state.rope.len_bytes();
            self.state.rope = Rope::from_str(&change.text);
            return Edit { start: 0, removed, inserted: change.text.len() };
        };
        let a = self.state.char_at(range.start, encoding);
        let b = self.state.char_at(range.end, encoding);
        let (start, end) = (a.min(b), a.max(b));
        let (from, to) = (self.state.rope.char_to_byte(start), self.state.rope.char_to_byte(end));
        self.state.rope.remove(start..end);
        self.state.rope.insert(start, &change.text);
        Edit { start: from, removed: to - from, inserted: change.text.len() }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }

    pub fn version(&self) -> i32 {
        self.state.version
    }
}

impl Snapshot {
    /// The line end of the first line; LF when there is none.
    pub fn eol(&self) -> Eol {
        let line = self.rope.line(0);
        match line.len_chars() {
            n if n >= 2 && line.char(n - 2) == '\r' && line.char(n - 1) == '\n' => Eol::CrLf,
            _ => Eol::Lf,
        }
    }

    /// Byte offset of a position, clamped as the module says.
    pub fn offset(&self, position: Position, encoding: Encoding) -> usize {
        self.rope.char_to_byte(self.char_at(position, encoding))
    }

    /// Byte offset of a position whose line must exist; `None` when it does not.
    pub fn offset_strict(&self, position: Position, encoding: Encoding) -> Option<usize> {
        ((position.line as usize) < self.rope.len_lines()).then(|| self.offset(position, encoding))
    }

    /// Position of a byte offset (clamped to the text, and down to a character's start).
    pub fn position(&self, offset: usize, encoding: Encoding) -> Position {
        let at = self.rope.byte_to_char(offset.min(self.rope.len_bytes()));
        let line = self.rope.char_to_line(at);
        let start = self.rope.line_to_char(line);
        let character = match encoding {
            Encoding::Utf8 => self.rope.char_to_byte(at) - self.rope.char_to_byte(start),
            Encoding::Utf16 => self.rope.char_to_utf16_cu(at) - self.rope.char_to_utf16_cu(start),
            Encoding::Utf32 => at - start,
        };
        Position { line: line as u32, character: character as u32 }
    }

    /// The text of a byte range with LF line ends, as the model sees it. Both ends must be character boundaries or
    /// are moved down to one.
    pub fn text(&self, start: usize, end: usize) -> String {
        let end = self.rope.byte_to_char(end.min(self.rope.len_bytes()));
        let start = self.rope.byte_to_char(start.min(self.rope.len_bytes())).min(end);
        let slice = self.rope.slice(start..end);
        let mut text = String::with_capacity(slice.len_bytes());
        slice.chunks().for_each(|c| text.push_str(c));
        if text.contains('\r') { text.replace("\r\n", "\n") } else { text }
    }

    /// Byte offset of the start of the line that holds `offset`.
    pub fn line_start(&self, offset: usize) -> usize {
        let offset = offset.min(self.rope.len_bytes());
        self.rope.line_to_byte(self.rope.byte_to_line(offset))
    }

    /// Byte offset of the end of that line, before its line end.
    pub fn line_end(&self, offset: usize) -> usize {
        let line = self.rope.byte_to_line(offset.min(self.rope.len_bytes()));
        self.rope.char_to_byte(self.line_end_char(line))
    }

    fn line_end_char(&self, line: usize) -> usize {
        let text = self.rope.line(line);
        let mut n = text.len_chars();
        while n > 0 && matches!(text.char(n - 1), '\n' | '\r') {
            n -= 1;
        }
        self.rope.line_to_char(line) + n
    }

    fn char_at(&self, position: Position, encoding: Encoding) -> usize {
        let line = position.line as usize;
        if line >= self.rope.len_lines() {
            return self.rope.len_chars();
        }
        let start = self.rope.line_to_char(line);
        let character = position.character as usize;
        let at = match encoding {
            Encoding::Utf8 => {
                let byte = self.rope.char_to_byte(start).saturating_add(character).min(self.rope.len_bytes());
                self.rope.byte_to_char(byte)
            }
            Encoding::Utf16 => {
                let unit = self.rope.char_to_utf16_cu(start).saturating_add(character).min(self.rope.len_utf16_cu());
                self.rope.utf16_cu_to_char(unit)
            }
            Encoding::Utf32 => start.saturating_add(character),
        };
        at.min(self.line_end_char(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Snapshot {
        Document::new("file:///t", "text", 1, text).snapshot()
    }

    fn at(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn positions_clamp_to_line_and_text() {
        let d = doc("ab\r\ncd\re\u{301}\n");
        for e in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
            assert_eq!(d.offset(at(0, 99), e), 2, "before the CRLF");
            assert_eq!(d.offset(at(1, 99), e), 6, "a lone CR ends a line");
            assert_eq!(d.offset(at(99, 0), e), d.rope.len_bytes());
            assert_eq!(d.offset(at(u32::MAX, u32::MAX), e), d.rope.len_bytes());
        }
    }

    #[test]
    fn other_separators_are_no_line_ends() {
        let d = doc("a\u{2028}b\u{85}c\u{b}d\n");
        assert_eq!(d.position(d.rope.len_bytes() - 1, Encoding::Utf32), at(0, 7));
    }

    #[test]
    fn inside_a_character_means_its_start() {
        let d = doc("😀x");
        assert_eq!(d.offset(at(0, 1), Encoding::Utf16), 0);
        assert_eq!(d.offset(at(0, 2), Encoding::Utf16), 4);
        assert_eq!(d.offset(at(0, 3), Encoding::Utf8), 0);
        assert_eq!(d.offset(at(0, 1), Encoding::Utf32), 4);
    }

    #[test]
    fn text_has_lf_only_and_eol_is_remembered() {
        let d = doc("a\r\nb\r\n");
        assert_eq!(d.text(0, 6), "a\nb\n");
        assert_eq!(d.eol(), Eol::CrLf);
        assert_eq!(doc("a\n").eol(), Eol::Lf);
        assert_eq!(doc("").eol(), Eol::Lf);
    }

    #[test]
    fn a_reversed_range_is_taken_as_its_mirror() {
        let mut d = Document::new("u", "l", 1, "abc");
        let range = Range { start: at(0, 2), end: at(0, 1) };
        d.apply(2, &[Change { range: Some(range), text: "X".into() }], Encoding::Utf16);
        assert_eq!(d.snapshot().rope.to_string(), "aXc");
    }
}
