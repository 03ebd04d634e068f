//! Code actions as the protocol's: what a client can do with them, which are offered, and edits that it previews.
//!
//! ```text
//! codeAction        { title: "infill: fix", kind: "quickfix", command: { command: "infill.act", arguments: [Order] } }
//! workspace/applyEdit { documentChanges: [{ textDocument: { uri, version: 7 }, edits: [{ …, annotationId }] }], changeAnnotations }
//! ```
//! An action is a command: the client goes on at once, sees progress that it can cancel, and gets the edit when it is there. A
//! client that takes no edits from a server, but resolves actions, gets them unresolved.
use crate::document::Range;
use crate::instruct::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The command of all actions.
pub const COMMAND: &str = "infill.act";

/// The name of the annotation that asks for a confirmation.
const ANNOTATION: &str = "infill";

/// What the client can do.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    /// `workspace/applyEdit`
    pub applies: bool,
    /// It shows edits that need a confirmation before it applies them.
    pub confirms: bool,
    /// `codeAction/resolve`, for the edit.
    pub resolves: bool,
    /// It knows actions; else commands only.
    pub literals: bool,
    /// Edits name the version of the document they are for.
    pub versions: bool,
    /// Edits make files.
    pub creates: bool,
    /// `window/showDocument`
    pub shows: bool,
    /// `window/showMessageRequest`, with titles to choose from.
    pub asks: bool,
    /// `window/workDoneProgress/create`
    pub progress: bool,
}

impl Abilities {
    pub fn read(capabilities: &Value) -> Abilities {
        let (workspace, window) = (&capabilities["workspace"], &capabilities["window"]);
        let action = &capabilities["textDocument"]["codeAction"];
        let lists = |value: &Value, word: &str| value.as_array().is_some_and(|all| all.iter().any(|one| one == word));
        let versions = workspace["workspaceEdit"]["documentChanges"] == true;
        Abilities {
            applies: workspace["applyEdit"] == true,
            // Annotations stand in document changes only: Neovim 0.12 announces the first without the second.
            confirms: versions && workspace["workspaceEdit"]["changeAnnotationSupport"].is_object(),
            resolves: lists(&action["resolveSupport"]["properties"], "edit"),
            literals: action["codeActionLiteralSupport"].is_object(),
            versions,
            creates: lists(&workspace["workspaceEdit"]["resourceOperations"], "create"),
            shows: window["showDocument"]["support"] == true,
            asks: window["showMessage"].is_object(),
            progress: window["workDoneProgress"] == true,
        }
    }

    /// Whether actions are resolved, rather than commands that end in an edit.
    pub fn wants_resolve(&self) -> bool {
        !self.applies && self.resolves
    }

    /// Whether edits reach the client at all.
    pub fn edits(&self) -> bool {
        self.applies || (self.resolves && self.literals)
    }
}

/// What a client asks for actions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    pub text_document: super::wire::Versioned,
    pub range: Range,
    #[serde(default)]
    pub context: WantedContext,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct WantedContext {
    pub diagnostics: Vec<Value>,
    pub only: Option<Vec<String>>,
    pub trigger_kind: Option<u32>,
}

impl WantedContext {
    /// Whether the user has asked, not a light bulb.
    pub fn invoked(&self) -> bool {
        self.trigger_kind != Some(2)
    }

    /// A wanted kind holds those below it.
    pub fn takes(&self, kind: &str) -> bool {
        let below =
            |only: &String| only.is_empty() || kind == only || kind.strip_prefix(only.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.only.as_ref().is_none_or(|only| only.iter().any(below))
    }
}

/// An action that was chosen: what comes back from the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub kind: Kind,
    pub uri: String,
    /// The text that it was offered for.
    pub version: i32,
    pub range: Range,
    #[serde(default)]
    pub problems: Vec<Reported>,
}

/// A diagnostic, as far as the model is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    pub range: Range,
    pub message: String,
}

/// The protocol's kind of an action.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Fix => "quickfix",
        Kind::Explain => "refactor.explain",
        Kind::Document => "refactor.rewrite.document",
        Kind::Test => "refactor.test",
    }
}

/// An action as it is offered.
pub fn offer(order: &Order, diagnostics: &[Value], abilities: &Abilities) -> Value {
    let title = order.kind.title();
    let command = json!({ "title": title, "command": COMMAND, "arguments": [order] });
    if !abilities.literals {
        return command;
    }
    let mut action = json!({ "title": title, "kind": kind(order.kind) });
    if order.kind == Kind::Fix && !diagnostics.is_empty() {
        action["diagnostics"] = json!(diagnostics);
    }
    let last = if abilities.wants_resolve() { ("data", json!(order)) } else { ("command", command) };
    action[last.0] = last.1;
    action
}

