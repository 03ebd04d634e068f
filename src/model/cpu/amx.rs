//! Whether this process may use AMX, the processor's tiles of bytes.
//!
//! ```text
//! processor has it -> system saves it -> the process is given it (Linux: asked for, once)
//! ```
//! Tiles are eight kilobytes that the system has to save at an interruption, so Linux wants to be asked first
//! (its documentation, x86/xstate). Elsewhere AMX is left alone.

/// Asks for AMX with products of bytes; the same answer at each call.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn granted() -> bool {
    has_tiles() && saved() && asked()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn granted() -> bool {
    false
}

/// AMX-TILE and AMX-INT8: bits 24 and 25 of leaf 7.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_tiles() -> bool {
    const BITS: u32 = 3 << 24;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BITS == BITS
}

/// Whether the system saves tiles (bits 17 and 18 of XCR0).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn saved() -> bool {
    const TILES: u64 = 3 << 17;
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: register 0 exists wherever XSAVE is in use.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: the instruction is there where the system says that it uses XSAVE, which detection has checked.
    is_x86_feature_detected!("xsave") && unsafe { kept() } & TILES == TILES
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn asked() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call reads two numbers and changes only what this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}
