//! From token bytes to events: whole characters, nothing beyond a stop string.
//!
//! ```text
//! stop ["\n\n"]   push "a\n" -> Text "a" (the newline may begin a stop)   push "\nb" -> stopped, nothing more
//! ```
use crate::tokens::decode::Utf8Stream;

/// Text of one token, or a part of it, or of a few that make one character.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    pub logprob: f32,
    /// What else was probable there.
    pub top: Vec<(String, f32)>,
}

/// Text on its way out, with the log probability of the tokens it came from.
#[derive(Debug, Default)]
pub struct Stream {
    stop: Vec<String>,
    characters: Utf8Stream,
    /// Whole characters that may still be the beginning of a stop, by token.
    waiting: Vec<Piece>,
    /// Of tokens that have not yet completed a character: their log probability, and what else was probable.
    pending: Piece,
    stopped: bool,
}

impl Stream {
    pub fn new(stop: &[String]) -> Stream {
        Stream { stop: stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(), ..Stream::default() }
    }

    /// Adds a token's bytes; what can be sent now.
    pub fn push(&mut self, bytes: &[u8], logprob: f32, top: Vec<(String, f32)>) -> Vec<Piece> {
        self.pending.logprob += logprob;
        if self.pending.top.is_empty() {
            self.pending.top = top;
        }
        let text = self.characters.push(bytes);
        if text.is_empty() {
            return Vec::new();
        }
        self.waiting.push(Piece { text, ..std::mem::take(&mut self.pending) });
        let all: String = self.waiting.iter().map(|piece| piece.text.as_str()).collect();
        // The one complete first, so that it does not matter where tokens begin.
        match self.stop.iter().filter_map(|stop| all.find(stop.as_str()).map(|at| (at + stop.len(), at))).min() {
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
    pub fn finish(mut self) -> Vec<Piece> {
        if self.stopped { Vec::new() } else { self.take(usize::MAX) }
    }

    /// Length of the longest end of `text` that begins a stop.
    fn held_back(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let ends = stop.char_indices().map(|(at, _)| at).rev();
            ends.filter(|&at| at <= text.len()).find(|&at| text.ends_with(&stop[..at])).unwrap_or(0)
        };
        self.stop.iter().map(longest).max().unwrap_or(0)
    }

    /// Takes the first `length` bytes out of `waiting`; a piece that is cut leaves its rest behind, at no further cost.
    fn take(&mut self, mut length: usize) -> Vec<Piece> {
        let mut out = Vec::new();
        while let Some(piece) = self.waiting.first_mut().filter(|_| length > 0) {
            if piece.text.len() <= length {
                length -= piece.text.len();
                out.push(self.waiting.remove(0));
                continue;
            }
            let rest = piece.text.split_off(length);
            out.push(std::mem::replace(piece, Piece { text: rest, ..Piece::default() }));
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
            out.extend(stream.push(piece, -1.0, Vec::new()).into_iter().map(|piece| piece.text));
            if stream.is_stopped() {
                return (out, true);
            }
        }
        out.extend(stream.finish().into_iter().map(|piece| piece.text));
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

    fn piece(text: &str, logprob: f32) -> Piece {
        Piece { text: text.to_owned(), logprob, top: Vec::new() }
    }

    #[test]
    fn only_what_may_be_a_stop_waits() {
        let stop = ["\n\n".to_owned()];
        let mut stream = Stream::new(&stop);
        assert_eq!(stream.push(b"a\n", -1.0, vec![]), [piece("a", -1.0)]);
        assert_eq!(stream.push(b"b", -2.0, vec![]), [piece("\n", 0.0), piece("b", -2.0)]);
        // The two halves of é: one event, with the probability of both tokens.
        assert_eq!(stream.push(&[0xc3], -1.0, vec![]), []);
        assert_eq!(stream.push(&[0xa9], -0.5, vec![]), [piece("é", -1.5)]);
    }
}
