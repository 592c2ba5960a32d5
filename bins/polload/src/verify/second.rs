//! The second set of tables of a running `polload watch`, held against the files of the first.
//!
//! It is brought up to the first within a second of a change, and may lag behind it until then. So what is wrong with it counts only if it
//! is there, the same, at each of several looks.

use std::path::Path;

use chainkit_abi::{TABLE_SETS, set_of};
use chainkit_bpf::{Datapath, Error};
use chainkit_cli::Log;
use chainkit_enforce::{KeepError, Keeper};
use std::time::Duration;

use super::snapshot::Snapshot;
use super::{Counterexample, LOOKS, PAUSE, Which, entries};
use crate::kernel::{bpf_failure, failure, store_failure};

/// What a look has come to.
pub(super) enum Seen {
    /// There is none, or it changes all the time.
    None,
    /// So many entries are as they should be.
    Fine(usize),
    /// One is not.
    Wrong(Box<Counterexample>),
}

/// Looks at it, as often as it takes.
pub(super) fn compare(datapath: &Datapath, root: &Path, mut snapshot: Snapshot, log: &Log) -> anyhow::Result<Seen> {
    snapshot.which = Which::Second;
    let mut before: Option<(Box<Counterexample>, u32)> = None;
    // Longer than it may lag behind, even where it is written to all the time.
    for _ in 0..3 * LOOKS {
        let Some(entries) = look(datapath, root, &mut snapshot)? else { return Ok(Seen::None) };
        let found = match entries {
            Ok(entries) => return Ok(Seen::Fine(entries)),
            Err(found) => found,
        };
        let times = before.take().filter(|(before, _)| is_same(before, &found)).map_or(1, |(_, times)| times + 1);
        // More than it may lag.
        if times > LOOKS + 1 {
            return Ok(Seen::Wrong(found));
        }
        before = Some((found, times));
        std::thread::sleep(PAUSE);
    }
    log.info("the second set of tables of the polload watch that runs was not looked at: it changes all the time");
    Ok(Seen::None)
}

fn is_same(one: &Counterexample, other: &Counterexample) -> bool {
    (one.table, &one.entry, &one.expected, &one.found) == (other.table, &other.entry, &other.expected, &other.found)
}

/// One look; nothing where no such set is in use.
fn look(
    datapath: &Datapath,
    root: &Path,
    snapshot: &mut Snapshot,
) -> anyhow::Result<Option<Result<usize, Box<Counterexample>>>> {
    let keeper = Keeper::new(datapath, root);
    let generation = datapath.judging();
    let first = set_of(generation);
    let tag = datapath.tag(first);
    let second = (0..TABLE_SETS).find(|set| tag != 0 && *set != first && datapath.tag(*set) == tag);
    let Some(second) = second.filter(|_| is_followed(root)) else { return Ok(None) };
    let Some(set) = datapath.tables_at(second).map_err(bpf_failure)? else { return Ok(None) };
    let Some(saved) = keeper.saved().map_err(failure)? else { return Ok(None) };
    snapshot.generation = generation;
    snapshot.read = chainkit_enforce::kernel::read(&set).map_err(bpf_failure)?;
    snapshot.saved = saved.tables().map_err(store_failure)?;
    snapshot.rules = saved.rules().map_err(store_failure)?;
    entries::compare(datapath, snapshot, &set).map(Some)
}

/// Whether somebody is at work on policy. What one that was killed has left is of no use to anybody.
fn is_followed(root: &Path) -> bool {
    matches!(Keeper::lock(root, Duration::ZERO), Err(KeepError::Kernel(Error::Held { .. })))
}
