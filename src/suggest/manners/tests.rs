//! Texts with the cursor as `|`, what was generated, what is offered.
use super::*;
use crate::document::Document;
use proptest::prelude::*;

fn plan_as(language: &str, marked: &str, lines: Lines) -> Plan {
    let cursor = marked.find('|').expect("a cursor");
    Plan::new(&Document::new("u", language, 1, &marked.replacen('|', "", 1)).settled(), cursor, lines)
}

fn plan(marked: &str) -> Plan {
    plan_as("python", marked, Lines::Auto)
}

/// As the engine says it: in small pieces, until the plan sees its end.
fn offered(plan: &Plan, raw: &str, cut: bool) -> String {
    let (mut said, mut seen) = (String::new(), 0);
    for c in raw.chars() {
        said.push(c);
        if let Some(end) = plan.end(&said, &mut seen) {
            return plan.finish(&said, Some(end), false);
        }
    }
    plan.finish(&said, None, cut)
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

#[cfg(feature = "languages")]
#[test]
fn in_a_fence_its_own_language_holds() {
    let markdown = |text: &str, raw: &str| {
        let plan = plan_as("markdown", text, Lines::Auto);
        (plan.block, offered(&plan, raw, false))
    };
    let body = "Say:\n\n```python\ndef f(a):\n    |\n```\n\nWords.\n";
    assert_eq!(markdown(body, "x = a  # so (\n    return x\n```\n\nMore"), (true, "x = a  # so (\n    return x".into()));
    let rust = "```rust\nfn f() {\n    |\n}\n```\n";
    assert_eq!(markdown(rust, "a();\n}\n\nfn g() {"), (true, "a();".into()));
    assert_eq!(markdown("```python\nif a:\n    # A note:|\n```\n", "a\nb"), (false, "a".into()));
    assert!(!markdown("```python\nx = \"\"\"a:\n|\n\"\"\"\n```\n", "a\nb").0, "a string in a fence");
}

#[test]
fn ends() {
    for (text, raw, expected) in [
        ("x = |\n", "1\ny = 2", "1"),
        ("def f(a):\n    |\n\ndef g():\n", "x = a\n    return x\n\ndef h():\n    pass", "x = a\n    return x"),
        ("fn f() {\n    |\n}\n", "a();\n    b();\n}\n\nfn g", "a();\n    b();"),
        ("fn f() {\n    |\n    call();\n}\n", "a();\n    b();\n    call();\n", "a();\n    b();"),
        ("def f():\n    |\n", "a()\n    a()\n    a()\n    a()\n", "a()"),
        ("x = |", "'http://a.b/c' # d", "'http://a.b/c' # d"),
    ] {
        assert_eq!(offered(&plan(text), raw, false), expected, "{text:?} {raw:?}");
    }
}

#[test]
fn comments_urls_blank_lines_and_what_is_open_end_nothing() {
    let body = "def f():\n    |\n\n\ndef g():\n    pass\n";
    for (language, text, raw) in [
        ("python", body, "# a note\n    a()  # and more"),
        ("python", body, "a('http://b.c//d')\n    b()"),
        ("python", body, "a()\n\n    b()"),
        ("python", body, "a()\n# a note that is not indented\n    b()"),
        ("python", body, "x = \"\"\"one\ntwo\n    \"\"\"\n    return x"),
        ("python", body, "x = [\n1,\n2,\n    ]\n    return x"),
        ("rust", "fn f() {\n    |\n}\n", "// a note\n    a(\"//\");\n    /* { */\n    b();"),
        ("rust", "fn f() {\n    |\n}\n", "if a {\n        b();\n    }\n\n    c()"),
        ("c", "int f() {\n    |\n}\n", "a();\n#ifdef B\n    b();\n#endif\n    c();"),
    ] {
        assert_eq!(offered(&plan_as(language, text, Lines::Auto), raw, false), raw, "{text:?}");
    }
}

#[test]
#[cfg(feature = "languages")]
fn the_parser_says_that_the_body_is_closed() {
    let block = |language, text, raw| offered(&plan_as(language, text, Lines::Block), raw, false);
    for (language, text, raw, expected) in [
        // The file closes it.
        ("rust", "fn f() {\n|\n}\n", "a();\n}\nfn g() {\n    b();\n", "a();"),
        ("rust", "fn f() {\n|\n}\n", "a(); }\nb();\n", "a();"),
        // Nothing in the file does.
        ("rust", "fn f() {\n    |", "a();\n}\n\nfn g() {\n", "a();\n}"),
        ("rust", "fn f() {\n|", "a();\n}\n\nfn g() {\n", "a();\n}"),
        ("ruby", "def f\n  |", "a\nend\n\ndef g\n", "a\nend"),
        ("ruby", "def f\n  |\nend\n", "a\nend\n\ndef g\n", "a"),
        ("javascript", "f(() => {\n  |", "a();\n});\nb();\n", "a();\n});"),
        // The list of arguments is.
        ("python", "call(\n    |\n)\n", "a,\n    b)\nc = 1\n", "a,\n    b"),
        ("python", "call(\n    |", "a,\n    b)\nc = 1\n", "a,\n    b)"),
    ] {
        assert_eq!(block(language, text, raw), expected, "{language} {text:?} {raw:?}");
    }
}

#[test]
fn what_stands_below_already() {
    let body = "def f(self):\n    |\n    first(a)\n    return self.second\n";
    for (text, raw, expected) in [
        (body, "x()\n    first(a)\n", "x()"),
        (body, "x()\n    return self.second\n", "x()"),
        (body, "x()\n    first(a)", "x()"),
        (body, "first(a)\n    x()\n", ""),
        (body, "x()\n    return\n", "x()\n    return"),
        ("x = |\ny_total = 1\n", "2\ny_total", "2"),
        ("|\ny_total = 1\n", "y_total = 1", ""),
        ("|\ny_total = call(a)\n", "y_total = call(", ""),
        ("|\ny_total = call(a)\n", "y_tot = 1", "y_tot = 1"),
        ("y|\ny = 1\n", " = 1", " = 1"),
        ("    y_total = |\ny_total = 1\n", "1", "1"),
        ("y_to|\ny_total = 1\n", "tal = 1", ""),
        // The next function may begin like this one.
        ("def f():\n    |\n\ndef g():\n    first(a)\n", "first(a)\n    x()", "first(a)\n    x()"),
    ] {
        assert_eq!(offered(&plan(text), raw, false), expected, "{text:?} {raw:?}");
    }
}

#[test]
fn what_goes_round_is_cut() {
    let block = |text, raw| offered(&plan_as("python", text, Lines::Block), raw, false);
    assert_eq!(block("    self.ma|", "x_high = self.max_high\n    self.max_high = self.max_high\n"), "x_high = self.max_high");
    assert_eq!(block("    |", "if a:\n        b()\n    if a:\n        b()\n    if a:\n"), "if a:\n        b()");
    assert_eq!(block("x = |", "0x000000000000000000000000"), "");
    assert_eq!(block("x = |", "[0, 0, 0, 0, 0, 0]"), "[0, 0, 0, 0, 0, 0]");
}

#[test]
fn a_block_cut_for_length_loses_its_half_line() {
    let cut = |text, raw| offered(&plan(text), raw, true);
    assert_eq!(cut("def f():\n    |\n", "a = 1\n    b = fo"), "a = 1");
    assert_eq!(cut("def f():\n    |\n", "a = 1\n    b(\n        c,\n        d"), "a = 1");
    assert_eq!(cut("def f():\n    |\n", "b(\n        c,\n        d"), "b(\n        c,");
}

#[test]
fn half_tokens_and_blanks_at_the_end_are_left_out() {
    let cut = |raw| offered(&plan("x = |\n"), raw, true);
    assert_eq!(cut("foo.bar(ba"), "foo.bar(");
    assert_eq!(cut("foo_ba"), "");
    assert_eq!(cut("a + b)"), "a + b)");
    let whole = |text, raw| offered(&plan(text), raw, false);
    assert_eq!(whole("x = |\n", "'a\u{fffd}b'"), "'");
    assert_eq!(whole("x = |\n", "foo   \n"), "foo");
    assert_eq!(whole("def f():\n    |\n", "a()  \n    \n    b()\t\n"), "a()\n\n    b()");
    assert_eq!(whole("def f():\n    |\n", "a = \"\"\"b  \n    c\"\"\"\n"), "a = \"\"\"b  \n    c\"\"\"");
    assert_eq!(whole("def f():\n    |\n", "a()\n# of the next one\n"), "a()");
    assert_eq!(whole("def f():\n    |\n", "a()\n# of the next one\ndef g():\n"), "a()");
}

#[test]
fn going_round_in_circles_is_not_offered() {
    let cut = |raw| offered(&plan("x = |"), raw, true);
    assert_eq!(cut("None = None = None = None"), "");
    assert_eq!(cut("self.name.name.name.name"), "");
    assert_eq!(cut("[0, 0, 0, 0, 0, 0, 0]"), "[0, 0, 0, 0, 0, 0, 0]");
    assert_eq!(cut("a.b(c).d(e)  # ======="), "a.b(c).d(e)  # =======");
    assert_eq!(offered(&plan("def f():\n    |\n"), "a = 1\n    x.get.get.get.get", false), "a = 1");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    /// Whatever is generated, wherever: the offered text is what was generated, up to some place, but for blanks.
    #[test]
    fn any_text_ends_somewhere(
        file in "(a|b|[(){}|\"'#:\n]| {4}|\r\n|é|😀|def f\\(\\):|fn f\\(\\) \\{|//){0,30}",
        raw in "(a|b|[(){}\"'#:\n]| {4}|\t|é|\u{fffd}|return x|end|//|0){0,40}",
        which in 0..6usize,
        cut: bool,
        block: bool,
    ) {
        let language = ["python", "rust", "c", "ruby", "json", "plaintext"][which];
        let cursor = file.char_indices().map(|(at, _)| at).nth(file.chars().count() / 2).unwrap_or(0);
        let text = Document::new("u", language, 1, &file).settled();
        let plan = Plan::new(&text, cursor, if block { Lines::Block } else { Lines::Auto });
        let got = offered(&plan, &raw, cut);
        let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert!(bare(&raw).starts_with(&bare(&got)), "{:?} of {:?}", got, raw);
        prop_assert!(!got.contains(char::REPLACEMENT_CHARACTER) && got.trim_end() == got);
        prop_assert!(plan.block || !got.contains('\n'));
        // And all at once, as a remote engine may say it.
        let end = plan.end(&raw, &mut 0);
        let got = plan.finish(&raw, end, cut && end.is_none());
        prop_assert!(bare(&raw).starts_with(&bare(&got)), "{:?} of {:?}", got, raw);
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
