//! Tells observers: fills one event, and copies it to each whose filter it passes.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::{bpf_skb_load_bytes, generated::bpf_ringbuf_output},
};
use chainkit_abi::{
    Conn, Control, Event, HEARTBEAT_TIMEOUT_NS, OBSERVERS as OBSERVER_SLOTS, ObserverFilter, PortMatch, PrefixMatch,
    filter_bit, hook, kind, opened, protocol_bit, reply, side,
};

use crate::{
    atomic,
    family::Family,
    maps::{CONTROL, FILTERS, LOSSES, OBSERVERS, SCRATCH, TABLES},
    packet::{Packet, piece},
    time,
    track::Context,
};

/// Whether anyone looks.
#[inline(always)]
pub fn anyone() -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: array elements stay.
    unsafe { core::ptr::read_volatile(&raw const (*control).observers) != 0 }
}

/// Whether anyone wants to be told of packets that bring nothing new.
#[inline(always)]
pub fn each_packet() -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: array elements stay.
    unsafe {
        core::ptr::read_volatile(&raw const (*control).observers)
            & core::ptr::read_volatile(&raw const (*control).each_packet)
            != 0
    }
}

/// Cells of [`SCRATCH`]. A packet may come while this CPU sweeps, for which older kernels do not keep packets away; two
/// sweeps do not meet, user space sees to that.
pub mod cell {
    /// For what packets tell.
    pub const PACKET: u32 = 0;
    /// For what sweeps tell.
    pub const SWEEP: u32 = 1;
}

/// What an event says besides what its packet and connection do.
#[derive(Clone, Copy)]
pub struct Telling {
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`verdict`].
    pub verdict: u8,
    /// Why, if there is a reason.
    pub reason: u8,
    /// The rule that decided.
    pub rule: u32,
    /// Whether observers that want sparse events are told too.
    pub due: bool,
    /// How many packets a denial stands for.
    pub count: u32,
}

/// An event of a packet, with its connection where it has one.
#[inline(always)]
pub fn packet<F: Family, const HOOK: u8>(context: &mut Context<F>, telling: Telling) {
    if !telling.due && !each_packet() {
        return;
    }
    let Some(event) = scratch(cell::PACKET) else { return };
    clear(event);
    event.time = time::nanoseconds();
    event.hook = HOOK;
    event.family = F::NUMBER;
    event.slot = context.pending.slot;
    event.generation = context.pending.generation;
    event.shadow_verdict = context.pending.shadow_verdict;
    event.shadow_rule = context.pending.shadow_rule;
    fill::<F>(event, context.key(), HOOK == hook::FROM_POD);
    from_packet(event, context.skb, &context.pending.packet);
    if let Some(conn) = &context.conn {
        from_conn(event, conn);
        event.reply = reply_of(event.opened, HOOK);
    }
    say(event, telling);
    chainkit_tell(telling.due as u32, cell::PACKET);
}

/// An event of a packet that could not be read: of the key nothing is known.
#[inline(always)]
pub fn unread<const HOOK: u8>(skb: *mut __sk_buff, slot: u32, ethertype_vlan: u32, telling: Telling) {
    if !telling.due && !each_packet() {
        return;
    }
    let Some(event) = scratch(cell::PACKET) else { return };
    clear(event);
    event.time = time::nanoseconds();
    event.hook = HOOK;
    event.slot = slot;
    let mut packet = Packet::new();
    packet.ethertype = ethertype_vlan as u16;
    packet.vlan = (ethertype_vlan >> 16) as u16;
    // SAFETY: the context is valid.
    unsafe { packet.measure(skb) };
    from_packet(event, skb, &packet);
    say(event, telling);
    chainkit_tell(telling.due as u32, cell::PACKET);
}

/// Puts together the event of an end that no packet makes; [`tell_closed`] tells it once the entry is gone.
#[inline(always)]
pub fn prepare_closed<F: Family>(cell: u32, slot: u32, key: &F::Key, conn: &Conn) {
    let Some(event) = scratch(cell) else { return };
    clear(event);
    event.hook = hook::SWEEP;
    event.family = F::NUMBER;
    event.slot = slot;
    event.generation = conn.generation;
    if let Some(tables) = TABLES.get_ptr(slot) {
        // SAFETY: array elements stay.
        event.ifindex = unsafe { (*tables).ifindex };
    }
    fill::<F>(event, key, conn.opened != opened::BY_REMOTE);
    from_conn(event, conn);
    event.verdict = conn.verdict;
    event.rule = conn.rule;
}

