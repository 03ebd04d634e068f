//! A trace through the real state machine and the real engine, timed.
//!
//! ```text
//! key -> ask -> Start -> engine -> first new token (ms) -> … -> Answer (ms)
//! ```
//! A key waits for the answer of the one before, so the times are of single requests, not of a queue.
use super::typist::Typist;
use super::{Layout, Row, trace::Trace};
use crate::config::Config;
use crate::engine::local::Local;
use crate::engine::{Engine, Event, Request, configured};
use crate::suggest::{Action, Ask, Settings, Suggest};
use anyhow::Result;
use std::collections::VecDeque;
use std::time::Instant;

/// Runs the first `keys` typed characters.
pub fn run(trace: &Trace, config: &Config, keys: usize) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = configured::open(config)?;
        let info = engine.loaded().await?;
        let suggest = Suggest::new(Settings::new(config, info.bytes_per_token, info.context));
        let layout = match config.completion.layout {
            crate::config::Layout::Frozen => Layout::Frozen,
            crate::config::Layout::Psm => Layout::PsmAnchored,
        };
        let mut run = Run { engine, suggest, row: Row::new(layout.name()), mark: None };
        run.replay(trace, keys).await?;
        run.row.without_model = run.suggest.counts().without_model;
        run.row.reanchors = run.suggest.counts().reanchors.clone();
        Ok(run.row)
    })
}

struct Run {
    engine: Local,
    suggest: Suggest,
    row: Row,
    mark: Option<u64>,
}

/// What a key cost.
#[derive(Default)]
struct Cost {
    computed: usize,
    first_token: Option<f64>,
}

impl Run {
    async fn replay(&mut self, trace: &Trace, keys: usize) -> Result<()> {
        for (n, key) in Typist::new(trace).enumerate() {
            if self.row.foreground.len() >= keys {
                break;
            }
            if let Some(mark) = self.mark.filter(|_| key.idle) {
                let actions = self.suggest.idle(mark);
                self.row.idle += self.perform(actions).await?.computed as u64;
            }
            let begun = Instant::now();
            let actions = self.suggest.edited(&key.text, &key.edits);
            // After an accept, the next suggestion is begun with the edit: its cost is this key's.
            let mut cost = self.perform(actions).await?;
            if !key.typed {
                self.row.idle += cost.computed as u64;
                continue;
            }
            let actions = self.suggest.ask(Ask { id: n as u64, text: key.text, cursor: key.cursor, explicit: false });
            let asked = self.perform(actions).await?;
            cost.computed += asked.computed;
            self.row.foreground.push(cost.computed as f64);
            self.row.line_ms.push(begun.elapsed().as_secs_f64() * 1e3);
            self.row.first_token_ms.extend(asked.first_token.or(cost.first_token));
        }
        Ok(())
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Result<Cost> {
        let mut cost = Cost::default();
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Start { id, request } => queue.extend(self.follow(id, request, &mut cost).await?),
                Action::Pause { mark } => self.mark = Some(mark),
                Action::Fail { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
        Ok(cost)
    }

    async fn follow(&mut self, id: u64, request: Request, cost: &mut Cost) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        let mut answer = self.engine.submit(request);
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text, .. } => actions.extend(self.suggest.text(id, &text)),
                Event::Failed(error) => return Err(error.into()),
                Event::Done { finish, usage } => {
                    cost.computed += usage.computed;
                    cost.first_token = cost.first_token.or(usage.first_token.map(|t| t.as_secs_f64() * 1e3));
                    *self.row.misses.entry(format!("{:?}", usage.miss).to_lowercase()).or_default() += 1;
                    actions.extend(self.suggest.done(id, finish));
                }
            }
        }
        Ok(actions)
    }
}
