//! What is asked of rtnetlink: clsact and its filters.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use chainkit_node::ask;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};

use crate::sys::Direction;

/// Every protocol, as a filter's `info` has it: `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u32 = 0x0300;

/// A clsact filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) priority: u16,
    pub(crate) handle: u32,
    pub(crate) kind: Classifier,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Classifier {
    /// It runs a BPF program.
    Bpf { program: u32, name: String },
    /// Something else, by the name of its kind (flower, u32, matchall).
    Other(String),
}

/// Where filters of a direction hang below clsact (`TC_H_MIN_INGRESS`, `TC_H_MIN_EGRESS`, linux/pkt_sched.h).
const fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => 0xfff2,
        Direction::Egress => 0xfff3,
    };
    TcHandle { major: 0xffff, minor }
}

fn signed(ifindex: u32) -> io::Result<i32> {
    i32::try_from(ifindex).map_err(io::Error::other)
}

fn clsact(ifindex: u32) -> io::Result<TcMessage> {
    let mut message = TcMessage::with_index(signed(ifindex)?);
    // TC_H_CLSACT and its handle (linux/pkt_sched.h).
    message.header.parent = TcHandle { major: 0xffff, minor: 0xfff1 };
    message.header.handle = TcHandle { major: 0xffff, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    Ok(message)
}

/// Puts a clsact qdisc on an interface, if there is none.
pub(crate) fn ensure_clsact(ifindex: u32) -> io::Result<()> {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match ask(RouteNetlinkMessage::NewQueueDiscipline(clsact(ifindex)?), flags) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether an interface has a clsact qdisc.
pub(crate) fn has_clsact(ifindex: u32) -> io::Result<bool> {
    let index = signed(ifindex)?;
    let answers = ask(RouteNetlinkMessage::GetQueueDiscipline(TcMessage::with_index(index)), NLM_F_DUMP)?;
    Ok(answers.into_iter().any(|answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(qdisc) => {
            qdisc.header.index == index
                && qdisc
                    .attributes
                    .iter()
                    .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == "clsact"))
        }
        _ => false,
    }))
}

/// Takes the clsact qdisc off an interface, with whatever hangs there; one that is gone is no error.
pub(crate) fn delete_clsact(ifindex: u32) -> io::Result<()> {
    match ask(RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex)?), NLM_F_ACK) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
        other => other.map(drop),
    }
}

/// The filters of a hook in the order they run; none where there is no clsact.
pub(crate) fn filters(ifindex: u32, direction: Direction) -> io::Result<Vec<Filter>> {
    let mut message = TcMessage::with_index(signed(ifindex)?);
    message.header.parent = parent(direction);
    let answers = match ask(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP)) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewTrafficFilter(filter) => filter_facts(&filter),
            _ => None,
        })
        .collect())
}

/// Whether filters of any kind hang on a hook.
pub(crate) fn has_filters(ifindex: u32, direction: Direction) -> io::Result<bool> {
    let mut message = TcMessage::with_index(signed(ifindex)?);
    message.header.parent = parent(direction);
    match ask(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT | libc::ENODEV)) => Ok(false),
        other => Ok(!other?.is_empty()),
    }
}

/// What of an answer is a filter: priorities that hold some are listed, too, with a handle of 0.
fn filter_facts(message: &TcMessage) -> Option<Filter> {
    let priority = u16::try_from(message.header.info >> 16).unwrap_or(0);
    let (mut id, mut name, mut kind) = (0, String::new(), None);
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(value) => kind = Some(value.clone()),
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgId(value)) => id = *value,
                        TcOption::Bpf(TcFilterBpfOption::ProgName(value)) => name.clone_from(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let handle = message.header.handle.into();
    let kind = match kind {
        _ if id != 0 => Classifier::Bpf { program: id, name },
        Some(kind) if handle != 0 => Classifier::Other(kind),
        _ => return None,
    };
    Some(Filter { priority, handle, kind })
}

/// Adds a filter that runs a program in direct-action mode; fails where the handle is taken.
pub(crate) fn add_filter(
    ifindex: u32,
    direction: Direction,
    priority: u16,
    handle: u32,
    program: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    let message = bpf_filter(ifindex, direction, priority, handle, program, name)?;
    ask(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
}

/// Has the filter of this handle run another program, in the same place and at one instant.
pub(crate) fn replace_filter(
    ifindex: u32,
    direction: Direction,
    priority: u16,
    handle: u32,
    program: BorrowedFd<'_>,
    name: &str,
) -> io::Result<()> {
    let message = bpf_filter(ifindex, direction, priority, handle, program, name)?;
    ask(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_ACK | NLM_F_REPLACE).map(drop)
}

fn bpf_filter(
    ifindex: u32,
    direction: Direction,
    priority: u16,
    handle: u32,
    program: BorrowedFd<'_>,
    name: &str,
) -> io::Result<TcMessage> {
    let mut message = TcMessage::with_index(signed(ifindex)?);
    message.header.parent = parent(direction);
    message.header.handle = TcHandle::from(handle);
    message.header.info = u32::from(priority) << 16 | ALL_PROTOCOLS;
    message.attributes = vec![
        TcAttribute::Kind("bpf".to_owned()),
        TcAttribute::Options(vec![
            TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned())),
            TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::from_bits_retain(1))),
        ]),
    ];
    Ok(message)
}

/// Removes one filter, named by its handle; one that is gone is no error.
pub(crate) fn delete_filter(ifindex: u32, direction: Direction, priority: u16, handle: u32) -> io::Result<()> {
    let mut message = TcMessage::with_index(signed(ifindex)?);
    message.header.parent = parent(direction);
    message.header.handle = TcHandle::from(handle);
    message.header.info = u32::from(priority) << 16 | ALL_PROTOCOLS;
    message.attributes = vec![TcAttribute::Kind("bpf".to_owned())];
    match ask(RouteNetlinkMessage::DelTrafficFilter(message), NLM_F_ACK) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => Ok(()),
        other => other.map(drop),
    }
}