/// Keeps what a connection has counted in a [`cell`], where nobody is to be told of its end.
#[inline(always)]
pub fn keep_counters(cell: u32, conn: &Conn) {
    let Some(event) = scratch(cell) else { return };
    event.tx_packets = conn.tx_packets;
    event.tx_bytes = conn.tx_bytes;
    event.rx_packets = conn.rx_packets;
    event.rx_bytes = conn.rx_bytes;
}

/// What [`keep_counters`] or [`prepare_closed`] has put there.
#[inline(always)]
pub fn kept_counters(cell: u32) -> Option<&'static Event> {
    scratch(cell).map(|event| &*event)
}

/// Tells the end that [`prepare_closed`] put together.
#[inline(always)]
pub fn tell_closed(cell: u32, why: u8) {
    let Some(event) = scratch(cell) else { return };
    event.time = time::nanoseconds();
    let (verdict, rule) = (event.verdict, event.rule);
    say(event, Telling { kind: kind::CLOSE, verdict, reason: why, rule, due: true, count: 0 });
    chainkit_tell(1, cell);
}

#[inline(always)]
fn scratch(cell: u32) -> Option<&'static mut Event> {
    let event = SCRATCH.get_ptr_mut(cell)?;
    // SAFETY: this CPU's element, which no other program run of its kind touches before this one ends.
    Some(unsafe { &mut *event })
}

/// Whether a packet met at a hook goes against the direction its connection was opened in, one of [`reply`].
#[inline(always)]
pub fn reply_of(opener: u8, packet_hook: u8) -> u8 {
    match (opener, packet_hook) {
        (opened::BY_POD, hook::FROM_POD) | (opened::BY_REMOTE, hook::TO_POD) => reply::NO,
        (opened::UNKNOWN, _) => reply::UNKNOWN,
        _ => reply::YES,
    }
}

/// Addresses, ports and protocol out of a key; `local_first`: the pod is the source.
#[inline(always)]
fn fill<F: Family>(event: &mut Event, key: &F::Key, local_first: bool) {
    event.protocol = F::protocol(key);
    let ports = ends::<F>(key, local_first, &raw mut event.source, &raw mut event.destination);
    if matches!(event.protocol, 6 | 17 | 132) {
        (event.source_port, event.destination_port) = ports;
    }
}

/// Puts down the addresses of a key, each sixteen bytes at a multiple of eight; answers the source's and the destination's port.
#[inline(always)]
pub fn ends<F: Family>(
    key: &F::Key,
    local_first: bool,
    source: *mut [u8; 16],
    destination: *mut [u8; 16],
) -> (u16, u16) {
    let ports = F::ports(key);
    let (local_port, remote_port) = (u16::from_be(ports as u16), u16::from_be((ports >> 16) as u16));
    let (local, remote) = if local_first { (source, destination) } else { (destination, source) };
    // Word by word, or the compiler takes the stack for it, which is short.
    // SAFETY: both fields are sixteen bytes at multiples of eight of an aligned struct.
    unsafe {
        let [first, second] = F::local(key);
        core::ptr::write_volatile(local.cast::<u64>(), first);
        core::ptr::write_volatile(local.cast::<u64>().add(1), second);
        let [first, second] = F::remote(key);
        core::ptr::write_volatile(remote.cast::<u64>(), first);
        core::ptr::write_volatile(remote.cast::<u64>().add(1), second);
    }
    if local_first { (local_port, remote_port) } else { (remote_port, local_port) }
}

/// Zeroes an event word by word; left to itself the compiler calls a loop over its bytes.
#[inline(always)]
fn clear(event: &mut Event) {
    let words: *mut u64 = (&raw mut *event).cast();
    for index in 0..size_of::<Event>() / size_of::<u64>() {
        // SAFETY: within the event, whose size is a multiple of a word and of which all-zero is a valid value.
        unsafe { core::ptr::write_volatile(words.add(index), 0) };
    }
}

#[inline(always)]
fn from_packet(event: &mut Event, skb: *mut __sk_buff, packet: &Packet) {
    event.tcp_flags = packet.tcp_flags;
    event.vlan = packet.vlan;
    event.icmp_type = packet.icmp_type;
    event.icmp_code = packet.icmp_code;
    event.fragment = (packet.piece == piece::LATER) as u8;
    event.packets = packet.packets;
    event.bytes = packet.bytes;
    event.ethertype = packet.ethertype;
    // SAFETY: the context is valid; both addresses lie in the event as they do in the frame, one behind the other.
    unsafe {
        event.ifindex = (*skb).ifindex;
        bpf_skb_load_bytes(skb.cast(), 0, (&raw mut event.destination_mac).cast(), 12);
    }
}

