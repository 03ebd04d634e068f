//! The design's rules that a program can check: who may name whom, how long a file may be, what must stand at its head.
//!
//! ```text
//! src/prompt.rs:12: "candle" is not for the left half (see src/lib.rs, what is absent)
//! ```
//! A rule that is wrong is changed here, with its reason; a file that breaks one is changed there.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file is about 500 lines; what is above this is split where it splits naturally.
const LONGEST: usize = 550;

/// The files that may hold `unsafe`, and what for.
const UNSAFE: &[(&str, &str)] = &[
    ("src/bench/model.rs", "the processor's time of this process"),
    ("src/daemon/place.rs", "who this user is"),
    ("src/eval/sandbox.rs", "limits between fork and exec"),
    ("src/eval/tests.rs", "whether the sandbox holds here"),
    ("src/hub/pull.rs", "how much room the disk has"),
    ("src/lsp/edge.rs", "whether the editor still lives"),
    ("src/model/cpu/", "vector instructions, and threads that write parts of one buffer"),
    ("src/model/cpu.rs", "the same"),
    ("src/model/cuda/args.rs", "a kernel's arguments as bytes"),
    ("src/model/cuda/driver.rs", "the NVIDIA driver's functions"),
    ("src/model/cuda/emulated.rs", "the kernels compiled for the CPU, in tests"),
    ("src/model/cuda/kind.rs", "quantised blocks as bytes"),
    ("src/model/matrix.rs", "bytes of a file as quantised blocks"),
    ("src/model/source.rs", "mapped files"),
    ("src/models/machine.rs", "how much memory there is"),
    ("src/quantize.rs", "quantised blocks as bytes"),
    ("src/serve.rs", "a session of its own for the server"),
    ("tests/eval.rs", "whether the sandbox holds here"),
    ("tests/fuzz/", "the entry points of a fuzzer"),
];

const LEFT: [&str; 7] = ["lsp", "suggest", "prompt", "context", "syntax", "document", "instruct"];
const RIGHT: [&str; 5] = ["server", "worker", "cache", "model", "tokens"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that are ours and end so, as (path from the root, text).
fn files(ends: &str) -> Vec<(String, String)> {
    let ours = |entry: &ignore::DirEntry| !["target", "node_modules"].iter().any(|name| entry.file_name() == *name);
    let walk = ignore::WalkBuilder::new(root()).require_git(false).filter_entry(ours).build();
    let paths = walk.map(|entry| entry.expect("a readable folder").into_path());
    let found: Vec<_> = paths.filter(|path| path.is_file() && path.to_string_lossy().ends_with(ends)).map(read).collect();
    assert!(!found.is_empty(), "no file ends with {ends}");
    found
}

fn read(path: PathBuf) -> (String, String) {
    let name = path.strip_prefix(root()).expect("inside").to_string_lossy().replace('\\', "/");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    (name, text)
}

/// Fails with all that was found, a line each.
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Whether the file belongs to one of these modules.
fn belongs(name: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| name == format!("src/{module}.rs") || name.starts_with(&format!("src/{module}/")))
}

/// Lines of code (not of comments) that hold a word, in files that `which` picks.
fn lines_with(words: &[&str], which: impl Fn(&str) -> bool, why: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files(".rs").into_iter().filter(|(name, _)| which(name)) {
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let hits = words.iter().filter(|word| line.contains(*word));
            found.extend(hits.map(|word| format!("{name}:{}: \"{word}\" {why}", n + 1)));
        }
    }
    found
}

#[test]
fn the_left_half_knows_no_tokens_and_no_tensors() {
    let words = ["candle", "cudarc", "crate::tokens", "crate::cache", "crate::model", "crate::worker", "infill::tokens"];
    none(lines_with(&words, |name| belongs(name, &LEFT), "is not for the left half (see src/lib.rs, what is absent)"));
}

#[test]
fn the_right_half_knows_no_editor() {
    let words = ["tower_lsp", "ropey", "tree_sitter", "crate::lsp"];
    none(lines_with(&words, |name| belongs(name, &RIGHT), "is not for the right half (see src/lib.rs, what is absent)"));
}

#[test]
fn only_lsp_names_the_protocols_library() {
    let others = |name: &str| name.starts_with("src/") && !belongs(name, &["lsp"]);
    none(lines_with(&["tower_lsp"], others, "is for src/lsp alone"));
}

#[test]
fn state_machines_do_no_io() {
    let words = ["std::fs", "std::net", "std::process", "std::io", "tokio::fs", "tokio::net", "tokio::process", "tokio::time"];
    let machines = ["suggest", "instruct", "prompt", "cache"];
    none(lines_with(&words, |name| belongs(name, &machines), "is IO, and this module does none"));
}

#[test]
fn nothing_is_left_to_do() {
    let words = ["todo!", "unimplemented!", "dbg!", "#[ignore"].map(|w| w.to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    none(lines_with(&words, |name| name != "tests/tidy.rs", "is not for the main branch"));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let lines = text.lines().count();
        if lines > LONGEST {
            found.push(format!("{name}: {lines} lines, more than {LONGEST}: split it"));
        }
        if !text.starts_with("//!") {
            found.push(format!("{name}: does not begin with //! and its purpose"));
        }
    }
    for (name, text) in files(".py").into_iter().chain(files(".sh")).filter(|(name, _)| !name.starts_with("tests/editors/project/")) {
        let text = text.strip_prefix("#!").and_then(|t| t.split_once('\n')).map_or(text.as_str(), |(_, rest)| rest);
        if !text.starts_with(['#', '"']) {
            found.push(format!("{name}: does not begin with its purpose"));
        }
    }
    none(found);
}

