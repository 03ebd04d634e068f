//! `infill`: code completion by a local DeepSeek-V2 model, as a language server.
pub mod cache;
pub mod engine;
pub mod model;
pub mod tokens;
pub mod verify;
pub mod worker;
