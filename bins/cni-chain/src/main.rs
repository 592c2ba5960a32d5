//! `cni-chain`: be the chained CNI plugin, and look after the chain. Start at [`cli`].

#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
