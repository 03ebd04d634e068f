//! Suggestions that live: one state machine per document, without IO.
//!
//! ```text
//! ask("ret|")            -> Start the engine; it says "urn x"     -> Answer "urn x"
//! ask("retu|")           -> Answer "rn x" at once, no engine      (the typed text agrees)
//! ask("ret|")            -> Answer "urn x" at once                (backspace too)
//! ask("rest|")           -> Abort, Start anew; the cache still holds "re"
//! ```
//! Events go in (`ask`, `text`, `done`, `edited`, `cancel`, `idle`), [`Action`]s come out; the caller performs them in
//! order. Each ask gets exactly one `Answer`, `Supersede` or `Fail`, unless it was cancelled by its client.
use crate::config::Layout;
use crate::context::Neighbours;
use crate::document::{Edit, Snapshot};
use crate::engine::{EngineError, Finish, Priority, Request};
use crate::prompt::{Hole, Reanchor};
use live::{Draft, Live};
use manners::Plan;
use offer::Offer;
use std::collections::BTreeMap;
use std::sync::Arc;

mod balance;
mod live;
pub mod manners;
mod offer;
mod settings;
pub use settings::Settings;

/// A client's request for a suggestion.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Names the request to the caller.
    pub id: u64,
    pub text: Snapshot,
    /// Byte offset of the cursor.
    pub cursor: usize,
    /// Asked for by the user, not by a pause: several answers.
    pub explicit: bool,
}

/// One suggestion: insert `text` at the cursor, over `replaces` bytes that follow it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suggestion {
    pub text: String,
    pub replaces: usize,
    /// Geometric mean of its first line's token probabilities.
    pub probability: f32,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Start {
        id: u64,
        request: Request,
    },
    Abort {
        id: u64,
    },
    Answer {
        ask: u64,
        items: Vec<Suggestion>,
    },
    Supersede {
        ask: u64,
    },
    Fail {
        ask: u64,
        error: EngineError,
    },
    /// Call `idle(mark)` after a pause.
    Pause {
        mark: u64,
    },
}

/// What a user did with a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    Partly,
    Rejected,
}

/// What happened, for `infill bench` and the status line.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Counts {
    pub asks: u64,
    /// Answered from a suggestion that was already there.
    pub without_model: u64,
    pub shown: u64,
    /// Shortened, or closed, or not shown at all, because they would have brought a syntax error.
    pub balanced: u64,
    /// Told by editors that can: taken whole, in part, or refused.
    pub accepted: u64,
    pub partly: u64,
    pub rejected: u64,
    pub reanchors: BTreeMap<Reanchor, u64>,
}

/// The state machine of one document.
#[derive(Debug)]
pub struct Suggest {
    settings: Settings,
    /// What other files have to say.
    around: Option<Arc<dyn Neighbours>>,
    hole: Option<Hole>,
    /// The long suffix has been prefilled for this hole.
    long: bool,
    live: Option<Live>,
    /// What was refused in this hole, whole.
    rejected: Vec<String>,
    /// A prefill under way: its id, and the hole to adopt when it is done.
    prefill: Option<(u64, Hole)>,
    last: Option<(Snapshot, usize)>,
    mark: u64,
    counts: Counts,
    actions: Vec<Action>,
}

/// Ids of engine requests are unique over all documents.
static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

