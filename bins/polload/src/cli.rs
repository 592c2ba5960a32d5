//! What `polload` can be asked.

use std::process::ExitCode;

use chainkit_cli::{Program, run};
use chainkit_policy::Question;
use clap::{Command, FromArgMatches, Subcommand};

use crate::{apply, compare, confirm, diff, explain, lint, manual, matrix, plan, redundant, status, verify, watch};

const PROGRAM: Program = Program { name: "polload", command, manual: manual::SECTIONS };

pub(crate) fn main() -> ExitCode {
    run(&PROGRAM, |matches, log| match Ask::from_arg_matches(matches)? {
        Ask::Matrix(ask) => matrix::run(&ask, log),
        Ask::Explain(ask) => explain::run(&ask, log),
        Ask::Diff(ask) => diff::run(&ask, log),
        Ask::Equivalent(ask) => compare::run(&ask, Question::Equivalent, log),
        Ask::Contains(ask) => compare::run(&ask, Question::Contains, log),
        Ask::Redundant(ask) => redundant::run(&ask, log),
        Ask::Lint(ask) => lint::run(&ask, log),
        Ask::Plan(ask) => plan::run(&ask, log),
        Ask::Apply(ask) => apply::run(&ask, log),
        Ask::Confirm(ask) => confirm::confirm(&ask, log),
        Ask::Clear(ask) => confirm::clear(&ask, log),
        Ask::Restore(ask) => confirm::restore(&ask, log),
        Ask::Watch(ask) => watch::run(&ask, log),
        Ask::Status(ask) => status::run(&ask, log),
        Ask::Verify(ask) => verify::run(&ask, log),
    })
}

fn command() -> Command {
    let command = Command::new(PROGRAM.name).version(env!("CARGO_PKG_VERSION"));
    Ask::augment_subcommands(command)
        .subcommand_required(true)
        .about("Say what network policies mean, and put them in force")
        .long_about(
            "Reads Kubernetes objects from files, or from a cluster, and says what their network policies mean: who may \
             reach whom, why, and which policies do not say what they seem to; that needs no privilege, and no cluster. Puts \
             policies in force in the kernel of this node, tells what is in force, and proves that the kernel has what the \
             policies say; that needs root.",
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
    /// Whether two sets of policies allow the same
    #[command(after_help = manual::EQUIVALENT_EXAMPLES)]
    Equivalent(compare::Ask),
    /// Whether one set of policies allows everything that another allows
    #[command(after_help = manual::CONTAINS_EXAMPLES)]
    Contains(compare::Ask),
    /// Rules and policies whose removal changes nothing
    #[command(after_help = manual::REDUNDANT_EXAMPLES)]
    Redundant(redundant::Ask),
    /// Mistakes that change what policies mean
    Lint(lint::Ask),
    /// What putting policy in force on this node would change
    Plan(plan::Ask),
    /// Put policy in force on this node
    Apply(apply::Ask),
    /// Have what was applied with --confirm stay
    Confirm(confirm::Ask),
    /// Take all policy off this node
    Clear(confirm::ClearAsk),
    /// Put back what was in force before a boot
    Restore(confirm::Ask),
    /// Follow a cluster, and have each change in force at once
    Watch(watch::Ask),
    /// Which policy is in force, for whom, what its rules have decided, and what is not as it should be
    Status(status::Ask),
    /// Whether the kernel has what the policies in force say
    Verify(verify::Ask),
}
