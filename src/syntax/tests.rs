//! Texts with the cursor as `|`, in every language.
use super::*;
use crate::document::{Change, Document, Encoding, Position, Range as Lines, Snapshot};
use proptest::prelude::*;

fn parsed(language: &str, text: &str) -> (Syntax, Rope) {
    let snapshot = Document::new("file:///t", language, 1, text).settled();
    (snapshot.syntax.unwrap_or_else(|| panic!("no syntax for {language}")), snapshot.rope)
}

fn place(language: &str, marked: &str) -> Place {
    let cursor = marked.find('|').expect("a cursor");
    let (syntax, rope) = parsed(language, &marked.replacen('|', "", 1));
    syntax.place(&rope, cursor)
}

/// A sound text of each language, with a comment, where the language has them.
const SAMPLES: [(&str, &str); 21] = [
    ("python", "import os\n\n\nclass A:\n    def f(self, a):\n        # note\n        return [a, 'b']\n"),
    ("rust", "use std::fmt;\n\nimpl A {\n    fn f(&self, a: u8) -> u8 {\n        // note\n        g(a, \"b\")\n    }\n}\n"),
    ("javascript", "import a from 'a';\n\nclass A {\n  f(a) {\n    // note\n    return g(a, `b`);\n  }\n}\n"),
    ("typescript", "import a from 'a';\n\nclass A {\n  f(a: number): void {\n    // note\n    g(a, 'b');\n  }\n}\n"),
    ("typescriptreact", "import a from 'a';\n\nfunction A(p: P) {\n  // note\n  return <b c=\"d\">{p.e}</b>;\n}\n"),
    ("go", "package a\n\nimport \"fmt\"\n\nfunc F(a int) int {\n\t// note\n\treturn g(a, \"b\")\n}\n"),
    ("java", "import a.B;\n\nclass A {\n  int f(int a) {\n    // note\n    return g(a, \"b\");\n  }\n}\n"),
    ("c", "#include <a.h>\n\nint f(int a) {\n  // note\n  return g(a, \"b\");\n}\n"),
    ("cpp", "#include <a>\n\nnamespace n {\nclass A {\n  int f(int a) {\n    // note\n    return g(a, \"b\");\n  }\n};\n}\n"),
    ("csharp", "using A;\n\nclass B {\n  int F(int a) {\n    // note\n    return G(a, \"b\");\n  }\n}\n"),
    ("ruby", "require 'a'\n\nclass A\n  def f(a)\n    # note\n    g(a, 'b')\n  end\nend\n"),
    ("php", "<?php\nuse A\\B;\n\nclass C {\n  function f($a) {\n    // note\n    return g($a, 'b');\n  }\n}\n"),
    ("shellscript", "f() {\n  # note\n  echo \"$1\" 'b'\n}\n"),
    ("lua", "local a = require('a')\n\nfunction f(a)\n  -- note\n  return g(a, 'b')\nend\n"),
    ("html", "<!-- note -->\n<p class=\"a\">b</p>\n"),
    ("css", "@import 'a';\n/* note */\np {\n  color: red;\n}\n"),
    ("json", "{\n  \"a\": [1, \"b\"]\n}\n"),
    ("jsonc", "{\n  // note\n  \"a\": [1, \"b\"]\n}\n"),
    ("toml", "# note\n[a]\nb = [1, \"c\"]\n"),
    ("yaml", "# note\na:\n  - \"b\"\n  - [c, d]\n"),
    ("markdown", "# A\n\ntext\n\n```python\nx = 1\n```\n"),
];

#[test]
fn every_language_has_a_grammar_a_query_and_a_sample_without_errors() {
    let mut ids = languages::ids();
    for (language, text) in SAMPLES {
        let (syntax, rope) = parsed(language, text);
        assert_eq!(syntax.errors(), 0, "{language}: {}", syntax.tree.root_node().to_sexp());
        if let Some(note) = text.find("note") {
            assert_eq!(syntax.place(&rope, note + 2), Place::Comment, "{language}");
        }
        if let Some(a) = text.find("\"b").or(text.find("'b")) {
            assert_eq!(syntax.place(&rope, a + 2), Place::String, "{language}");
        }
        if let Some(a) = text.find("g(a,") {
            assert_eq!(syntax.place(&rope, a + 3), Place::Arguments, "{language}");
        }
        ids.retain(|id| *id != language);
    }
    assert!(ids.is_empty(), "no sample for {ids:?}");
    assert!(Document::new("u", "plaintext", 1, "a").snapshot().syntax.is_none());
}

