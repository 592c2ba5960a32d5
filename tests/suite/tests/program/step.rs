//! A packet of a conversation, and what must come of it: answer, counters, entry, event.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use chainkit_abi::{Counter, Event, ObserverFilter, close, hook, kind, opened, reason, reply, state, verdict};
use chainkit_bpf::{Connection, Observer, Program, Settings, TestContext};

use crate::{
    frame::{SCTP, TCP, UDP},
    node::{Ends, FROM_POD, IFINDEX, NEXT, Node, SHOT, TO_POD, destination, drain, per_packet, source},
};

/// On a slow machine a conversation may last longer than observers are left without news of it, five seconds. Past this time
/// nothing is said of what is new to them.
const MOMENT: Duration = Duration::from_secs(4);

impl Ends {
    /// The pod sends a packet.
    pub(crate) fn sends(self, protocol: u8, payload: &[u8]) -> Step {
        Step::new(FROM_POD, self.outgoing(protocol, payload))
    }

    /// The pod gets a packet.
    pub(crate) fn gets(self, protocol: u8, payload: &[u8]) -> Step {
        Step::new(TO_POD, self.incoming(protocol, payload))
    }

    /// What is expected of a connection's entry: so far, nothing was counted.
    pub(crate) fn entry(self, protocol: u8, local_port: u16, remote_port: u16) -> Entry {
        Entry {
            ends: self,
            protocol,
            local_port,
            remote_port,
            opened: opened::UNKNOWN,
            state: state::UNREPLIED,
            verdict: verdict::FORWARDED,
            tx: (0, 0),
            rx: (0, 0),
        }
    }
}

/// What a connection's entry must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    ends: Ends,
    protocol: u8,
    local_port: u16,
    remote_port: u16,
    opened: u8,
    state: u8,
    verdict: u8,
    tx: (u64, u64),
    rx: (u64, u64),
}

impl Entry {
    pub(crate) fn by_pod(self) -> Self {
        Self { opened: opened::BY_POD, ..self }
    }

    pub(crate) fn by_peer(self) -> Self {
        Self { opened: opened::BY_REMOTE, ..self }
    }

    pub(crate) fn state(self, state: u8) -> Self {
        Self { state, ..self }
    }

    pub(crate) fn verdict(self, verdict: u8) -> Self {
        Self { verdict, ..self }
    }

    /// Packets and bytes that the pod sent.
    pub(crate) fn tx(self, packets: u64, bytes: u64) -> Self {
        Self { tx: (packets, bytes), ..self }
    }

    /// Packets and bytes that the pod received.
    pub(crate) fn rx(self, packets: u64, bytes: u64) -> Self {
        Self { rx: (packets, bytes), ..self }
    }

    fn of(found: &Connection) -> Self {
        Self {
            ends: Ends { pod: found.local, peer: found.remote },
            protocol: found.protocol,
            local_port: found.local_port,
            remote_port: found.remote_port,
            opened: found.conn.opened,
            state: found.conn.state,
            verdict: found.conn.verdict,
            tx: (found.conn.tx_packets, found.conn.tx_bytes),
            rx: (found.conn.rx_packets, found.conn.rx_bytes),
        }
    }
}

/// What observers must be told of a packet.
#[derive(Clone, Copy, Debug)]
struct Told {
    kind: u8,
    reason: u8,
    verdict: u8,
    /// Sparse observers are told too.
    due: bool,
}

/// A packet, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    program: Program,
    frame: Vec<u8>,
    context: TestContext,
    answer: i32,
    told: Option<Told>,
    counted: Vec<(Counter, u64)>,
    /// The entry afterwards; a packet without one must leave all entries as they are.
    entry: Option<Entry>,
    /// Packets and bytes that the frame stands for.
    measure: (u32, u32),
    /// Protocol, source and destination as events have them, where they are not those of the entry.
    outer: Option<(u8, IpAddr, IpAddr)>,
    vlan: u16,
    later_fragment: bool,
    /// Its entry takes the place of one of the same key.
    in_place: bool,
}

