//! Runs one Python program that nobody has read: limited, and cut off from the network.
//!
//! ```no_run
//! use infill::eval::sandbox::{Limits, Sandbox, Verdict};
//! let sandbox = Sandbox::open(Limits::default(), false)?;
//! assert_eq!(sandbox.run("assert 1 + 1 == 2")?, Verdict::Passed);
//! assert_eq!(sandbox.run("import time; time.sleep(60)")?, Verdict::TimedOut);
//! # Ok::<(), anyhow::Error>(())
//! ```
//! A program runs in a process group of its own, in an empty folder, with an empty environment and isolated Python
//! (`-I`); it reads nothing and its output is thrown away. Limits: wall time, processor time, memory, size of a file, no
//! core dumps, and no processes or threads of its own (which the kernel does not enforce for root). On Linux it has a
//! network namespace with nothing in it, not even this machine's loopback. **Files are not hidden from it**: it can read
//! and write what you can, as every program you start.
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A program that reaches its end leaves with this code: leaving early, even without an error, is not passing.
const PASSED: i32 = 86;
/// Largest file that a program may write.
const FILE_BYTES: u64 = 16 << 20;
const POLL: Duration = Duration::from_millis(5);

/// What a program may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub wall: Duration,
    /// Bytes of address space.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { wall: Duration::from_secs(10), memory: 1 << 30 }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Passed,
    Failed,
    TimedOut,
}

/// A Python, and how it is confined.
#[derive(Clone, Debug)]
pub struct Sandbox {
    python: PathBuf,
    limits: Limits,
    cut_off: bool,
}

impl Sandbox {
    /// Finds `python3` and tries it out. `unsafe_network`: where the network cannot be cut off, go on all the same.
    ///
    /// # Errors
    /// No Python, or one that does not run under the limits; a network that cannot be cut off.
    pub fn open(limits: Limits, unsafe_network: bool) -> Result<Sandbox> {
        if cfg!(not(unix)) {
            bail!("programs cannot be limited on this system: give --no-run for exact match alone, or run infill eval on Linux");
        }
        let mut sandbox = Sandbox { python: python("python3")?, limits, cut_off: true };
        if sandbox.run("").is_err() {
            if !unsafe_network {
                bail!(
                    "this system does not let programs be cut off from the network (unshare is refused or absent): \
                     give --no-run for exact match alone, or --unsafe-network to run model-written programs with the network"
                );
            }
            sandbox.cut_off = false;
        }
        match sandbox.run("")? {
            Verdict::Passed => Ok(sandbox),
            _ => bail!("{} does not run an empty program within the limits: give --no-run", sandbox.python.display()),
        }
    }

    /// Whether programs have no network.
    pub fn cut_off(&self) -> bool {
        self.cut_off
    }

    /// Runs a program to its end or its limits.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, program: &str) -> Result<Verdict> {
        let room = Room::new().context("no temporary folder can be made: set TMPDIR to a folder with space")?;
        let file = room.0.join("program.py");
        std::fs::write(&file, format!("{program}\n__import__('os')._exit({PASSED})\n")).context("a program cannot be written")?;
        let mut child = self.command(&file, &room).spawn().with_context(|| format!("{} cannot be started", self.python.display()))?;
        let verdict = wait(&mut child, self.limits.wall);
        // Its group may outlive it.
        kill_group(child.id());
        child.wait()?;
        verdict
    }

    fn command(&self, file: &Path, room: &Room) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-I", "-B"]).arg(file).current_dir(room.empty());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", room.empty()).env("LANG", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        confine(&mut command, self.limits, self.cut_off);
        command
    }
}

/// The interpreter itself: what stands on PATH may be a script that starts it.
fn python(name: &str) -> Result<PathBuf> {
    let missing = format!("no {name} on PATH: install Python 3 (https://www.python.org), or give --no-run for exact match alone");
    let found = Command::new(name).args(["-I", "-c", "import sys; print(sys.executable)"]).stdin(Stdio::null()).output();
    let path = String::from_utf8(found.context(missing.clone())?.stdout).unwrap_or_default();
    match path.trim() {
        "" => bail!(missing),
        path => Ok(path.into()),
    }
}

fn wait(child: &mut Child, wall: Duration) -> Result<Verdict> {
    let begun = Instant::now();
    while begun.elapsed() < wall {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.code() == Some(PASSED) { Verdict::Passed } else { Verdict::Failed });
        }
        std::thread::sleep(POLL);
    }
    Ok(Verdict::TimedOut)
}

#[cfg(unix)]
fn confine(command: &mut Command, limits: Limits, cut_off: bool) {
    use std::os::unix::process::CommandExt;
    let all = [
        (libc::RLIMIT_AS, limits.memory),
        (libc::RLIMIT_CPU, limits.wall.as_secs() + 1),
        (libc::RLIMIT_FSIZE, FILE_BYTES),
        (libc::RLIMIT_NPROC, 0),
        (libc::RLIMIT_CORE, 0),
    ];
    let confine = move || {
        if cut_off {
            leave_network()?;
        }
        for (what, most) in all {
            let limit = libc::rlimit { rlim_cur: most as libc::rlim_t, rlim_max: most as libc::rlim_t };
            // SAFETY: setrlimit reads the struct it is given.
            checked(unsafe { libc::setrlimit(what, &limit) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec these are plain system calls; nothing is allocated, no lock is taken.
    unsafe { command.process_group(0).pre_exec(confine) };
}

/// A user namespace is what lets an ordinary user do it; root may where those are forbidden.
#[cfg(target_os = "linux")]
fn leave_network() -> std::io::Result<()> {
    // SAFETY: unshare takes flags, and changes this (single-threaded, forked) process only.
    let unshare = |flags| checked(unsafe { libc::unshare(flags) });
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).or_else(|_| unshare(libc::CLONE_NEWNET))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn leave_network() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn checked(code: libc::c_int) -> std::io::Result<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(unix)]
fn kill_group(leader: u32) {
    // SAFETY: kill reads no memory. A group that is gone already is no error to us.
    unsafe { libc::kill(-(leader as libc::pid_t), libc::SIGKILL) };
}

// Never reached: `Sandbox::open` refuses.
#[cfg(not(unix))]
fn confine(_: &mut Command, _: Limits, _: bool) {}

#[cfg(not(unix))]
fn kill_group(_: u32) {}

/// A temporary folder with an empty one in it, removed with what the program left there.
struct Room(PathBuf);

impl Room {
    fn new() -> std::io::Result<Room> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("infill-eval-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        // Fails where something of that name stands already: nobody else's folder is used.
        std::fs::create_dir(&folder)?;
        let room = Room(folder);
        std::fs::create_dir(room.empty())?;
        Ok(room)
    }

    fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What a program has made unremovable stays; nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
