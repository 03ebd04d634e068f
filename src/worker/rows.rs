//! Rows of logits that may be wanted again: inside a word every keystroke asks for the same one under another mask.
//!
//! ```text
//! tail "let fo"   tokens … `let`, held " fo"   one pass over `let`, its row is kept
//! tail "let foo"  tokens … `let`, held " foo"  the same row: no pass at all before the first new token
//! ```
//! A row belongs to the exact tokens before it (they are compared), so the answer is the one a pass would give.
use std::collections::VecDeque;

/// The rows used last, within a budget of bytes.
#[derive(Debug, Default)]
pub struct Rows {
    kept: VecDeque<(Vec<u32>, Vec<f32>)>,
}

/// Twenty rows of a vocabulary of 100,000.
const BYTES: usize = 8 << 20;
/// Rows of a small vocabulary would be many; more than this are not worth looking through.
const MOST: usize = 64;

impl Rows {
    /// The logits after `tokens`.
    pub fn get(&mut self, tokens: &[u32]) -> Option<&[f32]> {
        let at = self.kept.iter().position(|(known, _)| known == tokens)?;
        let entry = self.kept.remove(at)?;
        self.kept.push_back(entry);
        self.kept.back().map(|(_, row)| row.as_slice())
    }

    pub fn keep(&mut self, tokens: &[u32], row: &[f32]) {
        // What is not a number is a failure, and the next request tries again.
        if row.iter().any(|logit| logit.is_nan()) || self.get(tokens).is_some() {
            return;
        }
        self.kept.push_back((tokens.to_vec(), row.to_vec()));
        let most = (BYTES / size_of_val(row).max(1)).min(MOST);
        while self.kept.len() > most {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_their_tokens_and_bounded() {
        let mut rows = Rows::default();
        for n in 0..100 {
            rows.keep(&[1, n], &[n as f32]);
            rows.keep(&[1, n], &[-1.0]);
            assert!(rows.get(&[1, 0]).is_some(), "what is used stays");
        }
        assert_eq!(rows.get(&[1, 99]), Some(&[99.0][..]));
        rows.keep(&[2], &[f32::NAN]);
        assert!(rows.get(&[1]).is_none() && rows.get(&[2]).is_none());
        assert_eq!(rows.kept.len(), MOST);
        let mut rows = Rows::default();
        rows.keep(&[1], &vec![0.0; BYTES]);
        assert_eq!(rows.get(&[1]), None);
    }
}
