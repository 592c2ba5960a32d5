//! What `cni-chain` says of itself.

use std::process::ExitCode;

use chainkit_cli::{Program, Section};
use clap::Command;

const PROGRAM: Program = Program {
    name: "cni-chain",
    command,
    manual: &[
        Section { title: "EXAMPLES", text: "    cni-chain --version" },
        Section {
            title: "EXIT STATUS",
            text: "\
0
  Help or the version was printed.

4
  Anything else was asked for: it is not built yet, and nothing was changed.",
        },
        Section {
            title: "ENVIRONMENT",
            text: "\
CNI_COMMAND
  Set by a container runtime that calls this program as a CNI plugin. The answer is then an error of the CNI
  specification on stdout, an object of cniVersion, code (100), msg and details.",
        },
        Section { title: "SEE ALSO", text: "flowdump(1), mapstat(1), netcheck(1), polload(1)" },
    ],
};

pub(crate) fn main() -> ExitCode {
    chainkit_cli::pending(&PROGRAM, true)
}

fn command() -> Command {
    Command::new(PROGRAM.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Be the chained CNI plugin, and look after the chain")
        .long_about(
            "Runs as a chained CNI plugin behind the network plugin that a node already has, and shows, checks, edits, adopts and steps through the chain.\n\nNot built yet: this version answers --help and --version, and \
             every other call with exit code 4.",
        )
        .after_help("Examples:\n  cni-chain --version")
}
