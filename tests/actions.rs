//! Code actions as an editor sees them: offered, done, previewed, refused; with an engine that speaks /v1/chat/completions.
//!
//! ```text
//! codeAction on a diagnostic -> "infill: fix" -> executeCommand -> progress, workspace/applyEdit { version, needsConfirmation }
//! ```
mod harness;
mod service;
use harness::{Client, Scripted};
use infill::config::Layer;
use infill::engine::http::{Http, Options};
use infill::engine::{Engine, Form, Request, State};
use serde_json::{Value, json};
use service::Service;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const URI: &str = "untitled:tax.py";
const CODE: &str = "import os\n\n\ndef f(a):\n    x = 'μ😀'\n    retrun x\n\n\nprint(f(2))\n";

/// What VS Code can do.
fn able() -> Value {
    json!({
        "workspace": { "applyEdit": true, "workspaceEdit": { "documentChanges": true, "resourceOperations": ["create"], "changeAnnotationSupport": {} } },
        "textDocument": { "codeAction": { "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ["quickfix", "refactor"] } }, "resolveSupport": { "properties": ["edit"] } }, "inlineCompletion": {} },
        "window": { "workDoneProgress": true, "showDocument": { "support": true }, "showMessage": {} },
    })
}

async fn window(engine: Arc<dyn Engine>, capabilities: Value) -> Client {
    Client::initialized(engine, vec![], json!({ "capabilities": capabilities })).await.0
}

fn says(text: &'static str) -> Arc<Scripted> {
    Scripted::new(move |request| if matches!(request.form, Form::Chat(_)) { text.into() } else { "completed".into() })
}

fn place(line: u32, character: u32) -> Value {
    json!({ "line": line, "character": character })
}

fn range(from: (u32, u32), to: (u32, u32)) -> Value {
    json!({ "start": place(from.0, from.1), "end": place(to.0, to.1) })
}

fn problem() -> Value {
    json!({ "range": range((5, 4), (5, 10)), "message": "invalid syntax", "severity": 1 })
}

async fn actions(c: &mut Client, uri: &str, range: Value, context: Value) -> Vec<Value> {
    let id = c.request("textDocument/codeAction", json!({ "textDocument": { "uri": uri }, "range": range, "context": context }));
    c.answer(id).await.expect("actions").as_array().expect("a list").clone()
}

fn titles(actions: &[Value]) -> Vec<&str> {
    actions.iter().map(|action| action["title"].as_str().expect("a title")).collect()
}

fn named<'a>(actions: &'a [Value], title: &str) -> &'a Value {
    actions.iter().find(|action| action["title"] == title).unwrap_or_else(|| panic!("{title} in {actions:?}"))
}

/// Chooses an action; the command is answered at once.
async fn choose(c: &mut Client, action: &Value) {
    let command = if action["command"].is_object() { &action["command"] } else { action };
    let id = c.request("workspace/executeCommand", json!({ "command": command["command"], "arguments": command["arguments"] }));
    assert_eq!(c.answer(id).await.expect("answered at once"), Value::Null);
}

/// Lets the client take note of the progress; its token.
async fn progress(c: &mut Client) -> String {
    let created = c.incoming("window/workDoneProgress/create").await;
    c.send(json!({ "jsonrpc": "2.0", "id": created["id"], "result": null }));
    let begun = c.incoming("$/progress").await;
    assert_eq!((&begun["params"]["value"]["kind"], &begun["params"]["value"]["cancellable"]), (&json!("begin"), &json!(true)));
    begun["params"]["token"].as_str().expect("a token").to_owned()
}

async fn progress_ends(c: &mut Client) -> String {
    loop {
        let said = c.incoming("$/progress").await;
        if said["params"]["value"]["kind"] == "end" {
            return said["params"]["value"]["message"].as_str().expect("a message").to_owned();
        }
    }
}

/// The edit that the client is to make; it makes it.
async fn applied(c: &mut Client) -> Value {
    let asked = c.incoming("workspace/applyEdit").await;
    c.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "applied": true } }));
    asked["params"].clone()
}

