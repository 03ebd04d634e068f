//! `infill pull MODEL`: choose the files, see that they fit, fetch them, put them in the cache.
//!
//! ```text
//! $ infill pull deepseek-coder-v2-lite-base
//! deepseek-ai/DeepSeek-Coder-V2-Lite-Base: 7 files, 31.4 GB to download
//! licence: deepseek-license (https://github.com/deepseek-ai/DeepSeek-Coder-V2/raw/main/LICENSE-MODEL)
//! /home/me/.cache/huggingface/hub/models--deepseek-ai--DeepSeek-Coder-V2-Lite-Base/snapshots/6f1d…
//! ```
use super::api::{Fault, Hub, Listing, Remote};
use super::cache::{Cache, variable};
use super::fetch::{self, Origin, unwritable};
use super::progress::say;
use super::{ALIASES, Name, Part, choose, models, problem, size};
use crate::engine::EngineError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Left free on the disk.
const SPARE: u64 = 64 << 20;

/// What to pull, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// deepseek-coder-v2-lite-base (or -lite-instruct, -base, -instruct), a Hugging Face repository (org/repo), or a
    /// GGUF in one (org/repo:Q4_K_M, org/repo/file.gguf).
    pub model: String,
    /// Ask no one: say where the model is, if it is here.
    #[arg(long)]
    pub offline: bool,
    /// Download it even if infill cannot run it.
    #[arg(long)]
    pub force: bool,
}

/// Downloads what is not here yet. Gives the folder or file of the model.
///
/// # Errors
/// A name that is none, a hub that cannot be reached or refuses, a disk that is full, a wrong checksum.
pub async fn run(options: &Options) -> Result<PathBuf, EngineError> {
    if Path::new(&options.model).exists() {
        say(&format!("{} is here already: set model to this path", options.model));
        return Ok(PathBuf::from(&options.model));
    }
    let name = Name::parse(&options.model).ok_or_else(|| unknown(&options.model))?;
    let cache = Cache::from_env();
    let quiet = variable("HF_HUB_OFFLINE").is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off"));
    if options.offline || quiet {
        return cache.find(&name).map_err(|error| offline(error, quiet));
    }
    let hub = Hub::from_env()?;
    match listing(&hub, &name.repo).await {
        Ok(listing) => download(&hub, &cache, &name, &listing, options.force).await,
        Err(Fault::Final(error)) => Err(error),
        Err(Fault::Passing(reason, _)) => match cache.find(&name) {
            Ok(path) => {
                say(&format!("{} cannot be reached ({reason}): what is here is used", hub.host()));
                Ok(path)
            }
            Err(_) => Err(unreachable(hub.host(), &reason)),
        },
    }
}

fn unknown(said: &str) -> EngineError {
    if said == "nano" {
        return problem("nano is inside this program", "there is nothing to download");
    }
    let names: Vec<&str> = ALIASES.iter().map(|(alias, _)| *alias).collect();
    let forms = "org/repo, org/repo:Q4_K_M or org/repo/file.gguf on the Hugging Face hub";
    problem(format!("{said:?} is neither here nor the name of a model"), format!("use {}, or {forms}", names.join(", ")))
}

fn offline(error: EngineError, by_variable: bool) -> EngineError {
    let without = if by_variable { "unset HF_HUB_OFFLINE" } else { "leave --offline away" };
    problem(error.title, format!("{without} to download it"))
}

fn unreachable(host: &str, reason: &str) -> EngineError {
    let hint = "check the network; set HTTPS_PROXY where a proxy is needed, HF_ENDPOINT for a mirror; or copy the model's files here and set model to their folder";
    problem(format!("{host} cannot be reached ({reason})"), crate::net::certificate(reason).unwrap_or(hint))
}

async fn listing(hub: &Hub, repo: &str) -> Result<Listing, Fault> {
    for pause in [1, 2] {
        match hub.list(repo).await {
            Err(Fault::Passing(_, Some(wait))) => tokio::time::sleep(wait.min(Duration::from_secs(30))).await,
            Err(Fault::Passing(..)) => tokio::time::sleep(Duration::from_secs(pause)).await,
            answer => return answer,
        }
    }
    hub.list(repo).await
}

