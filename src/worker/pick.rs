//! Choosing a token from one row of logits: greedy, under a mask, or the k-th best.
//!
//! ```text
//! best([0.1, 2.0, 1.0], 0..3)        -> token 1
//! best([0.1, 2.0, 1.0], [0, 2])      -> token 2 (1 is masked), its probability among 0 and 2
//! ```

use crate::engine::Sampling;

/// A chosen token and the natural log of its probability among those that were allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub token: u32,
    pub logprob: f32,
}

/// The most probable of `allowed`; the lowest number among equals. `None` when no logit is a number.
pub fn best(row: &[f32], allowed: impl Iterator<Item = u32> + Clone) -> Option<Choice> {
    let mut top: Option<(u32, f32)> = None;
    for token in allowed.clone() {
        let logit = row.get(token as usize).copied().unwrap_or(f32::NAN);
        let better = top.is_none_or(|(id, most)| logit > most || (logit == most && token < id));
        if better && !logit.is_nan() {
            top = Some((token, logit));
        }
    }
    let (token, most) = top?;
    Some(Choice { token, logprob: -spread(row, allowed, most) })
}

/// The natural log of the probability of `token` among `allowed`. `None` when it is not a number.
pub fn logprob(row: &[f32], token: u32, allowed: impl Iterator<Item = u32> + Clone) -> Option<f32> {
    let top = best(row, allowed)?;
    let logit = |token: u32| row.get(token as usize).copied();
    let logprob = top.logprob + logit(token)? - logit(top.token)?;
    (!logprob.is_nan()).then_some(logprob)
}

/// The `nth` (from 0) most probable of `candidates`, its probability among `allowed`.
pub fn nth(row: &[f32], candidates: Vec<u32>, nth: usize, allowed: impl Iterator<Item = u32> + Clone) -> Option<Choice> {
    let &(token, logit) = ranked(row, candidates.into_iter()).get(nth)?;
    let logprob = -spread(row, allowed, logit);
    Some(Choice { token, logprob })
}

/// The `count` most probable of `allowed` with their log probabilities, the best first.
pub fn top(row: &[f32], count: usize, allowed: impl Iterator<Item = u32> + Clone) -> Vec<Choice> {
    let candidates = ranked(row, allowed.clone());
    let Some(&(_, most)) = candidates.first() else { return Vec::new() };
    let whole = spread(row, allowed, most);
    candidates.into_iter().take(count).map(|(token, logit)| Choice { token, logprob: logit - most - whole }).collect()
}

/// Draws one of `candidates` at a temperature, from the most probable that make up `top_p`; `uniform` in 0..1 decides. Its
/// log probability is the model's own, among `allowed`.
pub fn draw(
    row: &[f32],
    candidates: impl Iterator<Item = u32>,
    sampling: &Sampling,
    uniform: f64,
    allowed: impl Iterator<Item = u32> + Clone,
) -> Option<Choice> {
    let ranked = ranked(row, candidates);
    let &(_, most) = ranked.first()?;
    let weight = |logit: f32| f64::from((logit - most) / sampling.temperature.max(1e-4)).exp();
    let whole: f64 = ranked.iter().map(|&(_, logit)| weight(logit)).sum();
    // The nucleus: at least one token, and the one that crosses the line.
    let (mut count, mut mass) = (0, 0.0);
    while count < ranked.len() && (count == 0 || mass < f64::from(sampling.top_p) * whole) {
        mass += weight(ranked[count].1);
        count += 1;
    }
    let mut left = uniform * mass;
    let chosen = ranked[..count].iter().find(|&&(_, logit)| {
        left -= weight(logit);
        left < 0.0
    });
    let &(token, logit) = chosen.unwrap_or(&ranked[count - 1]);
    Some(Choice { token, logprob: logit - most - spread(row, allowed, most) })
}

/// Candidates whose logit is a number, the most probable first; the lowest number first among equals.
fn ranked(row: &[f32], candidates: impl Iterator<Item = u32>) -> Vec<(u32, f32)> {
    let logit = |token: u32| row.get(token as usize).copied().filter(|logit| !logit.is_nan());
    let mut scored: Vec<(u32, f32)> = candidates.filter_map(|token| Some((token, logit(token)?))).collect();
    scored.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scored
}

