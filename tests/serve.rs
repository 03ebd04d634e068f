//! One server for all windows: started once, found, lost, killed and started again. The real program throughout.
//!
//! ```text
//! three windows -> one pid     kill -9 -> said once, a new pid     another version -> a hint, or replaced when nobody uses it
//! ```
#![cfg(unix)]
mod checkpoint;
mod serving;
use infill::config::Transport;
use infill::daemon::link::Link;
use infill::daemon::place::Place;
use infill::daemon::start::Wanted;
use infill::daemon::{Hello, Identity, News};
use infill::engine::shared::Shared;
use infill::engine::{Engine, EngineError, Event, Request, State};
use serde_json::{Value, json};
use serving::{House, TEXT, eventually, kill, lives, memory};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn windows_share_one_server_and_say_what_a_window_of_its_own_says() {
    let house = House::with(&[("INFILL_SERVER_IDLE", "1")]);
    let mut alone = house.window_with(&[], &[("INFILL_ENGINE_SHARED", "false")]);
    alone.open(TEXT);
    let expected = alone.suggestion(5, 7);
    assert!(!expected.is_empty());
    assert!(alone.status()["server"].is_null());
    assert_eq!(house.server(), None, "a window of its own starts no server");

    let mut windows: Vec<_> = (0..3).map(|_| house.window(&[])).collect();
    for window in &mut windows {
        window.open(TEXT);
        assert_eq!(window.suggestion(5, 7), expected);
    }
    let servers: HashSet<u32> = windows.iter_mut().map(serving::Window::server).collect();
    let pid = *servers.iter().next().expect("a server");
    assert_eq!((servers.len(), house.server()), (1, Some(pid)));
    let status = windows[0].status();
    assert_eq!(status["server"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["server"]["model"], &status["engine"]["model"]), (&json!("nano"), &json!("nano")));
    assert!(status["server"]["socket"].as_str().is_some_and(|socket| socket.ends_with("infill/serve.sock")), "{status}");
    // The second window's prompt was in the cache that the first one filled.
    assert!(windows[2].status()["totals"]["reused"].as_u64() > Some(20), "{}", windows[2].status());
    drop(windows);
    eventually("the idle server leaves", || (!lives(pid)).then_some(()));
    assert!(!house.run().join("serve.sock").exists());
}

#[test]
fn ten_windows_cost_one_model() {
    let house = House::new();
    let mut windows: Vec<_> = (0..10).map(|_| house.window(&[])).collect();
    let pids: HashSet<u32> = windows.iter_mut().map(serving::Window::server).collect();
    assert_eq!(pids.len(), 1, "ten windows that start at once start one server");
    for window in &mut windows {
        window.open(TEXT);
        assert!(!window.suggestion(5, 7).is_empty());
    }
    let sizes: Vec<f64> = windows.iter().map(serving::Window::memory).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    println!(
        "windows: {:.1} to {largest:.1} MB; server: {:.1} MB",
        sizes.iter().copied().fold(f64::MAX, f64::min),
        memory(*pids.iter().next().expect("one"))
    );
    assert!(largest <= 40.0, "a window has {largest:.1} MB");
}

#[test]
fn of_servers_that_start_at_once_one_stays() {
    let house = House::new();
    let start = || {
        house
            .command(&["serve", "--detached"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("infill runs")
    };
    let mut racing: Vec<_> = (0..8).map(|_| start()).collect();
    eventually("all but one have ended", || {
        let running = racing.iter_mut().filter_map(|child| child.try_wait().expect("a child").is_none().then_some(())).count();
        (running <= 1).then_some(())
    });
    let codes: Vec<_> = racing.iter_mut().filter_map(|child| child.try_wait().expect("a child")).map(|status| status.code()).collect();
    assert_eq!(codes, [Some(75); 7], "the others say that one is there already");
    let pid = eventually("it answers", || house.server());
    assert!(racing.iter().any(|child| child.id() == pid));
    let by_hand = house.output(&["serve"]);
    let said = String::from_utf8_lossy(&by_hand.stderr).into_owned();
    assert_eq!(by_hand.status.code(), Some(1));
    assert!(
        said.contains(&format!("a server is running already (pid {pid}, model nano)")) && said.contains("infill serve --stop"),
        "{said}"
    );
    let stopped = house.output(&["serve", "--stop"]);
    assert!(String::from_utf8_lossy(&stopped.stdout).contains(&format!("(pid {pid}) has left")), "{stopped:?}");
    racing.iter_mut().for_each(|child| drop(child.wait()));
}

#[test]
fn only_this_user_can_come_in() {
    let house = House::new();
    let mut window = house.window(&[]);
    window.server();
    let mode = |name: &str| house.run().join(name).metadata().expect(name).permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("serve.sock"), mode("serve.log")), (0o700, 0o600, 0o600));
}

