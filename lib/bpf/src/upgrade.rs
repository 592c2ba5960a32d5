//! Swaps the programs of a node's pinned datapath for those of this binary, or moves over from another ABI version.
//!
//! The new programs are loaded with the maps that are there, so connections, counters, policy and readers go on. Then what hangs on
//! interfaces is replaced, each at one instant, and last the pins of the programs: a process that is killed in between leaves a
//! node that works, and the next upgrade does the rest. Whichever version hangs on an interface, it is known as ours by its
//! maps.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use aya_obj::Object;
use chainkit_abi::ABI_VERSION;

use crate::{
    attach::{self, Hung, Kit},
    datapath::Datapath,
    endpoint::NodeLock,
    error::{Context, Error, Result},
    pins::{self, Pins},
    program::{MAPS, Program},
    sys::{self, Direction, Kind},
};

/// A program as it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub program: Program,
    /// The kernel's number of it.
    pub id: u32,
    /// The kernel's hash of its instructions: the same for two loads of one version.
    pub tag: [u8; 8],
}

impl Version {
    /// The tag in hexadecimal, as `bpftool` has it.
    #[must_use]
    pub fn tag_text(&self) -> String {
        self.tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What an upgrade did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The pinned programs before.
    pub from: Vec<Version>,
    /// Those after.
    pub to: Vec<Version>,
    /// Hooks of interfaces whose program was replaced.
    pub links: usize,
    /// Nothing was to be done: all that hangs and is pinned is what this binary has.
    pub unchanged: bool,
}

/// A hook of an interface on which another program of the datapath hangs than should.
struct Stale {
    ifindex: u32,
    direction: Direction,
    hung: Hung,
}

impl Datapath {
    /// The versions of its programs.
    ///
    /// # Errors
    /// Where the kernel does not describe them.
    pub fn versions(&self) -> Result<Vec<Version>> {
        let describe = |(program, fd): &(Program, std::os::fd::OwnedFd)| {
            let facts = sys::program_facts(fd.as_fd()).during(|| format!("describe the program {}", program.name()))?;
            Ok(Version { program: *program, id: facts.id, tag: facts.tag })
        };
        self.programs.iter().map(describe).collect()
    }

    /// Swaps the pinned datapath's programs, wherever they hang, for this binary's; with `dry_run` only tells what would be done.
    ///
    /// # Errors
    /// Where nothing is pinned, what is pinned is of another ABI version or network namespace or has maps of other shapes, or the
    /// kernel refuses the programs; then nothing has changed. Where a hook or a pin cannot be replaced; then the rest waits for
    /// the next upgrade, and all goes on working.
    pub fn upgrade(pins: &Pins, lock: &NodeLock, dry_run: bool) -> Result<Upgraded> {
        Self::upgrade_to(chainkit_object::DATAPATH, pins, lock, dry_run)
    }

    /// [`upgrade`](Self::upgrade) to the programs of an object, so that tests have another version.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn upgrade_to(object: &[u8], pins: &Pins, lock: &NodeLock, dry_run: bool) -> Result<Upgraded> {
        let directory = pins.directory();
        if !dry_run {
            pins.remove_leftovers()?;
        }
        let Some(present) = Self::open(pins)? else { return Err(nothing_pinned(pins, lock)) };
        present.require_this_namespace()?;
        present.require_shapes(object, &format!("pinned at {}", directory.display()))?;
        let loaded = Self::load_object(object, Some(&directory.join("maps")))?;
        let (from, new) = (present.versions()?, loaded.versions()?);
        let is_pinned = |new: &Version| from.iter().any(|old| old.program == new.program && old.tag == new.tag);
        let pinned_is_new = new.iter().all(is_pinned);
        let target = if pinned_is_new { &present } else { &loaded };
        let to = if pinned_is_new { from.clone() } else { new };
        let stale = target.stale(pins)?;
        let upgraded = Upgraded { from, to, links: stale.len(), unchanged: pinned_is_new && stale.is_empty() };
        if dry_run {
            return Ok(upgraded);
        }
        for Stale { ifindex, direction, hung } in stale {
            replace(target.program(Program::of(direction))?, ifindex, direction, &hung)?;
        }
        if !pinned_is_new {
            for program in Program::ALL {
                pins.replace_program(program, target.program(program)?)?;
            }
        }
        Ok(upgraded)
    }

    /// Hooks of endpoints, and of pinned links, on which another version of this datapath's programs hangs.
    fn stale(&self, pins: &Pins) -> Result<Vec<Stale>> {
        let wanted = self.program_ids();
        let mut interfaces: Vec<u32> = self.endpoints()?.into_iter().map(|(_, endpoint)| endpoint.ifindex).collect();
        interfaces.extend(pins.links()?.into_iter().map(|link| link.ifindex));
        interfaces.sort_unstable();
        interfaces.dedup();
        let mut stale = Vec::new();
        for ifindex in interfaces {
            for direction in Direction::BOTH {
                let all = attach::hung(ifindex, direction)?.into_iter();
                let of_ours = all.filter(|hung| self.owns(hung) && !wanted.contains(&hung.program));
                let replaceable = of_ours.filter(|hung| hung.link != 0 || attach::is_our_filter(hung, direction));
                stale.extend(replaceable.map(|hung| Stale { ifindex, direction, hung }));
            }
        }
        Ok(stale)
    }

