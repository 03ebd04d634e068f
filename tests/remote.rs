//! Remote engines against servers on this machine: what they are sent, and every way in which they can be wrong.
//!
//! ```text
//! Request { prefix, suffix, tail: "    return wid" }  ->  "<｜fim▁begin｜>…<｜fim▁end｜>    return"  <-  " width + 1"  ->  Text "th + 1"
//! ```
//! A real llama.cpp server: tests/clients/llama_cpp.py.
#[path = "remote/program.rs"]
mod program;
mod service;

use infill::config::Api;
use infill::engine::http::{Http, Options};
use infill::engine::{Answer, Engine, EngineError, Event, Finish, Request, State, Usage};
use serde_json::{Value, json};
use service::{Out, Service};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A text, how it ended, what it cost; or why there is none.
type Outcome = Result<(String, Finish, Usage), EngineError>;

fn options(url: &str) -> Options {
    Options { rest: Duration::ZERO, silence: Duration::from_secs(20), ..Options::new(url) }
}

fn open(service: &Service) -> Http {
    Http::open(options(&service.url())).unwrap()
}

fn collect(mut answer: Answer) -> Outcome {
    let mut out = String::new();
    while let Some(event) = answer.blocking_recv() {
        match event {
            Event::Text { text, .. } => out += &text,
            Event::Done { finish, usage } => return Ok((out, finish, usage)),
            Event::Failed(error) => return Err(error),
            Event::Top(_) => {}
        }
    }
    panic!("no end")
}

fn request(tail: &str) -> Request {
    let (prefix, suffix) = ("def f(width):\n".to_owned(), "\n\nf(1)\n".to_owned());
    Request { prefix, suffix, tail: tail.into(), max_tokens: 16, ..Request::default() }
}

fn ask(engine: &Http, tail: &str) -> Outcome {
    collect(engine.submit(request(tail)))
}

fn text(engine: &Http, tail: &str) -> String {
    ask(engine, tail).unwrap().0
}

/// Fails with a sentence that holds all of `words`.
#[track_caller]
fn fails(outcome: Outcome, words: &[&str]) {
    let error = outcome.expect_err("a failure").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(!error.contains("os error") && !error.contains("def f("), "{error}");
}

fn loaded(engine: &Http) -> Result<infill::engine::Info, EngineError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(engine.loaded())
}

#[test]
fn markers_are_rendered_here_and_the_tail_comes_last() {
    let service = Service::vllm(|_, out| out.completion(&["a", "b"]));
    let engine = open(&service);
    let info = loaded(&engine).unwrap();
    assert_eq!((info.model.as_str(), info.context), ("DeepSeek-Coder-V2-Lite-Base", 4096));
    assert_eq!(info.device, format!("remote: {}", service.address));
    assert!(info.bytes_per_token > 1.0);
    let (answer, finish, usage) = ask(&engine, "    return\n").unwrap();
    assert_eq!((answer.as_str(), finish), ("ab", Finish::Stop));
    assert_eq!((usage.prompt_tokens, usage.reused, usage.computed, usage.generated), (100, 96, 4, 2));
    assert_eq!(engine.totals().reused, 96);
    let body = &service.completions()[0];
    assert_eq!(body["prompt"], "<｜fim▁begin｜>def f(width):\n<｜fim▁hole｜>\n\nf(1)\n<｜fim▁end｜>    return\n");
    assert_eq!((&body["max_tokens"], &body["temperature"], &body["stream"]), (&json!(16), &json!(0.0), &json!(true)));
    assert_eq!(body["suffix"], Value::Null);
}

#[test]
fn a_word_being_typed_is_held_and_dropped_from_the_answer() {
    let service = Service::vllm(|ask, out| match ask.body["prompt"].as_str().unwrap().ends_with("<｜fim▁end｜>    return") {
        true => out.completion(&[" wi", "dth + 1"]),
        false => out.completion(&["th of it"]),
    });
    let engine = open(&service);
    assert_eq!(text(&engine, "    return wid"), "th + 1");
    assert_eq!(service.completions().len(), 1);
    // The model would write " width": what the user types instead is asked for as it stands.
    assert_eq!(text(&engine, "    return wea"), "th of it");
    let asked = service.completions();
    assert_eq!(asked.len(), 3);
    assert!(asked[2]["prompt"].as_str().unwrap().ends_with("    return wea"));
}

