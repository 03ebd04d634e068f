//! Counters and times, in Prometheus' text.
//!
//! ```text
//! infill_requests_total{outcome="done"} 41
//! infill_prompt_tokens_reused_total 90211
//! infill_first_token_seconds_bucket{le="0.05"} 37
//! ```
use super::Face;
use crate::engine::{Miss, State, Usage};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// What has been counted.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    outcomes: BTreeMap<&'static str, u64>,
    misses: BTreeMap<Miss, u64>,
    prompt: u64,
    reused: u64,
    generated: u64,
    drafted: u64,
    accepted: u64,
    running: u64,
    waiting: u64,
    first_token: Histogram,
    total: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.count += 1;
        self.sum += seconds;
        self.buckets.iter_mut().zip(BUCKETS).filter(|(_, end)| seconds <= *end).for_each(|(bucket, _)| *bucket += 1);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, "histogram", help);
        for (count, end) in self.buckets.iter().zip(BUCKETS) {
            line(out, name, "_bucket", &format!("le=\"{end}\""), count);
        }
        line(out, name, "_bucket", "le=\"+Inf\"", &self.count);
        line(out, name, "_sum", "", &self.sum);
        line(out, name, "_count", "", &self.count);
    }
}

impl Metrics {
    fn change(&self, act: impl FnOnce(&mut Counts)) {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// An answer is asked of the engine.
    pub fn begin(&self) {
        self.change(|counts| {
            counts.running += 1;
            counts.waiting += 1;
        });
    }

    /// The first of it came.
    pub fn first(&self) {
        self.change(|counts| counts.waiting = counts.waiting.saturating_sub(1));
    }

    pub fn done(&self, usage: &Usage) {
        self.end("done");
        self.change(|counts| {
            *counts.misses.entry(usage.miss).or_default() += 1;
            counts.prompt += usage.prompt_tokens as u64;
            counts.reused += usage.reused as u64;
            counts.generated += usage.generated as u64;
            counts.drafted += usage.drafted as u64;
            counts.accepted += usage.accepted as u64;
            usage.first_token.iter().for_each(|time| counts.first_token.observe(*time));
            counts.total.observe(usage.total);
        });
    }

    /// "done", "failed", "cancelled".
    pub fn end(&self, outcome: &'static str) {
        self.change(|counts| {
            counts.running = counts.running.saturating_sub(1);
            *counts.outcomes.entry(outcome).or_default() += 1;
        });
    }

    /// A request that never came to the engine.
    pub fn refused(&self) {
        self.change(|counts| *counts.outcomes.entry("refused").or_default() += 1);
    }
}

/// All of it.
pub fn render(face: &Face) -> String {
    let mut out = String::new();
    let state = face.engine.state();
    let info = face.engine.info().unwrap_or_default();
    let labels = format!(
        "model={:?},device={:?},version={:?},fingerprint={:?}",
        info.model,
        info.device,
        env!("CARGO_PKG_VERSION"),
        face.identity.fingerprint
    );
    single(&mut out, "infill_model_info", "gauge", "What is loaded.", &labels, &1);
    single(&mut out, "infill_ready", "gauge", "1 when the model is loaded.", "", &u8::from(matches!(state, State::Ready(_))));
    let windows = face.windows.load(Ordering::SeqCst);
    single(&mut out, "infill_windows", "gauge", "Windows attached.", "", &windows);
    let computed = face.engine.totals().computed;
    single(&mut out, "infill_tokens_computed_total", "counter", "Tokens run through the model, for cancelled requests too.", "", &computed);
    face.metrics.0.lock().unwrap_or_else(PoisonError::into_inner).write(&mut out);
    out
}

impl Counts {
    fn write(&self, out: &mut String) {
        head(out, "infill_requests_total", "counter", "Answers asked for, by what became of them.");
        for outcome in ["done", "failed", "cancelled", "refused"] {
            let count = self.outcomes.get(outcome).copied().unwrap_or_default();
            line(out, "infill_requests_total", "", &format!("outcome=\"{outcome}\""), &count);
        }
        head(out, "infill_prompts_total", "counter", "Answered prompts, by why tokens had to be computed (none: they were cached).");
        for miss in [Miss::None, Miss::Cold, Miss::Prefix, Miss::Suffix, Miss::Tail, Miss::Evicted] {
            let name = serde_json::to_value(miss).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
            let count = self.misses.get(&miss).copied().unwrap_or_default();
            line(out, "infill_prompts_total", "", &format!("miss=\"{name}\""), &count);
        }
        single(out, "infill_prompt_tokens_total", "counter", "Tokens of answered prompts.", "", &self.prompt);
        single(out, "infill_prompt_tokens_reused_total", "counter", "Of these, taken from the cache.", "", &self.reused);
        single(out, "infill_generated_tokens_total", "counter", "Tokens of answers.", "", &self.generated);
        single(out, "infill_drafted_tokens_total", "counter", "Tokens proposed by prompt lookup.", "", &self.drafted);
        single(out, "infill_draft_accepted_tokens_total", "counter", "Of these, accepted.", "", &self.accepted);
        single(out, "infill_requests_running", "gauge", "Answers under way.", "", &self.running);
        single(out, "infill_requests_waiting", "gauge", "Of these, without a first token yet.", "", &self.waiting);
        self.first_token.write(out, "infill_first_token_seconds", "From a request to its first new token.");
        self.total.write(out, "infill_request_seconds", "From a request to the end of its answer.");
    }
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, labels: &str, value: &dyn std::fmt::Display) {
    head(out, name, kind, help);
    line(out, name, "", labels, value);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, end: &str, labels: &str, value: &dyn std::fmt::Display) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(out, "{name}{end}{labels} {value}");
}
