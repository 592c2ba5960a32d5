//! `flowdump health`: the edges that fare worst now, and why.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use chainkit_cli::{Exit, Failure, Format, Log, Row, write_rows};
use chainkit_edges::{Budget, By, Edge, EdgeTcp, Edges, Finding, Severity, Window, badness, findings};
use chainkit_flow::{Record, Time};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::cli::{self, Options};
use crate::manual;
use crate::map::Nodes;
use crate::pace::{self, Turns};
use crate::screen::Screen;
use crate::sink::{Report, Sink};

/// How often it is shown, live, unless told otherwise: connections that go on are told of as often.
const EVERY: Duration = Duration::from_secs(5);

/// How far back it is told of, as flows come, unless told otherwise.
const WINDOW: Duration = Duration::from_secs(60);

/// What ends so soon after it was shown is not shown once more.
const JUST_NOW: Duration = Duration::from_millis(500);

/// How long an edge is remembered after its last flow.
const IDLE: SignedDuration = SignedDuration::from_mins(10);

#[derive(Args, Clone, Copy, Debug)]
struct HealthArgs {
    /// What the ends of edges are
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    by: Nodes,

    /// The most edges that are shown; others are counted
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    top: u64,

    /// How far back now reaches, as flows come, 1m without it: what was wrong before, and is no more, is not told
    #[arg(long, value_name = "DURATION", value_parser = pace::interval)]
    window: Option<Duration>,

    /// How often it is shown, as flows come, 5s without it; with -r alone it is once, of all there are
    #[arg(long, value_name = "DURATION", value_parser = pace::interval)]
    interval: Option<Duration>,

    /// Form of the output; without it table on a terminal, else jsonl
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Output>,

    /// The same as -o jsonl
    #[arg(short, conflicts_with = "output")]
    jsonl: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each finding; live on a terminal a screen that is drawn anew
    Table,
    /// The same as jsonl
    Json,
    /// A JSON object each time, a line each
    Jsonl,
}

/// The command line of `flowdump health`.
pub(crate) fn describe(command: Command) -> Command {
    let command = HealthArgs::augment_args(command.next_help_heading("The health"));
    let command = cli::flow_args(cli::ending_args(command));
    command
        .next_help_heading(None::<&str>)
        .about("Which edges fare worst now, and why")
        .long_about(
            "Follows TCP in the kernel (--tcp-health is on) and tells, for edges between workloads, pods, namespaces or services, \
             what is wrong: handshakes that are refused or not answered, segments sent again or out of order, closed windows, \
             resets, round trips that vary, requests that fail, what policy denies. Takes the same flows as flowdump itself, \
             live or saved with --tcp-health, and the same filters",
        )
        .override_usage("flowdump health [OPTIONS] [FILTERS]")
        .after_help(manual::HEALTH_EXAMPLES)
}

/// Runs `flowdump health`.
pub(crate) fn run(matches: &ArgMatches, log: Log) -> anyhow::Result<Exit> {
    let ask = HealthArgs::from_arg_matches(matches)?;
    let mut options = Options::of_flows(matches, log)?;
    let live = options.read.is_none();
    options.follow |= live;
    options.tcp_health |= live;
    if !options.follow {
        for (flag, given) in [("--interval", ask.interval), ("--window", ask.window)] {
            if given.is_some() {
                let failure =
                    Failure::usage(format!("{flag} is for flows as they come: saved ones are told of all at once"));
                return Err(failure.remedy("follow the file with -f, or choose with --since and --until").into());
            }
        }
    }
    let sink = Sink::reporting(&options, Box::new(Showing::new(ask, live, options.follow)?))?;
    cli::flows(&options, sink)
}

/// What is shown.
#[derive(Serialize)]
struct Shown<'a> {
    kind: &'static str,
    time: Option<Time>,
    /// Over so many seconds, as flows come.
    seconds: Option<f64>,
    /// Edges with findings, the worst first.
    edges: Vec<Bad<'a>>,
    /// Edges with findings that there was no room for.
    more: usize,
    /// Edges with none.
    healthy: usize,
    /// Events that were lost: what they would have told is missing here.
    lost: u64,
}

#[derive(Serialize)]
struct Bad<'a> {
    src: &'a str,
    dst: &'a str,
    port: Option<u16>,
    protocol: &'a str,
    severity: Severity,
    connections: Option<u64>,
    findings: Vec<Finding>,
    tcp: Option<EdgeTcp>,
}

impl<'a> Shown<'a> {
    fn new(edges: &'a [Edge], most: usize, time: Option<Time>, seconds: Option<f64>, lost: u64) -> Self {
        let mut ranked: Vec<_> = edges
            .iter()
            .map(|edge| (edge, findings(edge)))
            .filter(|(_, findings)| !findings.is_empty())
            .map(|(edge, findings)| (badness(&findings), edge, findings))
            .collect();
        let healthy = edges.len() - ranked.len();
        ranked.sort_by(|((severity, share), edge, _), ((other, its_share), its, _)| {
            let name = |edge: &Edge| (edge.src.clone(), edge.dst.clone(), edge.port, edge.protocol.clone());
            other.cmp(severity).then(its_share.total_cmp(share)).then_with(|| name(edge).cmp(&name(its)))
        });
        let more = ranked.len().saturating_sub(most);
        ranked.truncate(most);
        let bad = |((severity, _), edge, findings): ((Severity, f64), &'a Edge, Vec<Finding>)| Bad {
            src: &edge.src,
            dst: &edge.dst,
            port: edge.port,
            protocol: &edge.protocol,
            severity,
            connections: edge.connections,
            findings,
            tcp: edge.tcp,
        };
        Self { kind: "Health", time, seconds, edges: ranked.into_iter().map(bad).collect(), more, healthy, lost }
    }

