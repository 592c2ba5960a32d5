use std::net::IpAddr;

use super::*;

const TCP: u8 = 6;
const UDP: u8 = 17;
const POD: &str = "10.1.0.5";
const POD6: &str = "fd00::5";

/// `10.1.0.5:80` or `[fd00::5]:80`.
fn end(text: &str) -> (IpAddr, u16) {
    let end: std::net::SocketAddr = text.parse().unwrap();
    (end.ip(), end.port())
}

fn tuple(from: &str, to: &str) -> Tuple {
    let ((src, src_port), (dst, dst_port)) = (end(from), end(to));
    Tuple { src, dst, src_port, dst_port }
}

fn tcp(original: (&str, &str), reply: (&str, &str)) -> Entry {
    Entry {
        original: tuple(original.0, original.1),
        reply: tuple(reply.0, reply.1),
        protocol: TCP,
        icmp_type: None,
        tcp: Some(TcpState::Established),
        seen_reply: true,
        assured: true,
        picked_up: false,
    }
}

fn plain(from: &str, to: &str) -> Entry {
    tcp((from, to), (to, from))
}

fn connected(protocol: u8, local: &str, remote: &str) -> Socket {
    let ((local, local_port), (remote, remote_port)) = (end(local), end(remote));
    let state = SocketState::Connected((protocol == TCP).then_some(TcpState::Established));
    Socket { protocol, state, local, local_port, remote, remote_port, dual_stack: false }
}

fn listening(protocol: u8, local: &str) -> Socket {
    let (local, local_port) = end(local);
    let remote = if local.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let (remote, remote_port) = end(remote);
    let dual_stack = local.is_ipv6();
    Socket { protocol, state: SocketState::Listening, local, local_port, remote, remote_port, dual_stack }
}

/// Each as `local remote opened`, in the order found.
fn found(host: &[Entry], pod: &[Entry], sockets: &[Socket]) -> Vec<String> {
    merge(&[POD.parse().unwrap(), POD6.parse().unwrap()], host, pod, sockets).iter().map(told).collect()
}

fn told(existing: &Existing) -> String {
    let local = std::net::SocketAddr::from((existing.local, existing.local_port));
    let remote = std::net::SocketAddr::from((existing.remote, existing.remote_port));
    format!("{local} {remote} {:?} {:?}", existing.opened, existing.source)
}

#[test]
fn the_node_sees_what_the_pod_opened_before_it_translates() {
    let service = tcp(("10.1.0.5:40000", "172.20.0.1:443"), ("10.2.0.9:6443", "192.168.0.1:40000"));
    assert_eq!(found(&[service], &[], &[]), ["10.1.0.5:40000 172.20.0.1:443 ByPod HostConntrack"]);
}

#[test]
fn the_node_sees_what_others_opened_after_it_translated() {
    let node_port = tcp(("203.0.113.9:50000", "192.168.0.1:30080"), ("10.1.0.5:8080", "192.168.0.1:61000"));
    assert_eq!(found(&[node_port], &[], &[]), ["10.1.0.5:8080 192.168.0.1:61000 ByRemote HostConntrack"]);
}

#[test]
fn a_pod_that_reaches_itself_through_a_service_has_both_tuples() {
    let hairpin = tcp(("10.1.0.5:40000", "172.20.0.1:80"), ("10.1.0.5:8080", "192.168.0.1:61000"));
    assert_eq!(
        found(&[hairpin], &[], &[]),
        ["10.1.0.5:40000 172.20.0.1:80 ByPod HostConntrack", "10.1.0.5:8080 192.168.0.1:61000 ByRemote HostConntrack"]
    );
}

#[test]
fn connections_of_others_are_none_of_this_pod() {
    assert!(found(&[plain("10.1.0.6:1", "10.2.0.9:2")], &[plain("127.0.0.1:1", "127.0.0.1:2")], &[]).is_empty());
}

#[test]
fn what_the_pod_redirects_on_its_way_in_is_as_it_was_on_the_wire() {
    let redirected = tcp(("10.2.0.9:50000", "10.1.0.5:80"), ("10.1.0.5:15006", "10.2.0.9:50000"));
    let proxy = [listening(TCP, "0.0.0.0:15006"), connected(TCP, "10.1.0.5:15006", "10.2.0.9:50000")];
    assert_eq!(found(&[], &[redirected], &proxy), ["10.1.0.5:80 10.2.0.9:50000 ByRemote PodConntrack"]);
}

