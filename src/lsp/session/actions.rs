//! Code actions: offered at once, done by the engine's chat model, delivered as an edit that the user sees first.
//!
//! ```text
//! codeAction                  at once: what is offered for these lines of version 7
//! executeCommand infill.act   answered at once; progress, then workspace/applyEdit, or a sentence that says why not
//! codeAction/resolve          the same, for clients that take no edits otherwise
//! ```
//! When the text changes meanwhile, the user cancels, or the answer is not what was asked for, nothing is changed.
use super::Session;
use super::progress::Bar;
use super::workspace::path_of;
use crate::document::{Encoding, Snapshot};
use crate::engine::{Event, Finish, Form, Info, Priority, Request};
use crate::instruct::{Asked, Kind, Problem, Task, home, piece::Piece};
use crate::lsp::actions::{Abilities, COMMAND, Edit, Order, Reported, Wanted, offer};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use targets::Target;
use tokio::sync::{Notify, oneshot};
use tower_lsp::jsonrpc::{Error, Result as Answered};
use tower_lsp::lsp_types::MessageType;

mod deliver;
mod targets;

/// Text above and below the lines, of which the model is shown what fits.
const ABOVE: usize = 8192;
const BELOW: usize = 4096;
/// How often a growing answer is reported.
const REPORT: Duration = Duration::from_millis(500);

/// An action under way.
#[derive(Clone)]
struct Act {
    order: Order,
    text: Snapshot,
    encoding: Encoding,
    abilities: Abilities,
    /// Names its progress.
    token: String,
    cancelled: Arc<Notify>,
}

/// What came of it.
enum Outcome {
    Edit(Box<Edit>),
    /// An explanation.
    Said(String),
}

/// Why there is no outcome.
enum Stop {
    Cancelled,
    Why(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Stop {
        Stop::Why(why)
    }
}

/// What an action needs before the model is asked.
struct Prepared {
    piece: Piece,
    asked: Asked,
    /// Where tests go.
    target: Option<Target>,
}

impl Session {
    /// `textDocument/codeAction`; its answer is fetched with the ticket.
    pub fn offer(self: &Arc<Self>, params: &Value) -> u64 {
        let (ticket, reply) = self.ticket();
        // The ticket's receiver is kept: it cannot fail.
        let _ = reply.send(Ok(json!(self.offers(params).unwrap_or_default())));
        ticket
    }

    fn ticket(&self) -> (u64, oneshot::Sender<Answered<Value>>) {
        let (reply, outcome) = oneshot::channel();
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        self.tickets.insert(ticket, outcome);
        (ticket, reply)
    }

    /// What can be done here, where the model converses and may see the text.
    fn offers(&self, params: &Value) -> Option<Vec<Value>> {
        let wanted: Wanted = self.parsed("textDocument/codeAction", params)?;
        self.options.engine.info().filter(|info| info.chat)?;
        let uri = wanted.text_document.uri;
        let state = self.lock();
        let text = state.docs.get(&uri)?.document.snapshot();
        if !state.config.covers(&text.language) || self.stays(&uri).is_some() {
            return None;
        }
        let problems: Vec<Reported> =
            wanted.context.diagnostics.iter().filter_map(|value| serde_json::from_value(value.clone()).ok()).collect();
        let bytes = text.offset(wanted.range.start, state.encoding)..text.offset(wanted.range.end, state.encoding);
        let named = || text.syntax.as_ref().is_some_and(|syntax| syntax.enclosing(&text.rope, bytes.clone()).is_some());
        let code = bytes.start < bytes.end || (wanted.context.invoked() && named());
        let fits = |kind: Kind| match kind {
            Kind::Fix => state.abilities.edits() && (code || !problems.is_empty()),
            Kind::Explain => code || !problems.is_empty(),
            Kind::Document => state.abilities.edits() && code,
            Kind::Test => state.abilities.edits() && code && home::known(&text.language) && path_of(&uri).is_some(),
        };
        let order = |kind: Kind| Order {
            kind,
            uri: uri.clone(),
            version: text.version,
            range: wanted.range,
            problems: if kind == Kind::Fix || kind == Kind::Explain { problems.clone() } else { vec![] },
        };
        let kinds = Kind::ALL.into_iter().filter(|kind| wanted.context.takes(crate::lsp::actions::kind(*kind)) && fits(*kind));
        Some(kinds.map(|kind| offer(&order(kind), &wanted.context.diagnostics, &state.abilities)).collect())
    }

