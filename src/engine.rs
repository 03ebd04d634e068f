//! The seam between the halves: text in, text out.
//!
//! ```text
//! Request { prefix: "fn add(a: i32, b: i32) -> i32 {\n", suffix: "\n}\n", tail: "    a +", .. }
//!     -> Event::Text { text: " b", .. }, Event::Done(..)
//! ```
//! The left half (lsp, suggest, prompt, document) sees only this; the right half (worker, cache, model, tokens) only serves it.
use std::time::Duration;
use tokio::sync::mpsc;

pub mod configured;
pub mod http;
pub mod local;
pub mod shared;

/// Who is waiting for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nobody: prefill while idle. Gives way at the next chunk.
    Background,
    /// A user at the keyboard.
    #[default]
    Interactive,
}

/// How the model reads a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Form {
    /// `prefix ⟨hole⟩ suffix ⟨end⟩ tail…`: fill in the middle.
    #[default]
    Fill,
    /// `prefix tail…`: go on where the text ends. There is no suffix.
    Plain,
    /// The model's own chat template; only where `Info::chat` says so. Neither prefix, suffix nor tail.
    Chat(Vec<Turn>),
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    pub role: Role,
    /// Never parsed for special tokens.
    pub text: String,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// Drawing tokens by their probability. The same seed gives the same text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// More than 0; 1 is the model's own distribution.
    pub temperature: f32,
    /// Only the most probable tokens that make up this much, 0 to 1.
    pub top_p: f32,
    pub seed: u64,
}

/// One completion to compute. The model sees `prefix ⟨hole⟩ suffix ⟨end⟩ tail…` and continues `tail`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub form: Form,
    /// Text before the hole. Never parsed for special tokens.
    pub prefix: String,
    /// Text after the hole.
    pub suffix: String,
    /// What has been typed since the hole was frozen: the beginning of the middle.
    pub tail: String,
    /// The file above the prefix (before it, what other files say) and below the suffix, where `Info::reach` asks for it: the model
    /// does not see it, but what it writes may be copied from there.
    pub above: String,
    pub below: String,
    /// Most tokens to generate; 0 = prefill only.
    pub max_tokens: usize,
    /// Generation ends before the first of these that appears in the new text (the stop itself is not returned).
    pub stop: Vec<String>,
    pub priority: Priority,
    /// 0 = the most probable continuation; k = start with the k-th next most probable first token (alternatives).
    pub rank: usize,
    /// Speculative decoding by prompt lookup; the output is that of plain greedy decoding.
    pub draft: bool,
    /// `None`: greedy.
    pub sampling: Option<Sampling>,
    /// So many of the most probable tokens are told with each token.
    pub top: usize,
}

/// Why the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    Length,
    Cancelled,
}

/// Why tokens of the prompt had to be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// Everything but the last few tokens was there.
    #[default]
    None,
    /// No cached sequence begins like this one.
    Cold,
    /// Text inside the prefix differs from what is cached.
    Prefix,
    /// The prefix is cached, the suffix differs.
    Suffix,
    /// Prefix and suffix are cached, the typed tail is new or differs.
    Tail,
    /// It was cached once, and evicted since.
    Evicted,
}

/// What one request cost.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    /// Prompt tokens whose latents came from the cache.
    pub reused: usize,
    /// Tokens run through the model before the first new token beyond the tail (prefill and healing).
    pub computed: usize,
    /// Tokens generated beyond the tail.
    pub generated: usize,
    /// Draft tokens proposed, and accepted.
    pub drafted: usize,
    pub accepted: usize,
    pub miss: Miss,
    #[serde(rename = "first_token_ms", serialize_with = "milliseconds", deserialize_with = "perhaps_milliseconds")]
    pub first_token: Option<Duration>,
    #[serde(rename = "total_ms", serialize_with = "milliseconds", deserialize_with = "from_milliseconds")]
    pub total: Duration,
}

/// Times leave us as milliseconds.
fn milliseconds<T: Copy + Into<Option<Duration>>, S: serde::Serializer>(time: &T, to: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&(*time).into().map(|t| t.as_secs_f64() * 1e3), to)
}

