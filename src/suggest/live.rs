//! The suggestion under way, or shown: what was typed when it began, and what was generated since.
//!
//! ```text
//! base "    ret", draft "urn x"      whole: "    return x"
//! typed "    retu"                   agrees: "rn x" is left to show
//! ```
use super::Ask;
use super::manners::Plan;
use crate::engine::Finish;

/// One generated alternative.
#[derive(Debug, Default)]
pub struct Draft {
    pub id: u64,
    pub raw: String,
    pub finish: Option<Finish>,
    /// Of the pieces up to the first line end: the sum of their log probabilities, and how many they are.
    pub first_line: (f32, u32),
}

impl Draft {
    pub fn push(&mut self, text: &str, logprob: f32) {
        if !self.raw.contains('\n') {
            self.first_line.0 += logprob;
            self.first_line.1 += 1;
        }
        self.raw.push_str(text);
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

    /// Base and offered text of one draft.
    pub fn whole(&self, draft: &Draft) -> String {
        match draft.finish {
            Some(f) => self.base.clone() + &self.plan.finish(&draft.raw, f == Finish::Length),
            None => self.base.clone() + &draft.raw,
        }
    }
}
