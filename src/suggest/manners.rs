//! Manners: where a suggestion ends, and how it meets the text that is already there. No IO, no state.
//!
//! ```text
//! print(fo|)          generated "o, bar)"   -> insert "o, bar", leave the editor's ")" alone
//! call(|)             generated "a, b):"    -> insert "a, b):", replace the editor's ")"
//! if x:⏎    y|        generated "()⏎z = 1"  -> "()": the next line leaves the block
//! ```
use crate::config::Lines;
use crate::document::Snapshot;
use crate::prompt::is_closer;
use crate::syntax::Place;

/// What a suggestion at one place may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Several lines, or to the end of this one.
    pub block: bool,
    /// Columns of white space before the cursor's line.
    indent: usize,
    /// The first line below the cursor that is not blank.
    below: String,
}

impl Plan {
    /// Decides from the text around the cursor. A block where a body is to be written: on a blank line in an empty body,
    /// or below a line that opens one. To the end of the line everywhere else, and always in comments and strings.
    pub fn new(text: &Snapshot, cursor: usize, lines: Lines) -> Plan {
        let start = text.line_start(cursor);
        let before = text.text(start, cursor);
        let rest = text.text(cursor, text.line_end(cursor));
        let place = text.syntax.as_ref().map(|syntax| syntax.place(&text.rope, cursor));
        let prose = matches!(place, Some(Place::Comment | Place::String));
        let opened = || place == Some(Place::EmptyBody) || opens_body(&line_above(text, start));
        let block = match lines {
            Lines::One => false,
            Lines::Block => rest.trim().is_empty(),
            Lines::Auto => !prose && rest.trim().is_empty() && before.trim().is_empty() && opened(),
        };
        Plan { block, indent: width(&before), below: line_below(text, cursor) }
    }

    /// Strings at which the engine may stop.
    pub fn stop(&self) -> Vec<String> {
        vec![if self.block { "\n\n\n".into() } else { "\n".into() }]
    }

    /// Where the generated text is over, although the model goes on; `None` while it is not.
    pub fn end(&self, raw: &str) -> Option<usize> {
        if before_repetition(raw).len() < raw.len() {
            return Some(raw.len());
        }
        if !self.block {
            return raw.find('\n');
        }
        let mut at = raw.find('\n')? + 1;
        let mut last = (self.indent, raw[..at].trim());
        while let Some(length) = raw[at..].find('\n') {
            let line = &raw[at..at + length];
            let this = (width(line), line.trim());
            if self.leaves(line) || (this == last && !this.1.is_empty()) {
                return Some(at - 1);
            }
            last = this;
            at += length + 1;
        }
        None
    }

    /// The text to offer, from all that was generated. `cut`: the engine stopped for length, so the last line is not whole.
    pub fn finish(&self, raw: &str, cut: bool) -> String {
        let mut text = &raw[..self.end(raw).unwrap_or(raw.len())];
        if self.block {
            let last = text.rfind('\n').map(|n| n + 1);
            // The last line has no line end yet: it may leave the block too, or be half a line.
            if let Some(last) = last.filter(|&n| cut || self.leaves(&text[n..])) {
                text = &text[..last];
            }
        }
        before_repetition(text).trim_end().to_string()
    }

    fn leaves(&self, line: &str) -> bool {
        !line.trim().is_empty() && (width(line) < self.indent || line == self.below)
    }
}

/// A model that has lost its way says the same thing over and over. A text that ends so is cut before that line; when it
/// is the first line, nothing is left.
fn before_repetition(text: &str) -> &str {
    let start = text.rfind('\n').map_or(0, |n| n + 1);
    let line = &text.as_bytes()[start..];
    let repeats = |period: usize| {
        let tail = &line[line.len() - 3 * period..];
        tail[..2 * period] == tail[period..] && tail[..period].iter().any(u8::is_ascii_alphabetic)
    };
    if (3..=line.len() / 3).any(repeats) { &text[..start] } else { text }
}

