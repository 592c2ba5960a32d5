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
    pending::Pending,
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

/// The key of the IPv4 packet at `at` inside an error that this hook sees.
#[inline(always)]
pub fn inner4<const HOOK: u8>(frame: &Frame, at: usize) -> Result<Key4, Outcome> {
    let ip: &Ipv4 = frame.header(at, Counter::BadIcmpError)?;
    let header = ip.header_length();
    if !ip.is_version_4() || header < size_of::<Ipv4>() || ip.is_later_fragment() {
        return Err(Counter::BadIcmpError as u32);
    }
    let (local, remote) = turned::<_, HOOK>(ip.source, ip.destination);
    let (local_port, remote_port) = ports::<HOOK>(frame, at + header, ip.protocol)?;
    Ok(Key4 { local, remote, local_port, remote_port, protocol: ip.protocol, fragment: fragment::NONE, pad: 0 })
}

/// The key of the IPv6 packet at `at` inside an error that this hook sees.
#[inline(always)]
pub fn inner6<const HOOK: u8>(frame: &Frame, at: usize) -> Result<Key6, Outcome> {
    let ip: &Ipv6 = frame.header(at, Counter::BadIcmpError)?;
    if !ip.is_version_6() {
        return Err(Counter::BadIcmpError as u32);
    }
    let protocol = ip.next_header;
    let (local, remote) = turned::<_, HOOK>(ip.source, ip.destination);
    let (local_port, remote_port) = ports::<HOOK>(frame, at + size_of::<Ipv6>(), protocol)?;
    Ok(Key6 { local, remote, local_port, remote_port, protocol, fragment: fragment::NONE, pad: 0 })
}

/// Passes an error that belongs to a connection; `None`: it belongs to none, and is a packet like others.
#[inline(always)]
pub fn error<F: Family, const HOOK: u8>(context: &mut Context<F>) -> Option<i32> {
    let at = context.pending.packet.headers as usize;
    if at > parse::FARTHEST as usize {
        return None;
    }
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(context.skb) };
    let key = match F::inner::<HOOK>(&frame, at) {
        Ok(key) => key,
        Err(parse::MORE) => {
            // SAFETY: the context is valid; the frame is taken anew.
            let frame = unsafe {
                let length = (*context.skb).len;
                bpf_skb_pull_data(context.skb, if length < PULL { length } else { PULL });
                Frame::new(context.skb)
            };
            match F::inner::<HOOK>(&frame, at) {
                Ok(key) => key,
                Err(_) => return unknown(),
            }
        }
        Err(_) => return unknown(),
    };
    // SAFETY: an element that was just found.
    let conn = unsafe { &mut *F::find(context.pending.slot, &key)? };
    let endpoint = ENDPOINTS.get(context.pending.endpoint & (SLOTS - 1))?;
    judge::ask(context.pending, endpoint, context.pending.generation);
    if HOOK == hook::FROM_POD && judge::is_forged::<F>(context.pending, endpoint) {
        // It is judged as a packet of its own, which it is denied as.
        return None;
    }
    if is_no_more::<F>(context.pending, &key, conn) {
        return None;
    }
    context.conn = Some(conn);
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

/// Whether a connection has expired, or would not survive a policy that it has not met yet; its next packet takes it out.
#[inline(always)]
fn is_no_more<F: Family>(pending: &mut Pending, key: &F::Key, conn: &Conn) -> bool {
    if slow::has_expired(conn, pending.now) {
        return true;
    }
    if conn.generation == pending.generation {
        return false;
    }
    // The question is about the connection, and not about the error.
    pending.outer = pending.key;
    // SAFETY: a family's key.
    unsafe { *pending.key::<F::Key>() = *key };
    let judgement = judge::again::<F>(pending, conn);
    pending.key = pending.outer;
    judgement.verdict == verdict::DROPPED
}

#[inline(always)]
fn unknown() -> Option<i32> {
    count::add(Counter::BadIcmpError, 1);
    None
}
