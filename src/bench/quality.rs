//! `infill bench quality DIR`: is the frozen hole's quality the price of its speed?
//!
//! ```text
//! infill bench quality held-out/                     2,000 holes in the .py and .rs files below
//! infill bench quality held-out/ --holes 300 --seed 2 --json
//! ```
//! Lines are cut, and the rest of the line is the true continuation. For each cut the hole is frozen so many characters
//! before it; then these characters are typed. The document has neither them nor the rest of the line when it is frozen.
//! Against that, a fresh prefix-suffix split at the cut (`completion.layout = "psm"`): the same cuts, the same budgets.
//! `psm` encodes a word that the cut breaks as if it ended there; `healed` is the same split moved back to the last
//! settled token, the bytes since then held. What is between `healed` and `frozen` is the price of freezing alone.
use crate::config::Config;
use crate::document::{Document, Snapshot};
use crate::engine::local;
use crate::model::Backend;
use crate::prompt::{Budget, Hole};
use crate::suggest::Settings;
use anyhow::Result;
use cuts::{Cut, Places, Random};
use score::{Score, Scorer, Text};
use std::io::IsTerminal;
use std::path::PathBuf;

pub(crate) mod cuts;
mod score;

/// Characters typed since the hole was frozen.
const TAILS: [usize; 4] = [0, 5, 20, 80];
/// Resamplings of the bootstrap.
const RESAMPLES: usize = 1000;
/// Most tokens of a suggestion that ends with its line, as `suggest` asks for.
const LINE_TOKENS: usize = 48;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A folder of files (.py, .rs) that the model was not trained on.
    pub dir: PathBuf,
    /// How many lines are cut.
    #[arg(long, default_value_t = 2000)]
    pub holes: usize,
    /// Where lines are cut.
    #[arg(long, value_enum, default_value = "anywhere")]
    pub cuts: Places,
    /// Another seed cuts elsewhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The table as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Figures of one configuration.
#[derive(Clone, Debug, serde::Serialize)]
struct Row {
    /// Characters typed since the hole was frozen; a fresh split has none.
    tail: Option<usize>,
    layout: &'static str,
    suffix: &'static str,
    bits_per_byte: f64,
    /// Against the fresh split, and its 95 % interval (bootstrap over the cuts).
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
    exact_percent: f64,
}

#[derive(Debug, serde::Serialize)]
struct Report {
    model: String,
    files: usize,
    holes: usize,
    /// Cuts that were left out: a prompt of theirs has more tokens than the model holds.
    left_out: usize,
    seed: u64,
    cuts: Places,
    prefix_bytes: usize,
    suffix_bytes: usize,
    short_suffix_bytes: usize,
    rows: Vec<Row>,
}

/// One cut under all configurations.
struct Case {
    bytes: usize,
    psm: Score,
    healed: Score,
    /// By tail: the long suffix, the short one.
    frozen: Vec<[Score; 2]>,
}

/// Runs the bench and prints it.
///
/// # Errors
/// A folder that cannot be read or has too little text; a model that cannot be used.
pub fn run(options: &Options, config: &Config) -> Result<()> {
    let files = cuts::read(&options.dir)?;
    let cuts = cuts::draw(&files, options.holes, options.seed, options.cuts)?;
    let (model, tokens) = local::parts(&config.model)?;
    let settings = Settings::new(config, tokens.bytes_per_token(), model.context());
    let (budget, name) = (settings.budget, model.name().to_owned());
    let mut scorer = Scorer::new(Box::new(model), tokens, usize::MAX, settings.max_tokens.min(LINE_TOKENS));
    let mut cases = Vec::new();
    for (n, cut) in cuts.iter().enumerate() {
        progress(n + 1, cuts.len());
        cases.extend(case(&files[cut.file], *cut, &budget, &mut scorer)?);
    }
    let report = Report {
        model: name,
        files: files.len(),
        holes: cases.len(),
        left_out: cuts.len() - cases.len(),
        seed: options.seed,
        cuts: options.cuts,
        prefix_bytes: budget.prefix,
        suffix_bytes: budget.suffix,
        short_suffix_bytes: budget.short,
        rows: rows(&cases, options.seed),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn progress(done: usize, all: usize) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{done} of {all}{}", if done == all { "\n" } else { "" });
    }
}

/// `None` when some prompt does not fit: then the cut is left out everywhere, so that all stay paired.
fn case(file: &str, cut: Cut, budget: &Budget, scorer: &mut Scorer) -> Result<Option<Case>> {
    let truth = &file[cut.at..cut.end];
    let fresh = fresh(file, cut, budget);
    let Some(psm) = scorer.score(&fresh, truth)? else { return Ok(None) };
    let healed = scorer.healed(fresh);
    let Some(healed) = scorer.score(&healed, truth)? else { return Ok(None) };
    let mut frozen: Vec<[Score; 2]> = Vec::new();
    let mut before: Option<[Text; 2]> = None;
    for tail in TAILS {
        let texts = frozen_texts(file, cut, tail, budget);
        // A few characters more most often begin in the same line: the same hole.
        if let Some(same) = frozen.last().copied().filter(|_| before.as_ref() == Some(&texts)) {
            frozen.push(same);
            continue;
        }
        let (Some(long), Some(short)) = (scorer.score(&texts[0], truth)?, scorer.score(&texts[1], truth)?) else { return Ok(None) };
        frozen.push([long, short]);
        before = Some(texts);
    }
    Ok(Some(Case { bytes: truth.len(), psm, healed, frozen }))
}

