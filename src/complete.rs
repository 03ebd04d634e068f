//! `infill complete FILE:LINE:COLUMN`: one completion, on the command line.
//!
//! ```text
//! $ infill complete src/shop.py:12:16          lines and columns count from 1, columns in characters
//! $ infill complete --json - src/shop.py:12:16 < src/shop.py
//! $ infill complete --workspace . src/shop.py:12:16     with what other files of the folder define, as in an editor
//! ```
use crate::config::{Config, plain};
use crate::context::Neighbours;
use crate::context::walk::key;
use crate::context::workspace::Workspace;
use crate::document::{Document, Encoding, Position, Snapshot};
use crate::engine::{Engine, EngineError, Event, Request, Usage};
use crate::suggest::{Action, Ask, Settings, Suggest, Suggestion};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Larger files are refused, as in the editor.
const MAX_BYTES: usize = 10 << 20;

/// No key waits here: what a suggestion does to the parse is known, unless the parse is hopeless.
const PATIENCE: Duration = Duration::from_secs(2);

/// A place in a file, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub path: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Target, String> {
        let mut parts = text.rsplitn(3, ':');
        let column = parts.next().and_then(|c| c.parse().ok()).filter(|c| *c > 0);
        let line = parts.next().and_then(|l| l.parse().ok()).filter(|l| *l > 0);
        match (parts.next().filter(|p| !p.is_empty()), line, column) {
            (Some(path), Some(line), Some(column)) => Ok(Target { path: path.into(), line, column }),
            _ => Err(format!("\"{text}\" is not FILE:LINE:COLUMN (counted from 1), such as src/main.rs:12:9")),
        }
    }
}

/// What one completion gave and cost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Completion {
    /// Text to insert at the cursor; empty when there is nothing worth inserting.
    pub text: String,
    /// Bytes after the cursor that it replaces.
    pub replaces: usize,
    /// Geometric mean of its first line's token probabilities.
    pub probability: f32,
    /// Shortened, closed or withheld, because it would have brought a syntax error.
    pub balanced: bool,
    pub model: String,
    pub device: String,
    pub usage: Option<Usage>,
}

/// The text at a target, and the byte offset of its cursor.
pub fn read(target: &Target, bytes: Vec<u8>) -> Result<(Snapshot, usize)> {
    let name = target.path.display();
    small(&target.path, bytes.len() as u64)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        anyhow!("{name} is not UTF-8 (byte {}): convert it, for example with iconv, or name a text file", e.utf8_error().valid_up_to())
    })?;
    if text.contains('\0') {
        bail!("{name} is binary (it holds a zero byte): name a text file");
    }
    let snapshot = Document::new(&name.to_string(), language(&target.path), 1, &text).settled();
    let lines = snapshot.rope.len_lines();
    let at = Position { line: (target.line - 1) as u32, character: (target.column - 1) as u32 };
    let cursor = snapshot
        .offset_strict(at, Encoding::Utf32)
        .with_context(|| format!("line {} is past the end of {name}: its last line is {lines}", target.line))?;
    let columns = snapshot.position(snapshot.line_end(cursor), Encoding::Utf32).character as usize;
    if target.column - 1 > columns {
        bail!("column {} is past the end of line {} of {name}: its last place is column {}", target.column, target.line, columns + 1);
    }
    Ok((snapshot, cursor))
}

/// Reads the target's file.
pub fn read_file(target: &Target) -> Result<(Snapshot, usize)> {
    let unreadable = |e: std::io::Error| anyhow!("{} cannot be read ({}): name a readable file", target.path.display(), plain(&e));
    let found = std::fs::metadata(&target.path).map_err(unreadable)?;
    small(&target.path, found.len())?;
    read(target, std::fs::read(&target.path).map_err(unreadable)?)
}

fn small(path: &Path, bytes: u64) -> Result<()> {
    if bytes > MAX_BYTES as u64 {
        bail!("{} has {} MB, more than {} MB: complete in a smaller file", path.display(), bytes >> 20, MAX_BYTES >> 20);
    }
    Ok(())
}

