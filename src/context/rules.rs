//! What is never read, and why.
//!
//! ```text
//! src/app.py            read
//! .env.local            not read: it may hold secrets (".env*")
//! target/out.rs         not read: ignored by .gitignore ("/target")
//! data/dump.sql         not read: 7 MB, more than 1 MB
//! linked/other.py       not read: "linked" is a link
//! ```
//! `exclude` of the configuration adds patterns in the manner of .gitignore. Hidden files, links, and what the ignore
//! files of git say are left out in any case.
use crate::complete::language;
use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::{Component, Path, PathBuf};

/// Larger files are most often generated, or data.
pub const MAX_BYTES: u64 = 1 << 20;

/// Files that hold secrets by their nature: never read, in no workspace, whatever else is configured.
const SECRETS: [&str; 40] = [
    ".env*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "*.asc",
    "*.gpg",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".npmrc",
    ".pypirc",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".htpasswd",
    ".pgpass",
    "credentials",
    "credentials.*",
    "*credentials*.json",
    "secret",
    "secret.*",
    "secrets",
    "secrets.*",
    "*.secret",
    "*.secrets",
    "*.tfvars",
    "*.tfstate",
    "service-account*.json",
    ".aws",
    ".ssh",
    ".gnupg",
    ".kube",
    ".docker",
];

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Reason {
    #[error("it lies outside of the workspace {}", .0.display())]
    Outside(PathBuf),
    #[error("{} is a link", .0.display())]
    Link(PathBuf),
    #[error("it may hold secrets (\"{0}\")")]
    Secret(String),
    #[error("it begins like a private key")]
    Key,
    #[error("\"{0}\" of the setting exclude")]
    Excluded(String),
    #[error("{0:?} is hidden")]
    Hidden(String),
    #[error("ignored by {0}")]
    Ignored(String),
    #[error("{} KB, more than {} KB", .0 >> 10, MAX_BYTES >> 10)]
    TooLarge(u64),
    #[error("it is binary, or not UTF-8")]
    Binary,
    #[error("infill has no grammar for this kind of file")]
    Language,
    #[error("it is no file")]
    NoFile,
    #[error("it cannot be read ({0})")]
    Unreadable(String),
}

/// The rules of one workspace folder.
#[derive(Debug)]
pub struct Rules {
    root: PathBuf,
    secrets: Gitignore,
    exclude: Gitignore,
}

impl Rules {
    /// `exclude`: patterns in the manner of .gitignore.
    ///
    /// # Errors
    /// Names the pattern that is none.
    pub fn new(root: &Path, exclude: &[String]) -> Result<Rules, String> {
        let secrets = patterns(root, SECRETS.iter().copied())?;
        Ok(Rules { root: root.to_path_buf(), secrets, exclude: patterns(root, exclude.iter().map(String::as_str))? })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Walks the folder, without what is ignored, hidden, excluded, secret, or a link; sorted, so that the bounds cut the
    /// same files each time.
    pub fn walk(&self) -> ignore::Walk {
        let (secrets, exclude) = (self.secrets.clone(), self.exclude.clone());
        self.walker()
            .filter_entry(move |entry| {
                let folder = entry.file_type().is_some_and(|t| t.is_dir());
                entry.depth() == 0
                    || (!secrets.matched(entry.path(), folder).is_ignore() && !exclude.matched(entry.path(), folder).is_ignore())
            })
            .build()
    }

    fn walker(&self) -> WalkBuilder {
        let mut walker = WalkBuilder::new(&self.root);
        walker.follow_links(false).require_git(false).sort_by_file_name(std::ffi::OsStr::cmp);
        walker
    }

    /// Reads a file that the walk has found, or that has changed.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn read(&self, path: &Path) -> Result<String, Reason> {
        let found = path.symlink_metadata().map_err(|e| Reason::Unreadable(crate::config::plain(&e)))?;
        if found.file_type().is_symlink() {
            return Err(Reason::Link(path.to_path_buf()));
        }
        if !found.is_file() {
            return Err(Reason::NoFile);
        }
        if found.len() > MAX_BYTES {
            return Err(Reason::TooLarge(found.len()));
        }
        if !crate::syntax::known(language(path)) {
            return Err(Reason::Language);
        }
        let bytes = std::fs::read(path).map_err(|e| Reason::Unreadable(crate::config::plain(&e)))?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or(Reason::Binary)?;
        let head = &text[..text.floor_char_boundary(200)];
        if head.contains("-----BEGIN") && head.contains("PRIVATE KEY") { Err(Reason::Key) } else { Ok(text) }
    }

