//! The protocol, as an editor sees it: a client in memory, the real server, a scripted engine.
mod harness;
use harness::{Client, Scripted};
use infill::config::Layer;
use infill::engine::{EngineError, Unavailable};
use serde_json::{Value, json};

const URI: &str = "file:///project/a.py";

fn echo(text: &'static str) -> std::sync::Arc<Scripted> {
    Scripted::new(move |_| text.to_string())
}

#[tokio::test]
async fn capabilities_follow_the_client() {
    for (offered, chosen) in [
        (json!(["utf-16", "utf-8"]), "utf-8"),
        (json!(["utf-16", "utf-32"]), "utf-16"),
        (json!(["utf-32"]), "utf-32"),
        (Value::Null, "utf-16"),
    ] {
        let capabilities = json!({ "general": { "positionEncodings": offered } });
        let (_client, result) = Client::initialized(echo(""), vec![], json!({ "capabilities": capabilities })).await;
        assert_eq!(result["capabilities"]["positionEncoding"], chosen);
        assert_eq!(result["capabilities"]["inlineCompletionProvider"], true);
        assert!(result["capabilities"]["completionProvider"].is_object(), "no ghost text: completion items");
    }
    let inline = json!({ "textDocument": { "inlineCompletion": {} } });
    let (_client, result) = Client::initialized(echo(""), vec![], json!({ "capabilities": inline })).await;
    assert!(result["capabilities"].get("completionProvider").is_none());
    let always = json!({ "capabilities": inline, "initializationOptions": { "completion": { "items": "always" } } });
    let (_client, result) = Client::initialized(echo(""), vec![], always).await;
    assert!(result["capabilities"]["completionProvider"].is_object());
}

#[tokio::test]
async fn inline_completion_covers_the_typed_word() {
    let engine = echo("nt(x)");
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "def f(x):\n    pri\n\nf(1)\n");
    for kind in [json!({ "triggerKind": 2 }), json!({})] {
        let id = c.inline_with(URI, 1, 7, kind);
        let result = c.answer(id).await.expect("a result");
        let range = json!({ "start": { "line": 1, "character": 4 }, "end": { "line": 1, "character": 7 } });
        assert_eq!(result["items"][0]["insertText"], "print(x)");
        assert_eq!(result["items"][0]["range"], range);
    }
    let request = &engine.requests()[0];
    assert_eq!((request.prefix.as_str(), request.tail.as_str()), ("def f(x):\n", "    pri"));
    assert!(request.suffix.starts_with("\n\nf(1)"));
}

#[tokio::test]
async fn explicit_invocation_gives_several() {
    let engine = Scripted::new(|r| ["nt(x)", "ntln(x)", "nt(x)"][r.rank].to_string());
    let mut c = Client::start(engine).await;
    c.open(URI, "python", "pri\n");
    for kind in [0, 1] {
        let id = c.inline_with(URI, 0, 3, json!({ "triggerKind": kind }));
        assert_eq!(c.texts(id).await, ["print(x)", "println(x)"]);
    }
}

#[tokio::test]
async fn the_selected_popup_item_is_gone_on_from() {
    let engine = Scripted::new(|r| if r.tail.ends_with("x.append") { "(1)".into() } else { "wrong".into() });
    let mut c = Client::start(engine).await;
    c.open(URI, "python", "x.ap\n");
    let range = json!({ "start": { "line": 0, "character": 2 }, "end": { "line": 0, "character": 4 } });
    let id = c.inline_with(URI, 0, 4, json!({ "triggerKind": 2, "selectedCompletionInfo": { "range": range, "text": "append" } }));
    let result = c.answer(id).await.expect("a result");
    assert_eq!(result["items"][0]["insertText"], "append(1)");
    assert_eq!(result["items"][0]["range"], range);
}

