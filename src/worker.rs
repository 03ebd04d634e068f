//! The one thread that owns the model: schedule, cancel, prefill, heal, decode, draft.
//!
//! ```no_run
//! # fn f(backend: Box<dyn infill::model::Backend>, tokens: std::sync::Arc<infill::tokens::Tokens>) {
//! use infill::{engine::Request, worker::{Options, Worker}};
//! let worker = Worker::spawn(backend, tokens, Options { cache_blocks: 512, ..Options::default() });
//! let mut answer = worker.submit(Request { prefix: "fn f() {\n".into(), max_tokens: 16, ..Request::default() });
//! while let Some(event) = answer.blocking_recv() { println!("{event:?}") }
//! # }
//! ```
//! Interactive requests go before background ones, and a background one gives way between two forward passes. Interactive
//! ones run in the same passes where the backend gains by that ([`Backend::together`]). Otherwise they take turns: after a chunk of a
//! prefill, or a few dozen tokens, the next one that waits has its turn, so nobody is behind another window's prefill for
//! longer than a chunk. Dropping an answer cancels its request. Whatever was computed stays in the cache. A panic in the
//! backend fails the requests at work and empties the cache; the third in a row ends the model, and every request after it
//! is told so.
use crate::cache::Cache;
use crate::engine::{Answer, EngineError, Event, Info, Priority, Request, State, Totals};
use crate::model::{BLOCK, Backend};
use crate::tokens::Tokens;
use copy::Copying;
use decoding::Decoding;
use flight::Deck;
use rows::Rows;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{mpsc as async_mpsc, watch};

mod answer;
pub(crate) mod copy;
mod decoding;
mod draft;
mod flight;
pub(crate) mod pick;
mod rows;
mod run;
mod sequence;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// How to run a model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Blocks in the backend's pool: `cache.bytes` divided by `Backend::block_bytes`.
    pub cache_blocks: usize,
    /// Most tokens in one forward pass of a prefill. Fewer on a slow machine, so that a cancel is seen soon.
    pub chunk: usize,
    /// For `Info`.
    pub model: String,
    pub device: String,
    pub show_threshold: Option<f32>,
    pub chat: bool,
    /// How its distribution is mixed with what the text around says; `None`: not at all.
    pub copying: Option<Copying>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_blocks: 1024,
            chunk: 512,
            model: String::new(),
            device: "cpu".to_owned(),
            show_threshold: None,
            chat: false,
            copying: None,
        }
    }
}

/// What the thread needs before it can answer.
pub struct Loaded {
    pub backend: Box<dyn Backend>,
    pub tokens: Arc<Tokens>,
    pub options: Options,
}

/// The way to a running worker. The thread ends when it is dropped.
pub struct Worker {
    queue: Sender<Job>,
    state: watch::Receiver<State>,
    totals: Arc<Mutex<Totals>>,
    closing: Arc<AtomicBool>,
}

/// A request and where its answer goes.
struct Job {
    request: Request,
    events: UnboundedSender<Event>,
    submitted: Instant,
    /// How far it was when it gave way to another.
    paused: Option<Box<Decoding>>,
}

impl Worker {
    pub fn spawn(backend: Box<dyn Backend>, tokens: Arc<Tokens>, options: Options) -> Worker {
        Worker::spawn_with(move || Ok(Loaded { backend, tokens, options }))
    }

    /// Loads the model on the worker's own thread and returns at once; requests wait in the queue.
    pub fn spawn_with(load: impl FnOnce() -> Result<Loaded, EngineError> + Send + 'static) -> Worker {
        let (queue, jobs) = channel();
        let (set_state, state) = watch::channel(State::Loading);
        let closing = Arc::new(AtomicBool::new(false));
        let totals = Arc::default();
        let shared = Shared { state: set_state.clone(), totals: Arc::clone(&totals) };
        let close = closing.clone();
        let thread = std::thread::Builder::new().name("infill-model".to_owned());
        if let Err(error) = thread.spawn(move || main(load, jobs, shared, close)) {
            let hint = format!("the system refused it ({error}); close other programs and try again");
            set_state.send_replace(State::Failed(EngineError { title: "No thread for the model".to_owned(), hint }));
        }
        Worker { queue, state, totals, closing }
    }

