//! An editor with a model of what it must see: its texts, its cursors, what it waits for, and what may come.
//!
//! ```text
//! ask in version 7, edit, answer "superseded"       fine
//! ask in version 7, edit, answer "= abc"            fine while the engine was free to say it before the edit; else stale
//! ask, no answer | two answers | text that does not continue version 7     wrong
//! ```
use crate::harness::Client;
use crate::mortal::{Mortal, rests};
use crate::ops::{At, Op, Random};
use crate::plain::{self, ENCODINGS};
use infill::config::{Layer, nest};
use infill::document::{Encoding, Position};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Asks, those that were answered with text, and those that an edit made stale while the engine was held: the model must not be right by
/// never being tried.
pub static ASKED: AtomicUsize = AtomicUsize::new(0);
pub static SHOWN: AtomicUsize = AtomicUsize::new(0);
pub static STALE: AtomicUsize = AtomicUsize::new(0);

/// Texts are kept below this, so that a prompt can hold them whole.
const LONGEST: usize = 1000;
/// Versions that a prompt may be of.
const VERSIONS: usize = 300;
const DOCS: [(&str, &str); 3] = [("untitled:a", "plaintext"), ("untitled:b", "log"), ("untitled:c", "python")];

#[derive(Default)]
struct Doc {
    open: bool,
    text: Vec<char>,
    cursor: usize,
    undo: Vec<Vec<char>>,
    /// The last text that was shown, behind the cursor that it was shown at, and what it replaces there.
    shown: Option<(Vec<char>, usize, String, usize)>,
    /// Something was refused here: it may be held back now.
    rejected: bool,
}

/// An ask without its answer.
struct Pending {
    doc: usize,
    text: Vec<char>,
    cursor: usize,
    items: bool,
    /// It must be refused as a wrong request.
    wrong: bool,
    /// What may come beside text, for what was done since.
    superseded: bool,
    cancelled: bool,
    nothing: bool,
    /// The engine said nothing before the text changed: no text may come any more.
    stale: bool,
}

pub struct Editor {
    client: Client,
    engine: Arc<Mortal>,
    encoding: Encoding,
    docs: [Doc; 3],
    pending: BTreeMap<u64, Pending>,
    versions: VecDeque<String>,
    random: Random,
    enabled: bool,
    held: bool,
    /// How often each message was shown, and how often it may have been.
    messages: HashMap<String, usize>,
    chances: usize,
}

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn plain_text(text: &[char]) -> String {
    text.iter().collect::<String>().replace("\r\n", "\n")
}

fn ensure(holds: bool, say: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(say()) }
}

impl Editor {
    pub async fn start(seed: u64) -> Editor {
        let encoding = ENCODINGS[seed as usize % 3];
        let name = ["utf-8", "utf-16", "utf-32"][seed as usize % 3];
        let capabilities = json!({ "general": { "positionEncodings": [name] }, "textDocument": { "inlineCompletion": {} } });
        let layers = vec![Layer { place: "test".into(), value: nest("context.other_files", false.into()) }];
        let engine = Mortal::new();
        let (client, result) = Client::initialized(engine.clone(), layers, json!({ "capabilities": capabilities })).await;
        assert_eq!(result["capabilities"]["positionEncoding"], name);
        Editor {
            client,
            engine,
            encoding,
            docs: Default::default(),
            pending: BTreeMap::new(),
            versions: VecDeque::new(),
            random: Random::new(seed),
            enabled: true,
            held: false,
            messages: HashMap::new(),
            chances: 1,
        }
    }

