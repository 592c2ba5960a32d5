//! The programs do with sample packets what the objects say (`BPF_PROG_TEST_RUN`): no packet goes anywhere, yet the programs take them for
//! real: an allowed one enters a connection, which is taken out again at once, and each counts for its rule.
//!
//! Their source ports are below 1024, which no connection has as the one it was opened from, and none that the endpoint has a connection with;
//! and none is sent whose connection is there already. So nothing of the endpoint's own is touched.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_abi::{Endpoint, flag, rule};
use chainkit_bpf::{Connection, ConnectionTables, Datapath, Key, Program, TestContext};
use chainkit_cli::Log;
use chainkit_cluster::model::{Cluster, Mode};
use chainkit_enforce::{Lookup, Standing};
use chainkit_policy::{Direction, Transport, Verdict, oracle};

use super::boundaries::{Boundaries, Subject, protocol, protocol_name, spread};
use super::frame::Opening;
use super::meaning::by_namespace;
use super::snapshot::Snapshot;
use super::{Counterexample, Flow, What};
use crate::kernel::bpf_failure;

/// Packets for one endpoint, at most: each that is allowed takes an entry of its table for a moment.
const OF_AN_ENDPOINT: usize = 64;
/// Addresses that these are to and from.
const PEERS: usize = 24;

/// `TCX_NEXT` (linux/bpf.h): to whoever comes next.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT` (linux/pkt_cls.h): dropped.
const SHOT: i32 = 2;

/// Any interface but the pod's: what goes to a pod has come in somewhere, unless this node has made it. 1 is loopback's index.
const ELSEWHERE: u32 = 1;

/// What there is to ask: to or from whom, by which protocol, at which port.
type Asked = (Direction, IpAddr, (Transport, u16));

/// What came of it.
pub(super) enum Sent {
    /// So many packets were answered as they should be.
    All(usize),
    /// One was not.
    Wrong(Box<Counterexample>),
    /// Another policy was put in force meanwhile.
    Moved,
}

/// One packet, and what becomes of it.
struct Sample {
    direction: Direction,
    peer: IpAddr,
    opening: Opening,
    /// This node makes it itself.
    by_node: bool,
    expected: Verdict,
    /// Whose word that is.
    says: &'static str,
}

impl Sample {
    /// The connection that it would open; nothing where the addresses are of two families.
    fn key(&self) -> Option<Key> {
        let Opening { from, to, transport, source_port, port, to_pod } = self.opening;
        let (source_port, port) = if transport == Transport::Other { (0, 0) } else { (source_port, port) };
        let protocol = self.opening.protocol();
        if to_pod {
            Key::of(to, from, port, source_port, protocol)
        } else {
            Key::of(from, to, source_port, port, protocol)
        }
    }
}

/// Sends packets to and from each endpoint.
pub(super) fn send(
    datapath: &Datapath,
    snapshot: &Snapshot,
    boundaries: &Boundaries<'_>,
    look: u32,
    log: &Log,
) -> anyhow::Result<Sent> {
    let mut sent = 0;
    let mut cluster = snapshot.cluster.clone();
    let policies = by_namespace(snapshot, boundaries);
    let mut progress = chainkit_cli::Progress::new("sending packets", snapshot.standings.len());
    for (slot, endpoint, standing) in &snapshot.standings {
        progress.step();
        let Some(subject) = subject(snapshot, boundaries, endpoint) else {
            log.info(format!(
                "no packets were sent for {}: nothing is known of its pod",
                snapshot.title(endpoint.ifindex)
            ));
            continue;
        };
        let connections = datapath.connections(*slot).map_err(bpf_failure)?;
        let places = datapath.table_state(*slot).map_err(bpf_failure)?.places;
        // Where most places are taken one that lives may have to make room.
        if connections.len() > places as usize / 2 {
            log.info(format!(
                "no packets were sent for {}: its connection table is more than half full",
                snapshot.title(endpoint.ifindex)
            ));
            continue;
        }
        let tables = datapath.connection_tables(*slot).map_err(bpf_failure)?;
        let ports = free_ports(&connections, look);
        cluster.network_policies = policies.get(subject.pod.namespace.as_str()).cloned().unwrap_or_default();
        let samples = samples(snapshot, &cluster, boundaries, &subject, endpoint, standing, &ports);
        for sample in &samples {
            let (Some(frame), Some(key)) = (sample.opening.frame(), sample.key()) else { continue };
            if tables.get(&key).map_err(bpf_failure)?.is_some() {
                continue;
            }
            let (program, ingress_ifindex) = match sample.direction {
                Direction::Egress => (Program::FromPod, 0),
                Direction::Ingress => (Program::ToPod, if sample.by_node { 0 } else { ELSEWHERE }),
            };
            let context = TestContext { ifindex: endpoint.ifindex, ingress_ifindex, ..TestContext::default() };
            let answer = datapath.test_run(program, &frame, context, 1).map_err(bpf_failure);
            forget(&tables, &key)?;
            let answer = answer?.answer;
            let enforces = standing.mode == Mode::Enforce;
            let expected = if enforces && sample.expected == Verdict::Denied { SHOT } else { NEXT };
            if answer != expected {
                return Ok(if datapath.judging() == snapshot.generation {
                    Sent::Wrong(Box::new(counterexample(snapshot, &subject, sample, standing.mode, answer)))
                } else {
                    Sent::Moved
                });
            }
            sent += 1;
        }
    }
    Ok(if datapath.judging() == snapshot.generation { Sent::All(sent) } else { Sent::Moved })
}

