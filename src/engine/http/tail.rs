//! The typed tail at an engine that cannot be told which tokens are allowed.
//!
//! ```
//! use infill::engine::http::tail::settled;
//! assert_eq!(settled("    return a.wid", true), 13); // "    return a." is sent, "wid" is held
//! ```
//! **The rule.** Tokens that end in the middle of a word are tokens the model has never seen there. So the tail is sent
//! up to its last settled place, where no continuation changes what comes before; the rest, at most a word, is held.
//! While a word is typed the prompt stays the same, and the server computes nothing anew. The answer then begins with
//! the held bytes:
//! - llama.cpp is told so, by a grammar;
//! - elsewhere what repeats the held bytes is dropped from the answer, and an answer that disagrees with them is thrown
//!   away at its first other character. Then the request is made once more with the whole tail in the prompt: the model
//!   prefers another word, and the user's is to be gone on with as well as it can.
use crate::tokens::split;

/// Most bytes that are held: longer words are sent as they are.
const MOST: usize = 48;

/// How many bytes of a tail are sent.
pub fn settled(tail: &str, deepseek: bool) -> usize {
    let at = if deepseek { split::stable(tail) } else { common(tail) };
    if tail.len() - at > MOST { tail.len() } else { at }
}

/// The place that the tokenizers of the other families agree on: before the last word and the one blank or sign that may
/// be part of it, or before the last run of blanks or signs.
fn common(tail: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_end = |c: char| c == '\n' || c == '\r';
    let before = tail.trim_end_matches(is_word);
    let last = before.chars().next_back();
    if before.len() < tail.len() {
        return before.len() - last.filter(|c| !is_end(*c)).map_or(0, char::len_utf8);
    }
    match last {
        None => 0,
        Some(c) if is_end(c) => tail.len(),
        Some(c) if c.is_whitespace() => tail.trim_end_matches(|c: char| c.is_whitespace() && !is_end(c)).len(),
        Some(_) => {
            let signs = tail.trim_end_matches(|c: char| !is_word(c) && !c.is_whitespace());
            signs.len() - usize::from(signs.ends_with(' '))
        }
    }
}

/// A grammar for llama.cpp: the held text, then anything.
pub fn grammar(held: &str) -> String {
    let escaped: String = held.chars().map(escape).collect();
    format!("root ::= \"{escaped}\" [\\u0000-\\U0010FFFF]*")
}

fn escape(c: char) -> String {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' => c.to_string(),
        c => format!("\\U{:08X}", c as u32),
    }
}

/// An answer on its way: without the held bytes, up to the first stop.
#[derive(Debug)]
pub struct Filter<'a> {
    /// What the answer must still begin with.
    held: &'a str,
    stop: Vec<&'a str>,
    /// Text that may be the beginning of a stop, and its log probability.
    waiting: String,
    logprob: f32,
}

/// What comes out of a filter.
#[derive(Debug, PartialEq)]
pub enum Passed {
    /// Perhaps nothing yet.
    Text(String, f32),
    /// The last of it: a stop has come.
    Stopped(String, f32),
    /// The answer does not begin with what the user has typed.
    Disagrees,
}

