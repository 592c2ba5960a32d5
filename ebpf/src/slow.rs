//! Whatever is not a plain packet of an established connection: new ones, changes of state, denials, and every packet
//! while somebody looks.

use aya_ebpf::bindings::__sk_buff;
use chainkit_abi::{Conn, Counter, SLOTS, close, fragment, hook, kind, opened, reason, rule, state, tcp, verdict};

use crate::{
    count,
    family::{Family, V4, V6},
    hook::{DROP, NEXT},
    lately,
    maps::ENDPOINTS,
    observe::{self, Telling, cell},
    packet::piece,
    pending::{Pending, pending},
    related, table, time,
    track::{self, Context, GO_ON},
    verdict::{self as judge, Judgement},
};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

macro_rules! entrances {
    ($($(#[$doc:meta])* $name:ident = $body:ident::<$family:ty, $hook:ident>;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub extern "C" fn $name(skb: *mut __sk_buff) -> i32 {
                $body::<$family, { hook::$hook }>(skb)
            }
        )*
    };
}

entrances! {
    /// [`packet`] of IPv4 that the pod sent.
    chainkit_slow4_from_pod = packet_of::<V4, FROM_POD>;
    /// [`packet`] of IPv4 that goes to the pod.
    chainkit_slow4_to_pod = packet_of::<V4, TO_POD>;
    /// [`packet`] of IPv6 that the pod sent.
    chainkit_slow6_from_pod = packet_of::<V6, FROM_POD>;
    /// [`packet`] of IPv6 that goes to the pod.
    chainkit_slow6_to_pod = packet_of::<V6, TO_POD>;
    /// [`odd`] of IPv4 that the pod sent.
    chainkit_odd4_from_pod = odd_of::<V4, FROM_POD>;
    /// [`odd`] of IPv4 that goes to the pod.
    chainkit_odd4_to_pod = odd_of::<V4, TO_POD>;
    /// [`odd`] of IPv6 that the pod sent.
    chainkit_odd6_from_pod = odd_of::<V6, FROM_POD>;
    /// [`odd`] of IPv6 that goes to the pod.
    chainkit_odd6_to_pod = odd_of::<V6, TO_POD>;
    /// [`related`] of IPv4 that the pod sent.
    chainkit_related4_from_pod = related_of::<V4, FROM_POD>;
    /// [`related`] of IPv4 that goes to the pod.
    chainkit_related4_to_pod = related_of::<V4, TO_POD>;
    /// [`related`] of IPv6 that the pod sent.
    chainkit_related6_from_pod = related_of::<V6, FROM_POD>;
    /// [`related`] of IPv6 that goes to the pod.
    chainkit_related6_to_pod = related_of::<V6, TO_POD>;
}

/// The whole path of the pending packet.
#[inline(always)]
pub fn packet<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    match (F::NUMBER, HOOK) {
        (4, hook::FROM_POD) => chainkit_slow4_from_pod(skb),
        (4, _) => chainkit_slow4_to_pod(skb),
        (_, hook::FROM_POD) => chainkit_slow6_from_pod(skb),
        _ => chainkit_slow6_to_pod(skb),
    }
}

/// The pending packet, where it is a later fragment, or passes whatever the policy.
#[inline(always)]
pub fn odd<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    match (F::NUMBER, HOOK) {
        (4, hook::FROM_POD) => chainkit_odd4_from_pod(skb),
        (4, _) => chainkit_odd4_to_pod(skb),
        (_, hook::FROM_POD) => chainkit_odd6_from_pod(skb),
        _ => chainkit_odd6_to_pod(skb),
    }
}

/// The pending packet, where it is an ICMP error.
#[inline(always)]
pub fn related<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    match (F::NUMBER, HOOK) {
        (4, hook::FROM_POD) => chainkit_related4_from_pod(skb),
        (4, _) => chainkit_related4_to_pod(skb),
        (_, hook::FROM_POD) => chainkit_related6_from_pod(skb),
        _ => chainkit_related6_to_pod(skb),
    }
}

