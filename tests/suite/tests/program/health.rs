//! How TCP connections fare, by packets made by hand; and the arithmetic of sequence numbers against an oracle that has none.

use chainkit_abi::{
    Health, ObserverFilter, PortMatch, REORDERED_NS, Segment, Way, filter_bit, hook,
    tcp::{ACK, FIN, PSH, RST, SYN},
};
use chainkit_bpf::{Observer, Stream, TestContext};
use proptest::prelude::*;

use crate::{
    frame::{TCP, patched, tcp},
    node::{Ends, FROM_POD, NEXT, Node, TO_POD, observing},
};

/// A segment: sequence and acknowledgement number, flags, window, payload.
fn segment(ports: (u16, u16), numbers: (u32, u32), flags: u16, window: u16, payload: usize) -> Vec<u8> {
    let bare = patched(tcp(ports.0, ports.1, flags, payload), 4, &numbers.0.to_be_bytes());
    patched(patched(bare, 8, &numbers.1.to_be_bytes()), 14, &window.to_be_bytes())
}

/// A connection from the pod's port 40000 to port 80, by its packets.
struct Talk<'a> {
    node: &'a Node,
    ends: Ends,
}

impl Talk<'_> {
    /// The pod sends.
    fn says(&self, sequence: u32, acknowledged: u32, flags: u16, payload: usize) {
        self.packet(true, (sequence, acknowledged), flags, 1000, payload, TestContext::default());
    }

    /// The pod gets.
    fn hears(&self, sequence: u32, acknowledged: u32, flags: u16, payload: usize) {
        self.packet(false, (sequence, acknowledged), flags, 1000, payload, TestContext::default());
    }

    fn packet(&self, out: bool, numbers: (u32, u32), flags: u16, window: u16, payload: usize, context: TestContext) {
        let answer = if out {
            let frame = self.ends.outgoing(TCP, &segment((40000, 80), numbers, flags, window, payload));
            self.node.run_in(FROM_POD, &frame, context)
        } else {
            let frame = self.ends.incoming(TCP, &segment((80, 40000), numbers, flags, window, payload));
            self.node.run_in(TO_POD, &frame, context)
        };
        assert_eq!(answer, NEXT);
    }

    fn health(&self, observer: &Observer) -> Option<Health> {
        let found = self
            .node
            .connections()
            .into_iter()
            .find(|found| (found.local, found.remote, found.remote_port) == (self.ends.pod, self.ends.peer, 80))?;
        observer.health(&Stream::of_connection(&found)).unwrap()
    }

    /// What the pod sends, and what it receives.
    fn ways(&self, observer: &Observer) -> (Way, Way) {
        let health = self.health(observer).unwrap();
        (health.ways[usize::from(hook::FROM_POD)], health.ways[usize::from(hook::TO_POD)])
    }
}

fn wanting(node: &Node, filter: ObserverFilter) -> Observer {
    let mut observer = node.observe(filter);
    observer.want_health(&node.datapath, 0).unwrap();
    observer
}

/// Opens such a connection; streams go on at `client` + 1 and `server` + 1.
fn open(node: &Node, family: u8, client: u32, server: u32) -> Talk<'_> {
    let talk = Talk { node, ends: node.ends(family) };
    let next = |number: u32| number.wrapping_add(1);
    talk.says(client, 0, SYN, 0);
    talk.hears(server, next(client), SYN | ACK, 0);
    talk.says(next(client), next(server), ACK, 0);
    talk
}

#[test]
fn segments_sent_again_are_counted_each_way_also_where_numbers_come_round() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    for first in [1000, u32::MAX - 50] {
        let node = Node::new(observing());
        let observer = wanting(&node, ObserverFilter::default());
        for family in [4, 6] {
            let talk = open(&node, family, first, 5000);
            let at = |offset: u32| first.wrapping_add(1 + offset);
            talk.says(at(0), 5001, ACK | PSH, 100);
            talk.says(at(100), 5001, ACK | PSH, 100);
            talk.says(at(0), 5001, ACK | PSH, 100);
            talk.says(at(100), 5001, ACK | PSH, 100);
            // Some of it is new.
            talk.says(at(100), 5001, ACK | PSH, 150);
            talk.hears(5001, at(250), ACK, 10);
            talk.hears(5001, at(250), ACK, 10);
            talk.hears(5011, at(250), ACK | FIN, 0);
            talk.hears(5011, at(250), ACK | FIN, 0);
            let (sent, got) = talk.ways(&observer);
            assert_eq!(
                (sent.segments, sent.retransmits, sent.out_of_order, sent.lost_before),
                (5, 3, 0, 0),
                "{sent:?}"
            );
            assert_eq!((got.segments, got.retransmits, got.out_of_order), (4, 2, 0), "{got:?}");
            assert_eq!((sent.syns, got.syns, sent.next), (1, 1, at(250)));
        }
    }
}

