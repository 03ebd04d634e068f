//! The keys that only the user's own configuration may set: where suggestions are computed, and who may ask.
//!
//! ```text
//! [engine]  shared = true
//! [server]  listen = "127.0.0.1:8766"    token_env = "INFILL_TOKEN"    idle = 600
//! ```
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where suggestions are computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// All windows share one server that holds the model; false: each window loads its own.
    pub shared: bool,
    /// A remote engine's address, such as "http://127.0.0.1:8080": the text around the cursor is sent there. Empty: the model runs on this machine.
    pub url: String,
    /// What is spoken there: "openai" (vLLM, SGLang and others with /v1/completions), "llama.cpp", "ollama", "deepseek" (its FIM API), or "auto": asked there.
    pub api: Api,
    /// The model there; empty: the only one that is served.
    pub model: String,
    /// Its fill-in-the-middle format: "auto" (by the model's name), deepseek, qwen, starcoder, codestral, codellama, granite, granite-4, or a form such as "<PRE>{prefix}<SUF>{suffix}<MID>{tail}". Empty: "auto".
    pub template: String,
    /// The environment variable that holds the key to it; empty: none.
    pub key_env: String,
    /// The file that holds the key; empty: none.
    pub key_file: String,
}

impl Default for Engine {
    fn default() -> Self {
        let (url, api, model, template, key_env, key_file) = Default::default();
        Engine { shared: true, url, api, model, template, key_env, key_file }
    }
}

/// What a remote engine speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Api {
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "openai")]
    OpenAi,
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    #[serde(rename = "ollama")]
    Ollama,
    #[serde(rename = "deepseek")]
    DeepSeek,
}

/// The server that all windows share, and its HTTP face.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Answer HTTP at this HOST:PORT too; empty: not. A host other than this machine's own (127.0.0.1, localhost, [::1]) needs a token.
    pub listen: String,
    /// The environment variable that holds the token HTTP clients must send (Authorization: Bearer); empty: none.
    pub token_env: String,
    /// The file that holds it; empty: none.
    pub token_file: String,
    /// Seconds without a window and without a request after which a server that a window started leaves; 0: never.
    pub idle: u64,
    /// How windows reach it: "unix" (a socket), "loopback" (a port of this machine and a token in a file), or "auto" (the first where there is one).
    pub transport: Transport,
    /// Most connections at once, over HTTP and from windows each.
    #[schemars(range(min = 1, max = 65536))]
    pub connections: usize,
    /// Most seconds that one HTTP request may take.
    #[schemars(range(min = 1, max = 86400))]
    pub seconds: u64,
}

impl Default for Server {
    fn default() -> Self {
        let (listen, token_env, token_file) = Default::default();
        Server { listen, token_env, token_file, idle: 600, transport: Transport::Auto, connections: 512, seconds: 600 }
    }
}

/// How windows reach the shared server.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Auto,
    Unix,
    Loopback,
}
