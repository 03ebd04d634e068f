//! How much of what stands around a model should copy, learnt from holes whose text is known.
//!
//! ```text
//! infill eval holes DIR --kinds single --holes 3000 --learn-copying nano.json     writes `copying` into the file beside the weights
//! ```
//! The true text is followed token by token. At each step the copies have a share that makes the true token as probable as can
//! be; the weights that predict the share from [`Copies::features`](crate::worker::copy::Copies::features) are found by expectation
//! maximisation: how likely the token came from the copies, then a logistic regression on that.
use super::{Gap, Hole};
use crate::cache::BlockId;
use crate::complete::{complete, language};
use crate::config::Config;
use crate::context::Neighbours;
use crate::document::Document;
use crate::engine::local::{self, sidecar::Sidecar};
use crate::engine::{Answer, Engine, Event, Finish, Info, Request, State, Totals, Usage};
use crate::model::{BLOCK, Backend, cpu::Cpu};
use crate::tokens::Tokens;
use crate::worker::copy::{Copier, Copying, FEATURES, Model, Next};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What is not learnt: how far copies come from, and how much a longer agreement counts.
const REACH: usize = 16 << 10;
const SHARPNESS: f32 = 1.0;
const ROUNDS: usize = 12;
/// Newton's steps in each round, and what keeps weights small.
const STEPS: usize = 3;
const RIDGE: f64 = 0.5;
/// A token that neither expects teaches nothing.
const NOTHING: f64 = 1e-8;

type Weights = [f64; FEATURES];

/// One true token: what its share may depend on, and what the model and the copies gave to it.
#[derive(Clone, Debug)]
struct Step {
    features: Weights,
    model: f64,
    copies: f64,
}

impl Step {
    fn share(&self, weights: &Weights) -> f64 {
        1.0 / (1.0 + (-dot(weights, &self.features)).exp())
    }

    fn probability(&self, share: f64) -> f64 {
        share * self.copies + (1.0 - share) * self.model
    }
}

/// Learns from `holes`, and writes it into the file; a sentence for the table.
///
/// # Errors
/// A model that cannot be used here, holes in which nothing can be copied, a file that cannot be written.
pub fn learn(path: &Path, holes: &[Hole], config: &Config, around: Option<Arc<dyn Neighbours>>) -> Result<String> {
    let (mut model, tokens) = local::parts(&config.model)?;
    let recorder = Recorder::new(&model, &tokens, around);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut steps = Vec::new();
    for hole in holes {
        if let Some(request) = runtime.block_on(recorder.request(&hole.gap, config))? {
            steps.extend(follow(&mut model, &tokens, &request, &hole.gap.truth)?);
        }
    }
    if steps.is_empty() {
        bail!("--learn-copying: nothing could be copied in {} holes: take more --holes, or another folder", holes.len());
    }
    let weights = fit(&steps);
    let copying = Copying { reach: REACH, sharpness: SHARPNESS, weights: weights.map(|w| (w * 1000.0).round() as f32 / 1000.0) };
    let old = std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str::<Sidecar>(&text).ok());
    let sidecar = Sidecar { copying: Some(copying), ..old.unwrap_or_default() };
    std::fs::write(path, serde_json::to_string_pretty(&sidecar)? + "\n")
        .with_context(|| format!("--learn-copying {} cannot be written", path.display()))?;
    let (before, after) = (bits(&steps, |_| 0.0), bits(&steps, |step| step.share(&weights)));
    Ok(format!(
        "learnt: copying, from {} tokens ({before:.2} bits each before, {after:.2} after), written to {}",
        steps.len(),
        path.display()
    ))
}

