//! What one client's workspace has to say: its index, its open files, its recent edits.
//!
//! ```text
//! workspace.opened("file:///w/a.py", "a.py");   workspace.context(&snapshot, cursor, 2000)
//! ```
//! In an editor the index is filled by [`super::walk`] in the background; nothing reads a file where a key waits.
use super::gather::{Question, gather};
use super::index::{File, Index};
use super::rules::Rules;
use super::trail::Trail;
use super::units::units;
use super::walk::walk;
use super::{Context, Neighbours, comment};
use crate::config::plain;
use crate::document::{Edit, Snapshot};
use anyhow::anyhow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Share of the context that recent edits may take, and how many.
const EDITS: usize = 5;
const PIECES: usize = 3;

/// A client's workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    pub index: RwLock<Index>,
    desk: Mutex<Desk>,
    off: AtomicBool,
}

/// What is on the table.
#[derive(Debug, Default)]
struct Desk {
    /// Names in the index of open documents, by URI.
    names: HashMap<Arc<str>, Arc<str>>,
    /// Whether the rules let a document be seen, as far as that is known.
    judged: HashMap<Arc<str>, bool>,
    /// Open documents that others may see: by name, the one used last at the end.
    open: Vec<Arc<str>>,
    trail: Trail,
}

impl Workspace {
    /// A folder, read at once: for the command line.
    ///
    /// # Errors
    /// A folder that cannot be read, a pattern of `exclude` that is none.
    pub fn of_folder(root: &Path, exclude: &[String]) -> anyhow::Result<Workspace> {
        let root = root.canonicalize().map_err(|e| anyhow!("{} cannot be read ({}): name a folder", root.display(), plain(&e)))?;
        let rules = Rules::new(&root, exclude).map_err(|why| anyhow!("exclude: {why}"))?;
        let workspace = Workspace::default();
        walk(&rules, "", &workspace.index, &AtomicBool::new(false), |_| {});
        Ok(workspace)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether other files are looked at (`context.other_files`).
    pub fn enable(&self, on: bool) {
        self.off.store(!on, Ordering::Relaxed);
    }

    pub fn enabled(&self) -> bool {
        !self.off.load(Ordering::Relaxed)
    }

    /// What the rules say of an open document; `None` while that is not known yet.
    pub fn may_be_seen(&self, uri: &str) -> Option<bool> {
        let desk = self.desk();
        desk.judged.get(desk.names.get(uri)?).copied()
    }

    /// The rules were asked about an open document.
    pub fn judge(&self, uri: &str, name: &str, shared: bool) {
        self.opened(uri, name, shared);
        self.desk().judged.insert(name.into(), shared);
    }

    /// A document is open under this name. `shared`: others may see it, which the rules decide.
    pub fn opened(&self, uri: &str, name: &str, shared: bool) {
        let mut desk = self.desk();
        let name: Arc<str> = name.into();
        desk.names.insert(uri.into(), name.clone());
        desk.judged.remove(&name);
        desk.open.retain(|open| *open != name);
        if shared {
            desk.open.push(name);
        }
    }

    pub fn closed(&self, uri: &str) {
        let mut desk = self.desk();
        if let Some(name) = desk.names.remove(uri) {
            desk.open.retain(|open| *open != name);
            desk.judged.remove(&name);
        }
    }

    /// The name of a document; its URI where it has none.
    pub fn name(&self, uri: &str) -> Arc<str> {
        self.desk().names.get(uri).cloned().unwrap_or_else(|| uri.into())
    }

    /// An open document was edited.
    pub fn edited(&self, before: &Snapshot, after: &Snapshot, edit: Edit) {
        let mut desk = self.desk();
        let Some(name) = desk.names.get(&*after.uri).cloned().filter(|name| desk.open.contains(name)) else { return };
        desk.trail.edited(&name, &before.rope, &after.rope, edit);
    }

    /// Brings an open document, as it is in the editor, into the index.
    pub fn read(&self, text: &Snapshot) {
        let name = self.name(&text.uri);
        if !self.desk().open.contains(&name) {
            return;
        }
        let file = File { language: text.language.clone(), units: units(text) };
        if let Ok(mut index) = self.index.write() {
            index.insert(&name, file);
        }
    }

    /// Forgets a file: it may not be seen any more.
    pub fn forget(&self, name: &str) {
        self.desk().trail.forget(name);
        if let Ok(mut index) = self.index.write() {
            index.remove(name);
        }
    }

    /// Recent edits elsewhere, as comments.
    fn edits(&self, text: &Snapshot, at: usize, name: &str, limit: usize) -> String {
        const AROUND: usize = 30;
        let line = text.rope.byte_to_line(at.min(text.rope.len_bytes()));
        let here = line.saturating_sub(AROUND)..line + AROUND;
        let (begin, end) = comment(&text.language);
        let desk = self.desk();
        let mut out = String::new();
        for piece in desk.trail.pieces(name, here).take(PIECES) {
            let sides = piece.before.lines().map(|l| ('-', l)).chain(piece.after.lines().map(|l| ('+', l)));
            let lines: String = sides.map(|(sign, line)| format!("{begin}{sign} {line}{end}\n")).collect();
            let whole = format!("{begin}{} was edited:{end}\n{lines}", piece.path);
            if out.len() + whole.len() <= limit {
                out += &whole;
            }
        }
        out
    }
}

impl Neighbours for Workspace {
    fn context(&self, text: &Snapshot, at: usize, limit: usize) -> Context {
        let (name, text) = (self.name(&text.uri), &text.inside(at));
        let open = self.desk().open.clone();
        let edits = self.edits(text, at, &name, limit / EDITS);
        let question = Question { text, at, limit: limit - edits.len(), path: &name, open: &open };
        let mut context = self.index.read().map(|index| gather(&index, &question)).unwrap_or_default();
        // Edits change more often than definitions: they stand behind them.
        let own = context.text.trim_end().rfind('\n').map_or(0, |n| n + 1);
        context.text.insert_str(own, &edits);
        context
    }

    fn any(&self) -> bool {
        self.enabled() && self.index.read().is_ok_and(|index| index.len() > 1)
    }
}
