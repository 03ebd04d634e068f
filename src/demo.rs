//! `infill demo`: a typing session against the real language server, in the terminal.
//!
//! ```text
//! shop.py     def total(self, customer):⏎        return self.|orders[customer]      ghost text, taken with Tab
//! ```
//! The sessions in `fixtures/demo` hold what a person typed, in bursts with a pause after each. Each key is sent as an
//! editor sends it (an edit, then a request); at a pause a suggestion is accepted when it is what comes next anyway.
use anyhow::{Context, Result};
use client::Client;
use screen::Screen;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub mod client;
mod screen;

const SESSIONS: [&str; 2] = [include_str!("../fixtures/demo/python.json"), include_str!("../fixtures/demo/rust.json")];

/// A recorded typing session: the text around the cursor, and what was typed, a pause after each burst.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    pub file: String,
    pub language: String,
    pub before: String,
    pub after: String,
    pub bursts: Vec<String>,
}

/// What one session cost and gave.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Figures {
    pub file: String,
    /// Keys pressed: characters typed, and one per accepted suggestion.
    pub keystrokes: usize,
    pub suggestions: usize,
    pub accepted: usize,
    pub accepted_chars: usize,
    pub tokens_computed: u64,
    pub tokens_reused: u64,
    /// Milliseconds from key to answer.
    pub p50_ms: f64,
    pub p95_ms: f64,
}

/// Shortest suggestion worth a Tab, in characters.
const WORTH: usize = 3;

/// Runs all sessions and prints the table. `model`: as in the configuration.
pub fn run(model: Option<&str>, json: bool) -> Result<Vec<Figures>> {
    let mut screen = Screen::new(json);
    let program = std::env::current_exe().context("the path of this program")?;
    let arguments: Vec<&str> = ["lsp"].into_iter().chain(model.map(|_| "--model")).chain(model).collect();
    let begun = Instant::now();
    let mut client = Client::start(&program, &arguments)?;
    let capabilities = json!({ "general": { "positionEncodings": ["utf-8"] }, "textDocument": { "inlineCompletion": {} } });
    client.request("initialize", json!({ "processId": std::process::id(), "capabilities": capabilities }))?;
    client.notify("initialized", json!({}))?;
    let mut all = Vec::new();
    for text in SESSIONS {
        let session: Session = serde_json::from_str(text).context("fixtures/demo")?;
        let figures = Typist::new(&mut client, &mut screen, session)?.run(begun)?;
        all.push(figures);
    }
    let memory = peak_memory_mb(client.pid());
    let said = std::mem::take(&mut client.said);
    client.stop()?;
    screen.table(&all, memory, &said);
    Ok(all)
}

/// Someone typing a session.
struct Typist<'a> {
    client: &'a mut Client,
    screen: &'a mut Screen,
    session: Session,
    uri: String,
    text: String,
    cursor: usize,
    version: i32,
    times: Vec<f64>,
    figures: Figures,
}

impl<'a> Typist<'a> {
    fn new(client: &'a mut Client, screen: &'a mut Screen, session: Session) -> Result<Self> {
        let uri = format!("untitled:{}", session.file);
        let text = session.before.clone() + &session.after;
        let item = json!({ "uri": uri, "languageId": session.language, "version": 1, "text": text });
        client.notify("textDocument/didOpen", json!({ "textDocument": item }))?;
        let figures = Figures { file: session.file.clone(), ..Figures::default() };
        let cursor = session.before.len();
        Ok(Typist { client, screen, session, uri, text, cursor, version: 1, times: vec![], figures })
    }

    fn run(mut self, begun: Instant) -> Result<Figures> {
        let before = self.client.request("infill/status", Value::Null)?;
        let bursts = self.session.bursts.clone();
        let all = bursts.concat();
        let mut pauses: Vec<usize> = bursts
            .iter()
            .scan(0, |at, b| {
                *at += b.len();
                Some(*at)
            })
            .collect();
        self.screen.open(&self.session.file, begun);
        let mut typed = 0;
        let mut ghost = self.ask()?;
        while typed < all.len() {
            if pauses.first().is_some_and(|p| typed >= *p) {
                pauses.retain(|p| *p > typed);
                if let Some(taken) = self.pause(&ghost, &all[typed..])? {
                    typed += taken;
                    ghost = self.ask()?;
                    continue;
                }
            }
            let Some(key) = all[typed..].chars().next() else { break };
            self.insert(&key.to_string())?;
            typed += key.len_utf8();
            ghost = self.ask()?;
            self.screen.show(&self.text, self.cursor, &ghost, typed, all.len());
        }
        self.screen.close(&self.text, self.cursor);
        self.finish(&before)
    }