#[test]
fn bytes_may_come_one_by_one() {
    let service = Service::vllm(|_, out| {
        out.begin();
        let events = [json!({"choices": [{"text": "é = \"🦙\""}]}), json!({"choices": [{"text": ";", "finish_reason": "length"}]})];
        let bytes: String = events.iter().map(|e| format!(": alive\r\n\r\ndata: {e}\r\n\r\n")).collect();
        bytes.as_bytes().iter().for_each(|b| assert!(out.part(&[*b])));
        out.end();
    });
    let (answer, finish, _) = ask(&open(&service), "").unwrap();
    assert_eq!((answer.as_str(), finish), ("é = \"🦙\";", Finish::Length));
}

#[test]
fn stops_end_the_answer_wherever_they_are_found() {
    let service = Service::vllm(|_, out| out.completion(&["a", "\n", "\nb", "c"]));
    let engine = open(&service);
    let stop = vec!["1".into(), "2".into(), "3".into(), "4".into(), "\n\n".into()];
    let (answer, finish, _) = collect(engine.submit(Request { stop, ..request("") })).unwrap();
    assert_eq!((answer.as_str(), finish), ("a", Finish::Stop));
    assert_eq!(service.completions()[0]["stop"], json!(["1", "2", "3", "4"]));
    let marker = Service::vllm(|_, out| out.completion(&["a<｜end▁of", "▁sentence｜>b"]));
    assert_eq!(text(&open(&marker), ""), "a");
}

#[test]
fn a_half_read_answer_is_a_failure() {
    let service = Service::vllm(|_, out| {
        out.begin();
        out.text("half");
    });
    fails(ask(&open(&service), ""), &["broke off"]);
    assert_eq!(service.completions().len(), 1, "what has begun is not asked twice");
    let endless = Service::vllm(|_, out| {
        out.begin();
        out.text("no finish");
        out.end();
    });
    fails(ask(&open(&endless), ""), &["broke off", "no end"]);
}

#[test]
fn garbage_is_named_with_the_setting_to_change() {
    let service = Service::start(|_, out| out.answer(200, "", "<html>Welcome</html>"));
    let engine = open(&service);
    fails(ask(&engine, ""), &["no completions", "engine.url", "engine.api"]);
    assert!(matches!(engine.state(), State::Failed(_)));
    let stream = Service::vllm(|_, out| {
        out.begin();
        out.part(b"<p>Sorry</p>\n");
        out.end();
    });
    fails(ask(&open(&stream), ""), &["no completions", "engine.api"]);
    let endless = Service::vllm(|_, out| {
        out.begin();
        while out.part(&[b'x'; 1 << 16]) {}
    });
    fails(ask(&open(&endless), ""), &["no completions", "a line without an end"]);
}

