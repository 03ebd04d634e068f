//! The state of one answer, from its prompt to its last token.
//!
//! ```text
//! tokens  the prompt, then what was chosen     held  bytes that the first tokens must still spell (healing)
//! spent   what its turn has taken              turn  what a turn may take while another waits
//! ```
use super::Job;
use super::answer::{Piece, Stream};
use super::copy::Copier;
use super::pick::{Choice, Dice};
use super::sequence::Sequence;
use crate::engine::{Event, Finish, Miss, Request, Sampling, Totals, Usage};
use crate::tokens::Prompt;

/// Tokens that may be missing at the end of a prompt while it still counts as cached.
const FEW: usize = 4;

/// Tokens of an answer after which it is the next one's turn: the longest single line that a suggestion may be.
pub const TURN: usize = 48;

/// The state of one answer.
pub struct Decoding {
    pub usage: Usage,
    pub stream: Stream,
    /// The prompt, and what was chosen since: what the next row of logits follows.
    pub tokens: Vec<u32>,
    pub prefix_end: usize,
    pub suffix_end: usize,
    /// Bytes of the tail that the tokens chosen so far have not covered.
    pub held: Vec<u8>,
    /// What may be copied, where the model is mixed with that.
    pub copier: Option<Copier>,
    /// Still to be applied to the first token with new text.
    pub rank: usize,
    pub sampling: Option<(Sampling, Dice)>,
    pub top: usize,
    pub max_tokens: usize,
    /// What this turn has taken, and what it may take while another request waits; in tokens generated.
    pub spent: usize,
    pub turn: usize,
    /// Tokens that were computed when the last turn ended.
    pub reached: usize,
}

impl Decoding {
    /// `told`: tokens of the prompt before it was healed.
    pub fn new(prompt: Prompt, told: usize, copier: Option<Copier>, request: &Request) -> Decoding {
        let usage = Usage { prompt_tokens: told, ..Usage::default() };
        let Prompt { tokens, prefix_end, suffix_end, held } = prompt;
        Decoding {
            usage,
            stream: Stream::new(&request.stop),
            tokens,
            prefix_end,
            suffix_end,
            held,
            copier,
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
    pub fn begin(&mut self, sequence: &Sequence) {
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
    pub fn accept(&mut self, job: &Job, choice: Choice, bytes: &[u8], top: Vec<(String, f32)>) -> Option<Finish> {
        let covered = bytes.len().min(self.held.len());
        self.held.drain(..covered);
        let new = &bytes[covered..];
        if new.is_empty() {
            return None;
        }
        self.copier.iter_mut().for_each(|copier| copier.write(new));
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
    pub fn count(&mut self, tokens: usize) {
        if self.usage.first_token.is_none() {
            self.usage.computed += tokens;
        }
    }

    pub fn finish(&mut self, job: &Job, finish: Finish) -> Finish {
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

pub fn sum_up(totals: &mut Totals, usage: &Usage) {
    totals.requests += 1;
    totals.prompt_tokens += usage.prompt_tokens as u64;
    totals.reused += usage.reused as u64;
    totals.generated += usage.generated as u64;
}
