//! What `flowdump` can be asked.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chainkit_cli::{ApiArgs, Exit, Failure, Log, Program, RootArgs, colour, run};
use chainkit_flow::{Filter, Format, PrinterOptions, TimeFormat};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use jiff::Timestamp;

use crate::{
    aggregate, drops, filter_args, health, layer7, live, manual, map, metrics, names::NameSources, saved, sink::Sink,
    top, values,
};

const PROGRAM: Program = Program { name: "flowdump", command, manual: manual::SECTIONS };

/// The most flows that `--last` keeps, as Hubble has it.
const MAX_LAST: u64 = 1_000_000;

pub(crate) fn main() -> ExitCode {
    run(&PROGRAM, |matches, log| match matches.subcommand() {
        None => {
            let mut options = Options::new(matches, *log)?;
            if options.print_raw_filters {
                return print_raw_filters(&options.filter);
            }
            let sink = match options.aggregate.take() {
                Some(ask) => Sink::reporting(&options, Box::new(ask.report(&options)?))?,
                None => Sink::new(&options)?,
            };
            flows(&options, sink)
        }
        Some((name, its)) => {
            nothing_before(matches, name)?;
            let (_, _, run) = COMMANDS.iter().find(|(known, ..)| *known == name).context("no such command")?;
            run(its, *log)
        }
    })
}

/// Prints the filter's lists, as Hubble does, in place of flows.
fn print_raw_filters(filter: &Filter) -> anyhow::Result<Exit> {
    io::stdout().write_all(filter.raw()?.as_bytes())?;
    Ok(Exit::Fine)
}

/// What a command does with what it was asked.
type Run = fn(&ArgMatches, Log) -> anyhow::Result<Exit>;

/// Adds what a command can be asked.
type Describe = fn(Command) -> Command;

/// The commands that take flows for something else than showing them: name, description, what they do. Each has a file.
const COMMANDS: &[(&str, Describe, Run)] = &[
    ("health", health::describe, health::run),
    ("map", map::describe, map::run),
    ("metrics", metrics::describe, metrics::run),
    ("top", top::describe, top::run),
];

/// Sends the flows that were asked for into a sink, wherever they come from.
pub(crate) fn flows(options: &Options, mut sink: Sink) -> anyhow::Result<Exit> {
    let outcome = match &options.read {
        Some(input) => saved::run(input, options, &mut sink),
        None => live::run(options, &mut sink),
    };
    match outcome {
        Ok(exit) => {
            let exit = exit.merge(sink.finish()?);
            sink.stay()?;
            Ok(exit)
        }
        Err(error) => {
            // What was seen before it went wrong is shown; the error says more than a second one could.
            if !sink.has_nothing_to_report() {
                let _ = sink.finish();
            }
            Err(error)
        }
    }
}

/// Flags before a command would say nothing to it.
fn nothing_before(matches: &ArgMatches, command: &str) -> anyhow::Result<()> {
    let given = matches
        .ids()
        .find(|id| id.as_str() != "log" && matches.value_source(id.as_str()) == Some(ValueSource::CommandLine));
    match given {
        Some(id) => Err(Failure::usage(format!("--{id} stands before {command}, which does not read it"))
            .remedy(format!("put it after: flowdump {command} ..."))
            .into()),
        None => Ok(()),
    }
}

fn command() -> Command {
    let command = flow_args(Command::new(PROGRAM.name).version(env!("CARGO_PKG_VERSION")));
    let command = OutputArgs::augment_args(command.next_help_heading("Output"));
    let command = aggregate::AggregateArgs::augment_args(command.next_help_heading("Flows folded into one"));
    let command = EndingArgs::augment_args(command.next_help_heading("Output"));
    let commands = COMMANDS.iter().map(|(name, describe, _)| describe(Command::new(*name)));
    // After the arguments, since a group of them would put its own description in place of this one.
    command
        .next_help_heading(None::<&str>)
        .about("Show who talks to whom on a Kubernetes node")
        .long_about(
            "Prints the flows of the pods of this node, live from chainkit's datapath, or from lines that were saved \
             before: one flow for the first packet each way, each new TCP flag, each verdict and the end of a \
             connection.",
        )
        .override_usage("flowdump [OPTIONS] [FILTERS]\n       flowdump health [OPTIONS] [FILTERS]\n       flowdump map [OPTIONS] [FILTERS]\n       flowdump metrics [OPTIONS] [FILTERS]\n       flowdump top [OPTIONS] [FILTERS]")
        .after_help(manual::EXAMPLES_IN_SHORT)
        .subcommands(commands)
}

