//! Decides packets of no connection, and connections judged under an older generation.
//!
//! Who asks is found by slot ([`ask`]); the other side's address has a class; rules, direction and class have a port table
//! ([`chainkit_row`]). Nothing here loops over rules. What lies where, `chainkit-abi`'s `policy` says.

use aya_ebpf::bindings::__sk_buff;
use chainkit_abi::{
    Active, Conn, Control, Endpoint, MOST_BACKENDS, RULES, RowKey, SLOTS, SourceKey, address, flag, ground, hook, mode,
    opened, reason, rule, set_of, side_of, verdict,
};

use crate::{
    atomic,
    family::{Family, V4, V6},
    lately,
    maps::{BACKENDS, BACKENDS_OF, CONTROL, ENDPOINTS, HITS, PORTS, ROWS, RUNS, SIDES, SOURCES, SUBJECTS, VIRTUALS},
    pending::{Pending, pending},
    time,
};

/// A decision.
#[derive(Clone, Copy)]
pub struct Judgement {
    /// One of [`verdict`].
    pub verdict: u8,
    /// One of [`reason`], of what is denied.
    pub reason: u8,
    /// The rule that decided, one of [`rule`] or a policy's.
    pub rule: u32,
}

/// What is asked of [`chainkit_judge4`] and [`chainkit_judge6`], as bits.
mod question {
    /// Whether the other side may open it to the pod.
    pub(super) const INGRESS: u32 = 1;
    /// Whether the pod may open it.
    pub(super) const EGRESS: u32 = 2;
    /// It is open already: what leads to a service goes to one of its backends, and nobody knows which.
    pub(super) const LIVE: u32 = 4;
    /// And only addresses and services have changed since it was judged, no rule.
    pub(super) const SAME_RULES: u32 = 8;
    /// Where both directions are asked and neither allows it, egress is what is told.
    pub(super) const EGRESS_TOLD: u32 = 16;
}

/// An answer in one word, as global functions give numbers alone: bits of [`answer`], reason, rule.
mod answer {
    pub(super) const ALLOWED: u64 = 1;
    /// What was decided before stays.
    pub(super) const KEEP: u64 = 2;
    /// It leads to a service, and its backends are to be asked about: where they are stands in place of the rule.
    pub(super) const BACKENDS: u64 = 4;
    pub(super) const REASON: u32 = 8;
    pub(super) const RULE: u32 = 32;
}

#[inline(always)]
const fn allowed(rule: u32) -> u64 {
    answer::ALLOWED | (rule as u64) << answer::RULE
}

#[inline(always)]
const fn denied(reason: u8, rule: u32) -> u64 {
    (reason as u64) << answer::REASON | (rule as u64) << answer::RULE
}

/// Which generation judges, given the control word: the one before once an unconfirmed one's time is up.
#[inline(always)]
pub fn generation(control: *const Control) -> u32 {
    // SAFETY: array elements stay; one read, so that generation and deadline belong together.
    let active = Active::unpack(unsafe { core::ptr::read_volatile(&raw const (*control).active) });
    if active.deadline != 0 && time::nanoseconds() / 1_000_000_000 > active.deadline as u64 {
        // SAFETY: as above.
        return unsafe { core::ptr::read_volatile(&raw const (*control).fallback) } as u32;
    }
    active.generation
}

/// Whether this node has made the packet itself: it has a socket, and came in nowhere. What is forwarded may bear the node's
/// address, and where it is bridged still has the socket of the pod that sent it.
#[inline(always)]
pub fn is_of_this_node(skb: *const __sk_buff) -> bool {
    // SAFETY: the context is valid; the socket is not looked into.
    unsafe { (*skb).ingress_ifindex == 0 && !(*skb).__bindgen_anon_2.sk.is_null() }
}

