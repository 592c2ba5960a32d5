//! Calls that a runtime makes on a bad day: repeated, late, torn, or for a pod that this plugin has never met.

use std::fs;

use chainkit_lab::cni::{Attachment, Verb};
use chainkit_lab::{Lab, Pod, PodSpec};

use crate::node::{assert_nothing_left, assert_pod_attached, aws_by, datapath, log, records};
use crate::stage::{on_node_by_each_kit, send_all, udp_sink};

#[test]
fn a_repeated_add_answers_the_same_and_changes_nothing() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let (endpoints, recorded) = (datapath(lab).endpoints().unwrap(), records(lab));
        let hung =
            || chainkit_bpf::Direction::BOTH.map(|direction| chainkit_bpf::hung(pod.host_ifindex, direction).unwrap());
        let programs = hung();
        let result = chain.result(&pod.attachment()).unwrap();
        for _ in 0..3 {
            let answer = chain.call(1, Verb::Add, &pod.attachment(), Some(&result)).unwrap().succeed().unwrap();
            assert_eq!(answer.stdout.trim(), result);
        }
        assert_eq!((datapath(lab).endpoints().unwrap(), records(lab)), (endpoints, recorded));
        assert_eq!(hung(), programs);
        lab.delete_pod_through(&chain, &pod).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn adds_and_dels_in_quick_turn_do_not_trip_over_each_other() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let result = chain.result(&pod.attachment()).unwrap();
        // The kernel takes a program off a moment after the last pin of its link went; an ADD may come before that.
        for _ in 0..50 {
            for verb in [Verb::Del, Verb::Add] {
                chain.call(1, verb, &pod.attachment(), Some(&result)).unwrap().succeed().unwrap();
            }
            assert_pod_attached(lab, &pod);
        }
        lab.delete_pod_through(&chain, &pod).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn del_succeeds_whatever_is_missing() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let known = pod.attachment();
        let strange = Attachment::new("nobody-knows", "/run/netns/gone");
        let result = chain.result(&known).unwrap();
        // Of a container that was never there, before anything else.
        for attachment in [&strange, &strange.clone().without_netns()] {
            for previous in [None, Some(result.as_str())] {
                let answer = chain.call(1, Verb::Del, attachment, previous).unwrap().succeed().unwrap();
                assert_eq!(answer.stdout, "");
            }
        }
        assert_pod_attached(lab, &pod);
        // What no runtime should send, and some have.
        let call = chain.call(1, Verb::Del, &strange, Some(&result)).unwrap();
        for stdin in [
            "",
            "{",
            "null",
            "[]",
            r#"{"cniVersion":"9.9.9"}"#,
            r#"{"cniVersion":"1.0.0","name":"aws-cni","unknown":1}"#,
        ] {
            let answer = call.clone().stdin(stdin).succeed().unwrap();
            assert_eq!(answer.stdout, "", "{stdin}");
        }
        for variable in ["CNI_NETNS", "CNI_PATH", "CNI_ARGS", "CNI_IFNAME", "CNI_CONTAINERID"] {
            call.clone().without_env(variable).succeed().unwrap();
        }
        assert_pod_attached(lab, &pod);

        // The kubelet repeats it, without a namespace after the first.
        lab.delete_pod_through(&chain, &pod).unwrap();
        for _ in 0..5 {
            chain.delete(&known.clone().without_netns()).unwrap();
        }
        assert_nothing_left(lab);
    });
}

#[test]
fn del_finds_what_hangs_there_when_its_record_is_torn_or_gone() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        for tear in [
            |path: &std::path::Path| fs::write(path, "{\"kind\":").unwrap(),
            |path: &std::path::Path| fs::remove_file(path).unwrap(),
        ] {
            let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
            let folder = lab.root().join("run/chainkit/endpoints");
            for entry in fs::read_dir(&folder).unwrap() {
                tear(&entry.unwrap().path());
            }
            lab.delete_pod_through(&chain, &pod).unwrap();
            let left = datapath(lab).endpoints().unwrap();
            assert!(left.is_empty(), "{left:?}; {}", log(lab));
            for direction in chainkit_bpf::Direction::BOTH {
                crate::stage::eventually("a program stays", || {
                    crate::node::ours_on(&datapath(lab), pod.host_ifindex, direction) == 0
                });
            }
        }
    });
}