#[test]
fn a_killed_server_is_said_once_and_started_again() {
    let house = House::new();
    let (mut first, mut second) = (house.window(&[]), house.window(&[]));
    for window in [&mut first, &mut second] {
        window.open(TEXT);
        assert!(!window.suggestion(5, 7).is_empty());
    }
    let pid = first.server();
    // In the middle of an answer: stopped before the ask, so that it cannot be done, and killed after it.
    kill(pid, "-STOP");
    first.insert(5, 7, " x");
    let asked = first.ask(5, 9);
    kill(pid, "-KILL");
    let answer = first.client.answer(asked).expect("an answer all the same");
    assert_eq!(answer["items"], json!([]), "no text from a dead server");
    // Typing goes on, and so do suggestions, from a new server.
    let again = eventually("a suggestion again", || {
        first.insert(5, 9, "y");
        first.insert(5, 9, "");
        let text = first.suggestion(5, 7);
        (!text.is_empty()).then_some(text)
    });
    assert!(!again.is_empty());
    let new = first.server();
    assert!(new != pid && second.server() == new, "both windows have the same new server");
    assert!(!second.suggestion(5, 7).is_empty());
    for window in [&mut first, &mut second] {
        for _ in 0..3 {
            window.suggestion(5, 7);
        }
        window.status();
        let said: Vec<_> = window.client.said.iter().filter(|text| text.contains("shared server has stopped")).collect();
        assert_eq!(said.len(), 1, "said once: {:?}", window.client.said);
        assert!(said[0].contains("it is started again") && said[0].contains("serve.log"), "{said:?}");
    }
}

#[test]
fn a_server_that_left_in_order_is_started_again_without_a_word() {
    let house = House::new();
    let mut window = house.window(&[]);
    window.open(TEXT);
    let expected = window.suggestion(5, 7);
    let pid = window.server();
    assert!(house.output(&["serve", "--stop"]).status.success());
    assert!(!lives(pid));
    eventually("the window knows", || window.status()["server"].is_null().then_some(()));
    assert_eq!(house.server(), None, "nobody asked for anything");
    window.insert(6, 0, "ret");
    assert!(!expected.is_empty() && !window.suggestion(6, 3).is_empty());
    assert!(window.server() != pid);
    assert!(window.client.said.is_empty(), "{:?}", window.client.said);
}

#[test]
fn doctor_tells_of_the_server_and_does_not_load_the_model_twice() {
    let house = House::new();
    let mut window = house.window(&[]);
    window.open(TEXT);
    window.suggestion(5, 7);
    let pid = window.server();
    let said = String::from_utf8(house.output(&["doctor"]).stdout).expect("UTF-8");
    let line = said.lines().find(|line| line.contains("server")).expect("a line");
    assert!(
        line.starts_with(&format!("ok  server        pid {pid}, infill 0.1.0, nano for 1 windows, ")) && line.ends_with("serve.sock"),
        "{line}"
    );
    let numbers = String::from_utf8(house.output(&["doctor", "--model", "nano"]).stdout).expect("UTF-8");
    assert!(numbers.contains("ok  model"), "{numbers}");
    let output = house.command(&["doctor"]).env("INFILL_ENGINE_SHARED", "false").output().expect("infill runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("each window loads the model"), "{output:?}");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nano/nano.gguf"), house.path("other.gguf")).expect("a copy");
    let said = String::from_utf8(house.output(&["doctor", "--model", &house.text("other.gguf")]).stdout).expect("UTF-8");
    assert!(said.lines().any(|line| line.starts_with("!!  server") && line.contains("not the configured model")), "{said}");
}

