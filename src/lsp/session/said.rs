//! What the user is told, in sentences.
//!
//! ```text
//! a wrong setting, before `initialized`   waits until the client listens
//! the engine fails at every key           is said once
//! ```
use super::{Session, State};
use tower_lsp::lsp_types::MessageType;

impl Session {
    /// One sentence to the user, once for all that is the `same`: not at each key. Before the client is connected it waits.
    pub(super) fn say_once(&self, state: &mut State, kind: MessageType, same: &str, text: String) {
        if state.said.insert(same.into()) {
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
