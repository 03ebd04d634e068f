//! What the model should see beside the text around the cursor.
//!
//! ```text
//! # shop/tax.py                     from other files: what the imports and the names near the cursor mean
//! def rate(country: str) -> float:
//! # shop/cart.py
//! import json                       from the file itself, where it does not fit: the imports,
//! class Cart:                       and the headers of what encloses the window
//!     def total(self):
//!         …
//!         return sum(p.price|
//! ```
//! | module | |
//! |---|---|
//! | [`outline`] | imports and enclosing headers of the file itself |
//! | [`units`] | what a file defines, as texts |
//! | [`index`] | the units of a workspace by name, in memory only |
//! | [`rules`] | what is never read, and why |
//! | [`walk`] | reads a workspace, within bounds |
//! | [`gather`] | which units, for a place in a text |
//! | [`trail`] | recent edits |
//! | [`workspace`] | all of it together, for one client |
pub mod gather;
pub mod index;
pub mod outline;
pub mod rules;
pub mod trail;
pub mod units;
pub mod walk;
pub mod workspace;

use crate::document::Snapshot;

/// What other files have to say about a place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// For the beginning of the prompt; empty, or whole lines.
    pub text: String,
    /// What is in it, the most telling first: names of files and units.
    pub keys: Vec<String>,
}

impl Context {
    /// Whether the most telling of what another one holds is here too: then changing over would cost the cache and gain
    /// little.
    pub fn serves(&self, newer: &Context) -> bool {
        const TELLING: usize = 3;
        newer.keys.iter().take(TELLING).all(|key| self.keys.contains(key))
    }
}

/// A source of context. No IO: it is asked while a key waits.
pub trait Neighbours: Send + Sync + std::fmt::Debug {
    /// Context for the text around byte `at`, in at most `limit` bytes.
    fn context(&self, text: &Snapshot, at: usize, limit: usize) -> Context;
    /// Whether there is anything to say at all: where not, a prompt keeps no room for it.
    fn any(&self) -> bool;
}

/// How a comment line begins in a language, and how it ends.
pub fn comment(language: &str) -> (&'static str, &'static str) {
    match language {
        "python" | "ruby" | "shellscript" | "bash" | "sh" | "toml" | "yaml" | "makefile" | "dockerfile" | "r" | "perl" => ("# ", ""),
        "lua" | "sql" | "haskell" => ("-- ", ""),
        "html" | "xml" | "markdown" => ("<!-- ", " -->"),
        "css" => ("/* ", " */"),
        _ => ("// ", ""),
    }
}

#[cfg(all(test, feature = "languages"))]
mod tests;