/// The true text after a prompt, token by token, and its end.
fn follow(model: &mut Cpu, tokens: &Tokens, request: &Request, truth: &str) -> Result<Vec<Step>> {
    let prompt = tokens.prompt(&request.prefix, &request.suffix, request.tail.as_bytes());
    let settled = prompt.tokens.len() - prompt.suffix_end;
    let wanted = tokens.encode(&(request.tail.clone() + truth)).split_off(settled);
    let all = [prompt.tokens.as_slice(), &wanted].concat();
    if all.len() > model.context() {
        return Ok(Vec::new());
    }
    let table: Vec<BlockId> = (0..all.len().div_ceil(BLOCK) as u32).map(BlockId).collect();
    let rows = model.forward(&table, 0, &all, wanted.len() + 1)?;
    let (mut copier, mut held, mut steps) = (Copier::new(request), prompt.held, Vec::new());
    let expected = wanted.iter().map(|&token| Next::Token(token)).chain([Next::LineEnd]);
    for (row, next) in rows.chunks_exact(model.vocab()).zip(expected) {
        steps.extend(step(row, next, &held, &copier, tokens));
        if let Next::Token(token) = next {
            let bytes = tokens.bytes(token);
            let covered = bytes.len().min(held.len());
            held.drain(..covered);
            copier.write(&bytes[covered..]);
        }
    }
    Ok(steps)
}

fn step(row: &[f32], next: Next, held: &[u8], copier: &Copier, tokens: &Tokens) -> Option<Step> {
    let mut allowed = Vec::new();
    if held.is_empty() {
        allowed.extend(0..row.len().min(tokens.len()) as u32);
    } else {
        tokens.agreeing(held, &mut allowed);
    }
    let model = Model::new(row, &allowed)?;
    let copies = copier.copies(held, SHARPNESS, tokens);
    let features = copies.features(&model, tokens)?;
    let copied = copies.next.iter().find(|(what, _)| *what == next).map_or(0.0, |(_, weight)| f64::from(*weight));
    let step = Step { features, model: model.of(next, tokens), copies: copied };
    (step.model + step.copies > NOTHING).then_some(step)
}

fn bits(steps: &[Step], share: impl Fn(&Step) -> f64) -> f64 {
    let sum: f64 = steps.iter().map(|step| -step.probability(share(step)).max(NOTHING).log2()).sum();
    sum / steps.len().max(1) as f64
}

/// Expectation maximisation.
fn fit(steps: &[Step]) -> Weights {
    let mut weights = [0.0; FEATURES];
    for _ in 0..ROUNDS {
        let copied = |step: &Step| step.share(&weights) * step.copies / step.probability(step.share(&weights));
        let copied: Vec<f64> = steps.iter().map(copied).collect();
        for _ in 0..STEPS {
            newton(steps, &copied, &mut weights);
        }
    }
    weights
}

/// One step of a logistic regression on `copied`.
fn newton(steps: &[Step], copied: &[f64], weights: &mut Weights) {
    let mut gradient = weights.map(|weight| -RIDGE * weight);
    let mut curvature = [[0.0; FEATURES]; FEATURES];
    (0..FEATURES).for_each(|i| curvature[i][i] = RIDGE);
    for (step, copied) in steps.iter().zip(copied) {
        let share = step.share(weights);
        for i in 0..FEATURES {
            gradient[i] += (copied - share) * step.features[i];
            (0..FEATURES).for_each(|j| curvature[i][j] += share * (1.0 - share) * step.features[i] * step.features[j]);
        }
    }
    let change = solve(curvature, gradient);
    (0..FEATURES).for_each(|i| weights[i] += change[i]);
}

