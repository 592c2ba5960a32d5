//! Services: at the pod's interface a packet still bears the service's address, and is judged by the backends that it may be forwarded to.

use std::net::Ipv4Addr;
use std::thread;

use chainkit_lab::{INTERNET, NODE, NODE_NAME, OTHER_NODE, OTHER_NODE_NAME, Pod};
use serde_json::{Value, json};

use crate::probe::{Answer, connects, echo, is_silent, tcp};
use crate::proxy::{Front, PROXIES, Proxy};
use crate::stage::{SOON, Stage, Watch, app, at, deny_all, host, isolate, policy, service, slice};
use crate::talk::{End, PORT, Talk};
use crate::wire::{QUIET, Wire};

const SERVICE: Ipv4Addr = Ipv4Addr::new(172, 20, 0, 7);
const SERVICE_PORT: u16 = 80;

/// What `cart` may reach: the peers on the backends' port.
fn allow(peers: &[Value], port: u16) -> Value {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "cart"}}, "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": peers, "ports": [{"port": port}]}],
    });
    policy("shop/allow", &spec)
}

/// A stage with `cart`, who asks, and two backends.
fn staged() -> Option<(Stage, [Pod; 3])> {
    let stage = Stage::new()?;
    let pods = ["shop/cart", "shop/web", "shop/api"].map(|name| stage.pod(name));
    Some((stage, pods))
}

fn both<'a>(web: &Pod, api: &Pod) -> Vec<(Ipv4Addr, &'a str)> {
    vec![(web.ip4, NODE_NAME), (api.ip4, NODE_NAME)]
}

fn forwarded(backends: &[(Ipv4Addr, &str)]) -> Front {
    let backends: Vec<(Ipv4Addr, u16)> = backends.iter().map(|(address, _)| (*address, PORT)).collect();
    Front::new(SERVICE, SERVICE_PORT, &backends)
}

#[test]
fn a_service_is_judged_by_its_backends_and_their_port() {
    for proxy in PROXIES {
        let Some((stage, [cart, web, api])) = staged() else { return };
        let _servers = [echo(End::v4(&web), PORT), echo(End::v4(&api), PORT)];
        let backends = both(&web, &api);
        if !proxy.install(stage.lab.node(), &[forwarded(&backends)]) {
            continue;
        }
        let cluster = [service("shop/web", SERVICE, SERVICE_PORT, PORT), slice("shop/web", PORT, &backends)];
        let met = at(SERVICE, SERVICE_PORT);
        let apply = |more: Value| stage.apply(&[&cluster[..], &[more]].concat(), &[]);
        // By the port of the containers, not by that of the service.
        apply(allow(&[app("web"), app("api")], PORT));
        (0..4).for_each(|_| connects(End::v4(&cart), met));
        apply(allow(&[app("web"), app("api")], SERVICE_PORT));
        is_silent(End::v4(&cart), met);
        // Nobody knows which backend it will be: one that is denied is enough.
        apply(allow(&[app("web")], PORT));
        (0..3).for_each(|_| is_silent(End::v4(&cart), met));
        connects(End::v4(&cart), at(web.ip4, PORT));
        // The service's own address, in a block, says nothing of its backends.
        apply(allow(&[host(SERVICE)], PORT));
        is_silent(End::v4(&cart), met);
        // The backends' own side is judged at their own interfaces, by who asks.
        apply(isolate("shop", "web", &["Ingress"]));
        let answers: Vec<Answer> =
            (0..12).map(|_| tcp(End::v4(&cart), met, std::time::Duration::from_millis(400))).collect();
        assert!(answers.contains(&Answer::Answered) && answers.contains(&Answer::Silent), "{answers:?}");
        stage.run("polload", &["clear"]);
        (0..4).for_each(|_| connects(End::v4(&cart), met));
    }
}

