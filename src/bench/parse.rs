//! `infill bench parse FILE…`: what the parser costs, for a whole file and at each key.
//!
//! ```text
//! infill bench parse src/bench.rs                  as it is
//! infill bench parse a.py b.rs --lines 10000       their text over and over, up to so many lines
//! ```
//! At random places of the document a short statement is typed, a key each, on a line of its own, and taken away at once.
//! A key's time is that of [`Document::apply`]: the edit and the parse that it may wait for, as in the server. What takes
//! longer than 5 ms is given up there and finished in the background, the next key's too; the share of keys that were answered
//! from the tree before is shown, and how long the background took.
use super::quality::cuts::Random;
use super::table_of;
use crate::complete::language;
use crate::config::plain;
use crate::demo::percentile;
use crate::document::{Change, Document, Encoding, Position, Range};
use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is typed.
const TYPED: &str = "x = call(a, \"b\", [1])";

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Source files; the extension tells the language.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Repeat a shorter file's text up to so many lines.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub lines: usize,
    /// How many keys are timed, in each file.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub keys: usize,
    /// Another seed types elsewhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Times in milliseconds.
#[derive(Debug)]
struct Figures {
    lines: usize,
    bytes: usize,
    errors: usize,
    cold: f64,
    keys: Vec<f64>,
    /// Keys after which the old tree answered until the background was done.
    late: usize,
    /// What the background then took.
    behind: Vec<f64>,
}

/// Runs the bench and prints it.
///
/// # Errors
/// A file that cannot be read, is empty, or is in a language without a grammar.
pub fn run(options: &Options) -> Result<()> {
    let rows: Vec<Vec<(&str, Value)>> = options.files.iter().map(|file| row(file, options)).collect::<Result<_>>()?;
    if options.json {
        let object = |row: &Vec<(&str, Value)>| row.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect::<serde_json::Map<_, _>>();
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(object).collect::<Vec<_>>())?);
    } else {
        print!("{}", table_of(&rows, false));
    }
    Ok(())
}

fn row(file: &Path, options: &Options) -> Result<Vec<(&'static str, Value)>> {
    let text = std::fs::read_to_string(file).map_err(|e| anyhow!("{} cannot be read ({}): name a text file", file.display(), plain(&e)))?;
    let figures = measure(language(file), &long(&text, options.lines), options.keys, options.seed);
    let Some(f) = figures else {
        bail!(
            "{}: no grammar for \"{}\", or the parse takes too long: name a source file of a known language",
            file.display(),
            language(file)
        )
    };
    let of = |times: &[f64], q: f64| json!(super::round(percentile(&mut times.to_vec(), q)));
    let quantile = |q: f64| of(&f.keys, q);
    let late = (f.late as f64 * 1e4 / f.keys.len().max(1) as f64).round() / 100.0;
    Ok(vec![
        ("language", language(file).into()),
        ("lines", f.lines.into()),
        ("bytes", f.bytes.into()),
        ("errors", f.errors.into()),
        ("cold_ms", super::round(f.cold).into()),
        ("keys", f.keys.len().into()),
        ("key_ms_p50", quantile(0.50)),
        ("key_ms_p95", quantile(0.95)),
        ("key_ms_p99", quantile(0.99)),
        ("key_ms_max", quantile(1.0)),
        ("late_%", late.into()),
        ("behind_ms_p50", of(&f.behind, 0.50)),
        ("behind_ms_p95", of(&f.behind, 0.95)),
    ])
}

/// A text over and over, up to a number of lines.
fn long(text: &str, lines: usize) -> String {
    let own = text.lines().count();
    text.lines().cycle().take(own.max(lines)).fold(String::new(), |all, line| all + line + "\n")
}

/// `None` where there is no grammar, or the parse takes too long at all.
fn measure(language: &str, text: &str, keys: usize, seed: u64) -> Option<Figures> {
    let begun = Instant::now();
    let mut document = settled(Document::new("file:///bench", language, 1, text));
    let cold = begun.elapsed().as_secs_f64() * 1e3;
    let errors = document.snapshot().syntax?.errors();
    let lines = document.snapshot().rope.len_lines();
    let mut figures = Figures { lines, bytes: text.len(), errors, cold, keys: Vec::new(), late: 0, behind: Vec::new() };
    let mut random = Random(seed);
    while figures.keys.len() < keys {
        document = burst(document, random.below(lines), &mut figures);
    }
    figures.keys.truncate(keys);
    Some(figures)
}

/// Types a line above another, as deep as that one, and takes it away.
fn burst(mut document: Document, line: usize, figures: &mut Figures) -> Document {
    let at = |line: usize, character: usize| Position { line: line as u32, character: character as u32 };
    let typed = |n: usize, text: &str| Change { range: Some(Range { start: at(line, n), end: at(line, n) }), text: text.into() };
    let text = document.snapshot();
    let start = text.offset(at(line, 0), Encoding::Utf8);
    let below = text.text(start, text.line_end(start));
    let indent = &below[..below.len() - below.trim_start().len()];
    document = key(document, typed(0, &format!("{indent}\n")), figures);
    for (n, c) in TYPED.char_indices() {
        document = key(document, typed(indent.len() + n, c.encode_utf8(&mut [0; 4])), figures);
    }
    let all = Some(Range { start: at(line, 0), end: at(line + 1, 0) });
    key(document, Change { range: all, text: String::new() }, figures)
}

fn key(mut document: Document, change: Change, figures: &mut Figures) -> Document {
    let begun = Instant::now();
    document.apply(document.version() + 1, &[change], Encoding::Utf8);
    figures.keys.push(begun.elapsed().as_secs_f64() * 1e3);
    let late = document.snapshot().syntax.is_none_or(|syntax| syntax.is_late());
    figures.late += usize::from(late);
    let begun = Instant::now();
    let document = settled(document);
    figures.behind.extend(late.then(|| begun.elapsed().as_secs_f64() * 1e3));
    document
}

/// What is left for the background is done.
fn settled(mut document: Document) -> Document {
    while let Some(job) = document.unparsed() {
        document.parsed(job.run());
    }
    document
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_before_after_a_burst_and_each_key_is_counted() {
        let text = long("def f(a):\n    return a\n", 25);
        assert_eq!(text.lines().count(), 25);
        let mut figures = measure("python", &text, 50, 3).expect("figures");
        assert_eq!((figures.lines, figures.errors, figures.keys.len()), (26, 0, 50));
        let document = burst(Document::new("u", "python", 1, &text), 7, &mut figures);
        assert_eq!(document.snapshot().rope.to_string(), text);
        assert_eq!(figures.keys.len(), 50 + TYPED.len() + 2);
        assert!(measure("plaintext", &text, 1, 1).is_none());
    }
}
