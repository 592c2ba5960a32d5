//! Endpoints: the host-side interfaces that carry the datapath.

/// How an endpoint's verdicts are used; values of [`Endpoint::mode`].
pub mod mode {
    /// The slot is free; packets pass unseen.
    pub const NONE: u8 = 0;
    /// Packets are counted and reported; nothing is judged.
    pub const OBSERVE: u8 = 1;
    /// Packets are judged, a denial is reported as `AUDIT`, nothing is dropped.
    pub const AUDIT: u8 = 2;
    /// Packets are judged and denied ones dropped.
    pub const ENFORCE: u8 = 3;
}

/// Bits of [`Endpoint::flags`].
pub mod flag {
    /// Some policy isolates what comes to the pod: a packet that no rule allows is denied.
    pub const ISOLATED_INGRESS: u8 = 1;
    /// Some policy isolates what the pod sends.
    pub const ISOLATED_EGRESS: u8 = 2;
}

/// One host-side interface of a pod, in the array `ENDPOINTS` at its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    /// Index of the host-side interface, in the network namespace of the datapath; 0: the slot is free.
    pub ifindex: u32,
    /// One of [`mode`].
    pub mode: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Always 0.
    pub pad: u16,
    /// Which set of rules applies; 0: none is loaded.
    pub policy: u32,
    /// Places in each of this endpoint's connection tables.
    pub connections: u32,
}

/// A denial seen lately, in the array `DENIALS`, direct-mapped: a hint against repeated reports, never a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Denial {
    /// Fold of the addresses, ports, protocol, hook and reason; 0: unused.
    pub fold: u64,
    /// When it was last reported, in jiffies.
    pub reported: u64,
    /// How often it was seen since it was last reported.
    pub count: u64,
    /// Always 0.
    pub pad: u64,
}
