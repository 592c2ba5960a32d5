//! Hangs programs on interfaces: tcx where the kernel has it (6.6), clsact where it has not.
//!
//! Ours is always first. With tcx that is the head of the list; with clsact it is priority 1, where within one priority the
//! newest filter runs first, whatever its handle. Others may put themselves before us later: [`hidden`] tells.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    os::unix::fs::DirBuilderExt,
};

use crate::{
    datapath::{Datapath, Pins, Program},
    error::{Context, Error, Result},
    netlink,
    sys::{self, Direction, Kind},
};

/// Our filters' priority, the first there is.
const PRIORITY: u16 = 1;
/// Our two handles: to be first again without a gap, the second is added before the first is taken away.
const HANDLES: [u32; 2] = [0x636b_0001, 0x636b_0002];

/// How a program hangs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kit {
    /// A tcx link.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

impl Kit {
    /// Its name, as options and records have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// What this kernel offers: tcx if it can be asked for, else clsact.
    #[must_use]
    pub fn best() -> Self {
        // Loopback is in every namespace; a kernel without tcx does not know the question.
        match sys::query_tcx(1, Direction::Ingress) {
            Ok(_) => Self::Tcx,
            Err(_) => Self::Clsact,
        }
    }
}

/// A program on an interface, in the order they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hung {
    /// How it hangs there.
    pub kit: Kit,
    /// The program's id.
    pub program: u32,
    /// The program's name, as far as the kernel keeps it (15 characters).
    pub name: String,
    /// The link's id; 0 for a filter, and for a program attached without a link.
    pub link: u32,
    /// The filter's priority; 0 for tcx.
    pub priority: u16,
    /// The filter's handle; 0 for tcx.
    pub handle: u32,
}

/// All BPF programs on one end of an interface, in the order they run: tcx before clsact.
///
/// # Errors
/// Where the kernel may not be asked. A kernel without tcx, or an interface that has just gone, has none.
pub fn hung(ifindex: u32, direction: Direction) -> Result<Vec<Hung>> {
    let mut found = Vec::new();
    for (program, link) in sys::query_tcx(ifindex, direction).or_else(none_if_absent).during(|| asking(ifindex))? {
        found.push(Hung { kit: Kit::Tcx, program, name: name(program), link, priority: 0, handle: 0 });
    }
    for filter in netlink::filters(ifindex, direction).or_else(none_if_absent).during(|| asking(ifindex))? {
        found.push(Hung {
            kit: Kit::Clsact,
            program: filter.program,
            name: name(filter.program),
            link: 0,
            priority: filter.priority,
            handle: filter.handle,
        });
    }
    Ok(found)
}

fn asking(ifindex: u32) -> String {
    format!("ask what hangs on interface {ifindex}")
}

fn none_if_absent<T>(error: io::Error) -> io::Result<Vec<T>> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP) => Ok(Vec::new()),
        _ => Err(error),
    }
}

fn name(program: u32) -> String {
    sys::by_id(Kind::Program, program)
        .and_then(|fd| sys::program_facts(fd.as_fd()))
        .map(|facts| facts.name)
        .unwrap_or_default()
}

/// One program on one end of an interface. A tcx link detaches when its last holder drops it; a filter stays until
/// [`detach`](Self::detach).
#[derive(Debug)]
pub struct Attachment {
    ifindex: u32,
    direction: Direction,
    how: How,
}

#[derive(Debug)]
enum How {
    Link(OwnedFd),
    Filter(u32),
}

impl Attachment {
    /// How it hangs there.
    #[must_use]
    pub const fn kit(&self) -> Kit {
        match self.how {
            How::Link(_) => Kit::Tcx,
            How::Filter(_) => Kit::Clsact,
        }
    }

