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
use crate::syntax::{self, Done, Job, Parse, Syntax};
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
    /// Where there is a grammar for the language, and a first parse is done.
    pub syntax: Option<Syntax>,
}

/// An open document. Mutated in wire order by one place, read through snapshots.
#[derive(Debug)]
pub struct Document {
    state: Snapshot,
    parse: Option<Parse>,
}

impl Document {
    pub fn new(uri: &str, language: &str, version: i32, text: &str) -> Document {
        let rope = Rope::from_str(text);
        let parse = Parse::new(language, &rope);
        let syntax = parse.as_ref().and_then(Parse::syntax);
        Document { state: Snapshot { uri: uri.into(), language: language.into(), version, rope, syntax }, parse }
    }

    /// Applies changes in order, each to the result of the one before.
    pub fn apply(&mut self, version: i32, changes: &[Change], encoding: Encoding) -> Vec<Edit> {
        self.state.version = version;
        let edits = changes.iter().map(|change| self.replace(change, encoding)).collect();
        if let Some(parse) = &mut self.parse {
            parse.settle(&self.state.rope);
            self.state.syntax = parse.syntax();
        }
        edits
    }

    fn replace(&mut self, change: &Change, encoding: Encoding) -> Edit {
        let rope = &self.state.rope;
        let (start, end) = match change.range {
            None => (0, rope.len_bytes()),
            Some(range) => {
                let (a, b) = (self.state.char_at(range.start, encoding), self.state.char_at(range.end, encoding));
                (rope.char_to_byte(a.min(b)), rope.char_to_byte(a.max(b)))
            }
        };
        let edit = syntax::replace(&mut self.state.rope, start, end - start, &change.text);
        self.parse.iter_mut().for_each(|parse| parse.edit(edit));
        Edit { start, removed: end - start, inserted: change.text.len() }
    }

    /// A parse that took too long to wait for: to be run on another thread, and handed to [`Document::parsed`].
    pub fn unparsed(&mut self) -> Option<Job> {
        self.parse.as_mut()?.job(&self.state.rope)
    }

    pub fn parsed(&mut self, done: Done) {
        if let Some(parse) = &mut self.parse {
            parse.finish(done, &self.state.rope);
            self.state.syntax = parse.syntax();
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }

    /// A snapshot with its syntax, where nobody waits at a keyboard: the parse takes the time that it takes.
    pub fn settled(mut self) -> Snapshot {
        self.settle();
        self.snapshot()
    }

    /// Waits for the parse.
    pub fn settle(&mut self) {
        while let Some(job) = self.unparsed() {
            self.parsed(job.run());
        }
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

    /// The same text with the language and the syntax of what `at` lies inside of: those of a fence, a script or a style.
    pub fn inside(&self, at: usize) -> Snapshot {
        let inner = self.syntax.as_ref().and_then(|syntax| syntax.inside(&self.rope, at));
        inner
            .map_or_else(|| self.clone(), |(language, syntax)| Snapshot { language: language.into(), syntax: Some(syntax), ..self.clone() })
    }

    /// Byte offset of the start of the line that holds `offset`.
    pub fn line_start(&self, offset: usize) -> usize {
        let offset = offset.min(self.rope.len_bytes());
        self.rope.line_to_byte(self.rope.byte_to_line(offset))
    }

    /// Whether nothing but blanks stands between the start of the line and `offset`.
    pub fn is_blank_before(&self, offset: usize) -> bool {
        self.text(self.line_start(offset), offset).trim().is_empty()
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
