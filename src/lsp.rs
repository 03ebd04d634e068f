//! The language server: the only place that names tower-lsp.
//!
//! ```text
//! editor ──stdin──> order (edits and asks, in wire order) ──> tower-lsp (cancel, shutdown, ids) ──stdout──> editor
//!                      └─ session: documents, suggestions, the engine
//! ```
//! tower-lsp runs handlers concurrently, so what must happen in wire order happens in [`order`], before its first
//! await; its own handlers only wait for the outcome.
use crate::config::Layer;
use crate::engine::Engine;
use serde_json::{Value, json};
use session::Session;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_lsp::jsonrpc::Result;
use tower_lsp::lsp_types as lsp;
use tower_lsp::{Client, LanguageServer, LspService, Server};

mod actions;
mod edge;
mod items;
mod order;
mod pace;
mod session;
pub mod stdio;
mod wire;

/// Requests served at once. tower-lsp's default of 4 lets four waiting completions block the next edit.
const CONCURRENCY: usize = 64;

/// What a server is started with.
pub struct Options {
    pub engine: Arc<dyn Engine>,
    /// File, environment and command line; the editor's settings come on top.
    pub layers: Vec<Layer>,
    /// Where each message in and out is written, a JSON object a line.
    pub record: Option<std::fs::File>,
    /// Something that went wrong before the client was there: said to the user once it is.
    pub problem: Option<String>,
}

/// Serves one client until it says `exit` or its stream ends. Returns the exit code that the protocol asks for:
/// 0 after `shutdown`, else 1.
pub async fn serve<I, O>(input: I, output: O, options: Options) -> i32
where
    I: AsyncRead + Send + Unpin + 'static,
    O: AsyncWrite + Send + Unpin + 'static,
{
    let session = Session::new(options);
    let (service, socket) = LspService::build(|client| Backend { client, session: session.clone() })
        .custom_method("infill/ticket", Backend::ticket)
        .custom_method("infill/status", Backend::status)
        .custom_method("infill/outcome", Backend::taken)
        .custom_method("infill/cursor", Backend::taken)
        .custom_method("window/workDoneProgress/cancel", Backend::taken)
        .finish();
    let ended = Arc::new(tokio::sync::Notify::new());
    let input = edge::Watched::new(input, session.clone(), ended.clone());
    let server = Server::new(input, output, socket).concurrency_level(CONCURRENCY);
    let gone = async {
        tokio::select! {
            () = ended.notified() => {}
            () = session.exit.notified() => {}
        }
        // What was being answered when the client went has no reader: leave it a moment, not forever.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    };
    tokio::select! {
        () = server.serve(order::Ordered::new(service, session.clone())) => {}
        () = gone => {}
        () = edge::parent_gone(session.clone()) => {}
    }
    session.hang_up();
    i32::from(!session.is_shut_down())
}

struct Backend {
    client: Client,
    session: Arc<Session>,
}

impl Backend {
    /// Waits for the outcome of an ask that [`order`] has already entered.
    async fn ticket(&self, params: Value) -> Result<Value> {
        self.session.outcome(params["ticket"].as_u64().unwrap_or_default()).await
    }

    /// Taken in wire order by [`order`]; nothing is left to do here.
    async fn taken(&self, _: Value) {}

    async fn status(&self) -> Result<Value> {
        Ok(self.session.status())
    }

    /// Fetches section `infill` from a client that holds its settings.
    async fn pull_settings(&self) {
        let item = lsp::ConfigurationItem { scope_uri: None, section: Some("infill".into()) };
        if let Ok(values) = self.client.configuration(vec![item]).await {
            self.session.set_editor_settings("workspace/configuration", values.first().unwrap_or(&Value::Null));
        }
    }
}

#[tower_lsp::async_trait]
impl LanguageServer for Backend {
    async fn initialize(&self, _: lsp::InitializeParams) -> Result<lsp::InitializeResult> {
        self.session.connect(self.client.clone());
        let encoding = lsp::PositionEncodingKind::new(self.session.encoding_name());
        let sync = lsp::TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(lsp::TextDocumentSyncKind::INCREMENTAL),
            save: Some(lsp::TextDocumentSyncSaveOptions::Supported(true)),
            ..Default::default()
        };
        let completion = self.session.offers_items().then(|| lsp::CompletionOptions {
            trigger_characters: Some([".", "(", "[", "{", ",", "=", " "].map(String::from).to_vec()),
            ..Default::default()
        });
        let kinds = crate::instruct::Kind::ALL.map(|kind| lsp::CodeActionKind::new(actions::kind(kind))).to_vec();
        let actions = lsp::CodeActionOptions {
            code_action_kinds: Some(kinds),
            resolve_provider: self.session.resolves_actions().then_some(true),
            ..Default::default()
        };
        let commands = lsp::ExecuteCommandOptions { commands: vec![actions::COMMAND.into()], ..Default::default() };
        Ok(lsp::InitializeResult {
            capabilities: lsp::ServerCapabilities {
                position_encoding: Some(encoding),
                text_document_sync: Some(lsp::TextDocumentSyncCapability::Options(sync)),
                completion_provider: completion,
                code_action_provider: Some(lsp::CodeActionProviderCapability::Options(actions)),
                execute_command_provider: Some(commands),
                workspace: Some(lsp::WorkspaceServerCapabilities {
                    workspace_folders: Some(lsp::WorkspaceFoldersServerCapabilities {
                        supported: Some(true),
                        change_notifications: Some(lsp::OneOf::Left(true)),
                    }),
                    file_operations: None,
                }),
                ..Default::default()
            },
            server_info: Some(lsp::ServerInfo { name: "infill".into(), version: Some(env!("CARGO_PKG_VERSION").into()) }),
        })
    }

    async fn initialized(&self, _: lsp::InitializedParams) {
        self.session.say_pending();
        self.session.watch(self.client.clone());
        self.session.report_status(self.client.clone());
    }

    async fn did_change_configuration(&self, params: lsp::DidChangeConfigurationParams) {
        // Settings that came along were taken in wire order; without them, ask.
        if params.settings.is_null() && self.session.can_pull_settings() {
            self.pull_settings().await;
        }
    }

    // Taken in wire order by `order`; nothing is left to do here.
    async fn did_open(&self, _: lsp::DidOpenTextDocumentParams) {}
    async fn did_change(&self, _: lsp::DidChangeTextDocumentParams) {}
    async fn did_save(&self, _: lsp::DidSaveTextDocumentParams) {}
    async fn did_close(&self, _: lsp::DidCloseTextDocumentParams) {}
    async fn did_change_watched_files(&self, _: lsp::DidChangeWatchedFilesParams) {}
    async fn did_change_workspace_folders(&self, _: lsp::DidChangeWorkspaceFoldersParams) {}

    /// Begun in wire order by `order`, and done beside: the client is not kept waiting.
    async fn execute_command(&self, _: lsp::ExecuteCommandParams) -> Result<Option<Value>> {
        Ok(None)
    }

    async fn shutdown(&self) -> Result<()> {
        self.session.shut_down();
        Ok(())
    }
}

/// What `initialize` answers beside what tower-lsp's types know: inline completions came with LSP 3.18.
fn advertise_inline(mut result: Value) -> Value {
    result["capabilities"]["inlineCompletionProvider"] = json!(true);
    result
}
