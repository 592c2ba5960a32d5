//! Copies payload to observers that want it, of packets that pass.
//!
//! It is called from the entrance, once a packet has been judged, where the stack is at its shortest: the chain of calls of
//! [`slow`](crate::slow) leaves no room. So the packet is read again, and its connection looked up again. Each step is a global function,
//! which the verifier reads once; what they share lies in a cell of this CPU.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::bpf_skb_load_bytes,
    macros::btf_map,
};
use chainkit_abi::{
    Conn, Control, Counter, OBSERVERS as OBSERVER_SLOTS, PAYLOAD_BUDGET, PAYLOAD_TURN, PIECE_BYTES, PIECES,
    PROBE_BYTES, PayloadKey, PayloadState, Piece, SLOTS, copy, hook, kind, piece_flag, tcp,
};

use crate::{
    atomic,
    family::{Family, V4, V6},
    maps::{CONTROL, DECISIONS, FILTERS},
    observe::{self, Subject},
    packet::{Packet, piece},
    parse::{self, Frame, Ipv4, Ipv6, TCP, UDP},
    time,
};

/// A packet of which payload is copied.
#[repr(C)]
pub struct Copying {
    /// What each piece begins with.
    piece: Piece,
    /// The bytes of a piece, right behind it.
    bytes: [u8; PIECE_BYTES as usize],
    /// Its connection.
    key: PayloadKey,
    /// Where in the frame its payload begins.
    start: u32,
    /// Sequence number of the payload's first byte.
    sequence: u32,
    /// 1: its connection has carried [`PAYLOAD_BUDGET`] in this direction, and [`PAYLOAD_TURN`] since the other one was last spoken in.
    spent: u32,
    /// 1: it is told also where none of it is copied.
    telling: u32,
}

#[btf_map]
static COPYING: PerCpuArray<Copying, 1> = PerCpuArray::new();

#[inline(always)]
fn copying() -> Option<&'static mut Copying> {
    let cell = COPYING.get_ptr_mut(0)?;
    // SAFETY: this CPU's element, and programs of one kind do not interrupt each other on it.
    Some(unsafe { &mut *cell })
}

/// Whether anyone wants payload.
#[inline(always)]
pub fn anyone(control: *const Control) -> bool {
    // SAFETY: array elements stay.
    unsafe { core::ptr::read_volatile(&raw const (*control).payload) != 0 }
}

/// Copies payload of a packet of an endpoint's that passes to each observer that wants it; how many were told of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_payload(skb: *mut __sk_buff, packet_hook: u32, slot: u32) -> u32 {
    let Some(copying) = copying() else { return 0 };
    let mut packet = Packet::new();
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(skb) };
    // What is not linear was pulled before, or is no header.
    // SAFETY: as above.
    let Ok(at) = (unsafe { parse::link(skb, &frame, &mut packet) }) else { return 0 };
    for index in 0..copying.key.words.len() {
        // SAFETY: within the array; volatile, or the compiler calls a loop over bytes.
        unsafe { core::ptr::write_volatile((&raw mut copying.key.words).cast::<u64>().add(index), 0) };
    }
    let words = &raw mut copying.key.words;
    let told = if parse::is_ipv4(&packet) {
        // SAFETY: plain data no larger and no more aligned than the words.
        let key = unsafe { &mut *words.cast() };
        // Read as if the pod had sent it, whichever way it goes, and turned afterwards: once is half of twice.
        if parse::ipv4::<{ hook::FROM_POD }>(&frame, at, &mut packet, key).is_err() {
            return 0;
        }
        let Ok(ip) = frame.header::<Ipv4>(at, Counter::TruncatedIpv4) else { return 0 };
        let end = at as u32 + ip.total_length() as u32;
        of_connection::<V4>(skb, copying, &packet, end, packet_hook as u8, slot)
    } else {
        // SAFETY: as above.
        let key = unsafe { &mut *words.cast() };
        if parse::ipv6::<{ hook::FROM_POD }>(skb, &frame, at, &mut packet, key).is_err() {
            return 0;
        }
        let Ok(ip) = frame.header::<Ipv6>(at, Counter::TruncatedIpv6) else { return 0 };
        let end = (at + size_of::<Ipv6>()) as u32 + ip.payload_length() as u32;
        of_connection::<V6>(skb, copying, &packet, end, packet_hook as u8, slot)
    };
    if told.is_none() {
        return 0;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    // SAFETY: array elements stay.
    let mut word = unsafe { core::ptr::read_volatile(&raw const (*control).payload) };
    let mut told = 0;
    for observer in 0..OBSERVER_SLOTS {
        if word == 0 {
            break;
        }
        if word & 1 != 0 {
            told += chainkit_payload_to(skb, observer);
        }
        word >>= 1;
    }
    told
}

