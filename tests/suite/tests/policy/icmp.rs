//! ICMP and what is cut into pieces: errors go with their connection, echo goes by rules without ports, neighbours are always found.

use std::net::IpAddr;

use chainkit_lab::peer::tcp;
use chainkit_lab::{INTERNET, INTERNET6, Netns, Pod};
use serde_json::{Value, json};

use crate::probe::{Answer, echo, large, pings, reaches};
use crate::stage::{Stage, at, deny_all, host, policy};
use crate::talk::{End, PORT, Talk};

/// What `web` may do under isolation, one way alone.
fn allow(direction: &str, rule: &Value) -> Value {
    let (types, rules) = if direction == "Egress" { ("Egress", "egress") } else { ("Ingress", "ingress") };
    let mut spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": [types]});
    spec[rules] = json!([rule]);
    policy(&format!("shop/allow-{rules}"), &spec)
}

fn both_protocols() -> Value {
    json!([{"port": PORT}, {"port": PORT, "protocol": "UDP"}])
}

/// A network of large packets behind a router of the world, over a link that takes no more than 1,400 bytes; the router beyond it, the
/// network, and its addresses.
fn narrow(world: &Netns) -> (Netns, Netns, [IpAddr; 2]) {
    let (router, far) = (Netns::new("router").unwrap(), Netns::new("far").unwrap());
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        router.sysctl(setting, "1").unwrap();
    }
    let link = format!("link add far0 mtu 1400 type veth peer name near0 mtu 1400 netns {}", router.path().display());
    world
        .ip([
            link.as_str(),
            "address add 192.0.2.1/30 dev far0",
            "address add 2001:db8:77::1/64 dev far0 nodad",
            "link set far0 up",
            "route add 192.0.2.4/30 via 192.0.2.2",
            "route add 2001:db8:78::/64 via 2001:db8:77::2",
        ])
        .unwrap();
    let link = format!("link add far0 mtu 9001 type veth peer name eth0 mtu 9001 netns {}", far.path().display());
    router
        .ip([
            "address add 192.0.2.2/30 dev near0",
            "address add 2001:db8:77::2/64 dev near0 nodad",
            "link set near0 up",
            "route add default via 192.0.2.1",
            "route add ::/0 via 2001:db8:77::1",
            link.as_str(),
            "address add 192.0.2.5/30 dev far0",
            "address add 2001:db8:78::5/64 dev far0 nodad",
            "link set far0 up",
        ])
        .unwrap();
    far.ip([
        "address add 192.0.2.6/30 dev eth0",
        "address add 2001:db8:78::6/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 192.0.2.5",
        "route add ::/0 via 2001:db8:78::5",
    ])
    .unwrap();
    (router, far, ["192.0.2.6".parse().unwrap(), "2001:db8:78::6".parse().unwrap()])
}

fn of_family(pod: &Pod, like: IpAddr) -> End<'_> {
    if like.is_ipv4() { End::v4(pod) } else { End::v6(pod) }
}

/// The largest packet that the pod believes to get through to an address.
fn path_mtu(pod: &Pod, to: IpAddr) -> String {
    let output = pod.command("ip").args(["route", "get", &to.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(" mtu ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or("none").to_owned()
}

#[test]
fn the_mtu_of_a_path_is_found_under_isolation() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let (_router, far, addresses) = narrow(stage.lab.world());
    for address in addresses {
        let ends = [of_family(&web, address), End::new(&far, address)];
        for (direction, peer) in [("Egress", "to"), ("Ingress", "from")] {
            let mut rule = json!({"ports": both_protocols()});
            rule[peer] = json!([host(address)]);
            stage.apply(&[deny_all("shop"), allow(direction, &rule)], &[]);
            for netns in [web.netns(), &far] {
                netns.ip(["route flush cache"]).unwrap();
                netns.ip6(["route flush cache"]).unwrap();
            }
            // The pod is the one that sends much, and has to learn that it is too much at one time.
            if direction == "Egress" {
                let sink = far.run(|| tcp::sink(at(address, PORT))).unwrap().unwrap();
                web.run(|| tcp::source(sink.address(), 4 << 20)).unwrap().unwrap();
                assert_eq!(sink.bytes(), 4 << 20);
            } else {
                Talk::open("far to web", ends[1], ends[0]).finish();
            }
            assert_eq!(path_mtu(&web, address), "1400", "{direction}, {address}");
        }
    }
}

#[test]
fn echo_goes_by_rules_without_ports() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let world = stage.lab.world();
    for outside in [IpAddr::from(INTERNET), IpAddr::from(INTERNET6)] {
        let inside = of_family(&web, outside).address;
        let (to, from) = (
            json!([host(outside)]),
            json!([
                host(outside),
                host("10.0.1.1".parse::<IpAddr>().unwrap()),
                host("10.1.0.1".parse::<IpAddr>().unwrap()),
                host("2001:db8:1::1".parse::<IpAddr>().unwrap())
            ]),
        );
        stage.apply(&[deny_all("shop")], &[]);
        assert!(!pings(web.netns(), outside) && !pings(world, inside));
        // The node may, as it may do anything.
        assert!(pings(stage.lab.node(), inside));
        stage.apply(&[deny_all("shop"), allow("Egress", &json!({"to": to, "ports": both_protocols()}))], &[]);
        assert!(!pings(web.netns(), outside));
        stage.apply(&[deny_all("shop"), allow("Egress", &json!({"to": to}))], &[]);
        assert!(pings(web.netns(), outside) && !pings(world, inside));
        stage.apply(&[deny_all("shop"), allow("Ingress", &json!({"from": from}))], &[]);
        assert!(!pings(web.netns(), outside) && pings(world, inside));
    }
}

#[test]
fn fragments_go_the_way_of_their_first() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    for outside in [IpAddr::from(INTERNET), IpAddr::from(INTERNET6)] {
        let (here, there) = (of_family(&web, outside), End::new(stage.lab.world(), outside));
        let _servers = [PORT, PORT + 1].map(|port| [echo(here, port), echo(there, port)]);
        let expect = |here_to_there: Answer, there_to_here: Answer| {
            large(here, at(outside, PORT), here_to_there);
            large(there, at(here.address, PORT), there_to_here);
        };
        expect(Answer::Answered, Answer::Answered);
        stage.apply(&[deny_all("shop")], &[]);
        expect(Answer::Silent, Answer::Silent);
        let egress = allow("Egress", &json!({"to": [host(outside)], "ports": both_protocols()}));
        stage.apply(&[deny_all("shop"), egress], &[]);
        expect(Answer::Answered, Answer::Silent);
        let ingress = allow("Ingress", &json!({"from": [host(outside)], "ports": both_protocols()}));
        stage.apply(&[deny_all("shop"), ingress], &[]);
        expect(Answer::Silent, Answer::Answered);
        // By their port, which the first fragment alone bears.
        large(there, at(here.address, PORT + 1), Answer::Silent);
        stage.run("polload", &["clear"]);
    }
}

#[test]
fn neighbours_are_found_under_isolation() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let _servers = [echo(End::v4(&web), PORT), echo(End::v6(&web), PORT)];
    stage.apply(&[deny_all("shop")], &[]);
    let node = stage.lab.node();
    for _ in 0..3 {
        let flush = format!("neighbour flush dev {}", web.host_ifname);
        node.ip([flush.as_str()]).unwrap();
        node.ip6([flush.as_str()]).unwrap();
        reaches(End::new(node, chainkit_lab::NODE), at(web.ip4, PORT));
        reaches(End::new(node, chainkit_lab::NODE6), at(web.ip6.unwrap(), PORT));
    }
}
