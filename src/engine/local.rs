//! The engine in this process: a model file, a worker thread, the prefix cache.
//!
//! ```no_run
//! use infill::engine::{Engine, Request, local::{Local, LocalOptions}};
//! # async fn f() -> Result<(), infill::engine::EngineError> {
//! let engine = Local::open("nano", LocalOptions::default())?; // returns at once; the model loads on its own thread
//! let mut answer = engine.submit(Request { prefix: "fn f() {\n".into(), max_tokens: 16, ..Request::default() });
//! while let Some(event) = answer.recv().await { println!("{event:?}") }
//! println!("{:?}", engine.loaded().await?);
//! # Ok(()) }
//! ```
use super::{Answer, Engine, EngineError, Info, Request, State, Totals};
use crate::config::{CacheFormat, Config, Device};
use crate::hub::Name;
use crate::hub::cache::Cache;
use crate::model::cpu::Cpu;
use crate::model::gguf::Vocabulary;
use crate::model::{BLOCK, Backend};
use crate::tokens::Tokens;
use crate::worker::{Loaded, Options, Worker};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod files;
pub mod sidecar;

pub use files::fingerprint;

/// How to run a local model.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    pub device: Device,
    /// Most memory for the prefix cache; `None`: a quarter of what is free.
    pub cache_bytes: Option<u64>,
    /// How a GPU holds it.
    pub cache_format: CacheFormat,
    /// Most tokens in one forward pass of a prefill.
    pub chunk: usize,
}

impl Default for LocalOptions {
    fn default() -> LocalOptions {
        LocalOptions { device: Device::Auto, cache_bytes: None, cache_format: CacheFormat::Auto, chunk: Options::default().chunk }
    }
}

/// A model in this process.
pub struct Local {
    worker: Worker,
}

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "local/no_gpu.rs"]
mod gpu;

/// Where a model runs.
enum Place {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "there is no GPU without it"))]
    Gpu(Loaded),
    /// And why not on a GPU that is there and was not refused by the configuration.
    Cpu(Option<String>),
}

/// Where a model comes from.
enum Source {
    Nano,
    Folder(PathBuf),
    Gguf(PathBuf),
}

impl Local {
    /// `nano` (inside the binary), a folder, a GGUF file, or the name of a downloaded model. What is wrong inside the files is known only when they are
    /// loaded: then every request, and `loaded`, gets the error.
    pub fn open(model: &str, options: LocalOptions) -> Result<Local, EngineError> {
        let source = Source::find(model)?;
        Ok(Local { worker: Worker::spawn_with(move || load(&source, &options)) })
    }

    /// Waits until the model is loaded, or has failed to.
    pub async fn loaded(&self) -> Result<Info, EngineError> {
        self.worker.loaded().await
    }
}

impl Engine for Local {
    fn state(&self) -> State {
        self.worker.state()
    }

    fn totals(&self) -> Totals {
        self.worker.totals()
    }

    fn submit(&self, request: Request) -> Answer {
        self.worker.submit(request)
    }
}

impl Source {
    fn find(model: &str) -> Result<Source, EngineError> {
        if model == "nano" {
            return nano().map(|_| Source::Nano);
        }
        let path = PathBuf::from(model);
        match std::fs::metadata(&path) {
            Ok(_) => Source::path(path),
            Err(reason) => {
                let Some(name) = Name::parse(model) else {
                    let title = format!("No model at {model:?} ({})", crate::config::plain(&reason));
                    let hint = "set model to \"nano\", a name from \"infill models\", a folder with config.json and tokenizer.json, or a GGUF file";
                    return Err(error(title, hint));
                };
                let missing = |e: EngineError| error(e.title, format!("{}, or set model to another from \"infill models\"", e.hint));
                Source::path(Cache::from_env().find(&name).map_err(missing)?)
            }
        }
    }

    fn path(path: PathBuf) -> Result<Source, EngineError> {
        Ok(if path.is_dir() { Source::Folder(path) } else { Source::Gguf(path) })
    }

