//! Work that takes a while, as the client shows it.
//!
//! ```text
//! let bar = Bar::begin(client, Bar::token("index"), "infill: reading the workspace", false).await;
//! bar.report("120 files").await;   bar.end("240 files").await;
//! ```
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tower_lsp::Client;
use tower_lsp::lsp_types::notification::Notification;
use tower_lsp::lsp_types::request::WorkDoneProgressCreate;
use tower_lsp::lsp_types::{NumberOrString, WorkDoneProgressCreateParams};

/// How long a client may take to take note of a token.
const ANSWER: Duration = Duration::from_secs(2);

enum Progress {}

impl Notification for Progress {
    type Params = Value;
    const METHOD: &'static str = "$/progress";
}

/// One piece of work.
pub struct Bar {
    client: Client,
    token: String,
}

impl Bar {
    /// A token that no other work has.
    pub fn token(work: &str) -> String {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        format!("infill-{work}-{}", TOKENS.fetch_add(1, Ordering::Relaxed))
    }

    /// Shows it. The client must know the token before it is used; one that does not answer sees none of it.
    pub async fn begin(client: Client, token: String, title: &str, cancellable: bool) -> Bar {
        let params = WorkDoneProgressCreateParams { token: NumberOrString::String(token.clone()) };
        let asking = client.clone();
        // In a task of its own, which outlives the wait: tower-lsp 0.20 panics when the answer to a dropped request comes.
        let asked = tokio::spawn(async move { asking.send_request::<WorkDoneProgressCreate>(params).await });
        tokio::time::timeout(ANSWER, asked).await.ok();
        let bar = Bar { client, token };
        bar.send(json!({ "kind": "begin", "title": title, "cancellable": cancellable })).await;
        bar
    }

    pub async fn report(&self, message: &str) {
        self.send(json!({ "kind": "report", "message": message })).await;
    }

    pub async fn end(&self, message: &str) {
        self.send(json!({ "kind": "end", "message": message })).await;
    }

    async fn send(&self, value: Value) {
        self.client.send_notification::<Progress>(json!({ "token": self.token, "value": value })).await;
    }
}
