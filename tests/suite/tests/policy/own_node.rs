//! The own node is who has made a packet: not what it forwards, though that may bear the node's address, and not what it bridges, though
//! that still has the socket of the pod that sent it.

use std::net::{IpAddr, Ipv4Addr};

use chainkit_lab::{INTERNET, NODE, NODE6, Netns};
use serde_json::{Value, json};

use crate::probe::{Answer, connects, does_not_reach, echo, is_silent, reaches, tcp};
use crate::proxy::{Front, PROXIES, Proxy};
use crate::stage::{SOON, Stage, at, deny_all, host, policy};
use crate::talk::End;

const PORT: u16 = 8080;
const NODE_PORT: u16 = 30080;

/// A node port, forwarded so that the pod sees the node's address (`externalTrafficPolicy: Cluster`).
fn node_port(of: Ipv4Addr) -> Front {
    Front { masquerade: true, ..Front::new(NODE, NODE_PORT, &[(of, PORT)]) }
}

fn a_node_port_does_not_get_around_isolation(proxy: Proxy) {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let _servers = echo(End::v4(&web), PORT);
    if !proxy.install(stage.lab.node(), &[node_port(web.ip4)]) {
        return;
    }
    let outside = End::new(stage.lab.world(), INTERNET);
    connects(outside, at(NODE, NODE_PORT));
    stage.apply(&[deny_all("shop")], &[]);
    is_silent(outside, at(NODE, NODE_PORT));
    // The node itself may, from the very address.
    connects(End::new(stage.lab.node(), NODE), at(web.ip4, PORT));
    // What is allowed by the client's address is not, since the pod is not told it.
    let allow = |peer: Value| {
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [peer]}]});
        policy("shop/allow", &spec)
    };
    stage.apply(&[allow(host(INTERNET))], &[]);
    is_silent(outside, at(NODE, NODE_PORT));
    stage.apply(&[allow(host(NODE))], &[]);
    connects(outside, at(NODE, NODE_PORT));
}

#[test]
fn a_node_port_of_iptables_does_not_get_around_isolation() {
    a_node_port_does_not_get_around_isolation(Proxy::Iptables);
}

#[test]
fn a_node_port_of_nftables_does_not_get_around_isolation() {
    a_node_port_does_not_get_around_isolation(Proxy::Nftables);
}

#[test]
fn what_is_forwarded_with_its_own_address_is_judged_by_it() {
    for proxy in PROXIES {
        let Some(stage) = Stage::new() else { return };
        let web = stage.pod("shop/web");
        let _servers = echo(End::v4(&web), PORT);
        // externalTrafficPolicy: Local.
        if !proxy.install(stage.lab.node(), &[Front::new(NODE, NODE_PORT, &[(web.ip4, PORT)])]) {
            continue;
        }
        let outside = End::new(stage.lab.world(), INTERNET);
        stage.apply(&[deny_all("shop")], &[]);
        is_silent(outside, at(NODE, NODE_PORT));
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [host(INTERNET)]}]});
        stage.apply(&[policy("shop/allow", &spec)], &[]);
        connects(outside, at(NODE, NODE_PORT));
    }
}

#[test]
fn probes_of_the_node_get_in_whatever_address_they_bear() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let _servers = [echo(End::v4(&web), PORT), echo(End::v6(&web), PORT)];
    let node = stage.lab.node();
    // Addresses that no object tells of: one of a secondary interface, and what somebody has set up besides.
    node.ip(["address add 192.0.2.7/32 dev lo"]).unwrap();
    stage.apply(&[deny_all("shop")], &[]);
    let late = Ipv4Addr::new(192, 0, 2, 8);
    node.ip(["address add 192.0.2.8/32 dev lo"]).unwrap();
    for address in [NODE, Ipv4Addr::new(10, 1, 0, 10), Ipv4Addr::new(192, 0, 2, 7), late] {
        reaches(End::new(node, address), at(web.ip4, PORT));
    }
    reaches(End::new(node, NODE6), at(web.ip6.unwrap(), PORT));
    does_not_reach(End::new(stage.lab.world(), INTERNET), at(web.ip4, PORT));
}

#[test]
fn what_a_pod_opens_to_its_node_passes_and_to_another_node_does_not() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let _here = echo(End::new(stage.lab.node(), NODE), PORT);
    let _there = echo(End::new(stage.lab.world(), chainkit_lab::OTHER_NODE), PORT);
    stage.apply(&[deny_all("shop")], &[]);
    reaches(End::v4(&web), at(NODE, PORT));
    does_not_reach(End::v4(&web), at(chainkit_lab::OTHER_NODE, PORT));
}

/// A namespace on a bridge of the node.
fn bridged(node: &Netns, number: u8) -> Netns {
    let netns = Netns::new(format!("flat/{number}")).unwrap();
    let path = netns.path().display();
    node.ip([
        format!("link add br{number} type veth peer name eth0 netns {path}").as_str(),
        &format!("link set br{number} master bridge0 up"),
    ])
    .unwrap();
    netns.ip([format!("address add 10.77.0.{number}/24 dev eth0").as_str(), "link set eth0 up"]).unwrap();
    netns
}

#[test]
fn pods_on_a_bridge_are_not_taken_for_their_node() {
    let Some(stage) = Stage::new() else { return };
    let node = stage.lab.node();
    node.ip(["link add bridge0 type bridge", "address add 10.77.0.1/24 dev bridge0", "link set bridge0 up"]).unwrap();
    let mut objects = stage.objects();
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flat"}}));
    let netns = [2, 3].map(|number| bridged(node, number));
    let ends = [2, 3].map(|number| IpAddr::from([10, 77, 0, number]));
    for (name, (netns, address)) in ["a", "b"].into_iter().zip(netns.iter().zip(ends)) {
        let uid = format!("00000000-0000-4000-8000-00000000000{name}");
        stage.cached_result(&name.repeat(64), netns, ("flat", name, &uid), &[address]);
        objects.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "flat", "name": name, "uid": uid, "labels": {"app": name}},
            "spec": {"nodeName": chainkit_lab::NODE_NAME, "containers": []},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        }));
    }
    stage.adopt();
    let [from, to] = [End::new(&netns[0], ends[0]), End::new(&netns[1], ends[1])];
    let _servers = echo(to, PORT);
    reaches(from, at(to.address, PORT));
    // The sender is not isolated: it is the receiver's side that has to tell.
    let spec = json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"]});
    objects.push(policy("flat/isolate-b", &spec));
    stage.apply_exactly(&objects, &[]);
    does_not_reach(from, at(to.address, PORT));
    let of_bridge = End::new(node, Ipv4Addr::new(10, 77, 0, 1));
    reaches(of_bridge, at(to.address, PORT));
    assert_eq!(tcp(of_bridge, at(to.address, 9), SOON), Answer::Refused);
}
