//! `infill models`: what is here, whether it fits this machine, and what to pick.
//!
//! ```text
//!   nano                                          5 MB  GGUF Q8_0          fits   in this program, configured
//!   deepseek-coder-v2-lite-base                31.4 GB  safetensors BF16   needs 33 GB of memory, there are 24 GB
//!   bartowski/…-Lite-Base-GGUF/…-Q4_K_M.gguf   10.4 GB  GGUF Q4_K_M        fits   downloaded
//! pick: bartowski/…  (infill pull …)
//! ```
use crate::config::Config;
use crate::hub::cache::Cache;
use crate::hub::{ALIASES, Name, quantisation, size, split};
use crate::model::gguf::Header;
use serde::Serialize;
use std::path::{Path, PathBuf};

pub mod machine;

use machine::Machine;

/// A model, here or to be had.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What to write into `model`.
    pub name: String,
    /// Where it is; `None`: not downloaded (or inside the program).
    pub path: Option<PathBuf>,
    pub bytes: u64,
    /// "safetensors BF16", "GGUF Q4_K_M"
    pub format: String,
    pub state: State,
    /// `None`: it runs here. Otherwise why it does not.
    pub problem: Option<String>,
    /// Whether weights and a cache fit into this machine's memory; `None`: the system does not say how much there is.
    pub fits_memory: Option<bool>,
    /// Whether they fit into the largest GPU; `None`: there is none.
    pub fits_gpu: Option<bool>,
    /// Whether the configuration names it.
    pub configured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    BuiltIn,
    Downloaded,
    /// Begun, not finished.
    Partial,
    NotHere,
}

/// What this machine runs best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pick {
    pub model: String,
    pub why: String,
    /// How to get it; `None`: it is here.
    pub command: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub cache: PathBuf,
    pub machine: Machine,
    pub configured: String,
    pub models: Vec<Entry>,
    pub pick: Pick,
}

/// For activations, the tokenizer, and a prefix cache of some prompts.
const BESIDES: u64 = 1_000_000_000;

/// A quantised Lite, for machines that do not hold 31 GB, and its size.
const QUANTISED: (&str, u64) = ("bartowski/DeepSeek-Coder-V2-Lite-Base-GGUF:Q4_K_M", 10_400_000_000);

/// Bytes of the full models, by their names: two a parameter.
const FULL: [u64; 4] = [31_400_000_000, 31_400_000_000, 472_000_000_000, 472_000_000_000];

/// Looks at the cache and the machine.
pub fn report(config: &Config) -> Report {
    let (cache, machine) = (Cache::from_env(), Machine::look());
    let mut models = vec![nano()];
    for repo in cache.repositories() {
        models.extend(cache.held(&repo).into_iter().map(|path| held(&cache, &repo, path)));
    }
    models.extend(local(&config.model, &models));
    models.extend(absent(&cache, &models));
    let configured = Name::parse(&config.model).and_then(|name| cache.find(&name).ok());
    for model in &mut models {
        model.fits_memory = machine.memory.map(|memory| model.bytes + BESIDES <= memory);
        model.fits_gpu = machine.gpu.as_ref().map(|gpu| model.bytes + BESIDES <= gpu.memory);
        model.configured = model.name == config.model || (model.path.is_some() && model.path == configured);
    }
    let pick = pick(&machine, &models);
    Report { cache: cache.root, machine, configured: config.model.clone(), models, pick }
}

fn entry(name: String, path: Option<PathBuf>, bytes: u64, format: &str, state: State) -> Entry {
    Entry { name, path, bytes, format: format.into(), state, problem: None, fits_memory: None, fits_gpu: None, configured: false }
}

fn nano() -> Entry {
    entry("nano".into(), None, crate::engine::local::nano_bytes(), "GGUF Q8_0", State::BuiltIn)
}

/// A model in the cache.
fn held(cache: &Cache, repo: &str, path: PathBuf) -> Entry {
    let alias = ALIASES.iter().find(|(_, r)| *r == repo).map(|(alias, _)| (*alias).to_owned());
    let name = match path.strip_prefix(cache.folder(repo).join("snapshots")) {
        Ok(inside) if path.is_file() => {
            let file: Vec<String> = inside.components().skip(1).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
            format!("{repo}/{}", file.join("/"))
        }
        _ => alias.unwrap_or_else(|| repo.to_owned()),
    };
    Entry { problem: look(&path).1, ..entry(name, Some(path.clone()), bytes(&path), &look(&path).0, State::Downloaded) }
}

/// The configured path, when it is one.
fn local(model: &str, known: &[Entry]) -> Option<Entry> {
    let path = PathBuf::from(model);
    let new = path.exists() && !known.iter().any(|k| k.name == model);
    new.then(|| Entry {
        problem: look(&path).1,
        ..entry(model.into(), Some(path.clone()), bytes(&path), &look(&path).0, State::Downloaded)
    })
}

/// The models that have names of their own, and are not here.
fn absent(cache: &Cache, known: &[Entry]) -> Vec<Entry> {
    let new = ALIASES.iter().zip(FULL).filter(|((alias, _), _)| !known.iter().any(|k| k.name == *alias));
    let state = |repo: &str| if cache.is_partial(repo) { State::Partial } else { State::NotHere };
    new.map(|((alias, repo), bytes)| entry((*alias).into(), None, bytes, "safetensors BF16", state(repo))).collect()
}

