//! A Hugging Face folder: config.json, and model.safetensors or the shards that model.safetensors.index.json names.
//!
//! ```text
//! n: u64 | n bytes of JSON {"lm_head.weight": {"dtype": "BF16", "shape": [8, 4], "data_offsets": [0, 64]}, …} | data
//! ```
//! The header is read here rather than by the safetensors crate, so that an error names the tensor it is about.
use super::super::config::{self, Config};
use super::super::error::{ModelError, Result};
use super::super::matrix::Format;
use super::super::source::{self, Source};
use super::{Entry, Naming, Store};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format's own limit for the header.
const MAX_HEADER: u64 = 100_000_000;

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// Opens the folder.
pub fn open(folder: &Path) -> Result<(Store, Config)> {
    let path = folder.join("config.json");
    let config = config::from_json(&path.display().to_string(), &read(&path)?)?;
    let mut tensors = HashMap::new();
    for file in files(folder)? {
        add(&file, &mut tensors)?;
    }
    Ok((Store { naming: Naming::HuggingFace, name: folder.display().to_string(), tensors }, config))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| ModelError::io(path, &e))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let path = folder.join("model.safetensors.index.json");
    if !path.exists() {
        return Ok(vec![folder.join("model.safetensors")]);
    }
    let name = path.display().to_string();
    let index: Index =
        serde_json::from_str(&read(&path)?).map_err(|e| ModelError::corrupt(&name, format!("is not an index of shards ({e})")))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    // A name that leaves the folder is not a shard of this checkpoint.
    match shards.iter().find(|s| Path::new(s).components().count() != 1 || s.starts_with('.')) {
        Some(bad) => Err(ModelError::corrupt(&name, format!("names the shard {bad:?}, which is not a plain file name"))),
        None => Ok(shards.iter().map(|s| folder.join(s)).collect()),
    }
}

fn add(path: &Path, tensors: &mut HashMap<String, Entry>) -> Result<()> {
    let source = Arc::new(Source::Map(source::map(path)?));
    let file: Arc<str> = path.display().to_string().into();
    let (start, header) = header(&file, source.bytes())?;
    let data = source.bytes().len() - start;
    let mut end = 0;
    for (name, info) in header {
        let (format, shape, begin, len) = info.place(&file, &name, data)?;
        end = end.max(begin + len);
        let entry = Entry { source: source.clone(), file: file.clone(), format, shape, offset: start + begin, len };
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(ModelError::tensor(&file, &name, "is in two shards"));
        }
    }
    if end != data {
        return Err(ModelError::corrupt(&file, format!("goes on for {} bytes after its last tensor", data - end)));
    }
    Ok(())
}

/// Where the data begins, and what the header lists.
fn header(file: &str, bytes: &[u8]) -> Result<(usize, Vec<(String, Info)>)> {
    let short = || ModelError::corrupt(file, "ends inside its header");
    let n = bytes.first_chunk::<8>().map(|n| u64::from_le_bytes(*n)).ok_or_else(short)?;
    if n > MAX_HEADER {
        return Err(ModelError::corrupt(file, format!("claims a header of {n} bytes: it is not a safetensors file")));
    }
    let start = 8 + n as usize;
    let text = bytes.get(8..start).ok_or_else(short)?;
    let json = |e: serde_json::Error| ModelError::corrupt(file, format!("has an unreadable header ({e})"));
    let map: HashMap<String, serde_json::Value> = serde_json::from_slice(text).map_err(json)?;
    let tensors = map.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, value)| {
        let wrong = |e| ModelError::tensor(file, &name, format!("has an unreadable description ({e})"));
        let info = serde_json::from_value(value).map_err(wrong)?;
        Ok((name, info))
    });
    Ok((start, tensors.collect::<Result<_>>()?))
}

/// Format (or the name of an unsupported one), shape, offset in the data, and length in bytes.
type Place = (std::result::Result<Format, String>, Vec<usize>, usize, usize);

impl Info {
    fn place(&self, file: &str, name: &str, data: usize) -> Result<Place> {
        let wrong = |problem: &str| ModelError::tensor(file, name, problem);
        let (begin, end) = self.data_offsets;
        let len = end.checked_sub(begin).ok_or_else(|| wrong("ends before it begins"))?;
        if end > data as u64 {
            return Err(wrong("is cut off: the file ends inside it"));
        }
        let format = match self.dtype.as_str() {
            "F32" => Ok(Format::F32),
            "F16" => Ok(Format::F16),
            "BF16" => Ok(Format::BF16),
            "F8_E4M3" => Ok(Format::F8),
            other => Err(format!("of type {other}")),
        };
        let elements = self.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(|| wrong("has a size that overflows"))?;
        let wanted = format.as_ref().map(|f| elements.checked_mul(f.block().1 as u64));
        if wanted.is_ok_and(|wanted| wanted != Some(len)) {
            let (shape, dtype) = (&self.shape, &self.dtype);
            return Err(wrong(&format!("has {len} bytes for shape {shape:?} in {dtype}")));
        }
        // In bounds of a slice in memory, as checked above, so every size fits a usize.
        Ok((format, self.shape.iter().map(|d| *d as usize).collect(), begin as usize, len as usize))
    }
}
