//! What the kernel side and the user side of chainkit agree on: every struct that lies in a BPF map or a ring buffer,
//! and every number that both must know.
//!
//! Rules of this crate: plain integers and arrays of them, explicit padding, no `Option`, no `bool`, no enum inside a
//! shared struct (a byte from the other side may be anything), and a size assertion for each. Addresses and ports inside
//! *keys* are in network byte order, as they lie in the packet; everything in an [`Event`] is in host byte order but
//! for addresses, which are arrays of bytes in the order people write them.
//!
//! A change of any layout here is a change of [`ABI_VERSION`], which is part of the path that maps are pinned under.
//!
//! Start at [`Event`] for what user space sees, at [`Conn`] for what the datapath remembers.
#![no_std]

mod conn;
mod control;
mod counter;
mod drops;
mod endpoint;
mod entering;
mod event;
mod filter;
mod health;
mod limits;
mod payload;
mod policy;

pub use conn::{Conn, Key4, Key6, TableState, fragment, opened, state};
pub use control::{Active, Clock, Control};
pub use counter::{COUNTERS, Counter};
pub use drops::{
    DROP_AGAIN_NS, DROPPED_BY_US, Drop, DropAddress, DropEndpoint, DropFacts, DropKey, DropLayout, DropSeen,
    drop_counter, quiet,
};
pub use endpoint::{Denial, Endpoint, flag, mark, mode, seen};
pub use entering::{Entering, entered};
pub use event::{Event, close, hook, kind, reason, reply, tcp, verdict};
pub use filter::{
    FILTER_PORTS, FILTER_PREFIXES, ObserverFilter, PortMatch, PrefixMatch, filter_bit, protocol_bit, side,
};
pub use health::{Health, REORDERED_NS, Segment, Way, way};
pub use limits::{
    ABI_VERSION, CONNECTIONS, DENIALS_PER_SLOT, HEARTBEAT_TIMEOUT_NS, MAGIC, OBSERVERS, SLOTS, SPARES, SWEEP_CHUNK,
    UNJUDGED,
};
pub use payload::{
    PAYLOAD_BUDGET, PAYLOAD_TURN, PIECE_BYTES, PIECES, PROBE_BYTES, PayloadKey, PayloadState, Piece, SKIP_MOST, copy,
    piece_flag,
};
pub use policy::{
    BackendOf, BackendsOf, MOST_BACKENDS, PortRuns, Prefix4, Prefix6, RULES, RowKey, RuleHits, Run, Side, SourceKey,
    Subject, TABLE_SETS, VirtualKey, address, ground, rule, set_of, side as side_of,
};

/// Marks a struct as plain data for aya: `repr(C)`, `Copy`, no padding that is not named, every bit pattern valid.
macro_rules! plain {
    ($($name:ident = $size:expr),* $(,)?) => {
        $(
            const _: () = assert!(size_of::<$name>() == $size, concat!("layout of ", stringify!($name)));
            #[cfg(feature = "user")]
            // SAFETY: `repr(C)`, `Copy`, made of integers and arrays of integers, padding named (the size is asserted above).
            unsafe impl aya::Pod for $name {}
        )*
    };
}

plain! {
    BackendOf = 8,
    BackendsOf = 8,
    Clock = 16,
    Conn = 104,
    Control = 680,
    Denial = 32,
    Drop = 112,
    DropAddress = 20,
    DropEndpoint = 8,
    DropFacts = 40,
    DropKey = 64,
    DropLayout = 72,
    DropSeen = 56,
    Endpoint = 16,
    Entering = 56,
    Event = 160,
    Health = 256,
    Key4 = 16,
    Key6 = 40,
    ObserverFilter = 896,
    PayloadKey = 48,
    PayloadState = 24,
    Piece = 96,
    PortMatch = 4,
    PortRuns = 24,
    Prefix4 = 8,
    Prefix6 = 20,
    PrefixMatch = 40,
    RowKey = 8,
    RuleHits = 32,
    Run = 8,
    Segment = 32,
    Side = 16,
    SourceKey = 24,
    Subject = 16,
    TableState = 104,
    VirtualKey = 24,
    Way = 120,
}
