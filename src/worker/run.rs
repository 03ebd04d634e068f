//! One request from its text to its last event.
//!
//! ```text
//! encode -> look up, copy -> prefill in chunks -> heal -> decode, drafting -> the cache keeps it
//! ```
use super::answer::Stream;
use super::draft::Drafter;
use super::pick::{self, Choice};
use super::sequence::{Sequence, pool_is_full};
use super::{Job, Machine, Outcome};
use crate::engine::{EngineError, Event, Finish, Miss, Priority, Totals, Usage};
use crate::tokens::Prompt;

/// Why a request ends without its text.
pub enum Fault {
    /// Nobody waits for it any more.
    Cancelled,
    /// An interactive request came; go on later.
    Postponed,
    Failed(EngineError),
}

/// Steps that a backend takes by itself between two looks at the queue.
const AHEAD: usize = 8;

/// What came of letting the backend run ahead.
enum Ahead {
    /// It does not, or more than the most probable token is wanted.
    No,
    /// All it chose is accepted; the last one has still to run.
    Next(u32),
    Finished(Finish),
}

/// Tokens that may be missing at the end of a prompt while it still counts as cached.
const FEW: usize = 4;

impl Machine {
    pub fn run(&mut self, job: &mut Job) -> Outcome {
        let request = job.request.clone();
        let prompt = self.tokens.prompt(&request.prefix, &request.suffix, request.tail.as_bytes());
        tracing::trace!(prefix = request.prefix, suffix = request.suffix, tail = request.tail, "request");
        if let Err(fault) = self.check_size(&prompt, request.max_tokens) {
            return job.close(fault);
        }
        let told = prompt.tokens.len();
        let prompt = self.heal_ahead(prompt);
        // Without its logits the last token is computed again: they are what the answer begins with.
        let needs_row = request.max_tokens > 0 && self.rows.get(&prompt.tokens).is_none();
        let mut sequence = self.begin(&prompt.tokens[..prompt.tokens.len() - usize::from(needs_row)]);
        let mut decoding = Decoding::new(&prompt, &sequence, job, &request.stop);
        decoding.usage.prompt_tokens = told;
        decoding.usage.reused = sequence.reused.min(told);
        let result = self.complete(&prompt, &mut sequence, &mut decoding);
        let usage = decoding.usage;
        self.end(sequence);
        if !matches!(result, Err(Fault::Postponed)) {
            self.add(|totals| sum_up(totals, &usage));
        }
        match result {
            Ok(finish) => {
                let usage = Usage { total: job.submitted.elapsed(), ..usage };
                tracing::debug!(?usage, "answered");
                job.send(Event::Done { finish, usage });
                Outcome::Answered
            }
            Err(fault) => {
                job.computed = usage.computed;
                job.close(fault)
            }
        }
    }

