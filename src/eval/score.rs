//! How near a suggestion comes to what stood in the gap.
//!
//! ```
//! use infill::eval::score::similarity;
//! assert_eq!(similarity("ABCD", "ABCDE"), 89.0); // 2 * 4 common characters of 4 + 5, in percent
//! ```
use super::{Gap, Suggested};
use serde::{Deserialize, Serialize};

/// What a suggestion in a gap is worth. Blanks at the end of either do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    /// It is what stood there.
    pub exact: bool,
    /// It is right as far as it goes: what stood there begins with it.
    pub prefix: bool,
    /// It begins with the word, or the sign, that what stood there begins with.
    #[serde(default)]
    pub first: bool,
    /// As [`similarity`] says.
    pub similarity: f64,
    /// Characters that accepting it puts in their place for good; 0 when something of it must be taken back.
    pub saved: usize,
    /// Characters that stood there.
    pub chars: usize,
}

impl Marks {
    pub fn new(gap: &Gap, suggested: &Suggested) -> Marks {
        let wanted = wanted(gap, suggested);
        let (wanted, text) = (wanted.trim_end(), suggested.text.trim_end());
        let prefix = !text.is_empty() && wanted.starts_with(text);
        // What it replaces stood there before: writing it again saves nothing.
        let replaced = gap.after.get(..suggested.replaces).unwrap_or_default().chars().count();
        let saved = if prefix { text.chars().count().saturating_sub(replaced) } else { 0 };
        let chars = gap.truth.trim_end().chars().count();
        let first = !text.is_empty() && first_word(text) == first_word(wanted);
        Marks { exact: text == wanted, prefix, first, similarity: similarity(text, wanted), saved, chars }
    }
}

/// Its first word, or the sign that it begins with; blanks before it do not count.
fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    let sign = text.chars().next().map_or(0, char::len_utf8);
    &text[..end.max(sign)]
}

/// What stood where the suggestion would stand: the gap's text, and what the suggestion replaces after it.
fn wanted(gap: &Gap, suggested: &Suggested) -> String {
    gap.truth.clone() + gap.after.get(..suggested.replaces).unwrap_or_default()
}

/// What `fuzz.ratio` of fuzzywuzzy says, from 0 to 100: `round(100 * 2 * L / (a + b))`, where `a` and `b` are the texts'
/// lengths in characters and `L` is that of their longest common subsequence (so a replaced character costs two edits);
/// halves go to the even number; two empty texts are the same.
pub fn similarity(one: &str, other: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    match a.len() + b.len() {
        0 => 100.0,
        total => (200.0 * common(&a, &b) as f64 / total as f64).round_ties_even(),
    }
}

/// Length of the longest common subsequence.
fn common(a: &[char], b: &[char]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// `part` of `whole` in percent, to a tenth.
pub fn percent(part: usize, whole: usize) -> f64 {
    tenth(part as f64 * 100.0 / whole.max(1) as f64)
}

/// The mean, to a tenth.
pub fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    tenth(values.sum::<f64>() / count)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(truth: &str, after: &str, text: &str, replaces: usize) -> Marks {
        let gap = Gap { truth: truth.into(), after: after.into(), ..Gap::default() };
        Marks::new(&gap, &Suggested { text: text.into(), replaces, probability: 1.0, ..Suggested::default() })
    }

    #[test]
    fn similarity_is_that_of_fuzzywuzzy() {
        // Published results of fuzz.ratio, and 50 % of an odd hundredth: 12.5 goes to 12.
        for (a, b, ratio) in [
            ("66155347", "12026599", 25.0),
            ("this is a test", "this is a test!", 97.0),
            ("fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear", 91.0),
            ("abcd", "bcde", 75.0),
            ("abcdefgh", "hijklmno", 12.0),
            ("größe", "größe", 100.0),
            ("", "", 100.0),
            ("", "a", 0.0),
        ] {
            assert_eq!((similarity(a, b), similarity(b, a)), (ratio, ratio), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_suggestion_is_marked_against_what_stood_there() {
        let exact = Marks { exact: true, prefix: true, first: true, similarity: 100.0, saved: 5, chars: 5 };
        assert_eq!(marks("a + b", "\n", "a + b", 0), exact);
        assert_eq!(marks("a + b  ", "\n", "a + b\n", 0), exact, "blanks at the end");
        assert_eq!(marks("a, b", ")\n", "a, b)", 1), Marks { saved: 4, chars: 4, ..exact }, "over the editor's bracket");
        let part = marks("a + b", "", "a +", 0);
        assert_eq!((part.exact, part.prefix, part.saved), (false, true, 3));
        let wrong = marks("a + b", "", "a + c", 0);
        assert_eq!((wrong.exact, wrong.prefix, wrong.saved, wrong.similarity), (false, false, 0, 80.0));
        assert!(wrong.first && !marks("ab + c", "", "a + c", 0).first && !marks("(a)", "", "[a]", 0).first);
        let none = marks("a + b", "", "", 0);
        assert!(!none.first);
        assert_eq!((none.exact, none.prefix, none.saved, none.chars), (false, false, 0, 5));
        assert!(!marks("a + b", "", "a + b + c", 0).prefix, "too much is not right as far as it goes");
    }

    #[test]
    fn shares_and_means_have_a_tenth() {
        assert_eq!((percent(1, 3), percent(0, 0), mean([1.0, 2.25].into_iter())), (33.3, 0.0, 1.6));
    }
}
