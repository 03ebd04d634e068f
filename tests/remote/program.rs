//! The real program with a remote engine: its answers, its log, proxies, `infill doctor`.
//!
//! ```text
//! INFILL_ENGINE_URL=http://127.0.0.1:PORT infill complete a.py:2:11   ->   " width"
//! ```
use super::service::Service;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::mpsc::channel;

/// The real program with settings in its environment.
fn complete(variables: &[(&str, &str)]) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.py"), "def f(secret_width):\n    return\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_infill"));
    let ours = |name: &str| name.starts_with("INFILL_") || name.to_lowercase().ends_with("_proxy");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
        .env("XDG_CONFIG_HOME", folder.path())
        .env("INFILL_COMPLETION_SHOW_THRESHOLD", "off")
        .envs(variables.iter().copied())
        .current_dir(folder.path());
    let output = command.args(["complete", "a.py:2:11"]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_uses_the_configured_engine() {
    let service = Service::vllm(|_, out| out.completion(&[" width", "\nx"]));
    let url = service.url();
    let (ok, out, err) = complete(&[("INFILL_ENGINE_URL", &format!("{url}/v1"))]);
    assert!(ok && out.trim() == "width", "{out} {err}");
    // Keys: from a variable or a file, and nowhere else to be seen.
    let (ok, _, err) = complete(&[("INFILL_ENGINE_URL", &url), ("INFILL_ENGINE_KEY_ENV", "MY_KEY"), ("MY_KEY", "sk-secret")]);
    assert!(ok, "{err}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-secret\n").unwrap();
    let (ok, _, err) = complete(&[("INFILL_ENGINE_URL", &url), ("INFILL_ENGINE_KEY_FILE", &file.path().to_string_lossy())]);
    assert!(ok, "{err}");
    let looks = service.asks().into_iter().filter(|ask| ask.path == "/v1/models");
    assert_eq!(looks.map(|ask| ask.head.contains("Bearer sk-secret")).collect::<Vec<_>>(), [false, true, true]);
    let (ok, _, err) = complete(&[("INFILL_ENGINE_URL", &url), ("INFILL_ENGINE_KEY_ENV", "MY_KEY")]);
    assert!(!ok && err.contains("MY_KEY, which is not set"), "{err}");
}

/// One suggestion through the language server; gives its log.
fn log(level: &str, url: &str) -> String {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_infill"));
    command.env("XDG_CONFIG_HOME", folder.path()).env("INFILL_LOG", level).env("INFILL_ENGINE_URL", url);
    command.env("INFILL_ENGINE_KEY_ENV", "MY_KEY").env("MY_KEY", "sk-secret").args(["lsp", "--log"]).arg(&log);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let document = json!({"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "def f(my_code):\n    return\n"});
    let place = json!({"line": 1, "character": 10});
    let ask = json!({"textDocument": {"uri": "file:///a.py"}, "position": place, "context": {"triggerKind": 1}});
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut said = String::new();
    let mut send = |mut message: Value, until: &str| {
        message["jsonrpc"] = "2.0".into();
        write!(input, "Content-Length: {}\r\n\r\n{message}", message.to_string().len()).unwrap();
        let mut byte = [0; 1];
        while !said.contains(until) && output.read(&mut byte).unwrap() > 0 {
            said.push(char::from(byte[0]));
        }
    };
    let capabilities = json!({"textDocument": {"inlineCompletion": {}}});
    send(json!({"id": 1, "method": "initialize", "params": {"capabilities": capabilities}}), "\"id\":1");
    send(json!({"method": "initialized", "params": {}}), "");
    send(json!({"method": "textDocument/didOpen", "params": {"textDocument": document}}), "");
    send(json!({"id": 2, "method": "textDocument/inlineCompletion", "params": ask}), "\"id\":2");
    drop(input);
    let _ = output.read_to_string(&mut said);
    child.wait().unwrap();
    std::fs::read_to_string(log).unwrap()
}

#[test]
fn logs_hold_no_key_and_code_at_trace_only() {
    let service = Service::vllm(|_, out| out.completion(&[" width"]));
    let echo = Service::vllm(|ask, out| out.json(400, &json!({"error": {"message": ask.body["prompt"]}})));
    for url in [service.url(), echo.url()] {
        let debug = log("debug", &url);
        assert!(debug.contains("is known") && !debug.contains("my_code") && !debug.contains("sk-secret"), "{debug}");
    }
    let trace = log("trace", &service.url());
    assert!(trace.contains("my_code") && !trace.contains("sk-secret"), "{trace}");
    assert!(service.asks().iter().all(|a| a.head.contains("sk-secret")));
}

#[test]
fn proxies_serve_remote_engines_and_never_this_machine() {
    let service = Service::vllm(|_, out| out.completion(&[" width"]));
    let dead = "http://127.0.0.1:9";
    let (ok, _, err) = complete(&[("INFILL_ENGINE_URL", &service.url()), ("HTTP_PROXY", dead), ("http_proxy", dead), ("ALL_PROXY", dead)]);
    assert!(ok, "{err}");
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let proxy = Service::start(move |ask, out| {
        sender.lock().unwrap().send(ask.path.clone()).unwrap();
        match ask.path.as_str() {
            "http://engine.invalid/v1/models" => out.json(200, &json!({"data": [{"id": "deepseek"}]})),
            "http://engine.invalid/v1/completions" => out.completion(&[" width"]),
            _ => out.answer(404, "", ""),
        }
    });
    let (ok, _, err) =
        complete(&[("INFILL_ENGINE_URL", "http://engine.invalid"), ("HTTP_PROXY", &proxy.url()), ("http_proxy", &proxy.url())]);
    assert!(ok, "{err}");
    assert!(seen.try_iter().any(|path| path == "http://engine.invalid/v1/completions"));
}

#[test]
fn doctor_names_the_engine() {
    let service = Service::vllm(|_, out| out.completion(&[" width"]));
    let folder = tempfile::tempdir().unwrap();
    let doctor = |url: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_infill"));
        command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path()).env("INFILL_ENGINE_URL", url).arg("doctor");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let line = format!("ok  engine        DeepSeek-Coder-V2-Lite-Base, remote: {}", service.address);
    assert!(doctor(&service.url()).contains(&line), "{}", doctor(&service.url()));
    assert!(doctor("http://127.0.0.1:9").contains("!!  engine        The engine at 127.0.0.1:9 cannot be reached"));
}
