//! Random edits in three encodings against a plain string: same text, same positions.
//!
//! The model is a `Vec<char>` and arithmetic as the LSP states it; the subject is the rope document.
use infill::document::{Change, Document, Encoding, Position, Range};
use proptest::prelude::*;

const PIECES: [&str; 16] =
    ["", "a", "\n", "\r\n", "\r", "\t", "é", "e\u{301}", "😀", "👩‍👩‍👧", "{\n    x\n}", "\u{2028}", "\u{85}", "μ", "  ", "ab\r\ncd"];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|p| p.concat())
}

/// Offsets (in characters) of the starts of all lines; LF, CRLF and CR end one.
fn line_starts(text: &[char]) -> Vec<usize> {
    let mut starts = vec![0];
    for (at, c) in text.iter().enumerate() {
        if *c == '\n' || (*c == '\r' && text.get(at + 1) != Some(&'\n')) {
            starts.push(at + 1);
        }
    }
    starts
}

fn width(c: char, encoding: Encoding) -> usize {
    match encoding {
        Encoding::Utf8 => c.len_utf8(),
        Encoding::Utf16 => c.len_utf16(),
        Encoding::Utf32 => 1,
    }
}

/// The character that a position means, by the letter of the specification.
fn place(text: &[char], position: Position, encoding: Encoding) -> usize {
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

fn edit() -> impl Strategy<Value = (Option<(u32, u32, u32, u32)>, String)> {
    let range = (0..8u32, 0..9u32, 0..4u32, 0..9u32);
    (prop::option::weighted(0.95, range), text())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn same_text_as_a_plain_string(start in text(), edits in prop::collection::vec(edit(), 1..12), which in 0..3usize) {
        let encoding = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32][which];
        let mut plain: Vec<char> = start.chars().collect();
        let mut document = Document::new("file:///t", "text", 1, &start);
        for (n, (range, new)) in edits.into_iter().enumerate() {
            let range = range.map(|(line, from, lines, to)| Range {
                start: Position { line, character: from },
                end: Position { line: line + lines, character: if lines == 0 { from + to } else { to } },
            });
            document.apply(n as i32 + 2, &[Change { range, text: new.clone() }], encoding);
            let (a, b) = match range {
                Some(r) => (place(&plain, r.start, encoding), place(&plain, r.end, encoding)),
                None => (0, plain.len()),
            };
            plain.splice(a.min(b)..a.max(b), new.chars());
            let expected: String = plain.iter().collect();
            let snapshot = document.snapshot();
            prop_assert_eq!(snapshot.rope.to_string(), expected);
            positions_round_trip(&snapshot, &plain, encoding)?;
        }
    }
}

fn positions_round_trip(snapshot: &infill::document::Snapshot, plain: &[char], encoding: Encoding) -> Result<(), TestCaseError> {
    let mut byte = 0;
    for (at, c) in plain.iter().enumerate() {
        let inside_crlf = *c == '\n' && at > 0 && plain[at - 1] == '\r';
        if !inside_crlf {
            let position = snapshot.position(byte, encoding);
            prop_assert_eq!(snapshot.offset(position, encoding), byte);
            prop_assert_eq!(place(plain, position, encoding), at);
        }
        byte += c.len_utf8();
    }
    Ok(())
}
