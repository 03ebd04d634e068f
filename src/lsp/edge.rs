//! The edges of the process: the end of stdin, and the death of the editor.
//!
//! ```text
//! stdin ends while a completion waits  ->  the ask is cancelled, the server leaves in order
//! initialize { processId: 4711 }       ->  looked at every two seconds; gone: the server leaves
//! ```
use super::session::Session;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;

/// A reader that tells the session when its stream has ended, before tower-lsp learns it: tower-lsp 0.20 can panic
/// when the client vanishes with a request in flight.
pub struct Watched<R> {
    inner: R,
    session: Arc<Session>,
    ended: Arc<Notify>,
}

impl<R> Watched<R> {
    pub fn new(inner: R, session: Arc<Session>, ended: Arc<Notify>) -> Self {
        Watched { inner, session, ended }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        if result.is_err() || buffer.filled().len() == before {
            self.session.hang_up();
            self.ended.notify_one();
        }
        Poll::Ready(result)
    }
}

/// Returns when the process that `initialize` named is gone. Never, when it named none or none that can be seen from
/// here (another container, another machine).
pub async fn parent_gone(session: Arc<Session>) {
    let mut seen = false;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        match session.parent().map(alive) {
            Some(true) => seen = true,
            Some(false) if seen => return,
            _ => {}
        }
    }
}

#[cfg(unix)]
fn alive(pid: i32) -> bool {
    // SAFETY: signal 0 sends nothing; it only asks whether the process exists.
    let code = unsafe { libc::kill(pid, 0) };
    code == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(not(unix))]
fn alive(_: i32) -> bool {
    // The end of stdin says it there.
    true
}
