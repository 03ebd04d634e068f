//! What was learnt for a model, in a file beside its weights.
//!
//! ```text
//! nano             fixtures/nano/nano.json, inside the binary
//! FOLDER           FOLDER/infill.json
//! NAME.gguf        NAME.infill.json
//! ```
//! `infill eval holes DIR --learn FILE` writes it. A model without one is used without.
use super::{EngineError, Source, error};
use crate::worker::copy::Copying;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// The least probability of a suggestion that is worth showing unasked, 0 to 1.
    pub show_threshold: Option<f32>,
    /// How what stands around the cursor is copied; nothing is without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying: Option<Copying>,
    /// On what it was learnt, for who reads the file.
    #[serde(default)]
    pub learnt: serde_json::Value,
}

/// The file beside a model.
pub(super) fn read(source: &Source) -> Result<Sidecar, EngineError> {
    let path = match source {
        #[cfg(feature = "nano")]
        Source::Nano => return parse(include_str!("../../../fixtures/nano/nano.json"), "nano.json"),
        #[cfg(not(feature = "nano"))]
        Source::Nano => return Ok(Sidecar::default()),
        Source::Folder(folder) => folder.join("infill.json"),
        Source::Gguf(file) => beside(file),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path.display().to_string()),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(Sidecar::default()),
        Err(reason) => Err(bad(&path.display().to_string(), &crate::config::plain(&reason))),
    }
}

/// `NAME.infill.json` of `NAME.gguf`.
fn beside(file: &Path) -> PathBuf {
    file.with_extension("infill.json")
}

fn parse(text: &str, name: &str) -> Result<Sidecar, EngineError> {
    let sidecar: Sidecar = serde_json::from_str(text).map_err(|reason| bad(name, &reason.to_string()))?;
    match sidecar.show_threshold {
        Some(p) if !(0.0..=1.0).contains(&p) => Err(bad(name, &format!("show_threshold {p} is no probability from 0 to 1"))),
        _ => match sidecar.copying.as_ref().and_then(Copying::fault) {
            Some(fault) => Err(bad(name, &fault)),
            None => Ok(sidecar),
        },
    }
}

fn bad(name: &str, why: &str) -> EngineError {
    let hint = "write it with `infill eval holes DIR --learn FILE`, or remove it";
    error(format!("{name}, beside the model's weights, cannot be used ({why})"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_beside_the_weights() {
        let folder = tempfile::tempdir().unwrap();
        let gguf = folder.path().join("some-model.Q4_K_M.gguf");
        let beside = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let of_file = || read(&Source::Gguf(gguf.clone())).map(|s| s.show_threshold);
        let of_folder = || read(&Source::Folder(folder.path().to_owned())).map(|s| s.show_threshold);
        assert_eq!((of_file(), of_folder()), (Ok(None), Ok(None)));
        beside("some-model.Q4_K_M.infill.json", "{\"show_threshold\": 0.25}");
        beside("infill.json", "{\"show_threshold\": 0.5, \"learnt\": {\"holes\": 9}}");
        assert_eq!((of_file(), of_folder()), (Ok(Some(0.25)), Ok(Some(0.5))));
        for (text, word) in [
            ("{\"show_threshold\": 2}", "no probability"),
            ("{\"threshold\": 0.5}", "unknown field"),
            ("{\"copying\": {\"reach\": 9999999, \"sharpness\": 1, \"weights\": [0, 0, 0, 0, 0]}}", "copying.reach"),
            ("", "EOF"),
        ] {
            beside("infill.json", text);
            let error = of_folder().unwrap_err().to_string();
            assert!(error.contains("infill.json") && error.contains(word) && error.contains("--learn"), "{error}");
        }
    }

    #[test]
    #[cfg(feature = "nano")]
    fn nano_has_one() {
        assert!(read(&Source::Nano).unwrap().show_threshold.is_some_and(|p| p > 0.0 && p < 1.0));
    }
}