/// The document when the cursor stood at `cursor`: up to it, and what follows the cut's line.
fn document(file: &str, cut: Cut, cursor: usize) -> Snapshot {
    Document::new("file:///hole", "", 0, &[&file[..cursor], &file[cut.end..]].concat()).snapshot()
}

/// The fresh split at the cut, as `suggest` makes it for `completion.layout = "psm"`.
fn fresh(file: &str, cut: Cut, budget: &Budget) -> Text {
    let text = document(file, cut, cut.at);
    let hole = Hole::new(&text, cut.at, budget, None);
    let tail = hole.tail(&text, cut.at).unwrap_or_default();
    Text { prefix: hole.prefix().to_owned() + &tail, suffix: text.text(cut.at, cut.at + budget.suffix), tail: String::new() }
}

/// The hole frozen `typed` characters before the cut, with the long suffix and the short one. Where it does not hold any
/// more at the cut, the one that `suggest` would make there.
fn frozen_texts(file: &str, cut: Cut, typed: usize, budget: &Budget) -> [Text; 2] {
    let at = file[..cut.at].char_indices().rev().take(typed).last().map_or(cut.at, |(at, _)| at);
    let now = document(file, cut, cut.at);
    let mut hole = Hole::new(&document(file, cut, at), at, budget, None);
    if hole.tail(&now, cut.at).is_err() {
        hole = Hole::new(&now, cut.at, budget, Some(&hole));
    }
    let tail = hole.tail(&now, cut.at).unwrap_or_default();
    [true, false].map(|long| Text { prefix: hole.prefix().into(), suffix: hole.suffix(long).into(), tail: tail.clone() })
}

fn rows(cases: &[Case], seed: u64) -> Vec<Row> {
    let fresh = [("psm", (|case| case.psm) as fn(&Case) -> Score), ("healed", |case| case.healed)];
    let mut rows: Vec<Row> = fresh.map(|(layout, score)| row(cases, seed, None, layout, "long", score)).into();
    for (n, tail) in TAILS.into_iter().enumerate() {
        for (m, suffix) in ["long", "short"].into_iter().enumerate() {
            rows.push(row(cases, seed, Some(tail), "frozen", suffix, |case| case.frozen[n][m]));
        }
    }
    rows
}

fn row(cases: &[Case], seed: u64, tail: Option<usize>, layout: &'static str, suffix: &'static str, score: impl Fn(&Case) -> Score) -> Row {
    let count = cases.len().max(1) as f64;
    let bytes: usize = cases.iter().map(|case| case.bytes).sum();
    let pairs: Vec<(f64, f64)> = cases.iter().map(|case| (score(case).bits, case.psm.bits)).collect();
    let (ratio_low, ratio_high) = interval(&pairs, seed);
    let bits: f64 = pairs.iter().map(|(bits, _)| bits).sum();
    Row {
        tail,
        layout,
        suffix,
        bits_per_byte: bits / bytes.max(1) as f64,
        ratio: ratio(pairs.iter().copied()),
        ratio_low,
        ratio_high,
        exact_percent: cases.iter().filter(|case| score(case).exact).count() as f64 / count * 100.0,
    }
}

fn ratio(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (ours, theirs) = pairs.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    ours / theirs
}

/// 95 % of the ratios of resampled cuts lie between these.
fn interval(pairs: &[(f64, f64)], seed: u64) -> (f64, f64) {
    let mut random = Random(seed);
    let mut ratios: Vec<f64> = (0..RESAMPLES).map(|_| ratio((0..pairs.len()).map(|_| pairs[random.below(pairs.len())]))).collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[RESAMPLES / 40], ratios[RESAMPLES - 1 - RESAMPLES / 40])
}

fn print(report: &Report) {
    println!(
        "{}: {} holes in {} files (cuts {}, seed {}, {} left out); prefix {} bytes, suffix {}, short suffix {}\n",
        report.model,
        report.holes,
        report.files,
        report.cuts,
        report.seed,
        report.left_out,
        report.prefix_bytes,
        report.suffix_bytes,
        report.short_suffix_bytes
    );
    println!("  tail  layout  suffix  bits/byte  against psm  95 % interval    exact match");
    for row in &report.rows {
        let tail = row.tail.map_or_else(|| "-".to_owned(), |tail| tail.to_string());
        println!(
            "{tail:>6}  {:>6}  {:>6}  {:>9.4}  {:>11.4}  {:.4} - {:.4}  {:>10.2} %",
            row.layout, row.suffix, row.bits_per_byte, row.ratio, row.ratio_low, row.ratio_high, row.exact_percent
        );
    }
}

#[cfg(test)]
mod tests;
