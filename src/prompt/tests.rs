//! The hole's rule, as a table: `|` is the cursor.
use super::*;
use crate::document::{Document, Edit};

const BUDGET: Budget = Budget { prefix: 600, suffix: 200, short: 50, tail: 120 };

/// A document and the byte offset of its cursor.
fn at(marked: &str) -> (Snapshot, usize) {
    let cursor = marked.find('|').expect("a cursor");
    (Document::new("file:///t", "rust", 1, &marked.replacen('|', "", 1)).settled(), cursor)
}

fn hole(marked: &str) -> Hole {
    let (text, cursor) = at(marked);
    Hole::new(&text, cursor, &BUDGET, None)
}

fn then(hole: &Hole, marked: &str) -> Result<String, Reanchor> {
    let (text, cursor) = at(marked);
    hole.tail(&text, cursor)
}

#[test]
fn splits_at_the_line_start() {
    let h = hole("fn f() {\n    let x = 1|\n}\n");
    assert_eq!((h.prefix(), h.suffix(true)), ("fn f() {\n", "\n}\n"));
}

#[test]
fn typing_backspacing_and_breaking_lines_keep_the_hole() {
    let h = hole("fn f() {\n    let|\n}\n");
    for (now, tail) in [
        ("fn f() {\n    let x|\n}\n", "    let x"),
        ("fn f() {\n    l|\n}\n", "    l"),
        ("fn f() {\n|\n}\n", ""),
        ("fn f() {\n    let x;\n    y|\n}\n", "    let x;\n    y"),
        ("fn f() {\n    g(a|)\n}\n", "    g(a"),
        ("fn f() {\n    g(\"|\")\n}\n", "    g(\""),
        ("fn f() {\n    if x {\n        |\n    }\n}\n", "    if x {\n        "),
        ("fn f() {\n    let x|}\n", "    let x"),
    ] {
        assert_eq!(then(&h, now).as_deref(), Ok(tail), "{now:?}");
    }
}

/// What was found by random edits: a hole at the end of a text held whatever came below it.
#[test]
fn text_that_comes_behind_the_last_line_is_news() {
    for (before, now) in
        [("|", "|def f(x):\n    pass\n"), ("fn f() {\n    let|", "fn f() {\n    let|\nfn g() {}\n"), ("a|\n}\n", "a|\n}\nb\n")]
    {
        assert_eq!(then(&hole(before), now), Err(Reanchor::Suffix), "{now:?}");
    }
    for now in ["fn f() {\n    g(|)", "fn f() {\n    g(|);\n\n"] {
        assert_eq!(then(&hole("fn f() {\n    let|"), now).as_deref(), Ok("    g("), "{now:?}");
    }
}

#[test]
fn a_long_suffix_with_crlf_holds() {
    let wide = Budget { suffix: 4000, ..BUDGET };
    let below = "x\r\n".repeat(1000);
    let (text, cursor) = at(&format!("let|\r\n{below}"));
    let hole = Hole::new(&text, cursor, &wide, None);
    assert_eq!(then(&hole, &format!("let a|\r\n{below}")).as_deref(), Ok("let a"));
}

#[test]
fn other_changes_split_anew_and_say_why() {
    let h = hole("fn f() {\n    let|\n}\n");
    for (now, why) in [
        ("fn f|() {\n    let\n}\n", Reanchor::Before),
        ("fn g() {\n    let|\n}\n", Reanchor::Prefix),
        ("fn f() {\n    let|\n    y\n}\n", Reanchor::Suffix),
        ("fn f() {\n    l|et\n}\n", Reanchor::Suffix),
        ("fn f() {\n    let\n}|\n", Reanchor::Suffix),
    ] {
        assert_eq!(then(&h, now), Err(why), "{now:?}");
    }
    let long = format!("fn f() {{\n{}|\n}}\n", "x".repeat(200));
    assert_eq!(then(&h, &long), Err(Reanchor::Tail));
}

