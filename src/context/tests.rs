//! A small workspace, and what is shown of it where.
use super::index::File;
use super::units::units;
use super::workspace::Workspace;
use super::*;
use crate::document::{Change, Document, Encoding, Position, Range};

const TAX: &str = "RATES = {}\n\n\ndef rate(country, year=2020):\n    return RATES[country]\n\n\ndef duty(country):\n    return 1\n";
const CART: &str = "class Cart:\n    def add(self, item, count=1):\n        self.items.append(item)\n\n    def clear(self):\n        self.items = []\n\n    def _check(self):\n        pass\n";
const OTHER: &str = "def rate(speed):\n    pass\n\n\ndef unrelated():\n    pass\n";

fn workspace(files: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::default();
    for (name, text) in files {
        let file = File { language: "python".into(), units: units(&Document::new("", "python", 0, text).settled()) };
        workspace.index.write().expect("an index").insert(name, file);
    }
    workspace
}

fn shop() -> Workspace {
    workspace(&[("shop/tax.py", TAX), ("shop/cart.py", CART), ("web/page.py", OTHER)])
}

/// Context at the `|` of a text that stands at shop/app.py.
fn context(workspace: &Workspace, marked: &str, limit: usize) -> Context {
    let cursor = marked.find('|').expect("a cursor");
    let text = Document::new("shop/app.py", "python", 1, &marked.replacen('|', "", 1)).settled();
    workspace.context(&text, cursor, limit)
}

#[test]
fn an_imported_name_is_shown_and_its_namesake_elsewhere_is_less() {
    let context = context(&shop(), "from shop.tax import rate\n\nx = |\n", 400);
    assert!(context.text.contains("# shop/tax.py\n"), "{}", context.text);
    assert!(context.text.contains("def rate(country, year=2020):\n    return RATES[country]\n"), "its body fits: {}", context.text);
    assert_eq!(context.keys[0], "shop/tax.py:rate");
    assert!(context.text.ends_with("\n# shop/app.py\n"), "the file itself is named last: {}", context.text);
}

#[test]
fn a_class_that_is_named_near_shows_its_members() {
    let near = context(&shop(), "cart = Cart()\ncart.|\n", 300).text;
    assert!(near.contains("class Cart:") && near.contains("    def add(self, item, count=1):"), "{near}");
    let far = "\n".repeat(100);
    assert_eq!(context(&shop(), &format!("cart = Cart()\n{far}cart.|\n"), 300).text, "", "too far away, and not imported");
}

#[test]
fn the_limit_is_kept_and_what_is_named_comes_first() {
    for limit in [0, 20, 60, 90, 120, 200, 1000] {
        let context = context(&shop(), "import shop.tax\nimport shop.cart\n\n\ndef f(c):\n    c.clear()\n    |\n", limit);
        assert!(context.text.len() <= limit, "{limit}: {}", context.text);
        if limit == 120 {
            assert!(context.text.contains("def clear(self):"), "{}", context.text);
        }
    }
}

#[test]
fn private_members_come_last() {
    // Room for two of three members.
    let text = context(&shop(), "from shop.cart import Cart\n|\n", 110).text;
    assert!(text.contains("def clear") && !text.contains("_check"), "{text}");
}

#[test]
fn what_the_text_defines_itself_is_not_looked_up() {
    let workspace = shop();
    workspace.index.write().expect("an index").insert(
        "shop/app.py",
        File { language: "python".into(), units: units(&Document::new("", "python", 0, "def rate():\n    pass\n").settled()) },
    );
    assert_eq!(context(&workspace, "def rate():\n    pass\n\n\nrate(|)\n", 400).text, "");
}