/// Adds the flags that say which flows, from where: those that all commands have.
pub(crate) fn flow_args(command: Command) -> Command {
    let command = SourceArgs::augment_args(command.next_help_heading("Where flows come from"));
    let command = SelectionArgs::augment_args(command.next_help_heading("Which of them"));
    filter_args::add(command)
}

/// Adds the flags that say when a run has not gone well.
pub(crate) fn ending_args(command: Command) -> Command {
    EndingArgs::augment_args(command)
}

#[derive(Args, Debug)]
struct SourceArgs {
    /// Attach the datapath while this runs, where nothing else has: to a pod (NS/POD), a host-side interface, or all
    #[arg(long, value_name = "POD|IFNAME|all")]
    attach: Vec<String>,

    /// Read saved lines from this file, or from stdin (-)
    #[arg(short, long, value_name = "FILE", alias = "input-file")]
    #[arg(conflicts_with_all = ["attach", "per_packet", "buffer", "attach_kind", "l7", "drops", "tcp_health"])]
    read: Option<PathBuf>,

    /// Go on as flows come; live that is so anyway, with -r it follows a growing file
    #[arg(short, long)]
    follow: bool,

    /// Take names from this file, folder or FIFO, or from stdin (-): what kubectl get pods,services,nodes,namespaces -A
    /// -o json prints, or a watch. May be given again
    #[arg(long, value_name = "FILE")]
    pods: Vec<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// Tell every packet, not only the first ones and what changes
    #[arg(long)]
    per_packet: bool,

    /// Tell packets of pods that the kernel drops as well, wherever and for whatever reason; all adds those that are no fault
    #[arg(long, value_name = "WHICH", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "fault")]
    drops: Option<drops::Ask>,

    /// Follow how TCP connections fare: what is sent again or out of order, closed windows, resets, round trips
    #[arg(long)]
    tcp_health: bool,

    /// Decode what connections carry, on any port: HTTP, gRPC, DNS, and names that TLS and QUIC begin with
    #[arg(long)]
    l7: bool,

    /// Memory that decoding may take, over all connections
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = values::memory, requires = "l7")]
    l7_memory: usize,

    /// Show credentials, cookies and values in queries, which are masked otherwise
    #[arg(long, requires = "l7")]
    show_secrets: bool,

    /// Size of the ring buffer between kernel and this program
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = values::buffer)]
    buffer: u32,

    /// Name of this node; without it $NODE_NAME, else the host name
    #[arg(long = "own-node", value_name = "NAME", env = "NODE_NAME", hide_env_values = true)]
    node_name: Option<String>,

    #[command(flatten)]
    root: RootArgs,

    /// How to attach, for tests
    #[arg(long, value_enum, default_value_t, hide = true)]
    attach_kind: AttachKind,
}

#[derive(Args, Debug)]
struct SelectionArgs {
    /// End after this many flows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "last")]
    first: Option<u64>,

    /// The last N flows; live, of the connection tables
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_LAST))]
    last: Option<u64>,

    /// Flows since this time (RFC 3339), or since so long ago (5m); live, of the connection tables
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    since: Option<Timestamp>,

    /// Flows until this time, or until so long ago
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    until: Option<Timestamp>,

    /// End after this time
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    duration: Option<Duration>,
}

#[derive(Args, Debug)]
struct OutputArgs {
    /// Form of the output; json and jsonl are the same on a stream
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    /// The same as -o jsonl
    #[arg(short, conflicts_with = "output")]
    jsonl: bool,

    /// Print the name of the node with each flow
    #[arg(long)]
    print_node_name: bool,

    /// Print the policies that allowed or denied with each flow; who denied is told anyway
    #[arg(long)]
    print_policy_names: bool,

    /// How to print times, which are in UTC; in JSON they are RFC 3339
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli", ignore_case = true, value_parser = time_format())]
    time_format: TimeFormat,

    /// Print addresses, without names of pods, services and DNS
    #[arg(long)]
    numeric: bool,

    /// Whether to colour
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Color,

    /// Print the allow and the deny list that the filters make, as Hubble does, and end
    #[arg(long)]
    print_raw_filters: bool,
}

