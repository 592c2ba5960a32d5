//! What every test begins with: a node with pods, the datapath on it, a reader of its events, and traffic by number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use chainkit_abi::{Counter, Event, ObserverFilter, filter_bit, hook, kind};
use chainkit_bpf::{
    Attachment, Connection, Datapath, Direction, Kit, NodeLock, Observer, ObserverSettings, Settings, attach,
};
use chainkit_lab::peer::{Server, udp};
use chainkit_lab::{Lab, Pod};

/// IP protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

/// Bytes in front of a UDP payload over IPv4: Ethernet 14, IPv4 20, UDP 8.
pub(crate) const UDP4_HEADERS: u64 = 42;

/// How long something may take that is sure to happen: long enough for an emulated machine under load.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Runs a test on a thread inside the network namespace of a new node, where interface indexes mean what they say.
pub(crate) fn on_node(test: impl FnOnce(&Lab) + Send) {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.node().run(|| test(&lab)).unwrap();
}

/// How this kernel can hang programs on interfaces: tcx is there from 6.6 on.
pub(crate) fn kits() -> Vec<Kit> {
    // Asked of the loopback of whichever namespace this is.
    match Kit::best() {
        Kit::Tcx => vec![Kit::Tcx, Kit::Clsact],
        Kit::Clsact => vec![Kit::Clsact],
    }
}

/// Runs a test for each of [`kits`], on a node of its own.
pub(crate) fn on_node_by_each_kit(test: impl Fn(&Lab, Kit) + Sync) {
    for kit in kits() {
        on_node(|lab| test(lab, kit));
    }
}

/// Waits until `done`, which is sure to come true.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// A datapath of the test's own, and what of it hangs on interfaces.
pub(crate) struct Watch<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) datapath: Datapath,
    pub(crate) attachments: Vec<Attachment>,
}

impl<'a> Watch<'a> {
    /// Loads a datapath and hangs it on both directions of each pod's interface. To be called in the node's namespace.
    pub(crate) fn start(lab: &'a Lab, pods: &[&Pod], kit: Kit) -> Self {
        let mut watch = Self { lab, datapath: Datapath::load().unwrap(), attachments: Vec::new() };
        for pod in pods {
            watch.add(pod, Settings::default(), kit);
        }
        watch
    }

    /// Takes one more pod in.
    pub(crate) fn add(&mut self, pod: &Pod, settings: Settings, kit: Kit) {
        self.set(pod, settings);
        for direction in Direction::BOTH {
            self.attachments.push(attach(&self.datapath, pod.host_ifindex, direction, kit).unwrap());
        }
    }

    /// Makes a pod an endpoint with these settings, or changes those it has.
    pub(crate) fn set(&self, pod: &Pod, settings: Settings) {
        let lock = NodeLock::take(self.lab.root()).unwrap();
        self.datapath.add_endpoint(&lock, pod.host_ifindex, settings).unwrap();
    }

    pub(crate) fn slot(&self, pod: &Pod) -> u32 {
        self.datapath.endpoint(pod.host_ifindex).unwrap().unwrap().0
    }

    /// A reader of each packet.
    pub(crate) fn each_packet(&self) -> Reader {
        self.reader(ObserverFilter { flags: filter_bit::PER_PACKET, ..ObserverFilter::default() })
    }

    /// A reader of the sparse events.
    pub(crate) fn sparse(&self) -> Reader {
        self.reader(ObserverFilter::default())
    }

    pub(crate) fn reader(&self, filter: ObserverFilter) -> Reader {
        Reader::start(&self.datapath, self.lab, 16 << 20, filter)
    }

    pub(crate) fn connections(&self, pod: &Pod) -> Vec<Connection> {
        self.datapath.connections(self.slot(pod)).unwrap()
    }

    /// The pod's only connection of this protocol in which the other side is `remote` (port 0: any).
    pub(crate) fn connection(&self, pod: &Pod, protocol: u8, remote: SocketAddr) -> Connection {
        let all = self.connections(pod);
        let found: Vec<&Connection> = all
            .iter()
            .filter(|found| found.protocol == protocol && found.remote == remote.ip())
            .filter(|found| remote.port() == 0 || found.remote_port == remote.port())
            .collect();
        assert_eq!(found.len(), 1, "{remote} in {all:#?}");
        *found[0]
    }

    /// Takes out what has expired; how much it was.
    pub(crate) fn sweep(&self) -> u64 {
        self.datapath.sweep(&NodeLock::take(self.lab.root()).unwrap()).unwrap()
    }

    pub(crate) fn counter(&self, wanted: Counter) -> u64 {
        let all = self.datapath.counters().unwrap();
        all.into_iter().find(|(counter, _)| *counter == wanted).unwrap().1
    }