#[test]
fn what_a_killed_server_left_behind_means_nothing() {
    let house = House::new();
    std::fs::create_dir_all(house.run()).expect("a folder");
    // A socket without a listener, a lock file without a holder, a port that nobody has.
    drop(std::os::unix::net::UnixListener::bind(house.run().join("serve.sock")).expect("a socket"));
    std::fs::write(house.run().join("serve.lock"), "").expect("a file");
    std::fs::write(house.run().join("serve.port"), r#"{"port":1,"token":"x"}"#).expect("a file");
    let mut window = house.window(&[]);
    window.open(TEXT);
    assert!(!window.suggestion(5, 7).is_empty());
}

#[test]
fn without_unix_sockets_it_is_a_port_and_a_token() {
    let house = House::with(&[("INFILL_SERVER_TRANSPORT", "loopback")]);
    let mut window = house.window(&[]);
    window.open(TEXT);
    assert!(!window.suggestion(5, 7).is_empty());
    let file = house.run().join("serve.port");
    assert_eq!(file.metadata().expect("a port file").permissions().mode() & 0o777, 0o600);
    assert!(!house.run().join("serve.sock").exists());
    let port: Value = serde_json::from_slice(&std::fs::read(file).expect("a port file")).expect("JSON");
    let ask = |token: &str| {
        let request = format!("GET /health HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port["port"].as_u64().expect("a port") as u16)).expect("a connection");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("written");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
        answer
    };
    assert!(ask("wrong").starts_with("HTTP/1.1 401"));
    assert!(ask(port["token"].as_str().expect("a token")).starts_with("HTTP/1.1 200"));
}

#[test]
fn another_model_is_a_hint_while_others_use_the_server_and_replaces_it_when_nobody_does() {
    let house = House::new();
    let model = house.path("other.gguf");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nano/nano.gguf"), &model).expect("a copy");
    let mut first = house.window(&[]);
    first.open(TEXT);
    let expected = first.suggestion(5, 7);
    let pid = first.server();
    let mut second = house.window(&["--model", &house.text("other.gguf")]);
    second.open(TEXT);
    assert_eq!(second.suggestion(5, 7), "");
    let said = eventually("it is said", || {
        second.status();
        second.client.said.first().cloned()
    });
    assert!(said.contains(&format!("(pid {pid}) has the model nano, and this window wants {}", model.display())), "{said}");
    assert!(said.contains("close the other windows") && said.contains("engine.shared = false"), "{said}");
    assert_eq!(first.suggestion(5, 7), expected, "the first window is not disturbed");
    drop(first);
    let text = eventually("the second window has its model", || Some(second.suggestion(5, 7)).filter(|text| !text.is_empty()));
    assert_eq!(text, expected, "the same weights under another name");
    assert!(second.server() != pid && !lives(pid));
    assert_eq!(second.status()["server"]["model"], json!(model));
}

#[test]
fn a_model_that_cannot_be_loaded_is_said_by_every_window() {
    let house = House::new();
    std::fs::write(house.path("broken.gguf"), "GGUF and nothing more").expect("a file");
    for _ in 0..2 {
        let mut window = house.window(&["--model", &house.text("broken.gguf")]);
        window.open(TEXT);
        assert_eq!(window.suggestion(5, 7), "");
        let said = eventually("it is said", || {
            window.status();
            window.client.said.first().cloned()
        });
        assert!(said.contains("The model cannot be used") && said.contains("broken.gguf"), "{said}");
    }
}

/// Real weights that say nothing, with DeepSeek-V2's chat template beside them.
#[test]
fn an_instruct_model_explains_through_the_shared_server() {
    let house = House::new();
    let folder = house.path("instruct");
    std::fs::create_dir(&folder).expect("a folder");
    checkpoint::random(&folder);
    let template = "{% for m in messages %}{{ 'User: ' + m.content }}{{ 'Assistant: ' + m.content }}{% endfor %}{{ 'Assistant:' }}";
    std::fs::write(folder.join("chat_template.jinja"), template).expect("a template");
    let mut window = house.window(&["--model", &house.text("instruct")]);
    window.open(TEXT);
    let range = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 2, "character": 0 } });
    let wanted = json!({ "textDocument": { "uri": serving::URI }, "range": range, "context": { "diagnostics": [] } });
    let found = eventually("the model is loaded, and converses", || {
        let found = window.client.request("textDocument/codeAction", wanted.clone()).expect("actions");
        found.as_array().filter(|found| !found.is_empty()).cloned()
    });
    // This client takes no edits.
    assert_eq!((found.len(), &found[0]["title"]), (1, &json!("infill: explain")));
    window
        .client
        .request("workspace/executeCommand", json!({ "command": found[0]["command"], "arguments": found[0]["arguments"] }))
        .expect("done");
    let said = eventually("an explanation", || {
        window.status();
        window.client.said.first().cloned()
    });
    assert!(!said.trim().is_empty() && !said.starts_with("infill: explain: "), "{said}");
}

