//! Where the tests of a file are, by the customs of its language.
//!
//! ```
//! use infill::instruct::home::{Home, home};
//! use std::path::Path;
//! let there = |path: &Path| path == Path::new("/w/tests");
//! let found = home(Path::new("/w/shop/tax.py"), "python", Path::new("/w"), &there);
//! assert_eq!(found, Some(Home::File("/w/tests/test_tax.py".into())));
//! assert_eq!(home(Path::new("/w/src/tax.rs"), "rust", Path::new("/w"), &there), Some(Home::Inside));
//! ```
use super::piece::{Change, indented};
use crate::document::Snapshot;
use std::path::{Path, PathBuf};

/// The place of a file's tests.
#[derive(Clone, Debug, PartialEq)]
pub enum Home {
    /// In the file itself, in a module `tests`.
    Inside,
    /// This file, which may not be there yet.
    File(PathBuf),
}

/// How a language names its tests: `*` is the file's name; and the folders they are in, besides the file's own.
struct Custom {
    names: &'static [&'static str],
    /// Below the file's folder and each one above it, up to the workspace's.
    folders: &'static [&'static str],
    /// `*` with its first letter large.
    large: bool,
}

fn custom(language: &str) -> Option<Custom> {
    let (names, folders, large): (&'static [_], &'static [_], bool) = match language {
        "python" => (&["test_*.py", "*_test.py"], &["tests", "test"], false),
        "go" => (&["*_test.go"], &[], false),
        "javascript" | "javascriptreact" | "jsx" => (&["*.test.js", "*.spec.js"], &["__tests__", "tests", "test"], false),
        "typescript" => (&["*.test.ts", "*.spec.ts"], &["__tests__", "tests", "test"], false),
        "typescriptreact" | "tsx" => (&["*.test.tsx", "*.spec.tsx"], &["__tests__", "tests", "test"], false),
        "java" => (&["*Test.java", "*Tests.java"], &[], true),
        "csharp" => (&["*Tests.cs", "*Test.cs"], &["Tests", "tests"], true),
        "ruby" => (&["*_spec.rb", "*_test.rb"], &["spec", "test"], false),
        "php" => (&["*Test.php"], &["tests"], true),
        "lua" => (&["*_spec.lua"], &["spec"], false),
        "c" => (&["test_*.c", "*_test.c"], &["tests", "test"], false),
        "cpp" => (&["test_*.cpp", "*_test.cpp"], &["tests", "test"], false),
        _ => return None,
    };
    Some(Custom { names, folders, large })
}

/// Whether there is a custom.
pub fn known(language: &str) -> bool {
    language == "rust" || custom(language).is_some()
}

/// The file with the tests of `path`: one that is there, else a new one, in a folder that is there. A file of tests holds its
/// own. `root`: the workspace's folder. `None`: no custom is known.
pub fn home(path: &Path, language: &str, root: &Path, exists: &dyn Fn(&Path) -> bool) -> Option<Home> {
    if language == "rust" {
        return Some(Home::Inside);
    }
    let custom = custom(language)?;
    let (folder, stem) = (path.parent()?, path.file_stem()?.to_str()?);
    let name = path.file_name()?.to_str()?;
    if custom
        .names
        .iter()
        .any(|form| form.split_once('*').is_some_and(|(a, z)| name.len() > a.len() + z.len() && name.starts_with(a) && name.ends_with(z)))
    {
        return Some(Home::File(path.to_owned()));
    }
    let stem = if custom.large { large(stem) } else { stem.to_owned() };
    let folders = folders(folder, root, &custom);
    let all = folders.iter().flat_map(|folder| custom.names.iter().map(|form| folder.join(form.replace('*', &stem))));
    let there = all.clone().find(|path| exists(path));
    let new = || folders.iter().position(|folder| exists(folder)).and_then(|n| all.clone().nth(n * custom.names.len()));
    let beside = folder.join(custom.names[0].replace('*', &stem));
    Some(Home::File(there.or_else(new).unwrap_or(beside)))
}

/// Folders where tests may be, the likeliest first, the file's own last.
fn folders(folder: &Path, root: &Path, custom: &Custom) -> Vec<PathBuf> {
    let mut out = Vec::new();
    if let Some((before, after)) = folder.to_str().and_then(|text| text.split_once("/src/main/")) {
        out.push(PathBuf::from(format!("{before}/src/test/{after}")));
    }
    let above = folder.ancestors().take_while(|at| at.starts_with(root));
    out.extend(above.flat_map(|at| custom.folders.iter().map(|name| at.join(name))));
    out.push(folder.to_owned());
    out
}