/// An edit of one file.
#[derive(Clone, Debug)]
pub struct Edit {
    pub title: &'static str,
    pub uri: String,
    /// `None`: it is not open.
    pub version: Option<i32>,
    /// The file is made first.
    pub create: bool,
    pub range: Range,
    /// With the document's own line ends.
    pub text: String,
    /// What it changes, line by line.
    pub preview: String,
}

impl Edit {
    /// The protocol's `WorkspaceEdit`. Where the client can, it asks the user first.
    pub fn workspace(&self, abilities: &Abilities) -> Value {
        let mut edit = json!({ "range": self.range, "newText": self.text });
        if !abilities.versions {
            return json!({ "changes": { &self.uri: [edit] } });
        }
        let mut create = json!({ "kind": "create", "uri": self.uri, "options": { "ignoreIfExists": true } });
        if abilities.confirms {
            [&mut edit, &mut create].into_iter().for_each(|change| change["annotationId"] = json!(ANNOTATION));
        }
        let document = json!({ "textDocument": { "uri": self.uri, "version": self.version }, "edits": [edit] });
        let changes: Vec<Value> = self.create.then_some(create).into_iter().chain([document]).collect();
        let mut out = json!({ "documentChanges": changes });
        if abilities.confirms {
            out["changeAnnotations"] = json!({ ANNOTATION: { "label": self.title, "needsConfirmation": true } });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_hold_those_below_them() {
        let takes = |only: Option<&[&str]>, kind: &str| {
            let only = only.map(|all| all.iter().map(|word| (*word).to_owned()).collect());
            WantedContext { only, ..Default::default() }.takes(kind)
        };
        assert!(takes(None, "quickfix") && takes(Some(&["refactor"]), "refactor.test") && takes(Some(&[""]), "quickfix"));
        assert!(takes(Some(&["source", "quickfix"]), "quickfix"));
        assert!(!takes(Some(&["refactor"]), "quickfix") && !takes(Some(&["ref"]), "refactor.test") && !takes(Some(&[]), "quickfix"));
    }

    #[test]
    fn a_client_confirms_only_what_can_carry_the_wish() {
        let confirms = |edits: Value| Abilities::read(&json!({ "workspace": { "workspaceEdit": edits } })).confirms;
        assert!(confirms(json!({ "documentChanges": true, "changeAnnotationSupport": { "groupsOnLabel": true } })));
        assert!(!confirms(json!({ "changeAnnotationSupport": { "groupsOnLabel": true } })), "Neovim 0.12 is asked in words");
        assert!(!confirms(json!({ "documentChanges": true })));
    }

    #[test]
    fn clients_get_what_they_understand() {
        let position = |line| crate::document::Position { line, character: 0 };
        let range = Range { start: position(1), end: position(2) };
        let order = Order { kind: Kind::Fix, uri: "file:///a".into(), version: 3, range, problems: vec![] };
        let all = Abilities {
            applies: true,
            resolves: true,
            literals: true,
            versions: true,
            creates: true,
            confirms: true,
            ..Default::default()
        };
        assert_eq!(offer(&order, &[], &all)["command"]["arguments"][0], json!(order));
        let old = Abilities { literals: false, ..all.clone() };
        assert_eq!(offer(&order, &[], &old)["command"], COMMAND);
        let resolving = Abilities { applies: false, ..all.clone() };
        let action = offer(&order, &[json!("d")], &resolving);
        assert_eq!((&action["data"], &action["command"], &action["diagnostics"]), (&json!(order), &Value::Null, &json!(["d"])));
        let (uri, text) = ("file:///a".to_owned(), "x\n".to_owned());
        let edit = Edit { title: "infill: fix", uri, version: Some(3), create: true, range, text, preview: String::new() };
        let whole = edit.workspace(&all);
        assert_eq!(whole["documentChanges"][0]["kind"], "create");
        assert_eq!(whole["documentChanges"][1]["textDocument"], json!({ "uri": "file:///a", "version": 3 }));
        assert_eq!(whole["documentChanges"][1]["edits"][0]["annotationId"], ANNOTATION);
        assert_eq!(whole["changeAnnotations"][ANNOTATION]["needsConfirmation"], true);
        let plain = edit.workspace(&Abilities::default());
        assert_eq!(plain, json!({ "changes": { "file:///a": [{ "range": range, "newText": "x\n" }] } }));
    }
}
