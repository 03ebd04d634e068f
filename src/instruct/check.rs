//! What a change may not do: break a text that parses, or touch code where comments were asked for.
//!
//! ```text
//! document, `return a`  ->  `# why⏎return a`      passes
//! document, `return a`  ->  `# why⏎return -a`     "The model changed code …": no edit
//! ```
use super::Kind;
use super::piece::Change;
use crate::document::{Document, Snapshot};
use std::ops::Range;

/// Why a change is not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    #[error("The model's answer would leave the file with a syntax error")]
    Breaks,
    #[error("The model changed code where only documentation was asked for")]
    Code,
}

/// Whether a change of lines may be proposed. Parses both texts whole, so not where a key waits.
///
/// # Errors
/// What is wrong with it.
pub fn check(kind: Kind, text: &Snapshot, change: &Change) -> Result<(), Bad> {
    let before = settled(text, &text.rope.to_string());
    let mut rope = text.rope.clone();
    let (from, to) = (rope.byte_to_char(change.start), rope.byte_to_char(change.end));
    rope.remove(from..to);
    rope.insert(from, &change.text);
    let after = settled(text, &rope.to_string());
    if errors(&after) > errors(&before) {
        return Err(Bad::Breaks);
    }
    let old = change.start..change.end;
    let new = change.start..change.start + change.text.len();
    let code = bare(&before, old.clone()).zip(bare(&after, new.clone()));
    let same = kind != Kind::Document || code.is_some_and(|(old, new)| old == new) || only_adds(&before, old, &after, new);
    if same { Ok(()) } else { Err(Bad::Code) }
}

fn settled(like: &Snapshot, text: &str) -> Snapshot {
    Document::new(&like.uri, &like.language, like.version, text).settled()
}

fn errors(text: &Snapshot) -> usize {
    text.syntax.as_ref().map_or(0, crate::syntax::Syntax::errors)
}

/// The code without comments, strings and blanks; `None` without a grammar.
fn bare(text: &Snapshot, bytes: Range<usize>) -> Option<String> {
    let syntax = text.syntax.as_ref()?;
    Some(syntax.bare(&text.rope, bytes))
}

/// Whether all old lines are still there, in their order.
fn only_adds(before: &Snapshot, old: Range<usize>, after: &Snapshot, new: Range<usize>) -> bool {
    let (old, new) = (before.text(old.start, old.end), after.text(new.start, new.end));
    let mut lines = new.lines().map(str::trim);
    old.lines().map(str::trim).filter(|line| !line.is_empty()).all(|line| lines.any(|other| other == line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The change of a whole text into another.
    fn becomes(kind: Kind, language: &str, before: &str, after: &str) -> Result<(), Bad> {
        let text = Document::new("u", language, 1, before).settled();
        check(kind, &text, &Change { start: 0, end: before.len(), text: after.into() })
    }

    #[cfg(feature = "languages")]
    #[test]
    fn a_text_that_parses_still_does() {
        for (before, after, good) in
            [("x = 1\n", "x = 2\n", true), ("x = 1\n", "x = (2\n", false), ("x = (1\n", "x = (2\n", true), ("x = (1\n", "x = (1)\n", true)]
        {
            assert_eq!(becomes(Kind::Fix, "python", before, after).is_ok(), good, "{after}");
        }
    }

    #[cfg(feature = "languages")]
    #[test]
    fn documentation_changes_no_code() {
        let code = "def f(a):\n    return a\n";
        for (after, good) in [
            ("def f(a):\n    \"\"\"Gives it back.\"\"\"\n    return a  # as it is\n", true),
            ("# It is f.\ndef f( a ):\n    return a\n", true),
            ("def f(a):\n    return -a\n", false),
            ("def f(a, b=1):\n    return a\n", false),
        ] {
            assert_eq!(becomes(Kind::Document, "python", code, after), if good { Ok(()) } else { Err(Bad::Code) }, "{after}");
        }
        let documented = "def f(a):\n    \"\"\"Old.\"\"\"\n    return a\n";
        assert_eq!(
            becomes(Kind::Document, "python", documented, "def f(a):\n    \"\"\"New.\n\n    And longer.\"\"\"\n    return a\n"),
            Ok(())
        );
        assert_eq!(becomes(Kind::Document, "rust", "fn f() {}\n", "/// It is f.\nfn f() {}\n"), Ok(()));
        assert_eq!(becomes(Kind::Document, "rust", "fn f() {}\n", "/// It is f.\npub fn f() {}\n"), Err(Bad::Code));
    }

    #[test]
    fn without_a_grammar_lines_may_only_be_added() {
        assert_eq!(becomes(Kind::Document, "cobol", "A\n  B\n", "* why\nA\n* why\n   B\n"), Ok(()));
        assert_eq!(becomes(Kind::Document, "cobol", "A\nB\n", "* why\nA\nC\n"), Err(Bad::Code));
        assert_eq!(becomes(Kind::Fix, "cobol", "A\nB\n", "C\n"), Ok(()));
    }
}
