//! Texts with the cursor as `|`.
use super::*;
use crate::document::{Change, Document, Encoding, Range as Lines, Snapshot};
use crate::syntax::Place;
use proptest::prelude::*;

/// The text around the cursor as its parser sees it, and the cursor.
fn around(language: &str, marked: &str) -> (Snapshot, usize) {
    let at = marked.find('|').expect("a cursor");
    (Document::new("file:///t", language, 1, &marked.replacen('|', "", 1)).settled(), at)
}

fn inside(language: &str, marked: &str) -> (Snapshot, usize) {
    let (text, at) = around(language, marked);
    (text.inside(at), at)
}

#[test]
fn which_language_a_place_is_in() {
    for (host, text, expected) in [
        ("markdown", "words|\n\n```python\nx\n```\n", "markdown"),
        ("markdown", "```py|thon\nx\n```\n", "markdown"),
        ("markdown", "```python\n|x\n```\n", "python"),
        ("markdown", "```python\nx|\n```\n", "python"),
        ("markdown", "```python\nx\n|```\n", "markdown"),
        ("markdown", "```python\nx\n```\n|", "markdown"),
        ("markdown", "```python\ndef f():\n    |", "python"),
        ("markdown", "~~~ Rust\nfn f() {|}\n~~~\n", "rust"),
        ("markdown", "```rust,no_run\nfn f() {|}\n```\n", "rust"),
        ("markdown", "```{.js #id}\nf(|)\n```\n", "javascript"),
        ("markdown", "```c++ title=\"a\"\nf(|)\n```\n", "cpp"),
        ("markdown", "```text\nx|\n```\n", "markdown"),
        ("markdown", "```\nx|\n```\n", "markdown"),
        ("markdown", "- a\n\n  ```python\n  x = |\n  ```\n", "python"),
        ("markdown", "> ```python\n> x = |\n> ```\n", "python"),
        ("html", "<p>a|</p><script>b</script>", "html"),
        ("html", "<script>f(|)</script>", "javascript"),
        ("html", "<script>f(a)|</script>", "javascript"),
        ("html", "<script type='module'>f(|)</script>", "javascript"),
        ("html", "<script type=\"application/ld+json\">[|]</script>", "json"),
        ("html", "<script type=\"text/x-template\"><a>|</a></script>", "html"),
        ("html", "<style>p { |}</style>", "css"),
        ("python", "x = '''<script>a|</script>'''\n", "python"),
    ] {
        assert_eq!(&*inside(host, text).0.language, expected, "{text}");
    }
}

#[test]
fn a_fence_answers_by_its_own_parser_in_bytes_of_the_whole_text() {
    for (text, expected) in [
        ("é\n\n```rust\nfn f() {|}\n```\n", Place::EmptyBody),
        ("é\n\n```python\nf(a, |)\n```\n", Place::Arguments),
        ("é\n\n```python\nx = 'a|'\n```\n", Place::String),
        ("é\n\n```python\n# note|\n```\n", Place::Comment),
        ("- a\n\n  ```python\n  x = 'a|'\n  ```\n", Place::String),
    ] {
        let (text, at) = inside("markdown", text);
        assert_eq!(text.syntax.as_ref().map(|s| s.place(&text.rope, at)), Some(expected), "{}", text.rope);
    }
    let (text, at) =
        inside("markdown", "# A\n\n```python\nimport os\n\nclass B:\n    def f(self):\n        |pass\n```\n\n```python\nimport re\n```\n");
    let syntax = text.syntax.as_ref().expect("a fence");
    let show = |ranges: Vec<Bytes<usize>>| ranges.into_iter().map(|r| text.text(r.start, r.end).trim().to_string()).collect::<Vec<_>>();
    assert_eq!(show(syntax.headers(&text.rope, at)), ["class B:", "def f(self):"]);
    assert_eq!(show(syntax.imports(&text.rope, text.rope.len_bytes())), ["import os"], "another fence is another program");
    assert_eq!(syntax.definitions(&text.rope).iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["B"]);
    assert_eq!(syntax.errors(), 0);
}

