//! `infill eval holes DIR`: holes cut out of real source files, by kind and by language.
//!
//! ```text
//!     total = |a.count() + 1|⏎         line: a whole line after its indentation
//!     total = a.co|unt() + 1|⏎         rest: from inside a line to its end
//!     total = a.co|unt(|) + 1⏎         mid-line: text on both sides of it stays
//!     if a:⏎        |b()⏎        c()|⏎   block: a body of two lines or more
//!     total = |a.count() + 1|⏎         single (with --kinds single): from any byte to the line's end, at least 8
//! ```
//! The same files, options and seed give the same holes. They are drawn evenly over kinds and languages, then over the
//! files of a language, then over a file's lines.
use super::score::{Marks, mean, percent};
use super::table::{Report, Row};
use super::{Gap, How, Session, Suggested};
use crate::complete::language;
use crate::context::workspace::Workspace;
use crate::document::Document;
use anyhow::{Result, bail};
use cut::{Hole, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

mod copying;
mod cut;
mod learn;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A folder of source files. Hidden folders, target, node_modules and __pycache__ are left out.
    pub dir: PathBuf,
    /// How many holes, over all kinds and languages.
    #[arg(long, default_value_t = 400)]
    pub holes: usize,
    /// Another seed cuts elsewhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What is cut out.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND", default_values_t = Kind::USUAL)]
    pub kinds: Vec<Kind>,
    /// Learn from these holes what is worth showing, and write it to FILE, which belongs beside the model's weights.
    #[arg(long, value_name = "FILE")]
    pub learn: Option<PathBuf>,
    /// Learn from these holes how much the model copies from around them, and write that to FILE. It takes the place of the run.
    #[arg(long, value_name = "FILE", conflicts_with = "learn")]
    pub learn_copying: Option<PathBuf>,
    /// Show the model the other files of the folder too, as in an editor that has it open.
    #[arg(long)]
    pub other_files: bool,
    #[command(flatten)]
    pub how: How,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    kind: Kind,
    language: String,
    truth: String,
    #[serde(flatten)]
    suggested: Suggested,
    #[serde(flatten)]
    marks: Marks,
    shown: bool,
    /// Syntax errors before and after an accept; `None` where there is no grammar.
    parse_errors: Option<(usize, usize)>,
}

