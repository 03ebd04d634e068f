//! The frozen hole: where a file is split for the model, and when it is split anew.
//!
//! ```text
//!   fn area(&self) -> f32 {⏎          prefix  = "…fn area(&self) -> f32 {⏎"      frozen at the line's start
//!       self.wid|                      suffix  = "⏎}⏎…"                            frozen with it
//!   }                                  tail    = "    self.wid"                    typed since: the beginning of the middle
//! ```
//! The model sees `prefix ⟨hole⟩ suffix ⟨end⟩ tail` and goes on with `th`. The next key changes only the tail, so it
//! costs the tokens typed (EFIM, arXiv 2505.21889); a prefix-suffix split at the cursor would move the whole suffix.
//!
//! **When the hole stays.** The text from the window's start to the anchor is as frozen; the tail is within its budget;
//! and what now follows the cursor is the frozen suffix, where only closing brackets, quotes, separators and blanks may
//! have come between (at most [`SLACK`] characters: an editor closed a bracket, a line was broken or joined) and only
//! blanks may be gone from the suffix's head. Anything else is a new hole. Its suffix begins after the closers at the
//! cursor when nothing else stands on the line, so that typing over them changes nothing.
//!
//! **What stands above the window.** When the file does not fit, its imports and the headers of what encloses the window's
//! first line ([`crate::context`]), in up to a fifth of the prefix; and before all that what other files have to say, in a
//! quarter of it, or what the window leaves free. It is made with the hole and frozen with it. A new hole keeps the old
//! one's context as long as its window stays and the context fits, so that splitting anew costs the lines between; when
//! that is no longer what matters, a better one is prefilled in a pause ([`Hole::with_context`]). A prefix under
//! [`ROOM`] bytes is all for the file: with nano's 1,205, other files made suggestions worse (see the README).
//!
//! **Why the line's start.** On the first 10,000 typed characters of the trace in the README (tokens per character, in the
//! foreground and in all): the line's start 13.5 and 30.5, the statement's 13.8 and 31.0, two lines further up 14.3 and 32.1,
//! the enclosing block's 15.8 and 39.0.
use crate::context::outline::outline;
use crate::context::{Context, Neighbours};
use crate::document::Snapshot;

/// Most characters that may have come between the cursor and the frozen suffix, or gone from the suffix's head.
pub const SLACK: usize = 24;

/// Least prefix that other files get a part of.
pub const ROOM: usize = 2048;

/// How much text the model is given, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub prefix: usize,
    pub suffix: usize,
    /// The suffix that a first answer waits for; the rest is prefilled when idle.
    pub short: usize,
    pub tail: usize,
}

impl Budget {
    /// `tokens` of prompt in all, at the tokenizer's measured bytes per token. The tail may grow to an eighth.
    pub fn new(tokens: usize, bytes_per_token: f32) -> Budget {
        let total = (tokens as f32 * bytes_per_token.max(1.0)) as usize;
        let suffix = total / 4;
        Budget { prefix: total / 8 * 5, suffix, short: (suffix / 4).max(64), tail: total / 8 }
    }
}

/// Why the file was split anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reanchor {
    /// There was no hole in this document.
    First,
    /// The cursor stands before the anchor.
    Before,
    /// Text between the window's start and the anchor has changed.
    Prefix,
    /// What follows the cursor is not the frozen suffix: it has changed, or the cursor has moved.
    Suffix,
    /// The tail outgrew its budget.
    Tail,
}

/// A split of one document, frozen.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    start: usize,
    anchor: usize,
    /// Context, what stands above the window, and the window's text up to the anchor.
    prefix: String,
    /// Bytes of `prefix` before the window.
    head: usize,
    context: Context,
    /// Most bytes that the context may take.
    room: usize,
    suffix: String,
    /// Bytes of the document that the suffix was made from: with CRLF, more than it has.
    taken: usize,
    /// The suffix is all that follows: text that has come behind its end is news.
    whole: bool,
    short: usize,
    tail: usize,
}

