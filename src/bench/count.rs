//! Counts the tokens that each prompt layout computes for a trace, without running a model.
//!
//! ```text
//! psm-sliding    prefix suffix        both windows end at the cursor: what llm-ls and Continue send
//! psm-anchored   prefix suffix        the windows move in coarse steps
//! spm-anchored   suffix prefix        llama.cpp's --spm-infill
//! frozen         prefix suffix tail   ours: the real state machine, holes, pauses and idle prefills
//! ```
//! All share the real tokenizer and the real prefix cache (kinder to the peers than theirs, which hold the last prompt
//! only). The last token of a prompt is always computed: its logits are what the answer begins with. For `frozen`, the
//! tokens of the held bytes but the last one are counted too: healing decodes them again. Nothing is generated, so
//! nothing is answered without the model.
use super::typist::{Key, Typist};
use super::{Layout, Row, trace::Trace};
use crate::cache::Cache;
use crate::config::{Config, Lines};
use crate::context::Neighbours;
use crate::context::workspace::Workspace;
use crate::document::Snapshot;
use crate::engine::{Finish, Priority, Request};
use crate::model::BLOCK;
use crate::prompt::{Budget, Hole};
use crate::suggest::{Action, Ask, Settings, Suggest};
use crate::tokens::Tokens;
use std::sync::Arc;

/// Blocks of the simulated cache: 32,768 tokens.
const BLOCKS: usize = 2048;

/// The cache, and the tokens that had to be computed.
struct Counter<'a> {
    tokens: &'a Tokens,
    cache: Cache,
}

impl<'a> Counter<'a> {
    fn new(tokens: &'a Tokens) -> Self {
        Counter { tokens, cache: Cache::new(BLOCK, BLOCKS) }
    }

    /// Tokens of `prompt` to run through the model; they are in the cache afterwards.
    fn run(&mut self, prompt: &[u32]) -> usize {
        let found = self.cache.lookup(prompt);
        let (matched, mut blocks, shared) = (found.matched, found.blocks.clone(), found.blocks.len());
        while blocks.len() * BLOCK < prompt.len() {
            match self.cache.alloc() {
                Ok(block) => blocks.push(block),
                Err(_) => break,
            }
        }
        if blocks.len() * BLOCK >= prompt.len() {
            self.cache.insert(prompt, blocks);
        } else {
            blocks.split_off(shared).into_iter().for_each(|b| self.cache.free(b));
        }
        self.cache.release(found.lease);
        prompt.len() - matched
    }

    /// Tokens that our engine computes before the first new one.
    fn request(&mut self, request: &Request) -> usize {
        let tail = request.tail.as_bytes();
        let prompt = self.tokens.prompt(&request.prefix, &request.suffix, tail);
        let computed = self.run(&prompt.tokens);
        if request.max_tokens == 0 {
            return computed;
        }
        let held = String::from_utf8_lossy(&prompt.held).into_owned();
        computed.max(1) + self.tokens.encode(&held).len().saturating_sub(1)
    }
}

/// Replays `trace` under one layout; `chars` limits the typed characters.
pub fn count(trace: &Trace, layout: Layout, tokens: &Tokens, config: &Config, chars: usize, beside: Option<&Arc<Workspace>>) -> Row {
    let settings = Settings { lines: Lines::Auto, ..Settings::new(config, tokens.bytes_per_token(), usize::MAX / 2) };
    let mut row = Row::new(layout.name());
    let mut counter = Counter::new(tokens);
    match layout {
        Layout::Frozen => frozen(trace, settings, &mut counter, chars, beside, &mut row),
        _ => peers(trace, layout, settings.budget, &mut counter, chars, &mut row),
    }
    row
}

fn frozen(trace: &Trace, settings: Settings, counter: &mut Counter, chars: usize, beside: Option<&Arc<Workspace>>, row: &mut Row) {
    let around = beside.map(|workspace| workspace.clone() as Arc<dyn Neighbours>);
    let mut suggest = Suggest::beside(around, settings);
    let mut mark = None;
    let mut before: Option<Snapshot> = None;
    for (n, key) in Typist::new(trace).enumerate() {
        if let (Some(workspace), Some(before), [edit]) = (beside, &before, &key.edits[..]) {
            workspace.edited(before, &key.text, *edit);
        }
        before = Some(key.text.clone());
        if row.foreground.len() >= chars {
            break;
        }
        let mut idle = 0;
        if let Some(mark) = mark.filter(|_| key.idle) {
            let actions = suggest.idle(mark);
            perform(&mut suggest, actions, counter, &mut idle);
        }
        row.idle += idle as u64;
        let actions = suggest.edited(&key.text, &key.edits);
        perform(&mut suggest, actions, counter, &mut 0);
        if key.typed {
            let mut foreground = 0;
            let actions = suggest.ask(Ask { id: n as u64, text: key.text, cursor: key.cursor, explicit: false });
            mark = perform(&mut suggest, actions, counter, &mut foreground).or(mark);
            row.foreground.push(foreground as f64);
        }
    }
    row.reanchors = suggest.counts().reanchors.clone();
}

/// Runs the machine's requests at once, with empty answers. Returns the pause it asked for.
fn perform(suggest: &mut Suggest, actions: Vec<Action>, counter: &mut Counter, computed: &mut usize) -> Option<u64> {
    let mut mark = None;
    let mut queue = std::collections::VecDeque::from(actions);
    while let Some(action) = queue.pop_front() {
        match action {
            Action::Start { id, request } => {
                debug_assert!(request.priority == Priority::Interactive || request.max_tokens == 0);
                *computed += counter.request(&request);
                queue.extend(suggest.done(id, Finish::Stop));
            }
            Action::Pause { mark: m } => mark = Some(m),
            _ => {}
        }
    }
    mark
}

fn peers(trace: &Trace, layout: Layout, budget: Budget, counter: &mut Counter, chars: usize, row: &mut Row) {
    let mut anchored: Option<Hole> = None;
    // What ours spends on the tail, they spend on the prefix.
    let budget = Budget { prefix: budget.prefix + budget.tail, tail: 0, ..budget };
    for key in Typist::new(trace).filter(|k| k.typed) {
        if row.foreground.len() >= chars {
            break;
        }
        let prompt = peer_prompt(&key, layout, &budget, &mut anchored, counter.tokens);
        row.foreground.push(counter.run(&prompt).max(1) as f64);
    }
}

fn peer_prompt(key: &Key, layout: Layout, budget: &Budget, anchored: &mut Option<Hole>, tokens: &Tokens) -> Vec<u32> {
    let start = match layout {
        Layout::PsmSliding => key.cursor.saturating_sub(budget.prefix),
        _ => {
            anchored.iter_mut().for_each(|hole| key.edits.iter().for_each(|e| hole.shift(*e)));
            let hole = Hole::new(&key.text, key.cursor, budget, anchored.as_ref());
            let start = hole.start();
            *anchored = Some(hole);
            start
        }
    };
    let prefix = key.text.text(start, key.cursor);
    let suffix = key.text.text(key.cursor, key.cursor + budget.suffix);
    if layout != Layout::SpmAnchored {
        return tokens.prompt(&prefix, &suffix, b"").tokens;
    }
    let special = tokens.special();
    let mut prompt = vec![special.bos, special.fim_hole];
    prompt.extend(tokens.encode(&suffix));
    prompt.push(special.fim_begin);
    prompt.extend(tokens.encode(&prefix));
    prompt.push(special.fim_end);
    // The end marker comes after the prefix: it is computed anew with every key, as llama.cpp does.
    prompt
}
