//! The end of an action: an edit that the user sees before it is made, an explanation, or a sentence.
//!
//! ```text
//! the client confirms edits     workspace/applyEdit with needsConfirmation: it shows them first
//! it asks questions             window/showMessageRequest "- old⏎+ new" [Apply] [Discard], then workspace/applyEdit
//! an explanation                a Markdown file that only this user can read, window/showDocument
//! ```
use super::{Act, Outcome, Session, Stop, stale};
use crate::daemon::place::Place;
use crate::lsp::actions::Edit;
use serde_json::{Value, json};
use std::sync::Arc;
use tower_lsp::lsp_types::request::Request;
use tower_lsp::lsp_types::{MessageActionItem, MessageType, Url};

enum ApplyEdit {}

impl Request for ApplyEdit {
    type Params = Value;
    type Result = Value;
    const METHOD: &'static str = "workspace/applyEdit";
}

enum ShowDocument {}

impl Request for ShowDocument {
    type Params = Value;
    type Result = Value;
    const METHOD: &'static str = "window/showDocument";
}

const APPLY: &str = "Apply";
const DISCARD: &str = "Discard";

impl Session {
    /// Does an action to its end.
    pub(super) async fn deliver(self: &Arc<Self>, act: &Act) {
        match self.watched(act).await {
            Ok(Outcome::Edit(edit)) => self.apply(act, &edit).await,
            Ok(Outcome::Said(text)) => self.show(act, &text).await,
            Err(Stop::Why(why)) => self.tell(why).await,
            Err(Stop::Cancelled) => {}
        }
    }

    async fn apply(&self, act: &Act, edit: &Edit) {
        if !self.agreed(act, edit).await {
            return;
        }
        if self.changed_since(act) {
            return self.tell(stale(act.order.kind)).await;
        }
        let Some(client) = self.client.get() else { return };
        let params = json!({ "label": edit.title, "edit": edit.workspace(&act.abilities) });
        match client.send_request::<ApplyEdit>(params).await {
            Ok(answer) => {
                // Without a reason the user has decided so.
                if let (Some(false), Some(reason)) = (answer["applied"].as_bool(), answer["failureReason"].as_str()) {
                    self.tell(format!("{}: the editor did not make the edit ({reason})", edit.title)).await;
                }
            }
            Err(error) => self.tell(format!("{}: the editor did not make the edit ({})", edit.title, error.message)).await,
        }
    }

    /// Shows the edit to the user, where the client does not do that itself.
    async fn agreed(&self, act: &Act, edit: &Edit) -> bool {
        let Some(client) = self.client.get().filter(|_| act.abilities.asks && !act.abilities.confirms) else { return true };
        let item = |title: &str| MessageActionItem { title: title.into(), properties: Default::default() };
        let text = format!("{}\n{}", edit.title, edit.preview);
        match client.show_message_request(MessageType::INFO, text, Some(vec![item(APPLY), item(DISCARD)])).await {
            Ok(chosen) => chosen.is_some_and(|item| item.title == APPLY),
            // It cannot ask after all: an edit can be undone.
            Err(_) => true,
        }
    }

    pub(super) async fn show(&self, act: &Act, text: &str) {
        let Some(client) = self.client.get() else { return };
        if act.abilities.shows
            && let Some(uri) = self.written(act, text).await
        {
            let shown = client.send_request::<ShowDocument>(json!({ "uri": uri, "external": false, "takeFocus": false })).await;
            if shown.is_ok_and(|shown| shown["success"] == true) {
                return;
            }
        }
        client.show_message(MessageType::INFO, text).await;
    }

    /// Takes the last explanation from the disk.
    pub(crate) fn forget_explanation(&self) {
        if let Some(file) = self.explanation.get() {
            // Somebody may have been faster.
            let _ = std::fs::remove_file(file);
        }
    }

    /// One file for each process, which an explanation has until the next one.
    async fn written(&self, act: &Act, text: &str) -> Option<String> {
        let place = Place::find().inspect_err(|error| tracing::warn!("{error}")).ok()?;
        let file = place.folder().join(format!("explanation-{}.md", std::process::id()));
        let name = act.order.uri.rsplit('/').next().unwrap_or_default();
        let whole = format!("# {name}, from line {}\n\n{}\n", act.order.range.start.line + 1, text.trim_end());
        tokio::fs::write(&file, whole).await.inspect_err(|error| tracing::warn!("the explanation cannot be written: {error}")).ok()?;
        let file = self.explanation.get_or_init(|| file);
        Url::from_file_path(file).ok().map(|url| url.to_string())
    }
}
