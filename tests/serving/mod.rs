//! Servers and windows in a house of their own: the real program, a runtime folder that nobody else uses.
//!
//! ```text
//! let house = House::new();
//! let mut a = house.window(&[]);          // infill lsp: finds the server, or starts it
//! house.server()                          // pid and socket, as doctor sees them
//! ```
//! A house that is left stops its server and waits until it has gone: no test leaves one behind.
#![allow(dead_code)] // each test binary uses a part of it
use infill::demo::client::Client;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_infill");

pub struct House {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl House {
    pub fn new() -> House {
        House::with(&[])
    }

    /// With these settings as environment variables.
    pub fn with(variables: &[(&str, &str)]) -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let ours = [
            ("XDG_RUNTIME_DIR".to_owned(), at("run")),
            ("XDG_CONFIG_HOME".to_owned(), at("config")),
            ("HOME".to_owned(), at("home")),
            ("INFILL_LOG".to_owned(), "infill=info,warn".to_owned()),
            ("INFILL_COMPLETION_SHOW_THRESHOLD".to_owned(), "off".to_owned()),
        ];
        let theirs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        House { variables: ours.into_iter().chain(theirs).collect(), folder }
    }

    /// The server's folder.
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run/infill")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INFILL_")) {
            command.env_remove(name);
        }
        command.args(arguments).envs(self.variables.iter().cloned()).current_dir(self.folder.path());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("infill runs")
    }

    /// `infill serve` by hand.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let all: Vec<&str> = ["serve"].into_iter().chain(arguments.iter().copied()).collect();
        let log = std::fs::File::create(self.path("by-hand.log")).expect("a log");
        let child = self.command(&all).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("infill runs");
        Server(child)
    }

    /// What a server started by hand has said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("by-hand.log")).unwrap_or_default()
    }

    /// Where a server started by hand answers HTTP.
    pub fn address(&self) -> String {
        let found = || self.said().lines().find_map(|line| Some(line.split_once("listening at http://")?.1.trim().to_owned()));
        eventually("the server listens", found)
    }

    /// `infill lsp`, initialized. `arguments` come after `lsp`.
    pub fn window(&self, arguments: &[&str]) -> Window {
        self.window_with(arguments, &[])
    }

    pub fn window_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Window {
        let all: Vec<&str> = ["lsp"].into_iter().chain(arguments.iter().copied()).collect();
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(more.iter().copied()).collect();
        let mut client = Client::start_with(Path::new(PROGRAM), &all, &variables).expect("a window");
        let capabilities = json!({ "general": { "positionEncodings": ["utf-8"] }, "textDocument": { "inlineCompletion": {} } });
        client.request("initialize", json!({ "processId": std::process::id(), "capabilities": capabilities })).expect("initialize");
        client.notify("initialized", json!({})).expect("initialized");
        Window { client, version: 1 }
    }

    /// The shared server as doctor sees it; `None` when none runs.
    pub fn server(&self) -> Option<u32> {
        let output = self.output(&["doctor", "--json"]);
        let findings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let server = findings.as_array()?.iter().find(|finding| finding["what"] == "server")?.clone();
        server["found"].as_str()?.strip_prefix("pid ")?.split(',').next()?.parse().ok()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let output = self.output(&["serve", "--stop"]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "a server is left: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// A server started by hand; ends with the test.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An editor's window.
pub struct Window {
    pub client: Client,
    version: i32,
}

pub const URI: &str = "untitled:shop.py";
pub const TEXT: &str = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret\n\n\nprint(sub(3, 1))\n";

impl Window {
    pub fn open(&mut self, text: &str) {
        let item = json!({ "uri": URI, "languageId": "python", "version": 1, "text": text });
        self.client.notify("textDocument/didOpen", json!({ "textDocument": item })).expect("didOpen");
    }

    /// Types at a place.
    pub fn insert(&mut self, line: u32, character: u32, text: &str) {
        self.version += 1;
        let at = json!({ "line": line, "character": character });
        let change = json!({ "range": { "start": at, "end": at }, "text": text });
        let document = json!({ "uri": URI, "version": self.version });
        self.client.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": [change] })).expect("didChange");
    }

    pub fn ask(&mut self, line: u32, character: u32) -> u64 {
        let position = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": URI }, "position": position, "context": { "triggerKind": 2 } });
        self.client.ask("textDocument/inlineCompletion", params).expect("the window takes requests")
    }

    /// The text offered, empty for none.
    pub fn suggestion(&mut self, line: u32, character: u32) -> String {
        let id = self.ask(line, character);
        let answer = self.client.answer(id).expect("an answer");
        answer["items"][0]["insertText"].as_str().unwrap_or_default().to_owned()
    }

    /// What the window's status says of the server.
    pub fn status(&mut self) -> Value {
        self.client.request("infill/status", Value::Null).expect("a status")
    }

    /// The server's process, once the window is attached.
    pub fn server(&mut self) -> u32 {
        eventually("the window is attached", || self.status()["server"]["pid"].as_u64().map(|pid| pid as u32))
    }

    /// Megabytes of resident memory.
    pub fn memory(&self) -> f64 {
        memory(self.client.pid())
    }
}

/// Megabytes of resident memory of a process.
pub fn memory(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("a number") / 1024.0
}

/// Waits until there is something; a test that can never go on says so.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = found() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within a minute: {what}")
}

/// Is this process there (and no zombie)?
pub fn lives(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !text.is_empty() && !text.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

pub fn kill(pid: u32, signal: &str) {
    let done = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill");
    assert!(done.success(), "kill {signal} {pid}");
}
