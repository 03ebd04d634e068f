//! The folder of the shared server, and the lock that makes it the only one.
//!
//! ```no_run
//! use infill::daemon::place::Place;
//! let place = Place::find()?;
//! let held = place.hold()?.expect("no other server");   // let go of with the process, however it ends
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use crate::config::plain;
use crate::engine::EngineError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A socket's path may have about a hundred bytes.
#[cfg(unix)]
const LONGEST: usize = 90;

/// A log that has grown larger is begun anew.
const LOG_BYTES: u64 = 1 << 20;

/// The folder of the shared server: this user's alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Place(PathBuf);

/// The right to be the server. Ends with the process, or when it is dropped.
pub struct Held {
    place: Place,
    _lock: File,
}

impl Place {
    /// `$XDG_RUNTIME_DIR/infill`, or a folder of this user's under the one for temporary files. It is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, or belongs to somebody else.
    pub fn find() -> Result<Place, EngineError> {
        match runtime().map(Place::at) {
            Some(Ok(place)) => Ok(place),
            // After `su` or in a container it may name a folder that is not there, or not ours.
            Some(Err(_)) | None => Place::at(fallback()),
        }
    }

    /// This folder.
    ///
    /// # Errors
    /// As `find`.
    pub fn at(folder: PathBuf) -> Result<Place, EngineError> {
        make(&folder).map_err(|why| {
            let title = format!("No folder for the shared server: {} {why}", folder.display());
            EngineError::new(title, "set XDG_RUNTIME_DIR to a folder of your own, or engine.shared = false")
        })?;
        Ok(Place(folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("serve.sock")
    }

    /// Port and token, where there are no Unix sockets.
    pub fn port(&self) -> PathBuf {
        self.0.join("serve.port")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("serve.log")
    }

    /// Becomes the server's; `None` when another process is it.
    ///
    /// # Errors
    /// Where the lock cannot be had at all.
    pub fn hold(&self) -> Result<Option<Held>, EngineError> {
        let path = self.0.join("serve.lock");
        let failed = |error: &std::io::Error| {
            let title = format!("{} cannot be locked ({})", path.display(), plain(error));
            EngineError::new(title, "make the folder writable, or set engine.shared = false")
        };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Held { place: self.clone(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// The log, to append to. It is this user's alone.
    ///
    /// # Errors
    /// As opening a file.
    pub fn open_log(&self) -> std::io::Result<File> {
        let large = self.log().metadata().is_ok_and(|found| found.len() > LOG_BYTES);
        if large {
            std::fs::rename(self.log(), self.log().with_extension("log.old"))?;
        }
        private().append(true).open(self.log())
    }
}

impl Held {
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Writes a file that only this user may read, whole or not at all.
    ///
    /// # Errors
    /// As writing a file.
    pub fn write(&self, path: &Path, text: &str) -> std::io::Result<()> {
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        private().write(true).truncate(true).open(&fresh)?.write_all(text.as_bytes())?;
        std::fs::rename(fresh, path)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Still under the lock: they are ours.
        let _ = std::fs::remove_file(self.place.socket());
        let _ = std::fs::remove_file(self.place.port());
    }
}

/// Below `$XDG_RUNTIME_DIR`, where that is this user's and not too long for a socket's path.
fn runtime() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map(PathBuf::from)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let foreign = base.metadata().is_ok_and(|found| found.uid() != user());
        if foreign || base.as_os_str().len() > LONGEST - 7 {
            return None;
        }
    }
    Some(base.join("infill"))
}

#[cfg(unix)]
fn fallback() -> PathBuf {
    let temporary = std::env::temp_dir();
    let base = if temporary.as_os_str().len() + 20 <= LONGEST { temporary } else { PathBuf::from("/tmp") };
    base.join(format!("infill-{}", user()))
}

#[cfg(not(unix))]
fn fallback() -> PathBuf {
    let own = std::env::var_os("LOCALAPPDATA").map_or_else(std::env::temp_dir, PathBuf::from);
    own.join("infill").join("run")
}

/// Who runs this process.
#[cfg(unix)]
pub fn user() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(unix)]
fn make(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(|error| format!("cannot be made ({})", plain(&error)))?;
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(format!("cannot be made ({})", plain(&error)));
    }
    // Not through a link: somebody else could have put it there.
    let found = std::fs::symlink_metadata(folder).map_err(|error| format!("cannot be looked at ({})", plain(&error)))?;
    if !found.is_dir() || found.uid() != user() {
        return Err("is not a folder of this user's".to_owned());
    }
    if found.mode() & 0o077 != 0 {
        let own = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, own).map_err(|error| format!("is open to others ({})", plain(&error)))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make(folder: &Path) -> Result<(), String> {
    // Under the user's own profile, which others cannot read.
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot be made ({})", plain(&error)))
}

/// Makes files that only this user may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_is_this_users_alone() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("new/infill");
        Place::at(folder.clone()).unwrap();
        assert_eq!(mode(&folder), 0o700);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place::at(folder.clone()).unwrap();
        assert_eq!(mode(&folder), 0o700, "one that was open is closed");
        place.open_log().unwrap();
        assert_eq!(mode(&place.log()), 0o600);
        let link = base.path().join("link");
        symlink(&folder, &link).unwrap();
        let error = Place::at(link).unwrap_err();
        assert!(error.to_string().contains("not a folder of this user's: set XDG_RUNTIME_DIR"), "{error}");
        std::fs::write(base.path().join("file"), "").unwrap();
        assert!(Place::at(base.path().join("file")).is_err());
        assert!(Place::at(base.path().join("file/below")).is_err());
    }

    #[test]
    fn there_is_one_holder() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::at(base.path().join("infill")).unwrap();
        let held = place.hold().unwrap().expect("free");
        assert!(place.hold().unwrap().is_none());
        held.write(&place.port(), "{}").unwrap();
        assert_eq!(mode(&place.port()), 0o600);
        drop(held);
        assert!(!place.port().exists());
        assert!(place.hold().unwrap().is_some());
    }

    #[test]
    fn a_log_does_not_grow_for_ever() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::at(base.path().join("infill")).unwrap();
        std::fs::write(place.log(), vec![b'x'; LOG_BYTES as usize + 1]).unwrap();
        place.open_log().unwrap();
        assert_eq!(place.log().metadata().unwrap().len(), 0);
    }
}
