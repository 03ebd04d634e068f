//! What the status line shows, and what `infill/status` counts.
//!
//! ```text
//! infill/didChangeStatus { state: "ready", model: "nano", device: "cpu", message: null, hint: null }
//! ```
//! The notification goes to clients that set `capabilities.experimental.infill.status`, when something has changed.
use super::{Session, State};
use crate::engine;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tower_lsp::Client;
use tower_lsp::lsp_types::notification::Notification;

/// Work that ends sooner is not worth a change on the screen.
const FLICKER: Duration = Duration::from_millis(100);

/// How soon a change that nobody told is seen.
const LOOK: Duration = Duration::from_secs(1);

enum DidChangeStatus {}

impl Notification for DidChangeStatus {
    type Params = Value;
    const METHOD: &'static str = "infill/didChangeStatus";
}

impl Session {
    /// What `infill/status` answers: the model, and what has been done so far.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let counts: Vec<_> = state.docs.values().map(|d| d.suggest.counts()).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "engine": self.options.engine.info(),
            "server": self.options.engine.server(),
            "totals": self.options.engine.totals(),
            "documents": state.docs.len(),
            "indexedFiles": self.workspace.index.read().map_or(0, |index| index.len()),
            "asks": counts.iter().map(|c| c.asks).sum::<u64>(),
            "withoutModel": counts.iter().map(|c| c.without_model).sum::<u64>(),
            "shown": counts.iter().map(|c| c.shown).sum::<u64>(),
            "accepted": counts.iter().map(|c| c.accepted).sum::<u64>(),
            "partly": counts.iter().map(|c| c.partly).sum::<u64>(),
            "rejected": counts.iter().map(|c| c.rejected).sum::<u64>(),
            "busy": state.running.len(),
        })
    }

    /// Tells the client, now and whenever it changes.
    pub fn report_status(self: &Arc<Self>, client: Client) {
        if !self.lock().wants_status {
            return;
        }
        let session = self.clone();
        tokio::spawn(async move {
            let mut last = Value::Null;
            loop {
                let status = session.light();
                if status != last {
                    client.send_notification::<DidChangeStatus>(status.clone()).await;
                    last = status;
                }
                session.changed().await;
            }
        });
    }

    /// Something may have changed. An engine that loads says nothing when it is done, and one whose server dies neither: it
    /// is looked at again.
    async fn changed(&self) {
        let loading = self.options.engine.state() == engine::State::Loading;
        if !loading {
            let _ = tokio::time::timeout(LOOK, self.news.notified()).await;
        }
        tokio::time::sleep(FLICKER).await;
    }

    fn light(&self) -> Value {
        let (engine, state) = (self.options.engine.state(), self.lock());
        let (word, info, error) = match engine {
            _ if !state.config.enabled => ("off", None, None),
            engine::State::Loading => ("loading", None, None),
            engine::State::Failed(error) => ("error", None, Some(error)),
            engine::State::Ready(info) => (state.working(), Some(info), state.failure.clone()),
        };
        let mut light = json!({
            "state": word,
            "model": info.as_ref().map_or(&state.config.model, |i| &i.model),
            "device": info.as_ref().map(|i| &i.device),
            "message": error.as_ref().map(|e| &e.title),
            "hint": error.as_ref().map(|e| &e.hint),
        });
        if let Some(server) = self.options.engine.server() {
            light["server"] = server;
        }
        light
    }
}

impl State {
    fn working(&self) -> &'static str {
        match (&self.failure, self.running.is_empty()) {
            (Some(_), _) => "error",
            (None, true) => "ready",
            (None, false) => "busy",
        }
    }
}
