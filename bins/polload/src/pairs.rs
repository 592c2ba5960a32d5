//! Who may reach whom, by what is shown as one: workloads under their titles, and ranges of addresses outside.

mod outside;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use chainkit_cli::Log;
use chainkit_cluster::model::{Cluster, Protocol};
use chainkit_policy::{AddressRange, Direction, Engine, Options, Reach, Scope, Traffic, Transport};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::inputs::Inputs;
use outside::Outward;

/// Reads objects so that pairs can be made of them.
pub(crate) fn read(inputs: &Inputs, log: &Log) -> anyhow::Result<Cluster> {
    let mut cluster = inputs.read(log)?;
    take_as_written(&mut cluster, inputs, log);
    Ok(cluster)
}

/// Takes pods on their node's network for what their labels make of them. Pairs are of what policies say, and
/// policies select them like others; that nothing can keep to it is told.
fn take_as_written(cluster: &mut Cluster, inputs: &Inputs, log: &Log) {
    let mut taken = 0;
    for workload in cluster.workloads.iter_mut().filter(|workload| workload.host_network) {
        workload.host_network = false;
        taken += 1;
    }
    let has_policies = !cluster.network_policies.is_empty() || !cluster.cluster_policies.is_empty();
    if taken > 0 && has_policies {
        log.info(inputs.of_this(format!(
            "{taken} pods are on their node's network: shown is what policies say of them, which no datapath keeps to"
        )));
    }
}

/// The engine that judges pairs. What is not understood of the policies is told.
pub(crate) fn engine<'a>(cluster: &'a Cluster, inputs: &Inputs, log: &Log) -> Engine<'a> {
    // A workload's pods may have any address: what is outside of the cluster is all that address blocks can mean.
    let engine = Engine::new(cluster, &Options { scope: Scope::All, cidrs_match_pods: false });
    for problem in engine.problems() {
        log.warning(inputs.of_this(problem));
    }
    engine
}

/// What is allowed: for each protocol ranges of ports, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    traffic: Rc<Traffic>,
}

impl Allowed {
    /// Nothing.
    pub(crate) fn none() -> Self {
        Self { traffic: Rc::new(Traffic::none()) }
    }

    /// Ranges of a protocol's ports. Port 0 is none that could be asked for.
    pub(crate) fn ranges(&self, protocol: Protocol) -> Vec<(u16, u16)> {
        self.traffic.usable(Transport::from(protocol))
    }

    pub(crate) fn is_empty(&self) -> bool {
        // Asked of every pair: it makes no list.
        Protocol::ALL.into_iter().all(|protocol| self.of(protocol).iter().all(|(_, last)| *last == 0))
    }

    pub(crate) fn is_all(&self) -> bool {
        Protocol::ALL.into_iter().all(|protocol| matches!(self.of(protocol), [(0 | 1, u16::MAX)]))
    }

    fn of(&self, protocol: Protocol) -> &[(u16, u16)] {
        self.traffic.of(Transport::from(protocol)).ranges()
    }

    /// Whether the same is shown of both.
    pub(crate) fn is_shown_as(&self, other: &Self) -> bool {
        self == other || Protocol::ALL.into_iter().all(|protocol| self.ranges(protocol) == other.ranges(protocol))
    }

    /// What is allowed here and not there.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self { traffic: Rc::new(self.traffic.difference(&other.traffic)) }
    }

    fn or(self, other: &Self) -> Self {
        if self == *other { self } else { Self { traffic: Rc::new(self.traffic.union(&other.traffic)) } }
    }

    /// `all`, or `TCP 80,443 UDP 53`; nothing is the empty text.
    pub(crate) fn in_words(&self) -> String {
        if self.is_all() {
            return "all".to_owned();
        }
        let each = Protocol::ALL.into_iter().filter_map(|protocol| {
            let ports: Vec<String> = self.ranges(protocol).into_iter().map(ports).collect();
            (!ports.is_empty()).then(|| format!("{} {}", protocol.name(), ports.join(",")))
        });
        each.collect::<Vec<_>>().join(" ")
    }
}

/// One range of ports: `80`, `80-90`, or `all`.
pub(crate) fn ports((first, last): (u16, u16)) -> String {
    match (first, last) {
        (1, u16::MAX) => "all".to_owned(),
        _ if first == last => first.to_string(),
        _ => format!("{first}-{last}"),
    }
}

