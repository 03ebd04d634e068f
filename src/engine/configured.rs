//! The engine that a configuration asks for.
//!
//! ```no_run
//! let engine = infill::engine::configured::open(&infill::config::Config::default())?;
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use super::local::{Local, LocalOptions};
use super::shared::Shared;
use super::{Engine, EngineError};
use crate::config::{Config, Device};
use crate::daemon::link::Link;
use crate::daemon::place::Place;
use crate::daemon::{Identity, start::Wanted};
use std::sync::Arc;

/// Opens the configured model; it loads in the background.
///
/// # Errors
/// A model that is not there, or a size that is none.
pub fn open(config: &Config) -> Result<Local, EngineError> {
    let device = match config.device {
        Device::Auto => "auto",
        Device::Cpu => "cpu",
    };
    let cache_bytes = config.cache.bytes.get().map_err(|hint| EngineError { title: "cache.bytes".into(), hint })?;
    Local::open(&config.model, LocalOptions { device: device.into(), cache_bytes, ..LocalOptions::default() })
}

/// The engine of a window: the server that all windows share, or one of its own (`engine.shared = false`). Within a tokio
/// runtime.
///
/// # Errors
/// As `open`; and where there is no folder for the server.
pub fn for_window(config: &Config) -> Result<Arc<dyn Engine>, EngineError> {
    if !config.engine.shared {
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
