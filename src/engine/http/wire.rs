//! One request to a server: tries again where that is safe, says what to change where it is not, reads line by line.
//!
//! ```text
//! POST …  429, 503, no connection -> again after 0.2, 0.5, 1 s (or what the server asks for), before any byte has come
//!         a kept connection that the server closes as it is used -> at once, on another
//!         401 -> "the key …: set engine.key_env"     3xx -> "redirects: set engine.url"     a line too long -> garbage
//! ```
use super::Remote;
use crate::engine::EngineError;
use crate::hub::problem;
use crate::net;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use std::time::Duration;

/// Milliseconds before each new try.
const WAITS: [u64; 3] = [200, 500, 1000];

/// Longest time that a server may ask a user at the keyboard to wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest line of a stream: llama.cpp repeats the prompt in its last.
const LINE: usize = 16 << 20;

/// Most bytes of an answer that is no stream.
const WHOLE: usize = 8 << 20;

/// Why an answer did not come.
#[derive(Debug)]
pub struct Refused {
    /// `None`: there was no answer at all.
    pub status: Option<StatusCode>,
    pub error: EngineError,
}

impl Remote {
    /// Sends a request until it is answered with success.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Refused> {
        let url = self.url(path).map_err(|error| Refused { status: None, error })?;
        let mut waits = WAITS.into_iter().map(Duration::from_millis);
        loop {
            let (refused, wait) = match self.once(method.clone(), &url, body).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let wait = passing(answer.status()).then(|| asked(answer.headers()));
                    (self.refusal(answer).await, wait)
                }
                Err(error) => {
                    // What else has been sent may be under way.
                    let wait = match net::hung_up(&error) {
                        true => Some(Some(Duration::ZERO)),
                        false => error.is_connect().then_some(None),
                    };
                    (Refused { status: None, error: self.unreachable(&net::reason(&error)) }, wait)
                }
            };
            match (wait, waits.next()) {
                (Some(asked), Some(own)) if asked.unwrap_or(own) <= PATIENCE => tokio::time::sleep(asked.unwrap_or(own)).await,
                _ => return Err(refused),
            }
        }
    }

    async fn once(&self, method: Method, url: &Url, body: Option<&Value>) -> reqwest::Result<Response> {
        let mut request = self.net.client(url).request(method, url.clone()).header(ACCEPT, "*/*");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await
    }

    fn url(&self, path: &str) -> Result<Url, EngineError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        text.parse().map_err(|_| problem("engine.url is no address", "write it as http://HOST:PORT"))
    }

    /// An answer as JSON.
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refused> {
        let mut answer = self.send(method, path, body).await?;
        let mut bytes = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(more)) if bytes.len() + more.len() <= WHOLE => bytes.extend_from_slice(&more),
                Ok(Some(_)) => return Err(Refused { status: None, error: self.garbage("more than 8 MB") }),
                Ok(None) => break,
                Err(error) => return Err(Refused { status: None, error: self.broken(&net::reason(&error)) }),
            }
        }
        serde_json::from_slice(&bytes).map_err(|_| Refused { status: None, error: self.garbage("no JSON") })
    }

    pub fn unreachable(&self, reason: &str) -> EngineError {
        let hint = net::certificate(reason).unwrap_or("start it, or correct engine.url");
        problem(format!("The engine at {} cannot be reached ({reason})", self.host), hint)
    }

    pub fn broken(&self, reason: &str) -> EngineError {
        problem(format!("The engine at {} broke off ({reason})", self.host), "look at its log; the next suggestion asks it again")
    }

    pub fn garbage(&self, what: &str) -> EngineError {
        let hint = "check engine.url, and set engine.api to openai, llama.cpp, ollama or deepseek";
        problem(format!("What {} answers are no completions ({what})", self.host), hint)
    }

    async fn refusal(&self, mut answer: Response) -> Refused {
        let (status, host) = (answer.status(), &self.host);
        let to = answer.headers().get("location").and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
        let first = answer.chunk().await.ok().flatten().unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&first).ok().and_then(|v| super::api::said(&v));
        let said = said.map_or(status.as_u16().to_string(), |text| format!("{}: {text}", status.as_u16()));
        let error = match status.as_u16() {
            300..=399 => problem(format!("{host} redirects to {}", origin(&to)), "set engine.url to where the engine is"),
            401 | 403 if self.key.is_some() => {
                problem(format!("{host} does not accept the key ({said})"), "correct what engine.key_env or engine.key_file names")
            }
            401 | 403 => problem(
                format!("{host} asks for a key ({said})"),
                "set engine.key_env to the variable that holds it, or engine.key_file to a file",
            ),
            402 => problem(format!("{host} asks for payment ({said})"), "look at your account there"),
            404 | 405 => {
                problem(format!("{host} does not know what it is asked ({said})"), "check engine.url, engine.api and engine.model")
            }
            413 => problem(format!("{host} finds the prompt too long ({said})"), "set context.tokens lower"),
            400 | 422 => problem(
                format!("{host} refuses the request ({said})"),
                "check engine.api, engine.model and engine.template; where it is too long, set context.tokens lower",
            ),
            429 => problem(format!("{host} is asked too often ({said})"), "wait, or use an engine of your own"),
            503 => problem(format!("{host} is not ready ({said})"), "wait until it has loaded its model"),
            _ => problem(format!("{host} has failed ({said})"), "look at its log"),
        };
        Refused { status: Some(status), error }
    }
}

/// Whose answer is another one soon. Nothing has been computed for it.
fn passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// A redirect's target without what may be secret in it.
fn origin(url: &str) -> String {
    url.parse::<Url>().ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_else(|| "another page".to_owned())
}

/// The lines of an answer as they come.
pub struct Lines {
    answer: Response,
    buffer: Vec<u8>,
    ended: bool,
}

/// What there is instead of a line.
pub enum Odd {
    Broken(String),
    TooLong,
}

impl Lines {
    pub fn new(answer: Response) -> Lines {
        Lines { answer, buffer: Vec::new(), ended: false }
    }

    /// The next line; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<String>, Odd> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer);
                return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
            }
            match self.answer.chunk().await {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => self.ended = true,
                Err(error) => return Err(Odd::Broken(net::reason(&error))),
            }
            if self.buffer.len() > LINE {
                return Err(Odd::TooLong);
            }
        }
    }
}
