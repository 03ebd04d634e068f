//! What clients ask: OpenAI's bodies, checked, as requests to the engine.
//!
//! ```text
//! {"prompt": "a = ", "suffix": "\n"}              fill in: prefix "", tail "a = " (the last line is healed), suffix "\n"
//! {"prompt": "a = "}                              go on with the text
//! {"prompt": "<|fim_prefix|>…<|fim_middle|>"}     a hole with somebody's markers: see `fitted`
//! {"messages": [{"role": "user", …}]}             the model's chat template
//! ```
//! Without a temperature the answer is greedy; `n` answers then begin with the n most probable tokens. What would change the
//! answer and is not supported is refused by name; what would not (such as `user`) is passed over.
use super::Face;
use super::fitted::Hole;
use super::markers::{self, Found};
use super::refusal::Refusal;
use crate::engine::{Form, Priority, Request, Role, Sampling, Turn};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// Where the client names none.
const MAX_TOKENS: usize = 128;
const CHAT_TOKENS: usize = 1024;
/// Most answers to one request.
const MOST: usize = 16;

/// A checked request.
pub struct Asked {
    pub work: Vec<Work>,
    /// So many of the answers have one prompt.
    pub each: usize,
    pub chat: bool,
    pub stream: bool,
    /// Streams end with the sum of what they cost.
    pub usage: bool,
    /// Log probabilities, and those of so many other tokens.
    pub logprobs: Option<usize>,
}

/// One answer to compute.
#[derive(Debug, PartialEq)]
pub enum Work {
    Engine(Box<Request>),
    Fitted(Hole),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn list(self) -> Vec<String> {
        match self {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        }
    }
}

/// What completions and chats have in common.
#[derive(Deserialize)]
struct Common {
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    stop: Option<OneOrMore>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: Option<i64>,
    n: Option<usize>,
    best_of: Option<usize>,
    echo: Option<bool>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logit_bias: Option<Value>,
    tools: Option<Value>,
    #[serde(default)]
    priority: Priority,
    #[serde(default)]
    rank: usize,
    #[serde(default = "yes")]
    draft: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Completion {
    prompt: Option<OneOrMore>,
    suffix: Option<String>,
    /// Typed since the prompt was split: the beginning of the middle.
    tail: Option<String>,
    /// More of the file, to be copied from.
    #[serde(default)]
    above: String,
    #[serde(default)]
    below: String,
    /// No markers are looked for in the prompt.
    #[serde(default)]
    plain: bool,
    logprobs: Option<usize>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Message>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Deserialize)]
struct Message {
    role: Role,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: String,
}

/// `POST /v1/completions`
pub fn completion(body: &Value) -> Result<Asked, Refusal> {
    let (common, asked): (Common, Completion) = (read(body)?, read(body)?);
    let base = common.request(MAX_TOKENS, asked.logprobs.unwrap_or(0))?;
    let base = Request { above: asked.above, below: asked.below, ..base };
    let prompts = asked.prompt.map_or_else(|| vec![String::new()], OneOrMore::list);
    let count = common.n.unwrap_or(1);
    if prompts.is_empty() || prompts.len() * count > MOST {
        return Err(Refusal::bad("prompt", format!("{} prompts and {count} answers each: ask for 1 to {MOST} at once", prompts.len())));
    }
    let mut work = Vec::new();
    for prompt in prompts {
        let (suffix, tail) = (asked.suffix.clone(), asked.tail.clone());
        match place(prompt, suffix, tail, asked.plain, &base)? {
            Work::Fitted(_) if count > 1 => {
                let message = "a prompt with fill-in-the-middle markers has one answer: send prompt and suffix for several";
                return Err(Refusal::bad("n", message));
            }
            Work::Fitted(hole) => work.push(Work::Fitted(hole)),
            Work::Engine(request) => work.extend(several(&request, count)),
        }
    }
    Ok(common.asked(work, false, asked.logprobs))
}

/// `POST /v1/chat/completions`
pub fn chat(body: &Value, face: &Face) -> Result<Asked, Refusal> {
    let (common, asked): (Common, Chat) = (read(body)?, read(body)?);
    let info = face.engine.info();
    if info.as_ref().is_some_and(|info| !info.chat) {
        let name = info.map(|info| info.model).unwrap_or_default();
        let message = format!("the model {name} has no chat template: load an Instruct model, or use /v1/completions");
        return Err(Refusal::bad("model", message));
    }
    let logprobs = asked.logprobs.unwrap_or(false).then(|| asked.top_logprobs.unwrap_or(0));
    let room = info.map_or(CHAT_TOKENS, |info| info.context / 2);
    let base = common.request(CHAT_TOKENS.min(room), logprobs.unwrap_or(0))?;
    if asked.messages.is_empty() {
        return Err(Refusal::bad("messages", "there is no message: send at least one"));
    }
    let turns = asked.messages.into_iter().map(Message::turn).collect();
    let request = Request { form: Form::Chat(turns), ..base };
    let count = common.n.unwrap_or(1);
    Ok(common.asked(several(&request, count), true, logprobs))
}