#[tokio::test]
async fn completion_items_for_editors_without_ghost_text() {
    let (mut c, _) = Client::initialized(echo("nt(x)"), vec![], json!({ "capabilities": {} })).await;
    c.open(URI, "python", "é = pri\n");
    let position = json!({ "line": 0, "character": 7 });
    let id = c.request("textDocument/completion", json!({ "textDocument": { "uri": URI }, "position": position }));
    let list = c.answer(id).await.expect("a list");
    let item = &list["items"][0];
    assert_eq!((list["isIncomplete"].clone(), item["label"].clone()), (json!(true), json!("print(x)")));
    assert_eq!(item["textEdit"]["newText"], "print(x)");
    assert_eq!(item["textEdit"]["range"]["start"], json!({ "line": 0, "character": 4 }));
    assert_eq!(item["filterText"], "print(x)");
    assert_eq!(item["documentation"]["value"], "```python\nprint(x)\n```");
    assert!(item["sortText"].is_string());
}

/// VS Code asks for both at a key when the list is wanted.
#[tokio::test]
async fn ghost_text_and_a_menu_at_one_place_are_both_answered() {
    let always = json!({ "completion": { "items": "always" } });
    let inline = json!({ "textDocument": { "inlineCompletion": {} } });
    let engine = Scripted::gated(|_| "nt(x)".into());
    let params = json!({ "capabilities": inline, "initializationOptions": always });
    let (mut c, _) = Client::initialized(engine.clone(), vec![], params.clone()).await;
    c.open(URI, "python", "a = pri\n");
    let at = json!({ "textDocument": { "uri": URI }, "position": { "line": 0, "character": 7 } });
    let menu = c.request("textDocument/completion", at.clone());
    let ghost = c.inline(URI, 0, 7);
    engine.gate.add_permits(100);
    assert_eq!(c.texts(ghost).await, ["print(x)"]);
    assert_eq!(c.answer(menu).await.expect("a list")["items"][0]["label"], "print(x)");
    // Who withdraws the newer one, or types on, has nothing answered twice or never.
    let engine = Scripted::gated(|_| "nt(x)".into());
    let (mut c, _) = Client::initialized(engine.clone(), vec![], params).await;
    c.open(URI, "python", "a = pri\n");
    let (menu, ghost) = (c.request("textDocument/completion", at.clone()), c.inline(URI, 0, 7));
    c.cancel(ghost);
    assert_eq!(c.answer(menu).await.expect_err("given way")["code"], -32801);
    assert_eq!(c.answer(ghost).await.expect_err("withdrawn")["code"], -32800);
    let asked = [c.inline(URI, 0, 7), c.request("textDocument/completion", at.clone()), c.inline(URI, 0, 7)];
    c.change(URI, 0, 7, 7, "(");
    for id in asked {
        assert_eq!(c.answer(id).await.expect_err("given way")["code"], -32801);
    }
}

/// The design's probe: 300 edits through handlers that yield, then four completions that wait, an edit and a cancel.
#[tokio::test(flavor = "multi_thread")]
async fn edits_and_cancels_keep_their_order_while_completions_wait() {
    let engine = Scripted::gated(|r| format!(" = {}", r.tail.len()));
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "\n");
    for n in 0..300 {
        c.change(URI, 0, n, n, "x");
    }
    let waiting: Vec<u64> = (0..4).map(|_| c.inline(URI, 0, 300)).collect();
    let uris: Vec<String> = (0..4).map(|n| format!("file:///other{n}.py")).collect();
    let others: Vec<u64> = uris
        .iter()
        .map(|uri| {
            c.open(uri, "python", "y\n");
            c.inline(uri, 0, 1)
        })
        .collect();
    c.change(URI, 0, 300, 300, "y");
    c.cancel(others[0]);
    assert_eq!(c.answer(others[0]).await.expect_err("cancelled")["code"], -32800);
    for id in waiting {
        assert_eq!(c.answer(id).await.expect_err("superseded")["code"], -32801);
    }
    assert_eq!(engine.requests()[0].tail.len(), 300, "all edits before the ask, and none after");
    engine.gate.add_permits(1 << 20);
    let last = c.inline(URI, 0, 301);
    let text = c.texts(last).await.remove(0);
    assert!(text.ends_with(" = 301"), "{text}");
    for id in &others[1..] {
        assert_eq!(c.texts(*id).await.len(), 1);
    }
}

