//! Copying from the text around the cursor: what followed the last time this text stood there, mixed with the model's distribution.
//!
//! ```text
//! above    … self.width = width⏎  self.height = height⏎ … other.height⏎
//! written  … other.he|          `.he` stood before `ight = …` and before `ight⏎`: token `ight` gets all of the copies' share
//! mixed    (1 − share) · model + share · copies       share: by how long the agreement is, and whether the copies agree
//! ```
//! A small model knows little and copies too rarely. Everything is found in the bytes of the request, so an answer does not depend on what was
//! cached or drafted, nor on where tokens begin. Where the copied text ends its line, the model decides how: by a line end, or by the end of
//! the middle. Only a model whose sidecar has a [`Copying`] is mixed.
use crate::engine::Request;
use crate::tokens::Tokens;
use crate::tokens::decode::whole_characters;
use serde::{Deserialize, Serialize};

/// Longest agreement that is looked at, in bytes.
const LONGEST: usize = 64;
/// So many of the best places are copied from.
const PLACES: usize = 8;
/// Bytes of a place that are turned into a token.
const AHEAD: usize = 24;
/// Most bytes that a sidecar may ask for, above and below.
const MOST_REACH: usize = 1 << 17;

/// What was learnt of copying for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copying {
    /// Bytes of the file that are looked through above the prefix, and below the suffix; as many of other files.
    pub reach: usize,
    /// A place that agrees in one more byte weighs exp(this) as much.
    pub sharpness: f32,
    /// The copies' share is 1 / (1 + exp(−x)), x being the sum of these, each times what [`Copies::features`] says.
    pub weights: [f32; FEATURES],
}

/// How many things the copies' share depends on.
pub const FEATURES: usize = 5;
/// Probabilities below this are as good as none; and the copies are never all.
const LITTLE: f64 = 1e-4;
const MOST: f64 = 0.995;

impl Copying {
    /// What is wrong with it, in words.
    pub fn fault(&self) -> Option<String> {
        if self.reach > MOST_REACH {
            return Some(format!("copying.reach {} is more than {MOST_REACH}", self.reach));
        }
        if !(0.0..=10.0).contains(&self.sharpness) {
            return Some(format!("copying.sharpness {} is not from 0 to 10", self.sharpness));
        }
        let odd = self.weights.iter().find(|weight| !(-100.0..=100.0).contains(*weight));
        odd.map(|weight| format!("{weight} in copying.weights is not from -100 to 100"))
    }

    fn share(&self, features: [f64; FEATURES]) -> f64 {
        let x: f64 = self.weights.iter().zip(features).map(|(weight, feature)| f64::from(*weight) * feature).sum();
        (1.0 / (1.0 + (-x).exp())).min(MOST)
    }

    /// `row` with the copies mixed in, as log probabilities among `allowed` up to a constant; `None` where there is nothing to mix.
    pub fn mix(&self, row: &[f32], allowed: &[u32], copies: &Copies, tokens: &Tokens) -> Option<Vec<f32>> {
        let model = Model::new(row, allowed)?;
        let share = self.share(copies.features(&model, tokens)?);
        let shift = (1.0 - share).ln() as f32 - model.reference;
        let mut mixed: Vec<f32> = row.iter().map(|logit| logit + shift).collect();
        for &(next, weight) in &copies.next {
            let own = model.of(next, tokens);
            for token in next.tokens(tokens).filter(|&token| model.logit(token).is_some()) {
                let (one, line) = (model.probability(token), matches!(next, Next::LineEnd));
                let part = if line { one / own.max(f64::MIN_POSITIVE) } else { 1.0 };
                mixed[token as usize] = ((1.0 - share) * one + share * f64::from(weight) * part).ln() as f32;
            }
        }
        Some(mixed)
    }
}

/// The model's own distribution.
pub struct Model<'a> {
    row: &'a [f32],
    /// ln Σ exp(logit) over the allowed tokens.
    reference: f32,
}

impl<'a> Model<'a> {
    /// `None` when it has no finite logits.
    pub fn new(row: &'a [f32], allowed: &[u32]) -> Option<Model<'a>> {
        let logits = || allowed.iter().filter_map(|&token| row.get(token as usize)).filter(|logit| !logit.is_nan());
        let most = logits().copied().fold(f32::NEG_INFINITY, f32::max);
        let whole: f64 = logits().map(|logit| f64::from(logit - most).exp()).sum();
        most.is_finite().then(|| Model { row, reference: most + whole.ln() as f32 })
    }

    fn logit(&self, token: u32) -> Option<f32> {
        self.row.get(token as usize).copied().filter(|logit| !logit.is_nan())
    }

    fn probability(&self, token: u32) -> f64 {
        self.logit(token).map_or(0.0, |logit| f64::from(logit - self.reference).exp())
    }

    /// Of what a place goes on with.
    pub fn of(&self, next: Next, tokens: &Tokens) -> f64 {
        next.tokens(tokens).map(|token| self.probability(token)).sum()
    }
}

/// What a place goes on with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    Token(u32),
    /// A line end, or the end: which, and in which token, the model decides.
    LineEnd,
}

