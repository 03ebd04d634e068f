//! One request from its text to its last event.
//!
//! ```text
//! encode -> look up, copy -> prefill in chunks -> heal -> decode, drafting -> the cache keeps it
//! ```
use super::answer::{Piece, Stream};
use super::draft::Drafter;
use super::pick::{self, Choice, Dice};
use super::sequence::{Sequence, pool_is_full};
use super::{Job, Machine, Outcome};
use crate::engine::{EngineError, Event, Finish, Form, Miss, Priority, Request, Sampling, Totals, Usage};
use crate::tokens::Prompt;

/// Why a request ends without its text.
pub enum Fault {
    /// Nobody waits for it any more.
    Cancelled,
    /// It is another request's turn; go on later.
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

/// Tokens of an answer after which it is the next one's turn: the longest single line that a suggestion may be.
const TURN: usize = 48;

impl Machine {
    pub fn run(&mut self, job: &mut Job) -> Outcome {
        let mut decoding = match job.paused.take().map_or_else(|| self.first(job), Ok) {
            Ok(decoding) => decoding,
            Err(fault) => return job.close(fault),
        };
        // Without its logits the last token is computed again: they are what the answer goes on with.
        let needs_row = decoding.max_tokens > 0 && self.rows.get(&decoding.tokens).is_none();
        let mut sequence = self.begin(&decoding.tokens[..decoding.tokens.len() - usize::from(needs_row)]);
        decoding.begin(&sequence);
        let result = self.complete(job, &mut sequence, &mut decoding);
        if let Err(Fault::Postponed) = result {
            decoding.reached = sequence.tokens.len();
            self.end(sequence);
            job.paused = Some(decoding);
            return Outcome::Postponed;
        }
        self.end(sequence);
        let usage = decoding.usage;
        self.add(|totals| sum_up(totals, &usage));
        match result {
            Ok(finish) => {
                let usage = Usage { total: job.submitted.elapsed(), ..usage };
                tracing::debug!(?usage, "answered");
                job.send(Event::Done { finish, usage });
                Outcome::Answered
            }
            Err(fault) => job.close(fault),
        }
    }