pub(super) fn measure<'a>(options: &Options, session: impl FnOnce() -> Result<Session<'a>>) -> Result<Report> {
    if options.learn.is_some() && options.how.threshold != "off" {
        bail!("--learn needs all suggestions, and --threshold {} withholds some: leave it away", options.how.threshold);
    }
    let sources = cut::read(&options.dir, options.seed)?;
    let mut holes = cut::draw(&sources.files, &options.kinds, options.holes, options.seed)?;
    holes.truncate(options.how.limit());
    let mut session = session()?;
    if options.other_files {
        session.around = Some(Arc::new(Workspace::of_folder(&options.dir, &session.config.exclude)?));
    }
    let data = format!("{} ({} files, {} bytes)", options.dir.display(), sources.files.len(), sources.bytes());
    let mut settings = session.settings("holes", &data);
    settings.add("holes", options.holes.into());
    settings.add("seed", options.seed.into());
    if options.kinds != Kind::USUAL {
        settings.add("kinds", options.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ").into());
    }
    if let Some(path) = &options.learn_copying {
        let notes = vec![copying::learn(path, &holes, &session.config, session.around.clone())?];
        return Ok(Report { settings, rows: Vec::new(), notes });
    }
    let records = session.each(&holes, &settings, |hole| hole.id.clone(), |hole| one(hole, &session))?;
    let mut notes = vec![session.shown_note()];
    notes.extend(sources.left_out_note());
    if let Some(path) = &options.learn {
        notes.push(learn::write(path, &records, &settings)?);
    }
    Ok(Report { settings, rows: rows(&records), notes })
}

fn one(hole: &Hole, session: &Session<'_>) -> Result<Record> {
    let suggested = session.suggest(&hole.gap)?;
    Ok(Record {
        kind: hole.kind,
        language: hole.language.clone(),
        truth: hole.gap.truth.clone(),
        marks: Marks::new(&hole.gap, &suggested),
        shown: session.shows(&suggested),
        parse_errors: parse_errors(&hole.gap, &suggested),
        suggested,
    })
}

/// Syntax errors of the whole text, before and after an accept. Each is parsed from nothing: what an editor's tree says that
/// was edited in place is not asked.
fn parse_errors(gap: &Gap, suggested: &Suggested) -> Option<(usize, usize)> {
    let after = gap.after.get(suggested.replaces..)?;
    let errors = |middle: &str, after: &str| {
        let text = [&gap.before, middle, after].concat();
        Document::new(&gap.path, language(gap.path.as_ref()), 1, &text).settled().syntax.map(|s| s.errors())
    };
    Some((errors("", &gap.after)?, errors(&suggested.text, after)?))
}

/// By kind and language, a kind's languages together, and all together.
fn rows(records: &[Record]) -> Vec<Row> {
    let kinds: BTreeSet<Kind> = records.iter().map(|r| r.kind).collect();
    let languages: BTreeSet<&str> = records.iter().map(|r| r.language.as_str()).collect();
    let mut rows = Vec::new();
    for kind in kinds {
        let own: Vec<&Record> = records.iter().filter(|r| r.kind == kind).collect();
        for language in &languages {
            let both: Vec<&Record> = own.iter().copied().filter(|r| r.language == *language).collect();
            rows.extend((!both.is_empty()).then(|| row(kind.name(), language, &both)));
        }
        rows.extend((languages.len() > 1).then(|| row(kind.name(), "all", &own)));
    }
    rows.push(row("all", "all", &records.iter().collect::<Vec<_>>()));
    rows
}

fn row(kind: &str, language: &str, records: &[&Record]) -> Row {
    let share = |is: &dyn Fn(&Record) -> bool| percent(records.iter().filter(|r| is(r)).count(), records.len());
    let sum = |of: &dyn Fn(&Record) -> usize| records.iter().map(|r| of(r)).sum();
    let shown: Vec<&&Record> = records.iter().filter(|r| r.shown).collect();
    let right = shown.iter().filter(|r| r.marks.prefix).count();
    let mut row: Row = vec![("kind", kind.into()), ("language", language.into()), ("holes", records.len().into())];
    row.extend([("exact %", share(&|r| r.marks.exact).into()), ("prefix %", share(&|r| r.marks.prefix).into())]);
    row.push(("first word %", share(&|r| r.marks.first).into()));
    row.push(("similarity", mean(records.iter().map(|r| r.marks.similarity)).into()));
    row.push(("saved %", percent(sum(&|r| r.marks.saved), sum(&|r| r.marks.chars)).into()));
    row.extend([("nothing %", share(&|r| r.suggested.text.is_empty()).into()), ("shown %", share(&|r| r.shown).into())]);
    row.push(("right of shown %", if shown.is_empty() { serde_json::Value::Null } else { percent(right, shown.len()).into() }));
    row.push(("balanced %", share(&|r| r.suggested.balanced).into()));
    let parsed: Vec<(usize, usize)> = records.iter().filter_map(|r| r.parse_errors).collect();
    if !parsed.is_empty() {
        let sound: Vec<&(usize, usize)> = parsed.iter().filter(|(before, _)| *before == 0).collect();
        let more = parsed.iter().filter(|(before, after)| after > before).count();
        let broken = sound.iter().filter(|(_, after)| *after > 0).count();
        row.push(("new parse errors %", percent(more, parsed.len()).into()));
        row.push(("parsed before", sound.len().into()));
        row.push(("broken of those %", percent(broken, sound.len()).into()));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, language: &str, exact: bool, parse_errors: Option<(usize, usize)>) -> Record {
        let marks = Marks { exact, prefix: exact, first: true, similarity: 50.0, saved: if exact { 4 } else { 0 }, chars: 4 };
        let suggested = Suggested { text: "x".into(), ..Suggested::default() };
        Record { kind, language: language.into(), truth: "x = 1".into(), suggested, marks, shown: exact, parse_errors }
    }

    fn value(row: &Row, name: &str) -> Option<serde_json::Value> {
        row.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn figures_stand_by_kind_by_language_and_together() {
        let records = [
            record(Kind::Line, "python", true, None),
            record(Kind::Line, "python", false, None),
            record(Kind::Line, "rust", false, None),
            record(Kind::Block, "rust", false, None),
        ];
        let rows = rows(&records);
        let names: Vec<_> = rows.iter().map(|r| format!("{} {}", r[0].1, r[1].1).replace('"', "")).collect();
        assert_eq!(names, ["line python", "line rust", "line all", "block rust", "block all", "all all"]);
        let shares = ["exact %", "prefix %", "saved %", "shown %", "right of shown %"].map(|name| value(&rows[0], name));
        assert_eq!(shares, [50.0, 50.0, 50.0, 50.0, 100.0].map(|share| Some(share.into())));
        assert_eq!((value(&rows[5], "exact %"), value(&rows[5], "holes")), (Some(25.0.into()), Some(4.into())));
        assert_eq!(value(&rows[3], "right of shown %"), Some(serde_json::Value::Null), "nothing was shown");
    }

    #[test]
    fn parse_errors_have_no_column_where_there_is_no_grammar() {
        let columns = |errors: &[Option<(usize, usize)>]| {
            let records: Vec<Record> = errors.iter().map(|e| record(Kind::Line, "rust", true, *e)).collect();
            let row = row("line", "rust", &records.iter().collect::<Vec<_>>());
            ["new parse errors %", "parsed before", "broken of those %"].map(|name| value(&row, name))
        };
        assert_eq!(columns(&[None]), [None, None, None]);
        assert_eq!(
            columns(&[Some((0, 0)), Some((0, 2)), Some((3, 4)), Some((3, 1))]),
            [Some(50.0.into()), Some(2.into()), Some(50.0.into())]
        );
    }
}
