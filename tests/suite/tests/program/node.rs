//! A datapath with one endpoint, who talks over it, and what is read back from it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Deref,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
};

use chainkit_abi::{Active, Conn, Counter, Event, ObserverFilter, TABLE_SETS, filter_bit, mode};
use chainkit_bpf::{Connection, Datapath, NodeLock, Observer, ObserverSettings, Program, Settings, TestContext};

use crate::frame::{self, ICMP, ICMPV6};

/// What a program answers to let a packet pass to whoever comes next (`TCX_NEXT`, linux/bpf.h).
pub(crate) const NEXT: i32 = -1;
/// What it answers to drop a packet (`TC_ACT_SHOT`, linux/pkt_cls.h).
pub(crate) const SHOT: i32 = 2;

/// The interface whose endpoint the node has: loopback, which test runs take for the packet's where nothing else is said.
pub(crate) const IFINDEX: u32 = 1;

pub(crate) const FROM_POD: Program = Program::FromPod;
pub(crate) const TO_POD: Program = Program::ToPod;

/// What judges, and for which directions something isolates; with tables for all that one test makes.
pub(crate) fn judging(mode: u8, flags: u8) -> Settings {
    Settings { mode, flags, connections: 512 }
}

/// A datapath that only observes.
pub(crate) fn observing() -> Settings {
    judging(mode::OBSERVE, 0)
}

/// A datapath with one endpoint, nobody else's as long as the node lives.
pub(crate) struct Node {
    pub(crate) datapath: Lent,
    pub(crate) slot: u32,
    counters: BTreeMap<u32, u64>,
}

impl Node {
    pub(crate) fn new(settings: Settings) -> Self {
        let datapath = Lent::take();
        let lock = NodeLock::take(datapath.root.path()).unwrap();
        let slot = datapath.add_endpoint(&lock, IFINDEX, settings).unwrap();
        drop(lock);
        let mut node = Self { datapath, slot, counters: BTreeMap::new() };
        node.counted();
        node
    }

    /// The tree that stands in for the node's `/`.
    pub(crate) fn root(&self) -> &Path {
        self.datapath.root.path()
    }

    /// Changes how the endpoint is judged; its tables stay.
    pub(crate) fn set(&self, settings: Settings) {
        let lock = NodeLock::take(self.root()).unwrap();
        self.datapath.add_endpoint(&lock, IFINDEX, settings).unwrap();
    }

    /// Takes out what has expired; how many entries that were.
    pub(crate) fn sweep(&self) -> u64 {
        let lock = NodeLock::take(self.root()).unwrap();
        self.datapath.sweep(&lock).unwrap()
    }

    /// Runs a frame through one of the two hooks; what the program answered.
    pub(crate) fn run(&self, program: Program, frame: &[u8]) -> i32 {
        self.run_in(program, frame, TestContext::default())
    }

    pub(crate) fn run_in(&self, program: Program, frame: &[u8], context: TestContext) -> i32 {
        // What goes to the pod has come in somewhere: a packet that the node makes itself is another matter.
        let ingress_ifindex = if program == TO_POD { 2 } else { 0 };
        self.datapath.test_run(program, frame, TestContext { ingress_ifindex, ..context }, 1).unwrap().answer
    }

    /// Runs a frame that the node itself sends to the pod.
    pub(crate) fn run_as_node(&self, frame: &[u8]) -> i32 {
        self.datapath.test_run(TO_POD, frame, TestContext::default(), 1).unwrap().answer
    }

    /// What was counted node-wide since this was last asked; counters that stood still are left out.
    pub(crate) fn counted(&mut self) -> Vec<(Counter, u64)> {
        let mut changed = Vec::new();
        for (counter, value) in self.datapath.counters().unwrap() {
            let before = self.counters.insert(counter as u32, value).unwrap_or(0);
            assert!(value >= before, "{} went back from {before} to {value}", counter.name());
            if value > before {
                changed.push((counter, value - before));
            }
        }
        changed
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.datapath.connections(self.slot).unwrap()
    }

    /// The entry of a connection.
    pub(crate) fn connection(&self, ends: Ends, protocol: u8, local_port: u16, remote_port: u16) -> Option<Conn> {
        let wanted = (ends.pod, ends.peer, protocol, local_port, remote_port);
        self.connections()
            .into_iter()
            .find(|found| (found.local, found.remote, found.protocol, found.local_port, found.remote_port) == wanted)
            .map(|found| found.conn)
    }

