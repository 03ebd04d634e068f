//! A Hugging Face hub on this machine: the list of a repository, files that redirect to a storage, and trouble on order.
//!
//! ```ignore
//! let hub = Hub::with(&[("config.json", bytes)]);
//! hub.trouble(Trouble::Cut { after: 1_000_000, times: 1 });
//! ```
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub const COMMIT: &str = "00112233445566778899aabbccddeeff00112233";

/// What goes wrong with the storage, or (`Status` and `Garbage`) with everything.
#[derive(Clone)]
pub enum Trouble {
    /// The storage's connection ends after so many bytes, so many times.
    Cut {
        after: usize,
        times: usize,
    },
    /// The storage sends everything, whatever was asked for.
    NoRanges,
    /// A byte of each file is another.
    Damage,
    Status(u16, Vec<(String, String)>),
    Garbage,
}

struct Entry {
    name: String,
    bytes: Vec<u8>,
    etag: String,
    size: u64,
}

#[derive(Default)]
struct Inner {
    files: Vec<Entry>,
    troubles: VecDeque<Trouble>,
    requests: Vec<String>,
    ranges: Vec<Option<u64>>,
}

pub struct Hub {
    hub: SocketAddr,
    storage: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    stop: Arc<AtomicBool>,
}

impl Hub {
    pub fn with(files: &[(&str, Vec<u8>)]) -> Hub {
        let entry = |(name, bytes): &(&str, Vec<u8>)| {
            let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            // Small files are not in the large file storage: git's hash, 40 digits, of which nothing is checked.
            let etag = if bytes.len() < 100_000 { hash[..40].to_owned() } else { hash };
            Entry { name: (*name).to_owned(), bytes: bytes.clone(), etag, size: bytes.len() as u64 }
        };
        let inner = Arc::new(Mutex::new(Inner { files: files.iter().map(entry).collect(), ..Inner::default() }));
        let (hub, storage) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (here, there) = (hub.local_addr().unwrap(), storage.local_addr().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        for listener in [hub, storage] {
            let (inner, stop) = (inner.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let inner = inner.clone();
                    std::thread::spawn(move || answer(&stream, &inner, there));
                }
            });
        }
        Hub { hub: here, storage: there, inner, stop }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub fn trouble(&self, trouble: Trouble) {
        let mut inner = self.inner.lock().unwrap();
        inner.troubles.clear();
        inner.troubles.push_back(trouble);
    }

    /// When what is now is over.
    pub fn then(&self, trouble: Trouble) {
        self.inner.lock().unwrap().troubles.push_back(trouble);
    }

    pub fn calm(&self) {
        self.inner.lock().unwrap().troubles.clear();
    }

    /// The heads of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.inner.lock().unwrap().requests.clone()
    }

    /// From which byte on the storage was asked for a file.
    pub fn ranges(&self) -> Vec<Option<u64>> {
        self.inner.lock().unwrap().ranges.clone()
    }

    pub fn etag(&self, name: &str) -> String {
        self.inner.lock().unwrap().files.iter().find(|f| f.name == name).unwrap().etag.clone()
    }

    pub fn rename_etag(&self, name: &str, etag: &str) {
        self.inner.lock().unwrap().files.iter_mut().find(|f| f.name == name).unwrap().etag = etag.into();
    }

    /// The list says that the file has so many bytes.
    pub fn claim(&self, name: &str, size: u64) {
        self.inner.lock().unwrap().files.iter_mut().find(|f| f.name == name).unwrap().size = size;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for address in [self.hub, self.storage] {
            let _ = TcpStream::connect(address);
        }
    }
}

fn answer(stream: &TcpStream, inner: &Mutex<Inner>, storage: SocketAddr) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty());
    let head: Vec<String> = lines.collect();
    let Some(path) = head.first().and_then(|l| l.split(' ').nth(1)).map(str::to_owned) else {
        return;
    };
    let path = path.strip_prefix("http://hub.invalid").unwrap_or(&path).to_owned();
    let mut inner = inner.lock().unwrap();
    inner.requests.push(head.join("\n"));
    let response = respond(&mut inner, &path, &head, storage);
    drop(inner);
    let _ = (&*stream).write_all(&response);
}

fn status(code: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = if headers.contains("content-length") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let mut out = format!("HTTP/1.1 {code} Some\r\nconnection: close\r\n{length}{headers}\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

fn respond(inner: &mut Inner, path: &str, head: &[String], storage: SocketAddr) -> Vec<u8> {
    match inner.troubles.front() {
        Some(Trouble::Status(code, headers)) => return status(*code, headers, b"no"),
        Some(Trouble::Garbage) => return status(200, &[], b"<html>Log in to the hotel's network</html>"),
        _ => {}
    }
    if path.starts_with("/api/models/org/tiny/revision/main") {
        return status(200, &[], list(inner).to_string().as_bytes());
    }
    if let Some(name) = path.strip_prefix(&format!("/org/tiny/resolve/{COMMIT}/")) {
        let Some(file) = inner.files.iter().find(|f| f.name == name) else {
            return status(404, &[("x-error-code".into(), "EntryNotFound".into())], b"");
        };
        let headers = [
            ("location".into(), format!("http://{storage}/storage/{name}")),
            ("x-linked-etag".into(), format!("\"{}\"", file.etag)),
            ("x-repo-commit".into(), COMMIT.into()),
        ];
        return status(302, &headers, b"");
    }
    match path.strip_prefix("/storage/") {
        Some(name) => stored(inner, name, head),
        None => status(404, &[("x-error-code".into(), "RepoNotFound".into())], b"{}"),
    }
}

fn list(inner: &Inner) -> serde_json::Value {
    let file = |f: &Entry| {
        let lfs = (f.etag.len() != 40).then(|| serde_json::json!({"sha256": f.etag, "size": f.size, "pointerSize": 134}));
        serde_json::json!({"rfilename": f.name, "size": f.size, "blobId": f.etag.get(..40), "lfs": lfs})
    };
    let card = serde_json::json!({"license": "other", "license_name": "deepseek-license", "license_link": "https://example.com/terms"});
    let files: Vec<_> = inner.files.iter().map(file).collect();
    serde_json::json!({"id": "org/tiny", "sha": COMMIT, "cardData": card, "siblings": files})
}

fn stored(inner: &mut Inner, name: &str, head: &[String]) -> Vec<u8> {
    let from = head.iter().find_map(|l| l.to_lowercase().strip_prefix("range: bytes=")?.trim_end_matches('-').parse::<u64>().ok());
    inner.ranges.push(from);
    let mut bytes = inner.files.iter().find(|f| f.name == name).map(|f| f.bytes.clone()).unwrap_or_default();
    let total = bytes.len();
    let mut start = usize::try_from(from.unwrap_or(0)).unwrap();
    let mut cut = usize::MAX;
    match inner.troubles.front_mut() {
        Some(Trouble::Damage) => bytes[total / 2] ^= 1,
        Some(Trouble::NoRanges) => start = 0,
        Some(Trouble::Cut { after, times }) => {
            cut = *after;
            *times -= 1;
            if *times == 0 {
                inner.troubles.pop_front();
            }
        }
        _ => {}
    }
    let body = &bytes[start..];
    let code = if start > 0 { 206 } else { 200 };
    let headers =
        [("content-length".into(), body.len().to_string()), ("content-range".into(), format!("bytes {start}-{}/{total}", total - 1))];
    status(code, &headers, &body[..cut.min(body.len())])
}
