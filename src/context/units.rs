//! What a file defines, as texts that a prompt can take: signatures first, bodies where there is room.
//!
//! ```text
//! class Shop:                     Unit { name: "Shop", header: "class Shop:", whole: Some(…),
//!     def total(self): …                 members: [("total", "    def total(self):")] }
//! ```
use crate::document::Snapshot;

/// Longest text of a header or a member.
const HEADER: usize = 400;
/// A definition up to this long is kept whole, too.
const WHOLE: usize = 2000;
/// Most members that are kept of one unit, and units of one file.
const MEMBERS: usize = 200;
const UNITS: usize = 2000;

/// Something that a file defines at its top level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unit {
    pub name: String,
    /// Its signature: whole lines, without a line end.
    pub header: String,
    pub members: Vec<Member>,
    /// All of it, where it is short.
    pub whole: Option<String>,
    /// It holds members, such as a class does: its members' signatures tell more than its own.
    pub is_type: bool,
    /// It adds to what is defined elsewhere, as an `impl` does.
    pub extends: bool,
}

/// A method or a field: a whole line or more, with its indentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    pub name: String,
    pub text: String,
}

impl Unit {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let members: usize = self.members.iter().map(|m| m.name.len() + m.text.len()).sum();
        self.name.len() + self.header.len() + members + self.whole.as_ref().map_or(0, String::len)
    }
}

/// What a text defines; nothing where there is no grammar for it.
#[cfg(feature = "languages")]
pub fn units(text: &Snapshot) -> Vec<Unit> {
    let Some(syntax) = &text.syntax else { return Vec::new() };
    syntax.definitions(&text.rope).into_iter().take(UNITS).map(|definition| unit(text, &definition)).collect()
}

#[cfg(not(feature = "languages"))]
pub fn units(_: &Snapshot) -> Vec<Unit> {
    let _ = (HEADER, WHOLE, MEMBERS, UNITS);
    Vec::new()
}

#[cfg(feature = "languages")]
fn unit(text: &Snapshot, definition: &crate::syntax::definitions::Definition) -> Unit {
    let whole = &definition.whole;
    let members = definition.members.iter().take(MEMBERS);
    Unit {
        name: definition.name.clone(),
        header: lines(text, definition.header.clone()),
        members: members.map(|m| Member { name: m.name.clone(), text: lines(text, m.header.clone()) }).collect(),
        whole: (whole.len() <= WHOLE).then(|| lines_within(text, whole.clone(), WHOLE)),
        is_type: definition.is_type(),
        extends: definition.extends,
    }
}

#[cfg(feature = "languages")]
fn lines(text: &Snapshot, bytes: std::ops::Range<usize>) -> String {
    lines_within(text, bytes, HEADER)
}

/// The text from the beginning of its first line; cut after `limit` bytes, at a line's end where there is one.
#[cfg(feature = "languages")]
fn lines_within(text: &Snapshot, bytes: std::ops::Range<usize>, limit: usize) -> String {
    let start = text.line_start(bytes.start);
    // What stands before it on its line (`export`, `pub`, an attribute) belongs to it, if it is not far.
    let start = if bytes.start - start <= 80 { start } else { bytes.start };
    let mut all = text.text(start, bytes.end.min(start + limit + 1));
    if all.len() > limit {
        all.truncate(all.floor_char_boundary(limit));
        all.truncate(all.rfind('\n').unwrap_or(all.len()));
    }
    all.truncate(all.trim_end().len());
    all
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn signatures_with_their_indentation() {
        let text = "class Shop:\n    tax = 1\n\n    def total(self,\n              a):\n        return 1\n";
        let all = units(&Document::new("u", "python", 1, text).settled());
        let [shop] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((shop.name.as_str(), shop.header.as_str(), shop.is_type), ("Shop", "class Shop:", true));
        let members: Vec<&str> = shop.members.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(members, ["    tax = 1", "    def total(self,\n              a):"]);
        assert_eq!(shop.whole.as_deref(), Some(text.trim_end()));
    }

    #[test]
    fn what_stands_before_a_definition_on_its_line_belongs_to_it() {
        let all = units(&Document::new("u", "rust", 1, "pub(crate) const A: u8 = 1;\n").settled());
        assert_eq!(all[0].header, "pub(crate) const A: u8 = 1;");
    }

    #[test]
    fn long_ones_are_cut_at_a_line() {
        let text = format!("X = [\n{}]\n", "    1,\n".repeat(500));
        let all = units(&Document::new("u", "python", 1, &text).settled());
        assert!(all[0].header.len() <= HEADER && all[0].header.ends_with("1,"), "{}", all[0].header);
        assert_eq!(all[0].whole, None);
    }
}