/// A prompt as the engine, or the language server, takes it.
fn place(prompt: String, suffix: Option<String>, tail: Option<String>, plain: bool, base: &Request) -> Result<Work, Refusal> {
    let request = |form, prefix, suffix, tail| Work::Engine(Box::new(Request { form, prefix, suffix, tail, ..base.clone() }));
    if let (Some(suffix), Some(tail)) = (&suffix, &tail) {
        return Ok(request(Form::Fill, prompt, suffix.clone(), tail.clone()));
    }
    if let Some(suffix) = suffix {
        let (prefix, tail) = at_line(&prompt);
        return Ok(request(Form::Fill, prefix.to_owned(), suffix, tail.to_owned()));
    }
    match markers::find(&prompt) {
        Found::Hole { prefix, suffix } if !plain => {
            let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
            Ok(Work::Fitted(Hole { prefix, suffix, max_tokens: base.max_tokens, stop: base.stop.clone() }))
        }
        Found::Ambiguous(marker) if !plain => {
            let message = format!("{marker} stands in the text itself too: send the text as prompt and suffix, without markers");
            Err(Refusal::bad("prompt", message))
        }
        _ => {
            let (prefix, rest) = if tail.is_some() { (prompt.as_str(), "") } else { at_line(&prompt) };
            let tail = tail.unwrap_or_else(|| rest.to_owned());
            Ok(request(Form::Plain, prefix.to_owned(), String::new(), tail))
        }
    }
}

/// The anchor: what is typed on the last line is healed, and what stands before it stays cached.
fn at_line(prompt: &str) -> (&str, &str) {
    prompt.split_at(prompt.rfind('\n').map_or(0, |at| at + 1))
}

/// The same request `count` times, each with an answer of its own.
fn several(request: &Request, count: usize) -> Vec<Work> {
    let one = |nth: usize| {
        let sampling = request.sampling.map(|s| Sampling { seed: s.seed.wrapping_add(nth as u64), ..s });
        let rank = if sampling.is_some() { request.rank } else { request.rank + nth };
        Work::Engine(Box::new(Request { sampling, rank, ..request.clone() }))
    };
    (0..count).map(one).collect()
}

fn read<T: serde::de::DeserializeOwned>(body: &Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner().to_string());
        let why = if why.contains("untagged") { "text is expected, or a list of texts".to_owned() } else { why };
        let path = if path == "." { String::new() } else { path };
        Refusal::bad(path.clone(), if path.is_empty() { why } else { format!("{path}: {why}") })
    })
}

impl Message {
    fn turn(self) -> Turn {
        let text = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        };
        Turn { role: self.role, text }
    }
}

impl Common {
    fn asked(&self, work: Vec<Work>, chat: bool, logprobs: Option<usize>) -> Asked {
        let usage = self.stream_options.as_ref().is_some_and(|options| options.include_usage);
        Asked { work, each: self.n.unwrap_or(1), chat, stream: self.stream.unwrap_or(false), usage, logprobs }
    }

    /// What all answers have in common.
    fn request(&self, max_tokens: usize, top: usize) -> Result<Request, Refusal> {
        self.check(top)?;
        let stop = match &self.stop {
            Some(OneOrMore::One(text)) => vec![text.clone()],
            Some(OneOrMore::More(texts)) => texts.clone(),
            None => vec![],
        };
        let max_tokens = self.max_tokens.or(self.max_completion_tokens).unwrap_or(max_tokens);
        let (priority, rank, draft) = (self.priority, self.rank, self.draft);
        Ok(Request { max_tokens, stop, priority, rank, draft, sampling: self.sampling()?, top, ..Request::default() })
    }