#[derive(Args, Debug)]
struct EndingArgs {
    /// With -r, end at the first bad line with exit code 2
    #[arg(long, requires = "read")]
    strict: bool,

    /// End with exit code 1 if events were lost
    #[arg(long)]
    fail_on_loss: bool,
}

/// The names of formats, in any case.
fn time_format() -> impl TypedValueParser<Value = TimeFormat> {
    PossibleValuesParser::new(TimeFormat::names())
        .try_map(|name| TimeFormat::from_name(&name).ok_or_else(|| format!("there is no format {name}")))
}

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, where NO_COLOR is not set
    #[default]
    Auto,
    /// Always, but in tables and JSON
    Always,
    /// Never
    Never,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line a flow
    #[default]
    Compact,
    /// A few lines a flow
    Dict,
    /// Columns
    #[value(alias = "tab")]
    Table,
    /// The same as jsonl
    #[value(alias = "JSON")]
    Json,
    /// The same as jsonl, by its name in Hubble
    Jsonpb,
    /// A JSON object a line
    Jsonl,
}

/// How the datapath is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachKind {
    /// As the kernel allows: tcx from 6.6 on, clsact below
    #[default]
    Auto,
    /// By tcx links
    Tcx,
    /// By clsact filters
    Clsact,
}

/// What was asked.
#[derive(Debug)]
#[allow(dead_code, reason = "the live side reads the rest")]
pub(crate) struct Options {
    /// What to attach to: `NS/POD`, names of host-side interfaces, `all`.
    pub(crate) attach: Vec<String>,
    /// How.
    pub(crate) attach_kind: AttachKind,
    /// Read these saved lines; `-` is stdin.
    pub(crate) read: Option<PathBuf>,
    /// Go on as flows come.
    pub(crate) follow: bool,
    /// Kubernetes objects.
    pub(crate) names: NameSources,
    /// Which flows.
    pub(crate) filter: Filter,
    /// End after so many flows.
    pub(crate) first: Option<u64>,
    /// Only the last so many.
    pub(crate) last: Option<u64>,
    /// Not before.
    pub(crate) since: Option<Timestamp>,
    /// Not after.
    pub(crate) until: Option<Timestamp>,
    /// End after this time.
    pub(crate) duration: Option<Duration>,
    /// Every packet.
    pub(crate) per_packet: bool,
    /// What the kernel drops.
    pub(crate) drops: Option<drops::Ask>,
    /// What connections carry.
    /// Follow how TCP connections fare.
    pub(crate) tcp_health: bool,
    pub(crate) l7: Option<layer7::Ask>,
    /// A bad line ends it.
    pub(crate) strict: bool,
    /// Losses are a "no".
    pub(crate) fail_on_loss: bool,
    /// The name of this node, where it was given.
    pub(crate) node_name: Option<String>,
    /// How to print.
    pub(crate) printer: PrinterOptions,
    /// Print the filter in place of flows.
    print_raw_filters: bool,
    /// Fold flows, in place of showing each.
    aggregate: Option<aggregate::Ask>,
    /// What stands before paths of the host.
    pub(crate) root: RootArgs,
    /// Bytes of the ring buffer, a power of two.
    pub(crate) buffer: u32,
    /// Where messages go.
    pub(crate) log: Log,
}

impl Options {
    fn new(matches: &ArgMatches, log: Log) -> anyhow::Result<Self> {
        let options = Self::of_flows(matches, log)?;
        let output = OutputArgs::from_arg_matches(matches)?;
        let format = match output.output {
            _ if output.jsonl => Format::Jsonl,
            Output::Compact => Format::Compact,
            Output::Dict => Format::Dict,
            Output::Table => Format::Table,
            Output::Json | Output::Jsonpb | Output::Jsonl => Format::Jsonl,
        };
        let printer = PrinterOptions {
            format,
            time_format: output.time_format,
            node_name: output.print_node_name,
            policy_names: output.print_policy_names,
            numeric: output.numeric,
            colour: match output.color {
                Color::Auto => colour(),
                Color::Always => true,
                Color::Never => false,
            },
        };
        let aggregate = aggregate::ask(matches)?;
        Ok(Self { printer, print_raw_filters: output.print_raw_filters, aggregate, ..options })
    }

