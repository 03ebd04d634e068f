//! One file, from the hub to its blob: resumed where it stopped, checked, put in place whole or not at all.
//!
//! ```text
//! blobs/<etag>.incomplete  --Range: bytes=N-, append, SHA-256 over all-->  blobs/<etag>
//! ```
use super::api::{Fault, Hub, Remote, stated};
use super::progress::Progress;
use super::{problem, size};
use crate::config::plain;
use crate::engine::EngineError;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds before a new try, as long as no byte comes: the first at once.
const WAITS: [u64; 5] = [0, 1, 2, 4, 8];

/// Longest time that a server may ask us to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a file comes from.
pub struct Origin<'a> {
    pub hub: &'a Hub,
    pub repo: &'a str,
    pub commit: &'a str,
}

/// Downloads a file to `blob`.
///
/// # Errors
/// The network fails for good, the disk is full, the checksum is wrong; what has come is kept for the next time, except
/// where the checksum shows that it is worthless.
pub async fn file(origin: &Origin<'_>, remote: &Remote, blob: &Path) -> Result<(), EngineError> {
    let _lock = Lock::take(blob, &remote.name)?;
    if std::fs::metadata(blob).is_ok_and(|found| found.len() == remote.bytes) {
        return Ok(()); // Another download was faster.
    }
    let mut progress = Progress::new(&remote.name, remote.bytes);
    let mut part = Part::open(blob, remote.bytes)?;
    let resumed = part.at > 0;
    progress.set(part.at);
    complete(origin, remote, &mut part, &mut progress).await?;
    if resumed && part.wrong(remote).is_some() {
        progress.note("  what was there from before is damaged: once more from the beginning");
        part.restart()?;
        complete(origin, remote, &mut part, &mut progress).await?;
    }
    match part.wrong(remote) {
        Some(found) => {
            part.discard();
            let title = format!("{} has arrived damaged: its SHA-256 is {found}, not {}", remote.name, remote.etag);
            Err(problem(title, "run it again; if it stays so, a proxy or mirror changes the file: set HF_ENDPOINT to another"))
        }
        None => part.finish(blob),
    }
}

/// Until all bytes are there.
async fn complete(origin: &Origin<'_>, remote: &Remote, part: &mut Part, progress: &mut Progress) -> Result<(), EngineError> {
    let mut tries = 0;
    while part.at < remote.bytes {
        let before = part.at;
        let (reason, wait) = match more(origin, remote, part, progress).await {
            Ok(()) => ("the connection broke".to_owned(), None),
            Err(Fault::Passing(reason, wait)) => (reason, wait),
            Err(Fault::Final(error)) => return Err(error),
        };
        if part.at >= remote.bytes {
            break;
        }
        tries = if part.at > before { 0 } else { tries + 1 };
        let Some(pause) = WAITS.get(tries) else {
            let title = format!("The download of {} stopped at {} ({reason})", remote.name, size(part.at));
            return Err(problem(title, "check the network and run it again: it goes on where it stopped"));
        };
        progress.note(&format!("  {reason} at {}: resuming", size(part.at)));
        tokio::time::sleep(wait.map_or(Duration::from_secs(*pause), |wait| wait.min(PATIENCE))).await;
    }
    Ok(())
}

/// One request: appends what comes.
async fn more(origin: &Origin<'_>, remote: &Remote, part: &mut Part, progress: &mut Progress) -> Result<(), Fault> {
    let mut answer = origin.hub.open(origin.repo, origin.commit, remote, part.at).await?;
    if stated(answer.headers()).is_some_and(|etag| etag.len() == remote.etag.len() && etag != remote.etag) {
        return Err(problem(format!("{} was replaced on the hub meanwhile", remote.name), "run it again").into());
    }
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE || !continues(&answer, part.at) {
        part.restart()?;
        progress.set(0);
    }
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        return Ok(());
    }
    let broken = |error: reqwest::Error| Fault::Passing(crate::net::reason(&error), None);
    while let Some(bytes) = answer.chunk().await.map_err(broken)? {
        if part.at + bytes.len() as u64 > remote.bytes {
            part.discard();
            let title = format!("{} is longer than the {} bytes that the hub lists", remote.name, remote.bytes);
            return Err(problem(title, "run it again; a proxy or mirror may be changing it").into());
        }
        part.add(&bytes)?;
        progress.set(part.at);
    }
    Ok(())
}

