//! `infill doctor`: what is here, what works, and the remedy for what does not; a line each.
//!
//! ```text
//! ok  binary    0.1.0 at /home/me/.cargo/bin/infill, first on PATH
//! ok  model     nano on cpu, 8 tokens in 9 ms
//! !!  helix     no language uses "infill" in languages.toml: add it to language-servers
//! --  zed       not found
//! ```
use crate::config::{self, Config, Layer};
use crate::daemon::link::Link;
use crate::daemon::place::Place;
use crate::daemon::{Hello, Identity, News, is_unix, start};
use crate::engine::local::{self, Health};
use crate::engine::{Engine, EngineError, Event, Request, configured};
use crate::hub::cache::Cache;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod editors;
pub mod explain;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    Ok,
    /// Wrong: the exit code says so.
    Bad,
    /// Not on this machine, and nothing wrong with that.
    Absent,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub what: &'static str,
    pub mark: Mark,
    /// What was found.
    pub found: String,
    /// What to do about it, when it is bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, mark: Mark::Ok, found: found.into(), remedy: None }
    }

    fn bad(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what, mark: Mark::Bad, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn absent(what: &'static str) -> Finding {
        Finding { what, mark: Mark::Absent, found: "not found".into(), remedy: None }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = match self.mark {
            Mark::Ok => "ok",
            Mark::Bad => "!!",
            Mark::Absent => "--",
        };
        write!(f, "{mark}  {:<14}{}", self.what, self.found)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, ": {remedy}"))
    }
}

/// Looks at everything. `user` is what file and environment say, or why they cannot be used; `named` comes on top
/// (`--model`).
pub async fn examine(user: Result<Vec<Layer>, config::ConfigError>, named: Vec<Layer>) -> Vec<Finding> {
    let mut findings = vec![binary()];
    let (settings, layers) = configuration(user);
    findings.push(settings);
    let layers: Vec<Layer> = layers.into_iter().chain(named).collect();
    match config::merge(&layers) {
        Ok(loaded) => {
            // Before the trial, which is a window of that server too.
            let server = server(&loaded.config).await;
            findings.extend(engine(&loaded.config).await);
            findings.push(server);
        }
        Err(error) => findings.push(Finding::bad("model", error.to_string(), "correct it")),
    }
    findings.push(downloads());
    findings.extend(editors::all(&Home::here()));
    findings
}

/// Where a user's files are.
struct Home {
    home: PathBuf,
    /// Where programs keep settings: `$XDG_CONFIG_HOME`, `%APPDATA%`, or under the home folder.
    config: PathBuf,
}

impl Home {
    fn here() -> Home {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = var("HOME").or_else(|| var("USERPROFILE")).unwrap_or_default();
        let config = var("XDG_CONFIG_HOME").or_else(|| var("APPDATA")).unwrap_or_else(|| home.join(".config"));
        Home { home, config }
    }
}

/// The first program of this name on PATH.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path).map(|folder| folder.join(&file)).find(|found| found.is_file())
}

/// Editors start the `infill` that is first on PATH: it should be this one.
fn binary() -> Finding {
    let version = env!("CARGO_PKG_VERSION");
    let Ok(here) = std::env::current_exe() else {
        return Finding::bad("binary", version, "where it lies cannot be found out: name its whole path in the editor's settings");
    };
    let same = |other: &Path| matches!((other.canonicalize(), here.canonicalize()), (Ok(a), Ok(b)) if a == b);
    let at = format!("{version} at {}", here.display());
    match on_path("infill") {
        Some(first) if same(&first) => Finding::ok("binary", format!("{at}, first on PATH")),
        Some(first) => Finding::bad(
            "binary",
            format!("{at}, but editors find {} first", first.display()),
            "remove that one, or change the order of PATH",
        ),
        None => {
            Finding::bad("binary", format!("{at}, not on PATH"), "run \"cargo install --path .\", or name its whole path in the editor")
        }
    }
}

