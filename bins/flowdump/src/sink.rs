//! The one way out: filter, limits, printer, stdout.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use chainkit_abi::{Event, Health};
use chainkit_cli::{Exit, Failure, Log};
use chainkit_cluster::Names;
use chainkit_flow::{Decoder, Filter, Format, NodeState, Printer, Record, Time};
use jiff::Timestamp;

use crate::cli::Options;

/// As much as is gathered before it is written: fewer system calls than flows.
const BATCH: usize = 64 * 1024;

/// The most that `--last` keeps, in bytes of lines.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// Something that is made of many flows, in place of a line for each.
pub(crate) trait Report {
    /// Takes a record that passed the filters.
    fn take(&mut self, record: &Record);

    /// Time goes on: shows what is due. Called often.
    fn tick(&mut self) -> anyhow::Result<()>;

    /// These are the names that pods of live flows have from now on.
    fn names(&mut self, _names: &Names) {}

    /// No more comes.
    fn finish(&mut self) -> anyhow::Result<()>;

    /// All went well: stays for who asks, where there is a server.
    fn stay(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Whether all is for nothing when nobody reads stdout.
    fn is_for_stdout(&self) -> bool {
        true
    }

    /// Whether it takes the counters of connections.
    fn takes_counters(&self) -> bool {
        false
    }

    /// Whether the counters of all connections are wanted now, so that what is shown next is up to date.
    fn wants_counters(&self) -> bool {
        false
    }

    /// Takes the counters of a connection that passed the filters; it is no flow.
    fn counters(&mut self, _record: &Record) {}

    /// The counters were read, which took so long.
    fn counted(&mut self, _took: Duration) {}

    /// Whether it draws on a terminal, which is seen to at a second signal.
    fn has_screen(&self) -> bool {
        false
    }
}

/// Takes records from wherever they come and shows those that were asked for.
pub(crate) struct Sink {
    filter: Filter,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    first: Option<u64>,
    kept: Option<Kept>,
    /// Time goes on by itself: once `until` has passed nothing more will come.
    live: bool,
    json: bool,
    printer: Printer,
    /// What takes the place of the printer.
    report: Option<Box<dyn Report>>,
    out: Vec<u8>,
    stdout: File,
    shown: u64,
    lost: u64,
    fail_on_loss: bool,
    log: Log,
}

/// The last records so far, for `--last`.
#[derive(Debug)]
struct Kept {
    flows: usize,
    limit: usize,
    bytes: usize,
    records: VecDeque<(Record, Option<Vec<u8>>)>,
}

#[allow(dead_code, reason = "the live side uses the rest")]
impl Sink {
    /// A sink for what was asked.
    ///
    /// # Errors
    /// When stdout cannot be used at all.
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let limit = options.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
        Ok(Self {
            filter: options.filter.clone(),
            since: options.since,
            until: options.until,
            first: options.first,
            kept: limit.map(|limit| Kept { flows: 0, limit, bytes: 0, records: VecDeque::new() }),
            live: options.read.is_none(),
            json: options.printer.format == Format::Jsonl,
            printer: Printer::new(options.printer),
            report: None,
            out: Vec::with_capacity(2 * BATCH),
            // A file of its own: the standard one looks for line ends in all that passes.
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            shown: 0,
            lost: 0,
            fail_on_loss: options.fail_on_loss,
            log: options.log,
        })
    }

    /// A sink that shows no flows, but a report of those that were asked for.
    ///
    /// # Errors
    /// When stdout cannot be used at all.
    pub(crate) fn reporting(options: &Options, report: Box<dyn Report>) -> io::Result<Self> {
        Ok(Self { report: Some(report), ..Self::new(options)? })
    }

