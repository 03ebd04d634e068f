//! `infill doctor`, on made-up homes: what it finds, the remedy it names, its exit code.
//!
//! ```text
//! !!  helix         …/languages.toml: no language uses "infill": add it to the language-servers of …      exit code 1
//! ```
use std::path::Path;
use std::process::Command;

struct House {
    folder: tempfile::TempDir,
}

impl House {
    /// A home where `infill` is first on PATH, with these files in it.
    fn with(files: &[(&str, &str)]) -> House {
        let house = House { folder: tempfile::tempdir().expect("a folder") };
        for (name, text) in files {
            let path = house.folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        house
    }

    fn doctor(&self, more: &[&str]) -> (Option<i32>, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_infill"));
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("INFILL_") || name == "APPDATA") {
            command.env_remove(name);
        }
        let home = self.folder.path();
        command.env("HOME", home).env("USERPROFILE", home).env("XDG_CONFIG_HOME", home.join(".config"));
        command.env("XDG_RUNTIME_DIR", home.join("run"));
        command.env("PATH", program.parent().expect("a folder"));
        let output = command.arg("doctor").args(more).output().expect("infill runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// The line about one thing.
    fn line(&self, what: &str) -> String {
        let (_, out) = self.doctor(&[]);
        out.lines().find(|l| l[4..].starts_with(what)).unwrap_or_else(|| panic!("no line about {what} in {out}")).to_owned()
    }
}

#[test]
fn where_nothing_is_wrong_it_says_so() {
    let (code, out) = House::with(&[]).doctor(&[]);
    assert_eq!(code, Some(0), "{out}");
    for what in ["binary", "configuration", "model", "device", "memory", "cache"] {
        assert!(out.lines().any(|l| l.starts_with(&format!("ok  {what} "))), "{what} in {out}");
    }
    assert!(out.lines().any(|l| l.starts_with("--  server        not running")), "{out}");
    for editor in ["vscode", "neovim", "helix", "zed", "emacs"] {
        assert!(out.lines().any(|l| l.starts_with(&format!("--  {editor} "))), "{editor} in {out}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let cases = [
        (".config/infill/config.toml", "modle = \"nano\"", "configuration", "unknown key"),
        (".config/infill/config.toml", "[cache]\nbytes = \"1GB\"\n[context]\ntokens = 131072", "model", "ok"),
        (".config/nvim/init.lua", "-- infill is not here", "neovim", "add editors/neovim"),
        (".config/helix/config.toml", "", "helix", "copy it from editors/helix"),
        (".config/helix/languages.toml", "[[", "helix", "is not TOML"),
        (".config/helix/languages.toml", "", "helix", "no [language-server.infill]"),
        (".config/helix/languages.toml", "[language-server.infill]\ncommand = \"nowhere\"", "helix", "not on PATH"),
        (".config/helix/languages.toml", "[language-server.infill]\ncommand = \"infill\"", "helix", "no language uses"),
        (".config/zed/settings.json", "{}", "zed", "install editors/zed"),
        (".emacs", "; infill", "emacs", "eglot or lsp-mode"),
        (".vscode/extensions/extensions.json", "[]", "vscode", "install editors/vscode"),
    ];
    for (file, text, what, words) in cases {
        let house = House::with(&[(file, text)]);
        let line = house.line(what);
        assert!(line.contains(words), "{file} holds {text:?}: {line}");
        assert_eq!(house.doctor(&[]).0, Some(i32::from(line.starts_with("!!"))), "{line}");
        assert!(words == "ok" || line.starts_with("!!"), "{line}");
    }
    let (code, out) = House::with(&[]).doctor(&["--model", "/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("!!  model         No model at \"/nowhere\""), "{out}");
}

#[test]
fn a_format_of_the_cache_that_a_cpu_does_not_have_is_told() {
    let line = |text: &str| House::with(&[(".config/infill/config.toml", text)]).line("cache");
    let told = line("[cache]\nformat = \"fp8\"");
    assert!(told.starts_with("ok") && told.contains("on a CPU the cache is in f32"), "{told}");
    assert!(!line("[cache]\nformat = \"auto\"").contains("f32"));
}

#[test]
fn editors_that_are_set_up_are_found() {
    let languages =
        "[language-server.infill]\ncommand = \"infill\"\n[[language]]\nname = \"rust\"\nlanguage-servers = [{ name = \"infill\" }]\n";
    let house = House::with(&[
        (".config/nvim/lua/plugins/infill.lua", "return { 'infill' }"),
        (".config/helix/languages.toml", languages),
        (".local/share/zed/extensions/installed/infill/extension.toml", ""),
        (".emacs.d/init.el", "(load \"infill\")"),
        (".vscode/extensions/infill.infill-0.1.0/package.json", "{}"),
    ]);
    let (code, out) = house.doctor(&[]);
    assert_eq!(code, Some(0), "{out}");
    assert!(house.line("helix").ends_with("languages.toml: rust"));
    let settings = "{\n  // a comment\n  \"editor.inlineSuggest.enabled\" : false }";
    let off = House::with(&[(".vscode/extensions/infill.infill-0.1.0/package.json", "{}"), (".config/Code/User/settings.json", settings)]);
    assert!(off.line("vscode").contains("set it to true"));
}

#[test]
fn json_holds_the_same() {
    let (_, out) = House::with(&[]).doctor(&["--json"]);
    let findings: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(findings[0]["what"], "binary");
    assert_eq!(findings[0]["mark"], "ok");
}
