//! What this machine has: memory, and a GPU.
//!
//! ```
//! let machine = infill::models::machine::Machine::look();
//! println!("{:?} bytes of memory", machine.memory);
//! ```
use serde::Serialize;

/// What models have room in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Bytes in all; `None` where the system does not say.
    pub memory: Option<u64>,
    /// The GPU with the most memory.
    pub gpu: Option<Gpu>,
}

/// A GPU that CUDA's driver names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    pub name: String,
    /// Bytes in all.
    pub memory: u64,
}

impl Machine {
    pub fn look() -> Machine {
        Machine { memory: memory(), gpu: gpu() }
    }
}

#[cfg(unix)]
fn memory() -> Option<u64> {
    // SAFETY: two questions without arguments that point anywhere.
    let (pages, bytes) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(bytes).ok()?)
}

#[cfg(not(unix))]
fn memory() -> Option<u64> {
    None
}

/// A build without the code for GPUs has no use for one.
#[cfg(not(feature = "cuda"))]
fn gpu() -> Option<Gpu> {
    None
}

/// Asks the driver, where there is one; no context is made on the device.
#[cfg(feature = "cuda")]
fn gpu() -> Option<Gpu> {
    use cudarc::driver::{result, sys};
    // SAFETY: it tries to open the driver's library; cudarc would panic where there is none.
    if !unsafe { sys::is_culib_present() } {
        return None;
    }
    result::init().ok()?;
    let one = |ordinal| {
        let device = result::device::get(ordinal).ok()?;
        // SAFETY: the driver has just given this device.
        let memory = unsafe { result::device::total_mem(device) }.ok()?;
        Some(Gpu { name: result::device::get_name(device).ok()?, memory: memory as u64 })
    };
    (0..result::device::get_count().ok()?).filter_map(one).max_by_key(|gpu| gpu.memory)
}
