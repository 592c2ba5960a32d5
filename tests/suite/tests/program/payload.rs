//! Payload: what of it is copied to whom, and what decisions change about that.

use chainkit_abi::{
    ObserverFilter, PAYLOAD_BUDGET, PAYLOAD_TURN, PROBE_BYTES, Piece, PortMatch, PrefixMatch, SKIP_MOST, filter_bit,
    flag, hook, kind, mode, opened, piece_flag, protocol_bit, reply, side,
    tcp::{ACK, FIN, PSH, RST, SYN},
    verdict,
};
use chainkit_bpf::{Decision, Error, Observer, ObserverSettings, Program, Record, Skip, Stream, TestContext};

use crate::{
    frame::{IPV4, IPV6, SCTP, TCP, UDP, VLAN, echo, ethernet, ip, patched, sctp, tagged, tcp, udp},
    node::{Ends, FROM_POD, NEXT, Node, SHOT, TO_POD, drain, judging, observing, per_packet},
};

/// A segment with its sequence number and payload.
pub(crate) fn segment(from: u16, to: u16, sequence: u32, flags: u16, payload: &[u8]) -> Vec<u8> {
    let bare = patched(tcp(from, to, flags, 0), 4, &sequence.to_be_bytes());
    [&bare, payload].concat()
}

/// A datagram with its payload.
pub(crate) fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let whole = udp(from, to, payload.len());
    patched(whole, 8, payload)
}

/// Bytes of which none is like its neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// An observer that wants payload, and no more events than need be.
pub(crate) fn wanting(node: &Node, filter: ObserverFilter) -> Observer {
    let mut observer = node.observe(filter);
    observer.want_payload(&node.datapath, 0).unwrap();
    observer
}

/// The pieces that have come since this was last asked.
pub(crate) fn pieces(observer: &mut Observer) -> Vec<(Piece, Vec<u8>)> {
    let mut found = Vec::new();
    observer.read(usize::MAX, |record| {
        if let Record::Piece(piece, bytes) = record {
            assert_eq!((piece.kind, piece.length as usize), (kind::PAYLOAD, bytes.len()));
            found.push((*piece, bytes.to_vec()));
        }
    });
    found
}

/// A TCP connection that the pod has opened from port 40000 to port 80, by its packets.
struct Talk<'a> {
    node: &'a Node,
    ends: Ends,
}

impl Talk<'_> {
    /// The pod sends a segment.
    fn says(&self, sequence: u32, flags: u16, payload: &[u8]) {
        let frame = self.ends.outgoing(TCP, &segment(40000, 80, sequence, flags, payload));
        assert_eq!(self.node.run(FROM_POD, &frame), NEXT);
    }

    /// The pod gets one.
    fn hears(&self, sequence: u32, flags: u16, payload: &[u8]) {
        let frame = self.ends.incoming(TCP, &segment(80, 40000, sequence, flags, payload));
        assert_eq!(self.node.run(TO_POD, &frame), NEXT);
    }
}

/// Opens such a connection; streams begin at 1001 and at 5001.
fn open(node: &Node, family: u8) -> Talk<'_> {
    let talk = Talk { node, ends: node.ends(family) };
    talk.says(1000, SYN, b"");
    talk.hears(5000, SYN | ACK, b"");
    talk.says(1001, ACK, b"");
    talk
}

