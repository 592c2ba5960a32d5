//! What `polload` says of itself.

use std::process::ExitCode;

use chainkit_cli::{Program, Section};
use clap::Command;

const PROGRAM: Program = Program {
    name: "polload",
    command,
    manual: &[
        Section { title: "EXAMPLES", text: "    polload --version" },
        Section {
            title: "EXIT STATUS",
            text: "\
0
  Help or the version was printed.

4
  Anything else was asked for: it is not built yet, and nothing was changed.",
        },
        Section { title: "SEE ALSO", text: "cni-chain(1), flowdump(1), mapstat(1), netcheck(1)" },
    ],
};

pub(crate) fn main() -> ExitCode {
    chainkit_cli::pending(&PROGRAM, false)
}

fn command() -> Command {
    Command::new(PROGRAM.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about("Turn network policies into kernel tables")
        .long_about(
            "Compiles network policies into kernel tables, proves that the tables mean the policies, and explains a verdict.\n\nNot built yet: this version answers --help and --version, and \
             every other call with exit code 4.",
        )
        .after_help("Examples:\n  polload --version")
}
