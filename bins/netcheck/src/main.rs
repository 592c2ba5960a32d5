//! `netcheck`: say what is wrong with this node's network, why, and what to do. Start at [`cli`].

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
