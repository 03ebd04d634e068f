//! `infill`: code completion by a local DeepSeek-V2 model, as a language server. The code map.
//!
//! ```text
//! editor ──stdio── lsp ── suggest ── prompt ── document        the left half: text in, text out
//!                          │ engine::Request { prefix, suffix, tail } ▲ engine::Event::Text
//!                          ▼                                          │
//!                        engine ── worker ── cache, tokens, model      the right half: tokens, tensors
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | [`config`] | one `Config`: defaults < file < environment < the editor's settings |
//! | [`lsp`] | the only place that names tower-lsp: wire order, position encodings, requests |
//! | [`document`] | rope, version, line ends; edits; an O(1) `Snapshot` |
//! | [`syntax`] | incremental tree-sitter parse: where the cursor is, enclosing headers, imports, errors |
//! | [`context`] | what else the model should see when the file does not fit |
//! | [`prompt`] | `Hole`: frozen prefix and suffix, typed tail, when to split anew; budgets |
//! | [`suggest`] | a state machine without IO, per document: type-through, supersede, stop, trim |
//! | [`instruct`] | actions on a piece of code: what a chat model is asked, what may come of its answer |
//! | [`engine`] | the seam; `local` runs a model in this process, `shared` asks the server that all windows share, `http` a remote one |
//! | [`server`], [`daemon`] | that server: its HTTP face; where it is, how it is found and started |
//! | [`worker`] | the one thread that owns the model: schedule, cancel, prefill, heal, decode, draft |
//! | [`cache`] | radix tree from tokens to latent blocks: lookup, lease, insert, evict; no tensor types |
//! | [`tokens`] | tokenizer, fill-in-the-middle template, byte trie for healing, streaming decode |
//! | [`model`] | DeepSeek-V2: configuration, weights, latent pool, forward |
//! | [`hub`], [`models`], [`net`] | models on the Hugging Face hub and in its cache; HTTP beyond this process |
//! | [`quantize`] | a Hugging Face folder as one GGUF file |
//! | [`verify`], [`complete`], [`demo`], [`bench`], [`eval`], [`doctor`] | the commands |
//!
//! # Invariants
//!
//! - Edits are applied in wire order, and an ask's snapshot is taken at its place in that order.
//! - No lock is held across an await. No document waits for a model.
//! - Exactly one answer per request: a result, an empty list, or an error. A stale version is never answered with text.
//! - One thread owns the model. A cancel is seen between forward passes.
//! - Blocks in the cache's tree are immutable and leased; the last, partial block belongs to one sequence and is copied
//!   when it branches. Tokens are compared, never only hashed.
//! - Warm equals cold: on the CPU the arithmetic of a row does not depend on the batch, so greedy decoding gives the same
//!   tokens with the cache warm, cold or rolled back, with and without drafting.
//! - Special tokens come by id, never from the text of a file.
//! - stdout is the protocol; prompts are logged at trace only; nothing leaves the machine, but to the engine that the user's own
//!   configuration names.
//!
//! What is absent: `lsp`, `suggest`, `instruct`, `prompt`, `syntax` and `document` name no candle, no tokens, no cache; `worker`, `cache`,
//! `tokens` and `model` name no LSP and no ropes; `suggest`, `instruct`, `prompt` and `cache` do no IO.
pub mod bench;
pub mod cache;
pub mod complete;
pub mod config;
pub mod context;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod document;
pub mod engine;
pub mod eval;
pub mod hub;
pub mod instruct;
pub mod lsp;
pub mod model;
pub mod models;
pub mod net;
pub mod prompt;
pub mod quantize;
pub mod server;
pub mod suggest;
#[cfg(feature = "languages")]
pub mod syntax;
#[cfg(not(feature = "languages"))]
#[path = "syntax/none.rs"]
pub mod syntax;
pub mod tokens;
pub mod verify;
pub mod worker;