#[inline(always)]
fn odd_of<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    let Some(mut context) = Context::<F>::new(skb) else { return NEXT };
    let slot = context.pending.slot;
    if context.pending.packet.always != 0 {
        count::add(Counter::NeighbourDiscovery, 1);
        count::other(slot, 1);
        if observe::anyone() {
            observe::packet::<F, HOOK>(&mut context, plain(kind::PACKET, false));
        }
        return NEXT;
    }
    if context.pending.packet.piece == piece::LATER {
        let id = context.pending.packet.fragment_id;
        let direction = if HOOK == hook::FROM_POD { fragment::FROM_POD } else { fragment::TO_POD };
        let key = F::fragment_key(context.key(), id, direction);
        let Some(first) = F::find(slot, &key) else {
            return orphan::<F, HOOK>(&mut context);
        };
        // SAFETY: an element that was just found.
        let first = unsafe { &mut *first };
        if has_expired(first, context.pending.now) {
            return orphan::<F, HOOK>(&mut context);
        }
        first.last_seen = context.pending.now;
        *context.key() = F::with_ports(&key, first.ports);
    }
    GO_ON
}

#[inline(always)]
fn related_of<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    let Some(mut context) = Context::<F>::new(skb) else { return NEXT };
    related::error::<F, HOOK>(&mut context).unwrap_or(GO_ON)
}

/// Remembers the ports of the pending first fragment, for the fragments that follow.
#[inline(always)]
pub fn remember_ports<F: Family>(packet_hook: u8) {
    match F::NUMBER {
        4 => chainkit_remember4(packet_hook as u32),
        _ => chainkit_remember6(packet_hook as u32),
    };
}

/// [`remember_ports`] for IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_remember4(packet_hook: u32) -> u32 {
    remember_ports_of::<V4>(packet_hook as u8)
}

/// [`remember_ports`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_remember6(packet_hook: u32) -> u32 {
    remember_ports_of::<V6>(packet_hook as u8)
}

#[inline(always)]
fn remember_ports_of<F: Family>(packet_hook: u8) -> u32 {
    let Some(pending) = pending() else { return 0 };
    let id = pending.packet.fragment_id;
    // SAFETY: a family's key.
    let whole = unsafe { pending.key::<F::Key>() };
    let ports = F::ports(whole);
    let protocol = F::protocol(whole);
    // Fragments of the two directions have identifications of their own.
    let direction = if packet_hook == hook::FROM_POD { fragment::FROM_POD } else { fragment::TO_POD };
    let key = F::fragment_key(whole, id, direction);
    // SAFETY: a family's key.
    unsafe { *pending.key::<F::Key>() = key };
    if let Some(old) = F::find(pending.slot, &key) {
        // SAFETY: an element that was just found: an identification used again.
        let old = unsafe { &mut *old };
        old.ports = ports;
        old.last_seen = pending.now;
        return 0;
    }
    pending.conn = Conn {
        last_seen: pending.now,
        timeout: table::timeout(protocol, state::FRAGMENT),
        state: state::FRAGMENT,
        ports,
        closed: 1,
        ..Conn::default()
    };
    table::enter::<F>(cell::PACKET) as u32
}

/// A later fragment whose first was not seen.
#[inline(always)]
fn orphan<F: Family, const HOOK: u8>(context: &mut Context<F>) -> i32 {
    let packets = context.pending.packet.packets;
    count::add(Counter::OrphanFragment, packets);
    let refused = judge::refuses_unread::<HOOK>(context.pending.endpoint, context.pending.generation);
    if refused {
        count::dropped(context.pending.slot, packets);
    } else {
        count::other(context.pending.slot, packets);
    }
    if observe::anyone() {
        let fold = lately::fold::<F>(context.key()) ^ lately::hook_bit::<HOOK>();
        let (due, seen) = lately::repeated(context.pending.slot, fold, context.pending.now);
        let verdict = if refused { verdict::DROPPED } else { verdict::FORWARDED };
        let reason = Counter::OrphanFragment as u8;
        let telling = Telling { kind: kind::MALFORMED, verdict, reason, rule: rule::NONE, due, count: seen };
        observe::packet::<F, HOOK>(context, telling);
    }
    if refused { DROP } else { NEXT }
}

#[inline(always)]
fn plain(kind: u8, due: bool) -> Telling {
    Telling { kind, verdict: verdict::FORWARDED, reason: reason::NONE, rule: rule::NONE, due, count: 0 }
}