/// What came as one piece.
fn only(observer: &mut Observer) -> (Piece, Vec<u8>) {
    let mut all = pieces(observer);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Bytes, and sequence number of the first, of all that came.
fn copied(observer: &mut Observer) -> Vec<(u32, Vec<u8>)> {
    pieces(observer).into_iter().map(|(piece, bytes)| (piece.sequence, bytes)).collect()
}

#[test]
fn a_connection_is_copied_both_ways_from_its_begin_to_its_end() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    for family in [4, 6] {
        let talk = open(&node, family);
        talk.says(1001, ACK | PSH, b"question");
        talk.hears(5001, ACK, b"answ");
        talk.hears(5005, ACK | FIN, b"er");
        talk.says(1009, ACK | FIN, b"");
        let all = pieces(&mut observer);
        let told: Vec<_> = all
            .iter()
            .map(|(piece, bytes)| (piece.hook, piece.sequence, piece.tcp_flags, piece.packet_length, bytes.as_slice()))
            .collect();
        let expected: [(u8, u32, u16, u32, &[u8]); 6] = [
            (hook::FROM_POD, 1001, SYN, 0, b""),
            (hook::TO_POD, 5001, SYN | ACK, 0, b""),
            (hook::FROM_POD, 1001, ACK | PSH, 8, b"question"),
            (hook::TO_POD, 5001, ACK, 4, b"answ"),
            (hook::TO_POD, 5005, ACK | FIN, 2, b"er"),
            (hook::FROM_POD, 1009, ACK | FIN, 0, b""),
        ];
        assert_eq!(told, expected, "IPv{family}");
        let conn = node.connection(talk.ends, TCP, 40000, 80).unwrap();
        let octets = |address: std::net::IpAddr| {
            let mut bytes = [0; 16];
            match address {
                std::net::IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
                std::net::IpAddr::V6(address) => bytes.copy_from_slice(&address.octets()),
            }
            bytes
        };
        let mut last = 0;
        for (piece, _) in &all {
            let mut ends = [(octets(talk.ends.pod), 40000), (octets(talk.ends.peer), 80)];
            let sent = piece.hook == hook::FROM_POD;
            if !sent {
                ends.reverse();
            }
            let found = [(piece.source, piece.source_port), (piece.destination, piece.destination_port)];
            assert_eq!(found, ends);
            assert_eq!((piece.family, piece.protocol, piece.slot, piece.ifindex), (family, TCP, node.slot, 1));
            assert_eq!((piece.opened, piece.first_seen), (opened::BY_POD, conn.first_seen));
            assert_eq!(piece.reply, if sent { reply::NO } else { reply::YES });
            assert_eq!((piece.flags, piece.vlan, piece.offset, piece.segment), (0, 0, 0, 0));
            assert!(piece.time > last, "{} after {last}", piece.time);
            last = piece.time;
        }
        let streams: std::collections::HashSet<_> = all.iter().map(|(piece, _)| Stream::of(piece)).collect();
        assert_eq!(streams.len(), 1, "both directions are one stream");
    }
}

#[test]
fn what_carries_nothing_or_is_neither_tcp_nor_udp_is_not_told() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, per_packet());
    for family in [4, 6] {
        let ends = node.ends(family);
        let request = if family == 4 { 8 } else { 128 };
        for (protocol, payload) in [
            (TCP, segment(40000, 80, 7, ACK, b"")),
            (UDP, datagram(40000, 53, b"")),
            (SCTP, sctp(40000, 80, 64)),
            (ends.icmp(), echo(request, 9, 64)),
            (47, vec![0; 64]),
        ] {
            assert_eq!(node.run(FROM_POD, &ends.outgoing(protocol, &payload)), NEXT);
        }
    }
    node.run(FROM_POD, &ethernet(0x88cc, &[0; 64]));
    assert_eq!(pieces(&mut observer), []);
    assert_eq!(observer.losses().unwrap().sent, 11, "events are told of all of them");
}

#[test]
fn datagrams_are_copied_and_those_of_a_super_packet_can_be_told_apart() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    for family in [4, 6] {
        let ends = node.ends(family);
        node.run(FROM_POD, &ends.outgoing(UDP, &datagram(40000, 53, b"name?")));
        node.run(TO_POD, &ends.incoming(UDP, &datagram(53, 40000, b"address")));
        let [(asked, question), (told, answer)] = &pieces(&mut observer)[..] else { panic!("not two pieces") };
        assert_eq!((question.as_slice(), answer.as_slice()), (&b"name?"[..], &b"address"[..]));
        assert_eq!((asked.sequence, asked.tcp_flags, asked.packet_length, asked.protocol), (0, 0, 5, UDP));
        assert_eq!((asked.reply, told.reply, told.hook), (reply::NO, reply::YES, hook::TO_POD));

        let three = pattern(2500);
        let context = TestContext { gso_segs: 3, gso_size: 1000, ..TestContext::default() };
        node.run_in(FROM_POD, &ends.outgoing(UDP, &datagram(40000, 443, &three)), context);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.segment, piece.packet_length, bytes == three), (1000, 2500, true));
    }
}