    fn weights(&self) -> Result<Cpu, EngineError> {
        let opened = match self {
            Source::Nano => Cpu::from_static("nano", nano()?),
            Source::Folder(path) | Source::Gguf(path) => Cpu::open(path),
        };
        opened.map_err(|problem| unusable(problem.to_string()))
    }

    fn bytes(&self) -> u64 {
        match self {
            Source::Nano => nano_bytes(),
            Source::Gguf(path) | Source::Folder(path) => crate::model::store::size(path),
        }
    }

    fn tokens(&self) -> Result<Tokens, EngineError> {
        let vocabulary = match self {
            Source::Nano => Vocabulary::from_bytes(nano()?),
            Source::Gguf(file) => Vocabulary::read(file),
            Source::Folder(folder) => return Tokens::from_file(&folder.join("tokenizer.json")).map_err(|odd| unusable(odd.to_string())),
        };
        let vocabulary = vocabulary.map_err(|problem| unusable(problem.to_string()))?;
        Tokens::from_vocabulary(&vocabulary).map_err(|odd| unusable(odd.to_string()))
    }
}

/// What `infill doctor` says of a configured model.
#[derive(Clone, Debug)]
pub struct Health {
    pub model: String,
    pub device: String,
    /// The model's files.
    pub weight_bytes: u64,
    pub cache_bytes: u64,
    pub cache_tokens: usize,
    /// Where a format is set that a CPU's cache does not have.
    pub cache_note: Option<&'static str>,
    /// Most tokens of one prompt.
    pub window: usize,
    pub free_bytes: u64,
}

impl Health {
    /// What was a guess before it ran: where (on a GPU, or why not there), and with how large a cache.
    pub fn ran(&mut self, info: &Info) {
        self.device.clone_from(&info.device);
        (self.cache_tokens, self.cache_bytes) = (info.cache_tokens, info.cache_bytes);
        self.cache_note = self.cache_note.filter(|_| !self.on_gpu());
    }

    /// Its memory is a GPU's, of which it has what it needs.
    #[must_use]
    pub fn on_gpu(&self) -> bool {
        self.device.starts_with("cuda:")
    }
}

/// Opens a model, and looks at what it needs.
///
/// # Errors
/// As `Local::open` and `Local::loaded`.
pub fn health(config: &Config) -> Result<Health, EngineError> {
    let source = Source::find(&config.model)?;
    let (backend, _) = both(&source)?;
    let wanted = config.cache.bytes.get().map_err(|hint| error("cache.bytes".to_owned(), hint))?;
    let free_bytes = free_memory();
    let cache_blocks = blocks(wanted, free_bytes, backend.block_bytes()).max(least(&backend));
    Ok(Health {
        model: backend.name().to_owned(),
        device: "cpu".to_owned(),
        weight_bytes: source.bytes(),
        cache_bytes: (cache_blocks * backend.block_bytes()) as u64,
        cache_tokens: cache_blocks * BLOCK,
        cache_note: config.cache.format.on_cpu(),
        window: config.context.tokens.min(backend.context()),
        free_bytes,
    })
}

/// The size of the model inside the binary; 0 in one without it.
pub(crate) fn nano_bytes() -> u64 {
    nano().map_or(0, |bytes| bytes.len() as u64)
}

fn unusable(reason: String) -> EngineError {
    error("The model cannot be used".to_owned(), reason)
}

/// The tokenizer of a model, without its weights.
///
/// # Errors
/// As `Local::open` and `Local::loaded`.
pub fn tokens(model: &str) -> Result<Tokens, EngineError> {
    Source::find(model)?.tokens()
}

/// A model and its tokenizer, without a worker.
///
/// # Errors
/// As `Local::open` and `Local::loaded`.
pub(crate) fn parts(model: &str) -> Result<(Cpu, Tokens), EngineError> {
    both(&Source::find(model)?)
}