impl Hole {
    /// Splits at the start of the cursor's line. The window's start is kept from `previous` while it serves (a window
    /// that slides shifts every token, and no cached prefix would ever match again).
    pub fn new(text: &Snapshot, cursor: usize, budget: &Budget, previous: Option<&Hole>) -> Hole {
        Hole::beside(None, text, cursor, budget, previous)
    }

    /// The same, with what other files have to say.
    pub fn beside(around: Option<&dyn Neighbours>, text: &Snapshot, cursor: usize, budget: &Budget, previous: Option<&Hole>) -> Hole {
        let around = around.filter(|around| budget.prefix >= ROOM && around.any());
        let reserve = if around.is_some() { budget.prefix / 4 } else { 0 };
        let anchor = text.line_start(cursor);
        let anchor = if cursor - anchor > budget.tail { cursor } else { anchor };
        let window = budget.prefix - reserve;
        let head = if anchor > window && text.syntax.is_some() { budget.prefix / 5 } else { 0 };
        let start = window_start(text, anchor, window - head, previous.map(|h| h.start));
        let outline = outline(&text.inside(anchor), start, head);
        let free = budget.prefix - outline.len() - (anchor - start);
        // Not all that is free: the window grows into it.
        let room = if around.is_some() { (free / 4 * 3).max(reserve).min(budget.prefix / 2) } else { 0 };
        let old = previous.filter(|old| old.room > 0 && old.context.text.len() <= free);
        let context = match (around, old) {
            (None, _) => Context::default(),
            (Some(_), Some(old)) if old.start == start => old.context.clone(),
            (Some(around), old) => {
                let new = around.context(text, cursor, room);
                old.filter(|old| old.context.serves(&new)).map_or(new, |old| old.context.clone())
            }
        };
        let from = cursor + closers_at(text, cursor);
        let (taken, whole) = (budget.suffix, from + budget.suffix >= text.rope.len_bytes());
        let suffix = text.text(from, from + taken);
        let short = cut_at_line(&suffix, budget.short);
        let prefix = [&context.text, &outline, &text.text(start, anchor)].map(String::as_str).concat();
        let head = context.text.len() + outline.len();
        Hole { start, anchor, prefix, head, context, room, suffix, taken, whole, short, tail: budget.tail }
    }

    /// The same split with another context.
    pub fn with_context(&self, context: Context) -> Hole {
        let bare = &self.prefix[self.context.text.len()..];
        let head = self.head - self.context.text.len() + context.text.len();
        Hole { prefix: context.text.clone() + bare, head, context, ..self.clone() }
    }

    /// What other files say now, if that is something else than what they said when the hole was made.
    pub fn better_context(&self, around: &dyn Neighbours, text: &Snapshot, cursor: usize) -> Option<Context> {
        if self.room == 0 || !around.any() {
            return None;
        }
        Some(around.context(text, cursor, self.room)).filter(|new| !self.context.serves(new))
    }

    /// The tail at this cursor, if the hole still holds there; else why not.
    pub fn tail(&self, text: &Snapshot, cursor: usize) -> Result<String, Reanchor> {
        if cursor < self.anchor {
            return Err(Reanchor::Before);
        }
        if cursor - self.anchor > self.tail {
            return Err(Reanchor::Tail);
        }
        if self.anchor > text.rope.len_bytes() || text.text(self.start, self.anchor) != self.prefix[self.head..] {
            return Err(Reanchor::Prefix);
        }
        let after = text.text(cursor, cursor + self.taken + SLACK * 4);
        if !self.suffix_holds(&after) {
            return Err(Reanchor::Suffix);
        }
        Ok(text.text(self.anchor, cursor))
    }