#[tokio::test]
async fn a_stale_ask_never_gets_text() {
    let engine = Scripted::gated(|_| "nt()".into());
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "pri\n");
    let id = c.inline(URI, 0, 3);
    c.change(URI, 0, 3, 3, "z");
    engine.gate.add_permits(100);
    assert_eq!(c.answer(id).await.expect_err("superseded")["code"], -32801);
}

#[tokio::test]
async fn typing_through_asks_the_engine_once() {
    let engine = echo("int(value)");
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "pr\n");
    let id = c.inline(URI, 0, 2);
    assert_eq!(c.texts(id).await, ["print(value)"]);
    for (n, key) in "int(v".chars().enumerate() {
        let at = 2 + n as u32;
        c.change(URI, 0, at, at, &key.to_string());
        let id = c.inline(URI, 0, at + 1);
        assert_eq!(c.texts(id).await.len(), 1);
    }
    assert_eq!(engine.requests().len(), 1);
    let id = c.request("infill/status", Value::Null);
    let status = c.answer(id).await.expect("status");
    assert_eq!((status["asks"].clone(), status["withoutModel"].clone()), (json!(6), json!(5)));
}

#[tokio::test]
async fn crlf_documents_get_crlf_in_items_and_the_model_never_sees_it() {
    let engine = echo("x = 1\n    return x");
    let (mut c, _) = Client::initialized(engine.clone(), vec![], json!({ "capabilities": {} })).await;
    c.open(URI, "python", "def f():\r\n    \r\n");
    let id = c.inline(URI, 1, 4);
    assert_eq!(c.texts(id).await, ["x = 1\n    return x"], "clients with ghost text know the document's line ends");
    let position = json!({ "line": 1, "character": 4 });
    let id = c.request("textDocument/completion", json!({ "textDocument": { "uri": URI }, "position": position }));
    let items = c.answer(id).await.expect("a result");
    assert_eq!(items["items"][0]["textEdit"]["newText"], "x = 1\r\n    return x");
    let request = &engine.requests()[0];
    assert!(!format!("{}{}{}", request.prefix, request.suffix, request.tail).contains('\r'));
}

#[tokio::test]
async fn wrong_requests_are_named_and_the_server_stays_up() {
    let mut c = Client::start(echo("ok")).await;
    let id = c.inline("file:///closed.py", 0, 0);
    let error = c.answer(id).await.expect_err("not open");
    assert!(error["message"].as_str().expect("text").contains("file:///closed.py is not open"), "{error}");
    c.open(URI, "python", "x\n");
    let id = c.inline(URI, 99, 0);
    let error = c.answer(id).await.expect_err("past the end");
    assert!(error["message"].as_str().expect("text").contains("line 99 is past the end"), "{error}");
    let id = c.request("textDocument/inlineCompletion", json!({ "position": 3 }));
    assert_eq!(c.answer(id).await.expect_err("malformed")["code"], -32602);
    c.notify("textDocument/didChange", json!({ "nonsense": true }));
    c.notify("textDocument/didClose", json!({ "textDocument": { "uri": "file:///never-opened" } }));
    for (uri, text) in [("file:///b.bin", "a\0b".to_string()), ("file:///huge.txt", "x".repeat(50 << 20))] {
        c.open(uri, "plaintext", &text);
        let id = c.inline(uri, 0, 1);
        assert_eq!(c.texts(id).await.len(), 0, "{uri}");
    }
    let id = c.inline(URI, 0, 9999);
    assert_eq!(c.texts(id).await.len(), 1, "a column past the end means the end of the line");
    c.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } }));
    let id = c.inline(URI, 0, 0);
    assert!(c.answer(id).await.is_err());
    let id = c.request("infill/status", Value::Null);
    assert_eq!(c.answer(id).await.expect("status")["documents"], 0, "memory of closed documents is freed");
}

