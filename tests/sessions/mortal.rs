//! An engine that knows one text by heart, and that can be killed, revived and held.
//!
//! ```text
//! what stands before the cursor ends with "let ab"   ->   " = abc(x1, é😀) + zz;\n    foo();\n"
//! ```
use crate::harness::Scripted;
use infill::engine::{Answer, Engine, EngineError, Event, Request, State, Totals};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc};

/// What it always writes.
pub const TARGET: &str = "let ab = abc(x1, é😀) + zz;\n    foo();\n";

/// All that may follow: the rest of the target behind each of its beginnings that `before` ends with, the longest first.
pub fn rests(before: &str) -> impl Iterator<Item = &'static str> {
    let ends: Vec<usize> = TARGET.char_indices().map(|(at, _)| at).chain([TARGET.len()]).collect();
    ends.into_iter().rev().filter(move |at| before.ends_with(&TARGET[..*at])).map(|at| &TARGET[at..])
}

pub struct Mortal {
    pub inner: Arc<Scripted>,
    dead: AtomicBool,
    killed: Arc<Notify>,
    /// What it was asked since it was looked at last.
    asked: Mutex<Vec<Request>>,
}

impl Mortal {
    pub fn new() -> Arc<Mortal> {
        let inner = Scripted::new(|r| rests(&[r.prefix.as_str(), &r.tail].concat()).next().unwrap_or_default().to_owned());
        Arc::new(Mortal { inner, dead: AtomicBool::new(false), killed: Arc::default(), asked: Mutex::default() })
    }

    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.killed.notify_waiters();
    }

    pub fn revive(&self) {
        self.dead.store(false, Ordering::SeqCst);
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().expect("asked"))
    }
}

fn gone() -> EngineError {
    EngineError::new("The engine was killed", "start it again")
}

impl Engine for Mortal {
    fn state(&self) -> State {
        if self.is_dead() { State::Failed(gone()) } else { self.inner.state() }
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, request: Request) -> Answer {
        self.asked.lock().expect("asked").push(request.clone());
        let (events, answer) = mpsc::unbounded_channel();
        if self.is_dead() {
            let _ = events.send(Event::Failed(gone()));
            return answer;
        }
        let (mut inner, killed) = (self.inner.submit(request), self.killed.clone().notified_owned());
        self.inner.requests.lock().expect("requests").clear();
        tokio::spawn(async move {
            tokio::pin!(killed);
            loop {
                let event = tokio::select! {
                    event = inner.recv() => event,
                    () = &mut killed => Some(Event::Failed(gone())),
                    () = events.closed() => None,
                };
                let Some(event) = event else { return };
                let last = matches!(event, Event::Failed(_));
                if events.send(event).is_err() || last {
                    return;
                }
            }
        });
        answer
    }
}
