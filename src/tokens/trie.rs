//! A byte trie over the vocabulary, flattened: token ids sorted by their bytes.
//!
//! A node of the trie is a range of the sorted ids, so it needs no pointers: 100,000 tokens take about 1.5 MB.
//!
//! ```
//! use infill::tokens::trie::Trie;
//! let trie = Trie::new([(0, "f"), (1, "fo"), (2, "for"), (3, "foo"), (4, "g")].map(|(id, text)| (id, text.as_bytes())));
//! let mut allowed = Vec::new();
//! trie.agreeing(b"fo", &mut allowed);
//! allowed.sort();
//! assert_eq!(allowed, [0, 1, 2, 3]); // `f` is a beginning of `fo`, the others begin with it
//! ```

/// See the module.
#[derive(Debug)]
pub struct Trie {
    ids: Vec<u32>,
    /// `bytes[ends[i - 1]..ends[i]]` belongs to `ids[i]`.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Trie {
    pub fn new<'a>(tokens: impl IntoIterator<Item = (u32, &'a [u8])>) -> Trie {
        let mut sorted: Vec<(&[u8], u32)> = tokens.into_iter().map(|(id, bytes)| (bytes, id)).collect();
        sorted.sort_unstable();
        let mut trie = Trie { ids: Vec::with_capacity(sorted.len()), ends: Vec::with_capacity(sorted.len()), bytes: Vec::new() };
        for (bytes, id) in sorted {
            trie.bytes.extend_from_slice(bytes);
            trie.ids.push(id);
            trie.ends.push(trie.bytes.len() as u32);
        }
        trie
    }

    /// Adds to `allowed` the tokens that agree with `held`: a beginning of it, or beginning with it.
    pub fn agreeing(&self, held: &[u8], allowed: &mut Vec<u32>) {
        for length in 1..held.len() {
            allowed.extend_from_slice(self.equal(&held[..length]));
        }
        allowed.extend_from_slice(self.beginning_with(held));
    }

    /// Tokens whose bytes begin with `start`.
    pub fn beginning_with(&self, start: &[u8]) -> &[u32] {
        let from = self.first(|bytes| bytes < start);
        let to = self.first(|bytes| bytes < start || bytes.starts_with(start));
        &self.ids[from..to]
    }

    fn equal(&self, bytes: &[u8]) -> &[u32] {
        let from = self.first(|other| other < bytes);
        let to = self.first(|other| other <= bytes);
        &self.ids[from..to]
    }

    /// Binary search: the first entry for which `before` does not hold.
    fn first(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.ids.len());
        while low < high {
            let middle = (low + high) / 2;
            if before(self.entry(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn entry(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }
}