/// Puts down who asks under a generation: its rules, its mode, and where it is isolated without rules.
#[inline(always)]
pub fn ask(pending: &mut Pending, endpoint: &Endpoint, generation: u32) {
    pending.policy = 0;
    pending.to_service = 0;
    pending.mode = endpoint.mode;
    pending.isolated = endpoint.flags;
    pending.judged_by = generation;
    if generation == 0 {
        return;
    }
    let Some(subjects) = SUBJECTS.get(set_of(generation)) else { return };
    let Some(subject) = subjects.get(pending.slot & (SLOTS - 1)) else { return };
    if subject.ifindex == endpoint.ifindex && subject.mode != mode::NONE {
        pending.policy = subject.policy;
        pending.mode = subject.mode;
        pending.isolated = subject.isolated;
    }
}

/// Judges a packet that belongs to no connection.
///
/// A TCP segment without SYN belongs to one that is not remembered: it passes if either direction allows it. One that answers a
/// SYN is judged as what the other side opened.
#[inline(always)]
pub fn fresh<F: Family, const HOOK: u8>(pending: &mut Pending, mid_stream: bool, answers: bool) -> Judgement {
    let from_pod = (HOOK == hook::FROM_POD) != answers;
    let told = if from_pod { question::EGRESS_TOLD } else { 0 };
    let question = match (mid_stream, from_pod) {
        (true, _) => question::INGRESS | question::EGRESS | told,
        (false, true) => question::EGRESS,
        (false, false) => question::INGRESS,
    };
    judge::<F>(pending, question)
}

/// Whether a segment that opens a connection to the pod is one that the pod itself has sent to a service, and the node has led back
/// to it: with an address of a node in place of the pod's, or else the answer would not come by the node.
#[inline(always)]
pub fn is_own_by_service<F: Family>(hash: u32) -> bool {
    let answer = match F::NUMBER {
        4 => chainkit_own4(hash),
        _ => chainkit_own6(hash),
    };
    answer != 0
}

/// [`is_own_by_service`] for IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_own4(hash: u32) -> u32 {
    own_of::<V4>(hash) as u32
}

/// [`is_own_by_service`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_own6(hash: u32) -> u32 {
    own_of::<V6>(hash) as u32
}

#[inline(always)]
fn own_of<F: Family>(hash: u32) -> bool {
    let Some(pending) = pending() else { return false };
    // SAFETY: a family's key.
    let key = unsafe { &*(&raw const *pending.key::<F::Key>()) };
    let marks = F::class_at(set_of(pending.judged_by), key).unwrap_or(0);
    marks & address::NODE != 0
        && lately::comes_back(pending.slot & (SLOTS - 1), pending.packet.sequence, hash, pending.now)
}

/// Judges a connection again, in the direction it was opened in.
#[inline(always)]
pub fn again<F: Family>(pending: &mut Pending, conn: &Conn) -> Judgement {
    if (conn.rule == rule::OWN_NODE || conn.rule == rule::ITSELF) && conn.opened == opened::BY_REMOTE {
        return Judgement { verdict: verdict::FORWARDED, reason: reason::NONE, rule: conn.rule };
    }
    // Its packets may go either way; who has made this one does not tell who opened it.
    pending.own_node = 0;
    let question = match conn.opened {
        opened::BY_POD => question::EGRESS,
        opened::BY_REMOTE => question::INGRESS,
        _ => question::INGRESS | question::EGRESS,
    };
    let same_rules = if rules_are_those_of(pending.judged_by, conn.generation) { question::SAME_RULES } else { 0 };
    let judgement = judge::<F>(pending, question | question::LIVE | same_rules);
    if judgement.rule == u32::MAX {
        return Judgement { verdict: conn.verdict, reason: reason::NONE, rule: conn.rule };
    }
    judgement
}

/// Whether no rule has changed between an older generation and the one that judges.
#[inline(always)]
fn rules_are_those_of(judging: u32, older: u32) -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: array elements stay.
    let since = unsafe { core::ptr::read_volatile(&raw const (*control).rules_since) };
    judging.wrapping_sub(older) as i32 >= 0 && older.wrapping_sub(since) as i32 >= 0
}

