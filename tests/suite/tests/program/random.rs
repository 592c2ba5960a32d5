//! Random frames, well-formed and not, and what the datapath makes of them beside what it should.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env,
    fmt::Debug,
    hash::{BuildHasher, Hasher, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
};

use chainkit_bpf::{Observer, Program, Settings, TestContext};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, RngSeed, TestRunner},
};

use crate::{
    frame::{
        AUTHENTICATION, DESTINATION, ETHERNET, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, IPV4, IPV6, Ipv4, Ipv6, ROUTING,
        SCTP, TCP, UDP, VLAN, authentication, ethernet, extension, fragment, icmp, ip, sctp, tagged, tcp, udp,
    },
    node::{Ends, FROM_POD, NEXT, Node, TO_POD, drain, observing, per_packet},
    reference::{Model, Tally},
};

/// How a property is tested: `cases` times unless `PROPTEST_CASES` says otherwise, from a seed that is printed.
pub(crate) fn config(cases: u32) -> Config {
    let given = env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("PROPTEST_RNG_SEED={seed}");
    let defaults = Config::default();
    let cases = if env::var_os("PROPTEST_CASES").is_some() { defaults.cases } else { cases };
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..defaults }
}

/// A frame to be built once the addresses are known.
#[derive(Clone, Debug)]
struct Shape {
    program: Program,
    tags: usize,
    is_ipv4: bool,
    option_words: usize,
    /// Offset in units of eight bytes, whether more follow, identification.
    fragment: Option<(u16, bool, u16)>,
    extensions: Vec<u8>,
    hop_limit: u8,
    payload: Payload,
    /// Segments and their size; of a plain packet the size is 0.
    segments: (u32, u32),
    mutations: Vec<(Index, u8)>,
    cut: Option<Index>,
    /// How often it comes: from the second time on it is nothing new.
    times: usize,
}

#[derive(Clone, Debug)]
enum Payload {
    Tcp(u16, u16, u16, usize),
    Udp(u16, u16, usize),
    Sctp(u16, u16, usize),
    Icmp(u8, u8, u16),
    /// Type and code of an error, protocol and ports of what it is about, and how many bytes of that are left out.
    Error(u8, u8, u8, u16, u16, usize),
    Other(u8, usize),
}

