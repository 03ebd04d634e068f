//! What is shown of a download: bars in a terminal, lines elsewhere. On stderr: stdout holds the result.
//!
//! ```text
//! model-00001-of-00004.safetensors   8.6 GB
//!   10 %   860 MB
//! ```
use super::size;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};

/// One file's progress.
pub struct Progress {
    bar: Option<ProgressBar>,
    bytes: u64,
    at: u64,
    /// The last tenth that a line was written for.
    tenth: u64,
}

/// A line for the user. One who has closed stderr wants none.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Progress {
    pub fn new(name: &str, bytes: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = "{msg:36!} {bar:24} {bytes:>10}/{total_bytes} {bytes_per_sec} {eta}";
            let bar = ProgressBar::new(bytes).with_message(name.to_owned());
            bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        if bar.is_none() {
            say(&format!("{name}   {}", size(bytes)));
        }
        Progress { bar, bytes, at: 0, tenth: 0 }
    }

    /// So much is there now.
    pub fn set(&mut self, at: u64) {
        self.at = at;
        match &self.bar {
            Some(bar) => bar.set_position(at),
            None => self.line(),
        }
    }

    fn line(&mut self) {
        let tenth = u128::from(self.at) * 10 / u128::from(self.bytes.max(1));
        let tenth = u64::try_from(tenth).unwrap_or(10);
        if tenth > self.tenth && self.bytes > 1_000_000 {
            say(&format!("{:>5} %   {}", tenth * 10, size(self.at)));
        }
        self.tenth = tenth;
    }

    /// Something to know meanwhile.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