#[test]
fn a_direction_past_its_budget_is_only_probed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    for family in [4, 6] {
        let talk = open(&node, family);
        let payload = pattern(1024);
        let most = PAYLOAD_BUDGET / 1024;
        for number in 0..most {
            talk.hears(5001 + number * 1024, ACK, &payload);
            // Acknowledgements are no payload, however many there are.
            talk.says(1001, ACK, b"");
        }
        let all = pieces(&mut observer);
        let whole = all.iter().filter(|(piece, bytes)| piece.flags == 0 && *bytes == payload).count();
        assert_eq!(whole, most as usize, "within the budget");
        talk.hears(5001 + PAYLOAD_BUDGET, ACK, &payload);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.flags, piece.packet_length), (piece_flag::PROBE, 1024));
        assert_eq!(bytes, payload[..PROBE_BYTES as usize]);
        talk.hears(6025 + PAYLOAD_BUDGET, ACK, b"short");
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.flags, bytes.as_slice()), (piece_flag::PROBE, &b"short"[..]));
        // The other way has a budget of its own.
        talk.says(1001, ACK | PSH, &payload);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.flags, bytes.len()), (0, 1024));

        // Recognised by what the probes showed.
        observer.decide(&Stream::of(&piece), Decision::All(Skip::default())).unwrap();
        talk.hears(6030 + PAYLOAD_BUDGET, ACK, &payload);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.flags, bytes == payload), (0, true));
        // And forgotten.
        observer.undecide(&Stream::of(&piece)).unwrap();
        // A side that speaks anew, after the other has: what it begins with is copied, however much it has sent before.
        let anew = PAYLOAD_TURN / 1024 - 1;
        for number in 0..anew {
            talk.hears(7054 + PAYLOAD_BUDGET + number * 1024, ACK, &payload);
            talk.says(2025, ACK, b"");
            let (piece, bytes) = only(&mut observer);
            assert_eq!((piece.flags, bytes == payload), (0, true), "{number}");
        }
        talk.hears(7054 + PAYLOAD_BUDGET + anew * 1024, ACK, &payload);
        assert_eq!(only(&mut observer).0.flags, piece_flag::PROBE);
        observer.undecide(&Stream::of(&piece)).unwrap();
    }
}

#[test]
fn of_what_nobody_can_read_nothing_is_copied_to_who_said_so() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut one = wanting(&node, ObserverFilter::default());
    let mut two = wanting(&node, ObserverFilter::default());
    for family in [4, 6] {
        let talk = open(&node, family);
        let first = pieces(&mut one)[0].0;
        pieces(&mut two);
        one.decide(&Stream::of(&first), Decision::Nothing).unwrap();
        talk.says(1001, ACK, b"\x16\x03\x01");
        talk.hears(5001, ACK | FIN, b"bye");
        talk.says(1004, ACK | RST, b"");
        assert_eq!(pieces(&mut one), [], "nor that it ends");
        let seen = copied(&mut two);
        assert_eq!(seen, [(1001, b"\x16\x03\x01".to_vec()), (5001, b"bye".to_vec()), (1004, vec![])]);
        // Another connection of the same endpoint is another matter.
        let other = Talk { node: &node, ends: node.ends(family) };
        other.says(1, ACK, b"x");
        assert_eq!(copied(&mut one), [(1, b"x".to_vec())]);
        pieces(&mut two);
    }
}

#[test]
fn what_is_skipped_is_not_copied_and_what_straddles_is_from_there_on() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    // The second begins so that its numbers pass 2^32 on the way.
    for (family, start) in [(4, 5001), (6, u32::MAX - 149), (4, u32::MAX - 249), (6, u32::MAX - 99)] {
        let talk = Talk { node: &node, ends: node.ends(family) };
        let body = pattern(500);
        let at = |offset: u32| start.wrapping_add(offset);
        talk.hears(at(0), ACK, b"head");
        let stream = Stream::of(&only(&mut observer).0);
        let skip = Skip { from_pod: None, to_pod: Some(at(250)) };
        observer.decide(&stream, Decision::All(skip)).unwrap();
        talk.hears(at(4), ACK, &body[4..100]);
        talk.hears(at(100), ACK, &body[100..200]);
        assert_eq!(pieces(&mut observer), [], "IPv{family} from {start}: all lies before");
        // Nor is what is sent once more.
        talk.hears(at(4), ACK, &body[4..100]);
        assert_eq!(pieces(&mut observer), []);
        // The other direction has nothing to skip, whatever its numbers.
        talk.says(at(50), ACK, b"more");
        assert_eq!(copied(&mut observer), [(at(50), b"more".to_vec())]);
        talk.hears(at(200), ACK, &body[200..300]);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.sequence, piece.offset, piece.packet_length), (at(250), 50, 100));
        assert_eq!(bytes, body[250..300]);
        talk.hears(at(300), ACK, &body[300..400]);
        assert_eq!(copied(&mut observer), [(at(300), body[300..400].to_vec())]);
        // The number is used up, or it would be ahead once more when the stream has gone 2 GiB further.
        talk.hears(at(300 + (1 << 31)), ACK, b"far");
        assert_eq!(copied(&mut observer), [(at(300 + (1 << 31)), b"far".to_vec())]);
    }
}