    /// Whether a file would be read, with its text; asked for one file, as when it has changed.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn explain(&self, path: &Path) -> Result<String, Reason> {
        let outside = || Reason::Outside(self.root.clone());
        let inside = path.strip_prefix(&self.root).map_err(|_| outside())?.to_path_buf();
        let mut so_far = self.root.clone();
        for part in inside.components() {
            let Component::Normal(name) = part else { return Err(outside()) };
            so_far.push(name);
            self.check(&so_far)?;
        }
        let text = self.read(path)?;
        self.not_ignored(path)?;
        Ok(text)
    }

    /// One file or folder on the way to a file.
    fn check(&self, path: &Path) -> Result<(), Reason> {
        let found = path.symlink_metadata().map_err(|e| Reason::Unreadable(crate::config::plain(&e)))?;
        if found.file_type().is_symlink() {
            return Err(Reason::Link(path.to_path_buf()));
        }
        if let ignore::Match::Ignore(glob) = self.secrets.matched(path, found.is_dir()) {
            return Err(Reason::Secret(glob.original().to_string()));
        }
        if let ignore::Match::Ignore(glob) = self.exclude.matched(path, found.is_dir()) {
            return Err(Reason::Excluded(glob.original().to_string()));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') { Err(Reason::Hidden(name.into_owned())) } else { Ok(()) }
    }

    /// Asks the walk itself, along this path only: so the answer is the walk's.
    fn not_ignored(&self, path: &Path) -> Result<(), Reason> {
        let wanted = path.to_path_buf();
        let found = self.walker().filter_entry(move |entry| wanted.starts_with(entry.path())).build().flatten().any(|e| e.path() == path);
        if found { Ok(()) } else { Err(Reason::Ignored(self.who_ignores(path))) }
    }

    /// The nearest ignore file with a pattern for it, and the pattern.
    fn who_ignores(&self, path: &Path) -> String {
        for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
            for name in [".ignore", ".gitignore", ".git/info/exclude"] {
                let file = folder.join(name);
                let (rules, _) = Gitignore::new(&file);
                let rules = if name.contains('/') { patterns_of(folder, &file) } else { rules };
                if let ignore::Match::Ignore(glob) = rules.matched_path_or_any_parents(path, false) {
                    return format!("{} (\"{}\")", file.display(), glob.original());
                }
            }
        }
        "git's global ignore file, or one above the workspace".into()
    }
}

fn patterns_of(root: &Path, file: &Path) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    builder.add(file);
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn patterns<'a>(root: &Path, all: impl Iterator<Item = &'a str>) -> Result<Gitignore, String> {
    let wrong = |pattern: &str, e: ignore::Error| format!("{pattern:?} is no pattern ({e}): write it as in a .gitignore");
    let mut builder = GitignoreBuilder::new(root);
    builder.case_insensitive(true).map_err(|e| e.to_string())?;
    for pattern in all {
        builder.add_line(None, pattern).map_err(|e| wrong(pattern, e))?;
    }
    builder.build().map_err(|e| wrong("", e))
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    const FILES: [(&str, &str); 13] = [
        ("src/app.py", "x = 1\n"),
        ("src/own.secret.py", "x = 1\n"),
        ("src/gen/made.py", "x = 1\n"),
        ("build/out.py", "x = 1\n"),
        ("src/.hidden.py", "x = 1\n"),
        (".env", "KEY=1\n"),
        (".env.local.py", "KEY=1\n"),
        ("src/ID_RSA.py", "x = 1\n"),
        ("deep/.ssh/config.py", "x = 1\n"),
        ("src/key.py", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
        ("src/odd.py", "x = '\0'\n"),
        ("notes.xyz", "x\n"),
        (".gitignore", "/build\n"),
    ];

    #[test]
    fn each_reason_is_given() {
        let root = folder(&FILES);
        std::fs::write(root.path().join("src/big.py"), "#".repeat(MAX_BYTES as usize + 1)).expect("a file");
        std::os::unix::fs::symlink(root.path().join("src"), root.path().join("linked")).expect("a link");
        let rules = Rules::new(root.path(), &["*.secret.py".into(), "gen/".into()]).expect("rules");
        let why = |name: &str| rules.explain(&root.path().join(name)).err().map(|r| r.to_string()).unwrap_or_default();
        assert_eq!(why("src/app.py"), "");
        for (name, reason) in [
            ("src/own.secret.py", "\"*.secret.py\" of the setting exclude"),
            ("src/gen/made.py", "\"gen/\" of the setting exclude"),
            ("build/out.py", "(\"/build\")"),
            ("src/.hidden.py", "\".hidden.py\" is hidden"),
            (".env", "may hold secrets"),
            (".env.local.py", "secrets (\".env*\")"),
            ("src/ID_RSA.py", "secrets (\"id_rsa*\")"),
            ("deep/.ssh/config.py", "secrets (\".ssh\")"),
            ("src/key.py", "private key"),
            ("src/odd.py", "binary"),
            ("notes.xyz", "no grammar"),
            ("src/big.py", "1024 KB, more than 1024 KB"),
            ("linked/app.py", "is a link"),
            ("src", "no file"),
            ("../other.py", "outside of the workspace"),
            ("nowhere.py", "cannot be read"),
        ] {
            assert!(why(name).contains(reason), "{name}: {}", why(name));
        }
    }

    #[test]
    fn the_walk_and_the_reasons_agree() {
        let root = folder(&FILES);
        std::os::unix::fs::symlink(root.path(), root.path().join("src/loop")).expect("a link");
        let rules = Rules::new(root.path(), &["gen/".into()]).expect("rules");
        let walked: Vec<PathBuf> = rules.walk().flatten().map(|e| e.into_path()).filter(|p| rules.read(p).is_ok()).collect();
        let explained: Vec<PathBuf> =
            FILES.iter().map(|(name, _)| root.path().join(name)).filter(|path| rules.explain(path).is_ok()).collect();
        assert_eq!(walked, [root.path().join("src/app.py"), root.path().join("src/own.secret.py")]);
        assert_eq!(walked, explained);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Rules::new(Path::new("/w"), &["a{b".into()]).err().unwrap_or_default();
        assert!(error.contains("\"a{b\" is no pattern") && error.contains(".gitignore"), "{error}");
    }
}
