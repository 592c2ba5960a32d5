//! A packet, once its headers are read.

use aya_ebpf::bindings::__sk_buff;

/// What [`parse`](crate::parse) found besides the connection's key.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Packet {
    /// Packets on the wire.
    pub packets: u32,
    /// Bytes of their Ethernet frames.
    pub bytes: u32,
    /// Bytes of headers, Ethernet to transport, that each segment of a super-packet repeats.
    pub headers: u32,
    /// Identification of a fragmented packet, as it lies in the packet.
    pub fragment_id: u32,
    /// TCP sequence number, network byte order.
    pub sequence: u32,
    /// TCP flags.
    pub tcp_flags: u16,
    /// EtherType past VLAN tags, host byte order.
    pub ethertype: u16,
    /// VLAN tag as events have it.
    pub vlan: u16,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// One of the constants of [`piece`].
    pub piece: u8,
    /// 1: an ICMP error, and the key is that of the packet it is about.
    pub related: u8,
    /// 1: passes whatever the policy, and makes no connection (neighbour discovery, MLD).
    pub always: u8,
    /// Length of the TCP header; 0: it is no TCP.
    pub tcp_header: u8,
}

/// Values of [`Packet::piece`].
pub mod piece {
    /// The whole packet.
    pub const WHOLE: u8 = 0;
    /// The first of several fragments.
    pub const FIRST: u8 = 1;
    /// A later fragment: no transport header.
    pub const LATER: u8 = 2;
}

impl Packet {
    /// A packet of which nothing is read yet.
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            packets: 1,
            bytes: 0,
            headers: 0,
            fragment_id: 0,
            sequence: 0,
            tcp_flags: 0,
            ethertype: 0,
            vlan: 0,
            icmp_type: 0,
            icmp_code: 0,
            piece: piece::WHOLE,
            related: 0,
            always: 0,
            tcp_header: 0,
        }
    }

    /// Counts it: a super-packet stands for its segments, each with the headers of its own that it will get.
    ///
    /// `gso_segs` may be 0 though `gso_size` is not (a guest or a tap device said so): the segments follow from the payload.
    ///
    /// # Safety
    /// `skb` is the context of the running program.
    #[inline(always)]
    pub unsafe fn measure(&mut self, skb: *const __sk_buff) {
        // SAFETY: the caller's promise.
        let (length, size) = unsafe { ((*skb).len, (*skb).gso_size) };
        self.bytes = length;
        self.packets = 1;
        if size != 0 {
            // SAFETY: the caller's promise.
            let mut segments = unsafe { (*skb).gso_segs };
            if segments == 0 {
                let payload = length.wrapping_sub(self.headers);
                segments = payload.div_ceil(size);
            }
            if segments > 1 {
                self.packets = segments;
                self.bytes = length.wrapping_add(segments.wrapping_sub(1).wrapping_mul(self.headers));
            }
        }
    }
}

impl Default for Packet {
    fn default() -> Self {
        Self::new()
    }
}
