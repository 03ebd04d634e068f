//! What a user hears of a device that is missing, too old or too small, from the code that talks to the driver.
//!
//! ```text
//! INFILL_FAKE_DRIVER=target/kernels     where kernels/check puts libcuda.so.1 (kernels/driver.cpp), whose device FAKE_… describes
//! ```
//! The driver's library is found once in a process, so each case is a process: this program again, for this test alone.
use crate::bench::{Bench, reference};
use infill::model::cuda::driver::Driver;
use infill::model::cuda::{Cuda, Options};
use std::process::Command;
use std::sync::Arc;

/// Environment of a child, and what it must say.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

const CASES: &[Case] = &[
    (&[], &["sm_90", "weights from BF16 as Bf16"]),
    (&[("FAKE_CAPABILITY", "86"), ("FAKE_SHARED", "101376")], &["sm_86", "weights from BF16 as Bf16"]),
    (&[("FAKE_DRIVER", "12020")], &["too old (CUDA 12.2), needs 12.4", "550", "set device to"]),
    (&[("FAKE_GPUS", "0")], &["is a GPU in this machine?", "NO_DEVICE", "set device to"]),
    (&[("FAKE_CAPABILITY", "75")], &["7.5, needs 8.0", "set device to"]),
    (&[("FAKE_MEMORY", "50000000")], &["lite on an emulation behind a driver", "even in Q4K", "50 MB are free", "set device to"]),
];

pub fn what_is_wrong_is_said(_: &Bench) {
    if std::env::var_os("INFILL_CHILD").is_some() {
        return println!("{}", told());
    }
    match std::env::var("INFILL_FAKE_DRIVER") {
        Ok(folder) => CASES.iter().for_each(|case| check(case, &folder)),
        // A real device, or none: either way a sentence.
        Err(_) => assert!(["sm_", "set device to"].iter().any(|part| told().contains(part)), "{}", told()),
    }
}

/// The device and the model on it, or why not.
fn told() -> String {
    let model = Driver::open(0).and_then(|gpu| Cuda::open(&reference("lite"), Arc::new(gpu), &Options::default()));
    model.map_or_else(|error| format!("{error:#}"), |model| model.device())
}

fn check((environment, wanted): &Case, folder: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "what_is_wrong_is_said", "--nocapture"]).env("INFILL_CHILD", "1").env("LD_LIBRARY_PATH", folder);
    // Its own device is none that may be missing: what is told opens the driver itself.
    let out = child.env("INFILL_TEST_DEVICE", "emulated:0").envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && wanted.iter().all(|part| said.contains(part)), "{environment:?}: {said}");
}