    /// Moves the hole with the text when an edit lies wholly before its window.
    pub fn shift(&mut self, edit: crate::document::Edit) {
        if edit.start + edit.removed <= self.start && self.start > 0 {
            let moved = |at: usize| at - edit.removed + edit.inserted;
            (self.start, self.anchor) = (moved(self.start), moved(self.anchor));
        }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The frozen suffix; `long` or only as much as a first answer waits for.
    pub fn suffix(&self, long: bool) -> &str {
        if long { &self.suffix } else { &self.suffix[..self.short] }
    }

    /// Whether there is more suffix than the short one.
    pub fn has_more(&self) -> bool {
        self.short < self.suffix.len()
    }

    /// Byte offset of the window's start in the document.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Byte offset of the anchor in the document.
    pub fn anchor(&self) -> usize {
        self.anchor
    }

    /// What stands above the window and below a suffix of `suffix` bytes, at most `reach` bytes of each. Not frozen: the model does
    /// not see it.
    pub fn beyond(&self, text: &Snapshot, cursor: usize, suffix: usize, reach: usize) -> (String, String) {
        let end = text.rope.len_bytes();
        let below = (cursor + closers_at(text, cursor) + suffix).min(end);
        (text.text(self.start.saturating_sub(reach), self.start.min(end)), text.text(below, below.saturating_add(reach).min(end)))
    }

    fn suffix_holds(&self, after: &str) -> bool {
        let gone: Vec<usize> = slack(&self.suffix, char::is_whitespace);
        let come: Vec<usize> = slack(after, |c| c.is_whitespace() || is_closer(c));
        let same = |come: usize, gone: usize| {
            let (now, frozen) = (&after[come..], &self.suffix[gone..]);
            now.strip_prefix(frozen).is_some_and(|more| !self.whole || more.trim().is_empty())
        };
        come.iter().any(|&c| gone.iter().any(|&g| same(c, g)))
    }
}

/// Byte offsets up to which all characters satisfy `allowed`, at most [`SLACK`] characters far.
fn slack(text: &str, allowed: impl Fn(char) -> bool) -> Vec<usize> {
    let mut offsets = vec![0];
    for (at, c) in text.char_indices().take(SLACK) {
        if !allowed(c) {
            break;
        }
        offsets.push(at + c.len_utf8());
    }
    offsets
}

/// A character that editors insert after the cursor by themselves, or that ends what was being typed.
pub fn is_closer(c: char) -> bool {
    matches!(c, ')' | ']' | '}' | '>' | '"' | '\'' | '`' | ';' | ',' | ':')
}

/// Bytes of closers and blanks from the cursor to the end of its line, when nothing else stands there.
pub fn closers_at(text: &Snapshot, cursor: usize) -> usize {
    let end = text.line_end(cursor);
    if end <= cursor || end - cursor > SLACK {
        return 0;
    }
    let rest = text.text(cursor, end);
    if rest.chars().all(|c| is_closer(c) || c == ' ' || c == '\t') { end - cursor } else { 0 }
}

/// Keeps the old start while the anchor is inside its window and not too near its top; else puts the start so that
/// the window has room to grow: 60 % of the budget before the anchor, at a line's start.
fn window_start(text: &Snapshot, anchor: usize, budget: usize, old: Option<usize>) -> usize {
    if let Some(old) = old
        && old <= anchor
        && anchor - old <= budget
        && (old == 0 || anchor - old >= budget / 4)
    {
        return old;
    }
    if anchor <= budget {
        return 0;
    }
    let wanted = anchor - budget * 3 / 5;
    let line = text.line_start(wanted);
    // A line longer than the window has no start inside it: cut it where it must be cut.
    if anchor - line > budget { text.rope.char_to_byte(text.rope.byte_to_char(wanted)) } else { line }
}

/// The longest head of `text` within `limit` bytes that ends after a line; without a line end, at a character.
fn cut_at_line(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let head = &text[..text.floor_char_boundary(limit)];
    head.rfind('\n').map_or(head.len(), |n| n + 1)
}

#[cfg(test)]
mod tests;
