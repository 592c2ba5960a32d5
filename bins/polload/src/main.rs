//! `polload`: says what network policies mean: who may reach whom, why, and which of them do not say what they seem to.
//!
//! It reads objects and prints; it changes nothing, and asks no cluster but with `--api`. Start at [`cli`] for what it can be asked; each
//! command has a file of its own, [`inputs`] is what all of them read, and [`pairs`] is who
//! may reach whom, for those that show it.

#![forbid(unsafe_code)]

mod api;
mod cli;
mod compare;
mod diff;
mod explain;
mod inputs;
mod lint;
mod manual;
mod matrix;
mod pairs;
mod party;
mod redundant;

fn main() -> std::process::ExitCode {
    cli::main()
}
