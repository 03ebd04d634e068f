//! The prefix cache's settings: how much memory, and in which format on a GPU.
//!
//! ```
//! use infill::config::Bytes;
//! assert_eq!(Bytes::Word("256MB".into()).get(), Ok(Some(256 << 20)));
//! ```
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The prefix cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Memory for reused attention state: "auto" (a share of free memory), or bytes such as 268435456, "256MB".
    pub bytes: Bytes,
    /// How a GPU holds it: "bf16", "fp8" (57 % of the memory, values rounded to three bits), or "auto" (bf16). A CPU holds it in f32 always.
    pub format: CacheFormat,
}

impl Default for Cache {
    fn default() -> Self {
        Cache { bytes: Bytes::Word("auto".into()), format: CacheFormat::Auto }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheFormat {
    Auto,
    Bf16,
    Fp8,
}

impl CacheFormat {
    /// What is said where the model runs on a CPU and a format is set.
    pub fn on_cpu(self) -> Option<&'static str> {
        let said = "on a CPU the cache is in f32, whatever cache.format says: it is for GPUs";
        (self != CacheFormat::Auto).then_some(said)
    }
}

/// A number of bytes, a text such as "256MB", or "auto".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("pattern" = "^ *(auto|[0-9]+ *([KkMmGg]([Ii]?[Bb])?|[Bb])?) *$", "minimum" = 0))]
pub enum Bytes {
    Number(u64),
    Word(String),
}

pub(super) const SIZE: &str = "write \"auto\", a number of bytes, or a size such as \"256MB\"";

impl Bytes {
    /// The number of bytes; `None` for "auto".
    pub fn get(&self) -> Result<Option<u64>, String> {
        let word = match self {
            Bytes::Number(n) => return Ok(Some(*n)),
            Bytes::Word(w) => w.trim(),
        };
        if word == "auto" {
            return Ok(None);
        }
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit: u64 = match word[digits.len()..].trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "KB" | "K" | "KIB" => 1 << 10,
            "MB" | "M" | "MIB" => 1 << 20,
            "GB" | "G" | "GIB" => 1 << 30,
            _ => return Err(format!("\"{word}\" is no size: {SIZE}")),
        };
        let number = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
        number.map(Some).ok_or_else(|| format!("\"{word}\" is no size: {SIZE}"))
    }
}
