//! The workspace as the client tells it: its folders, which documents others may see, what has changed on disk.
//!
//! ```text
//! initialize { workspaceFolders }        walked in the background, with progress
//! didOpen, didSave, another document     what an open document defines now, from the editor's text
//! didChangeWatchedFiles                  one file again; all of them when an ignore file has changed
//! ```
//! No file is read where a key waits for it.
use super::progress::Bar;
use super::{Session, State};
use crate::context::rules::Rules;
use crate::context::walk::{self, Summary, key};
use crate::engine::{EngineError, Finish};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tower_lsp::Client;
use tower_lsp::lsp_types::request::RegisterCapability;
use tower_lsp::lsp_types::{self as lsp, Url};

/// The folders of a client, and the rules for each.
#[derive(Default)]
pub struct Folders {
    known: Mutex<Known>,
    /// Ends the walk under way; each walk has its own.
    walking: Mutex<Arc<AtomicBool>>,
}

#[derive(Default)]
struct Known {
    roots: Vec<PathBuf>,
    exclude: Vec<String>,
    folders: Vec<Arc<Folder>>,
    can_watch: bool,
    can_show: bool,
    /// `initialized` has come: walks may begin, and show themselves.
    ready: bool,
}

struct Folder {
    rules: Rules,
    /// Stands before its paths, where there are several folders.
    prefix: String,
}

impl Folders {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn initialize(&self, params: &Value) {
        let listed = params["workspaceFolders"].as_array().into_iter().flatten().filter_map(|folder| folder["uri"].as_str());
        let mut roots: Vec<PathBuf> = listed.filter_map(path_of).collect();
        if roots.is_empty() {
            roots.extend(params["rootUri"].as_str().and_then(path_of).or_else(|| params["rootPath"].as_str().map(PathBuf::from)));
        }
        let capabilities = &params["capabilities"];
        let mut known = self.known();
        known.roots = roots;
        known.can_watch = capabilities["workspace"]["didChangeWatchedFiles"]["dynamicRegistration"] == json!(true);
        known.can_show = capabilities["window"]["workDoneProgress"] == json!(true);
        known.rebuild();
    }

    /// The folder that a file is in, the innermost where they overlap.
    fn of(&self, path: &Path) -> Option<Arc<Folder>> {
        let known = self.known();
        let inside = known.folders.iter().filter(|folder| path.starts_with(folder.rules.root()));
        inside.max_by_key(|folder| folder.rules.root().as_os_str().len()).cloned()
    }

    pub fn stop(&self) {
        self.walking.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::Relaxed);
    }

    /// Ends the walk under way; what the next one is ended with.
    fn begin(&self) -> Arc<AtomicBool> {
        let mut walking = self.walking.lock().unwrap_or_else(PoisonError::into_inner);
        walking.store(true, Ordering::Relaxed);
        *walking = Arc::default();
        walking.clone()
    }
}

impl Known {
    fn rebuild(&mut self) {
        let several = self.roots.len() > 1;
        let folder = |(n, root): (usize, &PathBuf)| {
            let name = file_name(root);
            let taken = self.roots[..n].iter().any(|other| file_name(other) == name);
            let prefix = if taken { format!("{name}-{}", n + 1) } else { name };
            // The patterns were checked with the configuration.
            let rules = Rules::new(root, &self.exclude).ok()?;
            Some(Arc::new(Folder { rules, prefix: if several { prefix } else { String::new() } }))
        };
        self.folders = self.roots.iter().enumerate().filter_map(folder).collect();
    }
}

impl Folder {
    fn key(&self, path: &Path) -> String {
        key(self.rules.root(), &self.prefix, path)
    }
}

pub(super) fn path_of(uri: &str) -> Option<PathBuf> {
    Url::parse(uri).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()
}

impl Session {
    /// The client is there: walks begin, and it is asked to tell of changes.
    pub fn watch(self: &Arc<Self>, client: Client) {
        let can_watch = {
            let mut known = self.folders.known();
            known.ready = true;
            known.can_watch && !known.folders.is_empty()
        };
        if can_watch {
            let options = json!({ "watchers": [{ "globPattern": "**/*" }] });
            let method = "workspace/didChangeWatchedFiles".to_string();
            let registration = lsp::Registration { id: "infill-files".into(), method, register_options: Some(options) };
            tokio::spawn(async move {
                let asked = client.send_request::<RegisterCapability>(lsp::RegistrationParams { registrations: vec![registration] }).await;
                asked.inspect_err(|e| tracing::info!("changes of files are not told: {e}")).ok();
            });
        }
        self.walk();
    }