async fn told(c: &mut Client) -> String {
    c.incoming("window/showMessage").await["params"]["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn a_diagnostic_is_fixed_by_an_edit_that_the_user_confirms() {
    let engine = says("Sure:\n```python\ndef f(a):\n    x = 'μ😀'\n    return x\n```\n");
    let mut c = window(engine.clone(), able()).await;
    c.open(URI, "python", CODE);
    let found = actions(&mut c, URI, range((5, 5), (5, 5)), json!({ "diagnostics": [problem()], "triggerKind": 2 })).await;
    assert_eq!(titles(&found), ["infill: fix", "infill: explain"]);
    let fix = &found[0];
    assert_eq!((&fix["kind"], &fix["diagnostics"][0]["message"]), (&json!("quickfix"), &json!("invalid syntax")));
    assert!(engine.requests().is_empty(), "to offer costs nothing");
    choose(&mut c, fix).await;
    let token = progress(&mut c).await;
    let params = applied(&mut c).await;
    assert!(token.starts_with("infill-act-") && progress_ends(&mut c).await == "done");
    assert_eq!(params["label"], "infill: fix");
    let change = &params["edit"]["documentChanges"][0];
    assert_eq!(change["textDocument"], json!({ "uri": URI, "version": 1 }));
    assert_eq!(change["edits"][0]["range"], range((5, 0), (6, 0)));
    assert_eq!(change["edits"][0]["newText"], "    return x\n");
    assert_eq!(
        params["edit"]["changeAnnotations"][change["edits"][0]["annotationId"].as_str().expect("a name")]["needsConfirmation"],
        true
    );
    let request = &engine.requests()[0];
    let Form::Chat(turns) = &request.form else { panic!("{request:?}") };
    let asked = &turns[1].text;
    assert!(asked.contains("def f(a):\n    x = 'μ😀'\n    retrun x\n") && asked.contains("invalid syntax (at `retrun x`)"), "{asked}");
    assert!(asked.contains("import os") && asked.contains("print(f(2))"), "what is around it: {asked}");
    assert_eq!(request.priority, infill::engine::Priority::Background, "keys go first");
}

/// An editor that shows a question answers nothing meanwhile.
#[tokio::test]
async fn a_client_that_takes_note_of_the_progress_late_ends_nothing() {
    let mut c = window(says("```python\ndef f(a):\n    x = 'μ😀'\n    return x\n```\n"), able()).await;
    c.open(URI, "python", CODE);
    let found = actions(&mut c, URI, range((5, 5), (5, 5)), json!({ "diagnostics": [problem()] })).await;
    choose(&mut c, named(&found, "infill: fix")).await;
    let created = c.incoming("window/workDoneProgress/create").await;
    assert_eq!(c.incoming("$/progress").await["params"]["value"]["kind"], "begin", "it is waited for no longer");
    c.send(json!({ "jsonrpc": "2.0", "id": created["id"], "result": null }));
    assert_eq!(applied(&mut c).await["label"], "infill: fix");
    assert_eq!(progress_ends(&mut c).await, "done");
    assert!(!actions(&mut c, URI, range((5, 5), (5, 5)), json!({ "diagnostics": [problem()] })).await.is_empty(), "the server goes on");
}

#[tokio::test]
async fn what_is_offered_follows_the_selection_and_the_wish() {
    let mut c = window(says("x"), able()).await;
    c.open(URI, "python", CODE);
    let all = ["infill: fix", "infill: explain", "infill: document"];
    assert_eq!(titles(&actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await), all);
    let idle = json!({ "diagnostics": [], "triggerKind": 2 });
    assert!(actions(&mut c, URI, range((4, 5), (4, 5)), idle).await.is_empty(), "no light bulb at each place");
    // What encloses a place is known when the file is parsed, which a busy machine does beside the answers.
    let invoked = json!({ "diagnostics": [], "triggerKind": 1 });
    let mut found = Vec::new();
    for _ in 0..1000 {
        found = actions(&mut c, URI, range((4, 5), (4, 5)), invoked.clone()).await;
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(titles(&found), all);
    assert!(actions(&mut c, URI, range((1, 0), (1, 0)), json!({ "diagnostics": [] })).await.is_empty(), "nothing is there");
    for (only, expected) in [("quickfix", &all[..1]), ("refactor", &all[1..]), ("refactor.rewrite", &all[2..]), ("source", &all[..0])] {
        let found = actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [], "only": [only] })).await;
        assert_eq!(titles(&found), expected, "{only}");
    }
    c.open("file:///w/tax.py", "python", CODE);
    let found = actions(&mut c, "file:///w/tax.py", range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await;
    assert!(titles(&found).contains(&"infill: write test"), "a file has a place for its tests");
    assert!(actions(&mut c, "file:///other.py", range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await.is_empty());
    // A client that takes no edits still gets explanations.
    let mut c = window(says("x"), json!({})).await;
    c.open(URI, "python", CODE);
    assert_eq!(titles(&actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await), ["infill: explain"]);
}

#[tokio::test]
async fn a_model_without_a_chat_template_and_a_setting_hide_them() {
    let nano = infill::engine::local::Local::open("nano", Default::default()).expect("nano");
    nano.loaded().await.expect("nano loads");
    let mut c = window(Arc::new(nano), able()).await;
    c.open(URI, "python", CODE);
    assert!(actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [problem()] })).await.is_empty());
    let layers = vec![Layer { place: "test".into(), value: json!({ "languages": ["!python"] }) }];
    let (mut c, _) = Client::initialized(says("x"), layers, json!({ "capabilities": able() })).await;
    c.open(URI, "python", CODE);
    assert!(actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_edit_is_said_and_changes_nothing() {
    for (answer, words) in [
        ("You should write return.", "prose and no code block"),
        ("```python\ndef f(a):\n    return a\n", "no end"),
        ("```\na\n```\n```\nb\n```\n", "several code blocks"),
        ("```python\ndef f(a):\n    return (a\n```", "syntax error"),
        ("```python\ndef f(a):\n    x = 'μ😀'\n    return x\n```", "nothing to change"),
    ] {
        let mut c = window(says(answer), json!({ "workspace": { "applyEdit": true }, "textDocument": { "codeAction": { "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ["quickfix", "refactor"] } } } } })).await;
        c.open(URI, "python", &CODE.replace("retrun", "return"));
        let found = actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await;
        choose(&mut c, &found[0]).await;
        let said = told(&mut c).await;
        assert!(said.starts_with("infill: fix: ") && said.contains(words) && said.contains("Nothing was changed"), "{said}");
    }
    let mut c = window(says("```python\ndef f(b):\n    x = 'μ😀'\n    return x\n```"), able()).await;
    c.open(URI, "python", &CODE.replace("retrun", "return"));
    let found = actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await;
    choose(&mut c, named(&found, "infill: document")).await;
    progress(&mut c).await;
    assert!(told(&mut c).await.contains("changed code where only documentation was asked for"));
    progress_ends(&mut c).await;
}

#[tokio::test]
async fn a_text_that_has_changed_gets_no_edit_and_one_word() {
    let engine = Scripted::gated(|_| "```python\nx = 2\n```".into());
    let mut capabilities = able();
    capabilities["window"] = json!({});
    let mut c = window(engine.clone(), capabilities).await;
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    // While the model answers.
    choose(&mut c, &found[0]).await;
    while engine.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    c.change(URI, 0, 5, 5, "0");
    engine.gate.add_permits(1 << 20);
    assert!(told(&mut c).await.contains("the text has changed since: nothing was changed"));
    // Before it is asked.
    choose(&mut c, &found[0]).await;
    assert!(told(&mut c).await.contains("the text has changed since"));
    assert_eq!(engine.requests().len(), 1, "the model is not asked about an old text");
}

#[tokio::test]
async fn a_cancel_closes_the_stream() {
    let engine = Scripted::gated(|_| "```python\nx = 2\n```".into());
    let mut c = window(engine.clone(), able()).await;
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    choose(&mut c, &found[0]).await;
    let token = progress(&mut c).await;
    while engine.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    c.notify("window/workDoneProgress/cancel", json!({ "token": token }));
    assert_eq!(progress_ends(&mut c).await, "cancelled");
    eventually(|| engine.cancelled.load(Ordering::SeqCst) == 1).await;
    // A client that resolves cancels its request.
    let mut capabilities = able();
    (capabilities["workspace"], capabilities["window"]) = (json!({}), json!({}));
    let mut c = window(engine.clone(), capabilities).await;
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    let id = c.request("codeAction/resolve", found[0].clone());
    eventually(|| engine.requests().len() == 2).await;
    c.cancel(id);
    assert_eq!(c.answer(id).await.expect_err("cancelled")["code"], -32800);
    eventually(|| engine.cancelled.load(Ordering::SeqCst) == 2).await;
}

async fn eventually(found: impl Fn() -> bool) {
    for _ in 0..2000 {
        if found() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 seconds");
}

#[tokio::test]
async fn clients_that_only_resolve_get_the_edit_in_the_action() {
    let mut capabilities = able();
    (capabilities["workspace"], capabilities["window"]) = (json!({}), json!({}));
    let (mut c, result) = Client::initialized(says("```\nx = 2\n```"), vec![], json!({ "capabilities": capabilities })).await;
    assert_eq!(result["capabilities"]["codeActionProvider"]["resolveProvider"], true);
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    assert!(found[0].get("command").is_none() && found[0].get("edit").is_none(), "{found:?}");
    let id = c.request("codeAction/resolve", found[0].clone());
    let resolved = c.answer(id).await.expect("an action");
    assert_eq!(resolved["edit"]["changes"][URI], json!([{ "range": range((0, 0), (1, 0)), "newText": "x = 2\n" }]));
    // Resolved once more after a key: said, and no edit.
    c.change(URI, 0, 5, 5, "0");
    let id = c.request("codeAction/resolve", found[0].clone());
    assert!(c.answer(id).await.expect("an action").get("edit").is_none());
    assert!(told(&mut c).await.contains("the text has changed since"));
}

#[tokio::test]
async fn a_client_without_confirmations_is_asked_with_the_lines() {
    for (chosen, applies) in [(json!({ "title": "Apply" }), true), (json!({ "title": "Discard" }), false), (Value::Null, false)] {
        let mut capabilities = able();
        capabilities["workspace"]["workspaceEdit"] = json!({ "documentChanges": true });
        capabilities["window"] = json!({ "showMessage": {} });
        let mut c = window(says("```\nx = 2\n```"), capabilities).await;
        c.open(URI, "python", "x = 1\n");
        let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
        choose(&mut c, &found[0]).await;
        let asked = c.incoming("window/showMessageRequest").await;
        assert_eq!(asked["params"]["message"], "infill: fix\n- x = 1\n+ x = 2");
        c.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": chosen }));
        if applies {
            assert_eq!(applied(&mut c).await["edit"]["documentChanges"][0]["edits"][0]["newText"], "x = 2\n");
        } else {
            // Nothing more comes: what was asked after it is answered first.
            let id = c.request("infill/status", Value::Null);
            c.answer(id).await.expect("a status");
        }
    }
}

#[tokio::test]
async fn crlf_and_every_encoding() {
    for (encoding, end) in [("utf-8", 14), ("utf-16", 10), ("utf-32", 9)] {
        let mut capabilities = able();
        capabilities["general"] = json!({ "positionEncodings": [encoding] });
        capabilities["window"] = json!({});
        let mut c = window(says("```\nx = 'μ😀'\ny = 2\n```"), capabilities).await;
        c.open(URI, "python", "x = 'μ😀'\r\ny = '😀μ'");
        let found = actions(&mut c, URI, range((1, 5), (1, end)), json!({ "diagnostics": [] })).await;
        choose(&mut c, &found[0]).await;
        let edit = applied(&mut c).await["edit"]["documentChanges"][0]["edits"][0].clone();
        // The whole last line, which has no line end: its column counts.
        let last = if encoding == "utf-8" {
            12
        } else if encoding == "utf-16" {
            9
        } else {
            8
        };
        assert_eq!((&edit["range"], &edit["newText"]), (&range((1, 0), (1, last)), &json!("x = 'μ😀'\r\ny = 2")), "{encoding}");
    }
}

#[tokio::test]
async fn explanations_are_shown_as_a_document_or_a_message() {
    for shows in [true, false] {
        let mut capabilities = able();
        capabilities["window"] = if shows { json!({ "showDocument": { "support": true } }) } else { json!({}) };
        let mut c = window(says("It gives **x** back."), capabilities).await;
        c.open(URI, "python", CODE);
        let found = actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await;
        choose(&mut c, named(&found, "infill: explain")).await;
        if !shows {
            assert_eq!(told(&mut c).await, "It gives **x** back.");
            continue;
        }
        let asked = c.incoming("window/showDocument").await;
        let path = asked["params"]["uri"].as_str().and_then(|uri| uri.strip_prefix("file://")).expect("a file").to_owned();
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(text.contains("It gives **x** back.") && text.contains("from line 4"), "{text}");
        c.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "success": true } }));
        c.vanish().await;
        assert!(!Path::new(&path).exists(), "it is gone with the window");
    }
}

/// A workspace on disk.
async fn workspace(engine: Arc<dyn Engine>, files: &[(&str, &str)]) -> (Client, tempfile::TempDir, impl Fn(&str) -> String + use<>) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let root = folder.path().canonicalize().expect("a folder");
    let uri = move |name: &str| format!("file://{}", root.join(name).display());
    let mut capabilities = able();
    capabilities["window"] = json!({});
    let params = json!({ "capabilities": capabilities, "workspaceFolders": [{ "uri": uri(""), "name": "w" }] });
    let (c, _) = Client::initialized(engine, vec![], params).await;
    (c, folder, uri)
}

#[tokio::test]
async fn tests_go_to_their_file_or_a_new_one() {
    const TEST: &str = "```python\ndef test_f():\n    assert f(1)\n```";
    let code = "def f(a):\n    return a\n";
    let choose_test = async |c: &mut Client, uri: &str| {
        c.open(uri, "python", code);
        let found = actions(c, uri, range((0, 0), (2, 0)), json!({ "diagnostics": [] })).await;
        choose(c, named(&found, "infill: write test")).await;
    };
    // A new file, in the folder for tests.
    let engine = says(TEST);
    let (mut c, _folder, uri) = workspace(engine.clone(), &[("shop/tax.py", code), ("tests/test_other.py", "")]).await;
    choose_test(&mut c, &uri("shop/tax.py")).await;
    let edit = applied(&mut c).await["edit"].clone();
    let target = uri("tests/test_tax.py");
    assert_eq!((&edit["documentChanges"][0]["kind"], &edit["documentChanges"][0]["uri"]), (&json!("create"), &json!(target)));
    assert_eq!(edit["documentChanges"][1]["textDocument"], json!({ "uri": target, "version": null }));
    assert_eq!(edit["documentChanges"][1]["edits"][0]["newText"], "def test_f():\n    assert f(1)\n");
    let Form::Chat(turns) = &engine.requests()[0].form else { panic!() };
    assert!(turns[1].text.contains("a new file, tests/test_tax.py") && turns[1].text.contains("shop/tax.py"), "{}", turns[1].text);
    // One that is there, on disk and then open with another text.
    let engine = says(TEST);
    let there = "from shop.tax import f\n";
    let (mut c, _folder, uri) = workspace(engine.clone(), &[("shop/tax.py", code), ("shop/test_tax.py", there)]).await;
    choose_test(&mut c, &uri("shop/tax.py")).await;
    let edit = applied(&mut c).await["edit"]["documentChanges"][0].clone();
    assert_eq!(edit["textDocument"], json!({ "uri": uri("shop/test_tax.py"), "version": null }));
    assert_eq!(
        (&edit["edits"][0]["range"], &edit["edits"][0]["newText"]),
        (&range((1, 0), (1, 0)), &json!("\n\ndef test_f():\n    assert f(1)\n"))
    );
    let Form::Chat(turns) = &engine.requests()[0].form else { panic!() };
    assert!(turns[1].text.contains("which begins so:\n```python\nfrom shop.tax import f\n```"), "{}", turns[1].text);
    c.open(&uri("shop/test_tax.py"), "python", "x = 1\ny = 2\n");
    choose_test(&mut c, &uri("shop/tax.py")).await;
    let edit = applied(&mut c).await["edit"]["documentChanges"][0].clone();
    assert_eq!((&edit["textDocument"]["version"], &edit["edits"][0]["range"]), (&json!(1), &range((2, 0), (2, 0))));
}

#[tokio::test]
async fn what_is_excluded_is_not_sent_to_another_machine() {
    let engine = says("```\nx\n```");
    *engine.host.lock().expect("host") = Some("gpu-box:8000".into());
    let files = [("a.py", "x = 1\n"), (".gitignore", "hidden.py\n"), ("hidden.py", "x = 1\n"), ("tests/test_a.py", "secret = 1\n")];
    let (mut c, _folder, uri) = workspace(engine.clone(), &files).await;
    for name in ["a.py", "hidden.py"] {
        c.open(&uri(name), "python", "x = 1\n");
    }
    // The rules are asked in the background.
    let mut found = Vec::new();
    for _ in 0..1000 {
        found = actions(&mut c, &uri("a.py"), range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(titles(&found).len(), 4);
    assert!(actions(&mut c, &uri("hidden.py"), range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await.is_empty());
    // An order that was not offered.
    let text = serde_json::to_string(&found[0]).expect("JSON").replace("/a.py", "/hidden.py");
    let hidden: Value = serde_json::from_str(&text).expect("JSON");
    let mut said = String::new();
    while !said.contains("hidden.py is not sent to gpu-box:8000") {
        assert!(said.is_empty() || said.contains("is not known yet"), "{said}");
        choose(&mut c, &hidden).await;
        said = told(&mut c).await;
    }
    assert!(engine.requests().is_empty());
}

/// An Instruct model behind vLLM's API.
fn instruct(answer: impl Fn(&service::Ask, &mut service::Out) + Send + Sync + 'static) -> Service {
    Service::start(move |ask, out| match ask.path.as_str() {
        "/v1/models" => {
            out.json(200, &json!({"data": [{"id": "DeepSeek-Coder-V2-Lite-Instruct", "owned_by": "vllm", "max_model_len": 4096}]}))
        }
        "/v1/completions" => out.completion(&["x"]),
        "/v1/chat/completions" if ask.body["stream"] == false => {
            out.json(200, &json!({"choices": [{"message": {"role": "assistant", "content": "H"}, "finish_reason": "length"}]}));
        }
        "/v1/chat/completions" => answer(ask, out),
        _ => out.json(404, &json!({"detail": "Not Found"})),
    })
}

fn delta(text: &str) -> Value {
    json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]})
}

async fn remote(service: &Service) -> Arc<Http> {
    let engine = Arc::new(Http::open(Options { rest: Duration::ZERO, ..Options::new(&service.url()) }).expect("an engine"));
    engine.loaded().await.expect("known");
    eventually(|| matches!(engine.state(), State::Ready(info) if info.chat)).await;
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_wire_to_a_remote_engine() {
    let service = instruct(|_, out| {
        out.begin();
        for piece in ["```py", "thon\nx =", " 2\n``", "`\n"] {
            out.event(&delta(piece));
        }
        out.event(&json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}));
        out.part(b"data: [DONE]\n\n");
        out.end();
    });
    let engine = remote(&service).await;
    let mut capabilities = able();
    capabilities["window"] = json!({});
    let mut c = window(engine.clone(), capabilities).await;
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    choose(&mut c, &found[0]).await;
    assert_eq!(applied(&mut c).await["edit"]["documentChanges"][0]["edits"][0]["newText"], "x = 2\n");
    let body = service.asks().into_iter().rfind(|ask| ask.path == "/v1/chat/completions").expect("asked").body;
    let roles: Vec<&Value> = body["messages"].as_array().expect("messages").iter().map(|turn| &turn["role"]).collect();
    assert_eq!((roles, &body["stream"], &body["temperature"]), (vec![&json!("system"), &json!("user")], &json!(true), &json!(0.0)));
    assert!(body["max_tokens"].as_u64() > Some(100), "{body}");
    // What the server would take for its own.
    c.open("untitled:b.py", "python", "x = '<｜end▁of▁sentence｜>'\n");
    let found = actions(&mut c, "untitled:b.py", range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    choose(&mut c, &found[0]).await;
    assert!(told(&mut c).await.contains("which 127.0.0.1"), "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_engine_that_breaks_off_is_named() {
    let service = instruct(|_, out| {
        out.begin();
        out.event(&delta("```\nx"));
    });
    let engine = remote(&service).await;
    let mut capabilities = able();
    capabilities["window"] = json!({});
    let mut c = window(engine, capabilities).await;
    c.open(URI, "python", "x = 1\n");
    let found = actions(&mut c, URI, range((0, 0), (1, 0)), json!({ "diagnostics": [] })).await;
    choose(&mut c, &found[0]).await;
    let said = told(&mut c).await;
    assert!(said.starts_with("infill: fix: The engine at 127.0.0.1") && said.contains("broke off"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_base_model_has_no_actions() {
    let service = Service::vllm(|_, out| out.completion(&["x"]));
    let engine = Arc::new(Http::open(Options::new(&service.url())).expect("an engine"));
    engine.loaded().await.expect("known");
    eventually(|| service.asks().iter().any(|ask| ask.path == "/v1/chat/completions")).await;
    let mut c = window(engine.clone(), able()).await;
    c.open(URI, "python", CODE);
    assert!(actions(&mut c, URI, range((3, 0), (6, 0)), json!({ "diagnostics": [] })).await.is_empty());
    let mut answer = engine.submit(Request { form: Form::Chat(vec![]), max_tokens: 4, ..Request::default() });
    let failed = answer.recv().await;
    assert!(format!("{failed:?}").contains("has no chat template"), "{failed:?}");
}
