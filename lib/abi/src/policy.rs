//! The tables of policy, as they lie in the kernel.
//!
//! There are [`TABLE_SETS`] places for sets of tables; each table is an outer array with a map at the place of its set, and a
//! generation names the set that it is judged by ([`set_of`]). A set is made whole before a packet meets it.
//!
//! The way of a question: who asks (`SUBJECTS`, by slot) -> the class of the other side (`CLASSES4`/`CLASSES6` by address, else
//! `PREFIXES4`/`PREFIXES6`, else 0) -> the port table of (rules, direction, class) in `ROWS`, else that of `SIDES` -> the run of the port
//! in `RUNS`. What a pod sends to an address marked [`address::VIRTUAL`] or [`address::NODE`] may be for a service: `VIRTUALS`
//! has the number of its backends, each of which is asked about instead.

/// Places for sets of tables: one in force, one to go back to, one being made, one that only shadows.
pub const TABLE_SETS: u32 = 4;

/// The set of tables that a generation is judged by; generation 0 has none.
#[must_use]
pub const fn set_of(generation: u32) -> u32 {
    generation % TABLE_SETS
}

/// Rules that numbers are given to at one time: cells of the array `HITS`.
pub const RULES: u32 = 65_536;

/// Numbers of rules that are no policy's; from [`rule::FIRST`] on they are rules of policies, as user space numbers them.
pub mod rule {
    /// Nothing decided: no policy speaks of it.
    pub const NONE: u32 = 0;
    /// The pod's own node, which is always let in, and which the pod may always reach.
    pub const OWN_NODE: u32 = 1;
    /// A pod and itself.
    pub const ITSELF: u32 = 2;
    /// A service without a backend, which the node itself rejects.
    pub const NO_BACKEND: u32 = 3;
    /// A pod that is isolated since nothing is known of it yet.
    pub const UNKNOWN_POD: u32 = 4;
    /// A service with more kinds of backends than are asked about: denied where anything is.
    pub const TOO_MANY_BACKENDS: u32 = 5;
    /// The first number of a policy's rule.
    pub const FIRST: u32 = 16;
}

/// Whose rules an endpoint has, in `SUBJECTS` at its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Subject {
    /// Index of the host-side interface that this is said of; if the slot is another's by now it means nothing.
    pub ifindex: u32,
    /// Number of its rules; 0: no policy selects it.
    pub policy: u32,
    /// One of [`mode`](crate::mode).
    pub mode: u8,
    /// Bits of [`flag`](crate::flag): directions in which it is isolated though no rule is known.
    pub isolated: u8,
    /// Always 0.
    pub pad: [u8; 6],
}

/// What holds for all classes that have no row, in `SIDES` at [`side`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Side {
    /// The port table, by its place in `PORTS`.
    pub table: u32,
    /// The number of the rule to tell where [`ground::ISOLATED`] decides: the policies that isolate.
    pub isolated_by: u32,
    /// 1: something may be denied in this direction, so what cannot be read must not pass.
    pub restricts: u32,
    /// Always 0.
    pub pad: u32,
}

/// Where rules of a direction are: `policy` is [`Subject::policy`], `egress` 1 for what the pod opens, else 0.
#[must_use]
pub const fn side(policy: u32, egress: u32) -> u32 {
    policy << 1 | egress
}

/// Key of `ROWS`; the value is the place of a port table in `PORTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RowKey {
    /// A [`side`].
    pub side: u32,
    /// The class of the other side.
    pub class: u32,
}

/// A port table, in `PORTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortRuns {
    /// For TCP, UDP, SCTP and all else in this order where its runs begin in `RUNS`; each ends where the next begins.
    pub starts: [u32; 5],
    /// Always 0.
    pub pad: u32,
}

/// Ports that are answered alike, in `RUNS`: from the port after the run before to [`last`](Self::last).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Run {
    /// The last port of the run, host byte order.
    pub last: u16,
    /// 1: allowed.
    pub allowed: u8,
    /// One of [`ground`].
    pub ground: u8,
    /// The rule that decided, where [`ground`](Self::ground) is [`ground::RULE`]; else one of [`rule`].
    pub rule: u32,
}

/// What decided; values of [`Run::ground`].
pub mod ground {
    /// No policy speaks of it.
    pub const DEFAULT: u8 = 0;
    /// A rule.
    pub const RULE: u8 = 1;
    /// A policy isolates, and no rule allows it: [`Side::isolated_by`](super::Side::isolated_by) says which.
    pub const ISOLATED: u8 = 2;
    /// The pod's own node.
    pub const OWN_NODE: u8 = 3;
}

/// Values of `CLASSES4` and `CLASSES6`.
pub mod address {
    /// A service may be met at this address.
    pub const VIRTUAL: u32 = 1 << 31;
    /// A node's: ports of services may be met there.
    pub const NODE: u32 = 1 << 30;
    /// The bits that a class has.
    pub const CLASS: u32 = NODE - 1;
    /// No class of its own: it has that of its prefix.
    pub const AS_PREFIX: u32 = CLASS;
}

/// Key of `PREFIXES4`: network byte order, as the kernel's tries want it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Prefix4 {
    /// Bits of the prefix.
    pub length: u32,
    /// The address, as it lies in a packet.
    pub address: [u8; 4],
}

/// Key of `PREFIXES6`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Prefix6 {
    /// Bits of the prefix.
    pub length: u32,
    /// The address, as it lies in a packet.
    pub address: [u8; 16],
}

/// Key of `VIRTUALS`; the value is a place in `BACKENDS_OF`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct VirtualKey {
    /// The address as it lies in a packet, IPv4 in the first four bytes; all zero: a port at the addresses of all nodes.
    pub address: [u64; 2],
    /// The port, host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// Always 0.
    pub pad: u32,
}

/// The backends of a service, in `BACKENDS_OF`: a stretch of `BACKENDS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BackendsOf {
    /// The first.
    pub first: u32,
    /// How many; 0: the service has none.
    pub count: u32,
}

/// A kind of backend, in `BACKENDS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct BackendOf {
    /// Its class.
    pub class: u32,
    /// Its port, host byte order.
    pub port: u16,
    /// Always 0.
    pub pad: u16,
}

/// Kinds of backends of one service that are asked about; of one with more, what any rule restricts is denied.
pub const MOST_BACKENDS: u32 = 1024;

/// What has been judged by a rule, in `HITS` at its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleHits {
    /// Connections allowed, those judged again not counted.
    pub allowed: u64,
    /// Packets denied.
    pub denied: u64,
    /// Connections that would have been denied, and passed as the endpoint is only audited.
    pub audited: u64,
    /// When it decided last, nanoseconds of `CLOCK_MONOTONIC`.
    pub last: u64,
}

/// Key of `SOURCES`: an address that an endpoint may send from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SourceKey {
    /// The address as it lies in a packet, IPv4 in the first four bytes.
    pub address: [u64; 2],
    /// Index of the host-side interface.
    pub ifindex: u32,
    /// 4 or 6.
    pub family: u32,
}