    /// An observer with room for all that a test makes.
    pub(crate) fn observe(&self, filter: ObserverFilter) -> Observer {
        let settings = ObserverSettings { ring_bytes: 1 << 20, filter };
        Observer::start(&self.datapath, self.root(), settings).unwrap()
    }

    /// A pod and a peer that no conversation had before.
    pub(crate) fn ends(&self, family: u8) -> Ends {
        static CONVERSATIONS: AtomicU16 = AtomicU16::new(1);
        let number = CONVERSATIONS.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        if family == 4 {
            Ends { pod: Ipv4Addr::new(10, high, low, 2).into(), peer: Ipv4Addr::new(192, 0, 2, 7).into() }
        } else {
            let pod = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 2);
            Ends { pod: pod.into(), peer: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7).into() }
        }
    }
}

/// A datapath of nobody else's, and the root that its locks are under.
///
/// Loading is what takes longest, in the emulator by far. So a datapath goes from one node to the next; only after a failure
/// it is not used again.
pub(crate) struct Lent {
    datapath: Option<Datapath>,
    root: tempfile::TempDir,
}

static IDLE: Mutex<Vec<Datapath>> = Mutex::new(Vec::new());

impl Lent {
    fn take() -> Self {
        let idle = IDLE.lock().unwrap().pop();
        let datapath = idle.unwrap_or_else(|| Datapath::load().unwrap());
        Self { datapath: Some(datapath), root: tempfile::tempdir().unwrap() }
    }
}

impl Deref for Lent {
    type Target = Datapath;

    fn deref(&self) -> &Datapath {
        self.datapath.as_ref().unwrap()
    }
}

impl Drop for Lent {
    /// Leaves it as if freshly loaded, but for its counters. Observers must be gone by now.
    fn drop(&mut self) {
        let Some(datapath) = self.datapath.take().filter(|_| !thread::panicking()) else { return };
        let word = datapath.control_value().unwrap();
        assert_eq!((word.observers, word.payload), (0, 0), "an observer outlives its node");
        datapath.set_active(Active::default(), 0);
        datapath.set_rules_since(0);
        let lock = NodeLock::take(self.root.path()).unwrap();
        for (_, endpoint) in datapath.endpoints().unwrap() {
            datapath.remove_endpoint(&lock, endpoint.ifindex).unwrap();
        }
        for set in 0..TABLE_SETS {
            datapath.take_tables(&lock, set).unwrap();
        }
        IDLE.lock().unwrap().push(datapath);
    }
}

/// Every packet.
pub(crate) fn per_packet() -> ObserverFilter {
    ObserverFilter { flags: filter_bit::PER_PACKET, ..ObserverFilter::default() }
}

/// What has come to an observer since it was last asked.
pub(crate) fn drain(observer: &mut Observer) -> Vec<Event> {
    let mut events = Vec::new();
    observer.drain(usize::MAX, |event| events.push(*event));
    events
}

/// A pod and who it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) pod: IpAddr,
    pub(crate) peer: IpAddr,
}

impl Ends {
    /// 4 or 6.
    pub(crate) fn family(self) -> u8 {
        if self.pod.is_ipv4() { 4 } else { 6 }
    }

    /// Bytes of an Ethernet and a plain IP header.
    pub(crate) fn headers(self) -> u64 {
        if self.pod.is_ipv4() { 14 + 20 } else { 14 + 40 }
    }

    /// ICMP's number for this family.
    pub(crate) fn icmp(self) -> u8 {
        if self.pod.is_ipv4() { ICMP } else { ICMPV6 }
    }

    /// The frame of a packet from the pod.
    pub(crate) fn outgoing(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        frame::framed(&frame::ip(self.pod, self.peer, protocol, payload))
    }

    /// The frame of a packet to the pod.
    pub(crate) fn incoming(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        frame::framed(&frame::ip(self.peer, self.pod, protocol, payload))
    }
}

/// The source of an event.
pub(crate) fn source(event: &Event) -> IpAddr {
    address(event.family, event.source)
}

/// The destination of an event.
pub(crate) fn destination(event: &Event) -> IpAddr {
    address(event.family, event.destination)
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    match family {
        4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        6 => Ipv6Addr::from(bytes).into(),
        other => panic!("address of family {other}"),
    }
}
