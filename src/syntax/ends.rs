//! Where what encloses the cursor ends, once something stands at the cursor.
//!
//! ```text
//! fn f() {⏎    |⏎}       with "a();⏎}⏎fn g() {"      the body of f ends after the "}" that was inserted
//! call(⏎    |⏎)          with "a,⏎    b,⏎"           the arguments are still open
//! ```
use super::inside::grown;
use super::languages::Role;
use super::{Syntax, parse};
use ropey::Rope;
use std::time::Duration;

impl Syntax {
    /// [`Syntax::after`] with another limit on its time.
    pub fn after_within(&self, rope: &Rope, at: usize, removed: usize, inserted: &str, time: Duration) -> Option<Syntax> {
        let mut rope = rope.clone();
        let edit = parse::replace(&mut rope, at, removed, inserted);
        let mut tree = self.tree.clone();
        let parts = if self.part { grown(&tree.included_ranges(), &rope, at, removed, inserted) } else { Vec::new() };
        tree.edit(&edit);
        let tree = parse::parse(self.grammar, &rope, Some(&tree), &parts, time)?;
        Some(Syntax { grammar: self.grammar, tree, nested: None, part: self.part, late: false })
    }

    /// With `inserted` at `at`: bytes of it up to the closer that ends the innermost body, or list of arguments, around
    /// `at`; the closer included. `None` when that does not end in it, or takes too long to know.
    pub fn ends_within(&self, rope: &Rope, at: usize, inserted: &str) -> Option<usize> {
        let after = self.after(rope, at, 0, inserted)?;
        let mut rope = rope.clone();
        parse::replace(&mut rope, at, 0, inserted);
        let around = at.saturating_sub(1)..(at + 1).min(rope.len_bytes());
        let found = after.captures(&rope, around, None).into_iter();
        let encloses = found.filter(|f| matches!(f.role, Role::Body | Role::Arguments) && f.bytes.start < at && at < f.bytes.end);
        let end = encloses.min_by_key(|f| f.bytes.len())?.bytes.end - at;
        inserted.get(..end).filter(|text| text.ends_with([')', ']', '}'])).map(str::len)
    }
}
