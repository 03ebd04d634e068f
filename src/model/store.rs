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
use super::matrix::f8::Scales;
use super::matrix::{Format, Matrix};
use super::source::{self, Slice, Source};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

mod safetensors;
mod split;

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
        let files = split::files(path)?;
        let sources = files.iter().map(|file| Ok((file.display().to_string(), Arc::new(Source::Map(source::map(file)?)))));
        Self::gguf(&path.display().to_string(), &sources.collect::<Result<Vec<_>>>()?)
    }

    /// Opens a GGUF file that is part of the program.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<(Self, Config)> {
        Self::gguf(name, &[(name.to_owned(), Arc::new(Source::Static(bytes)))])
    }

    /// A model in one file or several.
    fn gguf(name: &str, sources: &[(String, Arc<Source>)]) -> Result<(Self, Config)> {
        let mut tensors = HashMap::new();
        let mut first: Option<Header> = None;
        for (i, (file, source)) in sources.iter().enumerate() {
            let header = Header::read(file, source.bytes())?;
            split::check(&header, i, sources.len())?;
            add(&header, source, &mut tensors)?;
            match &mut first {
                // The configuration asks for the shape of one tensor and whether there is another.
                Some(first) => first.tensors.extend(header.tensors),
                None => first = Some(header),
            }
        }
        let config = first.as_ref().map(config::from_gguf);
        let config = config.unwrap_or_else(|| Err(ModelError::corrupt(name, "has no parts")))?;
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
            let remedy = "Choose a model in F32, F16, BF16, FP8 (E4M3), Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K";
            wrong(format!("is {f}, which is not supported"), remedy)
        })?;
        if entry.shape != shape {
            let problem = format!("has shape {:?}, the configuration asks for {shape:?}", entry.shape);
            return Err(wrong(problem, "The weights do not belong to this configuration; download both again"));
        }
        let data = Slice::new(&entry.source, entry.offset, entry.len, format.block().2);
        let data = data.ok_or_else(|| wrong("is cut off".into(), "Download it again"))?;
        let (rows, cols) = (shape.iter().rev().skip(1).product(), shape.last().copied().unwrap_or(1));
        if format != Format::F8 {
            return Ok(Matrix::new(format, rows, cols, data));
        }
        let scaled = Matrix::with_scales(rows, cols, data, self.scales(name, rows, cols)?);
        scaled.ok_or_else(|| wrong("has scales that do not fit".into(), "Download it again"))
    }

    /// What a tensor in FP8 is multiplied by: `NAME_scale_inv` or `NAME_scale`.
    fn scales(&self, name: &str, rows: usize, cols: usize) -> Result<Scales> {
        let found = ["_scale_inv", "_scale"].map(|end| format!("{name}{end}")).into_iter().find(|n| self.has(n));
        let wrong = |problem: String| ModelError::Tensor {
            file: self.name.clone(),
            tensor: name.into(),
            problem,
            remedy: "Choose a checkpoint with one scale for a tensor, for a row, or for 128 × 128 weights".into(),
        };
        let Some((scale, shape)) = found.and_then(|n| self.tensors.get(&n).map(|e| e.shape.clone()).map(|shape| (n, shape))) else {
            return Err(wrong(format!("is in FP8, and neither {name}_scale_inv nor {name}_scale is there")));
        };
        let count: usize = shape.iter().product();
        let mut values = vec![0.0; count];
        // As one row of numbers, whatever its shape.
        let flat = self.take(&scale, &shape)?;
        values.chunks_exact_mut(flat.cols.max(1)).enumerate().for_each(|(row, out)| flat.row(row, out));
        Scales::new(values, &shape, rows, cols).ok_or_else(|| wrong(format!("has scales of shape {shape:?}, which is not supported")))
    }
}

/// Bytes of a checkpoint's files on disk; 0 where there is nothing.
pub fn size(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    if !path.is_dir() {
        return split::files(path).map_or(0, |files| files.iter().map(|f| size(f)).sum());
    }
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|f| f.extension().is_some_and(|e| e == "safetensors")).map(|f| size(&f)).sum()
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

/// Adds the tensors of one GGUF file.
fn add(header: &Header, source: &Arc<Source>, tensors: &mut HashMap<String, Entry>) -> Result<()> {
    let file: Arc<str> = header.file.as_str().into();
    let mut mine = HashMap::new();
    for (tensor, info) in &header.tensors {
        mine.insert(tensor.clone(), Entry::gguf(source, &file, tensor, info)?);
    }
    check_end(header, &mine)?;
    for (tensor, entry) in mine {
        if tensors.contains_key(&tensor) {
            return Err(ModelError::tensor(&file, &tensor, "is in two parts of the model"));
        }
        tensors.insert(tensor, entry);
    }
    Ok(())
}

/// The file with the metadata of a GGUF model.
pub fn first(path: &Path) -> Result<std::path::PathBuf> {
    Ok(split::files(path)?.swap_remove(0))
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