    /// Starts a request; never blocks.
    pub fn submit(&self, request: Request) -> Answer {
        let (events, answer) = async_mpsc::unbounded_channel();
        let job = Job { request, events, submitted: Instant::now(), paused: None };
        if let Err(mpsc::SendError(job)) = self.queue.send(job) {
            let error = match self.state() {
                State::Failed(error) => error,
                State::Loading | State::Ready(_) => broken(),
            };
            job.send(Event::Failed(error));
        }
        answer
    }

    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// What has been done so far, over all requests.
    pub fn totals(&self) -> Totals {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the model is loaded, or has failed to.
    pub async fn loaded(&self) -> Result<Info, EngineError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| *state != State::Loading).await.map(|state| state.clone());
        match settled {
            Ok(State::Ready(info)) => Ok(info),
            Ok(State::Failed(error)) => Err(error),
            Ok(State::Loading) | Err(_) => Err(broken()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Not joined: a forward pass may take seconds, and its owner is leaving.
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl Job {
    fn send(&self, event: Event) {
        // The receiver may be gone; then nobody wants it.
        let _ = self.events.send(event);
    }
}

/// What the thread tells its owner.
struct Shared {
    state: watch::Sender<State>,
    totals: Arc<Mutex<Totals>>,
}

/// What the thread owns.
struct Machine {
    backend: Box<dyn Backend>,
    tokens: Arc<Tokens>,
    cache: Cache,
    rows: Rows,
    options: Options,
    queue: Queue,
    totals: Arc<Mutex<Totals>>,
    /// Tokens per second of the last prefill.
    pace: f32,
}

/// The first chunk goes by this.
const FIRST_PACE: f32 = 320.0;

fn main(load: impl FnOnce() -> Result<Loaded, EngineError>, jobs: Receiver<Job>, shared: Shared, closing: Arc<AtomicBool>) {
    let Shared { state, totals } = shared;
    let mut queue = Queue { jobs, interactive: VecDeque::new(), background: VecDeque::new(), closing };
    let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| Err(broken()));
    let end = match loaded {
        Ok(loaded) => {
            state.send_replace(State::Ready(info(&loaded)));
            let Loaded { backend, tokens, options } = loaded;
            let cache = Cache::new(BLOCK, options.cache_blocks);
            let mut machine = Machine { backend, tokens, cache, rows: Rows::default(), options, queue, totals, pace: FIRST_PACE };
            let end = machine.serve();
            queue = machine.queue;
            end
        }
        Err(error) => Some(error),
    };
    let Some(error) = end else { return };
    tracing::error!("{error}");
    state.send_replace(State::Failed(error.clone()));
    while let Some(job) = queue.next() {
        job.send(Event::Failed(error.clone()));
    }
}

fn info(loaded: &Loaded) -> Info {
    Info {
        model: loaded.options.model.clone(),
        device: loaded.options.device.clone(),
        bytes_per_token: loaded.tokens.bytes_per_token(),
        context: loaded.backend.context().min(loaded.options.cache_blocks.saturating_mul(BLOCK)),
        show_threshold: loaded.options.show_threshold,
        chat: loaded.options.chat,
        reach: loaded.options.copying.as_ref().map_or(0, |copying| copying.reach),
        cache_tokens: loaded.options.cache_blocks.saturating_mul(BLOCK),
        cache_bytes: loaded.options.cache_blocks.saturating_mul(loaded.backend.block_bytes()) as u64,
    }
}

impl Machine {
    /// Answers requests until nobody can send one (`None`) or the model is broken.
    fn serve(&mut self) -> Option<EngineError> {
        let (mut panics, mut deck) = (0, Deck::default());
        loop {
            if deck.flights.is_empty() {
                deck.job = Some(self.queue.next()?);
            }
            self.step(&mut deck, &mut panics);
            if panics == 3 {
                return Some(broken());
            }
        }
    }

    /// One round, whatever the backend does; counts its panics in a row.
    fn step(&mut self, deck: &mut Deck, panics: &mut usize) {
        match catch_unwind(AssertUnwindSafe(|| self.round(deck))) {
            Ok(true) => *panics = 0,
            Ok(false) => {}
            Err(_) => {
                *panics += 1;
                self.recover();
                deck.clear().for_each(|job| job.send(Event::Failed(panicked())));
            }
        }
    }

    /// After a panic nothing is known of the latents, nor of the books.
    fn recover(&mut self) {
        self.cache = Cache::new(BLOCK, self.options.cache_blocks);
        self.rows = Rows::default();
    }
}

fn panicked() -> EngineError {
    let hint = "the log has the place; the request was dropped and the next one starts afresh".to_owned();
    EngineError { title: "The model stopped in the middle of a request".to_owned(), hint }
}

fn broken() -> EngineError {
    let hint = "restart infill; if it happens again, run `infill doctor` and report what it prints".to_owned();
    EngineError { title: "The model has stopped working".to_owned(), hint }
}

/// Jobs that wait, sorted as they come in.
struct Queue {
    jobs: Receiver<Job>,
    interactive: VecDeque<Job>,
    background: VecDeque<Job>,
    closing: Arc<AtomicBool>,
}

impl Queue {
    /// The next job that somebody still waits for; blocks. `None` at the end.
    fn next(&mut self) -> Option<Job> {
        loop {
            self.collect();
            if self.is_closing() {
                return None;
            }
            let job = self.interactive.pop_front().or_else(|| self.background.pop_front());
            match job {
                Some(job) if job.events.is_closed() => {}
                Some(job) => return Some(job),
                None => {
                    let job = self.jobs.recv().ok()?;
                    self.sort(job);
                }
            }
        }
    }

    /// How many users wait.
    fn waiting(&mut self) -> usize {
        self.collect();
        self.interactive.retain(|job| !job.events.is_closed());
        self.interactive.len()
    }

    /// The next interactive job, or also a background one, if there is any.
    fn poll(&mut self, background: bool) -> Option<Job> {
        self.collect();
        if self.is_closing() {
            return None;
        }
        let list = if self.interactive.is_empty() && background { &mut self.background } else { &mut self.interactive };
        while let Some(job) = list.pop_front() {
            if !job.events.is_closed() {
                return Some(job);
            }
        }
        None
    }

    /// A job that cannot begin now is the next one again.
    fn put_first(&mut self, job: Job) {
        match job.request.priority {
            Priority::Interactive => self.interactive.push_front(job),
            Priority::Background => self.background.push_front(job),
        }
    }

    /// Interactive requests take turns; a background one is the first of its kind again.
    fn put_back(&mut self, job: Job) {
        match job.request.priority {
            Priority::Interactive => self.interactive.push_back(job),
            Priority::Background => self.background.push_front(job),
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn collect(&mut self) {
        while let Ok(job) = self.jobs.try_recv() {
            self.sort(job);
        }
    }

    fn sort(&mut self, job: Job) {
        match job.request.priority {
            Priority::Interactive => self.interactive.push_back(job),
            Priority::Background => self.background.push_back(job),
        }
    }
}
