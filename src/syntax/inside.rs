//! Code inside a text of another language: Markdown's fences, HTML's scripts and styles.
//!
//! ```text
//! Some words:⏎```python⏎def f(a):⏎    |⏎```      inside: ("python", the fence's own tree); places, headers, imports,
//!                                                errors and ends are asked of that one, in bytes of the whole text
//! <script>f(a, |</script>                        inside: ("javascript", …)
//! ```text⏎words⏎```                              none: the text's own tree has to do
//! ```
//! Nothing is parsed until it is asked for, or typed in: the tree of the block that was edited last is kept and edited in place
//! ([`super::parse::Parse`]). A block above [`MAX_BYTES`], or one that takes longer than a key may wait, goes without.
use super::Syntax;
use super::languages::{self, Grammar};
use super::parse;
use ropey::Rope;
use std::ops::Range as Bytes;
use std::time::Duration;
use tree_sitter::{InputEdit, Node, Range, Tree};

/// Larger blocks are not parsed.
const MAX_BYTES: usize = 64 << 10;

/// Longest time for one; a test may be held up by others.
const TIME: Duration = if cfg!(test) { Duration::from_secs(2) } else { parse::BUDGET };

/// A block of another language, and its tree.
#[derive(Clone, Debug)]
pub struct Nested {
    language: &'static str,
    grammar: &'static Grammar,
    bytes: Bytes<usize>,
    tree: Tree,
}

/// A block as the tree around it shows it.
struct Block {
    language: &'static str,
    grammar: &'static Grammar,
    /// The text less what stands before its lines in a list or a quote.
    parts: Vec<Range>,
}

impl Syntax {
    /// What `at` lies inside of: its language id and its syntax.
    pub fn inside(&self, rope: &Rope, at: usize) -> Option<(&'static str, Syntax)> {
        let kept = self.nested.as_ref().filter(|kept| kept.bytes.start <= at && at < kept.bytes.end);
        let nested = kept.cloned().or_else(|| nested(&self.tree, rope, at, None))?;
        Some((nested.language, Syntax { grammar: nested.grammar, tree: nested.tree, nested: None, part: true, late: false }))
    }
}

/// The block around `at`, parsed; from `old`, a tree of it before it was edited, where there is one.
pub fn nested(tree: &Tree, rope: &Rope, at: usize, old: Option<Nested>) -> Option<Nested> {
    let block = block(tree, rope, at)?;
    let bytes = block.bytes();
    let old = old.filter(|old| old.language == block.language && old.tree.root_node().start_byte() < bytes.end);
    let tree = parse::parse(block.grammar, rope, old.as_ref().map(|old| &old.tree), &block.parts, TIME)?;
    Some(Nested { language: block.language, grammar: block.grammar, bytes, tree })
}

impl Nested {
    /// The text has changed.
    pub fn edit(&mut self, edit: &InputEdit) {
        self.tree.edit(edit);
    }
}

impl Block {
    fn bytes(&self) -> Bytes<usize> {
        let ends = self.parts.first().zip(self.parts.last());
        ends.map_or(0..0, |(first, last)| first.start_byte..last.end_byte)
    }
}

fn block(tree: &Tree, rope: &Rope, at: usize) -> Option<Block> {
    let end = rope.len_bytes();
    [at..(at + 1).min(end), at.saturating_sub(1)..at].into_iter().find_map(|around| {
        let leaf = tree.root_node().descendant_for_byte_range(around.start, around.end)?;
        // What holds a block's text has no children but marks.
        [Some(leaf), leaf.parent()].into_iter().flatten().find_map(|node| of_node(node, rope, at))
    })
}

