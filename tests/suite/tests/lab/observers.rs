//! Readers: any number at once, each with its own losses and filter, and what becomes of their slots.

use chainkit_abi::{
    Event, OBSERVERS, ObserverFilter, PortMatch, PrefixMatch, filter_bit, hook, kind, protocol_bit, side, tcp as flags,
    verdict,
};
use chainkit_bpf::{Error, Kit, Observer, ObserverSettings};
use chainkit_lab::peer::{tcp, udp};

use crate::stage::{Reader, TCP, UDP, Watch, at, eventually, is_closed, on_node, send_all, send_on, udp_sink};

#[test]
fn three_readers_at_once_agree_with_what_was_sent() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut readers = [watch.each_packet(), watch.each_packet(), watch.each_packet()];
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 3000, 64);
        for reader in &mut readers {
            reader.read();
            assert_eq!(reader.met(&cart, hook::FROM_POD, UDP).len(), 3000);
            assert_eq!(reader.met(&web, hook::TO_POD, UDP).len(), 3000);
            reader.lost_nothing();
        }
        let [one, two, three] = readers.map(|reader| reader.events);
        let of_udp = |events: Vec<Event>| events.into_iter().filter(|event| event.protocol == UDP).collect::<Vec<_>>();
        let (one, two, three) = (of_udp(one), of_udp(two), of_udp(three));
        assert!(one == two && two == three, "they were told different things");
    });
}

#[test]
fn one_that_stops_is_told_nothing_more_and_its_slot_is_free() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let looking = || watch.datapath.control_value().unwrap().observers;
        let (mut one, mut two) = (watch.each_packet(), watch.each_packet());
        assert_eq!((one.observer.slot(), two.observer.slot(), looking()), (0, 1, 0b11));
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 64);
        one.observer.stop();
        assert_eq!(looking(), 0b10);
        send_all(&cart, &sink, 100, 64);
        // What was told before can still be read.
        for (reader, count) in [(&mut one, 100), (&mut two, 200)] {
            reader.read();
            assert_eq!(reader.met(&web, hook::TO_POD, UDP).len(), count);
        }
        drop(one);
        let mut three = watch.each_packet();
        assert_eq!((three.observer.slot(), looking()), (0, 0b11));
        assert_eq!(three.observer.losses().unwrap().sent, 0, "it begins with the losses of the one before");
        send_all(&cart, &sink, 100, 64);
        three.read();
        assert_eq!(three.met(&web, hook::TO_POD, UDP).len(), 100);
        drop((two, three));
        assert_eq!(looking(), 0);
    });
}

#[test]
fn what_a_slow_reader_loses_is_counted_exactly_and_costs_others_nothing() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let filter = ObserverFilter {
            flags: filter_bit::PER_PACKET | filter_bit::PROTOCOLS,
            protocols: protocol_bit::UDP,
            ..ObserverFilter::default()
        };
        let mut slow = Reader::start(&watch.datapath, lab, 4096, filter);
        let mut quick = watch.reader(filter);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 1000, 64);
        let full = slow.observer.losses().unwrap();
        assert_eq!(full.sent + full.lost, 2000);
        // A record is 160 bytes and 8 of header.
        assert_eq!(full.sent, 4096 / 168);
        slow.read();
        assert_eq!(slow.events.len() as u64, full.sent);
        // With room again it is told again.
        send_all(&cart, &sink, 5, 64);
        slow.read();
        let losses = slow.observer.losses().unwrap();
        assert_eq!((losses.sent, losses.lost), (full.sent + 10, full.lost));
        assert_eq!(slow.events.len() as u64, losses.sent);
        quick.read();
        assert_eq!(quick.events.len(), 2010);
        quick.lost_nothing();
    });
}