/// Puts down what is the same for all observers; `end` is where the packet ends, as its IP header says. `None`: there is nothing to copy
/// or tell.
#[inline(always)]
fn of_connection<F: Family>(
    skb: *mut __sk_buff,
    copying: &mut Copying,
    packet: &Packet,
    end: u32,
    packet_hook: u8,
    slot: u32,
) -> Option<()> {
    let from_pod = packet_hook == hook::FROM_POD;
    // SAFETY: a family's key, and nobody else's reference.
    let key: &mut F::Key = unsafe { &mut *(&raw mut copying.key.words).cast() };
    let protocol = F::protocol(key);
    if protocol != TCP && protocol != UDP || packet.piece == piece::LATER {
        return None;
    }
    let whole = packet.piece == piece::WHOLE;
    let ends = packet.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0;
    let length = payload_length(skb, packet, end, protocol == UDP && whole);
    if length == 0 && !ends && whole {
        return None;
    }
    if !from_pod {
        F::turn(key);
    }
    // SAFETY: an element that was just found.
    let conn = unsafe { &mut *F::find(slot & (SLOTS - 1), key)? };
    let (packets, bytes) = if from_pod { (conn.tx_packets, conn.tx_bytes) } else { (conn.rx_packets, conn.rx_bytes) };
    // The payload of all before this one. Headers are much the same in all of a direction.
    let mut measured = Packet::new();
    measured.headers = packet.headers;
    // SAFETY: the context is valid.
    unsafe { measured.measure(skb) };
    let headers = packets.wrapping_sub(measured.packets as u64).wrapping_mul(packet.headers as u64);
    let carried = bytes.wrapping_sub(measured.bytes as u64).wrapping_sub(headers) as i64;
    let sequence = u32::from_be(packet.sequence).wrapping_add((packet.tcp_flags & tcp::SYN != 0) as u32);
    let within = if length == 0 { 0 } else { take_turn(conn, packet_hook, carried as u32) };
    copying.spent = (carried >= PAYLOAD_BUDGET as i64 && within >= PAYLOAD_TURN) as u32;
    copying.start = packet.headers;
    copying.sequence = if protocol == TCP { sequence } else { 0 };
    copying.telling = (ends || !whole) as u32;
    copying.key.slot = slot;
    copying.key.pad = 0;
    let (opened, first_seen) = (conn.opened, conn.first_seen);
    let piece = &mut copying.piece;
    piece.time = time::nanoseconds();
    piece.kind = kind::PAYLOAD;
    piece.hook = packet_hook;
    piece.family = F::NUMBER;
    piece.protocol = protocol;
    piece.flags = if whole { 0 } else { piece_flag::FRAGMENT };
    piece.pad = 0;
    piece.opened = opened;
    piece.reply = observe::reply_of(opened, packet_hook);
    (piece.source_port, piece.destination_port) =
        observe::ends::<F>(key, from_pod, &raw mut piece.source, &raw mut piece.destination);
    piece.tcp_flags = packet.tcp_flags;
    piece.vlan = packet.vlan;
    piece.slot = slot;
    // SAFETY: the context is valid.
    (piece.ifindex, piece.segment) = unsafe { ((*skb).ifindex, (*skb).gso_size) };
    piece.packet_length = length;
    piece.pad2 = 0;
    piece.first_seen = first_seen;
    Some(())
}

/// Notes that a side speaks which has sent so much payload before; how much of that since the other side last spoke.
#[inline(always)]
fn take_turn(conn: &mut Conn, packet_hook: u8, carried: u32) -> u32 {
    const COUNT: u32 = u32::MAX >> 1;
    let side = (packet_hook as u32) << 31;
    if conn.turn & !COUNT != side {
        conn.turn = side | carried & COUNT;
    }
    carried.wrapping_sub(conn.turn) & COUNT
}

/// Bytes of payload. Worked out here and not as headers are read: who reads them on each packet's way does not need it.
#[inline(always)]
pub fn payload_length(skb: *mut __sk_buff, packet: &Packet, end: u32, said_by_udp: bool) -> u32 {
    // SAFETY: the context is valid.
    let (length, is_super) = unsafe { ((*skb).len, (*skb).gso_size != 0) };
    let mut end = end;
    if is_super {
        // The length fields of a super-packet are 16 bits of what may be more.
        end = length;
    } else if said_by_udp {
        let mut said = [0u8; 2];
        // The length of header and payload is the third of four fields of two bytes (RFC 768).
        // SAFETY: the context is valid, the place as long as said.
        let answer = unsafe { bpf_skb_load_bytes(skb.cast(), packet.headers - 4, said.as_mut_ptr().cast(), 2) };
        if answer != 0 {
            return 0;
        }
        end = packet.headers - 8 + u16::from_be_bytes(said) as u32;
    }
    if end > packet.headers { end - packet.headers } else { 0 }
}