#[test]
fn session_affinity_changes_nothing_about_the_verdict() {
    for proxy in PROXIES {
        let Some((stage, [cart, web, api])) = staged() else { return };
        let servers = [echo(End::v4(&web), PORT), echo(End::v4(&api), PORT)];
        let backends = both(&web, &api);
        let front = Front { affinity: true, ..forwarded(&backends) };
        if !proxy.install(stage.lab.node(), &[front]) {
            continue;
        }
        let mut sticky = service("shop/web", SERVICE, SERVICE_PORT, PORT);
        sticky["spec"]["sessionAffinity"] = "ClientIP".into();
        let cluster = [sticky, slice("shop/web", PORT, &backends)];
        stage.apply(&[&cluster[..], &[allow(&[app("web"), app("api")], PORT)]].concat(), &[]);
        (0..6).for_each(|_| connects(End::v4(&cart), at(SERVICE, SERVICE_PORT)));
        let mut served = servers.each_ref().map(|[tcp, _]| tcp.served());
        served.sort_unstable();
        assert_eq!(served, [0, 6]);
        // That it would be the one that is allowed, policy does not know.
        stage.apply(&[&cluster[..], &[allow(&[app("web")], PORT)]].concat(), &[]);
        is_silent(End::v4(&cart), at(SERVICE, SERVICE_PORT));
    }
}

/// `service`, whose traffic stays on the node or not.
fn kept(mut service: Value, which: &str, policy: &str) -> Value {
    service["spec"][which] = policy.into();
    service
}

#[test]
fn where_traffic_stays_on_the_node_its_own_backends_alone_are_asked() {
    for proxy in PROXIES {
        let Some((stage, [cart, web, _])) = staged() else { return };
        let far = stage.lab.remote_pod("shop", "far").unwrap();
        let _servers = [echo(End::v4(&web), PORT), echo(End::new(stage.lab.world(), far), PORT)];
        let all = [(web.ip4, NODE_NAME), (far, OTHER_NODE_NAME)];
        // The rules of this node know of its own backend alone.
        if !proxy.install(stage.lab.node(), &[forwarded(&all[..1])]) {
            continue;
        }
        let met = at(SERVICE, SERVICE_PORT);
        let apply = |policy: &str, peers: &[Value]| {
            let service = kept(service("shop/web", SERVICE, SERVICE_PORT, PORT), "internalTrafficPolicy", policy);
            stage.apply(&[service, slice("shop/web", PORT, &all), allow(peers, PORT)], &[]);
            // What was saved with it says the same of it.
            stage.run("polload", &["verify"]);
        };
        apply("Local", &[app("web")]);
        (0..3).for_each(|_| connects(End::v4(&cart), met));
        apply("Local", &[app("far")]);
        is_silent(End::v4(&cart), met);
        assert!(proxy.install(stage.lab.node(), &[forwarded(&all)]));
        apply("Cluster", &[app("web")]);
        (0..3).for_each(|_| is_silent(End::v4(&cart), met));
        apply("Cluster", &[app("web"), app("far")]);
        (0..4).for_each(|_| connects(End::v4(&cart), met));
    }
}

#[test]
fn where_traffic_stays_on_the_node_and_no_backend_is_there_it_comes_to_the_nodes_own_drop() {
    for proxy in PROXIES {
        let Some((stage, [cart, ..])) = staged() else { return };
        let far = stage.lab.remote_pod("shop", "far").unwrap();
        // A rule that answers shows whether policy lets it come that far.
        if !proxy.install(stage.lab.node(), &[forwarded(&[])]) {
            continue;
        }
        let met = at(SERVICE, SERVICE_PORT);
        let kept = kept(service("shop/web", SERVICE, SERVICE_PORT, PORT), "internalTrafficPolicy", "Local");
        let elsewhere = slice("shop/web", PORT, &[(far, OTHER_NODE_NAME)]);
        stage.apply(&[kept.clone(), elsewhere.clone(), deny_all("shop")], &[]);
        assert_eq!(tcp(End::v4(&cart), met, SOON), Answer::Refused, "{proxy:?}");
        assert!(proxy.install(stage.lab.node(), &[Front { drops: true, ..forwarded(&[]) }]));
        is_silent(End::v4(&cart), met);
        // One that is met from outside too is sent to any backend by some proxies, so all are asked.
        assert!(proxy.install(stage.lab.node(), &[forwarded(&[])]));
        let mut open = kept;
        open["spec"]["externalIPs"] = json!(["203.0.113.7"]);
        stage.apply(&[open, elsewhere, deny_all("shop")], &[]);
        is_silent(End::v4(&cart), met);
    }
}

