//! What the hub is asked: what a repository holds, and one file of it, from a byte on.
//!
//! ```text
//! GET /api/models/org/repo/revision/main?blobs=true -> { "sha": "…", "siblings": [{ "rfilename", "size", "blobId", "lfs": { "sha256" } }] }
//! GET /org/repo/resolve/<sha>/file, Range: bytes=N- -> 302 to the storage -> 206
//! ```
//! Everything that is said there is checked before it becomes a path: names, etags, the commit.
use super::cache::{home, variable};
use super::{is_inside, problem};
use crate::engine::EngineError;
use crate::net::{self, Net};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, ETAG, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use std::time::Duration;

/// The hub, and who asks it.
pub struct Hub {
    endpoint: Url,
    token: Option<HeaderValue>,
    net: Net,
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its path in the repository.
    pub name: String,
    pub bytes: u64,
    /// The name of its blob: the SHA-256 of a large file, git's own hash of a small one.
    pub etag: String,
}

impl Remote {
    /// The SHA-256 that its bytes must have, where the hub states one.
    pub fn sha256(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| etag.len() == 64)
    }
}

/// A repository at one commit.
#[derive(Clone, Debug)]
pub struct Listing {
    pub commit: String,
    pub files: Vec<Remote>,
    /// The name of the licence and where its text is, as far as the repository says.
    pub licence: Option<(String, Option<String>)>,
    /// The architecture, where the hub knows it: `deepseek_v2`, `deepseek2`.
    pub architecture: Option<String>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// The network, or a server in trouble: worth another try, perhaps after the time that the server named.
    Passing(String, Option<Duration>),
    /// It will be the same next time.
    Final(EngineError),
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Fault {
        Fault::Final(error)
    }
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(rename = "cardData")]
    card: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
    gguf: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    oid: Option<String>,
    size: Option<u64>,
}

impl Hub {
    /// HF_ENDPOINT, HF_TOKEN (or the token file that `hf auth login` writes), HF_HUB_DOWNLOAD_TIMEOUT.
    ///
    /// # Errors
    /// A value that cannot be used.
    pub fn from_env() -> Result<Hub, EngineError> {
        let text = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let parsed = text.trim_end_matches('/').parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let hint = "set it to a hub's address, such as https://huggingface.co, or unset it";
        let endpoint = parsed.ok_or_else(|| problem(format!("HF_ENDPOINT is {text:?}, which is no address"), hint))?;
        let seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok()).unwrap_or(30);
        Ok(Hub { endpoint, token: token()?, net: Net::new(Duration::from_secs(seconds))? })
    }

    /// `huggingface.co`
    pub fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    fn url(&self, path: &str) -> Result<Url, EngineError> {
        let text = format!("{}/{path}", self.endpoint.as_str().trim_end_matches('/'));
        text.parse().map_err(|_| problem(format!("{text:?} is no address"), "correct HF_ENDPOINT"))
    }

    /// What a repository holds.
    pub async fn list(&self, repo: &str) -> Result<Listing, Fault> {
        let url = self.url(&format!("api/models/{repo}/revision/main?blobs=true"))?;
        let answer = self.get(url, &HeaderMap::new()).await?;
        let answer = checked(answer, self.host(), repo, self.token.is_some())?;
        let bytes = answer.bytes().await.map_err(|e| Fault::Passing(net::reason(&e), None))?;
        let odd = |what: String| Fault::Final(problem(format!("{} answers something else than a hub ({what})", self.host()), REMEDY));
        let info: Info = serde_json::from_slice(&bytes).map_err(|e| odd(e.to_string()))?;
        if !is_hash(&info.sha) {
            return Err(odd(format!("the commit {:?}", info.sha)));
        }
        let mut listing =
            Listing { commit: info.sha.clone(), files: Vec::new(), licence: licence(&info), architecture: architecture(&info) };
        for sibling in info.siblings.into_iter().filter(|s| is_inside(&s.rfilename)) {
            listing.files.push(sibling.remote().ok_or_else(|| odd("a file without its size or hash".to_owned()))?);
        }
        Ok(listing)
    }

    /// A file from a byte on. The answer is 200 (from the beginning), 206, or 416.
    pub async fn open(&self, repo: &str, commit: &str, file: &Remote, from: u64) -> Result<Response, Fault> {
        let path = file.name.split('/').map(encoded).collect::<Vec<_>>().join("/");
        let url = self.url(&format!("{repo}/resolve/{commit}/{path}"))?;
        let mut headers = HeaderMap::new();
        // A proxy that packs the bytes would change what a range means.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if from > 0 {
            let range = format!("bytes={from}-");
            headers.insert(RANGE, HeaderValue::from_str(&range).map_err(|_| problem("No range", REMEDY))?);
        }
        let answer = self.get(url, &headers).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(answer);
        }
        checked(answer, self.host(), repo, self.token.is_some())
    }

    /// Follows redirects; the token goes to the hub alone, and over nothing that can be read on the way.
    async fn get(&self, mut url: Url, headers: &HeaderMap) -> Result<Response, Fault> {
        let mut linked = None;
        for _ in 0..10 {
            let mut request = self.net.client(&url).get(url.clone()).headers(headers.clone());
            let secret = url.scheme() == "https" || net::is_loopback(&url);
            if let Some(token) = self.token.as_ref().filter(|_| secret && url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, token);
            }
            let mut answer = request.send().await.map_err(|error| Fault::Passing(net::reason(&error), None))?;
            linked = linked.or_else(|| etag(answer.headers(), "x-linked-etag"));
            if !answer.status().is_redirection() {
                if let Some(linked) = linked {
                    answer.headers_mut().insert("x-linked-etag", linked);
                }
                return Ok(answer);
            }
            url = next(&url, answer.headers())?;
        }
        Err(problem(format!("{} redirects in circles", self.host()), REMEDY).into())
    }
}