    fn sampling(&self) -> Result<Option<Sampling>, Refusal> {
        let Some(temperature) = self.temperature.filter(|temperature| *temperature > 0.0) else { return Ok(None) };
        let drawn = || getrandom::u64().map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()));
        let seed = self.seed.map_or_else(drawn, |seed| Ok(seed.cast_unsigned()))?;
        Ok(Some(Sampling { temperature, top_p: self.top_p.unwrap_or(1.0), seed }))
    }

    fn check(&self, top: usize) -> Result<(), Refusal> {
        let range = |name: &'static str, right: bool, range: &str| {
            if right { Ok(()) } else { Err(Refusal::bad(name, format!("{name} is out of range: {range}"))) }
        };
        range("temperature", self.temperature.is_none_or(|t| (0.0..=2.0).contains(&t)), "0 to 2")?;
        range("top_p", self.top_p.is_none_or(|p| (0.0..=1.0).contains(&p)), "0 to 1")?;
        range("n", self.n.is_none_or(|n| (1..=MOST).contains(&n)), "1 to 16")?;
        range("logprobs", top <= 20, "0 to 20")?;
        let stops = match &self.stop {
            Some(OneOrMore::More(texts)) => texts.len(),
            _ => 0,
        };
        range("stop", stops <= MOST, "16 texts at most")?;
        let some = |value: &Option<f32>| value.is_some_and(|value| value != 0.0);
        let filled = |value: &Option<Value>| {
            value.as_ref().is_some_and(|value| {
                !(value.is_null() || *value == Value::from(Vec::<Value>::new()) || value.as_object().is_some_and(serde_json::Map::is_empty))
            })
        };
        let unsupported = [
            ("echo", self.echo == Some(true)),
            ("best_of", self.best_of.is_some_and(|best| best != self.n.unwrap_or(1))),
            ("presence_penalty", some(&self.presence_penalty)),
            ("frequency_penalty", some(&self.frequency_penalty)),
            ("logit_bias", filled(&self.logit_bias)),
            ("tools", filled(&self.tools)),
        ];
        match unsupported.into_iter().find(|(_, set)| *set) {
            Some((name, _)) => Err(Refusal::bad(name, format!("{name} is not supported: leave it out"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn engine(body: Value) -> Vec<Request> {
        let work = completion(&body).map_err(|refusal| refusal.body()).unwrap().work;
        let request = |work| match work {
            Work::Engine(request) => *request,
            Work::Fitted(hole) => panic!("{hole:?}"),
        };
        work.into_iter().map(request).collect()
    }

    #[test]
    fn a_prompt_is_split_at_its_last_line() {
        let request = &engine(json!({"prompt": "a\nb = ", "suffix": "\nc"}))[0];
        assert_eq!((request.prefix.as_str(), request.tail.as_str(), request.suffix.as_str()), ("a\n", "b = ", "\nc"));
        assert_eq!((&request.form, request.max_tokens, request.sampling), (&Form::Fill, 128, None));
        let request = &engine(json!({"prompt": "a\nb = ", "suffix": "", "tail": "x", "max_tokens": 0}))[0];
        assert_eq!((request.prefix.as_str(), request.tail.as_str(), request.max_tokens), ("a\nb = ", "x", 0));
        let request = &engine(json!({"prompt": "a\nb = "}))[0];
        assert_eq!((&request.form, request.prefix.as_str(), request.tail.as_str()), (&Form::Plain, "a\n", "b = "));
        let request = &engine(json!({"prompt": "<|fim_prefix|>a<|fim_suffix|><|fim_middle|>", "plain": true}))[0];
        assert_eq!(request.form, Form::Plain);
        let request = &engine(json!({"prompt": "a\nb = ", "suffix": "\n", "above": "x", "below": "y"}))[0];
        assert_eq!((request.above.as_str(), request.below.as_str()), ("x", "y"));
    }

    #[test]
    fn several_answers_are_several_requests() {
        let greedy = engine(json!({"prompt": "a", "n": 3}));
        assert_eq!(greedy.iter().map(|request| request.rank).collect::<Vec<_>>(), [0, 1, 2]);
        let drawn = engine(json!({"prompt": ["a", "b"], "n": 2, "temperature": 0.5, "seed": -1}));
        let seeds: Vec<_> = drawn.iter().map(|request| (request.tail.as_str(), request.sampling.unwrap().seed)).collect();
        assert_eq!(seeds, [("a", u64::MAX), ("a", 0), ("b", u64::MAX), ("b", 0)]);
        assert!(drawn.iter().all(|request| request.rank == 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, words) in [
            (json!({"prompt": 3}), "text is expected, or a list of texts"),
            (json!({"prompt": vec!["a"; 17]}), "ask for 1 to 16"),
            (json!({"prompt": "a", "temperature": 3}), "temperature is out of range: 0 to 2"),
            (json!({"prompt": "a", "max_tokens": -1}), "max_tokens: "),
            (json!({"prompt": "a", "echo": true}), "echo is not supported"),
            (json!({"prompt": "a", "best_of": 4}), "best_of is not supported"),
            (json!({"prompt": "a", "logit_bias": {"1": 2}}), "logit_bias is not supported"),
            (json!({"prompt": "a", "stop": 7}), "stop: "),
            (json!({"prompt": "[SUFFIX]a[PREFIX]b[PREFIX]c"}), "[PREFIX] stands in the text itself"),
            (json!({"prompt": "[SUFFIX]a[PREFIX]b", "n": 2}), "has one answer"),
            (json!([1]), "invalid"),
        ] {
            let error = completion(&body).err().expect("refused").body()["error"]["message"].to_string();
            assert!(error.contains(words), "{words:?} is not in {error}");
        }
    }
}
