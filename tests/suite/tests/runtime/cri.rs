//! Pods that containerd starts as the kubelet asks it to, behind different primaries.

use std::fs;
use std::net::IpAddr;

use chainkit_lab::cni::{Chain, has_debian_plugins};
use chainkit_lab::peer::http;
use chainkit_lab::runtime::{Containerd, PodSandbox, SandboxSpec};
use chainkit_lab::{Lab, NODE, skip};
use serde_json::{Value, json};

use crate::dump::{Dump, flows};
use crate::node::{assert_attached, assert_nothing_left, aws, ours, record, remembered};
use crate::stage::{at, eventually, on_node};
use crate::talk::{Side, find, talk};

/// Whether containerd, and what else is named, is there; says what is not.
pub(crate) fn can_run(also: &[&str]) -> bool {
    if let Some(program) = Containerd::lacks() {
        skip(&format!("{program} is not installed"));
        return false;
    }
    if !has_debian_plugins() {
        skip("Debian's containernetworking-plugins are not installed");
        return false;
    }
    for program in also {
        if std::process::Command::new(program).arg("--version").output().is_err() {
            skip(&format!("{program} is not installed"));
            return false;
        }
    }
    true
}

/// Writes the list where the runtimes of the lab find it.
pub(crate) fn configure(lab: &Lab, chain: &Chain) {
    fs::write(lab.root().join("etc/cni/net.d/10-lab.conflist"), chain.conflist()).unwrap();
}

/// Debian's address management, for both families, with its state below the lab's root.
pub(crate) fn host_local(lab: &Lab) -> Value {
    json!({
        "type": "host-local",
        "dataDir": lab.root().join("var/lib/host-local"),
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    })
}

fn addresses(pod: &PodSandbox) -> Vec<IpAddr> {
    pod.status.addresses.clone()
}

/// Two pods of a chain, from their start by the CRI to their end.
fn pods_are_recorded_seen_by_name_and_swept(chain: impl Fn(&Lab) -> Chain + Sync) {
    if chainkit_lab::skip_unless_root() || !can_run(&["iptables"]) {
        return;
    }
    on_node(|lab| {
        configure(lab, &chain(lab));
        let mut containerd = Containerd::start(lab).unwrap();
        let start = |name: &str| {
            let spec = SandboxSpec::new("shop", name, &format!("uid-of-{name}"));
            containerd.run_pod(&spec).unwrap_or_else(|error| panic!("{error}\n{}", containerd.log()))
        };
        let (web, cart) = (start("web"), start("cart"));
        for (pod, name) in [(&web, "web"), (&cart, "cart")] {
            assert_attached(lab, &pod.id, &["eth0"]);
            let record = record(lab, &pod.id);
            let told = |key: &str| record[key].as_str().unwrap().to_owned();
            assert_eq!(
                (told("kind"), told("namespace"), told("pod_name")),
                ("Endpoint".into(), "shop".into(), name.into())
            );
            assert_eq!((told("pod_uid"), told("mode")), (format!("uid-of-{name}"), "observe".into()));
            assert_eq!(told("netns"), pod.status.netns.display().to_string());
            let mut recorded: Vec<IpAddr> = record["addresses"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap().parse().unwrap())
                .collect();
            let mut wanted = addresses(pod);
            recorded.sort();
            wanted.sort();
            assert_eq!(recorded, wanted, "{record:#}");
            assert_eq!(wanted.len(), 2);
        }

        let (of_web, of_cart) = (addresses(&web), addresses(&cart));
        let flows = talk(
            lab,
            &Side { netns: &web.netns, addresses: &of_web },
            &Side { netns: &cart.netns, addresses: &of_cart },
        );
        for (from, to) in of_web.iter().zip(&of_cart) {
            for point in ["FROM_ENDPOINT", "TO_ENDPOINT"] {
                let flow = find(&flows, point, *from, *to, "TCP").unwrap();
                let end =
                    |end: &str| (flow[end]["namespace"].as_str().unwrap(), flow[end]["pod_name"].as_str().unwrap());
                assert_eq!((end("source"), end("destination")), (("shop", "web"), ("shop", "cart")), "{flow:#}");
                assert_eq!(flow["verdict"], "FORWARDED");
                assert_eq!(flow["extensions"]["value"]["source_container_id"], web.id.as_str(), "{flow:#}");
            }
        }

        assert!(!matches!(remembered(lab), Some(0)));

        // The runtime may come and go.
        containerd.restart().unwrap();
        for pod in [&web, &cart] {
            assert_attached(lab, &pod.id, &["eth0"]);
        }
        containerd.remove_pod(&web.id).unwrap();
        assert_attached(lab, &cart.id, &["eth0"]);
        containerd.stop_pod(&cart.id).unwrap();
        containerd.remove_pod(&cart.id).unwrap();
        drop((web, cart));
        assert_nothing_left(lab);
        assert!(matches!(remembered(lab), None | Some(0)));
    });
}