    pub async fn act(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Open { doc, text } => self.open(*doc, text),
            Op::Close { doc } => self.close(*doc),
            Op::Edit { doc, changes } => {
                let at = |at: &At| Position { line: at.0, character: at.1 };
                let changes = changes.iter().map(|(range, text)| (range.as_ref().map(|(a, b)| (at(a), at(b))), text.clone())).collect();
                self.edit(*doc, changes).await?;
            }
            Op::Type { doc, text } => self.insert(*doc, text).await?,
            Op::TypeOn { doc, count } => {
                let text: String = self.wanted(*doc).chars().take(*count).collect();
                self.insert(*doc, &text).await?;
            }
            Op::Backspace { doc } => self.backspace(*doc).await?,
            Op::Undo { doc } => self.undo(*doc).await?,
            Op::Move { doc, to } => self.move_to(*doc, Position { line: to.0, character: to.1 }),
            Op::Ask { doc, explicit, items } => self.ask(*doc, *explicit, *items, false),
            Op::AskBeyond { doc } => self.ask(*doc, false, false, true),
            Op::Cancel { which } => self.cancel(*which),
            Op::Accept { doc, most } => self.accept(*doc, *most).await?,
            Op::Reject { doc } => self.reject(*doc),
            Op::Configure { which } => self.configure(*which),
            Op::Kill => {
                self.engine.kill();
                self.pending.values_mut().for_each(|p| p.nothing = true);
            }
            Op::Revive => self.engine.revive(),
            Op::Gate { pieces } => self.gate(*pieces),
            Op::Settle => self.settle().await?,
        }
        for _ in 0..self.random.below(4) {
            tokio::task::yield_now().await;
        }
        self.listen()
    }

    /// The end of the session: every ask has its answer, and the server leaves in order.
    pub async fn leave(mut self) -> Result<(), String> {
        self.settle().await?;
        let id = self.client.request("shutdown", Value::Null);
        self.client.answer(id).await.map_err(|e| format!("shutdown: {e}"))?;
        self.client.notify("exit", Value::Null);
        let code = self.client.exit_code().await;
        ensure(code == 0, || format!("exit code {code}"))
    }

    fn open(&mut self, doc: usize, text: &str) {
        self.supersede(doc);
        self.docs[doc] = Doc { open: true, text: chars(text), ..Doc::default() };
        self.client.open(DOCS[doc].0, DOCS[doc].1, text);
        self.remember(doc);
    }

    fn close(&mut self, doc: usize) {
        self.supersede(doc);
        self.docs[doc] = Doc::default();
        self.client.notify("textDocument/didClose", json!({ "textDocument": { "uri": DOCS[doc].0 } }));
    }

    fn supersede(&mut self, doc: usize) {
        self.pending.values_mut().filter(|p| p.doc == doc).for_each(|p| p.superseded = true);
    }

    fn remember(&mut self, doc: usize) {
        self.versions.push_back(plain_text(&self.docs[doc].text));
        if self.versions.len() > VERSIONS {
            self.versions.pop_front();
        }
    }

    async fn edit(&mut self, doc: usize, mut changes: Vec<(Option<(Position, Position)>, String)>) -> Result<(), String> {
        self.hold_stale(doc).await?;
        let of = &mut self.docs[doc];
        if of.text.len() > LONGEST {
            changes.insert(0, (None, "let ".into()));
        }
        let mut sent = Vec::new();
        of.undo.push(of.text.clone());
        for (range, new) in changes {
            let (a, b) = range
                .map_or((0, of.text.len()), |(a, b)| (plain::place(&of.text, a, self.encoding), plain::place(&of.text, b, self.encoding)));
            let (a, b) = (a.min(b), a.max(b));
            of.text.splice(a..b, new.chars());
            of.cursor = a + new.chars().count();
            sent.push(match range {
                Some((start, end)) => json!({ "range": { "start": start, "end": end }, "text": new }),
                None => json!({ "text": new }),
            });
        }
        if plain::inside_crlf(&of.text, of.cursor) {
            of.cursor += 1;
        }
        if of.open {
            self.remember(doc);
        } else {
            *of = Doc::default();
        }
        self.supersede(doc);
        self.client.changes(DOCS[doc].0, Value::Array(sent));
        Ok(())
    }

    /// While the engine is held it says nothing: who waits now must not be answered with text after the edit to come.
    async fn hold_stale(&mut self, doc: usize) -> Result<(), String> {
        if self.held && self.pending.values().any(|p| p.doc == doc) {
            for _ in 0..2 {
                let id = self.client.request("infill/status", json!({}));
                self.client.answer(id).await.map_err(|e| format!("status: {e}"))?;
            }
            self.listen()?;
            let silent = self.engine.inner.gate.available_permits() == 0;
            self.pending.values_mut().filter(|p| p.doc == doc).for_each(|p| p.stale = silent);
        }
        Ok(())
    }

    async fn replace(&mut self, doc: usize, from: usize, to: usize, new: String) -> Result<(), String> {
        let text = &self.docs[doc].text;
        let at = |at| plain::position(text, at, self.encoding);
        let range = (at(from), at(to));
        self.edit(doc, vec![(Some(range), new)]).await
    }

    async fn insert(&mut self, doc: usize, new: &str) -> Result<(), String> {
        let cursor = self.docs[doc].cursor;
        self.replace(doc, cursor, cursor, new.into()).await
    }

    async fn backspace(&mut self, doc: usize) -> Result<(), String> {
        let of = &self.docs[doc];
        let crlf = of.cursor > 1 && of.text[of.cursor - 2..of.cursor] == ['\r', '\n'];
        let from = of.cursor.saturating_sub(1 + usize::from(crlf));
        self.replace(doc, from, of.cursor, String::new()).await
    }

    /// The text before the last edit, by one change of what differs.
    async fn undo(&mut self, doc: usize) -> Result<(), String> {
        let of = &mut self.docs[doc];
        let Some(before) = of.undo.pop() else { return Ok(()) };
        let now = of.text.clone();
        let mut from = now.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let room = now.len().min(before.len()) - from;
        let mut same = now.iter().rev().zip(before.iter().rev()).take_while(|(a, b)| a == b).count().min(room);
        from -= usize::from(plain::inside_crlf(&now, from) || plain::inside_crlf(&before, from));
        same -= usize::from(same > 0 && (plain::inside_crlf(&now, now.len() - same) || plain::inside_crlf(&before, before.len() - same)));
        let new: String = before[from..before.len() - same].iter().collect();
        self.replace(doc, from, now.len() - same, new).await?;
        let of = &mut self.docs[doc];
        // An undo is no edit to be undone; a text that had grown too long was cut instead.
        of.undo.pop();
        ensure(!of.open || of.text == before || now.len() > LONGEST, || "the test's own undo is wrong".into())
    }

    fn move_to(&mut self, doc: usize, to: Position) {
        let of = &mut self.docs[doc];
        of.cursor = plain::place(&of.text, to, self.encoding);
        // Settings that have changed since are taken up here.
        self.supersede(doc);
        self.client.notify("infill/cursor", json!({ "textDocument": { "uri": DOCS[doc].0 }, "position": to }));
    }

    /// What the engine would say at the cursor.
    fn wanted(&self, doc: usize) -> &'static str {
        let of = &self.docs[doc];
        rests(&plain_text(&of.text[..of.cursor])).next().unwrap_or_default()
    }

    fn covered(&self, doc: usize) -> bool {
        self.enabled && self.docs[doc].open
    }

    fn ask(&mut self, doc: usize, explicit: bool, items: bool, beyond: bool) {
        let of = &self.docs[doc];
        let mut at = plain::position(&of.text, of.cursor, self.encoding);
        at.line += if beyond { 10_000 } else { 0 };
        let (uri, context) = (DOCS[doc].0, json!({ "triggerKind": if explicit { 1 } else { 2 } }));
        let method = if items { "textDocument/completion" } else { "textDocument/inlineCompletion" };
        let id = self.client.request(method, json!({ "textDocument": { "uri": uri }, "position": at, "context": context }));
        let wrong = !of.open || beyond && self.enabled;
        let nothing = self.engine.is_dead() || of.rejected && !explicit || !self.covered(doc);
        let pending = Pending {
            doc,
            text: of.text.clone(),
            cursor: of.cursor,
            items,
            wrong,
            superseded: false,
            cancelled: false,
            nothing,
            stale: false,
        };
        if !wrong && self.covered(doc) {
            self.supersede(doc);
        }
        ASKED.fetch_add(1, Ordering::Relaxed);
        self.pending.insert(id, pending);
    }

    fn cancel(&mut self, which: usize) {
        if let Some((id, pending)) = self.pending.iter_mut().nth(which) {
            pending.cancelled = true;
            self.client.cancel(*id);
        }
    }

    /// Takes what was shown, or its beginning, if the cursor and the text are still where it was shown.
    async fn accept(&mut self, doc: usize, most: usize) -> Result<(), String> {
        let of = &mut self.docs[doc];
        let Some((text, cursor, new, replaces)) = of.shown.take() else { return Ok(()) };
        if text != of.text || cursor != of.cursor {
            return Ok(());
        }
        let part: String = new.chars().take(most).collect();
        let whole = part.len() == new.len();
        let outcome = if whole { "accepted" } else { "partly" };
        self.client.notify("infill/outcome", json!({ "textDocument": { "uri": DOCS[doc].0 }, "outcome": outcome, "text": part }));
        self.replace(doc, cursor, cursor + if whole { replaces } else { 0 }, part).await
    }

    fn reject(&mut self, doc: usize) {
        let of = &mut self.docs[doc];
        if let Some((_, _, text, _)) = of.shown.take() {
            of.rejected = true;
            self.client.notify("infill/outcome", json!({ "textDocument": { "uri": DOCS[doc].0 }, "outcome": "rejected", "text": text }));
        }
    }

    fn configure(&mut self, which: usize) {
        let settings = [
            json!({ "completion": { "layout": "psm" } }),
            json!({ "completion": { "layout": "frozen", "lines": "one" } }),
            json!({ "completion": { "lines": "block" } }),
            json!({ "enabled": false }),
            json!({}),
            json!({ "completion": { "max_tokens": "many" } }),
        ];
        if which < 5 {
            self.enabled = which != 3;
        }
        self.chances += 1;
        self.client.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": settings[which] } }));
    }

    fn gate(&mut self, pieces: Option<usize>) {
        let gate = &self.engine.inner.gate;
        gate.forget_permits(1 << 21);
        gate.add_permits(pieces.unwrap_or(1 << 20));
        self.held = pieces.is_some();
    }

    /// Lets the engine speak, and waits until nothing is owed.
    async fn settle(&mut self) -> Result<(), String> {
        self.gate(None);
        for id in self.pending.keys().copied().collect::<Vec<_>>() {
            let answer = self.client.answer(id).await;
            self.answered(id, answer)?;
        }
        self.listen()
    }

    fn listen(&mut self) -> Result<(), String> {
        for request in self.engine.asked() {
            self.prompted(&[request.prefix, request.tail].concat())?;
        }
        for message in self.client.arrived() {
            if let Some(id) = message["id"].as_u64().filter(|_| message.get("method").is_none()) {
                let answer = message.get("error").map_or_else(|| Ok(message["result"].clone()), |e| Err(e.clone()));
                self.answered(id, answer)?;
                continue;
            }
            let said = message["params"]["message"].as_str().unwrap_or_default().to_owned();
            ensure(message["method"] == "window/showMessage", || format!("an unexpected {message}"))?;
            let times = self.messages.entry(said).and_modify(|n| *n += 1).or_insert(1);
            ensure(*times <= self.chances, || format!("said too often: {message}"))?;
        }
        Ok(())
    }

    /// A prompt begins a text that was there.
    fn prompted(&self, before: &str) -> Result<(), String> {
        let before = before.strip_suffix('\r').unwrap_or(before);
        let known = self.versions.iter().rev().any(|version| version.starts_with(before));
        ensure(known, || {
            format!("the model was asked to continue {before:?}, which no document began with; the last: {:?}", self.versions.back())
        })
    }

    fn answered(&mut self, id: u64, answer: Result<Value, Value>) -> Result<(), String> {
        let Some(pending) = self.pending.remove(&id) else { return Err(format!("a second answer to {id}: {answer:?}")) };
        STALE.fetch_add(usize::from(pending.stale), Ordering::Relaxed);
        let result = match answer {
            Ok(result) if !pending.wrong => result,
            Ok(result) => return Err(format!("a wrong request was answered with {result}")),
            Err(error) => {
                let allowed = match error["code"].as_i64() {
                    Some(-32602) => pending.wrong,
                    Some(-32800) => pending.cancelled,
                    Some(-32801) => pending.superseded,
                    _ => false,
                };
                return ensure(allowed, || format!("{error}, which nothing explains"));
            }
        };
        let items = result["items"].as_array().cloned().ok_or_else(|| format!("no items in {result}"))?;
        ensure(items.is_empty() || !pending.stale, || format!("text for a version that had gone: {result}"))?;
        ensure(!items.is_empty() || self.may_be_empty(&pending), || "nothing, and nothing explains it".into())?;
        SHOWN.fetch_add(usize::from(!items.is_empty()), Ordering::Relaxed);
        for item in &items {
            let (new, replaces) = self.fits(&pending, item).map_err(|e| format!("{item}: {e}"))?;
            let crlf = pending.text.iter().position(|c| *c == '\n').is_some_and(|at| plain::inside_crlf(&pending.text, at));
            let new = if crlf { new.replace('\n', "\r\n") } else { new };
            self.docs[pending.doc].shown = Some((pending.text.clone(), pending.cursor, new, replaces));
        }
        Ok(())
    }

    /// With nothing behind the cursor to collide with, what the engine says on this line is to be shown.
    fn may_be_empty(&self, pending: &Pending) -> bool {
        let (before, after) = pending.text.split_at(pending.cursor);
        let line = rests(&plain_text(before)).next().unwrap_or_default().split('\n').next().unwrap_or_default();
        pending.nothing || line.trim().is_empty() || !after.iter().all(|c| c.is_whitespace()) || DOCS[pending.doc].1 == "python"
    }

    /// The new text of an item and how many characters it replaces; or why it is wrong.
    fn fits(&self, pending: &Pending, item: &Value) -> Result<(String, usize), String> {
        let (range, text) =
            if pending.items { (&item["textEdit"]["range"], &item["textEdit"]["newText"]) } else { (&item["range"], &item["insertText"]) };
        let text = text.as_str().ok_or("no text")?.replace("\r\n", "\n");
        let at = |value: &Value| {
            let at: Position = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
            let place = plain::place(&pending.text, at, self.encoding);
            ensure(plain::position(&pending.text, place, self.encoding) == at, || format!("{at:?} is no place in the text"))?;
            Ok::<_, String>((place, at.line))
        };
        let ((start, line), (end, last)) = (at(&range["start"])?, at(&range["end"])?);
        ensure(line == last && start <= pending.cursor && pending.cursor <= end, || "a range that is not around the cursor".into())?;
        let typed: String = pending.text[start..pending.cursor].iter().collect();
        let new = text.strip_prefix(&typed).ok_or("it changes what is typed")?;
        let said = if DOCS[pending.doc].1 == "python" { new.trim_end_matches([')', ']', '}']) } else { new };
        let follows = rests(&plain_text(&pending.text[..pending.cursor])).any(|rest| rest.starts_with(said));
        ensure(!new.is_empty() && follows, || "the engine would not say that here".into())?;
        Ok((new.to_owned(), end - pending.cursor))
    }
}
