//! The command line as its user sees it: the real program, its output, its exit code.
//!
//! ```text
//! $ infill complete shop.py:99:1
//! infill: line 99 is past the end of shop.py: its last line is 3                     exit code 1, nothing on stdout
//! ```
//! Settings of whoever runs the tests are not the program's: it gets no `INFILL_*` and an empty XDG_CONFIG_HOME.
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A folder to work in, and the program in it.
struct Shell {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

/// What the program said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Shell {
        Shell { folder: tempfile::tempdir().expect("a folder"), variables: vec![] }
    }

    fn with(variables: &[(&'static str, &'static str)]) -> Shell {
        Shell { variables: variables.to_vec(), ..Shell::new() }
    }

    /// Writes a file into the folder.
    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Shell {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
        self
    }

    fn settings(self, toml: &str) -> Shell {
        self.file("config/infill/config.toml", toml)
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, b"")
    }

    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Said {
        let mut child = self.start(arguments);
        // A program that has failed already reads nothing.
        let _ = child.stdin.take().expect("stdin").write_all(stdin);
        Said::from(child.wait_with_output().expect("output"))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infill"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("INFILL_")) {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config")).env("INFILL_LOG", "warn");
        // A window of its own: no server is found, none is left behind.
        command.env("XDG_RUNTIME_DIR", self.folder.path().join("run")).env("INFILL_ENGINE_SHARED", "false");
        command.envs(self.variables.iter().copied()).current_dir(self.folder.path()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process")
    }

    /// Runs what must fail: exit code 1, nothing on stdout, one line on stderr that holds all of `words`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], words: &[&str]) {
        let said = self.run(arguments);
        assert_eq!(said.code, Some(1), "{arguments:?}: {}", said.err);
        assert_eq!(said.out, "", "{arguments:?}");
        assert!(said.err.starts_with("infill: ") && said.err.trim_end().lines().count() == 1, "{arguments:?} says:\n{}", said.err);
        for word in words.iter().chain(&["infill"]) {
            assert!(said.err.contains(word), "{word:?} is not in: {}", said.err);
        }
        for word in ["panicked", "os error", "RUST_BACKTRACE", "Some(", "Err("] {
            assert!(!said.err.contains(word), "{word:?} is in: {}", said.err);
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.well()).expect("JSON")
    }
}

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A copy of the small reference checkpoint.
fn checkpoint() -> Shell {
    ["config.json", "model.safetensors", "reference.safetensors"].iter().fold(Shell::new(), |shell, name| {
        let bytes = std::fs::read(fixture("reference/lite").join(name)).expect("a reference file");
        shell.file(&format!("lite/{name}"), bytes)
    })
}

const SHOP: &str = "class Shop:\n    def __init__(self, name):\n        self.name = name\n        self.\n";

#[test]
fn the_demo_runs_to_its_end_with_plausible_figures() {
    let figures = Shell::new().run(&["demo", "--json"]).json();
    let figures = figures.as_array().expect("a list");
    assert_eq!(figures.len(), 2);
    for f in figures {
        let number = |key: &str| f[key].as_u64().unwrap_or_else(|| panic!("{key} in {f}"));
        assert!(number("keystrokes") > 0 && number("tokens_computed") > 0, "{f}");
        assert!(number("tokens_reused") > number("tokens_computed"), "keys cost more than what was cached: {f}");
        assert!(number("suggestions") > 0 && number("accepted") <= number("suggestions"), "{f}");
        assert!(f["p50_ms"].as_f64() <= f["p95_ms"].as_f64(), "{f}");
    }
}

