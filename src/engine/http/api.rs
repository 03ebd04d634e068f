//! What each server is asked, and what it says.
//!
//! ```text
//! llama.cpp  POST /completion       { prompt: [100003, 4, …], cache_prompt, grammar }   data: { content, timings.prompt_n }
//! openai     POST /v1/completions   { prompt: "<｜fim▁begin｜>…" or ids }                 data: { choices: [{ text }], usage }
//! ollama     POST /api/generate     { prompt, raw: true }                               { response, done }, a line each
//! deepseek   POST /beta/completions { prompt: prefix + tail, suffix }                   as openai
//! all        POST /v1/chat/completions { messages }                                     data: { choices: [{ delta: { content } }] }
//! ```
use super::Found;
use super::tail::grammar;
use crate::config::Api;
use crate::engine::{Finish, Request, Turn};
use serde_json::{Value, json};

/// A prompt, as the server takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    /// The server renders it.
    Fill {
        before: String,
        after: String,
    },
}

/// What a request asks besides its prompt.
pub struct Wish<'a> {
    pub request: &'a Request,
    /// What the answer must begin with.
    pub held: &'a str,
}

/// The path of completions, and whether it lies beside `/v1`.
pub fn path(api: Api) -> &'static str {
    match api {
        Api::LlamaCpp => "completion",
        Api::Ollama => "api/generate",
        Api::DeepSeek => "beta/completions",
        Api::Auto | Api::OpenAi => "v1/completions",
    }
}

/// Most stop strings that servers of OpenAI's kind take; the rest is looked for here.
const STOPS: usize = 4;

/// The request's body.
pub fn body(found: &Found, prompt: Prompt, wish: &Wish) -> Value {
    let request = wish.request;
    let held = if request.max_tokens == 0 { "" } else { wish.held };
    // What is held is generated too: a token for two bytes at the worst that words come to.
    let tokens = request.max_tokens + held.len().div_ceil(2);
    let stop: Vec<&String> = request.stop.iter().filter(|s| !s.is_empty()).take(STOPS).collect();
    // The same temperature for all alternatives, each with a seed of its own; the first is the most probable.
    let temperature = if request.rank == 0 { 0.0 } else { 0.8 };
    let prompt = match prompt {
        Prompt::Text(text) => json!({ "prompt": text }),
        Prompt::Ids(ids) => json!({ "prompt": ids }),
        Prompt::Fill { before, after } => json!({ "prompt": before, "suffix": after }),
    };
    let mut body = match found.api {
        Api::LlamaCpp => json!({
            "n_predict": tokens, "cache_prompt": true, "n_probs": 1, "temperature": temperature, "seed": request.rank,
        }),
        Api::Ollama => {
            let options = json!({ "num_predict": tokens.max(1), "temperature": temperature, "seed": request.rank, "stop": stop });
            json!({ "raw": true, "options": options })
        }
        Api::DeepSeek => json!({ "max_tokens": tokens.max(1), "temperature": temperature, "stream_options": { "include_usage": true } }),
        Api::Auto | Api::OpenAi => json!({ "max_tokens": tokens.max(1), "temperature": temperature, "seed": request.rank }),
    };
    if found.api == Api::LlamaCpp && !held.is_empty() {
        body["grammar"] = grammar(held).into();
    }
    if matches!(found.api, Api::Auto | Api::OpenAi) && !found.bare {
        body["logprobs"] = 1.into();
        body["stream_options"] = json!({ "include_usage": true });
    }
    if found.api != Api::Ollama && !stop.is_empty() {
        body["stop"] = json!(stop);
    }
    body["model"] = found.model.as_str().into();
    body["stream"] = true.into();
    if let (Value::Object(body), Value::Object(prompt)) = (&mut body, prompt) {
        body.extend(prompt);
    }
    body
}

/// The path of conversations: one for all.
pub const CHAT: &str = "v1/chat/completions";

