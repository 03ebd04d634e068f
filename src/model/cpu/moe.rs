//! The second half of a layer: a dense MLP, or a mixture of experts.
//!
//! ```text
//! softmax over 64 experts -> the best 6 -> Σ weight · expert(x), experts in ascending order -> + shared(x)
//! ```
//! Tokens are gathered per expert, so a prefill reads each expert once. A token's sum runs over its experts in
//! ascending order whatever else is in the batch.
use super::lanes::Level;
use super::linear::{Product, linear, products, spread, worth};
use super::math;
use super::rounded::Rounded;
use super::scratch::{Mlps, fit};
use super::view::{Out, Rows};
use crate::model::config::Config;
use crate::model::weights::{Ffn, Mlp};
use rayon::prelude::*;

/// Rows that go through their experts together: it bounds the buffers, and is enough to keep the cores busy.
const TOGETHER: usize = 256;

/// out = ffn(x), both `[n, hidden]`.
pub fn ffn(level: Level, c: &Config, ffn: &Ffn, x: &[f32], out: &mut [f32], scratch: &mut Mlps) {
    let n = x.len() / c.hidden;
    out.fill(0.0);
    let everyone = |expert: usize| (0..n).map(move |token| Route { expert, token, weight: 1.0 });
    let mut routes = std::mem::take(&mut scratch.routes);
    routes.clear();
    match ffn {
        Ffn::Dense(dense) => {
            routes.extend(everyone(0));
            mixture(level, &[dense], &routes, x, out, scratch);
        }
        Ffn::Mixture { router, experts, shared } => {
            let mut scores = std::mem::take(&mut scratch.scores);
            let all = fit(&mut scores, n * c.experts);
            linear(level, router, Rows::all(x, c.hidden), Out::all(all, c.experts));
            all.chunks_exact_mut(c.experts).enumerate().for_each(|(token, row)| {
                math::softmax(level, row, 1.0);
                route(c, row, token, &mut routes);
            });
            scratch.scores = scores;
            // The shared expert is one that everybody goes to, before all others.
            routes.iter_mut().for_each(|r| r.expert += 1);
            routes.extend(shared.iter().flat_map(|_| everyone(0)));
            routes.sort_unstable_by_key(|r| (r.expert, r.token));
            let nobody = experts.first();
            let list: Vec<&Mlp> = shared.as_ref().or(nobody).into_iter().chain(experts).collect();
            mixture(level, &list, &routes, x, out, scratch);
        }
    }
    scratch.routes = routes;
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
fn mixture(level: Level, experts: &[&Mlp], routes: &[Route], x: &[f32], out: &mut [f32], scratch: &mut Mlps) {
    let mut rest = routes;
    while !rest.is_empty() {
        let mut rows = 0;
        let groups = rest.chunk_by(|a, b| a.expert == b.expert).take_while(|group| {
            let begin = rows < TOGETHER;
            rows += if begin { group.len() } else { 0 };
            begin
        });
        let parts: Vec<Part<'_>> = groups.map(|routes| Part { mlp: experts[routes[0].expert], routes }).collect();
        let (now, later) = rest.split_at(rows);
        together(level, &parts, x, scratch);
        add(level, now, scratch, out, parts[0].mlp.gate.cols);
        rest = later;
    }
}

/// The tokens of one expert.
struct Part<'a> {
    mlp: &'a Mlp,
    routes: &'a [Route],
}

/// A part and its rows of every buffer.
struct Stage<'a, 'b> {
    part: &'a Part<'a>,
    input: &'b mut [f32],
    gate: &'b mut [f32],
    up: &'b mut [f32],
    result: &'b mut [f32],
    before: &'b mut Rounded,
    after: &'b mut Rounded,
}

