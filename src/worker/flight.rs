//! Requests at work side by side: who runs when, and in which pass.
//!
//! ```text
//! window A decodes, window B decodes, window C has typed two tokens, window D opens a file of 3,000 tokens
//! one round:  pass 1  [a] [b] [c c]     one read of the weights for three windows
//!             pass 2  [d × 2,048]       one chunk of a prefill, then everybody again
//! ```
//! How many fly together says the backend ([`Backend::together`]); on a CPU it is one, and requests take turns. A background request gives way to
//! interactive ones between two passes, an interactive one when its turn is over and there is no room for who waits. Who shares a
//! prompt that another is computing waits for it.
use super::decoding::{Decoding, TURN, sum_up};
use super::draft::Drafter;
use super::run::Fault;
use super::sequence::Sequence;
use super::{Job, Machine};
use crate::engine::{EngineError, Event, Finish, Priority, Usage};
use crate::model::{BLOCK, Part};
use std::time::Instant;

/// Steps that a backend takes by itself between two looks at the queue.
const AHEAD: usize = 8;

/// A request at work.
pub struct Flight {
    pub job: Job,
    pub decoding: Box<Decoding>,
    pub sequence: Sequence,
    pub phase: Phase,
    pub drafter: Drafter,
    /// What runs behind the chosen token, to be verified.
    pub draft: Vec<u32>,
    /// Passes that its prompt has had.
    chunks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Tokens of the prompt have still to run.
    Prefill,
    /// This token is chosen and has still to run.
    Decode(u32),
}

/// Everything at work. It outlives a panic, so that each request hears of its end.
#[derive(Default)]
pub struct Deck {
    pub flights: Vec<Flight>,
    /// Neither waiting nor flying: it is about to begin, or has just ended.
    pub job: Option<Job>,
    /// The cache does not hold all that flew together: until the first has landed it flies alone.
    crowded: bool,
}

/// What a flight runs in a pass.
struct Load {
    flight: usize,
    tokens: Vec<u32>,
    rows: usize,
}

impl Deck {
    /// All jobs in it.
    pub fn clear(&mut self) -> impl Iterator<Item = Job> {
        self.crowded = false;
        std::mem::take(&mut self.flights).into_iter().map(|flight| flight.job).chain(self.job.take())
    }
}

impl Machine {
    /// One thing for each who is at work. Whether a request ended.
    pub fn round(&mut self, deck: &mut Deck) -> bool {
        let ended = self.sweep(deck) | self.board_all(deck);
        // What has arrived without a pass looks at the queue before the first one.
        ended | self.arrive(deck).unwrap_or_else(|| self.pass_all(deck))
    }

    /// Between two passes: who is still wanted, and whose turn is over?
    fn sweep(&mut self, deck: &mut Deck) -> bool {
        let waiting = self.queue.waiting();
        let mut beyond = waiting.saturating_sub(self.room(deck));
        let mut ended = false;
        for i in (0..deck.flights.len()).rev() {
            let flight = &deck.flights[i];
            let background = flight.job.request.priority == Priority::Background;
            let over = beyond > 0 && flight.decoding.spent >= flight.decoding.turn;
            if flight.job.events.is_closed() || self.queue.is_closing() {
                ended |= self.land(deck, i, Err(Fault::Cancelled));
            } else if over || (background && waiting > 0) {
                beyond = beyond.saturating_sub(1);
                self.land(deck, i, Err(Fault::Postponed));
            }
        }
        ended
    }

    /// How many more may fly.
    fn room(&self, deck: &Deck) -> usize {
        let most = if deck.crowded { 1 } else { self.backend.together().max(1) };
        most.saturating_sub(deck.flights.len())
    }

    /// Takes from the queue who has room.
    fn board_all(&mut self, deck: &mut Deck) -> bool {
        let mut ended = false;
        while self.room(deck) > 0 {
            if deck.job.is_none() {
                let background = deck.flights.iter().all(|f| f.job.request.priority == Priority::Background);
                deck.job = self.queue.poll(background);
            }
            match self.board(deck) {
                Some(failed) => ended |= failed,
                None => break,
            }
        }
        ended
    }

    /// Begins, or goes on with, the job at hand; whether it failed. `None`: there is none that can begin now.
    fn board(&mut self, deck: &mut Deck) -> Option<bool> {
        let job = deck.job.as_mut()?;
        let decoding = match job.paused.take().map_or_else(|| self.first(job), Ok) {
            Ok(decoding) => decoding,
            Err(fault) => {
                job.close(fault);
                deck.job = None;
                return Some(true);
            }
        };
        if !self.shares(deck, &decoding.tokens) {
            let mut job = deck.job.take()?;
            job.paused = Some(decoding);
            self.queue.put_first(job);
            return None;
        }
        self.take_off(deck, decoding);
        Some(false)
    }