    /// Heals as far as rows are known: a chosen token that lies inside the held bytes is as good as typed.
    fn heal_ahead(&mut self, mut prompt: Prompt) -> Prompt {
        while let Some(row) = self.rows.get(&prompt.tokens).filter(|_| !prompt.held.is_empty()) {
            let mut allowed = Vec::new();
            self.tokens.agreeing(&prompt.held, &mut allowed);
            let Some(choice) = pick::best(row, allowed.iter().copied()) else { break };
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

    fn complete(&mut self, prompt: &Prompt, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Finish, Fault> {
        let logits = self.prefill(prompt, sequence, decoding)?;
        if decoding.max_tokens == 0 {
            return Ok(Finish::Length);
        }
        self.decode(logits, sequence, decoding)
    }

    /// Runs the prompt in chunks; the logits of its last token when there is something to generate.
    fn prefill(&mut self, prompt: &Prompt, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Vec<f32>, Fault> {
        if decoding.max_tokens > 0 && sequence.tokens == prompt.tokens {
            return Ok(self.rows.get(&prompt.tokens).map(<[f32]>::to_vec).unwrap_or_default());
        }
        let mut logits = Vec::new();
        while sequence.tokens.len() < prompt.tokens.len() {
            self.give_way(decoding)?;
            let rest = &prompt.tokens[sequence.tokens.len()..];
            let chunk = &rest[..rest.len().min(self.chunk())];
            let last = chunk.len() == rest.len() && decoding.max_tokens > 0;
            logits = self.extend(sequence, chunk, usize::from(last))?;
            decoding.usage.computed += chunk.len();
        }
        if decoding.max_tokens > 0 {
            self.rows.keep(&sequence.tokens, &logits);
        }
        Ok(logits)
    }

    /// As many tokens as take about a tenth of a second, so that a cancel is seen soon on any machine.
    fn chunk(&self) -> usize {
        ((self.pace / 10.0) as usize).max(16).min(self.options.chunk.max(1))
    }

    /// Between two forward passes: is this request still the one to work on?
    fn give_way(&mut self, decoding: &Decoding) -> Result<(), Fault> {
        if decoding.job.events.is_closed() || self.queue.is_closing() {
            return Err(Fault::Cancelled);
        }
        let background = decoding.job.request.priority == Priority::Background;
        if background && self.queue.has_interactive() { Err(Fault::Postponed) } else { Ok(()) }
    }

    fn decode(&mut self, mut logits: Vec<f32>, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Finish, Fault> {
        let vocab = self.backend.vocab();
        let mut drafter = Drafter::new();
        let (mut draft, mut right) = (Vec::new(), 0);
        loop {
            let row = &logits[right * vocab..(right + 1) * vocab];
            let Some(choice) = self.choose(row, decoding)? else { return Ok(decoding.finish(Finish::Stop)) };
            let verified = sequence.tokens.len() - draft.len() + right;
            if let Some(finish) = decoding.accept(choice, self.tokens.bytes(choice.token)) {
                sequence.truncate(verified);
                return Ok(decoding.finish(finish));
            }
            if draft.get(right) == Some(&choice.token) {
                right += 1;
                decoding.usage.accepted += 1;
                continue;
            }
            sequence.truncate(verified);
            drafter.learn(draft.len(), right);
            right = 0;
            let mut next = choice.token;
            loop {
                self.give_way(decoding)?;
                draft = self.draft(&drafter, sequence, next, decoding);
                match self.ahead(sequence, next, draft.is_empty(), decoding)? {
                    Ahead::Next(token) => next = token,
                    Ahead::Finished(finish) => return Ok(decoding.finish(finish)),
                    Ahead::No => break,
                }
            }
            let step: Vec<u32> = std::iter::once(next).chain(draft.iter().copied()).collect();
            logits = self.extend(sequence, &step, step.len())?;
            decoding.count(step.len());
            if decoding.usage.first_token.is_none() {
                // Of the tokens that are certain: healing may have ended with this one, and a draft followed it.
                self.rows.keep(&sequence.tokens[..sequence.tokens.len() - draft.len()], &logits[..vocab]);
            }
        }
    }

    /// Lets a backend that chooses by itself take several steps, where the most probable token is all that is wanted.
    fn ahead(&mut self, sequence: &mut Sequence, next: u32, plain: bool, decoding: &mut Decoding) -> Result<Ahead, Fault> {
        let plain = plain && decoding.held.is_empty() && decoding.rank == 0 && decoding.usage.first_token.is_some();
        let room = self.backend.context().min(self.cache.capacity() * self.cache.block_size()).saturating_sub(sequence.tokens.len());
        let left = decoding.max_tokens.saturating_sub(decoding.usage.generated).min(room);
        let steps = self.backend.steps().min(AHEAD).min(left);
        if !plain || steps < 2 {
            return Ok(Ahead::No);
        }
        let chosen = self.leap(sequence, next, steps)?;
        let before = sequence.tokens.len() - steps + 1;
        for (i, (token, logprob)) in chosen.iter().enumerate() {
            let end = if self.tokens.is_special(*token) {
                Some(Finish::Stop)
            } else {
                decoding.accept(Choice { token: *token, logprob: *logprob }, self.tokens.bytes(*token))
            };
            if let Some(finish) = end {
                sequence.truncate(before + i);
                return Ok(Ahead::Finished(finish));
            }
        }
        Ok(chosen.last().map_or(Ahead::No, |last| Ahead::Next(last.0)))
    }

    /// The next token; `None` ends the answer.
    fn choose(&self, row: &[f32], decoding: &mut Decoding) -> Result<Option<Choice>, Fault> {
        let mut allowed = Vec::new();
        let healing = !decoding.held.is_empty();
        if healing {
            self.tokens.agreeing(&decoding.held, &mut allowed);
        } else {
            // A model may have more rows than its tokenizer has tokens.
            allowed.extend(0..row.len().min(self.tokens.len()) as u32);
        }
        let mut choice = pick::best(row, allowed.iter().copied()).ok_or_else(not_a_number)?;
        let length = |token: u32| self.tokens.bytes(token).len();
        if decoding.rank > 0 && (!healing || length(choice.token) > decoding.held.len()) {
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

    fn draft(&self, drafter: &Drafter, sequence: &Sequence, next: u32, decoding: &mut Decoding) -> Vec<u32> {
        if !decoding.job.request.draft || !decoding.held.is_empty() {
            return Vec::new();
        }
        // One token comes from the last row in any case, so a draft may be one shorter than what is left.
        let wanted = (decoding.max_tokens - decoding.usage.generated).saturating_sub(1);
        let room = self.backend.context().min(self.cache.capacity() * self.cache.block_size());
        let room = room.saturating_sub(sequence.tokens.len() + 1);
        let mut tokens = sequence.tokens.clone();
        tokens.push(next);
        let draft = drafter.propose(&tokens, wanted.min(room));
        decoding.usage.drafted += draft.len();
        draft
    }
}

fn not_a_number() -> Fault {
    let title = "The model's output is not a number".to_owned();
    Fault::Failed(EngineError { title, hint: "its file may be damaged: run `infill verify`, or download it again".to_owned() })
}

impl Job {
    fn close(&self, fault: Fault) -> Outcome {
        match fault {
            Fault::Postponed => return Outcome::Postponed,
            Fault::Cancelled => {}
            Fault::Failed(error) => self.send(Event::Failed(error)),
        }
        Outcome::Answered
    }
}

/// The state of one answer.
struct Decoding<'a> {
    job: &'a mut Job,
    usage: Usage,
    stream: Stream<'a>,
    /// Bytes of the tail that the tokens chosen so far have not covered.
    held: Vec<u8>,
    /// Still to be applied to the first token with new text.
    rank: usize,
    max_tokens: usize,
    /// Events that went out before this job was postponed: greedy decoding makes the same ones again.
    skip: usize,
}

impl<'a> Decoding<'a> {
    fn new(prompt: &Prompt, sequence: &Sequence, job: &'a mut Job, stop: &'a [String]) -> Decoding<'a> {
        let usage = Usage {
            prompt_tokens: prompt.tokens.len(),
            reused: sequence.reused,
            computed: job.computed,
            generated: 0,
            drafted: 0,
            accepted: 0,
            miss: miss(prompt, sequence),
            first_token: None,
            total: std::time::Duration::ZERO,
        };
        Decoding {
            usage,
            stream: Stream::new(stop),
            held: prompt.held.clone(),
            rank: job.request.rank,
            max_tokens: job.request.max_tokens,
            skip: job.delivered,
            job,
        }
    }

    /// Takes a chosen token: first it covers held bytes, the rest is new text.
    fn accept(&mut self, choice: Choice, bytes: &[u8]) -> Option<Finish> {
        let covered = bytes.len().min(self.held.len());
        self.held.drain(..covered);
        let new = &bytes[covered..];
        if new.is_empty() {
            return None;
        }
        self.usage.first_token.get_or_insert_with(|| self.job.submitted.elapsed());
        self.usage.generated += 1;
        let texts = self.stream.push(new, choice.logprob);
        self.send(texts);
        if self.stream.is_stopped() {
            return Some(Finish::Stop);
        }
        (self.usage.generated >= self.max_tokens).then_some(Finish::Length)
    }

    /// Tokens that ran through the model; they count until the first new one is known.
    fn count(&mut self, tokens: usize) {
        if self.usage.first_token.is_none() {
            self.usage.computed += tokens;
        }
    }

    fn finish(&mut self, finish: Finish) -> Finish {
        let stream = std::mem::replace(&mut self.stream, Stream::new(&[]));
        let rest = stream.finish();
        self.send(rest);
        finish
    }

    fn send(&mut self, texts: Vec<(String, f32)>) {
        for (text, logprob) in texts {
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.job.delivered += 1;
            self.job.send(Event::Text { text, logprob });
        }
    }
}

fn sum_up(totals: &mut Totals, usage: &Usage) {
    totals.requests += 1;
    totals.prompt_tokens += usage.prompt_tokens as u64;
    totals.reused += usage.reused as u64;
    totals.generated += usage.generated as u64;
}

/// The account of what was not in the cache.
fn miss(prompt: &Prompt, sequence: &Sequence) -> Miss {
    let matched = sequence.reused;
    if matched + FEW >= prompt.tokens.len() {
        Miss::None
    } else if sequence.evicted.is_some() {
        Miss::Evicted
    } else if matched <= 2 {
        // Every prompt begins with the same two special tokens.
        Miss::Cold
    } else if matched < prompt.prefix_end {
        Miss::Prefix
    } else if matched < prompt.suffix_end {
        Miss::Suffix
    } else {
        Miss::Tail
    }
}
