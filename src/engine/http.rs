//! Remote engines: vLLM, SGLang, llama.cpp's server, Ollama, DeepSeek's FIM API, and others with `/v1/completions`.
//!
//! ```no_run
//! use infill::engine::http::{Http, Options};
//! # fn f() -> Result<(), infill::engine::EngineError> {
//! let engine = Http::open(Options::new("http://127.0.0.1:8080"))?; // asked what it is at once, on a thread of its own
//! # Ok(()) }
//! ```
//! **The prompt** is rendered here ([`template`]), with the typed tail last: prefix and suffix are frozen, so a keystroke
//! appends to what the server has cached, and its own counter says so ([`Usage`]). Where the tail is cut: [`tail`].
//!
//! **Markers in the user's text.** llama.cpp gets token ids, from its own tokenizer, which is told not to see markers.
//! Servers of OpenAI's kind get text, and token ids when the text holds a marker and they have `/tokenize` (vLLM). Where
//! neither is possible, such a window is refused with the reason.
//!
//! **What leaves the machine** goes to the one address that the user's own configuration names: redirects are not
//! followed, certificates are checked, no proxy stands before this machine's own ports. Keys are never logged, and the
//! text of files at level trace only. Dropping an answer closes its connection, which is how these servers are told to
//! stop.
use super::{Answer, Engine, EngineError, Event, Info, Request, State, Totals, Usage};
use crate::config::{Api, Config};
use crate::hub::problem;
use crate::net::Net;
use reqwest::Url;
use reqwest::header::HeaderValue;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use template::Template;
use tokio::sync::{mpsc, watch};

mod api;
mod ask;
mod chat;
mod probe;
pub mod tail;
pub mod template;
mod wire;

/// How to reach an engine.
#[derive(Clone, Debug)]
pub struct Options {
    pub url: String,
    pub api: Api,
    /// Empty: the only one that is served.
    pub model: String,
    /// "auto", a family's name, or a form.
    pub template: String,
    /// Sent as `Authorization: Bearer`.
    pub key: Option<String>,
    /// Longest time without a byte from the server.
    pub silence: Duration,
    /// After a failure, the time in which no new attempt is made.
    pub rest: Duration,
}

impl Options {
    /// An engine without a key, found out about by asking it.
    pub fn new(url: &str) -> Options {
        let (silence, rest) = (Duration::from_secs(60), Duration::from_secs(1));
        Options { url: url.into(), api: Api::Auto, model: String::new(), template: "auto".into(), key: None, silence, rest }
    }

    /// What the section `[engine]` says.
    ///
    /// # Errors
    /// A key that is not where the configuration says.
    pub fn from_config(config: &Config) -> Result<Options, EngineError> {
        let engine = &config.engine;
        let (api, model, template) = (engine.api, engine.model.clone(), engine.template.clone());
        Ok(Options { api, model, template, key: key(&engine.key_env, &engine.key_file)?, ..Options::new(&engine.url) })
    }
}

/// The key from a variable of the environment, else from a file.
fn key(variable: &str, file: &str) -> Result<Option<String>, EngineError> {
    let found = match (variable, file) {
        ("", "") => return Ok(None),
        ("", file) => std::fs::read_to_string(file).map_err(|e| {
            problem(
                format!("engine.key_file {file:?} cannot be read ({})", crate::config::plain(&e)),
                "name a readable file that holds the key",
            )
        })?,
        (name, _) => std::env::var(name).map_err(|_| {
            problem(
                format!("engine.key_env names the variable {name}, which is not set"),
                "set it where the editor is started, or use engine.key_file",
            )
        })?,
    };
    let key = found.trim().to_owned();
    if key.is_empty() {
        return Err(problem("The key that engine.key_env or engine.key_file names is empty", "put the key there"));
    }
    Ok(Some(key))
}

/// A remote engine.
pub struct Http {
    remote: Arc<Remote>,
    work: mpsc::UnboundedSender<(Request, mpsc::UnboundedSender<Event>)>,
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub api: Api,
    pub model: String,
    /// `None`: the server renders the prompt itself (DeepSeek's API).
    pub template: Option<Template>,
    pub info: Info,
    /// The ids of the template's markers, and of what begins every prompt; where ids are sent.
    pub marks: HashMap<String, Vec<u32>>,
    pub begin: Vec<u32>,
    /// It tokenises text for us.
    pub tokenizes: bool,
    /// It does not know the extensions that vLLM and SGLang do: probabilities, usage in a stream.
    pub bare: bool,
}