/// Asks, and makes of the answer what the mode does with it. The rule is `u32::MAX` where what was decided before stays.
#[inline(always)]
fn judge<F: Family>(pending: &mut Pending, question: u32) -> Judgement {
    if pending.mode < mode::AUDIT {
        return Judgement { verdict: verdict::FORWARDED, reason: reason::NONE, rule: rule::NONE };
    }
    let enforces = pending.mode == mode::ENFORCE;
    let mut answer = answer_to::<F>(question);
    if answer & answer::BACKENDS != 0 {
        pending.to_service = 1;
        // Asked from here, and not from there: the stack is short.
        // SAFETY: a family's key.
        let transport = transport(F::protocol(unsafe { pending.key::<F::Key>() }));
        let (set, side) = (set_of(pending.judged_by), side_of(pending.policy, 1));
        let live = (question & question::LIVE) >> 2;
        answer = chainkit_backends(set, side, (answer >> answer::RULE) as u32, transport << 1 | live);
        if answer & answer::ALLOWED == 0 && question & question::INGRESS != 0 {
            let other = answer_to::<F>(question & !question::EGRESS);
            if other & answer::ALLOWED != 0 || question & question::EGRESS_TOLD == 0 {
                answer = other;
            }
        }
    }
    if answer & answer::KEEP != 0 {
        return Judgement { verdict: verdict::FORWARDED, reason: reason::NONE, rule: u32::MAX };
    }
    let rule = (answer >> answer::RULE) as u32;
    if answer & answer::ALLOWED != 0 {
        return Judgement { verdict: verdict::FORWARDED, reason: reason::NONE, rule };
    }
    let verdict = if enforces { verdict::DROPPED } else { verdict::AUDIT };
    Judgement { verdict, reason: (answer >> answer::REASON) as u8, rule }
}

#[inline(always)]
fn answer_to<F: Family>(question: u32) -> u64 {
    match F::NUMBER {
        4 => chainkit_judge4(question),
        _ => chainkit_judge6(question),
    }
}

/// Answers a [`question`] about the pending packet of IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_judge4(question: u32) -> u64 {
    judge_of::<V4>(question)
}

/// The same for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_judge6(question: u32) -> u64 {
    judge_of::<V6>(question)
}

#[inline(always)]
fn judge_of<F: Family>(question: u32) -> u64 {
    let Some(pending) = pending() else { return denied(reason::POLICY, rule::NONE) };
    // SAFETY: a family's key.
    let key = unsafe { &*(&raw const *pending.key::<F::Key>()) };
    if F::local(key) == F::remote(key) {
        return allowed(rule::ITSELF);
    }
    let ingress = question & question::INGRESS != 0;
    let egress = question & question::EGRESS != 0;
    if ingress && pending.own_node != 0 {
        return allowed(rule::OWN_NODE);
    }
    let policy = pending.policy;
    let free = |flag: u8| pending.isolated & flag == 0 && policy == 0;
    if ingress && free(flag::ISOLATED_INGRESS) || egress && free(flag::ISOLATED_EGRESS) {
        return allowed(rule::NONE);
    }
    let set = set_of(pending.judged_by);
    let protocol = F::protocol(key);
    let transport = transport(protocol);
    let (local_port, remote_port) = if transport == OTHER {
        (0, 0)
    } else {
        let ports = F::ports(key);
        (u16::from_be(ports as u16) as u32, u16::from_be((ports >> 16) as u16) as u32)
    };
    let marks = F::class_at(set, key).unwrap_or(address::AS_PREFIX);
    let mut egress_answer = denied(reason::POLICY, rule::UNKNOWN_POD);
    if egress && pending.isolated & flag::ISOLATED_EGRESS == 0 {
        let backends = if marks & (address::VIRTUAL | address::NODE) == 0 {
            None
        } else {
            service::<F>(set, pending, marks, remote_port as u16)
        };
        egress_answer = match backends {
            Some(_) if question & question::SAME_RULES != 0 => return answer::KEEP,
            Some(of) => return answer::BACKENDS | (of as u64) << answer::RULE,
            None => {
                let class = class::<F>(set, pending, marks);
                chainkit_row(set, side_of(policy, 1), class, transport << 16 | remote_port)
            }
        };
        if egress_answer & answer::ALLOWED != 0 {
            return egress_answer;
        }
    }
    let mut ingress_answer = denied(reason::POLICY, rule::UNKNOWN_POD);
    if ingress && pending.isolated & flag::ISOLATED_INGRESS == 0 {
        let class = class::<F>(set, pending, marks);
        ingress_answer = chainkit_row(set, side_of(policy, 0), class, transport << 16 | local_port);
        if ingress_answer & answer::ALLOWED != 0 {
            return ingress_answer;
        }
    }
    if egress && (!ingress || question & question::EGRESS_TOLD != 0) { egress_answer } else { ingress_answer }
}

