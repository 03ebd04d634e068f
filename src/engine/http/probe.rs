//! The first words with a server: what it is, which model, whether it knows the markers, and one completion.
//!
//! ```text
//! GET /v1/models   owned_by "llamacpp" | "library" (Ollama) | "vllm" | "sglang" | …    -> api, model, context
//! POST /tokenize   each marker must be one token                                       -> the template fits the model
//! POST …           a sample of code, one token                                         -> bytes per token; it works
//! ```
//! Whatever fails says which setting to change.
use super::api::{self, Prompt, Wish};
use super::template::{NAMES, Template};
use super::wire::{Lines, Odd, Refused};
use super::{Found, Remote};
use crate::config::Api;
use crate::engine::{EngineError, Info, Request};
use crate::hub::problem;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Most tokens of prompt and answer where the server does not say.
const CONTEXT: usize = 4096;

/// Code to count tokens on.
const SAMPLE: &str = "import os\n\n\ndef read_lines(path):\n    \"\"\"The lines of a file, without their ends.\"\"\"\n    with open(path) as file:\n        return [line.rstrip(\"\\n\") for line in file]\n\n\nclass Counter:\n    def __init__(self, start=0):\n        self.count = start\n\n    def next(self):\n        self.count += 1\n        return self.count\n\n\ndef main(paths):\n    total = sum(len(read_lines(path)) for path in paths if os.path.exists(path))\n";

struct Served {
    id: String,
    owner: String,
    context: Option<usize>,
}

impl Remote {
    pub(super) async fn probe(&self) -> Result<Found, EngineError> {
        let host = self.base.host_str().unwrap_or_default();
        let deepseek = host == "api.deepseek.com" && self.options.api == Api::Auto;
        if deepseek || self.options.api == Api::DeepSeek {
            let model = if self.options.model.is_empty() { "deepseek-chat".to_owned() } else { self.options.model.clone() };
            return self.tried(self.found(Api::DeepSeek, model, None, 8192)).await;
        }
        let served = self.served().await?;
        let api = self.api(&served);
        let model = self.model(api, &served)?;
        let named = served.iter().find(|s| s.id == model).and_then(|s| s.context);
        let context = match (named, api) {
            (Some(context), _) => context,
            (None, Api::LlamaCpp) => self.slot_context().await.unwrap_or(CONTEXT),
            (None, _) => CONTEXT,
        };
        let mut found = self.found(api, model, None, context);
        found.template = Some(self.template(&found).await?);
        self.learn_markers(&mut found).await?;
        self.tried(found).await
    }

    fn found(&self, api: Api, model: String, template: Option<Template>, context: usize) -> Found {
        let info =
            Info { model: model.clone(), device: format!("remote: {}", self.host), bytes_per_token: 3.0, context, ..Info::default() };
        let (marks, begin) = (HashMap::new(), Vec::new());
        Found { api, model, template, info, marks, begin, tokenizes: false, bare: false }
    }

    async fn served(&self) -> Result<Vec<Served>, EngineError> {
        let list = self.json(Method::GET, "v1/models", None).await.map_err(|refused| refused.error)?;
        let models = list["data"].as_array().ok_or_else(|| self.garbage("no list of models at /v1/models"))?;
        let served = |model: &Value| {
            let context = [&model["max_model_len"], &model["meta"]["n_ctx"], &model["context_length"]];
            let context = context.into_iter().find_map(Value::as_u64).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
            Some(Served { id: model["id"].as_str()?.to_owned(), owner: model["owned_by"].as_str().unwrap_or_default().to_owned(), context })
        };
        Ok(models.iter().filter_map(served).collect())
    }

    fn api(&self, served: &[Served]) -> Api {
        match (self.options.api, served.first().map(|s| s.owner.as_str())) {
            (Api::Auto, Some("llamacpp")) => Api::LlamaCpp,
            (Api::Auto, Some("library")) => Api::Ollama,
            (Api::Auto, _) => Api::OpenAi,
            (api, _) => api,
        }
    }

    fn model(&self, api: Api, served: &[Served]) -> Result<String, EngineError> {
        let wanted = &self.options.model;
        let names = || served.iter().take(8).map(|s| s.id.as_str()).collect::<Vec<_>>().join(", ");
        let same = |s: &&Served| s.id == *wanted || s.id.strip_suffix(":latest") == Some(wanted);
        match (wanted.is_empty(), served) {
            (true, [only]) => Ok(only.id.clone()),
            (true, []) => Err(problem(format!("{} serves no model", self.host), "load one there")),
            (true, _) => Err(problem(format!("{} serves several models ({})", self.host, names()), "set engine.model to one of them")),
            (false, _) => match (served.iter().find(same), api) {
                (Some(model), _) => Ok(model.id.clone()),
                // It serves what it was started with, whatever it is asked for.
                (None, Api::LlamaCpp) if served.len() == 1 => Ok(served.iter().map(|s| s.id.clone()).collect()),
                (None, _) => {
                    Err(problem(format!("{} does not serve {wanted:?}", self.host), format!("set engine.model to one of {}", names())))
                }
            },
        }
    }

    /// Older llama.cpp says how long its slots are only here.
    async fn slot_context(&self) -> Option<usize> {
        let properties = self.json(Method::GET, "props", None).await.ok()?;
        properties["default_generation_settings"]["n_ctx"].as_u64().and_then(|n| usize::try_from(n).ok())
    }