#[inline(always)]
fn packet_of<F: Family, const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    let Some(mut context) = Context::<F>::new(skb) else { return NEXT };
    let context = &mut context;
    let slot = context.pending.slot & (SLOTS - 1);
    let Some(endpoint) = ENDPOINTS.get(context.pending.endpoint & (SLOTS - 1)) else { return NEXT };
    let generation = context.pending.generation;
    let mut told = kind::PACKET;
    let mut known = false;
    let opens = opens::<F>(context);
    if context.find()
        && let Some(conn) = &mut context.conn
    {
        if let Some(why) = is_over(conn, context.pending) {
            table::take_out::<F>(cell::PACKET, slot, conn.place, why);
        } else if conn.generation == generation {
            known = true;
        } else {
            judge::ask(context.pending, endpoint, generation);
            let judgement = judge::again::<F>(context.pending, conn);
            if judgement.verdict == verdict::DROPPED {
                // A segment of a connection that is not remembered passes if either direction allows it. So that this one ends, it
                // stays remembered by who opened it, under its old generation, and each segment of it is judged.
                // SAFETY: a family's key.
                let protocol = F::protocol(unsafe { context.pending.key::<F::Key>() });
                if protocol == TCP && context.pending.packet.tcp_flags & tcp::SYN == 0 {
                    conn.last_seen = context.pending.now;
                } else {
                    table::take_out::<F>(cell::PACKET, slot, conn.place, close::REMOVED);
                }
                context.conn = None;
                return denied::<F, HOOK>(context, judgement);
            }
            if judgement.verdict != conn.verdict {
                told = kind::VERDICT;
                if judgement.verdict == verdict::AUDIT {
                    count::add(Counter::Audited, context.pending.packet.packets);
                    judge::count(judgement, 1);
                }
            }
            conn.verdict = judgement.verdict;
            conn.rule = judgement.rule;
            conn.generation = generation;
            known = true;
        }
    }
    if !known {
        context.conn = None;
        judge::ask(context.pending, endpoint, generation);
        if HOOK == hook::FROM_POD && judge::is_forged::<F>(context.pending, endpoint) {
            let forged = Judgement { verdict: verdict::DROPPED, reason: reason::INVALID_SOURCE, rule: rule::NONE };
            return denied::<F, HOOK>(context, forged);
        }
        let (mid_stream, answers) = (mid_stream::<F>(context), answers::<F>(context));
        let mut judgement = judge::fresh::<F, HOOK>(context.pending, mid_stream, answers);
        if HOOK == hook::FROM_POD {
            if opens && context.pending.to_service != 0 && judgement.verdict != verdict::DROPPED {
                remember(context);
            }
        } else if opens && judgement.verdict != verdict::FORWARDED && judge::is_own_by_service::<F>(hash(context)) {
            judgement = Judgement { verdict: verdict::FORWARDED, reason: reason::NONE, rule: rule::ITSELF };
        }
        if observe::anyone() && judgement.rule != rule::ITSELF {
            judge::shadow::<F, HOOK>(context.pending, endpoint, mid_stream, answers);
        }
        if judgement.verdict == verdict::DROPPED {
            return denied::<F, HOOK>(context, judgement);
        }
        judge::count(judgement, 1);
        if judgement.verdict == verdict::AUDIT {
            count::add(Counter::Audited, context.pending.packet.packets);
        }
        open::<F, HOOK>(context, judgement);
        if table::enter::<F>(cell::PACKET) {
            told = kind::FIRST;
            count::add(Counter::NewConnections, 1);
        }
        if !context.find() {
            count::failed(slot, context.pending.packet.packets);
            if observe::anyone() {
                let telling = Telling { verdict: judgement.verdict, rule: judgement.rule, ..plain(kind::FIRST, true) };
                observe::packet::<F, HOOK>(context, telling);
            }
            return NEXT;
        }
    }
    if HOOK == hook::FROM_POD && known && opens {
        // Sent once more, maybe since the first was lost; whether it goes to a service was asked then.
        remember(context);
    }
    let protocol = F::protocol(context.key());
    let Some(conn) = &mut context.conn else { return NEXT };
    let change = advance::<HOOK>(conn, protocol, context.pending);
    track::count::<HOOK>(conn, context.pending.now, &context.pending.packet);
    if !observe::anyone() {
        return NEXT;
    }
    let idle = context.pending.now.wrapping_sub(conn.reported);
    let (kind, why) = match (told, change) {
        (_, Change::Over(why)) => (kind::CLOSE, why),
        (kind::PACKET, Change::Reply) => (kind::REPLY, reason::NONE),
        (kind::PACKET, Change::Flags) => (kind::FLAGS, reason::NONE),
        (kind::PACKET, Change::None) if idle >= time::ticks(time::REPORT_SECONDS) as u64 => {
            (kind::ACTIVE, reason::NONE)
        }
        (told, _) => (told, reason::NONE),
    };
    let due = kind != kind::PACKET;
    if due {
        conn.reported = context.pending.now;
    }
    let verdict = conn.verdict;
    let telling = Telling { kind, verdict, reason: why, rule: conn.rule, due, count: 0 };
    observe::packet::<F, HOOK>(context, telling);
    NEXT
}