fn both(source: &Source) -> Result<(Cpu, Tokens), EngineError> {
    let (backend, tokens) = (source.weights()?, source.tokens()?);
    fit(&backend, &tokens)?;
    Ok((backend, tokens))
}

fn fit(backend: &dyn Backend, tokens: &Tokens) -> Result<(), EngineError> {
    if tokens.len() <= backend.vocab() {
        return Ok(());
    }
    let reason = format!("its tokenizer has {} tokens and its weights {}; use the tokenizer it came with", tokens.len(), backend.vocab());
    Err(error("The model does not fit its tokenizer".to_owned(), &reason))
}

fn load(source: &Source, options: &LocalOptions) -> Result<Loaded, EngineError> {
    let instead = match gpu::load(source, options)? {
        Place::Gpu(loaded) => return Ok(loaded),
        Place::Cpu(instead) => instead,
    };
    if let Some(said) = options.cache_format.on_cpu() {
        tracing::warn!("{said}");
    }
    let (backend, tokens) = both(source)?;
    let cache_blocks = blocks(options.cache_bytes, free_memory(), backend.block_bytes()).max(least(&backend));
    let sidecar::Sidecar { show_threshold, copying, .. } = sidecar::read(source)?;
    tracing::info!(model = backend.name(), cache_blocks, "model loaded");
    let model = backend.name().to_owned();
    let device = instead.map_or_else(|| "cpu".to_owned(), |reason| format!("cpu, because the GPU cannot be used: {reason}"));
    let options = Options { cache_blocks, chunk: options.chunk, model, device, show_threshold, chat: source.chats(), copying };
    Ok(Loaded { backend: Box::new(backend), tokens: Arc::new(tokens), options })
}

/// "auto" holds this many tokens at most: some twenty windows' prompts.
const AUTO_TOKENS: u64 = 65_536;

/// A cache that does not hold one prompt is of no use: then as much as this many tokens take is used.
const LEAST_TOKENS: usize = 1024;

fn least(backend: &dyn Backend) -> usize {
    backend.context().min(LEAST_TOKENS).div_ceil(BLOCK)
}

/// How many blocks the budget allows. A budget beyond what is free is cut to that: the pool grows as it is used, and the
/// system would end the process.
fn blocks(wanted: Option<u64>, free: u64, block_bytes: usize) -> usize {
    let bytes = wanted.unwrap_or((free / 4).min(AUTO_TOKENS / BLOCK as u64 * block_bytes as u64)).min(free / 10 * 9);
    if wanted.is_some_and(|wanted| wanted > bytes) {
        tracing::warn!("cache.bytes is more than the free memory: {bytes} are used");
    }
    usize::try_from(bytes / block_bytes.max(1) as u64).unwrap_or(usize::MAX)
}

/// Bytes of memory that are free to use; 4 GiB where the system does not say.
fn free_memory() -> u64 {
    let report = std::fs::read_to_string(Path::new("/proc/meminfo")).unwrap_or_default();
    let line = report.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.map_or(4 << 30, |kilobytes| kilobytes * 1024)
}

fn error(title: String, hint: impl Into<String>) -> EngineError {
    EngineError { title, hint: hint.into() }
}

/// GGUF aligns its tensors to 32 bytes from the file's beginning, so that they can be read where they lie.
#[cfg(feature = "nano")]
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

#[cfg(feature = "nano")]
static NANO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../fixtures/nano/nano.gguf"));

#[cfg(feature = "nano")]
#[expect(clippy::unnecessary_wraps, reason = "without the feature it can fail")]
fn nano() -> Result<&'static [u8], EngineError> {
    Ok(&NANO.0)
}

#[cfg(not(feature = "nano"))]
fn nano() -> Result<&'static [u8], EngineError> {
    let hint = "build with the feature `nano` (it is on by default), or set model to a GGUF file";
    Err(error("The small model is not part of this binary".to_owned(), hint))
}

#[cfg(test)]
mod tests;
