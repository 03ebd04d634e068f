//! Answers: the engine's events, counted and limited in time, as one JSON body or as a stream of them.
//!
//! ```text
//! Text "a", Text "b", Done    ->  {"choices": [{"index": 0, "text": "ab", "finish_reason": "stop"}], "usage": {…}}
//!                             or  data: {… "text": "a"}   data: {… "text": "b"}   data: {… "finish_reason": "stop"}   data: [DONE]
//! ```
//! Dropping an answer drops the engine's, which cancels it.
use super::asked::{Asked, Work};
use super::refusal::Refusal;
use super::{Busy, Face, fitted};
use crate::engine::{EngineError, Event, Finish, Usage};
use axum::Json;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, StreamExt, select_all};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Answers under way to one request.
struct Run {
    face: Arc<Face>,
    events: BoxStream<'static, (usize, Event)>,
    choices: Vec<Choice>,
    _busy: Busy,
    shape: Shape,
    usage: Sum,
    /// So many of the answers have one prompt.
    each: usize,
}

/// How far one answer is.
#[derive(Default)]
struct Choice {
    begun: bool,
    ended: bool,
    /// Nothing was said yet.
    silent: bool,
    top: Vec<(String, f32)>,
    offset: usize,
}

/// What all bodies of an answer have in common.
struct Shape {
    id: String,
    created: u64,
    model: String,
    chat: bool,
    stream: bool,
    usage: bool,
    logprobs: Option<usize>,
}

/// What the answers cost together.
#[derive(Default)]
struct Sum {
    prompt: usize,
    cached: usize,
    generated: usize,
}

/// Text of one answer, or its end.
enum Said {
    Text { index: usize, text: String, logprobs: Value },
    End { index: usize, finish: &'static str, usage: Box<Usage> },
    Failed(EngineError),
}

/// Answers a request: as a stream if it asks for one.
pub async fn answer(face: Arc<Face>, asked: Asked) -> Result<Response, Refusal> {
    let mut run = Run::new(&face, asked);
    // The first event decides whether this is an answer at all.
    let first = run.next().await;
    if let Some(Said::Failed(error)) = first {
        return Err(Refusal::engine(&*face.engine, error));
    }
    if run.shape.stream { Ok(run.stream(first)) } else { run.whole(first).await }
}

impl Run {
    fn new(face: &Arc<Face>, asked: Asked) -> Run {
        let Asked { work, each: of_one, chat, stream, usage, logprobs } = asked;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let kind = if chat { "chatcmpl" } else { "cmpl" };
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let model = face.engine.info().map_or_else(|| face.identity.model.clone(), |info| info.model);
        let shape = Shape { id: format!("{kind}-{}-{number}", std::process::id()), created, model, chat, stream, usage, logprobs };
        let choices = work.iter().map(|_| Choice { silent: true, ..Choice::default() }).collect();
        work.iter().for_each(|_| face.metrics.begin());
        let each = work.into_iter().enumerate().map(|(index, work)| events(face, work).map(move |event| (index, event)).boxed());
        let limit = face.limits.time;
        let late = stream::once(async move { (0, Event::Failed(too_long(limit))) });
        let events = select_all(each).take_until(Box::pin(tokio::time::sleep(limit))).chain(late).boxed();
        Run { face: face.clone(), events, choices, _busy: face.begin(), shape, usage: Sum::default(), each: of_one }
    }

    /// The next thing to tell; `None` when all answers have ended.
    async fn next(&mut self) -> Option<Said> {
        while self.choices.iter().any(|choice| !choice.ended) {
            let (index, event) = self.events.next().await?;
            if let Some(said) = self.take(index, event) {
                return Some(said);
            }
        }
        None
    }

