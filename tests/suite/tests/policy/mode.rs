//! How verdicts are used: not at all, to be reported, or to be enforced; of the node, a namespace and a pod. And what is forged.

use std::net::{Ipv4Addr, UdpSocket};

use chainkit_lab::{INTERNET, Pod, Running, program};
use serde_json::{Value, json};

use crate::probe::{does_not_reach, echo, reaches};
use crate::stage::{SOON, Stage, at, deny_all, eventually, object};
use crate::start::{came, sink};
use crate::talk::{End, PORT};

/// A `flowdump` of all that goes on; what it has printed is in its stdout.
fn flowdump(stage: &Stage) -> Running {
    let mut command = stage.lab.node().command(program("flowdump").unwrap());
    command.env("CHAINKIT_ROOT", stage.lab.root()).args(["-o", "jsonl"]);
    Running::start(command).unwrap()
}

/// The verdicts on new flows from one address to another that were told.
fn verdicts(dump: &Running, from: Ipv4Addr, to: Ipv4Addr) -> Vec<String> {
    let stdout = dump.stdout();
    let flows = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |record: &Value| {
        let ip = &record["flow"]["IP"];
        ip["source"] == json!(from) && ip["destination"] == json!(to)
    };
    let mut told: Vec<String> =
        flows.filter(of).map(|record| record["flow"]["verdict"].as_str().unwrap().to_owned()).collect();
    told.sort_unstable();
    told.dedup();
    told
}

/// What is told once something is.
fn told(dump: &Running, from: End<'_>, to: &Pod, passes: bool) -> Vec<String> {
    let std::net::IpAddr::V4(source) = from.address else { panic!("IPv4 is asked") };
    eventually("flowdump tells of nothing", || {
        assert!(!dump.stderr().contains("error"), "{}", dump.stderr());
        if passes {
            reaches(from, at(to.ip4, PORT))
        } else {
            does_not_reach(from, at(to.ip4, PORT))
        }
        !verdicts(dump, source, to.ip4).is_empty()
    });
    verdicts(dump, source, to.ip4)
}

/// Two pods of two namespaces, both isolated by the policies that come along.
fn staged() -> Option<(Stage, [Pod; 2], [Value; 2])> {
    let stage = Stage::new()?;
    let pods = ["shop/web", "dev/web"].map(|name| stage.pod(name));
    Some((stage, pods, [deny_all("shop"), deny_all("dev")]))
}

/// Whether the world reaches the two.
#[track_caller]
fn reached(stage: &Stage, pods: &[Pod; 2], expected: [bool; 2]) {
    let outside = End::new(stage.lab.world(), INTERNET);
    for (pod, expected) in pods.iter().zip(expected) {
        let _servers = echo(End::v4(pod), PORT);
        if expected { reaches(outside, at(pod.ip4, PORT)) } else { does_not_reach(outside, at(pod.ip4, PORT)) }
    }
}

#[test]
fn audit_reports_what_enforce_drops_and_observe_does_neither() {
    let Some((stage, pods, policies)) = staged() else { return };
    let outside = End::new(stage.lab.world(), INTERNET);
    let _servers = echo(End::v4(&pods[0]), PORT);
    for (mode, expected) in [("observe", "FORWARDED"), ("audit", "AUDIT"), ("enforce", "DROPPED")] {
        stage.apply(&policies, &["--mode", mode]);
        let dump = flowdump(&stage);
        let told = told(&dump, outside, &pods[0], mode != "enforce");
        assert!(told.iter().any(|verdict| verdict == expected), "{mode}: {told:?}");
        let others = ["AUDIT", "DROPPED"].iter().filter(|other| **other != expected);
        others.for_each(|other| assert!(!told.iter().any(|verdict| verdict == other), "{mode}: {told:?}"));
        let mut dump = dump;
        dump.signal(nix::sys::signal::Signal::SIGINT).unwrap();
        assert!(dump.wait(SOON).unwrap().success());
    }
}

#[test]
fn a_namespace_has_a_mode_of_its_own_or_is_left_out() {
    let Some((stage, pods, policies)) = staged() else { return };
    stage.apply(&policies, &[]);
    reached(&stage, &pods, [false, false]);
    stage.apply(&policies, &["--namespace-mode", "dev=observe"]);
    reached(&stage, &pods, [false, true]);
    stage.apply(&policies, &["--mode", "audit", "--namespace-mode", "shop=enforce"]);
    reached(&stage, &pods, [false, true]);
    stage.apply(&policies, &["--exclude-namespace", "shop"]);
    reached(&stage, &pods, [true, false]);
    // By the namespace's annotation, unless the operator says otherwise.
    let mut objects = [&stage.objects()[..], &policies].concat();
    let is_dev = |object: &&mut Value| object["kind"] == "Namespace" && object["metadata"]["name"] == "dev";
    objects.iter_mut().find(is_dev).unwrap()["metadata"]["annotations"] = json!({"chainkit.dev/mode": "audit"});
    stage.apply_exactly(&objects, &[]);
    reached(&stage, &pods, [false, true]);
    stage.apply_exactly(&objects, &["--namespace-mode", "dev=enforce"]);
    reached(&stage, &pods, [false, false]);
}

#[test]
fn a_pods_annotation_tightens_and_cannot_loosen() {
    let Some((stage, pods, policies)) = staged() else { return };
    let mut objects = [&stage.objects()[..], &policies].concat();
    let mut annotate = |name: &str, mode: &str| {
        object(&mut objects, name)["metadata"]["annotations"] = json!({"chainkit.dev/mode": mode})
    };
    annotate("shop/web", "enforce");
    annotate("dev/web", "observe");
    stage.apply_exactly(&objects, &["--mode", "audit"]);
    reached(&stage, &pods, [false, true]);
    stage.apply_exactly(&objects, &["--mode", "enforce"]);
    reached(&stage, &pods, [false, false]);
    // Whose namespace is left out is left out.
    stage.apply_exactly(&objects, &["--mode", "audit", "--exclude-namespace", "shop"]);
    reached(&stage, &pods, [true, true]);
}

#[test]
fn a_source_that_is_not_the_pods_does_not_pass_where_policy_is_enforced() {
    let Some(stage) = Stage::new() else { return };
    let web = stage.pod("shop/web");
    let forged = Ipv4Addr::new(10, 1, 1, 200);
    web.netns().ip(["address add 10.1.1.200/32 dev eth0"]).unwrap();
    // The kernel's own check is not to be what drops it.
    for name in ["all", web.host_ifname.as_str()] {
        stage.lab.node().sysctl(&format!("ipv4/conf/{name}/rp_filter"), "0").unwrap();
    }
    for name in ["all", "eth0", "eth1"] {
        stage.lab.world().sysctl(&format!("ipv4/conf/{name}/rp_filter"), "0").unwrap();
    }
    let sink = sink(&stage);
    let send = |from: Ipv4Addr| {
        let socket = web.run(|| UdpSocket::bind(at(from, 0))).unwrap().unwrap();
        socket.send_to(b"here", sink.address()).unwrap();
    };
    send(forged);
    send(web.ip4);
    came(&sink, 2);
    stage.apply(&[], &["--mode", "audit"]);
    send(forged);
    came(&sink, 3);
    stage.apply(&[], &[]);
    let dump = flowdump(&stage);
    eventually("flowdump does not tell of what is forged", || {
        send(forged);
        dump.stdout().contains("INVALID_SOURCE_IP")
    });
    send(web.ip4);
    came(&sink, 4);
    stage.run("polload", &["clear"]);
    send(forged);
    came(&sink, 5);
}
