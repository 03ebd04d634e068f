//! Parses that take too long for a key to wait for.
//!
//! ```text
//! didOpen, 10,000 lines   answered without syntax at first; some 50 ms later with it
//! ```
use super::{Session, State};
use std::sync::Arc;

impl Session {
    /// Finishes a document's parse beside the keys, where there is something left.
    pub(super) fn parse_rest(self: &Arc<Self>, state: &mut State, uri: &str) {
        let Some(job) = state.docs.get_mut(uri).and_then(|doc| doc.document.unparsed()) else { return };
        let (session, uri) = (self.clone(), uri.to_string());
        tokio::task::spawn_blocking(move || {
            let done = job.run();
            let mut state = session.lock();
            if let Some(doc) = state.docs.get_mut(&uri) {
                doc.document.parsed(done);
            }
            session.parse_rest(&mut state, &uri);
        });
    }
}