#[tokio::test]
async fn the_same_wrong_setting_is_said_once_until_it_is_corrected() {
    let mut c = Client::start(echo("")).await;
    let mut set = |value: Value| c.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": value } }));
    for value in [json!({ "modle": 1 }), json!({ "modle": 1 }), json!({}), json!({ "modle": 1 })] {
        set(value);
    }
    for _ in 0..2 {
        assert!(c.incoming("window/showMessage").await["params"]["message"].as_str().is_some_and(|m| m.contains("modle")));
    }
    let id = c.request("infill/status", Value::Null);
    c.answer(id).await.expect("a result");
}

#[tokio::test]
async fn settings_are_checked_and_named() {
    let options = json!({ "capabilities": {}, "initializationOptions": { "completion": { "linez": "one" } } });
    let (mut c, _) = Client::initialized(echo("y"), vec![], options).await;
    let said = c.incoming("window/showMessage").await;
    let text = said["params"]["message"].as_str().expect("text").to_string();
    assert!(text.contains("initializationOptions: completion.linez: unknown key"), "{text}");
    c.open(URI, "python", "x\n");
    c.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": { "languages": ["!python"] } } }));
    let id = c.inline(URI, 0, 1);
    assert_eq!(c.texts(id).await.len(), 0);
    c.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": { "enabled": true } } }));
    let id = c.inline(URI, 0, 1);
    assert_eq!(c.texts(id).await.len(), 1);
    c.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": { "model": "/tmp/x.gguf" } } }));
    let said = c.incoming("window/showMessage").await;
    assert!(said["params"]["message"].as_str().expect("text").contains("model"), "{said}");
}

#[tokio::test]
async fn settings_are_pulled_from_a_client_that_holds_them() {
    let params = json!({ "capabilities": { "workspace": { "configuration": true } } });
    let (mut c, _) = Client::initialized(echo("y"), vec![], params).await;
    c.notify("workspace/didChangeConfiguration", json!({ "settings": null }));
    let asked = c.incoming("workspace/configuration").await;
    assert_eq!(asked["params"]["items"][0]["section"], "infill");
    c.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": [{ "enabled": false }] }));
    c.open(URI, "python", "x\n");
    // The reply is taken in its turn; ask until it has been.
    for _ in 0..100 {
        let id = c.inline(URI, 0, 1);
        if c.texts(id).await.is_empty() {
            return;
        }
    }
    panic!("enabled = false was not taken");
}

#[tokio::test]
async fn unusual_uris_work() {
    let mut c = Client::start(echo("ok")).await;
    for uri in ["untitled:Untitled-1", "vscode-notebook-cell:/a.ipynb#W0sZmlsZQ%3D%3D", "file:///%C3%A4%20b.py"] {
        c.open(uri, "python", "x = \n");
        let id = c.inline(uri, 0, 4);
        assert_eq!(c.texts(id).await, ["ok"], "{uri}");
    }
}

#[tokio::test]
async fn exit_codes() {
    let mut c = Client::start(echo("")).await;
    let id = c.request("shutdown", Value::Null);
    c.answer(id).await.expect("shutdown");
    c.notify("exit", Value::Null);
    assert_eq!(c.exit_code().await, 0, "although the client keeps its stream open");
    let mut c = Client::start(echo("")).await;
    c.notify("exit", Value::Null);
    assert_eq!(c.exit_code().await, 1, "exit without shutdown");
    assert_eq!(Client::start(echo("")).await.vanish().await, 1, "the end of the stream without shutdown");
}