    /// Takes the setting `exclude`.
    pub(super) fn exclude(self: &Arc<Self>, exclude: Vec<String>) {
        {
            let mut known = self.folders.known();
            if known.exclude == exclude {
                return;
            }
            known.exclude = exclude;
            known.rebuild();
        }
        self.walk();
    }

    pub fn folders_changed(self: &Arc<Self>, params: &Value) {
        let paths = |list: &Value| -> Vec<PathBuf> {
            list.as_array().into_iter().flatten().filter_map(|folder| folder["uri"].as_str().and_then(path_of)).collect()
        };
        let (added, removed) = (paths(&params["event"]["added"]), paths(&params["event"]["removed"]));
        {
            let mut known = self.folders.known();
            known.roots.retain(|root| !removed.contains(root));
            known.roots.extend(added);
            known.rebuild();
        }
        self.walk();
    }

    /// Reads all folders anew, in the background.
    fn walk(self: &Arc<Self>) {
        let (folders, shown) = {
            let known = self.folders.known();
            if !known.ready {
                return;
            }
            (known.folders.clone(), known.can_show)
        };
        let stop = self.folders.begin();
        if let Ok(mut index) = self.workspace.index.write() {
            index.remove_below("");
        }
        let (session, runtime) = (self.clone(), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || {
            let show = session.client.get().filter(|_| shown && !folders.is_empty()).map(|client| Show::begin(client.clone(), &runtime));
            for folder in &folders {
                let told = |seen: &Summary| show.iter().for_each(|show| show.report(seen));
                let seen = walk::walk(&folder.rules, &folder.prefix, &session.workspace.index, &stop, told);
                tracing::info!(files = seen.files, entries = seen.entries, bounded = seen.bounded, "workspace read");
            }
            session.read_open();
            show.iter().for_each(|show| show.end(session.workspace.index.read().map_or(0, |index| index.len())));
        });
    }

    /// What open documents define is told from the editor's text, not from the disk's.
    fn read_open(&self) {
        let texts: Vec<_> = self.lock().docs.values().map(|doc| doc.document.snapshot()).collect();
        texts.iter().for_each(|text| self.workspace.read(text));
    }

    /// A document was opened: where the rules let it be read, others may see it.
    pub(super) fn share(self: &Arc<Self>, uri: &str) {
        let name = match path_of(uri) {
            Some(path) => self.folders.of(&path).map_or_else(|| file_name(&path), |folder| folder.key(&path)),
            None => uri.to_string(),
        };
        self.workspace.opened(uri, &name, false);
        let (session, uri) = (self.clone(), uri.to_string());
        tokio::task::spawn_blocking(move || {
            if session.may_be_seen(&uri) {
                let text = session.lock().docs.get(&uri).map(|doc| doc.document.snapshot());
                text.iter().for_each(|text| {
                    session.workspace.judge(&uri, &name, true);
                    session.workspace.read(text);
                });
            } else {
                session.workspace.judge(&uri, &name, false);
                session.workspace.forget(&name);
            }
        });
    }

    /// A text that is no file has been typed into this editor; a file outside of all folders is judged by its folder.
    pub(super) fn may_be_seen(&self, uri: &str) -> bool {
        let Some(path) = path_of(uri) else { return true };
        match self.folders.of(&path) {
            Some(folder) => folder.rules.explain(&path).is_ok(),
            None => path
                .parent()
                .and_then(|folder| Rules::new(folder, &self.lock().config.exclude).ok())
                .is_some_and(|r| r.explain(&path).is_ok()),
        }
    }

    /// The workspace folder that a file is in, else its own.
    pub(super) fn root(&self, path: &Path) -> PathBuf {
        let own = || path.parent().unwrap_or(path).to_owned();
        self.folders.of(path).map_or_else(own, |folder| folder.rules.root().to_owned())
    }

