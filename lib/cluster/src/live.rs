//! Following sources that go on, any number of them at once: FIFOs, standard input, the API server.
//!
//! Each source has a thread of its own and hands on what it is told in order, a batch at a time. One who is slow to take it
//! holds the writers back, and not the memory. [`Follow::start`] begins, [`Live::wait`] gives what has come; dropping
//! [`Live`] ends all threads, whatever they wait for.

mod batch;
mod pipe;
mod roll;

#[cfg(test)]
mod tests;

use std::io::{self, PipeReader, PipeWriter};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::InputError;
#[cfg(feature = "api")]
use crate::api::{self, ApiOptions};
use crate::model::{Change, Problem};
use crate::read::{MAX_DOCUMENT_BYTES, Tap};

pub(crate) use batch::{Batch, Gone};
pub(crate) use roll::RollCall;

/// How many batches wait to be taken before those who write are held back.
const QUEUE: usize = 16;

/// How many batches are taken at once.
const AT_ONCE: usize = 64;

/// What comes of following sources. A source is known by its number in [`Follow::sources`], from 0.
#[derive(Clone, Debug)]
pub enum Event {
    /// The cluster has changed, in this order. What has come together is in one.
    Changes(Vec<Change>),
    /// Something that cannot be used. An object that was usable before stays as it was.
    Problem(Problem),
    /// Something that is worth knowing, and no fault.
    Note(String),
    /// The source has given all that there was when it began; changes from here on are news.
    ///
    /// The API server says so. `kubectl` does not: its source counts as listed once it was quiet for a second after its
    /// first byte, or told of anything but an addition, or has ended.
    Listed(usize),
    /// The source gives no more, for the reason that is told if it is not that its writer is gone. What it gave stays.
    Ended {
        /// Which one.
        source: usize,
        /// What happened.
        error: Option<String>,
    },
}

/// A source that is followed.
#[derive(Clone, Debug)]
pub enum Source {
    /// A FIFO, a file, a folder, or `-` for standard input. A file ends where it ends.
    Input(String),
    /// The API server.
    #[cfg(feature = "api")]
    Api(ApiOptions),
}

/// What to follow, and how.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The sources.
    pub sources: Vec<Source>,
    /// Whether a FIFO is opened again for the next writer when one is gone. What the next one does not give again is removed
    /// once it is sure to have given all: when it says so, or has been quiet for ten seconds.
    pub reopen: bool,
    /// After how long a source that has said nothing at all counts as listed: of a kind of which there is no object,
    /// `kubectl` says nothing. Never without it, since nothing can tell such a source from one that is late.
    pub silence: Option<Duration>,
    /// How long a document of a FIFO or of standard input may be, in bytes.
    pub document_bytes: usize,
}

impl Follow {
    /// Follows these sources: each FIFO for one writer, a silent one is waited for, and documents may be
    /// [`MAX_DOCUMENT_BYTES`] long.
    #[must_use]
    pub const fn new(sources: Vec<Source>) -> Self {
        Self { sources, reopen: false, silence: None, document_bytes: MAX_DOCUMENT_BYTES }
    }

    /// Begins to follow.
    ///
    /// # Errors
    /// When a file or FIFO cannot be opened, or no thread can be started.
    pub fn start(self) -> Result<Live, InputError> {
        let own = |error| InputError::new("sources", error);
        let (stopped, stop) = io::pipe().map_err(own)?;
        let (sender, receiver) = sync_channel(QUEUE);
        // Made before the threads: one that cannot be started ends the others.
        let mut live = Live { receiver: Some(receiver), stop: Some(stop), threads: Vec::new() };
        let stopped = Arc::new(stopped);
        let mut taps = Vec::new();
        for source in &self.sources {
            taps.push(match source {
                Source::Input(input) => Some(pipe::open(input)?),
                #[cfg(feature = "api")]
                Source::Api(_) => None,
            });
        }
        for (number, (source, tap)) in self.sources.into_iter().zip(taps).enumerate() {
            let out = Batch::new(number, sender.clone());
            let stopped = Arc::clone(&stopped);
            let how = pipe::How { reopen: self.reopen, silence: self.silence, document_bytes: self.document_bytes };
            let follow: Box<dyn FnOnce() + Send> = match source {
                Source::Input(input) => Box::new(move || pipe::follow(&input, tap.flatten(), out, &stopped, how)),
                #[cfg(feature = "api")]
                Source::Api(options) => Box::new(move || api::follow(&options, out, &stopped)),
            };
            live.threads.push(std::thread::Builder::new().name(format!("source-{number}")).spawn(follow).map_err(own)?);
        }
        Ok(live)
    }
}

/// Sources that are being followed.
#[derive(Debug)]
pub struct Live {
    /// None once it is over.
    receiver: Option<Receiver<Event>>,
    /// Closed to end the threads.
    stop: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl Live {
    /// What has come, in order: waits for it `timeout` at most, and then gives nothing. `None` once all sources have ended
    /// and all was given.
    pub fn wait(&mut self, timeout: Duration) -> Option<Vec<Event>> {
        let receiver = self.receiver.as_ref()?;
        let first = match receiver.recv_timeout(timeout) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                self.receiver = None;
                return None;
            }
        };
        let mut events = vec![first];
        for _ in 1..AT_ONCE {
            match receiver.try_recv() {
                Ok(Event::Changes(more)) => match events.last_mut() {
                    Some(Event::Changes(changes)) => changes.extend(more),
                    _ => events.push(Event::Changes(more)),
                },
                Ok(event) => events.push(event),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        Some(events)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Who waits for room is told that nobody takes anything, who waits for bytes that it is over.
        self.receiver = None;
        self.stop = None;
        for thread in self.threads.drain(..) {
            // What a thread died of it has said.
            let _ = thread.join();
        }
    }
}

type Sender = SyncSender<Event>;
type Stopped = PipeReader;
type Opened = Option<Tap>;