    /// The interface.
    #[must_use]
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Which end of it.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Pins a link, so that it outlives every process; a filter outlives them anyway.
    ///
    /// # Errors
    /// Where the pin cannot be made; one of the same interface and direction is replaced.
    pub fn pin(&self, pins: &Pins) -> Result<()> {
        let How::Link(link) = &self.how else { return Ok(()) };
        let directory = pins.directory().join("links");
        let path = directory.join(format!("{}-{}", self.ifindex, self.direction.name()));
        let action = || format!("pin the link at {}", path.display());
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(&directory).during(action)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.during(action)?,
        }
        sys::pin(link.as_fd(), &path).during(action)
    }

    /// Takes the program off the interface; a qdisc stays (see [`remove_empty_clsact`]). An interface that is gone is no
    /// error. A link goes when its last holder drops it.
    ///
    /// # Errors
    /// Where the kernel refuses to remove a filter.
    pub fn detach(self) -> Result<()> {
        let How::Filter(handle) = self.how else { return Ok(()) };
        netlink::delete_filter(self.ifindex, self.direction, PRIORITY, handle)
            .during(|| format!("take our filter off interface {}", self.ifindex))
    }
}

/// Takes the clsact qdisc off an interface if nothing hangs there, on either end.
pub(crate) fn remove_empty_clsact(ifindex: u32) -> Result<()> {
    let action = || format!("take the empty clsact qdisc off interface {ifindex}");
    for direction in Direction::BOTH {
        if netlink::has_filters(ifindex, direction).during(action)? {
            return Ok(());
        }
    }
    netlink::delete_clsact(ifindex).during(action)
}

/// Whether an interface has a clsact (or ingress) qdisc.
pub(crate) fn has_clsact(ifindex: u32) -> Result<bool> {
    netlink::has_clsact(ifindex).during(|| format!("list the qdiscs of interface {ifindex}"))
}

/// Hangs the datapath's program on one end of an interface, first of all that hang there; what already does is taken over.
///
/// # Errors
/// Where the interface is gone, the kernel lacks `kit`, or refuses.
pub fn attach(datapath: &Datapath, ifindex: u32, direction: Direction, kit: Kit) -> Result<Attachment> {
    let ours = datapath.program_ids();
    let present: Vec<Hung> =
        hung(ifindex, direction)?.into_iter().filter(|hung| ours.contains(&hung.program)).collect();
    if let Some(link) = present.iter().find(|hung| hung.link != 0) {
        let how = sys::by_id(Kind::Link, link.link).during(|| format!("open our link on interface {ifindex}"))?;
        return Ok(Attachment { ifindex, direction, how: How::Link(how) });
    }
    if let Some(filter) = present.iter().find(|hung| hung.kit == Kit::Clsact) {
        return Ok(Attachment { ifindex, direction, how: How::Filter(filter.handle) });
    }
    let program = Program::of(direction);
    let fd = datapath.program(program)?;
    match kit {
        Kit::Tcx => match sys::attach_tcx(fd, ifindex, direction) {
            Ok(link) => Ok(Attachment { ifindex, direction, how: How::Link(link) }),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err(Error::Unsupported("this kernel has no tcx (it came with Linux 6.6); use clsact".to_owned()))
            }
            Err(error) => Err(error).during(|| format!("attach to interface {ifindex} by tcx")),
        },
        Kit::Clsact => {
            let action = || format!("attach to interface {ifindex} by clsact");
            netlink::ensure_clsact(ifindex).during(action)?;
            let handle = add_first(datapath, ifindex, direction).during(action)?;
            Ok(Attachment { ifindex, direction, how: How::Filter(handle) })
        }
    }
}

/// Adds our filter as the newest of its priority, under whichever of our handles is free.
fn add_first(datapath: &Datapath, ifindex: u32, direction: Direction) -> io::Result<u32> {
    let program = Program::of(direction);
    let fd = datapath.program(program).map_err(io::Error::other)?;
    let [first, second] = HANDLES;
    match netlink::add_filter(ifindex, direction, PRIORITY, first, fd, program.name()) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            netlink::add_filter(ifindex, direction, PRIORITY, second, fd, program.name())?;
            // The other was left by a datapath that is no more.
            netlink::delete_filter(ifindex, direction, PRIORITY, first)?;
            Ok(second)
        }
        other => other.map(|()| first),
    }
}

/// What runs before our program on an interface and may keep packets from it.
///
/// # Errors
/// As for [`hung`].
pub fn hidden(datapath: &Datapath, ifindex: u32, direction: Direction) -> Result<Vec<Hung>> {
    let ours = datapath.program_ids();
    let all = hung(ifindex, direction)?;
    if all.iter().all(|hung| !ours.contains(&hung.program)) {
        return Ok(Vec::new());
    }
    Ok(all.into_iter().take_while(|hung| !ours.contains(&hung.program)).collect())
}