#[test]
fn it_stops_in_order_and_answers_what_it_has_begun() {
    let house = House::new();
    let mut server = house.serve(&["--listen", "127.0.0.1:0"]);
    let address = house.address();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let text = runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("a connection");
        let body = json!({ "prompt": "def f(x):\n", "suffix": "\n", "max_tokens": 60, "stream": true }).to_string();
        let head = format!("POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.expect("written");
        let (mut text, mut piece) = (Vec::new(), [0; 1024]);
        let first = stream.read(&mut piece).await.expect("a first piece");
        text.extend_from_slice(&piece[..first]);
        kill(server.0.id(), "-TERM");
        stream.read_to_end(&mut text).await.expect("to its end");
        String::from_utf8_lossy(&text).into_owned()
    });
    assert!(text.contains("data: [DONE]"), "{text}");
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
    assert!(!house.run().join("serve.sock").exists());
    assert!(house.said().contains("asked to stop"), "{}", house.said());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let house = House::with(&[("INFILL_LOG", "trace")]);
    let _server = house.serve(&["--log", "/dev/full"]);
    let mut window = house.window(&["--log", "/dev/full"]);
    window.open(TEXT);
    for _ in 0..20 {
        assert!(!window.suggestion(5, 7).is_empty());
    }
}

#[test]
fn logs_hold_no_code() {
    let house = House::with(&[("INFILL_LOG", "debug")]);
    let log = house.path("window.log");
    let mut window = house.window(&["--log", &house.text("window.log")]);
    window.open(&TEXT.replace("sub", "peculiar_name"));
    assert!(!window.suggestion(5, 7).is_empty());
    let pid = window.server();
    kill(pid, "-KILL");
    eventually("another one", || (window.server() != pid).then_some(()));
    window.suggestion(5, 7);
    drop(window);
    for log in [log, house.run().join("serve.log")] {
        let text = std::fs::read_to_string(&log).expect("a log");
        assert!(!text.is_empty() && !text.contains("peculiar_name") && !text.contains("return a"), "{}: {text}", log.display());
    }
}

#[test]
fn a_wrong_configuration_of_the_server_is_said_with_its_reason() {
    let house = House::new();
    for (arguments, words) in [
        (&["--listen", "0.0.0.0:0"][..], "can be reached from other machines, and there is no token"),
        (&["--listen", "nonsense"], "is no address to listen at"),
        (&["--model", "gone.gguf"], "No model at"),
    ] {
        let all: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().copied()).collect();
        let output = house.output(&all);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.lines().any(|line| line.starts_with("infill: ") && line.contains(words)), "{arguments:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let output = house.output(&["serve", "--listen", &taken.local_addr().expect("an address").to_string()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another port"), "{output:?}");
    let output =
        house.command(&["serve", "--listen", "127.0.0.1:0"]).env("INFILL_SERVER_TOKEN_ENV", "INFILL_TOKEN").output().expect("infill runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No token in the environment variable INFILL_TOKEN"), "{output:?}");
}

/// A server that is none: it greets, and then does what a test wants to see survived.
struct False {
    folder: tempfile::TempDir,
    place: Place,
}

impl False {
    fn new() -> False {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::at(folder.path().join("infill")).expect("a place");
        False { folder, place }
    }

    fn identity() -> Identity {
        Identity { model: "nano".into(), fingerprint: "f".into() }
    }

    fn hello() -> Hello {
        let Identity { model, fingerprint } = False::identity();
        Hello { version: env!("CARGO_PKG_VERSION").into(), pid: 1, model, fingerprint, windows: 1, by_hand: false, listen: None }
    }

