//! A run's results on disk, so that it can go on where it stopped.
//!
//! ```text
//! {"benchmark":"holes","data":"src (12 files, 40123 bytes)","model":"nano",…}     the settings, as the first line
//! {"id":"src/a.py:12:5:line","exact":false,…}                                     a line per task
//! ```
//! A last line without its end is of a task that was cut off: it is removed, and the task runs again.
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Names and values of what figures depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Vec<(&'static str, Value)>);

impl Settings {
    pub fn add(&mut self, name: &'static str, value: Value) {
        self.0.push((name, value));
    }

    pub fn json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    /// The first setting that an earlier run had otherwise.
    fn differs(&self, earlier: &Map<String, Value>) -> Option<String> {
        let was = |name: &str| earlier.get(name).unwrap_or(&Value::Null);
        let (name, now) = self.0.iter().find(|(name, now)| was(name) != now)?;
        Some(format!("it holds a run with {name} {}, this one has {}", word(was(name)), word(now)))
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(name, value)| format!("{name} {}", word(value))).collect();
        f.write_str(&all.join(", "))
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[derive(Serialize, Deserialize)]
struct Line<R> {
    id: String,
    #[serde(flatten)]
    record: R,
}

/// Results by task.
pub struct Ledger<R> {
    done: HashMap<String, R>,
    out: Option<(PathBuf, File)>,
}

impl<R: Serialize + DeserializeOwned> Ledger<R> {
    /// Reads what `path` holds of the same run, or begins it.
    ///
    /// # Errors
    /// A file that cannot be read or written, is not a run's, or holds one with other settings.
    pub fn open(path: Option<&Path>, settings: &Settings) -> Result<Ledger<R>> {
        let Some(path) = path else { return Ok(Ledger { done: HashMap::new(), out: None }) };
        let (name, mut ledger) = (path.display(), Ledger { done: HashMap::new(), out: None });
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.map_err(|e| anyhow!("--out {name} cannot be written ({}): name another file", crate::config::plain(&e)))?;
        let text = std::fs::read_to_string(path).map_err(|e| anyhow!("--out {name} is no text ({e}): name another file"))?;
        if text.is_empty() {
            ledger.out = Some((path.to_owned(), file));
            ledger.write(&settings.json())?;
            return Ok(ledger);
        }
        // Nothing is written before it is known to be a run's file.
        let (first, lines) = text.split_once('\n').unwrap_or_default();
        same(first, settings).with_context(|| format!("--out {name}"))?;
        let whole = lines.rfind('\n').map_or(0, |end| end + 1);
        ledger.done = read(&lines[..whole]).with_context(|| format!("--out {name}"))?;
        file.set_len((first.len() + 1 + whole) as u64).with_context(|| format!("--out {name} cannot be written"))?;
        ledger.out = Some((path.to_owned(), file));
        Ok(ledger)
    }

    /// The record of a task that is done.
    pub fn take(&mut self, id: &str) -> Option<R> {
        self.done.remove(id)
    }

    pub fn add(&mut self, id: &str, record: &R) -> Result<()> {
        self.write(&Line { id: id.to_owned(), record })
    }

    /// One line at a time, whole: what is interrupted then loses one task at most.
    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let Some((path, file)) = &mut self.out else { return Ok(()) };
        let line = serde_json::to_string(line)? + "\n";
        file.write_all(line.as_bytes()).with_context(|| format!("--out {} cannot be written", path.display()))
    }
}

fn same(first: &str, settings: &Settings) -> Result<()> {
    let Ok(Value::Object(earlier)) = serde_json::from_str(first) else {
        bail!("its first line is not the settings of a run of infill eval: name another file");
    };
    match settings.differs(&earlier) {
        Some(difference) => bail!("{difference}: take the same settings, or name another file"),
        None => Ok(()),
    }
}

fn read<R: DeserializeOwned>(lines: &str) -> Result<HashMap<String, R>> {
    let parse = |(n, line): (usize, &str)| {
        let line: Line<R> =
            serde_json::from_str(line).with_context(|| format!("line {} is damaged: remove it to run its task again", n + 2))?;
        Ok((line.id, line.record))
    };
    lines.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        exact: bool,
        probability: f32,
    }

    const RECORD: Record = Record { exact: true, probability: 0.3 };

    fn settings(model: &str) -> Settings {
        let mut settings = Settings::default();
        settings.add("benchmark", "holes".into());
        settings.add("model", model.into());
        settings
    }

    fn open(path: &Path, model: &str) -> Result<Ledger<Record>> {
        Ledger::open(Some(path), &settings(model))
    }

    fn said(path: &Path, model: &str) -> String {
        open(path, model).err().map(|e| format!("{e:#}")).unwrap_or_default()
    }

    #[test]
    fn a_run_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        open(&path, "nano").unwrap().add("a", &RECORD).unwrap();
        // Stopped in the middle of a line.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.clone() + "{\"id\":\"b\",\"ex").unwrap();
        let mut again = open(&path, "nano").unwrap();
        assert_eq!((again.take("a"), again.take("b")), (Some(RECORD), None));
        again.add("b", &RECORD).unwrap();
        assert_eq!(open(&path, "nano").unwrap().take("b"), Some(RECORD));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn other_settings_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        drop(open(&path, "nano").unwrap());
        let error = said(&path, "large");
        assert!(error.contains("run.jsonl") && error.contains("a run with model nano, this one has large"), "{error}");
    }

    #[test]
    fn what_is_no_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for (text, words) in [
            ("dear diary\n", "not the settings"),
            ("dear diary", "not the settings"),
            ("{\"benchmark\":\"holes\",\"model\":\"nano\"}\n{}\n", "line 2 is damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = said(&path, "nano");
            assert!(error.contains(words), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert!(said(folder.path(), "nano").contains("is a directory"));
    }
}
