//! Attachments for as long as a process runs.
//!
//! Whoever wants to look at interfaces that carry no datapath takes a lease: it finds the node's datapath or loads one,
//! and hangs it on what has none. Several processes may lease the same interface; the last to leave takes the programs
//! off. With tcx the kernel itself does that, since each holds the link; with clsact a lock on one byte of a file, the
//! interface's index, tells who is left. What is pinned is the node's for good and is left alone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chainkit_abi::mark;

use crate::{
    attach::{self, Attachment, Kit},
    datapath::{Datapath, Origin},
    endpoint::{NodeLock, Settings},
    error::{Context, Result},
    lockfile::{self, Lock, LockFile},
    pins::Pins,
    sys::Direction,
};

/// A datapath, and the interfaces that it hangs on because of this process.
#[derive(Debug)]
pub struct Lease {
    datapath: Datapath,
    root: PathBuf,
    kit: Kit,
    leases: LockFile,
    held: BTreeMap<u32, Vec<Attachment>>,
    made_qdisc: Vec<u32>,
    moved: bool,
}

impl Lease {
    /// Finds this network namespace's datapath, or loads one.
    ///
    /// # Errors
    /// As for [`Datapath::load`], and where what is found is of another ABI.
    pub fn open(root: PathBuf, kit: Option<Kit>) -> Result<Self> {
        let lock = NodeLock::take(&root)?;
        let datapath = match find(&root)? {
            Some(datapath) => datapath,
            None => Datapath::load()?,
        };
        let leases = LockFile::open(&lock, &root, &lock_name(datapath.control_value()?.netns))?;
        Ok(Self {
            datapath,
            root,
            kit: kit.unwrap_or_else(Kit::best),
            leases,
            held: BTreeMap::new(),
            made_qdisc: Vec::new(),
            moved: false,
        })
    }