#[test]
fn a_skip_ends_at_a_packets_edge_and_holds_as_far_as_it_may_reach() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4);
    let stream = Stream::of(&pieces(&mut observer)[0].0);
    let skip = |until| Decision::All(Skip { from_pod: Some(until), to_pod: None });
    observer.decide(&stream, skip(1011)).unwrap();
    talk.says(1001, ACK, b"0123456789");
    assert_eq!(pieces(&mut observer), []);
    talk.says(1011, ACK, b"next");
    assert_eq!(copied(&mut observer), [(1011, b"next".to_vec())]);
    observer.decide(&stream, skip(1015 + SKIP_MOST)).unwrap();
    talk.says(1015, ACK, b"body");
    // An end is told though it lies in what is skipped; and where the stream ends, with it.
    talk.says(1019, ACK | FIN, b"last");
    let (piece, bytes) = only(&mut observer);
    assert_eq!((piece.tcp_flags, piece.sequence, piece.offset, piece.packet_length), (ACK | FIN, 1019, 0, 4));
    assert_eq!(bytes, b"");
    // What a RST carries is of no stream.
    talk.hears(5001, RST, b"why");
    let (piece, bytes) = only(&mut observer);
    assert_eq!((piece.tcp_flags, piece.sequence, bytes.len()), (RST, 5001, 0));
}

#[test]
fn data_on_a_syn_begins_behind_it() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let talk = Talk { node: &node, ends: node.ends(6) };
    talk.says(u32::MAX, SYN, b"early");
    let (piece, bytes) = only(&mut observer);
    assert_eq!((piece.sequence, piece.tcp_flags, bytes.as_slice()), (0, SYN, &b"early"[..]));
}

#[test]
fn nothing_is_decided_about_the_next_connection_of_the_same_ports() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4);
    let first = pieces(&mut observer)[0].0;
    observer.decide(&Stream::of(&first), Decision::Nothing).unwrap();
    talk.says(1001, ACK | RST, b"");
    assert_eq!(pieces(&mut observer), []);
    talk.says(90_000, SYN, b"");
    let (again, _) = only(&mut observer);
    assert_eq!((again.sequence, again.source_port), (90_001, first.source_port));
    assert!(again.first_seen > first.first_seen);
    assert_ne!(Stream::of(&again), Stream::of(&first));
    talk.says(90_001, ACK, b"new");
    assert_eq!(copied(&mut observer), [(90_001, b"new".to_vec())]);
}

#[test]
fn nothing_of_a_predecessors_decisions_is_left_to_who_takes_its_slot() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let talk = open(&node, 4);
    let stream = Stream::of(&pieces(&mut observer)[0].0);
    observer.decide(&stream, Decision::Nothing).unwrap();
    let slot = observer.slot();
    drop(observer);
    let word = node.datapath.control_value().unwrap();
    assert_eq!((word.observers, word.payload), (0, 0));
    let mut next = node.observe(ObserverFilter::default());
    assert_eq!(next.slot(), slot);
    talk.says(1001, ACK, b"unseen");
    assert_eq!(pieces(&mut next), [], "it has not asked for payload");
    let refused = next.decide(&stream, Decision::Nothing).unwrap_err();
    assert!(matches!(refused, Error::Unsupported(_)), "{refused}");
    next.want_payload(&node.datapath, 0).unwrap();
    talk.says(1007, ACK, b"seen");
    assert_eq!(copied(&mut next), [(1007, b"seen".to_vec())]);
}

