//! `infill eval humaneval-infilling FILE`: HumanEval with holes, by its authors' scoring.
//!
//! ```text
//! {"task_id": "SingleLineInfilling/HumanEval/0/L0", "prompt": "def f(a):⏎", "suffix": "    return b⏎",
//!  "canonical_solution": "    b = a⏎", "test": "def check(candidate): …", "entry_point": "f"}
//! program: prompt + completion + suffix + test + check(f)         pass@1: the share of programs that run to their end
//! ```
//! The files are those of openai/human-eval-infilling. The line end that ends a hole stays in the text, as it does in an
//! editor. Exact match leaves blanks at the end out. One greedy suggestion a task, so pass@1 is a plain share.
use super::sandbox::{Limits, Sandbox, Verdict};
use super::score::{Marks, percent};
use super::table::{Report, Row};
use super::{Gap, How, Session, Suggested, lines};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

const FIELDS: &str = "a task has the texts task_id, prompt, suffix, canonical_solution, test and entry_point; \
                      take a file of github.com/openai/human-eval-infilling";
/// DeepSeek-Coder-V2-Lite-Base on single lines of Python.
const PUBLISHED: f64 = 80.0;
const PUBLISHED_NOTE: &str = "published: exact match of DeepSeek-Coder-V2-Lite-Base on single-line infilling: HumanEval FIM 86.4 \
    (README of deepseek-ai/DeepSeek-Coder-V2, 3.2), the mean of Python 80.0, Java 89.1 and JavaScript 87.2 (arXiv 2406.11931, table 6)";

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// HumanEval-SingleLineInfilling.jsonl.gz, or another file of that benchmark, gzipped or not.
    pub file: PathBuf,
    /// Exact match only: run no programs.
    #[arg(long)]
    pub no_run: bool,
    /// Run programs even where the system cannot cut them off from the network.
    #[arg(long, conflicts_with = "no_run")]
    pub unsafe_network: bool,
    #[command(flatten)]
    pub how: How,
}

#[derive(Clone, Debug, Deserialize)]
struct Task {
    task_id: String,
    prompt: String,
    suffix: String,
    canonical_solution: String,
    test: String,
    entry_point: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    suggested: Suggested,
    exact: bool,
    shown: bool,
    /// Absent where no programs are run.
    verdict: Option<Verdict>,
}

impl Task {
    fn gap(&self) -> Gap {
        // The whole line is missing: its end stays.
        let (truth, after) = match self.canonical_solution.strip_suffix('\n') {
            Some(truth) => (truth.to_owned(), format!("\n{}", self.suffix)),
            None => (self.canonical_solution.clone(), self.suffix.clone()),
        };
        Gap { path: "humaneval.py".into(), before: self.prompt.clone(), after, truth }
    }

    fn program(&self, gap: &Gap, suggested: &Suggested) -> String {
        let after = gap.after.get(suggested.replaces..).unwrap_or_default();
        format!("{}{}{after}\n{}\ncheck({})\n", gap.before, suggested.text, self.test, self.entry_point)
    }

    /// `SingleLineInfilling`, …
    fn kind(&self) -> &str {
        self.task_id.split('/').next().unwrap_or_default()
    }
}

pub(super) fn measure<'a>(options: &Options, session: impl FnOnce() -> Result<Session<'a>>) -> Result<Report> {
    let (tasks, data) = lines::read::<Task>(&options.file, options.how.limit(), FIELDS)?;
    let mut seen = HashSet::new();
    if let Some(twice) = tasks.iter().find(|task| !seen.insert(&task.task_id)) {
        bail!("{} has task {} twice: download it again", options.file.display(), twice.task_id);
    }
    let sandbox = if options.no_run { None } else { Some(Sandbox::open(Limits::default(), options.unsafe_network)?) };
    let session = session()?;
    let mut settings = session.settings("humaneval-infilling", &data);
    settings.add("programs", programs(sandbox.as_ref()).into());
    let records = session.each(&tasks, &settings, |task| task.task_id.clone(), |task| one(task, &session, sandbox.as_ref()))?;
    let rows = rows(&tasks, &records, session.is_lite_base());
    Ok(Report { settings, rows, notes: notes(&session, sandbox.as_ref()) })
}

fn programs(sandbox: Option<&Sandbox>) -> &'static str {
    match sandbox.map(Sandbox::cut_off) {
        None => "not run",
        Some(true) => "run without network",
        Some(false) => "run WITH the network",
    }
}

