//! The server that all windows share: where it is, how it is found, started and left alone.
//!
//! ```text
//! $XDG_RUNTIME_DIR/infill/          0700
//!     serve.lock                    held by the one server, as long as it lives
//!     serve.sock                    0600; moved into place when it listens. Without Unix sockets: serve.port, with a token
//!     serve.log                     what a server that a window started has to say
//! ```
//! Whoever holds the lock is the server, so a socket that a killed one left behind means nothing, and of two servers that
//! start at once one ends. A window connects, or starts one and connects; what they say to each other is HTTP
//! ([`crate::server`]), on a socket whose other end must belong to the same user.
use crate::config::{Config, Transport};
use crate::engine::{EngineError, State, local};
use serde::{Deserialize, Serialize};

pub mod link;
pub mod place;
pub mod start;

/// A server that finds another one in its place ends with this.
pub const ALREADY: u8 = 75;

/// What a server says first to a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version: String,
    pub pid: u32,
    /// As in its configuration.
    pub model: String,
    pub fingerprint: String,
    /// Other windows that use it.
    pub windows: usize,
    /// Somebody started it by hand: a window does not stop it.
    pub by_hand: bool,
    /// Where it answers HTTP.
    pub listen: Option<String>,
}

/// What a server tells its windows, a JSON object each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    Hello(Hello),
    Loading,
    Ready(crate::engine::Info),
    Failed(EngineError),
    /// It leaves in order.
    Leaving,
}

impl From<State> for News {
    fn from(state: State) -> News {
        match state {
            State::Loading => News::Loading,
            State::Ready(info) => News::Ready(info),
            State::Failed(error) => News::Failed(error),
        }
    }
}

/// The model that a server has, or that a window wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub model: String,
    pub fingerprint: String,
}

impl Identity {
    /// Of the configured model; a path is made whole, so that it means the same in every folder.
    ///
    /// # Errors
    /// Where there is no such model.
    pub fn of(config: &Config) -> Result<Identity, EngineError> {
        let fingerprint = local::fingerprint(&config.model)?;
        let whole = std::fs::canonicalize(&config.model).ok().filter(|_| config.model != "nano");
        let model = whole.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| config.model.clone());
        Ok(Identity { model, fingerprint })
    }
}

/// How windows reach the server here.
pub fn is_unix(transport: Transport) -> bool {
    cfg!(unix) && transport != Transport::Loopback
}
