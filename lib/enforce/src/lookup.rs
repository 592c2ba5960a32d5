//! What an image answers, by the steps that the kernel takes: for what is not in force yet, and for what was read back.

use std::net::IpAddr;

use chainkit_abi::{
    MOST_BACKENDS, PortRuns, Prefix4, Prefix6, RowKey, Side, VirtualKey, address, ground, rule, side_of,
};

use crate::image::Image;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it may be opened.
    pub allowed: bool,
    /// The rule that decided, one of [`rule`] or a policy's.
    pub rule: u32,
    /// Whether backends of the service are answered otherwise.
    pub split: bool,
}

impl Answer {
    const fn allowed(rule: u32) -> Self {
        Self { allowed: true, rule, split: false }
    }

    const fn denied(rule: u32) -> Self {
        Self { allowed: false, rule, split: false }
    }
}

/// An image to be asked.
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    image: &'a Image,
    /// Lengths of the prefixes that there are, longest first.
    lengths4: Vec<u32>,
    lengths6: Vec<u32>,
}

impl<'a> Lookup<'a> {
    /// Asks an image.
    #[must_use]
    pub fn new(image: &'a Image) -> Self {
        let in_order = |mut lengths: Vec<u32>| {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
            lengths
        };
        Self {
            image,
            lengths4: in_order(image.prefixes4.keys().map(|prefix| prefix.length).collect()),
            lengths6: in_order(image.prefixes6.keys().map(|prefix| prefix.length).collect()),
        }
    }

    /// Whether a pod with these rules may exchange packets of a protocol with `peer`: `port` is the pod's own for what others open, and
    /// the peer's for what it opens itself. A connection that is `live` stays if any backend of a service is allowed.
    #[must_use]
    pub fn ask(&self, policy: u32, egress: bool, peer: IpAddr, protocol: u8, port: u16, live: bool) -> Answer {
        self.between(policy, egress, peer).ask(protocol, port, live)
    }

