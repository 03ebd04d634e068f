//! The kernels' arguments, field by field as in the .cu files.
//!
//! ```
//! use infill::model::cuda::args::{Args, Gemv};
//! let gemv = Gemv { rows: 3648, cols: 2048, n: 1, ..Gemv::default() };
//! assert_eq!(gemv.bytes().len(), 72);
//! ```
//! A kernel takes one of these by value. The emulation compares their sizes with the C++ ones, and its tests their meaning.

/// An address on the device; 0 where the kernel allows none.
pub type Ptr = u64;

/// A struct that a kernel takes: `repr(C)`, of addresses and 32-bit numbers, without padding.
///
/// # Safety
/// No padding: every byte is part of a field.
pub unsafe trait Args: Copy {
    /// The bytes that the kernel reads.
    fn bytes(&self) -> &[u8] {
        // SAFETY: no padding (the trait's contract), so every byte is initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($kind:ident: $($field:ident)*;)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $name { $($(pub $field: $kind,)*)* }
        // SAFETY: checked where the struct is made: the fields' sizes add up to the struct's.
        unsafe impl Args for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $($(+ { let _ = stringify!($field); size_of::<$kind>() })*)*);
    )*};
}

args! {
    /// kernels/embed.cu
    Embed { Ptr: w scales tokens x; i32: vocab cols; }
    /// kernels/norm.cu
    Norm { Ptr: x delta weight out; i32: cols ldx; f32: eps; i32: unused; }
    /// kernels/gemv.cu
    Gemv { Ptr: w scales x norm y; i32: rows cols n ldx ldy add; f32: eps; i32: unused; }
    /// kernels/experts.cu
    GateUp {
        Ptr: gate gate_scales up up_scales shared_gate shared_gate_scales shared_up shared_up_scales x norm ids act;
        i32: hidden inner shared_inner n chosen ldact; f32: eps; i32: unused;
    }
    /// kernels/experts.cu
    Down { Ptr: w scales shared_w shared_scales act ids weights x; i32: hidden inner shared_inner n chosen ldact ldx unused; }
    /// kernels/router.cu
    Router {
        Ptr: x norm w scores tickets ids weights; i32: hidden experts chosen groups used normalise n; f32: scale eps; i32: unused;
    }
    /// kernels/latent.cu
    Latent {
        Ptr: qkv norm wk turns start first table pool q nope; i32: n heads width_nope rope kv_lora ld q_at kv_at layer layers parts group;
        f32: eps; i32: unused;
    }
    /// kernels/mla.cuh
    Mla { Ptr: q pool table first start acc ml; i32: n heads kv_lora rope layer layers splits span group; f32: scale; }
    /// kernels/mla_combine.cu
    Combine { Ptr: acc ml wv out; i32: n heads kv_lora v splits unused; }
    /// kernels/gemm.cu
    Gemm { Ptr: a w scales w2 scales2 c from tiles; u64: a_step w_step c_step; i32: m n k lda ldc mode; }
    /// kernels/sort.cu
    Sort { Ptr: ids from place tiles; i32: n chosen experts most; }
    /// kernels/sort.cu
    Gather { Ptr: rows place weights x; i32: hidden chosen; }
    /// kernels/sample.cu
    Sample { Ptr: logits mask partial tickets picked tokens start trace step; i32: vocab limit next unused; }
    /// kernels/copy.cu
    CopyBlock { Ptr: pool; i32: from to slots layers width unused; }
}