#[test]
fn at_addresses_from_outside_all_backends_are_asked_whatever_stays_on_the_node() {
    for (proxy, which) in PROXIES.into_iter().zip(["internalTrafficPolicy", "externalTrafficPolicy"]) {
        let Some((stage, [cart, web, _])) = staged() else { return };
        let far = stage.lab.remote_pod("shop", "far").unwrap();
        let _servers = [echo(End::v4(&web), PORT), echo(End::new(stage.lab.world(), far), PORT)];
        let all = [(web.ip4, NODE_NAME), (far, OTHER_NODE_NAME)];
        let balancer = Ipv4Addr::new(203, 0, 113, 7);
        // A pod's packets to it go to any backend, as if they had gone out and come in again.
        let stays = which == "internalTrafficPolicy";
        let inside = forwarded(if stays { &all[..1] } else { &all });
        if !proxy.install(stage.lab.node(), &[inside, Front { address: balancer, ..forwarded(&all) }]) {
            continue;
        }
        let mut service = kept(service("shop/web", SERVICE, SERVICE_PORT, PORT), which, "Local");
        service["spec"]["type"] = "LoadBalancer".into();
        service["status"]["loadBalancer"]["ingress"] = json!([{"ip": balancer}]);
        let cluster = [service, slice("shop/web", PORT, &all)];
        let apply = |peers: &[Value]| stage.apply(&[&cluster[..], &[allow(peers, PORT)]].concat(), &[]);
        apply(&[app("web"), app("far")]);
        for address in [SERVICE, balancer] {
            (0..4).for_each(|_| connects(End::v4(&cart), at(address, SERVICE_PORT)));
        }
        apply(&[app("web")]);
        is_silent(End::v4(&cart), at(balancer, SERVICE_PORT));
        if stays {
            connects(End::v4(&cart), at(SERVICE, SERVICE_PORT));
        } else {
            is_silent(End::v4(&cart), at(SERVICE, SERVICE_PORT));
        }
    }
}

#[test]
fn a_change_of_what_stays_on_the_node_alone_is_followed() {
    let Some((stage, [cart, web, _])) = staged() else { return };
    let far = stage.lab.remote_pod("shop", "far").unwrap();
    let _servers = echo(End::v4(&web), PORT);
    let on = |node| slice("shop/web", PORT, &[(web.ip4, NODE_NAME), (far, node)]);
    let of = |policy| kept(service("shop/web", SERVICE, SERVICE_PORT, PORT), "internalTrafficPolicy", policy);
    if !Proxy::Iptables.install(stage.lab.node(), &[forwarded(&[(web.ip4, NODE_NAME)])]) {
        return;
    }
    let met = at(SERVICE, SERVICE_PORT);
    let more = [of("Local"), on(OTHER_NODE_NAME), allow(&[app("web")], PORT)];
    let mut watch = Watch::start(&stage, &[&stage.objects()[..], &more].concat(), &[]);
    connects(End::v4(&cart), met);
    watch.change("MODIFIED", &of("Cluster"));
    is_silent(End::v4(&cart), met);
    watch.change("MODIFIED", &of("Local"));
    connects(End::v4(&cart), met);
    watch.change("MODIFIED", &on(NODE_NAME));
    is_silent(End::v4(&cart), met);
    watch.change("MODIFIED", &on(OTHER_NODE_NAME));
    connects(End::v4(&cart), met);
}