    /// Takes an event of the datapath.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        health: Option<&Health>,
        decoder: &mut Decoder,
    ) -> anyhow::Result<()> {
        let mut record = decoder.event(event);
        if let Some(health) = health {
            record.tell_health(health);
        }
        self.record(record, None)
    }

    /// Takes word of `count` events that were lost until `monotonic`, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn lost(&mut self, count: u64, monotonic: u64, decoder: &Decoder) -> anyhow::Result<()> {
        if count == 0 { Ok(()) } else { self.record(decoder.lost(count, monotonic), None) }
    }

    /// Takes a record, with the line that it was read from.
    ///
    /// Word of losses and of nodes passes all filters: they are about what could not be shown.
    pub(crate) fn record(&mut self, record: Record, line: Option<&[u8]>) -> anyhow::Result<()> {
        if !self.in_time(record.time()) {
            return Ok(());
        }
        if let Some(lost) = &record.lost_events {
            self.lost = self.lost.saturating_add(lost.num_events_lost);
        }
        if record.flow.as_ref().is_some_and(|flow| !self.filter.matches(flow)) || self.enough() {
            return Ok(());
        }
        match &mut self.kept {
            Some(kept) => kept.push(record, line),
            None => self.show(&record, line),
        }
    }

    fn in_time(&self, time: Option<Time>) -> bool {
        time.is_none_or(|time| {
            self.since.is_none_or(|since| time.0 >= since) && self.until.is_none_or(|until| time.0 <= until)
        })
    }

    fn show(&mut self, record: &Record, line: Option<&[u8]>) -> anyhow::Result<()> {
        if record.flow.is_some() {
            self.shown += 1;
        }
        if !self.json
            && let Some(status) = &record.node_status
            && matches!(status.state_change, NodeState::Error | NodeState::Unavailable)
        {
            // As Hubble: what is no flow is no output, but a node that is missing must not go unseen.
            let nodes = status.node_names.join(", ");
            self.log.warning(format!("{} {nodes}: {}", status.state_change, status.message));
        }
        if let Some(report) = &mut self.report {
            report.take(record);
            return Ok(());
        }
        self.printer.print(record, line, &mut self.out)?;
        if self.out.len() >= BATCH {
            self.write()?;
        }
        Ok(())
    }

    /// Shows the records that `--last` kept; from here on each is shown as it comes.
    pub(crate) fn end_of_past(&mut self) -> anyhow::Result<()> {
        if let Some(kept) = self.kept.take() {
            for (record, line) in kept.records {
                self.show(&record, line.as_deref())?;
            }
        }
        Ok(())
    }

    /// Writes what was gathered, so that a reader has it at once.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.tick()?;
        self.printer.flush(&mut self.out);
        self.write()
    }

    /// Writes whole lines as they are; a table may hold rows back to align them.
    pub(crate) fn flush_lines(&mut self) -> anyhow::Result<()> {
        self.tick()?;
        self.write()
    }

    /// Lets a report show what is due, also where nothing comes.
    pub(crate) fn tick(&mut self) -> anyhow::Result<()> {
        self.report.as_mut().map_or(Ok(()), |report| report.tick())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.stdout.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// These are the names that pods of live flows have from now on.
    pub(crate) fn names(&mut self, names: &Names) {
        if let Some(report) = &mut self.report {
            report.names(names);
        }
    }

    /// Whether there is somebody for the counters of connections.
    pub(crate) fn takes_counters(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.takes_counters())
    }

    /// Whether the counters of all connections are wanted now.
    pub(crate) fn wants_counters(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.wants_counters())
    }

    /// Takes the counters of a connection, which are no flow: no limit counts them.
    pub(crate) fn counters(&mut self, record: &Record) {
        if record.flow.as_ref().is_some_and(|flow| self.filter.matches(flow))
            && let Some(report) = &mut self.report
        {
            report.counters(record);
        }
    }

    /// The counters were read, which took so long.
    pub(crate) fn counted(&mut self, took: Duration) {
        if let Some(report) = &mut self.report {
            report.counted(took);
        }
    }

    /// Whether a terminal is drawn on.
    pub(crate) fn has_screen(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.has_screen())
    }

    /// Stays for who asks, where there is a server: until a signal, or the time is up.
    pub(crate) fn stay(&mut self) -> anyhow::Result<()> {
        self.report.as_mut().map_or(Ok(()), |report| report.stay())
    }

    /// Whether all is for nothing when nobody reads stdout.
    pub(crate) fn is_for_stdout(&self) -> bool {
        self.report.as_ref().is_none_or(|report| report.is_for_stdout())
    }

    /// Whether there would be a report, and nothing in it.
    pub(crate) const fn has_nothing_to_report(&self) -> bool {
        self.report.is_some() && self.shown == 0
    }

    /// Whether nothing more will be shown.
    pub(crate) fn done(&self) -> bool {
        self.enough() || (self.live && self.until.is_some_and(|until| Timestamp::now() > until))
    }

    fn enough(&self) -> bool {
        self.first.is_some_and(|first| self.shown >= first)
    }

    /// Flows that were shown.
    pub(crate) const fn shown(&self) -> u64 {
        self.shown
    }

    /// Shows what was kept, tells what was lost, and says whether that is a "no".
    pub(crate) fn finish(&mut self) -> anyhow::Result<Exit> {
        self.end_of_past()?;
        if let Some(report) = &mut self.report {
            report.finish()?;
        }
        self.printer.flush(&mut self.out);
        self.write()?;
        if self.lost > 0 {
            self.log.warning(format!("{} events lost", self.lost));
        }
        Ok(if self.lost > 0 && self.fail_on_loss { Exit::No } else { Exit::Fine })
    }
}

impl Kept {
    /// Keeps a record, and lets go of the oldest beyond the limit: flows, and word of losses among them, of which there
    /// are kept as many.
    fn push(&mut self, record: Record, line: Option<&[u8]>) -> anyhow::Result<()> {
        self.flows += usize::from(record.flow.is_some());
        self.bytes += line.map_or(0, <[u8]>::len);
        self.records.push_back((record, line.map(<[u8]>::to_vec)));
        while self.flows > self.limit || self.records.len() - self.flows > self.limit {
            let Some((record, line)) = self.records.pop_front() else {
                break;
            };
            self.flows -= usize::from(record.flow.is_some());
            self.bytes -= line.map_or(0, |line| line.len());
        }
        if self.bytes > MAX_KEPT_BYTES {
            let message = format!("the last {} flows are longer than {} MiB", self.limit, MAX_KEPT_BYTES >> 20);
            return Err(Failure::usage(message).remedy("ask for fewer").into());
        }
        Ok(())
    }
}
