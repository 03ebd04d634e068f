//! `infill eval` as its user sees it: the real program and nano, on small benchmarks of our own.
//!
//! ```text
//! $ infill eval humaneval-infilling own.jsonl --limit 2 --json
//! { "settings": { "model": "nano", … }, "rows": [ { "tasks": "SingleLineInfilling", "exact %": 0.0, … } ] }
//! ```
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

struct Shell {
    folder: tempfile::TempDir,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Shell {
        Shell { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Shell {
        std::fs::create_dir_all(self.path(name).parent().expect("a parent")).expect("folders");
        std::fs::write(self.path(name), bytes).expect("a file");
        self
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_on(arguments, std::env::var("PATH").unwrap_or_default())
    }

    fn run_on(&self, arguments: &[&str], path: impl AsRef<std::ffi::OsStr>) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infill"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INFILL_")) {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.path("config")).env("PATH", path).current_dir(&self.folder);
        let output = command.arg("eval").args(arguments).output().expect("infill runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        serde_json::from_str(&said.out).expect("JSON")
    }

    /// Runs what must fail: exit code 1, nothing on stdout, one line on stderr that holds all of `words`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], words: &[&str]) {
        let said = self.run(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{arguments:?}: {}", said.err);
        assert_eq!(said.err.trim_end().lines().count(), 1, "{arguments:?} says:\n{}", said.err);
        words.iter().for_each(|word| assert!(said.err.contains(word), "{word:?} is not in: {}", said.err));
        ["panicked", "os error", "RUST_BACKTRACE"].iter().for_each(|word| assert!(!said.err.contains(word), "{}", said.err));
    }
}