/// Whether the answer begins where the part ends. A server may ignore a range and send everything.
fn continues(answer: &Response, at: u64) -> bool {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        return at == 0;
    }
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = range.trim_start_matches("bytes ").split('-').next().and_then(|n| n.parse::<u64>().ok());
    first == Some(at)
}

/// A file that is not whole yet, and the hash of what is there.
struct Part {
    path: PathBuf,
    file: File,
    at: u64,
    hash: Sha256,
}

impl Part {
    /// Goes on with what is there. The hash is taken over it again: it may be damaged.
    fn open(blob: &Path, bytes: u64) -> Result<Part, EngineError> {
        let path = blob.with_extension("incomplete");
        let file = File::options().append(true).read(true).create(true).open(&path).map_err(|e| unwritable(&path, &e))?;
        let mut part = Part { path, file, at: 0, hash: Sha256::new() };
        let length = part.file.metadata().map_or(0, |m| m.len());
        if length > bytes {
            part.restart()?;
            return Ok(part);
        }
        let mut buffer = vec![0; 1 << 20];
        while part.at < length {
            match part.file.read(&mut buffer).map_err(|e| unwritable(&part.path, &e))? {
                0 => break,
                count => {
                    part.hash.update(buffer.get(..count).unwrap_or_default());
                    part.at += count as u64;
                }
            }
        }
        Ok(part)
    }

    fn restart(&mut self) -> Result<(), EngineError> {
        self.file.set_len(0).map_err(|e| unwritable(&self.path, &e))?;
        (self.at, self.hash) = (0, Sha256::new());
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.file.write_all(bytes).map_err(|e| unwritable(&self.path, &e))?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The hash, if it is not the one that the hub states.
    fn wrong(&self, remote: &Remote) -> Option<String> {
        let found: String = self.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        remote.sha256().filter(|stated| *stated != found).map(|_| found)
    }

    /// Nothing to keep.
    fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn finish(self, blob: &Path) -> Result<(), EngineError> {
        self.file.sync_all().map_err(|e| unwritable(&self.path, &e))?;
        std::fs::rename(&self.path, blob).map_err(|e| unwritable(blob, &e))
    }
}

/// What a disk says, with the remedy.
pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> EngineError {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => problem(
            format!("The disk is full ({folder})"),
            "free some space, or set HF_HUB_CACHE to a folder on a larger disk, and run it again: what has arrived is kept",
        ),
        _ => problem(
            format!("{} cannot be written ({})", path.display(), plain(error)),
            "make it writable, or set HF_HUB_CACHE to another folder",
        ),
    }
}

/// Only one download of a file at a time, among all programs that use this cache.
struct Lock {
    _file: File,
}

impl Lock {
    fn take(blob: &Path, name: &str) -> Result<Lock, EngineError> {
        // The place where Hugging Face's own programs lock: .locks/models--org--repo/<etag>.lock
        let repo = blob.parent().and_then(Path::parent).unwrap_or(blob);
        let folder = repo.parent().unwrap_or(repo).join(".locks").join(repo.file_name().unwrap_or_default());
        let path = folder.join(format!("{}.lock", blob.file_name().unwrap_or_default().to_string_lossy()));
        let open = || std::fs::create_dir_all(&folder).and_then(|()| File::options().create(true).append(true).open(&path));
        let file = open().map_err(|e| unwritable(&path, &e))?;
        if file.try_lock().is_err() {
            super::progress::say(&format!("{name}: another program downloads it already; waiting for it"));
            file.lock().map_err(|e| unwritable(&path, &e))?;
        }
        Ok(Lock { _file: file })
    }
}
