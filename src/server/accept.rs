//! Doors and connections: who may come in, how many at once, and when they are gone.
//!
//! ```no_run
//! # async fn f() -> Result<(), infill::engine::EngineError> {
//! use infill::server::accept::Door;
//! let door = Door::listen("127.0.0.1:0", None).await?;     // a port of its own choice, no token: this machine only
//! # Ok(()) }
//! ```
use super::access::Access;
use super::{Face, routes};
use crate::config::{Transport, plain};
use crate::daemon::link::{Io, Port};
use crate::daemon::place::Held;
use crate::engine::EngineError;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Sleep;

/// A place where connections come in.
pub struct Door {
    listener: Listener,
    access: Access,
}

enum Listener {
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    Tcp(TcpListener),
}

impl Door {
    /// The windows' door, in the server's folder.
    ///
    /// # Errors
    /// Where the socket or the port cannot be had.
    pub async fn windows(held: &Held, transport: Transport) -> Result<Door, EngineError> {
        let failed = |error: std::io::Error| {
            let title = format!("No socket for windows in {} ({})", held.place().folder().display(), plain(&error));
            EngineError::new(title, "set server.transport = \"loopback\", or engine.shared = false")
        };
        #[cfg(unix)]
        if crate::daemon::is_unix(transport) {
            let listener = Listener::Unix(socket(held).map_err(failed)?);
            return Ok(Door { listener, access: Access::windows(None) });
        }
        let _ = transport;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let (port, token) = (listener.local_addr().map_err(failed)?.port(), secret().map_err(failed)?);
        let text = serde_json::to_string(&Port { port, token: token.clone() }).unwrap_or_default();
        held.write(&held.place().port(), &text).map_err(failed)?;
        Ok(Door { listener: Listener::Tcp(listener), access: Access::windows(Some(token)) })
    }

    /// The door for HTTP.
    ///
    /// # Errors
    /// Where the address is none, is not this machine's own and there is no token, or is taken.
    pub async fn listen(address: &str, token: Option<String>) -> Result<Door, EngineError> {
        let hint = "write HOST:PORT, such as 127.0.0.1:8080";
        let found = tokio::net::lookup_host(address)
            .await
            .map_err(|error| EngineError::new(format!("{address:?} is no address to listen at ({})", plain(&error)), hint))?;
        let found: Vec<SocketAddr> = found.collect();
        if token.is_none() && found.iter().any(|address| !address.ip().is_loopback()) {
            let title = format!("{address} can be reached from other machines, and there is no token");
            return Err(EngineError::new(title, "set server.token_env or server.token_file, or listen at 127.0.0.1"));
        }
        let listener = TcpListener::bind(&found[..]).await.map_err(|error| {
            EngineError::new(format!("Nothing can listen at {address} ({})", plain(&error)), "choose another port, or end what has it")
        })?;
        Ok(Door { listener: Listener::Tcp(listener), access: Access::http(token) })
    }

    /// Where it answers HTTP; the windows' door has no such address.
    pub fn address(&self) -> Option<String> {
        match &self.listener {
            Listener::Tcp(listener) if !self.access.windows => listener.local_addr().ok().map(|address| address.to_string()),
            _ => None,
        }
    }

    async fn next(&self) -> std::io::Result<Option<Box<dyn Io>>> {
        match &self.listener {
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let ours = crate::daemon::link::is_ours(&stream);
                if !ours {
                    tracing::warn!("a connection of another user was closed");
                }
                Ok(ours.then(|| Box::new(stream) as Box<dyn Io>))
            }
            Listener::Tcp(listener) => {
                let (stream, _): (TcpStream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Some(Box::new(stream)))
            }
        }
    }
}

/// Listens beside the name and moves there: whoever finds the socket finds it ready.
#[cfg(unix)]
fn socket(held: &Held) -> std::io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let place = held.place();
    let fresh = place.folder().join(format!("{}.tmp", std::process::id()));
    // Of a killed server that had our number.
    let _ = std::fs::remove_file(&fresh);
    let listener = tokio::net::UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, place.socket())?;
    Ok(listener)
}

/// Thirty-two hex digits that nobody can guess.
fn secret() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets connections in until the server stops; then waits for those that are in.
pub(super) async fn all(door: Door, face: Arc<Face>) {
    let room = Arc::new(Semaphore::new(face.limits.connections));
    let router = routes::router(&face, &door.access);
    let mut inside = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = door.next() => stream,
            () = face.stopped() => break,
            Some(_) = inside.join_next() => continue,
        };
        match stream {
            Ok(Some(stream)) => match room.clone().try_acquire_owned() {
                Ok(permit) => {
                    let (face, router) = (face.clone(), router.clone());
                    inside.spawn(async move {
                        connection(stream, router, &face).await;
                        drop(permit);
                    });
                }
                Err(_) => drop(inside.spawn(full(stream))),
            },
            Ok(None) => {}
            Err(error) => {
                // Most often too many open files: those that are in must leave first.
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(door);
    let _ = tokio::time::timeout(face.limits.grace, async { while inside.join_next().await.is_some() {} }).await;
}

async fn connection(stream: Box<dyn Io>, router: axum::Router, face: &Face) {
    let io = TokioIo::new(Patient { inner: stream, patience: face.limits.reader, waiting: None });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(face.limits.arrival);
    let mut connection = std::pin::pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = face.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}

/// What somebody hears for whom there is no room.
async fn full(mut stream: Box<dyn Io>) {
    let body =
        r#"{"error":{"message":"too many connections: close some, or raise server.connections","type":"overloaded","code":"connections"}}"#;
    let head = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-type: application/json\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let said = async {
        // An answer before the question confuses clients.
        if stream.read(&mut [0; 4096]).await? == 0 {
            return Ok(());
        }
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // To its end, or the answer is lost when the socket is closed over unread bytes.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), said).await;
}

/// A connection whose other end must take what is written within a time.
struct Patient {
    inner: Box<dyn Io>,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    /// Passes on what a write came to; one that has waited too long is an error.
    fn judge<T>(&mut self, context: &mut Context<'_>, result: Poll<std::io::Result<T>>) -> Poll<std::io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(context, result)
    }
}