    /// What was asked about flows; how they are shown is for each command to say.
    pub(crate) fn of_flows(matches: &ArgMatches, log: Log) -> anyhow::Result<Self> {
        let filter = filter_args::filter(matches)?;
        let source = SourceArgs::from_arg_matches(matches)?;
        let selection = SelectionArgs::from_arg_matches(matches)?;
        let ending = EndingArgs::from_arg_matches(matches)?;
        let from_stdin = source.pods.iter().filter(|input| *input == "-").count();
        if from_stdin > 1 {
            return Err(Failure::usage("--pods - was given twice: stdin can be read once").into());
        }
        if source.read.as_ref().is_some_and(|path| path.as_os_str() == "-") && from_stdin > 0 {
            let failure = Failure::usage("-r - and --pods - both read stdin, which can be read once");
            return Err(failure.remedy("give one of them a file").into());
        }
        if let (Some(since), Some(until)) = (selection.since, selection.until)
            && since > until
        {
            return Err(Failure::usage(format!("--since {since} is later than --until {until}")).into());
        }
        if let Some(flag) = filter_args::of_messages(matches)
            && source.read.is_none()
            && !source.l7
        {
            log.warning(format!("--{flag} asks for requests and responses, which are told with --l7 alone: add --l7"));
        }
        Ok(Self {
            attach: source.attach,
            attach_kind: source.attach_kind,
            read: source.read,
            follow: source.follow,
            names: NameSources { pods: source.pods, api: source.api },
            filter,
            first: selection.first,
            last: selection.last,
            since: selection.since,
            until: selection.until,
            duration: selection.duration,
            per_packet: source.per_packet,
            tcp_health: source.tcp_health,
            drops: source.drops,
            l7: source.l7.then_some(layer7::Ask { memory: source.l7_memory, show_secrets: source.show_secrets }),
            strict: ending.strict,
            fail_on_loss: ending.fail_on_loss,
            node_name: source.node_name.filter(|name| !name.is_empty()),
            printer: PrinterOptions::default(),
            print_raw_filters: false,
            aggregate: None,
            root: source.root,
            buffer: source.buffer,
            log,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_cli::LogFormat;

    fn options(words: &str) -> anyhow::Result<Options> {
        let matches = command().no_binary_name(true).try_get_matches_from(words.split_whitespace())?;
        Options::new(&matches, Log::new("flowdump", LogFormat::Text))
    }

    #[test]
    fn the_flags_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for words in [
            "-r x --attach all",
            "-r x --per-packet",
            "-r x --buffer 4MiB",
            "-r x --drops",
            "--drops=some",
            "-r - --pods -",
            "--first 1 --last 1",
            "--first 0",
            "--last 0",
            "--last 1000001",
            "-j -o table",
            "--strict",
            "--since 1m --until 2m",
            "--buffer 1",
            "--duration soon",
            "--port http",
            "--time-format soon",
            "--color sometimes",
            "--reply=maybe",
            "--cel-expression _flow.nothing",
            "--allowlist {\"nothing\":[]}",
            "--not",
            "--interval 1s",
            "--aggregate-by nothing",
            "--aggregate-by verdict,verdict",
            "--aggregate-by verdict --interval 1ms",
            "extra",
        ] {
            assert!(options(words).is_err(), "{words}");
        }
    }

    #[test]
    fn what_goes_together_is_accepted() {
        for words in [
            "",
            "-j -f",
            "-r x --pods -",
            "-r - --pods x",
            "-r x -f --strict --last 5",
            "--input-file x",
            "--attach all --attach shop/web --attach eni1 --attach-kind clsact",
            "--since 2m --until 1m",
            "--per-packet --buffer 64KiB --duration 10s",
            "--time-format RFC1123Z --numeric --color never --print-policy-names -o jsonpb",
            "--print-raw-filters --port 1",
            "--drops --drop-reason-desc POLICY_DENIED",
            "--drops=all -j",
            "--own-node n1 --node-name n1",
            "--aggregate-by source_pod,verdict --interval 10s --max-groups 5",
        ] {
            assert!(options(words).is_ok(), "{words}: {:?}", options(words).err());
        }
        assert_eq!(options("-o json").unwrap().printer.format, Format::Jsonl);
        assert_eq!(options("").unwrap().printer.format, Format::Compact);
        assert_eq!(options("").unwrap().buffer, 8 << 20);
    }

    #[test]
    fn nothing_fails_but_usage() {
        let error = options("--since 1m --until 2m").unwrap_err();
        assert_eq!(error.downcast_ref::<Failure>().unwrap().exit(), Exit::Usage);
    }
}
