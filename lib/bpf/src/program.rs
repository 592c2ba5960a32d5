//! What the datapath is made of: its programs and maps by name.

use crate::sys::Direction;

/// Names of the maps, as the object has them.
pub(crate) const MAPS: [&str; 31] = [
    "CONTROL",
    "ENDPOINTS",
    "OVERFLOW",
    "CONNS4",
    "CONNS6",
    "KEYS4",
    "KEYS6",
    "TABLES",
    "DENIALS",
    "COUNTERS",
    "OBSERVERS",
    "DECISIONS",
    "HEALTH",
    "FILTERS",
    "LOSSES",
    "SCRATCH",
    "CLOCK",
    "SUBJECTS",
    "SIDES",
    "ROWS",
    "PORTS",
    "RUNS",
    "CLASSES4",
    "CLASSES6",
    "PREFIXES4",
    "PREFIXES6",
    "VIRTUALS",
    "BACKENDS_OF",
    "BACKENDS",
    "HITS",
    "SOURCES",
];

/// Maps without which nothing can be done with a datapath.
pub(crate) const NEEDED: [&str; 11] = [
    "CONTROL",
    "ENDPOINTS",
    "OVERFLOW",
    "CONNS4",
    "CONNS6",
    "KEYS4",
    "KEYS6",
    "TABLES",
    "OBSERVERS",
    "FILTERS",
    "LOSSES",
];

/// The programs of the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Hangs on ingress of the host side.
    FromPod,
    /// Hangs on egress of the host side.
    ToPod,
    /// Takes out expired connections; run by [`Datapath::sweep`](crate::Datapath::sweep).
    Sweep,
    /// Enters a connection that was there before; run by [`Datapath::enter`](crate::Datapath::enter).
    Enter,
    /// Reads the kernel's clocks.
    Clock,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::FromPod, Self::ToPod, Self::Sweep, Self::Enter, Self::Clock];

    /// Its name in the object and in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::Sweep => "sweep",
            Self::Enter => "enter",
            Self::Clock => "clock",
        }
    }

    /// The program that hangs on a direction.
    #[must_use]
    pub const fn of(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::FromPod,
            Direction::Egress => Self::ToPod,
        }
    }
}
