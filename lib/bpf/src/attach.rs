//! Hangs programs on interfaces: tcx where the kernel has it (6.6), clsact where it has not.
//!
//! Ours is always first. With tcx that is the head of the list; with clsact it is priority 1, where within one priority the
//! newest filter runs first, whatever its handle. Others may put themselves before us later: [`hidden`] tells.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use chainkit_abi::mode;

use crate::{
    datapath::Datapath,
    error::{Context, Error, Result},
    netlink::{self, Classifier, Filter},
    pins::Pins,
    program::Program,
    sys::{self, Direction, Kind},
};

/// Our filters' priority, the first there is.
const PRIORITY: u16 = 1;
/// Our handles: to be first again without a gap, a second is added before the first is taken away; and two datapaths may hang
/// on one interface, a lasting one and one that was leased before.
const HANDLES: [u32; 4] = [0x636b_0001, 0x636b_0002, 0x636b_0003, 0x636b_0004];

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
    /// The maps that the program uses; none where they may not be asked for.
    pub(crate) maps: Vec<u32>,
}

impl Hung {
    fn new(kit: Kit, program: u32) -> Self {
        // It may just have been taken off, or this process may not ask.
        let facts = sys::by_id(Kind::Program, program).and_then(|fd| sys::program_facts(fd.as_fd())).ok();
        let (name, maps) = facts.map_or_else(Default::default, |facts| (facts.name, facts.maps));
        Self { kit, program, name, link: 0, priority: 0, handle: 0, maps }
    }
}