#[test]
fn typing_over_a_closer_keeps_the_hole() {
    let h = hole("fn f() {\n    g(|)\n}\n");
    assert_eq!(h.suffix(true), "\n}\n");
    assert_eq!(then(&h, "fn f() {\n    g(a)|\n}\n").as_deref(), Ok("    g(a)"));
}

#[test]
fn a_suffix_that_says_something_is_frozen_whole() {
    let h = hole("fn f() {\n    g(| + 1)\n}\n");
    assert_eq!(h.suffix(true), " + 1)\n}\n");
    assert_eq!(then(&h, "fn f() {\n    g(a|)\n}\n"), Err(Reanchor::Suffix), "its ' + 1' is gone");
}

#[test]
fn carriage_returns_never_reach_the_model() {
    let (text, cursor) = at("a {\r\n    b|\r\n}\r\n");
    let h = Hole::new(&text, cursor, &BUDGET, None);
    assert_eq!((h.prefix(), h.suffix(true)), ("a {\n", "\n}\n"));
    assert_eq!(h.tail(&text, cursor).as_deref(), Ok("    b"));
}

#[test]
fn the_window_start_stays_while_the_cursor_moves_down() {
    let lines: String = (0..400).map(|n| format!("let v{n} = {n};\n")).collect();
    let text = Document::new("u", "rust", 1, &lines).settled();
    let (mut starts, mut previous) = (vec![], None);
    for line in 0..400 {
        let cursor = text.rope.line_to_byte(line);
        let hole = Hole::new(&text, cursor, &BUDGET, previous.as_ref());
        assert!(hole.prefix().len() <= BUDGET.prefix && (hole.prefix().is_empty() || hole.prefix().ends_with('\n')));
        starts.push(hole.start);
        previous = Some(hole);
    }
    starts.dedup();
    assert!(starts.len() < 40, "{} starts in 400 lines", starts.len());
}

#[test]
fn edits_above_the_window_shift_it() {
    let lines: String = (0..200).map(|n| format!("let v{n} = {n};\n")).collect();
    let text = Document::new("u", "rust", 1, &lines).settled();
    let cursor = text.rope.line_to_byte(150);
    let mut hole = Hole::new(&text, cursor, &BUDGET, None);
    assert!(hole.start > 10);
    let changed = Document::new("u", "rust", 2, &format!("// new\n{lines}")).settled();
    assert_eq!(hole.tail(&changed, cursor + 7), Err(Reanchor::Prefix));
    hole.shift(Edit { start: 0, removed: 0, inserted: 7 });
    assert_eq!(hole.tail(&changed, cursor + 7).as_deref(), Ok(""));
}

#[test]
fn one_huge_line_is_cut_to_the_budget() {
    let (text, cursor) = (Document::new("u", "json", 1, &"é".repeat(500_000)).settled(), 500_000);
    let hole = Hole::new(&text, cursor, &BUDGET, None);
    assert!(hole.prefix().len() <= BUDGET.prefix && hole.suffix(true).len() <= BUDGET.suffix);
    assert_eq!(hole.tail(&text, cursor).as_deref(), Ok(""));
}

#[test]
fn the_short_suffix_ends_at_a_line() {
    let h = hole(&format!("a|\n{}", "    some more text\n".repeat(10)));
    assert!(h.suffix(false).len() <= 50 && h.suffix(false).ends_with('\n') && h.has_more());
    assert!(h.suffix(true).starts_with(h.suffix(false)));
}

