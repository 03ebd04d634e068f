//! `infill eval`: how good the suggestions are, on published benchmarks and on your own code.
//!
//! ```text
//! infill eval humaneval-infilling HumanEval-SingleLineInfilling.jsonl.gz --lines one     exact match, pass@1
//! infill eval repobench repobench_python.jsonl.gz             exact match, edit similarity, context off and on
//! infill eval holes src/ --holes 400 --seed 2                 holes cut out of your own files
//! infill eval holes src/ --out run.jsonl                      a line per task; run again, it goes on where it stopped
//! ```
//! Every hole is completed by [`crate::complete::complete`], as in an editor: its prompt layout, its stops, its trimming,
//! and only the short suffix that a first answer waits for. So these are figures of the product, not of the model alone.
//! Suggestions count however improbable (`--threshold off`); the share that would be shown unasked stands beside.
use crate::complete::{complete, language};
use crate::config::{Config, Layer, Threshold, nest};
use crate::context::Neighbours;
use crate::document::Document;
use crate::engine::{Engine, Info, State};
use anyhow::{Context, Result, bail};
use resume::{Ledger, Settings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use table::Report;

pub mod holes;
pub mod humaneval;
mod lines;
pub mod repobench;
mod resume;
pub mod sandbox;
pub mod score;
mod table;

/// How often a loading model is asked whether it is there.
const LOADING: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Benchmark {
    /// HumanEval-Infilling (single-line, multi-line, random-span): exact match, and pass@1 by running the tests.
    HumanevalInfilling(humaneval::Options),
    /// RepoBench v1.1: the next line, with and without cross-file context.
    Repobench(repobench::Options),
    /// Holes cut out of the source files of a folder.
    Holes(holes::Options),
}

/// What all benchmarks take.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct How {
    /// "nano", a name from "infill models", a folder with config.json, or a GGUF file.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// In place of completion.layout: "frozen" or "psm".
    #[arg(long, value_name = "LAYOUT")]
    pub layout: Option<String>,
    /// In place of completion.lines: "one", "block" or "auto".
    #[arg(long, value_name = "LINES")]
    pub lines: Option<String>,
    /// Count suggestions less probable than this as none: "off", "auto", or a number from 0 to 1.
    #[arg(long, value_name = "P", default_value = "off")]
    pub threshold: String,
    /// Only the first N tasks.
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Append a line per task to FILE; tasks that stand there already are not run again.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The figures as JSON.
    #[arg(long)]
    pub json: bool,
}

impl How {
    fn limit(&self) -> usize {
        self.limit.map_or(usize::MAX, NonZeroUsize::get)
    }

    fn layers(&self) -> Vec<Layer> {
        let options = [("--model", "model", &self.model), ("--layout", "completion.layout", &self.layout)];
        let options = options.into_iter().chain([("--lines", "completion.lines", &self.lines)]);
        options.filter_map(|(place, key, value)| Some(layer(place, key, value.as_deref()?.into()))).collect()
    }

    /// What `--threshold` says.
    fn withhold(&self) -> Result<Threshold> {
        let value = self.threshold.parse::<f32>().map_or_else(|_| self.threshold.as_str().into(), Value::from);
        let merged = crate::config::merge(&[layer("--threshold", "completion.show_threshold", value)])?;
        Ok(merged.config.completion.show_threshold)
    }
}

fn layer(place: &str, key: &str, value: Value) -> Layer {
    Layer { place: place.into(), value: nest(key, value) }
}

impl Benchmark {
    fn how(&self) -> &How {
        match self {
            Benchmark::HumanevalInfilling(options) => &options.how,
            Benchmark::Repobench(options) => &options.how,
            Benchmark::Holes(options) => &options.how,
        }
    }

    /// The settings among the options.
    pub fn layers(&self) -> Vec<Layer> {
        self.how().layers()
    }
}

/// Runs a benchmark and prints its figures.
///
/// # Errors
/// Data that cannot be used, a model that does not load, no Python or no way to confine it, a results file of another run.
pub fn run(benchmark: &Benchmark, config: &Config, engine: &dyn Engine) -> Result<()> {
    let report = measure(benchmark, config, engine)?;
    if benchmark.how().json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

fn measure(benchmark: &Benchmark, config: &Config, engine: &dyn Engine) -> Result<Report> {
    let session = || Session::new(engine, config, benchmark.how());
    match benchmark {
        Benchmark::HumanevalInfilling(options) => humaneval::measure(options, session),
        Benchmark::Repobench(options) => repobench::measure(options, session),
        Benchmark::Holes(options) => holes::measure(options, session),
    }
}

/// A place in a text, and what stood there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gap {
    /// Tells the language.
    pub path: String,
    pub before: String,
    pub after: String,
    pub truth: String,
}

