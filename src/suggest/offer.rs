//! What an ask is answered with: what was generated, fitted to its line and cut to what parses.
//!
//! ```text
//! f(|)      raw "1));\n"     shown "1"
//! f(1|)                      nothing is left of what was shown: fitted and cut anew
//! g(|       raw "1, [2"      shown "1, "     g(1|     shown ", ", though by now the parser might allow more
//! ```
//! What has been shown stays as it is while it is typed: a text that grows or shrinks under the fingers is worse than a short one.
use super::balance::{self, Kept};
use super::live::{Draft, Live};
use super::manners::fit;
use super::{Ask, Settings, Suggestion};

#[derive(Debug, Default)]
pub struct Offer {
    pub items: Vec<Suggestion>,
    /// So many were not offered as they were generated: see [`balance`].
    pub balanced: u64,
}

/// A draft as it was shown.
#[derive(Debug)]
pub struct Shown {
    /// What an accept makes of the text from the hole's anchor to the cursor.
    pub whole: String,
    /// The line after the cursor.
    rest: String,
    replaces: usize,
    changed: bool,
}

impl Shown {
    /// What is left of it behind `tail`, in front of the same rest of the line.
    fn left(&self, tail: &str, rest: &str) -> Option<Kept> {
        let text = self.whole.strip_prefix(tail).filter(|left| !left.is_empty() && self.rest == rest)?;
        Some(Kept { text: text.to_string(), replaces: self.replaces, changed: self.changed })
    }

    pub fn goes_on(&self, ask: &Ask, tail: &str) -> bool {
        self.left(tail, &Line::new(ask, tail).rest).is_some()
    }

    /// The same, from an anchor that lies so many bytes further on.
    pub fn advanced(mut self, bytes: usize) -> Option<Shown> {
        self.whole = self.whole.get(bytes..)?.to_string();
        Some(self)
    }
}

/// The line at the cursor of an ask.
struct Line<'a> {
    ask: &'a Ask,
    tail: &'a str,
    before: String,
    rest: String,
}

impl Line<'_> {
    fn new<'a>(ask: &'a Ask, tail: &'a str) -> Line<'a> {
        let (text, cursor) = (&ask.text, ask.cursor);
        let (before, rest) = (text.text(text.line_start(cursor), cursor), text.text(cursor, text.line_end(cursor)));
        Line { ask, tail, before, rest }
    }

    /// `None` when nothing that is left of `whole` parses; `Some(None)` when nothing is left.
    fn kept(&self, draft: &Draft, whole: &str, settings: &Settings) -> Option<Option<Kept>> {
        if let Some(left) = draft.shown.as_ref().and_then(|shown| shown.left(self.tail, &self.rest)) {
            return Some(Some(left));
        }
        let fitted = whole.strip_prefix(self.tail).and_then(|text| fit(text, &self.before, &self.rest));
        let Some((text, replaces)) = fitted else { return Some(None) };
        balance::keep(&self.ask.text, self.ask.cursor, text, replaces, settings.patience).map(Some)
    }

    fn shown(&self, kept: &Kept) -> Shown {
        Shown { whole: self.tail.to_string() + &kept.text, rest: self.rest.clone(), replaces: kept.replaces, changed: kept.changed }
    }
}

impl Offer {
    pub fn new(live: &mut Live, settings: &Settings, rejected: &[String], ask: &Ask, tail: &str) -> Offer {
        let line = Line::new(ask, tail);
        let mut offer = Offer::default();
        for draft in &mut live.drafts {
            let whole = draft.whole(&live.base);
            if ask.explicit || (draft.probability() >= settings.threshold && !rejected.contains(&whole)) {
                offer.add(draft, &line, line.kept(draft, &whole, settings));
            }
        }
        offer
    }

    fn add(&mut self, draft: &mut Draft, line: &Line<'_>, kept: Option<Option<Kept>>) {
        let Some(kept) = kept else { return self.balanced += 1 };
        let Some(kept) = kept else { return };
        draft.shown = Some(line.shown(&kept));
        self.balanced += u64::from(kept.changed);
        if self.items.iter().all(|item| item.text != kept.text) {
            let probability = draft.probability();
            self.items.push(Suggestion { text: kept.text, replaces: kept.replaces, probability });
        }
    }
}
