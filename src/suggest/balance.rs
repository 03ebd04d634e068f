//! A suggestion never breaks what parses.
//!
//! ```text
//! f(a, |)     "b"          as it is
//! f(a, |)     "(b"         leaves a bracket open: cut, here to nothing
//! |           "if a {"     opens at its very end: "if a {}", as an editor closes what is typed
//! x = |       "f(a"        the line was not whole before; "f" makes it so
//! ```
//! The rules, for the syntax errors of the whole file:
//! - A file without one has none after an accept.
//! - A file that parses but for the line at the cursor parses after an accept, where some head of the suggestion does that.
//! - Any other file has no more than before, where there is such a head; else (`f(a, |`, and nothing closes it) the
//!   suggestion stays as it is.
//!
//! Without a grammar there is no rule. Where a parse takes too long, brackets and quotes are paired by their characters.
use super::manners::open;
use crate::document::Snapshot;
use std::time::{Duration, Instant};

/// Most shorter heads that are tried.
const TRIES: usize = 12;

/// A suggestion that breaks nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub text: String,
    /// Bytes after the cursor that it replaces.
    pub replaces: usize,
    /// It is not what was given.
    pub changed: bool,
}

/// The longest head of a suggestion that keeps the rules. `None` when there is none. `patience`: the time that parses may take.
pub fn keep(text: &Snapshot, cursor: usize, suggestion: String, replaces: usize, patience: Duration) -> Option<Kept> {
    let text = &text.inside(cursor);
    let here = Here { text, cursor, until: Instant::now() + patience };
    let Some(before) = here.before() else { return Some(Kept::whole(suggestion, replaces)) };
    let errors = here.errors(&suggestion, replaces);
    if errors == 0 {
        return Some(Kept::whole(suggestion, replaces));
    }
    let sound = before == 0;
    if let Some(closed) = here.closed(&suggestion, replaces) {
        // In a file that does not parse anyway, what is opened is for the user to fill.
        return Some(if sound { Kept { text: closed, replaces, changed: true } } else { Kept::whole(suggestion, replaces) });
    }
    let goal = if sound || here.sound_elsewhere() { 0 } else { before };
    let head = if errors <= goal { None } else { here.head(&suggestion, goal, before.min(errors - 1)) };
    match head {
        // A head closes nothing any more that stands after the cursor: it replaces nothing.
        Some(head) => Some(Kept { text: head.to_string(), replaces: 0, changed: true }),
        None if sound => None,
        None => Some(Kept::whole(suggestion, replaces)),
    }
}

impl Kept {
    fn whole(text: String, replaces: usize) -> Kept {
        Kept { text, replaces, changed: false }
    }
}

/// A cursor in a text that has a parse.
struct Here<'a> {
    text: &'a Snapshot,
    cursor: usize,
    /// Nothing is parsed any more after that: a key may wait.
    until: Instant,
}

impl Here<'_> {
    /// The errors of the file as it is. `None` where there is no syntax, or it is not known in time.
    fn before(&self) -> Option<usize> {
        let syntax = self.text.syntax.as_ref()?;
        if syntax.is_late() { self.parsed(self.cursor, 0, "") } else { Some(syntax.errors()) }
    }

    /// The first head with at most `goal` errors; else the first with at most `enough`. Where errors stay, one more or less
    /// says little: then a head must leave nothing open.
    fn head<'s>(&self, suggestion: &'s str, goal: usize, enough: usize) -> Option<&'s str> {
        let mut second = None;
        for end in ends(suggestion).into_iter().take(TRIES) {
            let head = suggestion[..end].trim_end();
            let errors = if head.trim().is_empty() { usize::MAX } else { self.errors(head, 0) };
            let whole = errors == 0 || (errors <= enough && open::open(&self.text.language, head).balanced());
            if whole && errors <= goal {
                return Some(head);
            }
            second = second.or(whole.then_some(head));
        }
        second
    }

    /// The errors of the file after an accept.
    fn errors(&self, suggestion: &str, replaces: usize) -> usize {
        self.parsed(self.cursor, replaces, suggestion).unwrap_or_else(|| {
            let open = open::open(&self.text.language, suggestion);
            usize::from(open.inside() || (open.unopened.is_some() && replaces == 0))
        })
    }

    fn parsed(&self, at: usize, removed: usize, inserted: &str) -> Option<usize> {
        let left = self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(self.text.syntax.as_ref()?.after_within(&self.text.rope, at, removed, inserted, left)?.errors())
    }

    /// Whether the file parses without the line at the cursor.
    fn sound_elsewhere(&self) -> bool {
        let (start, end) = (self.text.line_start(self.cursor), self.text.line_end(self.cursor));
        self.parsed(start, end - start, "").is_none_or(|errors| errors == 0)
    }

    /// A suggestion that ends a line with an opener, and its closer after it, when that is all it lacks.
    fn closed(&self, suggestion: &str, replaces: usize) -> Option<String> {
        let rest = self.text.text(self.cursor + replaces, self.text.line_end(self.cursor));
        let bare = suggestion.trim_end();
        let closer = match bare.chars().last().filter(|_| rest.trim().is_empty())? {
            '{' => "}",
            '(' => ")",
            '[' => "]",
            _ => return None,
        };
        let closed = format!("{bare}{closer}");
        (self.errors(&closed, replaces) == 0).then_some(closed)
    }
}

/// Where a suggestion may be cut, the longest head first: at the ends of its lines; in its first line, where words end.
fn ends(suggestion: &str) -> Vec<usize> {
    let first = suggestion.find('\n').unwrap_or(suggestion.len());
    let lines = suggestion.match_indices('\n').map(|(at, _)| at).rev();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let words = suggestion[..first].char_indices().rev().filter(|&(at, c)| {
        let before = suggestion[..at].chars().next_back();
        before.is_some_and(|before| !(word(before) && word(c)))
    });
    lines.chain(words.map(|(at, _)| at)).collect()
}

#[cfg(all(test, feature = "languages"))]
mod tests;
