//! The record of a session: each message in and out, with its time, a JSON object a line (`infill lsp --record FILE`).
//!
//! ```text
//! {"ms":12,"in":{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{…}}}
//! ```
use super::Session;
use serde_json::json;
use tower_lsp::jsonrpc::{Request, Response};

impl Session {
    pub fn record_in(&self, request: &Request) {
        self.record("in", request);
    }

    pub fn record_out(&self, response: &Response) {
        self.record("out", response);
    }

    fn record(&self, direction: &str, message: &impl serde::Serialize) {
        use std::io::Write;
        if let Some(mut file) = self.options.record.as_ref() {
            let line = json!({ "ms": self.begun.elapsed().as_millis() as u64, direction: message });
            if let Err(error) = writeln!(file, "{line}") {
                tracing::warn!("--record: {error}");
            }
        }
    }
}