impl Step {
    pub(crate) fn new(program: Program, frame: Vec<u8>) -> Self {
        let measure = (1, frame.len() as u32);
        Self {
            program,
            frame,
            context: TestContext::default(),
            answer: NEXT,
            told: None,
            counted: Vec::new(),
            entry: None,
            measure,
            outer: None,
            vlan: 0,
            later_fragment: false,
            in_place: false,
        }
    }

    fn told(mut self, kind: u8, reason: u8, entry: Entry) -> Self {
        self.told = Some(Told { kind, reason, verdict: entry.verdict, due: kind != kind::PACKET });
        self.entry = Some(entry);
        self
    }

    /// It makes an entry.
    pub(crate) fn opens(self, entry: Entry) -> Self {
        self.told(kind::FIRST, reason::NONE, entry).counts(Counter::NewConnections, 1)
    }

    /// It is the first of the other side.
    pub(crate) fn replies(self, entry: Entry) -> Self {
        self.told(kind::REPLY, reason::NONE, entry)
    }

    /// It has a TCP flag that its side had not sent before.
    pub(crate) fn flags(self, entry: Entry) -> Self {
        self.told(kind::FLAGS, reason::NONE, entry)
    }

    /// It is counted, and nothing is new about it.
    pub(crate) fn goes_on(self, entry: Entry) -> Self {
        self.told(kind::PACKET, reason::NONE, entry)
    }

    /// It is the end of a connection, for the reason given (one of [`close`]).
    pub(crate) fn closes(self, why: u8, entry: Entry) -> Self {
        assert!([close::FIN, close::RST].contains(&why));
        self.told(kind::CLOSE, why, entry)
    }

    /// It is an ICMP error about the connection, whose counters stay as they are.
    pub(crate) fn concerns(mut self, from: IpAddr, to: IpAddr, entry: Entry) -> Self {
        self.outer = Some((entry.ends.icmp(), from, to));
        // The error itself passes for the connection's sake, whatever the connection's verdict.
        self.told(kind::RELATED, reason::NONE, entry.verdict(verdict::FORWARDED)).counts(Counter::IcmpRelated, 1)
    }

    /// It passes uncounted but for this counter, and makes no entry.
    pub(crate) fn only_counts(self, counter: Counter) -> Self {
        self.counts(counter, 1)
    }

    /// Observers that ask for each packet are told of it, though it has no entry.
    pub(crate) fn seen(mut self) -> Self {
        let verdict = verdict::FORWARDED;
        self.told = Some(Told { kind: kind::PACKET, reason: reason::NONE, verdict, due: false });
        self
    }

    /// It cannot be read, for the reason that the counter names, and passes.
    pub(crate) fn malformed(mut self, counter: Counter) -> Self {
        let verdict = verdict::FORWARDED;
        self.told = Some(Told { kind: kind::MALFORMED, reason: counter as u8, verdict, due: true });
        self.counts(counter, 1)
    }

    /// It is dropped because no rule allows it.
    pub(crate) fn denied(mut self) -> Self {
        self.told = Some(Told { kind: kind::DENIED, reason: reason::POLICY, verdict: verdict::DROPPED, due: true });
        let packets = u64::from(self.measure.0);
        self.dropped(packets)
    }

    /// It cannot be read, and is dropped for that.
    pub(crate) fn refused(self, counter: Counter) -> Self {
        let mut step = self.malformed(counter).dropped(1);
        step.told = Some(Told { kind: kind::MALFORMED, reason: counter as u8, verdict: verdict::DROPPED, due: true });
        step
    }

    fn dropped(mut self, packets: u64) -> Self {
        self.answer = SHOT;
        self.counts(Counter::Dropped, packets)
    }

    /// The like was told a moment ago: observers that want sparse events are not told again.
    pub(crate) fn again(mut self) -> Self {
        if let Some(told) = &mut self.told {
            told.due = false;
        }
        self
    }

