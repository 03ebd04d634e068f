//! `infill bench trace FILE`: what a keystroke costs, under our layout and the peers'.
//!
//! ```text
//! infill bench trace fixtures/trace/short.json                         tokens per key, all four layouts
//! infill bench trace rustcode.json.gz --chars 10000 --tokenizer tokenizer.json --json
//! infill bench trace fixtures/trace/short.json --timed 200              200 keys through the real engine
//! infill bench quality held-out/                                        is quality the price? See `quality`
//! ```
use crate::config::Config;
use crate::prompt::Reanchor;
use crate::tokens::Tokens;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trace::Trace;

mod count;
mod plot;
pub mod quality;
pub mod timed;
pub mod trace;
pub mod typist;

/// How a prompt is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Prefix, suffix; both windows end at the cursor.
    PsmSliding,
    /// Prefix, suffix; windows in coarse steps.
    PsmAnchored,
    /// Suffix, prefix (llama.cpp's --spm-infill); windows in coarse steps.
    SpmAnchored,
    /// Frozen prefix and suffix, typed tail.
    Frozen,
}

impl Layout {
    pub fn name(self) -> &'static str {
        match self {
            Layout::PsmSliding => "psm-sliding",
            Layout::PsmAnchored => "psm-anchored",
            Layout::SpmAnchored => "spm-anchored",
            Layout::Frozen => "frozen",
        }
    }
}

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A typing trace (format of josephg/editing-traces), gzipped or not.
    pub file: PathBuf,
    /// Layouts to count.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Layout::PsmSliding, Layout::PsmAnchored, Layout::SpmAnchored, Layout::Frozen])]
    pub layout: Vec<Layout>,
    /// Stop after so many typed characters.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub chars: usize,
    /// Count with this tokenizer.json instead of the model's own.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Run this many typed characters through the real engine, and time them.
    #[arg(long, value_name = "N")]
    pub timed: Option<usize>,
    /// A row per layout as JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// A row per layout as CSV.
    #[arg(long)]
    pub csv: bool,
    /// Draw the distribution of the counted layouts.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Figures of one layout.
#[derive(Clone, Debug)]
pub struct Row {
    pub layout: Layout,
    /// Tokens computed between a key and its first new token, per typed character.
    pub foreground: Vec<f64>,
    /// Tokens computed in pauses, in all.
    pub idle: u64,
    /// Typed characters that were answered without the model.
    pub without_model: u64,
    pub reanchors: BTreeMap<Reanchor, u64>,
    /// Milliseconds; empty when only counted.
    pub first_token_ms: Vec<f64>,
    pub line_ms: Vec<f64>,
    /// Why prompt tokens had to be computed, and how often.
    pub misses: BTreeMap<String, u64>,
}

impl Row {
    pub fn new(layout: Layout) -> Row {
        Row {
            layout,
            foreground: vec![],
            idle: 0,
            without_model: 0,
            reanchors: BTreeMap::new(),
            first_token_ms: vec![],
            line_ms: vec![],
            misses: BTreeMap::new(),
        }
    }

    pub fn mean(&self) -> f64 {
        self.foreground.iter().sum::<f64>() / self.foreground.len().max(1) as f64
    }

    /// Names and values, in the order of the columns.
    fn fields(&self) -> Vec<(&'static str, serde_json::Value)> {
        let typed = self.foreground.len().max(1) as f64;
        let quantile = |values: &[f64], q: f64| crate::demo::percentile(&mut values.to_vec(), q);
        let idle = self.idle as f64 / typed;
        let time = |values: &[f64], q: f64| match values {
            [] => serde_json::Value::Null,
            values => round(quantile(values, q)).into(),
        };
        vec![
            ("layout", self.layout.name().into()),
            ("typed_chars", self.foreground.len().into()),
            ("tokens_mean", round(self.mean()).into()),
            ("tokens_p50", quantile(&self.foreground, 0.50).into()),
            ("tokens_p90", quantile(&self.foreground, 0.90).into()),
            ("tokens_p99", quantile(&self.foreground, 0.99).into()),
            ("idle_mean", round(idle).into()),
            ("total_mean", round(self.mean() + idle).into()),
            ("without_model", round(self.without_model as f64 / typed).into()),
            ("reanchors", self.reanchors.values().sum::<u64>().into()),
            ("first_token_ms_p50", time(&self.first_token_ms, 0.50)),
            ("first_token_ms_p95", time(&self.first_token_ms, 0.95)),
            ("line_ms_p50", time(&self.line_ms, 0.50)),
            ("line_ms_p95", time(&self.line_ms, 0.95)),
        ]
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Runs the bench and prints it.
pub fn run(options: &Options, config: &Config) -> Result<()> {
    let trace = Trace::read(&options.file)?;
    let mut rows = Vec::new();
    match options.timed {
        Some(keys) => rows.push(timed::run(&trace, config, keys.min(options.chars))?),
        None => {
            let tokens = tokenizer(options.tokenizer.as_deref(), config)?;
            for layout in &options.layout {
                rows.push(count::count(&trace, *layout, &tokens, config, options.chars));
            }
        }
    }
    print(&rows, options)?;
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::svg(&rows)).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn tokenizer(path: Option<&Path>, config: &Config) -> Result<Tokens> {
    match path {
        Some(path) => Tokens::from_file(path).with_context(|| format!("{}", path.display())),
        None => Ok(crate::engine::local::tokens(&config.model)?),
    }
}

fn print(rows: &[Row], options: &Options) -> Result<()> {
    let records = rows.iter().map(|r| r.fields().into_iter().map(|(n, v)| (n.to_string(), v)).collect::<serde_json::Map<_, _>>());
    if options.json {
        println!("{}", serde_json::to_string_pretty(&records.collect::<Vec<_>>())?);
        return Ok(());
    }
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string).replace("null", "-");
    let (separator, width) = if options.csv { (",", 0) } else { ("  ", 13) };
    for (n, row) in rows.iter().enumerate() {
        let fields = row.fields();
        let line = |cells: Vec<String>| cells.iter().map(|c| format!("{c:>width$}")).collect::<Vec<_>>().join(separator);
        if n == 0 {
            println!("{}", line(fields.iter().map(|(name, _)| (*name).to_string()).collect()));
        }
        println!("{}", line(fields.iter().map(|(_, value)| text(value)).collect()));
    }
    if !options.csv {
        for row in rows.iter().filter(|r| !r.reanchors.is_empty()) {
            println!("\n{}: split anew {:?}", row.layout.name(), row.reanchors);
        }
        for row in rows.iter().filter(|r| !r.misses.is_empty()) {
            println!("{}: prompt tokens were computed because of {:?}", row.layout.name(), row.misses);
        }
    }
    Ok(())
}