fn lines(tasks: &[Value]) -> String {
    tasks.iter().map(|task| format!("{task}\n")).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// The hole is optional: whatever a model says there as a comment or a statement of its own may pass; its absence does.
fn humaneval() -> String {
    let task = |kind: &str, prompt: &str, solution: &str, suffix: &str| {
        json!({ "task_id": format!("{kind}/Own/0/L0"), "entry_point": "double", "prompt": prompt, "canonical_solution": solution,
            "suffix": suffix, "test": "def check(candidate):\n    assert candidate(2) == 4\n" })
    };
    lines(&[
        task("SingleLineInfilling", "def double(a):\n", "    b = a * 2\n", "    return b\n"),
        // No answer can mend these tests.
        task("MultiLineInfilling", "raise ValueError\n", "pass\n", "def double(a):\n    return 0\n"),
        task("RandomSpanInfilling", "def double(a):\n    return a *", " 2\n    # the", " end\n\n\n\n"),
    ])
}

fn repobench() -> String {
    let task = |path: &str| {
        json!({ "repo_name": "o/p", "file_path": path, "import_statement": "import b", "cropped_code": "y = b.B()\nfor x in y:",
            "next_line": "    print(x)", "context": [{ "identifier": "B", "path": "b.py", "snippet": "class B:\n    pass" }], "gold_snippet_index": 0 })
    };
    lines(&[task("a.py"), task("A.java")])
}

#[test]
fn humaneval_runs_with_nano_and_its_programs_in_the_sandbox() {
    let shell = Shell::new().file("own.jsonl.gz", gzip(&humaneval()));
    let found = shell.json(&["humaneval-infilling", "own.jsonl.gz", "--unsafe-network"]);
    let kinds: Vec<&str> = found["rows"].as_array().expect("rows").iter().filter_map(|row| row["tasks"].as_str()).collect();
    assert_eq!(kinds, ["MultiLineInfilling", "RandomSpanInfilling", "SingleLineInfilling"]);
    assert_eq!((&found["rows"][0]["pass@1 %"], &found["rows"][0]["exact %"]), (&json!(0.0), &json!(0.0)), "{found}");
    assert_eq!(found["settings"]["model"], "nano");
    assert!(found["settings"]["programs"].as_str().is_some_and(|how| how.starts_with("run ")), "{found}");
    assert!(found["rows"][0].get("published exact %").is_none(), "nano has no published figure: {found}");
    let dry = shell.run(&["humaneval-infilling", "own.jsonl.gz", "--no-run", "--limit", "1"]);
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    assert!(dry.out.contains("programs not run") && dry.out.contains("SingleLineInfilling"), "{}", dry.out);
}

#[test]
fn repobench_runs_with_nano_with_and_without_context() {
    let shell = Shell::new().file("own.jsonl", repobench());
    let found = shell.json(&["repobench", "own.jsonl"]);
    let rows: Vec<String> = found["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| format!("{} {} {}", r["language"], r["context"], r["had context"]))
        .collect();
    assert_eq!(rows, ["\"java\" \"off\" 0", "\"java\" \"on\" 1", "\"python\" \"off\" 0", "\"python\" \"on\" 1"]);
}

#[test]
fn holes_are_the_same_each_time_and_a_run_goes_on() {
    let shell = Shell::new()
        .file("src/a.py", "def f(a):\n    b = a + 1\n    return b\n".repeat(20))
        .file("src/b.rs", "fn f() {\n    let x = 12;\n    g(x);\n}\n");
    let whole = shell.json(&["holes", "src", "--holes", "16", "--out", "whole.jsonl"]);
    let parts = ["holes", "src", "--holes", "16", "--out", "parts.jsonl"];
    shell.json(&[&parts[..], &["--limit", "5"]].concat());
    assert_eq!(shell.json(&parts)["rows"], whole["rows"]);
    let text = |name| std::fs::read_to_string(shell.path(name)).expect("a file");
    assert_eq!(text("whole.jsonl"), text("parts.jsonl"));
    assert!(whole["rows"].as_array().is_some_and(|rows| rows.len() > 8), "{whole}");
    shell.fails(&["holes", "src", "--holes", "16", "--seed", "2", "--out", "parts.jsonl"], &["parts.jsonl", "seed 1, this one has 2"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let shell = Shell::new()
        .file("own.jsonl", humaneval())
        .file("plain.jsonl.gz", humaneval())
        .file("broken.jsonl", humaneval() + "{\"task_id\":\n")
        .file("other.jsonl", "{\"task_id\": \"a\", \"prompt\": \"b\"}\n")
        .file("twice.jsonl", humaneval() + &humaneval())
        .file("empty/notes.txt", "")
        .file("notes.txt", "dear diary\n");
    for (arguments, words) in [
        (&["humaneval-infilling", "gone.jsonl"][..], &["gone.jsonl", "no such file", "name a .jsonl"][..]),
        (&["humaneval-infilling", "plain.jsonl.gz"], &["plain.jsonl.gz", "not gzip", "download it again"]),
        (&["humaneval-infilling", "broken.jsonl"], &["broken.jsonl, line 4", "is not JSON", "download"]),
        (&["humaneval-infilling", "other.jsonl"], &["other.jsonl, line 1", "missing field \"suffix\"", "canonical_solution"]),
        (&["humaneval-infilling", "twice.jsonl"], &["twice.jsonl", "SingleLineInfilling/Own/0/L0 twice"]),
        (&["repobench", "own.jsonl"], &["own.jsonl, line 1", "missing field", "cropped_code", "RepoBench v1.1"]),
        (&["holes", "empty"], &["empty", "no source files", ".py"]),
        (&["holes", "gone"], &["gone cannot be read", "name a readable folder"]),
        (
            &["humaneval-infilling", "own.jsonl", "--no-run", "--out", "notes.txt"],
            &["notes.txt", "not the settings of a run", "name another file"],
        ),
        (&["humaneval-infilling", "own.jsonl", "--no-run", "--model", "gone.gguf"], &["gone.gguf", "no such file"]),
        (&["humaneval-infilling", "own.jsonl", "--no-run", "--lines", "two"], &["--lines: completion.lines", "`block`"]),
    ] {
        shell.fails(arguments, words);
    }
    assert_eq!(std::fs::read_to_string(shell.path("notes.txt")).expect("a file"), "dear diary\n");
}

#[test]
fn a_missing_python_is_named_and_can_be_done_without() {
    let shell = Shell::new().file("own.jsonl", humaneval()).file("bin/README", "");
    let nowhere = shell.path("bin");
    let said = shell.run_on(&["humaneval-infilling", "own.jsonl"], &nowhere);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.err.contains("no python3 on PATH: install Python 3") && said.err.contains("--no-run"), "{}", said.err);
    assert_eq!(shell.run_on(&["humaneval-infilling", "own.jsonl", "--no-run"], &nowhere).code, Some(0));
}
