//! What a text defines: classes with their members, functions, constants.
//!
//! ```text
//! class Shop:⏎    tax = 0.2⏎    def total(self): …      Shop { members: tax, total }
//! fn f() { fn inner() {} }                               f: what is inside a function is its own affair
//! ```
use super::Syntax;
use super::languages::Role;
use ropey::Rope;
use std::ops::Range;
use std::time::{Duration, Instant};
use tree_sitter::{Node, QueryCursor, QueryCursorOptions, QueryCursorState, StreamingIterator};

/// Longest time for one text; what is found by then must do.
const BUDGET: Duration = Duration::from_millis(500);

/// Something with a name. Ranges are bytes of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub name: String,
    /// From its beginning to where its body begins, the bracket included; all of it where there is no body.
    pub header: Range<usize>,
    pub whole: Range<usize>,
    /// What stands directly in a class, a trait, a structure.
    pub members: Vec<Definition>,
    /// It adds to what is defined elsewhere, as an `impl` does.
    pub extends: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A function: what is defined inside is not seen from outside.
    Callable,
    /// A namespace or module: what is inside counts by itself.
    Space,
    /// A class, a structure, an `impl`.
    Type,
    Plain,
}

impl Definition {
    /// Whether it holds members, such as a class does.
    pub fn is_type(&self) -> bool {
        self.kind == Kind::Type
    }
}

impl Syntax {
    /// What this text defines for others, in its order. Tests inside it are not counted.
    pub fn definitions(&self, rope: &Rope) -> Vec<Definition> {
        let mut found = self.named(rope);
        // An outer one comes before what is inside it; of the same node, the one with a body.
        found.sort_by_key(|d| (d.whole.start, std::cmp::Reverse(d.whole.end), d.kind == Kind::Plain));
        found.dedup_by(|later, kept| later.whole == kept.whole && later.name == kept.name);
        let mut all = found.into_iter().peekable();
        let mut out = Vec::new();
        while let Some(definition) = all.next() {
            nest(definition, &mut all, &mut out);
        }
        out
    }

    fn named(&self, rope: &Rope) -> Vec<Definition> {
        let mut cursor = QueryCursor::new();
        // A late tree may reach beyond the text.
        let text = |node: Node| rope.get_byte_slice(node.byte_range()).into_iter().flat_map(|s| s.chunks()).map(str::as_bytes);
        let begun = Instant::now();
        let mut too_long = |_: &QueryCursorState| begun.elapsed() > BUDGET;
        let options = QueryCursorOptions::new().progress_callback(&mut too_long);
        let mut matches = cursor.matches_with_options(&self.grammar.definitions, self.tree.root_node(), text, options);
        let (mut out, mut imports) = (Vec::new(), Vec::new());
        while let Some(found) = matches.next() {
            let node = |role: Role| found.captures.iter().find(|c| self.grammar.role(c.index) == Some(role)).map(|c| c.node);
            imports.extend(node(Role::Import).map(|import| import.byte_range()));
            let (scope, plain) = (node(Role::Scope), node(Role::Definition));
            let (Some(whole), Some(name)) = (scope.or(plain), node(Role::Name)) else { continue };
            let name = identifier(&rope.byte_slice(name.byte_range()).to_string());
            let kind = scope.map_or(Kind::Plain, |node| kind(node.kind()));
            let body = node(Role::Body).map(|body| body.start_byte() + usize::from(rope.get_byte(body.start_byte()) == Some(b'{')));
            let (start, end) = (whole.start_byte(), whole.end_byte());
            let extends = whole.kind() == "impl_item";
            if !name.is_empty() {
                let (header, whole) = (start..body.unwrap_or(end), start..end);
                out.push(Definition { name, header, whole, members: Vec::new(), extends, kind });
            }
        }
        // What `const a = require("a")` names is defined elsewhere.
        out.retain(|d| !imports.iter().any(|import: &Range<usize>| import.start <= d.whole.start && d.whole.end <= import.end));
        out
    }
}

/// Puts a definition where it belongs, with all that lies inside it.
fn nest(mut definition: Definition, rest: &mut std::iter::Peekable<impl Iterator<Item = Definition>>, out: &mut Vec<Definition>) {
    let mut inside = Vec::new();
    let end = definition.whole.end;
    while let Some(inner) = rest.next_if(|next| next.whole.start < end) {
        nest(inner, rest, &mut inside);
    }
    match definition.kind {
        Kind::Space if definition.name == "tests" => {}
        Kind::Space => out.append(&mut inside),
        Kind::Type => {
            definition.members = inside;
            out.push(definition);
        }
        Kind::Callable | Kind::Plain => out.push(definition),
    }
}

