//! Checkpoints in FP8, in the three layouts that are published (src/model/matrix/f8.rs), and the same numbers in f32.
//!
//! ```ignore
//! let (eight, plain) = fp8(&reference("lite"), folder.path(), Layout8::Block);
//! assert!(run(&eight) == run(&plain));
//! ```
use candle_core::{DType, Device, Tensor};
use infill::model::matrix::f8::value;
use safetensors::{Dtype, tensor::TensorView};
use std::path::{Path, PathBuf};

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout8 {
    /// 128 × 128, `weight_scale_inv` in f32.
    Block,
    /// A row, `weight_scale` [rows, 1] in bf16.
    Row,
    /// The tensor, `weight_scale` [] in f32.
    Whole,
}

/// Writes `to/eight` and `to/plain`.
pub fn fp8(from: &Path, to: &Path, layout: Layout8) -> (PathBuf, PathBuf) {
    let (mut eight, mut plain) = (Vec::new(), Vec::new());
    for (name, tensor) in candle_core::safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap() {
        // As in the published ones: embedding, head, norms and routers stay.
        if !name.contains("_proj") {
            let bytes = bytes(&tensor.to_dtype(DType::F32).unwrap());
            plain.push((name.clone(), Dtype::F32, tensor.dims().to_vec(), bytes.clone()));
            eight.push((name, Dtype::F32, tensor.dims().to_vec(), bytes));
            continue;
        }
        let rounded = round(&tensor, layout);
        let shape = tensor.dims().to_vec();
        plain.push((name.clone(), Dtype::F32, shape.clone(), rounded.plain));
        let end = if layout == Layout8::Block { "_scale_inv" } else { "_scale" };
        eight.push((format!("{name}{end}"), rounded.kind, rounded.shape, rounded.scales));
        eight.push((name, Dtype::F8_E4M3, shape, rounded.bytes));
    }
    (write(from, &to.join("eight"), &eight), write(from, &to.join("plain"), &plain))
}

type Named = (String, Dtype, Vec<usize>, Vec<u8>);

fn write(from: &Path, to: &Path, tensors: &[Named]) -> PathBuf {
    std::fs::create_dir(to).unwrap();
    std::fs::copy(from.join("config.json"), to.join("config.json")).unwrap();
    let views = tensors.iter().map(|(name, kind, shape, bytes)| (name.clone(), TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &to.join("model.safetensors")).unwrap();
    to.to_owned()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().flat_map(|x| x.to_le_bytes()).collect()
}

struct Rounded {
    bytes: Vec<u8>,
    plain: Vec<u8>,
    kind: Dtype,
    shape: Vec<usize>,
    scales: Vec<u8>,
}

fn round(tensor: &Tensor, layout: Layout8) -> Rounded {
    let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    let (count, cols) = (rows.len(), rows[0].len());
    let (step, width, shape) = match layout {
        Layout8::Block => (128, 128, vec![count.div_ceil(128), cols.div_ceil(128)]),
        Layout8::Row => (1, cols, vec![count, 1]),
        Layout8::Whole => (count, cols, vec![]),
    };
    let across = cols.div_ceil(width);
    let mut most = vec![0f32; count.div_ceil(step) * across];
    let place = |r: usize, c: usize| r / step * across + c / width;
    rows.iter()
        .enumerate()
        .for_each(|(r, row)| row.iter().enumerate().for_each(|(c, x)| most[place(r, c)] = most[place(r, c)].max(x.abs())));
    // A published scale has sixteen bits or more; here all have sixteen, so that both kinds hold them.
    let scales: Vec<half::bf16> = most.iter().map(|m| half::bf16::from_f32(m / 448.0)).collect();
    let kind = if layout == Layout8::Row { Dtype::BF16 } else { Dtype::F32 };
    let mut out = Rounded { bytes: vec![], plain: vec![], kind, shape, scales: vec![] };
    for s in &scales {
        if kind == Dtype::BF16 { out.scales.extend(s.to_le_bytes()) } else { out.scales.extend(s.to_f32().to_le_bytes()) }
    }
    for (r, row) in rows.iter().enumerate() {
        for (c, x) in row.iter().enumerate() {
            let scale = scales[place(r, c)].to_f32();
            let byte = nearest(x / scale);
            out.bytes.push(byte);
            out.plain.extend((value(byte) * scale).to_le_bytes());
        }
    }
    out
}

/// The byte whose value is nearest.
fn nearest(x: f32) -> u8 {
    let size = (0..0x7fu8).min_by(|a, b| (value(*a) - x.abs()).abs().total_cmp(&(value(*b) - x.abs()).abs())).unwrap();
    if x < 0.0 { size | 0x80 } else { size }
}
