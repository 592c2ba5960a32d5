//! Following a FIFO, standard input, or a file.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{Batch, Gone, Opened, RollCall, Stopped};
use crate::InputError;
use crate::model::Change;
use crate::read::{CHUNK_BYTES, Got, QUIET, Said, Stream, Tap, WatchEvent, read_input};

/// How long a writer that follows another must have been quiet for what it has not given to be taken for gone. Longer than
/// what makes a list complete: to remove a policy that is only late would let through what it forbids.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// How an input is followed, as [`Follow`](super::Follow) has it.
#[derive(Clone, Copy)]
pub(super) struct How {
    pub(super) reopen: bool,
    pub(super) silence: Option<Duration>,
    pub(super) document_bytes: usize,
}

/// Opens an input that goes on; `None` for a file or folder, which is read when its turn comes.
pub(super) fn open(input: &str) -> Result<Opened, InputError> {
    let wrong = |error| InputError::new(input, error);
    if input != "-" {
        let kind = fs::metadata(input).map_err(wrong)?;
        if kind.is_dir() || kind.is_file() {
            return Ok(None);
        }
    }
    Tap::open(input).map(Some).map_err(wrong)
}

/// Follows an input until it ends, nobody wants it any more, or it is told to stop. It goes on as `how` says.
pub(super) fn follow(input: &str, tap: Opened, out: Batch, stopped: &Stopped, how: How) {
    // That nobody takes anything any more is as good a reason to end as any.
    let _: Result<(), Gone> = match tap {
        Some(tap) => {
            let reopen = how.reopen && input != "-" && tap.is_fifo();
            let ear = Ear { out, roll: reopen.then(RollCall::default), stay: Stay::default() };
            Pipe {
                input,
                tap,
                stream: Stream::with_limit(input, how.document_bytes),
                ear,
                stopped,
                silence: how.silence,
            }
            .follow()
        }
        None => once(input, out),
    };
}

/// An input that is read as bytes come.
struct Pipe<'a> {
    input: &'a str,
    tap: Tap,
    stream: Stream,
    ear: Ear,
    stopped: &'a Stopped,
    silence: Option<Duration>,
}

/// Who hears what the input says.
struct Ear {
    out: Batch,
    /// Kept where another writer may follow.
    roll: Option<RollCall>,
    stay: Stay,
}

/// How far a writer has come.
#[derive(Clone, Copy, Default)]
struct Stay {
    spoke: bool,
    /// Whether the source was told to be listed.
    listed: bool,
    /// Whether what the writer before gave and this one did not is still there, in case it comes.
    owing: bool,
}

impl Pipe<'_> {
    fn follow(&mut self) -> Result<(), Gone> {
        loop {
            let error = match self.read() {
                Ok(Ok(Got::Stop)) => return Ok(()),
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("cannot be read: {error}")),
                Err(gone) => return Err(gone),
            };
            self.stream.end(&mut |said| self.ear.hear(said));
            if error.is_none() {
                self.ear.listed();
            }
            let over = error.is_some() || self.ear.roll.is_none();
            self.ear.out.ended(error);
            self.ear.out.send()?;
            if over || !self.next_writer()? {
                return Ok(());
            }
        }
    }

    /// Opens the FIFO again before the old end of it is closed, so that nobody who writes meanwhile finds nobody there.
    fn next_writer(&mut self) -> Result<bool, Gone> {
        match Tap::open(self.input) {
            Ok(tap) if tap.is_fifo() => self.tap = tap,
            other => {
                let error = other.map_or_else(|error| error.to_string(), |_| "it is no FIFO any more".to_owned());
                self.ear.out.ended(Some(format!("cannot be opened again: {error}")));
                self.ear.out.send()?;
                return Ok(false);
            }
        }
        if let Some(roll) = &mut self.ear.roll {
            roll.begin();
        }
        self.ear.stay = Stay { owing: true, ..Stay::default() };
        Ok(true)
    }

    /// Reads and hands on until the writer is gone or somebody says stop.
    fn read(&mut self) -> Result<io::Result<Got>, Gone> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            if self.ear.out.is_full() {
                self.ear.out.send()?;
            }
            let stop = Some(self.stopped.as_fd());
            // What has arrived together goes together: nothing is handed on while there is more.
            let patience =
                if self.ear.out.is_empty() { self.ear.stay.patience(self.silence) } else { Some(Duration::ZERO) };
            match self.tap.read(&mut buffer, patience, stop) {
                Ok(Got::Bytes(read)) => {
                    self.ear.stay.spoke = true;
                    self.stream.feed(buffer.get(..read).unwrap_or_default(), &mut |said| self.ear.hear(said));
                }
                Ok(Got::Nothing) => {
                    if self.ear.out.is_empty() {
                        self.ear.quiet();
                    }
                    self.ear.out.send()?;
                }
                other => return Ok(other),
            }
        }
    }
}

