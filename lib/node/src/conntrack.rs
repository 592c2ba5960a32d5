//! The kernel's connection tracking (ctnetlink): what it knows of connections through a network namespace.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use netlink_packet_core::{NLM_F_DUMP, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::Line;

/// At most this many entries are kept of one dump, of connections or of sockets.
pub const MAX_ENTRIES: usize = 1 << 20;

/// Attributes (linux/netfilter/nfnetlink_conntrack.h).
mod cta {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOINFO: u16 = 4;
    /// In a tuple.
    pub(super) const TUPLE_IP: u16 = 1;
    pub(super) const TUPLE_PROTO: u16 = 2;
    /// In an address pair.
    pub(super) const IP_V4_SRC: u16 = 1;
    pub(super) const IP_V4_DST: u16 = 2;
    pub(super) const IP_V6_SRC: u16 = 3;
    pub(super) const IP_V6_DST: u16 = 4;
    /// In what is of the protocol.
    pub(super) const PROTO_NUM: u16 = 1;
    pub(super) const PROTO_SRC_PORT: u16 = 2;
    pub(super) const PROTO_DST_PORT: u16 = 3;
    pub(super) const PROTO_ICMP_ID: u16 = 4;
    pub(super) const PROTO_ICMP_TYPE: u16 = 5;
    pub(super) const PROTO_ICMPV6_ID: u16 = 7;
    pub(super) const PROTO_ICMPV6_TYPE: u16 = 8;
    /// In what is known of the protocol's state.
    pub(super) const PROTOINFO_TCP: u16 = 1;
    pub(super) const PROTOINFO_TCP_STATE: u16 = 1;
    pub(super) const PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
}

/// Bits of the status (`enum ip_conntrack_status`, linux/netfilter/nf_conntrack_common.h).
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
/// `IP_CT_TCP_FLAG_BE_LIBERAL` (linux/netfilter/nf_conntrack_tcp.h); the kernel sets it where it met the connection in mid-stream.
const BE_LIBERAL: u8 = 0x08;

/// One direction of a connection, as its packets are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Where packets come from.
    pub src: IpAddr,
    /// Where they go.
    pub dst: IpAddr,
    /// Source port, host byte order; of ICMP the identifier.
    pub src_port: u16,
    /// Destination port, host byte order; of ICMP the identifier once more.
    pub dst_port: u16,
}

impl Tuple {
    /// The same, seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, src_port: self.dst_port, dst_port: self.src_port }
    }
}

/// Where a TCP connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// A SYN, and no answer yet.
    SynSent,
    /// A SYN and its SYN-ACK.
    SynReceived,
    /// The handshake is over, or the connection was met in mid-stream.
    Established,
    /// One side has sent its FIN.
    Closing,
    /// Both sides have sent their FIN, and the last acknowledgement is still to come.
    Closed,
    /// It is over: reset, or `TIME_WAIT`.
    Over,
}

impl TcpState {
    /// `enum tcp_conntrack`, linux/netfilter/nf_conntrack_tcp.h.
    fn of_conntrack(number: u8) -> Self {
        match number {
            // 9 is a SYN from both sides, crossing.
            1 | 9 => Self::SynSent,
            2 => Self::SynReceived,
            4 | 5 => Self::Closing,
            6 => Self::Closed,
            7 | 8 => Self::Over,
            _ => Self::Established,
        }
    }
}

/// A connection as connection tracking knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Packets of the side that opened it, before address translation.
    pub original: Tuple,
    /// Answers, as they come before they are translated back: without translation, `original` reversed.
    pub reply: Tuple,
    /// IP protocol number.
    pub protocol: u8,
    /// The type of `original`, where the protocol is ICMP or ICMPv6.
    pub icmp_type: Option<u8>,
    /// Where it stands, where the protocol is TCP.
    pub tcp: Option<TcpState>,
    /// Whether packets came both ways.
    pub seen_reply: bool,
    /// Whether the kernel keeps it when its table is full.
    pub assured: bool,
    /// Whether it was met in mid-stream: then `original` may be the answering side's.
    pub picked_up: bool,
}

impl Entry {
    /// Whether an address or port is translated.
    #[must_use]
    pub fn translated(&self) -> bool {
        self.reply != self.original.reversed()
    }
}

