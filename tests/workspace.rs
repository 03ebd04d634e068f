//! A workspace on disk: what its files define reaches the prompt, and what must not be read does not.
//!
//! ```text
//! shop/tax.py defines rate(); app.py imports it      ->   the engine's prefix holds "def rate(country):"
//! .env, ignored files, files outside                 ->   never
//! ```
#![cfg(feature = "languages")]
mod harness;

use harness::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const APP: &str = "from shop.tax import rate\nfrom hidden import secret_rate\n\nx = \n";

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    files.iter().for_each(|(name, text)| write(root.path(), name, text));
    root
}

fn shop() -> tempfile::TempDir {
    project(&[
        ("shop/tax.py", "def rate(country):\n    return 1\n"),
        ("app.py", APP),
        ("other.py", "def other():\n    pass\n"),
        ("build/hidden.py", "def secret_rate(a):\n    pass\n"),
        (".env.py", "def secret_rate(b):\n    pass\n"),
        (".gitignore", "/build\n"),
    ])
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
}

fn uri(root: &Path, name: &str) -> String {
    format!("file://{}/{name}", root.display())
}

struct Desk {
    client: Client,
    engine: Arc<Scripted>,
    root: tempfile::TempDir,
}

impl Desk {
    async fn new(root: tempfile::TempDir, more: Value) -> Desk {
        let engine = Scripted::new(|_| "1".into());
        let mut params = json!({
            "capabilities": { "textDocument": { "inlineCompletion": {} } },
            "workspaceFolders": [{ "uri": format!("file://{}", root.path().display()), "name": "w" }],
        });
        more.as_object().into_iter().flatten().for_each(|(key, value)| params[key] = value.clone());
        let (client, _) = Client::initialized(engine.clone(), vec![], params).await;
        Desk { client, engine, root }
    }