/// Copies payload of the packet in this CPU's cell to one observer, if it wants it; 1: it was told something.
///
/// An observer whose heartbeat has stopped is switched off here, as it is where events are told.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_payload_to(skb: *mut __sk_buff, observer: u32) -> u32 {
    let observer = observer & (OBSERVER_SLOTS - 1);
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    let Some(copying) = copying() else { return 0 };
    if observe::is_dead(control, observer, copying.piece.time) {
        // SAFETY: words of an array element.
        unsafe {
            atomic::and(&raw mut (*control).observers, !(1u64 << observer));
            atomic::and(&raw mut (*control).payload, !(1u64 << observer));
        }
        return 0;
    }
    if chainkit_payload_concerns(observer) == 0 {
        return 0;
    }
    let length = copying.piece.packet_length;
    let (mut at, mut end) = (0, length);
    let mut flags = copying.piece.flags & piece_flag::FRAGMENT;
    match decided(copying, observer) {
        Some(state) if state.copy == copy::NOTHING => return 0,
        Some(state) if state.copy == copy::ALL => at = skipped(copying, state),
        _ => {
            if copying.spent != 0 {
                flags |= piece_flag::PROBE;
                end = if length < PROBE_BYTES { length } else { PROBE_BYTES };
            }
        }
    }
    if flags & piece_flag::FRAGMENT != 0 || copying.piece.tcp_flags & tcp::RST != 0 {
        end = 0;
    }
    copying.piece.flags = flags;
    if at >= end {
        return if copying.telling != 0 { chainkit_payload_piece(skb, observer, 0, 0) } else { 0 };
    }
    for _ in 0..PIECES {
        if at >= end {
            break;
        }
        let left = end - at;
        let next = if left < PIECE_BYTES { left } else { PIECE_BYTES };
        chainkit_payload_piece(skb, observer, at, next);
        at += next;
    }
    1
}

/// What an observer has decided about the connection; not what it had about one before of the same addresses and ports.
#[inline(always)]
fn decided(copying: &Copying, observer: u32) -> Option<&'static mut PayloadState> {
    let decisions = DECISIONS.get(observer)?;
    let found = LruHashMap::get_ptr_mut(decisions, &copying.key)?;
    // SAFETY: an element that was just found. Should it be given to another connection meanwhile, that one's may be read or lose
    // its `skips`: then too much is copied, or a packet too little.
    let state = unsafe { &mut *found };
    (state.first_seen == copying.piece.first_seen).then_some(state)
}

/// How much of the packet's payload lies before what the observer wants to skip to.
#[inline(always)]
fn skipped(copying: &Copying, state: &mut PayloadState) -> u32 {
    let (until, skips) = if copying.piece.hook == hook::FROM_POD {
        (state.until[0], &mut state.skips[0])
    } else {
        (state.until[1], &mut state.skips[1])
    };
    if *skips == 0 || copying.piece.protocol != TCP {
        return 0;
    }
    let length = copying.piece.packet_length;
    let ahead = until.wrapping_sub(copying.sequence) as i32;
    if ahead as i64 >= length as i64 {
        // An acknowledgement of what is still to be skipped, too.
        return length;
    }
    // The stream is there: in 2 GiB the number would be ahead once more.
    *skips = 0;
    if ahead > 0 { ahead as u32 } else { 0 }
}

/// Whether an observer's filter lets the packet in this CPU's cell through, whatever its verdict; 1: it does.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_payload_concerns(observer: u32) -> u32 {
    let Some(copying) = copying() else { return 0 };
    let Some(filter) = FILTERS.get(observer & (OBSERVER_SLOTS - 1)) else { return 0 };
    observe::concerns(filter, &copying.piece) as u32
}

/// Copies `length` bytes of the packet's payload, [`PIECE_BYTES`] at most, from `at` on; 1: they were sent or lost.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_payload_piece(skb: *mut __sk_buff, observer: u32, at: u32, length: u32) -> u32 {
    let Some(copying) = copying() else { return 0 };
    copying.piece.offset = at;
    copying.piece.sequence = if copying.piece.protocol == TCP { copying.sequence.wrapping_add(at) } else { 0 };
    copying.piece.length = 0;
    let mut size = size_of::<Piece>() as u32;
    if length != 0 {
        // In words that show the verifier that it is neither 0 nor too long.
        let length = (length.wrapping_sub(1) & (PIECE_BYTES - 1)) + 1;
        let bytes = (&raw mut copying.bytes).cast();
        // Also what is not linear.
        // SAFETY: the context is valid, the place as long as said.
        if unsafe { bpf_skb_load_bytes(skb.cast(), copying.start.wrapping_add(at), bytes, length) } != 0 {
            return 0;
        }
        copying.piece.length = length;
        size += length;
    }
    let record: *const Copying = copying;
    // SAFETY: a piece and the bytes right behind it, in a map.
    unsafe { observe::hand_over(observer & (OBSERVER_SLOTS - 1), record.cast(), size) as u32 }
}

impl Subject for Piece {
    #[inline(always)]
    fn slot(&self) -> u32 {
        self.slot
    }

    #[inline(always)]
    fn family(&self) -> u8 {
        self.family
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn addresses(&self) -> (&[u8; 16], &[u8; 16]) {
        (&self.source, &self.destination)
    }

    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        (self.source_port, self.destination_port)
    }
}