impl Next {
    fn tokens(self, tokens: &Tokens) -> impl Iterator<Item = u32> {
        let (one, lines): (u32, &[u32]) = match self {
            Next::Token(token) => (token, &[]),
            Next::LineEnd => (tokens.special().eos, tokens.beginning_with(b"\n")),
        };
        std::iter::once(one).chain(lines.iter().copied())
    }
}

/// What the text around says comes next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies {
    /// With their parts of the whole.
    pub next: Vec<(Next, f32)>,
    /// The longest agreement, a run of blanks counted as one.
    pub longest: usize,
    /// The next token has typed bytes to spell.
    pub healing: bool,
}

impl Copies {
    /// What the copies' share depends on: 1; ln of the agreement's length; the part of the copies that says the same; whether typed bytes are
    /// still to be spelled; ln of what the model gives to what most copies say. `None` without copies.
    pub fn features(&self, model: &Model<'_>, tokens: &Tokens) -> Option<[f64; FEATURES]> {
        let most = self.next.iter().map(|(_, weight)| *weight).fold(0.0, f32::max);
        let &(favourite, _) = self.next.iter().find(|(_, weight)| *weight == most)?;
        let own = model.of(favourite, tokens).max(LITTLE).ln();
        Some([1.0, (self.longest as f64).ln(), f64::from(most), f64::from(u8::from(self.healing)), own])
    }
}

/// The text of a request, and what was written since.
#[derive(Debug)]
pub struct Copier {
    /// From above the prefix to the last byte that is known: typed, held, or generated.
    written: Vec<u8>,
    /// The suffix, and what follows it.
    after: Vec<u8>,
}

/// Where the text before agrees with what was written last.
struct Place<'a> {
    length: usize,
    far: usize,
    rest: &'a [u8],
}

impl Copier {
    pub fn new(request: &Request) -> Copier {
        let join = |parts: &[&String]| parts.iter().flat_map(|part| part.as_bytes()).copied().collect();
        Copier { written: join(&[&request.above, &request.prefix, &request.tail]), after: join(&[&request.suffix, &request.below]) }
    }

    /// New text.
    pub fn write(&mut self, new: &[u8]) {
        self.written.extend_from_slice(new);
    }

    /// What comes next where the text before is the same; `held`: known bytes that the next token must spell first.
    pub fn copies(&self, held: &[u8], sharpness: f32, tokens: &Tokens) -> Copies {
        let places = self.places();
        let longest = places.first().map_or(0, |place| place.length);
        let mut next: Vec<(Next, f32)> = Vec::new();
        for place in &places {
            let Some(what) = continuation(held, place.rest, tokens) else { continue };
            let weight = (sharpness * (place.length as f32 - longest as f32)).exp();
            match next.iter_mut().find(|(known, _)| *known == what) {
                Some((_, sum)) => *sum += weight,
                None => next.push((what, weight)),
            }
        }
        let whole: f32 = next.iter().map(|(_, weight)| weight).sum();
        next.iter_mut().for_each(|(_, weight)| *weight /= whole);
        Copies { next, longest, healing: !held.is_empty() }
    }

    /// The best places, the longest agreement first, then the nearest.
    fn places(&self) -> Vec<Place<'_>> {
        let lengths = lengths(&self.written);
        let Some(&last) = self.written.last() else { return Vec::new() };
        let mut places = Vec::new();
        for (text, own) in [(&self.written, true), (&self.after, false)] {
            for (at, _) in text[..text.len().saturating_sub(1)].iter().enumerate().filter(|(_, byte)| **byte == last) {
                let far = if own { text.len() - at } else { at };
                places.push(Place { length: lengths[agreement(&text[..=at], &self.written)], far, rest: &text[at + 1..] });
            }
        }
        let better = |a: &Place<'_>, b: &Place<'_>| (b.length, a.far).cmp(&(a.length, b.far));
        if places.len() > PLACES {
            places.select_nth_unstable_by(PLACES, better);
            places.truncate(PLACES);
        }
        places.sort_by(better);
        places
    }
}

/// How many bytes the ends of two texts have in common.
fn agreement(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take(LONGEST).take_while(|(a, b)| a == b).count()
}

/// By bytes from the end of `text`: as many as they count, a run of blanks being one.
fn lengths(text: &[u8]) -> Vec<usize> {
    let (mut lengths, mut blank) = (vec![0], false);
    for byte in text.iter().rev().take(LONGEST) {
        let again = byte.is_ascii_whitespace();
        lengths.push(lengths[lengths.len() - 1] + usize::from(!(again && blank)));
        blank = again;
    }
    lengths
}

