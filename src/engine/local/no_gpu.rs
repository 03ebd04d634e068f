//! Instead of `gpu` in a build without the feature `cuda`.
use super::{Device, EngineError, LocalOptions, Place, Source, error};

/// As `gpu::load`: always the CPU, and an error where a GPU is asked for.
pub fn load(_: &Source, options: &LocalOptions) -> Result<Place, EngineError> {
    match options.device {
        Device::Auto | Device::Cpu => Ok(Place::Cpu(None)),
        Device::Cuda(n) => Err(error(format!("cuda:{n} cannot be used"), "this build has no GPU code: set device to \"cpu\" or \"auto\"")),
    }
}