/// Adds tests to a file: at its end, or (`inside`) to its module `tests`, which is made where it is missing.
pub fn added(text: &Snapshot, code: &str, inside: bool) -> Change {
    let whole = text.text(0, text.rope.len_bytes());
    let code = code.trim_matches('\n');
    let end = text.rope.len_bytes();
    if inside {
        return in_module(text, &whole, code);
    }
    let apart = if &*text.language == "python" { "\n\n" } else { "\n" };
    let before = match whole.trim().is_empty() {
        true => String::new(),
        false => format!("{}{apart}", if whole.ends_with('\n') { "" } else { "\n" }),
    };
    Change { start: end, end, text: format!("{before}{code}\n") }
}

/// Before the bracket that closes the last module `tests`.
fn in_module(text: &Snapshot, whole: &str, code: &str) -> Change {
    let code = indented(code, "    ");
    let lines: Vec<&str> = whole.lines().collect();
    let open = lines.iter().rposition(|line| line.trim_end() == "mod tests {");
    let close = open.and_then(|open| Some(open + lines[open..].iter().position(|line| line.trim_end() == "}")?));
    if let Some(line) = close {
        let at = text.rope.line_to_byte(line);
        return Change { start: at, end: at, text: format!("\n{code}\n") };
    }
    let end = text.rope.len_bytes();
    let line = if whole.is_empty() || whole.ends_with('\n') { "" } else { "\n" };
    Change { start: end, end, text: format!("{line}\n#[cfg(test)]\nmod tests {{\n    use super::*;\n\n{code}\n}}\n") }
}

fn large(stem: &str) -> String {
    let mut letters = stem.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The home of a file where these paths are.
    fn of(path: &str, language: &str, there: &[&str]) -> String {
        let exists = |path: &Path| there.iter().any(|other| Path::new(other) == path);
        match home(Path::new(path), language, Path::new("/w"), &exists) {
            Some(Home::File(path)) => path.to_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_that_are_there_come_first() {
        for (path, language, there, expected) in [
            ("/w/shop/tax.py", "python", &["/w/shop"][..], "/w/shop/test_tax.py"),
            ("/w/shop/tax.py", "python", &["/w/tests", "/w/shop"], "/w/tests/test_tax.py"),
            ("/w/shop/tax.py", "python", &["/w/tests", "/w/shop", "/w/shop/tax_test.py"], "/w/shop/tax_test.py"),
            ("/w/shop/tax.py", "python", &["/w/tests", "/w/shop/tests"], "/w/shop/tests/test_tax.py"),
            ("/w/tests/test_tax.py", "python", &[], "/w/tests/test_tax.py"),
            ("/w/a/b.go", "go", &["/w/a"], "/w/a/b_test.go"),
            ("/w/src/a.ts", "typescript", &["/w/src", "/w/src/a.spec.ts"], "/w/src/a.spec.ts"),
            ("/w/src/main/java/x/Tax.java", "java", &["/w/src/test/java/x"], "/w/src/test/java/x/TaxTest.java"),
            ("/w/src/tax.php", "php", &["/w/tests"], "/w/tests/TaxTest.php"),
            ("/elsewhere/tax.py", "python", &["/tests", "/elsewhere/tests"], "/elsewhere/test_tax.py"),
        ] {
            assert_eq!(of(path, language, there), expected, "{path} {there:?}");
        }
    }

    #[test]
    fn where_no_custom_is_known_there_is_none() {
        assert_eq!(home(Path::new("/w/a.html"), "html", Path::new("/w"), &|_| true), None);
        assert_eq!(home(Path::new("/w/a.rs"), "rust", Path::new("/w"), &|_| true), Some(Home::Inside));
        assert!(known("python") && known("rust") && !known("html"));
    }

    #[test]
    fn tests_are_added_at_the_end_or_inside() {
        use crate::document::Document;
        let after = |language: &str, before: &str, code: &str| {
            let text = Document::new("u", language, 1, before).snapshot();
            let change = added(&text, code, language == "rust");
            format!("{}{}{}", &before[..change.start], change.text, &before[change.end..])
        };
        assert_eq!(after("python", "", "\ndef test_a():\n    pass\n"), "def test_a():\n    pass\n");
        assert_eq!(after("python", "x = 1", "def test_a(): pass"), "x = 1\n\n\ndef test_a(): pass\n");
        assert_eq!(after("go", "package a\n", "func TestA() {}\n"), "package a\n\nfunc TestA() {}\n");
        let made = "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn a() {}\n}\n";
        assert_eq!(after("rust", "fn f() {}\n", "#[test]\nfn a() {}\n"), format!("fn f() {{}}\n{made}"));
        let there = "mod tests {\n    #[test]\n    fn b() {}\n}\nfn g() {}\n";
        assert_eq!(after("rust", there, "fn a() {}"), "mod tests {\n    #[test]\n    fn b() {}\n\n    fn a() {}\n}\nfn g() {}\n");
    }
}