fn one(task: &Task, session: &Session<'_>, sandbox: Option<&Sandbox>) -> Result<Record> {
    let gap = task.gap();
    let suggested = session.suggest(&gap)?;
    let verdict = sandbox.map(|sandbox| sandbox.run(&task.program(&gap, &suggested))).transpose()?;
    Ok(Record { exact: Marks::new(&gap, &suggested).exact, shown: session.shows(&suggested), verdict, suggested })
}

fn rows(tasks: &[Task], records: &[Record], lite: bool) -> Vec<Row> {
    let kinds: BTreeSet<&str> = tasks.iter().map(Task::kind).collect();
    let of = |kind: &str| tasks.iter().zip(records).filter(|(t, _)| t.kind() == kind).map(|(_, r)| r).collect::<Vec<_>>();
    kinds.iter().map(|kind| row(kind, &of(kind), lite)).collect()
}

fn row(kind: &str, records: &[&Record], lite: bool) -> Row {
    let share = |is: &dyn Fn(&Record) -> bool| percent(records.iter().filter(|r| is(r)).count(), records.len());
    let ran = records.iter().any(|r| r.verdict.is_some());
    let verdict = |wanted| if ran { share(&|r| r.verdict == Some(wanted)).into() } else { Value::Null };
    let mut row = vec![("tasks", kind.into()), ("count", records.len().into()), ("exact %", share(&|r| r.exact).into())];
    if lite {
        let published = if kind == "SingleLineInfilling" { PUBLISHED.into() } else { Value::Null };
        row.push(("published exact %", published));
    }
    row.extend([("pass@1 %", verdict(Verdict::Passed)), ("timed out %", verdict(Verdict::TimedOut))]);
    row.extend([("nothing %", share(&|r| r.suggested.text.is_empty()).into()), ("shown %", share(&|r| r.shown).into())]);
    row
}

fn notes(session: &Session<'_>, sandbox: Option<&Sandbox>) -> Vec<String> {
    let mut notes = vec![session.shown_note()];
    if sandbox.is_some_and(|sandbox| !sandbox.cut_off()) {
        notes.push("WARNING: this system could not cut the programs off from the network; they ran with it".into());
    }
    if session.is_lite_base() {
        notes.push(PUBLISHED_NOTE.into());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(solution: &str, suffix: &str) -> Task {
        Task {
            task_id: "SingleLineInfilling/Own/0/L0".into(),
            prompt: "def double(a):\n".into(),
            suffix: suffix.into(),
            canonical_solution: solution.into(),
            test: "def check(candidate):\n    assert candidate(2) == 4\n".into(),
            entry_point: "double".into(),
        }
    }

    #[test]
    fn the_line_end_of_a_hole_stays_in_the_text() {
        let whole = task("    b = a * 2\n", "    return b\n").gap();
        assert_eq!((whole.truth.as_str(), whole.after.as_str()), ("    b = a * 2", "\n    return b\n"));
        let span = task("    b = a", " * 2\n    return b\n").gap();
        assert_eq!((span.truth.as_str(), span.after.as_str()), ("    b = a", " * 2\n    return b\n"));
    }

    #[test]
    fn a_program_is_the_text_with_the_suggestion_accepted_and_then_its_tests() {
        let task = task("    return a * 2\n", "");
        let gap = Gap { after: ")\n".into(), ..task.gap() };
        let suggested = Suggested { text: "    return (a * 2)".into(), replaces: 1, probability: 1.0, ..Suggested::default() };
        let program = task.program(&gap, &suggested);
        assert!(program.starts_with("def double(a):\n    return (a * 2)\n\ndef check(candidate):"), "{program}");
        assert!(program.ends_with("\ncheck(double)\n"), "{program}");
    }

    #[test]
    fn published_figures_stand_beside_single_lines_only_and_for_that_model_only() {
        let record = Record { suggested: Suggested::default(), exact: true, shown: false, verdict: None };
        let names = |lite| row("SingleLineInfilling", &[&record], lite).iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert!(!names(false).contains(&"published exact %"));
        assert_eq!(names(true)[2..4], ["exact %", "published exact %"]);
        assert_eq!(row("SingleLineInfilling", &[&record], true)[3].1, 80.0);
        assert_eq!(row("MultiLineInfilling", &[&record], true)[3].1, Value::Null);
        assert_eq!(row("MultiLineInfilling", &[&record], true)[4], ("pass@1 %", Value::Null), "no programs were run");
    }
}
