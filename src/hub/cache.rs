//! The Hugging Face cache on this machine: where it is, and what is in it.
//!
//! ```text
//! ~/.cache/huggingface/hub/models--deepseek-ai--DeepSeek-Coder-V2-Lite-Base/
//!     refs/main                       the commit that "main" was when it was downloaded
//!     snapshots/<commit>/config.json  -> ../../blobs/<etag>
//!     blobs/<etag>, blobs/<etag>.incomplete
//! ```
use super::{Name, Part, choose, models, problem};
use crate::engine::EngineError;
use hf_hub::{CacheRepo, Repo};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The cache's folder.
#[derive(Clone, Debug)]
pub struct Cache {
    pub root: PathBuf,
}

/// A variable of the environment that is set and not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where Hugging Face's programs keep what is theirs: HF_HOME, or under the user's caches.
pub fn home() -> PathBuf {
    let own = variable("HF_HOME").map(PathBuf::from);
    let caches = || variable("XDG_CACHE_HOME").map(|folder| PathBuf::from(folder).join("huggingface"));
    let user = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from).unwrap_or_default();
    own.or_else(caches).unwrap_or_else(|| user().join(".cache").join("huggingface"))
}

impl Cache {
    /// HF_HUB_CACHE, or `hub` in [`home`].
    pub fn from_env() -> Cache {
        let named = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        Cache { root: named.unwrap_or_else(|| home().join("hub")) }
    }

    /// The layout of one repository.
    pub fn repo(&self, repo: &str) -> CacheRepo {
        hf_hub::Cache::new(self.root.clone()).repo(Repo::model(repo.to_owned()))
    }

    /// The folder of one repository.
    pub fn folder(&self, repo: &str) -> PathBuf {
        self.root.join(Repo::model(repo.to_owned()).folder_name())
    }

    /// Where a file's bytes lie.
    pub fn blob(&self, repo: &str, etag: &str) -> PathBuf {
        self.folder(repo).join("blobs").join(etag)
    }

    /// The snapshots of a repository: that of `main` first, then the newest.
    pub fn snapshots(&self, repo: &str) -> Vec<PathBuf> {
        let folder = self.folder(repo);
        let main = std::fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
        let entries = std::fs::read_dir(folder.join("snapshots")).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        let is_main = |path: &PathBuf| path.file_name().is_some_and(|name| name == main.trim());
        found.sort_by_key(|path| std::cmp::Reverse((is_main(path), changed(path))));
        found
    }

    /// The repositories that are here, in order.
    pub fn repositories(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_prefix("models--")?.replacen("--", "/", 1))).collect()
    }

    /// What is downloaded of a repository: checkpoints and GGUF models, whole ones only.
    pub fn held(&self, repo: &str) -> Vec<PathBuf> {
        let mut found = BTreeMap::new();
        for snapshot in self.snapshots(repo) {
            if lacking(&snapshot).is_none() {
                found.entry(String::new()).or_insert(snapshot.clone());
            }
            let files = ggufs(&snapshot);
            for model in models(files.iter().map(String::as_str)).into_iter().filter(|m| whole(m)) {
                if let Some(first) = model.first() {
                    found.entry((*first).to_owned()).or_insert(snapshot.join(first));
                }
            }
        }
        found.into_values().collect()
    }

    /// Whether a download was begun and not finished.
    pub fn is_partial(&self, repo: &str) -> bool {
        let blobs = std::fs::read_dir(self.folder(repo).join("blobs")).into_iter().flatten().flatten();
        blobs.into_iter().any(|blob| blob.path().extension().is_some_and(|end| end == "incomplete"))
    }

    /// The folder or the GGUF file that a name means, if all of it is here.
    ///
    /// # Errors
    /// It is not here, or in part; the remedy is `infill pull`.
    pub fn find(&self, name: &Name) -> Result<PathBuf, EngineError> {
        let pull = format!("run \"infill pull {}\"", name.said);
        let mut reason = None;
        for snapshot in self.snapshots(&name.repo) {
            let files = ggufs(&snapshot);
            let found = models(files.iter().map(String::as_str));
            match choose(&found, &name.part) {
                _ if name.part == Part::Whole && lacking(&snapshot).is_none() => return Ok(snapshot),
                Some(model) if whole(&model) => return Ok(snapshot.join(model.first().copied().unwrap_or_default())),
                Some(_) => reason = reason.or(Some("parts of it are missing".to_owned())),
                None if name.part == Part::Whole && found.len() > 1 => {
                    let names: Vec<&str> = found.iter().filter_map(|m| m.first().copied()).collect();
                    let hint = format!("name one of them, as in {}/{}", name.repo, names.first().copied().unwrap_or_default());
                    return Err(problem(format!("{} holds several models ({})", name.repo, names.join(", ")), hint));
                }
                None if name.part == Part::Whole => reason = reason.or(lacking(&snapshot)),
                None => {}
            }
        }
        let partial = self.is_partial(&name.repo);
        match reason.or(partial.then(|| "its download was interrupted".to_owned())) {
            Some(reason) => {
                Err(problem(format!("The model {:?} is not whole ({reason})", name.said), format!("{pull}: it goes on where it stopped")))
            }
            None => Err(problem(format!("The model {:?} is not on this machine", name.said), pull)),
        }
    }
}

/// The GGUF files below a snapshot, by their path in the repository.
fn ggufs(snapshot: &Path) -> Vec<String> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let deeper = entries(snapshot).filter(|path| path.is_dir()).flat_map(|folder| entries(&folder).collect::<Vec<_>>());
    let files = entries(snapshot).chain(deeper.collect::<Vec<_>>()).filter(|path| path.is_file());
    let names = files.filter_map(|file| Some(file.strip_prefix(snapshot).ok()?.to_str()?.replace('\\', "/")));
    names.filter(|name| super::is_gguf(name)).collect()
}

/// Whether all parts of a GGUF model are there.
fn whole(model: &[&str]) -> bool {
    model.first().and_then(|first| super::split(first)).is_none_or(|(_, _, count)| model.len() == count)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What a snapshot lacks to be a checkpoint; `None`: nothing.
pub(crate) fn lacking(snapshot: &Path) -> Option<String> {
    let missing = |name: &&str| !snapshot.join(name).is_file();
    if let Some(name) = ["config.json", "tokenizer.json"].iter().find(|name| missing(name)) {
        return Some(format!("{name} is missing"));
    }
    let Ok(text) = std::fs::read_to_string(snapshot.join("model.safetensors.index.json")) else {
        return missing(&"model.safetensors").then(|| "model.safetensors is missing".to_owned());
    };
    let Ok(index) = serde_json::from_str::<Index>(&text) else {
        return Some("model.safetensors.index.json cannot be read".to_owned());
    };
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    shards.into_iter().find(missing).map(|shard| format!("{shard} is missing"))
}
