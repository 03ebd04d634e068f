//! The second half of a layer: a dense MLP, or a mixture of experts.
//!
//! ```text
//! softmax over 64 experts -> the best 6 -> Σ weight · expert(x), experts in ascending order -> + shared(x)
//! ```
//! Tokens are gathered per expert, so a prefill reads each expert once. A token's sum runs over its experts in
//! ascending order whatever else is in the batch.
use super::lanes::Level;
use super::linear::linear;
use super::math;
use super::scratch::{Mlps, fit};
use super::view::{Out, Rows};
use crate::model::config::Config;
use crate::model::weights::{Ffn, Mlp};

/// out = ffn(x), both `[n, hidden]`.
pub fn ffn(level: Level, c: &Config, ffn: &Ffn, x: &[f32], out: &mut [f32], scratch: &mut Mlps) {
    match ffn {
        Ffn::Dense(dense) => mlp(level, dense, x, out, scratch),
        Ffn::Mixture { router, experts, shared } => {
            match shared {
                Some(shared) => mlp(level, shared, x, out, scratch),
                None => out.fill(0.0),
            }
            let mut routes = std::mem::take(&mut scratch.routes);
            let mut scores = std::mem::take(&mut scratch.scores);
            let n = x.len() / c.hidden;
            let all = fit(&mut scores, n * c.experts);
            linear(level, router, Rows::all(x, c.hidden), Out::all(all, c.experts));
            routes.clear();
            all.chunks_exact_mut(c.experts).enumerate().for_each(|(token, row)| {
                math::softmax(level, row, 1.0);
                route(c, row, token, &mut routes);
            });
            routes.sort_unstable_by_key(|r| (r.expert, r.token));
            mixture(level, c, experts, &routes, x, out, scratch);
            (scratch.routes, scratch.scores) = (routes, scores);
        }
    }
}

/// One token sent to one expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    pub expert: usize,
    pub token: usize,
    pub weight: f32,
}

/// Chooses the experts of one token from their probabilities (which it overwrites).
fn route(c: &Config, scores: &mut [f32], token: usize, routes: &mut Vec<Route>) {
    if let Some((groups, used)) = c.groups {
        drop_groups(scores, groups, used);
    }
    let first = routes.len();
    for _ in 0..c.chosen {
        let expert = best(scores);
        routes.push(Route { expert, token, weight: scores[expert] });
        scores[expert] = f32::NEG_INFINITY;
    }
    let chosen = &mut routes[first..];
    let total: f32 = chosen.iter().map(|r| r.weight).sum();
    let factor = if c.normalise { c.scale / (total + 1e-20) } else { c.scale };
    chosen.iter_mut().for_each(|r| r.weight *= factor);
}

/// The index of the largest value, the first where there are several.
fn best(x: &[f32]) -> usize {
    (1..x.len()).fold(0, |b, i| if x[i] > x[b] { i } else { b })
}

/// Zeroes the experts outside the `used` best groups; a group is as good as its best expert.
fn drop_groups(scores: &mut [f32], groups: usize, used: usize) {
    let size = scores.len() / groups;
    let mut tops: Vec<f32> = scores.chunks_exact(size).map(|g| g[best(g)]).collect();
    let kept: Vec<usize> = (0..used)
        .map(|_| {
            let group = best(&tops);
            tops[group] = f32::NEG_INFINITY;
            group
        })
        .collect();
    for (group, scores) in scores.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&group) {
            scores.fill(0.0);
        }
    }
}

/// out[token] += weight · expert(x[token]) for all routes, which are sorted by expert.
fn mixture(level: Level, c: &Config, experts: &[Mlp], routes: &[Route], x: &[f32], out: &mut [f32], scratch: &mut Mlps) {
    let (mut gathered, mut results) = (std::mem::take(&mut scratch.gathered), std::mem::take(&mut scratch.results));
    for routes in routes.chunk_by(|a, b| a.expert == b.expert) {
        let inputs = fit(&mut gathered, routes.len() * c.hidden);
        for (input, route) in inputs.chunks_exact_mut(c.hidden).zip(routes) {
            input.copy_from_slice(&x[route.token * c.hidden..][..c.hidden]);
        }
        let results = fit(&mut results, routes.len() * c.hidden);
        mlp(level, &experts[routes[0].expert], inputs, results, scratch);
        for (result, route) in results.chunks_exact(c.hidden).zip(routes) {
            math::add(level, &mut out[route.token * c.hidden..][..c.hidden], result, route.weight);
        }
    }
    (scratch.gathered, scratch.results) = (gathered, results);
}

/// out = down(silu(gate x) · up x)
fn mlp(level: Level, mlp: &Mlp, x: &[f32], out: &mut [f32], scratch: &mut Mlps) {
    let (hidden, inner) = (mlp.gate.cols, mlp.gate.rows);
    let n = x.len() / hidden;
    let (gate, up) = (fit(&mut scratch.gate, n * inner), fit(&mut scratch.up, n * inner));
    let rows = Rows::all(x, hidden);
    linear(level, &mlp.gate, rows, Out::all(gate, inner));
    linear(level, &mlp.up, rows, Out::all(up, inner));
    math::silu(level, gate, up);
    linear(level, &mlp.down, Rows::all(gate, inner), Out::all(out, hidden));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(groups: Option<(usize, usize)>, normalise: bool) -> Config {
        let text = include_str!("../../../fixtures/reference/lite/config.json");
        let config = crate::model::config::from_json("config.json", text).unwrap();
        Config { experts: 6, chosen: 2, groups, normalise, scale: 2.0, ..config }
    }

    fn chosen(config: &Config) -> Vec<(usize, f32)> {
        let mut routes = Vec::new();
        route(config, &mut [0.1, 0.2, 0.05, 0.3, 0.25, 0.1], 0, &mut routes);
        routes.iter().map(|r| (r.expert, r.weight)).collect()
    }

    #[test]
    fn greedy_takes_the_best() {
        assert_eq!(chosen(&config(None, false)), [(3, 0.6), (4, 0.5)]);
    }

    #[test]
    fn a_group_is_as_good_as_its_best_expert() {
        // Groups (0.1, 0.2), (0.05, 0.3), (0.25, 0.1): by sums the last would tie with the second.
        assert_eq!(chosen(&config(Some((3, 1)), false)), [(3, 0.6), (2, 0.1)]);
        assert_eq!(chosen(&config(Some((3, 2)), false)), [(3, 0.6), (4, 0.5)]);
    }

    #[test]
    fn normalised_weights_add_up_to_the_scale() {
        let total: f32 = chosen(&config(None, true)).iter().map(|c| c.1).sum();
        assert!((total - 2.0).abs() < 1e-6);
    }
}
