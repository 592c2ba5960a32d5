//! The bounds that both sides know.

/// Version of every layout in this crate; pins live under `chainkit/<ABI_VERSION>/`.
pub const ABI_VERSION: u32 = 5;

/// First word of [`Control`](crate::Control), "ckit" in ASCII: tells our control map from another of the same name.
pub const MAGIC: u32 = 0x636b_6974;

/// Endpoint slots of a node, one for each host-side interface that carries our programs.
///
/// The kernel reads an endpoint at `ifindex % SLOTS` first, so this is a power of two.
pub const SLOTS: u32 = 4096;

/// Connections that one endpoint's table holds, for each address family, if nothing else is asked for.
pub const CONNECTIONS: u32 = 4096;

/// Observers at one time: a bit of [`Control::observers`](crate::Control) each.
pub const OBSERVERS: u32 = 64;

/// An observer whose heartbeat is older than this is taken for dead by the kernel and switched off, in nanoseconds.
pub const HEARTBEAT_TIMEOUT_NS: u64 = 2_500_000_000;

/// Recent denials remembered for each slot, so that a repeated one is counted and not reported each time.
pub const DENIALS_PER_SLOT: u32 = 16;

/// Places of a connection table that one run of the `sweep` program looks at.
pub const SWEEP_CHUNK: u32 = 128;

/// Slots whose emptied tables are kept for the next endpoints.
pub const SPARES: u32 = 16;

/// The generation of an entry that no policy has judged: what came before the datapath.
pub const UNJUDGED: u32 = u32::MAX;
