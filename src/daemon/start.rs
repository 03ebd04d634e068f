//! Finding the server, or starting it.
//!
//! ```text
//! connect ─ok─> hello: same version, same model?  ─yes─> the window's news
//!    │ nobody there                    └no─ nobody else uses it: ask it to leave, start anew; else: an error that says so
//!    └> start `infill serve` in a session of its own, connect again
//! ```
use super::link::{Events, Link, Reply};
use super::{ALREADY, Hello, Identity, News};
use crate::engine::EngineError;
use serde_json::json;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Longest wait for a server to listen. The model loads after that.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for a hello.
const HELLO: Duration = Duration::from_secs(10);
/// Pauses between two looks: this, then longer ones.
const STEP: Duration = Duration::from_millis(15);
const LONGEST: Duration = Duration::from_millis(500);

/// What a window wants, and how it gets it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub link: Link,
    pub identity: Identity,
    /// This program.
    pub program: PathBuf,
    /// Variables for a server that is started: what the window's editor set and the server cannot read in the user's file.
    pub settings: Vec<(String, String)>,
}

/// A window's connection to the server that fits it.
pub struct Attached {
    pub hello: Hello,
    pub news: Events,
}

enum Found {
    Fits(Attached),
    /// Nobody listens.
    Nobody,
    /// It has another version or another model, and no other window.
    Unused,
}

impl Wanted {
    /// Connects to the server, or starts it.
    ///
    /// # Errors
    /// Where it cannot be started, says nothing, or is another one that others use.
    pub async fn attach(&self) -> Result<Attached, EngineError> {
        let begun = Instant::now();
        let mut child: Option<Child> = None;
        let mut step = STEP;
        while begun.elapsed() < PATIENCE {
            match self.find().await? {
                Found::Fits(attached) => return Ok(attached),
                Found::Unused => self.stop().await,
                Found::Nobody => {
                    if let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                        self.judge(status)?;
                        child = None;
                    }
                    if child.is_none() {
                        child = Some(self.start()?);
                    }
                }
            }
            tokio::time::sleep(step).await;
            step = (step * 5 / 4).min(LONGEST);
        }
        Err(self.silent())
    }

    /// Looks whether somebody is there, and who.
    async fn find(&self) -> Result<Found, EngineError> {
        let path = format!("/infill/watch?window={}", std::process::id());
        let asked = tokio::time::timeout(HELLO, self.link.get(&path)).await.map_err(|_| self.silent())?;
        let Ok(mut news) = asked else { return Ok(Found::Nobody) };
        let first = tokio::time::timeout(HELLO, news.next()).await.map_err(|_| self.silent())?;
        let hello = first.and_then(Result::ok).and_then(|text| serde_json::from_str::<News>(&text).ok());
        match hello {
            Some(News::Hello(hello)) if self.fits(&hello) => Ok(Found::Fits(Attached { hello, news })),
            Some(News::Hello(hello)) if hello.windows > 0 || hello.by_hand => Err(self.mismatch(&hello)),
            Some(News::Hello(_)) => Ok(Found::Unused),
            // It is leaving, or it was cut off.
            _ => Ok(Found::Nobody),
        }
    }

    fn fits(&self, hello: &Hello) -> bool {
        hello.version == env!("CARGO_PKG_VERSION") && hello.fingerprint == self.identity.fingerprint
    }

    fn mismatch(&self, hello: &Hello) -> EngineError {
        let (ours, wanted) = (env!("CARGO_PKG_VERSION"), &self.identity.model);
        let title = if hello.version != ours {
            format!("The shared server (pid {}) is infill {}, and this window's is {ours}", hello.pid, hello.version)
        } else if hello.model != *wanted {
            format!("The shared server (pid {}) has the model {}, and this window wants {wanted}", hello.pid, hello.model)
        } else {
            format!("The files of {wanted} have changed since the shared server (pid {}) loaded them", hello.pid)
        };
        EngineError::new(title, "close the other windows or run \"infill serve --stop\"; with engine.shared = false a window loads its own")
    }

    async fn stop(&self) {
        tracing::info!("the shared server is another one and nobody uses it: it is asked to leave");
        if let Ok(Reply::Events(mut rest)) = self.link.post("/infill/stop", &json!({})).await {
            while rest.next().await.is_some_and(|event| event.is_ok()) {}
        }
    }

    fn start(&self) -> Result<Child, EngineError> {
        let place = &self.link.place;
        let log = place.open_log().map(Stdio::from).unwrap_or_else(|_| Stdio::null());
        tracing::info!("starting the shared server: its log is {}", place.log().display());
        let mut command = Command::new(&self.program);
        command.args(["serve", "--detached", "--model", &self.identity.model]).current_dir(place.folder());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // No console of its own.
        #[cfg(windows)]
        command.creation_flags(0x0800_0000);
        command.spawn().map_err(|error| {
            let title = format!("The shared server cannot be started ({})", crate::config::plain(&error));
            EngineError::new(title, "run \"infill doctor\", or set engine.shared = false")
        })
    }

    /// What the end of a server that we started means.
    fn judge(&self, status: ExitStatus) -> Result<(), EngineError> {
        match status.code() {
            // Another one was faster, or one is just leaving.
            Some(0) => Ok(()),
            Some(code) if code == i32::from(ALREADY) => Ok(()),
            _ => {
                let log = self.link.place.log();
                let text = std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
                let last = text.lines().rev().find_map(|line| line.strip_prefix("infill: ")).unwrap_or("it said nothing");
                let title = format!("The shared server did not start ({status}): {last}");
                Err(EngineError::new(title, format!("see {}, or set engine.shared = false", log.display())))
            }
        }
    }

    fn silent(&self) -> EngineError {
        let title = "The shared server does not answer".to_owned();
        let log = self.link.place.log();
        EngineError::new(title, format!("run \"infill serve --stop\"; its log is {}; engine.shared = false does without it", log.display()))
    }
}

/// Asks a running server who it is; `None` when there is none.
pub async fn ask(link: &Link) -> Option<(Hello, News)> {
    let mut news = tokio::time::timeout(HELLO, link.get("/infill/watch?look=1")).await.ok()?.ok()?;
    let mut next = async || {
        let text = tokio::time::timeout(HELLO, news.next()).await.ok()??.ok()?;
        serde_json::from_str::<News>(&text).ok()
    };
    match (next().await?, next().await?) {
        (News::Hello(hello), state) => Some((hello, state)),
        _ => None,
    }
}