fn next_id() -> u64 {
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Suggest {
    /// For a text that is looked at alone.
    pub fn new(settings: Settings) -> Suggest {
        Suggest::beside(None, settings)
    }

    /// For a text in a workspace.
    pub fn beside(around: Option<Arc<dyn Neighbours>>, settings: Settings) -> Suggest {
        Suggest {
            settings,
            around,
            hole: None,
            long: false,
            live: None,
            rejected: Vec::new(),
            prefill: None,
            last: None,
            mark: 0,
            counts: Counts::default(),
            actions: Vec::new(),
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes new settings; when they differ, what is under way is for the old ones and ends.
    pub fn configure(&mut self, settings: Settings) -> Vec<Action> {
        if settings == self.settings {
            return vec![];
        }
        self.settings = settings;
        self.close()
    }

    /// A client asks. Supersedes the ask before it.
    pub fn ask(&mut self, ask: Ask) -> Vec<Action> {
        self.counts.asks += 1;
        self.mark += 1;
        self.supersede();
        let tail = self.tail_at(&ask.text, ask.cursor);
        self.last = Some((ask.text.clone(), ask.cursor));
        let fresh_explicit = ask.explicit && self.live.as_ref().is_some_and(|l| l.drafts.len() < self.settings.alternatives);
        if !fresh_explicit && self.ready(&ask, &tail) {
            self.counts.without_model += 1;
            let offer = self.offer(&ask, &tail);
            self.answer(ask.id, offer);
        } else if !fresh_explicit && self.agrees(&tail) {
            self.live.iter_mut().for_each(|l| l.ask = Some(ask.clone()));
        } else {
            self.start(&ask.text, ask.cursor, tail, ask.explicit);
            self.live.iter_mut().for_each(|l| l.ask = Some(ask.clone()));
        }
        self.flush()
    }

    /// The engine generated text for request `id`, with the log probability of its token.
    pub fn text(&mut self, id: u64, text: &str, logprob: f32) -> Vec<Action> {
        let Some(live) = &mut self.live else { return vec![] };
        let Some(draft) = live.drafts.iter_mut().find(|d| d.id == id && d.finish.is_none()) else { return vec![] };
        if draft.push(text, logprob, &live.plan) {
            self.actions.push(Action::Abort { id });
            return self.done(id, Finish::Stop);
        }
        self.settle();
        self.flush()
    }

    /// The engine has ended request `id`.
    pub fn done(&mut self, id: u64, finish: Finish) -> Vec<Action> {
        if self.prefill.as_ref().is_some_and(|(p, _)| *p == id) {
            self.adopt(finish);
            return self.flush();
        }
        let Some(live) = &mut self.live else { return self.flush() };
        if let Some(draft) = live.drafts.iter_mut().find(|d| d.id == id) {
            draft.close(finish, &live.plan);
            self.settle();
        }
        self.flush()
    }

    /// The engine could not answer request `id`.
    pub fn failed(&mut self, id: u64, error: EngineError) -> Vec<Action> {
        if self.prefill.as_ref().is_some_and(|(p, _)| *p == id) {
            self.prefill = None;
        }
        if let Some(live) = self.live.take_if(|l| l.drafts.iter().any(|d| d.id == id))
            && let Some(ask) = live.ask
        {
            self.actions.push(Action::Fail { ask: ask.id, error });
        }
        self.flush()
    }

    /// The document has changed. An ask for the text before is not answered any more; the engine's work goes on, and
    /// when the change was to accept the suggestion, the next one is begun.
    pub fn edited(&mut self, text: &Snapshot, edits: &[Edit]) -> Vec<Action> {
        self.mark += 1;
        self.supersede();
        if let Some(hole) = &mut self.hole {
            edits.iter().for_each(|e| hole.shift(*e));
        }
        if let [edit] = edits {
            let cursor = edit.start + edit.inserted;
            let tail = self.hole.as_ref().and_then(|h| h.tail(text, cursor).ok());
            if let Some(tail) = tail.filter(|t| self.accepted(t)) {
                self.start(text, cursor, tail, false);
            }
            self.last = Some((text.clone(), cursor));
        }
        self.flush()
    }

    /// The client withdrew an ask. The engine goes on: the next key most often agrees.
    pub fn cancel(&mut self, ask: u64) -> Vec<Action> {
        if let Some(live) = &mut self.live {
            live.ask.take_if(|a| a.id == ask);
        }
        self.flush()
    }

    /// The cursor has moved without an edit: after a pause, what a key there would want is prefilled.
    pub fn moved(&mut self, text: &Snapshot, cursor: usize) -> Vec<Action> {
        self.mark += 1;
        if self.prefill.as_ref().is_some_and(|(_, hole)| hole.tail(text, cursor).is_err()) {
            self.stop_prefill();
        }
        self.last = Some((text.clone(), cursor));
        self.actions.push(Action::Pause { mark: self.mark });
        self.flush()
    }

    /// The editor says what became of the suggestion that inserts `text`. One that was refused is not shown again
    /// unasked, as long as the hole holds.
    pub fn outcome(&mut self, outcome: Outcome, text: &str) {
        match outcome {
            Outcome::Accepted => self.counts.accepted += 1,
            Outcome::Partly => self.counts.partly += 1,
            Outcome::Rejected => self.counts.rejected += 1,
        }
        if let (Outcome::Rejected, Some(live)) = (outcome, &self.live) {
            let text = text.replace("\r\n", "\n");
            let refused = live.drafts.iter().filter(|d| d.says(&live.base, &text));
            self.rejected.extend(refused.map(|d| d.whole(&live.base)));
        }
    }

    /// A pause since `Pause { mark }`: prefill what the next keys will want.
    pub fn idle(&mut self, mark: u64) -> Vec<Action> {
        if mark == self.mark && self.prefill.is_none() && self.live.as_ref().is_none_or(Live::done) {
            self.prefill_ahead();
        }
        self.flush()
    }

    /// The document is closed, or its settings have changed: everything ends.
    pub fn close(&mut self) -> Vec<Action> {
        self.abort();
        self.stop_prefill();
        self.hole = None;
        self.flush()
    }

    fn flush(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn supersede(&mut self) {
        if let Some(ask) = self.live.as_mut().and_then(|l| l.ask.take()) {
            self.actions.push(Action::Supersede { ask: ask.id });
        }
    }

    /// The tail at the cursor, splitting anew when the hole does not hold.
    fn tail_at(&mut self, text: &Snapshot, cursor: usize) -> String {
        let why = match self.hole.as_ref().map(|h| h.tail(text, cursor)) {
            Some(Ok(tail)) => return tail,
            Some(Err(why)) => why,
            None => Reanchor::First,
        };
        *self.counts.reanchors.entry(why).or_default() += 1;
        self.abort();
        self.stop_prefill();
        let hole = self.hole_at(text, cursor);
        let tail = hole.tail(text, cursor).unwrap_or_default();
        self.long = !hole.has_more();
        self.rejected.clear();
        self.hole = Some(hole);
        tail
    }

    /// Whether the typed text agrees with what was generated or shown, and something of that is left. What has been typed to
    /// its end is for the engine again.
    fn ready(&self, ask: &Ask, tail: &str) -> bool {
        let live = self.live.as_ref().filter(|l| l.done() && tail.starts_with(&l.base));
        let Some((live, draft)) = live.and_then(|live| Some((live, live.drafts.first()?))) else { return false };
        let whole = draft.whole(&live.base);
        (whole.len() > tail.len() && whole.starts_with(tail)) || draft.shown.as_ref().is_some_and(|shown| shown.goes_on(ask, tail))
    }

    fn offer(&mut self, ask: &Ask, tail: &str) -> Offer {
        let Some(live) = &mut self.live else { return Offer::default() };
        Offer::new(live, &self.settings, &self.rejected, ask, tail)
    }

    /// Whether a running decode may still turn out to be what is typed. One that has not begun is better begun anew, with
    /// all that is typed: its prefill stays in the cache.
    fn agrees(&self, tail: &str) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let whole = live.drafts.first().map(|d| live.base.clone() + &d.raw).unwrap_or_default();
            let begun = live.base == tail || whole.len() > live.base.len();
            begun && !live.done() && tail.starts_with(&live.base) && (whole.starts_with(tail) || tail.starts_with(&whole))
        })
    }

    /// Answers the waiting ask when there is enough; starts anew when what was generated is not what was typed.
    fn settle(&mut self) {
        let Some(ask) = self.live.as_mut().and_then(|l| l.ask.take()) else { return };
        let tail = self.hole.as_ref().and_then(|h| h.tail(&ask.text, ask.cursor).ok());
        let (Some(tail), Some(live)) = (tail, &self.live) else {
            return self.actions.push(Action::Supersede { ask: ask.id });
        };
        let (done, same) = (live.done(), live.base == tail);
        if done && (same || self.ready(&ask, &tail)) {
            let offer = self.offer(&ask, &tail);
            return self.answer(ask.id, offer);
        }
        if done || !self.agrees(&tail) {
            self.start(&ask.text, ask.cursor, tail, ask.explicit);
        }
        self.live.iter_mut().for_each(|l| l.ask = Some(ask.clone()));
    }

    fn answer(&mut self, ask: u64, Offer { items, balanced }: Offer) {
        self.counts.shown += u64::from(!items.is_empty());
        self.counts.balanced += balanced;
        self.actions.push(Action::Answer { ask, items });
        self.actions.push(Action::Pause { mark: self.mark });
    }

    /// Whether the whole suggestion now stands in the text.
    fn accepted(&self, tail: &str) -> bool {
        self.live.as_ref().is_some_and(|l| l.done() && tail.len() > l.base.len() && l.drafts.iter().any(|d| d.whole(&l.base) == tail))
    }

    fn start(&mut self, text: &Snapshot, cursor: usize, tail: String, explicit: bool) {
        self.abort();
        self.stop_prefill();
        let plan = Plan::new(text, cursor, self.settings.lines);
        let count = if explicit { self.settings.alternatives.max(1) } else { 1 };
        let Some(request) = self.request(text, cursor, &tail, &plan) else { return };
        let mut drafts = Vec::new();
        for rank in 0..count {
            let id = next_id();
            drafts.push(Draft::new(id));
            self.actions.push(Action::Start { id, request: Request { rank, ..request.clone() } });
        }
        self.live = Some(Live { base: tail, plan, drafts, ask: None });
    }

    fn request(&self, text: &Snapshot, cursor: usize, tail: &str, plan: &Plan) -> Option<Request> {
        let hole = self.hole.as_ref()?;
        let max_tokens = if plan.block { self.settings.max_tokens } else { self.settings.max_tokens.min(48) };
        let (prefix, suffix, tail) = self.split(hole, text, cursor, tail, self.long);
        let (above, below) = hole.beyond(text, cursor, suffix.len(), self.settings.reach);
        let above = self.elsewhere(text, cursor) + &above;
        let stop = plan.stop();
        Some(Request { prefix, suffix, tail, above, below, max_tokens, stop, draft: true, ..Request::default() })
    }

    /// What other files say about the place, for an engine that copies: its prompt may have no room for it.
    fn elsewhere(&self, text: &Snapshot, cursor: usize) -> String {
        let around = self.around.as_ref().filter(|around| self.settings.reach > 0 && around.any());
        around.map(|around| around.context(text, cursor, self.settings.reach).text).unwrap_or_default()
    }

    /// Prefix, suffix and tail as the configured layout wants them.
    fn split(&self, hole: &Hole, text: &Snapshot, cursor: usize, tail: &str, long: bool) -> (String, String, String) {
        match self.settings.layout {
            Layout::Frozen => (hole.prefix().into(), hole.suffix(long).into(), tail.into()),
            Layout::Psm => {
                let suffix = text.text(cursor, cursor + self.settings.budget.suffix);
                (hole.prefix().to_string() + tail, suffix, String::new())
            }
        }
    }

    /// The long suffix of this hole; or the hole at the cursor's line, so that the next split is already paid for when
    /// it comes: once the tail has grown and holds a line end, or when the cursor is somewhere else.
    fn prefill_ahead(&mut self) {
        let Some((text, cursor)) = self.last.clone() else { return };
        let tail = self.hole.as_ref().and_then(|hole| hole.tail(&text, cursor).ok());
        let ahead = tail.is_none_or(|tail| tail.contains('\n') && tail.len() > self.settings.budget.tail / 2);
        let next = match &self.hole {
            Some(hole) if !ahead => match self.better(hole, &text, cursor) {
                Some(hole) => hole,
                None if self.long => return,
                None => hole.clone(),
            },
            _ => self.hole_at(&text, cursor),
        };
        let Ok(tail) = next.tail(&text, cursor) else { return };
        let (prefix, suffix, tail) = self.split(&next, &text, cursor, &tail, true);
        let id = next_id();
        let request = Request { prefix, suffix, tail, priority: Priority::Background, ..Request::default() };
        self.prefill = Some((id, next));
        self.actions.push(Action::Start { id, request });
    }

    fn hole_at(&self, text: &Snapshot, cursor: usize) -> Hole {
        Hole::beside(self.around.as_deref(), text, cursor, &self.settings.budget, self.hole.as_ref())
    }

    /// This hole with what other files say by now, where that is something else.
    fn better(&self, hole: &Hole, text: &Snapshot, cursor: usize) -> Option<Hole> {
        let context = hole.better_context(self.around.as_deref()?, text, cursor)?;
        Some(hole.with_context(context))
    }

    /// The prefill is done: its hole is the cheaper one from now on. The shown suggestion stays, where it still can.
    fn adopt(&mut self, finish: Finish) {
        let Some((_, next)) = self.prefill.take().filter(|_| finish != Finish::Cancelled) else { return };
        if let (Some(old), Some((text, cursor))) = (&self.hole, &self.last) {
            // The tail now begins later: so does the text that the suggestion continues.
            let holds = old.tail(text, *cursor).is_ok() && next.anchor() >= old.anchor();
            let moved = holds.then(|| text.text(old.anchor(), next.anchor()).len());
            if self.live.as_mut().is_some_and(|live| moved.is_none_or(|moved| !live.advance(moved))) {
                self.abort();
            }
        }
        self.rejected.clear();
        self.hole = Some(next);
        self.long = true;
    }

    fn stop_prefill(&mut self) {
        if let Some((id, _)) = self.prefill.take() {
            self.actions.push(Action::Abort { id });
        }
    }

    /// Ends what is under way; its work stays in the cache.
    fn abort(&mut self) {
        let Some(live) = self.live.take() else { return };
        for draft in live.drafts.iter().filter(|d| d.finish.is_none()) {
            self.actions.push(Action::Abort { id: draft.id });
        }
        if let Some(ask) = live.ask {
            self.actions.push(Action::Supersede { ask: ask.id });
        }
    }
}

#[cfg(test)]
mod tests;
