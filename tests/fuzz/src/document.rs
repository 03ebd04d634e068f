//! didChange in three encodings against a plain string, with the parser of a language edited along.
//!
//! ```text
//! bytes   encoding, language, pieces of the first text, then of each change: line, column, lines, column, pieces
//! ```
use crate::plain::{ENCODINGS, PIECES, inside_crlf, place, position};
use infill::document::{Change, Document, Position, Range};

const LANGUAGES: [&str; 6] = ["text", "rust", "python", "html", "markdown", "json"];

fn pieces(bytes: &mut impl Iterator<Item = u8>) -> Option<String> {
    let count = bytes.next()? % 8;
    Some(bytes.take(count.into()).map(|b| PIECES[usize::from(b) % PIECES.len()]).collect())
}

pub fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let (Some(encoding), Some(language), Some(start)) = (bytes.next(), bytes.next(), pieces(&mut bytes)) else { return };
    let encoding = ENCODINGS[usize::from(encoding) % 3];
    let mut plain: Vec<char> = start.chars().collect();
    let mut document = Document::new("file:///t", LANGUAGES[usize::from(language) % LANGUAGES.len()], 1, &start);
    let mut version = 1;
    while let (Some(line), Some(from), Some(lines), Some(to), Some(new)) =
        (bytes.next(), bytes.next(), bytes.next(), bytes.next(), pieces(&mut bytes))
    {
        let wide = |b: u8| if b == 255 { u32::MAX } else { u32::from(b % 32) };
        let start = Position { line: wide(line), character: wide(from) };
        let end = Position { line: wide(line).saturating_add(wide(lines % 4)), character: wide(to) };
        let range = (lines < 250).then_some(Range { start, end });
        version += 1;
        document.apply(version, &[Change { range, text: new.clone() }], encoding);
        let (a, b) = range.map_or((0, plain.len()), |r| (place(&plain, r.start, encoding), place(&plain, r.end, encoding)));
        plain.splice(a.min(b)..a.max(b), new.chars());
        let snapshot = document.snapshot();
        assert_eq!(snapshot.rope.to_string(), plain.iter().collect::<String>());
        let at = a.min(b);
        if !inside_crlf(&plain, at) {
            let byte: usize = plain[..at].iter().map(|c| c.len_utf8()).sum();
            assert_eq!(snapshot.position(byte, encoding), position(&plain, at, encoding));
            assert_eq!(snapshot.offset(position(&plain, at, encoding), encoding), byte);
        }
    }
    document.settled();
}
