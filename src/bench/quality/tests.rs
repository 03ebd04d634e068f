//! How holes are made from cuts, and the figures.
use super::*;

const FILE: &str = "import os\n\ndef first(items):\n    return items[0]\n\ndef größe(items):\n    total = len(items)\n    return total\n";
const BUDGET: Budget = Budget { prefix: 400, suffix: 100, short: 12, tail: 100 };

fn cut(before: &str) -> Cut {
    let at = FILE.find(before).unwrap() + before.len();
    Cut { file: 0, at, end: at + FILE[at..].find('\n').unwrap() }
}

#[test]
fn the_document_has_neither_the_typed_text_nor_the_continuation_when_it_is_frozen() {
    let cut = cut("total = len(i");
    assert_eq!(&FILE[cut.at..cut.end], "tems)");
    for typed in [0, 5, 17, 18, 20, 39, 80, 500] {
        let [long, short] = frozen_texts(FILE, cut, typed, &BUDGET);
        assert_eq!(long.suffix, "\n    return total\n", "after {typed}");
        assert_eq!(short.suffix, "\n", "the short one ends with a line");
        assert_eq!((&long.prefix, &long.tail), (&short.prefix, &short.tail));
        // What is frozen ends at the start of the line in which the cursor stood.
        let at = FILE[..cut.at].char_indices().rev().take(typed).last().map_or(cut.at, |(at, _)| at);
        let anchor = FILE[..at].rfind('\n').map_or(0, |n| n + 1);
        let expected = if cut.at - anchor > BUDGET.tail { "    total = len(i" } else { &FILE[anchor..cut.at] };
        assert_eq!(long.tail, expected, "after {typed}");
        assert_eq!(long.prefix + &long.tail, FILE[..cut.at]);
    }
}

#[test]
fn a_fresh_split_is_at_the_cut() {
    let cut = cut("def grö");
    let text = fresh(FILE, cut, &BUDGET);
    assert_eq!((text.prefix.as_str(), text.tail.as_str()), (&FILE[..cut.at], ""));
    assert_eq!(text.suffix, "\n    total = len(items)\n    return total\n");
    let tails = TAILS.map(|typed| frozen_texts(FILE, cut, typed, &BUDGET)[0].tail.clone());
    assert_eq!(tails[..2], ["def grö", "def grö"]);
    assert!(tails[2].starts_with("    return items[0]\n"), "{tails:?}");
}

#[test]
fn the_interval_holds_the_ratio_and_narrows_with_equal_pairs() {
    let pairs: Vec<(f64, f64)> = (1..200).map(|n| (f64::from(n % 7) + 1.0, f64::from(n % 5) + 1.0)).collect();
    let (low, high) = interval(&pairs, 1);
    let middle = ratio(pairs.iter().copied());
    assert!(low < middle && middle < high && high - low < 0.5, "{low} {middle} {high}");
    let same: Vec<(f64, f64)> = pairs.iter().map(|(a, _)| (*a * 1.5, *a)).collect();
    let (low, high) = interval(&same, 1);
    assert!((low - 1.5).abs() < 1e-9 && (high - 1.5).abs() < 1e-9);
}
