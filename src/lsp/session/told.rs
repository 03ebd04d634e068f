//! What editors tell beside the protocol: what became of a suggestion, and where the cursor rests.
//!
//! ```text
//! infill/outcome { textDocument, outcome: "rejected", text: "foo(bar)" }    not shown again unasked in this hole
//! infill/cursor  { textDocument, position }                                 after a pause, the engine prefills for it
//! ```
use super::Session;
use crate::document::Position;
use crate::lsp::wire::Versioned;
use crate::suggest::Outcome;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    text_document: Versioned,
    outcome: Outcome,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    text_document: Versioned,
    position: Position,
}

impl Session {
    /// `infill/outcome`
    pub fn told(&self, params: &Value) {
        let Some(told) = self.parsed::<Told>("infill/outcome", params) else { return };
        if let Some(doc) = self.lock().docs.get_mut(&told.text_document.uri) {
            doc.suggest.outcome(told.outcome, &told.text);
        }
    }

    /// `infill/cursor`. Where an answer takes long, a processor that works while somebody reads is no help: nothing is
    /// prefilled then.
    pub fn cursor_moved(self: &Arc<Self>, params: &Value) {
        let Some(moved) = self.parsed::<Moved>("infill/cursor", params) else { return };
        let mut state = self.lock();
        if !state.pace.wait().is_zero() {
            return;
        }
        let (encoding, settings) = (state.encoding, self.settings(&state.config));
        let uri = moved.text_document.uri;
        let Some(text) = state.docs.get(&uri).map(|doc| doc.document.snapshot()) else { return };
        let Some(cursor) = text.offset_strict(moved.position, encoding).filter(|_| state.config.covers(&text.language)) else { return };
        let Some(doc) = state.docs.get_mut(&uri) else { return };
        let mut actions = doc.suggest.configure(settings);
        actions.extend(doc.suggest.moved(&text, cursor));
        self.perform(&mut state, &uri, actions);
    }
}