    /// Greets every window with `hello` and a loaded model; what else is asked gets `answer`, and the end.
    fn serve(&self, hello: Hello, answer: &'static str) {
        let listener = tokio::net::UnixListener::bind(self.place.socket()).expect("a socket");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let hello = hello.clone();
                tokio::spawn(async move {
                    let mut head = vec![0; 65_536];
                    let read = stream.read(&mut head).await.unwrap_or(0);
                    if head[..read].starts_with(b"GET") {
                        let info =
                            infill::engine::Info { model: "false".into(), context: 4096, bytes_per_token: 3.0, ..Default::default() };
                        let news = [News::Hello(hello), News::Ready(info)]
                            .map(|news| format!("data: {}\n\n", serde_json::to_string(&news).expect("JSON")));
                        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{}", news.concat()).as_bytes()).await;
                        let _ = stream.read(&mut head).await;
                    } else {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
    }

    /// A window's engine. It cannot start a server: the program for that says no.
    fn window(&self, program: &str) -> Shared {
        let link = Link { place: self.place.clone(), transport: Transport::Auto };
        Shared::start(Wanted { link, identity: False::identity(), program: program.into(), settings: Vec::new() })
    }

    async fn settled(engine: &Shared) -> State {
        for _ in 0..3000 {
            match engine.state() {
                State::Loading => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                other => return other,
            }
        }
        panic!("it never came to anything")
    }

    async fn ask(engine: &Shared) -> (String, Result<(), EngineError>) {
        let mut answer = engine.submit(Request { prefix: "x".into(), max_tokens: 8, ..Request::default() });
        let mut text = String::new();
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text: more, .. } => text += &more,
                Event::Failed(error) => return (text, Err(error)),
                Event::Done { .. } => return (text, Ok(())),
                Event::Top(_) => {}
            }
        }
        panic!("exactly one end")
    }
}

#[tokio::test]
async fn a_half_read_response_is_a_failure_that_says_so() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const TEXT: &str = "data: {\"choices\":[{\"index\":0,\"text\":\"ab\"}]}\n\n";
    let half: &'static str = format!("{HEAD}{:x}\r\n{TEXT}\r\n", TEXT.len()).leak();
    for (answer, words) in [
        (half, "The shared server has stopped"),
        (HEAD, "The shared server has stopped"),
        ("", "The shared server has stopped"),
        ("HTTP/1.1 200 OK\r\n\r\ndata: {\"choices\": nonsense}\n\n", "cannot be read"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ndata: [DONE]\n\n", "The shared server has stopped"),
        (
            "HTTP/1.1 500 No\r\ncontent-length: 31\r\n\r\n{\"error\":{\"message\":\"oh dear\"}}\n",
            "answered 500 Internal Server Error: oh dear",
        ),
        ("garbage\r\n\r\n", "The shared server has stopped"),
    ] {
        let server = False::new();
        server.serve(False::hello(), answer);
        let engine = server.window("/bin/false");
        assert!(matches!(False::settled(&engine).await, State::Ready(_)));
        let (text, end) = False::ask(&engine).await;
        let error = end.expect_err("no answer").to_string();
        assert!(error.contains(words), "{answer:?}: {error}");
        assert_eq!(text, if answer.contains("ab") { "ab" } else { "" });
        assert!(server.folder.path().exists());
    }
}

#[tokio::test]
async fn a_server_of_another_version_is_named_with_the_remedy() {
    let server = False::new();
    server.serve(Hello { version: "0.0.1".into(), ..False::hello() }, "");
    let engine = server.window("/bin/false");
    let State::Failed(error) = False::settled(&engine).await else { panic!("{:?}", engine.state()) };
    let said = error.to_string();
    assert!(said.contains("(pid 1) is infill 0.0.1, and this window's is 0.1.0") && said.contains("infill serve --stop"), "{said}");
    assert_eq!(False::ask(&engine).await.1, Err(error), "requests hear it too");
}

#[tokio::test]
async fn a_server_that_cannot_be_started_is_named_with_its_log() {
    let server = False::new();
    for (program, words) in [("/bin/false", "did not start (exit status: 1): it said nothing"), ("/nowhere/infill", "cannot be started")] {
        let engine = server.window(program);
        let State::Failed(error) = False::settled(&engine).await else { panic!("{:?}", engine.state()) };
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.hint.contains("engine.shared = false"), "{error}");
    }
    std::fs::write(server.place.log(), "infill: config.toml: modle: unknown key\n").expect("a log");
    let engine = server.window("/bin/false");
    let State::Failed(error) = False::settled(&engine).await else { panic!("{:?}", engine.state()) };
    assert!(error.title.contains("modle: unknown key"), "{error}");
}
