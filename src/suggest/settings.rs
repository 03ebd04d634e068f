//! What shapes suggestions, taken from the configuration and the loaded model.
//!
//! ```text
//! context.tokens = 2048, a model that holds 1024, 96 tokens of answer   -> a prompt of (1024 - 96 - 32) * 4 / 5 = 716 tokens
//! ```
use crate::config::{Config, Layout, Lines};
use crate::engine::Info;
use crate::prompt::Budget;
use std::time::Duration;

/// Settings that shape suggestions.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub budget: Budget,
    pub max_tokens: usize,
    pub lines: Lines,
    pub layout: Layout,
    pub alternatives: usize,
    /// Least probability of a first line that is shown unasked: the geometric mean over its tokens.
    pub threshold: f32,
    /// How long a suggestion may be parsed in its place before it is shown.
    pub patience: Duration,
    /// Bytes above the prefix and below the suffix that the engine may copy from; as many of other files.
    pub reach: usize,
}

/// Where a key waits.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

impl Settings {
    /// `tokens` is the smaller of the configured window and what the model can hold beside its answer.
    pub fn new(config: &Config, bytes_per_token: f32, context: usize) -> Settings {
        let completion = &config.completion;
        let room = context.saturating_sub(completion.max_tokens + 32);
        Settings {
            // Text may have more tokens a byte than the measured mean: leave a fifth.
            budget: Budget::new(config.context.tokens.min(room * 4 / 5), bytes_per_token),
            max_tokens: completion.max_tokens,
            lines: completion.lines,
            layout: completion.layout,
            alternatives: completion.alternatives,
            threshold: completion.show_threshold.least(None).unwrap_or_default(),
            patience: PATIENCE,
            reach: 0,
        }
    }

    /// For a loaded model, with what was learnt for it.
    pub fn for_model(config: &Config, info: &Info) -> Settings {
        let threshold = config.completion.show_threshold.least(info.show_threshold).unwrap_or_default();
        Settings { threshold, reach: info.reach, ..Settings::new(config, info.bytes_per_token, info.context) }
    }
}