    fn take(&mut self, index: usize, event: Event) -> Option<Said> {
        // That time is up is said of whichever has not ended.
        let waiting = self.choices.iter().position(|choice| !choice.ended)?;
        let index = if self.choices.get(index)?.ended { waiting } else { index };
        let choice = self.choices.get_mut(index)?;
        if !std::mem::replace(&mut choice.begun, true) {
            self.face.metrics.first();
        }
        match event {
            Event::Top(top) => {
                choice.top = top;
                None
            }
            Event::Text { mut text, logprob } => {
                // The template ends with "Assistant:", so the first word comes with the blank between them.
                if std::mem::take(&mut choice.silent) && self.shape.chat && text.starts_with(' ') {
                    text.remove(0);
                }
                let top = std::mem::take(&mut choice.top);
                let logprobs = self.shape.logprobs(&text, logprob, &top, choice.offset);
                choice.offset += text.len();
                Some(Said::Text { index, text, logprobs })
            }
            Event::Done { finish, usage } => {
                choice.ended = true;
                self.face.metrics.done(&usage);
                self.usage.add(&usage, index.is_multiple_of(self.each));
                let finish = if finish == Finish::Length { "length" } else { "stop" };
                Some(Said::End { index, finish, usage: Box::new(usage) })
            }
            Event::Failed(error) => {
                choice.ended = true;
                self.face.metrics.end("failed");
                Some(Said::Failed(error))
            }
        }
    }

    /// Everything in one body.
    async fn whole(mut self, first: Option<Said>) -> Result<Response, Refusal> {
        let empty = || (String::new(), Vec::<Value>::new(), "stop", None);
        let mut parts: Vec<_> = self.choices.iter().map(|_| empty()).collect();
        let mut next = first;
        while let Some(said) = next {
            match said {
                Said::Text { index, text, logprobs } => {
                    parts[index].0 += &text;
                    parts[index].1.push(logprobs);
                }
                Said::End { index, finish, usage } => (parts[index].2, parts[index].3) = (finish, Some(usage)),
                Said::Failed(error) => return Err(Refusal::engine(&*self.face.engine, error)),
            }
            next = self.next().await;
        }
        let shape = &self.shape;
        let cost = parts.first().and_then(|part| part.3.clone());
        let choice = |(index, (text, logprobs, finish, _)): (usize, (String, Vec<Value>, _, _))| {
            let logprobs = shape.logprobs.map(|_| joined(logprobs, shape.chat));
            let mut choice = json!({ "index": index, "logprobs": logprobs, "finish_reason": finish });
            if shape.chat {
                choice["message"] = json!({ "role": "assistant", "content": text });
            } else {
                choice["text"] = json!(text);
            }
            choice
        };
        let choices: Vec<Value> = parts.into_iter().enumerate().map(choice).collect();
        let mut body = shape.body(choices);
        body["usage"] = self.usage.json();
        body["infill"] = json!(cost);
        Ok(Json(body).into_response())
    }

    /// Event by event.
    fn stream(self, first: Option<Said>) -> Response {
        let mut waiting = VecDeque::new();
        if self.shape.chat {
            let role =
                |index| json!({ "index": index, "delta": { "role": "assistant", "content": "" }, "logprobs": null, "finish_reason": null });
            waiting.extend((0..self.choices.len()).map(|index| self.shape.body(vec![role(index)]).to_string()));
        }
        waiting.extend(first.map(|said| self.event(said)));
        let events = stream::unfold((self, waiting, false), async |(mut run, mut waiting, mut over)| {
            if waiting.is_empty() && !over {
                match run.next().await {
                    Some(said) => {
                        over = matches!(said, Said::Failed(_));
                        waiting.push_back(run.event(said));
                    }
                    None => {
                        over = true;
                        waiting.extend(run.last());
                    }
                }
            }
            let text = waiting.pop_front()?;
            Some((Ok::<_, Infallible>(sse::Event::default().data(text)), (run, waiting, over)))
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(5))).into_response()
    }

