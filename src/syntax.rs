//! What the parser knows of a document: where the cursor is, what encloses it, whether a suggestion breaks anything.
//!
//! ```text
//! def f(a):⏎    """Adds:⏎    |        Place::String: to the end of the line, whatever the line above ends with
//! class A { f() {|                    scopes: "class A {", "f() {"
//! x = foo(a, b|                       "c)" adds no error; "c" would leave the bracket open
//! ```
//! Code in a Markdown fence, a script or a style has a syntax of its own: [`Syntax::inside`].
//! The tree is kept with the document and edited in place ([`Parse`]); a [`Syntax`] is what a snapshot sees of it.
//! A text whose language has no grammar here works without.
use inside::Nested;
use languages::{Grammar, Role};
pub use parse::{Done, Job, Parse, replace};
use ropey::Rope;
use std::ops::Range;
use std::time::Instant;
use tree_sitter::{Node, QueryCursor, QueryCursorOptions, QueryCursorState, StreamingIterator, Tree};

pub mod definitions;
mod ends;
mod inside;
mod languages;
mod parse;

/// Where a cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Code,
    Comment,
    String,
    /// Between the brackets of a call, a parameter list, a list.
    Arguments,
    /// Inside braces with nothing else in them.
    EmptyBody,
}

/// A parsed text. Cloning shares the tree.
#[derive(Clone, Debug)]
pub struct Syntax {
    grammar: &'static Grammar,
    tree: Tree,
    /// The block of another language that was edited last.
    nested: Option<Nested>,
    /// It is such a block's own: it does not reach over all of the text.
    part: bool,
    /// It is of the text before the last edits, moved along with them: the parse has not caught up yet.
    late: bool,
}

/// A captured node.
struct Found {
    role: Role,
    bytes: Range<usize>,
    /// Of a scope: where its body begins, after its bracket.
    body: Option<usize>,
}

/// Errors beyond this many are not counted.
const MANY: usize = 1000;

impl Syntax {
    /// Where the cursor is.
    pub fn place(&self, rope: &Rope, cursor: usize) -> Place {
        let around = cursor.saturating_sub(1)..(cursor + 1).min(rope.len_bytes());
        let mut found = self.captures(rope, around, None);
        found.retain(|f| f.bytes.start < cursor && cursor <= f.bytes.end);
        // The innermost first; a body that is one string is the string.
        found.sort_by_key(|f| (f.bytes.len(), f.role == Role::Body));
        let inside = |f: &Found| cursor < f.bytes.end;
        for f in &found {
            match f.role {
                Role::Comment if inside(f) || !closed_comment(rope, f.bytes.end) => return Place::Comment,
                Role::String if inside(f) => return Place::String,
                Role::Arguments if inside(f) => return Place::Arguments,
                Role::Body if inside(f) && is_empty(rope, &f.bytes, cursor) => return Place::EmptyBody,
                Role::Body if inside(f) => return Place::Code,
                _ => {}
            }
        }
        Place::Code
    }

    /// The headers of the scopes that enclose `at`, outermost first: from the definition to where its body begins,
    /// the bracket included.
    pub fn headers(&self, rope: &Rope, at: usize) -> Vec<Range<usize>> {
        let around = at.saturating_sub(1)..(at + 1).min(rope.len_bytes());
        let scopes = self.captures(rope, around, None).into_iter().filter(|f| f.role == Role::Scope);
        let enclosing = scopes.filter(|f| f.bytes.start < at && at < f.bytes.end);
        let mut headers: Vec<Range<usize>> = enclosing.filter_map(|f| Some(f.bytes.start..f.body.filter(|&b| b <= at)?)).collect();
        headers.sort_by_key(|h| h.start);
        headers.dedup();
        headers
    }

    /// The innermost class or function around some bytes.
    pub fn enclosing(&self, rope: &Rope, bytes: Range<usize>) -> Option<Range<usize>> {
        let around = bytes.start.saturating_sub(1)..(bytes.end + 1).min(rope.len_bytes());
        let scopes = self.captures(rope, around, None).into_iter().filter(|f| f.role == Role::Scope).map(|f| f.bytes);
        scopes.filter(|scope| scope.start <= bytes.start && bytes.end <= scope.end).min_by_key(Range::len)
    }