#[tokio::test]
async fn the_end_of_stdin_ends_the_server_with_requests_in_flight() {
    let engine = Scripted::gated(|_| "never".into());
    let mut c = Client::start(engine).await;
    c.open(URI, "python", "x\n");
    c.inline(URI, 0, 1);
    c.request("infill/status", Value::Null);
    let code = tokio::spawn(async move {
        // What was answered in time is claimed by nobody: that is the point.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), c.incoming("nothing")).await;
        c.forget_unclaimed();
        c.vanish().await
    });
    assert_eq!(code.await.expect("no panic"), 1);
}

#[tokio::test]
async fn a_request_before_initialize_is_refused() {
    let mut c = Client::raw(echo(""), vec![]);
    let id = c.inline(URI, 0, 0);
    assert_eq!(c.answer(id).await.expect_err("not initialized")["code"], -32002);
}

#[tokio::test]
async fn user_settings_hold_below_the_editors() {
    let layers = vec![Layer { place: "config.toml".into(), value: json!({ "languages": ["rust"] }) }];
    let (mut c, _) = Client::initialized(echo("y"), layers, json!({ "capabilities": {} })).await;
    c.open(URI, "python", "x\n");
    c.open("file:///a.rs", "rust", "x\n");
    let id = c.inline(URI, 0, 1);
    assert_eq!(c.texts(id).await.len(), 0);
    let id = c.inline("file:///a.rs", 0, 1);
    assert_eq!(c.texts(id).await.len(), 1);
}

#[tokio::test]
async fn on_a_slow_machine_a_burst_of_keys_asks_once() {
    let engine = Scripted::new(|_| "no".into());
    *engine.first_token.lock().expect("first_token") = Some(std::time::Duration::from_secs(2));
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "\n");
    let id = c.inline(URI, 0, 0);
    assert_eq!(c.texts(id).await, ["no"], "nothing is measured yet");
    let burst: Vec<u64> = (0..5)
        .map(|n| {
            c.change(URI, 0, n, n, "x");
            c.inline(URI, 0, n + 1)
        })
        .collect();
    for id in &burst[..4] {
        assert_eq!(c.answer(*id).await.expect_err("superseded")["code"], -32801);
    }
    assert_eq!(c.texts(burst[4]).await, ["xxxxxno"]);
    let tails: Vec<String> = engine.requests().into_iter().map(|r| r.tail).collect();
    assert_eq!(tails, ["", "xxxxx"]);
    c.change(URI, 0, 5, 5, "y");
    let id = c.inline_with(URI, 0, 6, json!({ "triggerKind": 0 }));
    c.texts(id).await;
    assert_eq!(engine.requests().len(), 5, "an explicit ask waits for nothing: three alternatives");
}

#[tokio::test]
async fn a_space_at_the_start_of_a_line_brings_no_menu() {
    let (mut c, _) = Client::initialized(echo("x"), vec![], json!({ "capabilities": {} })).await;
    c.open(URI, "python", "a =  \n  \n");
    for (line, character, count) in [(0, 4, 1), (1, 2, 0)] {
        let position = json!({ "line": line, "character": character });
        let context = json!({ "triggerKind": 2, "triggerCharacter": " " });
        let id = c.request("textDocument/completion", json!({ "textDocument": { "uri": URI }, "position": position, "context": context }));
        assert_eq!(c.answer(id).await.expect("a result")["items"].as_array().map(Vec::len), Some(count), "line {line}");
    }
}

fn with_status() -> Value {
    json!({ "capabilities": { "textDocument": { "inlineCompletion": {} }, "experimental": { "infill": { "status": true } } } })
}