fn kind(node: &str) -> Kind {
    let any = |words: &[&str]| words.iter().any(|word| node.contains(word));
    if any(&["namespace", "mod_item", "internal_module"]) {
        Kind::Space
    } else if any(&["function", "method", "constructor", "variable_declarator"]) {
        Kind::Callable
    } else {
        Kind::Type
    }
}

/// The name in what a grammar calls one: `A::f(int a)` is `f`, `Foo<T>` is `Foo`, `*f(void)` is `f`.
fn identifier(name: &str) -> String {
    if name.starts_with(['"', '\'']) {
        return String::new();
    }
    let head = name.split(['(', '<', '[']).next().unwrap_or_default();
    let last = head.rsplit("::").next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    last.trim_matches(|c: char| !word(c)).rsplit(|c: char| !word(c)).next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use crate::document::Document;

    /// Names, members in brackets.
    fn defined(language: &str, text: &str) -> String {
        let snapshot = Document::new("u", language, 1, text).settled();
        let all = snapshot.syntax.expect("a grammar").definitions(&snapshot.rope);
        let names = |all: &[super::Definition]| all.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        let show = |d: &super::Definition| match names(&d.members).join(" ") {
            members if members.is_empty() => d.name.clone(),
            members => format!("{}({members})", d.name),
        };
        all.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_defined() {
        for (language, text, expected) in [
            (
                "python",
                "LIMIT = 3\n\n\nclass A(B):\n    tax = 1\n\n    def f(self):\n        x = 1\n        def inner(): pass\n\n\ndef g(a):\n    y = 2\n",
                "LIMIT A(tax f) g",
            ),
            (
                "rust",
                "const N: u8 = 1;\nstruct A { b: u8 }\nstruct U;\nimpl<T> A<T> {\n    fn f(&self) { fn inner() {} }\n}\ntrait T { fn t(&self); }\nenum E { V }\nmacro_rules! m { () => {} }\nmod n { pub fn g() {} }\nmod tests { fn h() {} }\n",
                "N A(b) U A(f) T(t) E(V) m g",
            ),
            (
                "javascript",
                "const r = require('r');\nconst a = 1;\nexport const f = (x) => { const y = 1; };\nclass A { b = 1; c() {} }\nfunction g() {}\nA.prototype.h = function () {};\n",
                "a f A(b c) g h",
            ),
            (
                "typescript",
                "export interface I { a: string; 'x-y': string; b(): void }\ntype T = string;\nenum E { A }\nabstract class C { private d = 1; abstract e(): void; f() {} }\n",
                "I(a b) T E C(d e f)",
            ),
            (
                "go",
                "package p\nconst C = 1\nvar v = 2\ntype S struct {\n\ta int\n}\ntype I interface {\n\tM()\n}\nfunc (s *S) F() {}\nfunc G() { x := 1 }\n",
                "C v S(a) I F G",
            ),
            (
                "java",
                "class A {\n  int b;\n  A() {}\n  void f() { int x; }\n}\ninterface I { void g(); }\nenum E { V }\n",
                "A(b A f) I(g) E(V)",
            ),
            (
                "c",
                "#define M 1\nstruct s { int a; char *b; };\ntypedef struct s t;\nint f(int a);\nchar *g(void) { int x; return 0; }\nstatic int h(void) { return 1; }\n",
                "M s(a b) t f g h",
            ),
            (
                "cpp",
                "namespace n {\nclass A {\n  int b;\n  void f();\n};\n}\nint n::A::g(int a) { return 1; }\nusing U = int;\n",
                "A(b f) g U",
            ),
            ("csharp", "namespace N {\nclass A {\n  int b;\n  public int P { get; set; }\n  void F() { }\n}\n}\n", "A(b P F)"),
            ("ruby", "class A\n  B = 1\n  def f\n    x = 1\n  end\nend\n", "A(B f)"),
            ("php", "<?php\nclass A {\n  const B = 1;\n  public $c;\n  function f() { }\n}\nfunction g() { }\n", "A(B c f) g"),
            ("shellscript", "A=1\nf() {\n  b=2\n}\n", "A f"),
            ("lua", "function f(a)\n  return a\nend\n", "f"),
        ] {
            assert_eq!(defined(language, text), expected, "{language}");
        }
    }

    #[test]
    fn headers_end_where_bodies_begin() {
        let text = "class A(B):\n    def f(self,\n          b):\n        return b\n";
        let snapshot = Document::new("u", "python", 1, text).settled();
        let all = snapshot.syntax.expect("a grammar").definitions(&snapshot.rope);
        assert_eq!(text[all[0].header.clone()].trim(), "class A(B):");
        assert_eq!(text[all[0].members[0].header.clone()].trim(), "def f(self,\n          b):");
    }
}
