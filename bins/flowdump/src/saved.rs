//! Flows from saved lines: a file, a growing file, or a pipe.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use chainkit_cli::{Exit, Failure};
use chainkit_cluster::Names;
use chainkit_flow::{BadLine, LineBuffer, Resolver, parse, with_names};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Options;
use crate::names;
use crate::sink::Sink;

/// How often a growing file is looked at, and the longest that a signal waits.
const TICK: Duration = Duration::from_millis(100);

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// Shows the flows of saved lines.
///
/// Lines go out as soon as they have come in; nothing is held back but what `--last` and a table have to.
pub(crate) fn run(input: &Path, options: &Options, sink: &mut Sink) -> anyhow::Result<Exit> {
    let stop = Stop::new(options.duration)?;
    let objects = names::objects(&options.names, &options.log, &stop.signalled)?;
    let resolver = (!objects.is_empty()).then(|| {
        let own_node = options.node_name.as_deref().unwrap_or_default();
        Resolver::new(Arc::new(Names::new(&objects, &[])), own_node, &[])
    });
    let mut lines = Lines { options, sink, resolver, buffer: LineBuffer::default(), place: String::new(), bad: 0 };
    if input.as_os_str() == "-" {
        lines.place = "stdin".to_owned();
        let stdin = io::stdin().as_fd().try_clone_to_owned().context("cannot use stdin")?;
        lines.drain(&mut File::from(stdin), &stop)?;
    } else {
        lines.place = input.display().to_string();
        let mut file = open(input)?;
        lines.drain(&mut file, &stop)?;
        if options.follow {
            lines.sink.end_of_past()?;
            lines.follow(input, file, &stop)?;
        }
    }
    lines.end()
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::open(path).map_err(|error| Failure::usage(format!("cannot open {}: {error}", path.display())))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::usage(format!("cannot read {}: it is a folder", path.display())).into());
    }
    Ok(file)
}

/// When to end: at a signal, or when the time is up.
struct Stop {
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Stop {
    fn new(duration: Option<Duration>) -> anyhow::Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&signalled)).context("cannot handle signals")?;
        }
        Ok(Self { signalled, deadline: duration.and_then(|duration| Instant::now().checked_add(duration)) })
    }

    fn now(&self) -> bool {
        self.signalled.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The lines of an input on their way to the sink.
struct Lines<'a> {
    options: &'a Options,
    sink: &'a mut Sink,
    resolver: Option<Resolver>,
    buffer: LineBuffer,
    place: String,
    bad: u64,
}

impl Lines<'_> {
    /// Reads to the end of the input as it is now.
    fn drain(&mut self, input: &mut File, stop: &Stop) -> anyhow::Result<()> {
        while !stop.now() && !self.sink.done() {
            // A pipe may be silent for long: it must not keep a signal waiting.
            if !readable(input)? {
                self.sink.tick()?;
                continue;
            }
            match self.buffer.read_from(input, CHUNK) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", self.place));
                }
            }
            self.take_lines()?;
        }
        Ok(())
    }

    fn take_lines(&mut self) -> anyhow::Result<()> {
        while let Some((number, line)) = self.buffer.next_line() {
            let taken = line.and_then(|line| show(line, self.resolver.as_ref(), self.sink));
            settle(taken, number, self.options, &self.place, self.sink, &mut self.bad)?;
            if self.sink.done() {
                break;
            }
        }
        // A table of a file is aligned as a whole; one that grows is printed as it comes.
        if self.options.follow { self.sink.flush() } else { self.sink.flush_lines() }
    }

    /// The line that the input ended within.
    fn take_rest(&mut self) -> anyhow::Result<()> {
        if !self.sink.done()
            && let Some((number, line)) = self.buffer.finish()
        {
            let taken = line.and_then(|line| show(line, self.resolver.as_ref(), self.sink));
            settle(taken, number, self.options, &self.place, self.sink, &mut self.bad)?;
        }
        Ok(())
    }

    /// Goes on with a file as it grows, begins anew, or gives way to another of its name.
    fn follow(&mut self, path: &Path, mut file: File, stop: &Stop) -> anyhow::Result<()> {
        while !stop.now() && !self.sink.done() {
            self.drain(&mut file, stop)?;
            self.sink.flush()?;
            let open = file.metadata().with_context(|| format!("cannot look at {}", self.place))?;
            if !open.is_file() {
                // A pipe that has ended does not grow.
                return Ok(());
            }
            match fs::metadata(path) {
                Ok(named) if (named.dev(), named.ino()) != (open.dev(), open.ino()) => {
                    // The file was moved away. What its writer added since we last looked is read first.
                    self.drain(&mut file, stop)?;
                    self.take_rest()?;
                    self.buffer.reset();
                    file = match File::open(path) {
                        Ok(file) => file,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => {
                            return Err(error).with_context(|| format!("cannot open {}", self.place));
                        }
                    };
                    continue;
                }
                Ok(_) if open.len() < file.stream_position().unwrap_or_default() => {
                    file.rewind().with_context(|| format!("cannot read {} from its start", self.place))?;
                    self.buffer.reset();
                    continue;
                }
                // Moved away, and no new one there yet; or not to be looked at for a moment.
                Ok(_) | Err(_) => {}
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<Exit> {
        if !self.options.follow {
            self.take_rest()?;
        }
        if self.bad == 0 {
            return Ok(Exit::Fine);
        }
        self.sink.end_of_past()?;
        self.sink.flush()?;
        let lines = if self.bad == 1 { "line" } else { "lines" };
        self.options.log.warning(format!("{} bad {lines} in {} skipped", self.bad, self.place));
        Ok(Exit::Partial)
    }
}

/// Whether a read would return at once; waits a tick for it.
fn readable(input: &File) -> anyhow::Result<bool> {
    let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
    let mut input = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    match poll(&mut input, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error).context("cannot wait for input"),
    }
}

/// What became of a line: taken, bad, or taken and then something else went wrong.
fn show(line: &[u8], resolver: Option<&Resolver>, sink: &mut Sink) -> Result<anyhow::Result<()>, BadLine> {
    let Some(mut record) = parse(line)? else {
        return Ok(Ok(()));
    };
    let named = match (resolver, &mut record.flow) {
        (Some(resolver), Some(flow)) => with_names(flow, line, resolver),
        _ => None,
    };
    Ok(sink.record(record, Some(named.as_deref().unwrap_or(line))))
}

fn settle(
    taken: Result<anyhow::Result<()>, BadLine>,
    number: u64,
    options: &Options,
    place: &str,
    sink: &mut Sink,
    bad: &mut u64,
) -> anyhow::Result<()> {
    match taken {
        Ok(taken) => taken,
        Err(reason) if options.strict => {
            sink.end_of_past()?;
            sink.flush()?;
            let failure = Failure::usage(format!("{place}: line {number}: {reason}"));
            Err(failure.remedy("without --strict it is skipped").into())
        }
        Err(reason) => {
            *bad += 1;
            options.log.warning(format!("{place}: line {number}: {reason}: skipped"));
            Ok(())
        }
    }
}