    fn take_off(&mut self, deck: &mut Deck, mut decoding: Box<Decoding>) {
        // Without its logits the last token is computed again: they are what the answer goes on with.
        let needs_row = decoding.max_tokens > 0 && self.rows.get(&decoding.tokens).is_none();
        let sequence = self.begin(&decoding.tokens[..decoding.tokens.len() - usize::from(needs_row)]);
        decoding.begin(&sequence);
        if let Some(job) = deck.job.take() {
            let (phase, drafter) = (Phase::Prefill, Drafter::new());
            deck.flights.push(Flight { job, decoding, sequence, phase, drafter, draft: Vec::new(), chunks: 0 });
        }
    }

    /// Who decodes what these tokens begin with hands it to the cache; who still computes it is waited for (false).
    fn shares(&mut self, deck: &mut Deck, tokens: &[u32]) -> bool {
        for flight in &mut deck.flights {
            let common = flight.decoding.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            // What it found in the cache is there for others too.
            if common < flight.sequence.reused + BLOCK {
                continue;
            }
            if flight.phase == Phase::Prefill {
                return false;
            }
            self.publish(flight);
        }
        true
    }

    /// Puts what a flight has computed into the cache, and goes on from there.
    fn publish(&mut self, flight: &mut Flight) {
        let nothing = self.begin(&[]);
        let sequence = std::mem::replace(&mut flight.sequence, nothing);
        let len = sequence.tokens.len();
        self.end(sequence);
        let again = self.begin(&flight.decoding.tokens[..len.min(flight.decoding.tokens.len())]);
        let nothing = std::mem::replace(&mut flight.sequence, again);
        self.end(nothing);
        // In a full cache the last block finds no copy: its tokens run again.
        if flight.sequence.tokens.len() < len {
            flight.phase = Phase::Prefill;
        }
    }

    /// Those whose prompt is all there. `None`: nobody; else whether one of them ended.
    fn arrive(&mut self, deck: &mut Deck) -> Option<bool> {
        let mut any = None;
        for i in (0..deck.flights.len()).rev() {
            let flight = &mut deck.flights[i];
            if flight.phase != Phase::Prefill || flight.sequence.tokens.len() < flight.decoding.tokens.len() {
                continue;
            }
            let row = self.rows.get(&flight.decoding.tokens).map(<[f32]>::to_vec).unwrap_or_default();
            let done = self.prefilled(flight, &row);
            let ended = self.settled(deck, i, done);
            any = Some(any.unwrap_or(false) | ended);
        }
        any
    }

    /// The prompt has run; `row` follows its last token.
    fn prefilled(&mut self, flight: &mut Flight, row: &[f32]) -> Result<Option<Finish>, Fault> {
        if flight.decoding.max_tokens == 0 {
            return Ok(Some(Finish::Length));
        }
        flight.decoding.spent = 0;
        self.settle(flight, row)
    }

    /// One step of all who decode, the ends of prompts beside them, and one chunk of a longer prompt.
    fn pass_all(&mut self, deck: &mut Deck) -> bool {
        let together = self.backend.together().max(1);
        let (small, large): (Vec<Load>, Vec<Load>) = self.loads(deck, together).into_iter().partition(|l| l.tokens.len() < together);
        let (mut results, mut full) = (Vec::new(), false);
        for group in pack(small, together).into_iter().chain(large.into_iter().map(|load| vec![load])) {
            let steps = self.steps(deck, &group);
            match self.grow_all(deck, &group, steps) {
                Ok(()) if steps >= 2 => results.extend(self.leap(deck, &group, steps)),
                Ok(()) => results.extend(self.pass(deck, group)),
                Err((flight, fault)) if deck.flights.len() == 1 => results.push((flight, Err(fault))),
                Err(_) => {
                    full = true;
                    break;
                }
            }
        }
        // From the last: a removal leaves the numbers before it alone.
        results.sort_by_key(|(flight, _)| std::cmp::Reverse(*flight));
        let ended = results.into_iter().fold(false, |ended, (flight, result)| self.settled(deck, flight, result) | ended);
        if full {
            self.thin_out(deck);
        }
        ended
    }

    /// The cache does not hold them all: the first goes on alone, the others later.
    fn thin_out(&mut self, deck: &mut Deck) {
        deck.crowded = true;
        while deck.flights.len() > 1 {
            self.land(deck, 1, Err(Fault::Postponed));
        }
    }

