//! An engine for tests: answers from a function, in pieces, at the pace the test sets. Not for users.
//!
//! ```
//! use infill::engine::{Engine, Event, Request, scripted::Scripted};
//! let (engine, gate) = Scripted::new(|request: &Request| format!("{}!", request.tail)).gated();
//! let mut answer = engine.submit(Request { tail: "hello".into(), max_tokens: 9, ..Request::default() });
//! assert!(answer.try_recv().is_err()); // nothing passes a closed gate
//! gate.open();
//! assert!(matches!(answer.blocking_recv(), Some(Event::Text { text, .. }) if text == "hell"));
//! assert_eq!(engine.requests().len(), 1);
//! ```
use super::{Answer, Engine, EngineError, Event, Finish, Info, Miss, Request, Totals, Usage};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Script = dyn Fn(&Request) -> Result<String, EngineError> + Send + Sync;

/// See the module. A piece of four characters stands for a token; stops and `max_tokens` are respected.
pub struct Scripted {
    script: Arc<Script>,
    piece: usize,
    gate: Option<Arc<Door>>,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    requests: Vec<Request>,
    cancelled: usize,
    totals: Totals,
}

impl Scripted {
    pub fn new(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Scripted {
        Scripted::trying(move |request| Ok(answer(request)))
    }

    /// As `new`; an error becomes `Event::Failed`.
    pub fn trying(answer: impl Fn(&Request) -> Result<String, EngineError> + Send + Sync + 'static) -> Scripted {
        Scripted { script: Arc::new(answer), piece: 4, gate: None, record: Arc::default() }
    }

    /// Sends so many characters at a time.
    pub fn pieces_of(self, characters: usize) -> Scripted {
        Scripted { piece: characters.max(1), ..self }
    }

    /// Every event waits at a gate, which is closed. Dropping the gate opens it.
    pub fn gated(self) -> (Scripted, Gate) {
        let door = Arc::new(Door::default());
        (Scripted { gate: Some(door.clone()), ..self }, Gate(door))
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.record).requests.clone()
    }

    /// How many answers were dropped before their end, as far as noticed (at the next event).
    pub fn cancelled(&self) -> usize {
        lock(&self.record).cancelled
    }
}

impl Engine for Scripted {
    fn info(&self) -> Option<Info> {
        Some(Info { model: "scripted".to_owned(), device: "test".to_owned(), bytes_per_token: 4.0, context: 1 << 20 })
    }

    fn totals(&self) -> Totals {
        lock(&self.record).totals.clone()
    }

    fn submit(&self, request: Request) -> Answer {
        let (events, answer) = unbounded_channel();
        lock(&self.record).requests.push(request.clone());
        let play = Play { events, gate: self.gate.clone(), record: self.record.clone(), submitted: Instant::now() };
        let (script, piece) = (self.script.clone(), self.piece);
        if self.gate.is_some() {
            // A thread and not a task: the engine must work outside a runtime too.
            std::thread::spawn(move || play.run(&*script, &request, piece));
        } else {
            play.run(&*script, &request, piece);
        }
        answer
    }
}

/// One answer being given.
struct Play {
    events: UnboundedSender<Event>,
    gate: Option<Arc<Door>>,
    record: Arc<Mutex<Record>>,
    submitted: Instant,
}

impl Play {
    fn run(&self, script: &Script, request: &Request, piece: usize) {
        let text = match script(request) {
            Ok(text) => text,
            Err(error) => {
                self.send(Event::Failed(error));
                return;
            }
        };
        let stops = request.stop.iter().filter(|stop| !stop.is_empty());
        // As the worker does: the one that is complete first.
        let end = stops.filter_map(|stop| text.find(stop).map(|at| (at + stop.len(), at))).min().map_or(text.len(), |(_, at)| at);
        let characters: Vec<char> = text[..end].chars().collect();
        let pieces: Vec<String> = characters.chunks(piece).map(|piece| piece.iter().collect()).collect();
        let shown = pieces.len().min(request.max_tokens);
        for text in pieces[..shown].iter().cloned() {
            if !self.send(Event::Text { text, logprob: -0.1 }) {
                lock(&self.record).cancelled += 1;
                return;
            }
        }
        let finish = if shown < pieces.len() || request.max_tokens == 0 { Finish::Length } else { Finish::Stop };
        let usage = self.usage(request, shown);
        self.sum_up(&usage);
        self.send(Event::Done { finish, usage });
    }