#[test]
fn unsafe_code_is_in_named_files_and_says_why_it_is_sound() {
    let word = ["un", "safe"].concat();
    let mut found = Vec::new();
    for (name, text) in files(".rs").into_iter().filter(|(name, _)| name != "tests/tidy.rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word) {
                continue;
            }
            if !UNSAFE.iter().any(|(place, _)| name == *place || place.ends_with('/') && name.starts_with(place)) {
                found.push(format!("{name}:{}: {word} is not for this file: see UNSAFE in tests/tidy.rs", n + 1));
            }
            let block = code.contains(&format!("{word} {{")) || code.contains(&format!("{word} impl"));
            let item = lines[..=n].iter().rev().skip(1).take_while(|l| **l != "}");
            if block && !line.contains("SAFETY") && !item.into_iter().any(|l| l.contains("SAFETY") || l.contains("# Safety")) {
                found.push(format!("{name}:{}: no SAFETY comment in this item", n + 1));
            }
        }
    }
    none(found);
}

/// What stands between backticks, and each indented line, a paragraph at a time.
fn spans(markdown: &str) -> Vec<String> {
    let (mut spans, mut fenced) = (Vec::new(), false);
    for paragraph in markdown.split("\n\n") {
        let (code, prose): (Vec<&str>, Vec<&str>) = paragraph.lines().partition(|line| {
            fenced ^= line.trim_start().starts_with("```");
            fenced || line.starts_with("    ")
        });
        spans.extend(code.into_iter().map(|line| line.trim().trim_start_matches("$ ").to_owned()));
        spans.extend(prose.join(" ").split('`').skip(1).step_by(2).map(str::to_owned));
    }
    spans
}

/// `infill bench trace FILE --chars 9` as its subcommands and its flags.
fn command(span: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let mut words = span.strip_prefix("infill ")?.split(['|', ';', '#']).next()?.split_whitespace().peekable();
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let mut names = vec![words.next_if(plain)?];
    if matches!(names[0], "bench" | "eval") {
        names.extend(words.next_if(plain));
    }
    let flags = words.map(|word| word.trim_matches(['[', ']', ',', '.']).split('=').next().unwrap_or_default());
    Some((names, flags.filter(|word| word.starts_with("--") && word.len() > 2).collect()))
}

#[test]
fn every_command_in_the_documentation_exists() {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (name, text) in files(".md") {
        for span in spans(&text) {
            let Some((names, flags)) = command(&span) else { continue };
            seen.insert(names.join(" "));
            let help = Command::new(env!("CARGO_BIN_EXE_infill")).args(&names).arg("--help").output().expect("infill runs");
            let text = String::from_utf8_lossy(&help.stdout);
            if !help.status.success() {
                found.push(format!("{name}: `{span}`: there is no such command"));
            }
            let unknown = flags.iter().filter(|flag| !text.contains(&format!("{flag} ")) && !text.contains(&format!("{flag}\n")));
            found.extend(unknown.map(|flag| format!("{name}: `{span}`: there is no {flag}")));
        }
    }
    assert!(seen.len() > 12, "too few commands were found: {seen:?}");
    none(found);
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let mut found = Vec::new();
    for (name, text) in files(".md") {
        let folder = root().join(&name).parent().expect("a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let local = links.filter(|link| !link.contains("://") && !link.starts_with('#') && !link.contains(' '));
        let dead = local.filter(|link| !folder.join(link.split('#').next().unwrap_or_default()).exists());
        found.extend(dead.map(|link| format!("{name}: {link} is not there")));
    }
    none(found);
}

/// The keys of README's table: a key without a dot, after one with a dot, is of the same section.
fn documented() -> BTreeSet<String> {
    let (_, readme) = read(root().join("README.md"));
    let section = readme.split("\n## Configuration").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let mut keys = BTreeSet::new();
    for cell in section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()) {
        let mut inside = None;
        for key in cell.split('`').step_by(2) {
            inside = key.split_once('.').map(|(section, _)| section).or(inside);
            let bare = key.split_once('.').map_or(key, |(_, rest)| rest);
            keys.insert(inside.map_or(bare.to_owned(), |section| format!("{section}.{bare}")));
        }
    }
    keys.remove("");
    keys
}

#[test]
fn every_setting_is_documented_and_every_documented_setting_exists() {
    let known: BTreeSet<String> = infill::config::keys().into_iter().collect();
    assert_eq!(documented(), known);
}

#[test]
fn every_fault_has_its_test() {
    let (_, page) = read(root().join("tests/README.md"));
    let table = page.split("## Faults").nth(1).expect("the table");
    let code: String = files(".rs").into_iter().map(|(_, text)| text).collect();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let test = |row: &str| row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default().trim_matches('`').to_owned();
    none(
        rows.into_iter()
            .map(test)
            .filter(|test| !code.contains(&format!("fn {test}(")))
            .map(|test| format!("there is no test {test}"))
            .collect(),
    );
}
