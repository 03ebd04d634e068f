//! The HTTP face, asked by a real HTTP client and by raw sockets: OpenAI's shapes, other models' markers, limits, faults.
//!
//! ```text
//! POST /v1/completions {"prompt": "<PRE> print(fo <SUF>)\n <MID>"}   ->   "o, bar"
//! ```
mod harness;
use harness::Scripted;
use infill::config;
use infill::daemon::Identity;
use infill::engine::local::{Local, LocalOptions};
use infill::engine::{Engine, EngineError, Form, Role, Unavailable};
use infill::server::accept::Door;
use infill::server::{self, Limits, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A server in this process.
struct Face {
    address: String,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

fn limits() -> Limits {
    Limits { grace: Duration::from_secs(20), ..Limits::new(&config::Server::default()) }
}

impl Face {
    async fn start(engine: Arc<dyn Engine>) -> Face {
        Face::with(engine, limits(), None).await
    }

    async fn with(engine: Arc<dyn Engine>, limits: Limits, token: Option<&str>) -> Face {
        let door = Door::listen("127.0.0.1:0", token.map(str::to_owned)).await.expect("a door");
        let address = door.address().expect("an address");
        let identity = Identity { model: "nano".into(), fingerprint: "f".into() };
        let options = Options { engine, identity, doors: vec![door], limits, idle: None, by_hand: true };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server::serve(options, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Face { address, client, stop: Some(stop), served: Some(served) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.client.post(self.url(path)).body(body.to_string()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON"))
    }

    async fn completed(&self, body: Value) -> Value {
        let (status, answer) = self.post("/v1/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn text(&self, body: Value) -> String {
        self.completed(body).await["choices"][0]["text"].as_str().expect("a text").to_owned()
    }

    /// The data of a stream's events.
    async fn streamed(&self, path: &str, mut body: Value) -> Vec<String> {
        body["stream"] = json!(true);
        let answer = self.client.post(self.url(path)).body(body.to_string()).send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = answer.text().await.expect("a body");
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// One number of /metrics.
    async fn number(&self, line: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line} in {text}"));
        value.trim().parse().expect("a number")
    }

    async fn eventually(&self, line: &str, value: f64) {
        for _ in 0..1500 {
            if self.number(line).await == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{line} is {}, not {value}", self.number(line).await)
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.expect("a connection")
    }

    /// A request's bytes.
    fn raw(&self, body: &Value) -> String {
        let body = body.to_string();
        format!("POST /v1/completions HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}", self.address, body.len())
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        let served = self.served.take().expect("a server");
        tokio::time::timeout(Duration::from_secs(30), served).await.expect("it stops").expect("no panic");
    }
}

async fn nano() -> Arc<Local> {
    let engine = Local::open("nano", LocalOptions { cache_bytes: Some(64 << 20), ..LocalOptions::default() }).expect("nano");
    engine.loaded().await.expect("nano loads");
    Arc::new(engine)
}

fn says(text: &'static str) -> Arc<Scripted> {
    Scripted::new(move |_| text.to_string())
}

const HOLE: (&str, &str) = ("def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret", "\n\nprint(sub(3, 1))\n");

#[tokio::test]
async fn whole_and_streamed_are_the_same_answer() {
    let face = Face::start(nano().await).await;
    let body = json!({ "prompt": HOLE.0, "suffix": HOLE.1, "max_tokens": 12, "stop": ["\n"], "logprobs": 2 });
    let whole = face.completed(body.clone()).await;
    let choice = &whole["choices"][0];
    let text = choice["text"].as_str().expect("a text");
    assert!(!text.is_empty() && whole["object"] == "text_completion" && whole["model"] == "nano");
    let logprobs = &choice["logprobs"];
    let tokens: Vec<_> = logprobs["tokens"].as_array().expect("tokens").iter().map(|token| token.as_str().expect("a token")).collect();
    assert_eq!(tokens.concat(), text);
    for (at, logprob) in logprobs["token_logprobs"].as_array().expect("numbers").iter().enumerate() {
        assert!(logprob.as_f64().expect("a number") <= 0.0);
        let top = logprobs["top_logprobs"][at].as_object().expect("alternatives");
        assert!((1..=2).contains(&top.len()), "{top:?}");
    }
    let usage = &whole["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().expect("a number") + usage["completion_tokens"].as_u64().expect("a number"))
    );
    let mut streaming = body.clone();
    streaming["stream_options"] = json!({ "include_usage": true });
    let events = face.streamed("/v1/completions", streaming).await;
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let parsed: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    let pieces: String = parsed.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(pieces, text);
    let reasons: Vec<_> = parsed.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, [choice["finish_reason"].as_str().expect("a reason")]);
    let last = &parsed[parsed.len() - 1];
    assert_eq!((last["choices"].as_array().map(Vec::len), &last["usage"]["prompt_tokens"]), (Some(0), &usage["prompt_tokens"]));
    // The second time the prompt was there.
    assert!(last["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(20), "{last}");
    // A language server's split of the same text is the same request.
    let (prefix, tail) = HOLE.0.split_at(HOLE.0.rfind('\n').expect("a line") + 1);
    let ours = json!({ "prompt": prefix, "tail": tail, "suffix": HOLE.1, "max_tokens": 12, "stop": ["\n"], "priority": "interactive", "rank": 0, "draft": false });
    assert_eq!(face.text(ours).await, text);
    face.stop().await;
}

#[tokio::test]
async fn seeds_and_alternatives() {
    let face = Face::start(nano().await).await;
    let drawn = |seed: i64| json!({ "prompt": "import os\nimport ", "max_tokens": 12, "temperature": 1.2, "top_p": 0.95, "seed": seed });
    let first = face.text(drawn(7)).await;
    assert_eq!(face.text(drawn(7)).await, first);
    let others = futures_util::future::join_all((8..14).map(|seed| face.text(drawn(seed)))).await;
    assert!(others.iter().any(|other| *other != first), "{first:?} whatever the seed");
    let several = face.completed(json!({ "prompt": HOLE.0, "suffix": HOLE.1, "n": 3, "max_tokens": 4 })).await;
    let choices = several["choices"].as_array().expect("choices");
    let texts: std::collections::HashSet<_> = choices.iter().map(|choice| choice["text"].as_str().expect("a text")).collect();
    assert_eq!((choices.len(), texts.len()), (3, 3), "{several}");
    let one = face.completed(json!({ "prompt": HOLE.0, "suffix": HOLE.1, "max_tokens": 4 })).await;
    assert_eq!(several["usage"]["prompt_tokens"], one["usage"]["prompt_tokens"], "one prompt counts once");
    let lists = face.completed(json!({ "prompt": ["x = ", "y = "], "max_tokens": 2 })).await;
    assert_eq!(lists["choices"].as_array().map(Vec::len), Some(2));
    let prefilled = face.completed(json!({ "prompt": "a much longer text to prefill", "suffix": "", "max_tokens": 0 })).await;
    assert_eq!((&prefilled["choices"][0]["text"], &prefilled["usage"]["completion_tokens"]), (&json!(""), &json!(0)));
}

#[tokio::test]
async fn other_models_markers_are_answered_with_the_language_servers_manners() {
    let engine = Scripted::new(|request| if request.tail == "call(" { "a, b):\nx".into() } else { "o, bar)\nx = 1".into() });
    let face = Face::start(engine.clone()).await;
    let (before, after) = ("import x\nprint(fo", ")\ny = 2\n");
    let prompts = [
        format!("<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>"),
        format!("<fim_suffix>{after}<fim_prefix>{before}<fim_middle>"),
        format!("<｜fim▁begin｜>{before}<｜fim▁hole｜>{after}<｜fim▁end｜>"),
        format!("[SUFFIX]{after}[PREFIX]{before}"),
        format!("<PRE> {before} <SUF>{after} <MID>"),
    ];
    for prompt in &prompts {
        // Zed's shape.
        let body = json!({ "model": "infill", "prompt": prompt, "max_tokens": 64, "stop": ["<|endoftext|>", "<|file_sep|>"] });
        assert_eq!(face.text(body.clone()).await, "o, bar", "the editor's bracket is left alone: {prompt:?}");
        let events = face.streamed("/v1/completions", body).await;
        assert!(events[0].contains("o, bar") && events[events.len() - 1] == "[DONE]", "{events:?}");
    }
    let requests = engine.requests();
    for request in &requests {
        assert_eq!((request.prefix.as_str(), request.tail.as_str()), ("import x\n", "print(fo"), "anchored at the line's start");
        assert_eq!((&request.form, request.stop.as_slice()), (&Form::Fill, &["\n".to_owned()][..]));
        assert!(!request.suffix.contains("fim") && request.suffix.contains("y = 2"), "{request:?}");
    }
    // It would replace the bracket, and a client over HTTP replaces nothing.
    assert_eq!(face.text(json!({ "prompt": "<|fim_prefix|>call(<|fim_suffix|>)\n<|fim_middle|>" })).await, "a, b");
    let (status, error) = face.post("/v1/completions", json!({ "prompt": "[SUFFIX]a[PREFIX]b[PREFIX]c" })).await;
    assert!(status == 400 && error["error"]["message"].as_str().is_some_and(|m| m.contains("stands in the text itself")), "{error}");
}

#[cfg(feature = "nano")]
#[tokio::test]
async fn markers_and_the_command_line_say_the_same() {
    use infill::complete::complete;
    use infill::config::{Config, Threshold};
    use infill::document::Document;
    let engine = nano().await;
    let face = Face::start(engine.clone()).await;
    let mut said = 0;
    for (before, after) in
        [HOLE, ("import os\n\nfor name in os.list", ":\n    print(name)\n"), ("class A:\n    def f(self):\n        ", "\n")]
    {
        let mut config = Config::default();
        config.completion.show_threshold = Threshold::Word("off".into());
        config.completion.max_tokens = 64;
        config.context.tokens = 131_072;
        let document = Document::new("prompt", "plaintext", 1, &format!("{before}{after}"));
        let expected = complete(&*engine, &config, None, document.settled(), before.len()).await.expect("a completion");
        let got =
            face.text(json!({ "prompt": format!("<｜fim▁begin｜>{before}<｜fim▁hole｜>{after}<｜fim▁end｜>"), "max_tokens": 64 })).await;
        if expected.replaces == 0 {
            assert_eq!(got, expected.text);
        }
        said += got.len();
    }
    assert!(said > 0, "something was suggested");
}

#[tokio::test]
async fn conversations_follow_the_template() {
    let engine = says(" Hello there");
    let face = Face::start(engine.clone()).await;
    let parts = json!([{ "type": "text", "text": "Hi" }, { "type": "text", "text": "!" }]);
    let body = json!({ "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": parts }] });
    let (status, answer) = face.post("/v1/chat/completions", body.clone()).await;
    assert_eq!((status, &answer["object"]), (200, &json!("chat.completion")));
    assert_eq!(answer["choices"][0]["message"], json!({ "role": "assistant", "content": "Hello there" }));
    let request = &engine.requests()[0];
    let Form::Chat(turns) = &request.form else { panic!("{request:?}") };
    assert_eq!(
        turns.iter().map(|turn| (turn.role, turn.text.as_str())).collect::<Vec<_>>(),
        [(Role::System, "Be brief."), (Role::User, "Hi!")]
    );
    let events = face.streamed("/v1/chat/completions", body).await;
    let parsed: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).expect("JSON")).collect();
    assert_eq!(parsed[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = parsed.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!((text.as_str(), &parsed[0]["object"]), ("Hello there", &json!("chat.completion.chunk")));
    for (body, words) in [
        (json!({ "messages": [] }), "at least one"),
        (json!({}), "messages"),
        (json!({ "messages": [{ "role": "wizard", "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": "x" }], "tools": [{}] }), "tools is not supported"),
    ] {
        let (status, error) = face.post("/v1/chat/completions", body).await;
        assert!(status == 400 && error["error"]["message"].as_str().is_some_and(|m| m.contains(words)), "{words}: {error}");
    }
    let face = Face::start(nano().await).await;
    let (status, error) = face.post("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "x" }] })).await;
    assert!(status == 400 && error["error"]["message"].as_str().is_some_and(|m| m.contains("no chat template")), "{error}");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_the_remedy() {
    let face = Face::start(nano().await).await;
    let (status, error) = face.post("/v1/completions", json!({ "prompt": "x ".repeat(3000), "suffix": "" })).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("context_length_exceeded")));
    assert!(error["error"]["message"].as_str().is_some_and(|m| m.contains("do not fit in the model's")), "{error}");
    for (method, path, status, words) in [
        ("GET", "/v1/completions", 405, "POST for completions"),
        ("POST", "/v1/models", 405, "GET for all else"),
        ("GET", "/v1/engines", 404, "ask /v1/completions"),
        ("POST", "/infill/stop", 404, "ask /v1/completions"),
        ("GET", "/infill/watch", 404, "ask /v1/completions"),
    ] {
        let request = face.client.request(method.parse().expect("a method"), face.url(path));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert!(answer.text().await.expect("a body").contains(words), "{method} {path}");
    }
    let answer = face.client.post(face.url("/v1/completions")).body("{\"prompt\": ").send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 400);
    assert!(answer.text().await.expect("a body").contains("is not JSON"));
    let error = EngineError::new("No model at \"x\"", "set model");
    let face = Face::start(Arc::new(Unavailable(error))).await;
    let (status, said) = face.post("/v1/completions", json!({ "prompt": "x" })).await;
    assert_eq!((status, &said["error"]["infill"]["hint"]), (503, &json!("set model")));
    assert_eq!(face.get("/health").await.0, 503);
}

#[tokio::test]
async fn models_health_and_metrics() {
    let face = Face::start(nano().await).await;
    assert_eq!(face.get("/health").await, (200, r#"{"status":"ok"}"#.to_owned()));
    let (_, models) = face.get("/v1/models").await;
    let models: Value = serde_json::from_str(&models).expect("JSON");
    let ours = &models["data"][0]["infill"];
    assert!(
        models["data"][0]["id"] == "nano" && ours["bytes_per_token"].as_f64() > Some(1.5) && ours["context"].as_u64() > Some(256),
        "{models}"
    );
    assert_eq!((&ours["version"], &ours["fingerprint"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("f")));
    let body = json!({ "prompt": HOLE.0, "suffix": HOLE.1, "max_tokens": 5 });
    let usage = face.completed(body.clone()).await["usage"].clone();
    face.completed(body).await;
    face.post("/v1/completions", json!({ "prompt": 1 })).await;
    let tokens = usage["prompt_tokens"].as_f64().expect("a number");
    for (line, value) in [
        ("infill_requests_total{outcome=\"done\"}", 2.0),
        ("infill_requests_total{outcome=\"refused\"}", 1.0),
        ("infill_prompts_total{miss=\"cold\"}", 1.0),
        ("infill_prompts_total{miss=\"none\"}", 1.0),
        ("infill_prompt_tokens_total", 2.0 * tokens),
        ("infill_prompt_tokens_reused_total", tokens),
        ("infill_generated_tokens_total", 10.0),
        ("infill_requests_running", 0.0),
        ("infill_requests_waiting", 0.0),
        ("infill_ready", 1.0),
        ("infill_request_seconds_count", 2.0),
        ("infill_first_token_seconds_bucket{le=\"+Inf\"}", 2.0),
    ] {
        assert_eq!(face.number(line).await, value, "{line}");
    }
    // Prometheus' text: every line is a comment or a name with a number.
    for line in face.get("/metrics").await.1.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        assert!(name.starts_with("infill_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn a_token_where_there_is_one_and_no_web_page_where_there_is_none() {
    let face = Face::with(says("x"), limits(), Some("secret")).await;
    let ask = async |token: Option<&str>, path: &str| {
        let request = face.client.get(face.url(path));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((ask(None, "/v1/models").await, ask(Some("wrong"), "/v1/models").await), (401, 401));
    assert_eq!((ask(Some("secret"), "/v1/models").await, ask(None, "/health").await), (200, 200));
    let face = Face::start(says("x")).await;
    let from = async |origin: &str| {
        let request = face.client.post(face.url("/v1/completions")).header("origin", origin).body(r#"{"prompt":"x"}"#);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!((from("https://evil.example").await, from("http://localhost:3000").await), (403, 200));
    let refused = Door::listen("0.0.0.0:0", None).await.err().expect("refused");
    assert!(refused.to_string().contains("there is no token"), "{refused}");
    assert!(Door::listen("0.0.0.0:0", Some("t".into())).await.is_ok());
}

#[tokio::test]
async fn bodies_are_limited_in_size_and_time() {
    let short = Limits { body: 1000, arrival: Duration::from_millis(300), ..limits() };
    let face = Face::with(says("x"), short, None).await;
    let (status, error) = face.post("/v1/completions", json!({ "prompt": "x".repeat(2000) })).await;
    assert_eq!(status, 413, "{error}");
    assert_eq!(face.text(json!({ "prompt": "x" })).await, "x");
    // Half a body, then nothing; half a head, then nothing.
    let whole = face.raw(&json!({ "prompt": "xx" }));
    for (half, words) in [(&whole[..whole.len() - 3], "408 Request Timeout"), (&whole[..20], "")] {
        let mut socket = face.socket().await;
        socket.write_all(half.as_bytes()).await.expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("the server closes it");
        assert!(answer.contains(words), "{answer}");
    }
    face.eventually("infill_requests_running", 0.0).await;
}

#[tokio::test]
async fn answers_are_limited_in_time() {
    let engine = Scripted::gated(|_| "abcdef".into());
    let face = Face::with(engine.clone(), Limits { time: Duration::from_millis(300), ..limits() }, None).await;
    let (status, error) = face.post("/v1/completions", json!({ "prompt": "x" })).await;
    assert!(
        status == 500 && error["error"]["message"].as_str().is_some_and(|m| m.contains("took longer than") && m.contains("server.seconds")),
        "{error}"
    );
    engine.gate.add_permits(1);
    let events = face.streamed("/v1/completions", json!({ "prompt": "x" })).await;
    assert!(events[0].contains("\"abc\"") && events[1].contains("took longer than") && events.len() == 2, "{events:?}");
    for _ in 0..500 {
        if engine.cancelled.load(Ordering::SeqCst) == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the engine still works on them")
}

#[tokio::test]
async fn who_hangs_up_cancels() {
    let engine = Scripted::gated(|_| "abcdef".into());
    let face = Face::start(engine.clone()).await;
    // Before the first piece, and after it; streamed and not.
    for (cancelled, (pieces, stream)) in (1..).zip([(0, true), (1, true), (0, false), (1, false)]) {
        engine.gate.add_permits(pieces);
        let mut socket = face.socket().await;
        socket.write_all(face.raw(&json!({ "prompt": "x", "stream": stream })).as_bytes()).await.expect("written");
        face.eventually("infill_requests_running", 1.0).await;
        if pieces > 0 && stream {
            let mut piece = [0; 512];
            assert!(socket.read(&mut piece).await.expect("a piece") > 0);
        }
        drop(socket);
        face.eventually("infill_requests_total{outcome=\"cancelled\"}", f64::from(cancelled)).await;
    }
    face.eventually("infill_requests_running", 0.0).await;
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody_and_is_dropped() {
    let engine = Scripted::new(|request| if request.tail == "much" { "abc".repeat(60_000) } else { "ok".into() });
    let face = Face::with(engine.clone(), Limits { reader: Duration::from_millis(500), ..limits() }, None).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut slow = socket.connect(face.address.parse().expect("an address")).await.expect("a connection");
    slow.write_all(face.raw(&json!({ "prompt": "much", "stream": true })).as_bytes()).await.expect("written");
    face.eventually("infill_requests_running", 1.0).await;
    for _ in 0..20 {
        assert_eq!(face.text(json!({ "prompt": "x" })).await, "ok");
    }
    face.eventually("infill_requests_total{outcome=\"cancelled\"}", 1.0).await;
}

#[tokio::test]
async fn connections_are_limited() {
    let engine = Scripted::gated(|_| "abc".into());
    let face = Face::with(engine.clone(), Limits { connections: 2, ..limits() }, None).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = face.socket().await;
        socket.write_all(face.raw(&json!({ "prompt": "x" })).as_bytes()).await.expect("written");
        held.push(socket);
    }
    for _ in 0..500 {
        if engine.requests().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(engine.requests().len(), 2, "both are in");
    let (status, error) = face.post("/v1/completions", json!({ "prompt": "x" })).await;
    assert!(status == 503 && error["error"]["message"].as_str().is_some_and(|m| m.contains("server.connections")), "{error}");
    drop(held);
    engine.gate.add_permits(100);
    for _ in 0..500 {
        if face.post("/v1/completions", json!({ "prompt": "x" })).await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there was no room again")
}

#[cfg(feature = "nano")]
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_are_all_answered() {
    let face = Face::start(nano().await).await;
    let expected = face.text(json!({ "prompt": HOLE.0, "suffix": HOLE.1, "max_tokens": 4 })).await;
    let asks = (0..200).map(async |_| {
        // A connection each.
        let mut socket = face.socket().await;
        let body = json!({ "prompt": HOLE.0, "suffix": HOLE.1, "max_tokens": 4 });
        let raw = face.raw(&body).replacen("\r\n", "\r\nconnection: close\r\n", 1);
        socket.write_all(raw.as_bytes()).await.expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["choices"][0]["text"], json!(expected));
    });
    futures_util::future::join_all(asks).await;
    assert_eq!(face.number("infill_requests_total{outcome=\"done\"}").await, 201.0);
    face.stop().await;
}
