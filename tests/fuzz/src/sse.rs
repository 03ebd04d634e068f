//! What a remote engine streams: any bytes as the body of its answer, for each kind of API.
//!
//! ```text
//! first byte 0, 1, 2   an engine of OpenAI's kind, Ollama, DeepSeek's API; the rest is what it streams
//! ```
//! However wrong it is: the answer ends once, and nothing comes after its end.
use infill::config::Api;
use infill::engine::http::{Http, Options};
use infill::engine::{Engine, Event, Request};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

static BODY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

static ENGINES: LazyLock<(tokio::runtime::Runtime, Vec<Http>)> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(move || serve(&stream)))));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let open = |api| {
        let key = (api == Api::DeepSeek).then(|| "k".to_owned());
        let options =
            Options { api, key, template: "deepseek".into(), rest: Duration::ZERO, silence: Duration::from_secs(5), ..Options::new(&url) };
        Http::open(options).expect("an engine")
    };
    let engines = runtime.block_on(async { [Api::OpenAi, Api::Ollama, Api::DeepSeek].map(open) });
    (runtime, engines.into())
});

/// Answers one connection's requests: what it serves, and the bytes of this run to whoever wants a completion.
fn serve(stream: &TcpStream) {
    let (mut reader, mut out) = (BufReader::new(stream), stream);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            head += &line;
            line.clear();
        }
        if head.is_empty() {
            return;
        }
        let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        let mut asked = vec![0; length];
        if reader.read_exact(&mut asked).is_err() {
            return;
        }
        let models = br#"{"data": [{"id": "deepseek", "max_model_len": 4096}]}"#.to_vec();
        let probe = String::from_utf8_lossy(&asked).contains("def read_lines");
        let body = match head.split(' ').nth(1).unwrap_or_default() {
            "/v1/models" => models,
            "/v1/chat/completions" => return,
            _ if probe => b"data: {\"choices\":[{\"text\":\"x\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_vec(),
            _ => BODY.lock().expect("a body").clone(),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n", body.len());
        if out.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

pub fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let (_, engines) = &*ENGINES;
    *BODY.lock().expect("a body") = body.to_vec();
    let request =
        Request { prefix: "def f():\n".into(), tail: "    ret".into(), max_tokens: 16, stop: vec!["\n".into()], ..Request::default() };
    let mut answer = engines[usize::from(*kind) % engines.len()].submit(request);
    let mut ended = false;
    while let Some(event) = answer.blocking_recv() {
        assert!(!ended, "{event:?} after the end");
        ended = matches!(event, Event::Done { .. } | Event::Failed(_));
    }
    assert!(ended, "an answer without an end");
}