    fn table(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let lines = self.edges.iter().flat_map(|edge| edge.findings.iter().map(move |finding| Line { edge, finding }));
        write_rows(&mut out, Format::Table, lines)?;
        let more = if self.more > 0 { format!(", with findings and not shown: {}", self.more) } else { String::new() };
        let lost = if self.lost > 0 { format!(", {} events lost", self.lost) } else { String::new() };
        let over = self.seconds.map_or(String::new(), |seconds| format!(" over {seconds:.0} s"));
        writeln!(out, "edges without a finding{over}: {}{more}{lost}", self.healthy)?;
        Ok(out)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    edge: &'a Bad<'a>,
    #[serde(flatten)]
    finding: &'a Finding,
}

impl Row for Line<'_> {
    const HEADER: &'static [&'static str] = &["SEVERITY", "SOURCE", "DESTINATION", "PORT", "WHY"];

    fn cells(&self) -> Vec<String> {
        let severity = match self.finding.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        vec![
            severity.to_owned(),
            self.edge.src.to_owned(),
            self.edge.dst.to_owned(),
            self.edge.port.map_or("-".to_owned(), |port| format!("{port}/{}", self.edge.protocol)),
            self.finding.message.clone(),
        ]
    }
}

/// The health, on its way to stdout.
struct Showing {
    edges: Edges,
    top: usize,
    json: bool,
    live: bool,
    turns: Turns,
    /// What is told of, as flows come; else all.
    window: Option<Window>,
    shown: bool,
    screen: Option<Screen>,
    stdout: File,
}

impl Showing {
    fn new(ask: HealthArgs, live: bool, follow: bool) -> anyhow::Result<Self> {
        let json = match ask.output {
            _ if ask.jsonl => true,
            Some(output) => output != Output::Table,
            None => !io::stdout().is_terminal(),
        };
        let interval = follow.then(|| ask.interval.unwrap_or(EVERY));
        Ok(Self {
            edges: Edges::new(By::from(ask.by), Budget::default()),
            top: usize::try_from(ask.top).unwrap_or(usize::MAX),
            json,
            live,
            turns: Turns::new(interval, follow, live),
            window: follow.then(|| Window::new(ask.window.unwrap_or(WINDOW))),
            shown: false,
            screen: if follow && !json { Screen::of_stdout()? } else { None },
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
        })
    }

    fn show(&mut self) -> anyhow::Result<()> {
        self.shown = true;
        let mut snapshot = self.edges.snapshot();
        let time = if self.live { Some(Time(Timestamp::now())) } else { snapshot.last };
        let now = Instant::now();
        let seconds = self.window.as_mut().map(|window| {
            let all = snapshot.clone();
            let seconds = window.cut(now, &mut snapshot).as_secs_f64();
            window.note(now, &all);
            (seconds * 1000.0).round() / 1000.0
        });
        let shown = Shown::new(&snapshot.edges, self.top, time, seconds, snapshot.lost);
        if self.json {
            let mut line = serde_json::to_vec(&shown)?;
            line.push(b'\n');
            self.stdout.write_all(&line)?;
            return Ok(());
        }
        let table = shown.table()?;
        match &mut self.screen {
            Some(screen) => screen.draw(|rows| {
                let text = String::from_utf8_lossy(&table);
                Ok(text.lines().take(rows.max(1)).map(str::to_owned).collect())
            }),
            None => Ok(self.stdout.write_all(&table)?),
        }
    }
}

impl Report for Showing {
    fn take(&mut self, record: &Record) {
        self.edges.take(record);
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        if self.turns.due().is_some() {
            self.show()?;
            let latest = self.edges.latest().map(|latest| latest.0.min(Timestamp::now()));
            if let Some(since) = latest.and_then(|latest| latest.checked_sub(IDLE).ok()) {
                self.edges.let_go_of_idle(Time(since));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        // On a terminal what was shown last stays, where what was there before comes back.
        let had_screen = self.screen.take().is_some();
        // What was shown at this very moment is not shown again.
        let is_new = self.turns.end().seconds >= JUST_NOW.as_secs_f64() || !self.shown;
        if had_screen || is_new { self.show() } else { Ok(()) }
    }

    fn takes_counters(&self) -> bool {
        true
    }

    fn wants_counters(&self) -> bool {
        self.turns.wants_counters()
    }

    fn counters(&mut self, record: &Record) {
        self.edges.take(record);
    }

    fn counted(&mut self, took: Duration) {
        if !self.turns.counted(took)
            && let Some(window) = &mut self.window
        {
            // What there was when it began is no matter of now.
            window.note(Instant::now(), &self.edges.snapshot());
        }
    }

    fn has_screen(&self) -> bool {
        self.screen.is_some()
    }
}
