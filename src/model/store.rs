//! The tensors of a checkpoint by name: a GGUF file, or a Hugging Face folder of safetensors.
//!
//! ```no_run
//! # fn main() -> infill::model::error::Result<()> {
//! let (store, config) = infill::model::store::Store::open("DeepSeek-Coder-V2-Lite-Base".as_ref())?;
//! let head = store.matrix("lm_head.weight", config.vocab, config.hidden)?;
//! # Ok(()) }
//! ```
use super::config::{self, Config};
use super::error::{ModelError, Result};
use super::gguf::{Header, TensorInfo};
use super::matrix::{Format, Matrix};
use super::source::{self, Slice, Source};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

mod safetensors;

/// A tensor that nobody has asked for yet: its bytes lie inside the source, its format may be unknown.
struct Entry {
    source: Arc<Source>,
    file: Arc<str>,
    /// `Err` names a format that is not supported: an error only for who wants this tensor.
    format: std::result::Result<Format, String>,
    shape: Vec<usize>,
    offset: usize,
    len: usize,
}

/// How the checkpoint names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    HuggingFace,
    Ggml,
}

/// The tensors of one checkpoint.
pub struct Store {
    pub naming: Naming,
    /// What errors call the checkpoint.
    pub name: String,
    tensors: HashMap<String, Entry>,
}

impl Store {
    /// Opens a `.gguf` file, or a folder with config.json and safetensors. Weights stay in the files until they are used.
    ///
    /// # Errors
    /// A file that is missing, truncated or padded; another architecture.
    pub fn open(path: &Path) -> Result<(Self, Config)> {
        if path.is_dir() {
            return safetensors::open(path);
        }
        let map = source::map(path)?;
        Self::gguf(&path.display().to_string(), Source::Map(map))
    }

    /// Opens a GGUF file that is part of the program.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<(Self, Config)> {
        Self::gguf(name, Source::Static(bytes))
    }

    fn gguf(name: &str, source: Source) -> Result<(Self, Config)> {
        let source = Arc::new(source);
        let header = Header::read(name, source.bytes())?;
        let config = config::from_gguf(&header)?;
        let file: Arc<str> = name.into();
        let entries = header.tensors.iter();
        let entries = entries.map(|(tensor, info)| Ok((tensor.clone(), Entry::gguf(&source, &file, tensor, info)?)));
        let tensors = entries.collect::<Result<_>>()?;
        check_end(&header, &tensors)?;
        Ok((Self { naming: Naming::Ggml, name: name.into(), tensors }, config))
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor as a matrix of `rows` rows.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix> {
        self.take(name, &[rows, cols])
    }

    /// A tensor of three dimensions as `count` matrices.
    pub fn stack(&self, name: &str, count: usize, rows: usize, cols: usize) -> Result<Vec<Matrix>> {
        let all = self.take(name, &[count, rows, cols])?;
        Ok((0..count).map(|i| all.part(i * rows, rows)).collect())
    }

    /// A tensor of one dimension, as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; len];
        self.take(name, &[len])?.row(0, &mut out);
        Ok(out)
    }

    /// A tensor of exactly this shape; all dimensions but the last become rows.
    fn take(&self, name: &str, shape: &[usize]) -> Result<Matrix> {
        let missing = || ModelError::tensor(&self.name, name, "is missing");
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let wrong = |problem: String, remedy: &str| {
            let (file, tensor) = (entry.file.to_string(), name.to_string());
            ModelError::Tensor { file, tensor, problem, remedy: remedy.into() }
        };
        let format = entry.format.clone().map_err(|f| {
            let remedy = "Choose a model in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K";
            wrong(format!("is {f}, which is not supported"), remedy)
        })?;
        if entry.shape != shape {
            let problem = format!("has shape {:?}, the configuration asks for {shape:?}", entry.shape);
            return Err(wrong(problem, "The weights do not belong to this configuration; download both again"));
        }
        let data = Slice::new(&entry.source, entry.offset, entry.len, format.block().2);
        let data = data.ok_or_else(|| wrong("is cut off".into(), "Download it again"))?;
        let cols = shape.last().copied().unwrap_or(1);
        Ok(Matrix::new(format, shape.iter().rev().skip(1).product(), cols, data))
    }
}

/// Bytes of a tensor; `None` where its rows are not whole blocks or the size overflows.
fn bytes_of(format: Format, shape: &[usize]) -> Option<usize> {
    let (last, rest) = shape.split_last()?;
    rest.iter().try_fold(format.row_bytes(*last)?, |n, d| n.checked_mul(*d))
}

impl Entry {
    /// A tensor of a GGUF file; it must lie inside.
    fn gguf(source: &Arc<Source>, file: &Arc<str>, tensor: &str, info: &TensorInfo) -> Result<Self> {
        let wrong = |problem: &str| ModelError::tensor(file, tensor, problem);
        let format = Format::from_ggml(info.kind).ok_or_else(|| format!("of ggml type {}", info.kind));
        // The size of an unknown format is unknown: nobody can ask for its bytes.
        let len = format.as_ref().map_or(Some(0), |f| bytes_of(*f, &info.shape));
        let len = len.ok_or_else(|| wrong("is not a whole number of quantised blocks"))?;
        let end = info.offset.checked_add(len);
        if end.is_none_or(|end| end > source.bytes().len()) {
            return Err(wrong("is cut off: the file ends inside it"));
        }
        let (source, file, shape) = (source.clone(), file.clone(), info.shape.clone());
        Ok(Self { source, file, format, shape, offset: info.offset, len })
    }
}

/// A file that goes on after its last tensor is not the file that was published (two downloads in one, say).
fn check_end(header: &Header, tensors: &HashMap<String, Entry>) -> Result<()> {
    let last = tensors.iter().max_by_key(|(_, entry)| entry.offset + entry.len);
    let Some((tensor, entry)) = last.filter(|(_, entry)| entry.format.is_ok()) else {
        return Ok(());
    };
    let end = (entry.offset + entry.len).next_multiple_of(header.alignment);
    let extra = header.bytes.len().saturating_sub(end);
    if extra == 0 {
        return Ok(());
    }
    let problem = format!("goes on for {extra} bytes after its last tensor, {tensor:?}");
    Err(ModelError::corrupt(&header.file, problem))
}