#[test]
fn what_would_be_after_in_a_fence() {
    for (marked, sound, broken) in [
        ("a\n\n```python\n|\nx = 1\n```\n", "y = 2", "y = ("),
        ("```python\nf(|)\n```\n", "a, b", "a, ("),
        ("- a\n\n  ```python\n  def f():\n      |\n  ```\n", "a = 1\n      return a", "a = (1\n      return a"),
        ("> ```python\n> def f():\n>     |\n> ```\n", "a = 1\n>     return a", "a = (1\n>     return a"),
    ] {
        let (text, at) = inside("markdown", marked);
        let errors = |inserted: &str| text.syntax.as_ref()?.after(&text.rope, at, 0, inserted).map(|s| s.errors());
        assert_eq!(errors(sound), Some(0), "{marked} {sound}");
        assert!(errors(broken) > Some(0), "{marked} {broken}");
    }
    let (text, at) = inside("markdown", "```rust\nfn f() {\n    |\n}\n```\n");
    let ends = text.syntax.as_ref().and_then(|s| s.ends_within(&text.rope, at, "a();\n}\nfn g() {\n"));
    assert_eq!(ends, Some("a();\n}".len()));
    let replaced = text.syntax.as_ref().and_then(|s| s.after(&text.rope, at, 3, "}\n"));
    assert_eq!(replaced.map(|s| s.errors()), Some(0), "the body's closer is replaced");
}

#[test]
fn a_block_that_is_too_large_goes_without() {
    let text = format!("```python\n{}```\n", "x = [1, 2]\n".repeat(MAX_BYTES / 10));
    let text = Document::new("u", "markdown", 1, &text).settled();
    assert_eq!(&*text.inside(20).language, "markdown");
    let deep = Document::new("u", "markdown", 1, &format!("```json\n{}\n```\n", "[".repeat(MAX_BYTES - 10))).settled();
    let inner = deep.inside(1000);
    inner.syntax.as_ref().map(|s| s.place(&inner.rope, 1000)).expect("some answer, soon");
}

const TEXT: &str = "# A\n\nwords\n\n```python\nimport os\n\n\ndef f(a):\n    return [a, 'b']\n```\n\n- b\n\n  ```rust\n  fn f() {\n      g();\n  }\n  ```\n";
const PIECES: [&str; 14] = ["", "a", "\n", "(", ")", "{", "}", "'", "#", "é", "😀", "    ", "```", "def f():\n"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_block_edited_in_place_is_parsed_anew(changes in prop::collection::vec((0..200usize, 0..6usize, prop::sample::select(&PIECES[..])), 1..8)) {
        let mut document = Document::new("file:///t", "markdown", 1, TEXT);
        for (n, (at, length, piece)) in changes.into_iter().enumerate() {
            let text = document.snapshot();
            let at = at % (text.rope.len_chars() + 1);
            let position = |char: usize| text.position(text.rope.char_to_byte(char.min(text.rope.len_chars())), Encoding::Utf16);
            let range = Lines { start: position(at), end: position(at + length) };
            document.apply(n as i32 + 2, &[Change { range: Some(range), text: piece.into() }], Encoding::Utf16);
            let edited = document.snapshot();
            let anew = Document::new("file:///t", "markdown", 1, &edited.rope.to_string()).settled();
            let show = |text: &Snapshot, at: usize| {
                let inner = text.inside(at);
                // Where it does not parse, what tree-sitter makes of it depends on what it can reuse.
                let parsed = inner.syntax.map(|s| if s.errors() > 0 { "broken".into() } else { s.tree.root_node().to_sexp() });
                (inner.language.to_string(), parsed)
            };
            if edited.syntax.as_ref().is_some_and(|syntax| !syntax.is_late()) {
                for at in 0..=edited.rope.len_bytes() {
                    prop_assert_eq!(show(&edited, at), show(&anew, at), "at {} of {:?}", at, edited.rope.to_string());
                }
            }
        }
    }
}