#[test]
fn a_backend_on_its_nodes_network_is_judged_as_the_node() {
    for proxy in PROXIES {
        let Some((stage, [cart, ..])) = staged() else { return };
        let _far = echo(End::new(stage.lab.world(), OTHER_NODE), PORT);
        let _here = echo(End::new(stage.lab.node(), NODE), PORT);
        let (here, far) = (forwarded(&[(NODE, "")]), forwarded(&[(OTHER_NODE, "")]));
        let other = Ipv4Addr::new(172, 20, 0, 8);
        if !proxy.install(stage.lab.node(), &[here, Front { address: other, ..far }]) {
            continue;
        }
        let cluster = [
            service("shop/here", SERVICE, SERVICE_PORT, PORT),
            slice("shop/here", PORT, &[(NODE, NODE_NAME)]),
            service("shop/far", other, SERVICE_PORT, PORT),
            slice("shop/far", PORT, &[(OTHER_NODE, OTHER_NODE_NAME)]),
        ];
        stage.apply(&[&cluster[..], &[deny_all("shop")]].concat(), &[]);
        // The own node is always allowed; another is not.
        connects(End::v4(&cart), at(SERVICE, SERVICE_PORT));
        is_silent(End::v4(&cart), at(other, SERVICE_PORT));
        stage.apply(&[&cluster[..], &[allow(&[host(OTHER_NODE)], PORT)]].concat(), &[]);
        connects(End::v4(&cart), at(other, SERVICE_PORT));
    }
}

/// To itself a pod may talk whatever the policies. What comes back to it through its service has the node's address and another port
/// (kube-proxy masquerades it), and is forwarded and not made by the node: known by its TCP sequence number. UDP has none, and comes as
/// from a peer of that address.
#[test]
fn a_pod_reaches_itself_through_its_service() {
    for proxy in PROXIES {
        let Some(stage) = Stage::new() else { return };
        let cart = stage.pod("shop/cart");
        let _servers = echo(End::v4(&cart), PORT);
        let backends = [(cart.ip4, NODE_NAME)];
        if !proxy.install(stage.lab.node(), &[forwarded(&backends)]) {
            continue;
        }
        let cluster = [service("shop/cart", SERVICE, SERVICE_PORT, PORT), slice("shop/cart", PORT, &backends)];
        let met = at(SERVICE, SERVICE_PORT);
        connects(End::v4(&cart), met);
        stage.apply(&[&cluster[..], &[isolate("shop", "cart", &["Ingress"])]].concat(), &[]);
        for _ in 0..5 {
            connects(End::v4(&cart), met);
        }
        connects(End::v4(&cart), at(cart.ip4, PORT));
        // What it may not open at all does not come back.
        stage.apply(&[&cluster[..], &[isolate("shop", "cart", &["Ingress", "Egress"])]].concat(), &[]);
        is_silent(End::v4(&cart), met);
        connects(End::v4(&cart), at(cart.ip4, PORT));
    }
}

