//! Policy of a node, put in force and taken off: tables, generation and what is kept on disk, in an order that a `kill -9` cannot harm.
//!
//! ```text
//! files written aside, synced -> tables made aside -> (node's lock) tables put in a free place -> who has which rules
//!   -> folder moved to its name -> ACTIVE: one write, and it is in force -> active.json -> what was before is taken away
//! ```
//!
//! Until the write nothing has changed; after it everything has. The kernel is asked what is in force, and not the file: a *tag* at
//! each place of tables names the folder that they were made from. The file says what is to be put back after a boot.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainkit_abi::{Active, Endpoint, TABLE_SETS, mark, rule, set_of};
use chainkit_bpf::{Datapath, NodeLock, RunLock, TableSet, monotonic};
use chainkit_cluster::{EndpointRecord, EndpointStore};

use crate::image::Image;
use crate::kernel;
use crate::store::{Draft, Marker, PodEntry, Pods, Refused, Saved, Store, StoreError};
use crate::subjects::Standing;

mod settle;

pub use settle::{Confirmed, Unsettled};
use settle::{TIDY_AGAIN, UNTIDIED};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The kernel's side.
    #[error(transparent)]
    Kernel(#[from] chainkit_bpf::Error),
    /// The disk's side.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// All places of tables are taken.
    #[error(
        "all {TABLE_SETS} places for tables of policy are in use: confirm or clear what is in force, or end polload plan --shadow"
    )]
    NoPlace,
    /// Nothing waits for a confirmation.
    #[error("nothing waits to be confirmed")]
    NothingToConfirm,
    /// It is too late to confirm.
    #[error("the deadline is past, and the policy before is in force again: apply once more")]
    TooLate,
    /// What tells whose rules a pod has is gone.
    #[error(
        "the tables or files of the policy in force (generation {generation}) are gone, so that nobody can tell which rules a pod has: \
         put policy in force anew with polload apply, or take it off with polload clear"
    )]
    Lost {
        /// The generation that judges by it.
        generation: u32,
    },
    /// Policy was cleared, or another was put in force, by somebody else.
    #[error("another process has changed which policy is in force")]
    Overtaken,
    /// The kernel has done it, and something that comes after it was not done.
    #[error("{done}, but {left}: {error}")]
    Partly {
        /// What is so from now on.
        done: String,
        /// What is not, and what comes of that.
        left: &'static str,
        /// How it is made up for.
        remedy: &'static str,
        /// Why it was not done.
        error: Box<KeepError>,
    },
}

type Result<T> = std::result::Result<T, KeepError>;

impl KeepError {
    /// What the kernel has done does not become undone by this error.
    fn partly(self, done: String, left: &'static str, remedy: &'static str) -> Self {
        Self::Partly { done, left, remedy, error: Box::new(self) }
    }
}

/// The lock that whoever changes policy holds.
pub const POLICY_LOCK: &str = "policy.lock";
/// The lock that whoever has tables shadow holds.
const SHADOW_LOCK: &str = "shadow.lock";
/// What comes of a policy in force of which the file does not say so, and the way out.
const UNWRITTEN: &str =
    "that could not be written down, so that it would not come back after the next start of the node";
const APPLY_AGAIN: &str = "see to the disk, and put it in force once more with polload apply";

/// What the kernel has in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The generation that judges; 0: none.
    pub generation: u32,
    /// The folder it was made from, if there is one.
    pub folder: Option<String>,
    /// The one to go back to, while that may come; its folder is none where it is to be no policy.
    pub fallback: Option<(u32, Option<String>)>,
    /// Seconds until the kernel goes back by itself.
    pub seconds_left: Option<u64>,
    /// An unconfirmed policy's time was up, and nobody has tidied up since.
    pub went_back: bool,
    /// Policy was taken off on purpose.
    pub cleared: bool,
}