/// What was suggested in a gap: insert `text`, over `replaces` bytes that follow. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suggested {
    pub text: String,
    pub replaces: usize,
    /// Geometric mean of its first line's token probabilities.
    pub probability: f32,
    /// Shortened, closed or withheld, because it would have brought a syntax error.
    #[serde(default)]
    pub balanced: bool,
}

/// An engine under settings.
pub struct Session<'a> {
    engine: &'a dyn Engine,
    config: Config,
    info: Info,
    how: How,
    /// Least probability of what is shown unasked.
    show: f32,
    runtime: tokio::runtime::Runtime,
    /// The other files of the folder, where they are shown.
    around: Option<Arc<dyn Neighbours>>,
}

impl<'a> Session<'a> {
    /// Waits until the model is loaded.
    fn new(engine: &'a dyn Engine, config: &Config, how: &How) -> Result<Session<'a>> {
        let show = config.completion.show_threshold.clone();
        let mut config = config.clone();
        config.completion.show_threshold = how.withhold()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let info = loaded(engine)?;
        let show = show.least(info.show_threshold).map_err(anyhow::Error::msg)?;
        Ok(Session { engine, config, info, how: how.clone(), show, runtime, around: None })
    }

    fn suggest(&self, gap: &Gap) -> Result<Suggested> {
        let text = gap.before.clone() + &gap.after;
        let snapshot = Document::new(&gap.path, language(gap.path.as_ref()), 1, &text).settled();
        let found = self.runtime.block_on(complete(self.engine, &self.config, self.around.clone(), snapshot, gap.before.len()))?;
        Ok(Suggested { text: found.text, replaces: found.replaces, probability: found.probability, balanced: found.balanced })
    }

    fn shows(&self, suggested: &Suggested) -> bool {
        !suggested.text.is_empty() && suggested.probability >= self.show
    }

    /// What the column of shown suggestions stands on.
    fn shown_note(&self) -> String {
        format!("shown: at least as probable as completion.show_threshold, {}", self.show)
    }

    /// Whether the figures in DeepSeek's README are this model's.
    fn is_lite_base(&self) -> bool {
        let name = self.info.model.to_lowercase().replace([' ', '_'], "-");
        name.contains("deepseek-coder-v2-lite-base")
    }

    /// What figures depend on: printed above them, and compared when a run goes on.
    fn settings(&self, benchmark: &str, data: &str) -> Settings {
        let completion = &self.config.completion;
        let mut settings = Settings::default();
        settings.add("benchmark", benchmark.into());
        settings.add("data", data.into());
        settings.add("model", self.info.model.as_str().into());
        settings.add("layout", json!(completion.layout));
        settings.add("lines", json!(completion.lines));
        settings.add("max_tokens", completion.max_tokens.into());
        settings.add("context_tokens", self.config.context.tokens.into());
        settings.add("other_files", self.around.is_some().into());
        settings.add("threshold", self.how.threshold.as_str().into());
        settings.add("show_threshold", self.show.to_string().into());
        settings
    }

    /// Does the tasks that `--out` does not hold yet; gives the records of all, in their order.
    fn each<T, R>(&self, tasks: &[T], settings: &Settings, id: fn(&T) -> String, work: impl Fn(&T) -> Result<R>) -> Result<Vec<R>>
    where
        R: Serialize + DeserializeOwned,
    {
        let mut ledger = Ledger::open(self.how.out.as_deref(), settings)?;
        let mut records = Vec::new();
        for (n, task) in tasks.iter().enumerate() {
            let id = id(task);
            let record = match ledger.take(&id) {
                Some(record) => record,
                None => {
                    let record = work(task).with_context(|| format!("task {id}"))?;
                    ledger.add(&id, &record)?;
                    record
                }
            };
            records.push(record);
            progress(n + 1, tasks.len());
        }
        Ok(records)
    }
}

fn loaded(engine: &dyn Engine) -> Result<Info> {
    loop {
        match engine.state() {
            State::Ready(info) => return Ok(info),
            State::Failed(error) => bail!(error),
            State::Loading => std::thread::sleep(LOADING),
        }
    }
}

fn progress(done: usize, all: usize) {
    const WIDTH: usize = 30;
    if std::io::stderr().is_terminal() {
        let bar = "#".repeat(done * WIDTH / all.max(1));
        eprint!("\r[{bar:<WIDTH$}] {done} of {all}{}", if done == all { "\n" } else { "" });
    }
}

#[cfg(test)]
mod tests;