/// Numbers in 0..1, one after the other, the same for the same seed (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// ln Σ exp(logit − reference)
fn spread(row: &[f32], allowed: impl Iterator<Item = u32>, reference: f32) -> f32 {
    let logits = allowed.filter_map(|token| row.get(token as usize)).filter(|logit| !logit.is_nan());
    logits.map(|logit| f64::from((logit - reference).exp())).sum::<f64>().ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_allowed_token_and_its_probability() {
        let row = [0.0, 2.0, 1.0, f32::NAN, 2.0];
        let choice = best(&row, 0..5).unwrap();
        let whole = 1.0 + 2.0 * 2f32.exp() + 1f32.exp();
        assert_eq!(choice.token, 1);
        assert!((choice.logprob - (2f32.exp() / whole).ln()).abs() < 1e-6);
        let masked = best(&row, [2, 0].into_iter()).unwrap();
        assert_eq!(masked.token, 2);
        assert!((masked.logprob - (1f32.exp() / (1.0 + 1f32.exp())).ln()).abs() < 1e-6);
        assert!((logprob(&row, 0, [2, 0].into_iter()).unwrap() - (1.0 / (1.0 + 1f32.exp())).ln()).abs() < 1e-6);
        assert_eq!(logprob(&row, 3, 0..5), None);
        assert_eq!(best(&[f32::NAN; 4], 0..4), None);
        assert_eq!(best(&row, std::iter::empty()), None);
    }

    #[test]
    fn ranks_follow_the_logits() {
        let row = [0.0, 2.0, 1.0, f32::NAN, 2.0];
        let ranked: Vec<_> = (0..5).map(|n| nth(&row, (0..5).collect(), n, 0..5).map(|choice| choice.token)).collect();
        assert_eq!(ranked, [Some(1), Some(4), Some(2), Some(0), None]);
    }
    #[test]
    fn draws_follow_the_probabilities() {
        let row = [0.0, 2.0, 1.0, f32::NAN, 2.0];
        let mut dice = Dice::new(7);
        let mut count = |temperature: f32, top_p: f32| {
            let mut counts = [0usize; 5];
            for _ in 0..4000 {
                let sampling = Sampling { temperature, top_p, seed: 0 };
                counts[draw(&row, 0..5, &sampling, dice.roll(), 0..5).unwrap().token as usize] += 1;
            }
            counts
        };
        let whole: f32 = [0.0f32, 2.0, 1.0, 2.0].iter().map(|logit| logit.exp()).sum();
        for (token, seen) in count(1.0, 1.0).into_iter().enumerate() {
            let expected = if token == 3 { 0.0 } else { row[token].exp() / whole };
            assert!((seen as f32 / 4000.0 - expected).abs() < 0.03, "token {token}: {seen} of 4000, expected {expected}");
        }
        // Nearly cold: only the two best; half of the mass: the best alone (the lower number of two equals).
        let cold = count(0.05, 1.0);
        assert!(cold[0] + cold[2] == 0 && cold[1] > 1500 && cold[4] > 1500, "{cold:?}");
        assert_eq!(count(1.0, 0.3), [0, 4000, 0, 0, 0]);
        assert_eq!(count(1.0, 0.0), [0, 4000, 0, 0, 0]);
        let drawn = draw(&row, [0].into_iter(), &Sampling { temperature: 2.0, top_p: 1.0, seed: 0 }, 0.999, 0..5).unwrap();
        assert!((drawn.logprob - (1.0 / whole).ln()).abs() < 1e-6, "the model's own probability, whatever the temperature");
    }

    #[test]
    fn the_top_is_ranked_with_its_probabilities() {
        let row = [0.0, 2.0, 1.0, f32::NAN, 2.0];
        let best = top(&row, 3, 0..5);
        assert_eq!(best.iter().map(|choice| choice.token).collect::<Vec<_>>(), [1, 4, 2]);
        assert_eq!(best[0].logprob, super::best(&row, 0..5).unwrap().logprob);
        assert_eq!(top(&[f32::NAN; 3], 2, 0..3), []);
    }
}
