//! The connections that a pod already has, told from outside: with connection tracking on the node, in the pod, and nowhere.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use chainkit_lab::{NODE, Netns, Pod, PodSpec, skip};
use chainkit_node::{Existing, Opened, Source, TcpState, existing};

use crate::stage::{at, eventually, on_node};

/// Both ends of a TCP connection, and what accepted it.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

/// A connection from `from` to `to`, at which `netns` listens on `listening`.
fn connect(from: &Netns, to: SocketAddr, netns: &Netns, listening: SocketAddr) -> Pair {
    let listener = netns.run(|| TcpListener::bind(listening)).unwrap().unwrap();
    let to = if to.port() == 0 { SocketAddr::new(to.ip(), listener.local_addr().unwrap().port()) } else { to };
    let client = from.run(|| TcpStream::connect(to)).unwrap().unwrap();
    let (server, _) = listener.accept().unwrap();
    Pair { client, server, listener }
}

impl Pair {
    /// A byte there and one back, so that whoever tracks has seen both sides.
    fn talk(&self) {
        for (from, to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"x").unwrap();
            to.read_exact(&mut [0]).unwrap();
        }
    }
}

/// What is known of a pod, by the pod's side.
fn of(pod: &Pod) -> Vec<Existing> {
    let netns = chainkit_node::Netns::open(pod.netns_path()).unwrap();
    let addresses: Vec<_> = chainkit_node::pod_addresses(&netns).unwrap().iter().map(|own| own.address).collect();
    existing(&netns, &addresses).unwrap()
}

/// The one connection between these two; it must be told once.
#[track_caller]
fn between(known: &[Existing], local: SocketAddr, remote: SocketAddr) -> (Opened, Source, Option<TcpState>) {
    let found: Vec<&Existing> = known
        .iter()
        .filter(|one| (at(one.local, one.local_port), at(one.remote, one.remote_port)) == (local, remote))
        .collect();
    assert_eq!(found.len(), 1, "{local} {remote} in {known:#?}");
    (found[0].opened, found[0].source, found[0].state)
}

/// Runs `iptables` with a line of arguments; false, after having said so, where it is missing.
fn iptables(netns: &Netns, rule: &str) -> bool {
    let output = netns.command("iptables").args(rule.split(' ')).output().unwrap();
    if output.status.code() == Some(127) {
        skip("iptables is missing");
        return false;
    }
    assert!(output.status.success(), "iptables {rule}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn the_node_tells_tuples_as_they_are_on_the_veth() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let rules = [
            format!("-t nat -A PREROUTING -p tcp -d 172.20.0.1 --dport 443 -j DNAT --to-destination {}:8443", web.ip4),
            format!("-t nat -A PREROUTING -p tcp -d {NODE} --dport 30080 -j DNAT --to-destination {}:8080", cart.ip4),
        ];
        if !rules.iter().all(|rule| iptables(lab.node(), rule)) {
            return;
        }
        let service = SocketAddr::from(([172, 20, 0, 1], 443));
        let to_service = connect(cart.netns(), service, web.netns(), at(web.ip4, 8443));
        let node_port = connect(lab.world(), at(NODE, 30080), cart.netns(), at(cart.ip4, 8080));
        let mut ending = connect(cart.netns(), at(web.ip4, 0), web.netns(), at(web.ip4, 0));
        for pair in [&to_service, &node_port, &ending] {
            pair.talk();
        }
        let question = cart.run(|| UdpSocket::bind(at(cart.ip4, 0))).unwrap().unwrap();
        question.send_to(b"?", at(web.ip4, 53)).unwrap();
        ending.client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(ending.server.read(&mut [0]).unwrap(), 0);

        let client = to_service.client.local_addr().unwrap();
        let established = Some(TcpState::Established);
        let known = of(&cart);
        assert_eq!(between(&known, client, service), (Opened::ByPod, Source::HostConntrack, established));
        let outside = node_port.client.local_addr().unwrap();
        let accepted = (Opened::ByRemote, Source::HostConntrack, established);
        assert_eq!(between(&known, at(cart.ip4, 8080), outside), accepted);
        let (local, remote) = (ending.client.local_addr().unwrap(), ending.client.peer_addr().unwrap());
        let closing = Some(TcpState::Closing);
        assert_eq!(between(&known, local, remote), (Opened::ByPod, Source::HostConntrack, closing));
        let asked = between(&known, question.local_addr().unwrap(), at(web.ip4, 53));
        assert_eq!(asked, (Opened::ByPod, Source::HostConntrack, None));
        assert_eq!(known.len(), 4, "{known:#?}");
        // The one that is not answered, and the one that ends, are worth least.
        assert_eq!((known[2].state, known[3].replied), (closing, false));

        assert_eq!(between(&of(&web), at(web.ip4, 8443), client), accepted);
    });
}

