//! From bytes to whole characters, as they come; and the byte alphabet of byte-level BPE.
//!
//! ```
//! use infill::tokens::decode::Utf8Stream;
//! let mut stream = Utf8Stream::default();
//! assert_eq!(stream.push(&[b'a', 0xc3]), "a"); // half an é waits
//! assert_eq!(stream.push(&[0xa9, b'b']), "éb");
//! ```
use std::collections::HashMap;
use std::sync::LazyLock;

/// Collects bytes and gives out whole characters. What can never become one is given out as U+FFFD.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    waiting: Vec<u8>,
}

impl Utf8Stream {
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut out = String::new();
        let mut done = 0;
        for chunk in self.waiting.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let unfinished = done + chunk.invalid().len() == self.waiting.len() && is_unfinished(chunk.invalid());
            if !chunk.invalid().is_empty() && !unfinished {
                out.push(char::REPLACEMENT_CHARACTER);
                done += chunk.invalid().len();
            }
        }
        self.waiting.drain(..done);
        out
    }

    /// Is nothing waiting?
    pub fn is_whole(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// How many bytes of `text` are whole characters; what follows is the beginning of one more, or broken.
pub fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Ok(_) => text.len(),
        Err(error) => error.valid_up_to(),
    }
}

fn is_unfinished(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

/// Byte-level BPE writes each byte as a printable character: most as themselves, the rest from U+0100 on.
static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            return byte as char;
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
});
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| (0..=255).zip(*ALPHABET).map(|(byte, c)| (c, byte)).collect());

/// `bytes` in the alphabet of the vocabulary.
pub fn to_alphabet(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| ALPHABET[byte as usize]));
}

/// A vocabulary entry as bytes; none when it is not written in the alphabet.
pub fn from_alphabet(entry: &str) -> Option<Vec<u8>> {
    entry.chars().map(|c| BYTES.get(&c).copied()).collect()
}
