//! A text as an editor keeps it: characters, and positions by the letter of the LSP. The model that documents are held against.
//!
//! ```text
//! place("a😀b", line 0, character 3, UTF-16)   ->   before "b"
//! ```
#![allow(dead_code)] // each test binary uses a part of it
use infill::document::{Encoding, Position};

pub const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32];

/// What texts are made of: line ends of all kinds, wide characters, and what looks like a line end and is none.
pub const PIECES: [&str; 16] =
    ["", "a", "\n", "\r\n", "\r", "\t", "é", "e\u{301}", "😀", "👩‍👩‍👧", "{\n    x\n}", "\u{2028}", "\u{85}", "μ", "  ", "ab\r\ncd"];

/// Offsets (in characters) of the starts of all lines; LF, CRLF and CR end one.
pub fn line_starts(text: &[char]) -> Vec<usize> {
    let mut starts = vec![0];
    for (at, c) in text.iter().enumerate() {
        if *c == '\n' || (*c == '\r' && text.get(at + 1) != Some(&'\n')) {
            starts.push(at + 1);
        }
    }
    starts
}

pub fn width(c: char, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 => c.len_utf8(),
        Encoding::Utf16 => c.len_utf16(),
        Encoding::Utf32 => 1,
    }
}

/// The character that a position means, by the letter of the specification.
pub fn place(text: &[char], position: Position, encoding: Encoding) -> usize {
    let starts = line_starts(text);
    let Some(&start) = starts.get(position.line as usize) else { return text.len() };
    let (mut at, mut units) = (start, 0);
    while at < text.len() && !matches!(text[at], '\n' | '\r') {
        units += width(text[at], encoding);
        if units > position.character as usize {
            break;
        }
        at += 1;
    }
    at
}

/// The position of a character, which must not lie inside a CRLF.
pub fn position(text: &[char], at: usize, encoding: Encoding) -> Position {
    let starts = line_starts(text);
    let line = starts.iter().rposition(|start| *start <= at).unwrap_or(0);
    let character: usize = text[starts[line]..at].iter().map(|c| width(*c, encoding)).sum();
    Position { line: line as u32, character: character as u32 }
}

/// Whether an offset lies between a CR and its LF.
pub fn inside_crlf(text: &[char], at: usize) -> bool {
    at > 0 && text.get(at) == Some(&'\n') && text[at - 1] == '\r'
}