    /// Refuses maps that are not what an object's programs expect: they would be read wrongly.
    fn require_shapes(&self, object: &[u8], place: &str) -> Result<()> {
        let object = Object::parse(object).map_err(|error| Error::Load(error.to_string()))?;
        for name in MAPS {
            let foreign = |what: String| Error::Foreign {
                place: format!("the datapath {place}"),
                what: format!("{what}; use cni-chain upgrade --migrate"),
            };
            let wanted = object.maps.get(name).ok_or_else(|| Error::Load(format!("the object has no map {name}")))?;
            let Some((_, fd)) = self.maps.iter().find(|(known, _)| *known == name) else {
                return Err(foreign(format!("it has no map {name}")));
            };
            let facts = sys::map_facts(fd.as_fd()).during(|| format!("describe the map {name}"))?;
            let found = [facts.map_type, facts.key_size, facts.value_size, facts.max_entries, facts.flags];
            let expected =
                [wanted.map_type(), wanted.key_size(), wanted.value_size(), wanted.max_entries(), wanted.map_flags()];
            if found != expected {
                return Err(foreign(format!(
                    "its map {name} has type, key size, value size, entries and flags {found:?} instead of {expected:?}"
                )));
            }
        }
        Ok(())
    }
}

fn nothing_pinned(pins: &Pins, lock: &NodeLock) -> Error {
    match Pins::other_abis(lock.root()) {
        Ok(others) => match others.last() {
            Some(found) => Error::Abi {
                place: format!("pinned beside {}", pins.directory().display()),
                found: *found,
                ours: ABI_VERSION,
            },
            None => Error::Foreign {
                place: pins.directory().display().to_string(),
                what: "no datapath is pinned there: there is nothing to upgrade".to_owned(),
            },
        },
        Err(error) => error,
    }
}

fn replace(program: BorrowedFd<'_>, ifindex: u32, direction: Direction, hung: &Hung) -> Result<()> {
    if hung.kit == Kit::Clsact {
        return attach::replace_filter(program, ifindex, direction, hung.handle);
    }
    let action = || format!("replace the program of our link on interface {ifindex}");
    let updated = sys::by_id(Kind::Link, hung.link).and_then(|link| sys::update_link(link.as_fd(), program));
    match updated {
        // The interface or the link has just gone.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOLINK)) => Ok(()),
        other => other.during(action),
    }
}

/// The kernel's number of the map `CONTROL` of another ABI version; `None`: it is not pinned.
fn control_of(pins: &Pins) -> Result<Option<u32>> {
    let path = pins.directory().join("maps/CONTROL");
    if !pins.has(&path)? {
        return Ok(None);
    }
    let action = || format!("open the pin {}", path.display());
    let fd = pins::open(&path).during(action)?;
    Ok(Some(sys::map_facts(fd.as_fd()).during(action)?.id))
}

/// What hangs by clsact on interfaces of this network namespace and uses a map.
fn filters_with(control: u32) -> Result<Vec<(u32, Direction, u32)>> {
    let mut found = Vec::new();
    for interface in chainkit_node::interfaces().during(|| "list the network interfaces")? {
        for direction in Direction::BOTH {
            let all = attach::hung(interface.index, direction)?.into_iter();
            let ours = all.filter(|hung| attach::is_our_filter(hung, direction) && hung.maps.contains(&control));
            found.extend(ours.map(|hung| (interface.index, direction, hung.handle)));
        }
    }
    Ok(found)
}

/// The interfaces that a datapath of another ABI version hangs on for good, in order: by its pinned links, and by its filters
/// in this network namespace.
///
/// # Errors
/// Where pins or interfaces cannot be read.
pub fn abi_interfaces(root: &Path, abi: u32) -> Result<Vec<u32>> {
    let pins = Pins::of_abi(root, abi);
    let mut found: Vec<u32> = pins.links()?.into_iter().map(|link| link.ifindex).collect();
    if let Some(control) = control_of(&pins)? {
        found.extend(filters_with(control)?.into_iter().map(|(ifindex, ..)| ifindex));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Takes a datapath of another ABI version off this network namespace's interfaces, and its pins away: what is left of moving over
/// once this version's hangs on the same interfaces. A clsact qdisc stays.
///
/// # Errors
/// Where it is this program's own ABI version, or pins or filters cannot be removed; done again it does the rest.
pub fn remove_abi(root: &Path, abi: u32, _lock: &NodeLock) -> Result<()> {
    if abi == ABI_VERSION {
        return Err(Error::Unsupported(format!("ABI version {abi} is this program's own, and is not moved over from")));
    }
    let pins = Pins::of_abi(root, abi);
    // Its links first: as long as the map is pinned, the filters are known as its own.
    for link in pins.links()? {
        pins.unpin_link(link.ifindex, link.direction)?;
    }
    if let Some(control) = control_of(&pins)? {
        for (ifindex, direction, handle) in filters_with(control)? {
            attach::remove_filter(ifindex, direction, handle)?;
        }
    }
    pins.remove()
}
