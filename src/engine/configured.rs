//! The engine that a configuration asks for.
//!
//! ```no_run
//! let engine = infill::engine::configured::open(&infill::config::Config::default())?;
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use super::http::{Http, Options};
use super::local::{Local, LocalOptions};
use super::shared::Shared;
use super::{Answer, Engine, EngineError, Info, Request, State, Totals};
use crate::config::Config;
use crate::daemon::link::Link;
use crate::daemon::place::Place;
use crate::daemon::{Identity, start::Wanted};
use std::sync::Arc;

/// The local engine, or a remote one.
pub enum Configured {
    Local(Local),
    Remote(Http),
}

/// Opens the configured engine; it loads in the background.
///
/// # Errors
/// A model that is not there, a size that is none, an address or key that cannot be used.
pub fn open(config: &Config) -> Result<Configured, EngineError> {
    if !config.engine.url.is_empty() {
        return Http::open(Options::from_config(config)?).map(Configured::Remote);
    }
    let cache_bytes = config.cache.bytes.get().map_err(|hint| EngineError { title: "cache.bytes".into(), hint })?;
    Local::open(&config.model, LocalOptions { device: config.device, cache_bytes, ..LocalOptions::default() }).map(Configured::Local)
}

impl Configured {
    /// Waits until the engine is ready, or has failed.
    ///
    /// # Errors
    /// Why it has failed, with the remedy.
    pub async fn loaded(&self) -> Result<Info, EngineError> {
        match self {
            Configured::Local(local) => local.loaded().await,
            Configured::Remote(remote) => remote.loaded().await,
        }
    }

    fn engine(&self) -> &dyn Engine {
        match self {
            Configured::Local(local) => local,
            Configured::Remote(remote) => remote,
        }
    }
}

impl Engine for Configured {
    fn state(&self) -> State {
        self.engine().state()
    }

    fn leaves(&self) -> Option<String> {
        self.engine().leaves()
    }

    fn totals(&self) -> Totals {
        self.engine().totals()
    }

    fn submit(&self, request: Request) -> Answer {
        self.engine().submit(request)
    }
}

/// The engine of a window: the server that all windows share, or one of its own (`engine.shared = false`, or a remote one).
/// Within a tokio runtime.
///
/// # Errors
/// As `open`; and where there is no folder for the server.
pub fn for_window(config: &Config) -> Result<Arc<dyn Engine>, EngineError> {
    if !config.engine.shared || !config.engine.url.is_empty() {
        return Ok(Arc::new(open(config)?));
    }
    let identity = Identity::of(config)?;
    let program = std::env::current_exe().map_err(|error| {
        let title = format!("The path of this program cannot be found out ({})", crate::config::plain(&error));
        EngineError::new(title, "start infill by its whole path, or set engine.shared = false")
    })?;
    let link = Link { place: Place::find()?, transport: config.server.transport };
    Ok(Arc::new(Shared::start(Wanted { link, identity, program })))
}
