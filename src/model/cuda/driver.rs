//! The NVIDIA driver, loaded when it is there.
//!
//! ```no_run
//! let gpu = infill::model::cuda::driver::Driver::open(0)?; // or: "no NVIDIA driver …", "driver too old …"
//! # anyhow::Ok(())
//! ```
//! The kernels are PTX inside this binary, compiled for the device by the driver at the first start (it keeps the result).
use super::args::Ptr;
use super::gpu::{Gpu, Launch, Recording};
use super::ptx;
use anyhow::{Context, Result, bail, ensure};
use cudarc::driver::result::{self, DriverError, stream::StreamKind};
use cudarc::driver::sys;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

/// CUDA version of the driver that the PTX wants: NVRTC 12.4 writes PTX 8.4.
const LEAST_VERSION: i32 = 12_040;
/// Bytes of one of the two pinned buffers that everything goes through.
const STAGING: usize = 16 << 20;

/// One NVIDIA GPU.
pub struct Driver(Arc<Inner>);

struct Inner {
    name: String,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    modules: Vec<sys::CUmodule>,
    functions: HashMap<String, sys::CUfunction>,
    shared_limit: u32,
    processors: u32,
    staging: Mutex<Option<Staging>>,
}

// SAFETY: the driver's handles may be used from any thread; each call makes the context current first.
unsafe impl Send for Inner {}
unsafe impl Sync for Inner {}

struct Staging {
    buffers: [*mut c_void; 2],
    /// When the copy out of a buffer is done.
    events: [sys::CUevent; 2],
    next: usize,
}

fn said(what: &str, error: DriverError) -> anyhow::Error {
    let name = error.error_name().ok().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let text = error.error_string().ok().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    anyhow::anyhow!("the GPU driver failed to {what}: {text} ({name}); if it goes on, restart infill, or set device to \"cpu\"")
}

/// Whether the driver's library is on this machine.
pub fn is_here() -> bool {
    // SAFETY: only looks whether the library can be loaded.
    unsafe { sys::is_culib_present() }
}

/// How many GPUs there are.
///
/// # Errors
/// "no NVIDIA driver", or that it is too old, with the remedy.
pub fn count() -> Result<usize> {
    ensure!(is_here(), "no NVIDIA driver on this machine: install one (550 or newer), or set device to \"cpu\"");
    result::init().map_err(|e| said("start (is a GPU in this machine?)", e))?;
    let mut version = 0;
    // SAFETY: writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(|e| said("tell its version", e))?;
    check_version(version)?;
    let count = result::device::get_count().map_err(|e| said("count the GPUs", e))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn check_version(version: i32) -> Result<()> {
    let text = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
    let (has, wants) = (text(version), text(LEAST_VERSION));
    ensure!(
        version >= LEAST_VERSION,
        "the NVIDIA driver is too old (CUDA {has}), needs {wants}: install driver 550 or newer, or set device to \"cpu\""
    );
    Ok(())
}

/// Which PTX a device of this compute capability runs.
fn target(major: i32, minor: i32) -> Result<&'static str> {
    match (major, minor) {
        (9, 0) => Ok("90a"),
        (8.., _) => Ok("80"),
        _ => bail!("the GPU has compute capability {major}.{minor}, needs 8.0 (Ampere) or newer: set device to \"cpu\""),
    }
}

impl Driver {
    /// Opens GPU number `index`.
    ///
    /// # Errors
    /// As [`count`]; no GPU of this number; one that is too old; kernels that the driver does not take.
    pub fn open(index: usize) -> Result<Self> {
        let count = count()?;
        ensure!(index < count, "there is no GPU cuda:{index}: {count} found, numbered from 0");
        let device = result::device::get(i32::try_from(index)?).map_err(|e| said("open the GPU", e))?;
        let attribute = |which| {
            // SAFETY: `device` is one.
            unsafe { result::device::get_attribute(device, which) }.map_err(|e| said("describe the GPU", e))
        };
        use sys::CUdevice_attribute_enum as A;
        let major = attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let shared = attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let processors = attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let target = target(major, minor)?;
        let name = result::device::get_name(device).map_err(|e| said("name the GPU", e))?;
        // SAFETY: `device` is one.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(|e| said("open a context", e))?;
        let mut inner = Inner {
            name: format!("{name} (sm_{major}{minor})"),
            device,
            context,
            stream: std::ptr::null_mut(),
            modules: Vec::new(),
            functions: HashMap::new(),
            shared_limit: u32::try_from(shared).unwrap_or(48 << 10),
            processors: u32::try_from(processors).unwrap_or(1),
            staging: Mutex::new(None),
        };
        inner.bind()?;
        inner.stream = result::stream::create(StreamKind::NonBlocking).map_err(|e| said("make a stream", e))?;
        for (file, text) in ptx::texts(target)? {
            inner.load(file, &text).with_context(|| format!("kernels/{file}.cu on {name}"))?;
        }
        Ok(Self(Arc::new(inner)))
    }
}

