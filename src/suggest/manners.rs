//! Manners: where a suggestion ends. No IO, no state.
//!
//! ```text
//! if x:⏎    y|        generated "()⏎z = 1"              "()": the next line leaves the block
//! fn f() {⏎    |⏎}    generated "a();⏎}⏎fn g() {"       "a();": the parser says that the body is closed
//! fn f() {⏎    |      the same                          "a();⏎}": nothing below closes it
//! x = |⏎y = 1         generated "2⏎y = 1"               "2": what follows stands there already
//! ```
//! How it meets the rest of its line is [`fit`]'s.
use crate::config::Lines;
use crate::document::Snapshot;
use crate::syntax::Place;
pub use fit::{before_replacing, fit};

mod again;
mod fit;
pub mod open;

/// So much of a line below the cursor is looked at.
const LONGEST: usize = 1000;
/// So many lines below the cursor are looked at.
const BELOW: usize = 3;
/// A line with fewer letters and digits (`}`, `);`) may stand below itself, or appear twice.
const SAYING: usize = 3;
/// As a beginning of the line below, or as a line further below, a line must say more.
const TELLING: usize = 6;

/// What a suggestion at one place may be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Several lines, or to the end of this one.
    pub block: bool,
    text: Snapshot,
    cursor: usize,
    /// The cursor's line, up to the cursor.
    before: String,
    /// Columns of white space before it.
    indent: usize,
    /// The first lines below the cursor that are not blank, as far as its block goes.
    below: Vec<String>,
}

impl Plan {
    /// Decides from the text around the cursor. A block where a body is to be written: on a blank line in an empty body,
    /// or below a line that opens one. To the end of the line everywhere else, and always in comments and strings.
    pub fn new(text: &Snapshot, cursor: usize, lines: Lines) -> Plan {
        let text = &text.inside(cursor);
        let start = text.line_start(cursor);
        let before = text.text(start, cursor);
        let rest = text.text(cursor, text.line_end(cursor));
        let place = text.syntax.as_ref().map(|syntax| syntax.place(&text.rope, cursor));
        let prose = matches!(place, Some(Place::Comment | Place::String));
        let opened = || place == Some(Place::EmptyBody) || opens_body(&line_above(text, start));
        let block = match lines {
            Lines::One => false,
            Lines::Block => rest.trim().is_empty(),
            Lines::Auto => !prose && rest.trim().is_empty() && before.trim().is_empty() && opened(),
        };
        let below = if rest.trim().is_empty() { lines_below(text, cursor, width(&before)) } else { Vec::new() };
        Plan { block, text: text.clone(), cursor, indent: width(&before), before, below }
    }

    /// Strings at which the engine may stop.
    pub fn stop(&self) -> Vec<String> {
        vec![if self.block { "\n\n\n".into() } else { "\n".into() }]
    }

    /// Where the generated text is over, although the model goes on: bytes of it to keep. `None` while it is not. `seen`:
    /// bytes of whole lines that were looked at before, and are not again.
    pub fn end(&self, raw: &str, seen: &mut usize) -> Option<usize> {
        if !self.block {
            let line = raw.split('\n').next().unwrap_or_default();
            return again::in_line(line).or_else(|| raw.find('\n'));
        }
        while let Some(length) = raw[*seen..].find('\n') {
            if let Some(end) = self.over(raw, *seen, *seen + length) {
                return Some(end);
            }
            *seen += length + 1;
        }
        again::in_line(raw)
    }

    /// The text to offer, from all that was generated and where it was found to be over. `cut`: the engine stopped for
    /// length, so the last line is not whole.
    pub fn finish(&self, raw: &str, end: Option<usize>, cut: bool) -> String {
        let mut text = &raw[..end.unwrap_or(raw.len())];
        let broken = text.find('\u{fffd}');
        text = &text[..broken.unwrap_or(text.len())];
        if end.is_none() && (cut || broken.is_some()) {
            text = self.whole_part(text);
        } else if end.is_none() && self.block {
            text = self.whole_lines(text);
        }
        if !self.block && self.is_below(text, 0) {
            return String::new();
        }
        let text = &text[..again::in_line(text).unwrap_or(text.len())];
        let closed = format!("{text}\n");
        self.tidy(&text[..self.back(&closed, closed.len()).min(text.len())])
    }

    /// Whether the text is over at the line `raw[at..stop]`: bytes to keep.
    fn over(&self, raw: &str, at: usize, stop: usize) -> Option<usize> {
        if let Some(second) = again::in_line(&raw[..stop]).or_else(|| self.cycle(&raw[..stop])) {
            return Some(self.back(raw, second));
        }
        if open::open(&self.text.language, &raw[..at]).inside() {
            return None;
        }
        let line = &raw[at..stop];
        if at > 0 && self.leaves(line) {
            return Some(self.closing(raw, self.back(raw, at), stop));
        }
        if self.is_below(line, at) {
            return Some(self.back(raw, at));
        }
        let closed = self.closed(&raw[..stop])?;
        Some(self.closing(raw, closed - 1, closed))
    }

    /// Where the parser says that what encloses the cursor is closed by the generated text. It is only asked when there is
    /// a closer that the text did not open.
    fn closed(&self, text: &str) -> Option<usize> {
        open::open(&self.text.language, text).unopened?;
        self.text.syntax.as_ref()?.ends_within(&self.text.rope, self.cursor, text)
    }

