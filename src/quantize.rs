//! `infill quantize FOLDER OUT.gguf`: a Hugging Face folder as one GGUF file, a fraction of its size.
//!
//! ```text
//! infill quantize DeepSeek-Coder-V2-Lite-Base lite.gguf --to q4_k_m      31.4 GB -> 10.4 GB
//! ```
//! Rows are read where they lie in the mapped safetensors, rounded, and written in the order of the file: it needs
//! some hundred megabytes of memory whatever the model's size. Names, keys and layout are those of llama.cpp's
//! converter, so that llama.cpp loads the file too.
use crate::model::matrix::{Format, Matrix};
use crate::model::store::Store;
use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::k_quants::{self as k, GgmlType};
use plan::Tensor;
use rayon::prelude::*;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

mod keys;
mod plan;
mod words;

/// What the file is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Eight bits a weight: nothing to see of the rounding.
    #[value(name = "q8_0")]
    Q8_0,
    /// Four to six bits a weight, as llama.cpp mixes them: a third of the size, slightly worse.
    #[value(name = "q4_k_m")]
    Q4KM,
}

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A folder with config.json, tokenizer.json and safetensors.
    pub folder: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// The weights' type.
    #[arg(long, value_enum, default_value = "q4_k_m")]
    pub to: Target,
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    pub tensors: usize,
    pub bytes: u64,
}

/// Rows that are rounded at once, in values.
const PIECE: usize = 1 << 22;

/// Writes the file.
///
/// # Errors
/// A folder that is not a DeepSeek-V2 model, a file that exists or cannot be written.
pub fn run(options: &Options) -> Result<Written> {
    let (folder, out) = (&options.folder, &options.out);
    ensure!(folder.is_dir(), "{}: is not a folder; name one with config.json, tokenizer.json and safetensors", folder.display());
    ensure!(!out.exists(), "{}: exists already; remove it, or name another file", out.display());
    let (store, config) = Store::open(folder)?;
    let tensors = plan::tensors(&store, &config, options.to)?;
    let words = words::read(&folder.join("tokenizer.json"), config.vocab)?;
    let keys = keys::all(folder, &config, options.to, &words)?;
    // Nobody finds half a model under the name asked for.
    let part = PathBuf::from(format!("{}.part", out.display()));
    let written = write(&part, &keys, &tensors, &store).with_context(|| format!("{}: cannot be written", part.display()));
    let written = written.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
    std::fs::rename(&part, out).with_context(|| format!("{}: cannot be given its name", part.display()))?;
    Ok(written)
}

fn write(path: &Path, keys: &[u8], tensors: &[Tensor], store: &Store) -> Result<Written> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    let mut at = head(&mut out, keys, tensors)?;
    let bar = progress(tensors.iter().map(Tensor::bytes).sum());
    for tensor in tensors {
        tensor.source.each(store, |matrix| {
            for first in (0..matrix.rows).step_by((PIECE / matrix.cols).max(1)) {
                let count = (PIECE / matrix.cols).max(1).min(matrix.rows - first);
                let bytes = rounded(&matrix.part(first, count), tensor.format)?;
                out.write_all(&bytes)?;
                bar.inc(bytes.len() as u64);
            }
            Ok(())
        })?;
        at += tensor.bytes();
        at += pad(&mut out, at)?;
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    bar.finish_and_clear();
    Ok(Written { tensors: tensors.len(), bytes: at })
}

/// Keys and the tensors' descriptions; returns the length.
fn head(out: &mut impl Write, keys: &[u8], tensors: &[Tensor]) -> Result<u64> {
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(keys);
    let mut offset = 0u64;
    for tensor in tensors {
        keys::text(&mut head, &tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|n| head.extend((*n as u64).to_le_bytes()));
        head.extend((tensor.format as u32).to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out.write_all(&head)?;
    let length = head.len() as u64;
    Ok(length + pad(out, length)?)
}

/// GGUF's own alignment of tensors.
const ALIGNMENT: u64 = 32;

fn pad(out: &mut impl Write, at: u64) -> Result<u64> {
    let n = at.next_multiple_of(ALIGNMENT) - at;
    out.write_all(&vec![0; n as usize])?;
    Ok(n)
}

fn progress(bytes: u64) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    let bar = indicatif::ProgressBar::new(bytes);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

/// The rows of a matrix in another format, as bytes.
fn rounded(matrix: &Matrix, format: Format) -> Result<Vec<u8>> {
    let size = format.row_bytes(matrix.cols).context("a row of broken blocks")?;
    let mut out = vec![0; size * matrix.rows];
    out.par_chunks_mut(size).enumerate().try_for_each(|(i, out)| {
        let mut row = vec![0.0; matrix.cols];
        matrix.row(i, &mut row);
        match format {
            Format::F32 => out.as_chunks_mut().0.iter_mut().zip(&row).for_each(|(o, x)| *o = x.to_le_bytes()),
            Format::Q8_0 => blocks::<k::BlockQ8_0>(&row, out),
            Format::Q5_0 => blocks::<k::BlockQ5_0>(&row, out),
            Format::Q4K => blocks::<k::BlockQ4K>(&row, out),
            Format::Q6K => blocks::<k::BlockQ6K>(&row, out),
            other => bail!("{other:?} is never written"),
        }
        Ok(())
    })?;
    Ok(out)
}

fn blocks<T: GgmlType>(row: &[f32], out: &mut [u8]) {
    let mut blocks = vec![T::zeros(); row.len() / T::BLCK_SIZE];
    T::from_float(row, &mut blocks);
    // SAFETY: candle's blocks are repr(C), of integers and f16 without padding: their bytes are the file's.
    let bytes = unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<u8>(), std::mem::size_of_val(&blocks[..])) };
    out.copy_from_slice(bytes);
}
