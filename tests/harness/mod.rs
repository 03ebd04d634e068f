//! A client in memory that speaks the real protocol to the real server, and an engine that says what a test wants.
//!
//! ```text
//! let mut c = Client::start(Scripted::new(|r| r.tail.to_uppercase())).await;
//! c.open("file:///a.py", "python", "x = 1\n");
//! let id = c.inline("file:///a.py", 0, 5);
//! c.answer(id).await
//! ```
//! A message that no test claimed fails the test when the client is dropped.
#![allow(dead_code)] // each test binary uses a part of it
use infill::config::Layer;
use infill::engine::{Answer, Engine, Event, Finish, Info, Request, State, Totals, Usage};
use infill::lsp::{Options, serve};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};

/// An engine that answers from a function, a piece at a time, when it is let.
pub struct Scripted {
    answer: Box<dyn Fn(&Request) -> String + Send + Sync>,
    /// One permit is taken per piece of text.
    pub gate: Arc<Semaphore>,
    pub requests: Mutex<Vec<Request>>,
    pub cancelled: Arc<AtomicU64>,
    /// What it says its first tokens took.
    pub first_token: Mutex<Option<Duration>>,
    /// The machine that it says it is on.
    pub host: Mutex<Option<String>>,
}

impl Scripted {
    pub fn new(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Arc<Scripted> {
        let scripted = Scripted::gated(answer);
        scripted.gate.add_permits(1 << 20);
        scripted
    }

    /// Says nothing until the gate gets permits.
    pub fn gated(answer: impl Fn(&Request) -> String + Send + Sync + 'static) -> Arc<Scripted> {
        let gate = Arc::new(Semaphore::new(0));
        Arc::new(Scripted {
            answer: Box::new(answer),
            gate,
            requests: Mutex::default(),
            cancelled: Arc::default(),
            first_token: Mutex::default(),
            host: Mutex::default(),
        })
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }
}

impl Engine for Scripted {
    fn state(&self) -> State {
        State::Ready(Info {
            model: "scripted".into(),
            device: "test".into(),
            bytes_per_token: 3.0,
            context: 4096,
            chat: true,
            ..Info::default()
        })
    }

    fn leaves(&self) -> Option<String> {
        self.host.lock().expect("host").clone()
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, request: Request) -> Answer {
        let (sender, answer) = mpsc::unbounded_channel();
        let mut text = (self.answer)(&request);
        self.requests.lock().expect("requests").push(request.clone());
        for stop in &request.stop {
            text.truncate(text.find(stop.as_str()).unwrap_or(text.len()));
        }
        let (gate, cancelled) = (self.gate.clone(), self.cancelled.clone());
        let first_token = *self.first_token.lock().expect("first_token");
        tokio::spawn(async move {
            let pieces: Vec<char> = if request.max_tokens == 0 { vec![] } else { text.chars().collect() };
            for piece in pieces.chunks(3) {
                let permit = tokio::select! {
                    permit = gate.acquire() => permit,
                    () = sender.closed() => { cancelled.fetch_add(1, Ordering::SeqCst); return }
                };
                permit.expect("the gate is open").forget();
                let _ = sender.send(Event::Text { text: piece.iter().collect(), logprob: -0.1 });
            }
            let usage = Usage { first_token, ..Usage::default() };
            let _ = sender.send(Event::Done { finish: Finish::Stop, usage });
        });
        answer
    }
}

pub struct Client {
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    writer: tokio::task::JoinHandle<WriteHalf<DuplexStream>>,
    inbox: Arc<Mutex<VecDeque<Value>>>,
    arrived: Arc<tokio::sync::Notify>,
    pub server: tokio::task::JoinHandle<i32>,
    next: u64,
    version: i32,
}

impl Client {
    /// A server with a UTF-16 client that knows inline completions.
    pub async fn start(engine: Arc<dyn Engine>) -> Client {
        let capabilities = json!({ "textDocument": { "inlineCompletion": {} } });
        let (client, _) = Client::initialized(engine, vec![], json!({ "capabilities": capabilities })).await;
        client
    }

    /// Starts and initializes; returns the initialize result too.
    pub async fn initialized(engine: Arc<dyn Engine>, layers: Vec<Layer>, params: Value) -> (Client, Value) {
        let mut client = Client::raw(engine, layers);
        let id = client.request("initialize", params);
        let result = client.answer(id).await.expect("initialize");
        client.notify("initialized", json!({}));
        (client, result)
    }

    /// A server that has not been initialized.
    pub fn raw(engine: Arc<dyn Engine>, layers: Vec<Layer>) -> Client {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(far);
        let options = Options { engine, layers, record: None, problem: None };
        let server = tokio::spawn(serve(input, output, options));
        let (reader, writer) = tokio::io::split(near);
        let (outbox, frames) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write_all(writer, frames));
        let (inbox, arrived) = (Arc::default(), Arc::default());
        tokio::spawn(read_all(reader, Arc::clone(&inbox), Arc::clone(&arrived)));
        Client { outbox, writer, inbox, arrived, server, next: 0, version: 1 }
    }