#[test]
fn a_fence_is_told_what_its_own_language_defines() {
    let workspace = shop();
    workspace.index.write().expect("an index").insert("README.md", File { language: "markdown".into(), units: Vec::new() });
    let context = |fence: &str| {
        let marked = format!("# Shop\n\n```python\n{fence}\n```\n");
        let cursor = marked.find('|').expect("a cursor");
        let text = Document::new("README.md", "markdown", 1, &marked.replacen('|', "", 1)).settled();
        workspace.context(&text, cursor, 400).text
    };
    let text = context("from shop.tax import rate\nx = |");
    assert!(text.contains("# shop/tax.py\n") && text.contains("def rate(country, year=2020):"), "{text}");
    assert_eq!(context("def rate():\n    pass\n\nrate(|)"), "", "it defines that itself");
    let prose = Document::new("README.md", "markdown", 1, "The rate and the Cart.\n").settled();
    assert_eq!(workspace.context(&prose, 10, 400).text, "");
}

#[test]
fn other_languages_are_not_looked_at() {
    let text = Document::new("shop/app.rs", "rust", 1, "fn f() { rate(); }\n").settled();
    assert_eq!(shop().context(&text, 10, 400).text, "");
}

#[test]
fn tests_see_what_they_test() {
    let text = Document::new("tests/test_tax.py", "python", 1, "def test_it():\n    \n").settled();
    assert!(shop().context(&text, 18, 400).text.contains("def duty(country):"));
}

#[test]
fn it_is_the_same_each_time() {
    let all: Vec<Context> = (0..5).map(|_| context(&shop(), "from shop.tax import rate\nfrom shop.cart import Cart\n|", 300)).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    let paths: Vec<usize> = ["# shop/cart.py", "# shop/tax.py", "# shop/app.py"].iter().filter_map(|p| all[0].text.find(p)).collect();
    assert!(paths.len() == 3 && paths.is_sorted(), "{}", all[0].text);
}

#[test]
fn a_context_serves_as_long_as_the_most_telling_is_in_it() {
    let context = |keys: &[&str]| Context { text: String::new(), keys: keys.iter().map(ToString::to_string).collect() };
    let old = context(&["a", "b", "c", "d"]);
    assert!(old.serves(&context(&["d", "b", "a", "new"])));
    assert!(!old.serves(&context(&["new", "a"])));
    assert!(old.serves(&Context::default()), "nothing better is known");
}

#[test]
fn recent_edits_stand_behind_the_definitions() {
    let workspace = shop();
    workspace.opened("file:///w/shop/cart.py", "shop/cart.py", true);
    let mut document = Document::new("file:///w/shop/cart.py", "python", 1, CART);
    for (line, text) in [(1, "x"), (7, "y")] {
        let before = document.snapshot();
        let at = Position { line, character: 12 };
        let edits = document.apply(2, &[Change { range: Some(Range { start: at, end: at }), text: text.into() }], Encoding::Utf8);
        workspace.edited(&before, &document.snapshot(), edits[0]);
    }
    let text = context(&workspace, "from shop.cart import Cart\n|\n", 900).text;
    let edit = "# shop/cart.py was edited:\n# -     def add(self, item, count=1):\n# +     def add(xself, item, count=1):\n";
    assert!(text.contains(edit), "{text}");
    assert!(text.find("class Cart") < text.find("was edited") && text.ends_with("# shop/app.py\n"), "{text}");
    workspace.forget("shop/cart.py");
    assert_eq!(context(&workspace, "from shop.cart import Cart\n|\n", 900).text, "");
}

#[test]
fn an_open_document_is_seen_as_it_is_in_the_editor() {
    let workspace = shop();
    workspace.opened("file:///w/shop/tax.py", "shop/tax.py", true);
    workspace.read(&Document::new("file:///w/shop/tax.py", "python", 1, "def vat(a):\n    pass\n").settled());
    let text = context(&workspace, "import shop.tax\n|\n", 400).text;
    assert!(text.contains("def vat(a):") && !text.contains("duty"), "{text}");
    workspace.opened("file:///w/.env", ".env", false);
    workspace.read(&Document::new("file:///w/.env", "python", 1, "def key(a):\n    pass\n").settled());
    assert!(!context(&workspace, "x = key(|)\n", 400).text.contains("key"), "what the rules forbid is not read from the editor either");
}