/// Reads one connection out of the kernel's message: `struct nfgenmsg` and its attributes.
///
/// `None`: it is torn, or not about two addresses of one family.
#[must_use]
pub fn parse(payload: &[u8]) -> Option<Entry> {
    /// `struct nfgenmsg` (linux/netfilter/nfnetlink.h).
    const HEADER: usize = 4;
    let (mut original, mut reply) = (None, None);
    let (mut status, mut tcp, mut picked_up) = (0, None, false);
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            cta::TUPLE_ORIG => original = Some(tuple(value)?),
            cta::TUPLE_REPLY => reply = Some(tuple(value)?),
            cta::STATUS => status = u32::from_be_bytes(value.try_into().ok()?),
            cta::PROTOINFO => (tcp, picked_up) = tcp_state(value)?,
            _ => {}
        }
    }
    let ((original, protocol, icmp_type), (reply, ..)) = (original?, reply?);
    Some(Entry {
        original,
        reply,
        protocol,
        icmp_type,
        tcp,
        seen_reply: status & SEEN_REPLY != 0,
        assured: status & ASSURED != 0,
        picked_up,
    })
}

/// Addresses and ports, the protocol, and the ICMP type.
fn tuple(bytes: &[u8]) -> Option<(Tuple, u8, Option<u8>)> {
    let (mut src, mut dst) = (None, None);
    let (mut src_port, mut dst_port) = (0, 0);
    let (mut protocol, mut icmp_type) = (None, None);
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute.ok()?;
        for part in NlasIterator::new(attribute.value()) {
            let part = part.ok()?;
            let value = part.value();
            match (attribute.kind(), part.kind()) {
                (cta::TUPLE_IP, cta::IP_V4_SRC | cta::IP_V6_SRC) => src = Some(address(value)?),
                (cta::TUPLE_IP, cta::IP_V4_DST | cta::IP_V6_DST) => dst = Some(address(value)?),
                (cta::TUPLE_PROTO, cta::PROTO_NUM) => protocol = Some(*value.first()?),
                (cta::TUPLE_PROTO, cta::PROTO_SRC_PORT) => src_port = port(value)?,
                (cta::TUPLE_PROTO, cta::PROTO_DST_PORT) => dst_port = port(value)?,
                (cta::TUPLE_PROTO, cta::PROTO_ICMP_ID | cta::PROTO_ICMPV6_ID) => {
                    (src_port, dst_port) = (port(value)?, port(value)?);
                }
                (cta::TUPLE_PROTO, cta::PROTO_ICMP_TYPE | cta::PROTO_ICMPV6_TYPE) => {
                    icmp_type = Some(*value.first()?);
                }
                _ => {}
            }
        }
    }
    let (src, dst) = (src?, dst?);
    (src.is_ipv4() == dst.is_ipv4()).then_some((Tuple { src, dst, src_port, dst_port }, protocol?, icmp_type))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

fn port(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// The state of a TCP connection, and whether it was met in mid-stream; of other protocols nothing.
fn tcp_state(bytes: &[u8]) -> Option<(Option<TcpState>, bool)> {
    let (mut state, mut picked_up) = (None, false);
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute.ok()?;
        if attribute.kind() != cta::PROTOINFO_TCP {
            continue;
        }
        for part in NlasIterator::new(attribute.value()) {
            let part = part.ok()?;
            let value = part.value();
            match part.kind() {
                cta::PROTOINFO_TCP_STATE => state = Some(TcpState::of_conntrack(*value.first()?)),
                // struct nf_ct_tcp_flags: the flags, and a mask.
                cta::PROTOINFO_TCP_FLAGS_ORIGINAL => picked_up = value.first()? & BE_LIBERAL != 0,
                _ => {}
            }
        }
    }
    Some((state, picked_up))
}

