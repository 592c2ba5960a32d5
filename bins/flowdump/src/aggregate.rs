//! `flowdump --aggregate-by`: flows with equal values folded into one line.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use chainkit_cli::{Failure, write_columns};
use chainkit_edges::{Aggregate, AggregateBy, Aggregates, human_bytes, human_milliseconds};
use chainkit_flow::{Format as Form, Record, Time};
use clap::{ArgMatches, Args, FromArgMatches};
use jiff::Timestamp;

use crate::cli::Options;
use crate::pace::{self, Turns, While};
use crate::sink::Report;

/// The most groups that can be asked for.
const MAX_GROUPS: u64 = 1_000_000;

#[derive(Args, Debug)]
pub(crate) struct AggregateArgs {
    /// Fold flows with equal values of these fields into one line each, at the end: source_pod,destination_pod,verdict. A name
    /// that there is not is answered with all there are
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = clap::value_parser!(AggregateBy))]
    aggregate_by: Vec<AggregateBy>,

    /// Fold each such while by itself: live as time goes on, with -r by the flows' own time
    #[arg(long, value_name = "DURATION", value_parser = pace::interval, requires = "aggregate_by")]
    interval: Option<Duration>,

    /// The most lines that flows are folded into; what is beyond is one that says so
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..=MAX_GROUPS))]
    #[arg(requires = "aggregate_by")]
    max_groups: u64,
}

/// What was asked.
#[derive(Debug)]
pub(crate) struct Ask {
    by: Vec<AggregateBy>,
    interval: Option<Duration>,
    max_groups: usize,
}

/// What was asked of folding, if it was.
pub(crate) fn ask(matches: &ArgMatches) -> anyhow::Result<Option<Ask>> {
    let AggregateArgs { aggregate_by: by, interval, max_groups } = AggregateArgs::from_arg_matches(matches)?;
    for (place, field) in by.iter().enumerate() {
        if by.iter().take(place).any(|before| before == field) {
            return Err(Failure::usage(format!("--aggregate-by names {} twice", field.name())).into());
        }
    }
    let max_groups = usize::try_from(max_groups).unwrap_or(usize::MAX);
    Ok((!by.is_empty()).then_some(Ask { by, interval, max_groups }))
}

impl Ask {
    /// What folds flows of these options.
    pub(crate) fn report(self, options: &Options) -> anyhow::Result<Folding> {
        let live = options.read.is_none();
        let has_past = options.last.is_some() || options.since.is_some();
        let since = (live && !has_past).then(|| Time(Timestamp::now()));
        let json = options.printer.format == Form::Jsonl;
        Ok(Folding {
            aggregates: Aggregates::new(self.by.clone(), self.max_groups, since),
            by: self.by,
            in_whiles: self.interval.is_some(),
            turns: Turns::new(self.interval, live || options.follow, live),
            json,
            out: Vec::new(),
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
        })
    }
}

/// Flows being folded.
pub(crate) struct Folding {
    aggregates: Aggregates,
    by: Vec<AggregateBy>,
    in_whiles: bool,
    turns: Turns,
    json: bool,
    out: Vec<u8>,
    stdout: File,
}

impl Folding {
    fn show(&mut self, over: While) -> io::Result<()> {
        let mut groups = self.aggregates.fold();
        if self.in_whiles {
            for group in &mut groups {
                group.time = over.until;
                group.seconds = Some((over.seconds * 1000.0).round() / 1000.0);
            }
        }
        if !self.json {
            return table(&self.by, &groups, self.in_whiles, &mut self.out);
        }
        for group in &groups {
            serde_json::to_writer(&mut self.out, group)?;
            self.out.push(b'\n');
        }
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.stdout.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

impl Report for Folding {
    fn take(&mut self, record: &Record) {
        if let Some(over) = self.turns.before(record.time()) {
            // Neither writing to memory nor these types fail.
            let _ = self.show(over);
        }
        self.aggregates.take(record);
    }

    fn takes_counters(&self) -> bool {
        true
    }

    fn wants_counters(&self) -> bool {
        self.turns.wants_counters()
    }

    fn counters(&mut self, record: &Record) {
        self.aggregates.counters(record);
    }

    fn counted(&mut self, took: Duration) {
        self.turns.counted(took);
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if let Some(over) = self.turns.due() {
            self.show(over)?;
        }
        self.write()
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if !self.aggregates.is_empty() {
            let over = self.turns.end();
            self.show(over)?;
        }
        self.write()
    }
}

/// Writes groups in columns: what they have in common first.
fn table(by: &[AggregateBy], groups: &[Aggregate], in_whiles: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(groups.len() + 1);
    let counted = ["FLOWS", "BYTES", "PACKETS", "CONNS", "DENIED", "REQUESTS", "ERRORS", "P99", "FIRST", "LAST"];
    let time = in_whiles.then(|| "TIME".to_owned());
    let names = by.iter().map(|by| by.name().to_uppercase());
    rows.push(time.into_iter().chain(names).chain(counted.map(str::to_owned)).collect());
    for group in groups {
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        let second = |time: Option<Time>| known(time.map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
        let mut cells: Vec<String> = Vec::new();
        if in_whiles {
            cells.push(second(group.time));
        }
        if group.others {
            cells.push("(others)".to_owned());
            cells.extend(by.iter().skip(1).map(|_| String::new()));
        } else {
            cells.extend(group.by.iter().map(|(_, value)| value.to_string()));
        }
        cells.extend([
            group.flows.to_string(),
            known(group.bytes.map(human_bytes)),
            known(group.packets.map(|packets| packets.to_string())),
            known(group.connections.map(|connections| connections.to_string())),
            count(group.denied.saturating_add(group.would_deny)),
            count(group.requests),
            count(group.errors),
            known(group.latency.p99_ms.map(|value| format!("{}ms", human_milliseconds(value)))),
            second(group.first),
            second(group.last),
        ]);
        rows.push(cells);
    }
    write_columns(out, rows)
}