/// What has no ports, as the fourth of [`PortRuns::starts`](chainkit_abi::PortRuns).
const OTHER: u32 = 3;

/// Place of a protocol's runs in [`PortRuns::starts`](chainkit_abi::PortRuns).
#[inline(always)]
const fn transport(protocol: u8) -> u32 {
    match protocol {
        6 => 0,
        17 => 1,
        132 => 2,
        _ => OTHER,
    }
}

/// The class of the other side, of whose address these marks were found.
#[inline(always)]
fn class<F: Family>(set: u32, pending: &mut Pending, marks: u32) -> u32 {
    match marks & address::CLASS {
        address::AS_PREFIX => F::class_by_prefix(set, pending).unwrap_or(0),
        class => class,
    }
}

/// Where the backends are of the service that is met at an address and port: its own, or else that of a port of all nodes.
#[inline(always)]
fn service<F: Family>(set: u32, pending: &mut Pending, marks: u32, port: u16) -> Option<u32> {
    let virtuals = VIRTUALS.get(set)?;
    // SAFETY: a family's key.
    let key = unsafe { pending.key::<F::Key>() };
    let (remote, protocol) = (F::remote(key), F::protocol(key));
    let wanted = &mut pending.service;
    wanted.address = remote;
    wanted.port = port;
    wanted.protocol = protocol;
    wanted.family = F::NUMBER;
    if marks & address::VIRTUAL != 0
        && let Some(found) = virtuals.get_ptr(&*wanted)
    {
        // SAFETY: an element that was just found.
        return Some(unsafe { *found });
    }
    if marks & address::NODE == 0 {
        return None;
    }
    wanted.address = [0, 0];
    // SAFETY: as above.
    virtuals.get_ptr(&*wanted).map(|found| unsafe { *found })
}

/// Asks about each backend of a service; `transport_live` is the transport and whether the connection is open already.
///
/// What is opened is allowed if all backends are; what is open stays if any is, since it goes to one of them. A service without
/// backends is let pass: the node itself rejects it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_backends(set: u32, side: u32, of: u32, transport_live: u32) -> u64 {
    let Some(places) = BACKENDS_OF.get(set) else { return denied(reason::POLICY, rule::NONE) };
    let Some(place) = places.get(of) else { return denied(reason::POLICY, rule::NONE) };
    let (first, count) = (place.first, place.count);
    if count == 0 {
        return allowed(rule::NO_BACKEND);
    }
    if count > MOST_BACKENDS {
        let restricts = SIDES.get(set).and_then(|sides| sides.get(side)).is_none_or(|side| side.restricts != 0);
        return if restricts && transport_live & 1 == 0 {
            denied(reason::SPLIT_SERVICE, rule::TOO_MANY_BACKENDS)
        } else {
            allowed(rule::TOO_MANY_BACKENDS)
        };
    }
    if let Some(pending) = pending() {
        (pending.yes, pending.no) = (0, 0);
    }
    for stretch in 0..MOST_BACKENDS / STRETCH {
        let asked = stretch * STRETCH;
        if asked >= count {
            break;
        }
        let left = count - asked;
        let many = if left < STRETCH { left } else { STRETCH };
        if chainkit_stretch(set, side, first.wrapping_add(asked), transport_live >> 1 << 16 | many) == 0 {
            return denied(reason::POLICY, rule::NONE);
        }
    }
    let Some(pending) = pending() else { return denied(reason::POLICY, rule::NONE) };
    let (yes, no) = (pending.yes, pending.no);
    if no == 0 || yes != 0 && transport_live & 1 != 0 {
        return yes;
    }
    if yes == 0 { no } else { denied(reason::SPLIT_SERVICE, (no >> answer::RULE) as u32) }
}

