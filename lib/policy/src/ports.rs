//! Sets of ports, exact: sorted ranges.

use crate::flow::Transport;

/// A set of ports as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// No port.
    #[must_use]
    pub const fn empty() -> Self {
        Self { ranges: Vec::new() }
    }

    /// `first` to `last`, both included; empty where they are the wrong way round.
    #[must_use]
    pub fn range(first: u16, last: u16) -> Self {
        Self { ranges: if first <= last { vec![(first, last)] } else { Vec::new() } }
    }

    /// Every port that `transport` has.
    #[must_use]
    pub fn full(transport: Transport) -> Self {
        Self::range(0, transport.last_port())
    }

    /// Its ranges in order, both ends included.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }

    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= port);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|&(_, last)| port <= last)
    }

    /// All of these ranges, both ends included, in any order.
    #[must_use]
    pub fn of(mut all: Vec<(u16, u16)>) -> Self {
        all.retain(|(first, last)| first <= last);
        all.sort_unstable();
        let mut ranges: Vec<(u16, u16)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.ranges.iter().chain(&other.ranges).copied().collect())
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges = Vec::new();
        while let (Some(&&a), Some(&&b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                ranges.push((first, last));
            }
            if a.1 < b.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Self { ranges }
    }

    /// What is in this one and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        let mut cuts = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut from = Some(first);
            while let (Some(start), Some(&&(cut_first, cut_last))) = (from, cuts.peek()) {
                if cut_first > last {
                    break;
                }
                if cut_last >= start {
                    if cut_first > start {
                        ranges.push((start, cut_first - 1));
                    }
                    from = cut_last.checked_add(1).filter(|next| *next <= last);
                }
                // One that goes on behind this range may cut the next.
                if cut_last > last {
                    break;
                }
                cuts.next();
            }
            ranges.extend(from.map(|start| (start, last)));
        }
        Self { ranges }
    }
}

/// A set of ports for each transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Traffic {
    sets: [PortSet; 4],
}

impl Traffic {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { sets: Transport::ALL.map(PortSet::full) }
    }

    /// The ports of one transport.
    #[must_use]
    pub fn of(&self, transport: Transport) -> &PortSet {
        let [tcp, udp, sctp, other] = &self.sets;
        match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Sctp => sctp,
            Transport::Other => other,
        }
    }

    fn of_mut(&mut self, transport: Transport) -> &mut PortSet {
        let [tcp, udp, sctp, other] = &mut self.sets;
        match transport {
            Transport::Tcp => tcp,
            Transport::Udp => udp,
            Transport::Sctp => sctp,
            Transport::Other => other,
        }
    }

    /// Adds ports of one transport.
    pub fn add(&mut self, transport: Transport, ports: &PortSet) {
        let set = self.of_mut(transport);
        *set = set.union(ports);
    }

    /// Whether a connection over `transport` to `port` is in it.
    #[must_use]
    pub fn contains(&self, transport: Transport, port: u16) -> bool {
        self.of(transport).contains(port)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.iter().all(PortSet::is_empty)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.with(other, PortSet::union)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.with(other, PortSet::intersection)
    }

    /// What is in this one and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.with(other, PortSet::difference)
    }

    fn with(&self, other: &Self, combine: impl Fn(&PortSet, &PortSet) -> PortSet) -> Self {
        Self { sets: Transport::ALL.map(|transport| combine(self.of(transport), other.of(transport))) }
    }

    /// The ranges of a transport that a connection can have as its destination: ports from 1.
    #[must_use]
    pub fn usable(&self, transport: Transport) -> Vec<(u16, u16)> {
        self.of(transport).intersection(&PortSet::range(1, u16::MAX)).ranges
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[(u16, u16)]) -> PortSet {
        ranges.iter().fold(PortSet::empty(), |all, &(first, last)| all.union(&PortSet::range(first, last)))
    }

    #[test]
    fn neighbours_become_one_range() {
        assert_eq!(set(&[(5, 9), (1, 4), (65535, 65535), (20, 21)]).ranges(), [(1, 9), (20, 21), (65535, 65535)]);
    }

    #[test]
    fn the_ends_of_the_range_are_cut_without_overflow() {
        let all = PortSet::full(Transport::Tcp);
        assert_eq!(all.difference(&set(&[(0, 0), (65535, 65535)])).ranges(), [(1, 65534)]);
        assert!(all.difference(&all).is_empty());
    }

    fn any_set() -> impl Strategy<Value = PortSet> {
        let port = prop_oneof![0u16..40, 65500u16..=65535];
        proptest::collection::vec((port.clone(), port), 0..6).prop_map(|pairs| set(&pairs))
    }

    proptest! {
        #[test]
        fn sets_are_what_their_members_say(a in any_set(), b in any_set()) {
            for port in (0..45).chain(65490..=65535) {
                let (in_a, in_b) = (a.contains(port), b.contains(port));
                prop_assert_eq!(a.union(&b).contains(port), in_a || in_b);
                prop_assert_eq!(a.intersection(&b).contains(port), in_a && in_b);
                prop_assert_eq!(a.difference(&b).contains(port), in_a && !in_b);
            }
        }
    }
}
