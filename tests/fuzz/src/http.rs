//! Requests to the server's HTTP face: a body for each route, or a whole request of any bytes.
//!
//! ```text
//! first byte 0   POST /v1/completions      1   POST /v1/chat/completions      else   the rest is the request, head and all
//! ```
use crate::frames::Word;
use infill::daemon::Identity;
use infill::server::accept::Door;
use infill::server::{Limits, Options, serve};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A server on this machine, for all runs.
static SERVER: LazyLock<(Runtime, String)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let door = runtime.block_on(Door::listen("127.0.0.1:0", None)).expect("a port");
    let address = door.address().expect("an address");
    let limits = Limits { time: Duration::from_secs(2), arrival: Duration::from_secs(2), ..Limits::new(&Default::default()) };
    let identity = Identity { model: "word".into(), fingerprint: String::new() };
    let options = Options { engine: Arc::new(Word), identity, doors: vec![door], limits, idle: None, by_hand: true };
    runtime.spawn(serve(options, std::future::pending()));
    (runtime, address)
});

pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let route = ["/v1/completions", "/v1/chat/completions"].get(usize::from(*kind));
    let mut request = route.map_or(Vec::new(), |route| {
        format!("POST {route} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes()
    });
    request.extend_from_slice(body);
    let mut stream = TcpStream::connect(&SERVER.1).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
    // A server that has heard enough may close before all is written.
    let _ = stream.write_all(&request);
    // Any bytes may be half a request, which waits for the rest; whoever closes their side of a whole one hangs up on its answer.
    if route.is_none() {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let waited = ended.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!waited, "neither answered nor closed");
    assert!(route.is_none() || answer.starts_with(b"HTTP/1.1 "), "no answer to a whole request");
}
