//! How a connection that was there before the datapath is entered.

/// What the `enter` program answers.
pub mod entered {
    /// It could not be entered: no tables, no memory.
    pub const FAILED: i32 = 0;
    /// It was entered.
    pub const NEW: i32 = 1;
    /// It was there, met in mid-stream: now it is known who opened it.
    pub const CORRECTED: i32 = 2;
    /// It was there.
    pub const PRESENT: i32 = 3;
}

/// What the `enter` program is given, behind an Ethernet header of zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Entering {
    /// The key: a [`Key6`](crate::Key6), or a [`Key4`](crate::Key4) in the first two words.
    pub key: [u64; 5],
    /// The endpoint's slot.
    pub slot: u32,
    /// 4 or 6.
    pub family: u8,
    /// One of [`opened`](crate::opened).
    pub opened: u8,
    /// One of [`state`](crate::state).
    pub state: u8,
    /// Always 0.
    pub pad: u8,
    /// TCP flags that the pod must have sent so far.
    pub tx_flags: u16,
    /// TCP flags that it must have received so far.
    pub rx_flags: u16,
    /// Always 0.
    pub pad2: u32,
}