/// The body of a conversation, which the server renders with the model's own template.
pub fn chat(found: &Found, turns: &[Turn], request: &Request) -> Value {
    let messages: Vec<Value> = turns.iter().map(|turn| json!({ "role": turn.role, "content": turn.text })).collect();
    let stop: Vec<&String> = request.stop.iter().filter(|s| !s.is_empty()).take(STOPS).collect();
    let mut body =
        json!({ "model": found.model, "messages": messages, "max_tokens": request.max_tokens.max(1), "temperature": 0.0, "stream": true });
    if !found.bare {
        body["stream_options"] = json!({ "include_usage": true });
    }
    if !stop.is_empty() {
        body["stop"] = json!(stop);
    }
    body
}

/// A piece of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    pub text: String,
    pub logprob: f32,
    pub finish: Option<Finish>,
    pub prompt_tokens: Option<usize>,
    pub reused: Option<usize>,
    pub generated: Option<usize>,
    /// Nothing comes after this.
    pub last: bool,
    /// Which model answers, where the server says so.
    pub model: Option<String>,
    /// What the server says has gone wrong.
    pub error: Option<String>,
}

/// Reads one line of a stream. `Ok(None)`: it carries nothing. `Err`: it is no answer of this API's.
pub fn chunk(api: Api, line: &str) -> Result<Option<Chunk>, String> {
    let line = line.trim();
    let data = match line.strip_prefix("data:") {
        Some(data) => data.trim(),
        None if api == Api::Ollama || line.starts_with('{') => line,
        // Comments, event names and the like belong to the stream; anything else does not.
        None if line.is_empty() || line.starts_with(':') || ["event:", "id:", "retry:"].iter().any(|p| line.starts_with(p)) => {
            return Ok(None);
        }
        None => return Err("a line that is no event".to_owned()),
    };
    if data == "[DONE]" {
        return Ok(Some(Chunk { last: true, ..Chunk::default() }));
    }
    if data.is_empty() {
        return Ok(None);
    }
    let value: Value = serde_json::from_str(data).map_err(|_| "an event that is no JSON".to_owned())?;
    if let Some(error) = said(&value) {
        return Ok(Some(Chunk { error: Some(error), ..Chunk::default() }));
    }
    let read = match api {
        Api::LlamaCpp => llama(&value),
        Api::Ollama => ollama(&value),
        Api::Auto | Api::OpenAi | Api::DeepSeek => openai(&value),
    };
    let model = value["model"].as_str().map(str::to_owned);
    read.map(|chunk| Some(Chunk { model, ..chunk })).ok_or_else(|| "an event of another kind".to_owned())
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn llama(value: &Value) -> Option<Chunk> {
    let text = value.get("content")?.as_str()?.to_owned();
    let probabilities = value["completion_probabilities"].as_array();
    let logprob = probabilities.map_or(0.0, |all| all.iter().filter_map(|p| p["logprob"].as_f64()).sum::<f64>());
    let last = value["stop"] == true;
    let finish = last.then(|| if value["stop_type"] == "limit" { Finish::Length } else { Finish::Stop });
    let timings = &value["timings"];
    let computed = count(&timings["prompt_n"]);
    let prompt_tokens = count(&value["tokens_evaluated"]).filter(|_| last);
    let reused = prompt_tokens.zip(computed).map(|(all, computed)| all.saturating_sub(computed));
    Some(Chunk {
        text,
        logprob: logprob as f32,
        finish,
        prompt_tokens,
        reused,
        generated: count(&timings["predicted_n"]),
        last,
        ..Chunk::default()
    })
}

fn ollama(value: &Value) -> Option<Chunk> {
    let text = value.get("response")?.as_str()?.to_owned();
    let last = value["done"] == true;
    let finish = last.then(|| if value["done_reason"] == "length" { Finish::Length } else { Finish::Stop });
    let logprob = value["logprobs"].as_array().map_or(0.0, |all| all.iter().filter_map(|p| p["logprob"].as_f64()).sum::<f64>());
    let (prompt_tokens, generated) = (count(&value["prompt_eval_count"]), count(&value["eval_count"]));
    Some(Chunk { text, logprob: logprob as f32, finish, prompt_tokens, generated, last, ..Chunk::default() })
}

fn openai(value: &Value) -> Option<Chunk> {
    let choices = value.get("choices")?.as_array()?;
    let choice = choices.first().unwrap_or(&Value::Null);
    let text = choice["text"].as_str().or_else(|| choice["delta"]["content"].as_str()).unwrap_or_default().to_owned();
    let tokens = choice["logprobs"]["token_logprobs"].as_array();
    let logprob = tokens.map_or(0.0, |all| all.iter().filter_map(Value::as_f64).sum::<f64>());
    let finish = choice["finish_reason"].as_str().map(|r| if r == "length" { Finish::Length } else { Finish::Stop });
    let usage = &value["usage"];
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]).or_else(|| count(&usage["prompt_cache_hit_tokens"]));
    let (prompt_tokens, generated) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    Some(Chunk { text, logprob: logprob as f32, finish, prompt_tokens, reused: cached, generated, ..Chunk::default() })
}