/// Whether an entry is past its timeout, and so counts as absent.
#[inline(always)]
pub fn has_expired(conn: &Conn, now: u64) -> bool {
    now.wrapping_sub(conn.last_seen) > conn.timeout as u64
}

/// Whether the entry is of a connection that is no more, and why.
#[inline(always)]
fn is_over(conn: &Conn, pending: &Pending) -> Option<u8> {
    if has_expired(conn, pending.now) {
        return Some(close::EXPIRED);
    }
    let opens = pending.packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    (conn.state == state::CLOSED && opens).then_some(close::REOPENED)
}

/// A TCP segment that does not open a connection.
#[inline(always)]
fn mid_stream<F: Family>(context: &mut Context<F>) -> bool {
    F::protocol(context.key()) == TCP && context.pending.packet.tcp_flags & tcp::SYN == 0
}

/// What the kernel knows a packet by, from the socket that sent it on; 0: nothing.
#[inline(always)]
fn hash<F: Family>(context: &Context<F>) -> u32 {
    // SAFETY: the context is valid.
    unsafe { (*context.skb).hash }
}

/// Remembers a segment that opens a connection to a service.
#[inline(always)]
fn remember<F: Family>(context: &Context<F>) {
    let pending = &*context.pending;
    lately::opens_to_service(pending.slot & (SLOTS - 1), pending.packet.sequence, hash(context), pending.now);
}

