//! Benchmarks against an engine that knows the answers.
use super::*;
use crate::engine::{Answer, Event, Finish, Request, Totals, Usage};
use clap::Parser;

/// Says `answers[n]` with `probability` when the prompt holds its key.
struct Knows {
    answers: Vec<(&'static str, &'static str)>,
    probability: f32,
}

impl Engine for Knows {
    fn state(&self) -> State {
        State::Ready(Info {
            model: "DeepSeek Coder_V2-Lite-Base.Q4".into(),
            device: "none".into(),
            bytes_per_token: 3.0,
            context: 4096,
            show_threshold: Some(0.6),
            ..Info::default()
        })
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, request: Request) -> Answer {
        let (sender, answer) = tokio::sync::mpsc::unbounded_channel();
        let prompt = format!("{}{}", request.prefix, request.tail);
        let known = self.answers.iter().find(|(key, _)| prompt.contains(key)).map_or("", |(_, text)| *text);
        let text = known.strip_prefix(&request.tail).unwrap_or(known).to_owned();
        let events = [Event::Text { text, logprob: self.probability.ln() }, Event::Done { finish: Finish::Stop, usage: Usage::default() }];
        events.into_iter().for_each(|event| sender.send(event).expect("a receiver"));
        answer
    }
}

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    benchmark: Benchmark,
}

fn report(arguments: &[&str], engine: &Knows) -> Result<Report> {
    let benchmark = Command::parse_from([&["eval"], arguments].concat()).benchmark;
    let config = crate::config::merge(&benchmark.layers())?.config;
    measure(&benchmark, &config, engine)
}

/// The value of a column in a row.
fn value(report: &Report, row: usize, column: &str) -> Value {
    report.json()["rows"][row][column].clone()
}

fn folder(name: &str, lines: &[Value]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("a file");
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

fn humaneval() -> Vec<Value> {
    let task = |n: usize, name: &str, solution: &str| {
        json!({ "task_id": format!("SingleLineInfilling/Own/{n}/L0"), "entry_point": name, "prompt": format!("def {name}(a):\n    b = 0\n"),
            "suffix": "    return b\n", "canonical_solution": solution, "test": "def check(candidate):\n    assert candidate(3) == 6\n" })
    };
    vec![task(0, "double", "    b = a * 2\n"), task(1, "twice", "    b = a + a\n"), task(2, "again", "    b = 2 * a\n")]
}

#[test]
fn what_passes_and_what_is_exact_are_counted_apart() {
    let (_folder, file) = folder("own.jsonl", &humaneval());
    let answers = vec![("double", "    b = a * 2\n"), ("twice", "    b = 2 * a\n"), ("again", "    b = a\n")];
    let engine = Knows { answers, probability: 0.5 };
    let found = report(&["humaneval-infilling", &file, "--unsafe-network"], &engine).unwrap();
    let columns = ["count", "exact %", "pass@1 %", "timed out %", "nothing %", "shown %", "published exact %"];
    assert_eq!(
        columns.map(|name| value(&found, 0, name)),
        [json!(3), json!(33.3), json!(66.7), json!(0.0), json!(0.0), json!(0.0), json!(80.0)]
    );
    assert!(found.text().contains("HumanEval FIM 86.4"), "{}", found.text());
    let likely = report(&["humaneval-infilling", &file, "--no-run"], &Knows { probability: 0.7, ..engine }).unwrap();
    assert_eq!(["shown %", "exact %", "pass@1 %"].map(|name| value(&likely, 0, name)), [json!(100.0), json!(33.3), Value::Null]);
}

#[test]
fn a_threshold_counts_what_it_withholds_as_nothing() {
    let (_folder, file) = folder("own.jsonl", &humaneval());
    let engine = Knows { answers: vec![("double", "    b = a * 2\n")], probability: 0.5 };
    let exact = |threshold| {
        let found = report(&["humaneval-infilling", &file, "--no-run", "--limit", "1", "--threshold", threshold], &engine).unwrap();
        value(&found, 0, "exact %")
    };
    assert_eq!(["off", "0.4", "0.6", "auto"].map(exact), [json!(100.0), json!(100.0), json!(0.0), json!(0.0)]);
    let error = report(&["humaneval-infilling", &file, "--no-run", "--threshold", "much"], &engine).unwrap_err().to_string();
    assert!(error.contains("--threshold") && error.contains("\"much\" is no probability"), "{error}");
}

#[test]
fn layout_and_lines_are_settings_of_the_run() {
    let (_folder, file) = folder("own.jsonl", &humaneval());
    let engine = Knows { answers: vec![], probability: 0.5 };
    let found = report(&["humaneval-infilling", &file, "--no-run", "--layout", "psm", "--lines", "one"], &engine).unwrap();
    assert_eq!((&found.json()["settings"]["layout"], &found.json()["settings"]["lines"]), (&json!("psm"), &json!("one")));
    let error = report(&["humaneval-infilling", &file, "--layout", "spm"], &engine).unwrap_err().to_string();
    assert!(error.contains("--layout: completion.layout") && error.contains("spm"), "{error}");
}

#[test]
fn a_run_goes_on_and_asks_nothing_twice() {
    let (folder, file) = folder("own.jsonl", &humaneval());
    let out = folder.path().join("out.jsonl");
    let run = |limit: &str, text: &'static str, more: &[&str]| {
        let arguments =
            [&["humaneval-infilling", &file, "--no-run", "--limit", limit, "--out", out.to_str().expect("UTF-8")], more].concat();
        report(&arguments, &Knows { answers: vec![("def ", text)], probability: 0.5 })
    };
    assert_eq!(value(&run("1", "    b = a * 2\n", &[]).unwrap(), 0, "exact %"), json!(100.0));
    // The first task is done: only the others get the new answer.
    assert_eq!(value(&run("3", "    b = wrong\n", &[]).unwrap(), 0, "exact %"), json!(33.3));
    let lines = std::fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    let error = format!("{:#}", run("3", "", &["--layout", "psm"]).unwrap_err());
    assert!(error.contains("layout frozen, this one has psm"), "{error}");
}