    /// The configured template, else that of the model's name, else the one whose markers its vocabulary has.
    async fn template(&self, found: &Found) -> Result<Template, EngineError> {
        if let Some(template) = Template::parse(&self.options.template) {
            return Ok(template);
        }
        // A path tells too: …/DeepSeek-Coder-V2-Lite-Base-GGUF/model.gguf
        if let Some(template) = Template::of(&found.model) {
            return Ok(template);
        }
        if found.api == Api::LlamaCpp {
            for template in Template::all() {
                if self.unknown_marker(found, &template).await.is_ok_and(|unknown| unknown.is_none()) {
                    return Ok(template);
                }
            }
        }
        let title = format!("The format of {:?} at {} is not known", found.model, self.host);
        Err(problem(
            title,
            format!("set engine.template to one of {NAMES}, or to a form with {{prefix}}, {{suffix}} and the model's markers"),
        ))
    }

    /// The first marker that is not one token of the model's.
    async fn unknown_marker(&self, found: &Found, template: &Template) -> Result<Option<String>, Refused> {
        for marker in template.markers().filter(|m| !m.is_empty()) {
            if self.tokenize(found, marker, true).await?.len() != 1 {
                return Ok(Some(marker.to_owned()));
            }
        }
        Ok(None)
    }

    /// Ids for the markers, where the server tokenises; and whether the model knows them at all.
    async fn learn_markers(&self, found: &mut Found) -> Result<(), EngineError> {
        let Some(template) = found.template.clone().filter(|_| found.api != Api::Ollama) else {
            return Ok(());
        };
        match self.unknown_marker(found, &template).await {
            Ok(None) => {}
            // CodeLlama's markers carry a blank in some vocabularies.
            Ok(Some(_)) if template.name == "codellama" => {}
            Ok(Some(marker)) => {
                let title = format!("The model {:?} at {} does not know {marker}", found.model, self.host);
                return Err(problem(title, format!("set engine.template to its family's ({NAMES}); a chat model may have none")));
            }
            // Not every server tokenises for others.
            Err(_) if found.api != Api::LlamaCpp => return Ok(()),
            Err(refused) => return Err(refused.error),
        }
        for piece in template.pieces("", "", "") {
            if let super::template::Piece::Marker(marker) = piece {
                let ids = self.tokenize(found, marker, true).await.map_err(|refused| refused.error)?;
                found.marks.insert(marker.to_owned(), ids);
            }
        }
        found.begin = self.begin(found).await.map_err(|refused| refused.error)?;
        found.tokenizes = true;
        Ok(())
    }

    /// What the server puts before every prompt.
    async fn begin(&self, found: &Found) -> Result<Vec<u32>, Refused> {
        let body = match found.api {
            Api::LlamaCpp => json!({ "content": "", "add_special": true }),
            _ => json!({ "model": found.model, "prompt": "", "add_special_tokens": true }),
        };
        let answer = self.json(Method::POST, "tokenize", Some(&body)).await?;
        ids(&answer).ok_or_else(|| Refused { status: None, error: self.garbage("no tokens at /tokenize") })
    }

    /// A text's tokens. `special`: markers in it are the model's own.
    pub(super) async fn tokenize(&self, found: &Found, text: &str, special: bool) -> Result<Vec<u32>, Refused> {
        let body = match found.api {
            Api::LlamaCpp => json!({ "content": text, "add_special": false, "parse_special": special }),
            _ => json!({ "model": found.model, "prompt": text, "add_special_tokens": false }),
        };
        let answer = self.json(Method::POST, "tokenize", Some(&body)).await?;
        ids(&answer).ok_or_else(|| Refused { status: None, error: self.garbage("no tokens at /tokenize") })
    }

    /// One completion of one token. A server that knows no extensions is asked without them.
    async fn tried(&self, mut found: Found) -> Result<Found, EngineError> {
        let refused = |status: Option<StatusCode>| matches!(status.map(|s| s.as_u16()), Some(400 | 422));
        let tokens = match self.trial(&found).await {
            Err(Refused { status, .. }) if refused(status) && found.api == Api::OpenAi => {
                found.bare = true;
                self.trial(&found).await
            }
            other => other,
        };
        if let Some(tokens) = tokens.map_err(|refused| refused.error)?.filter(|tokens| *tokens > 8) {
            found.info.bytes_per_token = (SAMPLE.len() as f32 / tokens as f32).clamp(1.0, 8.0);
        }
        Ok(found)
    }

    /// The prompt's tokens, where the server counts them.
    async fn trial(&self, found: &Found) -> Result<Option<usize>, Refused> {
        let refused = |error: EngineError| Refused { status: None, error };
        let request = Request { prefix: SAMPLE.into(), max_tokens: 1, ..Request::default() };
        let prompt: Prompt = self.prompt(found, &request, "").await?;
        let body = api::body(found, prompt, &Wish { request: &request, held: "" });
        let answer = self.send(Method::POST, api::path(found.api), Some(&body)).await?;
        let (mut lines, mut any, mut tokens) = (Lines::new(answer), false, None);
        loop {
            let line = lines.next().await.map_err(|odd| match odd {
                Odd::Broken(reason) => refused(self.broken(&reason)),
                Odd::TooLong => refused(self.garbage("a line without an end")),
            })?;
            let Some(line) = line else { break };
            let Some(chunk) = api::chunk(found.api, &line).map_err(|what| refused(self.garbage(&what)))? else { continue };
            if let Some(said) = chunk.error {
                return Err(refused(problem(
                    format!("{} has failed ({said})", self.host),
                    "look at its log; check engine.model and engine.api",
                )));
            }
            any = true;
            tokens = chunk.prompt_tokens.or(tokens);
            if chunk.last {
                break;
            }
        }
        if any { Ok(tokens) } else { Err(refused(self.garbage("an empty answer"))) }
    }
}

fn ids(answer: &Value) -> Option<Vec<u32>> {
    answer["tokens"].as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}