/// A TCP segment that opens a connection.
#[inline(always)]
fn opens<F: Family>(context: &mut Context<F>) -> bool {
    F::protocol(context.key()) == TCP && context.pending.packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// A TCP segment that answers a SYN: the other side has opened the connection.
#[inline(always)]
fn answers<F: Family>(context: &mut Context<F>) -> bool {
    const BOTH: u16 = tcp::SYN | tcp::ACK;
    F::protocol(context.key()) == TCP && context.pending.packet.tcp_flags & BOTH == BOTH
}

/// Makes the pending entry that of a connection that this packet opens, or is the first to be seen of.
#[inline(always)]
fn open<F: Family, const HOOK: u8>(context: &mut Context<F>, judgement: Judgement) {
    let protocol = F::protocol(context.key());
    let (this_side, other_side) =
        if HOOK == hook::FROM_POD { (opened::BY_POD, opened::BY_REMOTE) } else { (opened::BY_REMOTE, opened::BY_POD) };
    let flags = context.pending.packet.tcp_flags & (tcp::SYN | tcp::ACK);
    let now = time::nanoseconds();
    let (opened, state) = match protocol {
        TCP if flags == tcp::SYN => (this_side, state::SYN_SENT),
        TCP if flags == tcp::SYN | tcp::ACK => (other_side, state::SYN_RECEIVED),
        TCP => (opened::UNKNOWN, state::ESTABLISHED),
        // An echo reply to a request that was not seen.
        ICMP if F::NUMBER == 4 && context.pending.packet.icmp_type == 0 => (opened::UNKNOWN, state::REPLIED),
        ICMPV6 if context.pending.packet.icmp_type == 129 => (opened::UNKNOWN, state::REPLIED),
        _ => (this_side, state::UNREPLIED),
    };
    // What the handshake time is measured from: the SYN of the pod, or the pod's SYN-ACK.
    let starts =
        state == state::SYN_SENT && HOOK == hook::FROM_POD || state == state::SYN_RECEIVED && HOOK == hook::FROM_POD;
    let (jiffies, generation) = (context.pending.now, context.pending.generation);
    // In place: an entry is a fifth of the stack.
    let conn = &mut context.pending.conn;
    conn.last_seen = jiffies;
    conn.tx_packets = 0;
    conn.tx_bytes = 0;
    conn.rx_packets = 0;
    conn.rx_bytes = 0;
    conn.timeout = table::timeout(protocol, state);
    conn.generation = generation;
    conn.tx_flags = 0;
    conn.rx_flags = 0;
    conn.state = state;
    conn.opened = opened;
    conn.verdict = judgement.verdict;
    conn.closed = 0;
    conn.reported = jiffies;
    conn.first_seen = now;
    conn.handshake = if starts { now } else { 0 };
    conn.rtt = 0;
    conn.rule = judgement.rule;
    conn.ports = 0;
    conn.turn = 0;
}

/// What a packet changed.
enum Change {
    None,
    Reply,
    Flags,
    Over(u8),
}

/// Takes the state of a connection on by one packet; before the packet is counted.
#[inline(always)]
fn advance<const HOOK: u8>(conn: &mut Conn, protocol: u8, pending: &Pending) -> Change {
    let by_opener = match conn.opened {
        opened::BY_POD => HOOK == hook::FROM_POD,
        opened::BY_REMOTE => HOOK == hook::TO_POD,
        _ => false,
    };
    let first_of_side = if HOOK == hook::FROM_POD { conn.tx_packets == 0 } else { conn.rx_packets == 0 };
    let other_side_seen = if HOOK == hook::FROM_POD { conn.rx_packets != 0 } else { conn.tx_packets != 0 };
    let mut change = if first_of_side && other_side_seen { Change::Reply } else { Change::None };
    if protocol != TCP {
        if conn.state == state::UNREPLIED && !by_opener {
            conn.state = state::REPLIED;
            conn.timeout = table::timeout(protocol, state::REPLIED);
        }
        return change;
    }
    let flags = pending.packet.tcp_flags;
    let seen = if HOOK == hook::FROM_POD { conn.tx_flags } else { conn.rx_flags };
    if flags & !seen != 0 {
        if HOOK == hook::FROM_POD {
            conn.tx_flags |= flags;
        } else {
            conn.rx_flags |= flags;
        }
        if matches!(change, Change::None) {
            change = Change::Flags;
        }
    }
    let was_closed = conn.state == state::CLOSED;
    let next = next_state::<HOOK>(conn, flags, seen, by_opener);
    if next != conn.state {
        conn.state = next;
        conn.timeout = table::timeout(protocol, next);
    }
    let over = if flags & tcp::RST != 0 { Some(close::RST) } else { was_closed.then_some(close::FIN) };
    match over {
        Some(why) if conn.closed == 0 => {
            conn.closed = 1;
            Change::Over(why)
        }
        _ => change,
    }
}

/// The state after a segment; also takes the handshake's time.
#[inline(always)]
fn next_state<const HOOK: u8>(conn: &mut Conn, flags: u16, seen: u16, by_opener: bool) -> u8 {
    if conn.state == state::CLOSED || flags & tcp::RST != 0 {
        return state::CLOSED;
    }
    if conn.tx_flags & conn.rx_flags & tcp::FIN != 0 {
        return state::CLOSED;
    }
    if (conn.tx_flags | conn.rx_flags) & tcp::FIN != 0 {
        return state::CLOSING;
    }
    let repeated = seen & flags & tcp::SYN != 0;
    match conn.state {
        state::SYN_SENT if by_opener && flags & tcp::SYN != 0 => {
            if repeated {
                // An answer could be to either (Karn): no time is better than a wrong one.
                conn.handshake = 0;
            }
            state::SYN_SENT
        }
        state::SYN_SENT if !by_opener && flags & tcp::SYN != 0 => {
            if HOOK == hook::TO_POD {
                answered(conn);
            } else {
                conn.handshake = time::nanoseconds();
            }
            state::SYN_RECEIVED
        }
        state::SYN_RECEIVED if flags & tcp::SYN != 0 => {
            if repeated {
                conn.handshake = 0;
            }
            state::SYN_RECEIVED
        }
        state::SYN_RECEIVED if by_opener => {
            if HOOK == hook::TO_POD {
                answered(conn);
            }
            state::ESTABLISHED
        }
        state::SYN_RECEIVED => state::SYN_RECEIVED,
        // Entered, and it is not known whose FIN was seen.
        state::CLOSING => state::CLOSING,
        _ => state::ESTABLISHED,
    }
}

/// The other side has answered what the handshake time waited for.
#[inline(always)]
fn answered(conn: &mut Conn) {
    if conn.handshake != 0 {
        conn.rtt = time::nanoseconds().wrapping_sub(conn.handshake);
        conn.handshake = 0;
    }
}

/// A packet that must not pass.
#[inline(always)]
fn denied<F: Family, const HOOK: u8>(context: &mut Context<F>, judgement: Judgement) -> i32 {
    let packets = context.pending.packet.packets;
    count::dropped(context.pending.slot, packets);
    judge::count(judgement, packets);
    if judgement.reason == reason::INVALID_SOURCE {
        count::add(Counter::InvalidSource, packets);
    }
    if observe::anyone() {
        let fold = lately::fold::<F>(context.key()) ^ lately::hook_bit::<HOOK>();
        let (due, seen) = lately::repeated(context.pending.slot, fold, context.pending.now);
        let Judgement { verdict, reason, rule } = judgement;
        let telling = Telling { kind: kind::DENIED, verdict, reason, rule, due, count: seen };
        observe::packet::<F, HOOK>(context, telling);
    }
    DROP
}
