//! From token bytes to events: whole characters, nothing beyond a stop string.
//!
//! ```text
//! stop ["\n\n"]   push "a\n" -> Text "a" (the newline may begin a stop)   push "\nb" -> stopped, nothing more
//! ```
use crate::tokens::decode::Utf8Stream;

/// Text on its way out, with the log probability of the tokens it came from.
#[derive(Debug)]
pub struct Stream<'a> {
    stop: Vec<&'a str>,
    characters: Utf8Stream,
    /// Whole characters that may still be the beginning of a stop, by token.
    waiting: Vec<(String, f32)>,
    /// Log probability of tokens that have not yet completed a character.
    pending: f32,
    stopped: bool,
}

impl<'a> Stream<'a> {
    pub fn new(stop: &'a [String]) -> Stream<'a> {
        let stop = stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
        Stream { stop, characters: Utf8Stream::default(), waiting: Vec::new(), pending: 0.0, stopped: false }
    }

    /// Adds a token's bytes; what can be sent now.
    pub fn push(&mut self, bytes: &[u8], logprob: f32) -> Vec<(String, f32)> {
        self.pending += logprob;
        let text = self.characters.push(bytes);
        if text.is_empty() {
            return Vec::new();
        }
        self.waiting.push((text, std::mem::take(&mut self.pending)));
        let all: String = self.waiting.iter().map(|(text, _)| text.as_str()).collect();
        // The one complete first, so that it does not matter where tokens begin.
        match self.stop.iter().filter_map(|stop| all.find(stop).map(|at| (at + stop.len(), at))).min() {
            Some((_, at)) => {
                self.stopped = true;
                self.take(at)
            }
            None => self.take(all.len() - self.held_back(&all)),
        }
    }

    /// Was a stop string found? Then nothing more may be pushed.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The end of the answer: what waited is no stop after all. Half a character is left out.
    pub fn finish(mut self) -> Vec<(String, f32)> {
        if self.stopped { Vec::new() } else { self.take(usize::MAX) }
    }

    /// Length of the longest end of `text` that begins a stop.
    fn held_back(&self, text: &str) -> usize {
        let longest = |stop: &&str| {
            let ends = stop.char_indices().map(|(at, _)| at).rev();
            ends.filter(|&at| at <= text.len()).find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
        };
        self.stop.iter().map(longest).max().unwrap_or(0)
    }

    /// Takes the first `length` bytes out of `waiting`; a piece that is cut leaves its rest behind, at no further cost.
    fn take(&mut self, mut length: usize) -> Vec<(String, f32)> {
        let mut out = Vec::new();
        while let Some((text, logprob)) = self.waiting.first_mut().filter(|_| length > 0) {
            if text.len() <= length {
                length -= text.len();
                out.push(self.waiting.remove(0));
                continue;
            }
            let rest = text.split_off(length);
            out.push((std::mem::replace(text, rest), std::mem::take(logprob)));
            length = 0;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stop: &[String], pieces: &[Vec<u8>]) -> (String, bool) {
        let mut stream = Stream::new(stop);
        let mut out = String::new();
        for piece in pieces {
            out.extend(stream.push(piece, -1.0).into_iter().map(|(text, _)| text));
            if stream.is_stopped() {
                return (out, true);
            }
        }
        out.extend(stream.finish().into_iter().map(|(text, _)| text));
        (out, false)
    }

    proptest! {
        #[test]
        fn a_stop_is_found_wherever_tokens_begin(
            text in "[abé]{0,12}",
            stop in prop::collection::vec("[abé]{0,3}", 0..3),
            sizes in prop::collection::vec(1..4usize, 40),
        ) {
            let mut bytes = text.as_bytes();
            let mut pieces = Vec::new();
            for size in sizes {
                let (head, rest) = bytes.split_at(size.min(bytes.len()));
                pieces.push(head.to_vec());
                bytes = rest;
            }
            let stops = stop.iter().filter(|stop| !stop.is_empty());
            let first = stops.filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at))).min().map(|(_, at)| at);
            prop_assert_eq!(run(&stop, &pieces), (text[..first.unwrap_or(text.len())].to_owned(), first.is_some()));
        }
    }

    #[test]
    fn only_what_may_be_a_stop_waits() {
        let stop = ["\n\n".to_owned()];
        let mut stream = Stream::new(&stop);
        assert_eq!(stream.push(b"a\n", -1.0), [("a".to_owned(), -1.0)]);
        assert_eq!(stream.push(b"b", -2.0), [("\n".to_owned(), 0.0), ("b".to_owned(), -2.0)]);
        // The two halves of é: one event, with the probability of both tokens.
        assert_eq!(stream.push(&[0xc3], -1.0), []);
        assert_eq!(stream.push(&[0xa9], -0.5), [("é".to_owned(), -1.5)]);
    }
}
