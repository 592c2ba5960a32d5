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
    /// Its addresses are known (`SOURCES`): in [`mode::ENFORCE`](super::mode::ENFORCE) what it sends must bear one of them.
    pub const SOURCES_KNOWN: u8 = 4;
}

/// Bits of [`Endpoint::marks`]: what user space has to remember of an interface for as long as it is an endpoint.
pub mod mark {
    /// The programs are to stay after every process is gone.
    pub const LASTING: u8 = 1;
    /// The clsact qdisc is there because of us, and goes with us once it is empty.
    pub const MADE_QDISC: u8 = 2;
    /// A process has leased the interface with this datapath; whether it lives still, its lock says.
    pub const LEASED: u8 = 4;
    /// A pod that runs is being taken over: its connections are not all entered yet, and policy does not judge it.
    pub const TAKING_OVER: u8 = 8;
}

/// One host-side interface of a pod, in the array `ENDPOINTS`: at `ifindex % SLOTS`, or where `OVERFLOW` says.
///
/// Its tables are elsewhere, at its slot: to make tables takes the kernel milliseconds, so that those of a pod that is gone
/// are emptied and kept for the next, whatever its interface index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    /// Index of the host-side interface, in the network namespace of the datapath; 0: the place is free.
    pub ifindex: u32,
    /// One of [`mode`].
    pub mode: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Bits of [`mark`]; the kernel does not look at them.
    pub marks: u8,
    /// Always 0.
    pub pad: u8,
    /// Always 0.
    pub more_pad: u32,
    /// Its slot: where its tables are, and all else that is kept for each endpoint.
    pub slot: u32,
}

/// What was seen lately of a slot, in the array `DENIALS`, direct-mapped: a denial, as a hint against repeated reports; or that its pod
/// opens a connection to a service, by which it is known when it comes back to the pod itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Denial {
    /// Fold of the addresses, ports, protocol, hook and reason, or of the sequence number; 0: unused.
    pub fold: u64,
    /// When it was last reported, or sent, in jiffies.
    pub reported: u64,
    /// How often it was seen since it was last reported; of a SYN the kernel's hash of it.
    pub count: u64,
    /// One of [`seen`].
    pub what: u64,
}

/// Values of [`Denial::what`].
pub mod seen {
    /// A denial.
    pub const DENIED: u64 = 0;
    /// The pod's SYN to a service.
    pub const TO_SERVICE: u64 = 1;
}
