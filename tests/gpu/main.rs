//! The GPU backend: every kernel against its reference, and whole models against the CPU backend.
//!
//! ```text
//! kernels/check                                    compiles the kernels for the CPU and runs all of this in emulation, no GPU needed
//! INFILL_TEST_DEVICE=cuda:0 ./gpu-… --test-threads 1    the same on a device (tests/gpu/README.md)
//! ```
mod attention;
mod bench;
#[path = "../checkpoint/mod.rs"]
mod checkpoint;
mod driver;
mod kernels;
mod model;

use bench::Bench;

macro_rules! tests {
    ($($module:ident: $($name:ident)*;)*) => {$($(
        #[test]
        fn $name() {
            $module::$name(&Bench::from_environment());
        }
    )*)*};
}

tests! {
    driver: what_is_wrong_is_said;
    attention: latent mla combine;
    kernels: gemv experts router gemm sort sample small launches_name_kernels;
    model: few_tokens_agree_with_the_cpu many_tokens_agree_with_the_cpu warm_is_cold decoding_on_the_device_is_decoding_step_by_step several_sequences_share_a_pass
        blocks_are_copied_and_poisoned true_widths_run_through_the_tiles a_cache_in_fp8_stays_near quantised_files_agree_with_the_cpu checkpoints_in_fp8_agree_with_the_cpu
        smaller_precisions_stay_near nonsense_is_refused;
}