    fn usage(&self, request: &Request, generated: usize) -> Usage {
        let prompt_tokens = (request.prefix.len() + request.suffix.len() + request.tail.len()).div_ceil(4);
        let total = self.submitted.elapsed();
        let first_token = (generated > 0).then_some(Duration::ZERO);
        Usage {
            prompt_tokens,
            reused: 0,
            computed: prompt_tokens,
            generated,
            drafted: 0,
            accepted: 0,
            miss: Miss::Cold,
            first_token,
            total,
        }
    }

    fn sum_up(&self, usage: &Usage) {
        let totals = &mut lock(&self.record).totals;
        totals.requests += 1;
        totals.prompt_tokens += usage.prompt_tokens as u64;
        totals.computed += (usage.computed + usage.generated) as u64;
        totals.generated += usage.generated as u64;
    }

    /// False when nobody listens any more.
    fn send(&self, event: Event) -> bool {
        if let Some(door) = &self.gate {
            door.pass();
        }
        self.events.send(event).is_ok()
    }
}

/// Lets events of a gated engine through.
pub struct Gate(Arc<Door>);

impl Gate {
    /// So many more events may pass.
    pub fn let_through(&self, events: usize) {
        *lock(&self.0.permits) += events;
        self.0.changed.notify_all();
    }

    /// Everything may pass from now on.
    pub fn open(&self) {
        *lock(&self.0.permits) = usize::MAX / 2;
        self.0.changed.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

#[derive(Default)]
struct Door {
    permits: Mutex<usize>,
    changed: Condvar,
}

impl Door {
    fn pass(&self) {
        let permits = self.changed.wait_while(lock(&self.permits), |permits| *permits == 0);
        *permits.unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(mut answer: Answer) -> (Vec<String>, Option<Finish>) {
        let (mut texts, mut end) = (Vec::new(), None);
        while let Some(event) = answer.blocking_recv() {
            match event {
                Event::Text { text, .. } => texts.push(text),
                Event::Done { finish, .. } => end = Some(finish),
                Event::Failed(_) => {}
            }
        }
        (texts, end)
    }

    #[test]
    fn pieces_stops_and_lengths() {
        let engine = Scripted::new(|_| "één twee\ndrie".to_owned()).pieces_of(3);
        let ask = |max_tokens, stop: &[&str]| {
            let stop = stop.iter().map(ToString::to_string).collect();
            collect(engine.submit(Request { max_tokens, stop, ..Request::default() }))
        };
        assert_eq!(ask(9, &["\n"]), (vec!["één".into(), " tw".into(), "ee".into()], Some(Finish::Stop)));
        assert_eq!(ask(2, &[]), (vec!["één".into(), " tw".into()], Some(Finish::Length)));
        assert_eq!(ask(0, &[]), (vec![], Some(Finish::Length)));
        assert_eq!(engine.totals().requests, 3);
    }

    #[test]
    fn a_gate_lets_through_what_it_is_told() {
        let (engine, gate) = Scripted::new(|_| "abcdefgh".to_owned()).gated();
        let mut answer = engine.submit(Request { max_tokens: 9, ..Request::default() });
        gate.let_through(1);
        assert!(matches!(answer.blocking_recv(), Some(Event::Text { text, .. }) if text == "abcd"));
        assert!(answer.try_recv().is_err());
        drop(gate);
        assert_eq!(collect(answer), (vec!["efgh".into()], Some(Finish::Stop)));
    }
}
