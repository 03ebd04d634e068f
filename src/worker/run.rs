//! One request: its prompt, what it chooses from logits, what it proposes as a draft.
//!
//! ```text
//! encode -> look up, copy -> prefill in chunks -> heal -> decode, drafting -> the cache keeps it
//! ```
//! When its tokens run, and beside whose, is the business of `flight`.
use super::copy::Copier;
use super::decoding::Decoding;
use super::flight::{Flight, Phase};
use super::pick::{self, Choice};
use super::sequence::pool_is_full;
use super::{Job, Machine};
use crate::engine::{EngineError, Event, Finish, Form};
use crate::tokens::Prompt;
use std::borrow::Cow;

/// Why a request ends without its text.
pub enum Fault {
    /// Nobody waits for it any more.
    Cancelled,
    /// It is another request's turn; go on later.
    Postponed,
    Failed(EngineError),
}

impl Machine {
    /// A request that has not begun.
    pub fn first(&mut self, job: &Job) -> Result<Box<Decoding>, Fault> {
        let request = &job.request;
        tracing::trace!(prefix = request.prefix, suffix = request.suffix, tail = request.tail, form = ?request.form, "request");
        let prompt = match &request.form {
            Form::Fill => self.tokens.prompt(&request.prefix, &request.suffix, request.tail.as_bytes()),
            Form::Plain => self.tokens.plain(&request.prefix, request.tail.as_bytes()),
            Form::Chat(turns) => self.tokens.chat(turns),
        };
        self.check_size(&prompt, request.max_tokens)?;
        let told = prompt.tokens.len();
        let copies = self.options.copying.is_some() && !matches!(request.form, Form::Chat(_));
        let copier = copies.then(|| Copier::new(request));
        Ok(Box::new(Decoding::new(self.heal_ahead(prompt, copier.as_ref()), told, copier, request)))
    }

    /// Heals as far as rows are known: a chosen token that lies inside the held bytes is as good as typed.
    fn heal_ahead(&mut self, mut prompt: Prompt, copier: Option<&Copier>) -> Prompt {
        while let Some(row) = self.rows.get(&prompt.tokens).filter(|_| !prompt.held.is_empty()).map(<[f32]>::to_vec) {
            let row = self.mixed(&row, &prompt.held, copier);
            let Some(choice) = pick::best(&row, self.allowed(&row, &prompt.held).into_iter()) else { break };
            let covered = self.tokens.bytes(choice.token).len();
            if covered > prompt.held.len() {
                break;
            }
            prompt.tokens.push(choice.token);
            prompt.held.drain(..covered);
        }
        prompt
    }

    /// What does not fit is an error that says what to do, never cut off in silence.
    fn check_size(&self, prompt: &Prompt, max_tokens: usize) -> Result<(), Fault> {
        let held = self.tokens.encode(&String::from_utf8_lossy(&prompt.held)).len();
        let size = prompt.tokens.len() + held;
        let (needed, context) = (size.saturating_add(max_tokens), self.backend.context());
        if needed > context {
            let title = format!("{size} tokens of prompt and {max_tokens} to generate do not fit in the model's {context}");
            let hint = "lower context.tokens or completion.max_tokens".to_owned();
            return Err(Fault::Failed(EngineError { title, hint }));
        }
        let holds = self.cache.capacity() * self.cache.block_size();
        if needed > holds { Err(pool_is_full(needed, holds)) } else { Ok(()) }
    }

    /// Goes through the logits of what just ran: chooses, and sees how much of the draft was right. `None`: the flight knows what it runs next.
    pub fn settle(&self, flight: &mut Flight, logits: &[f32]) -> Result<Option<Finish>, Fault> {
        let vocab = self.backend.vocab();
        let mut right = 0;
        loop {
            let Flight { job, decoding, sequence, drafter, draft, .. } = &mut *flight;
            let row = &logits[right * vocab..(right + 1) * vocab];
            let row = &*self.mixed(row, &decoding.held, decoding.copier.as_ref());
            let Some(choice) = self.choose(row, decoding)? else { return Ok(Some(decoding.finish(job, Finish::Stop))) };
            let verified = sequence.tokens.len() - draft.len() + right;
            let top = self.alternatives(row, decoding);
            if let Some(finish) = decoding.accept(job, choice, self.tokens.bytes(choice.token), top) {
                sequence.truncate(verified);
                return Ok(Some(decoding.finish(job, finish)));
            }
            if draft.get(right) == Some(&choice.token) {
                right += 1;
                decoding.usage.accepted += 1;
                continue;
            }
            sequence.truncate(verified);
            drafter.learn(draft.len(), right);
            draft.clear();
            flight.goes_on(choice.token);
            return Ok(None);
        }
    }

