//! The node is booted anew: the bpffs and `/run` are empty, `/var/lib` is as it was.

use chainkit_bpf::{Datapath, Pins};
use chainkit_lab::PodSpec;

use crate::node::{assert_nothing_left, assert_pod_attached, aws_by, cni_chain, datapath, records};
use crate::stage::{on_node_by_each_kit, send_all, udp_sink};

#[test]
fn after_a_reboot_pods_come_back_under_new_ids_and_the_old_ones_are_deleted_in_peace() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "1.0.0", kit);
        let before = ["web", "cart"].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap());
        let old = before.each_ref().map(|pod| pod.attachment().without_netns());
        // Their namespaces go with the kernel that had them; runtimes remember them from /var/lib.
        for pod in &before {
            lab.forget_pod(pod);
        }
        drop(before);
        lab.reboot().unwrap();
        assert!(Datapath::open(&Pins::below(lab.root())).unwrap().is_none());
        assert!(records(lab).is_empty());

        let after = ["web", "cart"].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap());
        for attachment in &old {
            chain.delete(attachment).unwrap();
        }
        for pod in &after {
            assert_pod_attached(lab, pod);
        }
        let sink = udp_sink(&after[1]);
        send_all(&after[0], &sink, 10, 10);
        let datapath = datapath(lab);
        let (slot, _) = datapath.endpoint(after[0].host_ifindex).unwrap().unwrap();
        let connections = datapath.connections(slot).unwrap();
        assert!(connections.iter().any(|found| found.remote_port == sink.address().port()), "{connections:?}");
        drop(sink);
        for pod in &after {
            lab.delete_pod_through(&chain, pod).unwrap();
        }
        assert_nothing_left(lab);
    });
}

#[test]
fn a_dead_delete_comes_before_any_add_and_makes_no_datapath() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let old = pod.attachment().without_netns();
        lab.forget_pod(&pod);
        drop(pod);
        lab.reboot().unwrap();
        for _ in 0..6 {
            chain.delete(&old).unwrap();
        }
        assert!(Datapath::open(&Pins::below(lab.root())).unwrap().is_none());
        assert!(records(lab).is_empty());
    });
}

#[test]
fn pods_that_outlive_their_pins_are_adopted() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pods = ["web", "cart"].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap());
        lab.reboot().unwrap();
        assert!(records(lab).is_empty());
        cni_chain(lab, &["adopt", "--all"]);
        for pod in &pods {
            assert_pod_attached(lab, pod);
        }
        let sink = udp_sink(&pods[1]);
        send_all(&pods[0], &sink, 10, 10);
        drop(sink);
        for pod in &pods {
            lab.delete_pod_through(&chain, pod).unwrap();
        }
        assert_nothing_left(lab);
    });
}

#[test]
fn pods_that_outlive_their_pins_are_attached_by_the_next_add() {
    on_node_by_each_kit(|lab, kit| {
        let chain = aws_by(lab, "0.4.0", kit);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        lab.reboot().unwrap();
        let result = chain.result(&pod.attachment()).unwrap();
        let call = chain.call(1, chainkit_lab::cni::Verb::Add, &pod.attachment(), Some(&result)).unwrap();
        assert_eq!(call.succeed().unwrap().stdout.trim(), result);
        assert_pod_attached(lab, &pod);
        lab.delete_pod_through(&chain, &pod).unwrap();
        assert_nothing_left(lab);
    });
}