#[tokio::test]
async fn a_client_that_shows_the_status_is_told_it() {
    let engine = echo("x");
    let (mut c, _) = Client::initialized(engine.clone(), vec![], with_status()).await;
    let light = c.incoming("infill/didChangeStatus").await["params"].clone();
    assert_eq!(light, json!({ "state": "ready", "model": "scripted", "device": "test", "message": null, "hint": null }));
    engine.gate.forget_permits(usize::MAX >> 4);
    c.open(URI, "python", "a\n");
    let id = c.inline(URI, 0, 1);
    assert_eq!(c.incoming("infill/didChangeStatus").await["params"]["state"], "busy");
    engine.gate.add_permits(100);
    assert_eq!(c.texts(id).await, ["ax"]);
    assert_eq!(c.incoming("infill/didChangeStatus").await["params"]["state"], "ready");
    c.notify("workspace/didChangeConfiguration", json!({ "settings": { "infill": { "enabled": false } } }));
    assert_eq!(c.incoming("infill/didChangeStatus").await["params"]["state"], "off");
}

#[tokio::test]
async fn an_engine_that_is_not_there_says_why_in_the_status() {
    let error = EngineError { title: "No model at \"x\"".into(), hint: "set model".into() };
    let (mut c, _) = Client::initialized(std::sync::Arc::new(Unavailable(error)), vec![], with_status()).await;
    let light = c.incoming("infill/didChangeStatus").await["params"].clone();
    assert_eq!(light, json!({ "state": "error", "model": "nano", "device": null, "message": "No model at \"x\"", "hint": "set model" }));
}

#[tokio::test]
async fn a_rejected_suggestion_is_not_shown_again_unasked() {
    let mut c = Client::start(echo("oo(x)")).await;
    c.open(URI, "python", "a = f\n\nb\n");
    let id = c.inline(URI, 0, 5);
    assert_eq!(c.texts(id).await, ["foo(x)"]);
    c.notify("infill/outcome", json!({ "textDocument": { "uri": URI }, "outcome": "rejected", "text": "foo(x)" }));
    let id = c.inline(URI, 0, 5);
    assert_eq!(c.texts(id).await, [""; 0]);
    c.change(URI, 0, 5, 5, "o");
    let id = c.inline(URI, 0, 6);
    assert_eq!(c.texts(id).await, [""; 0], "the same, typed into");
    let id = c.inline_with(URI, 0, 6, json!({ "triggerKind": 1 }));
    assert_eq!(c.texts(id).await, ["fooo(x)"], "asked for: the model goes on from what is typed");
    for outcome in ["accepted", "partly"] {
        c.notify("infill/outcome", json!({ "textDocument": { "uri": URI }, "outcome": outcome, "text": "foo(x)" }));
    }
    let id = c.request("infill/status", json!({}));
    let status = c.answer(id).await.expect("a result");
    assert_eq!((&status["accepted"], &status["partly"], &status["rejected"]), (&json!(1), &json!(1), &json!(1)));
    let id = c.inline(URI, 2, 1);
    assert_eq!(c.texts(id).await, ["boo(x)"], "another line");
}

#[tokio::test]
async fn where_the_cursor_rests_the_engine_prefills() {
    let engine = echo("x");
    let mut c = Client::start(engine.clone()).await;
    c.open(URI, "python", "one\ntwo\nthree\n");
    for line in [0, 1] {
        c.notify("infill/cursor", json!({ "textDocument": { "uri": URI }, "position": { "line": line, "character": 1 } }));
    }
    let id = c.request("infill/status", json!({}));
    c.answer(id).await.expect("a result");
    while engine.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    let prefills = engine.requests();
    assert_eq!(prefills.len(), 1, "only where it rests: {prefills:?}");
    assert_eq!((prefills[0].max_tokens, prefills[0].prefix.as_str(), prefills[0].tail.as_str()), (0, "one\n", "t"));
    let id = c.inline(URI, 1, 1);
    assert_eq!(c.texts(id).await, ["tx"]);
    assert_eq!((engine.requests()[1].prefix.as_str(), &engine.requests()[1].suffix), ("one\n", &prefills[0].suffix));
}
