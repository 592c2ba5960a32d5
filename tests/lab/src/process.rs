//! Programs started by a lab, which never outlive it.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Error;

/// How often a waiting call looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// A running program whose output is gathered; it is killed, by its process id, when this is dropped.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Child,
    stdout: Gathered,
    stderr: Gathered,
}

impl Running {
    /// Starts `command` and gathers what it writes to stdout and stderr; stdin is empty.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(mut command: Command) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_as_is(command)
    }

    /// Starts `command` with the streams it was given; only those that are pipes are gathered.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_as_is(command: Command) -> Result<Self, Error> {
        let what = describe(&command);
        let mut child = spawn_from_lasting_thread(command).map_err(Error::io(format!("start {what}")))?;
        let stdout = Gathered::from(child.stdout.take());
        let stderr = Gathered::from(child.stderr.take());
        Ok(Self { what, child, stdout, stderr })
    }

    /// The process id. The wrappers of [`Netns::command`](crate::Netns::command) replace themselves, so it is the program's own.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to stderr until now.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let pid = i32::try_from(self.pid())
            .map(Pid::from_raw)
            .map_err(|error| Error::Io { what: format!("signal {}", self.what), source: io::Error::other(error) })?;
        kill(pid, signal).map_err(Error::io(format!("send {signal} to {} (pid {pid})", self.what)))
    }

    /// Waits until its stdout contains `text`.
    ///
    /// # Errors
    /// [`Error::Timeout`] when that has not happened in time, or cannot any more since the program has ended.
    pub fn wait_for_stdout(&mut self, text: &str, limit: Duration) -> Result<(), Error> {
        let what = format!("{} did not print {text:?}", self.what);
        self.wait_until(&what, limit, |running| running.stdout().contains(text))
    }

    /// Waits until its stderr contains `text`.
    ///
    /// # Errors
    /// As [`Running::wait_for_stdout`].
    pub fn wait_for_stderr(&mut self, text: &str, limit: Duration) -> Result<(), Error> {
        let what = format!("{} did not print {text:?} on stderr", self.what);
        self.wait_until(&what, limit, |running| running.stderr().contains(text))
    }

    /// Waits for its end; afterwards its output is complete.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it is still running then; it goes on running.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let started = Instant::now();
        loop {
            let ended = self.child.try_wait().map_err(Error::io(format!("wait for {}", self.what)))?;
            if let Some(status) = ended {
                self.stdout.finish();
                self.stderr.finish();
                return Ok(status);
            }
            if started.elapsed() >= limit {
                return Err(self.timeout(format!("{} did not end", self.what), limit));
            }
            thread::sleep(PAUSE);
        }
    }

    fn wait_until(&mut self, what: &str, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            if done(self) {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(Error::io(format!("wait for {}", self.what)))?;
            if ended.is_some() {
                self.stdout.finish();
                self.stderr.finish();
                if done(self) {
                    return Ok(());
                }
                return Err(self.timeout(format!("{what} before it ended"), started.elapsed()));
            }
            if started.elapsed() >= limit {
                return Err(self.timeout(what.to_owned(), limit));
            }
            thread::sleep(PAUSE);
        }
    }

    fn timeout(&self, what: String, limit: Duration) -> Error {
        let output = format!("{}{}", self.stdout(), self.stderr());
        Error::Timeout { what, seconds: limit.as_secs_f64(), output }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Prepends what kills the program when the thread that starts it ends: `setpriv` sets the parent-death signal and
/// replaces itself, and the signal stays set across that (prctl(2), PR_SET_PDEATHSIG).
pub(crate) fn dying_with_parent() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command
}

/// The program and its arguments without the wrappers in front, for messages.
fn describe(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let bare = words.rsplitn(2, |word| word == "--").next().unwrap_or(&words);
    format!("`{}`", bare.join(" "))
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command` from a thread that lives as long as this process. The parent-death signal comes when the *thread* that
/// started a child ends, and the thread of a test may well end before what it has started.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                // Who asked may be gone; then the child is, too, with the answer that nobody takes.
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                    drop(child.kill());
                    drop(child.wait());
                }
            }
        });
        orders
    });
    let (answer, answered) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts programs has ended");
    orders.send((command, answer)).map_err(|_| gone(mpsc::RecvError))?;
    answered.recv().map_err(gone)?
}

/// What comes out of a pipe, read by a thread of its own so that the writer is never held up.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Gathered {
    fn from(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::default();
        let reader = pipe.map(|mut pipe| {
            let bytes: Arc<Mutex<Vec<u8>>> = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    let read = buffer.get(..length).unwrap_or_default();
                    bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader does not panic; were it to, what it had read would still be there.
            drop(reader.join());
        }
    }
}
