//! What the commands share that have to do with this node's kernel.

pub(crate) mod modes;
pub(crate) mod placement;
pub(crate) mod pods;
pub(crate) mod tables;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use chainkit_bpf::{Datapath, NodeLock, Pins, RunLock};
use chainkit_cli::{Exit, Failure, Log, OutputArgs, Row, write_rows};
use chainkit_enforce::{CompileError, KeepError, Keeper, RuleEntry, StoreError};

/// How long to wait for another process that changes endpoints, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for another that changes policy: one that does so takes seconds, one that follows a cluster never ends.
const POLICY_PATIENCE: Duration = Duration::from_secs(60);

/// The pinned datapath of the node whose root is `root`, loaded where it is not there yet.
pub(crate) fn install(root: &Path, lock: &NodeLock) -> anyhow::Result<Datapath> {
    Datapath::install(&Pins::below(root), lock).map_err(bpf_failure)
}

/// The pinned datapath; `None`: there is none.
pub(crate) fn open(root: &Path) -> anyhow::Result<Option<Datapath>> {
    Datapath::require_privileges().map_err(bpf_failure)?;
    let Some(datapath) = Datapath::open(&Pins::below(root)).map_err(bpf_failure)? else { return Ok(None) };
    if datapath.is_of_this_namespace().map_err(bpf_failure)? {
        return Ok(Some(datapath));
    }
    Err(Failure::new(Exit::Failed, "the pinned datapath is of another network namespace")
        .remedy("run this in the node's network namespace, or give --root another tree")
        .into())
}

/// The same for commands that make no sense without one.
pub(crate) fn open_there(root: &Path) -> anyhow::Result<Datapath> {
    open(root)?.ok_or_else(|| {
        Failure::new(Exit::Failed, "no datapath is installed on this node")
            .remedy("attach the pods (cni-chain adopt --all), or put policy in force (polload apply)")
            .into()
    })
}

/// The lock under which endpoints are changed.
pub(crate) fn node_lock(root: &Path) -> anyhow::Result<NodeLock> {
    NodeLock::take_within(root, PATIENCE).map_err(bpf_failure)
}

/// The lock of those who change policy; that it is waited for is told.
pub(crate) fn policy_lock(root: &Path, log: &Log) -> anyhow::Result<RunLock> {
    const UNTOLD: Duration = Duration::from_secs(1);
    match Keeper::lock(root, UNTOLD) {
        Err(KeepError::Kernel(held @ chainkit_bpf::Error::Held { .. })) => {
            log.info(format!("{held}, which changes this node's policy: waiting for {POLICY_PATIENCE:?} at most"));
            policy_lock_within(root, POLICY_PATIENCE)
        }
        other => other.map_err(failure),
    }
}

/// Does what is due since somebody was here. Files that cannot be read are told, and are no reason not to put other policy in force.
pub(crate) fn settle(keeper: &Keeper<'_>, root: &Path, log: &Log) -> anyhow::Result<()> {
    match keeper.settle(&node_lock(root)?) {
        Ok(_) => Ok(()),
        Err(KeepError::Store(error)) => {
            log.warning(format!("what was in force before cannot be put back: {error}"));
            Ok(())
        }
        Err(error @ KeepError::Partly { .. }) => {
            log.warning(error.to_string());
            Ok(())
        }
        Err(error) => Err(failure(error)),
    }
}

/// Numbers of rules; none where they cannot be read.
pub(crate) struct Numbered {
    /// Of the policy that judges.
    pub(crate) judging: BTreeMap<u32, RuleEntry>,
    /// And of the one that the kernel may go back to: rules that stay keep them, and no other rule gets them.
    pub(crate) all: BTreeMap<u32, RuleEntry>,
}

impl Numbered {
    /// Those of what is in force.
    pub(crate) fn find(keeper: &Keeper<'_>) -> Self {
        let now = keeper.in_force().ok();
        let rules = |folder: Option<String>| {
            let saved = folder.and_then(|folder| keeper.store().open(&folder).ok());
            saved.and_then(|saved| saved.rules().ok()).unwrap_or_default()
        };
        let (folder, fallback) = now.map(|now| (now.folder, now.fallback)).unwrap_or_default();
        let judging = rules(folder);
        let mut all = rules(fallback.and_then(|(_, folder)| folder));
        all.extend(judging.clone());
        Self { judging, all }
    }

    /// Numbers that are of the same rules among these.
    pub(crate) fn kept(&self, rules: &[RuleEntry]) -> HashSet<u32> {
        let stays = |rule: &&RuleEntry| self.judging.get(&rule.number).is_some_and(|before| before.is_rule(rule));
        rules.iter().filter(stays).map(|rule| rule.number).collect()
    }
}

/// Prints what was done. It has been done, so that it cannot be told is no failure to do it.
pub(crate) fn tell<R: Row>(output: OutputArgs, done: R, what: &str) -> anyhow::Result<()> {
    match write_rows(&mut std::io::stdout().lock(), output.format(), [done]) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Partial, format!("{what}, and that could not be written to stdout: {error}")).into())
        }
        told => Ok(told?),
    }
}

/// The same with another patience.
pub(crate) fn policy_lock_within(root: &Path, patience: Duration) -> anyhow::Result<RunLock> {
    Keeper::lock(root, patience).map_err(|error| match error {
        KeepError::Kernel(held @ chainkit_bpf::Error::Held { .. }) => {
            Failure::new(Exit::Failed, format!("another polload keeps this node's policy: {held}"))
                .remedy("if it is a polload watch, change the objects it follows, or end it first; polload clear --now waits for nobody")
                .into()
        }
        other => failure(other),
    })
}

/// An error with the exit code that it asks for.
pub(crate) fn failure(error: KeepError) -> anyhow::Error {
    match error {
        KeepError::Kernel(error) => bpf_failure(error),
        KeepError::Partly { remedy, .. } => Failure::new(Exit::Partial, error.to_string()).remedy(remedy).into(),
        KeepError::NothingToConfirm | KeepError::TooLate => Failure::new(Exit::No, error.to_string()).into(),
        other => Failure::new(Exit::Failed, other.to_string()).into(),
    }
}

/// The same of what the kernel refused.
pub(crate) fn bpf_failure(error: chainkit_bpf::Error) -> anyhow::Error {
    use chainkit_bpf::Error;
    let exit = match &error {
        Error::Privilege { .. } | Error::Load(_) | Error::Unsupported(_) | Error::NoBpffs(_) => Exit::Unsupported,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string()).into()
}

/// The same of the disk.
pub(crate) fn store_failure(error: StoreError) -> anyhow::Error {
    failure(KeepError::Store(error))
}

/// The same of policy that does not fit.
pub(crate) fn compile_failure(error: CompileError) -> anyhow::Error {
    Failure::new(Exit::Failed, error.to_string()).into()
}
