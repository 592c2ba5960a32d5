//! The bpf(2) calls that aya does not offer, and the memory mapping of one map: all the unsafe code of this crate.
//!
//! Each function is one system call with its arguments checked as far as types go, and answers the kernel's own error.

mod control;
mod entries;

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_btf_info, bpf_cmd, bpf_link_info, bpf_map_info, bpf_prog_info,
};
use chainkit_abi::{Key4, Key6};
pub(crate) use control::ControlWord;
pub(crate) use entries::{delete, entries, entries_one_by_one, look_up, take_entry, update, update_all};

/// A zeroed argument; the kernel takes any size whose unknown tail is zero.
fn attributes() -> bpf_attr {
    // SAFETY: a union of plain integers; all-zero is what the kernel asks of unused fields.
    unsafe { mem::zeroed() }
}

fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a valid bpf_attr of the size said; pointers in it are set by the callers below, from slices
    // that live over the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, std::ptr::from_mut(attributes), size_of::<bpf_attr>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn call_fd(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it. All bpf(2) descriptors are close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<()>() as u64
}

/// What kind of object an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    Map,
    Link,
}

/// Opens an object by its id. Needs `CAP_SYS_ADMIN`.
pub(crate) fn by_id(kind: Kind, id: u32) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    let command = match kind {
        Kind::Program => bpf_cmd::BPF_PROG_GET_FD_BY_ID,
        Kind::Map => bpf_cmd::BPF_MAP_GET_FD_BY_ID,
        Kind::Link => bpf_cmd::BPF_LINK_GET_FD_BY_ID,
    };
    attributes.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    call_fd(command, &mut attributes)
}

/// Opens a pinned object.
pub(crate) fn by_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    call_fd(bpf_cmd::BPF_OBJ_GET, &mut attributes)
}