/// What is to be put in force.
#[derive(Debug)]
pub struct Prepared<'a> {
    /// What the tables hold.
    pub image: &'a Image,
    /// The pods.
    pub pods: &'a Pods,
    /// Files, written and not yet in their place.
    pub draft: Draft,
    /// What the file is to say; generation, folder and deadline are filled in.
    pub marker: Marker,
    /// After how long it goes back unless it is confirmed.
    pub confirm: Option<Duration>,
    /// Whether its rules are those that are in force: then what is open to a service stays, whoever its backends are by now.
    pub same_rules: bool,
    /// Numbers that are of the same rules in what judges now: these go on counting, and all others begin anew.
    pub kept: HashSet<u32>,
}

/// Keeps a node's policy.
#[derive(Debug)]
pub struct Keeper<'a> {
    datapath: &'a Datapath,
    store: Store,
    endpoints: EndpointStore,
    root: PathBuf,
}

impl<'a> Keeper<'a> {
    /// Of the node whose root is `root`.
    #[must_use]
    pub fn new(datapath: &'a Datapath, root: &Path) -> Self {
        Self { datapath, store: Store::below(root), endpoints: EndpointStore::below(root), root: root.to_owned() }
    }

    /// Takes the lock of those who change policy, and waits for it no longer than `patience`.
    ///
    /// # Errors
    /// Who holds it.
    pub fn lock(root: &Path, patience: Duration) -> Result<RunLock> {
        Ok(RunLock::take_within(root, POLICY_LOCK, patience)?)
    }

    /// Takes the lock of whoever has tables shadow.
    ///
    /// # Errors
    /// Who holds it.
    pub fn shadow_lock(root: &Path) -> Result<RunLock> {
        Ok(RunLock::take_within(root, SHADOW_LOCK, Duration::ZERO)?)
    }

