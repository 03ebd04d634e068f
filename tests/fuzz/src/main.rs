//! All fuzz targets in one binary: one build, one link. FUZZ_TARGET says which of them it is.
//!
//! ```text
//! FUZZ_TARGET=gguf target/release/fuzz corpus/gguf -max_total_time=60
//! ```
//! Each takes any bytes, and fails by a panic. A panic on any thread ends the process.
#![no_main]
use std::sync::OnceLock;

mod config;
mod document;
mod frames;
mod http;
mod model;
#[path = "../../plain/mod.rs"]
mod plain;
mod sse;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("frames", frames::run),
    ("edits", document::run),
    ("gguf", model::gguf),
    ("safetensors", model::safetensors),
    ("tokenizer", model::tokenizer),
    ("config", config::run),
    ("http", http::run),
    ("sse", sse::run),
    ("trace", config::trace),
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let names: Vec<_> = TARGETS.iter().map(|t| t.0).collect();
        TARGETS.iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?}: set it to one of {names:?}")).1
    });
    target(data);
});