impl<'a> Filter<'a> {
    pub fn new(held: &'a str, stop: impl Iterator<Item = &'a str>) -> Filter<'a> {
        Filter { held, stop: stop.filter(|s| !s.is_empty()).collect(), waiting: String::new(), logprob: 0.0 }
    }

    /// Whether the answer has shown that it begins as it must.
    pub fn agrees(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds text of the answer.
    pub fn push(&mut self, text: &str, logprob: f32) -> Passed {
        let mut text = text;
        if !self.held.is_empty() {
            let same = text.len().min(self.held.len());
            match (text.get(..same), self.held.get(..same)) {
                (Some(a), Some(b)) if a == b => {
                    self.held = self.held.get(same..).unwrap_or_default();
                    text = text.get(same..).unwrap_or_default();
                }
                _ => return Passed::Disagrees,
            }
            if text.is_empty() {
                // The probability of what the user has typed says nothing about what comes.
                return Passed::Text(String::new(), 0.0);
            }
        }
        self.waiting += text;
        self.logprob += logprob;
        let found = self.stop.iter().filter_map(|stop| self.waiting.find(stop).map(|at| (at + stop.len(), at))).min();
        if let Some((_, at)) = found {
            self.waiting.truncate(at);
            return Passed::Stopped(std::mem::take(&mut self.waiting), std::mem::take(&mut self.logprob));
        }
        let begun = |stop: &&str| {
            let ends = stop.char_indices().map(|(at, _)| at).rev();
            ends.filter(|at| stop.get(..*at).is_some_and(|head| self.waiting.ends_with(head))).max().unwrap_or(0)
        };
        let kept = self.stop.iter().map(begun).max().unwrap_or(0);
        let rest = self.waiting.split_off(self.waiting.len() - kept);
        let out = std::mem::replace(&mut self.waiting, rest);
        let logprob = if out.is_empty() { 0.0 } else { std::mem::take(&mut self.logprob) };
        Passed::Text(out, logprob)
    }

    /// The end of the answer: what waited is no stop after all.
    pub fn finish(&mut self) -> Passed {
        if self.held.is_empty() { Passed::Text(std::mem::take(&mut self.waiting), self.logprob) } else { Passed::Disagrees }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_cut_where_a_word_is_being_typed() {
        let sent = |tail: &'static str, deepseek: bool| &tail[..settled(tail, deepseek)];
        for (tail, deepseek, others) in [
            ("", "", ""),
            ("    return a.wid", "    return a.", "    return a"),
            ("    ret", "   ", "   "),
            ("    ", "", ""),
            ("x = f(", "x = f", "x = f"),
            ("x\n", "x\n", "x\n"),
            ("x\n\n  ", "x\n\n", "x\n\n"),
            ("let é", "let", "let"),
        ] {
            assert_eq!((sent(tail, true), sent(tail, false)), (deepseek, others), "{tail:?}");
        }
        let long = "a".repeat(100);
        assert_eq!((settled(&long, true), settled(&long, false)), (100, 100));
    }

    #[test]
    fn held_bytes_are_dropped_and_disagreement_is_seen_at_once() {
        let run = |held: &str, pieces: &[&str]| {
            let mut filter = Filter::new(held, ["\n"].into_iter());
            let mut out = String::new();
            for piece in pieces {
                match filter.push(piece, -1.0) {
                    Passed::Text(text, _) => out += &text,
                    Passed::Stopped(text, _) => return Some(out + &text),
                    Passed::Disagrees => return None,
                }
            }
            match filter.finish() {
                Passed::Text(text, _) => Some(out + &text),
                _ => None,
            }
        };
        assert_eq!(run("wid", &["w", "id", "th", " + 1\nx"]).as_deref(), Some("th + 1"));
        assert_eq!(run("wid", &["width"]).as_deref(), Some("th"));
        assert_eq!(run("wid", &["wi", "ne"]), None);
        assert_eq!(run("wid", &["wi"]), None);
        assert_eq!(run("é", &["è"]), None);
        assert_eq!(run("", &["a", "b"]).as_deref(), Some("ab"));
    }

    #[test]
    fn a_stop_is_found_across_pieces_and_what_is_none_comes_through() {
        let mut filter = Filter::new("", ["\n\n"].into_iter());
        assert_eq!(filter.push("a\n", -1.0), Passed::Text("a".into(), -1.0));
        assert_eq!(filter.push("b\n", -2.0), Passed::Text("\nb".into(), -2.0));
        assert_eq!(filter.push("\nc", -3.0), Passed::Stopped(String::new(), -3.0));
    }

    #[test]
    fn grammars_hold_any_text() {
        assert_eq!(grammar("a \"é"), "root ::= \"a \\U00000022\\U000000E9\" [\\u0000-\\U0010FFFF]*");
    }
}
