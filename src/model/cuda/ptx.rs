//! The kernels inside this binary: PTX, compressed, for two targets.
//!
//! ```
//! let texts = infill::model::cuda::ptx::texts("80")?;
//! assert!(infill::model::cuda::ptx::kernels(&texts[0].1).count() > 0);
//! # anyhow::Ok(())
//! ```
//! `kernels/check` compiles them anew and fails when these are stale.
use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use std::io::Read;

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../../kernels/ptx/", $name, ".80.ptx.gz")), include_bytes!(concat!("../../../kernels/ptx/", $name, ".90a.ptx.gz"))),)*]
    };
}

type File = (&'static str, &'static [u8], &'static [u8]);

const FILES: &[File] =
    files!("copy" "embed" "experts" "gemm" "gemv" "latent" "mla_combine" "mla_decode" "mla_tiles" "norm" "router" "sample" "sort");

/// (file, PTX) of every kernel for "80" or "90a".
///
/// # Errors
/// Another target, or bytes that are damaged.
pub fn texts(target: &str) -> Result<Vec<(&'static str, String)>> {
    let one = |file: &File| {
        let bytes = match target {
            "80" => file.1,
            "90a" => file.2,
            _ => bail!("there are no kernels for {target}"),
        };
        let mut text = String::new();
        GzDecoder::new(bytes).read_to_string(&mut text).with_context(|| format!("the kernels of {} are damaged", file.0))?;
        Ok((file.0, text))
    };
    FILES.iter().map(one).collect()
}

/// The names of the kernels in a PTX text.
pub fn kernels(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(".visible .entry ")).map(|rest| rest.trim_end_matches('('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_targets_hold_the_same_kernels() {
        let names = |target: &str| -> Vec<String> {
            let texts = texts(target).unwrap();
            assert!(texts.iter().all(|(_, text)| text.contains(&format!(".target sm_{target}"))), "{target}");
            texts.iter().flat_map(|(_, text)| kernels(text).map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        let (a, b) = (names("80"), names("90a"));
        assert_eq!(a, b);
        for kernel in ["gemv_q4_k_8", "gate_up_bf16", "mla_tiles_4x2", "sample", "copy_block", "gemm_f8"] {
            assert!(a.iter().any(|n| n == kernel), "{kernel} of {a:?}");
        }
        assert!(texts("75").is_err());
    }
}