#[test]
fn imports_and_headers() {
    for (language, text) in SAMPLES {
        let (syntax, rope) = parsed(language, text);
        let show =
            |ranges: Vec<Range<usize>>| ranges.into_iter().map(|r| rope.byte_slice(r).to_string().trim().to_string()).collect::<Vec<_>>();
        let imports = show(syntax.imports(&rope, text.len()));
        let expected = text
            .lines()
            .filter(|l| ["import", "use", "using", "#include", "require", "@import", "local a = require"].iter().any(|w| l.starts_with(w)));
        assert_eq!(imports, expected.map(str::to_string).collect::<Vec<_>>(), "{language}");
        assert!(syntax.imports(&rope, 3).is_empty(), "{language}: only those before");
        if let Some(body) = text.find("g(").filter(|_| text.contains("f(") || text.contains("F(")) {
            let headers = show(syntax.headers(&rope, body + 1));
            assert!(headers.last().is_some_and(|h| h.contains(['f', 'F', 'A'])), "{language}: {headers:?}");
        }
    }
    let (syntax, rope) = parsed("python", SAMPLES[0].1);
    let headers = syntax.headers(&rope, SAMPLES[0].1.find("return").unwrap());
    let headers: Vec<String> = headers.into_iter().map(|h| rope.byte_slice(h).to_string()).collect();
    assert_eq!(headers, ["class A:\n    ", "def f(self, a):\n        # note\n        "]);
}

#[test]
fn places() {
    for (language, text, expected) in [
        ("python", "x = 1  # a note:|\n", Place::Comment),
        ("python", "def f():\n    \"\"\"Adds:\n    |\n    \"\"\"\n", Place::String),
        ("python", "f(a, |)\n", Place::Arguments),
        ("python", "x = |\n", Place::Code),
        ("rust", "fn f() {|}\n", Place::EmptyBody),
        ("rust", "fn f() {\n    |\n}\n", Place::EmptyBody),
        ("rust", "fn f() {\n    a();\n    |\n}\n", Place::Code),
        // Not closed, and its last character has several bytes.
        ("rust", "fn f() {\n    |é", Place::Code),
        ("rust", "fn f() { |b é😀", Place::Code),
        ("c", "    fn f() {|    //    ééé", Place::Code),
        ("rust", "/* a */ |fn f() {}\n", Place::Code),
        ("rust", "/* a |*/ fn f() {}\n", Place::Comment),
        ("rust", "f(|a| {\n |\n});", Place::Arguments),
        ("rust", "let s = \"http://|\";\n", Place::String),
        ("markdown", "Some words|\n", Place::Comment),
        ("markdown", "```\nx = |\n```\n", Place::Code),
    ] {
        assert_eq!(place(language, text), expected, "{language}: {text}");
    }
}

#[test]
fn what_would_be_after() {
    let (syntax, rope) = parsed("rust", "fn f() { g(a, ); }\n");
    let errors = |inserted: &str| syntax.after(&rope, 14, 0, inserted).expect("quick").errors();
    assert_eq!(errors("b"), 0);
    assert!(errors("(b") > 0 && errors("b }") > 0);
    assert_eq!(rope.to_string(), "fn f() { g(a, ); }\n", "the text itself stays");
}

const PIECES: [&str; 17] = ["", "a", "\n", "(", ")", "{", "}", "\"", "'", "#", "é", "😀", "\r\n", "    ", "def f():\n", "// x\n", "1"];

