//! stdin and stdout without a thread between: a key is read, applied and answered where the system says that it is there.
//!
//! ```text
//! tokio::io::stdin()   epoll -> a thread that reads -> wakes the runtime -> a thread that writes     three wake-ups a key
//! here                 epoll -> read, applied, written                                                one
//! ```
//! Each wake-up is milliseconds on a busy machine. Editors give a server pipes, or sockets (Node); whatever else stands there is
//! read and written by tokio's threads.
use tokio::io::{AsyncRead, AsyncWrite};

pub type Input = Box<dyn AsyncRead + Send + Unpin>;
pub type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// Within a tokio runtime. Both streams are this process's own from now on.
pub fn open() -> (Input, Output) {
    #[cfg(unix)]
    return (
        unix::input().unwrap_or_else(|| Box::new(tokio::io::stdin())),
        unix::output().unwrap_or_else(|| Box::new(tokio::io::stdout())),
    );
    #[cfg(not(unix))]
    (Box::new(tokio::io::stdin()), Box::new(tokio::io::stdout()))
}

#[cfg(unix)]
mod unix {
    use super::{Input, Output};
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use tokio::net::UnixStream;
    use tokio::net::unix::pipe;

    pub fn input() -> Option<Input> {
        let file = own(io::stdin())?;
        let kind = file.metadata().ok()?.file_type();
        if kind.is_fifo() {
            return Some(Box::new(pipe::Receiver::from_file(file).ok()?));
        }
        kind.is_socket().then(|| socket(file)).flatten().map(|stream| Box::new(stream) as Input)
    }

    pub fn output() -> Option<Output> {
        let file = own(io::stdout())?;
        // What is written to without waiting must not be where the log goes too.
        if own(io::stderr()).is_some_and(|log| same(&file, &log)) {
            return None;
        }
        let kind = file.metadata().ok()?.file_type();
        if kind.is_fifo() {
            return Some(Box::new(pipe::Sender::from_file(file).ok()?));
        }
        kind.is_socket().then(|| socket(file)).flatten().map(|stream| Box::new(stream) as Output)
    }

    fn own(stream: impl AsFd) -> Option<File> {
        stream.as_fd().try_clone_to_owned().ok().map(File::from)
    }

    fn same(a: &File, b: &File) -> bool {
        let place = |file: &File| file.metadata().ok().map(|found| (found.dev(), found.ino()));
        place(a).is_some() && place(a) == place(b)
    }

    fn socket(file: File) -> Option<UnixStream> {
        let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(file));
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    }
}