#[test]
fn what_a_pod_redirects_is_told_as_it_was_on_the_wire_whoever_still_listens() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let rules = [
            "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 15006",
            "-t nat -A OUTPUT -p tcp --dport 9090 -j REDIRECT --to-ports 15001",
        ];
        if !rules.iter().all(|rule| iptables(web.netns(), rule)) {
            return;
        }
        let inbound = connect(cart.netns(), at(web.ip4, 80), web.netns(), at([0, 0, 0, 0], 15006));
        let outbound = connect(web.netns(), at(cart.ip4, 9090), web.netns(), at([127, 0, 0, 1], 15001));
        let plain = connect(web.netns(), at(cart.ip4, 0), cart.netns(), at(cart.ip4, 0));
        for pair in [&inbound, &outbound, &plain] {
            pair.talk();
        }
        let client = inbound.client.local_addr().unwrap();
        drop(inbound.listener);

        let known = of(&web);
        let established = Some(TcpState::Established);
        let accepted = (Opened::ByRemote, Source::PodConntrack, established);
        assert_eq!(between(&known, at(web.ip4, 80), client), accepted);
        let (local, remote) = (plain.client.local_addr().unwrap(), plain.client.peer_addr().unwrap());
        assert_eq!(between(&known, local, remote), (Opened::ByPod, Source::PodConntrack, established));
        // What went to the proxy in the pod never was on the wire, and the proxy's own sockets show nothing new.
        assert_eq!(known.len(), 2, "{known:#?}");
    });
}

#[test]
fn where_nothing_tracks_the_sockets_tell_and_never_guess_who_opened() {
    on_node(|lab| {
        let cart = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
        let web = lab.pod_of(&PodSpec::new("shop", "web").ipv6()).unwrap();
        let idle = connect(cart.netns(), at(web.ip4, 0), web.netns(), at(web.ip4, 0));
        let mapped = connect(cart.netns(), at(web.ip4, 0), web.netns(), at(Ipv6Addr::UNSPECIFIED, 0));
        let six = connect(cart.netns(), at(web.ip6.unwrap(), 0), web.netns(), at(Ipv6Addr::UNSPECIFIED, 0));
        let closed = connect(cart.netns(), at(web.ip4, 0), web.netns(), at(web.ip4, 0));
        let inside = connect(web.netns(), at(web.ip4, 0), web.netns(), at(web.ip4, 0));
        drop(closed.listener);
        let unconnected = web.run(|| UdpSocket::bind(at(web.ip4, 0))).unwrap().unwrap();
        let connected = cart.run(|| UdpSocket::bind(at(cart.ip4, 0))).unwrap().unwrap();
        connected.connect(unconnected.local_addr().unwrap()).unwrap();
        connected.send(b"?").unwrap();
        unconnected.recv_from(&mut [0; 8]).unwrap();
        // Nobody answers, not even that there is nobody, and the kernel goes on asking.
        lab.world().ip(["route add blackhole 198.51.100.77/32"]).unwrap();
        let waiting = cart.run(|| {
            let socket = nix::sys::socket::socket(
                nix::sys::socket::AddressFamily::Inet,
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::SOCK_NONBLOCK,
                None,
            );
            let socket = socket.unwrap();
            let to = nix::sys::socket::SockaddrIn::new(198, 51, 100, 77, 443);
            // It is under way: EINPROGRESS.
            let _ = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &to);
            socket
        });

        let established = Some(TcpState::Established);
        let known = of(&web);
        let clients = [&idle.client, &mapped.client, &six.client, &closed.client];
        let accepted = [Opened::ByRemote, Opened::ByRemote, Opened::ByRemote, Opened::Unknown];
        for (client, opened) in clients.into_iter().zip(accepted) {
            let (local, remote) = (client.peer_addr().unwrap(), client.local_addr().unwrap());
            assert_eq!(between(&known, local, remote), (opened, Source::Socket, established), "{local}");
        }
        assert_eq!(known.len(), 4, "{known:#?}");
        drop(inside);

        eventually("the handshake is under way", || of(&cart).iter().any(|one| one.remote_port == 443));
        let known = of(&cart);
        for client in clients {
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(between(&known, local, remote), (Opened::Unknown, Source::Socket, established));
        }
        let (local, remote) = (connected.local_addr().unwrap(), connected.peer_addr().unwrap());
        assert_eq!(between(&known, local, remote), (Opened::Unknown, Source::Socket, None));
        let waits = known.iter().find(|one| one.remote_port == 443).unwrap();
        assert_eq!((waits.opened, waits.state, waits.replied), (Opened::ByPod, Some(TcpState::SynSent), false));
        assert_eq!(known.len(), 6, "{known:#?}");
        drop(waiting);
    });
}

#[test]
fn tracking_that_began_in_mid_stream_is_not_believed_about_who_opened() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let mut pair = connect(cart.netns(), at(web.ip4, 0), web.netns(), at(web.ip4, 0));
        if !iptables(lab.node(), "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT") {
            return;
        }
        // The server speaks first: to who has just begun to look, it looks as if it had opened.
        pair.server.write_all(b"x").unwrap();
        pair.client.read_exact(&mut [0]).unwrap();
        pair.talk();
        let (client, server) = (pair.client.local_addr().unwrap(), pair.client.peer_addr().unwrap());
        let established = Some(TcpState::Established);
        let (opened, source, state) = between(&of(&cart), client, server);
        assert_eq!((opened, source, state), (Opened::Unknown, Source::HostConntrack, established));
        // The pod that listens tells more.
        let (opened, source, state) = between(&of(&web), server, client);
        assert_eq!((opened, source, state), (Opened::ByRemote, Source::HostConntrack, established));
    });
}
