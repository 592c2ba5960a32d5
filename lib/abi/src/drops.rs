//! Packets that the kernel dropped, whoever had it do so.

/// Marks a packet that the datapath drops: the first two words of the `cb` that a classifier may write.
///
/// It is told by the datapath already. Nothing else sees a packet between this and its end.
pub const DROPPED_BY_US: [u32; 2] = [0x6368_616e, 0x6b69_7464];

/// Where the kernel keeps what is needed of a packet: offsets in bytes, as the running kernel's BTF has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropLayout {
    /// Arguments of the tracepoint: 2 (packet, location), 3 (and reason, Linux 5.17), 4 (and receiving socket, Linux 6.11).
    pub arguments: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.tail`.
    pub skb_tail: u32,
    /// `sk_buff.len`.
    pub skb_len: u32,
    /// `sk_buff.protocol`.
    pub skb_protocol: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff.skb_iif`.
    pub skb_iif: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sk_buff._skb_refdst`.
    pub skb_dst: u32,
    /// What a classifier sees as `cb[0]`: `qdisc_skb_cb.data` in `sk_buff.cb`.
    pub skb_cb: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.name`.
    pub dev_name: u32,
    /// `net_device.nd_net`.
    pub dev_net: u32,
    /// `dst_entry.dev`.
    pub dst_dev: u32,
    /// `sock.__sk_common.skc_net`.
    pub sock_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// Not zero: reasons that are no fault are told as well.
    pub all: u32,
}

/// An address in a network namespace where pods' packets are looked for.
///
/// With the address all zero it is the namespace itself: of a pod, if it has an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DropAddress {
    /// The address; IPv4 as `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Inode number of the namespace; 0 for one that the packet does not tell.
    pub netns: u32,
}

/// Whose an address is, or a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropEndpoint {
    /// Host-side interface of the pod; 0 for the node's own namespace.
    pub ifindex: u32,
    /// The interface in the pod.
    pub pod_ifindex: u32,
}

/// What drops have in common that are told as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DropKey {
    /// Source address; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Address of the code that dropped it.
    pub location: u64,
    /// Number of the reason, which differs between kernels; meaningless where [`DropLayout::arguments`] is 2.
    pub reason: u32,
    /// Inode number of the network namespace it was in; 0: not known.
    pub netns: u32,
    /// Host-side interface of the endpoint that the packet is from; 0: it is from none.
    pub from: u32,
    /// The same for whom it goes to.
    pub to: u32,
    /// Source port of TCP, UDP or SCTP, else 0.
    pub source_port: u16,
    /// Destination port of TCP, UDP or SCTP, else 0.
    pub destination_port: u16,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Type of ICMP and ICMPv6, else 0.
    pub icmp_type: u8,
    /// Code of ICMP and ICMPv6, else 0.
    pub icmp_code: u8,
}

/// One packet of those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropFacts {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Bytes of the IP packet, headers included; of a super-packet all of it.
    pub length: u32,
    /// The device that had it; 0: none, or not known.
    pub ifindex: u32,
    /// Its name, in that namespace, up to the first zero.
    pub device: [u8; 16],
    /// TCP flags, bits of [`tcp`](crate::tcp).
    pub tcp_flags: u16,
    /// 1: the transport header could be read.
    pub transport: u8,
    /// 1: a fragment other than the first.
    pub fragment: u8,
    /// Bytes behind the TCP header; of other protocols 0.
    pub payload: u32,
}

/// What is remembered of drops that are told as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropSeen {
    /// When it was last told, nanoseconds of `CLOCK_MONOTONIC`.
    pub told: u64,
    /// Packets since.
    pub pending: u64,
    /// The last of them.
    pub facts: DropFacts,
}

/// A record of the ring: what was dropped, and how many packets it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Drop {
    /// What they have in common.
    pub key: DropKey,
    /// The last of them.
    pub facts: DropFacts,
    /// How many.
    pub count: u64,
}

/// The same is told again after this time at the earliest, in nanoseconds.
pub const DROP_AGAIN_NS: u64 = 1_000_000_000;

/// What a reason says of the packet it stands with.
pub mod quiet {
    /// Nobody misses it.
    pub const NO_FAULT: u32 = 1;
    /// Nothing: ICMPv6, or a TCP segment without payload that opens nothing, may have been taken in for all that is known, and nobody misses it.
    pub const VAGUE: u32 = 2;
}

/// Cells of the counters of drops.
pub mod drop_counter {
    /// Records that went into the ring.
    pub const SENT: u32 = 0;
    /// Records for which there was no room.
    pub const LOST: u32 = 1;
    /// Packets of a watched namespace with an IP header that could not be read.
    pub const UNREAD: u32 = 2;
    /// How many there are.
    pub const CELLS: u32 = 3;
}