    /// The folders of policy.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The datapath.
    #[must_use]
    pub const fn datapath(&self) -> &'a Datapath {
        self.datapath
    }

    /// What the kernel has in force.
    ///
    /// # Errors
    /// Where the folders cannot be listed.
    pub fn in_force(&self) -> Result<InForce> {
        let active = self.datapath.active();
        let generation = self.datapath.judging();
        let folders = self.store.folders()?;
        let folder = |generation: u32| (generation != 0).then(|| self.folder_of(generation, &folders)).flatten();
        let pending = active.deadline != 0 && active != Active::CLEARED;
        let seconds = u64::from(active.deadline).saturating_sub(monotonic() / 1_000_000_000);
        let went_back = pending && generation != active.generation;
        let fallback = self.datapath.fallback();
        Ok(InForce {
            generation,
            folder: folder(generation),
            fallback: (pending && !went_back).then(|| (fallback, folder(fallback))),
            seconds_left: (pending && !went_back).then_some(seconds),
            went_back,
            cleared: active == Active::CLEARED,
        })
    }

    /// The folder that a generation's tables were made from.
    ///
    /// # Errors
    /// Where the folders cannot be listed.
    pub fn folder(&self, generation: u32) -> Result<Option<String>> {
        if generation == 0 {
            return Ok(None);
        }
        Ok(self.folder_of(generation, &self.store.folders()?))
    }

    fn folder_of(&self, generation: u32, folders: &[String]) -> Option<String> {
        let tag = self.datapath.tag(set_of(generation));
        if tag == 0 {
            return None;
        }
        let ending = format!("-{tag:08x}");
        folders.iter().find(|name| name.ends_with(&ending)).cloned()
    }

    /// What was saved of the generation in force.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn saved(&self) -> Result<Option<Saved>> {
        match self.in_force()?.folder {
            Some(folder) => Ok(Some(self.store.open(&folder)?)),
            None => Ok(None),
        }
    }

    /// Puts policy in force: wholly, or nothing has changed. Gives its generation and folder.
    ///
    /// # Errors
    /// Where the kernel or the disk refuses; what was in force still is. [`KeepError::Partly`] where only what comes after that
    /// fails: it is in force.
    pub fn apply(&self, lock: &NodeLock, prepared: Prepared<'_>) -> Result<(u32, String)> {
        let tables = kernel::make(prepared.image)?;
        self.apply_made(lock, prepared, &tables)
    }

    /// The same with tables that were made already.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub fn apply_made(&self, lock: &NodeLock, prepared: Prepared<'_>, tables: &TableSet) -> Result<(u32, String)> {
        let before = self.in_force()?;
        if before.went_back {
            unless_partly(self.settle_back(lock, &before))?;
        }
        let Prepared { pods, draft, mut marker, confirm, same_rules, kept, .. } = prepared;
        let generation = self.next_generation()?;
        let folder = self.new_folder(generation);
        self.put(lock, generation, tables, pods, tag_of(&folder))?;
        // Cleared meanwhile: what comes is all new.
        let kept = if before.generation == 0 { HashSet::new() } else { kept };
        let counted = self.count_anew(&kept);
        if let Err(error) = counted.and_then(|()| draft.finish(&folder).map(drop).map_err(KeepError::from)) {
            self.datapath.take_tables(lock, set_of(generation))?;
            self.datapath.set_tag(set_of(generation), 0);
            return Err(error);
        }
        // What waits for a confirmation itself is not gone back to twice: the one that was confirmed last is.
        let back_to = match &before.fallback {
            Some((fallback, folder)) => (*fallback, folder.clone()),
            None => (before.generation, before.folder),
        };
        let deadline = confirm.map_or(0, seconds_from_now);
        if !same_rules {
            self.datapath.set_rules_since(generation);
        }
        self.datapath.set_active(Active { generation, deadline }, if deadline == 0 { 0 } else { back_to.0 });
        marker.generation = generation;
        marker.folder.clone_from(&folder);
        marker.previous = confirm.and(back_to.1);
        marker.deadline = confirm.map(|after| unix_now() + after.as_secs());
        marker.boot_id = boot_id();
        let done = || format!("policy is in force (generation {generation})");
        let written = self.store.set_marker(&marker).map_err(KeepError::from);
        written.map_err(|error| error.partly(done(), UNWRITTEN, APPLY_AGAIN))?;
        let tidied =
            self.store.set_refused(&Refused::default()).map_err(KeepError::from).and_then(|()| self.tidy(lock));
        tidied.map_err(|error| error.partly(done(), UNTIDIED, TIDY_AGAIN))?;
        Ok((generation, folder))
    }

    /// Forgets what rules of policies have decided but for these numbers: others may be given to other rules. To be called before that
    /// is in force; nothing that judges yet has a number that is given.
    fn count_anew(&self, kept: &HashSet<u32>) -> Result<()> {
        let counted = self.datapath.rule_hits()?.into_iter().map(|(number, _)| number);
        let others: Vec<u32> = counted.filter(|number| *number >= rule::FIRST && !kept.contains(number)).collect();
        Ok(self.datapath.forget_hits(&others)?)
    }

    /// A name whose tag is no other's.
    #[must_use]
    pub fn new_folder(&self, generation: u32) -> String {
        loop {
            let folder = self.store.new_name(generation);
            let tag = tag_of(&folder);
            if tag != 0 && (0..TABLE_SETS).all(|set| self.datapath.tag(set) != tag) {
                return folder;
            }
        }
    }

    /// Says whose rules the interfaces of an attachment have, in whatever is in force or may come to be, and from which addresses
    /// its pod may send. Gives what it is judged by from now on; `None`: no policy is in force.
    ///
    /// # Errors
    /// Where what is in force cannot be read; the interfaces are as they were.
    pub fn place(&self, lock: &NodeLock, record: &EndpointRecord) -> Result<Option<Standing>> {
        unless_partly(self.settle(lock).map(drop))?;
        let folders = self.store.folders()?;
        let judging = self.datapath.judging();
        let mut judged_by = None;
        for generation in self.generations() {
            let tables = self.datapath.tables_at(set_of(generation))?;
            let Some((tables, folder)) = tables.zip(self.folder_of(generation, &folders)) else {
                // A shadow decides nothing, and is told of without.
                if generation == self.datapath.shadow() {
                    continue;
                }
                return Err(KeepError::Lost { generation });
            };
            let pods = match self.store.open(&folder).and_then(|saved| saved.pods()) {
                Err(_) if generation == self.datapath.shadow() => continue,
                pods => pods?,
            };
            let standing = pods.standing(record);
            if generation == judging {
                judged_by = Some(standing);
            }
            for interface in &record.interfaces {
                if let Some((slot, _)) = self.datapath.endpoint(interface.host_ifindex)? {
                    tables.set_subject(slot, standing.subject(interface.host_ifindex))?;
                }
            }
        }
        for interface in &record.interfaces {
            self.datapath.set_sources(lock, interface.host_ifindex, &record.addresses)?;
        }
        Ok(judged_by)
    }

    /// Has every live connection judged once more, as after a change of policy.
    pub fn judge_again(&self, _lock: &NodeLock) {
        let active = self.datapath.active();
        if active.generation == 0 {
            return;
        }
        // Of the same tables, since it is of the same place.
        let generation = self.next_generation_at(set_of(active.generation));
        self.datapath.set_last_generation(generation);
        self.datapath.set_rules_since(generation);
        self.datapath.set_active(Active { generation, ..active }, self.datapath.fallback());
    }

    /// Generations that judge, may come to judge, or shadow.
    fn generations(&self) -> Vec<u32> {
        let active = self.datapath.active();
        let fallback = if active.deadline == 0 || active == Active::CLEARED { 0 } else { self.datapath.fallback() };
        let mut all = vec![active.generation, fallback, self.datapath.shadow()];
        all.retain(|generation| *generation != 0);
        all.dedup();
        all
    }

    /// The next generation whose place no other needs.
    ///
    /// # Errors
    /// Where there is none.
    pub fn next_generation(&self) -> Result<u32> {
        let taken = self.places_in_use();
        let from = self.last_generation() + 1;
        let mut free = (from..).take(TABLE_SETS as usize).filter(|generation| !taken.contains(&set_of(*generation)));
        free.next().ok_or(KeepError::NoPlace)
    }

    /// The next generation whose tables are at a place.
    #[must_use]
    pub fn next_generation_at(&self, set: u32) -> u32 {
        let from = self.last_generation() + 1;
        (from..).find(|generation| set_of(*generation) == set % TABLE_SETS).unwrap_or(from)
    }

    fn last_generation(&self) -> u32 {
        self.datapath.last_generation().max(self.datapath.active().generation)
    }

    /// Places of generations that judge, may come to judge, or shadow, and the second one of who follows a cluster, which has the tag of
    /// the first.
    fn places_in_use(&self) -> HashSet<u32> {
        let mut used: HashSet<u32> = self.generations().into_iter().map(set_of).collect();
        let tags: HashSet<u32> = used.iter().map(|set| self.datapath.tag(*set)).filter(|tag| *tag != 0).collect();
        used.extend((0..TABLE_SETS).filter(|set| tags.contains(&self.datapath.tag(*set))));
        used
    }

    /// Puts tables in the place of a generation, and says in them whose rules each endpoint has.
    ///
    /// # Errors
    /// Where the kernel refuses; then the place is empty, and nothing has changed.
    pub fn put(&self, lock: &NodeLock, generation: u32, tables: &TableSet, pods: &Pods, tag: u32) -> Result<()> {
        self.datapath.set_last_generation(generation);
        self.place_all(tables, pods)?;
        self.datapath.put_tables(lock, set_of(generation), tables)?;
        self.datapath.set_tag(set_of(generation), tag);
        Ok(())
    }

    /// Says in a set of tables whose rules each endpoint has.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn place_all(&self, tables: &TableSet, pods: &Pods) -> Result<()> {
        for (slot, endpoint, standing) in self.standings(pods)? {
            let subject = standing.subject(endpoint.ifindex);
            if tables.subject(slot)? != subject {
                tables.set_subject(slot, subject)?;
            }
        }
        Ok(())
    }

    /// Each endpoint with its slot, and what it is judged by; one that no record tells of is a pod that nobody knows. What a process
    /// has leased to look at, and what is still being taken over, is not judged.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn standings(&self, pods: &Pods) -> Result<Vec<(u32, Endpoint, Standing)>> {
        let records = self.endpoints.all().0;
        let endpoints = self.datapath.endpoints()?;
        let is_judged = |endpoint: &Endpoint| endpoint.marks & (mark::LASTING | mark::TAKING_OVER) == mark::LASTING;
        let of = |endpoint: &Endpoint| {
            let is_its = |record: &&EndpointRecord| {
                record.interfaces.iter().any(|interface| interface.host_ifindex == endpoint.ifindex)
            };
            let record = records.iter().find(is_its);
            record.map_or_else(|| pods.standing(&EndpointRecord::default()), |record| pods.standing(record))
        };
        let judged = endpoints.into_iter().filter(|(_, endpoint)| is_judged(endpoint));
        Ok(judged.map(|(slot, endpoint)| (slot, endpoint, of(&endpoint))).collect())
    }

    /// Pods that run on this node and that policy selects, and that no endpoint is of: nobody judges them. By name, in order.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn unattached(&self, pods: &Pods) -> Result<Vec<String>> {
        let all = self.datapath.endpoints()?.into_iter().map(|(_, endpoint)| endpoint);
        let endpoints: HashSet<u32> =
            all.filter(|endpoint| endpoint.marks & mark::LASTING != 0).map(|endpoint| endpoint.ifindex).collect();
        let records = self.endpoints.all().0;
        let is_judged =
            |record: &&EndpointRecord| record.interfaces.iter().any(|one| endpoints.contains(&one.host_ifindex));
        let judged: Vec<&EndpointRecord> = records.iter().filter(is_judged).collect();
        let is_of = |name: &str, pod: &PodEntry, record: &&&EndpointRecord| {
            format!("{}/{}", record.namespace, record.pod_name) == name
                || record.pod_name.is_empty() && pod.addresses.iter().any(|address| record.addresses.contains(address))
        };
        // One without an address does not run yet.
        let wanted = pods.pods.iter().filter(|(_, pod)| {
            pod.policy != 0 && pod.mode != chainkit_cluster::model::Mode::Observe && !pod.addresses.is_empty()
        });
        let missing = wanted.filter(|(name, pod)| !judged.iter().any(|record| is_of(name, pod, &record)));
        Ok(missing.map(|(name, _)| name.clone()).collect())
    }

    /// Takes away tables and folders that nothing leads to.
    ///
    /// # Errors
    /// Where the kernel or the disk refuses; it is tried again the next time.
    pub fn tidy(&self, lock: &NodeLock) -> Result<()> {
        let generations = self.generations();
        let sets = self.places_in_use();
        let folders = self.store.folders()?;
        let mut wanted: Vec<String> =
            generations.iter().filter_map(|generation| self.folder_of(*generation, &folders)).collect();
        if let Some(marker) = self.store.marker().ok().flatten() {
            wanted.push(marker.folder);
            wanted.extend(marker.previous);
        }
        for set in (0..TABLE_SETS).filter(|set| !sets.contains(set)) {
            self.datapath.take_tables(lock, set)?;
            self.datapath.set_tag(set, 0);
        }
        self.store.keep_only(&wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(())
    }
}

/// The number in the kernel by which a folder's name is known: its last part.
#[must_use]
pub fn tag_of(folder: &str) -> u32 {
    folder.rsplit('-').next().and_then(|tag| u32::from_str_radix(tag, 16).ok()).unwrap_or(0)
}

/// What is in force is; that a part of what comes after was not done is for who asked for it to tell.
fn unless_partly(result: Result<()>) -> Result<()> {
    if matches!(result, Err(KeepError::Partly { .. })) { Ok(()) } else { result }
}

fn seconds_from_now(after: Duration) -> u32 {
    let seconds = monotonic() / 1_000_000_000 + after.as_secs().max(1);
    // Not the one that says that policy was cleared.
    u32::try_from(seconds).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// What tells this boot from others.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
