//! A small LSP client over a child process, as an editor would be one. Blocking, for `infill demo` and the benches.
//!
//! ```text
//! let mut c = Client::start("infill", &["lsp"])?;
//! c.request("initialize", json!({"capabilities": {}}))?;
//! ```
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest wait for an answer: a large model may still be loading.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Client {
    child: Child,
    stdin: ChildStdin,
    inbox: Receiver<Value>,
    next: u64,
    /// What the server said to the user (`window/showMessage`).
    pub said: Vec<String>,
}

impl Client {
    /// Starts a server that speaks over its stdin and stdout, with the model in its own process: it is what is measured, and
    /// nothing is left behind. Its stderr is ours.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Client> {
        Client::start_with(program, arguments, &[("INFILL_ENGINE_SHARED", "false")])
    }

    /// As `start`, with these variables and no more.
    pub fn start_with(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Client> {
        // Its stderr is our user's terminal: what goes well need not be said there.
        let level = std::env::var("INFILL_LOG").unwrap_or_else(|_| "warn".into());
        let mut child = Command::new(program)
            .args(arguments)
            .env("INFILL_LOG", level)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { bail!("the server has no stdin or stdout") };
        let (sender, inbox) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            while let Ok(message) = read_message(&mut reader) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Ok(Client { child, stdin, inbox, next: 0, said: Vec::new() })
    }

    pub fn notify(&mut self, method: &str, params: Value) -> Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// Sends a request and waits for its result; an error answer is an error.
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.ask(method, params)?;
        self.answer(id).with_context(|| method.to_owned())
    }

    /// Sends a request; its answer is fetched with the id.
    pub fn ask(&mut self, method: &str, params: Value) -> Result<u64> {
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }))?;
        Ok(self.next)
    }

    /// Waits for the answer to a request. What it passes over is forgotten, but for what was said to the user.
    pub fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.inbox.recv_timeout(PATIENCE).context("no answer")?;
            if message["method"] == "window/showMessage" {
                self.said.push(message["params"]["message"].as_str().unwrap_or_default().to_string());
            }
            if message["id"] == json!(id) && message.get("method").is_none() {
                return match message.get("error") {
                    Some(error) => bail!("{}", error["message"].as_str().unwrap_or("error")),
                    None => Ok(message["result"].clone()),
                };
            }
        }
    }

    /// `shutdown`, `exit`, and the exit code.
    pub fn stop(mut self) -> Result<i32> {
        self.request("shutdown", Value::Null)?;
        self.notify("exit", Value::Null)?;
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let body = message.to_string();
        write!(self.stdin, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        self.stdin.flush().context("the server has gone")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Only what this client started; after `stop` it has ended already.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn read_message(reader: &mut impl BufRead) -> Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            bail!("end of stream");
        }
        match line.trim_end() {
            "" => break,
            header => {
                if let Some(value) = header.strip_prefix("Content-Length:") {
                    length = value.trim().parse()?;
                }
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}