#[inline(always)]
fn from_conn(event: &mut Event, conn: &Conn) {
    event.opened = conn.opened;
    event.state = conn.state;
    event.tx_flags = conn.tx_flags;
    event.rx_flags = conn.rx_flags;
    event.tx_packets = conn.tx_packets;
    event.tx_bytes = conn.tx_bytes;
    event.rx_packets = conn.rx_packets;
    event.rx_bytes = conn.rx_bytes;
    event.first_seen = conn.first_seen;
    event.rtt = conn.rtt;
}

#[inline(always)]
fn say(event: &mut Event, telling: Telling) {
    event.kind = telling.kind;
    event.verdict = telling.verdict;
    event.reason = telling.reason;
    event.rule = telling.rule;
    event.count = telling.count;
    if event.first_seen == 0 || event.opened == opened::UNKNOWN {
        event.reply = reply::UNKNOWN;
    }
}

/// Copies the event in a cell of [`SCRATCH`] to each observer that wants it.
///
/// This and [`chainkit_tell_one`] are global functions with numbers for arguments: the verifier reads such once, and not
/// again for each call, which would be more than it is willing to read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_tell(due: u32, cell: u32) -> u32 {
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    // SAFETY: array elements stay.
    let mut word = unsafe { core::ptr::read_volatile(&raw const (*control).observers) };
    let mut told = 0;
    for observer in 0..OBSERVER_SLOTS {
        if word == 0 {
            break;
        }
        if word & 1 != 0 {
            told += chainkit_tell_one(observer, due, cell);
        }
        word >>= 1;
    }
    told
}

/// Copies the event in a cell of [`SCRATCH`] to one observer if it wants it; 1: it did.
///
/// An observer whose heartbeat has stopped is switched off here, since no process need be alive to do it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_tell_one(observer: u32, due: u32, cell: u32) -> u32 {
    let observer = observer & (OBSERVER_SLOTS - 1);
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    let Some(event) = SCRATCH.get(cell) else { return 0 };
    if is_dead(control, observer, event.time) {
        // SAFETY: a word of an array element.
        unsafe { atomic::and(&raw mut (*control).observers, !(1u64 << observer)) };
        return 0;
    }
    let Some(filter) = FILTERS.get(observer) else { return 0 };
    if !passes(filter, event, due != 0) {
        return 0;
    }
    let data: *const Event = event;
    // SAFETY: a whole event in a map.
    unsafe { hand_over(observer, data.cast(), size_of::<Event>() as u32) as u32 }
}

/// Whether an observer's heartbeat has stopped; its number is masked.
#[inline(always)]
pub fn is_dead(control: *const Control, observer: u32, now: u64) -> bool {
    // SAFETY: array elements stay, and the index is below the array's length.
    let heartbeat =
        unsafe { core::ptr::read_volatile((&raw const (*control).heartbeats).cast::<u64>().add(observer as usize)) };
    now.wrapping_sub(heartbeat) as i64 > HEARTBEAT_TIMEOUT_NS as i64
}

/// Puts a record into an observer's ring, or counts it as lost; false: there is no ring.
///
/// # Safety
/// `size` bytes of a map lie at `data`.
#[inline(always)]
pub unsafe fn hand_over(observer: u32, data: *const u8, size: u32) -> bool {
    let Some(losses) = LOSSES.get_ptr_mut(observer) else { return false };
    // Without a ring there is nobody to lose anything: the observer is coming or going.
    let Some(ring) = OBSERVERS.get(observer) else { return false };
    // SAFETY: the caller's promise. Readers poll by a timer: a wake-up costs more than the record.
    let answer = unsafe {
        bpf_ringbuf_output(
            (&raw const *ring).cast_mut().cast(),
            data.cast_mut().cast(),
            size as u64,
            BPF_RB_NO_WAKEUP as u64,
        )
    };
    // SAFETY: words of this CPU's element; atomic, since a packet may come while this CPU sweeps.
    unsafe {
        let words = losses.cast::<u64>();
        atomic::add(if answer == 0 { words } else { words.add(1) }, 1);
    }
    true
}

