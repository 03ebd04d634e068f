//! A trace through the real state machine and the real engine, timed.
//!
//! ```text
//! key -> ask -> Start -> engine -> first new token (ms) -> … -> Answer (ms)
//! ```
//! A key waits for the answer of the one before, so the times are of single requests, not of a queue.
use super::typist::{Key, Typist};
use super::{Layout, Row, trace::Trace};
use crate::config::Config;
use crate::engine::{Engine, Event, Miss, Request, configured};
use crate::suggest::{Action, Ask, Settings, Suggest, Suggestion};
use anyhow::Result;
use std::collections::VecDeque;
use std::time::Instant;

/// Runs the first `keys` typed characters.
pub fn run(trace: &Trace, config: &Config, keys: usize) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = configured::open(config)?;
        let info = engine.loaded().await?;
        let suggest = Suggest::new(Settings::for_model(config, &info));
        let layout = match config.completion.layout {
            crate::config::Layout::Frozen => Layout::Frozen,
            crate::config::Layout::Psm => Layout::PsmAnchored,
        };
        let mut driver = Driver::new(&engine, suggest);
        let mut row = replay(&mut driver, trace, keys, Row::new(layout.name())).await?;
        row.without_model = driver.suggest.counts().without_model;
        row.reanchors = driver.suggest.counts().reanchors.clone();
        Ok(row)
    })
}

async fn replay(driver: &mut Driver<'_>, trace: &Trace, keys: usize, mut row: Row) -> Result<Row> {
    for key in Typist::new(trace) {
        if row.foreground.len() >= keys {
            break;
        }
        let typed = key.typed;
        let served = driver.key(key).await?;
        row.idle += served.idle as u64;
        for miss in served.misses {
            *row.misses.entry(format!("{miss:?}").to_lowercase()).or_default() += 1;
        }
        if !typed {
            row.idle += served.computed as u64;
            continue;
        }
        row.foreground.push(served.computed as f64);
        row.line_ms.push(served.milliseconds);
        row.first_token_ms.extend(served.first_token);
    }
    Ok(row)
}

/// The state machine of one document and an engine, driven key by key.
pub struct Driver<'a> {
    engine: &'a dyn Engine,
    pub suggest: Suggest,
    mark: Option<u64>,
    asked: u64,
}

/// What came of a key.
#[derive(Debug, Default)]
pub struct Served {
    /// What would be shown; `None` when nothing was asked, or the ask was superseded.
    pub items: Option<Vec<Suggestion>>,
    /// Tokens computed because of this key, and in the pause before it.
    pub computed: usize,
    pub idle: usize,
    pub misses: Vec<Miss>,
    /// Milliseconds to the first new token, if the model was needed, and to the answer.
    pub first_token: Option<f64>,
    pub milliseconds: f64,
}

impl<'a> Driver<'a> {
    pub fn new(engine: &'a dyn Engine, suggest: Suggest) -> Driver<'a> {
        Driver { engine, suggest, mark: None, asked: 0 }
    }

    /// Makes one edit, and asks when it was a typed character.
    ///
    /// # Errors
    /// The engine's.
    pub async fn key(&mut self, key: Key) -> Result<Served> {
        let mut served = Served::default();
        if let Some(mark) = self.mark.filter(|_| key.idle) {
            let actions = self.suggest.idle(mark);
            self.perform(actions, &mut served).await?;
            served = Served { idle: served.computed, misses: served.misses, ..Served::default() };
        }
        let begun = Instant::now();
        // The ask follows the edit at once: what the edit began (after an accept) is still running then.
        let mut actions = self.suggest.edited(&key.text, &key.edits);
        if key.typed {
            self.asked += 1;
            actions.extend(self.suggest.ask(Ask { id: self.asked, text: key.text, cursor: key.cursor, explicit: false }));
        }
        self.perform(actions, &mut served).await?;
        served.milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        Ok(served)
    }

    async fn perform(&mut self, actions: Vec<Action>, served: &mut Served) -> Result<()> {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                // Begun by the edit, and not wanted by the ask.
                Action::Start { id, .. } if queue.contains(&Action::Abort { id }) => {}
                Action::Start { id, request } => queue.extend(self.follow(id, request, served).await?),
                Action::Pause { mark } => self.mark = Some(mark),
                Action::Answer { items, .. } => served.items = Some(items),
                Action::Fail { error, .. } => return Err(error.into()),
                Action::Abort { .. } | Action::Supersede { .. } => {}
            }
        }
        Ok(())
    }

    async fn follow(&mut self, id: u64, request: Request, served: &mut Served) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        let mut answer = self.engine.submit(request);
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text, logprob } => actions.extend(self.suggest.text(id, &text, logprob)),
                Event::Top(_) => {}
                Event::Failed(error) => return Err(error.into()),
                Event::Done { finish, usage } => {
                    served.computed += usage.computed;
                    served.first_token = served.first_token.or(usage.first_token.map(|t| t.as_secs_f64() * 1e3));
                    served.misses.push(usage.miss);
                    actions.extend(self.suggest.done(id, finish));
                }
            }
        }
        Ok(actions)
    }
}