#[test]
fn the_demo_in_a_pipe_is_plain_text() {
    let said = Shell::new().run(&["demo"]).well();
    assert!(said.contains("shop.py") && said.contains("tokens reused"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
}

#[test]
fn a_completion_of_a_file_and_of_stdin_is_the_same() {
    let shell = Shell::new().file("shop.py", SHOP);
    let of_file = shell.run(&["complete", "shop.py:4:14"]).well();
    assert!(of_file.ends_with('\n'));
    let of_stdin = shell.run_with(&["complete", "-", "elsewhere/shop.py:4:14"], SHOP.as_bytes()).well();
    assert_eq!(of_file, of_stdin);
    let json = shell.run(&["complete", "--json", "shop.py:4:14"]).json();
    assert_eq!(format!("{}\n", json["text"].as_str().expect("text")), of_file);
    assert_eq!((&json["model"], &json["device"]), (&"nano".into(), &"cpu".into()));
    let usage = &json["usage"];
    assert!(usage["prompt_tokens"].as_u64() > Some(10) && usage["computed"].as_u64() > Some(0), "{json}");
    assert!(usage["first_token_ms"].as_f64() <= usage["total_ms"].as_f64(), "{json}");
}

#[test]
fn verify_says_whether_a_checkpoint_computes_what_it_should() {
    let lite = fixture("reference/lite");
    let said = Shell::new().run(&["verify", text(&lite)]).well();
    assert!(said.contains("agrees with the reference"), "{said}");
    let report = Shell::new().run(&["verify", text(&lite), "--json"]).json();
    assert_eq!(report["pass"], true);
    assert!(report["max_difference"].as_f64() < Some(1e-3) && report["prompts"].as_array().is_some_and(|p| p.len() == 3), "{report}");
}

#[test]
fn verify_of_a_checkpoint_that_computes_something_else_fails() {
    let shell = checkpoint();
    let path = shell.folder.path().join("lite/model.safetensors");
    let mut bytes = std::fs::read(&path).expect("weights");
    let half = bytes.len() / 2;
    bytes[half..].reverse(); // still weights, but others
    std::fs::write(&path, bytes).expect("weights");
    let said = shell.run(&["verify", "lite"]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("DIFFERS from the reference"), "{}{}", said.out, said.err);
}

#[test]
fn verify_of_damaged_files_names_them() {
    for (file, words) in [
        ("model.safetensors", &["model.safetensors", "cut off", "Download it again"][..]),
        ("reference.safetensors", &["reference.safetensors", "malformed", "reference_model.py"]),
    ] {
        let shell = checkpoint();
        let path = shell.folder.path().join("lite").join(file);
        let bytes = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &bytes[..bytes.len() - 100]).expect("a file");
        shell.fails(&["verify", "lite"], words);
    }
}

#[test]
fn config_shows_each_value_and_where_it_comes_from() {
    let shell = Shell::with(&[("INFILL_LANGUAGES", "python,rust")]).settings("[completion]\nmax_tokens = 64\n");
    let said = shell.run(&["config"]).well();
    let line = |key: &str| said.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{key} in {said}")).to_string();
    assert!(line("max_tokens = 64").contains("config.toml"), "{said}");
    assert!(line("languages = [\"python\", \"rust\"]").contains("INFILL_LANGUAGES"), "{said}");
    assert!(line("enabled = true").contains("default"), "{said}");
    let again: toml::Table = said.parse().expect("what is printed is a configuration file");
    assert_eq!(again["completion"]["max_tokens"].as_integer(), Some(64));
}

#[test]
fn the_schema_is_json_and_forbids_unknown_keys() {
    let schema = Shell::new().run(&["config", "--schema"]).json();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["model"]["description"].as_str().is_some_and(|d| d.contains("GGUF")), "{schema}");
}

#[test]
fn wrong_settings_are_named_with_their_place_and_the_remedy() {
    for (toml, words) in [
        ("modle = \"nano\"\n", &["config.toml", "modle", "unknown key", "`model`"][..]),
        ("[completion]\nlinez = \"one\"\n", &["config.toml", "completion.linez", "`lines`"]),
        ("[completion]\nlines = \"two\"\n", &["completion.lines", "two", "`block`"]),
        ("[completion]\nmax_tokens = \"many\"\n", &["completion.max_tokens", "many", "a whole number"]),
        ("[completion]\nmax_tokens = 0\n", &["completion.max_tokens", "1 to 1024"]),
        ("[completion\n", &["config.toml", "is not TOML (line 1, column 12", "correct it"]),
    ] {
        let shell = Shell::new().settings(toml).file("a.py", "x\n");
        shell.fails(&["config"], words);
        shell.fails(&["complete", "a.py:1:1"], words);
        shell.fails(&["demo"], words);
    }
    Shell::with(&[("INFILL_MODLE", "nano")]).fails(&["config"], &["INFILL_MODLE", "unknown variable", "INFILL_MODEL"]);
    Shell::with(&[("INFILL_CACHE_BYTES", "lots")]).fails(&["config"], &["INFILL_CACHE_BYTES", "lots", "256MB"]);
}

