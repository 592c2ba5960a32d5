//! `polload`: says what network policies mean: who may reach whom, why, and which of them do not say what they seem to.
//!
//! Half of its commands read objects and print; they change nothing, need no privilege, and ask no cluster but with `--api`. The others
//! put policy in force in this node's kernel, and look after what is there ([`kernel`]). Start at [`cli`] for what it can be asked; each
//! command has a file of its own, [`inputs`] is what all of them read, and [`pairs`] is who
//! may reach whom, for those that show it.

#![forbid(unsafe_code)]

mod api;
mod apply;
mod cli;
mod compare;
mod confirm;
mod diff;
mod explain;
mod inputs;
mod kernel;
mod lint;
mod manual;
mod matrix;
mod pairs;
mod party;
mod plan;
mod redundant;
mod sound;
mod status;
mod verify;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
