//! `flowdump`: shows who talks to whom on a Kubernetes node, live from the datapath or from saved lines.
//!
//! It reads and prints; the one thing it changes on a node is what `--attach` asks for, and that it undoes. Start at
//! [`cli`] for what it can be asked, at [`saved`] and [`live`] for where flows come from, at [`sink`] for where they go.

#![forbid(unsafe_code)]

mod aggregate;
mod attach;
mod cli;
mod drops;
mod filter_args;
mod health;
mod layer7;
mod live;
mod manual;
mod map;
mod metrics;
mod names;
mod pace;
mod rules;
mod saved;
mod screen;
mod serve;
mod sink;
mod top;
mod values;

fn main() -> std::process::ExitCode {
    cli::main()
}
