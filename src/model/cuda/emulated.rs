//! The kernels on the CPU: the library that `kernels/check` compiles from the same sources (kernels/emulate.h). For tests only.
//!
//! ```no_run
//! let gpu = infill::model::cuda::emulated::Emulated::open("target/kernels/libkernels.so".as_ref())?;
//! # anyhow::Ok(())
//! ```
//! It shows that arithmetic, indices and barriers are right; it is no statement about a real device or about speed.
use super::args::Ptr;
use super::gpu::{Gpu, Launch, Recording};
use anyhow::{Context, Result, bail, ensure};
use libloading::{Library, Symbol};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A device made of host memory. Memory begins as NaN and ends at a page that cannot be touched.
pub struct Emulated(Arc<Inner>);

struct Inner {
    compiled: Library,
    /// 0: threads from first to last; 1: the other way; 2: shuffled.
    order: c_int,
}

/// The emulation runs one kernel at a time in the whole process.
static RUNNING: Mutex<()> = Mutex::new(());

type Emulate = unsafe extern "C" fn(*const c_char, *const u32, u32, u32, *const c_void, usize, c_int) -> c_int;
type Reference = unsafe extern "C" fn(*const c_char, *const c_void, usize) -> c_int;

impl Emulated {
    /// # Errors
    /// No such library.
    pub fn open(library: &Path) -> Result<Self> {
        Self::with_order(library, 0)
    }

    /// The same with threads in another order between barriers: 1 from last to first, 2 shuffled.
    ///
    /// # Errors
    /// No such library.
    pub fn with_order(library: &Path, order: i32) -> Result<Self> {
        // SAFETY: the library has no initialisers but the tables of its kernels.
        let library =
            unsafe { Library::new(library) }.with_context(|| format!("{}: run kernels/check, which compiles it", library.display()))?;
        Ok(Self(Arc::new(Inner { compiled: library, order })))
    }

    /// Runs the plain reference of a kernel; the addresses in `args` are host memory.
    ///
    /// # Errors
    /// No reference of this name, or arguments of another size.
    pub fn reference(&self, name: &str, args: &[u8]) -> Result<()> {
        let text = CString::new(name)?;
        // SAFETY: the symbol has this type (kernels/emulate.h).
        let run: Symbol<Reference> = unsafe { self.0.compiled.get(b"reference\0") }?;
        // SAFETY: the size is compared inside; the addresses are the caller's business, as with any kernel.
        let status = unsafe { run(text.as_ptr(), args.as_ptr().cast(), args.len()) };
        ensure!(status == 0, "no reference {name} for {} bytes of arguments ({status})", args.len());
        Ok(())
    }
}

impl Inner {
    fn launch(&self, launch: &Launch) -> Result<()> {
        let name = CString::new(launch.kernel.as_str())?;
        let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the symbol has this type (kernels/emulate.h).
        let run: Symbol<Emulate> = unsafe { self.compiled.get(b"emulate\0") }?;
        let args = launch.args.as_ptr().cast();
        // SAFETY: the size is compared inside; the addresses are the caller's business, as with any kernel.
        let status =
            unsafe { run(name.as_ptr(), launch.grid.as_ptr(), launch.threads, launch.shared, args, launch.args.len(), self.order) };
        match status {
            0 => Ok(()),
            1 => bail!("no kernel {}", launch.kernel),
            2 => bail!("{} takes other arguments than {} bytes", launch.kernel, launch.args.len()),
            _ => bail!("{} does not run with {} threads", launch.kernel, launch.threads),
        }
    }
}

impl Gpu for Emulated {
    fn name(&self) -> String {
        "an emulation on the CPU".into()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        Ok((2 << 30, 2 << 30))
    }

    fn shared_limit(&self) -> u32 {
        227 << 10
    }

    fn processors(&self) -> u32 {
        4
    }

    fn alloc(&self, bytes: usize) -> Option<Ptr> {
        if bytes > 1 << 30 {
            return None;
        }
        // SAFETY: as in kernels/emulate.h.
        let alloc: Symbol<unsafe extern "C" fn(usize, c_int) -> *mut c_void> = unsafe { self.0.compiled.get(b"emulate_alloc\0") }.ok()?;
        // SAFETY: any size may be asked for.
        let at = unsafe { alloc(bytes, 0xff) };
        (!at.is_null()).then_some(at as Ptr)
    }

    fn free(&self, at: Ptr, bytes: usize) {
        // SAFETY: as in kernels/emulate.h.
        if let Ok(free) = unsafe { self.0.compiled.get::<unsafe extern "C" fn(*mut c_void, usize)>(b"emulate_free\0") } {
            // SAFETY: address and size are those of an `alloc` (trait `Gpu`).
            unsafe { free(at as *mut c_void, bytes) }
        }
    }

    fn upload(&self, to: Ptr, from: &[u8]) -> Result<()> {
        // SAFETY: `to` lies in a buffer of this device with room for `from` (trait `Gpu`).
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) }
        Ok(())
    }

    fn download(&self, from: Ptr, to: &mut [u8]) -> Result<()> {
        // SAFETY: as in `upload`.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) }
        Ok(())
    }

    fn fill(&self, at: Ptr, bytes: usize, value: u8) -> Result<()> {
        // SAFETY: as in `upload`.
        unsafe { std::ptr::write_bytes(at as *mut u8, value, bytes) }
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.0.launch(launch)
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Box<dyn Recording>> {
        Ok(Box::new(List(self.0.clone(), launches)))
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

struct List(Arc<Inner>, Vec<Launch>);

impl Recording for List {
    fn replay(&self) -> Result<()> {
        self.1.iter().try_for_each(|launch| self.0.launch(launch))
    }
}
