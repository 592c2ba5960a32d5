//! `flowdump top`: who does most now.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use chainkit_cli::{Exit, Format, Log, Row, write_rows};
use chainkit_edges::{
    Line, Others, Rank, Sort, Top, TopRow, TopSnapshot, human_byte_rate, human_bytes, human_milliseconds,
};
use chainkit_flow::{Record, Time};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{self, Options};
use crate::manual;
use crate::pace::{self, Turns, While};
use crate::screen::Screen;
use crate::sink::{Report, Sink};

/// How often live flows are shown, where nothing is said.
const EVERY: Duration = Duration::from_secs(1);

/// The most rows that can be asked for.
const MAX_LIMIT: u64 = 10_000;

/// What is cut off a name that is longer than a column may be.
const MAX_COLUMN: usize = 100;

#[derive(Args, Clone, Copy, Debug)]
struct TopArgs {
    /// What the rows are
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    by: By,

    /// What comes first
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    sort: Order,

    /// The most rows; what is beyond is summed
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,

    /// How often it is shown. Live 1s; with -r once, unless this is given: then for each such while of the flows' own time
    #[arg(long, value_name = "DURATION", value_parser = pace::interval)]
    interval: Option<Duration>,

    /// Form of the output; on a terminal table, else jsonl
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Output>,

    /// The same as -o jsonl
    #[arg(short, conflicts_with = "output")]
    jsonl: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Pods that are observed
    #[default]
    Pod,
    /// What they belong to, such as a Deployment
    Workload,
    /// Ports of servers
    Port,
    /// Policies that allowed or denied
    Policy,
    /// Client, server and port
    Edge,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Bytes both ways
    #[default]
    Bytes,
    /// Packets both ways
    Packets,
    /// Flows
    Flows,
    /// Packets that were denied, or would be
    Denied,
    /// Requests that failed; --l7 tells them
    Errors,
    /// Latency that 99 of 100 requests are below
    Latency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns; live on a terminal a screen that is drawn anew
    Table,
    /// The same as jsonl
    Json,
    /// A JSON object each time, a line each
    Jsonl,
}

/// The command line of `flowdump top`.
pub(crate) fn describe(command: Command) -> Command {
    let command = TopArgs::augment_args(command.next_help_heading("The top"));
    let command = cli::flow_args(cli::ending_args(command));
    command
        .next_help_heading(None::<&str>)
        .about("Who does most now")
        .long_about(
            "Shows which pods, workloads, ports, policies or edges send and receive most, are denied most, fail most or are \
             slowest: on a terminal a screen that is drawn anew each second, in a pipe a JSON object each second. Takes the \
             same flows as flowdump itself, live or saved, and the same filters",
        )
        .override_usage("flowdump top [OPTIONS] [FILTERS]")
        .after_help(manual::TOP_EXAMPLES)
}

/// Runs `flowdump top`.
pub(crate) fn run(matches: &ArgMatches, log: Log) -> anyhow::Result<Exit> {
    let ask = TopArgs::from_arg_matches(matches)?;
    let mut options = Options::of_flows(matches, log)?;
    let has_past = options.last.is_some() || options.since.is_some();
    let live = options.read.is_none();
    options.follow |= live;
    let sink = Sink::reporting(&options, Box::new(Showing::new(ask, live, options.follow, has_past)?))?;
    cli::flows(&options, sink)
}

/// The top, on its way to stdout.
struct Showing {
    top: Top,
    sort: Sort,
    limit: usize,
    json: bool,
    turns: Turns,
    live: bool,
    shown: bool,
    /// Flows since it was last shown.
    flows: u64,
    screen: Option<Screen>,
    out: Vec<u8>,
    stdout: File,
}

impl Showing {
    fn new(ask: TopArgs, live: bool, follow: bool, has_past: bool) -> anyhow::Result<Self> {
        let rank = match ask.by {
            By::Pod => Rank::Pod,
            By::Workload => Rank::Workload,
            By::Port => Rank::Port,
            By::Policy => Rank::Policy,
            By::Edge => Rank::Edge,
        };
        let sort = match ask.sort {
            Order::Bytes => Sort::Bytes,
            Order::Packets => Sort::Packets,
            Order::Flows => Sort::Flows,
            Order::Denied => Sort::Denied,
            Order::Errors => Sort::Errors,
            Order::Latency => Sort::Latency,
        };
        let json = match ask.output {
            _ if ask.jsonl => true,
            Some(output) => output != Output::Table,
            None => !io::stdout().is_terminal(),
        };
        // What was sent before this began is no rate of now, unless the past was asked for.
        let since = (live && !has_past).then(|| Time(Timestamp::now()));
        let interval = ask.interval.or_else(|| follow.then_some(EVERY));
        Ok(Self {
            top: Top::new(rank, since),
            sort,
            limit: usize::try_from(ask.limit).unwrap_or(usize::MAX),
            json,
            turns: Turns::new(interval, follow, live),
            live,
            shown: false,
            flows: 0,
            screen: if follow && !json { Screen::of_stdout()? } else { None },
            out: Vec::new(),
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
        })
    }

