//! A suggestion never breaks what parses.
//!
//! ```text
//! f(a, |)     "b"          as it is
//! f(a, |)     "(b"         leaves a bracket open: cut, here to nothing
//! |           "if a {"     an opener at the very end of a line is fine: what it opens is to be filled
//! x = |       "f(a"        the line was not whole before; "f" makes it so
//! ```
//! The rule: a file that parses but for the line at the cursor parses after an accept. Where the line is beyond that
//! (`f(a, |` and nothing in the suggestion closes it) the suggestion stays as it is; so it does in a file with other
//! errors, and where there is no parse in time.
use crate::document::Snapshot;

/// Most shorter heads that are tried.
const TRIES: usize = 12;

/// The longest head of a suggestion that leaves no syntax error; the bytes after the cursor that it replaces. `None` when
/// each would bring one into a file that has none.
pub fn keep(text: &Snapshot, cursor: usize, suggestion: String, replaces: usize) -> Option<(String, usize)> {
    let errors = text.syntax.as_ref().map(|s| s.errors());
    let sound = errors == Some(0);
    if errors.is_none() || !(sound || sound_elsewhere(text, cursor)) || holds(text, cursor, &suggestion, replaces) {
        return Some((suggestion, replaces));
    }
    let heads = ends(&suggestion).into_iter().take(TRIES).map(|end| suggestion[..end].trim_end());
    // A head of it closes nothing any more that stands after the cursor: it replaces nothing.
    let head = heads.filter(|head| !head.trim().is_empty()).find(|head| parses(text, cursor, 0, head));
    match head {
        Some(head) => Some((head.to_string(), 0)),
        None => (!sound).then_some((suggestion, replaces)),
    }
}

/// Whether the file parses without the line at the cursor.
fn sound_elsewhere(text: &Snapshot, cursor: usize) -> bool {
    let (start, end) = (text.line_start(cursor), text.line_end(cursor));
    parses(text, start, end - start, "")
}

/// Whether the file parses after this replacement; unknown counts as yes.
fn parses(text: &Snapshot, at: usize, removed: usize, inserted: &str) -> bool {
    let after = text.syntax.as_ref().and_then(|s| s.after(&text.rope, at, removed, inserted));
    after.is_none_or(|after| after.errors() == 0)
}

fn holds(text: &Snapshot, cursor: usize, suggestion: &str, replaces: usize) -> bool {
    let rest = text.text(cursor + replaces, text.line_end(cursor));
    let closer = match suggestion.trim_end().chars().last() {
        Some('{') if rest.trim().is_empty() => "}",
        Some('(') if rest.trim().is_empty() => ")",
        Some('[') if rest.trim().is_empty() => "]",
        _ => return parses(text, cursor, replaces, suggestion),
    };
    parses(text, cursor, replaces, suggestion) || parses(text, cursor, replaces, &format!("{suggestion}\n{closer}"))
}

/// Where a suggestion may be cut, the longest head first: at the ends of its lines; in its first line, where words end.
fn ends(suggestion: &str) -> Vec<usize> {
    let first = suggestion.find('\n').unwrap_or(suggestion.len());
    let lines = suggestion.match_indices('\n').map(|(at, _)| at).rev();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let words = suggestion[..first].char_indices().rev().filter(|&(at, c)| {
        let before = suggestion[..at].chars().next_back();
        before.is_some_and(|before| !(word(before) && word(c)))
    });
    lines.chain(words.map(|(at, _)| at)).collect()
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;
    use crate::document::Document;

    fn kept(language: &str, marked: &str, suggestion: &str, replaces: usize) -> Option<(String, usize)> {
        let cursor = marked.find('|').expect("a cursor");
        let text = Document::new("u", language, 1, &marked.replacen('|', "", 1)).settled();
        keep(&text, cursor, suggestion.into(), replaces)
    }

    #[test]
    fn no_more_errors_than_before() {
        for (language, text, suggestion, replaces, expected) in [
            ("rust", "fn f() { g(a, |); }\n", "b", 0, Some(("b", 0))),
            ("rust", "fn f() { g(a, |); }\n", "(b", 0, None),
            ("rust", "fn f() { g(a, |); }\n", "b, h(c)", 0, Some(("b, h(c)", 0))),
            ("rust", "fn f() { g(a, |); }\n", "b, h(c", 0, Some(("b, h", 0))),
            ("rust", "fn f() { g(|) }\n", "a);\n", 1, Some(("a);\n", 1))),
            ("rust", "fn f() {\n    |\n}\n", "if a {", 0, Some(("if a {", 0))),
            ("rust", "fn f() {\n    |\n}\n", "a();\n    b();\n    c(", 0, Some(("a();\n    b();\n    c(", 0))),
            ("rust", "fn f() {\n    |\n}\n", "a();\n    b(;\n    c", 0, Some(("a();", 0))),
            ("rust", "fn f() {\n    |\n}\n", "}", 0, None),
            ("python", "x = [|]\n", "1, 2", 0, Some(("1, 2", 0))),
            ("python", "x = [|]\n", "1, 2]]", 0, Some(("1, 2", 0))),
            ("python", "def f():\n    |\n", "return 'a", 0, Some(("return", 0))),
            ("plaintext", "x = [|]\n", "(((", 0, Some(("(((", 0))),
            ("python", "x = |\ny = 1\n", "f(a, b)", 0, Some(("f(a, b)", 0))),
            ("python", "x = |\ny = 1\n", "f(a, b", 0, Some(("f", 0))),
            ("python", "f(a, |\nx = 1\n", "b", 0, Some(("b", 0))),
            ("python", "x = |\ny = (\n", "f(a, b", 0, Some(("f(a, b", 0))),
        ] {
            let got = kept(language, text, suggestion, replaces);
            assert_eq!(got.as_ref().map(|(t, n)| (t.as_str(), *n)), expected, "{language}: {text:?} <- {suggestion:?}");
        }
    }
}