    /// `workspace/executeCommand`: answered at once, and done beside.
    pub fn act(self: &Arc<Self>, params: &Value) {
        if params["command"] != COMMAND {
            return;
        }
        let Some(order) = self.parsed::<Order>("workspace/executeCommand", &params["arguments"][0]) else { return };
        let session = self.clone();
        match self.begin(order, Bar::token("act")) {
            Ok(act) => drop(tokio::spawn(async move { session.deliver(&act).await })),
            Err(why) => drop(tokio::spawn(async move { session.tell(why).await })),
        }
    }

    /// `codeAction/resolve`; its answer is fetched with the ticket. An action that comes to nothing stays as it was.
    pub fn resolve(self: &Arc<Self>, params: &Value) -> u64 {
        let (ticket, reply) = self.ticket();
        let (session, mut action) = (self.clone(), params.clone());
        let order = self.parsed::<Order>("codeAction/resolve", &params["data"]);
        let act = order.map(|order| self.begin(order, of_ticket(ticket)));
        tokio::spawn(async move {
            let answer = match act {
                None => Ok(action),
                Some(Err(why)) => {
                    session.tell(why).await;
                    Ok(action)
                }
                Some(Ok(act)) => match session.watched(&act).await {
                    Ok(Outcome::Edit(edit)) => {
                        action["edit"] = edit.workspace(&act.abilities);
                        Ok(action)
                    }
                    Ok(Outcome::Said(text)) => {
                        session.show(&act, &text).await;
                        Ok(action)
                    }
                    Err(Stop::Cancelled) => Err(Error::request_cancelled()),
                    Err(Stop::Why(why)) => {
                        session.tell(why).await;
                        Ok(action)
                    }
                },
            };
            // Who has gone wants nothing.
            let _ = reply.send(answer);
        });
        ticket
    }

    /// `window/workDoneProgress/cancel`
    pub fn cancel_act(&self, params: &Value) {
        self.stop_act(params["token"].as_str().unwrap_or_default());
    }

    /// Ends an action whose request is over.
    pub(super) fn stop_act_of(&self, ticket: u64) {
        self.stop_act(&of_ticket(ticket));
    }

    fn stop_act(&self, token: &str) {
        if let Some((_, cancelled)) = self.acts.remove(token) {
            cancelled.notify_one();
        }
    }

    pub(super) fn stop_acts(&self) {
        self.acts.iter().for_each(|act| act.notify_one());
        self.acts.clear();
    }

    /// In wire order: the text as the user sees it.
    fn begin(&self, order: Order, token: String) -> Result<Act, String> {
        let state = self.lock();
        let text = state.docs.get(&order.uri).map(|doc| doc.document.snapshot());
        let Some(text) = text.filter(|text| text.version == order.version) else { return Err(stale(order.kind)) };
        let cancelled = Arc::new(Notify::new());
        self.acts.insert(token.clone(), cancelled.clone());
        Ok(Act { order, text, encoding: state.encoding, abilities: state.abilities.clone(), token, cancelled })
    }

    /// Does it, in sight of the user.
    async fn watched(self: &Arc<Self>, act: &Act) -> Result<Outcome, Stop> {
        let client = self.client.get().filter(|_| act.abilities.progress).cloned();
        let bar = match client {
            Some(client) => Some(Bar::begin(client, act.token.clone(), act.order.kind.title(), true).await),
            None => None,
        };
        let outcome = tokio::select! {
            () = act.cancelled.notified() => Err(Stop::Cancelled),
            outcome = self.done(act, bar.as_ref()) => outcome,
        };
        self.acts.remove(&act.token);
        if let Some(bar) = bar {
            bar.end(if matches!(outcome, Err(Stop::Cancelled)) { "cancelled" } else { "done" }).await;
        }
        outcome
    }

    async fn done(self: &Arc<Self>, act: &Act, bar: Option<&Bar>) -> Result<Outcome, Stop> {
        let title = act.order.kind.title();
        let Some(info) = self.options.engine.info().filter(|info| info.chat) else {
            return Err(format!("{title}: the model has no chat template").into());
        };
        let Prepared { piece, asked, target } = self.beside(act, move |session, act| session.prepare(act, &info)).await??;
        let most = asked.max_tokens;
        let (answer, finish) = self.answer_to(act, asked, bar).await?;
        if act.order.kind == Kind::Explain {
            return Ok(Outcome::Said(answer));
        }
        if finish == Finish::Length {
            return Err(format!("{title}: the model's answer was cut off after {most} tokens: select less. Nothing was changed.").into());
        }
        let edit = self.beside(act, move |_, act| targets::edit(act, &piece, target, &answer)).await??;
        if self.changed_since(act) { Err(stale(act.order.kind).into()) } else { Ok(Outcome::Edit(Box::new(edit))) }
    }

