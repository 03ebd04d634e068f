//! One configuration: defaults < file < environment < the editor's settings.
//!
//! ```text
//! ~/.config/infill/config.toml     [completion] max_tokens = 64
//! environment                      INFILL_COMPLETION_MAX_TOKENS=32
//! initializationOptions            { "completion": { "max_tokens": 16 } }      <- wins
//! ```
//! Each key stands once, here, with its documentation; `infill config --schema` exports both. An unknown key or a
//! value of the wrong type is an error that names the key, where it stands, and what is accepted.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

mod cache;
mod places;
mod server;
pub use cache::{Bytes, Cache, CacheFormat};
pub use places::{env_layers, env_name, file_layer, plain, user_file, user_layers};
pub use server::{Api, Engine, Server, Transport};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "infill")]
pub struct Config {
    /// Offer completions at all.
    pub enabled: bool,
    /// Language ids to complete in; empty: all. An id with "!" in front is excluded: ["!markdown"].
    pub languages: Vec<String>,
    /// The model: "nano" (inside the binary), a name that "infill pull" takes ("deepseek-coder-v2-lite-base", "org/repo", "org/repo:Q4_K_M"), a folder with config.json, or a GGUF file. All but "nano" are taken from the file, the environment and the command line only.
    pub model: String,
    /// Where the model runs: "auto" (a GPU where there is one, for models other than nano), "cpu", or "cuda:0" for NVIDIA GPU number 0.
    pub device: Device,
    /// Files that are never shown to the model as context, on top of secrets, hidden and ignored ones: patterns as in a .gitignore, such as ["*.secret", "vendor/"].
    pub exclude: Vec<String>,
    /// What is suggested, and how it is offered.
    pub completion: Completion,
    /// What the model sees.
    pub context: Context,
    /// The prefix cache.
    pub cache: Cache,
    /// Where suggestions are computed. Taken from the file, the environment and the command line only.
    pub engine: Engine,
    /// The server that all windows share, and its HTTP face. Taken from the file, the environment and the command line only.
    pub server: Server,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            languages: Vec::new(),
            model: "nano".into(),
            device: Device::Auto,
            exclude: Vec::new(),
            completion: Completion::default(),
            context: Context::default(),
            cache: Cache::default(),
            engine: Engine::default(),
            server: Server::default(),
        }
    }
}

/// Where the model runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^(auto|cpu|cuda(:[0-9]+)?)$"))]
pub enum Device {
    Auto,
    Cpu,
    /// NVIDIA GPU of this number.
    Cuda(usize),
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let number = word.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "0" } else { "-" }));
        match (word.as_str(), number.map(str::parse)) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(format!("unknown value `{word}`, expected \"auto\", \"cpu\", or \"cuda:0\"")),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        match device {
            Device::Auto => "auto".into(),
            Device::Cpu => "cpu".into(),
            Device::Cuda(number) => format!("cuda:{number}"),
        }
    }
}

/// What is suggested, and how it is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Completion {
    /// "one": to the end of the line; "block": several lines; "auto": a block where a body is empty.
    pub lines: Lines,
    /// Most tokens of one suggestion.
    #[schemars(range(min = 1, max = 1024))]
    pub max_tokens: usize,
    /// "frozen": what is typed is appended to a cached prompt; "psm": a fresh prefix-suffix-middle split at each key.
    pub layout: Layout,
    /// Completion items (for editors without ghost text): "auto" offers them only to a client that cannot show inline completions.
    pub items: Items,
    /// Show a suggestion only when the model finds its first line at least this probable (geometric mean over its tokens, 0 to 1): "auto" (what was learnt for the model; where nothing was, as "off"), "off", or a number. An explicit invocation shows all.
    pub show_threshold: Threshold,
    /// How many suggestions an explicit invocation gives.
    #[schemars(range(min = 1, max = 5))]
    pub alternatives: usize,
}