    /// The text of some bytes without comments, strings and blanks.
    pub fn bare(&self, rope: &Rope, bytes: Range<usize>) -> String {
        let mut found = self.captures(rope, bytes.clone(), None);
        found.retain(|f| matches!(f.role, Role::Comment | Role::String));
        let said = |at: usize| found.iter().any(|f| f.bytes.contains(&at));
        let slice = rope.byte_slice(bytes.clone());
        let letters = slice.chars().scan(bytes.start, |at, c| Some((std::mem::replace(at, *at + c.len_utf8()), c)));
        letters.filter(|(at, c)| !c.is_whitespace() && !said(*at)).map(|(_, c)| c).collect()
    }

    /// Import statements that end before `end`: those at the top level, or one below it.
    pub fn imports(&self, rope: &Rope, end: usize) -> Vec<Range<usize>> {
        let found = self.captures(rope, 0..end, Some(2)).into_iter().filter(|f| f.role == Role::Import && f.bytes.end <= end);
        let mut imports: Vec<Range<usize>> = found.map(|f| f.bytes).collect();
        imports.sort_by_key(|i| i.start);
        imports.dedup();
        imports
    }

    /// Whether the parse has not caught up with the last edits: what they change is not known yet.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// How many syntax errors and missing tokens there are, up to a thousand.
    pub fn errors(&self) -> usize {
        let mut cursor = self.tree.walk();
        let mut count = 0;
        // Only what holds an error is entered; no recursion: a text may nest as deep as it likes.
        loop {
            let node = cursor.node();
            count += usize::from(node.is_error() || node.is_missing());
            if count >= MANY || !(node.has_error() && cursor.goto_first_child()) {
                while count >= MANY || !cursor.goto_next_sibling() {
                    if !cursor.goto_parent() || count >= MANY {
                        return count;
                    }
                }
            }
        }
    }

    /// The syntax after `removed` bytes at `at` have become `inserted`; `None` when it takes too long to know.
    pub fn after(&self, rope: &Rope, at: usize, removed: usize, inserted: &str) -> Option<Syntax> {
        self.after_within(rope, at, removed, inserted, parse::BUDGET)
    }

    fn captures(&self, rope: &Rope, bytes: Range<usize>, depth: Option<u32>) -> Vec<Found> {
        let mut cursor = QueryCursor::new();
        cursor.set_byte_range(bytes).set_max_start_depth(depth);
        // A late tree may reach beyond the text.
        let text = |node: Node| rope.get_byte_slice(node.byte_range()).into_iter().flat_map(|s| s.chunks()).map(str::as_bytes);
        let begun = Instant::now();
        // In a tree of 100,000 levels a query takes minutes: what it has found by then must do.
        let mut too_long = |_: &QueryCursorState| begun.elapsed() > parse::BUDGET;
        let options = QueryCursorOptions::new().progress_callback(&mut too_long);
        let mut matches = cursor.matches_with_options(&self.grammar.query, self.tree.root_node(), text, options);
        let mut all = Vec::new();
        while let Some(found) = matches.next() {
            let node = |role: Role| found.captures.iter().find(|c| self.grammar.role(c.index) == Some(role)).map(|c| c.node);
            match node(Role::Scope) {
                Some(scope) => {
                    let bracket = |at: usize| usize::from(rope.get_byte(at) == Some(b'{'));
                    let body = node(Role::Body).map(|body| body.start_byte() + bracket(body.start_byte()));
                    all.push(Found { role: Role::Scope, bytes: scope.byte_range(), body });
                }
                None => all.extend(found.captures.iter().filter_map(|c| {
                    let role = self.grammar.role(c.index)?;
                    Some(Found { role, bytes: c.node.byte_range(), body: None })
                })),
            }
        }
        all
    }
}

/// Whether a comment that ends at `end` has a mark that ends it; one without goes on to the end of its line.
fn closed_comment(rope: &Rope, end: usize) -> bool {
    let tail = rope.byte_slice(rope.char_to_byte(rope.byte_to_char(end.saturating_sub(3)))..end).to_string();
    tail.ends_with("*/") || tail.ends_with("-->") || tail.ends_with('\n')
}

/// Nothing but the brackets and blanks. The closing one may be missing.
fn is_empty(rope: &Rope, body: &Range<usize>, cursor: usize) -> bool {
    let blank = |range: Range<usize>| rope.byte_slice(range).chars().all(char::is_whitespace);
    let closed = body.end > body.start + 1 && rope.byte(body.end - 1) == b'}';
    let end = body.end - usize::from(closed);
    rope.byte(body.start) == b'{' && blank(body.start + 1..cursor) && blank(cursor..end.max(cursor))
}

/// Whether there is a grammar for an LSP language id.
pub fn known(language: &str) -> bool {
    languages::has(language)
}

#[cfg(test)]
mod tests;