async fn download(hub: &Hub, cache: &Cache, name: &Name, listing: &Listing, force: bool) -> Result<PathBuf, EngineError> {
    let files = wanted(name, listing)?;
    if let Some(architecture) = listing.architecture.as_deref().filter(|a| !force && !RUNS.contains(a)) {
        return Err(cannot_run(&name.repo, architecture));
    }
    let missing: Vec<&Remote> = files.iter().filter(|f| !is_there(cache, &name.repo, f)).collect();
    if missing.is_empty() {
        say(&format!("{}: all of it is here already", name.repo));
    } else {
        announce(cache, &name.repo, &missing)?;
        licence(&name.repo, listing);
    }
    let blobs = cache.folder(&name.repo).join("blobs");
    std::fs::create_dir_all(&blobs).map_err(|e| unwritable(&blobs, &e))?;
    let origin = Origin { hub, repo: &name.repo, commit: &listing.commit };
    for file in &files {
        let blob = cache.blob(&name.repo, &file.etag);
        if !is_there(cache, &name.repo, file) {
            fetch::file(&origin, file, &blob).await?;
        }
        link(cache, &name.repo, &listing.commit, file)?;
        if file.name == "config.json" && !force {
            runs(&name.repo, &blob)?;
        }
    }
    // Last: until then, "main" is what was whole before.
    cache.repo(&name.repo).create_ref(&listing.commit).map_err(|e| unwritable(&cache.folder(&name.repo).join("refs/main"), &e))?;
    cache.find(name)
}

/// The architectures that run here, as config.json and GGUF name them.
const RUNS: [&str; 2] = ["deepseek_v2", "deepseek2"];

fn cannot_run(repo: &str, architecture: &str) -> EngineError {
    let hint = "choose a DeepSeek-V2 model, such as deepseek-coder-v2-lite-base; to download it all the same, add --force";
    problem(format!("{repo} is a {architecture} model, which infill does not run"), hint)
}

/// Ends a download of many gigabytes before it begins, where the model could not be loaded.
fn runs(repo: &str, config: &Path) -> Result<(), EngineError> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    match crate::model::config::from_json("config.json", &text) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(problem(format!("infill does not run {repo} ({error})"), "choose another model; to download it all the same, add --force"))
        }
    }
}

/// The files that make up the model, the smallest first.
fn wanted(name: &Name, listing: &Listing) -> Result<Vec<Remote>, EngineError> {
    let has = |file: &str| listing.files.iter().any(|f| f.name == file);
    let weights = |f: &&Remote| f.name.ends_with(".safetensors") && f.name.starts_with("model") && !f.name.contains('/');
    let checkpoint = has("config.json") && has("tokenizer.json") && listing.files.iter().any(|f| weights(&f));
    let mut files: Vec<Remote> = if name.part == Part::Whole && checkpoint {
        let small = |f: &&Remote| SMALL.contains(&f.name.as_str()) || f.name.starts_with("LICENSE");
        listing.files.iter().filter(|f| weights(f) || small(f)).cloned().collect()
    } else {
        let all = models(listing.files.iter().map(|f| f.name.as_str()));
        let chosen = choose(&all, &name.part).ok_or_else(|| none_such(name, &all))?;
        listing.files.iter().filter(|f| chosen.contains(&f.name.as_str())).cloned().collect()
    };
    files.sort_by(|a, b| (a.bytes, &a.name).cmp(&(b.bytes, &b.name)));
    Ok(files)
}

/// What belongs to a checkpoint besides its weights.
const SMALL: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

fn none_such(name: &Name, models: &[Vec<&str>]) -> EngineError {
    let names: Vec<&str> = models.iter().filter_map(|m| m.first().copied()).collect();
    let Some(first) = names.first() else {
        let title = format!("{} holds no model that infill can use", name.repo);
        return problem(title, "choose one with config.json, tokenizer.json and safetensors, or with GGUF files");
    };
    let title = match &name.part {
        Part::Whole => format!("{} holds several models", name.repo),
        Part::File(file) => format!("{} holds no {file}", name.repo),
        Part::Quantised(kind) => format!("{} holds no {kind}", name.repo),
    };
    problem(title, format!("name one of {}, as in {}/{first}", names.join(", "), name.repo))
}

