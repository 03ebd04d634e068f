//! Suggestions as the protocol's items.
//!
//! ```text
//! "pri|" + "nt(x)"   inline:  insertText "print(x)" over the word, so that an editor that lags still matches
//!                    item:    label "print(x)", textEdit over the word, the whole text as documentation
//! ```
use super::session::Pending;
use crate::document::{Encoding, Eol, Snapshot};
use crate::instruct::fenced;
use crate::suggest::Suggestion;
use serde_json::{Value, json};

/// Longest label of a completion item, in characters: menus are narrow.
const LABEL: usize = 60;

/// `textDocument/inlineCompletion`'s result, with LF line ends: clients that show ghost text give it the document's own
/// (Neovim 0.12 would keep a CR as a letter).
pub fn inline(pending: &Pending, suggestions: &[Suggestion], encoding: Encoding) -> Value {
    let items = suggestions.iter().map(|s| {
        let edit = Edit::new(pending, s);
        json!({ "insertText": edit.text, "filterText": edit.text, "range": edit.range(&pending.text, encoding) })
    });
    json!({ "items": items.collect::<Vec<_>>() })
}

/// `textDocument/completion`'s result: the best one first, asked again at each key.
pub fn menu(pending: &Pending, suggestions: &[Suggestion], encoding: Encoding) -> Value {
    let items = suggestions.iter().enumerate().map(|(n, s)| {
        let edit = Edit::new(pending, s);
        let range = edit.range(&pending.text, encoding);
        // Helix inserts an item's text as it comes.
        let text = if pending.text.eol() == Eol::CrLf { edit.text.replace('\n', "\r\n") } else { edit.text.clone() };
        json!({
            "label": label(&edit.text),
            "kind": 1,
            "detail": "infill",
            "documentation": { "kind": "markdown", "value": fenced(&edit.text, &pending.text.language) },
            "filterText": edit.text.lines().next().unwrap_or_default(),
            "sortText": format!("\u{1}{n}"),
            "preselect": n == 0,
            "insertTextFormat": 1,
            "insertTextMode": 1,
            "textEdit": { "range": range, "newText": text },
        })
    });
    json!({ "isIncomplete": true, "items": items.collect::<Vec<_>>() })
}

/// A suggestion as a replacement of bytes `start..end` of the client's text.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

impl Edit {
    fn new(pending: &Pending, suggestion: &Suggestion) -> Edit {
        let (start, head) = match &pending.selected {
            Some(selected) => (selected.start, selected.text.clone()),
            None => {
                let start = word_start(&pending.text, pending.cursor);
                (start, pending.text.text(start, pending.cursor))
            }
        };
        let text = head + &suggestion.text;
        Edit { start, end: pending.cursor + suggestion.replaces, text }
    }

    fn range(&self, text: &Snapshot, encoding: Encoding) -> Value {
        json!({ "start": text.position(self.start, encoding), "end": text.position(self.end, encoding) })
    }
}

/// Byte offset where the word before the cursor begins.
fn word_start(text: &Snapshot, cursor: usize) -> usize {
    let line = text.text(text.line_start(cursor), cursor);
    let word: usize = line.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    cursor - word
}

fn label(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
    let more = line.chars().count() > LABEL || text.trim().lines().count() > 1;
    let head: String = line.chars().take(LABEL).collect();
    if more { format!("{head} …") } else { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_one_short_line() {
        assert_eq!(label("a(b)"), "a(b)");
        assert_eq!(label("if x {\n    y\n}"), "if x { …");
        assert_eq!(label(&"é".repeat(100)).chars().count(), LABEL + 2);
    }
}
