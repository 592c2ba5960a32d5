//! The datapath of a node for good: installed once, and hung on interfaces by pins that outlive every process.
//!
//! Each call is done under the [`NodeLock`], and done again it completes what a killed process has begun. A datapath that was
//! leased before ([`Lease`](crate::Lease)) may hang on the same interface: both count, and each goes when it is its time.

use std::{io, os::fd::AsFd};

use chainkit_abi::{Endpoint, mark};

use crate::{
    attach::{self, Kit},
    datapath::{Datapath, Origin},
    endpoint::{NodeLock, Settings},
    error::{Context, Error, Result},
    lease,
    pins::{self, Pins},
    privilege,
    sys::{self, Direction},
};

/// An interface that carries the datapath for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its slot.
    pub slot: u32,
    /// How the programs hang there.
    pub kit: Kit,
    /// Whether that is new; false: all was there already.
    pub added: bool,
}

impl Datapath {
    /// Opens the node's pinned datapath, or loads it and pins it.
    ///
    /// What killed processes have left half made is taken away; pins of which some are missing are made whole as long as the
    /// datapath they belong to is there.
    ///
    /// # Errors
    /// Where what is pinned is of another network namespace or ABI or none of ours, or as for [`load`](Self::load) and
    /// [`pin`](Self::pin); then nothing has changed.
    pub fn install(pins: &Pins, lock: &NodeLock) -> Result<Self> {
        pins.remove_leftovers()?;
        match Self::open(pins) {
            Ok(Some(datapath)) => {
                datapath.require_this_namespace()?;
                if datapath.is_whole() {
                    return Ok(datapath);
                }
                if let Some(mended) = Self::mend(pins, lock)? {
                    return Ok(mended);
                }
                // Maps cannot be made anew without losing what is in them; programs can.
                Self::upgrade(pins, lock, false)?;
                Self::open(pins)?.ok_or_else(|| incomplete(pins))
            }
            Ok(None) => {
                if let Some(datapath) = Self::mend(pins, lock)? {
                    return Ok(datapath);
                }
                if !pins.remove_if_empty()? {
                    return Err(incomplete(pins));
                }
                let datapath = Self::load()?;
                datapath.pin(pins)?;
                Ok(datapath.with_origin(Origin::Pinned))
            }
            Err(error @ Error::Foreign { .. }) => Self::mend(pins, lock)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Whether this process has the capabilities that it takes to look at a node's datapath, and to change it.
    ///
    /// # Errors
    /// [`Error::Privilege`], which names those that lack.
    pub fn require_privileges() -> Result<()> {
        privilege::require(&privilege::ATTACH, "look at the node's datapath")
    }

    /// Whether [`install`](Self::install) can be expected to succeed; changes nothing and loads nothing.
    ///
    /// # Errors
    /// Why not: a capability lacks, no BPF filesystem is mounted, or what is pinned there cannot be used.
    pub fn can_install(pins: &Pins) -> Result<()> {
        privilege::require(&privilege::ATTACH, "attach the eBPF programs")?;
        pins.check_filesystem()?;
        match Self::open(pins)? {
            Some(datapath) => datapath.require_this_namespace(),
            None => Ok(()),
        }
    }

    /// Pins again what is missing of the datapath whose links are pinned; `None`: no link says which that is.
    fn mend(pins: &Pins, _lock: &NodeLock) -> Result<Option<Self>> {
        for link in pins.links()? {
            let Some(facts) = pins::open(&link.path).and_then(|fd| sys::link_facts(fd.as_fd())).unwrap_or_default()
            else {
                continue;
            };
            let Ok(Some(datapath)) = Self::of_program(facts.program, &format!("(index {})", link.ifindex)) else {
                continue;
            };
            if !datapath.is_whole() {
                continue;
            }
            datapath.require_this_namespace()?;
            let directory = pins.directory();
            datapath.pin_missing(&directory).during(|| format!("pin the datapath at {}", directory.display()))?;
            // Only if all that is pinned is one datapath: a pin that was there may have been another's.
            let opened = Self::open(pins)?.ok_or_else(|| incomplete(pins))?;
            return if opened.is_same(&datapath) { Ok(Some(opened)) } else { Err(incomplete(pins)) };
        }
        Ok(None)
    }

    /// Refuses a datapath whose interface indexes are those of another network namespace.
    pub(crate) fn require_this_namespace(&self) -> Result<()> {
        if self.is_of_this_namespace()? {
            return Ok(());
        }
        Err(Error::Foreign {
            place: "the pinned datapath".to_owned(),
            what: format!(
                "it is of network namespace {}, this process is in another; run in that one, or give --root another tree",
                self.control_value()?.netns
            ),
        })
    }

    /// Interfaces that are gone, and of which an endpoint or a pinned link is left; in order.
    ///
    /// # Errors
    /// Where the datapath is another network namespace's, or maps, pins or interfaces cannot be read.
    pub fn endpoints_gone(&self, pins: &Pins) -> Result<Vec<u32>> {
        self.require_this_namespace()?;
        let mut known: Vec<u32> = self.endpoints()?.into_iter().map(|(_, endpoint)| endpoint.ifindex).collect();
        let mut defunct = Vec::new();
        for link in pins.links()? {
            match pins::open(&link.path).and_then(|fd| sys::link_facts(fd.as_fd())) {
                Ok(Some(facts)) if facts.ifindex == link.ifindex => known.push(link.ifindex),
                Ok(_) => defunct.push(link.ifindex),
                // It was taken away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).during(|| format!("look at the pin {}", link.path.display())),
            }
        }
        // Asked last: an interface that came meanwhile is not taken for gone.
        let interfaces = chainkit_node::interfaces().during(|| "list the network interfaces")?;
        let mut gone: Vec<u32> = known
            .into_iter()
            .filter(|ifindex| interfaces.iter().all(|interface| interface.index != *ifindex))
            .chain(defunct)
            .collect();
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }

    /// Takes away what is left of interfaces that are gone; returns which they were.
    ///
    /// # Errors
    /// As for [`endpoints_gone`](Self::endpoints_gone) and [`detach_endpoint`].
    pub fn sweep_gone(&self, pins: &Pins, lock: &NodeLock) -> Result<Vec<u32>> {
        let gone = self.endpoints_gone(pins)?;
        for ifindex in &gone {
            detach_endpoint(self, pins, lock, *ifindex)?;
        }
        Ok(gone)
    }
}

fn incomplete(pins: &Pins) -> Error {
    Error::Foreign {
        place: format!("the datapath pinned at {}", pins.directory().display()),
        what: "pins are missing, and no interface has the rest of it; remove that directory, and attach the pods again with \
               cni-chain adopt --all"
            .to_owned(),
    }
}

/// Gives an interface a slot and tables, and hangs the programs on both ends of it for good. Done again it changes nothing but
/// the settings.
///
/// Programs that hang there by a lease of the same datapath become lasting.
///
/// # Errors
/// Where the interface is gone, all slots are taken, or the kernel lacks `kit` or refuses; then nothing is left of what this
/// call did.
pub fn attach_endpoint(
    datapath: &Datapath,
    pins: &Pins,
    lock: &NodeLock,
    ifindex: u32,
    settings: Settings,
    kit: Kit,
) -> Result<Placed> {
    let before = datapath.endpoint(ifindex)?.map(|(_, endpoint)| endpoint);
    let was_lasting = before.is_some_and(|endpoint| endpoint.marks & mark::LASTING != 0);
    let netns = datapath.control_value()?.netns;
    let mut marks = mark::LASTING;
    if kit == Kit::Clsact && (!attach::has_clsact(ifindex)? || lease::has_made_qdisc(lock, netns, ifindex)?) {
        marks |= mark::MADE_QDISC;
    }
    let slot = datapath.add_endpoint(lock, ifindex, settings)?;
    let hung = datapath.mark(lock, ifindex, marks, 0).and_then(|()| hang(datapath, pins, ifindex, kit));
    let (kit, hung_now) = match hung {
        Ok(done) => done,
        Err(error) => {
            undo(datapath, pins, lock, ifindex, before)?;
            return Err(error);
        }
    };
    if !lease::is_leased(lock, netns, ifindex)? {
        for direction in Direction::BOTH {
            attach::remove_strangers(&[datapath], ifindex, direction)?;
        }
    }
    Ok(Placed { slot, kit, added: hung_now || !was_lasting })
}

/// Hangs what does not hang there, and pins what is not pinned; how it hangs, and whether anything had to be hung.
fn hang(datapath: &Datapath, pins: &Pins, ifindex: u32, kit: Kit) -> Result<(Kit, bool)> {
    let (mut actual, mut any) = (kit, false);
    for direction in Direction::BOTH {
        let attachment = match attach::present(datapath, ifindex, direction)? {
            Some(present) => present,
            None => {
                any = true;
                attach::attach_beside(datapath, ifindex, direction, kit)?
            }
        };
        actual = attachment.kit();
        attachment.pin(pins)?;
    }
    Ok((actual, any))
}

/// Back to what was before [`attach_endpoint`].
fn undo(datapath: &Datapath, pins: &Pins, lock: &NodeLock, ifindex: u32, before: Option<Endpoint>) -> Result<()> {
    match before {
        None => detach_endpoint(datapath, pins, lock, ifindex),
        Some(endpoint) if endpoint.marks & mark::LASTING == 0 => {
            // A lease holds what hangs there.
            for direction in Direction::BOTH {
                pins.unpin_link(ifindex, direction)?;
            }
            datapath.restore(lock, ifindex, endpoint)
        }
        Some(endpoint) => datapath.restore(lock, ifindex, endpoint),
    }
}

/// Takes our programs off both ends of an interface, and its slot and tables away. What a living lease of the same datapath
/// holds stays as long as that does; what others put on the interface stays; a clsact qdisc goes if it is empty and was there
/// because of us.
///
/// With tcx the kernel takes the program off a moment after this returns.
///
/// # Errors
/// Where pins or filters cannot be removed, or maps not be written. An interface that is gone, or carries nothing of ours, is no
/// error.
pub fn detach_endpoint(datapath: &Datapath, pins: &Pins, lock: &NodeLock, ifindex: u32) -> Result<()> {
    let endpoint = datapath.endpoint(ifindex)?.map(|(_, endpoint)| endpoint);
    let marks = endpoint.map_or(0, |endpoint| endpoint.marks);
    let leased = lease::is_leased(lock, datapath.control_value()?.netns, ifindex)?;
    if leased && marks & mark::LEASED != 0 {
        for direction in Direction::BOTH {
            pins.unpin_link(ifindex, direction)?;
        }
        return datapath.mark(lock, ifindex, 0, mark::LASTING);
    }
    for direction in Direction::BOTH {
        let is_pinned = pins.has_link(ifindex, direction)?.is_some();
        pins.unpin_link(ifindex, direction)?;
        // A link goes with its pin, and to be asked for what hangs there the kernel makes us wait for that.
        if !is_pinned && let Some(left) = attach::present(datapath, ifindex, direction)? {
            left.take_off()?;
        }
    }
    if marks & mark::MADE_QDISC != 0 && !leased {
        attach::remove_empty_clsact(ifindex)?;
    }
    datapath.remove_endpoint(lock, ifindex)
}
