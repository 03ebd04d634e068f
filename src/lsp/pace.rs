//! How fast the engine is here, measured; and how long a key waits for the next one before it is worth a request.
//!
//! ```text
//! first tokens after 20 ms    ->  no wait: every key asks
//! first tokens after 800 ms   ->  150 ms: a burst of keys asks once
//! ```
use std::time::Duration;

/// First tokens that come sooner need no wait.
const FAST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_millis(150);

/// A running mean of the time to the first token.
#[derive(Debug, Default)]
pub struct Pace {
    first_token: Option<Duration>,
}

impl Pace {
    pub fn observe(&mut self, first_token: Duration) {
        let mean = self.first_token.unwrap_or(first_token);
        self.first_token = Some((mean * 3 + first_token) / 4);
    }

    /// How long an automatic request waits for the next key. An explicit one never waits.
    pub fn wait(&self) -> Duration {
        match self.first_token {
            Some(mean) if mean > FAST => (mean / 4).min(LONGEST),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slow_machine_waits() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(), Duration::ZERO);
        (0..20).for_each(|_| pace.observe(Duration::from_millis(100)));
        assert_eq!(pace.wait(), Duration::ZERO);
        (0..20).for_each(|_| pace.observe(Duration::from_secs(2)));
        assert_eq!(pace.wait(), LONGEST);
        (0..40).for_each(|_| pace.observe(Duration::from_millis(10)));
        assert_eq!(pace.wait(), Duration::ZERO, "it becomes fast again");
    }
}