#[test]
fn keepalives_probes_and_acknowledgements_are_not_taken_for_segments_sent_again() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4, 1000, 5000);
    talk.says(1001, 5001, ACK | PSH, 100);
    talk.hears(5001, 1101, ACK, 0);
    talk.says(1100, 5001, ACK, 0);
    talk.says(1100, 5001, ACK, 1);
    talk.hears(5001, 1101, ACK, 0);
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.segments, sent.retransmits, got.duplicate_acks, got.segments), (1, 0, 0, 0), "{sent:?} {got:?}");
    // With a byte under way the same is that byte once more.
    talk.says(1101, 5001, ACK, 1);
    talk.says(1101, 5001, ACK, 1);
    assert_eq!(talk.ways(&observer).0.retransmits, 1);
    for _ in 0..3 {
        talk.hears(5001, 1101, ACK, 0);
    }
    assert_eq!(talk.ways(&observer).1.duplicate_acks, 3);
}

#[test]
fn a_super_packet_counts_as_its_segments() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    for family in [4, 6] {
        let talk = open(&node, family, 1000, 5000);
        let three = TestContext { gso_segs: 3, gso_size: 1000, ..TestContext::default() };
        talk.packet(true, (1001, 5001), ACK, 1000, 2500, three);
        talk.packet(true, (1001, 5001), ACK, 1000, 2500, three);
        let (sent, _) = talk.ways(&observer);
        assert_eq!((sent.segments, sent.retransmits, sent.next), (6, 3, 3501));
    }
}

#[test]
fn what_fills_a_gap_at_once_is_out_of_order_and_later_was_lost_before() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    let talk = Talk { node: &node, ends: node.ends(4) };
    // Joined on its way: no handshake, so no round-trip time that would make the window of reordering narrow.
    talk.hears(5001, 1001, ACK, 100);
    talk.hears(5201, 1001, ACK, 100);
    talk.hears(5101, 1001, ACK, 100);
    let (_, got) = talk.ways(&observer);
    assert_eq!((got.segments, got.out_of_order, got.retransmits), (3, 1, 0), "{got:?}");
    talk.hears(5401, 1001, ACK, 100);
    std::thread::sleep(std::time::Duration::from_nanos(2 * REORDERED_NS));
    talk.hears(5301, 1001, ACK, 100);
    let (_, got) = talk.ways(&observer);
    assert_eq!((got.segments, got.out_of_order, got.retransmits, got.lost_before), (5, 1, 1, 1), "{got:?}");
}

#[test]
fn a_closed_window_is_counted_once_until_it_opens() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4, 1000, 5000);
    let window = |out, size| {
        talk.packet(out, if out { (1001, 5001) } else { (5001, 1001) }, ACK, size, 0, TestContext::default())
    };
    for size in [0, 0, 5, 0] {
        window(false, size);
    }
    window(true, 0);
    // A reset has none.
    talk.packet(true, (1001, 5001), RST | ACK, 0, 0, TestContext::default());
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.zero_windows, got.zero_windows), (1, 2));
}

#[test]
fn it_is_told_who_resets_and_whether_that_answers_a_syn() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    let talk = Talk { node: &node, ends: node.ends(4) };
    talk.says(1000, 0, SYN, 0);
    talk.says(1000, 0, SYN, 0);
    talk.hears(0, 1001, RST | ACK, 0);
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.syns, sent.resets, got.resets, got.refused), (2, 0, 1, 1));
    let talk = open(&node, 6, 1000, 5000);
    talk.hears(5001, 1001, RST | ACK, 0);
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.resets, got.resets, got.refused), (0, 1, 0));
    talk.says(1001, 5001, RST, 0);
    assert_eq!(talk.ways(&observer).0.resets, 1);
}