    /// What each runs next. Of prompts that are no mere ends, the one that has had least.
    fn loads(&self, deck: &mut Deck, together: usize) -> Vec<Load> {
        let rest = |f: &Flight| f.decoding.tokens.len() - f.sequence.tokens.len();
        let long = deck.flights.iter().enumerate().filter(|(_, f)| f.phase == Phase::Prefill && rest(f) >= together);
        let long = long.min_by_key(|(_, f)| (f.chunks, rest(f))).map(|(i, _)| i);
        let mut loads = Vec::new();
        for (flight, f) in deck.flights.iter_mut().enumerate() {
            match f.phase {
                Phase::Decode(next) => {
                    f.draft = self.draft(f);
                    let tokens: Vec<u32> = std::iter::once(next).chain(f.draft.iter().copied()).collect();
                    loads.push(Load { flight, rows: tokens.len(), tokens });
                }
                Phase::Prefill if rest(f) < together || long == Some(flight) => {
                    let tokens = f.decoding.tokens[f.sequence.tokens.len()..].iter().copied().take(self.chunk()).collect::<Vec<_>>();
                    let last = tokens.len() == rest(f) && f.decoding.max_tokens > 0;
                    loads.push(Load { flight, tokens, rows: usize::from(last) });
                }
                Phase::Prefill => {}
            }
        }
        loads
    }

    /// As many tokens as take about a tenth of a second, so that a cancel is seen soon on any machine; but no pass for so few
    /// that the prompt would take several times as long.
    fn chunk(&self) -> usize {
        ((self.pace / 10.0) as usize).max(self.backend.worthwhile()).min(self.options.chunk.max(1))
    }

    /// Blocks for what a group runs; else who found none.
    fn grow_all(&mut self, deck: &mut Deck, group: &[Load], steps: usize) -> Result<(), (usize, Fault)> {
        for load in group {
            let sequence = &mut deck.flights[load.flight].sequence;
            self.grow(sequence, sequence.tokens.len() + load.tokens.len().max(steps)).map_err(|fault| (load.flight, fault))?;
        }
        Ok(())
    }

