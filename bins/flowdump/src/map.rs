//! `flowdump map`: who talks to whom, as edges.

mod served;
mod table;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chainkit_cli::{Exit, Failure, Log};
use chainkit_edges::{Budget, By, Edges, Page, Snapshot, dot, mermaid, page};
use chainkit_flow::{Record, Time};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::cli::{self, Options};
use crate::screen::Screen;
use crate::serve::{Content, Server};
use crate::sink::{Report, Sink};
use crate::{manual, values};

/// How often a map that is watched is shown.
const EVERY: Duration = Duration::from_secs(1);

/// How long an edge of a map that is watched is shown after its last flow, and how often that is looked at.
const IDLE: SignedDuration = SignedDuration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The most edges that can be asked for: as many take some 100 MiB.
const MAX_EDGES: u64 = 100_000;

/// The last flows of each edge that a page has.
const RECENT: usize = 3;

#[derive(Args, Clone, Copy, Debug)]
struct MapArgs {
    /// What the nodes of the map are
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    by: Nodes,

    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    /// The same as -o jsonl
    #[arg(short, conflicts_with = "output")]
    jsonl: bool,

    /// Show the map again each second, as flows come; a file of -r is followed
    #[arg(short, long)]
    watch: bool,

    /// With --watch -o html: where a browser of this host asks, a loopback address; without it a port that is free
    #[arg(long, value_name = "ADDRESS:PORT", requires = "watch", value_parser = values::listen)]
    listen: Option<SocketAddr>,

    /// The most edges; what is beyond is one edge that says so
    #[arg(long, value_name = "N", default_value = "5000", value_parser = clap::value_parser!(u64).range(2..=MAX_EDGES))]
    edges: u64,

    /// The most external peers, by name or address; what is beyond is one node
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u64).range(0..=MAX_EDGES))]
    externals: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Nodes {
    /// What pods belong to, such as a Deployment
    #[default]
    Workload,
    /// Pods
    Pod,
    /// Namespaces
    Namespace,
    /// Services where they are known, else workloads
    Service,
}

