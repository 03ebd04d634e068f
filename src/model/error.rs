//! Why a model cannot be used: the file, the tensor where there is one, and what to do.
//!
//! ```text
//! model.safetensors: tensor "lm_head.weight" has shape [8, 4], the configuration asks for [16, 4].
//!     The file does not belong to this config.json; download both again.
//! ```
use std::path::Path;

/// One sentence on what is wrong with a model and one on the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The file as a whole is unreadable, truncated or not what it claims to be.
    #[error("{file}: {problem}. {remedy}")]
    File { file: String, problem: String, remedy: String },
    /// One tensor is missing, cut short, of the wrong shape or in a format that cannot be used.
    #[error("{file}: tensor {tensor:?} {problem}. {remedy}")]
    Tensor { file: String, tensor: String, problem: String, remedy: String },
    /// A value of the configuration is missing or makes no sense.
    #[error("{file}: {key} {problem}. {remedy}")]
    Config { file: String, key: String, problem: String, remedy: String },
    /// A well-formed model of another kind.
    #[error(
        "{file}: the architecture is {found:?}; infill runs DeepSeek-V2 (deepseek_v2, in GGUF deepseek2). Choose a DeepSeek-Coder-V2 model"
    )]
    Architecture { file: String, found: String },
}

/// What loading returns.
pub type Result<T> = std::result::Result<T, ModelError>;

const AGAIN: &str = "Download it again";

impl ModelError {
    /// A file whose bytes are wrong: the remedy is a new copy.
    pub fn corrupt(file: &str, problem: impl Into<String>) -> Self {
        Self::File { file: file.into(), problem: problem.into(), remedy: AGAIN.into() }
    }

    /// A file that the system would not give us.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        let remedy = "Check the path and its permissions".into();
        Self::File { file: path.display().to_string(), problem: format!("cannot be read ({error})"), remedy }
    }

    /// A tensor whose bytes or description are wrong.
    pub fn tensor(file: &str, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor { file: file.into(), tensor: tensor.into(), problem: problem.into(), remedy: AGAIN.into() }
    }

    /// A configuration value that is missing or impossible.
    pub fn config(file: &str, key: &str, problem: impl Into<String>) -> Self {
        let remedy = "Use the configuration that was published with the weights".into();
        Self::Config { file: file.into(), key: key.into(), problem: problem.into(), remedy }
    }
}
