//! What chainkit costs: a packet, a connection, an event, an endpoint, a pod that starts.
//!
//! Each measure stands beside what it is to be compared with, taken in turn with it in the same run, since absolute times do
//! not travel from one machine to the next. What this crate must never do: attach anything outside of network namespaces of
//! its own. It is run by `tests/bench`; start reading at `cost.rs`.

#![forbid(unsafe_code)]

mod chain;
mod cost;
mod datapath;
mod enforce;
mod events;
mod floor;
mod flows;
mod frames;
mod load;
mod meminfo;
mod memory;
mod policy;
mod report;
mod stats;
mod traffic;

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::report::Report;

/// What chainkit costs, as ratios to what it is compared with.
#[derive(Debug, Parser)]
#[command(name = "chainkit-bench", version)]
struct Cli {
    /// A table, or a JSON object a line.
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    /// A tenth of the rounds: minutes become seconds, and numbers shakier.
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    work: Option<Work>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Jsonl,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Nanoseconds a packet, beside the floor.
    Cost,
    /// TCP throughput and connections a second between two pods: bare, observed, and with tcpdump.
    Traffic,
    /// Events a second that a reader takes without loss.
    Events {
        /// The program to measure as a reader, besides one that only counts.
        #[arg(long, env = "CHAINKIT_FLOWDUMP")]
        flowdump: Option<PathBuf>,
    },
    /// Time to load the object, and memory of the connection tables.
    Memory,
    /// ADD and DEL beside another plugin, many at once, adopting, and swapping programs under load.
    Chain,
    /// Compiling and explaining policy at the size of a large cluster.
    Policy,
    /// Putting policy in force at that size, and what it costs a packet.
    Enforce,
    /// Flows: saved lines and requests a second, memory, and what they cost the pods.
    Flows {
        /// The program to measure.
        #[arg(long, env = "CHAINKIT_FLOWDUMP")]
        flowdump: Option<PathBuf>,
    },
    /// Have the kernel verify every program of these objects, and attach none.
    Load {
        /// An eBPF object with chainkit's programs.
        #[arg(required = true)]
        objects: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    match work(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is there to be told that stderr is closed.
            drop(writeln!(std::io::stderr(), "chainkit-bench: {error:#}"));
            ExitCode::from(4)
        }
    }
}

fn work(cli: Cli) -> Result<()> {
    let report = Report::new(cli.output != Output::Table);
    let rounds = |full: usize| if cli.quick { (full / 10).max(3) } else { full };
    if let Some(Work::Load { objects }) = &cli.work {
        return load::verify(objects);
    }
    report.machine()?;
    match cli.work {
        Some(Work::Cost) => cost::measure(&report, rounds(201)),
        Some(Work::Traffic) => traffic::measure(&report, rounds(9)),
        Some(Work::Events { flowdump }) => events::measure(&report, flowdump.as_deref()),
        Some(Work::Memory) => memory::measure(&report, rounds(21)),
        Some(Work::Chain) => chain::measure(&report, rounds(51)),
        Some(Work::Policy) => policy::measure(&report, rounds(5)),
        Some(Work::Enforce) => enforce::measure(&report, rounds(201)),
        Some(Work::Flows { flowdump }) => {
            flows::measure(&report, flowdump.as_deref(), cli.quick)?;
            events::measure(&report, flowdump.as_deref())
        }
        Some(Work::Load { .. }) | None => {
            cost::measure(&report, rounds(201))?;
            traffic::measure(&report, rounds(9))?;
            let flowdump = std::env::var_os("CHAINKIT_FLOWDUMP").map(PathBuf::from);
            events::measure(&report, flowdump.as_deref())?;
            memory::measure(&report, rounds(21))?;
            chain::measure(&report, rounds(51))?;
            policy::measure(&report, rounds(5))?;
            enforce::measure(&report, rounds(201))?;
            flows::measure(&report, flowdump.as_deref(), cli.quick)
        }
    }
}
