//! Runs one kernel on a device and its plain reference on the host, over the same data, and compares what they leave.
//!
//! ```ignore
//! let mut case = Case::new(bench);
//! let (x, y) = (case.f32(numbers(64, 1)), case.out_f32(64, 1e-5));   // y begins as NaN
//! case.run("rms_norm", "rms_norm", [3, 1, 1], 64, |at| Norm { x: at(x), out: at(y), … });
//! ```
use infill::model::cuda::args::{Args, Ptr};
use infill::model::cuda::driver::Driver;
use infill::model::cuda::emulated::Emulated;
use infill::model::cuda::gpu::{Buffer, Gpu, Launch};
use std::path::PathBuf;
use std::sync::Arc;

/// The device under test, and the library that holds the references.
pub struct Bench {
    pub gpu: Arc<dyn Gpu>,
    pub references: Emulated,
    pub emulated: bool,
}

impl Bench {
    /// `INFILL_TEST_DEVICE`: `cuda:N`, or `emulated` with threads in order 0, 1 or 2 (`emulated:2`).
    pub fn from_environment() -> Bench {
        let kernels = std::env::var_os("INFILL_KERNELS").map_or_else(|| root().join("target/kernels/libkernels.so"), PathBuf::from);
        let references = Emulated::open(&kernels).unwrap();
        let device = std::env::var("INFILL_TEST_DEVICE").unwrap_or_else(|_| "emulated:0".into());
        let (kind, number) = device.split_once(':').unwrap_or((&device, "0"));
        let number: usize = number.parse().unwrap();
        let gpu: Arc<dyn Gpu> = match kind {
            "cuda" => Arc::new(Driver::open(number).unwrap()),
            "emulated" => Arc::new(Emulated::with_order(&kernels, number as i32).unwrap()),
            _ => panic!("INFILL_TEST_DEVICE={device}: cuda:N or emulated:ORDER"),
        };
        Bench { gpu, references, emulated: kind == "emulated" }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    F32,
    Bf16,
    Bytes,
}

struct Array {
    bytes: Vec<u8>,
    kind: Type,
    /// Outputs: how far a value may be off, as a share of the outputs' root mean square.
    tolerance: Option<f32>,
}

pub struct Case<'a> {
    bench: &'a Bench,
    arrays: Vec<Array>,
}

/// Which array.
#[derive(Clone, Copy)]
pub struct At(pub usize);

impl<'a> Case<'a> {
    pub fn new(bench: &'a Bench) -> Self {
        Case { bench, arrays: Vec::new() }
    }

    fn add(&mut self, bytes: Vec<u8>, kind: Type, tolerance: Option<f32>) -> At {
        self.arrays.push(Array { bytes, kind, tolerance });
        At(self.arrays.len() - 1)
    }

    pub fn f32(&mut self, values: &[f32]) -> At {
        self.add(values.iter().flat_map(|x| x.to_le_bytes()).collect(), Type::F32, None)
    }

    pub fn bf16(&mut self, values: &[f32]) -> At {
        self.add(values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect(), Type::Bf16, None)
    }

    pub fn i32(&mut self, values: &[i32]) -> At {
        self.add(values.iter().flat_map(|x| x.to_le_bytes()).collect(), Type::Bytes, None)
    }

    pub fn bytes(&mut self, bytes: Vec<u8>) -> At {
        self.add(bytes, Type::Bytes, None)
    }

    /// An output that begins as NaN.
    pub fn out_f32(&mut self, n: usize, tolerance: f32) -> At {
        self.add(vec![0xff; n * 4], Type::F32, Some(tolerance))
    }

    pub fn out_bf16(&mut self, n: usize, tolerance: f32) -> At {
        self.add(vec![0xff; n * 2], Type::Bf16, Some(tolerance))
    }

    /// An output whose bytes must be the same.
    pub fn out_i32(&mut self, n: usize) -> At {
        self.add(vec![0xff; n * 4], Type::Bytes, Some(0.0))
    }

    /// Makes an output an input, which must stay as it is.
    pub fn only_in(&mut self, at: At) {
        self.arrays[at.0].tolerance = None;
    }

    /// Leaves an array out of the comparison: the test looks at it itself.
    pub fn free(&mut self, at: At) {
        self.arrays[at.0].tolerance = Some(f32::INFINITY);
    }

    /// What the reference alone leaves.
    pub fn reference<A: Args>(&self, name: &str, args: impl Fn(&dyn Fn(At) -> Ptr) -> A) -> Vec<Vec<u8>> {
        let mut host: Vec<Vec<u64>> = self.arrays.iter().map(|a| words(&a.bytes)).collect();
        let pointers: Vec<Ptr> = host.iter_mut().map(|h| h.as_mut_ptr() as Ptr).collect();
        self.bench.references.reference(name, args(&|at| pointers[at.0]).bytes()).unwrap();
        let bytes = |(i, h): (usize, &Vec<u64>)| h.iter().flat_map(|w| w.to_le_bytes()).take(self.arrays[i].bytes.len()).collect();
        host.iter().enumerate().map(bytes).collect()
    }