#[test]
fn pods_of_ptp_host_local_and_portmap_are_recorded_seen_by_name_and_swept() {
    pods_are_recorded_seen_by_name_and_swept(|lab| {
        Chain::new(lab, "lab", "0.4.0")
            .unwrap()
            .plugin(json!({"type": "ptp", "ipam": host_local(lab)}))
            .plugin(json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}))
            .plugin(ours(lab))
    });
}

#[test]
fn pods_of_a_bridge_are_recorded_seen_by_name_and_swept() {
    pods_are_recorded_seen_by_name_and_swept(|lab| {
        Chain::new(lab, "lab", "1.0.0")
            .unwrap()
            .plugin(json!({"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": host_local(lab)}))
            .plugin(ours(lab))
    });
}

#[test]
fn pods_of_the_vpc_cni_are_recorded_seen_by_name_and_swept() {
    pods_are_recorded_seen_by_name_and_swept(|lab| aws(lab, "0.4.0").without_check());
}

#[test]
fn a_node_port_and_a_hairpin_are_seen_as_the_veth_sees_them() {
    if chainkit_lab::skip_unless_root() || !can_run(&["iptables"]) {
        return;
    }
    on_node(|lab| {
        let chain = Chain::new(lab, "lab", "1.0.0")
            .unwrap()
            .plugin(json!({"type": "ptp", "ipam": host_local(lab)}))
            .plugin(json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}))
            .plugin(ours(lab));
        configure(lab, &chain);
        let containerd = Containerd::start(lab).unwrap();
        let mut spec = SandboxSpec::new("shop", "web", "uid");
        spec.host_ports.push((30080, 80));
        let web = containerd.run_pod(&spec).unwrap();
        let ip4 = web.status.addresses.iter().find(|address| address.is_ipv4()).copied().unwrap();
        // The fabric knows the way back.
        lab.world().ip(["route add 10.88.0.0/16 via 10.0.1.10 dev eth0"]).unwrap();
        let server = web.netns.run(|| http::serve(at(ip4, 80), "hello")).unwrap().unwrap();
        let dump = Dump::start(lab, &["-j"]);
        let node_port = at(NODE, 30080);
        for (netns, whom) in [(lab.world(), "the world"), (&web.netns, "the pod itself")] {
            let answer = netns.run(|| http::get(node_port, "web.shop", "/")).unwrap();
            assert_eq!(answer.unwrap_or_else(|error| panic!("{whom}: {error}")).status, 200);
        }
        let world: IpAddr = "10.0.1.1".parse().unwrap();
        let mut seen = Vec::new();
        eventually("what went through the node port is not shown", || {
            let text = dump.running.stdout();
            seen = flows(text.rfind('\n').map_or("", |end| &text[..end]));
            // From outside: already translated at the pod's veth. To itself: the node's port where it goes out, and where it comes back
            // in the pod's own port, from the address that it was masqueraded with.
            let came = find(&seen, "TO_ENDPOINT", world, ip4, "TCP").is_some();
            let went = find(&seen, "FROM_ENDPOINT", ip4, NODE.into(), "TCP").is_some();
            let back = seen.iter().any(|flow| {
                flow["trace_observation_point"] == "TO_ENDPOINT"
                    && flow["IP"]["destination"] == ip4.to_string()
                    && flow["l4"]["TCP"]["destination_port"] == 80
                    && flow["IP"]["source"] != world.to_string()
                    && flow["is_reply"] == false
            });
            came && went && back
        });
        let came = find(&seen, "TO_ENDPOINT", world, ip4, "TCP").unwrap();
        assert_eq!(
            (&came["l4"]["TCP"]["destination_port"], &came["destination"]["pod_name"]),
            (&json!(80), &json!("web"))
        );
        assert!(came["source"].get("pod_name").is_none(), "{came:#}");
        let went = find(&seen, "FROM_ENDPOINT", ip4, NODE.into(), "TCP").unwrap();
        assert_eq!(
            (&went["l4"]["TCP"]["destination_port"], &went["source"]["pod_name"]),
            (&json!(30080), &json!("web"))
        );
        dump.interrupt();
        drop(server);
        containerd.remove_pod(&web.id).unwrap();
        drop(web);
        assert_nothing_left(lab);
        assert!(matches!(remembered(lab), None | Some(0)));
    });
}
