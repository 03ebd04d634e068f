//! The one code block of an answer.
//!
//! ```
//! use infill::instruct::answer::{Odd, code};
//! assert_eq!(code("Here it is:\n```rust\nlet a = 1;\n```\nDone."), Ok("let a = 1;\n"));
//! assert_eq!(code("let a = 1;"), Err(Odd::Prose));
//! ```
//! Fences as in CommonMark: three or more back quotes or tildes, indented by three blanks at most; the same mark, as long or
//! longer and alone on its line, ends the block. What stands around the block is passed over.

/// Why an answer is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    #[error("The model answered with prose and no code block")]
    Prose,
    #[error("The model's code block has no end")]
    Open,
    #[error("The model answered with several code blocks")]
    Several,
    #[error("The model's code block is empty")]
    Empty,
}

/// The code of the only block, its last line end included.
///
/// # Errors
/// Where there is none, more than one, or one without an end.
pub fn code(answer: &str) -> Result<&str, Odd> {
    let (mut found, mut open) = (None, None);
    let mut at = 0;
    for line in answer.split_inclusive('\n') {
        let end = at + line.len();
        match (&open, fence(line)) {
            (None, Some(mark)) => open = Some((mark, end)),
            (Some((mark, start)), Some(other)) if other.ends(mark, line) => {
                if found.replace(&answer[*start..at]).is_some() {
                    return Err(Odd::Several);
                }
                open = None;
            }
            _ => {}
        }
        at = end;
    }
    match (open, found) {
        (Some(_), _) => Err(Odd::Open),
        (None, None) => Err(Odd::Prose),
        (None, Some(code)) if code.trim().is_empty() => Err(Odd::Empty),
        (None, Some(code)) => Ok(code),
    }
}

/// A line's fence.
#[derive(Clone, Copy)]
struct Mark {
    letter: char,
    length: usize,
}

fn fence(line: &str) -> Option<Mark> {
    let text = line.trim_end();
    let bare = text.trim_start_matches(' ');
    let letter = bare.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = bare.chars().take_while(|c| *c == letter).count();
    let info = &bare[length..];
    let fits = text.len() - bare.len() < 4 && length >= 3 && !(letter == '`' && info.contains('`'));
    fits.then_some(Mark { letter, length })
}

impl Mark {
    /// Nothing follows it.
    fn bare(self, line: &str) -> bool {
        line.trim().chars().all(|c| c == self.letter)
    }

    fn ends(self, open: &Mark, line: &str) -> bool {
        self.letter == open.letter && self.length >= open.length && self.bare(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_whatever_is_around_it() {
        for (answer, expected) in [
            ("```\na\n```", "a\n"),
            (" Sure:\n\n```python\na\n\n    b\n```\n\nHope it helps.", "a\n\n    b\n"),
            ("~~~\n```\na\n```\n~~~", "```\na\n```\n"),
            ("````md\n```py\na\n```\n````\n", "```py\na\n```\n"),
            ("```\r\na\r\n```\r\n", "a\r\n"),
            ("   ```\na\n   ```", "a\n"),
            ("```\n    ```\n```", "    ```\n"),
            ("Use `x`.\n```\na ``` b\n```", "a ``` b\n"),
        ] {
            assert_eq!(code(answer), Ok(expected), "{answer:?}");
        }
    }

    #[test]
    fn all_else_is_refused_by_name() {
        for (answer, odd) in [
            ("", Odd::Prose),
            ("let a = 1;", Odd::Prose),
            ("inline ```a``` only", Odd::Prose),
            ("```a```", Odd::Prose),
            ("    ```\n    a\n    ```", Odd::Prose),
            ("```python\na\n", Odd::Open),
            ("````\na\n```\n", Odd::Open),
            ("```\na\n~~~\n", Odd::Open),
            ("```\na\n```\n```\nb\n```\n", Odd::Several),
            ("```\na\n```\nor\n```python\nb\n```\n", Odd::Several),
            ("```\n\n```\n", Odd::Empty),
        ] {
            assert_eq!(code(answer), Err(odd), "{answer:?}");
        }
    }
}