#[test]
fn each_is_told_what_its_filter_asks_for() {
    on_node(|lab| {
        let pods = ["cart", "web", "db"].map(|name| lab.pod("shop", name).unwrap());
        let [cart, web, db] = &pods;
        let watch = Watch::start(lab, &[cart, web, db], Kit::best());
        let filter = |flags| ObserverFilter { flags: flags | filter_bit::PER_PACKET, ..ObserverFilter::default() };
        let octets = |address: std::net::Ipv4Addr| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        };
        let mut endpoints = filter(filter_bit::ENDPOINTS);
        endpoints.endpoints[watch.slot(db) as usize / 64] |= 1 << (watch.slot(db) % 64);
        let mut protocols = filter(filter_bit::PROTOCOLS);
        protocols.protocols = protocol_bit::TCP;
        let mut verdicts = filter(filter_bit::VERDICTS);
        verdicts.verdicts = 1 << verdict::DROPPED;
        let mut prefixes = filter(filter_bit::PREFIXES);
        prefixes.prefixes[0] = PrefixMatch::new(octets(web.ip4), 4, 32, side::SOURCE);
        let mut ports = filter(filter_bit::PORTS);
        ports.ports[0] = PortMatch { port: 5353, side: side::DESTINATION, pad: 0 };
        let mut together = filter(filter_bit::PORTS | filter_bit::PREFIXES);
        together.prefixes[0] = PrefixMatch::new(octets(db.ip4), 4, 31, side::ANY);
        together.ports[0] = PortMatch { port: 5353, side: side::ANY, pad: 0 };
        let sparse = ObserverFilter::default();
        let mut readers =
            [endpoints, protocols, verdicts, prefixes, ports, together, sparse].map(|filter| watch.reader(filter));
        let mut all = watch.each_packet();

        let echo = web.run(|| tcp::echo(at(web.ip4, 0))).unwrap().unwrap();
        let asked = db.run(|| udp::echo(at(db.ip4, 5353))).unwrap().unwrap();
        cart.run(|| tcp::say(echo.address(), b"hello")).unwrap().unwrap();
        cart.run(|| udp::ask(asked.address(), b"hello")).unwrap().unwrap();
        db.run(|| tcp::say(echo.address(), b"hello")).unwrap().unwrap();
        all.until("the ends of all connections", |events| {
            is_closed(events, cart, TCP)
                && is_closed(events, db, TCP)
                && events.iter().filter(|event| event.protocol == UDP && event.hook == hook::TO_POD).count() == 2
        });
        // db's address has an even neighbour: the prefix of 31 bits holds one or two pods.
        let in_prefix = |address: [u8; 16]| address[3] | 1 == db.ip4.octets()[3] | 1;
        let is_from = |event: &Event, address: std::net::Ipv4Addr| event.source == octets(address);
        let asks: [&dyn Fn(&Event) -> bool; 7] = [
            &|event| event.ifindex == db.host_ifindex,
            &|event| event.protocol == TCP,
            &|_| false,
            &|event| event.family == 4 && is_from(event, web.ip4),
            &|event| event.destination_port == 5353,
            &|event| {
                (event.source_port == 5353 || event.destination_port == 5353)
                    && (in_prefix(event.source) || in_prefix(event.destination))
            },
            &|event| event.kind != kind::PACKET,
        ];
        // The kernel's neighbour discovery goes on meanwhile, and is told to those that ask for no transport.
        let of_ours = |event: &&Event| event.family == 4;
        for (number, (reader, asks)) in readers.iter_mut().zip(asks).enumerate() {
            reader.read();
            let told: Vec<Event> = reader.events.iter().filter(of_ours).copied().collect();
            let wanted: Vec<Event> = all.events.iter().filter(of_ours).filter(|event| asks(event)).copied().collect();
            assert!(!wanted.is_empty() || number == 2, "reader {number} asks for nothing that happened");
            assert_eq!(told.len(), wanted.len(), "reader {number}");
            assert!(told == wanted, "reader {number} was told something else");
        }
        // And another thing from now on.
        readers[2].observer.set_filter(&filter(0)).unwrap();
        cart.run(|| udp::ask(asked.address(), b"hello")).unwrap().unwrap();
        readers[2]
            .until("what is asked for now", |events| events.iter().filter(|event| event.protocol == UDP).count() == 4);
    });
}