#[test]
fn an_add_that_comes_again_after_the_primary_has_wired_anew_follows_the_new_veth() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        // The whole chain again, as after a failure further down: aws-cni makes the veth anew.
        chain.add(&pod.attachment()).unwrap();
        let ifindex = lab.node().ifindex(&pod.host_ifname).unwrap();
        assert_ne!(ifindex, pod.host_ifindex);
        crate::node::assert_attached(lab, &pod.container_id, &["eth0"]);
        assert_eq!(datapath(lab).endpoints().unwrap().len(), 1);
        lab.delete_pod_through(&chain, &pod).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn a_pod_of_the_same_name_comes_before_the_old_one_is_deleted() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let old = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        lab.forget_pod(&old);
        let new = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        assert_eq!(old.host_ifname, new.host_ifname);
        chain.delete(&old.attachment()).unwrap();
        assert_pod_attached(lab, &new);
        assert_eq!(records(lab).len(), 1);
        lab.delete_pod_through(&chain, &new).unwrap();
        assert_nothing_left(lab);
    });
}

/// What a primary would have handed on.
const PREVIOUS: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[]}"#;

fn adopt(lab: &Lab, pod: &Pod, more: &[&str]) {
    let mut command = lab.node().command(chainkit_lab::program("cni-chain").unwrap());
    let done = command
        .args(["adopt", "--root"])
        .arg(lab.root())
        .arg("--netns")
        .arg(pod.netns_path())
        .args(more)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn an_add_after_its_interface_was_renamed_forgets_no_connection() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let (web, cart) =
            ["web", "cart"].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap()).into();
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 20, 10);
        let [down, name] = ["down", "name enirenamed"].map(|what| format!("link set {} {what}", cart.host_ifname));
        lab.node().ip([down.as_str(), name.as_str(), "link set enirenamed up"]).unwrap();
        chain.call(1, Verb::Add, &cart.attachment(), Some(PREVIOUS)).unwrap().succeed().unwrap();
        let (slot, _) = datapath(lab).endpoint(cart.host_ifindex).unwrap().unwrap();
        let sent = datapath(lab).connections(slot).unwrap().into_iter().find(|one| one.protocol == 17).unwrap();
        assert_eq!(sent.conn.tx_packets, 20);
    });
}

#[test]
fn a_pod_that_was_adopted_without_a_name_becomes_the_runtimes_at_its_next_call() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let (web, cart) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "cart").unwrap());
        for pod in [&web, &cart] {
            adopt(lab, pod, &["--mode", "enforce", "--attach", kit.name()]);
        }
        // ADD takes the record over, and loosens nothing.
        chain.call(1, Verb::Add, &web.attachment(), Some(PREVIOUS)).unwrap().succeed().unwrap();
        let of_web: Vec<_> = records(lab)
            .into_iter()
            .filter(|one| one["interfaces"][0]["host_name"] == web.host_ifname.as_str())
            .collect();
        assert_eq!(of_web.len(), 1, "{of_web:?}");
        assert_eq!((&of_web[0]["pod_name"], &of_web[0]["mode"]), (&"web".into(), &"enforce".into()));
        let (_, endpoint) = datapath(lab).endpoint(web.host_ifindex).unwrap().unwrap();
        assert_eq!(endpoint.mode, chainkit_abi::mode::ENFORCE);
        // DEL finds it by its namespace.
        chain.call(1, Verb::Del, &cart.attachment(), None).unwrap().succeed().unwrap();
        assert!(datapath(lab).endpoint(cart.host_ifindex).unwrap().is_none());
        // And what it cannot find any more, it sweeps.
        lab.delete_pod(&web).unwrap();
        let strange = Attachment::new("nobody-knows", "/run/netns/gone");
        chain.call(1, Verb::Del, &strange, None).unwrap().succeed().unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn a_lost_pin_takes_nobody_elses_attachment_away() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let web = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let pins = chainkit_bpf::Pins::below(lab.root());
        fs::remove_file(pins.directory().join("maps/CONTROL")).unwrap();
        let cart = lab.pod("shop", "cart").unwrap();
        let answer = chain.call(1, Verb::Add, &cart.attachment(), Some(PREVIOUS)).unwrap().run().unwrap();
        for direction in chainkit_bpf::Direction::BOTH {
            assert_eq!(chainkit_bpf::hung(web.host_ifindex, direction).unwrap().len(), 1, "{answer:?}");
        }
        if answer.status.success() {
            assert_pod_attached(lab, &web);
            assert_pod_attached(lab, &cart);
        } else {
            // Filters do not tell which datapath the pins were of: it is refused, and said what to do.
            assert!(answer.stdout.contains("adopt --all"), "{answer:?}");
        }
    });
}

