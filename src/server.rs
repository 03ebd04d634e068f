//! The HTTP face of an engine: for windows on a socket of this user's, for everything else on a port.
//!
//! ```text
//! curl http://127.0.0.1:8080/v1/completions -d '{"prompt": "def add(a, b):\n    return ", "suffix": "\n", "max_tokens": 16}'
//! POST /v1/completions        OpenAI's, with `suffix`, and ours: tail, priority, rank, draft
//! POST /v1/chat/completions   where the model has a chat template
//! GET  /v1/models, /health, /metrics
//! GET  /infill/watch, POST /infill/stop     windows only
//! ```
//! It knows nothing of tokens: it turns JSON into [`engine::Request`](crate::engine::Request)s and events into JSON. A
//! connection that closes cancels its requests. Bodies, time, connections and the wait for a slow reader are limited.
use crate::config;
use crate::daemon::Identity;
use crate::engine::{Engine, EngineError};
use accept::Door;
use metrics::Metrics;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

pub mod accept;
mod access;
mod answer;
mod asked;
mod fitted;
pub mod markers;
mod metrics;
mod refusal;
mod routes;
mod window;

/// Limits of one server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once, by door.
    pub connections: usize,
    /// Bytes of a request's body, and the time it may take to arrive.
    pub body: usize,
    pub arrival: Duration,
    /// From a request to the end of its answer.
    pub time: Duration,
    /// A client that takes nothing for so long is gone.
    pub reader: Duration,
    /// What is being answered when the server stops may take so long.
    pub grace: Duration,
}

impl Limits {
    pub fn new(server: &config::Server) -> Limits {
        Limits {
            connections: server.connections,
            body: 16 << 20,
            arrival: Duration::from_secs(30),
            time: Duration::from_secs(server.seconds),
            reader: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}

/// What a server is started with.
pub struct Options {
    pub engine: Arc<dyn Engine>,
    pub identity: Identity,
    pub doors: Vec<Door>,
    pub limits: Limits,
    /// Without a window and a request for so long, it leaves.
    pub idle: Option<Duration>,
    /// Started by somebody, not by a window.
    pub by_hand: bool,
}

/// What all connections share.
pub(crate) struct Face {
    engine: Arc<dyn Engine>,
    identity: Identity,
    limits: Limits,
    metrics: Metrics,
    by_hand: bool,
    listen: Option<String>,
    windows: AtomicUsize,
    /// Windows' own connections, and requests: none for a while is idle.
    busy: AtomicUsize,
    since: Mutex<Instant>,
    stopping: watch::Sender<bool>,
}

/// Something is going on as long as this lives.
pub(crate) struct Busy(Arc<Face>);

impl Face {
    fn begin(self: &Arc<Face>) -> Busy {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// For how long nothing has been going on.
    fn idle(&self) -> Duration {
        if self.busy.load(Ordering::SeqCst) > 0 {
            return Duration::ZERO;
        }
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Ready when the server stops.
    async fn stopped(&self) {
        // An error would mean that the sender, which is ours, is gone.
        drop(self.stopping.subscribe().wait_for(|stop| *stop).await);
    }

    /// Stops in order.
    fn stop(&self) {
        self.stopping.send_replace(true);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves until `stop` is ready, a window asks it to leave, or it has been idle for long enough. What is being answered then
/// is answered, within a grace; the windows are told.
pub async fn serve(options: Options, stop: impl Future<Output = ()>) {
    let Options { engine, identity, doors, limits, idle, by_hand } = options;
    let listen = doors.iter().find_map(Door::address);
    let face = Arc::new(Face {
        engine,
        identity,
        limits,
        metrics: Metrics::default(),
        by_hand,
        listen,
        windows: AtomicUsize::new(0),
        busy: AtomicUsize::new(0),
        since: Mutex::new(Instant::now()),
        stopping: watch::channel(false).0,
    });
    let open: Vec<_> = doors.into_iter().map(|door| tokio::spawn(accept::all(door, face.clone()))).collect();
    tokio::select! {
        () = stop => tracing::info!("asked to stop"),
        () = face.stopped() => tracing::info!("a window asked it to leave"),
        () = idled(&face, idle) => tracing::info!("idle: leaving"),
    }
    face.stop();
    for door in open {
        // Each ends when its connections have, or their grace is over.
        let _ = door.await;
    }
}

async fn idled(face: &Face, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    loop {
        let since = face.idle();
        if since >= idle {
            return;
        }
        tokio::time::sleep((idle - since).min(Duration::from_secs(1))).await;
    }
}

/// The token that HTTP clients must send, as configured.
///
/// # Errors
/// Where the variable or the file that should hold it does not.
pub fn token(server: &config::Server) -> Result<Option<String>, EngineError> {
    let empty =
        |place: String| EngineError::new(format!("No token in {place}"), "put one there, or remove server.token_env and server.token_file");
    if !server.token_env.is_empty() {
        let value = std::env::var(&server.token_env).unwrap_or_default().trim().to_owned();
        return if value.is_empty() { Err(empty(format!("the environment variable {}", server.token_env))) } else { Ok(Some(value)) };
    }
    if !server.token_file.is_empty() {
        let value = std::fs::read_to_string(&server.token_file).unwrap_or_default().trim().to_owned();
        return if value.is_empty() { Err(empty(format!("the file {}", server.token_file))) } else { Ok(Some(value)) };
    }
    Ok(None)
}