#[test]
fn tags_options_and_extension_headers_are_read_past() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let (four, six) = (node.ends(4), node.ends(6));
    let said = segment(40000, 80, 9, ACK, b"said");
    let in_vlan = |ends: Ends, kind| ethernet(VLAN, &tagged(100, kind, &ip(ends.pod, ends.peer, TCP, &said)));
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) = (four.pod, four.peer) else { panic!("{four:?}") };
    let options = [1; 12];
    let optional = crate::frame::Ipv4 { from, to, protocol: TCP, id: 0, fragment: (0, false), options: &options };
    let extended = crate::frame::extension(TCP, 2, &said);
    // TCP options of its own: a data offset of eight words.
    let mut timed = segment(40000, 80, 9, ACK, &[&[1; 12][..], b"said"].concat());
    timed[12] = 8 << 4;
    for (frame, vlan) in [
        (in_vlan(four, IPV4), 0x1000 | 100),
        (in_vlan(six, IPV6), 0x1000 | 100),
        (crate::frame::framed(&optional.with(&said)), 0),
        (six.outgoing(crate::frame::DESTINATION, &extended), 0),
        (four.outgoing(TCP, &timed), 0),
        (six.outgoing(TCP, &timed), 0),
    ] {
        assert_eq!(node.run(FROM_POD, &frame), NEXT);
        let (piece, bytes) = only(&mut observer);
        assert_eq!((piece.vlan, piece.sequence, piece.packet_length, bytes.as_slice()), (vlan, 9, 4, &b"said"[..]));
    }
}

#[test]
fn no_more_is_copied_than_headers_say_and_nothing_of_what_is_cut_off() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, per_packet());
    for family in [4, 6] {
        let ends = node.ends(family);
        // Behind the packet lies what fills a short frame up.
        let padded = [ends.outgoing(TCP, &segment(40000, 80, 1, ACK, b"six")), vec![0xee; 40]].concat();
        node.run(FROM_POD, &padded);
        assert_eq!(copied(&mut observer), [(1, b"six".to_vec())]);
        // UDP says less than IP has.
        let short = patched(datagram(40000, 53, b"name----"), 4, &12_u16.to_be_bytes());
        node.run(FROM_POD, &ends.outgoing(UDP, &short));
        assert_eq!(only(&mut observer).1, b"name");
        // The frame ends before the packet does.
        let whole = ends.outgoing(TCP, &segment(40000, 80, 1, ACK, &[1; 100]));
        for length in [whole.len() - 1, whole.len() - 99, whole.len() - 101] {
            assert_eq!(node.run(FROM_POD, &whole[..length]), NEXT);
            assert_eq!(pieces(&mut observer), [], "{length} bytes of {}", whole.len());
        }
    }
}

#[test]
fn of_fragments_it_is_told_that_they_are_there() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = wanting(&node, ObserverFilter::default());
    let ends = node.ends(6);
    let whole = datagram(40000, 53, &pattern(64));
    let part = |offset: usize, more, bytes: &[u8]| {
        let place = u16::try_from(offset / 8).unwrap();
        ends.outgoing(crate::frame::FRAGMENT, &crate::frame::fragment(UDP, place, more, 7, bytes))
    };
    node.run(FROM_POD, &part(0, true, &whole[..40]));
    node.run(FROM_POD, &part(40, false, &whole[40..]));
    let (piece, bytes) = only(&mut observer);
    assert_eq!((piece.flags, piece.packet_length, bytes.len()), (piece_flag::FRAGMENT, 32, 0));
    assert_eq!((piece.source_port, piece.destination_port), (40000, 53));
}

#[test]
fn what_is_dropped_is_not_copied_and_what_is_audited_is() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    for (used, answer, count) in [(mode::ENFORCE, SHOT, 0), (mode::AUDIT, NEXT, 1)] {
        let node = Node::new(judging(used, flag::ISOLATED_INGRESS));
        let mut observer = wanting(&node, per_packet());
        let ends = node.ends(4);
        let frame = ends.incoming(UDP, &datagram(40000, 53, b"name?"));
        assert_eq!(node.run(TO_POD, &frame), answer);
        assert_eq!(pieces(&mut observer).len(), count, "mode {used}");
    }
}

/// What a filter says of a piece.
type Asks = fn(&Piece) -> bool;

