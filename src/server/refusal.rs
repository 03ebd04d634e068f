//! What is said to a client that gets no answer: OpenAI's form, and the engine's own sentence in it.
//!
//! ```text
//! 400 {"error": {"message": "…: lower max_tokens", "type": "invalid_request_error", "param": "max_tokens", "code": null}}
//! ```
use crate::engine::{Engine, EngineError, State};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A status and an error body.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    /// What the engine said, for our own windows.
    engine: Option<EngineError>,
}

impl Refusal {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, kind, message: message.into(), param: None, engine: None }
    }

    /// A request that cannot be answered as it is.
    pub fn bad(param: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal { param: Some(param.into()), ..Refusal::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// The engine's error: the client's when the prompt does not fit, else ours.
    pub fn engine(engine: &dyn Engine, error: EngineError) -> Refusal {
        let status = match engine.state() {
            State::Failed(_) | State::Loading => StatusCode::SERVICE_UNAVAILABLE,
            State::Ready(_) if error.title.contains("do not fit") => StatusCode::BAD_REQUEST,
            State::Ready(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let kind = if status == StatusCode::BAD_REQUEST { "context_length_exceeded" } else { "server_error" };
        Refusal { engine: Some(error.clone()), ..Refusal::new(status, kind, error.to_string()) }
    }

    /// The body; also the last event of a stream that fails.
    pub fn body(&self) -> Value {
        let mut error = json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.kind });
        if let Some(engine) = &self.engine {
            error["infill"] = json!(engine);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}