/// The connections of this thread's network namespace that `wanted` takes, at most [`MAX_ENTRIES`].
///
/// None where the kernel has no connection tracking. Whoever is not interested in all of a node's pays for the few kept.
///
/// # Errors
/// The kernel's; for one, lack of `CAP_NET_ADMIN`.
pub fn conntrack(mut wanted: impl FnMut(&Entry) -> bool) -> io::Result<Vec<Entry>> {
    let line = match Line::open(NETLINK_NETFILTER) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut kept = 0;
    let answers = line.ask(Message(None), NLM_F_DUMP, |Message(entry)| {
        let entry = entry.filter(|entry| kept < MAX_ENTRIES && wanted(entry))?;
        kept += 1;
        Some(entry)
    });
    match answers {
        // nfnetlink's answers where its part for connection tracking is not built.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT)) => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// Whether the kernel has connection tracking in use; asking for connections would load the module of one that has not.
///
/// To be asked in the node's namespace: those of other user namespaces may not see the setting.
pub(crate) fn is_loaded() -> bool {
    !Path::new("/proc/sys/net").exists() || Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists()
}

/// Asks for all connections, and is each of the answers.
#[derive(Clone)]
struct Message(Option<Entry>);

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        // NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_GET (linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h).
        1 << 8 | 1
    }

    fn buffer_len(&self) -> usize {
        4
    }

    /// `struct nfgenmsg` of any family, version 0.
    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self(parse(payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute: length, kind (nested where it holds others), value, padding.
    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        nla(kind | 0x8000, &parts.concat())
    }

    fn tcp_tuple(kind: u16, src: [u8; 4], src_port: u16, dst: [u8; 4], dst_port: u16) -> Vec<u8> {
        let ports = [
            nla(cta::PROTO_NUM, &[6]),
            nla(cta::PROTO_SRC_PORT, &src_port.to_be_bytes()),
            nla(cta::PROTO_DST_PORT, &dst_port.to_be_bytes()),
        ];
        let addresses = [nla(cta::IP_V4_SRC, &src), nla(cta::IP_V4_DST, &dst)];
        nest(kind, &[nest(cta::TUPLE_IP, &addresses), nest(cta::TUPLE_PROTO, &ports)])
    }

    /// A pod's connection to a service, translated to a backend.
    fn message() -> Vec<u8> {
        let tcp = [nla(cta::PROTOINFO_TCP_STATE, &[3]), nla(cta::PROTOINFO_TCP_FLAGS_ORIGINAL, &[0x03, 0])];
        [
            vec![2, 0, 0, 0],
            tcp_tuple(cta::TUPLE_ORIG, [10, 1, 0, 5], 40000, [172, 20, 0, 1], 443),
            tcp_tuple(cta::TUPLE_REPLY, [10, 2, 0, 9], 6443, [10, 1, 0, 5], 40000),
            nla(cta::STATUS, &(SEEN_REPLY | ASSURED | 8).to_be_bytes()),
            nest(cta::PROTOINFO, &[nest(cta::PROTOINFO_TCP, &tcp)]),
            nla(7, &86400_u32.to_be_bytes()),
        ]
        .concat()
    }

    #[test]
    fn both_tuples_state_and_status_are_read() {
        let entry = parse(&message()).unwrap();
        assert_eq!(
            entry.original,
            Tuple { src: [10, 1, 0, 5].into(), dst: [172, 20, 0, 1].into(), src_port: 40000, dst_port: 443 }
        );
        assert_eq!(entry.reply.src, IpAddr::from([10, 2, 0, 9]));
        assert_eq!((entry.reply.src_port, entry.reply.dst_port), (6443, 40000));
        assert_eq!((entry.protocol, entry.tcp, entry.icmp_type), (6, Some(TcpState::Established), None));
        assert!(entry.seen_reply && entry.assured && entry.translated() && !entry.picked_up);
    }

    #[test]
    fn a_connection_met_in_mid_stream_is_told() {
        let flags =
            nest(cta::PROTOINFO, &[nest(cta::PROTOINFO_TCP, &[nla(cta::PROTOINFO_TCP_FLAGS_ORIGINAL, &[0x0a, 0])])]);
        assert!(parse(&[message(), flags].concat()).unwrap().picked_up);
    }

    #[test]
    fn an_echo_has_its_identifier_on_both_sides() {
        let tuple = |kind, src: Ipv6Addr, dst: Ipv6Addr, icmp_type| {
            let proto = [
                nla(cta::PROTO_NUM, &[58]),
                nla(cta::PROTO_ICMPV6_ID, &7_u16.to_be_bytes()),
                nla(cta::PROTO_ICMPV6_TYPE, &[icmp_type]),
            ];
            let addresses = [nla(cta::IP_V6_SRC, &src.octets()), nla(cta::IP_V6_DST, &dst.octets())];
            nest(kind, &[nest(cta::TUPLE_IP, &addresses), nest(cta::TUPLE_PROTO, &proto)])
        };
        let (pod, peer) = ("fd00::5".parse().unwrap(), "fd00::9".parse().unwrap());
        let bytes =
            [vec![10, 0, 0, 0], tuple(cta::TUPLE_ORIG, pod, peer, 128), tuple(cta::TUPLE_REPLY, peer, pod, 129)]
                .concat();
        let entry = parse(&bytes).unwrap();
        assert_eq!((entry.icmp_type, entry.original.src_port, entry.original.dst_port), (Some(128), 7, 7));
        assert!(!entry.translated() && !entry.seen_reply);
    }

    #[test]
    fn what_is_torn_is_no_connection() {
        let whole = message();
        let tuples = 4 + 2 * tcp_tuple(1, [0; 4], 0, [0; 4], 0).len();
        for length in 0..tuples {
            assert_eq!(parse(&whole[..length]), None, "{length} bytes");
        }
        let short_address = nest(cta::TUPLE_ORIG, &[nest(cta::TUPLE_IP, &[nla(cta::IP_V4_SRC, &[10, 1])])]);
        assert_eq!(parse(&[whole, short_address].concat()), None);
    }
}
