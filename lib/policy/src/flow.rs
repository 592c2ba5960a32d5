//! What is judged: a connection, by who opens it, to whom, over which protocol, to which port.

use std::fmt;
use std::net::IpAddr;

use chainkit_cluster::model::Protocol;

/// What carries a connection, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
    /// Anything else, such as ICMP, GRE and ESP: no port, and only rules without ports speak of it.
    Other,
}

impl Transport {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Other];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The highest destination port a connection can have; [`Self::Other`] has port 0 alone.
    #[must_use]
    pub const fn last_port(self) -> u16 {
        match self {
            Self::Other => 0,
            _ => u16::MAX,
        }
    }

    /// The protocol of Kubernetes that it is.
    #[must_use]
    pub const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Tcp => Some(Protocol::Tcp),
            Self::Udp => Some(Protocol::Udp),
            Self::Sctp => Some(Protocol::Sctp),
            Self::Other => None,
        }
    }
}

impl From<Protocol> for Transport {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.protocol().map_or("other", Protocol::name))
    }
}

/// The direction in which a subject's rules judge a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What others open to the subject; the peer is the source.
    Ingress,
    /// What the subject opens; the peer is the destination.
    Egress,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// 0 for ingress, 1 for egress.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// `ingress` or `egress`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The connection may be opened.
    Allowed,
    /// It may not.
    Denied,
}

impl Verdict {
    /// Denied as soon as one is.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Allowed, Self::Allowed) => Self::Allowed,
            _ => Self::Denied,
        }
    }

    /// `ALLOWED` or `DENIED`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::Denied => "DENIED",
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A workload of the cluster, by its place in [`Cluster::workloads`](chainkit_cluster::model::Cluster::workloads). With an
    /// address it is the pod under that address, and CIDRs that contain it match; without, it is the workload as
    /// such, which no CIDR matches: a template has no other form.
    Workload {
        /// Its place.
        index: usize,
        /// The address it is met under.
        address: Option<IpAddr>,
    },
    /// Whoever has the address: a pod, a node, a service, or somebody outside.
    Address(IpAddr),
    /// A service, by its place in [`Cluster::services`](chainkit_cluster::model::Cluster::services); as a destination alone.
    Service(usize),
    /// The destination's own node, which generates the packets itself (a probe, say); as a source alone. What a node
    /// forwards may bear the node's address and is [`Self::Address`].
    OwnNode,
}

impl Party {
    /// A workload without address.
    #[must_use]
    pub const fn workload(index: usize) -> Self {
        Self::Workload { index, address: None }
    }

    /// A pod under one of its addresses.
    #[must_use]
    pub const fn pod(index: usize, address: IpAddr) -> Self {
        Self::Workload { index, address: Some(address) }
    }
}

/// A connection to be judged. Replies are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who opens it.
    pub source: Party,
    /// To whom.
    pub destination: Party,
    /// Over what.
    pub transport: Transport,
    /// The destination port in host byte order; of a service, the service's port. 0 for [`Transport::Other`].
    pub port: u16,
}

/// How the objects are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose rules are compiled.
    pub scope: Scope,
    /// Whether `ipBlock` and `networks` match the addresses of pods too, as packets see it. Without, they match what is
    /// outside alone: an analysis of manifests, whose pods' addresses mean nothing.
    pub cidrs_match_pods: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { scope: Scope::All, cidrs_match_pods: true }
    }
}

/// Whose rules are compiled: the subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All workloads.
    All,
    /// The pods of one node, by its name.
    Node(String),
}
