//! `infill bench trace FILE`: what a keystroke costs, under our layout and the peers'.
//!
//! ```text
//! infill bench trace fixtures/trace/short.json                         tokens per key, all four layouts
//! infill bench trace rustcode.json.gz --chars 10000 --tokenizer tokenizer.json --json
//! infill bench trace fixtures/trace/short.json --timed 200              200 keys through the real engine
//! … --timed 200 --against http://127.0.0.1:8012                         and the same keys to a llama.cpp server
//! infill bench parse src/bench.rs --lines 10000                         what the parser costs at each key
//! infill bench quality held-out/                                        is quality the price? See `quality`
//! infill bench context project/                                         does the prompt hold what the next line needs?
//! ```
use crate::config::Config;
use crate::context::workspace::Workspace;
use crate::prompt::Reanchor;
use crate::tokens::Tokens;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trace::Trace;

mod against;
pub mod context;
mod count;
pub mod model;
pub mod parse;
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
    /// Count as if the file stood in this folder: its other files are context.
    #[arg(long, value_name = "DIR")]
    pub beside: Option<PathBuf>,
    /// Stop after so many typed characters.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    pub chars: usize,
    /// Count with this tokenizer.json instead of the model's own.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Run this many typed characters through the real engine, and time them.
    #[arg(long, value_name = "N")]
    pub timed: Option<usize>,
    /// Send the same keys to the llama.cpp server at URL (on this machine), as llama.vim does, and print its timings too.
    #[arg(long, value_name = "URL", requires = "timed")]
    pub against: Option<String>,
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

/// Figures of one layout, or of a peer.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
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
    /// Of a peer: what it says that generating took.
    pub predicted_ms: Vec<f64>,
    /// Why prompt tokens had to be computed, and how often.
    pub misses: BTreeMap<String, u64>,
}

impl Row {
    pub fn new(name: &str) -> Row {
        Row {
            name: name.to_string(),
            foreground: vec![],
            idle: 0,
            without_model: 0,
            reanchors: BTreeMap::new(),
            first_token_ms: vec![],
            line_ms: vec![],
            predicted_ms: vec![],
            misses: BTreeMap::new(),
        }
    }

    pub fn mean(&self) -> f64 {
        self.foreground.iter().sum::<f64>() / self.foreground.len().max(1) as f64
    }

    /// Names and values, in the order of the columns.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let typed = self.foreground.len().max(1) as f64;
        let quantile = |values: &[f64], q: f64| crate::demo::percentile(&mut values.to_vec(), q);
        let idle = self.idle as f64 / typed;
        let time = |values: &[f64], q: f64| match values {
            [] => Value::Null,
            values => round(quantile(values, q)).into(),
        };
        vec![
            ("layout", self.name.as_str().into()),
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
            ("predicted_ms_p50", time(&self.predicted_ms, 0.50)),
            ("predicted_ms_p95", time(&self.predicted_ms, 0.95)),
        ]
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Runs the bench and prints it.
pub fn run(options: &Options, config: &Config) -> Result<()> {
    let trace = Trace::read(&options.file)?;
    // A wrong address is said before minutes of work.
    let peer = options.against.as_deref().map(against::Peer::new).transpose()?;
    let mut rows = Vec::new();
    match options.timed.map(|keys| keys.min(options.chars)) {
        Some(keys) => {
            rows.push(timed::run(&trace, config, keys)?);
            rows.extend(peer.map(|peer| peer.run(&trace, keys)).transpose()?);
        }
        None => {
            let tokens = tokenizer(options.tokenizer.as_deref(), config)?;
            for layout in &options.layout {
                rows.push(count::count(&trace, *layout, &tokens, config, options.chars, beside(options)?.as_ref()));
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
    let table = table(rows, options.csv);
    print!("{table}");
    if !options.csv {
        notes(rows);
    }
    Ok(())
}

/// A header and a row each: with commas, or in columns.
fn table(rows: &[Row], csv: bool) -> String {
    table_of(&rows.iter().map(Row::fields).collect::<Vec<_>>(), csv)
}

fn table_of(fields: &[Vec<(&'static str, Value)>], csv: bool) -> String {
    let nothing = if csv { "" } else { "-" };
    let text =
        |value: &Value| value.as_str().map_or_else(|| if value.is_null() { nothing.into() } else { value.to_string() }, str::to_string);
    let header = fields.iter().take(1).map(|f| f.iter().map(|(name, _)| (*name).to_string()).collect());
    let lines: Vec<Vec<String>> = header.chain(fields.iter().map(|f| f.iter().map(|(_, v)| text(v)).collect())).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns).map(|c| lines.iter().map(|l| l[c].len()).max().unwrap_or(0)).collect();
    let cell = |(cell, width): (&String, &usize)| if csv { cell.clone() } else { format!("{cell:>width$}") };
    let line = |l: &Vec<String>| l.iter().zip(&widths).map(cell).collect::<Vec<_>>().join(if csv { "," } else { "  " }) + "\n";
    lines.iter().map(line).collect()
}

/// What the table's figures stand on.
fn notes(rows: &[Row]) {
    for row in rows.iter().filter(|r| !r.reanchors.is_empty()) {
        println!("\n{}: split anew {:?}", row.name, row.reanchors);
    }
    for row in rows.iter().filter(|r| !r.misses.is_empty()) {
        println!("{}: prompt tokens were computed because of {:?}", row.name, row.misses);
    }
    for row in rows.iter().filter(|r| !r.predicted_ms.is_empty()) {
        println!(
            "{}: tokens are its timings.prompt_n, first_token_ms its prompt_ms, predicted_ms its own; line_ms is the whole request.",
            row.name
        );
    }
}

/// The workspace that `--beside` names, with the trace's document open in it.
fn beside(options: &Options) -> Result<Option<Arc<Workspace>>> {
    let Some(folder) = &options.beside else { return Ok(None) };
    let workspace = Workspace::of_folder(folder, &[])?;
    let files = workspace.index.read().map_or(0, |index| index.len());
    anyhow::ensure!(files > 1, "{} has {files} source files: name the folder of a project", folder.display());
    workspace.opened("file:///trace.rs", "src/trace.rs", true);
    Ok(Some(Arc::new(workspace)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_row_stands_beside_ours_in_every_form() {
        let ours = Row { foreground: vec![1.0, 2.0, 3.0], first_token_ms: vec![4.0], ..Row::new("frozen") };
        let peer = Row { foreground: vec![900.0], predicted_ms: vec![17.25], ..Row::new("llama.cpp") };
        let csv = table(&[ours.clone(), peer.clone()], true);
        let lines: Vec<Vec<&str>> = csv.lines().map(|l| l.split(',').collect()).collect();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [lines[0].len(); 3]);
        let column = |name: &str| lines[0].iter().position(|c| *c == name).expect("a column");
        assert_eq!((lines[1][0], lines[1][column("tokens_mean")], lines[1][column("predicted_ms_p50")]), ("frozen", "2.0", ""));
        assert_eq!((lines[2][0], lines[2][column("predicted_ms_p50")]), ("llama.cpp", "17.25"));
        let plain = table(&[ours, peer], false);
        let widths: Vec<usize> = plain.lines().map(str::len).collect();
        assert_eq!(widths, [widths[0]; 3], "{plain}");
    }
}
