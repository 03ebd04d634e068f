//! `infill`: code completion by a local DeepSeek-V2 model, as a language server.
pub mod cache;
pub mod config;
pub mod document;
pub mod engine;
pub mod lsp;
pub mod model;
pub mod prompt;
pub mod suggest;
pub mod tokens;
pub mod verify;
pub mod worker;