    /// The datapath.
    #[must_use]
    pub const fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// The interfaces that this process has leased.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.held.keys().copied()
    }

    /// Whether the datapath is another than when this was last asked: two processes had each loaded one while there was
    /// nothing to attach to, and the first to attach has given this one its own. Observers must start anew.
    pub const fn take_moved(&mut self) -> bool {
        std::mem::replace(&mut self.moved, false)
    }

    /// Hangs the datapath on both ends of an interface, unless it is there for good; false: it was there already.
    ///
    /// # Errors
    /// Where the interface is gone, or the kernel refuses; then nothing of ours is left on it.
    pub fn attach(&mut self, ifindex: u32, settings: Settings) -> Result<bool> {
        if self.held.contains_key(&ifindex) {
            return Ok(false);
        }
        let lock = NodeLock::take(&self.root)?;
        if self.held.is_empty()
            && self.datapath.origin() == Origin::Loaded
            && let Some(found) = find(&self.root)?
        {
            self.datapath = found;
            self.moved = true;
        }
        let leased = self.leases.held_by_others(u64::from(ifindex))?;
        let present = self.is_attached(ifindex)?;
        if present && (self.is_lasting(ifindex)? || !leased && self.datapath.origin() == Origin::Pinned) {
            return Ok(false);
        }
        if !present {
            self.datapath.add_endpoint(&lock, ifindex, settings)?;
        }
        // Whether a qdisc is there because of us is handed on from lease to lease, and forgotten with the last.
        let makes_qdisc = if self.kit == Kit::Clsact {
            !attach::has_clsact(ifindex)? || self.leases.held_by_others(MADE_QDISC + u64::from(ifindex))?
        } else {
            false
        };
        let mut attachments = Vec::new();
        for direction in Direction::BOTH {
            match attach::attach_beside(&self.datapath, ifindex, direction, self.kit) {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => {
                    for attachment in attachments {
                        attachment.detach()?;
                    }
                    if !present {
                        self.datapath.remove_endpoint(&lock, ifindex)?;
                    }
                    return Err(error);
                }
            }
        }
        self.datapath.mark(&lock, ifindex, mark::LEASED, 0)?;
        if !leased {
            let pinned = Datapath::open(&Pins::below(&self.root))?;
            let keep: Vec<&Datapath> = std::iter::once(&self.datapath).chain(&pinned).collect();
            for direction in Direction::BOTH {
                attach::remove_strangers(&keep, ifindex, direction)?;
            }
        }
        let action = || format!("lease interface {ifindex}");
        self.leases.set(u64::from(ifindex), Lock::Shared).during(action)?;
        if makes_qdisc {
            self.leases.set(MADE_QDISC + u64::from(ifindex), Lock::Shared).during(action)?;
            self.made_qdisc.push(ifindex);
        }
        self.held.insert(ifindex, attachments);
        Ok(!present)
    }

    /// Gives up interfaces that are no more, and their slots.
    ///
    /// # Errors
    /// Where interfaces cannot be listed.
    pub fn forget_gone(&mut self) -> Result<()> {
        let present: Vec<u32> = chainkit_node::interfaces()
            .during(|| "list the network interfaces")?
            .into_iter()
            .map(|interface| interface.index)
            .collect();
        let gone: Vec<u32> = self.held.keys().copied().filter(|ifindex| !present.contains(ifindex)).collect();
        for ifindex in gone {
            self.give_up(ifindex)?;
        }
        Ok(())
    }

    /// Takes off what no other process has leased.
    ///
    /// # Errors
    /// The first error met; the rest is taken off all the same.
    pub fn release(mut self) -> Result<()> {
        self.release_all()
    }

    fn release_all(&mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(ifindex) = self.held.keys().next().copied() {
            let done = self.give_up(ifindex);
            first = first.and(done);
        }
        first
    }

    fn give_up(&mut self, ifindex: u32) -> Result<()> {
        let attachments = self.held.remove(&ifindex).unwrap_or_default();
        let lock = NodeLock::take(&self.root)?;
        let last = !self.leases.held_by_others(u64::from(ifindex))?;
        // What has become the node's own meanwhile stays.
        let lasting = self.is_lasting(ifindex)?;
        let mut detached = Ok(());
        for attachment in attachments {
            if last && !lasting || attachment.kit() == Kit::Tcx {
                detached = detached.and(attachment.detach());
            }
        }
        let _ = self.leases.set(u64::from(ifindex), Lock::None);
        if self.made_qdisc.contains(&ifindex) {
            self.made_qdisc.retain(|made| *made != ifindex);
            let _ = self.leases.set(MADE_QDISC + u64::from(ifindex), Lock::None);
            if last && !lasting {
                detached = detached.and(attach::remove_empty_clsact(ifindex));
            }
        }
        if last {
            self.datapath.mark(&lock, ifindex, 0, mark::LEASED)?;
        }
        if last && !lasting && !self.is_attached(ifindex)? {
            self.datapath.remove_endpoint(&lock, ifindex)?;
        }
        detached
    }

    /// Whether the interface carries the datapath for good.
    fn is_lasting(&self, ifindex: u32) -> Result<bool> {
        Ok(self.datapath.endpoint(ifindex)?.is_some_and(|(_, endpoint)| endpoint.marks & mark::LASTING != 0))
    }

    /// Whether our programs hang on both ends of an interface.
    fn is_attached(&self, ifindex: u32) -> Result<bool> {
        for direction in Direction::BOTH {
            if attach::present(&self.datapath, ifindex, direction)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Nobody is left to tell; what could not be taken off is found by the next lease.
        let _ = self.release_all();
    }
}

/// This network namespace's datapath: the pinned one if it is this namespace's, else whatever hangs on an interface.
///
/// # Errors
/// As for [`Datapath::open`] and [`Datapath::discover`].
pub fn find(root: &Path) -> Result<Option<Datapath>> {
    if let Some(pinned) = Datapath::open(&Pins::below(root))?
        && pinned.is_of_this_namespace()?
    {
        return Ok(Some(pinned));
    }
    Datapath::discover()
}

/// Whether a living process has leased an interface, with whatever datapath.
pub(crate) fn is_leased(lock: &NodeLock, netns: u64, ifindex: u32) -> Result<bool> {
    lockfile::is_held(lock.root(), &lock_name(netns), u64::from(ifindex))
}

/// Whether the interface's clsact qdisc is there because of a living process that has leased it.
pub(crate) fn has_made_qdisc(lock: &NodeLock, netns: u64, ifindex: u32) -> Result<bool> {
    lockfile::is_held(lock.root(), &lock_name(netns), MADE_QDISC + u64::from(ifindex))
}

fn lock_name(netns: u64) -> String {
    format!("leases-{netns}.lock")
}

/// Where in the lock file the bytes begin that say that an interface's qdisc came with us.
const MADE_QDISC: u64 = 1 << 32;