    /// The reverse of [`again`](Self::again).
    pub(crate) fn first(mut self) -> Self {
        if let Some(told) = &mut self.told {
            told.due = true;
        }
        self
    }

    /// A node-wide counter goes up.
    pub(crate) fn counts(mut self, counter: Counter, packets: u64) -> Self {
        self.counted.push((counter, packets));
        self
    }

    /// It is a super-packet, and stands for these packets and bytes.
    pub(crate) fn segments(mut self, gso_segs: u32, gso_size: u32, packets: u32, bytes: u32) -> Self {
        self.context = TestContext { gso_segs, gso_size, ..TestContext::default() };
        self.measure = (packets, bytes);
        self
    }

    /// Observers are told of a VLAN.
    pub(crate) fn vlan(self, id: u16) -> Self {
        Self { vlan: 0x1000 | id, ..self }
    }

    /// Observers are told that it is a fragment other than the first.
    pub(crate) fn later_fragment(self) -> Self {
        Self { later_fragment: true, ..self }
    }

    /// Its entry takes the place of one of the same key that is over.
    pub(crate) fn in_place(self) -> Self {
        Self { in_place: true, ..self }
    }

    /// Observers are told of these, where it has no entry.
    pub(crate) fn names(self, protocol: u8, from: IpAddr, to: IpAddr) -> Self {
        Self { outer: Some((protocol, from, to)), ..self }
    }

    fn check_events(&self, node: &Node, told: Option<Told>, events: &[Event], place: &str) {
        assert_eq!(events.len(), usize::from(told.is_some()), "events of {place}: {events:?}");
        let (Some(told), Some(event)) = (told, events.first()) else { return };
        let from_pod = self.program == FROM_POD;
        assert_eq!(
            (event.kind, event.reason, event.verdict),
            (told.kind, told.reason, told.verdict),
            "kind, reason and verdict of the event of {place}: {event:?}"
        );
        assert_eq!(event.hook, if from_pod { hook::FROM_POD } else { hook::TO_POD }, "hook of {place}");
        assert_eq!((event.ifindex, event.slot), (IFINDEX, node.slot), "endpoint of {place}");
        assert_eq!((event.packets, event.bytes), self.measure, "packets and bytes of the event of {place}");
        assert_eq!(event.destination_mac, self.frame[..6], "destination MAC address of {place}");
        assert_eq!(event.source_mac, self.frame[6..12], "source MAC address of {place}");
        assert_eq!(event.vlan, self.vlan, "VLAN of {place}");
        assert_eq!(event.fragment, u8::from(self.later_fragment), "fragment of {place}");
        if let Some((protocol, from, to)) = self.outer {
            assert_eq!((event.protocol, source(event), destination(event)), (protocol, from, to), "ends of {place}");
        }
        let Some(entry) = self.entry else {
            let nothing = (0, 0, 0, 0, 0, reply::UNKNOWN);
            let found =
                (event.tx_packets, event.tx_bytes, event.rx_packets, event.rx_bytes, event.first_seen, event.reply);
            assert_eq!(found, nothing, "{place} has no connection");
            return;
        };
        assert_eq!((event.opened, event.state), (entry.opened, entry.state), "opener and state of {place}");
        let counts = ((event.tx_packets, event.tx_bytes), (event.rx_packets, event.rx_bytes));
        assert_eq!(counts, (entry.tx, entry.rx), "counters in the event of {place}");
        assert_ne!(event.first_seen, 0, "first seen of {place}");
        let expected = match (entry.opened, from_pod) {
            (opened::UNKNOWN, _) => reply::UNKNOWN,
            (opened::BY_POD, true) | (opened::BY_REMOTE, false) => reply::NO,
            _ => reply::YES,
        };
        assert_eq!(event.reply, expected, "whether {place} is a reply");
        if self.outer.is_some() {
            return;
        }
        let Ends { pod, peer } = entry.ends;
        let (pod_port, peer_port) =
            if [TCP, UDP, SCTP].contains(&entry.protocol) { (entry.local_port, entry.remote_port) } else { (0, 0) };
        let mut ends = [(pod, pod_port), (peer, peer_port)];
        if !from_pod {
            ends.reverse();
        }
        let found = [(source(event), event.source_port), (destination(event), event.destination_port)];
        assert_eq!((event.protocol, found), (entry.protocol, ends), "ends of {place}");
    }
}

