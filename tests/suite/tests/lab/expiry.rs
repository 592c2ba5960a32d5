//! Connections whose time is over: told of once, with their final counters, and gone.

use std::net::UdpSocket;

use aya::maps::{ArrayOfMaps, HashMap, Map, MapData};
use chainkit_abi::{ABI_VERSION, Conn, Counter, Event, Key4, close, hook, kind, state};
use chainkit_bpf::{Kit, NodeLock, Pins};
use chainkit_lab::Pod;
use chainkit_lab::peer::tcp;

use crate::stage::{
    TCP, UDP, UDP4_HEADERS, Watch, at, destination, eventually, is_closed, on_node, send_on, source, udp_sink,
};

/// Makes each connection of a pod as old as it takes to be over.
fn age(watch: &Watch<'_>, pod: &Pod) {
    let path = watch.lab.root().join(format!("sys/fs/bpf/chainkit/{ABI_VERSION}/maps/CONNS4"));
    if !path.exists() {
        watch.datapath.pin(&Pins::below(watch.lab.root())).unwrap();
    }
    let outer = Map::ArrayOfMaps(MapData::from_pin(path).unwrap());
    let tables: ArrayOfMaps<MapData, HashMap<MapData, Key4, Conn>> = outer.try_into().unwrap();
    let mut table = tables.get(&watch.slot(pod), 0).unwrap();
    let all: Vec<(Key4, Conn)> = table.iter().map(Result::unwrap).collect();
    for (key, mut conn) in all {
        conn.last_seen -= u64::from(conn.timeout) + 1;
        table.insert(key, conn, 0).unwrap();
    }
}

fn ends(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| event.kind == kind::CLOSE).copied().collect()
}

#[test]
fn a_sweep_tells_of_what_has_expired() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut reader = watch.sparse();
        let sink = udp_sink(&web);
        let socket = cart.run(|| UdpSocket::bind(at(cart.ip4, 0)).unwrap()).unwrap();
        send_on(&socket, &sink, 10, 100);
        assert_eq!(watch.sweep(), 0);
        let opened = watch.connection(&cart, UDP, sink.address()).conn;

        age(&watch, &cart);
        assert_eq!(watch.sweep(), 1);
        assert_eq!(watch.connections(&cart), []);
        assert_eq!(watch.connection(&web, UDP, at(cart.ip4, 0)).conn.rx_packets, 10);
        reader.until("the end", |events| !ends(events).is_empty());
        let told = ends(&reader.events);
        assert_eq!(told.len(), 1);
        let end = told[0];
        assert_eq!((end.reason, end.hook, end.state), (close::EXPIRED, hook::SWEEP, state::UNREPLIED));
        assert_eq!((source(&end), destination(&end)), (socket.local_addr().unwrap(), sink.address()));
        assert_eq!((end.tx_packets, end.tx_bytes, end.rx_packets), (10, 10 * (100 + UDP4_HEADERS), 0));
        assert_eq!((end.packets, end.bytes, end.ifindex), (0, 0, cart.host_ifindex));
        assert_eq!(end.first_seen, opened.first_seen);
        assert_eq!(watch.counter(Counter::Expired), 1);
        reader.lost_nothing();
    });
}

#[test]
fn an_expired_connection_counts_as_absent_for_the_packet_that_meets_it() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let mut reader = watch.sparse();
        let sink = udp_sink(&web);
        let socket = cart.run(|| UdpSocket::bind(at(cart.ip4, 0)).unwrap()).unwrap();
        send_on(&socket, &sink, 10, 100);
        age(&watch, &cart);
        send_on(&socket, &sink, 1, 100);
        // Nobody has swept.
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 1);
        reader.until("the end of one and the beginning of another", |events| {
            events.iter().filter(|event| event.protocol == UDP).count() == 3
        });
        let of_udp: Vec<(u8, u8, u64)> = reader
            .events
            .iter()
            .filter(|event| event.protocol == UDP)
            .map(|event| (event.kind, event.reason, event.tx_packets))
            .collect();
        assert_eq!(of_udp, [(kind::FIRST, 0, 1), (kind::CLOSE, close::EXPIRED, 10), (kind::FIRST, 0, 1)]);
    });
}

#[test]
fn a_closed_connection_stays_a_while_and_goes_without_a_second_report() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let mut reader = watch.sparse();
        let server = web.run(|| tcp::echo(at(web.ip4, 0))).unwrap().unwrap();
        cart.run(|| tcp::say(server.address(), b"hello")).unwrap().unwrap();
        reader.until("the end", |events| is_closed(events, &cart, TCP));
        assert_eq!(watch.connection(&cart, TCP, server.address()).conn.state, state::CLOSED);
        // Ten seconds, by the kernel's clock.
        eventually("the entry does not go", || {
            watch.sweep();
            watch.connections(&cart).is_empty()
        });
        reader.read();
        assert_eq!(ends(&reader.events).iter().map(|end| end.reason).collect::<Vec<_>>(), [close::FIN]);
    });
}

#[test]
fn the_connections_of_an_endpoint_that_is_removed_are_told_of() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let mut reader = watch.sparse();
        let sink = udp_sink(&web);
        let sockets: Vec<UdpSocket> =
            cart.run(|| (0..300).map(|_| UdpSocket::bind(at(cart.ip4, 0)).unwrap()).collect()).unwrap();
        for socket in &sockets {
            send_on(socket, &sink, 2, 100);
        }
        watch.datapath.remove_endpoint(&NodeLock::take(lab.root()).unwrap(), cart.host_ifindex).unwrap();
        reader.read();
        let ends = ends(&reader.events);
        assert_eq!(ends.len(), 300);
        assert!(ends.iter().all(|end| end.reason == close::REMOVED && end.tx_packets == 2));
        // Nothing is counted any more, and everything passes.
        send_on(&sockets[0], &sink, 100, 100);
        assert_eq!(watch.datapath.endpoint(cart.host_ifindex).unwrap(), None);
        reader.lost_nothing();
    });
}
