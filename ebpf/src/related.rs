//! ICMP errors: they go with the connection of the packet that they are about, which they carry the start of.

use aya_ebpf::helpers::bpf_skb_pull_data;
use chainkit_abi::{Conn, Counter, Key4, Key6, SLOTS, fragment, hook, kind, reason, rule, verdict};

use crate::{
    count,
    family::Family,
    hook::{NEXT, PULL},
    maps::ENDPOINTS,
    observe::{self, Telling},
    parse::{self, Frame, Ipv4, Ipv6, Outcome},
    slow,
    track::Context,
    verdict as judge,
};

/// The packet inside went the other way: what comes to the pod is about what the pod sent.
#[inline(always)]
fn turned<T, const HOOK: u8>(source: T, destination: T) -> (T, T) {
    if HOOK == hook::FROM_POD { (destination, source) } else { (source, destination) }
}

/// Ports (or the echo identifier) of the packet inside, oriented.
#[inline(always)]
fn ports<const HOOK: u8>(frame: &Frame, at: usize, protocol: u8) -> Result<(u16, u16), Outcome> {
    let header: &[u16; 4] = frame.header(at, Counter::BadIcmpError)?;
    match protocol {
        6 | 17 | 132 => Ok(turned::<_, HOOK>(header[0], header[1])),
        1 | 58 => Ok((header[2], 0)),
        _ => Ok((0, 0)),
    }
}

/// Puts down the key of the IPv4 packet at `at` inside an error that this hook sees.
#[inline(always)]
pub fn inner4<const HOOK: u8>(frame: &Frame, at: usize, key: &mut Key4) -> Result<(), Outcome> {
    let ip: &Ipv4 = frame.header(at, Counter::BadIcmpError)?;
    let header = ip.header_length();
    if !ip.is_version_4() || header < size_of::<Ipv4>() || ip.is_later_fragment() {
        return Err(Counter::BadIcmpError as u32);
    }
    let (local, remote) = turned::<_, HOOK>(ip.source, ip.destination);
    let (local_port, remote_port) = ports::<HOOK>(frame, at + header, ip.protocol)?;
    *key = Key4 { local, remote, local_port, remote_port, protocol: ip.protocol, fragment: fragment::NONE, pad: 0 };
    Ok(())
}

/// Puts down the key of the IPv6 packet at `at` inside an error that this hook sees.
#[inline(always)]
pub fn inner6<const HOOK: u8>(frame: &Frame, at: usize, key: &mut Key6) -> Result<(), Outcome> {
    let ip: &Ipv6 = frame.header(at, Counter::BadIcmpError)?;
    if !ip.is_version_6() {
        return Err(Counter::BadIcmpError as u32);
    }
    let protocol = ip.next_header;
    let (local, remote) = turned::<_, HOOK>(ip.source, ip.destination);
    let (local_port, remote_port) = ports::<HOOK>(frame, at + size_of::<Ipv6>(), protocol)?;
    *key = Key6 { local, remote, local_port, remote_port, protocol, fragment: fragment::NONE, pad: 0 };
    Ok(())
}

/// Passes an error that belongs to a connection; `None`: it belongs to none, and is a packet like others.
#[inline(always)]
pub fn error<F: Family, const HOOK: u8>(context: &mut Context<F>) -> Option<i32> {
    let at = context.pending.packet.headers as usize;
    if at > parse::FARTHEST as usize {
        return None;
    }
    let endpoint = ENDPOINTS.get(context.pending.endpoint & (SLOTS - 1))?;
    judge::ask(context.pending, endpoint, context.pending.generation);
    if HOOK == hook::FROM_POD && judge::is_forged::<F>(context.pending, endpoint) {
        // It is judged as a packet of its own, which it is denied as.
        return None;
    }
    // The question is about the connection from here on, and not about the error.
    context.pending.outer = context.pending.key;
    let conn = about::<F, HOOK>(context, at);
    context.pending.key = context.pending.outer;
    context.conn = conn;
    context.conn.as_ref()?;
    count::add(Counter::IcmpRelated, 1);
    count::other(context.pending.slot, 1);
    if observe::anyone() {
        let (verdict, reason) = (verdict::FORWARDED, reason::NONE);
        let rule = context.conn.as_ref().map_or(rule::NONE, |conn| conn.rule);
        let telling = Telling { kind: kind::RELATED, verdict, reason, rule, due: true, count: 0 };
        observe::packet::<F, HOOK>(context, telling);
    }
    Some(NEXT)
}

/// The connection that an error is about, if it is one still; the pending key is its key afterwards.
#[inline(always)]
fn about<F: Family, const HOOK: u8>(context: &mut Context<F>, at: usize) -> Option<&'static mut Conn> {
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(context.skb) };
    match F::inner::<HOOK>(&frame, at, context.key()) {
        Ok(()) => {}
        Err(parse::MORE) => {
            // SAFETY: the context is valid; the frame is taken anew.
            let frame = unsafe {
                let length = (*context.skb).len;
                bpf_skb_pull_data(context.skb, if length < PULL { length } else { PULL });
                Frame::new(context.skb)
            };
            if F::inner::<HOOK>(&frame, at, context.key()).is_err() {
                return unknown();
            }
        }
        Err(_) => return unknown(),
    }
    let slot = context.pending.slot;
    // SAFETY: an element that was just found.
    let conn = unsafe { &mut *F::find(slot, context.key())? };
    let pending = &mut *context.pending;
    // Its next packet takes out what has expired, or would not survive a policy that it has not met yet.
    if slow::has_expired(conn, pending.now) {
        return None;
    }
    if conn.generation != pending.generation && judge::again::<F>(pending, conn).verdict == verdict::DROPPED {
        return None;
    }
    Some(conn)
}

#[inline(always)]
fn unknown<T>() -> Option<T> {
    count::add(Counter::BadIcmpError, 1);
    None
}
