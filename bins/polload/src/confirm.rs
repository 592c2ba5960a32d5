//! `polload confirm`, `polload clear` and `polload restore`: what is in force stays, goes, or comes back.

use std::path::Path;
use std::time::Duration;

use chainkit_cli::{Exit, Log, OutputArgs, RootArgs, Row};
use chainkit_enforce::Keeper;
use clap::Args;
use serde::Serialize;

use crate::kernel::{failure, install, node_lock, open, open_there, policy_lock, policy_lock_within};

/// What the three can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    root: RootArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// What `polload clear` can be asked.
#[derive(Args, Debug)]
pub(crate) struct ClearAsk {
    #[command(flatten)]
    root: RootArgs,

    /// At once, whoever holds the lock: one write to the kernel, and the rest when it can be had
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    kind: &'static str,
    /// The generation that judges from now on; 0: none, everything passes.
    generation: u32,
    /// `confirmed`, `cleared`, `restored` or `unchanged`.
    result: &'static str,
}

impl Row for Done {
    const HEADER: &'static [&'static str] = &["GENERATION", "RESULT"];

    fn cells(&self) -> Vec<String> {
        vec![self.generation.to_string(), self.result.to_owned()]
    }
}

fn tell(output: OutputArgs, generation: u32, result: &'static str) -> anyhow::Result<Exit> {
    let done = Done { kind: "PolicyResult", generation, result };
    crate::kernel::tell(output, done, &format!("policy is {result} (generation {generation})"))?;
    Ok(Exit::Fine)
}

/// `polload confirm`.
pub(crate) fn confirm(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.root.root;
    let datapath = open_there(root)?;
    let _policy = policy_lock(root, log)?;
    let confirmed = Keeper::new(&datapath, root).confirm(&node_lock(root)?).map_err(failure)?;
    if confirmed.was_confirmed {
        log.info("the policy in force was confirmed in the kernel already, and is written down as such now");
    }
    tell(ask.output, confirmed.generation, "confirmed")
}

/// `polload clear`.
pub(crate) fn clear(ask: &ClearAsk, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.root.root;
    let Some(datapath) = open(root)? else {
        // Nothing judges, and nothing is to come back.
        chainkit_enforce::Store::below(root).remove_marker().map_err(crate::kernel::store_failure)?;
        return tell(ask.output, 0, "unchanged");
    };
    let keeper = Keeper::new(&datapath, root);
    if ask.now {
        datapath.clear();
        now(&keeper, root, log)?;
    } else {
        let _policy = policy_lock(root, log)?;
        keeper.clear(&node_lock(root)?).map_err(failure)?;
    }
    tell(ask.output, 0, "cleared")
}

/// What comes after the one write by which all policy is off already, whoever holds which lock.
fn now(keeper: &Keeper<'_>, root: &Path, log: &Log) -> anyhow::Result<()> {
    keeper.forget_marker().map_err(failure)?;
    let locked = policy_lock_within(root, Duration::from_secs(1)).and_then(|policy| Ok((policy, node_lock(root)?)));
    match locked {
        Ok((_policy, lock)) => keeper.clear(&lock).map_err(failure),
        Err(error) => {
            log.warning(format!("no policy is in force any more, and its tables stay for now: {error:#}"));
            Ok(())
        }
    }
}

/// `polload restore`.
pub(crate) fn restore(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.root.root;
    chainkit_bpf::Datapath::require_privileges().map_err(crate::kernel::bpf_failure)?;
    let store = chainkit_enforce::Store::below(root);
    if store.marker().map_err(crate::kernel::store_failure)?.is_none() {
        log.info("nothing was in force that could be put back");
        return tell(ask.output, 0, "unchanged");
    }
    let _policy = policy_lock(root, log)?;
    let lock = node_lock(root)?;
    let datapath = install(root, &lock)?;
    let keeper = Keeper::new(&datapath, root);
    let restored = keeper.settle(&lock).map_err(failure)?;
    let generation = keeper.in_force().map_err(failure)?.generation;
    tell(ask.output, generation, if restored { "restored" } else { "unchanged" })
}
