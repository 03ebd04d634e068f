//! Actions on a piece of code: what a chat model is asked, and what may come of its answer.
//!
//! ```text
//! "infill: fix" on lines 3..5   ->   turns: the instruction, the code, what stands around it, what is reported about it
//! "```python⏎…⏎```"             ->   a change of the lines that differ; anything else than one code block is refused
//! ```
//! Text in, text out, and no IO: the language server shows the actions, asks the engine, and has the client preview the edit.
//!
//! | module | |
//! |---|---|
//! | [`piece`] | the lines an action is about, and the change that an answer makes of them |
//! | [`answer`] | the one code block of an answer |
//! | [`check`] | what a change may not do |
//! | [`home`] | where the tests of a file are |
use crate::engine::{Info, Role, Turn};
use piece::Piece;
use serde::{Deserialize, Serialize};

pub mod answer;
pub mod check;
pub mod home;
pub mod piece;

/// What can be done to code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Fix,
    Explain,
    Document,
    Test,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Fix, Kind::Explain, Kind::Document, Kind::Test];

    /// As the user sees it.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Fix => "infill: fix",
            Kind::Explain => "infill: explain",
            Kind::Document => "infill: document",
            Kind::Test => "infill: write test",
        }
    }

    fn instruction(self) -> &'static str {
        match self {
            Kind::Fix => "Correct the code. Change nothing that is right, and keep its style.",
            Kind::Explain => "Explain the code to a colleague: what it does, how, and what could go wrong. Be brief.",
            Kind::Document => "Add documentation comments to the code, in the manner of its language. Change no code.",
            Kind::Test => "Write tests for the code, in the test framework that is usual for its language.",
        }
    }

    fn form(self) -> &'static str {
        match self {
            Kind::Fix | Kind::Document => "Answer with the whole code as it should be, in one code block, and nothing else.",
            Kind::Explain => "Answer in Markdown.",
            Kind::Test => "Answer with the tests in one code block, and nothing else.",
        }
    }
}

/// Something that a compiler or linter reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The line it stands in, as it is.
    pub line: String,
    pub message: String,
}

/// Where tests go.
#[derive(Clone, Debug, PartialEq)]
pub enum Tests {
    /// A new file of this name.
    New(String),
    /// A file that is there, which begins so.
    There { name: String, begins: String },
    /// The module `tests` of the file itself.
    Inside,
}

/// A piece of code, and what is to be done with it.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    pub kind: Kind,
    /// The file's name, as the user knows it.
    pub name: &'a str,
    pub language: &'a str,
    pub piece: &'a Piece,
    /// The text above and below the piece.
    pub above: &'a str,
    pub below: &'a str,
    pub problems: &'a [Problem],
    /// For [`Kind::Test`].
    pub tests: Option<&'a Tests>,
}

/// What the model is asked, and how long its answer may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub turns: Vec<Turn>,
    pub max_tokens: usize,
}

/// More than the model can read and write at once.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("The code is too long for {model}, which reads and writes {context} tokens at once: select less")]
pub struct TooLong {
    model: String,
    context: usize,
}

const SYSTEM: &str = "You work inside a code editor. You follow the instruction exactly, and do nothing else.";

/// Tokens of an answer that is no rewritten code; and most of any.
const SAID: usize = 1024;
const MOST: usize = 4096;
/// Tokens for the template and the words around the code.
const FRAME: usize = 96;
/// Most bytes shown above and below the piece, of each problem, and of the tests that are there; most problems.
const ABOVE: usize = 6000;
const BELOW: usize = 2000;
const MESSAGE: usize = 400;
const BEGINS: usize = 3000;
const PROBLEMS: usize = 12;

impl Task<'_> {
    /// The conversation: what must be in it, and as much around it as fits.
    ///
    /// # Errors
    /// Where the code alone does not fit.
    pub fn asked(&self, info: &Info) -> Result<Asked, TooLong> {
        let too_long = || TooLong { model: info.model.clone(), context: info.context };
        let bytes = info.bytes_per_token.max(1.0);
        let code = (self.piece.code.len() as f32 / bytes) as usize;
        let max_tokens = self.max_tokens(code, info).ok_or_else(too_long)?;
        let room = ((info.context.saturating_sub(max_tokens + FRAME)) as f32 * bytes * 0.9) as usize;
        let bare = self.words("", "");
        let rest = room.checked_sub(bare.len() + SYSTEM.len()).ok_or_else(too_long)?;
        let above = last_lines(self.above, (rest * 2 / 3).min(ABOVE));
        let below = first_lines(self.below, (rest - above.len()).saturating_sub(64).min(BELOW));
        let turn = |role, text: String| Turn { role, text };
        Ok(Asked { turns: vec![turn(Role::System, SYSTEM.into()), turn(Role::User, self.words(above, below))], max_tokens })
    }

    /// Rewritten code may grow by a half; half of what the model holds is for its answer.
    fn max_tokens(&self, code: usize, info: &Info) -> Option<usize> {
        let half = (info.context / 2).min(MOST);
        match self.kind {
            Kind::Fix | Kind::Document => Some((code * 2 + 128).min(half)).filter(|most| *most > code + code / 4),
            Kind::Explain | Kind::Test => Some(SAID.min(half)),
        }
    }

    fn words(&self, above: &str, below: &str) -> String {
        let mut out = format!("{}\n\nThe file {} ({}).\n", self.kind.instruction(), self.name, self.language);
        let mut part = |title: &str, text: &str| {
            if !text.trim().is_empty() {
                out += &format!("\n{title}:\n{}\n", fenced(text, self.language));
            }
        };
        part("Above the code, to be read only", above);
        part("The code", &self.piece.code);
        part("Below the code, to be read only", below);
        if !self.problems.is_empty() {
            out += "\nWhat is reported about it:\n";
        }
        for problem in self.problems.iter().take(PROBLEMS) {
            out += &format!("- {} (at `{}`)\n", cut(&problem.message.replace('\n', " "), MESSAGE), cut(problem.line.trim(), MESSAGE));
        }
        out += &self.tests.map(|tests| self.tests_go(tests)).unwrap_or_default();
        out + "\n" + self.kind.form()
    }

    fn tests_go(&self, tests: &Tests) -> String {
        match tests {
            Tests::New(name) => format!("\nThe tests are a new file, {name}: begin with what it must import.\n"),
            Tests::There { name, begins } => {
                let begins = fenced(first_lines(begins, BEGINS), self.language);
                format!("\nThe tests are added at the end of {name}, which begins so:\n{begins}\nRepeat nothing of it.\n")
            }
            Tests::Inside => {
                "\nThe tests are added to the module `tests` of this file, which has `use super::*;`: write only functions with #[test].\n"
                    .into()
            }
        }
    }
}

/// Whole lines from the end of a text, in at most so many bytes.
fn last_lines(text: &str, limit: usize) -> &str {
    let Some(mut start) = text.len().checked_sub(limit).filter(|start| *start > 0) else { return text };
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let rest = &text[start..];
    rest.find('\n').map_or("", |at| &rest[at + 1..])
}

/// Whole lines from its beginning.
fn first_lines(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let head = cut(text, limit);
    head.rfind('\n').map_or("", |at| &head[..=at])
}

/// At most so many bytes, whole characters.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A code block that survives back quotes in the code.
pub fn fenced(text: &str, language: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}", text.trim_end_matches('\n'))
}

#[cfg(test)]
mod tests;