/// What a filter looks at, of an event or of a piece of payload.
pub trait Subject {
    /// The endpoint's slot.
    fn slot(&self) -> u32;
    /// 4 or 6; 0 where no IP header could be read.
    fn family(&self) -> u8;
    /// IP protocol number.
    fn protocol(&self) -> u8;
    /// Source and destination, each at a multiple of eight.
    fn addresses(&self) -> (&[u8; 16], &[u8; 16]);
    /// Ports of source and destination, host byte order.
    fn ports(&self) -> (u16, u16);
}

impl Subject for Event {
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

/// Whether an observer's filter lets an event through.
#[inline(always)]
fn passes(filter: &ObserverFilter, event: &Event, due: bool) -> bool {
    let flags = filter.flags;
    if !due && flags & filter_bit::PER_PACKET == 0 {
        return false;
    }
    if flags & filter_bit::VERDICTS != 0 && filter.verdicts >> (event.verdict & 31) & 1 == 0 {
        return false;
    }
    concerns(filter, event)
}

/// Whether what an observer's filter says of endpoints, protocols, addresses and ports lets something through.
#[inline(always)]
pub fn concerns(filter: &ObserverFilter, subject: &impl Subject) -> bool {
    let flags = filter.flags;
    if flags & (filter_bit::ENDPOINTS | filter_bit::PROTOCOLS | filter_bit::PREFIXES | filter_bit::PORTS) == 0 {
        return true;
    }
    if flags & filter_bit::ENDPOINTS != 0 {
        let slot = subject.slot();
        let index = (slot as usize >> 6) & (filter.endpoints.len() - 1);
        // SAFETY: masked to the array's length, which is a power of two.
        let word = unsafe { *filter.endpoints.as_ptr().add(index) };
        if word >> (slot & 63) & 1 == 0 {
            return false;
        }
    }
    // What could not be read has no protocol, address or port to look for: the reader decides.
    if subject.family() == 0 {
        return true;
    }
    if flags & filter_bit::PROTOCOLS != 0 && !protocol_passes(filter.protocols, subject) {
        return false;
    }
    if flags & filter_bit::PREFIXES != 0 && !any_prefix(&filter.prefixes, subject) {
        return false;
    }
    if flags & filter_bit::PORTS != 0 && !any_port(&filter.ports, subject) {
        return false;
    }
    true
}

#[inline(always)]
fn protocol_passes(wanted: u32, subject: &impl Subject) -> bool {
    let version = if subject.family() == 4 { protocol_bit::IPV4 } else { protocol_bit::IPV6 };
    let transport = match subject.protocol() {
        6 => protocol_bit::TCP,
        17 => protocol_bit::UDP,
        132 => protocol_bit::SCTP,
        1 => protocol_bit::ICMP,
        58 => protocol_bit::ICMPV6,
        _ => protocol_bit::OTHER,
    };
    let versions = protocol_bit::IPV4 | protocol_bit::IPV6;
    (wanted & versions == 0 || wanted & version != 0) && (wanted & !versions == 0 || wanted & transport != 0)
}

#[inline(always)]
fn any_prefix(prefixes: &[PrefixMatch; chainkit_abi::FILTER_PREFIXES], subject: &impl Subject) -> bool {
    let (source, destination) = subject.addresses();
    for prefix in prefixes {
        if prefix.family != subject.family() {
            continue;
        }
        if prefix.side & side::SOURCE != 0 && within(prefix, source)
            || prefix.side & side::DESTINATION != 0 && within(prefix, destination)
        {
            return true;
        }
    }
    false
}

/// Whether an address lies in a prefix.
#[inline(always)]
fn within(prefix: &PrefixMatch, address: &[u8; 16]) -> bool {
    let word = |bytes: &[u8; 16], index: usize| {
        // SAFETY: sixteen bytes at a multiple of eight of an aligned struct.
        unsafe { *bytes.as_ptr().cast::<u64>().add(index) }
    };
    (word(&prefix.address, 0) ^ word(address, 0)) & word(&prefix.mask, 0) == 0
        && (word(&prefix.address, 1) ^ word(address, 1)) & word(&prefix.mask, 1) == 0
}

#[inline(always)]
fn any_port(ports: &[PortMatch; chainkit_abi::FILTER_PORTS], subject: &impl Subject) -> bool {
    let (source, destination) = subject.ports();
    for wanted in ports {
        if wanted.side & side::SOURCE != 0 && wanted.port == source
            || wanted.side & side::DESTINATION != 0 && wanted.port == destination
        {
            return true;
        }
    }
    false
}