    /// Asserts that each packet could be read.
    pub(crate) fn all_was_readable(&self) {
        let bad: Vec<_> = self.datapath.counters().unwrap();
        let bad: Vec<_> = bad
            .iter()
            .filter(|(counter, count)| *counter as u32 >= Counter::TruncatedEthernet as u32 && *count != 0)
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}

/// An observer with all that it has been told.
pub(crate) struct Reader {
    pub(crate) observer: Observer,
    pub(crate) events: Vec<Event>,
}

impl Reader {
    pub(crate) fn start(datapath: &Datapath, lab: &Lab, ring_bytes: u32, filter: ObserverFilter) -> Self {
        let observer = Observer::start(datapath, lab.root(), ObserverSettings { ring_bytes, filter }).unwrap();
        Self { observer, events: Vec::new() }
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) {
        let events = &mut self.events;
        self.observer.drain(usize::MAX, |event| events.push(*event));
    }

    /// Reads until `done`.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&[Event]) -> bool) {
        let started = Instant::now();
        loop {
            self.read();
            if done(&self.events) {
                return;
            }
            let some: Vec<String> = self.events.iter().rev().take(40).map(brief).collect();
            assert!(started.elapsed() < SOON, "{what}; the last of {} events:\n{}", self.events.len(), some.join("\n"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Events of packets that this pod's interface met in this direction, of one protocol.
    pub(crate) fn met(&self, pod: &Pod, hook: u8, protocol: u8) -> Vec<Event> {
        let of = |event: &&Event| event.ifindex == pod.host_ifindex && event.hook == hook && event.protocol == protocol;
        self.events.iter().filter(of).copied().collect()
    }

    /// Asserts that nothing was lost, and that what was sent was read.
    pub(crate) fn lost_nothing(&mut self) {
        self.read();
        let losses = self.observer.losses().unwrap();
        assert_eq!((losses.lost, losses.pauses), (0, 0));
        assert_eq!(losses.sent, self.events.len() as u64);
    }
}

/// Whether the end of a connection of this protocol was told at this pod's interface.
pub(crate) fn is_closed(events: &[Event], pod: &Pod, protocol: u8) -> bool {
    events
        .iter()
        .any(|event| event.kind == kind::CLOSE && event.ifindex == pod.host_ifindex && event.protocol == protocol)
}

fn address(bytes: [u8; 16], family: u8) -> IpAddr {
    match family {
        4 => Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]]).into(),
        _ => Ipv6Addr::from(bytes).into(),
    }
}

pub(crate) fn source(event: &Event) -> SocketAddr {
    at(address(event.source, event.family), event.source_port)
}

pub(crate) fn destination(event: &Event) -> SocketAddr {
    at(address(event.destination, event.family), event.destination_port)
}

/// Sums of packets and bytes of events.
pub(crate) fn sums(events: &[Event]) -> (u64, u64) {
    events
        .iter()
        .fold((0, 0), |(packets, bytes), event| (packets + u64::from(event.packets), bytes + u64::from(event.bytes)))
}

/// An event on a line, for messages.
pub(crate) fn brief(event: &Event) -> String {
    format!(
        "if {} hook {} kind {} proto {} {} -> {} flags {:#x} state {} reply {} reason {} packets {} bytes {} tx {} rx {}",
        event.ifindex,
        match event.hook {
            hook::FROM_POD => "from",
            hook::TO_POD => "to",
            _ => "sweep",
        },
        event.kind,
        event.protocol,
        source(event),
        destination(event),
        event.tcp_flags,
        event.state,
        event.reply,
        event.reason,
        event.packets,
        event.bytes,
        event.tx_packets,
        event.rx_packets,
    )
}

/// A UDP sink in `pod`, on a port of the kernel's choice.
pub(crate) fn udp_sink(pod: &Pod) -> Server {
    pod.run(|| udp::sink(at(pod.ip4, 0))).unwrap().unwrap()
}

/// Sends exactly `count` datagrams of `length` bytes to a sink, on a socket of `pod`'s; returns once all have arrived.
///
/// Only so many are under way at one time as fit into every queue: nothing is dropped, however busy the machine is.
pub(crate) fn send_all(pod: &Pod, sink: &Server, count: u64, length: usize) -> SocketAddr {
    pod.run(|| {
        let socket = UdpSocket::bind(at(pod.ip4, 0)).unwrap();
        send_on(&socket, sink, count, length);
        socket.local_addr().unwrap()
    })
    .unwrap()
}

/// As [`send_all`], on a socket that is there.
pub(crate) fn send_on(socket: &UdpSocket, sink: &Server, count: u64, length: usize) {
    const WINDOW: u64 = 50;
    let before = sink.served();
    let payload = vec![0x5a; length];
    let mut sent = 0;
    while sent < count {
        for _ in 0..WINDOW.min(count - sent) {
            socket.send_to(&payload, sink.address()).unwrap();
            sent += 1;
        }
        eventually("datagrams do not arrive", || sink.served() - before >= sent);
    }
}
