//! Conversations with an Instruct model: the server renders them with the model's own chat template.
//!
//! ```text
//! Form::Chat([User "Explain…"])  ->  POST /v1/chat/completions { messages }  ->  Text "It adds", Text " two", Done
//! ```
//! Whether there is such a template: llama.cpp and Ollama say so; the others are asked for one token.
use super::api;
use super::ask::{Ended, Tally};
use super::tail::Filter;
use super::wire::Refused;
use super::{Found, Remote};
use crate::config::Api;
use crate::engine::{Finish, Request, Role, Turn};
use crate::hub::problem;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// What begins and ends a turn in the templates of the families known here, besides their own markers.
const TURNS: [&str; 4] = ["<|im_start|>", "<|im_end|>", "<｜User｜>", "<｜Assistant｜>"];

/// The template that llama.cpp takes for a model without one begins its turns with this.
const CHATML: &str = "<|im_start|>";

/// Longest wait for a server to say whether it converses.
const PATIENCE: Duration = Duration::from_secs(30);

impl Remote {
    /// The answer to a conversation.
    pub(super) async fn converse(
        &self,
        found: &Found,
        turns: &[Turn],
        request: &Request,
        tally: &mut Tally<'_>,
    ) -> Result<Finish, Refused> {
        if !found.info.chat {
            let title = format!("The model {:?} at {} has no chat template", found.model, self.host);
            let error = problem(title, "serve an Instruct model there, or set engine.model to one");
            return Err(Refused { status: Some(reqwest::StatusCode::BAD_REQUEST), error });
        }
        if let Some(marker) = turns.iter().find_map(|turn| marker(found, &turn.text)) {
            return Err(self.refused_for(marker));
        }
        let body = api::chat(found, turns, request);
        tracing::trace!(%body, "asked");
        let answer = self.send(Method::POST, api::CHAT, Some(&body)).await?;
        let mut filter = Filter::new("", request.stop.iter().map(String::as_str));
        match self.follow(found, Api::OpenAi, answer, &mut filter, request.max_tokens.max(1), tally).await? {
            Ended::Done(finish) => Ok(finish),
            // Nothing is held that it could disagree with.
            Ended::Disagrees => Ok(Finish::Stop),
        }
    }

    /// Whether the model there has a chat template.
    pub(super) async fn converses(&self, found: &Found) -> bool {
        let asked = async {
            match found.api {
                Api::DeepSeek => true,
                Api::LlamaCpp => self.llama_converses(found).await,
                Api::Ollama => self.ollama_converses(found).await,
                Api::Auto | Api::OpenAi => self.says_hello(found).await,
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false)
    }

    /// It shows the template it uses. That of ChatML may be a stand-in: then the model does not know its marks.
    async fn llama_converses(&self, found: &Found) -> bool {
        let Ok(properties) = self.json(Method::GET, "props", None).await else { return false };
        match properties["chat_template"].as_str().map(str::trim) {
            None | Some("") => false,
            Some(template) if template.contains(CHATML) => self.tokenize(found, CHATML, true).await.is_ok_and(|ids| ids.len() == 1),
            Some(_) => true,
        }
    }

    /// The template of a model without one hands the prompt on.
    async fn ollama_converses(&self, found: &Found) -> bool {
        let Ok(shown) = self.json(Method::POST, "api/show", Some(&json!({ "model": found.model }))).await else { return false };
        let template = shown["template"].as_str().unwrap_or_default().replace(char::is_whitespace, "");
        !template.is_empty() && template != "{{.Prompt}}"
    }

    /// One token of a conversation: servers refuse where there is no template.
    async fn says_hello(&self, found: &Found) -> bool {
        let turns = [Turn { role: Role::User, text: "Hello".into() }];
        let mut body = api::chat(found, &turns, &Request { max_tokens: 1, ..Request::default() });
        body["stream"] = json!(false);
        if let Value::Object(body) = &mut body {
            body.remove("stream_options");
        }
        let answer = self.json(Method::POST, api::CHAT, Some(&body)).await;
        answer.is_ok_and(|answer| answer["choices"][0]["message"].is_object())
    }
}

/// What the server would take for the model's own in a text of the user's.
fn marker<'a>(found: &'a Found, text: &str) -> Option<&'a str> {
    let own = found.template.as_ref().and_then(|template| template.holds_marker(text));
    own.or_else(|| TURNS.into_iter().find(|marker| text.contains(marker)))
}
