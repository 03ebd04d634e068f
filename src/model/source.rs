//! Where weights lie: a mapped file, bytes of the program, or a copy.
//!
//! ```text
//! Source::Map(file)  --Slice { offset, len }-->  &[bf16], &[BlockQ8_0], …   used in place
//! ```
use super::error::{ModelError, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Maps a file for reading.
pub fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| ModelError::io(path, &e))?;
    // SAFETY: the map is only read. Another process that truncates the file while it is mapped would kill this one
    // (SIGBUS); weights are replaced by renaming, not rewritten, and every program that maps models lives with this.
    unsafe { Mmap::map(&file) }.map_err(|e| ModelError::io(path, &e))
}

/// Bytes that stay where they are.
pub enum Source {
    Map(Mmap),
    Static(&'static [u8]),
    /// A copy, aligned for every element type.
    Owned(Vec<u64>),
}

impl Source {
    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Static(bytes) => bytes,
            // SAFETY: any u64 is eight valid bytes, and the length covers exactly the vector.
            Self::Owned(words) => unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) },
        }
    }

    /// A copy of `bytes`, aligned to eight.
    pub fn copy(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self::Owned(bytes.chunks(8).map(word).collect())
    }
}

/// A type whose values may be read from any bytes: no padding, no invalid patterns.
///
/// # Safety
/// Every pattern of bits of the type's size must be a value of it.
pub unsafe trait Plain: Copy {}
// SAFETY: integers and IEEE numbers have no invalid patterns; f16 and bf16 are transparent over u16.
unsafe impl Plain for u8 {}
unsafe impl Plain for u16 {}
unsafe impl Plain for f32 {}
unsafe impl Plain for half::f16 {}
unsafe impl Plain for half::bf16 {}

/// A part of a source, at an alignment that suits its elements.
#[derive(Clone)]
pub struct Slice {
    source: Arc<Source>,
    offset: usize,
    len: usize,
}

impl Slice {
    /// `len` bytes at `offset`, copied when they do not lie at a multiple of `align`. `None` where they do not lie
    /// inside the source.
    pub fn new(source: &Arc<Source>, offset: usize, len: usize, align: usize) -> Option<Self> {
        let bytes = source.bytes().get(offset..offset.checked_add(len)?)?;
        if bytes.as_ptr().align_offset(align) == 0 {
            return Some(Self { source: source.clone(), offset, len });
        }
        Some(Self { source: Arc::new(Source::copy(bytes)), offset: 0, len })
    }

    /// An owned slice of numbers.
    pub fn of_f32(values: &[f32]) -> Self {
        // SAFETY: f32 has no padding; the bytes are read while `values` is borrowed.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values)) };
        Self { source: Arc::new(Source::copy(bytes)), offset: 0, len: bytes.len() }
    }

    /// Part of this slice, in bytes; it must lie inside and begin at an element.
    pub fn part(&self, offset: usize, len: usize) -> Self {
        assert!(offset + len <= self.len, "a part outside its slice");
        Self { source: self.source.clone(), offset: self.offset + offset, len }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.source.bytes()[self.offset..self.offset + self.len]
    }

    /// The bytes as elements of type `T`. Panics where they are not aligned for `T` (see [`Slice::new`]).
    pub fn as_slice<T: Plain>(&self) -> &[T] {
        let bytes = self.bytes();
        assert_eq!(bytes.as_ptr().align_offset(align_of::<T>()), 0, "a slice of the wrong alignment");
        // SAFETY: aligned as just checked, inside `bytes`, and every pattern is a `T` (trait `Plain`).
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}