/// The bytes of the weights.
pub fn bytes(path: &Path) -> u64 {
    let length = |file: &Path| std::fs::metadata(file).map_or(0, |m| m.len());
    let beside = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    if path.is_dir() {
        return beside(path).iter().filter(|f| f.extension().is_some_and(|e| e == "safetensors")).map(|f| length(f)).sum();
    }
    let name = |file: &Path| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (own, folder) = (name(path), path.parent().unwrap_or(path));
    match split(&own) {
        Some((stem, _, count)) => {
            let same = |f: &&PathBuf| split(&name(f)).is_some_and(|(s, _, c)| (s, c) == (stem, count));
            beside(folder).iter().filter(same).map(|f| length(f)).sum()
        }
        None => length(path),
    }
}

/// The format, and why it does not run.
fn look(path: &Path) -> (String, Option<String>) {
    if path.is_dir() {
        let text = std::fs::read_to_string(path.join("config.json")).unwrap_or_default();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let kind = config.get("torch_dtype").or_else(|| config.get("dtype")).and_then(|v| v.as_str()).unwrap_or("");
        let kind = kind.replace("bfloat16", "BF16").replace("float16", "F16").replace("float32", "F32");
        let problem = crate::model::config::from_json("config.json", &text).err().map(|e| e.to_string());
        return (format!("safetensors {kind}").trim_end().to_owned(), problem);
    }
    let unreadable = |reason: String| ("GGUF".to_owned(), Some(reason));
    let map = match crate::model::source::map(path) {
        Ok(map) => map,
        Err(error) => return unreadable(error.to_string()),
    };
    match Header::read(&path.display().to_string(), &map) {
        Err(error) => unreadable(error.to_string()),
        Ok(header) => {
            let architecture = header.text("general.architecture").unwrap_or_default();
            let problem = (architecture != "deepseek2").then(|| format!("is a {architecture} model; infill runs deepseek2"));
            let kind = quantisation(&path.to_string_lossy()).unwrap_or_default();
            (format!("GGUF {kind}").trim_end().to_owned(), problem)
        }
    }
}

/// The largest base model that fits: on the GPU, else in memory.
fn pick(machine: &Machine, models: &[Entry]) -> Pick {
    let fits = |bytes: u64, room: Option<u64>| room.is_some_and(|room| bytes + BESIDES <= room);
    let gpu = machine.gpu.as_ref().map(|gpu| gpu.memory);
    let (model, why) = if fits(FULL[0], gpu) {
        (ALIASES[0].0, "the GPU holds all of it")
    } else if fits(QUANTISED.1, gpu) {
        (QUANTISED.0, "quantised to four bits, the GPU holds it")
    } else if fits(QUANTISED.1, machine.memory) {
        (QUANTISED.0, "quantised to four bits, memory holds it")
    } else {
        ("nano", "it fits everywhere; larger ones need 12 GB of memory")
    };
    let here = |entry: &&Entry| {
        let same = Name::parse(model)
            .is_some_and(|name| entry.name.starts_with(&name.repo) && quantisation(&entry.name).as_deref() == Some("Q4_K_M"));
        matches!(entry.state, State::Downloaded | State::BuiltIn) && entry.problem.is_none() && (entry.name == model || same)
    };
    let found = models.iter().find(here);
    let model = found.map_or(model.to_owned(), |entry| entry.name.clone());
    let command = found.is_none().then(|| format!("infill pull {model}"));
    Pick { model, why: why.into(), command }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "cache    {}", self.cache.display())?;
        writeln!(f, "memory   {}", self.machine.memory.map_or("unknown".into(), size))?;
        writeln!(f, "GPU      {}\n", self.machine.gpu.as_ref().map_or("none".into(), |gpu| format!("{}, {}", gpu.name, size(gpu.memory))))?;
        let width = self.models.iter().map(|m| m.name.chars().count()).max().unwrap_or(0);
        for model in &self.models {
            let mark = if model.configured { '*' } else { ' ' };
            writeln!(f, "{mark} {:width$}  {:>8}  {:16}  {}", model.name, size(model.bytes), model.format, model.verdict(&self.machine))?;
        }
        if !self.models.iter().any(|m| m.configured) {
            writeln!(f, "* {}: configured, but not here: run \"infill pull {}\"", self.configured, self.configured)?;
        }
        writeln!(f, "\npick: {} ({})", self.pick.model, self.pick.why)?;
        match &self.pick.command {
            Some(command) => writeln!(f, "  {command}\n  then set model = \"{}\"", self.pick.model),
            None => writeln!(f, "  set model = \"{}\"", self.pick.model),
        }
    }
}

impl Entry {
    fn verdict(&self, machine: &Machine) -> String {
        if let Some(problem) = &self.problem {
            return format!("does not run: {problem}");
        }
        let needs = || format!("needs {} of memory, there are {}", size(self.bytes + BESIDES), size(machine.memory.unwrap_or(0)));
        let fits = match (self.fits_gpu, self.fits_memory) {
            (Some(true), _) => "fits the GPU".to_owned(),
            (_, Some(true)) => "fits".to_owned(),
            (_, Some(false)) => needs(),
            (_, None) => "memory unknown".to_owned(),
        };
        let state = match self.state {
            State::BuiltIn => "in this program",
            State::Downloaded => "downloaded",
            State::Partial => "partly downloaded",
            State::NotHere => "not downloaded",
        };
        format!("{fits}; {state}")
    }
}