    /// A pause: the suggestion is seen, and taken when it (or its first lines) is what comes next.
    fn pause(&mut self, ghost: &str, rest: &str) -> Result<Option<usize>> {
        if ghost.is_empty() {
            return Ok(None);
        }
        self.figures.suggestions += 1;
        let taken = agreed(ghost, rest).to_string();
        self.screen.pause(&self.text, self.cursor, ghost, &taken);
        if taken.is_empty() {
            return Ok(None);
        }
        self.figures.accepted += 1;
        self.figures.accepted_chars += taken.chars().count();
        self.insert(&taken)?;
        Ok(Some(taken.len()))
    }

    fn insert(&mut self, new: &str) -> Result<()> {
        let at = self.position();
        self.text.insert_str(self.cursor, new);
        self.cursor += new.len();
        self.version += 1;
        self.figures.keystrokes += 1;
        let change = json!({ "range": { "start": at, "end": at }, "text": new });
        let document = json!({ "uri": self.uri, "version": self.version });
        self.client.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": [change] }))
    }

    /// Asks for ghost text at the cursor.
    fn ask(&mut self) -> Result<String> {
        let begun = Instant::now();
        let params = json!({ "textDocument": { "uri": self.uri }, "position": self.position(), "context": { "triggerKind": 2 } });
        let answer = self.client.request("textDocument/inlineCompletion", params)?;
        self.times.push(begun.elapsed().as_secs_f64() * 1e3);
        let item = &answer["items"][0];
        let text = item["insertText"].as_str().unwrap_or_default();
        // The item's range covers the word before the cursor: what comes behind it is the ghost text.
        let start = item["range"]["start"]["character"].as_u64().unwrap_or_default() as usize;
        let column = self.position()["character"].as_u64().unwrap_or_default() as usize;
        Ok(text.get(column.saturating_sub(start)..).unwrap_or_default().to_string())
    }

    fn position(&self) -> Value {
        let head = &self.text[..self.cursor];
        let line = head.matches('\n').count();
        let character = head.len() - head.rfind('\n').map_or(0, |n| n + 1);
        json!({ "line": line, "character": character })
    }

    fn finish(mut self, before: &Value) -> Result<Figures> {
        let after = self.client.request("infill/status", Value::Null)?;
        let grown = |key: &str| {
            let of = |v: &Value| v["totals"][key].as_u64().unwrap_or_default();
            of(&after) - of(before)
        };
        self.figures.tokens_computed = grown("computed");
        self.figures.tokens_reused = grown("reused");
        self.figures.p50_ms = percentile(&mut self.times, 0.50);
        self.figures.p95_ms = percentile(&mut self.times, 0.95);
        self.client.notify("textDocument/didClose", json!({ "textDocument": { "uri": self.uri } }))?;
        Ok(self.figures)
    }
}

/// As much of a suggestion as is about to be typed: all of it, or its first whole lines. Empty when it is not worth a key.
fn agreed<'a>(ghost: &'a str, rest: &str) -> &'a str {
    let ends = ghost.match_indices('\n').map(|(at, _)| at).chain([ghost.len()]);
    let taken = ends.map(|end| &ghost[..end]).rfind(|head| rest.starts_with(head) && ends_a_word(&rest[head.len()..], head));
    taken.filter(|t| t.trim().chars().count() >= WORTH).unwrap_or_default()
}

/// A suggestion that stops inside a word of what is meant was not what was meant.
fn ends_a_word(after: &str, head: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !(word(after.chars().next()) && word(head.chars().last()))
}

/// The `q`-quantile of the values, which are sorted on the way; 0 for none.
pub fn percentile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

/// Peak resident memory of a process in MB, where the system tells (Linux).
fn peak_memory_mb(pid: u32) -> Option<f64> {
    let path = PathBuf::from(format!("/proc/{pid}/status"));
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1024.0)
}

/// How long a pause is shown.
const PAUSE: Duration = Duration::from_millis(700);
/// How long a key takes on a terminal.
const KEY: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_taken_as_far_as_it_agrees() {
        assert_eq!(agreed("foo(bar)", "foo(bar)\n"), "foo(bar)");
        assert_eq!(agreed("foo(bar)\n    baz", "foo(bar)\n    qux"), "foo(bar)");
        assert_eq!(agreed("foo(bar", "foo(barn)"), "");
        assert_eq!(agreed("fox", "foo"), "");
        assert_eq!(agreed(")", ")\n"), "", "not worth a key");
    }

    #[test]
    fn the_sessions_parse() {
        for text in SESSIONS {
            let session: Session = serde_json::from_str(text).expect("a session");
            assert!(session.bursts.len() > 5 && !session.before.is_empty());
        }
    }
}