    /// Why the text of a document is not sent to the engine, where that is on another machine and the rules forbid it.
    pub(super) fn stays(&self, uri: &str) -> Option<EngineError> {
        let host = self.options.engine.leaves()?;
        match self.workspace.may_be_seen(uri) {
            Some(true) => None,
            Some(false) => Some(EngineError {
                title: format!("{} is not sent to {host}", self.workspace.name(uri)),
                hint: "what is ignored, excluded, or may hold secrets stays on this machine (infill doctor --explain FILE says why)".into(),
            }),
            None => Some(EngineError { title: String::new(), hint: String::new() }),
        }
    }

    /// Ends a request that is not sent: with the reason, or without a word while the rules are still being asked.
    pub(super) fn keep(self: &Arc<Self>, state: &mut State, uri: &str, id: u64) {
        let reason = self.stays(uri).filter(|reason| !reason.title.is_empty());
        let Some(doc) = state.docs.get_mut(uri) else { return };
        let actions = match reason {
            Some(reason) => doc.suggest.failed(id, reason),
            None => doc.suggest.done(id, Finish::Cancelled),
        };
        self.perform(state, uri, actions);
    }

    pub(super) fn unshare(self: &Arc<Self>, uri: &str) {
        let name = self.workspace.name(uri);
        self.workspace.closed(uri);
        match path_of(uri) {
            Some(path) => self.refresh(vec![path]),
            None => self.workspace.forget(&name),
        }
    }

    /// Another document is typed in: what the others define now counts.
    pub(super) fn look_around(self: &Arc<Self>, state: &mut State, uri: &str) {
        if state.asked == uri {
            return;
        }
        state.asked = uri.to_string();
        let edited = state.docs.iter_mut().filter(|(other, doc)| doc.edited && *other != uri);
        let texts: Vec<_> = edited.map(|(_, doc)| std::mem::take(&mut doc.edited).then(|| doc.document.snapshot())).collect();
        if !texts.is_empty() {
            let session = self.clone();
            tokio::task::spawn_blocking(move || texts.iter().flatten().for_each(|text| session.workspace.read(text)));
        }
    }

    pub fn saved(self: &Arc<Self>, params: &Value) {
        let uri = params["textDocument"]["uri"].as_str().unwrap_or_default();
        let text = self.lock().docs.get_mut(uri).map(|doc| {
            doc.edited = false;
            doc.document.snapshot()
        });
        if let Some(text) = text {
            let session = self.clone();
            tokio::task::spawn_blocking(move || session.workspace.read(&text));
        }
    }

    pub fn files_changed(self: &Arc<Self>, params: &Value) {
        let changes = params["changes"].as_array().into_iter().flatten();
        let uris: Vec<&str> = changes.filter_map(|change| change["uri"].as_str()).collect();
        let rules = |uri: &&str| [".gitignore", ".ignore"].iter().any(|name| uri.ends_with(name));
        if uris.iter().any(rules) {
            return self.walk();
        }
        let state = self.lock();
        let closed = uris.into_iter().filter(|uri| !state.docs.contains_key(*uri));
        let paths: Vec<PathBuf> = closed.filter_map(path_of).collect();
        drop(state);
        self.refresh(paths);
    }

    /// Brings files up to what is on disk, in the background.
    fn refresh(self: &Arc<Self>, paths: Vec<PathBuf>) {
        let session = self.clone();
        tokio::task::spawn_blocking(move || {
            for path in paths {
                match session.folders.of(&path) {
                    // Why it is not read is for `infill doctor --explain`.
                    Some(folder) => drop(walk::refresh(&folder.rules, &folder.prefix, &path, &session.workspace.index)),
                    None => session.workspace.forget(&file_name(&path)),
                }
            }
        });
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Progress of a walk, for clients that show it; from its thread.
struct Show {
    bar: Bar,
    runtime: tokio::runtime::Handle,
}

impl Show {
    fn begin(client: Client, runtime: &tokio::runtime::Handle) -> Show {
        let bar = runtime.block_on(Bar::begin(client, Bar::token("index"), "infill: reading the workspace", false));
        Show { bar, runtime: runtime.clone() }
    }

    fn report(&self, seen: &Summary) {
        self.runtime.block_on(self.bar.report(&format!("{} files", seen.files)));
    }

    fn end(&self, files: usize) {
        self.runtime.block_on(self.bar.end(&format!("{files} files")));
    }
}
