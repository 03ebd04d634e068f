//! The engine in another process: the server that all windows share.
//!
//! ```text
//! window ── POST /v1/completions, a connection each; closed = cancelled ──> infill serve
//!        └─ GET /infill/watch, as long as the window lives ─────────────> its end is the server's end
//! ```
//! A window has neither model nor tokenizer. When the server dies, what it was answering fails with one sentence, the
//! window types on, and the server is started again: at once, then after ever longer pauses.
use super::{Answer, Engine, EngineError, Event, Info, Request, State, Totals};
use crate::daemon::link::{Events, Reply};
use crate::daemon::start::{Attached, Wanted};
use crate::daemon::{Hello, News};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, mpsc, watch};

mod wire;

/// Pauses before the server is started again: this, twice this, …
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);
/// A server that has lived so long was well: the pauses begin anew.
const WELL: Duration = Duration::from_secs(60);

/// See the module.
pub struct Shared {
    inner: Arc<Inner>,
    keeper: tokio::task::AbortHandle,
    runtime: Handle,
}

struct Inner {
    wanted: Wanted,
    link: watch::Sender<Line>,
    /// A request waits while the server is left alone.
    wake: Notify,
    totals: Mutex<Totals>,
    server: Mutex<Option<Hello>>,
    /// What was loaded last: it will be again.
    loaded: Mutex<Option<Info>>,
    notice: Mutex<Option<EngineError>>,
}

/// How the line to the server is.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    State(State),
    /// The server has left in order; the next request starts it.
    Asleep(Info),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Connects, or starts the server, in the background. Within a tokio runtime.
    pub fn start(wanted: Wanted) -> Shared {
        let runtime = Handle::current();
        let inner = Arc::new(Inner {
            wanted,
            link: watch::channel(Line::State(State::Loading)).0,
            wake: Notify::new(),
            totals: Mutex::default(),
            server: Mutex::default(),
            loaded: Mutex::default(),
            notice: Mutex::default(),
        });
        let keeper = runtime.spawn(inner.clone().keep()).abort_handle();
        Shared { inner, keeper, runtime }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Engine for Shared {
    fn state(&self) -> State {
        match self.inner.link.borrow().clone() {
            Line::State(state) => state,
            Line::Asleep(info) => State::Ready(info),
        }
    }

    /// While the server is started again, what it had loaded: prompts keep their size.
    fn info(&self) -> Option<Info> {
        lock(&self.inner.loaded).clone()
    }

    /// Of this window's answered requests.
    fn totals(&self) -> Totals {
        lock(&self.inner.totals).clone()
    }

    fn submit(&self, request: Request) -> Answer {
        let (sender, answer) = mpsc::unbounded_channel();
        let inner = self.inner.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                end = inner.relay(request, &sender) => {
                    if let Err(error) = end {
                        // The receiver may be gone; then nobody wants it.
                        let _ = sender.send(Event::Failed(error));
                    }
                }
            }
        });
        answer
    }

    fn notice(&self) -> Option<EngineError> {
        lock(&self.inner.notice).take()
    }

    fn server(&self) -> Option<Value> {
        let hello = lock(&self.inner.server).clone()?;
        let socket = self.inner.wanted.link.place.socket();
        Some(json!({ "pid": hello.pid, "version": hello.version, "socket": socket, "model": hello.model, "listen": hello.listen }))
    }
}

/// How long it is left alone after so many failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

impl Inner {
    /// Keeps the window attached to a server, as long as the window lives.
    async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            match self.wanted.attach().await {
                Ok(attached) => {
                    let begun = Instant::now();
                    if let Some(info) = self.follow(attached).await {
                        failures = 0;
                        self.link.send_replace(Line::Asleep(info));
                        self.wake.notified().await;
                    } else {
                        failures = if begun.elapsed() > WELL { 1 } else { failures + 1 };
                        let error = self.stopped();
                        tracing::warn!("{error}");
                        *lock(&self.notice) = Some(error.clone());
                        self.pause(failures, error).await;
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!("{error}");
                    self.pause(failures, error).await;
                }
            }
            self.link.send_replace(Line::State(State::Loading));
        }
    }

    /// Takes the server's news until it ends; what it had loaded, when it left in order.
    async fn follow(&self, attached: Attached) -> Option<Info> {
        let Attached { hello, mut news } = attached;
        tracing::info!(pid = hello.pid, model = hello.model, "attached to the shared server");
        *lock(&self.server) = Some(hello);
        let end = loop {
            let Some(Ok(text)) = news.next().await else { break None };
            match serde_json::from_str(&text) {
                Ok(News::Ready(info)) => {
                    *lock(&self.loaded) = Some(info.clone());
                    self.link.send_replace(Line::State(State::Ready(info)));
                }
                Ok(News::Failed(error)) => drop(self.link.send_replace(Line::State(State::Failed(error)))),
                Ok(News::Loading) => drop(self.link.send_replace(Line::State(State::Loading))),
                Ok(News::Leaving) => break Some(lock(&self.loaded).clone().unwrap_or_default()),
                Ok(News::Hello(_)) | Err(_) => {}
            }
        };
        *lock(&self.server) = None;
        end
    }

    /// Meanwhile every request is answered with the error.
    async fn pause(&self, failures: u32, error: EngineError) {
        self.link.send_replace(Line::State(State::Failed(error)));
        tokio::time::sleep(pause(failures)).await;
    }

    fn stopped(&self) -> EngineError {
        let log = self.wanted.link.place.log();
        EngineError::new("The shared server has stopped", format!("it is started again; if it goes on so, see {}", log.display()))
    }

    /// Sends a request to the server and its answer to the window.
    async fn relay(&self, request: Request, to: &UnboundedSender<Event>) -> Result<(), EngineError> {
        self.ready().await?;
        let (path, body) = wire::request(&request);
        let reply = self.wanted.link.post(path, &body).await.map_err(|error| {
            tracing::warn!("a request to the shared server: {error}");
            self.stopped()
        })?;
        match reply {
            Reply::Events(events) => self.pass_on(events, to).await,
            Reply::Refused(status, body) => Err(wire::refusal(&format!("answered {status}"), &body)),
        }
    }

    /// Waits until the server can answer.
    async fn ready(&self) -> Result<(), EngineError> {
        let mut link = self.link.subscribe();
        loop {
            match link.borrow_and_update().clone() {
                Line::State(State::Ready(_)) => return Ok(()),
                Line::State(State::Failed(error)) => return Err(error),
                Line::State(State::Loading) => {}
                Line::Asleep(_) => self.wake.notify_one(),
            }
            link.changed().await.map_err(|_| self.stopped())?;
        }
    }

    async fn pass_on(&self, mut events: Events, to: &UnboundedSender<Event>) -> Result<(), EngineError> {
        while let Some(data) = events.next().await {
            let data = data.map_err(|_| self.stopped())?;
            for event in wire::events(&data)? {
                let done = if let Event::Done { usage, .. } = &event { Some(usage.clone()) } else { None };
                let _ = to.send(event);
                if let Some(usage) = done {
                    lock(&self.totals).add(&usage);
                    return Ok(());
                }
            }
        }
        // It ended before its end.
        Err(self.stopped())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        let pauses: Vec<u64> = [0, 1, 2, 3, 8, 9, 1000].map(|failures| pause(failures).as_millis() as u64).to_vec();
        assert_eq!(pauses, [250, 250, 500, 1000, 32_000, 60_000, 60_000]);
    }
}
