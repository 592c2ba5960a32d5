//! Decides packets of no connection, and connections judged under an older generation.
//!
//! Without a rule table an isolated direction allows nothing. The tables of a generation come between the two: peer
//! address to class, then (policy, direction, class, protocol, port) to verdict and rule.

use chainkit_abi::{Active, Conn, Endpoint, RULE_NONE, flag, hook, mode, opened, verdict};

use crate::time;

/// A decision.
#[derive(Clone, Copy)]
pub struct Judgement {
    /// One of [`verdict`].
    pub verdict: u8,
    /// The rule that decided, [`RULE_NONE`] where none did.
    pub rule: u32,
}

/// Which generation judges, given the control word: the one before once an unconfirmed one's time is up.
#[inline(always)]
pub fn generation(active: u64) -> u32 {
    let active = Active::unpack(active);
    if active.deadline != 0 && time::nanoseconds() / 1_000_000_000 > active.deadline as u64 {
        return active.previous as u32;
    }
    active.generation as u32
}

/// Which directions a packet may be allowed by; bits of [`flag`].
#[inline(always)]
fn denied(endpoint: &Endpoint, direction: u8) -> bool {
    endpoint.flags & direction != 0
}

/// The direction, as a bit of [`flag`], that a packet of this hook is opened in.
#[inline(always)]
const fn direction<const HOOK: u8>() -> u8 {
    if HOOK == hook::FROM_POD { flag::ISOLATED_EGRESS } else { flag::ISOLATED_INGRESS }
}

#[inline(always)]
fn decide(endpoint: &Endpoint, is_denied: bool) -> Judgement {
    let verdict = match (is_denied, endpoint.mode) {
        (true, mode::ENFORCE) => verdict::DROPPED,
        (true, mode::AUDIT) => verdict::AUDIT,
        _ => verdict::FORWARDED,
    };
    Judgement { verdict, rule: RULE_NONE }
}

/// Judges a packet that belongs to no connection.
///
/// A TCP segment without SYN belongs to one that is not remembered: it passes if either direction allows it.
#[inline(always)]
pub fn fresh<const HOOK: u8>(endpoint: &Endpoint, mid_stream: bool) -> Judgement {
    let is_denied = if mid_stream {
        denied(endpoint, flag::ISOLATED_EGRESS) && denied(endpoint, flag::ISOLATED_INGRESS)
    } else {
        denied(endpoint, direction::<HOOK>())
    };
    decide(endpoint, is_denied)
}

/// Judges a connection again, in the direction it was opened in.
#[inline(always)]
pub fn again(endpoint: &Endpoint, conn: &Conn) -> Judgement {
    let is_denied = match conn.opened {
        opened::BY_POD => denied(endpoint, flag::ISOLATED_EGRESS),
        opened::BY_REMOTE => denied(endpoint, flag::ISOLATED_INGRESS),
        _ => denied(endpoint, flag::ISOLATED_EGRESS) && denied(endpoint, flag::ISOLATED_INGRESS),
    };
    decide(endpoint, is_denied)
}

/// Whether what cannot be parsed must not pass: the endpoint is isolated in this direction, and that is enforced.
#[inline(always)]
pub fn refuses_unread<const HOOK: u8>(endpoint: &Endpoint) -> bool {
    endpoint.mode == mode::ENFORCE && denied(endpoint, direction::<HOOK>())
}
