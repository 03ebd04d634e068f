//! What comes over the wire, as far as it is looked at; and what is refused.
//!
//! ```text
//! { "textDocument": { "uri": "file:///a.py" }, "position": { "line": 1, "character": 7 } }   ->   Asked
//! ```
use crate::document::{Change, Encoding, Position, Range, Snapshot};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_lsp::jsonrpc::{Error, ErrorCode};

/// Larger texts are not tracked: a completion in them would cost more than it is worth.
pub const MAX_BYTES: usize = 10 << 20;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Inline,
    Items,
}

#[derive(Deserialize)]
pub struct Opened {
    pub uri: String,
    #[serde(rename = "languageId", default)]
    pub language: String,
    #[serde(default)]
    pub version: i32,
    pub text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    pub text_document: Versioned,
    pub content_changes: Vec<Change>,
}

#[derive(Deserialize)]
pub struct Versioned {
    pub uri: String,
    #[serde(default)]
    pub version: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    pub text_document: Versioned,
    pub position: Position,
    #[serde(default)]
    pub context: AskedContext,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct AskedContext {
    pub trigger_kind: u32,
    pub trigger_character: Option<String>,
    pub selected_completion_info: Option<SelectedInfo>,
}

#[derive(Deserialize)]
pub struct SelectedInfo {
    pub range: Range,
    pub text: String,
}

/// UTF-8 first, then 16, 32; a client that says nothing means UTF-16.
pub fn negotiate(offered: &Value) -> Encoding {
    let offers = |name: &str| offered.as_array().is_some_and(|all| all.iter().any(|o| o == name));
    if offers("utf-8") {
        Encoding::Utf8
    } else if !offers("utf-16") && offers("utf-32") {
        Encoding::Utf32
    } else {
        Encoding::Utf16
    }
}

pub fn refusal(uri: &str, text: &str) -> Option<String> {
    if text.len() > MAX_BYTES {
        return Some(too_large(uri, text.len()));
    }
    text.contains('\0').then(|| format!("{uri} is binary (it holds a zero byte): no completions in it"))
}

pub fn too_large(uri: &str, bytes: usize) -> String {
    format!("{uri} has {} MB, more than {} MB: no completions in it", bytes >> 20, MAX_BYTES >> 20)
}

pub fn nothing(kind: Kind) -> Value {
    match kind {
        Kind::Inline => json!({ "items": [] }),
        Kind::Items => json!({ "isIncomplete": false, "items": [] }),
    }
}

/// The error that clients drop in silence: the text has changed, or a newer request has come.
pub fn superseded() -> Error {
    Error { code: ErrorCode::ContentModified, message: "superseded by a newer request or edit".into(), data: None }
}

/// The popup's selected item: it replaces the text from `start` to the cursor.
#[derive(Clone, Debug)]
pub struct Selected {
    pub start: usize,
    pub text: String,
}

/// The text with the popup's item in place; the cursor in it, and the cursor in the client's text.
pub fn with_selected(text: &Snapshot, selected: &Selected, end: usize) -> (Snapshot, usize, usize) {
    let mut seen = text.clone();
    let removed = end - selected.start;
    seen.syntax = seen.syntax.and_then(|syntax| syntax.after(&text.rope, selected.start, removed, &selected.text));
    crate::syntax::replace(&mut seen.rope, selected.start, removed, &selected.text);
    (seen, selected.start + selected.text.len(), end)
}
