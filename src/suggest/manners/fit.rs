//! How a suggestion meets the rest of the line that it lands in.
//!
//! ```text
//! print(fo|)          "o, bar)"     insert "o, bar", leave the editor's ")" alone
//! call(|)             "a, b):"      insert "a, b):", replace the editor's ")"
//! foo(|, b)           "a, b)"       insert "a": the rest of the line says it already
//! ```
use crate::prompt::is_closer;

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
    let new = !text.trim().is_empty() && text.trim_end() != &rest[..replaced];
    new.then_some((text, replaced))
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

#[cfg(test)]
mod tests {
    use super::*;

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
            // Only what is there already.
            ("f(", ");", ")", None),
            ("f(\"", "\")", "\")", None),
            ("x", " = 1", " = 1", None),
        ] {
            let got = fit(text, before, rest);
            assert_eq!(got.as_ref().map(|(t, n)| (t.as_str(), *n)), expected, "{before:?} | {rest:?} <- {text:?}");
        }
    }
    const PAIRS: [(&str, &str); 4] = [("(", ")"), ("[", "]"), ("{", "}"), ("g(", ")")];

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 500, ..Default::default() })]
        /// The editor has closed all that was opened; the text closes some of it, and may go on.
        #[test]
        fn closers_are_neither_lost_nor_doubled(
            opened in proptest::collection::vec(0..PAIRS.len(), 0..5),
            closes in 0..6usize,
            inner in "(a|b|, |\\(c\\)|\\[\\]|\"d\"){0,4}",
            more in "(|;|\\.e|\\.f\\(\\)| \\+ h)",
            end in "(|;|,)",
        ) {
            let before: String = "x = ".chars().chain(opened.iter().flat_map(|n| PAIRS[*n].0.chars())).collect();
            let closers: Vec<&str> = opened.iter().rev().map(|n| PAIRS[*n].1).collect();
            let text = format!("{inner}{}{more}", closers[..closes.min(closers.len())].concat());
            let rest = closers.concat() + &end;
            let (text, replaces) = fit(&text, &before, &rest).unwrap_or_default();
            let line = format!("{before}{text}{}", &rest[replaces..]);
            proptest::prop_assert!(super::super::open::open("go", &line).balanced(), "{:?} | {:?}: {:?} over {}", before, rest, text, replaces);
        }

        #[test]
        fn any_texts_fit_somehow(before in "[a(){}\"'é;, ]{0,12}", rest in "[a(){}\"'é;, 😀]{0,12}", text in "[a(){}\"'é;, 😀\n]{0,16}") {
            if let Some((got, replaces)) = fit(&text, &before, &rest) {
                proptest::prop_assert!(rest.is_char_boundary(replaces) && rest[..replaces].chars().all(|c| is_closer(c) || c == ' '));
                proptest::prop_assert!(text.starts_with(got.lines().next().unwrap_or_default()), "{:?} of {:?}", got, text);
                proptest::prop_assert!(!got.trim().is_empty());
            }
        }
    }
}
