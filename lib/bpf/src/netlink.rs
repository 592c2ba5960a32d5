//! What is asked of rtnetlink: interfaces, addresses, routes, and clsact filters.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
    tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::sys::Direction;

/// Every protocol, as a filter's `info` has it: `ETH_P_ALL` in network byte order.
const ALL_PROTOCOLS: u32 = 0x0300;
/// A dump that changed meanwhile is asked again this often.
const RETRIES: u32 = 8;

/// An interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is a veth whose other end is in another network namespace: the host side of a pod's interface.
    pub to_namespace: bool,
}

/// A clsact filter that runs a BPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) priority: u16,
    pub(crate) handle: u32,
    pub(crate) program: u32,
    pub(crate) name: String,
}

fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut tries = 0;
    loop {
        let (answers, interrupted) = ask_once(message.clone(), flags)?;
        tries += 1;
        if !interrupted || tries >= RETRIES {
            return Ok(answers);
        }
    }
}

fn ask_once(message: RouteNetlinkMessage, flags: u16) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
    /// The dump changed while it was read (`NLM_F_DUMP_INTR`, linux/netlink.h).
    const DUMP_INTERRUPTED: u16 = 0x10;
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = 1;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    let mut interrupted = false;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX).next_multiple_of(4);
            interrupted |= answer.header.flags & DUMP_INTERRUPTED != 0;
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok((answers, interrupted)),
                NetlinkPayload::Error(error) => {
                    return match error.code {
                        None => Ok((answers, interrupted)),
                        Some(code) => Err(io::Error::from_raw_os_error(code.get().abs())),
                    };
                }
                NetlinkPayload::InnerMessage(message) => {
                    answers.push(message);
                    if flags & (NLM_F_DUMP | NLM_F_ACK) == 0 {
                        return Ok((answers, interrupted));
                    }
                }
                _ => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// The interfaces of this network namespace.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let answers = ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(interface(&link)),
            _ => None,
        })
        .collect())
}

fn interface(link: &LinkMessage) -> Interface {
    let mut name = String::new();
    let (mut veth, mut elsewhere) = (false, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name.clone_from(value),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                veth |= infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth)));
            }
            _ => {}
        }
    }
    Interface { index: link.header.index, name, to_namespace: veth && elsewhere }
}

/// The addresses of this network namespace.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let answers = ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        })
        .flat_map(|address| address.attributes)
        .filter_map(|attribute| match attribute {
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(address),
            _ => None,
        })
        .collect())
}

/// Index of the interface that packets to an address leave by; `None`: no route.
pub fn route(address: IpAddr) -> io::Result<Option<u32>> {
    let mut message = RouteMessage::default();
    let (family, length, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, 32, RouteAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(address)),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = length;
    message.attributes.push(RouteAttribute::Destination(destination));
    let answers = match ask(RouteNetlinkMessage::GetRoute(message), 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => return Ok(None),
        other => other?,
    };
    Ok(answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => route.attributes.into_iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(index),
            _ => None,
        }),
        _ => None,
    }))
}

/// Indexes of the interfaces that a default route of any table leaves by: the ways out of the node.
pub fn uplinks() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        for answer in ask(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP)? {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            if route.header.destination_prefix_length != 0 {
                continue;
            }
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Oif(index) => found.push(index),
                    RouteAttribute::MultiPath(hops) => found.extend(hops.iter().map(|hop| hop.interface_index)),
                    _ => {}
                }
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
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

/// The BPF filters of a hook in the order they run; none where there is no clsact.
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

fn filter_facts(message: &TcMessage) -> Option<Filter> {
    let priority = u16::try_from(message.header.info >> 16).unwrap_or(0);
    let mut filter = Filter { priority, handle: message.header.handle.into(), program: 0, name: String::new() };
    for attribute in &message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = *id,
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name.clone_from(name),
                _ => {}
            }
        }
    }
    (filter.program != 0).then_some(filter)
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
    ask(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
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
