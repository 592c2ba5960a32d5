//! The established path: one look-up, counters, return.

use aya_ebpf::bindings::__sk_buff;
use chainkit_abi::{Conn, Key4, Key6, hook, opened, state, tcp};

use crate::{
    family::{Family, V4, V6},
    hook::{Meeting, NEXT},
    packet::{Packet, piece},
    parse::Frame,
    pending::pending,
    plain::{self, Plain},
    slow, time, verdict,
};

/// Not an answer to the kernel: the packet goes the way of others.
pub const GO_ON: i32 = 1001;

/// Meets a connection of plain TCP or UDP of which there is nothing new to say, and counts; false: it is not that.
///
/// Nearly all packets end here, with one look-up. The others are read again, with all that a header may hold.
#[inline(always)]
pub fn plain<const HOOK: u8>(meeting: &Meeting, words: &mut [u64; 5]) -> bool {
    // SAFETY: array elements stay.
    let (observers, each_packet) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*meeting.control).observers),
            core::ptr::read_volatile(&raw const (*meeting.control).each_packet),
        )
    };
    if observers & each_packet != 0 {
        return false;
    }
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(meeting.skb) };
    // Hashing waits for the table, and the table for nothing that is in the packet: found first, it costs a tenth less.
    let Some(table) = V4::table(meeting.slot) else { return false };
    let [first, second, ..] = words;
    if let Some(plain) = plain::ipv4::<HOOK>(&frame, first, second) {
        // SAFETY: these are the words of such a key.
        let key: &Key4 = unsafe { &*(&raw const *words).cast() };
        return unchanged::<V4, HOOK>(meeting, table, key, &plain, observers);
    }
    let Some(table) = V6::table(meeting.slot) else { return false };
    if let Some(plain) = plain::ipv6::<HOOK>(&frame, words) {
        // SAFETY: as above.
        let key: &Key6 = unsafe { &*(&raw const *words).cast() };
        return unchanged::<V6, HOOK>(meeting, table, key, &plain, observers);
    }
    false
}

/// Counts a packet that changes nothing about its connection; false: there is none, or it does, or observers are to hear
/// of it again.
#[inline(always)]
fn unchanged<F: Family, const HOOK: u8>(
    meeting: &Meeting,
    table: &'static F::Table,
    key: &F::Key,
    plain: &Plain,
    observers: u64,
) -> bool {
    // These are never the whole of it: the table is looked at once, on the way that they take.
    if plain.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0 {
        return false;
    }
    let Some(found) = F::find_in(table, key) else { return false };
    // SAFETY: an element that was just found. Another CPU may write to it: each counter is written by one hook only,
    // and a lost update of two CPUs of one hook counts less, never more.
    let conn = unsafe { &mut *found };
    let now = time::jiffies();
    let (seen, opener) =
        if HOOK == hook::FROM_POD { (conn.tx_flags, opened::BY_POD) } else { (conn.rx_flags, opened::BY_REMOTE) };
    let quiet = conn.state == state::ESTABLISHED
        || conn.state == state::REPLIED
        || conn.state == state::CLOSING
        || conn.state == state::UNREPLIED && conn.opened == opener;
    if !quiet
        || plain.tcp_flags & !seen != 0
        || conn.generation != meeting.generation
        || now.wrapping_sub(conn.last_seen) > conn.timeout as u64
        || observers != 0 && now.wrapping_sub(conn.reported) >= time::ticks(time::REPORT_SECONDS) as u64
    {
        return false;
    }
    let mut packet = Packet::new();
    packet.headers = plain.headers;
    // SAFETY: the context is valid.
    unsafe { packet.measure(meeting.skb) };
    count::<HOOK>(conn, now, &packet);
    true
}

/// Takes a packet of whatever kind the long way, by [`slow`].
#[inline(always)]
pub fn packet<F: Family, const HOOK: u8>(meeting: &Meeting, key: &F::Key, packet: &Packet) -> i32 {
    let now = time::jiffies();
    let own_node = HOOK == hook::TO_POD && verdict::is_of_this_node(meeting.skb);
    if packet.piece != piece::WHOLE || packet.related != 0 || packet.always != 0 {
        hand_over::<F>(meeting, key, packet, now, own_node);
        let answer =
            if packet.related != 0 { slow::related::<F, HOOK>(meeting.skb) } else { slow::odd::<F, HOOK>(meeting.skb) };
        if answer != GO_ON {
            return answer;
        }
        let answer = slow::packet::<F, HOOK>(meeting.skb);
        if packet.piece == piece::FIRST && answer == NEXT {
            slow::remember_ports::<F>(HOOK);
        }
        return answer;
    }
    hand_over::<F>(meeting, key, packet, now, own_node);
    slow::packet::<F, HOOK>(meeting.skb)
}

/// Puts down what the slow path needs to know.
#[inline(always)]
fn hand_over<F: Family>(meeting: &Meeting, key: &F::Key, packet: &Packet, now: u64, own_node: bool) {
    let Some(pending) = pending() else { return };
    // SAFETY: a family's key.
    unsafe { *pending.key::<F::Key>() = *key };
    pending.packet = *packet;
    pending.slot = meeting.slot;
    pending.endpoint = meeting.at;
    pending.generation = meeting.generation;
    pending.now = now;
    pending.own_node = own_node as u8;
    pending.shadow_verdict = 0;
}

/// Counts a packet of a connection.
#[inline(always)]
pub fn count<const HOOK: u8>(conn: &mut Conn, now: u64, packet: &Packet) {
    conn.last_seen = now;
    if HOOK == hook::FROM_POD {
        conn.tx_packets = conn.tx_packets.wrapping_add(packet.packets as u64);
        conn.tx_bytes = conn.tx_bytes.wrapping_add(packet.bytes as u64);
    } else {
        conn.rx_packets = conn.rx_packets.wrapping_add(packet.packets as u64);
        conn.rx_bytes = conn.rx_bytes.wrapping_add(packet.bytes as u64);
    }
}

/// What the slow path works on.
pub struct Context<F: Family> {
    /// The program's context.
    pub skb: *mut __sk_buff,
    /// The packet.
    pub pending: &'static mut crate::pending::Pending,
    /// The connection, once found.
    pub conn: Option<&'static mut Conn>,
    family: core::marker::PhantomData<F>,
}

impl<F: Family> Context<F> {
    /// The packet that was handed over.
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Option<Self> {
        Some(Self { skb, pending: pending()?, conn: None, family: core::marker::PhantomData })
    }

    /// The connection's key.
    #[inline(always)]
    pub fn key(&mut self) -> &mut F::Key {
        // SAFETY: a family's key.
        unsafe { self.pending.key::<F::Key>() }
    }

    /// Looks the connection up.
    #[inline(always)]
    pub fn find(&mut self) -> bool {
        let slot = self.pending.slot;
        // SAFETY: an element that was just found; see [`packet`].
        self.conn = F::find(slot, self.key()).map(|found| unsafe { &mut *found });
        self.conn.is_some()
    }
}