fn configuration(user: Result<Vec<Layer>, config::ConfigError>) -> (Finding, Vec<Layer>) {
    let checked = user.and_then(|layers| config::merge(&layers).map(|_| layers));
    match checked {
        Err(error) => (Finding::bad("configuration", error.to_string(), "until then the defaults are in force"), vec![]),
        Ok(layers) if layers.is_empty() => (Finding::ok("configuration", "the defaults (\"infill config\" prints them)"), layers),
        Ok(layers) => {
            let places: Vec<&str> = layers.iter().map(|l| l.place.as_str()).collect();
            (Finding::ok("configuration", format!("from {}", places.join(", "))), layers)
        }
    }
}

/// Where downloaded models are, and which; "infill models" says more.
fn downloads() -> Finding {
    let cache = Cache::from_env();
    let held = |repo: &String| cache.held(repo).iter().map(|path| crate::models::bytes(path)).sum::<u64>();
    let here: Vec<String> = cache.repositories().into_iter().filter(|repo| held(repo) > 0).collect();
    let partial = cache.repositories().into_iter().find(|repo| cache.is_partial(repo));
    let list = if here.is_empty() { "nothing downloaded".to_owned() } else { here.join(", ") };
    let found = format!("{} in {}", list, cache.root.display());
    match partial {
        Some(repo) => Finding::ok("downloads", format!("{found}; {repo} is not finished (\"infill pull {repo}\")")),
        None => Finding::ok("downloads", found),
    }
}

/// Longest time that a first answer may take before a user is told what to do about it.
const SLOW: Duration = Duration::from_secs(2);

/// A remote engine: reached, understood, and how long it takes.
async fn remote(config: &Config) -> Finding {
    let place = |info: Option<crate::engine::Info>| info.map_or(String::new(), |i| format!("{}, {}", i.model, i.device));
    match trial(config).await {
        Ok((time, info)) => {
            let found =
                format!("{}: 8 tokens in {:.0} ms; the text around the cursor is sent there", place(info), time.as_secs_f64() * 1e3);
            Finding::ok("engine", found)
        }
        Err(EngineError { title, hint }) => Finding::bad("engine", title, hint),
    }
}

async fn engine(config: &Config) -> Vec<Finding> {
    if !config.engine.url.is_empty() {
        return vec![remote(config).await];
    }
    let mut health = match local::health(config) {
        Ok(health) => health,
        Err(EngineError { title, hint }) => return vec![Finding::bad("model", title, hint)],
    };
    let tried = trial(config).await;
    if let Ok((_, Some(info))) = &tried {
        health.ran(info);
    }
    let mut findings = vec![match tried.map(|(time, _)| time) {
        Ok(time) if time > SLOW => {
            let slow = format!("{} on {}: 8 tokens took {:.1} s", health.model, health.device, time.as_secs_f64());
            Finding::bad("model", slow, "choose a smaller model, or one quantised to Q8_0")
        }
        Ok(time) => Finding::ok("model", format!("{}: 8 tokens in {:.0} ms", health.model, time.as_secs_f64() * 1e3)),
        Err(EngineError { title, hint }) => Finding::bad("model", title, hint),
    }];
    findings.extend([device(&health), memory(&health), cache(&health)]);
    findings
}

/// Lets the configured engine say something: the shared server if it has the model, which is then not loaded twice.
async fn trial(config: &Config) -> Result<(Duration, Option<crate::engine::Info>), EngineError> {
    if running(config).await {
        return answered(&*configured::for_window(config)?).await;
    }
    let engine = configured::open(config)?;
    engine.loaded().await?;
    answered(&engine).await
}

/// Is the shared server there, and does it fit?
async fn running(config: &Config) -> bool {
    let Ok(place) = Place::find() else { return false };
    let found = start::ask(&Link { place, transport: config.server.transport }).await;
    let wanted = Identity::of(config).map(|identity| identity.fingerprint).ok();
    let fits = |(hello, _): &(Hello, News)| hello.version == env!("CARGO_PKG_VERSION") && wanted.as_ref() == Some(&hello.fingerprint);
    config.engine.shared && config.engine.url.is_empty() && found.as_ref().is_some_and(fits)
}

