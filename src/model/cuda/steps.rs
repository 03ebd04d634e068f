//! One pass at a time: over few tokens of any sequences, over many of one, and decode steps that follow each other on the device.
//!
//! ```text
//! two windows, tables [7 3] and [9]:
//! control  start 20 21 5 … | steps 0 … | first 0 0 2 … | tokens a b c      window one runs two tokens, the other one
//! table    7 3 9
//! ```
//! Few tokens run as a recorded graph, which depends on their number and on a bound of their positions, not on whose they are.
use super::args::Ptr;
use super::gpu::Launch;
use super::pass::{self, Picking};
use super::scratch::{CONTROL, FEW, ROWS, STEPS};
use super::{Cuda, Pick, ints, pick, words};
use crate::cache::BlockId;
use crate::model::{BLOCK, Part};
use anyhow::{Result, ensure};

/// Recorded graphs that are kept. A session meets a few dozen; each takes memory of the device.
const GRAPHS: usize = 128;

/// What a recorded graph depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub tokens: usize,
    pub bound: usize,
    pub rows: usize,
    pub picking: Option<Picking>,
}

impl Cuda {
    /// Runs `token` at position `start`, picks the most probable successor, runs that, and so on, `steps` times (at most
    /// [`STEPS`]); the picks in order. `allowed` (a bit per token) restricts the first pick; tokens from `limit` on are never picked. The table
    /// must have room for all steps.
    ///
    /// # Errors
    /// As `forward`; logits that are no numbers.
    pub fn greedy(
        &mut self,
        table: &[BlockId],
        start: usize,
        token: u32,
        allowed: Option<&[u32]>,
        limit: usize,
        steps: usize,
    ) -> Result<Vec<Pick>> {
        let tokens = [token];
        Ok(self.greedy_each(&[Part { table, start, tokens: &tokens, rows: 1 }], allowed, limit, steps)?.swap_remove(0))
    }