    pub fn send(&mut self, message: Value) {
        let body = message.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = self.outbox.send(frame.into_bytes());
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    pub fn request(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        self.send(json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }));
        self.next
    }

    pub fn open(&mut self, uri: &str, language: &str, text: &str) {
        let item = json!({ "uri": uri, "languageId": language, "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": item }));
    }

    /// Replaces a range on one line.
    pub fn change(&mut self, uri: &str, line: u32, from: u32, to: u32, text: &str) {
        let range = json!({ "start": { "line": line, "character": from }, "end": { "line": line, "character": to } });
        self.changes(uri, json!([{ "range": range, "text": text }]));
    }

    pub fn changes(&mut self, uri: &str, changes: Value) {
        self.version += 1;
        let document = json!({ "uri": uri, "version": self.version });
        self.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
    }

    pub fn inline(&mut self, uri: &str, line: u32, character: u32) -> u64 {
        self.inline_with(uri, line, character, json!({ "triggerKind": 2 }))
    }

    pub fn inline_with(&mut self, uri: &str, line: u32, character: u32, context: Value) -> u64 {
        let position = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": uri }, "position": position, "context": context });
        self.request("textDocument/inlineCompletion", params)
    }

    pub fn cancel(&mut self, id: u64) {
        self.notify("$/cancelRequest", json!({ "id": id }));
    }

    /// The answer to a request: its result, or its error.
    pub async fn answer(&mut self, id: u64) -> Result<Value, Value> {
        let message = self.wait(|m| m["id"] == json!(id) && m.get("method").is_none()).await;
        match message.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(message["result"].clone()),
        }
    }

    /// The texts of an inline answer's items.
    pub async fn texts(&mut self, id: u64) -> Vec<String> {
        let result = self.answer(id).await.expect("a result");
        let items = result["items"].as_array().expect("items").clone();
        items.iter().map(|i| i["insertText"].as_str().expect("insertText").to_string()).collect()
    }

    /// A notification or request from the server.
    pub async fn incoming(&mut self, method: &str) -> Value {
        self.wait(|m| m["method"] == method).await
    }

    async fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let arrived = self.arrived.notified();
                {
                    let mut inbox = self.inbox.lock().expect("inbox");
                    if let Some(at) = inbox.iter().position(&wanted) {
                        return inbox.remove(at).expect("there");
                    }
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), found).await {
            Ok(message) => message,
            Err(_) => panic!("no such message; unclaimed: {:?}", self.inbox.lock().expect("inbox")),
        }
    }

    /// Takes all that has arrived.
    pub fn arrived(&mut self) -> Vec<Value> {
        self.inbox.lock().expect("inbox").drain(..).collect()
    }

    /// Drops what has arrived.
    pub fn forget_unclaimed(&mut self) {
        self.inbox.lock().expect("inbox").clear();
    }

    /// Ends the client's side of the stream; returns the exit code.
    pub async fn vanish(mut self) -> i32 {
        let outbox = std::mem::replace(&mut self.outbox, mpsc::unbounded_channel().0);
        drop(outbox);
        let writer = std::mem::replace(&mut self.writer, tokio::spawn(std::future::pending()));
        writer.await.expect("the writer ends").shutdown().await.expect("shutdown");
        self.exit_code().await
    }

    /// The code that the server leaves with.
    pub async fn exit_code(mut self) -> i32 {
        let server = std::mem::replace(&mut self.server, tokio::spawn(async { 0 }));
        let code = tokio::time::timeout(Duration::from_secs(10), server).await.expect("the server leaves").expect("no panic");
        self.forget_unclaimed();
        code
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.server.abort();
        let inbox = self.inbox.lock().expect("inbox");
        if !std::thread::panicking() {
            assert!(inbox.is_empty(), "messages that nobody claimed: {inbox:?}");
        }
    }
}

async fn write_all(mut writer: WriteHalf<DuplexStream>, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) -> WriteHalf<DuplexStream> {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            break;
        }
    }
    writer
}

async fn read_all(mut reader: ReadHalf<DuplexStream>, inbox: Arc<Mutex<VecDeque<Value>>>, arrived: Arc<tokio::sync::Notify>) {
    while let Some(message) = read_one(&mut reader).await {
        inbox.lock().expect("inbox").push_back(message);
        arrived.notify_waiters();
    }
}

async fn read_one(reader: &mut ReadHalf<DuplexStream>) -> Option<Value> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    serde_json::from_slice(&body).ok()
}