/// `a · x = b`, for a positive definite `a` (Gauss).
fn solve(mut a: [Weights; FEATURES], mut b: Weights) -> Weights {
    for column in 0..FEATURES {
        for row in column + 1..FEATURES {
            let factor = a[row][column] / a[column][column];
            (column..FEATURES).for_each(|i| a[row][i] -= factor * a[column][i]);
            b[row] -= factor * b[column];
        }
    }
    for row in (0..FEATURES).rev() {
        let known: f64 = (row + 1..FEATURES).map(|i| a[row][i] * b[i]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

fn dot(a: &Weights, b: &Weights) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Takes what an engine is asked, and says nothing.
struct Recorder {
    info: Info,
    around: Option<Arc<dyn Neighbours>>,
    asked: Mutex<Option<Request>>,
}

impl Recorder {
    fn new(model: &Cpu, tokens: &Tokens, around: Option<Arc<dyn Neighbours>>) -> Recorder {
        let (bytes_per_token, context) = (tokens.bytes_per_token(), model.context());
        let info = Info { bytes_per_token, context, reach: REACH, ..Info::default() };
        Recorder { info, around, asked: Mutex::default() }
    }

    /// What the editor's half asks in a gap.
    async fn request(&self, gap: &Gap, config: &Config) -> Result<Option<Request>> {
        let text = gap.before.clone() + &gap.after;
        let snapshot = Document::new(&gap.path, language(gap.path.as_ref()), 1, &text).settled();
        complete(self, config, self.around.clone(), snapshot, gap.before.len()).await?;
        Ok(self.asked.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

impl Engine for Recorder {
    fn state(&self) -> State {
        State::Ready(self.info.clone())
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn submit(&self, request: Request) -> Answer {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(request);
        let (events, answer) = tokio::sync::mpsc::unbounded_channel();
        // Its receiver is in our hands.
        let _ = events.send(Event::Done { finish: Finish::Stop, usage: Usage::default() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "nano")]
    use crate::context::workspace::Workspace;

    #[test]
    fn weights_are_found_that_tell_good_copies_from_bad_ones() {
        // Copies of long agreement are right in 9 of 10 cases, short ones in 1 of 10.
        let step = |long: bool, right: bool| Step {
            features: [1.0, f64::from(u8::from(long)), 0.0, 0.0, 0.0],
            model: if right { 0.05 } else { 0.1 },
            copies: if right { 1.0 } else { 0.0 },
        };
        let steps: Vec<Step> = (0..2000).map(|n| step(n % 2 == 0, if n % 2 == 0 { n % 20 != 0 } else { n % 20 == 1 })).collect();
        let weights = fit(&steps);
        let (long, short) = (steps[0].share(&weights), steps[1].share(&weights));
        assert!((0.8..0.95).contains(&long) && (0.02..0.15).contains(&short), "{long} {short}");
        assert!(bits(&steps, |s| s.share(&weights)) < bits(&steps, |_| 0.5));
    }

    #[cfg(feature = "nano")]
    #[tokio::test]
    async fn other_files_are_copied_from_where_they_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("units.py"), "def to_kelvin(celsius):\n    return celsius + 273.15\n").unwrap();
        std::fs::write(folder.path().join("main.py"), "from units import to_kelvin\n").unwrap();
        let (model, tokens) = local::parts("nano").unwrap();
        let before = "from units import to_kelvin\n\n\ndef warm(x):\n    return ".to_owned();
        let gap = Gap { path: "main.py".into(), before, after: "\n".into(), truth: "to_kelvin(x) > 300".into() };
        let around: Arc<dyn Neighbours> = Arc::new(Workspace::of_folder(folder.path(), &[]).unwrap());
        for (around, seen) in [(Some(around), true), (None, false)] {
            let recorder = Recorder::new(&model, &tokens, around);
            let request = recorder.request(&gap, &Config::default()).await.unwrap().unwrap();
            assert_eq!(request.above.contains("def to_kelvin(celsius)"), seen, "{:?}", request.above);
        }
    }

    #[test]
    fn equations_are_solved() {
        let mut a = [[0.0; FEATURES]; FEATURES];
        (0..FEATURES).for_each(|i| (0..FEATURES).for_each(|j| a[i][j] = if i == j { 4.0 } else { 1.0 / (1 + i + j) as f64 }));
        let x = [1.0, -2.0, 3.0, 0.5, 0.0];
        let b: Weights = std::array::from_fn(|i| dot(&a[i], &x));
        solve(a, b).iter().zip(x).for_each(|(got, wanted)| assert!((got - wanted).abs() < 1e-9));
    }
}
