//! What `mapstat` says of itself.

use std::process::ExitCode;

use chainkit_cli::{Program, Section};
use clap::Command;

const PROGRAM: Program = Program {
    name: "mapstat",
    command,
    manual: &[
        Section { title: "EXAMPLES", text: "    mapstat --version" },
        Section {
            title: "EXIT STATUS",
            text: "\
0
  Help or the version was printed.

4
  Anything else was asked for: it is not built yet, and nothing was changed.",
        },
        Section { title: "SEE ALSO", text: "cni-chain(1), flowdump(1), netcheck(1), polload(1)" },
    ],
};

pub(crate) fn main() -> ExitCode {
    chainkit_cli::pending(&PROGRAM, false)
}

fn command() -> Command {
    Command::new(PROGRAM.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Tell how full, how big and whose every BPF map on the node is")
        .long_about(
            "Lists every BPF map on the node: its entries and capacity, its memory, and which program, link or pin holds it.\n\nNot built yet: this version answers --help and --version, and \
             every other call with exit code 4.",
        )
        .after_help("Examples:\n  mapstat --version")
}
