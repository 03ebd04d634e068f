//! A window's way to the server: connections, each for one request.
//!
//! ```no_run
//! # async fn f(link: infill::daemon::link::Link) -> std::io::Result<()> {
//! let mut news = link.get("/infill/watch").await?;        // dropped: the connection is closed
//! println!("{:?}", news.next().await);                    // the first event's data
//! # Ok(()) }
//! ```
use super::place::Place;
use crate::config::Transport;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http_body_util::{BodyDataStream, BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

/// Longest wait for a connection; the server is on this machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Larger answers that are no streams are not from our server.
const MOST: usize = 1 << 20;

/// A connection in either direction.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// How to reach the server.
#[derive(Clone, Debug)]
pub struct Link {
    pub place: Place,
    pub transport: Transport,
}

/// Where a server on the loopback interface is, and what it wants to hear.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Port {
    pub port: u16,
    pub token: String,
}

/// An answer that comes event by event. Dropping it closes the connection.
pub struct Events {
    stream: BoxStream<'static, Result<String>>,
    _connection: Connection,
}

/// The answer to a request.
pub enum Reply {
    Events(Events),
    /// Another status than 200, and its body.
    Refused(StatusCode, Value),
}

impl Events {
    /// The data of the next event; `None` when the stream has ended, an error when it was cut off.
    pub async fn next(&mut self) -> Option<Result<String>> {
        self.stream.next().await
    }
}

/// What drives a connection ends with it.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Asks for a stream.
    ///
    /// # Errors
    /// Where nobody listens, it is somebody else's, or the answer is none.
    pub async fn get(&self, path: &str) -> Result<Events> {
        match self.send(Method::GET, path, Bytes::new()).await? {
            Reply::Events(events) => Ok(events),
            Reply::Refused(status, _) => Err(Error::other(format!("the server answered {status}"))),
        }
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// As `get`; a refusal is an answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Reply> {
        let (stream, token) = tokio::time::timeout(PATIENCE, self.dial()).await.map_err(|_| Error::from(ErrorKind::TimedOut))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
        let connection = Connection(tokio::spawn(connection).abort_handle());
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost").header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(Error::other)?;
        read(sender.send_request(request).await.map_err(Error::other)?, connection).await
    }

    /// A connection to a server of this user's.
    async fn dial(&self) -> Result<(Box<dyn Io>, Option<String>)> {
        #[cfg(unix)]
        if super::is_unix(self.transport) {
            let stream = tokio::net::UnixStream::connect(self.place.socket()).await?;
            return is_ours(&stream).then_some((Box::new(stream) as Box<dyn Io>, None)).ok_or_else(strange);
        }
        let text = tokio::fs::read_to_string(self.place.port()).await?;
        let Port { port, token } = serde_json::from_str(&text).map_err(Error::other)?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), Some(token)))
    }
}

/// Is the other end this user's?
#[cfg(unix)]
pub fn is_ours(stream: &tokio::net::UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == super::place::user())
}

#[cfg(unix)]
fn strange() -> Error {
    Error::new(ErrorKind::PermissionDenied, "the socket belongs to another user")
}

async fn read(response: Response<Incoming>, connection: Connection) -> Result<Reply> {
    let status = response.status();
    if status == StatusCode::OK {
        let data = BodyDataStream::new(response.into_body()).eventsource();
        let stream = data.map(|event| event.map(|event| event.data).map_err(Error::other)).boxed();
        return Ok(Reply::Events(Events { stream, _connection: connection }));
    }
    let body = Limited::new(response.into_body(), MOST).collect().await.map_err(Error::other)?.to_bytes();
    Ok(Reply::Refused(status, serde_json::from_slice(&body).unwrap_or_default()))
}
