//! What an action edits: the lines it is about, or the file of their tests.
//!
//! ```text
//! fix, document   the document itself, in the version that was asked about
//! write test      tests/test_tax.py: at its end, or as a new file; in Rust the module `tests`
//! ```
use super::{Act, Session, Stop};
use crate::document::{Document, Eol, Range, Snapshot};
use crate::instruct::home::{Home, added, home};
use crate::instruct::piece::{Change, Piece};
use crate::instruct::{Kind, Tests, answer, check};
use crate::lsp::actions::Edit;
use crate::lsp::session::workspace::path_of;
use std::path::Path;
use tower_lsp::lsp_types::Url;

/// Larger files of tests are not added to.
const MAX_BYTES: u64 = 1 << 20;

/// Most lines of a preview.
const PREVIEW: usize = 40;

/// Where tests go.
pub struct Target {
    uri: String,
    /// `None`: it is not open.
    version: Option<i32>,
    text: Snapshot,
    create: bool,
    inside: bool,
    /// As the user knows it.
    name: String,
    /// The rules let it be shown to the model.
    seen: bool,
}

impl Target {
    /// As the model is told.
    pub fn tests(&self) -> Tests {
        let name = self.name.clone();
        match (self.inside, self.create) {
            (true, _) => Tests::Inside,
            (_, true) => Tests::New(name),
            _ if self.seen => Tests::There { name, begins: self.text.text(0, self.text.rope.len_bytes()) },
            _ => Tests::There { name, begins: String::new() },
        }
    }
}

impl Session {
    /// The file of the tests, read where it is not open.
    pub(super) fn target(&self, act: &Act) -> Result<Target, Stop> {
        let (title, language) = (act.order.kind.title(), &*act.text.language);
        let why = |text: String| Stop::Why(format!("{title}: {text}"));
        let path = path_of(&act.order.uri).ok_or_else(|| why("the file has no place on this machine".into()))?;
        let root = self.root(&path);
        let found = home(&path, language, &root, &|path: &Path| path.exists());
        let name = |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let file = match found {
            None => return Err(why(format!("where tests are is not known for {language}"))),
            Some(Home::Inside) => {
                let (uri, version, text) = (act.order.uri.clone(), Some(act.text.version), act.text.clone());
                return Ok(Target { uri, version, text, create: false, inside: true, name: name(&path), seen: true });
            }
            Some(Home::File(file)) => file,
        };
        let name = name(&file);
        if let Some((uri, text)) = self.open_at(&file) {
            let seen = self.may_be_seen(&uri);
            return Ok(Target { uri, version: Some(text.version), text, create: false, inside: false, name, seen });
        }
        let uri = Url::from_file_path(&file).map_err(|()| why(format!("{name} is no place for a file")))?.to_string();
        let create = !file.exists();
        if create && !(act.abilities.creates && act.abilities.versions) {
            return Err(why(format!("this editor makes no files for a server: make {name}, and choose it again")));
        }
        let read = || {
            let size = file.metadata()?.len();
            if size > MAX_BYTES { Err(std::io::Error::other("it is too large")) } else { std::fs::read_to_string(&file) }
        };
        let text = if create {
            String::new()
        } else {
            read().map_err(|e| why(format!("{name} cannot be read ({})", crate::config::plain(&e))))?
        };
        let seen = self.may_be_seen(&uri);
        let text = Document::new(&uri, language, 0, &text).snapshot();
        Ok(Target { uri, version: None, text, create, inside: false, name, seen })
    }

    /// An open document by its path, whatever its URI looks like.
    fn open_at(&self, file: &Path) -> Option<(String, Snapshot)> {
        let state = self.lock();
        let (uri, doc) = state.docs.iter().find(|(uri, _)| path_of(uri).is_some_and(|path| path == file))?;
        Some((uri.clone(), doc.document.snapshot()))
    }
}

/// The edit that an answer makes.
pub fn edit(act: &Act, piece: &Piece, target: Option<Target>, answer: &str) -> Result<Edit, Stop> {
    let (kind, title) = (act.order.kind, act.order.kind.title());
    let why = |text: String| Stop::Why(format!("{title}: {text}. Nothing was changed."));
    let code = answer::code(answer).map_err(|odd| why(odd.to_string()))?;
    let own = || {
        let (uri, version, text) = (act.order.uri.clone(), Some(act.text.version), act.text.clone());
        Target { uri, version, text, create: false, inside: false, name: String::new(), seen: true }
    };
    let change = match (&target, kind) {
        (Some(target), Kind::Test) => added(&target.text, code, target.inside),
        _ => piece.change(&act.text, code).ok_or_else(|| why("the model finds nothing to change".into()))?,
    };
    let target = target.unwrap_or_else(own);
    check::check(kind, &target.text, &change).map_err(|bad| why(bad.to_string()))?;
    let (text, encoding) = (&target.text, act.encoding);
    let range = Range { start: text.position(change.start, encoding), end: text.position(change.end, encoding) };
    let crlf = if target.create { act.text.eol() } else { text.eol() } == Eol::CrLf;
    let preview = preview(text, &change);
    let new = if crlf { change.text.replace('\n', "\r\n") } else { change.text };
    Ok(Edit { title, uri: target.uri, version: target.version, create: target.create, range, text: new, preview })
}

/// The lines that go and come, as many as one can look at.
fn preview(text: &Snapshot, change: &Change) -> String {
    let old = text.text(change.start, change.end);
    let lines: Vec<String> =
        old.lines().map(|line| format!("- {line}")).chain(change.text.lines().map(|line| format!("+ {line}"))).collect();
    let more = lines.len().saturating_sub(PREVIEW);
    let more = if more > 0 { format!("\n… {more} more lines") } else { String::new() };
    lines[..lines.len().min(PREVIEW)].join("\n") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_short() {
        let text = Document::new("u", "text", 1, "a\nb\n").snapshot();
        let change = |text: &str| Change { start: 2, end: 4, text: text.into() };
        assert_eq!(preview(&text, &change("c\nd\n")), "- b\n+ c\n+ d");
        let long = preview(&text, &change(&"c\n".repeat(100)));
        assert_eq!((long.lines().count(), long.ends_with("… 61 more lines")), (41, true));
    }
}
