//! Drafting by prompt lookup: what followed the last time these tokens stood here is proposed again.
//!
//! ```text
//! tokens  … self . width = width ; self . height =      the last two, `. height`, stood before … `= height ;`
//! draft   height ;                                      one forward pass verifies all of it
//! ```
//! The model has the last word on every token, so drafts change the cost and never the text.

/// Longest and shortest ends that are looked up.
const LONGEST: usize = 3;
/// Most tokens in one draft.
const MOST: usize = 16;

/// Proposes drafts, longer ones while they are accepted.
#[derive(Debug)]
pub struct Drafter {
    length: usize,
}

impl Drafter {
    pub fn new() -> Drafter {
        Drafter { length: 4 }
    }

    /// What may follow `tokens`, at most `room` of them.
    pub fn propose(&self, tokens: &[u32], room: usize) -> Vec<u32> {
        let most = self.length.min(room);
        let found = (1..=LONGEST).rev().find_map(|n| last_occurrence(tokens, n));
        found.map_or_else(Vec::new, |after| tokens[after..].iter().copied().take(most).collect())
    }

    /// Learns from one verified draft.
    pub fn learn(&mut self, proposed: usize, accepted: usize) {
        if proposed == 0 {
            return;
        }
        self.length = if accepted == proposed { (self.length * 2).min(MOST) } else { (accepted + 1).max(self.length / 2).clamp(1, MOST) };
    }
}

/// Where the text goes on after the latest earlier occurrence of the last `n` tokens.
fn last_occurrence(tokens: &[u32], n: usize) -> Option<usize> {
    let end = tokens.len().checked_sub(n)?;
    let wanted = &tokens[end..];
    (0..end).rev().find(|&at| tokens[at..].starts_with(wanted)).map(|at| at + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_end_wins_and_the_latest_occurrence() {
        let drafter = Drafter::new();
        assert_eq!(drafter.propose(&[1, 2, 3, 9, 8, 3, 7, 1, 2, 3], 10), [9, 8, 3, 7]);
        assert_eq!(drafter.propose(&[5, 3, 7, 3, 8, 4, 3], 2), [8, 4]);
        assert_eq!(drafter.propose(&[1, 2, 3], 10), [0u32; 0]);
        assert_eq!(drafter.propose(&[], 10), [0u32; 0]);
        assert_eq!(drafter.propose(&[4, 4, 4], 0), [0u32; 0]);
    }

    #[test]
    fn drafts_grow_while_they_are_right() {
        let mut drafter = Drafter::new();
        drafter.learn(4, 4);
        assert_eq!(drafter.length, 8);
        drafter.learn(8, 0);
        drafter.learn(4, 0);
        drafter.learn(2, 0);
        assert_eq!(drafter.length, 1);
        drafter.learn(0, 0);
        assert_eq!(drafter.length, 1);
    }
}
