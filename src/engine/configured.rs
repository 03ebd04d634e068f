//! The engine that a configuration asks for.
//!
//! ```no_run
//! let engine = infill::engine::configured::open(&infill::config::Config::default())?;
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use super::EngineError;
use super::local::{Local, LocalOptions};
use crate::config::Config;

/// Opens the configured model; it loads in the background.
///
/// # Errors
/// A model that is not there, or a size that is none.
pub fn open(config: &Config) -> Result<Local, EngineError> {
    let cache_bytes = config.cache.bytes.get().map_err(|hint| EngineError { title: "cache.bytes".into(), hint })?;
    Local::open(&config.model, LocalOptions { device: config.device, cache_bytes, ..LocalOptions::default() })
}
