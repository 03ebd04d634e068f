//! From what probability on a model's suggestions are worth showing.
//!
//! ```text
//! infill eval holes DIR --holes 2000 --learn nano.json     writes the file that lies beside the weights
//! ```
//! The least threshold (in hundredths) from which on at least 35 % of what is shown is right as far as it goes, and at
//! least 10 % of the holes get something. Where there is none, the one with the best F0.5: of precision, which counts
//! twice, and of the share of right suggestions that are shown. A wrong suggestion costs a reader more than a missing one.
use super::Record;
use crate::engine::local::sidecar::Sidecar;
use crate::eval::resume::Settings;
use crate::eval::score::percent;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::Path;

/// Of what is shown, so much is to be right.
const PRECISION: f64 = 0.35;
/// Of all holes, so many are to get something.
const SHARE: f64 = 0.10;

/// A threshold, and what it gives on what it was learnt on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    threshold: f32,
    shown: usize,
    right: usize,
}

impl Choice {
    fn precision(&self) -> f64 {
        self.right as f64 / self.shown.max(1) as f64
    }

    /// F0.5, `all` right suggestions there being.
    fn f(&self, all: usize) -> f64 {
        let (precision, recall) = (self.precision(), self.right as f64 / all.max(1) as f64);
        1.25 * precision * recall / (0.25 * precision + recall).max(f64::MIN_POSITIVE)
    }
}

/// `found`: the probability of each suggestion that is not empty, and whether it is right as far as it goes.
fn choose(found: &[(f32, bool)], holes: usize) -> Option<Choice> {
    let choices: Vec<Choice> = (0..100u8)
        .map(|hundredths| {
            let threshold = f32::from(hundredths) / 100.0;
            let shown = found.iter().filter(|(p, _)| *p >= threshold);
            Choice { threshold, shown: shown.clone().count(), right: shown.filter(|(_, right)| *right).count() }
        })
        .collect();
    let all = choices.first()?.right;
    let good = |c: &&Choice| c.precision() >= PRECISION && c.shown as f64 >= SHARE * holes as f64;
    let best = || choices.iter().max_by(|a, b| a.f(all).total_cmp(&b.f(all)));
    choices.iter().find(good).or_else(best).filter(|_| all > 0).copied()
}

/// Learns from what a run has found, and writes it; a sentence for the table.
///
/// # Errors
/// Nothing right to learn from; a file that cannot be written.
pub fn write(path: &Path, records: &[Record], settings: &Settings) -> Result<String> {
    let offered = records.iter().filter(|r| !r.suggested.text.is_empty());
    let found: Vec<(f32, bool)> = offered.map(|r| (r.suggested.probability, r.marks.prefix)).collect();
    let Some(choice) = choose(&found, records.len()) else {
        bail!("--learn: no suggestion was right in {} holes: take more --holes, or another folder", records.len());
    };
    let (right, shown) = (percent(choice.right, choice.shown), percent(choice.shown, records.len()));
    let learnt = json!({ "settings": settings.json(), "shown %": shown, "right of shown %": right, "right of all suggestions %": percent(found.iter().filter(|f| f.1).count(), found.len()) });
    // What else was learnt for the model stays.
    let old = std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Sidecar>(&text).ok());
    let sidecar = Sidecar { show_threshold: Some(choice.threshold), learnt, ..old.unwrap_or_default() };
    let text = serde_json::to_string_pretty(&sidecar)? + "\n";
    std::fs::write(path, text).with_context(|| format!("--learn {} cannot be written", path.display()))?;
    Ok(format!(
        "learnt: show_threshold {:.2} (shows {shown} % of these holes, {right} % of that right), written to {}",
        choice.threshold,
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(found: &[(f32, bool)], holes: usize) -> Option<f32> {
        choose(found, holes).map(|c| c.threshold)
    }

    #[test]
    fn the_least_threshold_that_is_right_often_enough() {
        // From 0.31 on 4 of 8 are right; from 0.21 on, 4 of 14.
        let found: Vec<(f32, bool)> = (0..20).map(|n| (if n < 8 { 0.9 } else { 0.3 - n as f32 / 200.0 }, n < 4)).collect();
        assert_eq!(threshold(&found, 40), Some(0.25));
        let wrong_first: Vec<(f32, bool)> = (0..10).map(|n| (n as f32 / 10.0 + 0.05, n >= 5)).collect();
        assert_eq!(threshold(&wrong_first, 20), Some(0.0), "half of all is right");
    }

    #[test]
    fn where_that_shows_too_little_the_best_compromise() {
        // All that is above 0.8 is right, but it is 2 of 100 holes.
        let found: Vec<(f32, bool)> = (0..50).map(|n| (if n < 2 { 0.9 } else { 0.5 }, n < 2 || n == 9)).collect();
        assert_eq!(threshold(&found, 100), Some(0.9));
        let flat: Vec<(f32, bool)> = (0..50).map(|n| (0.5, n % 5 == 0)).collect();
        assert_eq!(threshold(&flat, 100), Some(0.5), "the highest of those that are equally good");
        assert_eq!((threshold(&[(0.9, false)], 1), threshold(&[], 0)), (None, None));
    }
}
