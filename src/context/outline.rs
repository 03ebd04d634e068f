//! What stays of the file itself, when it does not fit.
//!
//! ```text
//! import json                       the imports above the window,
//! class Shop:                       and the headers of what encloses its first line,
//!     def total(self):              stand before it
//!         …
//!         return sum(p.price|
//! ```
//! Both depend on where the window starts, not on the cursor: what encloses the cursor and begins above the window
//! encloses the window's start too. So the head of the prompt stays while the window stays, and the cache holds.
use crate::document::Snapshot;
use std::ops::Range;

/// Imports and enclosing headers above `start`, in the file's order, in at most `limit` bytes; headers go first when
/// not all fits. Empty where there is no syntax.
pub fn outline(text: &Snapshot, start: usize, limit: usize) -> String {
    let Some(syntax) = text.syntax.as_ref().filter(|_| start > 0) else { return String::new() };
    let lines = |range: Range<usize>| text.text(text.line_start(range.start), range.end).trim_end().to_string() + "\n";
    let headers: Vec<String> = syntax.headers(&text.rope, start).into_iter().map(lines).collect();
    let headers = within(headers.into_iter().rev(), limit);
    let left = limit - headers.iter().map(String::len).sum::<usize>();
    let imports = within(syntax.imports(&text.rope, start).into_iter().map(lines), left);
    imports.into_iter().chain(headers.into_iter().rev()).collect()
}

/// As many of the first ones as fit.
fn within(all: impl Iterator<Item = String>, limit: usize) -> Vec<String> {
    let mut used = 0;
    all.take_while(|text| {
        used += text.len();
        used <= limit
    })
    .collect()
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;
    use crate::document::Document;

    const TEXT: &str = "import json\nfrom os import path\n\n\nclass Shop:\n    \"\"\"Sells.\"\"\"\n\n    def total(self,\n              tax):\n        a = 1\n        return a\n\n    def other(self):\n        pass\n";

    fn outline_at(line: &str, limit: usize) -> String {
        let text = Document::new("u", "python", 1, TEXT).settled();
        outline(&text, TEXT.find(line).expect("there"), limit)
    }

    #[test]
    fn imports_and_enclosing_headers_stay() {
        let all = "import json\nfrom os import path\nclass Shop:\n    def total(self,\n              tax):\n";
        assert_eq!(outline_at("        return a", 500), all);
        assert_eq!(outline_at("    def other", 500), "import json\nfrom os import path\nclass Shop:\n");
        assert_eq!(outline_at("import json", 500), "", "nothing is above the first line");
        assert_eq!(outline(&Document::new("u", "plaintext", 1, TEXT).settled(), 100, 500), "");
    }

    #[test]
    fn of_a_fence_only_what_is_in_it() {
        let marked = format!("# A\n\n```python\nimport re\n```\n\n```python\n{TEXT}```\n");
        let text = Document::new("u", "markdown", 1, &marked).settled();
        let at = marked.find("        return a").expect("there");
        let all = "import json\nfrom os import path\nclass Shop:\n    def total(self,\n              tax):\n";
        assert_eq!(outline(&text.inside(at), at, 500), all);
        assert_eq!(outline(&text.inside(at), marked.find("import re").expect("there") + 3, 500), "", "the window begins outside of it");
    }

    #[test]
    fn headers_go_first_when_not_all_fits() {
        assert_eq!(outline_at("        return a", 64), "import json\nclass Shop:\n    def total(self,\n              tax):\n");
        assert_eq!(outline_at("        return a", 45), "    def total(self,\n              tax):\n");
        assert_eq!(outline_at("        return a", 5), "");
    }
}