#[cfg(feature = "languages")]
#[test]
fn imports_and_headers_stand_above_the_window_and_stay_with_it() {
    let body: String = (0..60).map(|n| format!("        let v{n} = {n};\n")).collect();
    let text = Document::new("u", "rust", 1, &format!("use a::b;\n\nimpl A {{\n    fn f(&self) {{\n{body}    }}\n}}\n")).settled();
    let at = |line: &str| text.rope.to_string().find(line).expect("there");
    let (first, later) = (at("let v40 "), at("let v41 "));
    let hole = Hole::new(&text, first, &BUDGET, None);
    assert!(hole.prefix().starts_with("use a::b;\nimpl A {\n    fn f(&self) {\n        let v"), "{}", hole.prefix());
    assert!(hole.prefix().len() <= BUDGET.prefix);
    assert_eq!(hole.tail(&text, first).as_deref(), Ok("        "));
    let next = Hole::new(&text, later, &BUDGET, Some(&hole));
    assert!(next.prefix().starts_with(hole.prefix()), "the head stays with the window");
}

/// Says the same of every place.
#[derive(Debug)]
struct Says(&'static str);

impl Neighbours for Says {
    fn context(&self, _: &Snapshot, _: usize, limit: usize) -> Context {
        let text = if self.0.len() <= limit { self.0 } else { "" };
        Context { text: text.into(), keys: vec![self.0.into()] }
    }

    fn any(&self) -> bool {
        true
    }
}

#[test]
fn other_files_come_first_stay_with_the_window_and_are_replaced_in_a_pause() {
    const LARGE: Budget = Budget { prefix: 2400, suffix: 200, short: 50, tail: 120 };
    let lines: String = (0..400).map(|n| format!("let v{n} = {n};\n")).collect();
    let text = Document::new("u", "rust", 1, &lines).settled();
    let at = |line: usize| text.rope.line_to_byte(line);
    let hole = Hole::beside(Some(&Says("// a.rs\n")), &text, at(300), &LARGE, None);
    assert!(hole.prefix().starts_with("// a.rs\nlet v") && hole.prefix().len() <= LARGE.prefix, "{}", hole.prefix());
    assert_eq!(hole.tail(&text, at(300)).as_deref(), Ok(""));
    let next = Hole::beside(Some(&Says("// b.rs\n")), &text, at(301), &LARGE, Some(&hole));
    assert!(next.prefix().starts_with(hole.prefix()), "the context stays with the window");
    let better = hole.better_context(&Says("// b.rs\n"), &text, at(300)).expect("another one");
    let other = hole.with_context(better);
    assert!(other.prefix().starts_with("// b.rs\nlet v") && other.tail(&text, at(300)).as_deref() == Ok(""));
    assert_eq!(other.better_context(&Says("// b.rs\n"), &text, at(300)), None);
    let far = Hole::beside(Some(&Says("// b.rs\n")), &text, at(20), &LARGE, Some(&hole));
    assert!(far.prefix().starts_with("// b.rs\n"), "a new window asks anew");
    let small = Hole::beside(Some(&Says("// a.rs\n")), &text, at(300), &BUDGET, None);
    assert!(small.prefix().starts_with("let v"), "a small prefix is all for the file");
}

#[test]
fn what_the_model_does_not_see_is_the_rest_of_the_file() {
    let lines: String = (0..100).map(|n| format!("let x{n:03} = {n:03};\n")).collect();
    let (text, cursor) = at(&lines.replacen("= 060;", "=| 060;", 1));
    let hole = Hole::new(&text, cursor, &BUDGET, None);
    let whole = text.text(0, text.rope.len_bytes());
    let suffix = hole.suffix(false).len();
    let (above, below) = hole.beyond(&text, cursor, suffix, usize::MAX);
    assert_eq!((above.as_str(), below.as_str()), (&whole[..hole.start()], &whole[cursor + suffix..]));
    assert!(hole.start() > 100 && below.len() > 100);
    let (above, below) = hole.beyond(&text, cursor, suffix, 20);
    assert_eq!((above.as_str(), below.as_str()), (&whole[hole.start() - 20..hole.start()], &whole[cursor + suffix..cursor + suffix + 20]));
    assert_eq!(hole.beyond(&text, cursor, suffix, 0), (String::new(), String::new()));
}