fn perhaps_milliseconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let time: Option<f64> = serde::Deserialize::deserialize(from)?;
    Ok(time.map(|ms| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()))
}

fn from_milliseconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    perhaps_milliseconds(from).map(Option::unwrap_or_default)
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// New text beyond the tail: whole UTF-8 characters; `logprob` is the natural log probability of its token.
    Text {
        text: String,
        logprob: f32,
    },
    /// Before the text of a token, where `Request::top` asks for it: the most probable tokens there, the best first.
    Top(Vec<(String, f32)>),
    Done {
        finish: Finish,
        usage: Usage,
    },
    Failed(EngineError),
}

/// One sentence for the user, with the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{title}: {hint}")]
pub struct EngineError {
    pub title: String,
    pub hint: String,
}

impl EngineError {
    pub fn new(title: impl Into<String>, hint: impl Into<String>) -> EngineError {
        EngineError { title: title.into(), hint: hint.into() }
    }
}

/// An answer under way. Dropping it cancels the request; the work done stays in the cache.
pub type Answer = mpsc::UnboundedReceiver<Event>;

/// What the left half needs to know of a loaded model.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Info {
    pub model: String,
    pub device: String,
    /// Measured on source code with the loaded tokenizer.
    pub bytes_per_token: f32,
    /// Most tokens of one prompt and its answer together.
    pub context: usize,
    /// The least probability of a suggestion that is worth showing, where that was learnt for this model.
    pub show_threshold: Option<f32>,
    /// It has a chat template: requests of `Form::Chat` are answered.
    #[serde(default)]
    pub chat: bool,
    /// Most bytes of the file in `Request::above`, of other files there, and of `below`, that it has a use for.
    #[serde(default)]
    pub reach: usize,
    /// Tokens that its cache holds, and how many bytes they take.
    #[serde(default)]
    pub cache_tokens: usize,
    #[serde(default)]
    pub cache_bytes: u64,
}

/// Sums over an engine's life.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Totals {
    pub requests: u64,
    pub prompt_tokens: u64,
    /// Prompt tokens whose latents came from the cache.
    pub reused: u64,
    /// Tokens run through the model, for whatever reason.
    pub computed: u64,
    pub generated: u64,
}

impl Totals {
    /// Adds what an answered request cost.
    pub fn add(&mut self, usage: &Usage) {
        self.requests += 1;
        self.prompt_tokens += usage.prompt_tokens as u64;
        self.reused += usage.reused as u64;
        self.computed += (usage.computed + usage.generated) as u64;
        self.generated += usage.generated as u64;
    }
}

/// How far an engine is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Loading,
    Ready(Info),
    /// It did not load, or it broke. Every request is answered with this.
    Failed(EngineError),
}

/// A source of completions.
pub trait Engine: Send + Sync {
    fn state(&self) -> State;
    /// What is loaded; `None` while it is loading, or when loading has failed.
    fn info(&self) -> Option<Info> {
        match self.state() {
            State::Ready(info) => Some(info),
            State::Loading | State::Failed(_) => None,
        }
    }
    /// The host that texts are sent to, where that is another machine.
    fn leaves(&self) -> Option<String> {
        None
    }
    /// What has been done so far, over all requests, cancelled ones too.
    fn totals(&self) -> Totals;
    /// Starts a request; never blocks.
    fn submit(&self, request: Request) -> Answer;
    /// Something that happened beside all requests and that the user should know: told once.
    fn notice(&self) -> Option<EngineError> {
        None
    }
    /// What the status says of a server behind this engine (process, socket, version).
    fn server(&self) -> Option<serde_json::Value> {
        None
    }
}

/// An engine that could not be opened: it says why to everyone who asks.
pub struct Unavailable(pub EngineError);

impl Engine for Unavailable {
    fn state(&self) -> State {
        State::Failed(self.0.clone())
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, _: Request) -> Answer {
        let (sender, answer) = mpsc::unbounded_channel();
        // The receiver is right here.
        let _ = sender.send(Event::Failed(self.0.clone()));
        answer
    }
}