    fn event(&self, said: Said) -> String {
        let shape = &self.shape;
        let body = match said {
            Said::Text { index, text, logprobs } => {
                let mut choice = json!({ "index": index, "logprobs": logprobs, "finish_reason": null });
                if shape.chat {
                    choice["delta"] = json!({ "content": text });
                } else {
                    choice["text"] = json!(text);
                }
                shape.body(vec![choice])
            }
            Said::End { index, finish, usage } => {
                let mut choice = json!({ "index": index, "logprobs": null, "finish_reason": finish });
                if shape.chat {
                    choice["delta"] = json!({});
                } else {
                    choice["text"] = json!("");
                }
                let mut body = shape.body(vec![choice]);
                body["infill"] = json!(usage);
                body
            }
            Said::Failed(error) => Refusal::engine(&*self.face.engine, error).body(),
        };
        body.to_string()
    }

    /// What ends a stream.
    fn last(&self) -> Vec<String> {
        let sum = self.shape.usage.then(|| {
            let mut body = self.shape.body(vec![]);
            body["usage"] = self.usage.json();
            body.to_string()
        });
        sum.into_iter().chain(["[DONE]".to_owned()]).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for choice in self.choices.iter().filter(|choice| !choice.ended) {
            if !choice.begun {
                self.face.metrics.first();
            }
            self.face.metrics.end("cancelled");
        }
    }
}

/// One answer's events.
fn events(face: &Arc<Face>, work: Work) -> BoxStream<'static, Event> {
    match work {
        Work::Engine(request) => {
            let mut answer = face.engine.submit(*request);
            stream::poll_fn(move |context| answer.poll_recv(context)).boxed()
        }
        Work::Fitted(hole) => stream::once(fitted::answer(face.engine.clone(), hole)).flat_map(stream::iter).boxed(),
    }
}

fn too_long(limit: Duration) -> EngineError {
    let title = format!("The answer took longer than {} s", limit.as_secs());
    EngineError::new(title, "ask for fewer tokens, or raise server.seconds")
}

impl Shape {
    fn body(&self, choices: Vec<Value>) -> Value {
        let object = match (self.chat, self.stream) {
            (false, _) => "text_completion",
            (true, false) => "chat.completion",
            (true, true) => "chat.completion.chunk",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    /// Of one token, as OpenAI writes it; null where nobody asked.
    fn logprobs(&self, text: &str, logprob: f32, top: &[(String, f32)], offset: usize) -> Value {
        let Some(count) = self.logprobs else { return Value::Null };
        let token = |text: &str, logprob: f32| json!({ "token": text, "logprob": logprob, "bytes": text.as_bytes() });
        let mut value = if self.chat {
            let mut one = token(text, logprob);
            one["top_logprobs"] = top.iter().map(|(text, logprob)| token(text, *logprob)).collect();
            json!({ "content": [one] })
        } else {
            let map: serde_json::Map<String, Value> = top.iter().map(|(text, logprob)| (text.clone(), json!(logprob))).collect();
            let top = if count > 0 { Value::Object(map) } else { Value::Null };
            json!({ "tokens": [text], "token_logprobs": [logprob], "top_logprobs": [top], "text_offset": [offset] })
        };
        if self.stream && count > 0 {
            value["infill_top"] = json!(top);
        }
        value
    }
}

/// Many tokens' log probabilities as one value.
fn joined(each: Vec<Value>, chat: bool) -> Value {
    let keys: &[&str] = if chat { &["content"] } else { &["tokens", "token_logprobs", "top_logprobs", "text_offset"] };
    let all = |key: &&str| -> Vec<Value> { each.iter().flat_map(|one| one[*key].as_array().cloned().unwrap_or_default()).collect() };
    keys.iter().map(|key| ((*key).to_owned(), Value::from(all(key)))).collect::<serde_json::Map<_, _>>().into()
}

impl Sum {
    /// `first`: of the answers to one prompt, whose tokens count once.
    fn add(&mut self, usage: &Usage, first: bool) {
        if first {
            self.prompt += usage.prompt_tokens;
            self.cached += usage.reused;
        }
        self.generated += usage.generated;
    }

    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }
}