/// A suggestion fitted to the line it lands in: the text to insert, and how many bytes after the cursor it replaces.
/// `None` when nothing worth showing is left. `before` is the line up to the cursor, `rest` the line after it.
pub fn fit(text: &str, before: &str, rest: &str) -> Option<(String, usize)> {
    let (first, more) = text.split_once('\n').map_or((text, None), |(f, m)| (f, Some(m)));
    let rest_bare = rest.trim_end();
    let (first, replaced) = if rest_bare.is_empty() {
        (first.to_string(), 0)
    } else if rest_bare.chars().all(|c| is_closer(c) || c == ' ') {
        over_closers(first, more.is_some(), before, rest_bare)
    } else {
        (drop_overlap(first, rest_bare).to_string(), 0)
    };
    // Several lines do not fit before text that stays on this one.
    let more = more.filter(|_| rest_bare.is_empty() || replaced == rest_bare.len());
    let text = more.map_or(first.clone(), |m| format!("{first}\n{m}"));
    if text.trim().is_empty() { None } else { Some((text, replaced)) }
}

/// `first` may close what the editor has closed already. When it ends with exactly those closers they are left to the
/// editor; when it closes and goes on, it replaces as many as it closes.
fn over_closers(first: &str, more: bool, before: &str, rest: &str) -> (String, usize) {
    let mut matched = 0;
    for c in unopened(before, first) {
        if rest[matched..].starts_with(c) {
            matched += c.len_utf8();
        } else if !is_separator(c) {
            break;
        }
    }
    match first.strip_suffix(rest) {
        Some(kept) if matched == rest.len() && !more => (kept.to_string(), 0),
        _ => (first.to_string(), matched),
    }
}

/// As much of a suggestion as closes nothing that was opened before it: what can be inserted where nothing can be replaced.
pub fn before_replacing<'a>(text: &'a str, before: &str) -> &'a str {
    let line = text.find('\n').unwrap_or(text.len());
    let ends = text[..line].char_indices().map(|(at, c)| at + c.len_utf8());
    let closes = ends.clone().find(|&end| !unopened(before, &text[..end]).is_empty());
    let end = closes.map_or(line, |closes| ends.take_while(|&end| end < closes).last().unwrap_or(0));
    text[..end].trim_end()
}

/// The closers of `text` whose opener is not in `text`. A quote closes when the line before the cursor is inside that
/// quote; separators (`;` `,` `:`) after such a closer count too.
fn unopened(before: &str, text: &str) -> Vec<char> {
    let mut quote = open_quote(before);
    let mut depth: Vec<char> = Vec::new();
    let mut found = Vec::new();
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => {
                if depth.last() != Some(&q) {
                    found.push(c);
                } else {
                    depth.pop();
                }
                quote = None;
            }
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => {
                depth.push(c);
                quote = Some(c);
            }
            (None, '(' | '[' | '{') => depth.push(c),
            (None, ')' | ']' | '}') if depth.pop().is_none() => found.push(c),
            (None, c) if is_separator(c) && depth.is_empty() && !found.is_empty() => found.push(c),
            _ => {}
        }
    }
    found
}

fn is_separator(c: char) -> bool {
    matches!(c, ';' | ',' | ':')
}

/// The quote character that a line up to the cursor leaves open.
fn open_quote(before: &str) -> Option<char> {
    let mut open = None;
    let mut escaped = false;
    for c in before.chars() {
        match open {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => open = None,
            None if matches!(c, '"' | '`') => open = Some(c),
            // An apostrophe after a letter is a lifetime or a word's, not a string.
            None if c == '\'' => open = Some(c),
            _ => {}
        }
    }
    open
}

/// Drops from the end of `text` what the rest of the line repeats.
fn drop_overlap<'a>(text: &'a str, rest: &str) -> &'a str {
    let lengths = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
    for length in lengths {
        let whole = length == rest.len();
        if (whole || length >= 3) && text.ends_with(&rest[..length]) {
            return &text[..text.len() - length];
        }
    }
    text
}

/// Columns of leading white space; a tab counts as four.
fn width(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 4 } else { 1 }).sum()
}

fn opens_body(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with(['{', ':', '(', '[']) || line.ends_with("=>") || line.ends_with("->") || line.ends_with(" do") || line.ends_with(" then")
}

fn line_above(text: &Snapshot, start: usize) -> String {
    if start == 0 {
        return String::new();
    }
    let above = text.line_start(start - 1);
    text.text(above, text.line_end(above))
}

