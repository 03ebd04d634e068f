//! A model that has lost its way says the same thing over and over.
//!
//! ```text
//! None = None = None                           in one line
//! 000000000000000000000000                     one digit without end; "0, 0, 0, 0" may be a table
//! if a:⏎    b()⏎if a:⏎    b()                  lines, one to three of them in turn
//! ```

/// So many digits in turn, without a blank between them, are no number that anyone wants.
const DIGITS: usize = 20;
/// Longest cycle of lines.
const PERIOD: usize = 3;
/// A line without letters (of a table) may stand so often below itself.
const ROWS: usize = 8;

/// Where the last line of a text begins, when it ends in a repetition.
pub fn in_line(text: &str) -> Option<usize> {
    let start = text.rfind('\n').map_or(0, |n| n + 1);
    let line = &text.as_bytes()[start..];
    let words = (3..=line.len() / 3).any(|period| {
        let tail = &line[line.len() - 3 * period..];
        tail[..2 * period] == tail[period..] && tail[..period].iter().any(u8::is_ascii_alphabetic)
    });
    (words || digits(line)).then_some(start)
}

fn digits(line: &[u8]) -> bool {
    let Some(tail) = line.len().checked_sub(DIGITS).map(|from| &line[from..]) else { return false };
    tail.iter().all(u8::is_ascii_digit) && (1..=PERIOD).any(|period| tail[..DIGITS - period] == tail[period..])
}

/// A line that is not blank: where it begins in the generated text, its columns of indentation, its words.
pub type Line<'a> = (usize, usize, &'a str);

/// Where the second turn begins, when the lines end in a cycle.
pub fn of_lines(lines: &[Line<'_>]) -> Option<usize> {
    (1..=PERIOD).find_map(|period| {
        let from = lines.len().checked_sub(2 * period)?;
        let same = |a: &Line<'_>, b: &Line<'_>| (a.1, a.2) == (b.1, b.2);
        let turns = lines.chunk_by(same).next_back().map_or(0, <[Line<'_>]>::len);
        let (one, two) = lines[from..].split_at(period);
        let words = one.iter().any(|line| line.2.contains(|c: char| c.is_ascii_alphabetic()));
        let again = one.iter().zip(two).all(|(a, b)| same(a, b));
        (again && (words || turns >= ROWS)).then(|| two[0].0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_round() {
        for (text, expected) in [
            ("None = None = None = None", Some(0)),
            ("self.name.name.name.name", Some(0)),
            ("[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]", None),
            ("x = 00000000000000000000", Some(0)),
            ("a()\nx = 12121212121212121212", Some(4)),
            ("x = 0x0000000000000000", None),
            ("x = 31415926535897932384626433", None),
            ("# ====================", None),
            ("", None),
        ] {
            assert_eq!(in_line(text), expected, "{text:?}");
        }
    }

    #[test]
    fn cycles_of_lines() {
        let turn = |text: &str| {
            let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
            let lines: Vec<Line<'_>> = starts
                .zip(text.lines())
                .map(|(at, line)| (at, line.len() - line.trim_start().len(), line.trim()))
                .filter(|line| !line.2.is_empty())
                .collect();
            of_lines(&lines)
        };
        for (text, expected) in [
            ("a()\na()\n", Some(4)),
            ("a()\n  a()\n", None),
            ("if a:\n b()\nif a:\n b()\n", Some(11)),
            ("a()\nb()\nc()\na()\nb()\nc()\n", Some(12)),
            ("x()\na()\n\nb()\n\na()\nb()\n", Some(14)),
            ("a()\nb()\nc()\nd()\na()\nb()\nc()\nd()\n", None),
            ("a()\nb()\na()\nc()\n", None),
            ("0,\n0,\n0,\n", None),
            ("0,\n0,\n0,\n0,\n0,\n0,\n0,\n0,\n", Some(21)),
            ("a()\n", None),
            ("", None),
        ] {
            assert_eq!(turn(text), expected, "{text:?}");
        }
    }
}
