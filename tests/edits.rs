//! Random edits in three encodings against a plain string: same text, same positions.
//!
//! ```text
//! "a😀\r\nb", delete (0, 1)..(1, 0) in UTF-16   ->   "ab", in the rope document and in the plain string (tests/plain)
//! ```
mod plain;
use infill::document::{Change, Document, Encoding, Position, Range};
use plain::{ENCODINGS, PIECES, inside_crlf, place};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|p| p.concat())
}

fn edit() -> impl Strategy<Value = (Option<(u32, u32, u32, u32)>, String)> {
    let range = (0..8u32, 0..9u32, 0..4u32, 0..9u32);
    (prop::option::weighted(0.95, range), text())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn same_text_as_a_plain_string(start in text(), edits in prop::collection::vec(edit(), 1..12), which in 0..3usize) {
        let encoding = ENCODINGS[which];
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
        if !inside_crlf(plain, at) {
            let position = snapshot.position(byte, encoding);
            prop_assert_eq!(snapshot.offset(position, encoding), byte);
            prop_assert_eq!(place(plain, position, encoding), at);
        }
        byte += c.len_utf8();
    }
    Ok(())
}