#[test]
fn context_of_other_files_reaches_the_prompt() {
    let task = json!({ "repo_name": "o/p", "file_path": "a.py", "import_statement": "import b", "cropped_code": "y = b.B()", "next_line": "z = y.secret",
        "context": [{ "identifier": "B", "path": "b.py", "snippet": "class B:\n    secret = 1" }], "gold_snippet_index": 0 });
    let (_folder, file) = folder("own.jsonl", &[task.clone(), task]);
    let engine = Knows { answers: vec![("secret", "z  = y.secret\n"), ("", "z = y\n")], probability: 0.5 };
    let found = report(&["repobench", &file], &engine).unwrap();
    let row = |n| ["context", "had gold", "exact %", "similarity", "published exact %"].map(|name| value(&found, n, name));
    assert_eq!(row(0), [json!("off"), json!(0), json!(0.0), json!(59.0), Value::Null]);
    assert_eq!(row(1), [json!("on"), json!(2), json!(100.0), json!(96.0), json!(38.9)]);
}

#[test]
fn holes_are_marked_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.py"), "def f(value):\n    first = value\n    return first\n").unwrap();
    let engine = Knows { answers: vec![("def ", "    first = value\n    return first\n")], probability: 0.9 };
    let found = report(&["holes", folder.path().to_str().expect("UTF-8"), "--holes", "4"], &engine).unwrap();
    let json = found.json();
    let block = json["rows"].as_array().unwrap().iter().find(|row| row["kind"] == "block").expect("a block");
    assert_eq!((&block["exact %"], &block["saved %"], &block["right of shown %"]), (&json!(100.0), &json!(100.0), &json!(100.0)), "{json}");
    assert_eq!(block["new parse errors %"], if cfg!(feature = "languages") { json!(0.0) } else { Value::Null }, "{json}");
}

#[test]
fn a_threshold_is_learnt_and_written_beside_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.py"), "def f(value):\n    first = value\n    return first\n").unwrap();
    let (dir, file) = (folder.path().to_str().expect("UTF-8"), folder.path().join("own.infill.json"));
    let engine = Knows { answers: vec![("def ", "    first = value\n    return first\n")], probability: 0.9 };
    let run = |more: &[&str]| report(&[&["holes", dir, "--holes", "4", "--learn", file.to_str().expect("UTF-8")], more].concat(), &engine);
    let error = run(&["--threshold", "0.5"]).unwrap_err().to_string();
    assert!(error.contains("--learn") && error.contains("--threshold 0.5") && !file.exists(), "{error}");
    assert!(run(&[]).unwrap().text().contains("learnt: show_threshold 0.00"));
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&written["show_threshold"], &written["learnt"]["settings"]["holes"]), (&json!(0.0), &json!(4)), "{written}");
    let wrong = Knows { answers: vec![("def ", "    wrong\n")], probability: 0.9 };
    let none = report(&["holes", dir, "--holes", "4", "--learn", file.to_str().expect("UTF-8")], &wrong).unwrap_err().to_string();
    assert!(none.contains("no suggestion was right in"), "{none}");
}
