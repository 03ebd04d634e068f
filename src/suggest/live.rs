//! The suggestion under way, or shown: what was typed when it began, and what was generated since.
//!
//! ```text
//! base "    ret", draft "urn x"      whole: "    return x"
//! typed "    retu"                   agrees: "rn x" is left to show
//! ```
use super::Ask;
use super::manners::Plan;
use super::offer::Shown;
use crate::engine::Finish;

/// One generated alternative.
#[derive(Debug, Default)]
pub struct Draft {
    pub id: u64,
    pub raw: String,
    pub finish: Option<Finish>,
    /// Bytes of `raw` after which it was found to be over; whole lines that were looked at.
    end: Option<usize>,
    seen: usize,
    /// What is offered of it, once it has ended.
    offered: String,
    pub shown: Option<Shown>,
    /// Of the pieces up to the first line end: the sum of their log probabilities, and how many they are.
    pub first_line: (f32, u32),
}

impl Draft {
    pub fn new(id: u64) -> Draft {
        Draft { id, ..Draft::default() }
    }

    /// Takes more text; whether it is over now.
    pub fn push(&mut self, text: &str, logprob: f32, plan: &Plan) -> bool {
        if !self.raw.contains('\n') {
            self.first_line.0 += logprob;
            self.first_line.1 += 1;
        }
        self.raw.push_str(text);
        self.end = plan.end(&self.raw, &mut self.seen);
        self.end.is_some()
    }

    /// Nothing more comes.
    pub fn close(&mut self, finish: Finish, plan: &Plan) {
        if self.finish.is_none() {
            self.finish = Some(finish);
            self.offered = plan.finish(&self.raw, self.end, finish == Finish::Length);
        }
    }

    /// `base` and what is offered after it.
    pub fn whole(&self, base: &str) -> String {
        base.to_string() + if self.finish.is_some() { &self.offered } else { &self.raw }
    }

    /// Whether `text` is part of it, as it was generated or as it was shown.
    pub fn says(&self, base: &str, text: &str) -> bool {
        self.whole(base).contains(text) || self.shown.as_ref().is_some_and(|shown| shown.whole.contains(text))
    }

    pub fn probability(&self) -> f32 {
        (self.first_line.0 / self.first_line.1.max(1) as f32).exp()
    }
}

/// The suggestion under way, or shown.
#[derive(Debug)]
pub struct Live {
    /// The tail that the engine was given.
    pub base: String,
    pub plan: Plan,
    /// The best one first; others only for an explicit ask.
    pub drafts: Vec<Draft>,
    pub ask: Option<Ask>,
}

impl Live {
    pub fn done(&self) -> bool {
        self.drafts.iter().all(|d| d.finish.is_some())
    }

    /// The hole's anchor has moved on by so many bytes: the base begins later. False when it does not reach so far.
    pub fn advance(&mut self, bytes: usize) -> bool {
        let Some(base) = self.base.get(bytes..) else { return false };
        self.base = base.to_string();
        for draft in &mut self.drafts {
            draft.shown = draft.shown.take().and_then(|shown| shown.advanced(bytes));
        }
        true
    }
}