#[test]
fn a_server_with_wrong_settings_starts_and_says_so() {
    let shell = Shell::new().settings("modle = \"nano\"\n");
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}"#;
    let ready = r#"{"jsonrpc":"2.0","method":"initialized","params":{}}"#;
    let framed = |message: &str| format!("Content-Length: {}\r\n\r\n{message}", message.len());
    let mut server = shell.start(&["lsp"]);
    let mut stdin = server.stdin.take().expect("stdin");
    // The end of its stdin ends the server: when all is said, or when nothing comes for a minute.
    let (send, messages) = channel::<String>();
    let writer = std::thread::spawn(move || {
        while let Ok(message) = messages.recv_timeout(Duration::from_secs(60)) {
            let _ = stdin.write_all(message.as_bytes());
        }
    });
    let _ = send.send(framed(ask));
    let (mut send, mut ready) = (Some(send), Some(framed(ready)));
    let (mut out, mut piece, mut stdout) = (String::new(), [0; 4096], server.stdout.take().expect("stdout"));
    while let Ok(n @ 1..) = stdout.read(&mut piece) {
        out += &String::from_utf8_lossy(&piece[..n]);
        if let (Some(send), Some(ready)) = (&send, ready.take_if(|_| out.contains("serverInfo"))) {
            let _ = send.send(ready);
        }
        if out.contains("modle") {
            send = None;
        }
    }
    writer.join().expect("the thread");
    let said = Said::from(server.wait_with_output().expect("output"));
    assert!(out.contains("window/showMessage") && out.contains("modle"), "{out}");
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

#[test]
fn models_that_cannot_be_used_are_named() {
    let nano = std::fs::read(fixture("nano/nano.gguf")).expect("nano");
    let shell = Shell::new()
        .file("a.py", "x = 1\n")
        .file("cut.gguf", &nano[..nano.len() - 1000])
        .file("stub.gguf", &nano[..1000])
        .file("qwen/config.json", r#"{"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2"}"#)
        .file("empty/README", "");
    for (model, words) in [
        ("gone.gguf", &["gone.gguf", "no such file", "GGUF file"][..]),
        ("cut.gguf", &["cut.gguf", "cut off", "Download it again"]),
        ("stub.gguf", &["stub.gguf", "Download it again"]),
        ("qwen", &["qwen", "qwen2", "DeepSeek-V2", "Choose"]),
        ("a.py", &["a.py", "is not a GGUF file"]),
        ("gone/", &["gone/", "folder with config.json"]),
    ] {
        shell.fails(&["complete", "a.py:1:1", "--model", model], words);
    }
}

#[test]
fn devices_that_are_not_there_are_named() {
    let shell = Shell::new().file("a.py", "x\n");
    for (device, words) in [("gpu", &["--device", "gpu", "\"cuda:0\""][..]), ("cuda:777", &["cuda:777 cannot be used", "set device to"])] {
        shell.fails(&["complete", "a.py:1:1", "--device", device], words);
    }
}

#[test]
fn places_that_are_not_there_are_named() {
    let shell = Shell::new().file("a.py", "x = 1\n");
    for (place, words) in [
        ("a.py:9:1", &["line 9", "a.py", "its last line is 2"][..]),
        ("a.py:1:99", &["column 99", "line 1", "a.py", "column 6"]),
        ("a.py:0:1", &["a.py:0:1", "FILE:LINE:COLUMN", "src/main.rs:12:9"]),
        ("a.py", &["a.py", "FILE:LINE:COLUMN"]),
        ("gone.py:1:1", &["gone.py", "no such file", "name a readable file"]),
        (".:1:1", &["is a directory", "name a readable file"]),
        ("-", &["infill complete - FILE:LINE:COLUMN"]),
    ] {
        shell.fails(&["complete", place], words);
    }
    shell.fails(&["complete", "a.py:1:1", "b.py:1:1"], &["b.py:1:1", "one argument too many"]);
}

#[test]
fn files_that_are_no_text_are_named() {
    let shell = Shell::new().file("binary.py", b"\x7fELF\0\0\0").file("latin1.py", b"caf\xe9 = 1\n").file("huge.py", "x".repeat(50 << 20));
    shell.fails(&["complete", "binary.py:1:1"], &["binary.py", "is binary", "name a text file"]);
    shell.fails(&["complete", "latin1.py:1:1"], &["latin1.py", "not UTF-8 (byte 3)", "iconv"]);
    shell.fails(&["complete", "huge.py:1:1"], &["huge.py", "50 MB", "10 MB", "smaller file"]);
    let said = shell.run_with(&["complete", "-", "in.py:1:1"], b"caf\xe9");
    assert!(said.code == Some(1) && said.err.contains("in.py is not UTF-8"), "{}", said.err);
}

#[test]
fn traces_and_peers_that_cannot_be_used_are_named() {
    let shell = Shell::new().file("a.json", "{}");
    let trace = fixture("trace/short.json");
    shell.fails(&["bench", "trace", "a.json"], &["a.json", "no typing trace"]);
    let remote = ["bench", "trace", text(&trace), "--timed", "1", "--against", "http://203.0.113.1:8012"];
    shell.fails(&remote, &["203.0.113.1", "is not this machine", "http://127.0.0.1:8012"]);
}
