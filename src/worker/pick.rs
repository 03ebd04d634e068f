//! Choosing a token from one row of logits: greedy, under a mask, or the k-th best.
//!
//! ```text
//! best([0.1, 2.0, 1.0], 0..3)        -> token 1
//! best([0.1, 2.0, 1.0], [0, 2])      -> token 2 (1 is masked), its probability among 0 and 2
//! ```

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
    let logit = |token: u32| row.get(token as usize).copied().filter(|logit| !logit.is_nan());
    let mut scored: Vec<(u32, f32)> = candidates.into_iter().filter_map(|token| Some((token, logit(token)?))).collect();
    scored.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let &(token, logit) = scored.get(nth)?;
    let logprob = -spread(row, allowed, logit);
    Some(Choice { token, logprob })
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
}
