//! No window at the start: a pod that the chain attaches is under its policy when ADD returns, before its first packet.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use chainkit_lab::cni::Chain;
use chainkit_lab::peer::{Server, udp};
use chainkit_lab::{INTERNET, NODE_NAME, Pod, PodSpec};
use serde_json::{Value, json};

use crate::probe::{connects, echo, is_silent};
use crate::stage::{Stage, Watch, at, deny_all, eventually, object, policy, spec};
use crate::talk::{End, PORT};

/// The VPC CNI's list with ours behind it.
pub(crate) fn chain(stage: &Stage) -> Chain {
    Chain::new(&stage.lab, "aws-cni", "1.0.0")
        .unwrap()
        .plugin(json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict",
            "pluginLogFile": "/dev/null"}))
        .plugin(json!({"type": "cni-chain", "logFile": stage.lab.root().join("var/log/cni-chain.log")}))
}

/// The object of a pod that is bound to the node and has not started: no address yet, and its UID is not told.
pub(crate) fn bound(name: &str, app: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"nodeName": NODE_NAME, "containers": []}, "status": {"phase": "Pending"},
    })
}

fn namespaces() -> Vec<Value> {
    let of = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {}}});
    ["shop", "free"].map(of).into()
}

/// Isolates pods of `shop`, and lets those called `fine` do as they like.
fn policies() -> [Value; 2] {
    let spec = json!({
        "podSelector": {"matchLabels": {"app": "fine"}}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}],
    });
    [deny_all("shop"), policy("shop/fine", &spec)]
}

pub(crate) fn sink(stage: &Stage) -> Server {
    stage.lab.world().run(|| udp::sink(at(INTERNET, 0))).unwrap().unwrap()
}

/// Starts a pod, and has it send a datagram as soon as ADD has returned.
pub(crate) fn start(stage: &Stage, chain: &Chain, name: &str, to: &Server) -> Pod {
    let pod = stage.lab.pod_through(chain, &spec(name)).unwrap();
    send(&pod, to);
    pod
}

fn send(pod: &Pod, to: &Server) {
    let sent = pod.run(|| UdpSocket::bind(at(pod.ip4, 0)).unwrap().send_to(b"first", to.address())).unwrap();
    assert_eq!(sent.unwrap(), 5);
}

/// As many datagrams have come as this, and no more do.
#[track_caller]
pub(crate) fn came(sink: &Server, count: u64) {
    eventually("a datagram is missing", || sink.served() >= count);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(sink.served(), count);
}

#[test]
fn the_first_packet_is_judged_by_what_is_known_of_the_pod() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let before = start(&stage, &chain, "shop/before", &sink);
    came(&sink, 1);
    let bound = [bound("shop/isolated", "isolated"), bound("shop/fine", "fine"), bound("free/any", "any")];
    stage.apply(&[&namespaces()[..], &bound, &policies()].concat(), &[]);
    let isolated = start(&stage, &chain, "shop/isolated", &sink);
    came(&sink, 1);
    let fine = start(&stage, &chain, "shop/fine", &sink);
    came(&sink, 2);
    let any = start(&stage, &chain, "free/any", &sink);
    came(&sink, 3);
    let outside = End::new(stage.lab.world(), INTERNET);
    for (pod, is_isolated) in [(&before, true), (&isolated, true), (&fine, false), (&any, false)] {
        let _servers = echo(End::new(pod.netns(), pod.ip4), PORT);
        let to = at(pod.ip4, PORT);
        if is_isolated { is_silent(outside, to) } else { connects(outside, to) }
    }
    // One that comes in the place of another of its name is another pod.
    stage.lab.delete_pod_through(&chain, &fine).unwrap();
    drop(fine);
    start(&stage, &chain, "shop/fine", &sink);
    came(&sink, 4);
}