/// Each part's rows through its expert, into `scratch.results` in the order of the routes.
fn together(level: Level, parts: &[Part<'_>], x: &[f32], s: &mut Mlps) {
    let mut stages = stages(parts, s);
    let rows: usize = parts.iter().map(|p| p.routes.len()).sum();
    // Rounding a value, or its SiLU, takes as long as some multiplications.
    each(&mut stages, rows * 32 * parts[0].mlp.gate.cols, |s| s.gather(level, x));
    let both = |s: &mut Stage| s.inner(level);
    products(level, &stages.iter_mut().flat_map(|s| s.first()).collect::<Vec<_>>());
    each(&mut stages, rows * 64 * parts[0].mlp.gate.rows, both);
    products(level, &stages.iter_mut().map(|s| s.second()).collect::<Vec<_>>());
}

fn stages<'a, 'b>(parts: &'a [Part<'a>], s: &'b mut Mlps) -> Vec<Stage<'a, 'b>> {
    let sum = |f: fn(&Mlp) -> usize| parts.iter().map(|p| p.routes.len() * f(p.mlp)).sum::<usize>();
    let (wide, inner) = (sum(|m| m.gate.cols), sum(|m| m.gate.rows));
    let (mut input, mut result) = (fit(&mut s.gathered, wide), fit(&mut s.results, wide));
    let (mut gate, mut up) = (fit(&mut s.gate, inner), fit(&mut s.up, inner));
    if s.rounded.len() < parts.len() {
        s.rounded.resize_with(parts.len(), Default::default);
    }
    let take = |from: &mut &'b mut [f32], n: usize| {
        let (now, rest) = std::mem::take(from).split_at_mut(n);
        *from = rest;
        now
    };
    let each = parts.iter().zip(&mut s.rounded).map(|(part, (before, after))| {
        let (wide, inner) = (part.routes.len() * part.mlp.gate.cols, part.routes.len() * part.mlp.gate.rows);
        let (input, result) = (take(&mut input, wide), take(&mut result, wide));
        Stage { part, input, gate: take(&mut gate, inner), up: take(&mut up, inner), result, before, after }
    });
    each.collect()
}

/// Runs `f` on all stages, side by side where there is enough `work`.
fn each(stages: &mut [Stage<'_, '_>], work: usize, f: impl Fn(&mut Stage) + Send + Sync) {
    if stages.len() > 1 && worth(work) { stages.par_iter_mut().for_each(f) } else { stages.iter_mut().for_each(f) }
}

impl Stage<'_, '_> {
    fn gather(&mut self, level: Level, x: &[f32]) {
        let mlp = self.part.mlp;
        let hidden = mlp.gate.cols;
        for (input, route) in self.input.chunks_exact_mut(hidden).zip(self.part.routes) {
            input.copy_from_slice(&x[route.token * hidden..][..hidden]);
        }
        self.before.fill(level, Rows::all(self.input, hidden), &[mlp.gate.format, mlp.up.format]);
    }

    fn first(&mut self) -> [Product<'_>; 2] {
        let mlp = self.part.mlp;
        let x = self.before.input(Rows::all(self.input, mlp.gate.cols));
        let (gate, up) = (Out::all(self.gate, mlp.gate.rows), Out::all(self.up, mlp.up.rows));
        [Product { w: &mlp.gate, x, first: 0, out: gate }, Product { w: &mlp.up, x, first: 0, out: up }]
    }

    fn inner(&mut self, level: Level) {
        let down = &self.part.mlp.down;
        math::silu(level, self.gate, self.up);
        self.after.fill(level, Rows::all(self.gate, down.cols), &[down.format]);
    }

    fn second(&mut self) -> Product<'_> {
        let down = &self.part.mlp.down;
        let x = self.after.input(Rows::all(self.gate, down.cols));
        Product { w: down, x, first: 0, out: Out::all(self.result, down.rows) }
    }
}

/// out[token] += weight · result for all routes in order; cores share the columns.
fn add(level: Level, routes: &[Route], s: &Mlps, out: &mut [f32], hidden: usize) {
    let strips = if hidden.is_multiple_of(64) { 4 } else { 1 };
    let width = hidden / strips;
    let results = &s.results[..routes.len() * hidden];
    let out = Out::all(out, hidden);
    spread(strips, routes.len() * hidden, |strip| {
        for (result, route) in results.chunks_exact(hidden).zip(routes) {
            // SAFETY: a strip's columns are written by its task alone, one row at a time.
            let row = unsafe { out.part(route.token, 1, strip * width, width).row(0) };
            math::add(level, row, &result[strip * width..][..width], route.weight);
        }
    });
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