    /// With the closing line (up to `stop`), when the document then has fewer errors than without (up to `at`): nothing
    /// below the cursor closes what is being written.
    fn closing(&self, raw: &str, at: usize, stop: usize) -> usize {
        let closes = raw[at..stop].trim_start();
        if !(closes.starts_with(['}', ')', ']']) || closes.trim_end() == "end") {
            return at;
        }
        let errors = |text: &str| Some(self.text.syntax.as_ref()?.after(&self.text.rope, self.cursor, 0, text)?.errors());
        match (errors(&raw[..at]), errors(&raw[..stop])) {
            (Some(without), Some(with)) if with < without => stop,
            _ => at,
        }
    }

    fn leaves(&self, line: &str) -> bool {
        !line.trim().is_empty() && width(line) < self.indent && !self.neutral(line)
    }

    /// A comment, or a line for the preprocessor, ends nothing, wherever it begins.
    fn neutral(&self, line: &str) -> bool {
        let line = line.trim_start();
        match &*self.text.language {
            "python" | "ruby" | "shellscript" | "yaml" | "toml" | "c" | "cpp" | "csharp" if line.starts_with('#') => true,
            "lua" | "sql" if line.starts_with("--") => true,
            "python" | "ruby" | "shellscript" | "yaml" | "toml" | "markdown" => false,
            _ => line.starts_with("//") || line.starts_with("/*"),
        }
    }

    /// Comments and blank lines right above a line that leaves the block belong to what is there.
    fn back(&self, raw: &str, mut at: usize) -> usize {
        while at > 0 {
            let start = raw[..at - 1].rfind('\n').map_or(0, |n| n + 1);
            let line = &raw[start..at - 1];
            let outside = line.trim().is_empty() || (self.neutral(line) && width(line) < self.indent);
            if start == 0 || !outside {
                break;
            }
            at = start;
        }
        at
    }

    /// Whether the line at `at` says what stands below the cursor already, or begins to.
    fn is_below(&self, line: &str, at: usize) -> bool {
        let line = self.full(line, at);
        let (columns, line) = (width(&line), line.trim());
        let says = line.chars().filter(|c| c.is_alphanumeric()).count();
        if says < SAYING {
            return false;
        }
        let telling = says >= TELLING;
        self.below.iter().enumerate().any(|(n, below)| {
            let (next, words) = (n == 0, below.trim());
            let same = words == line && (next || (telling && self.block));
            width(below) == columns && (same || (next && telling && !self.block && words.starts_with(line)))
        })
    }

    /// A line of the generated text; the first one goes on what stands before the cursor.
    fn full(&self, line: &str, at: usize) -> String {
        if at == 0 { self.before.clone() + line } else { line.to_string() }
    }

    /// Where the lines of a text begin to repeat those before them.
    fn cycle(&self, raw: &str) -> Option<usize> {
        // What was typed belongs to the first line.
        let text = self.before.clone() + raw;
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        let lines = starts.zip(text.split('\n')).map(|(at, line)| (at, width(line), line.trim()));
        let lines: Vec<again::Line<'_>> = lines.filter(|line| !line.2.is_empty()).collect();
        Some(again::of_lines(&lines)? - self.before.len())
    }

    /// Of a text that stops anywhere: up to the last line end that is outside brackets and strings; else without the last
    /// line; a single line without its last word, which may be half a word.
    fn whole_part<'a>(&self, text: &'a str) -> &'a str {
        let ends = || text.match_indices('\n').map(|(at, _)| at);
        let outside = ends().rev().find(|&at| !open::open(&self.text.language, &text[..=at]).inside());
        match outside.or_else(|| ends().next_back()) {
            Some(end) => &text[..end],
            None => text.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_'),
        }
    }

    /// The last line has no line end yet: it may leave the block too, or say what stands below.
    fn whole_lines<'a>(&self, text: &'a str) -> &'a str {
        let last = text.rfind('\n').map_or(0, |n| n + 1);
        &text[..self.over(text, last, text.len()).unwrap_or(text.len())]
    }

    /// Without blanks at the ends of lines.
    fn tidy(&self, text: &str) -> String {
        let mut tidy = String::with_capacity(text.len());
        for line in text.trim_end().split_inclusive('\n') {
            let bare = line.trim_end();
            tidy.push_str(bare);
            let kept = open::open(&self.text.language, &tidy).in_string();
            tidy.push_str(if kept { &line[bare.len()..] } else { &line[line.trim_end_matches('\n').len()..] });
        }
        tidy
    }
}

/// Columns of leading white space; a tab counts as four.
fn width(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).map(|c| if c == '\t' { 4 } else { 1 }).sum()
}

fn opens_body(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with(['{', ':', '(', '[']) || line.ends_with("=>") || line.ends_with("->") || line.ends_with(" do") || line.ends_with(" then")
}

fn line_above(text: &Snapshot, start: usize) -> String {
    if start == 0 {
        return String::new();
    }
    let above = text.line_start(start - 1);
    text.text(above, text.line_end(above))
}

/// The lines of the cursor's own block: what comes after one that leaves it is another's.
fn lines_below(text: &Snapshot, cursor: usize, indent: usize) -> Vec<String> {
    let first = text.rope.byte_to_line(cursor.min(text.rope.len_bytes())) + 1;
    let lines = (first..text.rope.len_lines().min(first + 20)).map(|n| {
        let start = text.rope.line_to_byte(n);
        text.text(start, text.line_end(start).min(start + LONGEST))
    });
    lines.filter(|line| !line.trim().is_empty()).take_while(|line| width(line) >= indent).take(BELOW).collect()
}

#[cfg(test)]
mod tests;
