//! One client's session: its documents, its settings, its asks.
//!
//! ```text
//! open, change, ask, close    synchronous, in wire order, under one lock that is never held across an await
//! outcome(ticket)             the only thing that waits
//! ```
use super::actions::Abilities;
use super::items;
use super::pace::Pace;
use super::wire::{
    Asked, Changed, Kind, MAX_BYTES, Opened, Selected, Versioned, negotiate, nothing, refusal, superseded, too_large, with_selected,
};
use crate::config::{self, Config, Items};
use crate::context::workspace::Workspace;
use crate::document::{Document, Encoding, Snapshot};
use crate::engine::{Answer, EngineError, Event};
use crate::suggest::{Action, Ask, Settings, Suggest, Suggestion};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tower_lsp::Client;
use tower_lsp::jsonrpc::{Error, Result};
use tower_lsp::lsp_types::MessageType;
use workspace::Folders;

mod actions;
mod parsing;
mod progress;
mod record;
mod said;
mod settings;
mod status;
mod told;
mod workspace;

/// A pause in typing after which the engine may prefill.
const PAUSE: Duration = Duration::from_millis(250);

/// An ask that waits, with what its answer is built from.
pub struct Pending {
    kind: Kind,
    uri: String,
    /// The client's text, and its cursor (after the selected popup item's range, if there is one).
    pub text: Snapshot,
    pub cursor: usize,
    pub selected: Option<Selected>,
    /// An older ask that gets the same answer, see `State::beside`.
    beside: Option<u64>,
    reply: oneshot::Sender<Result<Value>>,
}

struct Doc {
    document: Document,
    suggest: Suggest,
    /// Edited since other documents were last told what it defines.
    edited: bool,
}

struct State {
    encoding: Encoding,
    client_inline: bool,
    can_pull: bool,
    /// What the client can do with actions.
    abilities: Abilities,
    /// The client shows `infill/didChangeStatus`.
    wants_status: bool,
    parent: Option<i32>,
    config: Config,
    docs: HashMap<String, Doc>,
    /// Documents that are open but not tracked, with the reason.
    refused: HashMap<String, String>,
    asks: HashMap<u64, Pending>,
    running: HashMap<u64, tokio::task::AbortHandle>,
    /// The engine's last answer was this failure.
    failure: Option<EngineError>,
    pace: Pace,
    next_ticket: u64,
    shut_down: bool,
    /// The document that was asked in last.
    asked: String,
    said: HashSet<String>,
    to_say: Vec<(MessageType, String)>,
}

impl State {
    /// An ask of the other kind that waits at this very place: an editor with ghost text and a menu asks for both at once.
    fn beside(&self, kind: Kind, uri: &str, version: i32, cursor: usize) -> Option<u64> {
        let there = |p: &Pending| p.uri == uri && p.text.version == version && p.cursor == cursor && p.selected.is_none();
        self.asks.iter().filter(|(_, p)| p.kind != kind && there(p)).map(|(ticket, _)| *ticket).max()
    }
}

pub struct Session {
    state: Mutex<State>,
    tickets: dashmap::DashMap<u64, oneshot::Receiver<Result<Value>>>,
    /// Actions under way, by the token of their progress: told when they are cancelled.
    acts: dashmap::DashMap<String, Arc<tokio::sync::Notify>>,
    /// Where an explanation is on the disk.
    explanation: OnceLock<std::path::PathBuf>,
    options: super::Options,
    client: OnceLock<Client>,
    workspace: Arc<Workspace>,
    folders: Folders,
    begun: Instant,
    /// Something that the status shows may have changed.
    news: tokio::sync::Notify,
    /// `exit` has come: leave, whether or not the client closes its stream.
    pub exit: tokio::sync::Notify,
}

impl Session {
    pub fn new(options: super::Options) -> Arc<Session> {
        let config = config::merge(&options.layers).map(|l| l.config).unwrap_or_default();
        let state = State {
            encoding: Encoding::Utf16,
            client_inline: false,
            can_pull: false,
            abilities: Abilities::default(),
            wants_status: false,
            parent: None,
            config,
            docs: HashMap::new(),
            refused: HashMap::new(),
            asks: HashMap::new(),
            running: HashMap::new(),
            failure: None,
            pace: Pace::default(),
            next_ticket: 1,
            shut_down: false,
            asked: String::new(),
            said: options.problem.iter().cloned().collect(),
            to_say: options.problem.iter().map(|p| (MessageType::ERROR, p.clone())).collect(),
        };
        let (state, tickets, acts) = (Mutex::new(state), dashmap::DashMap::new(), dashmap::DashMap::new());
        let (news, exit) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let (client, workspace, folders, begun) = (OnceLock::new(), Arc::default(), Folders::default(), Instant::now());
        Arc::new(Session { state, tickets, acts, explanation: OnceLock::new(), options, client, workspace, folders, begun, news, exit })
    }