    /// Runs a group in one pass; what came of each.
    fn pass(&mut self, deck: &mut Deck, group: Vec<Load>) -> Vec<(usize, Result<Option<Finish>, Fault>)> {
        let begun = Instant::now();
        let logits = self.backend.batch(&parts(deck, &group)).and_then(|logits| self.check(&group, logits));
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => return group.iter().map(|load| (load.flight, Err(failed(&error)))).collect(),
        };
        if let [Load { tokens, rows: 0 | 1, .. }] = &group[..]
            && tokens.len() >= 8
        {
            self.pace = tokens.len() as f32 / begun.elapsed().as_secs_f32().max(1e-6);
        }
        let ran = |(load, logits): (Load, Vec<f32>)| (load.flight, self.ran(&mut deck.flights[load.flight], &load, &logits));
        group.into_iter().zip(logits).map(ran).collect()
    }

    fn check(&self, group: &[Load], logits: Vec<Vec<f32>>) -> anyhow::Result<Vec<Vec<f32>>> {
        anyhow::ensure!(logits.len() == group.len(), "logits of {} parts came back for {}", logits.len(), group.len());
        for (load, logits) in group.iter().zip(&logits) {
            let wanted = load.rows * self.backend.vocab();
            anyhow::ensure!(logits.len() == wanted, "{} logits came back for {} rows", logits.len(), load.rows);
        }
        Ok(logits)
    }

    /// A flight's tokens have run.
    fn ran(&mut self, flight: &mut Flight, load: &Load, logits: &[f32]) -> Result<Option<Finish>, Fault> {
        flight.sequence.tokens.extend_from_slice(&load.tokens);
        self.add(|totals| totals.computed += load.tokens.len() as u64);
        let Flight { decoding, sequence, draft, chunks, phase, .. } = &mut *flight;
        decoding.usage.drafted += draft.len();
        if *phase == Phase::Prefill {
            *chunks += 1;
            decoding.spent += TURN;
            decoding.count(load.tokens.len());
            if sequence.tokens.len() < decoding.tokens.len() {
                return Ok(None);
            }
            if load.rows > 0 {
                self.rows.keep(&sequence.tokens, logits);
            }
            return self.prefilled(flight, logits);
        }
        if decoding.usage.first_token.is_none() {
            // Of the tokens that are certain: healing may have ended with this one, and a draft followed it.
            self.rows.keep(&sequence.tokens[..sequence.tokens.len() - draft.len()], &logits[..self.backend.vocab()]);
        }
        decoding.count(load.tokens.len());
        self.settle(flight, logits)
    }

    /// Steps that the backend may take by itself: where of each flight in the group the most probable token is all that is wanted.
    fn steps(&self, deck: &Deck, group: &[Load]) -> usize {
        let room = self.backend.context().min(self.cache.capacity() * self.cache.block_size());
        let of = |load: &Load| {
            let Flight { job, decoding: d, sequence, phase, .. } = &deck.flights[load.flight];
            let greedy = d.rank == 0 && d.sampling.is_none() && job.request.top == 0 && d.copier.is_none();
            let plain = *phase != Phase::Prefill && load.tokens.len() == 1 && greedy && d.held.is_empty() && d.usage.first_token.is_some();
            let left = d.max_tokens.saturating_sub(d.usage.generated).min(room.saturating_sub(sequence.tokens.len()));
            if plain { left } else { 0 }
        };
        group.iter().map(of).min().unwrap_or(0).min(self.backend.steps()).min(AHEAD)
    }

    /// Lets the backend choose for itself, `steps` times for each in the group.
    fn leap(&mut self, deck: &mut Deck, group: &[Load], steps: usize) -> Vec<(usize, Result<Option<Finish>, Fault>)> {
        let limit = self.tokens.len();
        let chosen = self.backend.ahead(&parts(deck, group), limit, steps).and_then(|chosen| {
            anyhow::ensure!(
                chosen.len() == group.len() && chosen.iter().all(|c| c.len() == steps),
                "not {steps} tokens for each came back"
            );
            Ok(chosen)
        });
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return group.iter().map(|load| (load.flight, Err(failed(&error)))).collect(),
        };
        self.add(|totals| totals.computed += (steps * group.len()) as u64);
        let mut took = |(load, chosen): (&Load, &Vec<(u32, f32)>)| {
            let flight = &mut deck.flights[load.flight];
            // The last choice has not run.
            flight.sequence.tokens.extend(load.tokens.iter().copied().chain(chosen[..steps - 1].iter().map(|c| c.0)));
            (load.flight, Ok(self.accept_all(flight, chosen)))
        };
        group.iter().zip(&chosen).map(&mut took).collect()
    }

    fn settled(&mut self, deck: &mut Deck, flight: usize, result: Result<Option<Finish>, Fault>) -> bool {
        match result {
            Ok(None) => false,
            Ok(Some(finish)) => self.land(deck, flight, Ok(finish)),
            Err(fault) => self.land(deck, flight, Err(fault)),
        }
    }

    /// Takes a flight out; whether its request ended.
    fn land(&mut self, deck: &mut Deck, flight: usize, result: Result<Finish, Fault>) -> bool {
        let Flight { job, mut decoding, sequence, .. } = deck.flights.remove(flight);
        let job = deck.job.insert(job);
        let reached = sequence.tokens.len();
        self.end(sequence);
        if let Err(Fault::Postponed) = result {
            decoding.reached = reached;
            job.paused = Some(decoding);
            deck.job.take().into_iter().for_each(|job| self.queue.put_back(job));
            return false;
        }
        let usage = decoding.usage;
        self.add(|totals| sum_up(totals, &usage));
        match result {
            Ok(finish) => {
                let usage = Usage { total: job.submitted.elapsed(), ..usage };
                tracing::debug!(?usage, "answered");
                job.send(Event::Done { finish, usage });
            }
            Err(fault) => job.close(fault),
        }
        (deck.job, deck.crowded) = (None, false);
        true
    }
}

/// Loads that run in one pass, at most `together` tokens each.
fn pack(loads: Vec<Load>, together: usize) -> Vec<Vec<Load>> {
    let size = |group: &Vec<Load>| group.iter().map(|l| l.tokens.len()).sum::<usize>();
    let mut groups: Vec<Vec<Load>> = Vec::new();
    for load in loads {
        match groups.last_mut().filter(|group| size(group) + load.tokens.len() <= together) {
            Some(group) => group.push(load),
            None => groups.push(vec![load]),
        }
    }
    groups
}

fn parts<'a>(deck: &'a Deck, group: &'a [Load]) -> Vec<Part<'a>> {
    let part = |load: &'a Load| {
        let sequence = &deck.flights[load.flight].sequence;
        Part { table: &sequence.table, start: sequence.tokens.len(), tokens: &load.tokens, rows: load.rows }
    };
    group.iter().map(part).collect()
}

fn failed(error: &anyhow::Error) -> Fault {
    let title = format!("The model failed: {error:#}");
    Fault::Failed(EngineError { title, hint: "the next request starts afresh; if it stays, run `infill doctor`".to_owned() })
}