/// All BPF programs on one end of an interface, in the order they run: tcx before clsact.
///
/// # Errors
/// Where the kernel may not be asked. A kernel without tcx, or an interface that has just gone, has none.
pub fn hung(ifindex: u32, direction: Direction) -> Result<Vec<Hung>> {
    let mut found = Vec::new();
    for (program, link) in sys::query_tcx(ifindex, direction).or_else(none_if_absent).during(|| asking(ifindex))? {
        found.push(Hung { link, ..Hung::new(Kit::Tcx, program) });
    }
    for filter in netlink::filters(ifindex, direction).or_else(none_if_absent).during(|| asking(ifindex))? {
        let Filter { kind: Classifier::Bpf { program, .. }, priority, handle } = filter else { continue };
        found.push(Hung { priority, handle, ..Hung::new(Kit::Clsact, program) });
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

    /// Takes the program off the interface, whoever else holds its link.
    pub(crate) fn take_off(self) -> Result<()> {
        match self.how {
            How::Link(link) => {
                sys::detach_link(link.as_fd()).during(|| format!("take our link off interface {}", self.ifindex))
            }
            How::Filter(handle) => remove_filter(self.ifindex, self.direction, handle),
        }
    }

    /// Pins a link, so that it outlives every process; a filter outlives them anyway.
    ///
    /// # Errors
    /// Where the pin cannot be made; one of the same interface and direction is replaced.
    pub fn pin(&self, pins: &Pins) -> Result<()> {
        let How::Link(link) = &self.how else { return Ok(()) };
        pins.pin_link(self.ifindex, self.direction, link.as_fd())
    }

    /// Takes the program off the interface; a qdisc stays on the interface. An interface that is gone is no
    /// error. A link goes when its last holder drops it.
    ///
    /// # Errors
    /// Where the kernel refuses to remove a filter.
    pub fn detach(self) -> Result<()> {
        match self.how {
            How::Link(_) => Ok(()),
            How::Filter(handle) => remove_filter(self.ifindex, self.direction, handle),
        }
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
/// Filters of ours that a datapath which is no more has left are replaced.
///
/// # Errors
/// Where the interface is gone, the kernel lacks `kit`, or refuses.
pub fn attach(datapath: &Datapath, ifindex: u32, direction: Direction, kit: Kit) -> Result<Attachment> {
    let attachment = attach_beside(datapath, ifindex, direction, kit)?;
    remove_strangers(&[datapath], ifindex, direction)?;
    Ok(attachment)
}

/// [`attach`] that lets other datapaths of ours hang where they do.
pub(crate) fn attach_beside(datapath: &Datapath, ifindex: u32, direction: Direction, kit: Kit) -> Result<Attachment> {
    if let Some(present) = present(datapath, ifindex, direction)? {
        return Ok(present);
    }
    let fd = datapath.program(Program::of(direction))?;
    match kit {
        Kit::Tcx => match attach_tcx_after_old(fd, ifindex, direction) {
            Ok(link) => Ok(Attachment { ifindex, direction, how: How::Link(link) }),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err(Error::Unsupported("this kernel has no tcx (it came with Linux 6.6); use clsact".to_owned()))
            }
            Err(error) => Err(error).during(|| format!("attach to interface {ifindex} by tcx")),
        },
        Kit::Clsact => {
            let action = || format!("attach to interface {ifindex} by clsact");
            netlink::ensure_clsact(ifindex).during(action)?;
            let handle = add_filter(fd, ifindex, direction).map_err(|error| match in_our_place(ifindex, direction) {
                Some(kind) => Error::Unsupported(format!(
                    "cannot {}: priority {PRIORITY} of its {} is held by a {kind} filter of somebody else's, which sees each \
                     packet first; give that another priority (tc filter show)",
                    action(),
                    direction.name(),
                )),
                None => Error::System { action: action(), error },
            })?;
            Ok(Attachment { ifindex, direction, how: How::Filter(handle) })
        }
    }
}

/// Attaches by tcx. A link of the same program whose last holder has just let go of it is in the way until the kernel has taken
/// it off, which takes a moment.
fn attach_tcx_after_old(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<OwnedFd> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let since = Instant::now();
    loop {
        match sys::attach_tcx(program, ifindex, direction) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) && since.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

/// What of the datapath hangs on one end of an interface by a link or a filter.
pub(crate) fn present(datapath: &Datapath, ifindex: u32, direction: Direction) -> Result<Option<Attachment>> {
    let present: Vec<Hung> = hung(ifindex, direction)?.into_iter().filter(|hung| datapath.owns(hung)).collect();
    for hung in present.iter().filter(|hung| hung.link != 0) {
        match sys::by_id(Kind::Link, hung.link) {
            Ok(link) => return Ok(Some(Attachment { ifindex, direction, how: How::Link(link) })),
            // Its last holder has just let go of it, and the kernel takes it off in its own time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).during(|| format!("open our link on interface {ifindex}")),
        }
    }
    let filter = present.iter().find(|hung| hung.kit == Kit::Clsact);
    Ok(filter.map(|filter| Attachment { ifindex, direction, how: How::Filter(filter.handle) }))
}

/// Adds a filter as the newest of our priority, under whichever of our handles is free.
pub(crate) fn add_filter(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<u32> {
    let name = Program::of(direction).name();
    for handle in HANDLES {
        match netlink::add_filter(ifindex, direction, PRIORITY, handle, program, name) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => return other.map(|()| handle),
        }
    }
    Err(io::Error::other("all four filter handles of ours are taken: see tc filter show"))
}

/// Takes a filter under one of our handles off; one that is gone is no error.
pub(crate) fn remove_filter(ifindex: u32, direction: Direction, handle: u32) -> Result<()> {
    netlink::delete_filter(ifindex, direction, PRIORITY, handle)
        .during(|| format!("take our filter off interface {ifindex}"))
}

/// Takes off the filters under our handles that run programs of none of these datapaths: those of one that is no more.
pub(crate) fn remove_strangers(keep: &[&Datapath], ifindex: u32, direction: Direction) -> Result<()> {
    for hung in hung(ifindex, direction)? {
        if is_our_filter(&hung, direction) && !keep.iter().any(|datapath| datapath.owns(&hung)) {
            remove_filter(ifindex, direction, hung.handle)?;
        }
    }
    Ok(())
}

/// Whether it is a filter such as this crate makes, of whichever datapath.
pub(crate) fn is_our_filter(hung: &Hung, direction: Direction) -> bool {
    hung.kit == Kit::Clsact
        && hung.priority == PRIORITY
        && HANDLES.contains(&hung.handle)
        && hung.name == Program::of(direction).name()
}

/// Has a filter of ours run another program, in its place and with no packet in between that meets neither or both.
pub(crate) fn replace_filter(program: BorrowedFd<'_>, ifindex: u32, direction: Direction, handle: u32) -> Result<()> {
    netlink::replace_filter(ifindex, direction, PRIORITY, handle, program, Program::of(direction).name())
        .during(|| format!("replace the program of our filter on interface {ifindex}"))
}

/// What holds our priority on an interface and is no BPF filter; the kernel lets nothing else have the same priority then.
fn in_our_place(ifindex: u32, direction: Direction) -> Option<String> {
    let filters = netlink::filters(ifindex, direction).ok()?;
    filters.into_iter().filter(|filter| filter.priority == PRIORITY).find_map(|filter| match filter.kind {
        Classifier::Bpf { .. } => None,
        Classifier::Other(kind) => Some(kind),
    })
}

/// What runs before our program on an interface and may keep packets from it.
///
/// Filters that are no BPF programs cannot: the kernel gives a priority to one kind of filter only, and ours is the first.
///
/// # Errors
/// As for [`hung`].
pub fn hidden(datapath: &Datapath, ifindex: u32, direction: Direction) -> Result<Vec<Hung>> {
    let all = hung(ifindex, direction)?;
    if all.iter().all(|hung| !datapath.owns(hung)) {
        return Ok(Vec::new());
    }
    Ok(all.into_iter().take_while(|hung| !datapath.owns(hung)).collect())
}

/// What keeps packets of an endpoint from our programs, in words that follow the interface's name: its place says that it is none, a
/// program is not there, or another one runs before it. Nothing of an interface that has just gone.
///
/// # Errors
/// As for [`hung`].
pub fn gaps(datapath: &Datapath, ifindex: u32) -> Result<Vec<String>> {
    if !sys::has_interface(ifindex) {
        return Ok(Vec::new());
    }
    let mut gaps = Vec::new();
    if datapath.endpoint(ifindex)?.is_none_or(|(_, endpoint)| endpoint.mode == mode::NONE) {
        gaps.push("the programs take it for no endpoint".to_owned());
    }
    for direction in Direction::BOTH {
        let all = hung(ifindex, direction)?;
        let end = direction.name();
        match all.iter().position(|hung| datapath.owns(hung)) {
            None => gaps.push(format!("no program of ours hangs on its {end}")),
            Some(place) => {
                let before = all.into_iter().take(place).map(|hung| {
                    let rival = if hung.name.is_empty() { format!("program {}", hung.program) } else { hung.name };
                    format!("{rival} runs before ours on its {end} and may keep packets from it")
                });
                gaps.extend(before);
            }
        }
    }
    Ok(gaps)
}