#[test]
fn round_trips_are_measured_each_way_and_not_of_what_is_sent_again() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4, 1000, 5000);
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.rtt_samples, got.rtt_samples), (1, 1), "the handshake");
    let wait = || std::thread::sleep(std::time::Duration::from_millis(20));
    talk.says(1001, 5001, ACK, 100);
    wait();
    talk.hears(5001, 1101, ACK, 100);
    talk.says(1101, 5101, ACK, 0);
    let (sent, got) = talk.ways(&observer);
    assert_eq!((sent.rtt_samples, got.rtt_samples), (2, 2));
    assert!(sent.rtt_max >= 20_000_000 && got.rtt_max < 20_000_000, "{sent:?} {got:?}");
    assert!(sent.rtt_min > 0 && sent.rtt_min < 20_000_000 && sent.srtt > sent.rtt_min && sent.srtt < sent.rtt_max);
    // Karn's rule: which of the two was answered is not known.
    talk.says(1101, 5101, ACK, 100);
    talk.says(1101, 5101, ACK, 100);
    wait();
    talk.hears(5101, 1201, ACK, 0);
    assert_eq!(talk.ways(&observer).0.rtt_samples, 2);
}

#[test]
fn only_who_asks_follows_and_only_what_its_filter_lets_through() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let without = node.observe(ObserverFilter::default());
    let mut narrow = ObserverFilter { flags: filter_bit::PORTS, ..ObserverFilter::default() };
    narrow.ports[0] = PortMatch { port: 81, side: chainkit_abi::side::ANY, pad: 0 };
    let (narrow, wide) = (wanting(&node, narrow), wanting(&node, ObserverFilter::default()));
    let talk = open(&node, 4, 1000, 5000);
    assert_eq!((talk.health(&without), talk.health(&narrow)), (None, None));
    assert_eq!(talk.ways(&wide).0.syns, 1);
    drop(wide);
    let again = wanting(&node, ObserverFilter::default());
    assert_eq!(talk.health(&again), None, "who has the slot next begins with none");
}

/// A packet of a sender in terms of bytes since its stream began: what a sequence number stands for.
#[derive(Clone, Copy, Debug)]
struct Sent {
    begin: u64,
    length: u64,
    pause: u64,
}

/// The same counters by whole numbers and a list of all that was seen.
fn oracle(all: &[Sent]) -> (u64, u64, u32, u32) {
    let (mut next, mut segments, mut again, mut reordered, mut lost) = (None, 0, 0, 0, 0);
    let (mut gap, mut gap_at, mut now) = ((0, 0), 0, 0u64);
    for sent in all {
        now += sent.pause;
        let end = sent.begin + sent.length;
        let Some(highest) = next else {
            (next, segments) = (Some(end), 1);
            continue;
        };
        segments += 1;
        if sent.begin >= highest {
            if sent.begin > highest {
                let goes_on = gap.0 < gap.1 && now - gap_at <= REORDERED_NS;
                gap = (if goes_on { gap.0 } else { highest }, sent.begin);
                gap_at = now;
            }
            next = Some(end);
            continue;
        }
        let fills = gap.0 < gap.1 && gap.0 <= sent.begin && end <= gap.1;
        if fills {
            if sent.begin == gap.0 {
                gap.0 = end;
            } else if end == gap.1 {
                gap.1 = sent.begin;
            }
            if now - gap_at <= REORDERED_NS {
                reordered += 1;
                continue;
            }
            lost += 1;
        }
        again += 1;
        next = Some(highest.max(end));
    }
    (segments, again, reordered, lost)
}

proptest! {
    #[test]
    fn sequence_numbers_mean_what_whole_numbers_do(
        start in prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX],
        steps in proptest::collection::vec((0u64..3000, 2u64..400, 0u64..2 * REORDERED_NS), 1..60),
    ) {
        let all: Vec<Sent> =
            steps.iter().map(|(begin, length, pause)| Sent { begin: *begin, length: *length, pause: *pause }).collect();
        let mut health = Health::default();
        let mut time = 1_000_000;
        for sent in &all {
            time += sent.pause;
            health.take(true, &Segment {
                time,
                sequence: start.wrapping_add(sent.begin as u32),
                length: sent.length as u32,
                segments: 1,
                flags: PSH,
                window: 1,
                ..Segment::default()
            });
        }
        let way = health.ways[0];
        prop_assert_eq!((way.segments, way.retransmits, way.out_of_order, way.lost_before), oracle(&all));
        prop_assert_eq!(health.ways[1], Way::default());
    }
}
