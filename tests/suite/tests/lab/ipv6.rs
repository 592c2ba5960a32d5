//! Pods with IPv6 addresses, and what the kernel needs to reach anyone at all.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use chainkit_abi::{Counter, Event, flag, hook, kind, mode, opened, reply, state};
use chainkit_bpf::{Kit, Settings};
use chainkit_lab::peer::{tcp, udp};
use chainkit_lab::{Netns, Pod, PodSpec};

use crate::stage::{ICMP, ICMPV6, TCP, UDP, Watch, at, destination, is_closed, on_node, send_on, source};

/// Bytes in front of a UDP payload over IPv6: Ethernet 14, IPv6 40, UDP 8.
const UDP6_HEADERS: u64 = 62;

fn ping(pod: &Pod, target: &str, count: u32) -> bool {
    let mut ping = pod.command("ping");
    ping.args(["-n", "-i", "0.2", "-W", "5", "-c", &count.to_string(), target]);
    ping.output().unwrap().status.success()
}

/// State of a neighbour, as `ip` has it.
fn neighbour(netns: &Netns, address: &str) -> String {
    let mut ip = netns.command("ip");
    ip.args(["neighbour", "show", address]);
    String::from_utf8(ip.output().unwrap().stdout).unwrap()
}

#[test]
fn tcp_udp_and_echo_over_ipv6_are_seen_at_both_ends() {
    on_node(|lab| {
        let cart = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
        let web = lab.pod_of(&PodSpec::new("shop", "web").ipv6()).unwrap();
        let (cart6, web6) = (cart.ip6.unwrap(), web.ip6.unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut reader = watch.each_packet();

        let echo = web.run(|| tcp::echo(at(web6, 0))).unwrap().unwrap();
        let sink = web.run(|| udp::sink(at(web6, 0))).unwrap().unwrap();
        cart.run(|| tcp::say(echo.address(), b"hello")).unwrap().unwrap();
        let client: SocketAddr = cart
            .run(|| {
                let socket = UdpSocket::bind(at(cart6, 0)).unwrap();
                send_on(&socket, &sink, 500, 100);
                socket.local_addr().unwrap()
            })
            .unwrap();
        assert!(ping(&cart, &web6.to_string(), 3));
        reader.until("the end of the TCP connection", |events| {
            is_closed(events, &cart, TCP) && is_closed(events, &web, TCP)
        });

        let sent = reader.met(&cart, hook::FROM_POD, TCP);
        assert_eq!((sent[0].kind, sent[0].family, sent[0].state), (kind::FIRST, 6, state::SYN_SENT));
        assert_eq!((source(&sent[0]).ip(), destination(&sent[0])), (cart6.into(), echo.address()));
        for (pod, hook) in [(&cart, hook::FROM_POD), (&web, hook::TO_POD)] {
            let met = reader.met(pod, hook, UDP);
            assert_eq!(met.len(), 500);
            assert!(met.iter().all(|event| (source(event), destination(event)) == (client, sink.address())));
        }
        let conn = watch.connection(&cart, UDP, sink.address()).conn;
        assert_eq!((conn.tx_packets, conn.tx_bytes, conn.opened), (500, 500 * (100 + UDP6_HEADERS), opened::BY_POD));
        let conn = watch.connection(&web, UDP, client).conn;
        assert_eq!((conn.rx_packets, conn.rx_bytes, conn.opened), (500, 500 * (100 + UDP6_HEADERS), opened::BY_REMOTE));

        let conn = watch.connection(&cart, ICMPV6, at(web6, 0)).conn;
        assert_eq!((conn.tx_packets, conn.rx_packets, conn.state), (3, 3, state::REPLIED));
        // Echo request and reply (RFC 4443, sections 4.1 and 4.2).
        let of_type = |events: &[Event], kind| events.iter().filter(|event| event.icmp_type == kind).count();
        assert_eq!(of_type(&reader.met(&cart, hook::FROM_POD, ICMPV6), 128), 3);
        let replies: Vec<Event> =
            reader.met(&cart, hook::TO_POD, ICMPV6).into_iter().filter(|event| event.icmp_type == 129).collect();
        assert_eq!(replies.len(), 3);
        assert!(replies.iter().all(|event| event.reply == reply::YES && source(event).ip() == web6));
        assert!(watch.counter(Counter::NeighbourDiscovery) > 0, "the node did not ask for the pods' MAC addresses");
        reader.lost_nothing();
        watch.all_was_readable();
    });
}

#[test]
fn neighbours_are_resolved_though_everything_else_is_dropped() {
    on_node(|lab| {
        let pod = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
        let other = lab.pod_of(&PodSpec::new("shop", "web").ipv6()).unwrap();
        let mut watch = Watch::start(lab, &[], Kit::best());
        let isolated = Settings {
            mode: mode::ENFORCE,
            flags: flag::ISOLATED_INGRESS | flag::ISOLATED_EGRESS,
            ..Settings::default()
        };
        watch.add(&pod, isolated, Kit::best());
        let mut reader = watch.each_packet();
        let targets = [pod.ip4.to_string(), pod.ip6.unwrap().to_string()];
        for target in &targets {
            let mut ping = other.command("ping");
            ping.args(["-n", "-W", "1", "-c", "1", target]);
            assert!(!ping.output().unwrap().status.success(), "{target} answers");
            let found = neighbour(lab.node(), target);
            let mac = pod.mac.map(|byte| format!("{byte:02x}")).join(":");
            assert!(found.contains(&mac), "{target}: {found:?}");
        }
        assert!(watch.counter(Counter::Arp) >= 2);
        assert!(watch.counter(Counter::NeighbourDiscovery) >= 2);
        reader.read();
        for protocol in [ICMP, ICMPV6] {
            let denied: Vec<Event> = reader
                .met(&pod, hook::TO_POD, protocol)
                .into_iter()
                .filter(|event| event.kind == kind::DENIED && [8, 128].contains(&event.icmp_type))
                .collect();
            assert_eq!(denied.len(), 1, "protocol {protocol}");
        }
        // The pod asks as well: its own neighbour solicitation passes, its echo request does not.
        let before = watch.counter(Counter::NeighbourDiscovery);
        let mut ip = pod.command("ip");
        ip.args(["neighbour", "flush", "dev", "eth0"]);
        assert!(ip.output().unwrap().status.success());
        let asked = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
        let mut lost = pod.command("ping");
        lost.args(["-n", "-W", "1", "-c", "1", "-I", "eth0", &asked.to_string()]);
        assert!(!lost.output().unwrap().status.success());
        assert!(watch.counter(Counter::NeighbourDiscovery) > before);
        // Freed, it talks at once: nobody had lost anybody.
        watch.set(&pod, Settings::default());
        assert!(targets.iter().all(|target| ping(&other, target, 1)));
    });
}
