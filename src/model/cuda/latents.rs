//! How latents lie in the device's pool (kernels/slot.cuh).
//!
//! ```
//! use infill::model::cuda::latents::Latents;
//! // The published widths: 512 latent values and a rotated key of 64.
//! assert_eq!((Latents::Bf16.slot(512, 64), Latents::F8.slot(512, 64)), (1152, 656));
//! ```
use crate::model::config::Config;

/// The format of one position of one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latents {
    #[default]
    Bf16,
    /// E4M3 with an f32 scale for each 128; the rotated key stays bf16.
    F8,
}

/// Values that share a scale.
const GROUP: usize = 128;

impl Latents {
    /// Bytes of a slot.
    pub fn slot(self, kv_lora: usize, rope: usize) -> usize {
        match self {
            Self::Bf16 => (kv_lora + rope) * 2,
            Self::F8 => kv_lora + kv_lora.div_ceil(GROUP) * 4 + rope * 2,
        }
    }

    /// Bytes of one position in all layers.
    pub fn position(self, c: &Config) -> usize {
        c.layers * self.slot(c.kv_lora, c.rope)
    }

    /// The name of the kernel for this format.
    pub(super) fn kernel(self, name: &str) -> String {
        match self {
            Self::Bf16 => name.to_owned(),
            Self::F8 => format!("{name}_f8"),
        }
    }

    /// As `cache.format` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F8 => "fp8",
        }
    }
}
