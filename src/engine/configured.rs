//! The engine that a configuration asks for.
//!
//! ```no_run
//! let engine = infill::engine::configured::open(&infill::config::Config::default())?;
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use super::http::{Http, Options};
use super::local::{Local, LocalOptions};
use super::{Answer, Engine, EngineError, Info, Request, State, Totals};
use crate::config::{Config, Device};

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
    let device = match config.device {
        Device::Auto => "auto",
        Device::Cpu => "cpu",
    };
    let cache_bytes = config.cache.bytes.get().map_err(|hint| EngineError { title: "cache.bytes".into(), hint })?;
    Local::open(&config.model, LocalOptions { device: device.into(), cache_bytes, ..LocalOptions::default() }).map(Configured::Local)
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