/// Backends that are asked about in one call: the verifier reads the loop over calls and the loop in one apart.
const STRETCH: u32 = 32;

/// Asks about some backends, and puts down an answer that allows and one that denies; 0: what should be there is not.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_stretch(set: u32, side: u32, first: u32, transport_count: u32) -> u32 {
    let Some(backends) = BACKENDS.get(set) else { return 0 };
    let count = transport_count & 0xffff;
    for index in 0..STRETCH {
        if index >= count {
            break;
        }
        let Some(backend) = backends.get(first.wrapping_add(index)) else { return 0 };
        let answer = chainkit_row(set, side, backend.class, transport_count >> 16 << 16 | backend.port as u32);
        let Some(pending) = pending() else { return 0 };
        if answer & answer::ALLOWED != 0 {
            pending.yes = answer;
        } else {
            pending.no = answer;
        }
    }
    1
}

/// The decision of rules in a direction on a class and port: a row's port table, else that of all other classes, and in it the
/// run of the port. `transport_port` is the transport and the port.
///
/// What should be there and is not denies: a set of tables is made whole before it is used.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_row(set: u32, side: u32, class: u32, transport_port: u32) -> u64 {
    /// More steps than halving the longest stretch of runs takes: 65,536 of them.
    const STEPS: u32 = 17;
    const MISSING: u64 = denied(reason::POLICY, rule::NONE);
    let Some(rows) = ROWS.get(set) else { return MISSING };
    let Some(sides) = SIDES.get(set) else { return MISSING };
    let Some(all) = sides.get(side) else { return MISSING };
    let Some(pending) = pending() else { return MISSING };
    pending.row = RowKey { side, class };
    let table = match rows.get_ptr(&pending.row) {
        // SAFETY: an element that was just found.
        Some(table) => unsafe { *table },
        None => all.table,
    };
    let Some(tables) = PORTS.get(set) else { return MISSING };
    let Some(runs_of) = tables.get(table) else { return MISSING };
    let (transport, port) = ((transport_port >> 16 & 3) as usize, transport_port as u16);
    let starts: *const u32 = (&raw const runs_of.starts).cast();
    // SAFETY: below 4, of five.
    let (mut low, mut high) = unsafe { (*starts.add(transport), *starts.add(transport + 1)) };
    let Some(runs) = RUNS.get(set) else { return MISSING };
    // The first run whose last port is not before the one asked for.
    for _ in 0..STEPS {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        let Some(run) = runs.get(middle) else { return MISSING };
        if run.last < port {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let Some(run) = runs.get(low) else { return MISSING };
    let rule = match run.ground {
        ground::RULE => run.rule,
        ground::ISOLATED => all.isolated_by,
        ground::OWN_NODE => rule::OWN_NODE,
        _ => rule::NONE,
    };
    if run.allowed != 0 { allowed(rule) } else { denied(reason::POLICY, rule) }
}

/// Whether what an endpoint sends must bear one of its addresses, and the pending packet does not.
#[inline(always)]
pub fn is_forged<F: Family>(pending: &mut Pending, endpoint: &Endpoint) -> bool {
    if pending.mode != mode::ENFORCE || endpoint.flags & flag::SOURCES_KNOWN == 0 {
        return false;
    }
    // SAFETY: a family's key.
    let address = F::local(unsafe { pending.key::<F::Key>() });
    if F::NUMBER == 6 && u64::from_be(address[0]) >> 54 == LINK_LOCAL {
        // No router passes these on (RFC 4291, section 2.5.6), and each interface has one of its own making.
        return false;
    }
    pending.source = SourceKey { address, ifindex: endpoint.ifindex, family: F::NUMBER as u32 };
    if SOURCES.get_ptr(&pending.source).is_some() {
        return false;
    }
    // A host that has no address yet asks for one (RFC 2131, section 4.1).
    // SAFETY: as above.
    let key = unsafe { pending.key::<F::Key>() };
    const DHCP: u32 = 68_u16.to_be() as u32 | (67_u16.to_be() as u32) << 16;
    !(F::NUMBER == 4 && address == [0, 0] && F::protocol(key) == 17 && F::ports(key) == DHCP)
}

/// The first ten bits of a link-local address, `fe80::/10`.
const LINK_LOCAL: u64 = 0xfe80 >> 6;

/// Whether what cannot be parsed must not pass: something may be denied to the endpoint in this direction, and that is enforced.
#[inline(always)]
pub fn refuses_unread<const HOOK: u8>(place: u32, generation: u32) -> bool {
    chainkit_refuses(place, generation, HOOK as u32) != 0
}

/// [`refuses_unread`], which the verifier reads once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_refuses(place: u32, generation: u32, hook: u32) -> u32 {
    let Some(endpoint) = ENDPOINTS.get(place & (SLOTS - 1)) else { return 0 };
    let Some(pending) = pending() else { return 0 };
    pending.slot = endpoint.slot;
    ask(pending, endpoint, generation);
    let from_pod = hook == hook::FROM_POD as u32;
    let isolates = if from_pod { flag::ISOLATED_EGRESS } else { flag::ISOLATED_INGRESS };
    if pending.mode != mode::ENFORCE {
        return 0;
    }
    if pending.isolated & isolates != 0 {
        return 1;
    }
    if pending.policy == 0 {
        return 0;
    }
    let side = side_of(pending.policy, from_pod as u32);
    SIDES.get(set_of(generation)).and_then(|sides| sides.get(side)).is_none_or(|side| side.restricts != 0) as u32
}

