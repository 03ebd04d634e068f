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
use crate::config::{Config, env_name};
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
    let (device, cache_format) = (config.device, config.cache.format);
    Local::open(&config.model, LocalOptions { device, cache_bytes, cache_format, ..LocalOptions::default() }).map(Configured::Local)
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
    Ok(Arc::new(Shared::start(Wanted { link, identity, program, settings: for_server(config) })))
}

/// Where the model runs and what its cache takes: an editor may say so, and the server that all windows share is told by the first that starts it.
fn for_server(config: &Config) -> Vec<(String, String)> {
    let value = serde_json::to_value(config).unwrap_or_default();
    let one = |key: &str| {
        let found = key.split('.').try_fold(&value, |value, part| value.get(part))?;
        Some((env_name(key), found.as_str().map_or_else(|| found.to_string(), str::to_owned)))
    };
    ["device", "cache.bytes", "cache.format"].into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, env_layers, merge};
    use serde_json::json;

    #[test]
    fn a_server_is_told_what_an_editor_set() {
        let editor = json!({"device": "cuda:1", "cache": {"bytes": 268_435_456, "format": "fp8"}});
        let window = merge(&[Layer { place: "editor".into(), value: editor }]).unwrap().config;
        let server = merge(&env_layers(for_server(&window).into_iter()).unwrap()).unwrap().config;
        assert_eq!((server.device, server.cache), (window.device, window.cache));
        assert_eq!(merge(&env_layers(for_server(&Config::default()).into_iter()).unwrap()).unwrap().config, Config::default());
    }
}
