//! `cni-chain`: the chained CNI plugin of chainkit, and what looks after it on a node.
//!
//! Called by a runtime (`CNI_COMMAND` is set, and no argument) it is the plugin: start at [`plugin`]. Called by people it lists,
//! adopts, releases and upgrades: start at [`cli`]. Both stand on [`node`], which puts an attachment in place and takes it
//! away. It never changes what others have put on an interface, and never fails a DEL.

#![forbid(unsafe_code)]

mod adopt;
mod cli;
mod endpoints;
mod manual;
mod node;
mod plugin;
mod pods;
mod release;
mod status;
mod takeover;
mod upgrade;

fn main() -> std::process::ExitCode {
    cli::main()
}
