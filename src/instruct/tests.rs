//! What a chat model is asked.
use super::*;
use crate::document::Document;

const CODE: &str = "import os\n\n\ndef f(a):\n    x = 1\n    retrun x\n\n\nprint(f(2))\n";

fn info(context: usize) -> Info {
    Info { model: "m".into(), bytes_per_token: 3.0, context, ..Info::default() }
}

fn asked(kind: Kind, info: &Info, tests: Option<&Tests>) -> Result<String, TooLong> {
    let text = Document::new("u", "python", 1, CODE).settled();
    let piece = Piece::of(&text, 24..44);
    let problems = [Problem { line: "    retrun x".into(), message: "invalid\nsyntax".into() }];
    let (above, below) = (&CODE[..22], &CODE[45..]);
    let task = Task { kind, name: "shop/tax.py", language: "python", piece: &piece, above, below, problems: &problems, tests };
    task.asked(info).map(|asked| asked.turns[1].text.clone())
}

#[test]
fn the_code_what_is_around_it_and_what_is_reported() {
    let text = asked(Kind::Fix, &info(4096), None).unwrap();
    assert!(text.starts_with("Correct the code."), "{text}");
    assert!(text.contains("The file shop/tax.py (python)."));
    assert!(text.contains("The code:\n```python\nx = 1\nretrun x\n```\n"), "{text}");
    assert!(text.contains("Above the code, to be read only:\n```python\nimport os"), "{text}");
    assert!(text.contains("- invalid syntax (at `retrun x`)"), "{text}");
    assert!(text.ends_with("in one code block, and nothing else."));
    assert!(asked(Kind::Explain, &info(4096), None).unwrap().ends_with("Answer in Markdown."));
}

#[test]
fn tests_are_asked_for_where_they_go() {
    let asked = |tests| asked(Kind::Test, &info(4096), Some(&tests)).unwrap();
    assert!(asked(Tests::New("tests/test_tax.py".into())).contains("a new file, tests/test_tax.py"));
    let there = asked(Tests::There { name: "tests/test_tax.py".into(), begins: "import pytest\n".into() });
    assert!(there.contains("which begins so:\n```python\nimport pytest\n```"), "{there}");
    assert!(asked(Tests::Inside).contains("only functions with #[test]"));
}

#[test]
fn what_does_not_fit_is_left_out_around_the_code_and_refused_in_it() {
    // The frame, the answer, and the code.
    let text = asked(Kind::Fix, &info(600), None).unwrap();
    assert!(text.contains("retrun x"));
    let error = asked(Kind::Fix, &info(200), None).unwrap_err().to_string();
    assert!(error.contains("200 tokens") && error.contains("select less"), "{error}");
    let long = "y = 1\n".repeat(5000);
    let text = Document::new("u", "python", 1, CODE).settled();
    let piece = Piece::of(&text, 24..44);
    let task =
        Task { kind: Kind::Explain, name: "a", language: "python", piece: &piece, above: &long, below: &long, problems: &[], tests: None };
    let info = info(2048);
    let asked = task.asked(&info).unwrap();
    let bytes: usize = asked.turns.iter().map(|turn| turn.text.len()).sum();
    assert!(bytes as f32 / info.bytes_per_token + (asked.max_tokens as f32) < 2048.0, "{bytes} bytes");
    assert!(bytes > 2000, "as much as fits: {bytes}");
}

#[test]
fn fences_are_longer_than_what_they_hold() {
    assert_eq!(fenced("a", "rust"), "```rust\na\n```");
    assert!(fenced("```", "markdown").starts_with("````markdown"));
}
