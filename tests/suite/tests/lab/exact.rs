//! Counts against what was sent: exactly with one sending CPU, never over with more.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use chainkit_abi::hook;
use chainkit_bpf::Kit;
use chainkit_lab::peer::Server;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::stage::{UDP, UDP4_HEADERS, Watch, at, eventually, on_node, sums, udp_sink};

const LENGTH: usize = 200;

/// The CPUs that this test may use.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect()
}

/// Has this thread, and so what it sends as far as the other pod's interface, run on one CPU.
fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Sends `count` datagrams; `under_way` counts those of all senders, of which only so many are let loose as queues hold.
fn send(socket: &UdpSocket, sink: &Server, count: u64, under_way: &AtomicU64) {
    let payload = [0x5a; LENGTH];
    for _ in 0..count {
        let sent = under_way.fetch_add(1, Ordering::AcqRel);
        if sent >= sink.served() + 100 {
            eventually("datagrams do not arrive", || sent < sink.served() + 100);
        }
        socket.send_to(&payload, sink.address()).unwrap();
    }
}

#[test]
fn one_sending_cpu_is_counted_exactly() {
    on_node(|lab| {
        const COUNT: u64 = 20_000;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut reader = watch.each_packet();
        let sink = udp_sink(&web);
        let client = cart
            .run(|| {
                stay_on(cpus()[0]);
                let socket = UdpSocket::bind(at(cart.ip4, 0)).unwrap();
                send(&socket, &sink, COUNT, &AtomicU64::new(0));
                socket.local_addr().unwrap()
            })
            .unwrap();
        eventually("datagrams do not arrive", || sink.served() == COUNT);
        let expected = (COUNT, COUNT * (LENGTH as u64 + UDP4_HEADERS));
        reader.read();
        for (pod, hook) in [(&cart, hook::FROM_POD), (&web, hook::TO_POD)] {
            let events = reader.met(pod, hook, UDP);
            assert_eq!((events.len() as u64, sums(&events)), (COUNT, expected));
            // Each event tells the sum as it is after its packet.
            let told = |event: &chainkit_abi::Event| event.tx_packets + event.rx_packets;
            assert!(events.iter().zip(1..).all(|(event, number)| told(event) == number));
        }
        let (sent, received) =
            (watch.connection(&cart, UDP, sink.address()).conn, watch.connection(&web, UDP, client).conn);
        assert_eq!((sent.tx_packets, sent.tx_bytes, sent.rx_packets), (expected.0, expected.1, 0));
        assert_eq!((received.rx_packets, received.rx_bytes, received.tx_packets), (expected.0, expected.1, 0));
        reader.lost_nothing();
    });
}

#[test]
fn senders_on_several_cpus_are_never_counted_over() {
    on_node(|lab| {
        const COUNT: u64 = 20_000;
        let cpus = cpus();
        if cpus.len() < 2 {
            return chainkit_lab::skip("needs two CPUs");
        }
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let sink = udp_sink(&web);
        // One connection for both, so that they meet in one entry: first unseen, then with a reader.
        let socket = cart.run(|| UdpSocket::bind(at(cart.ip4, 0)).unwrap()).unwrap();
        let client = socket.local_addr().unwrap();
        let under_way = AtomicU64::new(0);
        let mut all = 0;
        for observed in [false, true] {
            let mut reader = observed.then(|| watch.each_packet());
            thread::scope(|scope| {
                for cpu in &cpus[..2] {
                    scope.spawn(|| {
                        stay_on(*cpu);
                        send(&socket, &sink, COUNT, &under_way);
                    });
                }
            });
            all += 2 * COUNT;
            eventually("datagrams do not arrive", || sink.served() == all);
            if let Some(reader) = &mut reader {
                reader.read();
                // An event is one packet, whatever becomes of the sums in it.
                assert_eq!(reader.met(&cart, hook::FROM_POD, UDP).len() as u64, 2 * COUNT);
                assert_eq!(reader.met(&web, hook::TO_POD, UDP).len() as u64, 2 * COUNT);
                assert!(reader.events.iter().all(|event| event.tx_packets.max(event.rx_packets) <= all));
                reader.lost_nothing();
            }
            let size = LENGTH as u64 + UDP4_HEADERS;
            for (packets, bytes) in
                [watch.connection(&cart, UDP, sink.address()).conn, watch.connection(&web, UDP, client).conn]
                    .map(|conn| (conn.tx_packets.max(conn.rx_packets), conn.tx_bytes.max(conn.rx_bytes)))
            {
                assert!(packets <= all && bytes <= all * size, "{packets} packets, {bytes} bytes of {all}");
                assert!(packets > 0 && bytes > 0);
            }
        }
    });
}