fn counterexample(
    snapshot: &Snapshot,
    subject: &Subject<'_>,
    sample: &Sample,
    mode: Mode,
    answer: i32,
) -> Counterexample {
    let words = |answer| match answer {
        NEXT => "passed on".to_owned(),
        SHOT => "dropped".to_owned(),
        other => format!("answered {other}"),
    };
    let passes = mode != Mode::Enforce || sample.expected == Verdict::Allowed;
    Counterexample {
        kind: "Counterexample",
        generation: snapshot.generation,
        set: snapshot.which,
        what: What::Packet,
        table: None,
        entry: None,
        flow: Some(Flow {
            pod: subject.title(),
            direction: sample.direction.name(),
            peer: sample.peer,
            protocol: protocol_name(sample.opening.transport),
            port: sample.opening.port,
        }),
        expected: format!("{} ({} in {} mode)", words(if passes { NEXT } else { SHOT }), sample.says, mode.name()),
        found: words(answer),
        means: "the program in the kernel does not do what its tables say".to_owned(),
        more: 0,
    }
}

/// The pod of an endpoint, by name or by address.
fn subject<'a>(snapshot: &Snapshot, boundaries: &Boundaries<'a>, endpoint: &Endpoint) -> Option<Subject<'a>> {
    let record = snapshot.record(endpoint.ifindex)?;
    let is_its = |subject: &&Subject<'_>| {
        if record.pod_name.is_empty() {
            return subject.pod.addresses.iter().any(|address| record.addresses.contains(&address.to_canonical()));
        }
        let uid = subject.pod.facts.as_deref().map_or("", |facts| facts.uid.as_str());
        let is_same_uid = uid.is_empty() || record.pod_uid.is_empty() || uid == record.pod_uid;
        subject.pod.namespace == record.namespace && subject.pod.name == record.pod_name && is_same_uid
    };
    let found = boundaries.subjects.iter().find(is_its)?;
    Some(Subject { index: found.index, pod: found.pod, policy: found.policy, is_first: true })
}

/// Takes out the connection that a sample has entered. One that has had more than one packet is somebody's by now, and stays.
fn forget(tables: &ConnectionTables, key: &Key) -> anyhow::Result<()> {
    match tables.get(key).map_err(bpf_failure)? {
        Some(conn) if conn.tx_packets.saturating_add(conn.rx_packets) <= 1 => tables.remove(key).map_err(bpf_failure),
        _ => Ok(()),
    }
}

/// Ports below 1024 that are in use at neither end of any connection of the endpoint; others with each look.
fn free_ports(connections: &[Connection], look: u32) -> Vec<u16> {
    let used: BTreeSet<u16> = connections.iter().flat_map(|one| [one.local_port, one.remote_port]).collect();
    let free: Vec<u16> = (2..1024).filter(|port| !used.contains(port)).collect();
    let turn = usize::try_from(look).unwrap_or(0) * (OF_AN_ENDPOINT + 2);
    free.iter().cycle().skip(turn).take(free.len()).copied().collect()
}