    /// The same of many protocols and ports: what is the same for all is found once.
    #[must_use]
    pub fn between(&self, policy: u32, egress: bool, peer: IpAddr) -> Between<'_> {
        let peer = peer.to_canonical();
        let side = side_of(policy, egress.into());
        let marks = self.marks(peer);
        let runs = self.runs(side, self.class(peer, marks));
        Between { lookup: self, policy, egress, peer, side, marks, runs }
    }

    /// Whether what is opened to an address and port leads to a service.
    #[must_use]
    pub fn is_service(&self, peer: IpAddr, protocol: u8, port: u16) -> bool {
        let peer = peer.to_canonical();
        self.service(peer, self.marks(peer), protocol, port).is_some()
    }

    /// The class of an address.
    #[must_use]
    pub fn class_of(&self, peer: IpAddr) -> u32 {
        self.class(peer.to_canonical(), self.marks(peer.to_canonical()))
    }

    fn marks(&self, peer: IpAddr) -> u32 {
        let found = match peer {
            IpAddr::V4(peer) => self.image.classes4.get(&peer.octets()),
            IpAddr::V6(peer) => self.image.classes6.get(&peer.octets()),
        };
        found.copied().unwrap_or(address::AS_PREFIX)
    }

    fn class(&self, peer: IpAddr, marks: u32) -> u32 {
        match marks & address::CLASS {
            address::AS_PREFIX => self.by_prefix(peer).unwrap_or(0),
            class => class,
        }
    }

    fn by_prefix(&self, peer: IpAddr) -> Option<u32> {
        match peer {
            IpAddr::V4(peer) => self.lengths4.iter().find_map(|length| {
                let mask = u32::MAX.checked_shl(32 - length.min(&32)).unwrap_or(0);
                let address = (peer.to_bits() & mask).to_be_bytes();
                self.image.prefixes4.get(&Prefix4 { length: *length, address }).copied()
            }),
            IpAddr::V6(peer) => self.lengths6.iter().find_map(|length| {
                let mask = u128::MAX.checked_shl(128 - length.min(&128)).unwrap_or(0);
                let address = (peer.to_bits() & mask).to_be_bytes();
                self.image.prefixes6.get(&Prefix6 { length: *length, address }).copied()
            }),
        }
    }

    fn service(&self, peer: IpAddr, marks: u32, protocol: u8, port: u16) -> Option<u32> {
        let family = if peer.is_ipv4() { 4 } else { 6 };
        let at = |address| VirtualKey { address, port, protocol, family, pad: 0 };
        let own = (marks & address::VIRTUAL != 0).then(|| self.image.virtuals.get(&at(as_it_lies(peer)))).flatten();
        let on_node = || (marks & address::NODE != 0).then(|| self.image.virtuals.get(&at([0, 0]))).flatten();
        own.or_else(on_node).copied()
    }

    fn backends(&self, side: u32, of: u32, transport: usize, live: bool) -> Answer {
        let missing = Answer::denied(rule::NONE);
        let Some(place) = self.image.backends_of.get(of as usize) else { return missing };
        if place.count == 0 {
            return Answer::allowed(rule::NO_BACKEND);
        }
        if place.count > MOST_BACKENDS {
            let restricts = self.image.sides.get(side as usize).is_none_or(|side| side.restricts != 0);
            let allowed = !restricts || live;
            return Answer { allowed, rule: rule::TOO_MANY_BACKENDS, split: !allowed };
        }
        let (mut yes, mut no) = (None, None);
        for at in (place.first as usize..).take(place.count as usize) {
            let Some(backend) = self.image.backends.get(at) else { return missing };
            let answer = self.row(side, backend.class, transport, backend.port);
            if answer.allowed { yes = Some(answer) } else { no = Some(answer) }
        }
        match (yes, no) {
            (Some(yes), None) => yes,
            (Some(yes), Some(_)) if live => yes,
            (Some(_), Some(no)) => Answer { split: true, ..no },
            (None, no) => no.unwrap_or(missing),
        }
    }

    fn row(&self, side: u32, class: u32, transport: usize, port: u16) -> Answer {
        self.runs(side, class).map_or(Answer::denied(rule::NONE), |runs| self.run(runs, transport, port))
    }

    /// What a side says of a class, and the port table that says so.
    fn runs(&self, side: u32, class: u32) -> Option<(Side, PortRuns)> {
        let all = self.image.sides.get(side as usize)?;
        let table = self.image.rows.get(&RowKey { side, class }).copied().unwrap_or(all.table);
        Some((*all, *self.image.ports.get(table as usize)?))
    }

    fn run(&self, (all, runs_of): (Side, PortRuns), transport: usize, port: u16) -> Answer {
        let missing = Answer::denied(rule::NONE);
        let stretch = runs_of.starts.get(transport).zip(runs_of.starts.get(transport + 1));
        let Some((first, end)) = stretch.map(|(first, end)| (*first as usize, *end as usize)) else { return missing };
        let Some(runs) = self.image.runs.get(first..end) else { return missing };
        let at = runs.partition_point(|run| run.last < port);
        let Some(run) = self.image.runs.get(first + at) else { return missing };
        let rule = match run.ground {
            ground::RULE => run.rule,
            ground::ISOLATED => all.isolated_by,
            ground::OWN_NODE => rule::OWN_NODE,
            _ => rule::NONE,
        };
        if run.allowed != 0 { Answer::allowed(rule) } else { Answer::denied(rule) }
    }
}

/// What a pod's rules say of one address, at any protocol and port.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    lookup: &'a Lookup<'a>,
    policy: u32,
    egress: bool,
    peer: IpAddr,
    side: u32,
    marks: u32,
    /// Where it is no service.
    runs: Option<(Side, PortRuns)>,
}

impl Between<'_> {
    /// As [`Lookup::ask`].
    #[must_use]
    pub fn ask(&self, protocol: u8, port: u16, live: bool) -> Answer {
        if self.policy == 0 {
            return Answer::allowed(rule::NONE);
        }
        let transport = transport(protocol);
        let port = if transport == OTHER { 0 } else { port };
        if self.egress
            && let Some(of) = self.lookup.service(self.peer, self.marks, protocol, port)
        {
            return self.lookup.backends(self.side, of, transport, live);
        }
        self.runs.map_or(Answer::denied(rule::NONE), |runs| self.lookup.run(runs, transport, port))
    }
}

/// The place of what has no ports.
const OTHER: usize = 3;

const fn transport(protocol: u8) -> usize {
    match protocol {
        6 => 0,
        17 => 1,
        132 => 2,
        _ => OTHER,
    }
}

/// An address as it lies in a packet, IPv4 in the first four bytes.
fn as_it_lies(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(u32::from_ne_bytes(address.octets())), 0],
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = address.octets();
            [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
        }
    }
}