#[test]
fn a_sparse_reader_alone_is_told_what_changes_and_not_of_each_packet() {
    on_node(|lab| {
        const LENGTH: u64 = 4 << 20;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut reader = watch.sparse();
        let sink = web.run(|| tcp::sink(at(web.ip4, 0))).unwrap().unwrap();
        cart.run(|| tcp::source(sink.address(), LENGTH)).unwrap().unwrap();
        reader.until("the end at both ends", |events| is_closed(events, &cart, TCP) && is_closed(events, &web, TCP));
        for (pod, out, back) in [(&cart, hook::FROM_POD, hook::TO_POD), (&web, hook::TO_POD, hook::FROM_POD)] {
            let told: Vec<&Event> = reader
                .events
                .iter()
                .filter(|event| event.protocol == TCP && event.ifindex == pod.host_ifindex)
                .collect();
            let new: Vec<(u8, u8, u16)> = told.iter().map(|event| (event.kind, event.hook, event.tcp_flags)).collect();
            assert_eq!(new[0], (kind::FIRST, out, new[0].2));
            assert_eq!(new[1], (kind::REPLY, back, new[1].2));
            assert_eq!(new[2], (kind::FLAGS, out, flags::ACK));
            // A flag that this side has not sent before, each once; then the end.
            let (last, flagged) = new[2..].split_last().unwrap();
            assert!(flagged.iter().all(|(kind, ..)| *kind == kind::FLAGS), "{new:x?}");
            for hook in [out, back] {
                assert!(flagged.iter().any(|(_, at, sent)| *at == hook && sent & flags::FIN != 0), "{new:x?}");
            }
            assert!(flagged.len() <= 6, "{new:x?}");
            assert_eq!(last.0, kind::CLOSE);
            let (end, conn) = (told[told.len() - 1], watch.connections(pod)[0].conn);
            assert_eq!(
                (end.tx_packets, end.tx_bytes, end.rx_packets, end.rx_bytes),
                (conn.tx_packets, conn.tx_bytes, conn.rx_packets, conn.rx_bytes)
            );
            assert!(conn.tx_bytes.max(conn.rx_bytes) > LENGTH);
        }
        reader.lost_nothing();
    });
}

#[test]
fn an_active_connection_is_told_of_every_five_seconds() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let mut reader = watch.sparse();
        let sink = udp_sink(&web);
        let socket = cart.run(|| std::net::UdpSocket::bind(at(cart.ip4, 0)).unwrap()).unwrap();
        let mut sent = 0;
        let of_udp = |reader: &Reader| -> Vec<Event> { reader.met(&cart, hook::FROM_POD, UDP) };
        eventually("an active connection is not told of", || {
            send_on(&socket, &sink, 1, 64);
            sent += 1;
            reader.read();
            of_udp(&reader).len() == 3
        });
        let told = of_udp(&reader);
        assert_eq!(told.iter().map(|event| event.kind).collect::<Vec<_>>(), [kind::FIRST, kind::ACTIVE, kind::ACTIVE]);
        assert_eq!((told[0].tx_packets, told[2].tx_packets), (1, sent));
        // By the kernel's clock, give or take a tick of 100 Hz.
        for pair in told.windows(2) {
            assert!(pair[1].time - pair[0].time >= 4_990_000_000, "{} ns", pair[1].time - pair[0].time);
        }
    });
}

#[test]
fn one_more_than_there_are_slots_is_refused() {
    on_node(|lab| {
        let watch = Watch::start(lab, &[], Kit::best());
        let settings = ObserverSettings { ring_bytes: 4096, filter: ObserverFilter::default() };
        let start = || Observer::start(&watch.datapath, lab.root(), settings);
        let mut all: Vec<Observer> = (0..OBSERVERS).map(|_| start().unwrap()).collect();
        let error = start().unwrap_err();
        assert!(matches!(error, Error::Full(OBSERVERS, _)), "{error:?}");
        assert_eq!(watch.datapath.control_value().unwrap().observers, u64::MAX);
        drop(all.remove(17));
        assert_eq!(start().unwrap().slot(), 17);
    });
}
