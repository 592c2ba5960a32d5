//! The interfaces of a pod, and their ends in the node's namespace.

use std::{io, net::IpAddr, os::fd::AsFd};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};

use crate::{
    error::{During, Result},
    netlink::{Line, is_veth},
    netns::{Netns, netns_id},
};

/// A veth of a pod, and its other end, in the node's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name in the pod, such as `eth0`.
    pub pod_name: String,
    /// Its index in the pod.
    pub pod_ifindex: u32,
    /// The name of its other end on the node.
    pub host_name: String,
    /// The index of its other end on the node.
    pub host_ifindex: u32,
    /// The MAC address of the pod's end.
    pub mac: Option<[u8; 6]>,
    /// The MTU of the pod's end, in bytes.
    pub mtu: Option<u32>,
}

/// An address that a pod has on one of its interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// The interface's name in the pod.
    pub ifname: String,
    /// The interface's index in the pod.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
}

/// What there is to know of a pod's network namespace from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its interfaces with an end on the node, by their index in the pod.
    pub host_ends: Vec<HostEnd>,
    /// Its addresses, by the index of their interface, then as the kernel lists them.
    pub addresses: Vec<PodAddress>,
}

/// The veths of a pod whose other end is in the network namespace of this thread, which is to be the node's.
///
/// Each is proved from both sides: the pod's end names the node's namespace and an index there, and the interface of that
/// index names the pod's namespace and the index of the pod's end. Interfaces of other kinds (VLAN, ipvlan, macvlan, dummy), and
/// veths that lead into a third namespace, are no host ends. Nor are those of the node's own namespace, if that is the pod's.
///
/// # Errors
/// When the pod's namespace cannot be entered, and the kernel's.
pub fn host_ends(pod: &Netns) -> Result<Vec<HostEnd>> {
    let node = Netns::current()?;
    if node.inode() == pod.inode() {
        return Ok(Vec::new());
    }
    let ends = pod.run(|| ends_in(&node))?.during(|| listing(pod))?;
    prove(ends, pod)
}

/// The addresses of a pod: those of global scope, on any interface but the loopback.
///
/// The scope is the one that whoever set the address gave it, so a pod's `169.254.172.2` of the VPC CNI's `egress-cni` counts, and
/// `fe80::` addresses do not. Nor do those that duplicate address detection found taken.
///
/// # Errors
/// When the pod's namespace cannot be entered, and the kernel's.
pub fn pod_addresses(pod: &Netns) -> Result<Vec<PodAddress>> {
    pod.run(|| {
        let line = Line::route()?;
        addresses(&line, &links(&line)?)
    })?
    .during(|| listing(pod))
}

/// [`host_ends`] and [`pod_addresses`] of a pod, entering it once.
///
/// # Errors
/// Those of the two.
pub fn survey(pod: &Netns) -> Result<Survey> {
    let node = Netns::current()?;
    let (ends, addresses) = pod
        .run(|| {
            let line = Line::route()?;
            let links = links(&line)?;
            Ok::<_, io::Error>((ends_among(&line, &links, &node)?, addresses(&line, &links)?))
        })?
        .during(|| listing(pod))?;
    let host_ends = if node.inode() == pod.inode() { Vec::new() } else { prove(ends, pod)? };
    Ok(Survey { host_ends, addresses })
}

fn listing(pod: &Netns) -> String {
    format!("list the interfaces of the network namespace {}", pod.path().display())
}

/// What is said of a link that matters here.
struct Link {
    index: u32,
    name: String,
    loopback: bool,
    veth: bool,
    /// Index of the other end, in the namespace of that number.
    peer: Option<u32>,
    peer_netns: Option<i32>,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            loopback: message.header.link_layer_type == netlink_packet_route::link::LinkLayerType::Loopback,
            veth: is_veth(message),
            peer: None,
            peer_netns: None,
            mac: None,
            mtu: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Link(index) => link.peer = Some(*index),
                LinkAttribute::LinkNetNsId(id) => link.peer_netns = Some(*id),
                LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = Some(*mtu),
                _ => {}
            }
        }
        link
    }
}

/// A request for links without their statistics, which are most of an answer.
fn brief(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

fn kept(answer: RouteNetlinkMessage) -> Option<Link> {
    match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Link::read(&message)),
        _ => None,
    }
}

fn links(line: &Line) -> io::Result<Vec<Link>> {
    line.ask(brief(0), NLM_F_DUMP, kept)
}

/// The link of an index; `None` when there is none.
fn link(line: &Line, index: u32) -> io::Result<Option<Link>> {
    match line.ask(brief(index), 0, kept) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        other => Ok(other?.into_iter().next()),
    }
}

/// In the pod: its veths that say they lead to the node.
fn ends_in(node: &Netns) -> io::Result<Vec<Link>> {
    let line = Line::route()?;
    let links = links(&line)?;
    ends_among(&line, &links, node)
}

fn ends_among(line: &Line, links: &[Link], node: &Netns) -> io::Result<Vec<Link>> {
    // Listing the links has made the kernel number the namespaces that they lead to.
    let Some(node) = netns_id(line, node.as_fd())? else { return Ok(Vec::new()) };
    let mut ends: Vec<Link> = links
        .iter()
        .filter(|link| link.veth && link.peer_netns == Some(node))
        .map(|link| Link { name: link.name.clone(), ..*link })
        .collect();
    ends.sort_by_key(|link| link.index);
    Ok(ends)
}

/// On the node: those whose other end says so too.
fn prove(ends: Vec<Link>, pod: &Netns) -> Result<Vec<HostEnd>> {
    let action = || format!("find the node's ends of the interfaces of {}", pod.path().display());
    let line = Line::route().during(action)?;
    let mut proved = Vec::new();
    let mut pod_netns = None;
    for end in ends {
        let Some(host) = end.peer.map(|index| link(&line, index)).transpose().during(action)?.flatten() else {
            continue;
        };
        if pod_netns.is_none() {
            pod_netns = netns_id(&line, pod.as_fd()).during(action)?;
        }
        if host.veth && host.peer == Some(end.index) && host.peer_netns.is_some() && host.peer_netns == pod_netns {
            proved.push(HostEnd {
                pod_name: end.name,
                pod_ifindex: end.index,
                host_name: host.name,
                host_ifindex: host.index,
                mac: end.mac,
                mtu: end.mtu,
            });
        }
    }
    Ok(proved)
}

fn addresses(line: &Line, links: &[Link]) -> io::Result<Vec<PodAddress>> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut found = line.ask(request, NLM_F_DUMP, |answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
        let failed = message.header.flags.contains(AddressHeaderFlags::Dadfailed);
        if message.header.scope != AddressScope::Universe || failed {
            return None;
        }
        let link = links.iter().find(|link| link.index == message.header.index && !link.loopback)?;
        Some(PodAddress { ifname: link.name.clone(), ifindex: link.index, address: own(&message.attributes)? })
    })?;
    found.sort_by_key(|address| address.ifindex);
    Ok(found)
}

/// The address of the interface itself: on a point-to-point link the other one is the peer's.
fn own(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let local = attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}
