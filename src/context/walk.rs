//! Reads a workspace into an index, in the background and within bounds.
//!
//! ```text
//! walk(&rules, "", &index, &stop, |seen| …)   ->  Summary { files: 812, bounded: None }
//! ```
//! At most [`ENTRIES`] files and folders are looked at, [`FILES`] files and [`READ`] bytes parsed, and [`TIME`] spent. What
//! lies beyond is left out and said so.
use super::index::{File, Index};
use super::rules::{Reason, Rules};
use super::units::units;
use crate::complete::language;
use crate::document::Document;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ENTRIES: usize = if cfg!(test) { 400 } else { 200_000 };
const FILES: usize = if cfg!(test) { 100 } else { 20_000 };
const READ: usize = 256 << 20;
const TIME: Duration = Duration::from_secs(60);

/// What a walk has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Files in the index.
    pub files: usize,
    /// Files and folders looked at.
    pub entries: usize,
    /// Which bound ended it.
    pub bounded: Option<&'static str>,
}

/// Reads all of a folder. `prefix` stands before each path in the index (the folder's name, where there are several).
/// `progress` is told now and then.
pub fn walk(rules: &Rules, prefix: &str, index: &RwLock<Index>, stop: &AtomicBool, mut progress: impl FnMut(&Summary)) -> Summary {
    let (begun, mut read) = (Instant::now(), 0);
    let mut summary = Summary::default();
    for entry in rules.walk().flatten() {
        summary.entries += 1;
        summary.bounded = bound(&summary, read, begun.elapsed());
        if summary.bounded.is_some() || stop.load(Ordering::Relaxed) {
            break;
        }
        if !entry.file_type().is_some_and(|t| t.is_file()) {
            continue;
        }
        let Ok(text) = rules.read(entry.path()) else { continue };
        read += text.len();
        let file = parse(entry.path(), &text);
        let Ok(mut index) = index.write() else { break };
        if !index.insert(&key(rules.root(), prefix, entry.path()), file) {
            summary.bounded = Some("memory");
            break;
        }
        summary.files += 1;
        drop(index);
        if summary.files % 64 == 0 {
            progress(&summary);
        }
    }
    summary
}

fn bound(seen: &Summary, read: usize, spent: Duration) -> Option<&'static str> {
    match () {
        () if seen.entries > ENTRIES => Some("number of files"),
        () if seen.files >= FILES => Some("number of source files"),
        () if read > READ => Some("bytes"),
        () if spent > TIME => Some("time"),
        () => None,
    }
}

/// Brings one file of the index up to what is on disk; it is forgotten where it may not be read.
///
/// # Errors
/// Why it is not in the index.
pub fn refresh(rules: &Rules, prefix: &str, path: &Path, index: &RwLock<Index>) -> Result<(), Reason> {
    let found = rules.explain(path).map(|text| parse(path, &text));
    let key = key(rules.root(), prefix, path);
    let Ok(mut index) = index.write() else { return Ok(()) };
    match found {
        Ok(file) => drop(index.insert(&key, file)),
        Err(reason) => {
            index.remove(&key);
            index.remove_below(&key);
            return Err(reason);
        }
    }
    Ok(())
}

fn parse(path: &Path, text: &str) -> File {
    let language = language(path);
    let snapshot = Document::new("", language, 0, text).settled();
    File { language: language.into(), units: units(&snapshot) }
}

/// A file's name in the index: below the workspace, with slashes.
pub fn key(root: &Path, prefix: &str, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let parts = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let all: Vec<String> = std::iter::once(prefix.to_string()).filter(|p| !p.is_empty()).chain(parts).collect();
    all.join("/")
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;

    fn rules(root: &Path) -> Rules {
        Rules::new(root, &[]).expect("rules")
    }

    #[test]
    fn a_folder_is_read_and_a_change_brought_in() {
        let root = tempfile::tempdir().expect("a folder");
        let file = |name: &str| root.path().join(name);
        std::fs::create_dir(file("shop")).expect("a folder");
        std::fs::write(file("shop/tax.py"), "def rate():\n    pass\n").expect("a file");
        std::fs::write(file("readme.txt"), "rate\n").expect("a file");
        let (rules, index) = (rules(root.path()), RwLock::new(Index::default()));
        let summary = walk(&rules, "", &index, &AtomicBool::new(false), |_| {});
        assert_eq!((summary.files, summary.bounded), (1, None));
        let names = |name: &str| index.read().expect("an index").named(name).iter().map(|p| p.path.to_string()).collect::<Vec<_>>();
        assert_eq!(names("rate"), ["shop/tax.py"]);
        std::fs::write(file("shop/tax.py"), "def duty():\n    pass\n").expect("a file");
        refresh(&rules, "", &file("shop/tax.py"), &index).expect("readable");
        assert_eq!((names("rate").len(), names("duty").len()), (0, 1));
        std::fs::remove_dir_all(file("shop")).expect("removed");
        assert!(refresh(&rules, "", &file("shop"), &index).is_err());
        assert!(index.read().expect("an index").is_empty(), "a folder that is gone takes its files along");
    }

    #[test]
    fn a_walk_can_be_stopped_and_several_folders_told_apart() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("a.py"), "x = 1\n").expect("a file");
        let index = RwLock::new(Index::default());
        assert_eq!(walk(&rules(root.path()), "one", &index, &AtomicBool::new(true), |_| {}).files, 0);
        walk(&rules(root.path()), "one", &index, &AtomicBool::new(false), |_| {});
        assert!(index.read().expect("an index").file("one/a.py").is_some());
    }

    #[test]
    fn a_workspace_without_end_is_left_at_its_bounds() {
        for (kind, folders, each, bounded) in [("py", 3, 50, "number of source files"), ("txt", 9, 50, "number of files")] {
            let root = tempfile::tempdir().expect("a folder");
            for folder in 0..folders {
                let folder = root.path().join(format!("d{folder}"));
                std::fs::create_dir(&folder).expect("a folder");
                std::os::unix::fs::symlink(root.path(), folder.join("round")).expect("a link");
                (0..each).for_each(|n| std::fs::write(folder.join(format!("f{n}.{kind}")), "def f(): pass\n").expect("a file"));
            }
            let index = RwLock::new(Index::default());
            let summary = walk(&rules(root.path()), "", &index, &AtomicBool::new(false), |_| {});
            assert_eq!(summary.bounded, Some(bounded));
            assert!(summary.entries <= ENTRIES + 1 && index.read().expect("an index").len() <= FILES, "{summary:?}");
        }
    }

    #[test]
    fn bounds_are_named() {
        let seen = |entries, files| Summary { entries, files, bounded: None };
        assert_eq!(bound(&seen(10, 10), 10, TIME / 2), None);
        assert_eq!(bound(&seen(ENTRIES + 1, 0), 0, Duration::ZERO), Some("number of files"));
        assert_eq!(bound(&seen(1, FILES), 0, Duration::ZERO), Some("number of source files"));
        assert_eq!(bound(&seen(1, 1), READ + 1, Duration::ZERO), Some("bytes"));
        assert_eq!(bound(&seen(1, 1), 1, TIME * 2), Some("time"));
    }
}