/// Asks what the shadow generation would decide on what is new, and puts it down for whoever is told of the packet.
///
/// To be called last: who asks is another's afterwards.
#[inline(always)]
pub fn shadow<F: Family, const HOOK: u8>(pending: &mut Pending, endpoint: &Endpoint, mid_stream: bool, answers: bool) {
    let Some(control) = CONTROL.get_ptr(0) else { return };
    // SAFETY: array elements stay.
    let generation = unsafe { core::ptr::read_volatile(&raw const (*control).shadow) } as u32;
    if generation == 0 {
        return;
    }
    ask(pending, endpoint, generation);
    let judgement = fresh::<F, HOOK>(pending, mid_stream, answers);
    pending.shadow_verdict = judgement.verdict;
    pending.shadow_rule = judgement.rule;
}

/// Counts a decision for its rule.
#[inline(always)]
pub fn count(judgement: Judgement, packets: u32) {
    if judgement.rule == rule::NONE || judgement.rule >= RULES {
        return;
    }
    let Some(hits) = HITS.get_ptr_mut(judgement.rule) else { return };
    // SAFETY: words of an array element; the time is the latest of any CPU's, or near it.
    unsafe {
        match judgement.verdict {
            verdict::DROPPED => atomic::add(&raw mut (*hits).denied, packets as u64),
            verdict::AUDIT => atomic::add(&raw mut (*hits).audited, 1),
            _ => atomic::add(&raw mut (*hits).allowed, 1),
        }
        core::ptr::write_volatile(&raw mut (*hits).last, time::coarse_nanoseconds());
    }
}

/// Puts down the trie's key of a whole IPv4 address.
#[inline(always)]
pub fn whole4(words: &mut [u32; 5], address: u32) {
    let [length, first, ..] = words;
    (*length, *first) = (32, address);
}

/// Puts down the trie's key of a whole IPv6 address.
#[inline(always)]
pub fn whole6(words: &mut [u32; 5], address: [u64; 2]) {
    let [length, a, b, c, d] = words;
    let [high, low] = address;
    // As they lie: the half that comes first in memory is the low one.
    (*length, *a, *b, *c, *d) = (128, high as u32, (high >> 32) as u32, low as u32, (low >> 32) as u32);
}
