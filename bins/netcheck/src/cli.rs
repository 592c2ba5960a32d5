//! What `netcheck` says of itself.

use std::process::ExitCode;

use chainkit_cli::{Program, Section};
use clap::Command;

const PROGRAM: Program = Program {
    name: "netcheck",
    command,
    manual: &[
        Section { title: "EXAMPLES", text: "    netcheck --version" },
        Section {
            title: "EXIT STATUS",
            text: "\
0
  Help or the version was printed.

4
  Anything else was asked for: it is not built yet, and nothing was changed.",
        },
        Section { title: "SEE ALSO", text: "cni-chain(1), flowdump(1), mapstat(1), polload(1)" },
    ],
};

pub(crate) fn main() -> ExitCode {
    chainkit_cli::pending(&PROGRAM, false)
}

fn command() -> Command {
    Command::new(PROGRAM.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Say what is wrong with this node's network, why, and what to do")
        .long_about(
            "Checks the network of a Kubernetes node and reports findings, each with its cause and its remedy.\n\nNot built yet: this version answers --help and --version, and \
             every other call with exit code 4.",
        )
        .after_help("Examples:\n  netcheck --version")
}