fn payload() -> impl Strategy<Value = Payload> {
    let port = || select(vec![53_u16, 80, 40000]);
    let code = || prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    let length = || prop_oneof![3 => 0..40_usize, 1 => 0..600_usize];
    // SYN, SYN-ACK, ACK, FIN-ACK, RST, and anything.
    let flags = prop_oneof![5 => select(vec![0x02_u16, 0x12, 0x10, 0x11, 0x04, 0x18]), 1 => 0..0x1000_u16];
    let kind = prop_oneof![select(vec![0_u8, 8, 128, 129]), 130..=137_u8, Just(143), any::<u8>()];
    let error = select(vec![1_u8, 2, 3, 4, 5, 11, 12]);
    let inside = select(vec![TCP, UDP, SCTP, ICMP, ICMPV6, 47]);
    let missing = prop_oneof![2 => Just(0_usize), 1 => 0..60_usize];
    prop_oneof![
        4 => (port(), port(), flags, length()).prop_map(|(from, to, flags, more)| Payload::Tcp(from, to, flags, more)),
        4 => (port(), port(), length()).prop_map(|(from, to, more)| Payload::Udp(from, to, more)),
        1 => (port(), port(), length()).prop_map(|(from, to, more)| Payload::Sctp(from, to, more)),
        2 => (kind, code(), port()).prop_map(|(kind, code, id)| Payload::Icmp(kind, code, id)),
        3 => (error, code(), inside, port(), port(), missing)
            .prop_map(|(kind, code, protocol, from, to, less)| Payload::Error(kind, code, protocol, from, to, less)),
        1 => (any::<u8>(), length()).prop_map(|(protocol, length)| Payload::Other(protocol, length)),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let extensions = vec(select(vec![HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION, FRAGMENT, 135, 140]), 0..=10);
    let place = (prop_oneof![2 => Just(0_u16), 1 => 0..4_u16], any::<bool>(), 0..2_u16);
    (
        select(vec![FROM_POD, TO_POD]),
        prop_oneof![6 => Just(0_usize), 1 => 1..=3_usize],
        any::<bool>(),
        prop_oneof![3 => Just(0_usize), 1 => 0..=10_usize],
        option::weighted(0.2, place),
        prop_oneof![3 => Just(Vec::new()), 1 => extensions],
        select(vec![64_u8, 255]),
        payload(),
        prop_oneof![6 => Just((0_u32, 0_u32)), 1 => (0..5_u32, select(vec![1_u32, 100, 1400]))],
        prop_oneof![3 => Just(Vec::new()), 1 => vec((any::<Index>(), any::<u8>()), 1..4)],
        (option::weighted(0.1, any::<Index>()), prop_oneof![2 => Just(1_usize), 1 => 2..=3_usize]),
    )
        .prop_map(
            |(
                program,
                tags,
                is_ipv4,
                option_words,
                fragment,
                extensions,
                hop_limit,
                payload,
                segments,
                mutations,
                (cut, times),
            )| Shape {
                program,
                tags,
                is_ipv4,
                option_words,
                fragment,
                extensions,
                hop_limit,
                payload,
                segments,
                mutations,
                cut,
                times,
            },
        )
}

impl Shape {
    fn build(&self, ends: [Ends; 2]) -> Vec<u8> {
        let Ends { pod, peer } = if self.is_ipv4 { ends[0] } else { ends[1] };
        let (from, to) = if self.program == FROM_POD { (pod, peer) } else { (peer, pod) };
        let (protocol, payload) = self.payload.build(from, to);
        let mut packet = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (offset, more, id) = self.fragment.unwrap_or_default();
                let options = vec![1; self.option_words * 4];
                Ipv4 { from, to, protocol, id, fragment: (offset, more), options: &options }.with(&payload)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut next = protocol;
                let mut behind = payload;
                if let Some((offset, more, id)) = self.fragment {
                    behind = fragment(next, offset, more, id.into(), &behind);
                    next = FRAGMENT;
                }
                for kind in &self.extensions {
                    behind = match *kind {
                        FRAGMENT => fragment(next, 0, false, 1, &behind),
                        AUTHENTICATION => authentication(next, 1, &behind),
                        _ => extension(next, 1, &behind),
                    };
                    next = *kind;
                }
                Ipv6 { from, to, next, hop_limit: self.hop_limit }.with(&behind)
            }
            _ => panic!("{ends:?} are of two families"),
        };
        let mut kind = if self.is_ipv4 { IPV4 } else { IPV6 };
        for tag in 0..self.tags {
            packet = tagged(tag as u16, kind, &packet);
            kind = VLAN;
        }
        let mut frame = ethernet(kind, &packet);
        for (at, byte) in &self.mutations {
            // The MAC addresses are of no interest.
            let at = 12 + at.index(frame.len() - 12);
            frame[at] = *byte;
        }
        if let Some(cut) = self.cut {
            frame.truncate(ETHERNET + cut.index(frame.len() - ETHERNET + 1));
        }
        // A test run takes no less than an Ethernet header and, on Linux 6.18, an IP header.
        let least = match frame[12..14] {
            [0x08, 0x00] => ETHERNET + 20,
            [0x86, 0xdd] => ETHERNET + 40,
            _ => ETHERNET,
        };
        // What is filled up may become an address, which then is of this case too.
        let filling = number(ends).into_iter().cycle();
        let missing = least.saturating_sub(frame.len());
        frame.extend(filling.take(missing));
        frame
    }

    fn context(&self) -> TestContext {
        let (gso_segs, gso_size) = self.segments;
        TestContext { gso_segs, gso_size, ..TestContext::default() }
    }
}

impl Payload {
    fn build(&self, from: IpAddr, to: IpAddr) -> (u8, Vec<u8>) {
        let icmp_number = if from.is_ipv4() { ICMP } else { ICMPV6 };
        match *self {
            Self::Tcp(source, destination, flags, length) => (TCP, tcp(source, destination, flags, length)),
            Self::Udp(source, destination, length) => (UDP, udp(source, destination, length)),
            Self::Sctp(source, destination, length) => (SCTP, sctp(source, destination, length)),
            Self::Icmp(kind, code, id) => {
                let [high, low] = id.to_be_bytes();
                (icmp_number, icmp(kind, code, [high, low, 0, 0], &[]))
            }
            Self::Error(kind, code, protocol, source, destination, missing) => {
                // About a packet that went the other way.
                let (protocol, inside) = match protocol {
                    TCP => (TCP, tcp(source, destination, 2, 0)),
                    SCTP => (SCTP, sctp(source, destination, 0)),
                    ICMP | ICMPV6 => (icmp_number, icmp(8, 0, [0, 53, 0, 0], &[])),
                    UDP => (UDP, udp(source, destination, 0)),
                    other => (other, vec![0; 8]),
                };
                let mut about = ip(to, from, protocol, &inside);
                about.truncate(about.len().saturating_sub(missing));
                (icmp_number, icmp(kind, code, [0; 4], &about))
            }
            Self::Other(protocol, length) => (protocol, vec![0; length]),
        }
    }
}

