//! Loading onto an NVIDIA GPU, and the way back to the CPU.
//!
//! ```text
//! device = "cuda:1"   that GPU, or an error with the remedy
//! device = "auto"     GPU 0 when there is a driver and the model fits; otherwise the CPU, and where a GPU is there, why it is not used
//! ```
use super::{Device, EngineError, Loaded, LocalOptions, Options, Place, Source, blocks, error, fit, least, nano, sidecar, unusable};
use crate::config::CacheFormat;
use crate::model::Backend;
use crate::model::cuda::gpu::Gpu;
use crate::model::cuda::latents::Latents;
use crate::model::cuda::{self, Cuda, driver};
use std::sync::Arc;

/// Tokens in one forward pass of a prefill: every pass reads all experts, so few large ones.
const CHUNK: usize = 2048;

/// The model on the GPU that `options` asks for, or that it is to be on the CPU.
pub fn load(source: &Source, options: &LocalOptions) -> Result<Place, EngineError> {
    match options.device {
        Device::Cpu => Ok(Place::Cpu(None)),
        Device::Cuda(n) => {
            on(source, options, n).map(Place::Gpu).map_err(|reason| error(format!("cuda:{n} cannot be used"), format!("{reason:#}")))
        }
        // nano answers sooner on the CPU than a GPU wakes up.
        Device::Auto if matches!(source, Source::Nano) => Ok(Place::Cpu(None)),
        Device::Auto => Ok(automatic(source, options)),
    }
}

fn automatic(source: &Source, options: &LocalOptions) -> Place {
    if let Err(reason) = driver::count() {
        tracing::info!("the model runs on the CPU: {reason:#}");
        // Where there is no GPU nobody misses one.
        return Place::Cpu(driver::is_here().then(|| format!("{reason:#}")));
    }
    match on(source, options, 0) {
        Ok(loaded) => Place::Gpu(loaded),
        Err(reason) => {
            tracing::warn!("the model runs on the CPU, because the GPU cannot be used: {reason:#}");
            Place::Cpu(Some(format!("{reason:#}")))
        }
    }
}

fn on(source: &Source, options: &LocalOptions, index: usize) -> anyhow::Result<Loaded> {
    let gpu: Arc<dyn Gpu> = Arc::new(driver::Driver::open(index)?);
    let tokens = source.tokens()?;
    let latents = match options.cache_format {
        CacheFormat::Auto | CacheFormat::Bf16 => Latents::Bf16,
        CacheFormat::Fp8 => Latents::F8,
    };
    let wanted = cuda::Options { precision: None, pool_bytes: options.cache_bytes, latents };
    let mut backend = match source {
        Source::Nano => Cuda::from_static("nano", nano()?, gpu, &wanted)?,
        Source::Folder(path) | Source::Gguf(path) => Cuda::open(path, gpu, &wanted).map_err(|e| unusable(format!("{e:#}")))?,
    };
    fit(&backend, &tokens)?;
    let cache_blocks = blocks(options.cache_bytes, backend.free()?, backend.block_bytes()).max(least(&backend));
    backend.reserve(cache_blocks)?;
    let device = format!("cuda:{index}");
    tracing::info!(model = backend.name(), on = backend.device(), cache_blocks, "model loaded");
    let sidecar::Sidecar { show_threshold, copying, .. } = sidecar::read(source)?;
    let model = backend.name().to_owned();
    let options = Options { cache_blocks, chunk: CHUNK, model, device, show_threshold, chat: source.chats(), copying };
    Ok(Loaded { backend: Box::new(backend), tokens: Arc::new(tokens), options })
}
