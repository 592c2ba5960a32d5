//! What `polload` can be asked.

use std::process::ExitCode;

use chainkit_cli::{Program, run};
use clap::{Command, FromArgMatches, Subcommand};

use crate::{diff, explain, lint, manual, matrix};

const PROGRAM: Program = Program { name: "polload", command, manual: manual::SECTIONS };

pub(crate) fn main() -> ExitCode {
    run(&PROGRAM, |matches, log| match Ask::from_arg_matches(matches)? {
        Ask::Matrix(ask) => matrix::run(&ask, log),
        Ask::Explain(ask) => explain::run(&ask, log),
        Ask::Diff(ask) => diff::run(&ask, log),
        Ask::Lint(ask) => lint::run(&ask, log),
    })
}

fn command() -> Command {
    let command = Command::new(PROGRAM.name).version(env!("CARGO_PKG_VERSION"));
    Ask::augment_subcommands(command)
        .subcommand_required(true)
        .about("Say what network policies mean")
        .long_about(
            "Reads Kubernetes objects from files, or from a cluster, and says what their network policies mean: who may \
             reach whom, why, and which policies do not say what they seem to. It needs no privilege, and no cluster.",
        )
        .after_help(manual::EXAMPLES_IN_SHORT)
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Ask {
    /// Who may reach whom
    Matrix(matrix::Ask),
    /// Why one may reach the other, or not, and what would change it
    Explain(explain::Ask),
    /// Who may reach whom no longer, or as of now
    Diff(diff::Ask),
    /// Mistakes that change what policies mean
    Lint(lint::Ask),
}