impl Default for Completion {
    fn default() -> Self {
        Completion {
            lines: Lines::Auto,
            max_tokens: 96,
            layout: Layout::Frozen,
            items: Items::Auto,
            show_threshold: Threshold::Word("auto".into()),
            alternatives: 3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    One,
    Block,
    Auto,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Frozen,
    Psm,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Items {
    Auto,
    Always,
    Never,
}

/// A probability, "auto" or "off".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("pattern" = "^(auto|off)$", "minimum" = 0, "maximum" = 1))]
pub enum Threshold {
    Number(f32),
    Word(String),
}

impl Threshold {
    /// The least probability that is shown. `learnt`: what stands beside the model's weights, for "auto"; a model without
    /// it shows all, since another model's figure says nothing of this one's probabilities.
    ///
    /// # Errors
    /// What is no probability.
    pub fn least(&self, learnt: Option<f32>) -> Result<f32, String> {
        match self {
            Threshold::Number(p) if (0.0..=1.0).contains(p) => Ok(*p),
            Threshold::Word(w) if w == "auto" => Ok(learnt.unwrap_or(0.0)),
            Threshold::Word(w) if w == "off" => Ok(0.0),
            Threshold::Number(p) => Err(format!("{p} is no probability: write \"auto\", \"off\", or a number from 0 to 1")),
            Threshold::Word(w) => Err(format!("\"{w}\" is no probability: write \"auto\", \"off\", or a number from 0 to 1")),
        }
    }
}

/// What the model sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Context {
    /// Tokens of the prompt: about three quarters before the cursor, one quarter after.
    #[schemars(range(min = 64, max = 131072))]
    pub tokens: usize,
    /// Show the model what other files of the workspace define, too, and recent edits. Read into memory only.
    pub other_files: bool,
}

impl Default for Context {
    fn default() -> Self {
        Context { tokens: 2048, other_files: true }
    }
}

/// A value that cannot be used, with its key, its place and the remedy.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {}{why}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
pub struct ConfigError {
    /// Where it stands: a file's path, an environment variable, "initializationOptions", …
    pub place: String,
    /// The key, dotted: `completion.max_tokens`; empty where the whole place is meant.
    pub key: String,
    pub why: String,
}

/// Where settings come from; later ones win.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub place: String,
    pub value: Value,
}

/// The effective configuration, and which place set each key.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Dotted key -> place; keys at their default are absent.
    pub origin: BTreeMap<String, String>,
}

impl Loaded {
    /// The effective values as TOML, each key with its variable and the place that set it.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut section = String::new();
        let mut out = String::new();
        for line in toml::to_string(&self.config)?.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_string();
            }
            out += line;
            if let Some((name, _)) = line.split_once(" = ") {
                let key = dotted(&section, name);
                let place = self.origin.get(&key).map_or("default", String::as_str);
                out += &format!("    # {place} ({})", env_name(&key));
            }
            out += "\n";
        }
        Ok(out)
    }
}

/// Merges layers over the defaults. Each layer is checked by itself, so that an error names the place it stands in.
pub fn merge(layers: &[Layer]) -> Result<Loaded, ConfigError> {
    let mut value = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut origin = BTreeMap::new();
    for layer in layers {
        check(layer)?;
        overlay(&mut value, &layer.value, "", &layer.place, &mut origin);
    }
    let config = parse(&value, "configuration")?;
    Ok(Loaded { config, origin })
}

/// Checks one layer alone: known keys, right types, values in range.
pub fn check(layer: &Layer) -> Result<(), ConfigError> {
    let config = parse(&layer.value, &layer.place)?;
    let bad = |key: &str, why: String| Err(ConfigError { place: layer.place.clone(), key: key.into(), why });
    if !(1..=1024).contains(&config.completion.max_tokens) {
        return bad("completion.max_tokens", format!("{} is out of range: 1 to 1024", config.completion.max_tokens));
    }
    if !(1..=5).contains(&config.completion.alternatives) {
        return bad("completion.alternatives", format!("{} is out of range: 1 to 5", config.completion.alternatives));
    }
    if !(64..=131_072).contains(&config.context.tokens) {
        return bad("context.tokens", format!("{} is out of range: 64 to 131072", config.context.tokens));
    }
    if let Err(why) = crate::context::rules::Rules::new(Path::new("/"), &config.exclude) {
        return bad("exclude", why);
    }
    if !(1..=65_536).contains(&config.server.connections) {
        return bad("server.connections", format!("{} is out of range: 1 to 65536", config.server.connections));
    }
    if !(1..=86_400).contains(&config.server.seconds) {
        return bad("server.seconds", format!("{} is out of range: 1 to 86400", config.server.seconds));
    }
    if let Err(why) = config.completion.show_threshold.least(None) {
        return bad("completion.show_threshold", why);
    }
    match config.cache.bytes.get() {
        Err(why) => bad("cache.bytes", why),
        Ok(_) => Ok(()),
    }
}