/// A backend sees the sequence number of whoever comes to it. With it, by a node port and so with the node's address, it does not get
/// into a pod that is isolated: it is another packet.
#[test]
fn a_backend_that_repeats_a_sequence_number_does_not_pass_for_its_client() {
    const NODE_PORT: u16 = 30080;
    let Some((stage, [cart, web, _])) = staged() else { return };
    let _server = echo(End::v4(&cart), PORT);
    let backends = [(web.ip4, NODE_NAME)];
    let node_port = Front { masquerade: true, ..Front::new(NODE, NODE_PORT, &[(cart.ip4, PORT)]) };
    if !Proxy::Iptables.install(stage.lab.node(), &[forwarded(&backends), node_port]) {
        return;
    }
    // So that the kernel of the backend does not refuse what its raw socket takes up.
    let dropped = web
        .netns()
        .command("iptables")
        .args(["-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"])
        .status();
    assert!(dropped.unwrap().success());
    let cluster = [service("shop/web", SERVICE, SERVICE_PORT, PORT), slice("shop/web", PORT, &backends)];
    let wire = web.netns().run(Wire::open).unwrap();
    let mut port = 41_000;
    let mut repeated_gets_in = || {
        port += 1;
        thread::scope(|scope| {
            let client = scope.spawn(|| tcp(End::v4(&cart), at(SERVICE, SERVICE_PORT), 2 * QUIET));
            let opening =
                wire.next(|segment| segment.is_syn() && segment.to_port == PORT).expect("the client's SYN comes");
            wire.open_with(web.ip4, (NODE, NODE_PORT), port, opening.sequence);
            let answer = wire.next(|segment| segment.from_port == NODE_PORT && segment.to_port == port);
            // Nobody answers it.
            assert_eq!(client.join().unwrap(), Answer::Silent);
            answer.is_some()
        })
    };
    stage.apply(&cluster, &[]);
    assert!(repeated_gets_in(), "it gets there where it may");
    stage.apply(&[&cluster[..], &[isolate("shop", "cart", &["Ingress"])]].concat(), &[]);
    for _ in 0..3 {
        assert!(!repeated_gets_in());
    }
}

#[test]
fn a_service_without_backends_is_rejected_by_the_node_and_not_by_policy() {
    for proxy in PROXIES {
        let Some((stage, [cart, ..])) = staged() else { return };
        if !proxy.install(stage.lab.node(), &[forwarded(&[])]) {
            continue;
        }
        let cluster = [service("shop/web", SERVICE, SERVICE_PORT, PORT), slice("shop/web", PORT, &[])];
        stage.apply(&[&cluster[..], &[deny_all("shop")]].concat(), &[]);
        assert_eq!(tcp(End::v4(&cart), at(SERVICE, SERVICE_PORT), SOON), Answer::Refused, "{proxy:?}");
        // Another port is no service, and denied.
        is_silent(End::v4(&cart), at(SERVICE, SERVICE_PORT + 1));
    }
}

#[test]
fn what_is_open_through_a_service_outlives_the_churn_of_its_endpoints() {
    let Some((stage, [cart, web, api])) = staged() else { return };
    let of_web = [(web.ip4, NODE_NAME)];
    if !Proxy::Iptables.install(stage.lab.node(), &[forwarded(&of_web)]) {
        return;
    }
    let mut talk = Talk::open_at("through the service", End::v4(&cart), End::v4(&web), at(SERVICE, SERVICE_PORT));
    let udp = json!([{"to": [app("web")], "ports": [{"port": PORT}, {"port": PORT, "protocol": "UDP"}]}]);
    let spec = json!({"podSelector": {"matchLabels": {"app": "cart"}}, "policyTypes": ["Egress"], "egress": udp});
    let rules = policy("shop/allow", &spec);
    let cluster_ip = service("shop/web", SERVICE, SERVICE_PORT, PORT);
    let apply = |backends: &[(Ipv4Addr, &str)]| {
        stage.apply(&[cluster_ip.clone(), slice("shop/web", PORT, backends), rules.clone()], &[]);
    };
    apply(&of_web);
    talk.goes_on();
    // One more, which is denied: what is new is denied, what is open may be to the one that is allowed.
    apply(&both(&web, &api));
    talk.goes_on();
    is_silent(End::v4(&cart), at(SERVICE, SERVICE_PORT));
    apply(&[]);
    talk.goes_on();
    for _ in 0..3 {
        apply(&[(api.ip4, NODE_NAME), (INTERNET, OTHER_NODE_NAME), (web.ip4, NODE_NAME)]);
        talk.goes_on();
    }
    apply(&of_web);
    talk.goes_on();
    stage.apply(&[cluster_ip, slice("shop/web", PORT, &of_web), isolate("shop", "cart", &["Egress"])], &[]);
    talk.has_ended();
    stage.run("polload", &["clear"]);
    talk.finish();
}
