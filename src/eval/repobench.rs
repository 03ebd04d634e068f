//! `infill eval repobench FILE`: the next line of a file, with and without what other files of the project hold.
//!
//! ```text
//! # Repo Name: owner/project          the context: snippets of other files, cut to what fits the window
//! # Path: shop/model.py
//! class Item: …
//!
//! # Path: shop/cart.py                the file itself: path, imports, the text before the line
//! import …
//! ```
//! The line format is that of RepoBench v1.1 (tianyang/repobench_python_v1.1 and _java_v1.1), a JSON object a line, and
//! prompts are made as its `construct_prompt` makes them. Scoring is the authors' too (Leolty/repobench, run.py and evaluation/metrics.py):
//! exact match compares words, blanks aside; edit similarity is [`similarity`] of the first suggested line that is no comment.
//! What differs: the model is asked for a hole with nothing behind it, greedily, for the line alone (`--lines block` for more);
//! the published figures are plain continuations of 128 tokens, sampled at a temperature of 0.2.
use super::score::{mean, percent, similarity};
use super::table::{Report, Row};
use super::{Gap, How, Session, Suggested, lines};
use crate::complete::language;
use crate::suggest::Settings;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

const FIELDS: &str = "a task has repo_name, file_path, context (a list of identifier, path and snippet), import_statement, cropped_code, \
                      next_line and gold_snippet_index; take RepoBench v1.1 as JSON lines";
/// DeepSeek-Coder-V2-Lite-Base, by language.
const PUBLISHED: [(&str, f64); 2] = [("python", 38.9), ("java", 43.3)];
const PUBLISHED_NOTE: &str = "published: exact match of DeepSeek-Coder-V2-Lite-Base on RepoBench v1.1: Python 38.9, Java 43.3 (README of \
    deepseek-ai/DeepSeek-Coder-V2, 3.2), the mean over levels 2k to 16k of its December 2023 part (arXiv 2406.11931, table 5)";

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A split of RepoBench v1.1 as JSON lines, gzipped or not.
    pub file: PathBuf,
    /// Only what the published figures are of: lines of December 2023, levels 2k to 16k.
    #[arg(long)]
    pub published_part: bool,
    #[command(flatten)]
    pub how: How,
}

#[derive(Clone, Debug, Deserialize)]
struct Line {
    repo_name: String,
    file_path: String,
    context: Vec<Snippet>,
    import_statement: String,
    cropped_code: String,
    next_line: String,
    /// The snippet that the line needs; -1 where it needs none.
    gold_snippet_index: i64,
    /// As `2023-12-03 10:11:12`.
    #[serde(default)]
    created_at: String,
    /// How long a prompt of all that is in it would be: `2k`, `4k`, …
    #[serde(default)]
    level: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Snippet {
    path: String,
    snippet: String,
}

/// A line and its number, which names it.
struct Task(usize, Line);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    without: Outcome,
    with: Outcome,
    /// Bytes of context that fitted.
    context: usize,
    /// Whether the snippet that the line needs is wholly among them; absent where it needs none.
    gold: Option<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    #[serde(flatten)]
    suggested: Suggested,
    exact: bool,
    similarity: f64,
    shown: bool,
}

pub(super) fn measure<'a>(options: &Options, session: impl FnOnce() -> Result<Session<'a>>) -> Result<Report> {
    let most = if options.published_part { usize::MAX } else { options.how.limit() };
    let (found, data) = lines::read::<Line>(&options.file, most, FIELDS)?;
    let tasks = found.into_iter().enumerate().map(|(n, line)| Task(n + 1, line));
    let tasks: Vec<Task> = tasks.filter(|Task(_, line)| !options.published_part || line.published()).take(options.how.limit()).collect();
    if tasks.is_empty() {
        bail!("{} has no line of December 2023 at levels 2k to 16k: leave --published-part away", options.file.display());
    }
    let session = session()?;
    let window = Settings::new(&session.config, session.info.bytes_per_token, session.info.context).budget.prefix;
    let mut settings = session.settings("repobench", &data);
    settings.add("published_part", options.published_part.into());
    settings.add("window_bytes", window.into());
    let records = session.each(&tasks, &settings, |Task(n, _)| format!("line {n}"), |Task(_, line)| line.measure(&session, window))?;
    let mut notes = vec![session.shown_note()];
    if session.is_lite_base() {
        notes.push(PUBLISHED_NOTE.into());
    }
    Ok(Report { settings, rows: rows(&tasks, &records, session.is_lite_base()), notes })
}

impl Line {
    fn published(&self) -> bool {
        self.created_at.starts_with("2023-12") && ["2k", "4k", "8k", "12k", "16k"].contains(&self.level.as_str())
    }