fn parse(value: &Value, place: &str) -> Result<Config, ConfigError> {
    serde_path_to_error::deserialize(value.clone()).map_err(|e| {
        let path = e.path().to_string();
        let why = e.inner().to_string().replace("unknown field", "unknown key");
        let (key, why) = match why.strip_prefix("unknown key `").and_then(|r| r.split_once('`')) {
            Some((name, rest)) if path.ends_with(name) => (path.clone(), format!("unknown key{rest}")),
            Some((name, rest)) => (dotted(path.trim_matches('.'), name), format!("unknown key{rest}")),
            None => (path, said(&why)),
        };
        ConfigError { place: place.into(), key, why }
    })
}

/// What serde says of a wrong value, for who writes settings and not Rust.
fn said(why: &str) -> String {
    if why.contains("untagged enum Bytes") {
        return cache::SIZE.into();
    }
    let why = why.replace("unknown variant", "unknown value");
    let wrong = why.strip_prefix("invalid type: ").or_else(|| why.strip_prefix("invalid value: "));
    match wrong.and_then(|w| w.split_once(", expected ")) {
        Some((found, "usize" | "u64")) => format!("{found} does not fit, expected a whole number"),
        Some((found, "a boolean")) => format!("{found} does not fit, expected a boolean: true or false"),
        Some((found, "a sequence")) => format!("{found} does not fit, expected a list, such as [\"python\"]"),
        Some((found, what)) => format!("{found} does not fit, expected {what}"),
        None => why,
    }
}

fn dotted(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.into() } else { format!("{parent}.{key}") }
}

fn overlay(base: &mut Value, over: &Value, path: &str, place: &str, origin: &mut BTreeMap<String, String>) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value, &dotted(path, key), place, origin);
            }
        }
        // What one place excludes, no other lets in again: a workspace's settings come on top of the user's.
        (Value::Array(base), Value::Array(over)) if path == "exclude" => {
            base.extend(over.iter().filter(|pattern| !base.contains(pattern)).cloned().collect::<Vec<_>>());
            origin.insert(path.into(), place.into());
        }
        (base, over) => {
            *base = over.clone();
            origin.insert(path.into(), place.into());
        }
    }
}

/// A setting as a layer: `nest("cache.bytes", 0)` is `{"cache": {"bytes": 0}}`.
pub fn nest(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |inner, part| Value::Object(Map::from_iter([(part.to_string(), inner)])))
}

/// All dotted keys.
pub fn keys() -> Vec<String> {
    fn walk(value: &Value, path: &str, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(v, &dotted(path, k), out)),
            _ => out.push(path.into()),
        }
    }
    let mut out = Vec::new();
    walk(&serde_json::to_value(Config::default()).unwrap_or_default(), "", &mut out);
    out
}

/// Sections that a workspace must not set: where code is sent, who may ask, what is started.
const USERS_OWN: [&str; 2] = ["engine", "server"];

/// The editor's settings as a layer. A workspace can set them, so they may name the built-in model but no file:
/// a repository must not make its reader load a model that it brings along, nor send code to an engine of its choice.
pub fn editor_layer(place: &str, value: &Value) -> Result<Layer, ConfigError> {
    let layer = Layer { place: place.into(), value: value.clone() };
    check(&layer)?;
    let is_set = |section: &Value| section.as_object().is_none_or(|keys| !keys.is_empty());
    if let Some(section) = USERS_OWN.into_iter().find(|name| value.get(*name).is_some_and(is_set)) {
        return Err(ConfigError {
            place: place.into(),
            key: section.into(),
            why: format!(
                "is not taken from an editor's settings, which a workspace can change: set it in {}, or in the environment",
                user_file().unwrap_or_default().display()
            ),
        });
    }
    match value.get("model").and_then(Value::as_str) {
        Some(model) if model != "nano" => Err(ConfigError {
            place: place.into(),
            key: "model".into(),
            why: format!(
                "\"{model}\" is not taken from an editor's settings, which a workspace can change: set it in {}, in INFILL_MODEL, or with --model",
                user_file().unwrap_or_default().display()
            ),
        }),
        _ => Ok(layer),
    }
}

/// The JSON schema of the whole configuration.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

impl Config {
    /// Whether completions are offered in documents of this language id.
    pub fn covers(&self, language: &str) -> bool {
        let excluded = self.languages.iter().any(|l| l.strip_prefix('!') == Some(language));
        let mut included = self.languages.iter().filter(|l| !l.starts_with('!')).peekable();
        self.enabled && !excluded && (included.peek().is_none() || included.any(|l| l == language))
    }
}

#[cfg(test)]
mod tests;