impl Serialize for Allowed {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(3))?;
        for protocol in Protocol::ALL {
            map.serialize_entry(protocol.name(), &self.ranges(protocol))?;
        }
        map.end()
    }
}

/// Serializes a shared text.
pub(crate) fn text<S: Serializer>(text: &str, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(text)
}

/// Workloads that are shown as one.
#[derive(Debug)]
pub(crate) struct Folded {
    /// What they are shown as.
    pub(crate) title: Rc<str>,
    /// One workload of each kind that rules can tell apart.
    members: Vec<usize>,
}

/// All pairs of one cluster.
#[derive(Debug)]
pub(crate) struct Pairs<'e> {
    /// In the order of their titles.
    pub(crate) folded: Vec<Folded>,
    reach: Reach<'e>,
    outward: Outward,
    engine: &'e Engine<'e>,
}

/// What is allowed for each address outside: all of both families in order, each range as long as the answer stays the
/// same, also where the answer is nothing.
pub(crate) type Outside = Vec<(AddressRange, Allowed)>;

impl<'e> Pairs<'e> {
    pub(crate) fn new(cluster: &Cluster, engine: &'e Engine<'e>) -> Self {
        let reach = engine.reach();
        let mut folded: BTreeMap<String, BTreeMap<usize, usize>> = BTreeMap::new();
        for (index, workload) in cluster.workloads.iter().enumerate() {
            folded.entry(workload.title()).or_default().entry(reach.kind(index)).or_insert(index);
        }
        let folded = folded.into_iter();
        let folded =
            folded.map(|(title, kinds)| Folded { title: title.into(), members: kinds.into_values().collect() });
        Self { folded: folded.collect(), reach, outward: Outward::new(engine), engine }
    }

    /// What any pod of the one may open to any pod of the other.
    pub(crate) fn between(&self, source: &Folded, destination: &Folded) -> Allowed {
        let pairs = source.members.iter().flat_map(|from| destination.members.iter().map(move |to| (*from, *to)));
        let each = pairs.map(|(from, to)| self.reach.between_kinds(self.reach.kind(from), self.reach.kind(to)));
        each.map(|traffic| Allowed { traffic }).reduce(|all, more| all.or(&more)).unwrap_or_else(Allowed::none)
    }

    /// What any pod may open to outside.
    pub(crate) fn to_outside(&self, source: &Folded) -> Rc<Outside> {
        self.outside(source, Direction::Egress)
    }

    /// What outside may open to any pod.
    pub(crate) fn outside_to(&self, destination: &Folded) -> Rc<Outside> {
        self.outside(destination, Direction::Ingress)
    }

    fn outside(&self, folded: &Folded, direction: Direction) -> Rc<Outside> {
        let rules = folded.members.iter().map(|member| self.engine.policy_of(*member)).collect();
        self.outward.of_any(self.reach.tables(), direction, rules)
    }
}

/// Two covers of the same addresses, cut so that each range has one answer in either.
pub(crate) fn cut<'a, T>(
    one: &'a [(AddressRange, T)],
    other: &'a [(AddressRange, T)],
) -> Vec<(AddressRange, &'a T, &'a T)> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut ranges = Vec::with_capacity(one.len().max(other.len()));
    // Addresses sort by family first, so that ranges of two families have nothing in common.
    while let (Some((a, of_one)), Some((b, of_other))) = (left.peek(), right.peek()) {
        let common = AddressRange { first: a.first.max(b.first), last: a.last.min(b.last) };
        if common.first <= common.last {
            ranges.push((common, of_one, of_other));
        }
        let (done_left, done_right) = (a.last <= b.last, b.last <= a.last);
        left.next_if(|_| done_left);
        right.next_if(|_| done_right);
    }
    ranges
}

/// Neighbours with equal answers as one range.
pub(crate) fn merged<T>(
    ranges: impl Iterator<Item = (AddressRange, T)>,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<(AddressRange, T)> {
    let mut all: Vec<(AddressRange, T)> = Vec::new();
    for (range, answer) in ranges {
        match all.last_mut() {
            Some((before, of_before)) if same(of_before, &answer) && touches(before, &range) => {
                before.last = range.last;
            }
            _ => all.push((range, answer)),
        }
    }
    all
}

/// Whether nothing lies between two ranges of one family.
fn touches(before: &AddressRange, after: &AddressRange) -> bool {
    match (before.last, after.first) {
        (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last).checked_add(1) == Some(u32::from(first)),
        (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last).checked_add(1) == Some(u128::from(first)),
        _ => false,
    }
}