impl Stay {
    /// How long to wait for bytes before their absence means something.
    fn patience(self, silence: Option<Duration>) -> Option<Duration> {
        match (self.spoke, self.listed, self.owing) {
            (false, false, _) => silence,
            (true, false, _) => Some(QUIET),
            (true, true, true) => Some(GIVEN_UP),
            _ => None,
        }
    }
}

impl Ear {
    fn hear(&mut self, said: Said) {
        // Additions alone make up the list that kubectl prints first.
        if matches!(said, Said::Listed | Said::Remove(_) | Said::Set { event: Some(WatchEvent::Modified), .. }) {
            self.listed();
        }
        if let Some(roll) = &mut self.roll {
            roll.hear(&said);
        }
        if matches!(said, Said::Listed) {
            self.settle();
        }
        self.out.hear(said);
    }

    /// Nothing has come for as long as means something.
    fn quiet(&mut self) {
        if self.stay.listed {
            self.settle();
        } else {
            self.listed();
        }
    }

    fn listed(&mut self) {
        if !self.stay.listed {
            self.stay.listed = true;
            self.out.listed();
        }
    }

    /// What was not given again is gone.
    fn settle(&mut self) {
        if std::mem::take(&mut self.stay.owing)
            && let Some(roll) = &mut self.roll
        {
            roll.missing().into_iter().for_each(|name| self.out.change(Change::Remove(name)));
        }
    }
}

fn once(input: &str, mut out: Batch) -> Result<(), Gone> {
    let mut gone = Ok(());
    let read = read_input(input, &mut |said| {
        out.hear(said);
        if gone.is_ok() && out.is_full() {
            gone = out.send();
        }
    });
    gone?;
    out.listed();
    out.ended(read.err().map(|error| error.to_string()));
    out.send()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::live::Event;

    fn event(kind: &str, name: &str) -> String {
        format!("{{\"type\":\"{kind}\",\"object\":{{\"kind\":\"Node\",\"metadata\":{{\"name\":\"{name}\"}}}}}}\n")
    }

    #[test]
    fn a_writer_that_has_taken_over_and_is_quiet_is_believed_in_the_end() {
        let (sender, events) = sync_channel(16);
        let out = Batch::new(0, sender);
        let mut ear = Ear { out, roll: Some(RollCall::default()), stay: Stay::default() };
        let mut stream = Stream::new("nodes");
        let mut say = |ear: &mut Ear, text: &str| {
            ear.stay.spoke = true;
            stream.feed(text.as_bytes(), &mut |said| ear.hear(said));
        };
        say(&mut ear, &[event("ADDED", "a"), event("ADDED", "b")].concat());
        assert_eq!(ear.stay.patience(None), Some(QUIET));
        ear.quiet();
        assert_eq!(ear.stay.patience(None), None, "nobody was there before: nothing can be missing");
        // The next one, as the pipe begins it.
        ear.roll.as_mut().unwrap().begin();
        ear.stay = Stay { owing: true, ..Stay::default() };
        assert_eq!(ear.stay.patience(None), None, "it is waited for as long as it takes to come");
        say(&mut ear, &event("ADDED", "b"));
        ear.quiet();
        assert_eq!(ear.stay.patience(None), Some(GIVEN_UP), "listed, and what is missing may be late");
        ear.out.send().unwrap();
        let is_removal = |event: &Event| matches!(event, Event::Changes(changes) if changes.iter().any(|change| matches!(change, Change::Remove(_))));
        assert!(!events.try_iter().any(|event| is_removal(&event)));
        ear.quiet();
        assert_eq!(ear.stay.patience(None), None);
        ear.out.send().unwrap();
        let events: Vec<Event> = events.try_iter().collect();
        assert!(
            matches!(&events[..], [Event::Changes(changes)] if matches!(&changes[..], [Change::Remove(name)] if name.to_string() == "Node/a"))
        );
    }
}
