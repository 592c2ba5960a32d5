//! What is asked of netlink: the exchange itself, and the node's interfaces, addresses and routes.

use std::{io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

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

/// A netlink socket; it belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Line {
    socket: Socket,
}

impl Line {
    /// Opens one to a family of the kernel (`NETLINK_*`, linux/netlink.h).
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Opens one to rtnetlink.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// Sends a request, and keeps of the answers what `keep` makes something of.
    ///
    /// A dump during which the kernel's list changed is asked again, a few times.
    pub(crate) fn ask<M, K>(&self, message: M, flags: u16, mut keep: impl FnMut(M) -> Option<K>) -> io::Result<Vec<K>>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        let mut tries = 0;
        loop {
            let (answers, interrupted) = self.ask_once(message.clone(), flags, &mut keep)?;
            tries += 1;
            if !interrupted || tries >= RETRIES {
                return Ok(answers);
            }
        }
    }

    fn ask_once<M, K>(
        &self,
        message: M,
        flags: u16,
        keep: &mut impl FnMut(M) -> Option<K>,
    ) -> io::Result<(Vec<K>, bool)>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        /// The dump changed while it was read (`NLM_F_DUMP_INTR`, linux/netlink.h).
        const DUMP_INTERRUPTED: u16 = 0x10;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = 1;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<M>::deserialize(rest)
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
                        answers.extend(keep(message));
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
}

/// Asks rtnetlink, in the network namespace of this thread; the answers in the order they came.
///
/// `flags` are those of the request besides `NLM_F_REQUEST`.
///
/// # Errors
/// The kernel's, or that its answer cannot be read.
pub fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    Line::route()?.ask(message, flags, Some)
}

/// The interfaces of this network namespace.
///
/// # Errors
/// The kernel's.
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
    let mut elsewhere = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name.clone_from(value),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    Interface { index: link.header.index, name, to_namespace: elsewhere && is_veth(link) }
}

pub(crate) fn is_veth(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth))),
        _ => false,
    })
}

/// The addresses of this network namespace.
///
/// # Errors
/// The kernel's.
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
///
/// # Errors
/// The kernel's.
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
///
/// # Errors
/// The kernel's.
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