#[test]
fn a_lock_that_is_never_given_back_is_told_as_something_to_try_again() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let cart = lab.pod("shop", "cart").unwrap();
        let held = chainkit_bpf::NodeLock::take(lab.root()).unwrap();
        let answer = chain.call(1, Verb::Add, &cart.attachment(), Some(PREVIOUS)).unwrap().run().unwrap();
        assert_eq!(answer.code(), Some(11), "{answer:?}");
        chain.call(1, Verb::Del, &cart.attachment(), None).unwrap().succeed().unwrap();
        drop(held);
        chain.call(1, Verb::Add, &cart.attachment(), Some(PREVIOUS)).unwrap().succeed().unwrap();
        assert_pod_attached(lab, &cart);
    });
}

#[test]
fn check_minds_its_own_interfaces_and_no_mode_that_was_tightened() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let check = || chain.call(1, Verb::Check, &pod.attachment(), Some(PREVIOUS)).unwrap().run().unwrap();
        assert!(check().status.success(), "{:?}", check());
        adopt(lab, &pod, &["--mode", "audit"]);
        // As another attachment's plugin, which this chain has no part in, would add it.
        let more = format!("link add eniother type veth peer name net1 netns {}", pod.netns_path().display());
        lab.node().ip([more.as_str()]).unwrap();
        assert!(check().status.success(), "{:?}", check());
        lab.node().ip([format!("link del {}", pod.host_ifname).as_str()]).unwrap();
        assert_eq!(check().code(), Some(101), "{:?}", check());
    });
}

#[test]
fn del_takes_all_away_on_a_full_disk() {
    on_node_by_each_kit(|lab, kit| {
        // In a mount namespace of its own `run` is a small file system; it is filled between ADD and DEL.
        const SCRIPT: &str = r#"
            mount -t tmpfs -o size=128k small "$CHAINKIT_ROOT/run" || exit 90
            CNI_COMMAND=ADD "$0" <"$1" >/dev/null || exit 91
            ls "$CHAINKIT_ROOT"/run/chainkit/endpoints/*.json >/dev/null || exit 92
            ! cat /dev/zero >"$CHAINKIT_ROOT/run/filler" 2>/dev/null || exit 93
            ! echo x >"$CHAINKIT_ROOT/run/more" 2>/dev/null || exit 94
            CNI_COMMAND=DEL "$0" <"$1" || exit 95
            test -z "$(ls -A "$CHAINKIT_ROOT/run/chainkit/endpoints")" || exit 96
        "#;
        let chain = aws_by(lab, "1.0.0", kit);
        let cart = lab.pod("shop", "cart").unwrap();
        let call = chain.call(1, Verb::Add, &cart.attachment(), Some(PREVIOUS)).unwrap();
        let request = lab.root().join("tmp/request.json");
        fs::write(&request, call.request()).unwrap();
        let mut command = lab.node().command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]).arg(call.program()).arg(&request);
        for (name, value) in call.command().get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
        assert!(datapath(lab).endpoint(cart.host_ifindex).unwrap().is_none());
        assert_nothing_left(lab);
    });
}