    fn show(&mut self, over: While) -> anyhow::Result<()> {
        let snapshot = self.top.snapshot(over.until, over.seconds, self.sort, self.limit);
        (self.shown, self.flows) = (true, 0);
        if self.json {
            serde_json::to_writer(&mut self.out, &snapshot)?;
            self.out.push(b'\n');
        } else if let Some(screen) = &mut self.screen {
            screen.draw(|rows| lines(&snapshot, rows))?;
        } else {
            for line in lines(&snapshot, usize::MAX)? {
                writeln!(self.out, "{line}")?;
            }
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

impl Report for Showing {
    fn take(&mut self, record: &Record) {
        if let Some(over) = self.turns.before(record.time()) {
            // Only writing to a terminal can fail, and flows that bear their own time are shown on none.
            let _ = self.show(over);
        }
        self.flows += u64::from(record.flow.is_some());
        self.top.take(record);
    }

    fn takes_counters(&self) -> bool {
        true
    }

    fn wants_counters(&self) -> bool {
        self.turns.wants_counters()
    }

    fn counters(&mut self, record: &Record) {
        self.top.counters(record);
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
        // On a terminal what was shown last stays, where what was there before comes back.
        let had_screen = self.screen.take().is_some();
        if had_screen || self.live || !self.shown || self.flows > 0 {
            let over = self.turns.end();
            self.show(over)?;
        }
        self.write()
    }

    fn has_screen(&self) -> bool {
        self.screen.is_some()
    }
}

/// A row of the table.
#[derive(Serialize)]
struct Cells(Vec<String>);

impl Row for Cells {
    const HEADER: &'static [&'static str] = &[
        "NAME",
        "SENT/S",
        "RECEIVED/S",
        "PACKETS/S",
        "FLOWS/S",
        "DENIED/S",
        "REQUESTS/S",
        "ERRORS/S",
        "P99",
        "SENT",
        "RECEIVED",
        "CONNS",
        "DENIED",
        "ERRORS",
    ];

    fn cells(&self) -> Vec<String> {
        self.0.clone()
    }
}

fn cells(name: &str, line: &Line) -> Cells {
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rate = |rate: f64| if rate > 0.0 { human_milliseconds(rate) } else { "-".to_owned() };
    let bytes = |rate: Option<f64>| known(rate.map(human_byte_rate));
    let count = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
    let (now, total) = (&line.rate, &line.total);
    let packets = now.packets_sent.zip(now.packets_received).map(|(sent, received)| rate(sent + received));
    let name = if name.chars().count() > MAX_COLUMN {
        name.chars().take(MAX_COLUMN - 1).chain(['…']).collect()
    } else {
        name.to_owned()
    };
    Cells(vec![
        name,
        bytes(now.bytes_sent),
        bytes(now.bytes_received),
        known(packets),
        rate(now.flows),
        rate(now.denied + now.would_deny),
        rate(now.requests),
        rate(now.errors),
        known(line.latency.p99_ms.map(|value| format!("{}ms", human_milliseconds(value)))),
        known(total.bytes_sent.map(human_bytes)),
        known(total.bytes_received.map(human_bytes)),
        known(total.connections.map(|count| count.to_string())),
        count(total.denied.saturating_add(total.would_deny)),
        count(total.errors),
    ])
}

fn name(row: &TopRow) -> String {
    match (row.who.direction, &row.who.policy_kind) {
        (Some(direction), Some(kind)) => format!("{kind} {} {direction}", row.who.name).trim_start().to_owned(),
        _ => row.who.name.clone(),
    }
}

/// The top as lines, at most so many.
fn lines(snapshot: &TopSnapshot, most: usize) -> anyhow::Result<Vec<String>> {
    let time = snapshot.time.map(|time| format!("{} ", time.0.strftime("%Y-%m-%dT%H:%M:%SZ"))).unwrap_or_default();
    let lost = if snapshot.lost > 0 { format!(", {} events lost", snapshot.lost) } else { String::new() };
    let seconds = human_milliseconds(snapshot.seconds);
    let head = format!("{time}over {seconds}s by {}{lost}", word(snapshot.by));
    // Head, header of the table, and the line of the others, which takes in what there is no room for.
    let room = most.saturating_sub(3).max(1);
    let mut rows: Vec<Cells> = snapshot.rows.iter().take(room).map(|row| cells(&name(row), &row.line)).collect();
    let hidden = u64::try_from(snapshot.rows.len().saturating_sub(room)).unwrap_or(u64::MAX);
    match &snapshot.others {
        // Their sum would lack those that there is no room for.
        _ if hidden > 0 => {
            let more = hidden.saturating_add(snapshot.others.as_ref().map_or(0, |others| others.rows));
            let mut foot = vec![format!("({more} more)")];
            foot.resize(Cells::HEADER.len(), String::new());
            rows.push(Cells(foot));
        }
        Some(Others { rows: more, overflow, line }) => {
            let more = if *overflow { format!("({more} more, and some let go of)") } else { format!("({more} more)") };
            rows.push(cells(&more, line));
        }
        None => {}
    }
    let mut table = Vec::new();
    write_rows(&mut table, Format::Table, rows)?;
    let mut lines = vec![head];
    lines.extend(String::from_utf8_lossy(&table).lines().map(str::to_owned));
    Ok(lines)
}

const fn word(rank: Rank) -> &'static str {
    match rank {
        Rank::Pod => "pod",
        Rank::Workload => "workload",
        Rank::Port => "port",
        Rank::Policy => "policy",
        Rank::Edge => "edge",
    }
}