/// The workspace that a target stands in.
pub fn around(folder: &Path, target: &Target, config: &Config) -> Result<Arc<dyn Neighbours>> {
    let workspace = Workspace::of_folder(folder, &config.exclude)?;
    if let (Ok(root), Ok(path)) = (folder.canonicalize(), target.path.canonicalize()) {
        workspace.opened(&target.path.display().to_string(), &key(&root, "", &path), false);
    }
    Ok(Arc::new(workspace))
}

/// Completes at the cursor, with the manners of the editor; `around`: what other files have to say.
pub async fn complete(
    engine: &dyn Engine,
    config: &Config,
    around: Option<Arc<dyn Neighbours>>,
    text: Snapshot,
    cursor: usize,
) -> Result<Completion> {
    let info = engine.info().context("the model is not loaded")?;
    let mut suggest = Suggest::beside(around, Settings { patience: PATIENCE, ..Settings::for_model(config, &info) });
    let actions = suggest.ask(Ask { id: 1, text, cursor, explicit: false });
    let mut run = Run { engine, suggest, usage: None };
    let suggestion = run.perform(actions).await?;
    let Suggestion { text, replaces, probability } = suggestion.unwrap_or_default();
    let balanced = run.suggest.counts().balanced > 0;
    Ok(Completion { text, replaces, probability, balanced, model: info.model, device: info.device, usage: run.usage })
}

struct Run<'a> {
    engine: &'a dyn Engine,
    suggest: Suggest,
    usage: Option<Usage>,
}

impl Run<'_> {
    async fn perform(&mut self, actions: Vec<Action>) -> Result<Option<Suggestion>> {
        let mut queue = std::collections::VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Start { id, request } => queue.extend(self.follow(id, request).await?),
                Action::Answer { items, .. } => return Ok(items.into_iter().next()),
                Action::Fail { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Runs one request until the machine has an answer, then to its end, for the figures.
    async fn follow(&mut self, id: u64, request: Request) -> Result<Vec<Action>, EngineError> {
        let mut answer = self.engine.submit(request);
        let mut actions = Vec::new();
        while let Some(event) = answer.recv().await {
            match event {
                Event::Text { text, logprob } => actions.extend(self.suggest.text(id, &text, logprob)),
                Event::Done { finish, usage } => {
                    self.usage = Some(usage);
                    actions.extend(self.suggest.done(id, finish));
                }
                Event::Top(_) => {}
                Event::Failed(error) => return Err(error),
            }
        }
        Ok(actions)
    }
}

/// The language id of a path, as editors spell it; the extension where it is not known.
pub fn language(path: &Path) -> &str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or("plaintext") {
        "py" | "pyi" => "python",
        "rs" => "rust",
        "js" | "mjs" | "cjs" => "javascript",
        "ts" => "typescript",
        "c" | "h" => "c",
        "cc" | "cpp" | "hpp" => "cpp",
        "rb" => "ruby",
        "sh" => "shellscript",
        "md" => "markdown",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target: Target = "C:/a:b.py:3:4".parse().expect("a target");
        assert_eq!((target.path.to_str(), target.line, target.column), (Some("C:/a:b.py"), 3, 4));
        for bad in ["a.py", "a.py:3", "a.py:0:1", "a.py:1:x", ":1:1"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_completed_is_named() {
        let error = |place: &str, bytes: &[u8]| {
            let target: Target = place.parse().expect("a target");
            read(&target, bytes.to_vec()).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(error("a.py:9:1", b"x\n").contains("line 9 is past the end of a.py: its last line is 2"));
        assert!(error("a.py:1:9", b"x\n").contains("its last place is column 2"));
        assert!(error("a.py:1:1", b"x\xff\n").contains("not UTF-8 (byte 1)"));
        assert!(error("a.py:1:1", b"x\0\n").contains("binary"));
        assert_eq!(error("a.py:1:2", b"x\n"), "");
    }
}
