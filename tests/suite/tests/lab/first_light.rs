//! The first things that must work, on every kernel: real connections between two pods, seen at both ends.

use std::net::SocketAddr;

use chainkit_abi::{Event, close, hook, kind, opened, reply, state, tcp, verdict};
use chainkit_bpf::{Direction, Kit, hung};
use chainkit_lab::peer::{dns, http};

use crate::dump::{Dump, flows, run};
use crate::stage::{
    TCP, UDP, UDP4_HEADERS, Watch, at, destination, eventually, is_closed, on_node, send_all, source, sums, udp_sink,
};

/// What a test looks at in an event of a packet.
fn gist(event: &Event) -> (u8, SocketAddr, SocketAddr, u8, u8) {
    (event.kind, source(event), destination(event), event.reply, event.state)
}

#[test]
fn a_dns_query_and_its_answer_are_seen_at_both_ends() {
    on_node(|lab| {
        let (cart, dns_pod) = (lab.pod("shop", "cart").unwrap(), lab.pod("kube-system", "dns").unwrap());
        let watch = Watch::start(lab, &[&cart, &dns_pod], Kit::best());
        let mut reader = watch.each_packet();

        let zone = [("web.shop.svc.cluster.local".to_owned(), dns_pod.ip4.into())];
        let server = dns_pod.run(|| dns::serve(at(dns_pod.ip4, 53), &zone)).unwrap().unwrap();
        let answer =
            cart.run(|| dns::query(server.address(), "web.shop.svc.cluster.local", dns::Kind::A)).unwrap().unwrap();
        assert_eq!(answer.addresses, [dns_pod.ip4]);

        reader.until("two packets at each end", |events| {
            events.iter().filter(|event| event.protocol == UDP).count() == 4
        });
        let query = reader.met(&cart, hook::FROM_POD, UDP);
        let client = source(&query[0]);
        assert_eq!(client.ip(), cart.ip4);
        let server = server.address();
        for (pod, hook, expected) in [
            (&cart, hook::FROM_POD, (kind::FIRST, client, server, reply::NO, state::UNREPLIED)),
            (&dns_pod, hook::TO_POD, (kind::FIRST, client, server, reply::NO, state::UNREPLIED)),
            (&dns_pod, hook::FROM_POD, (kind::REPLY, server, client, reply::YES, state::REPLIED)),
            (&cart, hook::TO_POD, (kind::REPLY, server, client, reply::YES, state::REPLIED)),
        ] {
            let met = reader.met(pod, hook, UDP);
            assert_eq!(met.iter().map(gist).collect::<Vec<_>>(), [expected]);
            assert_eq!((met[0].verdict, met[0].packets, met[0].slot), (verdict::FORWARDED, 1, watch.slot(pod)));
            let (pods_mac, hosts_mac) = match hook {
                hook::FROM_POD => (met[0].source_mac, met[0].destination_mac),
                _ => (met[0].destination_mac, met[0].source_mac),
            };
            assert_eq!((pods_mac, hosts_mac), (pod.mac, pod.host_mac));
        }
        // 12 bytes of DNS header, the name as labels (28), type and class (4).
        assert_eq!(u64::from(query[0].bytes), UDP4_HEADERS + 44);
        let (at_client, at_server) = (watch.connection(&cart, UDP, server), watch.connection(&dns_pod, UDP, client));
        assert_eq!((at_client.conn.opened, at_server.conn.opened), (opened::BY_POD, opened::BY_REMOTE));
        assert_eq!((at_client.conn.tx_packets, at_client.conn.rx_packets), (1, 1));
        assert_eq!((at_server.conn.tx_packets, at_server.conn.rx_packets), (1, 1));
        reader.lost_nothing();
        watch.all_was_readable();
    });
}

