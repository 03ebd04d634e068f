//! A device as the backend sees it: memory, launches, recorded launches. The driver is one, the emulation of the kernels another.
//!
//! ```text
//! let x = Buffer::new(&gpu, 4096)?;          freed when dropped
//! gpu.upload(x.at(0), bytes)?;
//! gpu.launch(&Launch { kernel: "gemv_bf16_1".into(), grid: [228, 1, 1], threads: 256, shared: 8192, args })?;
//! ```
//! Everything runs in the order it was asked for.
use super::args::{Args, Ptr};
use anyhow::Result;
use std::sync::Arc;

/// One device.
pub trait Gpu: Send + Sync {
    /// For the log: "NVIDIA H200 (sm_90), driver 13.0".
    fn name(&self) -> String;
    /// Bytes free and in all.
    ///
    /// # Errors
    /// The driver's.
    fn memory(&self) -> Result<(u64, u64)>;
    /// Most shared memory of one block, in bytes.
    fn shared_limit(&self) -> u32;
    /// Multiprocessors.
    fn processors(&self) -> u32;
    /// Uninitialised memory; `None` when there is not enough.
    fn alloc(&self, bytes: usize) -> Option<Ptr>;
    /// Gives back what `alloc` gave, of the same size.
    fn free(&self, at: Ptr, bytes: usize);
    /// Copies to the device; `from` may change as soon as this returns.
    ///
    /// # Errors
    /// The driver's; also that of an earlier launch.
    fn upload(&self, to: Ptr, from: &[u8]) -> Result<()>;
    /// Copies to the host, after everything before is done.
    ///
    /// # Errors
    /// As `upload`.
    fn download(&self, from: Ptr, to: &mut [u8]) -> Result<()>;
    /// Sets every byte.
    ///
    /// # Errors
    /// As `upload`.
    fn fill(&self, at: Ptr, bytes: usize, value: u8) -> Result<()>;
    /// Starts a kernel.
    ///
    /// # Errors
    /// A kernel that is not there, arguments of another size, or the driver's.
    fn launch(&self, launch: &Launch) -> Result<()>;
    /// Makes one unit of launches, which can be run again and again: a CUDA graph.
    ///
    /// # Errors
    /// As `launch`.
    fn record(&self, launches: Vec<Launch>) -> Result<Box<dyn Recording>>;
    /// Waits until everything is done.
    ///
    /// # Errors
    /// As `upload`.
    fn wait(&self) -> Result<()>;
}

/// Launches that were recorded together.
pub trait Recording: Send {
    /// Runs them in order.
    ///
    /// # Errors
    /// The driver's.
    fn replay(&self) -> Result<()>;
}

/// One start of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub threads: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub args: Vec<u8>,
}

impl Launch {
    /// With 256 threads, as most kernels have.
    pub fn new(kernel: impl Into<String>, grid: [usize; 3], shared: usize, args: &impl Args) -> Self {
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { kernel: kernel.into(), grid: grid.map(size), threads: 256, shared: size(shared), args: args.bytes().to_vec() }
    }
}

/// Memory of a device, given back when dropped.
pub struct Buffer {
    gpu: Arc<dyn Gpu>,
    at: Ptr,
    bytes: usize,
}

impl Buffer {
    /// # Errors
    /// Not enough memory on the device; says how much was wanted and how much is free.
    pub fn new(gpu: &Arc<dyn Gpu>, bytes: usize, what: &str) -> Result<Self> {
        let bytes = bytes.max(16);
        let Some(at) = gpu.alloc(bytes) else {
            let free = gpu.memory().map_or(0, |m| m.0);
            anyhow::bail!(
                "the GPU is out of memory: {what} needs {}, {} are free on {}. Close what else uses it, lower cache.bytes, or set device to \"cpu\"",
                megabytes(bytes as u64),
                megabytes(free),
                gpu.name()
            );
        };
        Ok(Self { gpu: gpu.clone(), at, bytes })
    }

    /// The address of byte `offset`.
    pub fn at(&self, offset: usize) -> Ptr {
        debug_assert!(offset <= self.bytes);
        self.at + offset as u64
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets every byte.
    ///
    /// # Errors
    /// The driver's.
    pub fn fill(&self, value: u8) -> Result<()> {
        self.gpu.fill(self.at, self.bytes, value)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.gpu.free(self.at, self.bytes);
    }
}

/// "1,234 MB".
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