/// The token that the tokenizer would begin `held` and `rest` with.
fn continuation(held: &[u8], rest: &[u8], tokens: &Tokens) -> Option<Next> {
    if held.is_empty() && matches!(rest.first(), Some(b'\n' | b'\r')) {
        return Some(Next::LineEnd);
    }
    let bytes: Vec<u8> = held.iter().chain(&rest[..rest.len().min(AHEAD)]).copied().collect();
    let text = std::str::from_utf8(&bytes[..whole_characters(&bytes)]).ok()?;
    tokens.first(text).map(Next::Token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::testing::tiny_tokens;

    fn copier(above: &str, tail: &str, below: &str) -> Copier {
        Copier::new(&Request { above: above.into(), tail: tail.into(), below: below.into(), ..Request::default() })
    }

    /// What comes next, by text, and the length of the agreement.
    fn next(copier: &Copier, held: &str, sharpness: f32) -> (Vec<(String, f32)>, usize) {
        let tokens = tiny_tokens();
        let copies = copier.copies(held.as_bytes(), sharpness, &tokens);
        let text = |next: Next| match next {
            Next::Token(token) => String::from_utf8_lossy(tokens.bytes(token)).into_owned(),
            Next::LineEnd => "end".to_owned(),
        };
        (copies.next.iter().map(|&(next, weight)| (text(next), weight)).collect(), copies.longest)
    }

    #[test]
    fn the_longest_agreement_wins() {
        let around = copier("x = let1\ny = ab2\n", "x = ", "z = c\n");
        let (found, longest) = next(&around, "", 9.0);
        assert_eq!((found[0].0.as_str(), longest), ("let", 4));
        assert!(found[0].1 > 0.99, "{found:?}");
        let (flat, _) = next(&around, "", 0.0);
        assert!(flat.iter().any(|(text, weight)| text == "let" && *weight < 0.2), "{flat:?}");
        assert!((flat.iter().map(|(_, weight)| weight).sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn what_most_copies_say_weighs_most() {
        let (mut found, _) = next(&copier("(ab)(let)(ab)", "(", ""), "", 0.0);
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(found.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["ab", "let"]);
        assert!((found[0].1 - 2.0 / 3.0).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn a_place_may_lie_inside_a_token() {
        // Typed `le`: `let` is one token, and what is left of it is another.
        assert_eq!(next(&copier("(let)", "(le", ""), "le", 9.0).0, [("let".to_owned(), 1.0)]);
        assert_eq!(next(&copier("(let)", "(l", ""), "", 9.0).0, [("et".to_owned(), 1.0)]);
        // Half a character is no token.
        let mut half = copier("é)", "", "");
        half.write(&[0xc3]);
        assert_eq!(next(&half, "", 9.0).0, []);
    }

    #[test]
    fn blanks_count_once_and_lines_end() {
        assert_eq!(next(&copier("a;\n        b;\n", "a;\n        ", ""), "", 9.0).1, 3);
        assert_eq!(next(&copier("f(x);\n", "f(x);", ""), "", 9.0).0, [("end".to_owned(), 1.0)]);
        assert_eq!(next(&copier("", "x", "yx!"), "", 9.0).0, [("!".to_owned(), 1.0)], "from below too");
    }

    fn copying(constant: f32) -> Copying {
        Copying { reach: 100, sharpness: 1.0, weights: [constant, 0.0, 0.0, 0.0, 0.0] }
    }

    #[test]
    fn copies_are_mixed_in_by_their_share() {
        let tokens = tiny_tokens();
        let (row, allowed) = (vec![0.0; tokens.len()], (0..tokens.len() as u32).collect::<Vec<_>>());
        let probability = |around: &Copier, text: &str| {
            let mixed = copying(0.0).mix(&row, &allowed, &around.copies(b"", 1.0, &tokens), &tokens)?;
            assert!((mixed.iter().map(|logit| logit.exp()).sum::<f32>() - 1.0).abs() < 1e-4);
            Some(mixed[tokens.first(text)? as usize].exp())
        };
        let uniform = 1.0 / tokens.len() as f32;
        let around = copier("(ab)", "(", "");
        assert!((probability(&around, "ab").unwrap() - (0.5 + 0.5 * uniform)).abs() < 1e-4);
        assert!((probability(&around, "x").unwrap() - 0.5 * uniform).abs() < 1e-5);
        // The model cannot tell a line end from the end of the middle: they share alike.
        let ended = probability(&copier("(;\n", "(;", ""), "\n").unwrap();
        assert!((ended - (0.25 + 0.5 * uniform)).abs() < 1e-4, "{ended}");
        assert_eq!(probability(&copier("abc", "x", "yz"), "x"), None, "nothing agrees: the model's own");
        let broken = vec![f32::NAN; tokens.len()];
        assert_eq!(copying(0.0).mix(&broken, &allowed, &around.copies(b"", 1.0, &tokens), &tokens), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(copying(-3.0).fault(), None);
        for (odd, word) in [
            (Copying { reach: 1 << 20, ..copying(0.0) }, "reach"),
            (Copying { sharpness: -1.0, ..copying(0.0) }, "sharpness"),
            (copying(f32::NAN), "weights"),
        ] {
            assert!(odd.fault().is_some_and(|fault| fault.contains(word)), "{odd:?}");
        }
    }
}