/// How far the acquaintance is.
#[derive(Clone, Debug)]
enum Known {
    Asking,
    Found(Arc<Found>),
    Failed(EngineError, Instant),
}

/// A server, shared by all requests to it.
pub(crate) struct Remote {
    net: Net,
    base: Url,
    /// What users are shown: the host and port alone.
    host: String,
    key: Option<HeaderValue>,
    options: Options,
    known: watch::Sender<Known>,
    totals: Mutex<Totals>,
    /// Prefix and suffix of the last request, for the reason of a miss.
    last: Mutex<(String, String)>,
    /// Texts and their tokens, the newest last.
    tokens: Mutex<Vec<(String, Vec<u32>)>>,
}

/// A panic elsewhere leaves these consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Http {
    /// Begins to ask the server what it is; returns at once.
    ///
    /// # Errors
    /// An address, key or template that is none.
    pub fn open(options: Options) -> Result<Http, EngineError> {
        let base = address(&options.url)?;
        let host =
            base.port().map_or(base.host_str().unwrap_or_default().to_owned(), |p| format!("{}:{p}", base.host_str().unwrap_or_default()));
        if !matches!(options.template.as_str(), "" | "auto") && Template::parse(&options.template).is_none() {
            let hint = format!("use auto, one of {}, or a form with {{prefix}}, {{suffix}} and markers between", template::NAMES);
            return Err(problem(format!("engine.template {:?} is no template", options.template), hint));
        }
        let key = options.key.as_ref().map(|key| secret(key)).transpose()?;
        if key.is_some() && base.scheme() == "http" && !crate::net::is_loopback(&base) {
            tracing::warn!("the key and all text go to {host} unprotected: use https");
        }
        let (net, known) = (Net::new(options.silence)?, watch::Sender::new(Known::Asking));
        let (totals, last, tokens) = Default::default();
        let remote = Arc::new(Remote { net, base, host, key, options, known, totals, last, tokens });
        let (work, todo) = mpsc::unbounded_channel();
        let serving = remote.clone();
        let started = std::thread::Builder::new().name("remote".into()).spawn(move || serve(&serving, todo));
        started.map_err(|e| problem(format!("No thread ({e})"), "close some programs"))?;
        Ok(Http { remote, work })
    }

    /// Waits until it is known what the server is, or why not.
    ///
    /// # Errors
    /// What the first request to it has shown, with what to change.
    pub async fn loaded(&self) -> Result<Info, EngineError> {
        let mut known = self.remote.known.subscribe();
        let settled = known.wait_for(|known| !matches!(known, Known::Asking)).await;
        match settled.as_deref() {
            Ok(Known::Found(found)) => Ok(found.info.clone()),
            Ok(Known::Failed(error, _)) => Err(error.clone()),
            Ok(Known::Asking) | Err(_) => Err(self.remote.broken("it has ended")),
        }
    }
}