fn line_below(text: &Snapshot, cursor: usize) -> String {
    let first = text.rope.byte_to_line(cursor.min(text.rope.len_bytes())) + 1;
    let lines = (first..text.rope.len_lines().min(first + 20)).map(|n| {
        let start = text.rope.line_to_byte(n);
        text.text(start, text.line_end(start))
    });
    lines.into_iter().find(|l| !l.trim().is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    fn plan(marked: &str) -> Plan {
        let cursor = marked.find('|').expect("a cursor");
        Plan::new(&Document::new("u", "python", 1, &marked.replacen('|', "", 1)).settled(), cursor, Lines::Auto)
    }

    #[test]
    fn a_block_where_a_body_is_empty_and_a_line_elsewhere() {
        for (text, block) in [
            ("def f():\n    |\n", true),
            ("fn f() {\n    |\n}\n", true),
            ("x = 1\n|\n", false),
            ("def f():\n    a|\n", false),
            ("def f():\n    |return\n", false),
            ("call(\n    |\n)\n", true),
            ("def f():\n    \"\"\"Adds:\n    |\n    \"\"\"\n", cfg!(not(feature = "languages"))),
        ] {
            assert_eq!(plan(text).block, block, "{text:?}");
        }
    }

    #[test]
    fn ends() {
        for (text, raw, offered) in [
            ("x = |\n", "1\ny = 2", "1"),
            ("def f(a):\n    |\n\ndef g():\n", "x = a\n    return x\n\ndef h():\n    pass", "x = a\n    return x"),
            ("fn f() {\n    |\n}\n", "a();\n    b();\n}\n\nfn g", "a();\n    b();"),
            ("fn f() {\n    |\n    c();\n}\n", "a();\n    b();\n    c();\n", "a();\n    b();"),
            ("def f():\n    |\n", "a()\n    a()\n    a()\n    a()\n", "a()"),
            ("x = |", "'http://a.b/c' # d", "'http://a.b/c' # d"),
        ] {
            assert_eq!(plan(text).finish(raw, false), offered, "{text:?} {raw:?}");
        }
    }

    #[test]
    fn a_block_cut_for_length_loses_its_half_line() {
        assert_eq!(plan("def f():\n    |\n").finish("a = 1\n    b = fo", true), "a = 1");
        assert_eq!(plan("def f():\n    |\n").finish("a = fo", true), "a = fo");
    }

    #[test]
    fn going_round_in_circles_is_not_offered() {
        let cut = |raw| plan("x = |").finish(raw, true);
        assert_eq!(cut("None = None = None = None"), "");
        assert_eq!(cut("self.name.name.name.name"), "");
        assert_eq!(cut("[0, 0, 0, 0, 0, 0, 0]"), "[0, 0, 0, 0, 0, 0, 0]");
        assert_eq!(cut("a.b(c).d(e)  # ======="), "a.b(c).d(e)  # =======");
        assert_eq!(plan("def f():\n    |\n").finish("a = 1\n    x.get.get.get.get", false), "a = 1");
    }

    #[test]
    fn fits_the_line() {
        for (before, rest, text, expected) in [
            ("print(fo", ")", "o, bar)", Some(("o, bar", 0))),
            ("call(", ")", "a, b):", Some(("a, b):", 1))),
            ("call(", ")", "a, g(b))", Some(("a, g(b)", 0))),
            ("call(", ")", "a, b", Some(("a, b", 0))),
            ("print(\"", "\")", "hello\")", Some(("hello", 0))),
            ("print(\"", "\")", "hello\", end)", Some(("hello\", end)", 2))),
            ("x = [", "]", "1, 2]", Some(("1, 2", 0))),
            ("f(", ")", ")", None),
            ("foo(", ", b)", "a, b)", Some(("a", 0))),
            ("x = ", "", "   ", None),
            ("f(", ");", "a);", Some(("a", 0))),
            ("f(", ")", "|x| {\n    x\n})", Some(("|x| {", 0))),
            ("let s = ", "", "don't", Some(("don't", 0))),
        ] {
            let got = fit(text, before, rest);
            assert_eq!(got.as_ref().map(|(t, n)| (t.as_str(), *n)), expected, "{before:?} | {rest:?} <- {text:?}");
        }
    }
    #[test]
    fn where_nothing_can_be_replaced_it_ends_before_the_closer() {
        for (before, text, expected) in [
            ("call(", "a, b):", "a, b"),
            ("call(", "a, g(b))", "a, g(b)"),
            ("print(\"", "hello\", end)", "hello"),
            ("x = [", "é]", "é"),
            ("f(", ")", ""),
            ("f(", "a\nb", "a"),
        ] {
            assert_eq!(before_replacing(text, before), expected, "{before:?} <- {text:?}");
        }
    }
}