/// The message in an error that a server sends, in whatever form; short, because some repeat the request in it.
pub fn said(value: &Value) -> Option<String> {
    let error = value.get("error").or_else(|| value.get("detail")).filter(|e| !e.is_null())?;
    let text = error.as_str().or_else(|| error["message"].as_str()).or_else(|| error[0]["msg"].as_str()).unwrap_or("no reason given");
    let line = text.lines().next().unwrap_or_default();
    Some(line.chars().take(160).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_every_kind() {
        let read = |api, line: &str| chunk(api, line).unwrap().unwrap();
        let llama = read(
            Api::LlamaCpp,
            r#"data: {"content":"a","stop":true,"stop_type":"limit","tokens_evaluated":13,"timings":{"prompt_n":3,"predicted_n":2},"completion_probabilities":[{"logprob":-0.5}]}"#,
        );
        assert_eq!((llama.text.as_str(), llama.finish, llama.reused, llama.generated), ("a", Some(Finish::Length), Some(10), Some(2)));
        assert_eq!((llama.logprob, llama.last), (-0.5, true));
        let vllm = read(
            Api::OpenAi,
            r#"data: {"choices":[{"text":"b","finish_reason":"stop","logprobs":{"token_logprobs":[-1.0,-2.0]}}],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8}}}"#,
        );
        assert_eq!((vllm.text.as_str(), vllm.logprob, vllm.reused, vllm.prompt_tokens), ("b", -3.0, Some(8), Some(9)));
        let said = read(Api::OpenAi, r#"data: {"choices":[{"delta":{"content":"c"},"finish_reason":null}]}"#);
        assert_eq!((said.text.as_str(), said.finish), ("c", None));
        assert!(read(Api::OpenAi, "data: [DONE]").last);
        assert_eq!(read(Api::DeepSeek, r#"data: {"choices":[],"usage":{"prompt_cache_hit_tokens":64}}"#).reused, Some(64));
        assert_eq!(read(Api::Ollama, r#"{"response":"c","done":false}"#).text, "c");
        assert_eq!(chunk(Api::OpenAi, ": keep-alive"), Ok(None));
    }

    #[test]
    fn errors_and_garbage_are_told_apart() {
        let error = |line: &str| chunk(Api::OpenAi, line).unwrap().unwrap().error;
        assert_eq!(error(r#"data: {"error":{"message":"too long\nmore"}}"#).as_deref(), Some("too long"));
        assert_eq!(error(r#"data: {"detail":[{"msg":"bad","input":"secret"}]}"#).as_deref(), Some("bad"));
        for garbage in ["<html>", "data: <html>", r#"data: {"message":"hi"}"#] {
            assert!(chunk(Api::OpenAi, garbage).is_err(), "{garbage}");
        }
    }
}
