//! Reading what goes on: FIFOs and standard input, without waiting longer than one wants to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How much is read at once: what a pipe holds unless told otherwise (pipe(7)).
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// An input that bytes come out of, some now and some later.
#[derive(Debug)]
pub(crate) struct Tap {
    file: File,
}

/// What came of waiting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing, for as long as was to be waited.
    Nothing,
    /// The end: whoever wrote is gone.
    End,
    /// The word to stop.
    Stop,
}

impl Tap {
    /// Opens a file or FIFO, or standard input for `-`. A FIFO opens whether anybody writes to it or not.
    pub(crate) fn open(input: &str) -> io::Result<Self> {
        let file = if input == "-" {
            File::from(io::stdin().as_fd().try_clone_to_owned()?)
        } else {
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(input)?
        };
        Ok(Self { file })
    }

    /// Whether it is one that others may write to after its end.
    pub(crate) fn is_fifo(&self) -> bool {
        use std::os::unix::fs::FileTypeExt;
        self.file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
    }

    /// Reads what is there, and waits for it `patience` at most (for ever without), or until `stop` is closed.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        patience: Option<Duration>,
        stop: Option<BorrowedFd<'_>>,
    ) -> io::Result<Got> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let mut fds = vec![PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            fds.extend(stop.map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A millisecond too late rather than too soon: it would go round and round.
            let left = left.map(|left| left.as_millis().saturating_add(u128::from(!left.is_zero())));
            let timeout =
                left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(Got::Nothing),
                Ok(0) => continue,
                Ok(_) => {}
            }
            let mut ready = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            let (ready, stopped) = (ready.next().unwrap_or_default(), ready.next().unwrap_or_default());
            if stopped {
                return Ok(Got::Stop);
            }
            if ready {
                match self.file.read(buffer) {
                    Ok(0) => return Ok(Got::End),
                    Ok(read) => return Ok(Got::Bytes(read)),
                    Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