#[test]
fn a_server_that_goes_on_and_on_is_cut_off() {
    let service = Service::vllm(|_, out| {
        out.begin();
        while out.text(&"x".repeat(1000)) {}
    });
    let (answer, finish, _) = ask(&open(&service), "").unwrap();
    assert_eq!(finish, Finish::Length);
    assert!(answer.len() < 10_000, "{}", answer.len());
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let service = Service::vllm(|_, out| {
        out.begin();
        while out.raw(b"") {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let impatient = |service: &Service| Http::open(Options { silence: Duration::from_millis(400), ..options(&service.url()) }).unwrap();
    fails(ask(&impatient(&service), ""), &["no answer in time"]);
    let silent = Service::start(|_, _| std::thread::sleep(Duration::from_secs(3)));
    fails(ask(&impatient(&silent), ""), &["no answer in time"]);
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let count = AtomicUsize::new(0);
    let service = Service::vllm(move |_, out| match count.fetch_add(1, Ordering::SeqCst) {
        0 => out.answer(429, "retry-after: 0\r\n", ""),
        1 => out.json(503, &json!({"error": {"message": "Loading model"}})),
        _ => out.completion(&["at last"]),
    });
    assert_eq!(text(&open(&service), ""), "at last");
    assert_eq!(service.completions().len(), 3);
    let refusing = |status: u16, words: &[&str], times: usize| {
        let service = Service::vllm(move |_, out| out.json(status, &json!({"error": {"message": "because\nof def f("}})));
        fails(ask(&open(&service), ""), &[words, &["because"]].concat());
        assert_eq!(service.completions().len(), times, "{status}");
    };
    refusing(429, &["asked too often"], 4);
    refusing(500, &["has failed", "log"], 1);
    refusing(400, &["refuses the request", "engine.template"], 1);
    refusing(401, &["asks for a key", "engine.key_env"], 1);
    refusing(413, &["context.tokens"], 1);
    let patient = Service::vllm(|_, out| out.answer(429, "retry-after: 3600\r\n", ""));
    fails(ask(&open(&patient), ""), &["asked too often"]);
    assert_eq!(patient.completions().len(), 1, "nobody waits for an hour");
}

#[test]
fn a_kept_connection_that_is_closed_as_it_is_used_is_no_failure() {
    for unread in [false, true] {
        let service = Service::tired(unread, service::vllm(|_, out| out.completion(&["x"])));
        let engine = open(&service);
        for _ in 0..5 {
            assert_eq!(text(&engine, ""), "x", "unread: {unread}");
        }
        // What was read before the end was asked twice.
        let asked = service.completions().len();
        assert!(if unread { asked == 5 } else { (6..=10).contains(&asked) }, "{asked} requests for 5 answers");
    }
    // Who closes a new connection without a word answers nothing.
    let mute = Service::vllm(|_, _| {});
    fails(ask(&open(&mute), ""), &["cannot be reached", "closed"]);
}

#[test]
fn redirects_take_no_code_elsewhere() {
    let elsewhere = Service::vllm(|_, out| out.completion(&["stolen"]));
    let to = elsewhere.url();
    let service = Service::vllm(move |_, out| out.answer(307, &format!("location: {to}/v1/completions\r\n"), ""));
    fails(ask(&open(&service), ""), &["redirects to 127.0.0.1", "engine.url"]);
    assert_eq!(elsewhere.asks().len(), 0);
}

#[test]
fn a_slow_reader_loses_nothing_and_holds_up_nobody() {
    let service = Service::vllm(|ask, out| match ask.body["prompt"].as_str().unwrap().ends_with("slow\n") {
        true => out.completion(&vec!["0123456789"; 100]),
        false => out.completion(&["quick"]),
    });
    let engine = open(&service);
    let slow = engine.submit(Request { max_tokens: 100, ..request("slow\n") });
    assert_eq!(text(&engine, ""), "quick");
    assert_eq!(collect(slow).unwrap().0.len(), 1000);
}

#[test]
fn hanging_up_closes_the_stream() {
    let (gone, told) = channel();
    let gone = Mutex::new(gone);
    let service = Service::vllm(move |_, out| {
        out.begin();
        while out.text("x") {
            std::thread::sleep(Duration::from_millis(5));
        }
        gone.lock().unwrap().send(()).unwrap();
    });
    let engine = open(&service);
    let mut answer = engine.submit(Request { max_tokens: 100_000, ..request("") });
    assert!(matches!(answer.blocking_recv(), Some(Event::Text { .. })));
    drop(answer);
    told.recv_timeout(Duration::from_secs(20)).expect("the server sees that nobody reads");
}

/// vLLM's /tokenize reads markers in any text: each is one token there, and every other character is one too.
fn tokenize(text: &str) -> Vec<u32> {
    let markers = [("<｜fim▁begin｜>", 100_003), ("<｜fim▁hole｜>", 100_002), ("<｜fim▁end｜>", 100_004)];
    let (mut ids, mut rest) = (vec![], text);
    while let Some(c) = rest.chars().next() {
        let found = markers.iter().find(|(marker, _)| rest.starts_with(marker));
        ids.push(found.map_or(c as u32, |(_, id)| *id));
        rest = &rest[found.map_or(c.len_utf8(), |(marker, _)| marker.len())..];
    }
    ids
}

#[test]
fn a_marker_in_a_file_is_text_or_refused() {
    let plain = Service::vllm(|_, out| out.completion(&["x"]));
    let engine = open(&plain);
    let marked = Request { prefix: "x = '<｜fim▁hole｜>'\n".into(), ..request("") };
    fails(collect(engine.submit(marked.clone())), &["<｜fim▁hole｜>", "the model's own", "no suggestion there"]);
    assert_eq!(plain.completions().len(), 0);
    assert_eq!(text(&engine, ""), "x", "elsewhere all is well");
    let models = json!({"data": [{"id": "deepseek", "owned_by": "vllm"}]});
    let exact = Service::start(move |ask, out| match ask.path.as_str() {
        "/v1/models" => out.json(200, &models),
        "/tokenize" => {
            let begin = (ask.body["add_special_tokens"] == true).then_some(100_000);
            let ids: Vec<u32> = begin.into_iter().chain(tokenize(ask.body["prompt"].as_str().unwrap())).collect();
            out.json(200, &json!({"tokens": ids}));
        }
        _ => out.completion(&["x"]),
    });
    assert_eq!(collect(open(&exact).submit(marked)).unwrap().0, "x");
    let prompt = exact.completions()[0]["prompt"].clone();
    let ids: Vec<u32> = serde_json::from_value(prompt).expect("token ids");
    assert_eq!(ids[..2], [100_000, 100_003]);
    assert_eq!(ids.iter().filter(|id| **id == 100_002).count(), 1, "the text's own marker is no token");
    assert!(ids.contains(&('h' as u32)), "{ids:?}");
}

#[test]
fn what_does_not_fit_is_named_at_the_start() {
    let serving = |list: Value, tokens: usize| {
        Service::start(move |ask, out| match ask.path.as_str() {
            "/v1/models" => out.json(200, &list),
            "/tokenize" => out.json(200, &json!({"tokens": vec![7; tokens]})),
            "/v1/completions" => out.completion(&["x"]),
            _ => out.json(404, &json!({"error": {"message": "File Not Found"}})),
        })
    };
    let fails = |service: &Service, change: &dyn Fn(&mut Options), words: &[&str]| {
        let mut options = options(&service.url());
        change(&mut options);
        let error = loaded(&Http::open(options).unwrap()).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in: {error}"));
    };
    let two = serving(json!({"data": [{"id": "qwen-coder"}, {"id": "starcoder2"}]}), 1);
    fails(&two, &|_| {}, &["several models", "qwen-coder, starcoder2", "engine.model"]);
    fails(&two, &|o| o.model = "llama".into(), &["does not serve \"llama\"", "starcoder2"]);
    fails(&two, &|o| (o.model, o.api) = ("starcoder2".into(), Api::Ollama), &["does not know what it is asked", "engine.api"]);
    fails(&serving(json!({"data": [{"id": "llama-3.1"}]}), 1), &|_| {}, &["format", "engine.template"]);
    fails(&serving(json!({"data": []}), 1), &|_| {}, &["serves no model"]);
    let strange = serving(json!({"data": [{"id": "deepseek-chat-only"}]}), 3);
    fails(&strange, &|_| {}, &["does not know <｜fim▁begin｜>", "engine.template"]);
    assert!(
        Http::open(Options { template: "nonsense".into(), ..options(&two.url()) }).err().unwrap().to_string().contains("engine.template")
    );
    for url in ["nonsense", "ftp://x", "http://", ""] {
        assert!(Http::open(options(url)).err().unwrap().to_string().contains("engine.url"), "{url:?}");
    }
}

#[test]
fn a_server_without_the_extensions_is_asked_without_them() {
    let service = Service::start(|ask, out| match ask.path.as_str() {
        "/v1/models" => out.json(200, &json!({"data": [{"id": "starcoder2"}]})),
        "/v1/completions" if ask.body.get("logprobs").is_some() => out.json(422, &json!({"detail": "extra fields not permitted"})),
        "/v1/completions" => out.completion(&["ok"]),
        _ => out.answer(404, "", ""),
    });
    assert_eq!(text(&open(&service), ""), "ok");
    assert_eq!(service.completions()[0]["prompt"], "<fim_prefix>def f(width):\n<fim_suffix>\n\nf(1)\n<fim_middle>");
}

#[test]
fn sglang_is_asked_with_text_and_its_counter_is_read() {
    let service = Service::start(|ask, out| match ask.path.as_str() {
        "/v1/models" => {
            out.json(200, &json!({"data": [{"id": "deepseek-ai/DeepSeek-Coder-V2-Base", "owned_by": "sglang", "max_model_len": 8192}]}))
        }
        "/v1/completions" => {
            out.begin();
            let choice =
                json!({"index": 0, "text": "ok", "logprobs": {"token_logprobs": [-0.25]}, "finish_reason": null, "matched_stop": null});
            out.event(&json!({"id": "7", "object": "text_completion", "model": "deepseek-ai/DeepSeek-Coder-V2-Base", "choices": [choice], "usage": null}));
            out.event(&json!({"choices": [{"index": 0, "text": "", "logprobs": null, "finish_reason": "stop", "matched_stop": 100_001}]}));
            let usage = json!({"prompt_tokens": 40, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 32}});
            out.event(&json!({"choices": [], "usage": usage}));
            out.part(b"data: [DONE]\n\n");
            out.end();
        }
        _ => out.json(404, &json!({"detail": "Not Found"})),
    });
    let engine = open(&service);
    assert_eq!(loaded(&engine).unwrap().context, 8192);
    let (answer, finish, usage) = ask(&engine, "    return\n").unwrap();
    assert_eq!((answer.as_str(), finish, usage.prompt_tokens, usage.reused), ("ok", Finish::Stop, 40, 32));
    let body = &service.completions()[0];
    assert_eq!(body["prompt"], "<｜fim▁begin｜>def f(width):\n<｜fim▁hole｜>\n\nf(1)\n<｜fim▁end｜>    return\n");
    assert_eq!((&body["logprobs"], &body["stream_options"]["include_usage"]), (&json!(1), &json!(true)));
}

#[test]
fn a_server_that_comes_later_is_found() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let engine = Http::open(options(&format!("http://{address}"))).unwrap();
    fails(ask(&engine, ""), &["cannot be reached", "start it, or correct engine.url"]);
    let answer = |ask: &service::Ask, out: &mut Out| match ask.path.as_str() {
        "/v1/models" => out.json(200, &json!({"data": [{"id": "deepseek"}]})),
        "/v1/completions" => out.completion(&["here"]),
        _ => out.answer(404, "", ""),
    };
    let service = Service::on(TcpListener::bind(address).unwrap(), answer);
    assert_eq!(text(&engine, ""), "here");
    drop(service);
    assert!(matches!(engine.state(), State::Ready(_)));
}

#[test]
fn ollama_gets_the_raw_prompt_and_answers_in_lines() {
    let service = Service::start(|ask, out| match ask.path.as_str() {
        "/v1/models" => out.json(
            200,
            &json!({"data": [{"id": "qwen2.5-coder:7b", "owned_by": "library"}, {"id": "llama3:latest", "owned_by": "library"}]}),
        ),
        "/api/generate" => {
            out.begin();
            out.part(b"{\"response\":\"a\",\"done\":false}\n{\"response\":\"b\",\"do");
            out.part(
                b"ne\":false}\n{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":20,\"eval_count\":2}\n",
            );
            out.end();
        }
        _ => out.answer(404, "", ""),
    });
    let engine = Http::open(Options { model: "qwen2.5-coder:7b".into(), ..options(&service.url()) }).unwrap();
    let (answer, _, usage) = ask(&engine, "").unwrap();
    assert_eq!((answer.as_str(), usage.prompt_tokens, usage.generated), ("ab", 20, 2));
    // Whether the model converses is asked beside it.
    let body = service.asks().into_iter().rfind(|ask| ask.path == "/api/generate").expect("asked").body;
    assert_eq!(body["prompt"], "<|fim_prefix|>def f(width):\n<|fim_suffix|>\n\nf(1)\n<|fim_middle|>");
    assert_eq!((&body["raw"], &body["options"]["num_predict"]), (&json!(true), &json!(16)));
}

#[test]
fn deepseeks_api_renders_itself_and_is_not_paid_for_guesses() {
    let service = Service::start(|ask, out| match ask.path.as_str() {
        "/beta/completions" => out.completion(&["x"]),
        _ => out.answer(404, "", ""),
    });
    let options = Options { api: Api::DeepSeek, key: Some("sk-secret".into()), ..options(&service.url()) };
    let engine = Http::open(options).unwrap();
    assert_eq!(text(&engine, "    return\n"), "x");
    let asked = service.completions();
    assert_eq!((&asked[0]["prompt"], &asked[0]["suffix"]), (&json!("def f(width):\n    return\n"), &json!("\n\nf(1)\n")));
    assert_eq!(asked[0]["model"], "deepseek-chat");
    assert!(service.asks().iter().all(|a| a.head.contains("Bearer sk-secret")));
    let before = service.asks().len();
    assert_eq!(collect(engine.submit(Request { max_tokens: 0, ..request("") })).unwrap().0, "");
    assert_eq!(service.asks().len(), before);
}

#[test]
fn a_prefill_sends_no_text() {
    let service = Service::vllm(|_, out| out.completion(&["x"]));
    let (answer, finish, _) = collect(open(&service).submit(Request { max_tokens: 0, ..request("") })).unwrap();
    assert_eq!((answer.as_str(), finish), ("", Finish::Length));
    assert_eq!(service.completions()[0]["max_tokens"], 1);
}
