//! Wire order: a thin service in front of tower-lsp's.
//!
//! ```text
//! didChange v7, inlineCompletion (sees v7), didChange v8     applied in this order, whatever the handlers await
//! ```
//! `Service::call` is entered once per message, in the order of the wire. Edits are applied and asks are entered right
//! here, synchronously; an ask travels on as `infill/ticket`, and tower-lsp's handler only waits for the outcome (so
//! that cancelling, shutdown and ids stay tower-lsp's).
use super::session::Session;
use super::wire::Kind;
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_lsp::jsonrpc::{Request, Response};
use tower_service::Service;

pub struct Ordered<S> {
    inner: S,
    session: Arc<Session>,
}

impl<S> Ordered<S> {
    pub fn new(inner: S, session: Arc<Session>) -> Self {
        Ordered { inner, session }
    }

    /// Takes what must happen in wire order; returns the request to pass on, and the ticket it waits for.
    fn take(&self, request: Request) -> (Request, Option<u64>) {
        let params = request.params().unwrap_or(&Value::Null);
        let ticket = match request.method() {
            "initialize" => {
                self.session.initialize(params);
                None
            }
            "exit" => {
                self.session.exit.notify_one();
                None
            }
            "textDocument/didOpen" => self.session.open(params),
            "textDocument/didChange" => self.session.change(params),
            "textDocument/didClose" => self.session.close(params),
            "textDocument/didSave" => {
                self.session.saved(params);
                None
            }
            "workspace/didChangeWatchedFiles" => {
                self.session.files_changed(params);
                None
            }
            "workspace/didChangeWorkspaceFolders" => {
                self.session.folders_changed(params);
                None
            }
            "workspace/didChangeConfiguration" => {
                self.session.set_editor_settings("workspace/didChangeConfiguration", &params["settings"]);
                None
            }
            "infill/outcome" => {
                self.session.told(params);
                None
            }
            "infill/cursor" => {
                self.session.cursor_moved(params);
                None
            }
            "workspace/executeCommand" => {
                self.session.act(params);
                None
            }
            "window/workDoneProgress/cancel" => {
                self.session.cancel_act(params);
                None
            }
            "textDocument/codeAction" if request.id().is_some() => Some(self.session.offer(params)),
            "codeAction/resolve" if request.id().is_some() => Some(self.session.resolve(params)),
            "textDocument/inlineCompletion" if request.id().is_some() => Some(self.session.ask(Kind::Inline, params)),
            "textDocument/completion" if request.id().is_some() => Some(self.session.ask(Kind::Items, params)),
            _ => None,
        };
        match (ticket, request.id().cloned()) {
            (Some(ticket), Some(id)) => (Request::build("infill/ticket").params(json!({ "ticket": ticket })).id(id).finish(), Some(ticket)),
            _ => (request, None),
        }
    }
}

impl<S> Service<Request> for Ordered<S>
where
    S: Service<Request, Response = Option<Response>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.session.record_in(&request);
        let initialize = request.method() == "initialize";
        let (request, ticket) = self.take(without_null(request));
        let inner = self.inner.call(request);
        let session = self.session.clone();
        Box::pin(async move {
            let response = inner.await;
            // Answered, cancelled or refused: the ask is over either way.
            ticket.iter().for_each(|t| session.forget(*t));
            let response = response?.map(|r| if initialize { with_inline(r) } else { r });
            response.iter().for_each(|r| session.record_out(r));
            Ok(response)
        })
    }
}

/// Some clients send `params: null`, or `{}`, where there are none, which tower-lsp refuses.
fn without_null(request: Request) -> Request {
    let (method, id, params) = request.into_parts();
    let params = params.filter(|p| !p.is_null() && method != "infill/status");
    let mut plain = Request::build(method);
    if let Some(id) = id {
        plain = plain.id(id);
    }
    match params {
        Some(params) => plain.params(params).finish(),
        None => plain.finish(),
    }
}

fn with_inline(response: Response) -> Response {
    let (id, body) = response.into_parts();
    Response::from_parts(id, body.map(super::advertise_inline))
}
