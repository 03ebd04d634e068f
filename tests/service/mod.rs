//! A server on this machine that answers as a test tells it to: raw bytes, so that every way to be wrong is possible.
//!
//! ```ignore
//! let service = Service::start(|ask, out| out.sse(&["{…}"]));
//! ```
#![allow(dead_code)]
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Value,
}

/// Where the answer goes.
pub struct Out {
    stream: TcpStream,
    /// Says whether the connection stays.
    stays: &'static str,
}

type Handler = dyn Fn(&Ask, &mut Out) + Send + Sync;

pub struct Service {
    pub address: SocketAddr,
    asks: Arc<Mutex<Vec<Ask>>>,
    stop: Arc<AtomicBool>,
}

impl Service {
    pub fn start(handler: impl Fn(&Ask, &mut Out) + Send + Sync + 'static) -> Service {
        Service::on(TcpListener::bind("127.0.0.1:0").unwrap(), handler)
    }

    pub fn on(listener: TcpListener, handler: impl Fn(&Ask, &mut Out) + Send + Sync + 'static) -> Service {
        Service::with(listener, "connection: close\r\n", |_| None, handler)
    }

    /// Keeps its connections, and closes each as a second request arrives, read or unread (which resets it): its patience
    /// ended when the client asked.
    pub fn tired(unread: bool, handler: impl Fn(&Ask, &mut Out) + Send + Sync + 'static) -> Service {
        let wait = |stream: &TcpStream| stream.peek(&mut [0]).ok().and(None);
        Service::with(TcpListener::bind("127.0.0.1:0").unwrap(), "", if unread { wait } else { read }, handler)
    }

    fn with(
        listener: TcpListener,
        stays: &'static str,
        next: fn(&TcpStream) -> Option<Ask>,
        handler: impl Fn(&Ask, &mut Out) + Send + Sync + 'static,
    ) -> Service {
        let handler: Arc<Handler> = Arc::new(handler);
        let address = listener.local_addr().unwrap();
        let (asks, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (heard, ended) = (asks.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, heard) = (handler.clone(), heard.clone());
                std::thread::spawn(move || {
                    let Some(ask) = read(&stream) else { return };
                    heard.lock().unwrap().push(ask.clone());
                    let mut out = Out { stream, stays };
                    handler(&ask, &mut out);
                    next(&out.stream).into_iter().for_each(|ask| heard.lock().unwrap().push(ask));
                });
            }
        });
        Service { address, asks, stop }
    }

    /// vLLM with one DeepSeek model, that answers completions so.
    pub fn vllm(answer: impl Fn(&Ask, &mut Out) + Send + Sync + 'static) -> Service {
        Service::start(vllm(answer))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asks(&self) -> Vec<Ask> {
        self.asks.lock().unwrap().clone()
    }

    /// The bodies of completions, without the probe.
    pub fn completions(&self) -> Vec<Value> {
        self.asks().into_iter().filter(|a| a.path.ends_with("ompletions") && !a.is_probe()).map(|a| a.body).collect()
    }
}

pub fn vllm(answer: impl Fn(&Ask, &mut Out)) -> impl Fn(&Ask, &mut Out) {
    move |ask, out| match ask.path.as_str() {
        "/v1/models" => out.json(200, &json!({"data": [{"id": "DeepSeek-Coder-V2-Lite-Base", "owned_by": "vllm", "max_model_len": 4096}]})),
        "/v1/completions" if ask.is_probe() => out.completion(&["x"]),
        "/v1/completions" => answer(ask, out),
        _ => out.json(404, &json!({"detail": "Not Found"})),
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Ask {
    pub fn is_probe(&self) -> bool {
        self.path == "/v1/chat/completions" && self.body["stream"] == false
            || self.body["prompt"].as_str().is_some_and(|p| p.contains("def read_lines"))
    }
}

fn read(stream: &TcpStream) -> Option<Ask> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        head += &line;
        line.clear();
    }
    let first = head.lines().next()?.to_owned();
    let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    Some(Ask { method, path, head, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

impl Out {
    /// Whether the client is still there to read it.
    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    pub fn answer(&mut self, status: u16, headers: &str, body: &str) {
        let (length, stays) = (body.len(), self.stays);
        self.raw(format!("HTTP/1.1 {status} Some\r\n{stays}content-length: {length}\r\n{headers}\r\n{body}").as_bytes());
    }

    pub fn json(&mut self, status: u16, body: &Value) {
        self.answer(status, "content-type: application/json\r\n", &body.to_string());
    }

    /// The head of a stream: its end is the end of the connection's chunks.
    pub fn begin(&mut self) {
        let stays = self.stays;
        self.raw(format!("HTTP/1.1 200 OK\r\n{stays}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes());
    }

    pub fn part(&mut self, bytes: &[u8]) -> bool {
        let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
        self.raw(&out)
    }

    pub fn end(&mut self) {
        self.raw(b"0\r\n\r\n");
    }

    pub fn event(&mut self, value: &Value) -> bool {
        self.part(format!("data: {value}\n\n").as_bytes())
    }

    pub fn text(&mut self, text: &str) -> bool {
        self.event(&json!({"choices": [{"text": text, "finish_reason": null, "logprobs": {"token_logprobs": [-0.5]}}]}))
    }

    /// A whole answer of OpenAI's kind.
    pub fn completion(&mut self, texts: &[&str]) {
        self.begin();
        for text in texts {
            self.text(text);
        }
        self.event(&json!({"choices": [{"text": "", "finish_reason": "stop"}]}));
        self.event(&json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": texts.len(), "prompt_tokens_details": {"cached_tokens": 96}}}));
        self.part(b"data: [DONE]\n\n");
        self.end();
    }
}