#[test]
fn what_the_pod_redirects_on_its_way_out_never_leaves_it() {
    let redirected = tcp(("10.1.0.5:40000", "10.2.0.9:80"), ("127.0.0.1:15001", "10.1.0.5:40000"));
    let to_self = tcp(("10.1.0.5:40001", "10.2.0.9:80"), ("10.1.0.5:15001", "10.1.0.5:40001"));
    let sockets = [
        connected(TCP, "10.1.0.5:40000", "10.2.0.9:80"),
        connected(TCP, "127.0.0.1:15001", "10.1.0.5:40000"),
        connected(TCP, "10.1.0.5:40001", "10.2.0.9:80"),
        connected(TCP, "10.1.0.5:15001", "10.1.0.5:40001"),
    ];
    assert!(found(&[], &[redirected, to_self], &sockets).is_empty());
}

#[test]
fn a_proxy_in_the_pod_that_reaches_the_application_stays_inside() {
    assert!(found(&[], &[plain("127.0.0.6:40000", "10.1.0.5:80")], &[]).is_empty());
}

#[test]
fn what_the_pod_translates_on_its_way_out_is_as_it_leaves() {
    let to_another = tcp(("10.1.0.5:40000", "10.2.0.9:80"), ("10.2.0.7:8080", "10.1.0.5:40000"));
    let from_a_container_inside = tcp(("172.17.0.2:5000", "10.2.0.9:80"), ("10.2.0.9:80", "10.1.0.5:5000"));
    let application = connected(TCP, "10.1.0.5:40000", "10.2.0.9:80");
    assert_eq!(
        found(&[], &[to_another, from_a_container_inside], &[application]),
        ["10.1.0.5:40000 10.2.0.7:8080 ByPod PodConntrack", "10.1.0.5:5000 10.2.0.9:80 ByPod PodConntrack"]
    );
}

#[test]
fn a_socket_with_a_listener_on_its_port_was_accepted() {
    let table = [
        ("0.0.0.0:80", "10.1.0.5:80", "10.2.0.9:1", "ByRemote"),
        ("10.1.0.5:80", "10.1.0.5:80", "10.2.0.9:1", "ByRemote"),
        ("[::]:80", "10.1.0.5:80", "10.2.0.9:1", "ByRemote"),
        ("[::]:80", "[fd00::5]:80", "[fd00::9]:1", "ByRemote"),
        ("127.0.0.1:80", "10.1.0.5:80", "10.2.0.9:1", "Unknown"),
        ("0.0.0.0:81", "10.1.0.5:80", "10.2.0.9:1", "Unknown"),
        ("0.0.0.0:80", "[fd00::5]:80", "[fd00::9]:1", "Unknown"),
    ];
    for (listener, local, remote, opened) in table {
        for protocol in [TCP, UDP] {
            let sockets = [connected(protocol, local, remote), listening(protocol, listener)];
            assert_eq!(found(&[], &[], &sockets), [format!("{local} {remote} {opened} Socket")], "{listener}");
        }
    }
    let of_the_other_protocol = [connected(TCP, "10.1.0.5:80", "10.2.0.9:1"), listening(UDP, "0.0.0.0:80")];
    assert_eq!(found(&[], &[], &of_the_other_protocol), ["10.1.0.5:80 10.2.0.9:1 Unknown Socket"]);
}

#[test]
fn an_ipv6_listener_of_ipv6_alone_accepted_no_ipv4() {
    let listener = Socket { dual_stack: false, ..listening(TCP, "[::]:80") };
    let sockets = [connected(TCP, "10.1.0.5:80", "10.2.0.9:1"), listener];
    assert_eq!(found(&[], &[], &sockets), ["10.1.0.5:80 10.2.0.9:1 Unknown Socket"]);
}

#[test]
fn a_socket_that_waits_for_its_handshake_was_opened_by_the_pod() {
    let opening =
        Socket { state: SocketState::Connected(Some(TcpState::SynSent)), ..connected(TCP, "10.1.0.5:4", "10.2.0.9:1") };
    assert_eq!(found(&[], &[], &[opening]), ["10.1.0.5:4 10.2.0.9:1 ByPod Socket"]);
    assert!(!merge(&[POD.parse().unwrap()], &[], &[], &[opening])[0].replied);
}