fn is_there(cache: &Cache, repo: &str, file: &Remote) -> bool {
    std::fs::metadata(cache.blob(repo, &file.etag)).is_ok_and(|found| found.len() == file.bytes)
}

/// Says what is to come, and sees that it fits.
fn announce(cache: &Cache, repo: &str, missing: &[&Remote]) -> Result<(), EngineError> {
    let part = |f: &Remote| std::fs::metadata(cache.blob(repo, &f.etag).with_extension("incomplete")).map_or(0, |m| m.len());
    let total = missing.iter().fold(0u64, |sum, f| sum.saturating_add(f.bytes.saturating_sub(part(f))));
    if let Some(free) = free_space(&cache.root).filter(|free| total.saturating_add(SPARE) > *free) {
        let title = format!("{repo} needs {} in {}, and {} are free", size(total), cache.root.display(), size(free));
        return Err(problem(title, "free some space, or set HF_HUB_CACHE to a folder on a larger disk"));
    }
    let count = if missing.len() == 1 { "1 file".to_owned() } else { format!("{} files", missing.len()) };
    say(&format!("{repo}: {count}, {} to download to {}", size(total), cache.root.display()));
    Ok(())
}

/// Bytes free on the disk of a folder, which need not exist yet; `None` where the system does not say.
#[cfg(unix)]
#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
fn free_space(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let there = folder.ancestors().find(|f| f.exists())?;
    let path = std::ffi::CString::new(there.as_os_str().as_bytes()).ok()?;
    // SAFETY: the struct is plain numbers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a path that ends with a zero, and a struct to fill, both alive during the call.
    let done = unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } == 0;
    done.then_some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

/// Makes `snapshots/<commit>/<name>` lead to the blob.
fn link(cache: &Cache, repo: &str, commit: &str, file: &Remote) -> Result<(), EngineError> {
    let pointer = cache.repo(repo).pointer_path(commit).join(&file.name);
    let folder = pointer.parent().unwrap_or(&pointer);
    std::fs::create_dir_all(folder).map_err(|e| unwritable(&pointer, &e))?;
    let blob = cache.blob(repo, &file.etag);
    if std::fs::canonicalize(&pointer).is_ok_and(|to| std::fs::canonicalize(&blob).is_ok_and(|b| b == to)) {
        return Ok(());
    }
    let up = "../".repeat(2 + file.name.matches('/').count());
    let target = format!("{up}blobs/{}", file.etag);
    // Made aside and renamed: another program may be making the same pointer, and a copy through it would empty the blob.
    let aside = folder.join(format!(".{}.{}", file.etag, std::process::id()));
    let _ = std::fs::remove_file(&aside);
    let made = symbolic(Path::new(&target), &aside).or_else(|_| std::fs::hard_link(&blob, &aside));
    let made = made.or_else(|_| std::fs::copy(&blob, &aside).map(|_| ()));
    made.and_then(|()| std::fs::rename(&aside, &pointer)).map_err(|e| unwritable(&pointer, &e))
}

#[cfg(unix)]
fn symbolic(target: &Path, pointer: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn symbolic(_: &Path, _: &Path) -> std::io::Result<()> {
    // Windows asks for a right that users do not have.
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Says under which terms the model comes: once for each repository and licence.
fn licence(repo: &str, listing: &Listing) {
    let (name, link) = listing.licence.clone().unwrap_or_else(|| ("not stated".to_owned(), None));
    let line = format!("{repo} {name}");
    let state = variable("XDG_STATE_HOME").or_else(|| variable("LOCALAPPDATA")).map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let file = state.or_else(home).map(|folder| folder.join("infill").join("licences"));
    let seen = file.as_ref().and_then(|f| std::fs::read_to_string(f).ok()).unwrap_or_default();
    if seen.lines().any(|l| l == line) {
        return;
    }
    let link = link.unwrap_or_else(|| format!("https://huggingface.co/{repo}"));
    say(&format!("licence: {name} ({link}); by using the model you accept it"));
    if let Some(file) = file {
        let _ = file.parent().map(std::fs::create_dir_all);
        // Where it cannot be written, it is said again next time.
        let _ = std::fs::File::options().create(true).append(true).open(file).and_then(|mut f| writeln!(f, "{line}"));
    }
}