const REMEDY: &str = "try again later, or set HF_ENDPOINT to another mirror";

/// Where a redirect leads; never from a protected connection to an open one.
fn next(url: &Url, headers: &HeaderMap) -> Result<Url, EngineError> {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|text| url.join(text).ok());
    let open = |to: &Url| url.scheme() == "https" && to.scheme() != "https";
    let title = format!("{} redirects to no usable address", url.host_str().unwrap_or_default());
    target.filter(|to| matches!(to.scheme(), "http" | "https") && !open(to)).ok_or_else(|| problem(title, REMEDY))
}

fn etag(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    headers.get(name).cloned()
}

/// The hash in an answer's etag, without quotes and the mark of a weak one.
pub fn stated(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-linked-etag").or_else(|| headers.get(ETAG))?.to_str().ok()?;
    Some(value.trim_start_matches("W/").trim_matches('"').to_owned()).filter(|text| is_hash(text))
}

/// Every status that is no answer, with the remedy.
fn checked(answer: Response, host: &str, repo: &str, token: bool) -> Result<Response, Fault> {
    let status = answer.status();
    let said = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (code, page) = (said("x-error-code"), format!("https://{host}/{repo}"));
    let login = "set HF_TOKEN, or run \"hf auth login\"";
    let fault = match status.as_u16() {
        200 | 206 => return Ok(answer),
        401 | 403 if code == "GatedRepo" => {
            problem(format!("{repo} is given only to who has accepted its terms"), format!("accept them at {page}, then {login}"))
        }
        401 if token => problem(
            format!("{host} does not accept the token, or there is no {repo}"),
            format!("check the name, then {login} with a valid one"),
        ),
        // This is also what the hub says of names that do not exist.
        401 => problem(
            format!("{repo} does not exist, or is not open to everyone"),
            format!("check the name; if it is private or gated, {login}"),
        ),
        403 => problem(
            format!("{host} refuses {repo} to this token"),
            format!("give the token read access to it, or accept its terms at {page}"),
        ),
        404 if code == "EntryNotFound" => problem(format!("A file of {repo} is no longer there"), "run it again"),
        404 => problem(format!("There is no model {repo} on {host}"), "check the name: it is written organisation/repository"),
        407 => problem("The proxy asks for a login", "write it into HTTPS_PROXY: http://user:password@host:port"),
        408 | 429 | 500..=599 => {
            let wait = said("retry-after").parse().ok().map(Duration::from_secs);
            return Err(Fault::Passing(format!("{host} answers {status}"), wait));
        }
        _ => problem(format!("{host} answers {status}"), REMEDY),
    };
    Err(Fault::Final(fault))
}

impl Sibling {
    fn remote(self) -> Option<Remote> {
        let lfs = self.lfs.map(|lfs| (lfs.sha256.or(lfs.oid), lfs.size));
        let bytes = lfs.as_ref().and_then(|(_, size)| *size).or(self.size)?;
        let etag = lfs.and_then(|(hash, _)| hash).or(self.blob)?;
        is_hash(&etag).then_some(Remote { name: self.rfilename, bytes, etag })
    }
}

/// What names a blob or a commit: SHA-1 or SHA-256, in small letters.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn licence(info: &Info) -> Option<(String, Option<String>)> {
    let text = |key: &str| info.card.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let name = text("license_name").or_else(|| text("license"))?;
    Some((name, text("license_link").filter(|link| link.starts_with("https://"))))
}

fn architecture(info: &Info) -> Option<String> {
    let text = |value: &Option<serde_json::Value>, key: &str| value.as_ref()?.get(key)?.as_str().map(str::to_owned);
    text(&info.gguf, "architecture").or_else(|| text(&info.config, "model_type"))
}

/// A part of a path, for a URL.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The user's token, where there is one.
fn token() -> Result<Option<HeaderValue>, EngineError> {
    let file = variable("HF_TOKEN_PATH").map_or_else(|| home().join("token"), Into::into);
    let named = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
    let Some(token) = named.or_else(|| std::fs::read_to_string(file).ok()).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let bad = |_| problem("The Hugging Face token holds characters that no token has", "correct HF_TOKEN, or run \"hf auth login\"");
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(bad)?;
    value.set_sensitive(true);
    Ok(Some(value))
}
