//! `infill eval` as its user sees it: the real program and nano, on small benchmarks of our own.
//!
//! ```text
//! $ infill eval humaneval-infilling own.jsonl --limit 2 --json
//! { "settings": { "model": "nano", … }, "rows": [ { "tasks": "SingleLineInfilling", "exact %": 0.0, … } ] }
//! ```
mod serving;

use serde_json::{Value, json};
use serving::House;
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

/// So short, both, that the first answer's short suffix is the whole one, however many bytes an engine counts to a token.
const COUNTER: &str = "class Counter:\n    def __init__(self, start):\n        self.start = start\n        self.total = start\n\n    def reset(self):\n        self.total = self.start\n";
const STORE: &str = "class Store:\n    def __init__(self, path):\n        self.path = path\n        self.records = {}\n\n    def close(self):\n        self.path = None\n";

/// Holes in the two, by an engine at `url` or the own one: kind and text of each.
fn holes(house: &House, url: Option<&str>) -> Vec<(String, String)> {
    let out = if url.is_some() { "there.jsonl" } else { "here.jsonl" };
    let mut command = house.command(&["eval", "holes", "src", "--holes", "24", "--json", "--out", out]);
    command.envs(url.map(|url| ("INFILL_ENGINE_URL", url)));
    let output = command.output().expect("infill runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["settings"]["model"], "nano", "{found}");
    let lines = std::fs::read_to_string(house.path(out)).expect("results");
    let records = lines.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    records.map(|record| (text(&record["kind"]), text(&record["text"]))).collect()
}

/// Where nothing is typed yet, a prompt is the same text for both. (Inside a word the own engine is held to the letters that are
/// there, which no completions API can do.)
#[test]
fn an_engine_elsewhere_is_asked_the_same_and_counted_the_same() {
    // Without its sidecar nano copies nothing: the own engine would copy from what is not sent elsewhere. Its 1,024 tokens hold
    // this much of a prompt.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nano/nano.gguf");
    let house = House::with(&[("INFILL_MODEL", model), ("INFILL_CONTEXT_TOKENS", "400"), ("INFILL_ENGINE_TEMPLATE", "deepseek")]);
    std::fs::create_dir(house.path("src")).expect("a folder");
    std::fs::write(house.path("src/store.py"), STORE).expect("a file");
    std::fs::write(house.path("src/counter.py"), COUNTER).expect("a file");
    let _server = house.serve(&["--listen", "127.0.0.1:0"]);
    let there = holes(&house, Some(&format!("http://{}", house.address())));
    let here = holes(&house, None);
    let untyped = |all: Vec<(String, String)>| all.into_iter().filter(|(kind, _)| kind == "line" || kind == "block").collect::<Vec<_>>();
    assert_eq!(there.len(), here.len());
    let (there, here) = (untyped(there), untyped(here));
    assert_eq!(there, here);
    assert!(here.iter().filter(|(_, text)| !text.is_empty()).count() >= 5, "{here:?}");
}

/// RepoBench lines of two files of ours: each use in one of what the other defines.
fn repobench_of_project() -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/editors/project");
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).expect("a file");
    let (text, units) = (read("tests/test_units.py"), read("station/units.py"));
    let imports: Vec<&str> = text.lines().filter(|l| l.starts_with("from") || l.starts_with("import")).collect();
    let names: Vec<&str> = units.lines().filter_map(|l| l.strip_prefix("def ")?.split('(').next()).collect();
    let convert = units.find("def convert").and_then(|at| units[at..].split("\n\n\n").next()).expect("a definition");
    let lines: Vec<&str> = text.lines().collect();
    let uses = |n: &usize| !lines[*n].contains("import") && names.iter().any(|name| lines[*n].contains(name));
    let task = |n: usize| {
        json!({ "repo_name": "infill/station", "file_path": "tests/test_units.py", "import_statement": imports.join("\n"),
            "cropped_code": lines[..n].join("\n"), "all_code": text, "next_line": lines[n], "gold_snippet_index": 0, "token_num": 900,
            "created_at": if n.is_multiple_of(2) { "2023-12-24 10:00:00" } else { "2023-11-24 10:00:00" }, "level": "2k",
            "context": [{ "identifier": names[0], "path": "station/units.py", "snippet": convert }] })
    };
    self::lines(&(0..lines.len()).filter(uses).map(task).collect::<Vec<_>>())
}

#[test]
fn repobench_takes_the_published_line_format_and_its_published_part() {
    let made = repobench_of_project();
    let tasks: Vec<Value> = made.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let december = tasks.iter().filter(|task| task["created_at"].as_str().is_some_and(|at| at.starts_with("2023-12"))).count();
    assert!(december > 0 && december < tasks.len(), "{made}");
    let shell = Shell::new().file("own.jsonl.gz", gzip(&made)).file("november.jsonl", made.replace("2023-12", "2023-10"));
    let found = shell.json(&["repobench", "own.jsonl.gz"]);
    assert_eq!(found["rows"][1]["tasks"], json!(tasks.len()), "{found}");
    assert!(found["rows"][1]["had gold"].as_u64() > Some(0), "{found}");
    assert_eq!(shell.json(&["repobench", "own.jsonl.gz", "--published-part"])["rows"][0]["tasks"], december);
    shell.fails(&["repobench", "november.jsonl", "--published-part"], &["november.jsonl", "December 2023", "leave --published-part away"]);
}
