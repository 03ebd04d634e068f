//! `infill doctor --explain FILE`: whether a file is shown to the model as context for other files.
//!
//! ```text
//! src/tax.py is read: it defines 3 things (rate, duty, RATES)
//! .env is not read: it may hold secrets (".env*")
//! ```
use crate::complete::language;
use crate::config::{Config, plain};
use crate::context::rules::Rules;
use crate::context::units::units;
use crate::document::Document;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is said of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    pub file: PathBuf,
    /// The folder whose rules hold.
    pub workspace: PathBuf,
    pub read: bool,
    /// Why not; or what it defines.
    pub why: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.read { "is read" } else { "is not read" };
        write!(f, "{} {verdict}: {}\n(the workspace: {})", self.file.display(), self.why, self.workspace.display())
    }
}

/// Asks the rules of the file's workspace: the nearest folder above it with a `.git`, or else the present folder.
///
/// # Errors
/// A setting that is wrong, a file that is not there.
pub fn explain(file: &Path, config: &Config) -> Result<Said> {
    let here = std::env::current_dir()?;
    let whole = here.join(file);
    whole.symlink_metadata().map_err(|e| anyhow!("{} cannot be read ({}): name a file", file.display(), plain(&e)))?;
    // Links on the way to the workspace are its own affair; those inside it are what the rules are about.
    let root = whole.ancestors().skip(1).find(|folder| folder.join(".git").exists()).unwrap_or(&here).to_path_buf();
    let rules = Rules::new(&root, &config.exclude).map_err(|why| anyhow!("exclude: {why}"))?;
    let (read, why) = match rules.explain(&normal(&whole)) {
        Ok(_) if !config.context.other_files => (false, "context.other_files is off".into()),
        Ok(text) => (true, defines(file, &text)),
        Err(reason) => (false, reason.to_string()),
    };
    Ok(Said { file: file.to_path_buf(), workspace: root, read, why })
}

/// Without `.` and `..`: what is named, not where links would lead.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

fn defines(file: &Path, text: &str) -> String {
    const NAMED: usize = 5;
    let all = units(&Document::new("", language(file), 0, text).settled());
    let names: Vec<&str> = all.iter().map(|unit| unit.name.as_str()).take(NAMED).collect();
    let more = if all.len() > NAMED { ", …" } else { "" };
    match all.len() {
        0 => "it defines nothing that others could use".into(),
        n => format!("it defines {n} {} ({}{more})", if n == 1 { "thing" } else { "things" }, names.join(", ")),
    }
}
