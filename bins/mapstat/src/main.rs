//! `mapstat`: tell how full, how big and whose every BPF map on the node is. Start at [`cli`].

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
