//! `infill serve`: the server's process, from its lock to its last answer.
//!
//! ```text
//! infill serve --listen 127.0.0.1:8080     by hand: until Ctrl-C or SIGTERM
//! infill serve --detached                  what a window starts: until it has been idle for server.idle seconds
//! infill serve --stop                      ends either
//! ```
use anyhow::{Context, Result};
use infill::config::{self, Config, Layer};
use infill::daemon::link::Link;
use infill::daemon::place::{Held, Place};
use infill::daemon::{ALREADY, Hello, Identity, start};
use infill::engine::{Engine, EngineError, Unavailable, configured};
use infill::server::accept::Door;
use infill::server::{self, Limits, Options};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Serves until it is told to stop. Another server's place is left alone.
pub fn run(listen: Option<String>, log: Option<PathBuf>, detached: bool, layers: Vec<Layer>) -> Result<ExitCode> {
    let config = config::merge(&layers)?.config;
    if detached {
        detach();
    }
    let _flush = crate::start_log(log)?;
    let place = Place::find()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let Some(held) = place.hold()? else {
        return already(detached, &runtime, Link { place, transport: config.server.transport });
    };
    let served = runtime.block_on(serve(&config, &held, listen, detached));
    // Gone before the process is: who waits for this may start another one.
    drop(held);
    served?;
    // Not waiting for a forward pass that nobody wants any more.
    drop(_flush);
    std::process::exit(0)
}

async fn serve(config: &Config, held: &Held, listen: Option<String>, detached: bool) -> Result<()> {
    // Before the doors are open: who is stopped early is stopped in order too.
    let stop = stop_signal()?;
    let identity = Identity::of(config);
    let engine: Arc<dyn Engine> = match configured::open(config) {
        Ok(engine) => Arc::new(engine),
        // Windows are told why, rather than find nobody.
        Err(error) if detached => Arc::new(Unavailable(error)),
        Err(error) => return Err(error.into()),
    };
    let identity = identity.unwrap_or_else(|_| Identity { model: config.model.clone(), fingerprint: String::new() });
    let mut doors = vec![Door::windows(held, config.server.transport).await?];
    match http(config, listen).await {
        Ok(door) => doors.extend(door),
        // The windows must not lose their server to a port that is taken.
        Err(error) if detached => tracing::error!("{error}"),
        Err(error) => return Err(error.into()),
    }
    if let Some(address) = doors.iter().find_map(Door::address) {
        tracing::info!("listening at http://{address}");
    }
    tracing::info!(pid = std::process::id(), model = identity.model, folder = %held.place().folder().display(), "serving");
    let idle = (detached && config.server.idle > 0).then(|| Duration::from_secs(config.server.idle));
    let limits = Limits::new(&config.server);
    server::serve(Options { engine, identity, doors, limits, idle, by_hand: !detached }, stop).await;
    Ok(())
}

async fn http(config: &Config, listen: Option<String>) -> Result<Option<Door>, EngineError> {
    let address = listen.unwrap_or_else(|| config.server.listen.clone());
    if address.is_empty() {
        return Ok(None);
    }
    Door::listen(&address, server::token(&config.server)?).await.map(Some)
}

/// Ready at SIGTERM or Ctrl-C.
#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Out of the session of the window that started it: its terminal's end is not ours.
fn detach() {
    // SAFETY: it takes nothing; it fails where this process leads a group already, and then it is detached enough.
    #[cfg(unix)]
    unsafe {
        libc::setsid();
    }
}

fn already(detached: bool, runtime: &tokio::runtime::Runtime, link: Link) -> Result<ExitCode> {
    if detached {
        return Ok(ExitCode::from(ALREADY));
    }
    let who = runtime.block_on(start::ask(&link)).map_or_else(String::new, |(hello, _)| {
        let listen = hello.listen.map_or_else(String::new, |listen| format!(", listening at {listen}"));
        format!(" (pid {}, model {}{listen})", hello.pid, hello.model)
    });
    anyhow::bail!("a server is running already{who}: end it with \"infill serve --stop\", then start this one")
}

/// Who it is; it may be just starting. `None`: it has ended meanwhile.
async fn first_answer(link: &Link) -> Result<Option<Hello>> {
    for _ in 0..250 {
        if let Some((hello, _)) = start::ask(link).await {
            return Ok(Some(hello));
        }
        if link.place.hold()?.is_some() {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the server in {} does not answer: end its process by hand", link.place.folder().display())
}

/// `infill serve --stop`
pub fn stop() -> Result<ExitCode> {
    let config = config::merge(&config::user_layers()?)?.config;
    let place = Place::find()?;
    if place.hold()?.is_some() {
        println!("no server is running");
        return Ok(ExitCode::SUCCESS);
    }
    let link = Link { place: place.clone(), transport: config.server.transport };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(hello) = first_answer(&link).await? else {
            println!("the server has left");
            return Ok(ExitCode::SUCCESS);
        };
        link.post("/infill/stop", &json!({})).await.context("the server could not be asked to leave")?;
        // It answers what it has begun.
        for _ in 0..1500 {
            if place.hold()?.is_some() {
                println!("the server (pid {}) has left", hello.pid);
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("the server (pid {}) was asked to leave and is still there: end its process by hand", hello.pid)
    })
}