    fn measure(&self, session: &Session<'_>, window: usize) -> Result<Record> {
        let context = self.context(window);
        let without = self.outcome(session, "")?;
        let with = if context.is_empty() { without.clone() } else { self.outcome(session, &context)? };
        let gold = usize::try_from(self.gold_snippet_index).ok().and_then(|n| self.context.get(n));
        Ok(Record { without, with, gold: gold.map(|gold| context.contains(&gold.snippet)), context: context.len() })
    }

    fn outcome(&self, session: &Session<'_>, context: &str) -> Result<Outcome> {
        let gap = Gap { path: self.file_path.clone(), before: squeeze(&(context.to_owned() + &self.text())), ..Gap::default() };
        let suggested = session.suggest(&gap)?;
        let line = first_line(&suggested.text, self.comments());
        Ok(Outcome {
            exact: line.split_whitespace().eq(self.next_line.split_whitespace()),
            similarity: similarity(line, &self.next_line),
            shown: session.shows(&suggested),
            suggested,
        })
    }

    fn comment(&self) -> &'static str {
        match language(self.file_path.as_ref()) {
            "python" | "ruby" | "shellscript" => "#",
            _ => "//",
        }
    }

    /// How comments begin: of a line; of several lines, and how those end.
    fn comments(&self) -> Comments {
        match self.comment() {
            "#" => Comments { line: "#", begin: &["\"\"\"", "'''"], end: &["\"\"\"", "'''"] },
            line => Comments { line, begin: &["/*"], end: &["*/"] },
        }
    }

    /// The file's own text.
    fn text(&self) -> String {
        format!("{} Path: {}\n{}\n{}\n", self.comment(), self.file_path, self.import_statement, self.cropped_code)
    }

    /// What goes before the file's own text, so that both fit the window: whole lines from the first on. Nothing when not
    /// even one line of a snippet fits.
    fn context(&self, window: usize) -> String {
        let head = format!("{} Repo Name: {}\n", self.comment(), self.repo_name);
        let snippet = |s: &Snippet| format!("{} Path: {}\n{}\n\n", self.comment(), s.path, s.snippet);
        let mut room = window.saturating_sub(self.text().len());
        let mut text = String::new();
        for line in (head + &self.context.iter().map(snippet).collect::<String>()).split_inclusive('\n') {
            match room.checked_sub(line.len()) {
                Some(left) => room = left,
                None => break,
            }
            text += line;
        }
        if text.lines().count() > 2 { text } else { String::new() }
    }
}

/// Four line ends and more become two.
fn squeeze(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\n\n\n\n") {
        out += &rest[..at];
        out += "\n\n";
        rest = rest[at..].trim_start_matches('\n');
    }
    out + rest
}

struct Comments {
    line: &'static str,
    begin: &'static [&'static str],
    end: &'static [&'static str],
}

/// The first line that is neither blank nor of a comment; where there is none, the first that is not empty. As the authors have it: a line
/// that begins a comment of several lines never ends one too.
fn first_line(text: &str, comments: Comments) -> &str {
    let mut inside = false;
    let code = |line: &&str| {
        let bare = line.trim();
        if bare.is_empty() {
            return false;
        }
        let (begins, ends) = (comments.begin.iter().any(|m| bare.starts_with(m)), comments.end.iter().any(|m| bare.ends_with(m)));
        let was = inside;
        inside = if was { !ends } else { begins };
        !(was || begins || bare.starts_with(comments.line))
    };
    let text = text.trim_start_matches('\n');
    text.split('\n').find(code).or(text.split('\n').next()).unwrap_or_default()
}

fn rows(tasks: &[Task], records: &[Record], lite: bool) -> Vec<Row> {
    let of = |task: &Task| language(task.1.file_path.as_ref()).to_owned();
    let languages: BTreeSet<String> = tasks.iter().map(of).collect();
    let mut rows = Vec::new();
    for language in &languages {
        let own: Vec<&Record> = tasks.iter().zip(records).filter(|(t, _)| of(t) == *language).map(|(_, r)| r).collect();
        let published = |on: bool| lite.then(|| PUBLISHED.iter().find(|(l, _)| on && l == language).map(|(_, figure)| *figure));
        let outcomes = |of: fn(&Record) -> &Outcome| own.iter().map(|r| of(r)).collect::<Vec<_>>();
        rows.push(row([language, "off"], [0, 0], &outcomes(|r| &r.without), published(false)));
        let fitted = [own.iter().filter(|r| r.context > 0).count(), own.iter().filter(|r| r.gold == Some(true)).count()];
        rows.push(row([language, "on"], fitted, &outcomes(|r| &r.with), published(true)));
    }
    rows
}