/// Holds a conversation over IPv4 and over IPv6, and checks each of its packets: while nobody looks, while somebody wants to be
/// told what is new, and while another wants every packet.
pub(crate) fn converse(settings: Settings, script: impl Fn(Ends) -> Vec<Step>) {
    converse_over(&[4, 6], settings, script);
}

/// The same over one family.
pub(crate) fn converse_over(families: &[u8], settings: Settings, script: impl Fn(Ends) -> Vec<Step>) {
    let mut node = Node::new(settings);
    hold(&mut node, families, &script, [None, None]);
    let mut sparse = node.observe(ObserverFilter::default());
    hold(&mut node, families, &script, [Some(&mut sparse), None]);
    let mut every = node.observe(per_packet());
    // Which must change nothing of all that.
    every.want_payload(&node.datapath, 0).unwrap();
    hold(&mut node, families, &script, [Some(&mut sparse), Some(&mut every)]);
}

fn hold(
    node: &mut Node,
    families: &[u8],
    script: &impl Fn(Ends) -> Vec<Step>,
    [mut sparse, mut every]: [Option<&mut Observer>; 2],
) {
    let observers = usize::from(sparse.is_some()) + usize::from(every.is_some());
    for family in families {
        // What is not told again within some seconds is told again.
        node.datapath.backdate(node.slot, 6).unwrap();
        let steps = script(node.ends(*family));
        assert!(!steps.is_empty());
        let began = Instant::now();
        let mut entries: Vec<_> = node.connections().iter().map(Entry::of).collect();
        node.counted();
        for (number, step) in steps.iter().enumerate() {
            let place = format!("step {number} over IPv{family}, {observers} observers");
            entries = take(node, step, &entries, &place);
            let is_late = began.elapsed() > MOMENT;
            if let Some(observer) = &mut sparse {
                let (events, due) = (drain(observer), step.told.filter(|told| told.due));
                if !is_late {
                    step.check_events(node, due, &events, &place);
                }
            }
            if let Some(observer) = &mut every {
                let (events, mut told) = (drain(observer), step.told);
                if let (true, Some(told), Some(event)) = (is_late, &mut told, events.first())
                    && (told.kind, event.kind) == (kind::PACKET, kind::ACTIVE)
                {
                    told.kind = kind::ACTIVE;
                }
                step.check_events(node, told, &events, &place);
            }
        }
    }
}

/// Runs one packet, and checks answer, counters and entries; the entries there are then.
fn take(node: &mut Node, step: &Step, before: &[Entry], place: &str) -> Vec<Entry> {
    let answer = node.run_in(step.program, &step.frame, step.context);
    assert_eq!(answer, step.answer, "answer to {place}");
    let mut counted = step.counted.clone();
    counted.sort_by_key(|(counter, _)| *counter as u32);
    assert_eq!(node.counted(), counted, "counters after {place}");
    let after: Vec<_> = node.connections().iter().map(Entry::of).collect();
    let changed: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).collect();
    let is_new = !step.in_place && step.counted.iter().any(|(counter, _)| *counter == Counter::NewConnections);
    assert_eq!(after.len(), before.len() + usize::from(is_new), "entries after {place}: {after:?}");
    // An error leaves the connection that it is about as it is.
    let is_related = step.told.is_some_and(|told| told.kind == kind::RELATED);
    match &step.entry {
        Some(expected) if !is_related => assert_eq!(changed, [expected], "the entry after {place}"),
        _ => assert!(changed.is_empty(), "entries that {place} changed or made: {changed:?}"),
    }
    after
}