    /// Waits until so many files are known.
    async fn indexed(&mut self, files: u64) {
        for _ in 0..500 {
            let id = self.client.request("infill/status", json!({}));
            if self.client.answer(id).await.expect("status")["indexedFiles"] == files {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let id = self.client.request("infill/status", json!({}));
        panic!("never {files} files: {}", self.client.answer(id).await.expect("status"));
    }

    fn uri(&self, name: &str) -> String {
        uri(self.root.path(), name)
    }

    /// Opens app.py anew, asks at the end of its line 3, and gives the prompt's prefix.
    async fn prefix(&mut self, text: &str) -> String {
        let app = self.uri("app.py");
        self.client.notify("textDocument/didClose", json!({ "textDocument": { "uri": app } }));
        self.client.open(&app, "python", text);
        let id = self.client.inline(&app, 3, 4);
        self.client.answer(id).await.expect("an answer");
        let asked = self.engine.requests().into_iter().rev().find(|r| r.max_tokens > 0).expect("a request");
        asked.prefix
    }

    fn changed(&mut self, name: &str) {
        let changes = json!([{ "uri": self.uri(name), "type": 2 }]);
        self.client.notify("workspace/didChangeWatchedFiles", json!({ "changes": changes }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_definition_is_in_the_prompt_and_secrets_are_not() {
    let mut desk = Desk::new(shop(), json!({})).await;
    desk.indexed(3).await;
    let prefix = desk.prefix(APP).await;
    assert!(prefix.starts_with("# shop/tax.py\ndef rate(country):\n"), "{prefix}");
    assert!(prefix.contains("# app.py\nfrom shop.tax import rate\n"), "{prefix}");
    assert!(!prefix.contains("def secret_rate"), "{prefix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_on_disk_and_in_the_editor_are_seen() {
    let mut desk = Desk::new(shop(), json!({})).await;
    desk.indexed(3).await;
    write(desk.root.path(), "shop/tax.py", "def rate(country, year):\n    return 2\n");
    desk.changed("shop/tax.py");
    write(desk.root.path(), "new.py", "def rate_of(a):\n    pass\n");
    desk.changed("new.py");
    desk.indexed(4).await;
    assert!(desk.prefix(APP).await.contains("def rate(country, year):"));
    std::fs::remove_file(desk.root.path().join("new.py")).expect("removed");
    desk.changed("new.py");
    desk.indexed(3).await;
    // An open document counts as it is in the editor, once it is saved or another one is typed in.
    let tax = desk.uri("shop/tax.py");
    desk.client.open(&tax, "python", "def rate(unsaved):\n    pass\n");
    let mut prefix = String::new();
    for _ in 0..200 {
        prefix = desk.prefix(APP).await;
        if prefix.contains("def rate(unsaved):") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{prefix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_is_forgotten_and_the_switch_works() {
    let mut desk = Desk::new(shop(), json!({ "initializationOptions": { "exclude": ["shop/"] } })).await;
    desk.indexed(2).await;
    assert!(!desk.prefix(APP).await.contains("def rate"));
    desk.client.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": { "exclude": [] } } }));
    desk.indexed(3).await;
    assert!(desk.prefix(APP).await.contains("def rate"));
    let off = json!({ "settings": { "infill": { "context": { "other_files": false } } } });
    desk.client.notify("workspace/didChangeConfiguration", off);
    assert!(!desk.prefix(APP).await.contains("def rate"));
    let wrong = json!({ "settings": { "infill": { "exclude": ["a{b"] } } });
    desk.client.notify("workspace/didChangeConfiguration", wrong);
    let said = desk.client.incoming("window/showMessage").await["params"]["message"].to_string();
    assert!(said.contains("exclude") && said.contains("a{b"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ignore_file_and_new_folders_are_walked() {
    let mut desk = Desk::new(shop(), json!({})).await;
    desk.indexed(3).await;
    write(desk.root.path(), ".gitignore", "/build\n/shop\n");
    desk.changed(".gitignore");
    desk.indexed(2).await;
    let more = project(&[("lib/a.py", "def a():\n    pass\n")]);
    let added = json!([{ "uri": format!("file://{}", more.path().display()), "name": "more" }]);
    desk.client.notify("workspace/didChangeWorkspaceFolders", json!({ "event": { "added": added, "removed": [] } }));
    desk.indexed(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_can_is_shown_progress_and_asked_to_watch() {
    let capabilities = json!({
        "textDocument": { "inlineCompletion": {} },
        "window": { "workDoneProgress": true },
        "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } },
    });
    let mut desk = Desk::new(shop(), json!({ "capabilities": capabilities })).await;
    let create = desk.client.incoming("window/workDoneProgress/create").await;
    desk.client.send(json!({ "jsonrpc": "2.0", "id": create["id"], "result": null }));
    let watch = desk.client.incoming("client/registerCapability").await;
    assert_eq!(watch["params"]["registrations"][0]["method"], "workspace/didChangeWatchedFiles");
    desk.client.send(json!({ "jsonrpc": "2.0", "id": watch["id"], "result": null }));
    let begin = desk.client.incoming("$/progress").await;
    assert_eq!((&begin["params"]["token"], &begin["params"]["value"]["kind"]), (&create["params"]["token"], &json!("begin")));
    let end = desk.client.incoming("$/progress").await;
    assert_eq!((&end["params"]["value"]["kind"], &end["params"]["value"]["message"]), (&json!("end"), &json!("3 files")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outside_of_the_workspace_is_judged_by_its_own_folder() {
    let outside = project(&[("notes.py", "def rate(outside):\n    pass\n"), ("secrets.py", "def rate(b):\n    pass\n")]);
    let mut desk = Desk::new(shop(), json!({})).await;
    desk.indexed(3).await;
    for name in ["notes.py", "secrets.py"] {
        let text = std::fs::read_to_string(outside.path().join(name)).expect("a file");
        desk.client.open(&uri(outside.path(), name), "python", &text);
    }
    desk.indexed(4).await;
    let prefix = desk.prefix("from shop.tax import rate\n\n\nx = \n").await;
    assert!(prefix.contains("def rate(outside):") && !prefix.contains("def rate(b):"), "{prefix}");
    desk.client.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri(outside.path(), "notes.py") } }));
    desk.indexed(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_seen_is_not_sent_to_another_machine() {
    let mut desk = Desk::new(shop(), json!({})).await;
    desk.indexed(3).await;
    *desk.engine.host.lock().expect("host") = Some("models.example".into());
    for (name, said) in [(".env.py", true), ("build/hidden.py", true), ("other.py", false)] {
        let uri = desk.uri(name);
        desk.client.open(&uri, "python", "def f(a):\n    \n");
        let mut texts = Vec::new();
        // Until the rules have been asked, there is no answer either way.
        for _ in 0..100 {
            let id = desk.client.inline_with(&uri, 1, 4, json!({ "triggerKind": 0 }));
            texts = desk.client.texts(id).await;
            if !texts.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(texts.is_empty(), said, "{name}: {texts:?}");
        if said {
            let message = desk.client.incoming("window/showMessage").await["params"]["message"].to_string();
            assert!(
                message.contains(name) && message.contains("is not sent to models.example") && message.contains("--explain"),
                "{message}"
            );
        }
    }
    assert!(
        desk.engine.requests().iter().all(|r| r.prefix.contains("other.py") || r.prefix.starts_with("def f(a)")),
        "nothing else was sent"
    );
    assert_eq!(desk.engine.requests().iter().filter(|r| r.max_tokens > 0).count(), 3, "three alternatives, of one file");
}