/// `fitted`: prompts that held some context, and all of the snippet that the line needs.
fn row([language, context]: [&str; 2], fitted: [usize; 2], outcomes: &[&Outcome], published: Option<Option<f64>>) -> Row {
    let share = |is: &dyn Fn(&Outcome) -> bool| percent(outcomes.iter().filter(|o| is(o)).count(), outcomes.len());
    let mut row: Row = vec![("language", language.into()), ("context", context.into()), ("tasks", outcomes.len().into())];
    row.extend([("had context", fitted[0].into()), ("had gold", fitted[1].into()), ("exact %", share(&|o| o.exact).into())]);
    row.extend(published.map(|figure| ("published exact %", figure.map_or(Value::Null, Value::from))));
    row.push(("similarity", mean(outcomes.iter().map(|o| o.similarity)).into()));
    row.extend([("nothing %", share(&|o| o.suggested.text.is_empty()).into()), ("shown %", share(&|o| o.shown).into())]);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let snippet = |path: &str, snippet: &str| Snippet { path: path.into(), snippet: snippet.into() };
        Line {
            repo_name: "o/p".into(),
            file_path: "a.py".into(),
            context: vec![snippet("b.py", "class B:\n    x = 1"), snippet("c.py", "C = 2")],
            import_statement: "import b".into(),
            cropped_code: "y = b.B()".into(),
            next_line: "    z = y.x".into(),
            gold_snippet_index: 0,
            created_at: "2023-12-03 10:11:12".into(),
            level: "2k".into(),
        }
    }

    #[test]
    fn the_published_part_is_a_month_and_five_levels() {
        assert!(line().published());
        assert!(!Line { created_at: "2023-11-30 23:59:59".into(), ..line() }.published());
        assert!(!Line { level: "24k".into(), ..line() }.published());
    }

    #[test]
    fn a_prompt_is_made_as_its_authors_make_it() {
        let whole = "# Repo Name: o/p\n# Path: b.py\nclass B:\n    x = 1\n\n# Path: c.py\nC = 2\n\n";
        assert_eq!(line().context(1000), whole);
        assert_eq!(line().text(), "# Path: a.py\nimport b\ny = b.B()\n");
        let java = Line { file_path: "A.java".into(), ..line() };
        assert!(java.context(1000).starts_with("// Repo Name: o/p\n// Path: b.py\n"));
        assert_eq!(squeeze("a\n\n\nb\n\n\n\n\nc\n\n\n\n"), "a\n\n\nb\n\nc\n\n");
    }

    #[test]
    fn context_is_cut_to_what_fits_before_the_file() {
        let own = line().text().len();
        let cut = line().context(own + 45);
        assert_eq!(cut, "# Repo Name: o/p\n# Path: b.py\nclass B:\n", "whole lines from the first on");
        for window in [0, own, own + 31] {
            assert_eq!(line().context(window), "", "{window}");
        }
    }

    #[test]
    fn the_first_line_that_is_no_comment_counts() {
        let first = |path: &str, text: &'static str| first_line(text, Line { file_path: path.into(), ..line() }.comments());
        assert_eq!(first("a.py", "\n  # so\n  x = 1\n  y = 2"), "  x = 1");
        assert_eq!(first("a.py", "\n\n# only\n"), "# only");
        assert_eq!(first("a.py", ""), "");
        assert_eq!(first("a.py", "\"\"\"Adds.\n\nMuch.\n\"\"\"\nx = 1"), "x = 1");
        assert_eq!(first("a.py", "'''Adds.'''\nx = 1\n'''\ny = 2"), "y = 2", "begins and does not end");
        assert_eq!(first("A.java", "// so\n/* and\n * so */\nint x;"), "int x;");
        assert_eq!(first("A.java", "# x"), "# x");
    }

    #[test]
    fn published_figures_stand_in_the_rows_with_context() {
        let outcome = Outcome { suggested: Suggested::default(), exact: false, similarity: 12.0, shown: false };
        let record = Record { without: outcome.clone(), with: Outcome { exact: true, ..outcome }, context: 9, gold: Some(true) };
        let rows = rows(&[Task(1, line())], &[record], true);
        let column = |row: usize, name: &str| rows[row].iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).expect("a column");
        assert_eq!((column(0, "published exact %"), column(1, "published exact %")), (Value::Null, 38.9.into()));
        assert_eq!((column(0, "exact %"), column(1, "exact %"), column(1, "had gold")), (0.0.into(), 100.0.into(), 1.into()));
    }
}