/// Ends that no case before had, nor any that differ in one byte: what a case leaves, which then expires, must not be met by
/// the next.
fn unused_ends() -> [Ends; 2] {
    /// Odd, with its bits well spread.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    static CASES: AtomicU64 = AtomicU64::new(1);
    let number = CASES.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
    let [a, b, c, ..] = number.to_be_bytes();
    let pod6 = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number));
    let peer6 = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);
    [
        Ends { pod: Ipv4Addr::new(10, a, b, c).into(), peer: Ipv4Addr::new(192, 0, 2, 7).into() },
        Ends { pod: pod6.into(), peer: peer6.into() },
    ]
}

/// The bytes in which the ends of a case differ from those of others.
fn number([_, ends]: [Ends; 2]) -> [u8; 8] {
    let IpAddr::V6(pod) = ends.pod else { panic!("{ends:?} are not of IPv6") };
    let [.., a, b, c, d, e, f, g, h] = pod.octets();
    [a, b, c, d, e, f, g, h]
}

/// Room for what many cases make.
const PLACES: u32 = 1 << 14;

/// A datapath and its model, side by side.
struct Pair {
    observer: Option<Observer>,
    // Outlives its observer.
    node: Node,
    counters: BTreeMap<u32, u64>,
    model: Model,
}

impl Pair {
    fn new(is_observed: bool) -> Self {
        let node = Node::new(Settings { connections: PLACES, ..observing() });
        let observer = is_observed.then(|| node.observe(per_packet()));
        Self { observer, node, counters: BTreeMap::new(), model: Model::default() }
    }

    /// Runs frames that nobody saw before; what came out otherwise than it should.
    fn run(&mut self, shapes: &[Shape]) -> Result<(), String> {
        let ends = unused_ends();
        for shape in shapes {
            let frame = shape.build(ends);
            for _ in 0..shape.times {
                let run = self.node.datapath.test_run(shape.program, &frame, shape.context(), 1);
                let answer = run.map_err(|error| format!("{error}: {frame:02x?}"))?.answer;
                check("answer", &frame, answer, NEXT)?;
                self.model.meet(shape.program, &frame, shape.context());
            }
        }
        for (counter, packets) in self.node.counted() {
            *self.counters.entry(counter as u32).or_default() += packets;
        }
        check("counters", &(), &self.counters, &self.model.counters)?;
        let mut left = self.model.connections.clone();
        for connection in self.node.connections() {
            let conn = connection.conn;
            let found = Tally {
                opened: conn.opened,
                tx: (conn.tx_packets, conn.tx_bytes),
                rx: (conn.rx_packets, conn.rx_bytes),
                tx_flags: conn.tx_flags,
                rx_flags: conn.rx_flags,
            };
            let key = (
                connection.local,
                connection.remote,
                connection.protocol,
                connection.local_port,
                connection.remote_port,
            );
            check("connection", &key, Some(found), left.remove(&key))?;
        }
        check("missing connections", &left, left.len(), 0)?;
        if let Some(observer) = &mut self.observer {
            drain(observer);
        }
        Ok(())
    }
}

fn check<T: PartialEq + Debug>(what: &str, of: &impl Debug, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} {of:02x?}: {found:?} instead of {expected:?}")) }
}

fn agree(is_observed: bool) {
    let pair = RefCell::new(None);
    let outcome = TestRunner::new(config(400)).run(&vec(shape(), 1..8), |shapes| {
        // After a failure both begin anew, or every smaller case would fail for the sake of the first.
        let mut both = pair.take().unwrap_or_else(|| Pair::new(is_observed));
        both.run(&shapes).map_err(TestCaseError::fail)?;
        // Nor may the table fill up, of which the model knows nothing.
        pair.replace((both.model.connections.len() < PLACES as usize / 2).then_some(both));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn any_frames_give_the_connections_and_counters_that_they_should() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    agree(false);
}

#[test]
fn an_observer_changes_nothing_about_that() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    agree(true);
}