    /// A panic elsewhere must not silence the editor: the state is kept consistent at each step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn connect(self: &Arc<Self>, client: Client) {
        let _ = self.client.set(client);
    }

    pub fn initialize(self: &Arc<Self>, params: &Value) {
        let mut state = self.lock();
        let capabilities = &params["capabilities"];
        state.encoding = negotiate(&capabilities["general"]["positionEncodings"]);
        state.client_inline = capabilities["textDocument"]["inlineCompletion"].is_object();
        state.abilities = Abilities::read(capabilities);
        state.can_pull = capabilities["workspace"]["configuration"] == json!(true);
        state.wants_status = capabilities["experimental"]["infill"]["status"] == json!(true);
        state.parent = params["processId"].as_i64().and_then(|p| i32::try_from(p).ok());
        let context = (state.config.context.other_files, state.config.exclude.clone());
        drop(state);
        self.folders.initialize(params);
        self.workspace.enable(context.0);
        self.exclude(context.1);
        self.set_editor_settings("initializationOptions", &params["initializationOptions"]);
    }

    pub fn encoding_name(&self) -> &'static str {
        match self.lock().encoding {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16 => "utf-16",
            Encoding::Utf32 => "utf-32",
        }
    }

    /// Ghost text is better than a menu entry: a client that can show it gets no items unless configured.
    pub fn offers_items(&self) -> bool {
        let state = self.lock();
        match state.config.completion.items {
            Items::Always => true,
            Items::Never => false,
            Items::Auto => !state.client_inline,
        }
    }

    pub fn can_pull_settings(&self) -> bool {
        self.lock().can_pull
    }

    /// Whether actions are to be resolved, rather than done as commands.
    pub fn resolves_actions(&self) -> bool {
        self.lock().abilities.wants_resolve()
    }

    pub fn parent(&self) -> Option<i32> {
        self.lock().parent
    }

    pub fn open(self: &Arc<Self>, params: &Value) -> Option<u64> {
        let opened: Opened = self.parsed("textDocument/didOpen", &params["textDocument"])?;
        let mut state = self.lock();
        self.drop_document(&mut state, &opened.uri);
        if let Some(reason) = refusal(&opened.uri, &opened.text) {
            tracing::info!("{reason}");
            state.refused.insert(opened.uri, reason);
            return None;
        }
        let document = Document::new(&opened.uri, &opened.language, opened.version, &opened.text);
        let suggest = Suggest::beside(Some(self.workspace.clone()), self.settings(&state.config));
        state.docs.insert(opened.uri.clone(), Doc { document, suggest, edited: false });
        self.parse_rest(&mut state, &opened.uri);
        self.share(&opened.uri);
        None
    }

    pub fn change(self: &Arc<Self>, params: &Value) -> Option<u64> {
        let changed: Changed = self.parsed("textDocument/didChange", params)?;
        let mut state = self.lock();
        let (encoding, uri) = (state.encoding, changed.text_document.uri);
        let Some(doc) = state.docs.get_mut(&uri) else {
            if !state.refused.contains_key(&uri) {
                tracing::warn!("didChange for {uri}, which is not open: ignored");
            }
            return None;
        };
        let version = changed.text_document.version.unwrap_or(doc.document.version() + 1);
        let before = doc.document.snapshot();
        let edits = doc.document.apply(version, &changed.content_changes, encoding);
        let snapshot = doc.document.snapshot();
        doc.edited = true;
        if let [edit] = edits[..] {
            self.workspace.edited(&before, &snapshot, edit);
        }
        if let Some(reason) = (snapshot.rope.len_bytes() > MAX_BYTES).then(|| too_large(&uri, snapshot.rope.len_bytes())) {
            self.drop_document(&mut state, &uri);
            state.refused.insert(uri, reason);
            return None;
        }
        let actions = doc.suggest.edited(&snapshot, &edits);
        self.perform(&mut state, &uri, actions);
        self.parse_rest(&mut state, &uri);
        None
    }

    pub fn close(self: &Arc<Self>, params: &Value) -> Option<u64> {
        let closed: Versioned = self.parsed("textDocument/didClose", &params["textDocument"])?;
        self.drop_document(&mut self.lock(), &closed.uri);
        self.unshare(&closed.uri);
        None
    }

    fn drop_document(self: &Arc<Self>, state: &mut State, uri: &str) {
        state.refused.remove(uri);
        if let Some(mut doc) = state.docs.remove(uri) {
            let actions = doc.suggest.close();
            self.perform(state, uri, actions);
        }
    }

    /// Enters an ask; its outcome is fetched with the ticket.
    pub fn ask(self: &Arc<Self>, kind: Kind, params: &Value) -> u64 {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (reply, outcome) = oneshot::channel();
        self.tickets.insert(ticket, outcome);
        match self.admit(&state, kind, params) {
            Err(early) => drop(reply.send(early)),
            Ok((asked, text, cursor)) => self.enter(&mut state, ticket, kind, asked, text, cursor, reply),
        }
        ticket
    }

    /// Checks an ask; `Err` holds the answer it gets at once.
    fn admit(&self, state: &State, kind: Kind, params: &Value) -> std::result::Result<(Asked, Snapshot, usize), Result<Value>> {
        let empty = || Ok(nothing(kind));
        let asked: Asked =
            serde_json::from_value(params.clone()).map_err(|e| Err(Error::invalid_params(format!("completion request: {e}"))))?;
        let uri = &asked.text_document.uri;
        if state.refused.contains_key(uri) {
            return Err(empty());
        }
        let Some(doc) = state.docs.get(uri) else {
            return Err(Err(Error::invalid_params(format!("{uri} is not open: send textDocument/didOpen first"))));
        };
        let text = doc.document.snapshot();
        if !state.config.covers(&text.language) {
            return Err(empty());
        }
        let at = asked.position;
        if asked.context.trigger_character.as_deref() == Some(" ") && text.is_blank_before(text.offset(at, state.encoding)) {
            // Who indents a new line has asked for nothing, and wants no menu in the way of the next Tab.
            return Err(empty());
        }
        match text.offset_strict(at, state.encoding) {
            Some(cursor) => Ok((asked, text, cursor)),
            None => Err(Err(Error::invalid_params(format!(
                "line {} is past the end of {uri}, which has {} lines in version {}: close and open the document again",
                at.line,
                text.rope.len_lines(),
                text.version
            )))),
        }
    }

    #[allow(clippy::too_many_arguments)] // one place enters asks, and it needs all of these
    fn enter(
        self: &Arc<Self>,
        state: &mut State,
        ticket: u64,
        kind: Kind,
        asked: Asked,
        text: Snapshot,
        cursor: usize,
        reply: oneshot::Sender<Result<Value>>,
    ) {
        let uri = asked.text_document.uri;
        let selected = asked.context.selected_completion_info.map(|info| {
            let (start, end) = (text.offset(info.range.start, state.encoding), text.offset(info.range.end, state.encoding));
            (Selected { start, text: info.text }, end.max(start))
        });
        // With a popup open, the model goes on behind the selected item as if it had been inserted.
        let (seen, seen_cursor, cursor) = match &selected {
            Some((s, end)) => with_selected(&text, s, *end),
            None => (text.clone(), cursor, cursor),
        };
        if let Some(error) = self.options.engine.notice() {
            let text = format!("infill: {error}");
            self.say_once(state, MessageType::WARNING, &text, text.clone());
        }
        let settings = self.settings(&state.config);
        let beside = if selected.is_none() { state.beside(kind, &uri, text.version, cursor) } else { None };
        let pending = Pending { kind, uri: uri.clone(), text, cursor, selected: selected.map(|(s, _)| s), beside, reply };
        state.asks.insert(ticket, pending);
        let explicit = kind == Kind::Inline && asked.context.trigger_kind < 2;
        self.look_around(state, &uri);
        let Some(doc) = state.docs.get_mut(&uri) else { return };
        let mut actions = doc.suggest.configure(settings);
        actions.extend(doc.suggest.ask(Ask { id: ticket, text: seen, cursor: seen_cursor, explicit }));
        let wait = if explicit { Duration::ZERO } else { state.pace.wait() };
        self.perform_after(wait, state, &uri, actions);
    }

    fn settings(&self, config: &Config) -> Settings {
        match self.options.engine.info() {
            Some(info) => Settings::for_model(config, &info),
            // Not loaded yet: a window that any model can hold.
            None => Settings::new(config, 2.5, 1024),
        }
    }

    /// Waits for an ask's outcome.
    pub async fn outcome(&self, ticket: u64) -> Result<Value> {
        let waiting = self.tickets.remove(&ticket).map(|(_, outcome)| outcome);
        match waiting {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(Error::request_cancelled())),
            None => Err(Error::request_cancelled()),
        }
    }

    /// An ask is over for its client: answered, or cancelled.
    pub fn forget(self: &Arc<Self>, ticket: u64) {
        self.tickets.remove(&ticket);
        self.stop_act_of(ticket);
        let mut state = self.lock();
        let Some(pending) = state.asks.remove(&ticket) else { return };
        pending.beside.iter().for_each(|other| supersede(&mut state, *other));
        if let Some(doc) = state.docs.get_mut(&pending.uri) {
            let actions = doc.suggest.cancel(ticket);
            self.perform(&mut state, &pending.uri, actions);
        }
    }

    fn perform(self: &Arc<Self>, state: &mut State, uri: &str, actions: Vec<Action>) {
        self.perform_after(Duration::ZERO, state, uri, actions);
    }

    /// `wait`: how long an engine request waits; it is never sent when it is aborted before.
    fn perform_after(self: &Arc<Self>, wait: Duration, state: &mut State, uri: &str, actions: Vec<Action>) {
        self.news.notify_one();
        for action in actions {
            match action {
                Action::Start { id, .. } if self.stays(uri).is_some() => self.keep(state, uri, id),
                Action::Start { id, request } => {
                    let task = if wait.is_zero() {
                        tokio::spawn(self.clone().follow(uri.to_string(), id, self.options.engine.submit(request)))
                    } else {
                        let (session, uri) = (self.clone(), uri.to_string());
                        tokio::spawn(async move {
                            tokio::time::sleep(wait).await;
                            let answer = session.options.engine.submit(request);
                            session.follow(uri, id, answer).await;
                        })
                    };
                    state.running.insert(id, task.abort_handle());
                }
                // Dropping the receiver is what cancels the engine's work.
                Action::Abort { id } => state.running.remove(&id).iter().for_each(tokio::task::AbortHandle::abort),
                Action::Answer { ask, items } => self.answer(state, ask, &items),
                Action::Supersede { ask } => supersede(state, ask),
                Action::Fail { ask, error } => {
                    let text = format!("infill: {error}");
                    self.say_once(state, MessageType::WARNING, &text, text.clone());
                    state.failure = Some(error);
                    self.answer(state, ask, &[]);
                }
                Action::Pause { mark } => {
                    let (session, uri) = (self.clone(), uri.to_string());
                    tokio::spawn(async move {
                        tokio::time::sleep(PAUSE).await;
                        session.with_suggest(&uri, |s| s.idle(mark));
                    });
                }
            }
        }
    }

    fn answer(&self, state: &mut State, ask: u64, items: &[Suggestion]) {
        let encoding = state.encoding;
        let Some(pending) = state.asks.get(&ask) else { return };
        let value = match pending.kind {
            Kind::Inline => items::inline(pending, items, encoding),
            Kind::Items => items::menu(pending, items, encoding),
        };
        if let Some(other) = reply(state, ask, Ok(value)) {
            self.answer(state, other, items);
        }
    }

    /// Hands the engine's events to the document's machine.
    async fn follow(self: Arc<Self>, uri: String, id: u64, mut answer: Answer) {
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text, logprob } => self.with_suggest(&uri, |s| s.text(id, &text, logprob)),
                Event::Done { finish, usage } => {
                    self.lock().failure = None;
                    usage.first_token.iter().for_each(|t| self.lock().pace.observe(*t));
                    self.with_suggest(&uri, |s| s.done(id, finish));
                }
                Event::Top(_) => {}
                Event::Failed(error) => self.with_suggest(&uri, |s| s.failed(id, error)),
            }
        }
        self.lock().running.remove(&id);
        self.news.notify_one();
    }

    fn with_suggest(self: &Arc<Self>, uri: &str, act: impl FnOnce(&mut Suggest) -> Vec<Action>) {
        let mut state = self.lock();
        if let Some(doc) = state.docs.get_mut(uri) {
            let actions = act(&mut doc.suggest);
            self.perform(&mut state, uri, actions);
        }
    }

    pub fn shut_down(&self) {
        self.lock().shut_down = true;
    }

    pub fn is_shut_down(&self) -> bool {
        self.lock().shut_down
    }

    /// The client is gone: nothing is waited for any more.
    pub fn hang_up(&self) {
        self.folders.stop();
        self.stop_acts();
        self.forget_explanation();
        let mut state = self.lock();
        state.running.drain().for_each(|(_, task)| task.abort());
        state.asks.clear();
        state.docs.clear();
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, method: &str, params: &Value) -> Option<T> {
        match serde_json::from_value(params.clone()) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!("{method}: {error}: ignored");
                None
            }
        }
    }
}

fn reply(state: &mut State, ask: u64, outcome: Result<Value>) -> Option<u64> {
    let pending = state.asks.remove(&ask)?;
    let _ = pending.reply.send(outcome);
    pending.beside
}

/// An ask gives way to a newer one, unless that one brings its answer too.
fn supersede(state: &mut State, ask: u64) {
    if state.asks.values().any(|p| p.beside == Some(ask)) {
        return;
    }
    if let Some(other) = reply(state, ask, Err(superseded())) {
        supersede(state, other);
    }
}