/// A sample of what there is to ask about, of both directions, of what is allowed and of what is denied.
fn samples(
    snapshot: &Snapshot,
    cluster: &Cluster,
    boundaries: &Boundaries<'_>,
    subject: &Subject<'_>,
    endpoint: &Endpoint,
    standing: &Standing,
    ports: &[u16],
) -> Vec<Sample> {
    let mut ports = ports.iter().copied();
    let mut allowed = Vec::new();
    let mut denied = Vec::new();
    let peers: Vec<IpAddr> = boundaries.peers(subject).into_iter().filter(|peer| can_be_sent_to(*peer)).collect();
    let lookup = Lookup::new(&snapshot.read);
    let mut peers: Vec<IpAddr> = peers.into_iter().filter(|peer| !is_own(subject, *peer)).collect();
    // Others for the next endpoint.
    let first = endpoint.ifindex as usize % peers.len().max(1);
    peers.rotate_left(first);
    for (turn, peer) in spread(&peers, PEERS).into_iter().enumerate() {
        for direction in Direction::BOTH {
            let (own, other) = (subject.party(peer), boundaries.party(peer));
            let is_egress = direction == Direction::Egress;
            let (source, destination) = if is_egress { (own, other) } else { (other, own) };
            let between = oracle::between(cluster, &snapshot.options, source, destination);
            let all: Vec<u16> = boundaries.ports(subject, direction, peer).into_iter().collect();
            for (transport, offset) in Transport::ALL.into_iter().zip(0..) {
                let port = match transport {
                    Transport::Other => 0,
                    _ => all.get((turn + offset) % all.len().max(1)).copied().unwrap_or_default(),
                };
                let asked = (direction, peer, (transport, port));
                let said = between.judge(transport, port);
                let said = if is_egress { said.egress } else { said.ingress };
                match judged(&lookup, subject, standing, asked, said) {
                    Some(Verdict::Allowed) => allowed.push(asked),
                    Some(Verdict::Denied) => denied.push(asked),
                    None => {}
                }
            }
        }
    }
    let mut samples = Vec::new();
    let mut keys = BTreeSet::new();
    let mut add = |asked: &Asked, by_node, expected, says| {
        let (direction, peer, (transport, port)) = *asked;
        let own = subject.pod.addresses.iter().map(IpAddr::to_canonical).find(|own| own.is_ipv4() == peer.is_ipv4());
        let (Some(own), Some(source_port)) = (own, ports.next()) else { return };
        let (from, to) = if direction == Direction::Egress { (own, peer) } else { (peer, own) };
        let to_pod = direction == Direction::Ingress;
        let opening = Opening { from, to, transport, source_port, port, to_pod };
        // Two of one key would be one connection.
        let (local, remote) = if to_pod { (port, source_port) } else { (source_port, port) };
        if transport != Transport::Other && !keys.insert((peer, opening.protocol(), local, remote)) {
            return;
        }
        samples.push(Sample { direction, peer, opening, by_node, expected, says });
    };
    for (asked, verdict, says) in
        [(&allowed, Verdict::Allowed, "the objects allow it"), (&denied, Verdict::Denied, "the objects deny it")]
    {
        for one in spread(asked, OF_AN_ENDPOINT / 2 - 1) {
            add(&one, false, verdict, says);
        }
    }
    // The node itself is let in, whatever address it sends from. What has no ports would be of one key with what others send.
    let ingress =
        |(direction, _, (transport, _)): &&Asked| *direction == Direction::Ingress && *transport != Transport::Other;
    if let Some(asked) = denied.iter().find(ingress).or_else(|| allowed.iter().find(ingress)) {
        add(asked, true, Verdict::Allowed, "the pod's own node may always");
    }
    samples.extend(forged(subject, endpoint, &allowed, ports.next()));
    samples
}

/// What a pod sends under an address that is not its own is dropped.
fn forged(subject: &Subject<'_>, endpoint: &Endpoint, allowed: &[Asked], source_port: Option<u16>) -> Option<Sample> {
    if endpoint.flags & flag::SOURCES_KNOWN == 0 {
        return None;
    }
    let (_, peer, (transport, port)) = *allowed.iter().find(|(direction, ..)| *direction == Direction::Egress)?;
    // Of documentation (RFC 5737, RFC 3849), so nobody's.
    let from: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::new(198, 51, 100, 251).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 251).into(),
    };
    if is_own(subject, from) || from == peer {
        return None;
    }
    let opening = Opening { from, to: peer, transport, source_port: source_port?, port, to_pod: false };
    let says = "its source is not the pod's";
    Some(Sample { direction: Direction::Egress, peer, opening, by_node: false, expected: Verdict::Denied, says })
}

/// Whether an address is the pod's own.
fn is_own(subject: &Subject<'_>, peer: IpAddr) -> bool {
    subject.pod.addresses.iter().any(|own| own.to_canonical() == peer)
}

/// What is to become of a connection in one direction, of which the objects say `said`; nothing where the tables may say more.
fn judged(
    lookup: &Lookup<'_>,
    subject: &Subject<'_>,
    standing: &Standing,
    (direction, peer, (transport, port)): Asked,
    said: Verdict,
) -> Option<Verdict> {
    let is_egress = direction == Direction::Egress;
    if !standing.known {
        let bit = if is_egress { flag::ISOLATED_EGRESS } else { flag::ISOLATED_INGRESS };
        return Some(if standing.isolated & bit == 0 { Verdict::Allowed } else { Verdict::Denied });
    }
    let found = lookup.ask(subject.policy, is_egress, peer, protocol(transport), port, false);
    (found.rule != rule::TOO_MANY_BACKENDS).then_some(said)
}

/// Whether a packet to or from the address is judged as any other: what is said to groups of hosts, or on the link alone, is not.
fn can_be_sent_to(peer: IpAddr) -> bool {
    let is_of_the_link = match peer {
        IpAddr::V4(peer) => peer.is_broadcast() || peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_unicast_link_local(),
    };
    !(is_of_the_link || peer.is_multicast() || peer.is_loopback() || peer.is_unspecified())
}
