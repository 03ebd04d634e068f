//! What the user is told, in sentences.
//!
//! ```text
//! a wrong setting, before `initialized`   waits until the client listens
//! the engine fails at every key           is said once
//! ```
use super::{Session, State};
use tower_lsp::lsp_types::MessageType;

impl Session {
    /// One sentence to the user. Before the client is connected it waits.
    pub(super) fn say(&self, kind: MessageType, text: String) {
        tracing::warn!("{text}");
        self.lock().to_say.push((kind, text));
        if self.client.get().is_some() {
            self.say_pending();
        }
    }

    /// The same sentence is said once, not at each key.
    pub(super) fn say_once(&self, state: &mut State, kind: MessageType, text: String) {
        if state.said.insert(text.clone()) {
            tracing::warn!("{text}");
            state.to_say.push((kind, text));
            self.send_pending(state);
        }
    }

    pub fn say_pending(&self) {
        self.send_pending(&mut self.lock());
    }

    fn send_pending(&self, state: &mut State) {
        let Some(client) = self.client.get().cloned() else { return };
        let messages = std::mem::take(&mut state.to_say);
        if messages.is_empty() {
            return;
        }
        tokio::spawn(async move {
            for (kind, text) in messages {
                client.show_message(kind, text).await;
            }
        });
    }
}