/// Pins an object.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attributes.__bindgen_anon_4.bpf_fd = number(fd);
    call(bpf_cmd::BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// What the kernel tells of an object, in one of its own structs of plain integers.
///
/// # Safety
/// `T` is the kernel's info struct for the kind of object `fd` is, and valid when all zero.
unsafe fn info<T>(fd: BorrowedFd<'_>, mut value: T) -> io::Result<T> {
    let mut attributes = attributes();
    attributes.info.bpf_fd = number(fd);
    attributes.info.info = std::ptr::from_mut(&mut value) as u64;
    attributes.info.info_len = u32::try_from(size_of::<T>()).unwrap_or(0);
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(value)
}

/// Whether the current network namespace has an interface of this index.
pub(crate) fn has_interface(ifindex: u32) -> bool {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as a name gets.
    !unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null()
}

fn text(name: &[libc::c_char]) -> String {
    let bytes: Vec<u8> = name.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is needed of a map's description.
#[derive(Clone, Debug)]
pub(crate) struct MapFacts {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

/// Describes a map.
pub(crate) fn map_facts(fd: BorrowedFd<'_>) -> io::Result<MapFacts> {
    // SAFETY: plain integers; `fd` is asked as a map, and the kernel refuses another.
    let info: bpf_map_info = unsafe { info(fd, mem::zeroed::<bpf_map_info>())? };
    Ok(MapFacts {
        id: info.id,
        name: text(&info.name),
        map_type: info.type_,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
    })
}

/// What is needed of a program's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramFacts {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) tag: [u8; 8],
    pub(crate) maps: Vec<u32>,
}

/// Describes a program, with the ids of its maps.
pub(crate) fn program_facts(fd: BorrowedFd<'_>) -> io::Result<ProgramFacts> {
    let mut maps = vec![0u32; 64];
    // SAFETY: plain integers; the kernel writes at most the number of map ids said, to a buffer that lives over the call.
    let info: bpf_prog_info = unsafe {
        let mut wanted: bpf_prog_info = mem::zeroed();
        wanted.nr_map_ids = 64;
        wanted.map_ids = maps.as_mut_ptr() as u64;
        info(fd, wanted)?
    };
    maps.truncate(usize::try_from(info.nr_map_ids).unwrap_or(0).min(64));
    Ok(ProgramFacts { id: info.id, name: text(&info.name), tag: info.tag, maps })
}

/// What is needed of a tcx link's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    pub(crate) id: u32,
    /// The program it hangs.
    pub(crate) program: u32,
    /// The interface; 0: it is gone, or the link was taken off by force.
    pub(crate) ifindex: u32,
    pub(crate) direction: Direction,
}

/// Describes a tcx link; `None`: it is a link of another kind.
pub(crate) fn link_facts(fd: BorrowedFd<'_>) -> io::Result<Option<LinkFacts>> {
    /// `BPF_LINK_TYPE_TCX` of `enum bpf_link_type` (linux/bpf.h).
    const TCX: u32 = 11;
    // SAFETY: plain integers; `fd` is asked as a link, and the kernel refuses another.
    let info: bpf_link_info = unsafe { info(fd, mem::zeroed::<bpf_link_info>())? };
    if info.type_ != TCX {
        return Ok(None);
    }
    // SAFETY: the kernel fills this member for a link of this type.
    let (ifindex, attach_type) = unsafe { (info.__bindgen_anon_1.tcx.ifindex, info.__bindgen_anon_1.tcx.attach_type) };
    let direction = Direction::BOTH.into_iter().find(|direction| direction.tcx() as u32 == attach_type);
    Ok(direction.map(|direction| LinkFacts { id: info.id, program: info.prog_id, ifindex, direction }))
}

/// Takes a link's program off, whoever holds the link. Linux 5.9.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.link_detach.link_fd = number(link);
    call(bpf_cmd::BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// Has a link hang another program, with no packet in between that meets neither.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.link_update.link_fd = number(link);
    attributes.link_update.__bindgen_anon_1.new_prog_fd = number(program);
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Loads a BTF blob.
pub(crate) fn load_btf(blob: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_7.btf = blob.as_ptr() as u64;
    attributes.__bindgen_anon_7.btf_size = u32::try_from(blob.len()).map_err(io::Error::other)?;
    let fd = call_fd(bpf_cmd::BPF_BTF_LOAD, &mut attributes)?;
    // SAFETY: plain integers; `fd` is BTF.
    let _: bpf_btf_info = unsafe { info(fd.as_fd(), mem::zeroed::<bpf_btf_info>())? };
    Ok(fd)
}

/// The parameters of a map to be created.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewMap<'a> {
    pub(crate) name: &'a str,
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
    /// BTF, and in it the types of key and value.
    pub(crate) btf: Option<(BorrowedFd<'a>, u32, u32)>,
}

/// Creates a map.
pub(crate) fn create_map(new: NewMap<'_>) -> io::Result<OwnedFd> {
    let mut attributes = attributes();
    // SAFETY: writing fields of a zeroed union of integers.
    unsafe {
        let map = &mut attributes.__bindgen_anon_1;
        map.map_type = new.map_type;
        map.key_size = new.key_size;
        map.value_size = new.value_size;
        map.max_entries = new.max_entries;
        map.map_flags = new.flags;
        for (to, from) in map.map_name.iter_mut().take(15).zip(new.name.bytes()) {
            *to = from.cast_signed();
        }
        if let Some((btf, key, value)) = new.btf {
            map.btf_fd = number(btf);
            map.btf_key_type_id = key;
            map.btf_value_type_id = value;
        }
    }
    call_fd(bpf_cmd::BPF_MAP_CREATE, &mut attributes)
}

/// Puts a map into a place of an outer array of maps.
pub(crate) fn put_inner(outer: BorrowedFd<'_>, index: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(inner);
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(outer);
    attributes.__bindgen_anon_2.key = address(&index);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = address(&value);
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Takes the map out of a place of an outer array of maps; an empty place is no error.
pub(crate) fn take_inner(outer: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(outer);
    attributes.__bindgen_anon_2.key = address(&index);
    match call(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}

/// The id of the map at a place of an outer array of maps; `None`: the place is empty.
pub(crate) fn inner_id(outer: BorrowedFd<'_>, index: u32) -> io::Result<Option<u32>> {
    let mut id = 0u32;
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(outer);
    attributes.__bindgen_anon_2.key = address(&index);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_mut(&mut id) as u64;
    match call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes) {
        Ok(_) => Ok(Some(id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a hash has no entry.
pub(crate) fn is_empty(map: BorrowedFd<'_>) -> io::Result<bool> {
    // Longer than any key of ours.
    let mut key = [0u64; 8];
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(map);
    attributes.__bindgen_anon_2.__bindgen_anon_1.next_key = key.as_mut_ptr() as u64;
    match call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attributes) {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Which end of an interface a program hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What comes in at the host side: the pod sends it.
    Ingress,
    /// What goes out at the host side: to the pod.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name, as records have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    fn tcx(self) -> bpf_attach_type {
        match self {
            Self::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
            Self::Egress => bpf_attach_type::BPF_TCX_EGRESS,
        }
    }
}

/// Attaches a program to an interface as a tcx link, before all that hang there. Linux 6.6.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, direction: Direction) -> io::Result<OwnedFd> {
    const BPF_F_BEFORE: u32 = 1 << 3;
    let mut attributes = attributes();
    attributes.link_create.__bindgen_anon_1.prog_fd = number(program);
    attributes.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attributes.link_create.attach_type = direction.tcx() as u32;
    attributes.link_create.flags = BPF_F_BEFORE;
    call_fd(bpf_cmd::BPF_LINK_CREATE, &mut attributes)
}

/// What hangs on a hook, in the order it runs: (program id, link id or 0).
pub(crate) fn query_tcx(ifindex: u32, direction: Direction) -> io::Result<Vec<(u32, u32)>> {
    // The kernel holds at most 64 programs a hook (BPF_MPROG_MAX).
    let mut programs = [0u32; 64];
    let mut links = [0u32; 64];
    let mut attributes = attributes();
    // SAFETY: both buffers live over the call and hold as many ids as said.
    let count = unsafe {
        attributes.query.__bindgen_anon_1.target_ifindex = ifindex;
        attributes.query.attach_type = direction.tcx() as u32;
        attributes.query.prog_ids = programs.as_mut_ptr() as u64;
        attributes.query.link_ids = links.as_mut_ptr() as u64;
        attributes.query.__bindgen_anon_2.count = 64;
        call(bpf_cmd::BPF_PROG_QUERY, &mut attributes)?;
        attributes.query.__bindgen_anon_2.count
    };
    Ok(programs.into_iter().zip(links).take(usize::try_from(count).unwrap_or(0)).collect())
}

/// What a test run answers.
#[derive(Clone, Debug)]
pub struct TestRun {
    /// The program's return value.
    pub answer: i32,
    /// Mean time of one run, in nanoseconds.
    pub nanoseconds: u32,
}

/// The fields of the context that a test run may set.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestContext {
    /// Words that programs read as arguments.
    pub cb: [u32; 5],
    /// Segments of a super-packet.
    pub gso_segs: u32,
    /// Payload bytes of a segment.
    pub gso_size: u32,
    /// Interface index; 0: that of loopback.
    pub ifindex: u32,
    /// Index of the interface it came in at; 0: this node has made it.
    pub ingress_ifindex: u32,
}

/// Runs a classifier of another's once on a frame: how benches have something to compare with.
///
/// # Errors
/// Where the kernel refuses to run it.
#[doc(hidden)]
pub fn run_program(program: BorrowedFd<'_>, frame: &[u8], context: TestContext) -> io::Result<TestRun> {
    test_run(program, frame, context, 1)
}

/// Runs a classifier `repeat` times on a frame (14 bytes at least), without an interface.
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    context: TestContext,
    repeat: u32,
) -> io::Result<TestRun> {
    // Word by word as struct __sk_buff lies (linux/bpf.h); the rest must be zero.
    let [a, b, c, d, e] = context.cb;
    let mut skb = [0u32; 48];
    for (word, value) in [
        (9, context.ingress_ifindex),
        (10, context.ifindex),
        (12, a),
        (13, b),
        (14, c),
        (15, d),
        (16, e),
        (41, context.gso_segs),
        (44, context.gso_size),
    ] {
        if let Some(to) = skb.get_mut(word) {
            *to = value;
        }
    }
    let mut attributes = attributes();
    attributes.test.prog_fd = number(program);
    attributes.test.data_in = frame.as_ptr() as u64;
    attributes.test.data_size_in = u32::try_from(frame.len()).map_err(io::Error::other)?;
    attributes.test.ctx_in = address(&skb);
    attributes.test.ctx_size_in = u32::try_from(size_of_val(&skb)).unwrap_or(0);
    attributes.test.repeat = repeat;
    call(bpf_cmd::BPF_PROG_TEST_RUN, &mut attributes)?;
    // SAFETY: the kernel has written this field.
    let (answer, nanoseconds) = unsafe { (attributes.test.retval, attributes.test.duration) };
    Ok(TestRun { answer: answer.cast_signed(), nanoseconds })
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock that the datapath stamps with.
#[must_use]
pub fn monotonic() -> u64 {
    clock(nix::time::ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds of a clock.
pub(crate) fn clock(id: nix::time::ClockId) -> u64 {
    id.now().ok().map_or(0, |now| {
        u64::try_from(now.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

/// Timer ticks a second of the running kernel: the coarse clocks advance once a tick.
pub(crate) fn hz() -> io::Result<u32> {
    let tick = nix::time::ClockId::CLOCK_MONOTONIC_COARSE.res()?;
    let tick = u32::try_from(tick.tv_nsec()).unwrap_or(0);
    match 1_000_000_000u32.checked_div(tick) {
        Some(hz) if (1..=10_000).contains(&hz) && tick != 0 => Ok(hz),
        _ => Err(io::Error::other(format!("a coarse clock that advances every {tick} ns"))),
    }
}

/// The words of an IPv4 key, as the `enter` program takes it.
pub(crate) fn words4(key: &Key4) -> [u64; 5] {
    // SAFETY: a key is two words of plain data.
    let [first, second]: [u64; 2] = unsafe { mem::transmute(*key) };
    [first, second, 0, 0, 0]
}

/// The words of an IPv6 key.
pub(crate) fn words6(key: &Key6) -> [u64; 5] {
    // SAFETY: a key is five words of plain data.
    unsafe { mem::transmute(*key) }
}

/// The bytes of a value as they lie in memory.
pub(crate) fn bytes_of<T: aya::Pod>(value: &T) -> &[u8] {
    // SAFETY: plain data without padding, which `Pod` promises; the slice lives as long as the value.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value that bytes begin with, and those behind it; `None`: they are fewer.
pub(crate) fn value_of<T: aya::Pod>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: as long as the value, of which any bytes are valid; alignment is not assumed.
    Some((unsafe { std::ptr::read_unaligned(head.as_ptr().cast()) }, rest))
}