    /// Runs what may take a while, or reads files, where nothing waits for it.
    async fn beside<T: Send + 'static>(
        self: &Arc<Self>,
        act: &Act,
        work: impl FnOnce(&Session, &Act) -> T + Send + 'static,
    ) -> Result<T, Stop> {
        let (session, act) = (self.clone(), act.clone());
        // A panic there is in the log; the action ends.
        tokio::task::spawn_blocking(move || work(&session, &act)).await.map_err(|_| Stop::Cancelled)
    }

    fn prepare(&self, act: &Act, info: &Info) -> Result<Prepared, Stop> {
        let (order, text, title) = (&act.order, &act.text, act.order.kind.title());
        if let Some(reason) = self.stays(&order.uri) {
            let known = !reason.title.is_empty();
            let why = if known { reason.to_string() } else { "whether the file may be sent is not known yet: try again".into() };
            return Err(format!("{title}: {why}").into());
        }
        let piece = piece(act);
        let line = |problem: &Reported| {
            let at = text.offset(problem.range.start, act.encoding);
            Problem { line: text.text(text.line_start(at), text.line_end(at)), message: problem.message.clone() }
        };
        let problems: Vec<Problem> = order.problems.iter().map(line).collect();
        let bytes = piece.bytes(text);
        let (above, below) = (text.text(bytes.start.saturating_sub(ABOVE), bytes.start), text.text(bytes.end, bytes.end + BELOW));
        let target = if order.kind == Kind::Test { Some(self.target(act)?) } else { None };
        let name = self.workspace.name(&order.uri);
        let tests = target.as_ref().map(Target::tests);
        let (name, language, tests) = (&*name, &*text.language, tests.as_ref());
        let task = Task { kind: order.kind, name, language, piece: &piece, above: &above, below: &below, problems: &problems, tests };
        let asked = task.asked(info).map_err(|error| format!("{title}: {error}"))?;
        Ok(Prepared { piece, asked, target })
    }

    /// The model's answer, whole. The stream is closed when this is dropped.
    async fn answer_to(&self, act: &Act, asked: Asked, bar: Option<&Bar>) -> Result<(String, Finish), Stop> {
        let Asked { turns, max_tokens } = asked;
        // Keys go before it.
        let request = Request { form: Form::Chat(turns), max_tokens, priority: Priority::Background, draft: true, ..Request::default() };
        let mut answer = self.options.engine.submit(request);
        let (mut text, mut told) = (String::new(), Instant::now());
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text: more, .. } => text += &more,
                Event::Top(_) => {}
                Event::Done { finish: Finish::Cancelled, .. } => return Err(Stop::Cancelled),
                Event::Done { finish, .. } => return Ok((text.trim_start().to_owned(), finish)),
                Event::Failed(error) => return Err(format!("{}: {error}", act.order.kind.title()).into()),
            }
            if let Some(bar) = bar.filter(|_| told.elapsed() >= REPORT) {
                told = Instant::now();
                bar.report(&format!("{} lines", text.lines().count())).await;
            }
        }
        Err(format!("{}: the model gave no answer", act.order.kind.title()).into())
    }

    /// Whether the text is another one than the action is for.
    fn changed_since(&self, act: &Act) -> bool {
        self.lock().docs.get(&act.order.uri).is_none_or(|doc| doc.document.version() != act.text.version)
    }

    /// A sentence for who has chosen an action: each time, for each time it was asked for.
    async fn tell(&self, why: String) {
        tracing::info!("{}", why.lines().next().unwrap_or_default());
        if let Some(client) = self.client.get() {
            client.show_message(MessageType::WARNING, why).await;
        }
    }
}

/// The token of an action that a request waits for.
fn of_ticket(ticket: u64) -> String {
    format!("infill-ticket-{ticket}")
}

fn stale(kind: Kind) -> String {
    format!("{}: the text has changed since: nothing was changed. Choose it again.", kind.title())
}

/// The lines that it is about: the selection, or what encloses the cursor and what is reported.
fn piece(act: &Act) -> Piece {
    let (text, encoding) = (&act.text, act.encoding);
    let bytes = |range: crate::document::Range| text.offset(range.start, encoding)..text.offset(range.end, encoding);
    let selected = bytes(act.order.range);
    if selected.start < selected.end {
        return Piece::of(text, selected);
    }
    let reported = act.order.problems.iter().map(|problem| bytes(problem.range));
    let all = reported.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(selected);
    Piece::around(text, all.start..all.end.max(all.start))
}