impl From<Nodes> for By {
    fn from(nodes: Nodes) -> Self {
        match nodes {
            Nodes::Workload => Self::Workload,
            Nodes::Pod => Self::Pod,
            Nodes::Namespace => Self::Namespace,
            Nodes::Service => Self::Service,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns
    #[default]
    Table,
    /// The same as jsonl
    Json,
    /// A JSON object for each edge, a line each
    Jsonl,
    /// A drawing for Graphviz
    Dot,
    /// A drawing for Mermaid
    Mermaid,
    /// A page for a browser, which needs nothing else
    Html,
}

/// The command line of `flowdump map`.
pub(crate) fn describe(command: Command) -> Command {
    let command = MapArgs::augment_args(command.next_help_heading("The map"));
    let command = cli::flow_args(cli::ending_args(command));
    command
        .next_help_heading(None::<&str>)
        .about("Who talks to whom, as a map")
        .long_about(
            "Gathers flows into edges between workloads, pods, namespaces or services: how many, how many bytes, what was \
             denied, what failed, how long it took. Takes the same flows as flowdump itself, live or saved, and the same \
             filters; without --watch it shows the map once, when they end",
        )
        .override_usage("flowdump map [OPTIONS] [FILTERS]")
        .after_help(manual::MAP_EXAMPLES)
}

/// Runs `flowdump map`.
pub(crate) fn run(matches: &ArgMatches, log: Log) -> anyhow::Result<Exit> {
    let ask = MapArgs::from_arg_matches(matches)?;
    let mut options = Options::of_flows(matches, log)?;
    options.follow |= ask.watch;
    let listen = listen(ask)?;
    let mut map = Map::new(ask)?;
    if let Some(listen) = listen {
        let now = Arc::new(served::Now::new(map.edges.snapshot()));
        let server = Server::start(listen, Arc::clone(&now) as Arc<dyn Content>, &options)?;
        map.served = Some((now, server));
    }
    let sink = Sink::reporting(&options, Box::new(map))?;
    cli::flows(&options, sink)
}

/// Where the page is served, if it is. Whoever can reach it sees who talks to whom: that is for this host alone.
fn listen(ask: MapArgs) -> anyhow::Result<Option<SocketAddr>> {
    if ask.output != Output::Html || !ask.watch {
        return match ask.listen {
            None => Ok(None),
            Some(_) => Err(Failure::usage("--listen goes with --watch -o html: nothing else is served").into()),
        };
    }
    let listen = ask.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    if !listen.ip().is_loopback() {
        let failure = Failure::usage(format!("--listen {listen}: the map is served on a loopback address alone"));
        return Err(failure.remedy("to look from elsewhere, forward a port: ssh -L or kubectl port-forward").into());
    }
    Ok(Some(listen))
}

/// The map, on its way to stdout or to a browser.
struct Map {
    edges: Edges,
    output: Output,
    /// Where it is shown again each second: when next.
    due: Option<Instant>,
    /// When it is looked next what is idle.
    look_at: Instant,
    shown: Option<(Instant, Snapshot)>,
    screen: Option<Screen>,
    served: Option<(Arc<served::Now>, Server)>,
    stdout: File,
}

impl Map {
    fn new(ask: MapArgs) -> anyhow::Result<Self> {
        let by = By::from(ask.by);
        let output = if ask.jsonl { Output::Jsonl } else { ask.output };
        let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let budget = Budget {
            edges: count(ask.edges),
            externals: count(ask.externals),
            recent: if output == Output::Html { RECENT } else { 0 },
            ..Budget::default()
        };
        Ok(Self {
            edges: Edges::new(by, budget),
            output,
            due: ask.watch.then(|| Instant::now() + EVERY),
            look_at: Instant::now() + LOOK_EVERY,
            shown: None,
            screen: if ask.watch && output == Output::Table { Screen::of_stdout()? } else { None },
            served: None,
            stdout: File::from(io::stdout().as_fd().try_clone_to_owned()?),
        })
    }

    /// The map as it is now, with rates since it was last shown.
    fn snapshot(&mut self, now: Instant) -> Snapshot {
        let mut snapshot = self.edges.snapshot();
        if self.due.is_some() {
            if let Some((at, before)) = &self.shown {
                snapshot.rates_since(before, now.duration_since(*at).as_secs_f64());
            }
            snapshot.at(Time(Timestamp::now()));
            self.shown = Some((now, snapshot.clone()));
        }
        snapshot
    }

    /// Idle is told by the flows' own time, which may be of long ago; one that is ahead of the clock does not count.
    fn let_go_of_idle(&mut self) {
        let latest = self.edges.latest().map(|latest| latest.0.min(Timestamp::now()));
        if let Some(since) = latest.and_then(|latest| latest.checked_sub(IDLE).ok()) {
            self.edges.let_go_of_idle(Time(since));
        }
    }

    fn show(&mut self, now: Instant) -> anyhow::Result<()> {
        let snapshot = self.snapshot(now);
        if let Some((served, _)) = &self.served {
            served.set(snapshot);
            return Ok(());
        }
        let mut out = Vec::new();
        match self.output {
            Output::Table => match &mut self.screen {
                Some(screen) => screen.draw(|rows| Ok(table::lines(&snapshot, rows)?))?,
                None => table::write(&snapshot, &mut out)?,
            },
            Output::Json | Output::Jsonl => {
                for edge in &snapshot.edges {
                    serde_json::to_writer(&mut out, edge)?;
                    out.push(b'\n');
                }
            }
            Output::Dot => out.extend_from_slice(dot(&snapshot).as_bytes()),
            Output::Html => out.extend_from_slice(page(&snapshot, Page::File).as_bytes()),
            Output::Mermaid => out.extend_from_slice(mermaid(&snapshot).as_bytes()),
        }
        self.stdout.write_all(&out)?;
        Ok(())
    }
}

impl Report for Map {
    fn take(&mut self, record: &Record) {
        self.edges.take(record);
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.due.is_some_and(|due| now >= due) {
            self.due = Some(now + EVERY);
            if now >= self.look_at {
                self.look_at = now + LOOK_EVERY;
                self.let_go_of_idle();
            }
            self.show(now)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        // On a terminal the map as it was last stays, where what was there before comes back.
        self.screen = None;
        self.show(Instant::now())
    }

    fn stay(&mut self) -> anyhow::Result<()> {
        let Some((_, server)) = &self.served else { return Ok(()) };
        server.stay(|| Ok(()))
    }

    fn is_for_stdout(&self) -> bool {
        self.served.is_none()
    }

    fn has_screen(&self) -> bool {
        self.screen.is_some()
    }
}