    /// A request that has not begun.
    fn first(&mut self, job: &Job) -> Result<Box<Decoding>, Fault> {
        let request = &job.request;
        tracing::trace!(prefix = request.prefix, suffix = request.suffix, tail = request.tail, form = ?request.form, "request");
        let prompt = match &request.form {
            Form::Fill => self.tokens.prompt(&request.prefix, &request.suffix, request.tail.as_bytes()),
            Form::Plain => self.tokens.plain(&request.prefix, request.tail.as_bytes()),
            Form::Chat(turns) => self.tokens.chat(turns),
        };
        self.check_size(&prompt, request.max_tokens)?;
        let told = prompt.tokens.len();
        Ok(Box::new(Decoding::new(self.heal_ahead(prompt), told, request)))
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

    fn complete(&mut self, job: &Job, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Finish, Fault> {
        let logits = self.prefill(job, sequence, decoding)?;
        if decoding.max_tokens == 0 {
            return Ok(Finish::Length);
        }
        decoding.spent = 0;
        self.decode(job, logits, sequence, decoding)
    }

    /// Runs the tokens in chunks; the logits of the last one when there is something to generate.
    fn prefill(&mut self, job: &Job, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Vec<f32>, Fault> {
        if decoding.max_tokens > 0 && sequence.tokens == decoding.tokens {
            return Ok(self.rows.get(&decoding.tokens).map(<[f32]>::to_vec).unwrap_or_default());
        }
        let mut logits = Vec::new();
        while sequence.tokens.len() < decoding.tokens.len() {
            self.give_way(job, decoding)?;
            let rest = &decoding.tokens[sequence.tokens.len()..];
            let chunk = &rest[..rest.len().min(self.chunk())];
            let last = chunk.len() == rest.len() && decoding.max_tokens > 0;
            logits = self.extend(sequence, chunk, usize::from(last))?;
            let ran = chunk.len();
            decoding.count(ran);
            decoding.spent += TURN;
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
    fn give_way(&mut self, job: &Job, decoding: &Decoding) -> Result<(), Fault> {
        if job.events.is_closed() || self.queue.is_closing() {
            return Err(Fault::Cancelled);
        }
        let over = job.request.priority == Priority::Background || decoding.spent >= decoding.turn;
        if over && self.queue.has_interactive() { Err(Fault::Postponed) } else { Ok(()) }
    }

    fn decode(&mut self, job: &Job, mut logits: Vec<f32>, sequence: &mut Sequence, decoding: &mut Decoding) -> Result<Finish, Fault> {
        let vocab = self.backend.vocab();
        let mut drafter = Drafter::new();
        let (mut draft, mut right) = (Vec::new(), 0);
        loop {
            let row = &logits[right * vocab..(right + 1) * vocab];
            let Some(choice) = self.choose(row, decoding)? else { return Ok(decoding.finish(job, Finish::Stop)) };
            let verified = sequence.tokens.len() - draft.len() + right;
            let top = self.alternatives(row, decoding);
            if let Some(finish) = decoding.accept(job, choice, self.tokens.bytes(choice.token), top) {
                sequence.truncate(verified);
                return Ok(decoding.finish(job, finish));
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
                decoding.tokens.truncate(0);
                decoding.tokens.extend(sequence.tokens.iter().chain([&next]));
                self.give_way(job, decoding)?;
                draft = self.draft(job, &drafter, decoding);
                match self.ahead(job, sequence, next, draft.is_empty(), decoding)? {
                    Ahead::Next(token) => next = token,
                    Ahead::Finished(finish) => return Ok(decoding.finish(job, finish)),
                    Ahead::No => break,
                }
            }
            let step: Vec<u32> = std::iter::once(next).chain(draft.iter().copied()).collect();
            logits = self.extend(sequence, &step, step.len())?;
            if decoding.usage.first_token.is_none() {
                // Of the tokens that are certain: healing may have ended with this one, and a draft followed it.
                self.rows.keep(&sequence.tokens[..sequence.tokens.len() - draft.len()], &logits[..vocab]);
            }
            decoding.count(step.len());
        }
    }

    /// Lets a backend that chooses by itself take several steps, where the most probable token is all that is wanted.
    fn ahead(&mut self, job: &Job, sequence: &mut Sequence, next: u32, plain: bool, decoding: &mut Decoding) -> Result<Ahead, Fault> {
        let greedy = decoding.rank == 0 && decoding.sampling.is_none() && job.request.top == 0;
        let plain = plain && greedy && decoding.held.is_empty() && decoding.usage.first_token.is_some();
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
                decoding.accept(job, Choice { token: *token, logprob: *logprob }, self.tokens.bytes(*token), Vec::new())
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
    fn draft(&self, job: &Job, drafter: &Drafter, decoding: &mut Decoding) -> Vec<u32> {
        if !job.request.draft || !decoding.held.is_empty() {
            return Vec::new();
        }
        // One token comes from the last row in any case, so a draft may be one shorter than what is left.
        let wanted = (decoding.max_tokens - decoding.usage.generated).saturating_sub(1);
        let room = self.backend.context().min(self.cache.capacity() * self.cache.block_size());
        let room = room.saturating_sub(decoding.tokens.len());
        let draft = drafter.propose(&decoding.tokens, wanted.min(room));
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
pub struct Decoding {
    usage: Usage,
    stream: Stream,
    /// The prompt, and what was chosen since: what the next row of logits follows.
    tokens: Vec<u32>,
    prefix_end: usize,
    suffix_end: usize,
    /// Bytes of the tail that the tokens chosen so far have not covered.
    held: Vec<u8>,
    /// Still to be applied to the first token with new text.
    rank: usize,
    sampling: Option<(Sampling, Dice)>,
    top: usize,
    max_tokens: usize,
    /// What this turn has taken, and what it may take while another request waits; in tokens generated.
    spent: usize,
    turn: usize,
    /// Tokens that were computed when the last turn ended.
    reached: usize,
}

impl Decoding {
    /// `told`: tokens of the prompt before it was healed.
    fn new(prompt: Prompt, told: usize, request: &Request) -> Decoding {
        let usage = Usage {
            prompt_tokens: told,
            reused: 0,
            computed: 0,
            generated: 0,
            drafted: 0,
            accepted: 0,
            miss: Miss::None,
            first_token: None,
            total: std::time::Duration::ZERO,
        };
        let Prompt { tokens, prefix_end, suffix_end, held } = prompt;
        Decoding {
            usage,
            stream: Stream::new(&request.stop),
            tokens,
            prefix_end,
            suffix_end,
            held,
            rank: request.rank,
            sampling: request.sampling.map(|sampling| (sampling, Dice::new(sampling.seed))),
            top: request.top,
            max_tokens: request.max_tokens,
            spent: 0,
            turn: 0,
            reached: 0,
        }
    }

    /// A turn begins. What was computed before and is not in the cache any more was evicted by those who came between: then
    /// this turn is twice as long, so that two requests that do not fit together end all the same.
    fn begin(&mut self, sequence: &Sequence) {
        if self.turn == 0 {
            self.usage.reused = sequence.reused.min(self.usage.prompt_tokens);
            self.usage.miss = self.miss(sequence);
            self.turn = TURN;
        } else if sequence.reused + 1 < self.reached {
            self.turn = self.turn.saturating_mul(2);
        }
        self.spent = 0;
    }

    /// Takes a chosen token: first it covers held bytes, the rest is new text.
    fn accept(&mut self, job: &Job, choice: Choice, bytes: &[u8], top: Vec<(String, f32)>) -> Option<Finish> {
        let covered = bytes.len().min(self.held.len());
        self.held.drain(..covered);
        let new = &bytes[covered..];
        if new.is_empty() {
            return None;
        }
        self.usage.first_token.get_or_insert_with(|| job.submitted.elapsed());
        self.usage.generated += 1;
        self.spent += 1;
        job.say(self.stream.push(new, choice.logprob, top));
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

    fn finish(&mut self, job: &Job, finish: Finish) -> Finish {
        job.say(std::mem::take(&mut self.stream).finish());
        finish
    }

    /// The account of what was not in the cache.
    fn miss(&self, sequence: &Sequence) -> Miss {
        let matched = sequence.reused;
        if matched + FEW >= self.tokens.len() {
            Miss::None
        } else if sequence.evicted.is_some() {
            Miss::Evicted
        } else if matched <= 2 {
            // Every prompt begins with the same two special tokens.
            Miss::Cold
        } else if matched < self.prefix_end {
            Miss::Prefix
        } else if matched < self.suffix_end {
            Miss::Suffix
        } else {
            Miss::Tail
        }
    }
}

impl Job {
    fn say(&self, pieces: Vec<Piece>) {
        for Piece { text, logprob, top } in pieces {
            if !top.is_empty() {
                self.send(Event::Top(top));
            }
            self.send(Event::Text { text, logprob });
        }
    }
}

fn sum_up(totals: &mut Totals, usage: &Usage) {
    totals.requests += 1;
    totals.prompt_tokens += usage.prompt_tokens as u64;
    totals.reused += usage.reused as u64;
    totals.generated += usage.generated as u64;
}
