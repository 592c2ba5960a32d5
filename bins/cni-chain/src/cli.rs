//! What `cni-chain` can be asked.

use std::path::PathBuf;
use std::process::ExitCode;

use chainkit_cli::{Exit, Failure, Log, OutputArgs, Program, RootArgs, run};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};

use crate::node::{Mode, Node};
use crate::{adopt, endpoints, manual, plugin, release, status, upgrade};

const PROGRAM: Program = Program { name: "cni-chain", command, manual: manual::SECTIONS };

pub(crate) fn main() -> ExitCode {
    // A runtime passes no argument; people do, whatever their environment.
    if std::env::args_os().len() <= 1
        && let Some(verb) = std::env::var_os("CNI_COMMAND").filter(|verb| !verb.is_empty())
    {
        return plugin::main(&verb);
    }
    run(&PROGRAM, |matches, log| {
        let asked = Asked::new(matches, *log)?;
        match Work::from_arg_matches(matches)? {
            Work::Endpoints(args) => endpoints::run(&asked, &args),
            Work::Adopt(args) => adopt::run(&asked, &args),
            Work::Release(args) => release::run(&asked, &args),
            Work::Status(args) => status::run(&asked, &args),
            Work::Upgrade(args) => upgrade::run(&asked, &args),
        }
    })
}

fn command() -> Command {
    let command = Command::new(PROGRAM.name).version(env!("CARGO_PKG_VERSION"));
    let command = Work::augment_subcommands(command);
    Everywhere::augment_args(command)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .about("Be the chained CNI plugin, and look after what it attaches")
        .long_about(
            "Called by a container runtime (CNI_COMMAND is set, and no argument), it is a chained CNI plugin: it hangs chainkit's \
             datapath on the host side of each pod's interfaces and passes the result of the plugins before it on, byte for \
             byte. Called by people, it lists what is attached, adopts pods that already run, releases them, and upgrades \
             the programs in place. No pod is restarted and no connection lost by any of these.",
        )
        .after_help(manual::EXAMPLES_IN_SHORT)
}

/// Flags of every subcommand, before or after it.
#[derive(Args, Debug)]
struct Everywhere {
    /// Put this directory in front of all paths of the host
    #[arg(long, value_name = "DIR", env = "CHAINKIT_ROOT", default_value = "/", hide_env_values = true, global = true)]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// List what is attached: each endpoint, its interfaces, mode, programs and counters
    Endpoints(EndpointsArgs),
    /// Attach to pods that already run
    Adopt(AdoptArgs),
    /// Take the datapath off pods: the reverse of adopt
    Release(ReleaseArgs),
    /// Tell whether the datapath is there and all is as it should be; exit code 1 if not
    Status(StatusArgs),
    /// Swap the programs of a running node for this binary's
    Upgrade(UpgradeArgs),
}

/// `cni-chain endpoints`.
#[derive(Args, Debug)]
pub(crate) struct EndpointsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Which pods.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// Every pod of this node
    #[arg(long, conflicts_with_all = ["pods", "ifnames", "netns"])]
    pub(crate) all: bool,

    /// The pod of this namespace and name; may be repeated
    #[arg(long = "pod", value_name = "NAMESPACE/NAME", value_parser = pod_name)]
    pub(crate) pods: Vec<(String, String)>,

    /// The pod behind this interface of the node; may be repeated
    #[arg(long = "ifname", value_name = "NAME")]
    pub(crate) ifnames: Vec<String>,

    /// The pod in this network namespace; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: Vec<PathBuf>,
}

/// `cni-chain adopt`.
#[derive(Args, Debug)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// How verdicts are used once the connections that exist are known; without it a pod that is attached already keeps its
    /// mode, and others observe
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,

    /// How to attach; what is attached already stays as it is
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    pub(crate) attach: AttachKind,

    /// Connections remembered for each interface and address family; what is attached already stays as it is
    #[arg(long, value_name = "N", default_value_t = chainkit_abi::CONNECTIONS, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    pub(crate) connections: u32,

    /// The runtime's CRI socket; without it the usual places are tried
    #[arg(long, value_name = "PATH")]
    pub(crate) runtime_endpoint: Option<PathBuf>,

    /// Tell what would be adopted, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `cni-chain release`.
#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,

    /// Remove the datapath itself too, with all its tables and files; only with --all
    #[arg(long, conflicts_with_all = ["pods", "ifnames", "netns"])]
    pub(crate) purge: bool,

    /// Tell what would be released, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `cni-chain status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// `cni-chain upgrade`.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// Move over from a datapath of another ABI version, which no swap can
    #[arg(long)]
    pub(crate) migrate: bool,

    /// Load and check, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
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

impl AttachKind {
    /// As the datapath has it; `None`: what the kernel offers.
    pub(crate) const fn kit(self) -> Option<chainkit_bpf::Kit> {
        match self {
            Self::Auto => None,
            Self::Tcx => Some(chainkit_bpf::Kit::Tcx),
            Self::Clsact => Some(chainkit_bpf::Kit::Clsact),
        }
    }
}

/// What every subcommand has.
pub(crate) struct Asked {
    pub(crate) node: Node,
    pub(crate) root: RootArgs,
    pub(crate) log: Log,
}

impl Asked {
    fn new(matches: &ArgMatches, log: Log) -> anyhow::Result<Self> {
        let root = RootArgs { root: Everywhere::from_arg_matches(matches)?.root };
        if !root.root.is_dir() {
            return Err(Failure::usage(format!("--root {}: there is no such folder", root.root.display())).into());
        }
        Ok(Self { node: Node::below(&root.root), root, log })
    }
}

/// An error of the datapath with the exit code that fits it.
pub(crate) fn failure(error: chainkit_bpf::Error) -> anyhow::Error {
    use chainkit_bpf::Error;
    let exit = match &error {
        Error::Privilege { .. } | Error::Load(_) | Error::Unsupported(_) | Error::NoBpffs(_) => Exit::Unsupported,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string()).into()
}

fn pod_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("a pod is NAMESPACE/NAME, as in shop/web-0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<ArgMatches, clap::Error> {
        command().no_binary_name(true).try_get_matches_from(words.split_whitespace())
    }

    #[test]
    fn the_flags_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "",
            "nonsense",
            "adopt",
            "release",
            "adopt --all --pod a/b",
            "adopt --all --ifname eth0",
            "adopt --pod web",
            "adopt --pod a/b/c",
            "adopt --all --mode enforced",
            "adopt --all --connections 0",
            "release --pod a/b --purge",
            "upgrade --migrate=no",
            "status extra",
            "endpoints -j -o table",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn what_goes_together_is_accepted() {
        for words in [
            "endpoints",
            "endpoints -j",
            "--root /tmp status -o json",
            "status --root /tmp",
            "adopt --all --mode audit --dry-run",
            "adopt --pod a/b --pod c/d --ifname eni1 --netns /run/netns/x --attach clsact",
            "release --all --purge",
            "upgrade --migrate --dry-run -j",
        ] {
            assert!(parse(words).is_ok(), "{words}: {:?}", parse(words).err());
        }
    }
}
