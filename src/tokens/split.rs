//! DeepSeek's pre-tokenizer: five splits, single digits, and which of its boundaries can no longer move.
//!
//! ```
//! use infill::tokens::split::{pieces, stable};
//! assert_eq!(pieces("  let x1 = 2;").collect::<Vec<_>>(), [" ", " let", " x", "1", " =", " ", "2", ";"]);
//! // `foo` can still grow and the blank before it belongs to it; what stands before them is settled.
//! assert_eq!(stable("let foo"), 3);
//! assert_eq!(stable("let foo\n"), 8);
//! ```
//! Written by hand rather than with five regular expressions, because `stable` needs the classes of characters themselves.
//! The tests hold it against the `tokenizers` crate with the original expressions.
use std::ops::Range;
use std::sync::LazyLock;

/// The letters of the second split, as in DeepSeek's `tokenizer.json`.
pub const LETTERS: &str = "A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}";
/// The signs of the third split. `:-~` takes the ASCII letters in; they are only left over inside a word of other letters.
pub const SIGNS: &str = "!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}";
/// The ideographs of the fifth split.
pub const IDEOGRAPHS: &str = "\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}";

/// A set of characters: ASCII as a bit mask, the rest as sorted ranges.
struct Class {
    ascii: u128,
    ranges: Vec<(char, char)>,
}

static LETTER: LazyLock<Class> = LazyLock::new(|| Class::parse(LETTERS));
static SIGN: LazyLock<Class> = LazyLock::new(|| Class::parse(SIGNS));
static IDEOGRAPH: LazyLock<Class> = LazyLock::new(|| Class::parse(IDEOGRAPHS));

impl Class {
    /// The inside of a `[…]` without escapes: characters and `a-b`.
    fn parse(text: &str) -> Class {
        let chars: Vec<char> = text.chars().collect();
        let (mut at, mut ranges) = (0, Vec::new());
        while at < chars.len() {
            let is_range = chars.get(at + 1) == Some(&'-') && at + 2 < chars.len();
            ranges.push((chars[at], chars[if is_range { at + 2 } else { at }]));
            at += if is_range { 3 } else { 1 };
        }
        ranges.sort_unstable();
        let inside = |c: char| ranges.iter().any(|&(from, to)| (from..=to).contains(&c));
        let ascii = (0..128u8).filter(|&b| inside(b as char)).fold(0, |mask, b| mask | 1u128 << b);
        Class { ascii, ranges }
    }

    fn has(&self, c: char) -> bool {
        if c.is_ascii() {
            return self.ascii >> (c as u32) & 1 == 1;
        }
        let after = self.ranges.partition_point(|&(from, _)| from <= c);
        after > 0 && c <= self.ranges[after - 1].1
    }
}

/// The pre-tokens of `text`, in order; together they are all of it.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    ranges(text).into_iter().map(move |range| &text[range])
}

/// The pre-tokens of `text` that are those of every text that begins with `text`.
pub fn settled(text: &str) -> impl Iterator<Item = &str> {
    let end = stable(text);
    // Those of the whole text, cut: the beginning by itself could be split in another way.
    ranges(text).into_iter().take_while(move |range| range.end <= end).map(move |range| &text[range])
}

/// How many bytes of `text` no continuation can split in another way: the end of `settled`.
pub fn stable(text: &str) -> usize {
    ranges(text).iter().map(|range| range.end).rev().find(|&at| is_settled(text, at)).unwrap_or(0)
}

/// Is the boundary at `at`, which exists in `text`, there in every continuation, and everything before it decided?
///
/// Pairs of neighbours decide nearly all: a word ends where a sign follows, whatever comes later. What stays open is white
/// space (its last blank joins a word or sign that follows) and what no class names (`🦙 1` keeps the blank, `🦙 ` splits it off).
fn is_settled(text: &str, at: usize) -> bool {
    let Some(before) = text[..at].chars().next_back() else { return true };
    let mut rest = text[at..].chars();
    if is_newline(before) || before.is_numeric() {
        return true;
    }
    let Some(after) = rest.next() else { return false };
    if is_newline(after) || after.is_numeric() {
        return true;
    }
    let differ = |class: &Class| class.has(before) != class.has(after);
    if !before.is_whitespace() && (differ(&LETTER) || differ(&SIGN) || differ(&IDEOGRAPH)) {
        return true;
    }
    if !after.is_whitespace() {
        return before.is_whitespace() && differ(&IDEOGRAPH);
    }
    // A blank that begins a word or a run of signs.
    let joins = |c: char| !c.is_whitespace() && (LETTER.has(c) || SIGN.has(c));
    !SIGN.has(after) && rest.next().is_some_and(joins)
}

fn is_newline(c: char) -> bool {
    c == '\r' || c == '\n'
}

fn ranges(text: &str) -> Vec<Range<usize>> {
    let whole = 0..text.len();
    let mut parts = if text.is_empty() { Vec::new() } else { vec![whole] };
    parts = apply(text, parts, |piece| single(piece, is_newline));
    parts = apply(text, parts, |piece| run(piece, &LETTER, true));
    parts = apply(text, parts, |piece| run(piece, &SIGN, true));
    parts = apply(text, parts, trailing_space);
    parts = apply(text, parts, |piece| run(piece, &IDEOGRAPH, false));
    apply(text, parts, |piece| single(piece, char::is_numeric))
}

/// One split with the behaviour `Isolated`: each match of `find` is a part, and so is what lies between.
fn apply(text: &str, parts: Vec<Range<usize>>, find: impl Fn(&str) -> Option<Range<usize>>) -> Vec<Range<usize>> {
    let mut out = Vec::with_capacity(parts.len() * 2);
    for part in parts {
        let mut at = part.start;
        while let Some(found) = (at < part.end).then(|| find(&text[at..part.end])).flatten() {
            if found.start > 0 {
                out.push(at..at + found.start);
            }
            out.push(at + found.start..at + found.end);
            at += found.end;
        }
        if at < part.end {
            out.push(at..part.end);
        }
    }
    out
}

/// The first character for which `test` holds.
fn single(piece: &str, test: impl Fn(char) -> bool) -> Option<Range<usize>> {
    piece.char_indices().find(|&(_, c)| test(c)).map(|(at, c)| at..at + c.len_utf8())
}

/// The first `[class]+`, or `\s?[class]+`.
fn run(piece: &str, class: &Class, with_space: bool) -> Option<Range<usize>> {
    let (first, _) = piece.char_indices().find(|&(_, c)| class.has(c))?;
    let length = piece[first..].find(|c| !class.has(c)).unwrap_or(piece.len() - first);
    let space = piece[..first].chars().next_back().filter(|c| with_space && c.is_whitespace());
    Some(first - space.map_or(0, char::len_utf8)..first + length)
}

/// `\s+$`
fn trailing_space(piece: &str) -> Option<Range<usize>> {
    let kept = piece.trim_end().len();
    (kept < piece.len()).then_some(kept..piece.len())
}