    /// The same for up to [`FEW`] sequences of one token each; `allowed` has a mask for each of them.
    ///
    /// # Errors
    /// As [`Cuda::greedy`].
    pub fn greedy_each(&mut self, parts: &[Part<'_>], allowed: Option<&[u32]>, limit: usize, steps: usize) -> Result<Vec<Vec<Pick>>> {
        let n = parts.len();
        ensure!((1..=STEPS).contains(&steps), "{steps} steps at once; 1 to {STEPS} are possible");
        ensure!(
            (1..=FEW).contains(&n) && parts.iter().all(|p| p.tokens.len() == 1),
            "{n} sequences at once; 1 to {FEW} of one token are possible"
        );
        parts.iter().try_for_each(|p| self.check(p.table, p.start, steps, p.tokens, 1))?;
        self.prepare(parts, steps)?;
        if let Some(mask) = allowed {
            let wanted = self.config.vocab.div_ceil(32) * n;
            ensure!(mask.len() == wanted, "masks of {} words for {n} sequences; {wanted} were expected", mask.len());
            self.gpu.upload(self.scratch.mask.at(0), &words(mask))?;
        }
        let start = parts.iter().map(|p| p.start).max().unwrap_or(0);
        for step in 0..steps {
            let picking = Some(Picking { masked: step == 0 && allowed.is_some(), limit });
            self.run(Key { tokens: n, bound: pass::bucket(start + step + 1), rows: n, picking })?;
        }
        let mut trace = vec![0; n * STEPS * 8];
        self.download(self.scratch.trace.at(0), &mut trace)?;
        trace.chunks_exact(STEPS * 8).map(|row| row.as_chunks::<8>().0[..steps].iter().map(pick).collect()).collect()
    }

    /// Tables, positions and tokens to the device; each part grows by `count` positions, of which it brings the first tokens.
    fn prepare(&mut self, parts: &[Part<'_>], count: usize) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error.context("a block could not be copied"));
        }
        if self.dirty {
            self.scratch.tickets.fill(0)?;
            self.table.clear();
            self.dirty = false;
        }
        let (mut wanted, mut control) = (Vec::new(), vec![0; CONTROL]);
        let few = parts.iter().map(|p| p.tokens.len()).sum::<usize>() <= FEW;
        let mut at = 0;
        for part in parts {
            let first = i32::try_from(wanted.len())?;
            let end = part.start + count.max(part.tokens.len());
            wanted.extend(part.table[..end.div_ceil(BLOCK)].iter().map(|b| b.0.cast_signed()));
            // Of many tokens, all of one sequence, the kernels count on from the first.
            for i in 0..if few { part.tokens.len() } else { 1 } {
                (control[at], control[2 * FEW + at]) = (i32::try_from(part.start + i)?, first);
                at += 1;
            }
            control.extend(part.tokens.iter().map(|t| t.cast_signed()));
        }
        if !self.table.starts_with(&wanted) {
            self.gpu.upload(self.scratch.table.at(0), &ints(&wanted))?;
            self.table = wanted;
        }
        self.gpu.upload(self.scratch.control.at(0), &ints(&control))
    }

    /// A pass over few tokens, recorded the first time.
    fn run(&mut self, key: Key) -> Result<()> {
        if !self.graphs.contains_key(&key) {
            let launches = pass::few(self.model(), key.tokens, key.bound, key.rows, key.picking);
            if self.graphs.len() >= GRAPHS {
                self.gpu.wait()?;
                self.graphs.clear();
            }
            match self.gpu.record(launches.clone()) {
                Ok(graph) => self.graphs.insert(key, graph),
                Err(error) => {
                    // A full device has no room for a graph, but the kernels need nothing more.
                    tracing::warn!("a pass runs without a graph: {error:#}");
                    return self.launch(&launches);
                }
            };
        }
        let done = self.graphs[&key].replay();
        self.dirty |= done.is_err();
        done
    }

    fn launch(&mut self, launches: &[Launch]) -> Result<()> {
        let done = launches.iter().try_for_each(|l| self.gpu.launch(l));
        self.dirty |= done.is_err();
        done
    }

    fn download(&mut self, from: Ptr, to: &mut [u8]) -> Result<()> {
        let done = self.gpu.download(from, to);
        self.dirty |= done.is_err();
        done
    }

    /// Up to [`FEW`] tokens of any sequences in one pass; the logits that each part wants.
    pub(super) fn few(&mut self, parts: &[Part<'_>]) -> Result<Vec<Vec<f32>>> {
        self.prepare(parts, 0)?;
        let n = parts.iter().map(|p| p.tokens.len()).sum();
        let end = parts.iter().map(|p| p.start + p.tokens.len()).max().unwrap_or(0);
        let wanted: usize = parts.iter().map(|p| p.rows).sum();
        // The last rows of one part follow each other; of several parts all are computed.
        let rows = if parts.len() > 1 && wanted > 0 { n } else { wanted };
        self.run(Key { tokens: n, bound: pass::bucket(end), rows, picking: None })?;
        let all = self.logits(rows)?;
        if parts.len() == 1 {
            return Ok(vec![all]);
        }
        let mut at = 0;
        let mut own = |p: &Part<'_>| {
            at += p.tokens.len();
            all.get((at - p.rows) * self.config.vocab..at * self.config.vocab).unwrap_or_default().to_vec()
        };
        Ok(parts.iter().map(&mut own).collect())
    }

    /// Up to a piece of tokens of one sequence; the logits of the last `rows`.
    pub(super) fn piece(&mut self, part: &Part<'_>) -> Result<Vec<f32>> {
        let (n, end, rows) = (part.tokens.len(), part.start + part.tokens.len(), part.rows);
        if n <= FEW {
            return Ok(self.few(&[*part])?.swap_remove(0));
        }
        self.prepare(&[*part], 0)?;
        self.launch(&pass::many(self.model(), n, end, rows))?;
        let mut all = Vec::with_capacity(rows * self.config.vocab);
        for first in (n - rows..n).step_by(ROWS) {
            let count = ROWS.min(n - first);
            self.launch(&pass::head(self.model(), first, count))?;
            all.extend(self.logits(count)?);
        }
        // Also without logits: an error belongs to this call.
        if rows == 0 {
            self.gpu.wait()?;
        }
        Ok(all)
    }

    fn logits(&mut self, rows: usize) -> Result<Vec<f32>> {
        if rows == 0 {
            self.gpu.wait()?;
            return Ok(Vec::new());
        }
        let mut raw = vec![0; rows * self.config.vocab * 4];
        self.download(self.scratch.logits.at(0), &mut raw)?;
        let (words, _) = raw.as_chunks::<4>();
        Ok(words.iter().map(|w| f32::from_le_bytes(*w)).collect())
    }
}