async fn answered(engine: &dyn Engine) -> Result<(Duration, Option<crate::engine::Info>), EngineError> {
    let begun = Instant::now();
    let request = Request { prefix: "def add(a, b):\n".into(), tail: "    return".into(), max_tokens: 8, ..Request::default() };
    let mut answer = engine.submit(request);
    while let Some(event) = answer.recv().await {
        if let Event::Failed(error) = event {
            return Err(error);
        }
    }
    Ok((begun.elapsed(), engine.info()))
}

/// The server that all windows share. That none runs is as it should be: a window starts it.
async fn server(config: &Config) -> Finding {
    if !config.engine.shared {
        return Finding::ok("server", "none: each window loads the model (engine.shared = false)");
    }
    let place = match Place::find() {
        Ok(place) => place,
        Err(EngineError { title, hint }) => return Finding::bad("server", title, hint),
    };
    let link = Link { place: place.clone(), transport: config.server.transport };
    let Some((hello, news)) = start::ask(&link).await else {
        return match place.hold() {
            Ok(None) => {
                Finding::bad("server", "one is running and does not answer", format!("end it; its log is {}", place.log().display()))
            }
            _ => Finding { found: "not running (a window starts it)".into(), ..Finding::absent("server") },
        };
    };
    let listen = hello.listen.map_or_else(String::new, |listen| format!(", http://{listen}"));
    let socket = if is_unix(config.server.transport) { place.socket() } else { place.port() };
    let found =
        format!("pid {}, infill {}, {} for {} windows, {}{listen}", hello.pid, hello.version, hello.model, hello.windows, socket.display());
    let stop = "close the windows that use it, or run \"infill serve --stop\"";
    match news {
        News::Failed(error) => Finding::bad("server", format!("{found}: {}", error.title), error.hint),
        _ if hello.version != env!("CARGO_PKG_VERSION") => Finding::bad("server", format!("{found}, another version"), stop),
        _ if Identity::of(config).is_ok_and(|wanted| wanted.fingerprint != hello.fingerprint) => {
            Finding::bad("server", format!("{found}, not the configured model"), stop)
        }
        _ => Finding::ok("server", found),
    }
}

/// What is known of GPUs here.
#[cfg(feature = "cuda")]
fn gpu() -> String {
    match crate::model::cuda::driver::count() {
        Ok(1) => "1 NVIDIA GPU".into(),
        Ok(n) => format!("{n} NVIDIA GPUs"),
        Err(reason) => format!("{reason:#}"),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> String {
    "this build has no GPU code".into()
}

fn device(health: &Health) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding::ok("device", format!("{}, {cores} cores ({})", health.device, gpu()))
}

fn memory(health: &Health) -> Finding {
    let (needed, free) = (health.weight_bytes + health.cache_bytes, health.free_bytes);
    if health.on_gpu() {
        return Finding::ok("memory", format!("{} for weights and cache on {}", size(needed), health.device));
    }
    let found = format!("{} free, {} for weights and cache at most", size(free), size(needed));
    if needed > free {
        return Finding::bad("memory", found, "choose a smaller or a quantised model, or set cache.bytes lower");
    }
    Finding::ok("memory", found)
}

fn cache(health: &Health) -> Finding {
    let note = health.cache_note.map_or_else(String::new, |note| format!("; {note}"));
    let found = format!("{} tokens in {}{note}", health.cache_tokens, size(health.cache_bytes));
    if health.cache_tokens < 2 * health.window {
        let remedy = format!("it holds less than two prompts of {} tokens: raise cache.bytes", health.window);
        return Finding::bad("cache", found, remedy);
    }
    Finding::ok("cache", found)
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GB", b >> 30),
        b => format!("{} MB", b >> 20),
    }
}
