//! Texts with the cursor as `|`, suggestions, and what is left of them.
use super::*;
use crate::document::{Change, Document, Encoding, Range};
use crate::suggest::manners::fit;
use proptest::prelude::*;

/// However busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn kept(language: &str, marked: &str, suggestion: &str, replaces: usize) -> Option<Kept> {
    let cursor = marked.find('|').expect("a cursor");
    let text = Document::new("u", language, 1, &marked.replacen('|', "", 1)).settled();
    keep(&text, cursor, suggestion.into(), replaces, PATIENCE)
}

/// Parsed, however long it takes.
fn patiently(mut document: Document) -> Document {
    while let Some(job) = document.unparsed() {
        document.parsed(job.run());
    }
    document
}

#[test]
fn no_more_errors_than_before() {
    for (language, text, suggestion, replaces, expected) in [
        ("rust", "fn f() { g(a, |); }\n", "b", 0, Some(("b", 0))),
        ("rust", "fn f() { g(a, |); }\n", "(b", 0, None),
        ("rust", "fn f() { g(a, |); }\n", "b, h(c)", 0, Some(("b, h(c)", 0))),
        ("rust", "fn f() { g(a, |); }\n", "b, h(c", 0, Some(("b, h", 0))),
        ("rust", "fn f() { g(|) }\n", "a);\n", 1, Some(("a);\n", 1))),
        ("rust", "fn f() {\n    |\n}\n", "a();\n    b(;\n    c", 0, Some(("a();", 0))),
        ("rust", "fn f() {\n    |\n}\n", "}", 0, None),
        ("python", "x = [|]\n", "1, 2", 0, Some(("1, 2", 0))),
        ("python", "x = [|]\n", "1, 2]]", 0, Some(("1, 2", 0))),
        ("python", "def f():\n    |\n", "return 'a", 0, Some(("return", 0))),
        ("python", "x = |\ny = 1\n", "f(a, b)", 0, Some(("f(a, b)", 0))),
        ("python", "x = |\ny = 1\n", "f(a, b", 0, Some(("f", 0))),
        ("python", "f(a, |\nx = 1\n", "b", 0, Some(("b", 0))),
        ("plaintext", "x = [|]\n", "(((", 0, Some(("(((", 0))),
        // A file with errors elsewhere has no more than before.
        ("python", "x = |\ny = (\n", "f(a, b", 0, Some(("f", 0))),
        ("python", "class A(\n\ndef f():\n    x = g(|)\n", "a, b]]", 0, Some(("a, b", 0))),
        ("python", "class A(\n\ndef f():\n    x = g(|)\n", "a, b", 0, Some(("a, b", 0))),
    ] {
        let got = kept(language, text, suggestion, replaces).map(|k| (k.text, k.replaces));
        assert_eq!(got, expected.map(|(t, n)| (t.to_string(), n)), "{language}: {text:?} <- {suggestion:?}");
    }
}

#[test]
fn a_fence_is_kept_whole_whatever_else_the_text_holds() {
    let text = |body: &str| format!("# A (\n\n```python\ndef f(:\n```\n\n```python\n{body}\n```\n");
    let kept = |body: &str, suggestion: &str| kept("markdown", &text(body), suggestion, 0).map(|kept| kept.text);
    assert_eq!(kept("f(a, |)", "b"), Some("b".into()));
    assert_eq!(kept("x = |", "f(a) + g(b"), Some("f(a) + g".into()));
    assert_eq!(kept("def f():\n    |", "return 1\n```\n"), Some("return 1".into()));
}

#[test]
fn what_is_opened_at_the_end_is_closed_in_a_file_that_parses() {
    for (language, text, suggestion, expected, changed) in [
        ("rust", "fn f() {\n    |\n}\n", "if a {", "if a {}", true),
        ("rust", "fn f() {\n    |\n}\n", "a();\n    b();\n    c(", "a();\n    b();\n    c()", true),
        ("python", "|\n", "x = [", "x = []", true),
        ("python", "def f():\n    |\n", "if a:", "if a:", false),
        // Here the user will.
        ("rust", "fn f() {\n    |\n", "if a {", "if a {", false),
    ] {
        let got = kept(language, text, suggestion, 0).expect("a suggestion");
        assert_eq!((got.text.as_str(), got.changed), (expected, changed), "{language}: {text:?} <- {suggestion:?}");
    }
}

#[test]
fn what_takes_too_long_to_parse_is_paired_by_its_characters() {
    let text = Document::new("u", "python", 1, "x = f()\n").settled();
    let here = Here { text: &text, cursor: 6, until: Instant::now() };
    let errors = |suggestion, replaces| here.errors(suggestion, replaces);
    assert_eq!((errors("a, (b)", 0), errors("a, (b", 0), errors("a)", 0), errors("a).b", 1)), (0, 1, 1, 0));
}

/// Texts that parse, with a cursor in each.
const SOUND: [(&str, &str); 10] = [
    ("python", "def f(a):\n    |\n    return a\n"),
    ("python", "x = [g(|), {'a': 'b'}]\ny = 1\n"),
    ("python", "|\n"),
    ("rust", "fn f(a: u8) -> u8 {\n    |\n    g(a, [b], \"c\")\n}\n"),
    ("rust", "fn f() { g(a, |); }\n"),
    ("javascript", "function f(a) {\n  return g(a, |b);\n}\n"),
    ("typescript", "class A {\n  f(a: number): void {|}\n}\n"),
    ("go", "package a\n\nfunc F(a int) int {\n\t|\n\treturn a\n}\n"),
    ("c", "int f(int a) {\r\n  |\r\n  return g(a);\r\n}\r\n"),
    ("json", "{\"a\": [1|, 2]}\n"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn accepted_in_a_file_that_parses_leaves_it_parsing(
        which in 0..SOUND.len(),
        suggestion in "(a|b|[(){}\\[\\]\"',:;= \n]|if a|return|\\{\n|é|    |fn f|def f\\(\\):|//|# ){1,12}",
    ) {
        let (language, marked) = SOUND[which];
        let cursor = marked.find('|').expect("a cursor");
        let mut document = Document::new("u", language, 1, &marked.replacen('|', "", 1));
        document = patiently(document);
        let text = document.snapshot();
        prop_assert_eq!(text.syntax.as_ref().map(|s| s.errors()), Some(0), "{}", marked);
        let (before, rest) = (text.text(text.line_start(cursor), cursor), text.text(cursor, text.line_end(cursor)));
        let kept = fit(&suggestion, &before, &rest).and_then(|(t, n)| keep(&text, cursor, t, n, PATIENCE));
        if let Some(Kept { text: got, replaces, .. }) = kept {
            let range = Range { start: text.position(cursor, Encoding::Utf8), end: text.position(cursor + replaces, Encoding::Utf8) };
            document.apply(2, &[Change { range: Some(range), text: got.clone() }], Encoding::Utf8);
            let after = patiently(document).snapshot();
            prop_assert_eq!(after.syntax.map(|s| s.errors()), Some(0), "{:?} <- {:?} over {}", marked, got, replaces);
        }
    }
}