fn change() -> impl Strategy<Value = (usize, usize, &'static str)> {
    (0..200usize, 0..6usize, prop::sample::select(&PIECES[..]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    /// Where a text does not parse, what tree-sitter makes of it depends on what it can reuse; not where it does, and not
    /// when all is undone.
    #[test]
    fn edited_in_place_is_parsed_anew(which in 0..SAMPLES.len(), changes in prop::collection::vec(change(), 1..8)) {
        let (language, text) = SAMPLES[which];
        let mut document = Document::new("file:///t", language, 1, text);
        let undo: Vec<Change> = changes.into_iter().map(|change| apply(&mut document, change)).collect();
        document.settle();
        let edited = document.snapshot();
        let anew = Document::new("file:///t", language, 1, &edited.rope.to_string()).settled();
        let (now, fresh) = (shown(&edited), shown(&anew));
        prop_assert!(now == fresh || (broken(&edited) && broken(&anew)), "{}: {:?}: {:?}, not {:?}", language, edited.rope.to_string(), now, fresh);
        for change in undo.into_iter().rev() {
            document.apply(3, &[change], Encoding::Utf16);
        }
        let undone = document.settled();
        prop_assert_eq!(undone.rope.to_string(), text);
        prop_assert_eq!(shown(&undone), shown(&Document::new("file:///t", language, 1, text).settled()), "{}, undone", language);
    }
}

fn shown(text: &Snapshot) -> Option<String> {
    text.syntax.as_ref().map(|syntax| syntax.tree.root_node().to_sexp())
}

fn broken(text: &Snapshot) -> bool {
    text.syntax.as_ref().is_some_and(|syntax| syntax.errors() > 0)
}

/// Puts a piece in place of some characters; what takes it back, as whole lines: a client's place may not lie inside a line end.
fn apply(document: &mut Document, (at, length, piece): (usize, usize, &str)) -> Change {
    let before = document.snapshot();
    let at = at % (before.rope.len_chars() + 1);
    let position = |char: usize| before.position(before.rope.char_to_byte(char.min(before.rope.len_chars())), Encoding::Utf16);
    let range = Some(Lines { start: position(at), end: position(at + length) });
    document.apply(2, &[Change { range, text: piece.into() }], Encoding::Utf16);
    back(&document.snapshot().rope, &before.rope)
}

/// The lines of one text that are different in another, in place of what the other has there.
fn back(now: &Rope, then: &Rope) -> Change {
    let same = now.lines().zip(then.lines()).take_while(|(a, b)| a == b).count();
    let (left, right) = (now.len_lines() - same, then.len_lines() - same);
    let tail = (1..left.min(right)).take_while(|n| now.line(now.len_lines() - n) == then.line(then.len_lines() - n)).count();
    let line = |line: usize| Position { line: line as u32, character: 0 };
    let end = if tail == 0 { Position { line: u32::MAX, character: 0 } } else { line(now.len_lines() - tail) };
    let until = if tail == 0 { then.len_chars() } else { then.line_to_char(then.len_lines() - tail) };
    let start = then.line_to_char(same.min(then.len_lines()));
    Change { range: Some(Lines { start: line(same), end }), text: then.slice(start..until).to_string() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn an_old_tree_says_something_of_any_text(which in 0..SAMPLES.len(), changes in prop::collection::vec(change(), 1..8)) {
        let (language, text) = SAMPLES[which];
        let mut rope = Rope::from_str(text);
        let mut parse = Parse::new(language, &rope).expect("a grammar");
        while let Some(job) = parse.job(&rope) {
            parse.finish(job.run(), &rope);
        }
        for (at, length, piece) in changes {
            let at = at % (rope.len_chars() + 1);
            let (start, end) = (rope.char_to_byte(at), rope.char_to_byte((at + length).min(rope.len_chars())));
            parse.edit(replace(&mut rope, start, end - start, piece));
            let syntax = parse.syntax().expect("an old tree");
            prop_assert!(syntax.is_late());
            for at in (0..=rope.len_chars()).map(|char| rope.char_to_byte(char)) {
                syntax.place(&rope, at);
                let all = syntax.headers(&rope, at).into_iter().chain(syntax.imports(&rope, at));
                for range in all {
                    prop_assert!(range.start <= range.end && range.end <= rope.len_bytes());
                }
            }
            prop_assert!(syntax.errors() <= MANY && syntax.definitions(&rope).len() <= rope.len_bytes());
        }
    }
}

#[test]
fn a_long_parse_is_finished_beside_and_meets_the_edits_made_meanwhile() {
    let text = "def f(a):\n    return [a, {'b': (c, d)}]\n".repeat(5_000);
    let mut document = Document::new("file:///t.py", "python", 1, &text);
    assert!(document.snapshot().syntax.is_none(), "200 kB are not parsed in 5 ms");
    let job = document.unparsed().expect("a job");
    assert!(document.unparsed().is_none(), "one at a time");
    let start = Position { line: 1, character: 4 };
    document.apply(2, &[Change { range: Some(Lines { start, end: start }), text: "x = 1; ".into() }], Encoding::Utf16);
    let mut other = Document::new("file:///u.py", "python", 1, &text);
    document.parsed(job.run_as(false));
    while let Some(job) = document.unparsed() {
        document.parsed(job.run_as(false));
    }
    let syntax = document.snapshot().syntax.expect("parsed now");
    assert_eq!(syntax.errors(), 0);
    assert_eq!(syntax.tree.root_node().end_byte(), document.snapshot().rope.len_bytes());
    let stale = other.unparsed().expect("a job");
    document.parsed(stale.run_as(false));
    assert_eq!(
        document.snapshot().syntax.map(|s| s.tree.root_node().end_byte()),
        Some(document.snapshot().rope.len_bytes()),
        "another's job"
    );
}

#[test]
fn until_the_parse_has_caught_up_the_old_tree_answers() {
    let text = "x = 'ab'\n".to_string() + &"def f(a):\n    return [a, {'b': (c, d)}]\n".repeat(5_000);
    let mut document = Document::new("file:///t.py", "python", 1, &text);
    let job = document.unparsed().expect("200 kB are not parsed in 5 ms");
    document.parsed(job.run_as(true));
    let type_at = |document: &mut Document, character: u32, text: &str| {
        let at = Position { line: 0, character };
        document.apply(document.version() + 1, &[Change { range: Some(Lines { start: at, end: at }), text: text.into() }], Encoding::Utf16);
        document.snapshot()
    };
    let asked = |snapshot: &crate::document::Snapshot, at: usize| {
        let syntax = snapshot.syntax.as_ref().expect("an old tree");
        (syntax.is_late(), syntax.place(&snapshot.rope, at))
    };
    let seen = type_at(&mut document, 6, "é(");
    assert_eq!(asked(&seen, 8), (true, Place::String), "a key after a slow parse waits for none");
    let job = document.unparsed().expect("a job");
    let seen = type_at(&mut document, 8, "'");
    assert_eq!(asked(&seen, 10), (true, Place::String), "it is not known yet that the string has ended");
    document.parsed(job.run_as(true));
    let job = document.unparsed().expect("another one, for the last key");
    document.parsed(job.run_as(false));
    assert_eq!(asked(&document.snapshot(), 10), (false, Place::Code));
}

#[test]
fn what_was_too_hard_to_parse_is_tried_again() {
    let mut document = Document::new("file:///t.py", "python", 1, &"def f(a):\n    return [a, {'b': (c, d)}]\n".repeat(5_000));
    let job = document.unparsed().expect("200 kB are not parsed in 5 ms");
    document.parsed(job.give_up());
    document.apply(2, &[Change { range: None, text: "x = 1\n".into() }], Encoding::Utf16);
    assert!(document.unparsed().is_none() && document.snapshot().syntax.is_none(), "not at each key");
    let start = Position { line: 0, character: 0 };
    for version in 3..40 {
        document.apply(version, &[Change { range: Some(Lines { start, end: start }), text: "y".into() }], Encoding::Utf16);
    }
    assert_eq!(document.settled().syntax.map(|s| s.errors()), Some(0));
}

#[test]
fn a_text_of_10_mb_is_edited_without_a_parse() {
    let mut document = Document::new("file:///t.py", "python", 1, &"x = [1, (2, 3)]\n".repeat(10 << 16));
    assert!(document.unparsed().is_none() && document.snapshot().syntax.is_none(), "more than a tree is made of");
    let at = Position { line: 300_000, character: 0 };
    document.apply(2, &[Change { range: Some(Lines { start: at, end: at }), text: "y".into() }], Encoding::Utf16);
    assert_eq!(document.settled().rope.len_bytes(), (10 << 20) + 1);
}

#[test]
fn mixed_line_ends_are_all_line_ends() {
    let text = "import os\r\n\nclass A:\n    def f(self):\r\n        # a\n        return [1]\r\n";
    let (syntax, rope) = parsed("python", text);
    assert_eq!(syntax.errors(), 0);
    let show = |range: Range<usize>| rope.byte_slice(range).to_string().trim().to_string();
    assert_eq!(syntax.headers(&rope, text.find("return").expect("there")).into_iter().map(show).collect::<Vec<_>>()[0], "class A:");
    assert_eq!(syntax.place(&rope, text.find("# a").expect("there") + 3), Place::Comment);
    assert_eq!(syntax.place(&rope, text.find("1]").expect("there") + 1), Place::Arguments);
}

#[test]
fn deep_nesting_and_errors_everywhere_are_bounded() {
    for text in ["(".repeat(100_000), "[".repeat(50_000) + &"]".repeat(50_000), ") } ] \" ' ".repeat(10_000)] {
        for language in ["python", "json"] {
            let snapshot = Document::new("file:///t", language, 1, &text).settled();
            // Where the parser gives up, there is no syntax.
            let Some(syntax) = snapshot.syntax else { continue };
            for at in [0, 1, text.len() / 2, text.len()] {
                syntax.place(&snapshot.rope, at);
                syntax.headers(&snapshot.rope, at);
            }
            assert!(syntax.errors() <= MANY);
        }
    }
}