#[test]
fn sockets_without_a_peer_outside_give_nothing() {
    let sockets = [
        listening(UDP, "0.0.0.0:53"),
        listening(TCP, "10.1.0.5:80"),
        connected(TCP, "127.0.0.1:80", "127.0.0.1:4"),
        connected(TCP, "10.1.0.5:80", "10.1.0.5:4"),
        connected(UDP, "10.1.0.5:80", "[fd00::5]:4"),
    ];
    assert!(found(&[], &[], &sockets).is_empty());
}

#[test]
fn each_connection_is_told_once_by_who_knew_it_first() {
    let host = [plain("10.1.0.5:40000", "10.2.0.9:80")];
    let pod = [plain("10.1.0.5:40000", "10.2.0.9:80"), plain("10.2.0.9:9", "10.1.0.5:22")];
    let sockets = [connected(TCP, "10.1.0.5:40000", "10.2.0.9:80"), connected(TCP, "10.1.0.5:22", "10.2.0.9:9")];
    assert_eq!(
        found(&host, &pod, &sockets),
        ["10.1.0.5:40000 10.2.0.9:80 ByPod HostConntrack", "10.1.0.5:22 10.2.0.9:9 ByRemote PodConntrack"]
    );
}

#[test]
fn tracking_that_began_in_mid_stream_does_not_tell_who_opened_and_others_may() {
    let met = Entry { picked_up: true, ..plain("10.1.0.5:22", "10.2.0.9:9") };
    assert_eq!(found(&[met], &[], &[]), ["10.1.0.5:22 10.2.0.9:9 Unknown HostConntrack"]);
    let sockets = [connected(TCP, "10.1.0.5:22", "10.2.0.9:9"), listening(TCP, "0.0.0.0:22")];
    assert_eq!(found(&[met], &[], &sockets), ["10.1.0.5:22 10.2.0.9:9 ByRemote HostConntrack"]);
    let pod = plain("10.2.0.9:9", "10.1.0.5:22");
    assert_eq!(found(&[met], &[pod], &[]), ["10.1.0.5:22 10.2.0.9:9 ByRemote HostConntrack"]);
}

#[test]
fn what_is_over_is_left_out() {
    let over = Entry { tcp: Some(TcpState::Over), ..plain("10.1.0.5:40000", "10.2.0.9:80") };
    assert!(found(&[over], &[over], &[]).is_empty());
}

#[test]
fn echoes_are_known_by_their_identifier_and_other_icmp_is_not() {
    let echo = Entry { protocol: 1, icmp_type: Some(8), tcp: None, ..plain("10.1.0.5:7", "10.2.0.9:7") };
    let timestamp = Entry { icmp_type: Some(13), ..echo };
    assert_eq!(found(&[echo, timestamp], &[], &[]), ["10.1.0.5:7 10.2.0.9:0 ByPod HostConntrack"]);
}

#[test]
fn protocols_without_ports_have_none() {
    let gre = Entry { protocol: 47, tcp: None, ..plain("10.2.0.9:7", "10.1.0.5:7") };
    assert_eq!(found(&[gre], &[], &[]), ["10.1.0.5:0 10.2.0.9:0 ByRemote HostConntrack"]);
}

#[test]
fn mapped_addresses_of_the_pod_are_ipv4() {
    let mapped: IpAddr = "::ffff:10.1.0.5".parse().unwrap();
    let merged = merge(&[mapped], &[plain("10.1.0.5:4", "10.2.0.9:80")], &[], &[]);
    assert_eq!(merged[0].local, POD.parse::<IpAddr>().unwrap());
}

#[test]
fn what_is_most_worth_remembering_comes_first() {
    let closing = Entry { tcp: Some(TcpState::Closing), ..plain("10.1.0.5:1", "10.2.0.9:80") };
    let opening = Entry { tcp: Some(TcpState::SynSent), seen_reply: false, ..plain("10.1.0.5:2", "10.2.0.9:80") };
    let unanswered = Entry { protocol: UDP, tcp: None, seen_reply: false, ..plain("10.1.0.5:3", "10.2.0.9:53") };
    let answered = Entry { seen_reply: true, ..plain("10.1.0.5:4", "10.2.0.9:53") };
    let established = plain("10.1.0.5:5", "10.2.0.9:80");
    let merged = merge(&[POD.parse().unwrap()], &[closing, opening, unanswered, answered, established], &[], &[]);
    let ports: Vec<u16> = merged.iter().map(|existing| existing.local_port).collect();
    assert_eq!(ports, [4, 5, 1, 2, 3]);
}