fn of_node(node: Node, rope: &Rope, at: usize) -> Option<Block> {
    let around = node.parent()?;
    let text = |node: Node| rope.byte_slice(node.byte_range()).to_string();
    let child = |kind: &str| around.children(&mut around.walk()).find(|child| child.kind() == kind);
    // The line below a fence is not in it, unless nothing ends the fence.
    let last = match node.kind() {
        "code_fence_content" => at < node.end_byte() || node.end_byte() == rope.len_bytes(),
        _ => at <= node.end_byte(),
    };
    if !last || at < node.start_byte() || node.byte_range().len() > MAX_BYTES {
        return None;
    }
    let name = match (node.kind(), around.kind()) {
        ("code_fence_content", "fenced_code_block") => fence(&text(child("info_string")?)),
        ("raw_text", "script_element") => script(&text(child("start_tag")?)),
        ("raw_text", "style_element") => "css".into(),
        _ => return None,
    };
    let (language, grammar) = languages::named(&name)?;
    Some(Block { language, grammar, parts: parts(node) })
}

/// `python` of "python", "Python title=…", "{.python}", "python,ignore".
fn fence(info: &str) -> String {
    let word = info.trim_start_matches(|c: char| c.is_whitespace() || c == '{' || c == '.');
    let end = word.find(|c: char| !(c.is_alphanumeric() || matches!(c, '+' | '#' | '-' | '_'))).unwrap_or(word.len());
    word[..end].to_lowercase()
}

/// The language of a script, by its tag's type.
fn script(tag: &str) -> String {
    let tag = tag.to_lowercase();
    let kind = tag.split_once("type=").map_or("", |(_, rest)| rest.trim_start_matches(['"', '\'']));
    let kind = &kind[..kind.find(['"', '\'', '>', ' ']).unwrap_or(kind.len())];
    match kind {
        "" | "module" | "text/javascript" | "application/javascript" | "text/babel" | "text/jsx" => "javascript".into(),
        "importmap" | "application/json" | "application/ld+json" => "json".into(),
        "text/typescript" | "application/typescript" => "typescript".into(),
        other => other.into(),
    }
}

/// A block's text without the marks before its lines.
fn parts(content: Node) -> Vec<Range> {
    let whole = content.range();
    let mut parts = vec![whole];
    for mark in content.children(&mut content.walk()).filter(|child| child.kind() == "block_continuation" && !child.byte_range().is_empty())
    {
        let mark = mark.range();
        if let Some(last) = parts.last_mut() {
            (last.end_byte, last.end_point) = (mark.start_byte, mark.start_point);
        }
        parts.push(Range { start_byte: mark.end_byte, start_point: mark.end_point, ..whole });
    }
    parts.retain(|part| part.start_byte < part.end_byte);
    parts
}

/// A block's parts after `removed` bytes at `at` have become `inserted`; `rope` is the text after that. What is inserted is in the
/// block, less the marks that its lines begin with where the block's own do.
pub fn grown(parts: &[Range], rope: &Rope, at: usize, removed: usize, inserted: &str) -> Vec<Range> {
    let moved = |byte: usize| if byte >= at + removed { byte - removed + inserted.len() } else { byte.min(at) };
    let here = parts.iter().rposition(|part| part.start_byte <= at).unwrap_or(0);
    let mark = mark(parts, here);
    let mut bytes: Vec<(usize, usize)> = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        // What is inserted where a part begins belongs to it.
        let mut start = if part.start_byte <= at { part.start_byte } else { moved(part.start_byte) };
        let end = if n < here { part.end_byte } else { moved(part.end_byte) };
        for (line, _) in inserted.match_indices('\n').filter(|_| n == here && mark > 0) {
            bytes.push((start, at + line + 1));
            start = at + line + 1 + inserted[line + 1..].bytes().take(mark).take_while(|b| matches!(b, b' ' | b'\t' | b'>')).count();
        }
        bytes.push((start, end));
    }
    let point = |byte: usize| parse::point(rope, byte);
    let range = |(start, end)| Range { start_byte: start, end_byte: end, start_point: point(start), end_point: point(end) };
    bytes.into_iter().filter(|(start, end)| start < end).map(range).collect()
}

/// Bytes before a block's lines: none, but in a list or a quote.
fn mark(parts: &[Range], here: usize) -> usize {
    let gap = |n: usize| Some(parts.get(n + 1)?.start_byte - parts.get(n)?.end_byte);
    here.checked_sub(1).and_then(gap).or_else(|| gap(here)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