impl Inner {
    fn bind(&self) -> Result<()> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| said("use the context", e))
    }

    fn load(&mut self, file: &str, text: &str) -> Result<()> {
        let image = CString::new(text)?;
        let module = compile(&image).with_context(|| format!("compiling {file}"))?;
        self.modules.push(module);
        for name in ptx::kernels(text) {
            // SAFETY: the module was just loaded.
            let function =
                unsafe { result::module::get_function(module, CString::new(name)?) }.map_err(|e| said(&format!("find {name}"), e))?;
            let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let limit = i32::try_from(self.shared_limit)?;
            // SAFETY: the function was just found.
            unsafe { result::function::set_function_attribute(function, most, limit) }.map_err(|e| said("allow shared memory", e))?;
            // Now, and not at its first launch: that may be while a graph is recorded, when the driver may not allocate.
            // SAFETY: the same; drivers from 12.4 on have this call, and older ones were refused.
            unsafe { sys::cuFuncLoad(function) }.result().map_err(|e| said(&format!("load {name}"), e))?;
            self.functions.insert(name.to_owned(), function);
        }
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let function = *self.functions.get(&launch.kernel).with_context(|| format!("there is no kernel {}", launch.kernel))?;
        let mut args = launch.args.clone();
        let mut parameters = [args.as_mut_ptr().cast::<c_void>()];
        let [x, y, z] = launch.grid;
        // SAFETY: the kernel takes one struct of exactly these bytes (`args`), whose addresses are the backend's own buffers.
        unsafe { result::launch_kernel(function, (x, y, z), (launch.threads, 1, 1), launch.shared, self.stream, &mut parameters) }
            .map_err(|e| said(&format!("start {}", launch.kernel), e))
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| said("finish its work", e))
    }

    /// Through pinned memory, two buffers taking turns: the copy of one runs while the other is filled. Ordinary memory would do for
    /// small copies, but then each driver decides whether it is still read after the call.
    fn stream_in(&self, to: Ptr, from: &[u8]) -> Result<()> {
        let mut guard = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = Staging::of(&mut guard)?;
        for (i, piece) in from.chunks(STAGING).enumerate() {
            let (buffer, event) = staging.take()?;
            let fail = |e| said("copy to the GPU", e);
            // SAFETY: nothing uses the buffer any more (`take`); `to` has room (trait `Gpu`).
            unsafe {
                std::ptr::copy_nonoverlapping(piece.as_ptr(), buffer, piece.len());
                let pinned = std::slice::from_raw_parts(buffer, piece.len());
                result::memcpy_htod_async(to + (i * STAGING) as u64, pinned, self.stream).map_err(fail)?;
                result::event::record(event, self.stream).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// The way back, after everything before is done.
    fn stream_out(&self, from: Ptr, to: &mut [u8]) -> Result<()> {
        let mut guard = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = Staging::of(&mut guard)?;
        for (i, piece) in to.chunks_mut(STAGING).enumerate() {
            let (buffer, _) = staging.take()?;
            // SAFETY: nothing uses the buffer any more (`take`), and the wait is over before it is read; `from` has these bytes (trait `Gpu`).
            unsafe {
                let pinned = std::slice::from_raw_parts_mut(buffer, piece.len());
                result::memcpy_dtoh_async(pinned, from + (i * STAGING) as u64, self.stream).map_err(|e| said("copy from the GPU", e))?;
                self.wait()?;
                std::ptr::copy_nonoverlapping(buffer, piece.as_mut_ptr(), piece.len());
            }
        }
        Ok(())
    }
}

/// A module from PTX; what the compiler says where it fails.
fn compile(image: &CString) -> Result<sys::CUmodule> {
    use sys::CUjit_option_enum as O;
    let mut log = vec![0u8; 4096];
    let mut options = [O::CU_JIT_ERROR_LOG_BUFFER, O::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    let count = u32::try_from(options.len())?;
    // SAFETY: PTX that ends in NUL; two options, whose values are a buffer and its size.
    let done = unsafe { sys::cuModuleLoadDataEx(&raw mut module, image.as_ptr().cast(), count, options.as_mut_ptr(), values.as_mut_ptr()) };
    done.result().map_err(|e| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        said("compile it", e).context(String::from_utf8_lossy(&log[..end]).trim().to_owned())
    })?;
    Ok(module)
}

impl Staging {
    fn new() -> Result<Self> {
        let fail = |e| said("pin memory", e);
        // SAFETY: the memory is written before it is read.
        let pin = || unsafe { result::malloc_host(STAGING, 0) }.map_err(fail);
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(fail);
        Ok(Self { buffers: [pin()?, pin()?], events: [event()?, event()?], next: 0 })
    }

    fn of(place: &mut Option<Self>) -> Result<&mut Self> {
        if place.is_none() {
            *place = Some(Self::new()?);
        }
        place.as_mut().context("no pinned memory")
    }

    /// The buffer whose turn it is, once nothing reads it any more, and the event to record behind its next copy.
    fn take(&mut self) -> Result<(*mut u8, sys::CUevent)> {
        let turn = self.next;
        self.next = 1 - turn;
        // SAFETY: the event lives as long as `self`.
        unsafe { result::event::synchronize(self.events[turn]) }.map_err(|e| said("finish a copy", e))?;
        Ok((self.buffers[turn].cast(), self.events[turn]))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.bind().is_err() {
            return;
        }
        // Errors at the end have nobody to hear them.
        // SAFETY: everything was made by this object and is used by nobody else any more.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            if let Some(staging) = self.staging.get_mut().ok().and_then(Option::take) {
                for turn in 0..2 {
                    let _ = result::free_host(staging.buffers[turn]);
                    let _ = result::event::destroy(staging.events[turn]);
                }
            }
            for module in self.modules.drain(..) {
                let _ = result::module::unload(module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

impl Gpu for Driver {
    fn name(&self) -> String {
        self.0.name.clone()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        self.0.bind()?;
        let (free, all) = result::mem_get_info().map_err(|e| said("tell its memory", e))?;
        Ok((free as u64, all as u64))
    }

    fn shared_limit(&self) -> u32 {
        self.0.shared_limit
    }

    fn processors(&self) -> u32 {
        self.0.processors
    }

    fn alloc(&self, bytes: usize) -> Option<Ptr> {
        self.0.bind().ok()?;
        // SAFETY: read only after it is written (the backend's business, as for all of its buffers).
        unsafe { result::malloc_sync(bytes) }.ok()
    }

    fn free(&self, at: Ptr, _bytes: usize) {
        if self.0.bind().is_ok() {
            // Launches that use it may still be queued.
            let _ = self.0.wait();
            // SAFETY: came from `alloc`, and nothing runs any more.
            let _ = unsafe { result::free_sync(at) };
        }
    }

    fn upload(&self, to: Ptr, from: &[u8]) -> Result<()> {
        self.0.bind()?;
        self.0.stream_in(to, from)
    }

    fn download(&self, from: Ptr, to: &mut [u8]) -> Result<()> {
        self.0.bind()?;
        self.0.stream_out(from, to)
    }

    fn fill(&self, at: Ptr, bytes: usize, value: u8) -> Result<()> {
        self.0.bind()?;
        // SAFETY: inside a buffer (trait `Gpu`).
        unsafe { result::memset_d8_async(at, value, bytes, self.0.stream) }.map_err(|e| said("fill memory", e))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.0.bind()?;
        self.0.launch(launch)
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Box<dyn Recording>> {
        self.0.bind()?;
        let fail = |e| said("record a graph", e);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours; whatever happens in between, the capture is ended.
        let (done, graph) = unsafe {
            result::stream::begin_capture(self.0.stream, mode).map_err(fail)?;
            (launches.iter().try_for_each(|l| self.0.launch(l)), result::stream::end_capture(self.0.stream))
        };
        let graph = graph.map_err(fail)?;
        // SAFETY: the graph was just captured.
        let made = done.and_then(|()| unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }.map_err(fail));
        match made {
            Ok(run) => Ok(Box::new(Graph { inner: self.0.clone(), graph, run })),
            Err(error) => {
                // SAFETY: nobody else has it.
                let _ = unsafe { result::graph::destroy(graph) };
                Err(error)
            }
        }
    }

    fn wait(&self) -> Result<()> {
        self.0.bind()?;
        self.0.wait()
    }
}

/// A captured graph.
struct Graph {
    inner: Arc<Inner>,
    graph: sys::CUgraph,
    run: sys::CUgraphExec,
}

// SAFETY: as for `Inner`.
unsafe impl Send for Graph {}

impl Recording for Graph {
    fn replay(&self) -> Result<()> {
        self.inner.bind()?;
        // SAFETY: graph and stream live as long as `self`.
        unsafe { result::graph::launch(self.run, self.inner.stream) }.map_err(|e| said("run a graph", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.inner.bind().is_ok() {
            // SAFETY: nobody else has them.
            unsafe {
                let _ = result::graph::exec_destroy(self.run);
                let _ = result::graph::destroy(self.graph);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_driver_or_gpu_is_told_what_is_needed() {
        let old = check_version(12_020).unwrap_err().to_string();
        assert!(old.contains("too old (CUDA 12.2), needs 12.4") && old.contains("550"), "{old}");
        assert!(check_version(12_040).is_ok() && check_version(13_000).is_ok());
        assert!(target(7, 5).unwrap_err().to_string().contains("7.5, needs 8.0"));
        // Architecture-specific PTX runs on exactly that architecture.
        let targets: Vec<_> = [(8, 0), (8, 9), (9, 0), (10, 0), (12, 1)].iter().map(|(a, b)| target(*a, *b).unwrap()).collect();
        assert_eq!(targets, ["80", "80", "90a", "80", "80"]);
    }

    #[test]
    fn without_a_gpu_the_error_says_what_to_do() {
        // On a machine with a GPU there is nothing to see here.
        if let Err(error) = Driver::open(0) {
            let text = format!("{error:#}");
            assert!(text.contains("set device to \"cpu\""), "{text}");
        }
        if let Err(error) = Driver::open(999) {
            assert!(format!("{error:#}").contains("set device to \"cpu\"") || format!("{error:#}").contains("cuda:999"));
        }
    }
}
