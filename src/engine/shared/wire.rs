//! Requests and answers as the server speaks them: OpenAI's completions with our own fields.
//!
//! ```text
//! Request { prefix, suffix, tail, max_tokens: 8, .. }  ->  {"prompt", "suffix", "tail", "max_tokens": 8, "stream": true, "logprobs": 0, …}
//! {"choices": [{"text": " b", "logprobs": {"token_logprobs": [-0.1]}}]}   ->  Event::Text { text: " b", logprob: -0.1 }
//! {"choices": [{"finish_reason": "stop"}], "infill": {…}}                ->  Event::Done { finish: Stop, usage }
//! ```
use crate::engine::{EngineError, Event, Finish, Form, Request, Usage};
use serde::Deserialize;
use serde_json::{Value, json};

/// Path and body of a request.
pub fn request(request: &Request) -> (&'static str, Value) {
    let mut body = json!({
        "max_tokens": request.max_tokens,
        "stop": request.stop,
        "priority": request.priority,
        "rank": request.rank,
        "draft": request.draft,
        "temperature": 0,
        "stream": true,
    });
    if let Some(sampling) = &request.sampling {
        body["temperature"] = json!(sampling.temperature);
        body["top_p"] = json!(sampling.top_p);
        body["seed"] = json!(sampling.seed);
    }
    let mut set = |key: &str, value: Value| body[key] = value;
    for (key, text) in [("above", &request.above), ("below", &request.below)] {
        if !text.is_empty() {
            set(key, json!(text));
        }
    }
    match &request.form {
        Form::Fill => {
            set("prompt", json!(request.prefix));
            set("suffix", json!(request.suffix));
            set("tail", json!(request.tail));
            set("logprobs", json!(request.top));
        }
        Form::Plain => {
            set("prompt", json!(request.prefix));
            set("tail", json!(request.tail));
            set("plain", json!(true));
            set("logprobs", json!(request.top));
        }
        Form::Chat(turns) => {
            let messages: Vec<Value> = turns.iter().map(|turn| json!({ "role": turn.role, "content": turn.text })).collect();
            set("messages", json!(messages));
            set("logprobs", json!(true));
            set("top_logprobs", json!(request.top));
            return ("/v1/chat/completions", body);
        }
    }
    ("/v1/completions", body)
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    infill: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
    #[serde(default)]
    delta: Delta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    #[serde(default)]
    content: String,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    token_logprobs: Vec<f32>,
    #[serde(default)]
    content: Vec<Token>,
    #[serde(default)]
    infill_top: Vec<(String, f32)>,
}

#[derive(Deserialize)]
struct Token {
    logprob: f32,
}

/// What one event of the stream says.
///
/// # Errors
/// The server's own, or that it is not what the server says.
pub fn events(data: &str) -> Result<Vec<Event>, EngineError> {
    if data == "[DONE]" {
        return Ok(vec![]);
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
        let hint = "windows and server may be of different versions: run \"infill serve --stop\"";
        EngineError::new(format!("The shared server's answer cannot be read ({error})"), hint)
    })?;
    if let Some(error) = chunk.error {
        return Err(refusal("failed", &json!({ "error": error })));
    }
    let mut out = Vec::new();
    for choice in chunk.choices {
        let text = choice.text + &choice.delta.content;
        if let Some(logprobs) = choice.logprobs.as_ref().filter(|logprobs| !logprobs.infill_top.is_empty()) {
            out.push(Event::Top(logprobs.infill_top.clone()));
        }
        if !text.is_empty() {
            let of = |logprobs: &Logprobs| logprobs.token_logprobs.first().copied().or(logprobs.content.first().map(|token| token.logprob));
            out.push(Event::Text { text, logprob: choice.logprobs.as_ref().and_then(of).unwrap_or_default() });
        }
        if let (Some(reason), Some(usage)) = (choice.finish_reason, chunk.infill.clone()) {
            let finish = if reason == "length" { Finish::Length } else { Finish::Stop };
            out.push(Event::Done { finish, usage });
        }
    }
    Ok(out)
}

/// The error in a body, as the engine behind the server said it.
pub fn refusal(what: &str, body: &Value) -> EngineError {
    let error = &body["error"];
    let ours = serde_json::from_value::<EngineError>(error["infill"].clone()).ok();
    ours.unwrap_or_else(|| {
        let said = error["message"].as_str().unwrap_or("without a reason");
        EngineError::new(format!("The shared server {what}: {said}"), "run \"infill serve --stop\"; the next key starts a new one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_the_file_is_sent_where_there_is_some() {
        let more = Request { prefix: "a".into(), above: "b".into(), ..Request::default() };
        let (_, body) = request(&more);
        assert_eq!((&body["above"], body.get("below")), (&json!("b"), None));
    }
}