#[test]
fn a_filter_holds_for_payload_but_for_its_verdicts() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let (ends, other) = (node.ends(4), node.ends(6));
    let std::net::IpAddr::V4(pod) = ends.pod else { panic!("{ends:?}") };
    let mut address = [0; 16];
    address[..4].copy_from_slice(&pod.octets());
    let filter = |flags, change: &dyn Fn(&mut ObserverFilter)| {
        let mut filter = ObserverFilter { flags, ..ObserverFilter::default() };
        change(&mut filter);
        filter
    };
    let is_tcp: Asks = |piece| piece.protocol == TCP;
    let asks: [(ObserverFilter, Asks); 7] = [
        (filter(0, &|_| {}), |_| true),
        (filter(filter_bit::VERDICTS, &|filter| filter.verdicts = 1 << verdict::DROPPED), |_| true),
        (filter(filter_bit::PROTOCOLS, &|filter| filter.protocols = protocol_bit::TCP), is_tcp),
        (filter(filter_bit::PROTOCOLS, &|filter| filter.protocols = protocol_bit::IPV6), |piece| piece.family == 6),
        (
            filter(filter_bit::PREFIXES, &|filter| {
                filter.prefixes[0] = PrefixMatch::new(address, 4, 32, side::DESTINATION);
            }),
            |piece| piece.family == 4 && piece.hook == hook::TO_POD,
        ),
        (
            filter(filter_bit::PORTS, &|filter| {
                filter.ports[3] = PortMatch { port: 53, side: side::SOURCE, pad: 0 };
            }),
            |piece| piece.source_port == 53,
        ),
        (filter(filter_bit::ENDPOINTS, &|filter| filter.endpoints[63] = 1 << 63), |_| false),
    ];
    let mut readers: Vec<_> = asks.iter().map(|(filter, _)| wanting(&node, *filter)).collect();
    let mut here = filter(filter_bit::ENDPOINTS, &|_| {});
    here.endpoints[node.slot as usize / 64] = 1 << (node.slot % 64);
    let mut of_this = wanting(&node, here);
    let mut sent: Vec<(Program, Vec<u8>)> = Vec::new();
    for ends in [ends, other] {
        sent.push((FROM_POD, ends.outgoing(UDP, &datagram(40000, 53, b"name?"))));
        sent.push((TO_POD, ends.incoming(UDP, &datagram(53, 40000, b"address"))));
        sent.push((FROM_POD, ends.outgoing(TCP, &segment(40000, 80, 1, ACK, b"question"))));
        sent.push((TO_POD, ends.incoming(TCP, &segment(80, 40000, 1, ACK, b"answer"))));
    }
    for (program, frame) in &sent {
        assert_eq!(node.run(*program, frame), NEXT);
    }
    let all = pieces(&mut of_this);
    assert_eq!(all.len(), sent.len());
    for (number, (reader, (_, asks))) in readers.iter_mut().zip(asks).enumerate() {
        let wanted: Vec<_> = all.iter().filter(|(piece, _)| asks(piece)).cloned().collect();
        assert_eq!(pieces(reader), wanted, "reader {number}");
    }
}

#[test]
fn pieces_sent_and_lost_are_all_that_there_were() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let tiny = ObserverSettings { ring_bytes: 4096, filter: ObserverFilter::default() };
    let mut observer = Observer::start(&node.datapath, node.root(), tiny).unwrap();
    observer.want_payload(&node.datapath, 0).unwrap();
    let talk = open(&node, 4);
    let payload = pattern(1000);
    let mut read = 0;
    // Three events, a piece for each SYN, and now a piece a packet.
    let before = 5;
    for number in 1..=20_u64 {
        talk.says(1001 + (number as u32 - 1) * 1000, ACK, &payload);
        if number % 7 == 0 {
            read += observer.read(usize::MAX, |_| ()) as u64;
            let losses = observer.losses().unwrap();
            assert_eq!((losses.sent + losses.lost, losses.sent), (before + number, read), "{losses:?}");
        }
    }
    assert!(observer.losses().unwrap().lost > 0);
}

#[test]
fn who_reads_events_alone_is_given_no_payload() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut wants = wanting(&node, per_packet());
    let mut events = node.observe(per_packet());
    let talk = open(&node, 4);
    // Longer with its piece than an event is.
    talk.says(1001, ACK, &pattern(500));
    let (told, same) = (drain(&mut events), drain(&mut wants));
    assert_eq!(told.iter().map(|event| event.kind).filter(|kind| *kind == kind::PAYLOAD).count(), 0);
    assert_eq!(told.len(), 4);
    assert_eq!(told, same, "pieces are passed over");
    assert_eq!(events.losses().unwrap().sent, 4);
    assert_eq!(wants.losses().unwrap().sent, 4 + 3);
}
