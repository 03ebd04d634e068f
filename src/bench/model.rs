//! `infill bench model FILE`: how fast the model itself is, beside what this machine allows.
//!
//! ```text
//! infill bench model lite.gguf
//! prefill  512 tokens   64.1 token/s   of  140.2 that the arithmetic allows (46 %)
//! decode    32 tokens   15.9 token/s   of   18.6 that the memory allows (85 %)
//! memory   10.6 GB resident, of which 10.4 GB are the file's and 0.07 GB the cache: 1.01 times both
//! ```
//! The limits are measured in the same run, on the model's own threads: one reads a gigabyte again and again, one
//! multiplies in registers. A decoded token reads every weight that it uses once; a prefilled one multiplies with each.
use crate::cache::BlockId;
use crate::model::cpu::Cpu;
use crate::model::{BLOCK, Backend, store};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A GGUF file or a folder; random weights will do (`tests/benches/true_shape.py`).
    pub model: PathBuf,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 512)]
    pub prompt: usize,
    /// Tokens to decode after it.
    #[arg(long, default_value_t = 32)]
    pub decode: usize,
    /// Prompts before the one that is timed: the first reads the file from the disk.
    #[arg(long, default_value_t = 1)]
    pub warm: usize,
    /// The figures as JSON.
    #[arg(long)]
    pub json: bool,
}

/// One phase: tokens a second, and the limit.
#[derive(Debug, serde::Serialize)]
struct Phase {
    tokens: usize,
    tokens_per_second: f64,
    limit: f64,
    percent_of_limit: f64,
    /// Of all threads together. Much less than threads × the time it took means that something else had the cores.
    cpu_seconds: f64,
    seconds: f64,
}

#[derive(Debug, serde::Serialize)]
struct Report {
    model: String,
    format: String,
    threads: usize,
    instructions: String,
    /// Measured: 10^9 bytes a second, 10^9 operations (two per multiply-add) a second.
    read_gb_per_second: f64,
    giga_operations_per_second: f64,
    /// Of weights, read for one decoded token.
    bytes_per_token: usize,
    /// Multiply-adds with weights for one token.
    multiply_adds_per_token: usize,
    load_seconds: f64,
    prefill: Phase,
    decode: Phase,
    file_bytes: u64,
    cache_bytes: usize,
    /// Zero where the system does not say.
    resident_bytes: u64,
    /// Resident over file and cache.
    resident_ratio: f64,
}

/// Runs the bench and prints it.
///
/// # Errors
/// A model that cannot be opened, or sizes beyond its context.
pub fn run(options: &Options) -> Result<()> {
    ensure!(options.prompt > 0 && options.decode > 0, "--prompt and --decode must be 1 or more");
    let begun = Instant::now();
    let mut model = Cpu::open(&options.model)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    let limits = model.limits();
    let (prefill, decode) = measure(&mut model, options)?;
    let (bytes, work) = model.per_token();
    let cache_bytes = table(options).len() * model.block_bytes();
    let (file_bytes, resident_bytes) = (store::size(&options.model), resident());
    let phase = |tokens: usize, (seconds, cpu_seconds): (f64, f64), limit: f64| {
        let speed = tokens as f64 / seconds;
        Phase { tokens, tokens_per_second: speed, limit, percent_of_limit: speed / limit * 100.0, cpu_seconds, seconds }
    };
    let report = Report {
        model: model.name().to_owned(),
        format: model.format(),
        threads: limits.threads,
        instructions: limits.instructions.clone(),
        read_gb_per_second: limits.bytes_per_second / 1e9,
        giga_operations_per_second: limits.operations_per_second / 1e9,
        bytes_per_token: bytes,
        multiply_adds_per_token: work,
        load_seconds,
        prefill: phase(options.prompt, prefill, limits.operations_per_second / (2 * work) as f64),
        decode: phase(options.decode, decode, limits.bytes_per_second / bytes as f64),
        file_bytes,
        cache_bytes,
        resident_bytes,
        resident_ratio: resident_bytes as f64 / (file_bytes as f64 + cache_bytes as f64),
    };
    print(&report, options.json)
}

/// Blocks for prompt and answer.
fn table(options: &Options) -> Vec<BlockId> {
    (0..(options.prompt + options.decode).div_ceil(BLOCK) as u32).map(BlockId).collect()
}

/// Seconds, and seconds of processor.
type Took = (f64, f64);

/// What the prompt takes, and the tokens after it.
fn measure(model: &mut Cpu, options: &Options) -> Result<(Took, Took)> {
    let table = table(options);
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % model.vocab() as u64) as u32
    };
    let prompt: Vec<u32> = (0..options.prompt).map(|_| random()).collect();
    for _ in 0..options.warm {
        model.forward(&table, 0, &prompt, 1)?;
    }
    let begun = (Instant::now(), processor());
    let took = |(begun, used): (Instant, f64)| (begun.elapsed().as_secs_f64(), processor() - used);
    let mut logits = model.forward(&table, 0, &prompt, 1)?;
    let prefill = took(begun);
    let begun = (Instant::now(), processor());
    for i in 0..options.decode {
        let best = (1..logits.len()).fold(0, |b, i| if logits[i] > logits[b] { i } else { b });
        logits = model.forward(&table, options.prompt + i, &[best as u32], 1)?;
    }
    Ok((prefill, took(begun)))
}

/// Seconds of processor that this process has used; 0 where the system does not say.
fn processor() -> f64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one timespec.
        if unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } == 0 {
            return time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        }
    }
    0.0
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let report = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = report.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes * 1024)
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    let r = report;
    println!("{} ({}), {} threads, {}", r.model, r.format, r.threads, r.instructions);
    println!("machine  {:.1} GB/s read, {:.0} GOP/s", r.read_gb_per_second, r.giga_operations_per_second);
    for (name, p, what) in [("prefill", &r.prefill, "arithmetic"), ("decode ", &r.decode, "memory")] {
        let (speed, limit, percent) = (p.tokens_per_second, p.limit, p.percent_of_limit);
        println!(
            "{name} {:>5} tokens {speed:>8.1} token/s of {limit:>8.1} that the {what} allows ({percent:.0} %); {:.2} s, {:.2} s of processor",
            p.tokens, p.seconds, p.cpu_seconds
        );
    }
    let gb = |n: f64| n / 1e9;
    println!(
        "memory   {:.2} GB resident; file {:.2} GB, cache {:.3} GB: {:.2} times both",
        gb(r.resident_bytes as f64),
        gb(r.file_bytes as f64),
        gb(r.cache_bytes as f64),
        r.resident_ratio
    );
    Ok(())
}
