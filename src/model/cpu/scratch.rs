//! Buffers that live from one forward pass to the next.
//!
//! ```text
//! let queries = fit(&mut scratch.query, n * width);   // grows once, then costs nothing
//! ```
use super::moe::Route;
use super::rounded::Rounded;

/// The first `n` values of a buffer, which grows when it is too short. What they held before is left in them.
pub fn fit(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

/// What one layer needs, by what it holds.
#[derive(Default)]
pub struct Scratch {
    /// The hidden state, and the same after a norm.
    pub hidden: Vec<f32>,
    pub normed: Vec<f32>,
    /// Latent and rotated key as projected.
    pub latent: Vec<f32>,
    pub attention: Attention,
    /// What the second half of a layer adds to the hidden state.
    pub delta: Vec<f32>,
    pub mlps: Mlps,
}

/// What the first half of a layer needs.
#[derive(Default)]
pub struct Attention {
    /// The query's low rank, before and after its norm.
    pub low: Vec<f32>,
    pub low_normed: Vec<f32>,
    pub query: Vec<f32>,
    /// Queries of the latent, means of latents, values of the heads.
    pub absorbed: Vec<f32>,
    pub means: Vec<f32>,
    pub values: Vec<f32>,
    /// What is added to the hidden state.
    pub out: Vec<f32>,
}

/// What the second half of a layer needs.
#[derive(Default)]
pub struct Mlps {
    pub gate: Vec<f32>,
    pub up: Vec<f32>,
    pub gathered: Vec<f32>,
    pub results: Vec<f32>,
    pub scores: Vec<f32>,
    pub routes: Vec<Route>,
    /// Per expert at work: its rows, and what its gate made of them.
    pub rounded: Vec<(Rounded, Rounded)>,
}
