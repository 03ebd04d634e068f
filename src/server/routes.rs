//! The routes.
//!
//! ```text
//! GET /v1/models   {"object": "list", "data": [{"id": "nano", …, "infill": {"bytes_per_token": 3.1, "context": 4096, "fingerprint": "…"}}]}
//! GET /health      200 {"status": "ok"}, 503 while it loads or when it cannot
//! ```
use super::access::{self, Access};
use super::refusal::Refusal;
use super::{Face, answer, asked, metrics, window};
use crate::engine::State;
use axum::extract::{Request, State as From};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes of one door.
pub(super) fn router(face: &Arc<Face>, access: &Access) -> Router {
    let mut router = Router::new()
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .route("/health", get(health))
        .route("/metrics", get(numbers));
    if access.windows {
        router = router.route("/infill/watch", get(window::watch)).route("/infill/stop", post(window::stop));
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(access.clone(), access::check))
        .with_state(face.clone())
}

async fn completions(From(face): From<Arc<Face>>, request: Request) -> Response {
    let asked = body(&face, request).await.and_then(|body| asked::completion(&body));
    answered(face, asked).await
}

async fn chat(From(face): From<Arc<Face>>, request: Request) -> Response {
    let asked = body(&face, request).await.and_then(|body| asked::chat(&body, &face));
    answered(face, asked).await
}

async fn answered(face: Arc<Face>, asked: Result<asked::Asked, Refusal>) -> Response {
    let answer = match asked {
        Ok(asked) => answer::answer(face, asked).await,
        Err(refusal) => {
            face.metrics.refused();
            Err(refusal)
        }
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// The request's body, if it comes in time and is not too large. Its type is not asked for: `curl -d` sends a wrong one.
async fn body(face: &Face, request: Request) -> Result<Value, Refusal> {
    let limits = &face.limits;
    let read = axum::body::to_bytes(request.into_body(), limits.body);
    let bytes = match tokio::time::timeout(limits.arrival, read).await {
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request's body did not arrive: send it at once")),
        Ok(Err(_)) => {
            let message = format!("the request's body is larger than {} bytes, or was cut off: send less text", limits.body);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message));
        }
        Ok(Ok(bytes)) => bytes,
    };
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad("", format!("the request's body is not JSON ({error})")))
}

async fn models(From(face): From<Arc<Face>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [described(&face)] }))
}

async fn model(From(face): From<Arc<Face>>) -> Json<Value> {
    Json(described(&face))
}

fn described(face: &Face) -> Value {
    let info = face.engine.info();
    let id = info.as_ref().map_or(&face.identity.model, |info| &info.model);
    json!({
        "id": id,
        "object": "model",
        "created": 0,
        "owned_by": "infill",
        "infill": {
            "version": env!("CARGO_PKG_VERSION"),
            "fingerprint": face.identity.fingerprint,
            "loaded": info.is_some(),
            "bytes_per_token": info.as_ref().map(|info| info.bytes_per_token),
            "context": info.as_ref().map(|info| info.context),
            "device": info.as_ref().map(|info| &info.device),
            "chat": info.as_ref().map(|info| info.chat),
        },
    })
}

async fn health(From(face): From<Arc<Face>>) -> Response {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match face.engine.state() {
        State::Ready(_) => Json(json!({ "status": "ok" })).into_response(),
        State::Loading => (unavailable, Json(json!({ "status": "loading" }))).into_response(),
        State::Failed(error) => (unavailable, Json(json!({ "status": "error", "message": error.to_string() }))).into_response(),
    }
}

async fn numbers(From(face): From<Arc<Face>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::render(&face)).into_response()
}

async fn nothing() -> Refusal {
    let message = "nothing is here: ask /v1/completions, /v1/chat/completions, /v1/models, /health or /metrics";
    Refusal::new(StatusCode::NOT_FOUND, "not_found_error", message)
}

async fn other_method() -> Refusal {
    let message = "this route takes another method: POST for completions, GET for all else";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
}