/// `http://HOST:PORT`, with or without `/v1` and what may follow it.
fn address(text: &str) -> Result<Url, EngineError> {
    let bad = || problem(format!("engine.url {text:?} is no address"), "write it as http://HOST:PORT or https://HOST");
    let url: Url = text.trim().parse().map_err(|_| bad())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let mut base = url.clone();
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/completions").unwrap_or(path);
    let path = ["/v1", "/beta", "/api"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path);
    base.set_path(path);
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

fn secret(key: &str) -> Result<HeaderValue, EngineError> {
    let bad = |_| problem("The key holds characters that no key has", "correct what engine.key_env or engine.key_file names");
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(bad)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The engine's thread: a small runtime of its own, so that callers need none.
fn serve(remote: &Arc<Remote>, mut todo: mpsc::UnboundedReceiver<(Request, mpsc::UnboundedSender<Event>)>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return remote.failed(problem(format!("No runtime ({error})"), "close some programs")),
    };
    runtime.block_on(async {
        tokio::spawn(remote.clone().look());
        while let Some((request, to)) = todo.recv().await {
            tokio::spawn(remote.clone().serve(request, to));
        }
    });
}

impl Remote {
    /// Answers a request, for as long as somebody listens.
    async fn serve(self: Arc<Self>, request: Request, to: mpsc::UnboundedSender<Event>) {
        let last = tokio::select! {
            // Dropping the other future closes the connection.
            () = to.closed() => return,
            answered = self.answer(&request, &to) => answered,
        };
        let event = match last {
            Ok((finish, usage)) => {
                self.count(&usage);
                Event::Done { finish, usage }
            }
            Err(error) => {
                // A server's words may repeat what it was sent.
                tracing::info!("{} did not answer", self.host);
                tracing::trace!("{error}");
                Event::Failed(error)
            }
        };
        // Who has hung up meanwhile wants nothing.
        let _ = to.send(event);
    }

    fn count(&self, usage: &Usage) {
        tracing::debug!(prompt = usage.prompt_tokens, reused = usage.reused, generated = usage.generated, "answered");
        let mut totals = lock(&self.totals);
        totals.requests += 1;
        totals.prompt_tokens += usage.prompt_tokens as u64;
        totals.reused += usage.reused as u64;
        totals.computed += (usage.computed + usage.generated) as u64;
        totals.generated += usage.generated as u64;
    }

    /// What the server is. After a failure it is asked again, not too often.
    async fn ready(self: &Arc<Self>) -> Result<Arc<Found>, EngineError> {
        let rested = |known: &Known| matches!(known, Known::Failed(_, at) if at.elapsed() >= self.options.rest);
        let again = self.known.send_if_modified(|known| {
            let again = rested(known);
            if again {
                *known = Known::Asking;
            }
            again
        });
        if again {
            tokio::spawn(self.clone().look());
        }
        let mut known = self.known.subscribe();
        let settled = known.wait_for(|known| !matches!(known, Known::Asking)).await;
        match settled.as_deref() {
            Ok(Known::Found(found)) => Ok(found.clone()),
            Ok(Known::Failed(error, _)) => Err(error.clone()),
            Ok(Known::Asking) | Err(_) => Err(self.broken("it has ended")),
        }
    }

    /// Finds out what the server is.
    async fn look(self: Arc<Self>) {
        match self.probe().await {
            Ok(found) => {
                tracing::info!(model = found.model, api = ?found.api, template = found.template.as_ref().map(|t| &t.name), "{} is known", self.host);
                let found = Arc::new(found);
                self.known.send_replace(Known::Found(found.clone()));
                self.learn_chat(found).await;
            }
            Err(error) => {
                tracing::warn!("{} cannot be used", self.host);
                tracing::trace!("{error}");
                self.failed(error);
            }
        }
    }

    /// Whether it converses is asked when it is known already: no suggestion waits for that.
    async fn learn_chat(&self, found: Arc<Found>) {
        if !self.converses(&found).await {
            return;
        }
        let mut more = (*found).clone();
        more.info.chat = true;
        self.known.send_if_modified(|known| {
            let same = matches!(known, Known::Found(known) if Arc::ptr_eq(known, &found));
            if same {
                *known = Known::Found(Arc::new(more));
            }
            same
        });
    }

    /// What was known no longer holds.
    fn failed(&self, error: EngineError) {
        self.known.send_replace(Known::Failed(error, Instant::now()));
    }
}

impl Engine for Http {
    fn state(&self) -> State {
        match &*self.remote.known.borrow() {
            Known::Asking => State::Loading,
            Known::Found(found) => State::Ready(found.info.clone()),
            Known::Failed(error, _) => State::Failed(error.clone()),
        }
    }

    fn leaves(&self) -> Option<String> {
        (!crate::net::is_loopback(&self.remote.base)).then(|| self.remote.host.clone())
    }

    fn totals(&self) -> Totals {
        lock(&self.remote.totals).clone()
    }

    fn submit(&self, request: Request) -> Answer {
        let (to, answer) = mpsc::unbounded_channel();
        if let Err(mpsc::error::SendError((_, to))) = self.work.send((request, to)) {
            // The receiver is right here.
            let _ = to.send(Event::Failed(self.remote.broken("its thread has ended")));
        }
        answer
    }
}