#[test]
fn an_http_request_is_seen_from_syn_to_last_ack_at_both_ends() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let (mut reader, mut sparse) = (watch.each_packet(), watch.sparse());

        let body = "x".repeat(20_000);
        let server = web.run(|| http::serve(at(web.ip4, 80), &body)).unwrap().unwrap();
        let answer = cart.run(|| http::get(server.address(), "web.shop", "/")).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, body.len()));

        let both_closed = |events: &[Event]| is_closed(events, &cart, TCP) && is_closed(events, &web, TCP);
        reader.until("the end of the connection at both ends", both_closed);
        sparse.until("the end of the connection at both ends, told sparsely", both_closed);

        let (sent, received) = (reader.met(&cart, hook::FROM_POD, TCP), reader.met(&cart, hook::TO_POD, TCP));
        let (client, server) = (source(&sent[0]), server.address());
        assert_eq!(client.ip(), cart.ip4);
        assert_eq!(gist(&sent[0]), (kind::FIRST, client, server, reply::NO, state::SYN_SENT));
        assert_eq!(sent[0].tcp_flags & (tcp::SYN | tcp::ACK), tcp::SYN);
        assert_eq!(gist(&received[0]), (kind::REPLY, server, client, reply::YES, state::SYN_RECEIVED));
        assert_eq!(received[0].tcp_flags & (tcp::SYN | tcp::ACK), tcp::SYN | tcp::ACK);
        assert_eq!(gist(&sent[1]), (kind::FLAGS, client, server, reply::NO, state::ESTABLISHED));
        assert_eq!(sent[1].tcp_flags, tcp::ACK);
        assert!(sent.iter().all(|event| source(event) == client && event.reply == reply::NO));
        assert!(received.iter().all(|event| source(event) == server && event.reply == reply::YES));
        // 20 bytes of IPv4, 40 of TCP with the options of Linux, 14 of Ethernet.
        assert_eq!((sent[0].bytes, received[0].bytes), (74, 74));

        // What left one pod came to the other, packet by packet.
        for (from, to) in [(&cart, &web), (&web, &cart)] {
            let left = sums(&reader.met(from, hook::FROM_POD, TCP));
            let came = sums(&reader.met(to, hook::TO_POD, TCP));
            assert_eq!(left, came);
            let conn = watch.connection(from, TCP, at(to.ip4, 0)).conn;
            assert_eq!((conn.tx_packets, conn.tx_bytes), left);
            let conn = watch.connection(to, TCP, at(from.ip4, 0)).conn;
            assert_eq!((conn.rx_packets, conn.rx_bytes), came);
            assert_eq!((conn.state, conn.verdict), (state::CLOSED, verdict::FORWARDED));
        }
        assert!(sums(&received).1 > body.len() as u64);

        for (pod, opened) in [(&cart, opened::BY_POD), (&web, opened::BY_REMOTE)] {
            let ends: Vec<&Event> = sparse
                .events
                .iter()
                .filter(|event| event.kind == kind::CLOSE && event.ifindex == pod.host_ifindex)
                .collect();
            assert_eq!(ends.len(), 1);
            let end = ends[0];
            let conn = watch.connection(pod, TCP, at(if pod.ip4 == cart.ip4 { web.ip4 } else { cart.ip4 }, 0)).conn;
            assert_eq!((end.reason, end.opened, end.state), (close::FIN, opened, state::CLOSED));
            assert_eq!(
                (end.tx_packets, end.tx_bytes, end.rx_packets, end.rx_bytes, end.rtt),
                (conn.tx_packets, conn.tx_bytes, conn.rx_packets, conn.rx_bytes, conn.rtt)
            );
            assert!(end.rtt > 0, "no handshake time");
        }
        assert!(sparse.events.len() < reader.events.len());
        reader.lost_nothing();
        sparse.lost_nothing();
        watch.all_was_readable();
    });
}

#[test]
fn final_counters_are_what_was_sent_whether_or_not_anyone_looks() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        for observed in [false, true] {
            let sink = udp_sink(&web);
            let mut reader = observed.then(|| watch.each_packet());
            let client = send_all(&cart, &sink, 1000, 100);
            let sent = watch.connection(&cart, UDP, sink.address());
            let received = watch.connection(&web, UDP, client);
            let expected = (1000, 1000 * (100 + UDP4_HEADERS));
            assert_eq!((sent.conn.tx_packets, sent.conn.tx_bytes), expected);
            assert_eq!((received.conn.rx_packets, received.conn.rx_bytes), expected);
            assert_eq!((sent.conn.rx_packets, received.conn.tx_packets), (0, 0));
            if let Some(reader) = &mut reader {
                reader.read();
                assert_eq!(sums(&reader.met(&cart, hook::FROM_POD, UDP)), expected);
                assert_eq!(sums(&reader.met(&web, hook::TO_POD, UDP)), expected);
                reader.lost_nothing();
            }
        }
        watch.all_was_readable();
    });
}

#[test]
fn flowdump_attaches_and_shows_who_talks_to_whom_by_name() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let file = lab.pods_file().unwrap();
        let names = ["--pods", file.to_str().unwrap()];
        let dump = Dump::start(lab, &[&["--attach", "all"], &names[..]].concat());
        let server = web.run(|| http::serve(at(web.ip4, 80), "hello")).unwrap().unwrap();
        let mut past = Vec::new();
        eventually("the end of a request is not shown", || {
            assert_eq!(cart.run(|| http::get(server.address(), "web.shop", "/")).unwrap().unwrap().status, 200);
            past = run(lab, &[&["-j", "--last", "1000", "--protocol", "tcp"], &names[..]].concat()).stdout.into_bytes();
            dump.running.stdout().contains("FIN")
        });
        let ended = dump.interrupt();
        assert_eq!(ended.stderr, "");
        let asked = "shop/cart:";
        let syn = ended.stdout.lines().find(|line| line.contains(asked) && line.contains("-> shop/web:80 ")).unwrap();
        assert!(syn.contains("FORWARDED") && syn.contains("(TCP Flags: SYN)"), "{syn}");
        let past = flows(&String::from_utf8(past).unwrap());
        assert!(
            past.iter().any(|flow| flow["destination"]["pod_name"] == "web" && flow["source"]["pod_name"] == "cart")
        );
        for direction in Direction::BOTH {
            assert_eq!(hung(cart.host_ifindex, direction).unwrap(), []);
        }
    });
}
