//! Enters connections that were there before the datapath; user space calls it as it adopts a pod.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use chainkit_abi::{Conn, Entering, SLOTS, UNJUDGED, entered, opened, state, verdict};

use crate::{
    family::{Family, V4, V6},
    observe::cell,
    parse::ETHERNET,
    pending::{Pending, pending_in},
    slow, table, time,
};

/// Enters the connection that the frame describes (see [`Entering`]); one of [`entered`].
#[inline(always)]
pub fn connection(skb: *mut __sk_buff) -> i32 {
    let mut wanted = Entering::default();
    let length = size_of::<Entering>() as u32;
    // SAFETY: the context is valid, and the place is as long as said; any bytes are a valid value.
    if unsafe { bpf_skb_load_bytes(skb.cast(), ETHERNET as u32, (&raw mut wanted).cast(), length) } != 0 {
        return entered::FAILED;
    }
    let Some(pending) = pending_in(cell::SWEEP) else { return entered::FAILED };
    pending.key = wanted.key;
    pending.slot = wanted.slot & (SLOTS - 1);
    pending.now = time::jiffies();
    match wanted.family {
        4 => of_family::<V4>(pending, &wanted),
        6 => of_family::<V6>(pending, &wanted),
        _ => entered::FAILED,
    }
}

#[inline(always)]
fn of_family<F: Family>(pending: &mut Pending, wanted: &Entering) -> i32 {
    // SAFETY: a family's key.
    let key = unsafe { &*(&raw const *pending.key::<F::Key>()) };
    let protocol = F::protocol(key);
    let timeout = table::timeout(protocol, wanted.state);
    if let Some(found) = F::find(pending.slot, key) {
        // SAFETY: an element that was just found.
        let conn = unsafe { &mut *found };
        if !slow::has_expired(conn, pending.now) {
            return correct(conn, wanted, timeout);
        }
        table::take_out::<F>(cell::SWEEP, pending.slot, conn.place, chainkit_abi::close::EXPIRED);
    }
    pending.conn = Conn {
        last_seen: pending.now,
        timeout,
        generation: UNJUDGED,
        tx_flags: wanted.tx_flags,
        rx_flags: wanted.rx_flags,
        state: wanted.state,
        opened: wanted.opened,
        verdict: verdict::FORWARDED,
        reported: pending.now,
        first_seen: time::nanoseconds(),
        ..Conn::default()
    };
    if table::enter::<F>(cell::SWEEP) {
        return entered::NEW;
    }
    // A packet has come first.
    let Some(found) = F::find(pending.slot, key) else { return entered::FAILED };
    // SAFETY: an element that was just found.
    correct(unsafe { &mut *found }, wanted, timeout)
}

/// Puts down who opened a connection, where its first packet did not tell: it was met in mid-stream, or is of a protocol whose
/// packets do not say. What it has counted stays.
#[inline(always)]
fn correct(conn: &mut Conn, wanted: &Entering, timeout: u32) -> i32 {
    let is_tcp = conn.state >= state::SYN_SENT && conn.state <= state::CLOSED;
    if wanted.opened == opened::UNKNOWN
        || wanted.opened == conn.opened
        || is_tcp && (conn.opened != opened::UNKNOWN || conn.state == state::CLOSED)
        || conn.state == state::FRAGMENT
    {
        return entered::PRESENT;
    }
    conn.opened = wanted.opened;
    // Of what was seen since and what was known before, that which is further on.
    if wanted.state == state::REPLIED && conn.state == state::UNREPLIED || wanted.state == state::CLOSING {
        conn.state = wanted.state;
        conn.timeout = timeout;
    }
    conn.tx_flags |= wanted.tx_flags;
    conn.rx_flags |= wanted.rx_flags;
    // Judged once more, now in the direction it was opened in.
    conn.generation = UNJUDGED;
    entered::CORRECTED
}