    /// Makes an input an output as well.
    pub fn also_out(&mut self, at: At, tolerance: f32) -> At {
        self.arrays[at.0].tolerance = Some(tolerance);
        at
    }

    /// Runs both, compares all outputs, and returns the device's.
    pub fn run<A: Args>(
        &self,
        kernel: &str,
        reference: &str,
        grid: [usize; 3],
        shared: usize,
        args: impl Fn(&dyn Fn(At) -> Ptr) -> A,
    ) -> Vec<Vec<u8>> {
        self.run_with(256, kernel, reference, grid, shared, args)
    }

    pub fn run_with<A: Args>(
        &self,
        threads: u32,
        kernel: &str,
        reference: &str,
        grid: [usize; 3],
        shared: usize,
        args: impl Fn(&dyn Fn(At) -> Ptr) -> A,
    ) -> Vec<Vec<u8>> {
        let gpu = &self.bench.gpu;
        let buffers: Vec<Buffer> = self.arrays.iter().map(|a| Buffer::new(gpu, a.bytes.len(), "a test").unwrap()).collect();
        self.arrays.iter().zip(&buffers).for_each(|(a, b)| gpu.upload(b.at(0), &a.bytes).unwrap());
        let launch = Launch { threads, ..Launch::new(kernel, grid, shared, &args(&|at| buffers[at.0].at(0))) };
        gpu.launch(&launch).unwrap();
        gpu.wait().unwrap();
        // Eight bytes at a time, so that every element is aligned.
        let mut host: Vec<Vec<u64>> = self.arrays.iter().map(|a| words(&a.bytes)).collect();
        let pointers: Vec<Ptr> = host.iter_mut().map(|h| h.as_mut_ptr() as Ptr).collect();
        self.bench.references.reference(reference, args(&|at| pointers[at.0]).bytes()).unwrap();
        let mut all = Vec::new();
        for (i, (array, buffer)) in self.arrays.iter().zip(&buffers).enumerate() {
            let mut got = vec![0; array.bytes.len()];
            gpu.download(buffer.at(0), &mut got).unwrap();
            let want: Vec<u8> = host[i].iter().flat_map(|w| w.to_le_bytes()).take(got.len()).collect();
            match array.tolerance {
                Some(f32::INFINITY) => {}
                Some(tolerance) => compare(&format!("{kernel}, array {i}"), array.kind, &got, &want, tolerance),
                None => assert!(got == array.bytes, "{kernel} wrote into its input {i}"),
            }
            all.push(got);
        }
        all
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub fn halves(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
}

fn compare(what: &str, kind: Type, got: &[u8], want: &[u8], tolerance: f32) {
    let (got, want) = match kind {
        Type::Bytes => {
            return assert!(got == want, "{what}: {:?} … and not {:?} …", &got[..got.len().min(64)], &want[..want.len().min(64)]);
        }
        Type::F32 => (floats(got), floats(want)),
        Type::Bf16 => (halves(got), halves(want)),
    };
    let finite: Vec<f32> = want.iter().copied().filter(|x| x.is_finite()).collect();
    assert!(!finite.is_empty(), "{what}: the reference wrote nothing");
    let rms = (finite.iter().map(|x| x * x).sum::<f32>() / finite.len() as f32).sqrt();
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        // Untouched stays untouched; infinities are equal.
        let same = (g.is_nan() && w.is_nan()) || g == w;
        assert!(same || (g - w).abs() <= tolerance * (rms + w.abs()), "{what}[{i}] of {}: {g}, not {w} (rms {rms})", got.len());
    }
}

/// The repository: where this was built, or INFILL_ROOT where it was carried to.
fn root() -> PathBuf {
    std::env::var_os("INFILL_ROOT").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// The folder of one reference checkpoint.
pub fn reference(shape: &str) -> PathBuf {
    root().join("fixtures/reference").join(shape)
}

/// The tokens of a prompt of the reference.
pub fn prompt(shape: &str, name: &str) -> Vec<u32> {
    let all = candle_core::safetensors::load(reference(shape).join("reference.safetensors"), &candle_core::Device::Cpu).unwrap();
    all[&format!("{name}.ids")].to_vec1::<i64>().unwrap().into_iter().map(|i| i as u32).collect()
}

/// Numbers in -1..1.
pub fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Numbers that eight bits hold exactly: whole, and ±127 in each block of 32. So rounded activations can be compared as tightly as others.
pub fn whole(n: usize, seed: u32) -> Vec<f32> {
    numbers(n, seed).iter().enumerate().map(|(i, x)| if i % 32 == (i / 32) % 32 { 127.0 } else { (x * 127.0).round() } / 64.0).collect()
}