    /// Takes what a backend chose by itself after `flight`'s token.
    pub fn accept_all(&self, flight: &mut Flight, chosen: &[(u32, f32)]) -> Option<Finish> {
        let before = flight.sequence.tokens.len() + 1 - chosen.len();
        for (i, (token, logprob)) in chosen.iter().enumerate() {
            let Flight { job, decoding, sequence, .. } = &mut *flight;
            let end = if self.tokens.is_special(*token) {
                Some(Finish::Stop)
            } else {
                decoding.accept(job, Choice { token: *token, logprob: *logprob }, self.tokens.bytes(*token), Vec::new())
            };
            if let Some(finish) = end {
                sequence.truncate(before + i);
                return Some(decoding.finish(job, finish));
            }
        }
        let last = chosen.last()?;
        flight.goes_on(last.0);
        None
    }

    /// The next token; `None` ends the answer.
    fn choose(&self, row: &[f32], decoding: &mut Decoding) -> Result<Option<Choice>, Fault> {
        let allowed = self.allowed(row, &decoding.held);
        let healing = !decoding.held.is_empty();
        let mut choice = pick::best(row, allowed.iter().copied()).ok_or_else(not_a_number)?;
        let length = |token: u32| self.tokens.bytes(token).len();
        // A token that lies inside the held bytes only spells what is typed: the best one does that.
        let new = !healing || length(choice.token) > decoding.held.len();
        if let Some((sampling, dice)) = decoding.sampling.as_mut().filter(|_| new) {
            let held = decoding.held.len();
            let candidates = allowed.iter().copied().filter(|&token| !healing || length(token) > held);
            choice = pick::draw(row, candidates, sampling, dice.roll(), allowed.iter().copied()).ok_or_else(not_a_number)?;
        }
        if decoding.rank > 0 && new {
            let rank = std::mem::take(&mut decoding.rank);
            let beyond = |&token: &u32| length(token) > decoding.held.len() && token != choice.token;
            let others = allowed.iter().copied().filter(beyond).collect();
            match pick::nth(row, others, rank - 1, allowed.iter().copied()) {
                Some(other) => choice = other,
                None => return Ok(None),
            }
        }
        Ok(Some(choice).filter(|choice| !self.tokens.is_special(choice.token)))
    }

    /// The tokens that may come next.
    fn allowed(&self, row: &[f32], held: &[u8]) -> Vec<u32> {
        if held.is_empty() {
            // A model may have more rows than its tokenizer has tokens.
            return (0..row.len().min(self.tokens.len()) as u32).collect();
        }
        let mut allowed = Vec::new();
        self.tokens.agreeing(held, &mut allowed);
        allowed
    }

    /// The row that is chosen from: the model's, or that and what may be copied.
    fn mixed<'a>(&self, row: &'a [f32], held: &[u8], copier: Option<&Copier>) -> Cow<'a, [f32]> {
        let (Some(copying), Some(copier)) = (&self.options.copying, copier) else { return Cow::Borrowed(row) };
        let copies = copier.copies(held, copying.sharpness, &self.tokens);
        copying.mix(row, &self.allowed(row, held), &copies, &self.tokens).map_or(Cow::Borrowed(row), Cow::Owned)
    }

    /// What else was probable, where the request wants to know.
    fn alternatives(&self, row: &[f32], decoding: &Decoding) -> Vec<(String, f32)> {
        if decoding.top == 0 {
            return Vec::new();
        }
        let tokens = 0..row.len().min(self.tokens.len()) as u32;
        let best = pick::top(row, decoding.top, tokens);
        let text = |token: u32| String::from_utf8_lossy(self.tokens.bytes(token)).into_owned();
        best.into_iter().map(|choice| (text(choice.token), choice.logprob)).collect()
    }

    /// A draft of what follows the tokens so far.
    pub fn draft(&self, flight: &mut Flight) -> Vec<u32> {
        let Flight { job, decoding, drafter, .. } = flight;
        if !job.request.draft || !decoding.held.is_empty() {
            return Vec::new();
        }
        // One token comes from the last row in any case, so a draft may be one shorter than what is left.
        let wanted = (decoding.max_tokens - decoding.usage.generated).saturating_sub(1);
        let room = self.backend.context().min(self.cache.capacity() * self.cache.block_size());
        let room = room.saturating_sub(decoding.tokens.len());
        drafter.propose(&decoding.tokens, wanted.min(room))
    }
}

fn not_a_number() -> Fault {
    let title = "The model's output is not a number".to_owned();
    Fault::Failed(EngineError { title, hint: "its file may be damaged: run `infill verify`, or download it again".to_owned() })
}

impl Job {
    /// Tells why it ends without its text.
    pub fn close(&self, fault: Fault) {
        if let Fault::Failed(error) = fault {
            self.send(Event::Failed(error));
        }
    }
}

impl Flight {
    /// `next` is chosen and has still to run.
    fn goes_on(&mut self, next: u32) {
        self.decoding.tokens.clear();
        self.decoding.tokens.extend(self.sequence.tokens.iter().chain([&next]));
        self.phase = Phase::Decode(next);
    }
}
