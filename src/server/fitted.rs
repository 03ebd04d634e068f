//! A hole that a client marked in its prompt, answered as the language server would: split at the line's start, one line or
//! a block, cut where it ends, fitted to what follows.
//!
//! ```text
//! prefix "print(fo", suffix ")\n"   the model writes "o, bar)\nx = 1"   ->   "o, bar"
//! ```
//! The client inserts what it gets and replaces nothing, so a suggestion ends before it would replace a closing bracket. The
//! one place in the server that uses the left half: the manners are there, and nowhere twice.
use crate::complete::{Completion, complete};
use crate::config::{Config, Threshold};
use crate::document::Document;
use crate::engine::{Engine, EngineError, Event, Finish, State};
use crate::suggest::manners::before_replacing;
use std::sync::Arc;
use std::time::Duration;

/// Text around a hole, and how much may be written into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    pub prefix: String,
    pub suffix: String,
    pub max_tokens: usize,
    pub stop: Vec<String>,
}

/// What the whole answer consists of.
pub async fn answer(engine: Arc<dyn Engine>, hole: Hole) -> Vec<Event> {
    match suggested(&*engine, hole).await {
        Ok(events) => events,
        Err(error) => vec![Event::Failed(error)],
    }
}

async fn suggested(engine: &dyn Engine, hole: Hole) -> Result<Vec<Event>, EngineError> {
    loaded(engine).await?;
    let document = Document::new("prompt", "plaintext", 1, &(hole.prefix.clone() + &hole.suffix));
    let completion = complete(engine, &settings(&hole), None, document.settled(), hole.prefix.len()).await;
    let Completion { text, replaces, probability, usage, .. } =
        completion.map_err(|error| error.downcast().unwrap_or_else(|other| EngineError::new(other.to_string(), "try again")))?;
    let before = hole.prefix.rsplit('\n').next().unwrap_or_default();
    let text = if replaces > 0 { before_replacing(&text, before) } else { &text };
    let end = hole.stop.iter().filter_map(|stop| text.find(stop.as_str())).min().unwrap_or(text.len());
    let mut events = Vec::new();
    if end > 0 {
        events.push(Event::Text { text: text[..end].to_owned(), logprob: probability.max(f32::MIN_POSITIVE).ln() });
    }
    events.extend(usage.map(|usage| Event::Done { finish: Finish::Stop, usage }));
    Ok(events)
}

/// The window is the client's: all of it, as far as the model holds it.
fn settings(hole: &Hole) -> Config {
    let mut config = Config::default();
    config.context.tokens = 131_072;
    config.completion.max_tokens = hole.max_tokens.max(1);
    config.completion.show_threshold = Threshold::Word("off".to_owned());
    config
}

/// The window's size follows from the loaded model.
async fn loaded(engine: &dyn Engine) -> Result<(), EngineError> {
    loop {
        match engine.state() {
            State::Ready(_) => return Ok(()),
            State::Failed(error) => return Err(error),
            State::Loading => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