#[test]
fn a_pod_that_nobody_knows_is_isolated_where_its_namespace_has_policies() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let rules = [&namespaces()[..], &policies()].concat();
    stage.apply(&rules, &[]);
    let fine = start(&stage, &chain, "shop/fine", &sink);
    let unknown = start(&stage, &chain, "shop/unknown", &sink);
    came(&sink, 0);
    start(&stage, &chain, "free/unknown", &sink);
    came(&sink, 1);
    // Their objects have come: what they are is known.
    stage.apply(&rules, &[]);
    send(&fine, &sink);
    came(&sink, 2);
    send(&unknown, &sink);
    came(&sink, 2);

    stage.apply(&rules, &["--unknown-pods", "observe"]);
    start(&stage, &chain, "shop/unknown-2", &sink);
    came(&sink, 3);
    send(&unknown, &sink);
    came(&sink, 3);
    stage.apply(&rules, &["--unknown-pods", "isolate"]);
    let isolated = start(&stage, &chain, "free/unknown-2", &sink);
    came(&sink, 3);
    stage.apply(&rules, &["--unknown-pods", "isolate"]);
    send(&isolated, &sink);
    came(&sink, 4);
}

#[test]
fn a_pod_of_a_namespace_that_nobody_knows_is_isolated_where_its_labels_may_be_selected() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let denies = |label: &str, value: &str| {
        let spec = json!({
            "priority": 5, "subject": {"namespaces": {"matchLabels": {label: value}}},
            "egress": [{"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]}],
        });
        let kind = ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy");
        json!({"apiVersion": kind.0, "kind": kind.1, "metadata": {"name": "secret"}, "spec": spec})
    };
    stage.apply(&[&namespaces()[..], &[denies("tier", "secret")]].concat(), &[]);
    start(&stage, &chain, "nowhere/one", &sink);
    came(&sink, 0);
    start(&stage, &chain, "free/two", &sink);
    came(&sink, 1);
    // One that is called otherwise is not meant.
    stage.apply(&[&namespaces()[..], &[denies("kubernetes.io/metadata.name", "free")]].concat(), &[]);
    start(&stage, &chain, "nowhere/three", &sink);
    came(&sink, 2);
    stage.apply(&[&namespaces()[..], &[denies("kubernetes.io/metadata.name", "elsewhere")]].concat(), &[]);
    start(&stage, &chain, "elsewhere/four", &sink);
    came(&sink, 2);
}

#[test]
fn a_pod_without_a_namespace_is_isolated_where_any_policy_isolates() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let nameless = |name: &str| {
        let pod = stage.lab.pod_through(&chain, &PodSpec::new("", name)).unwrap();
        send(&pod, &sink);
        pod
    };
    stage.apply(&namespaces(), &[]);
    nameless("one");
    came(&sink, 1);
    stage.apply(&[&namespaces()[..], &policies()].concat(), &[]);
    nameless("two");
    came(&sink, 1);
    start(&stage, &chain, "free/three", &sink);
    came(&sink, 2);
    // So does the policy of a namespace whose object was not given.
    stage.apply(&policies(), &[]);
    nameless("four");
    start(&stage, &chain, "shop/five", &sink);
    came(&sink, 2);
    stage.apply(&[&namespaces()[..], &policies()].concat(), &["--unknown-pods", "observe"]);
    nameless("six");
    came(&sink, 3);
}

#[test]
fn a_pod_that_nobody_knew_is_released_as_soon_as_its_object_comes() {
    let Some(stage) = Stage::new() else { return };
    let (chain, sink) = (chain(&stage), sink(&stage));
    let rules = [&stage.objects()[..], &namespaces(), &policies()].concat();
    let mut watch = Watch::start(&stage, &rules, &[]);
    let fine = start(&stage, &chain, "shop/fine", &sink);
    let other = start(&stage, &chain, "shop/other", &sink);
    came(&sink, 0);
    let mut objects = stage.objects();
    for name in ["shop/fine", "shop/other"] {
        watch.change("ADDED", object(&mut objects, name));
    }
    send(&fine, &sink);
    send(&other, &sink);
    came(&sink, 1);
    // One whose object was there first is right at once.
    watch.change("ADDED", &bound("shop/third", "fine"));
    start(&stage, &chain, "shop/third", &sink);
    came(&sink, 2);
}
