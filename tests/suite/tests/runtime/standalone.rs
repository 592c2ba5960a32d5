//! Runtimes that know no pods: `ctr` names none, podman a name without a namespace. The container id is all there is.

use std::net::IpAddr;

use chainkit_lab::cni::Chain;
use chainkit_lab::runtime::{Containerd, Podman};
use chainkit_lab::{Lab, Netns, skip};
use serde_json::{Value, json};

use crate::cri::{can_run, configure, host_local};
use crate::node::{assert_attached, assert_nothing_left, ours, record, records, remembered};
use crate::stage::{SOON, eventually, on_node};
use crate::talk::{Side, find, talk};

fn chain(lab: &Lab) -> Chain {
    let chain = Chain::new(lab, "lab", "0.4.0")
        .unwrap()
        .plugin(json!({"type": "ptp", "ipam": host_local(lab)}))
        .plugin(ours(lab));
    configure(lab, &chain);
    chain
}

fn addresses(record: &Value) -> Vec<IpAddr> {
    record["addresses"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().parse().unwrap()).collect()
}

/// Has two containers talk; the flow of their TCP connection, as it left the first.
fn first_flow(lab: &Lab, one: (&Netns, &Value), two: (&Netns, &Value)) -> Value {
    let (of_one, of_two) = (addresses(one.1), addresses(two.1));
    let flows = talk(lab, &Side { netns: one.0, addresses: &of_one }, &Side { netns: two.0, addresses: &of_two });
    let [from, to] = [&of_one, &of_two].map(|addresses| *addresses.iter().find(|address| address.is_ipv4()).unwrap());
    find(&flows, "FROM_ENDPOINT", from, to, "TCP").unwrap().clone()
}

#[test]
fn containers_of_ctr_are_seen_by_their_ids_alone() {
    if chainkit_lab::skip_unless_root() || !can_run(&[]) {
        return;
    }
    on_node(|lab| {
        chain(lab);
        let containerd = Containerd::start(lab).unwrap();
        containerd.wait_for_network().unwrap();
        let (mut first, one) = containerd.run_container("one").unwrap();
        let (mut second, two) = containerd.run_container("two").unwrap();
        for id in ["default-one", "default-two"] {
            assert_attached(lab, id, &["eth0"]);
            let record = record(lab, id);
            for key in ["namespace", "pod_name", "pod_uid"] {
                assert_eq!(record[key], "", "{record:#}");
            }
        }
        let flow = first_flow(lab, (&one, &record(lab, "default-one")), (&two, &record(lab, "default-two")));
        for end in ["source", "destination"] {
            assert!(flow[end].get("pod_name").is_none() && flow[end].get("namespace").is_none(), "{flow:#}");
        }
        let extra = &flow["extensions"]["value"];
        assert_eq!(
            (&extra["source_container_id"], &extra["destination_container_id"]),
            (&json!("default-one"), &json!("default-two")),
            "{flow:#}"
        );
        for (id, running) in [("one", &mut first), ("two", &mut second)] {
            containerd.kill_container(id).unwrap();
            running.wait(SOON).unwrap();
        }
        drop((one, two));
        assert_nothing_left(lab);
        assert!(matches!(remembered(lab), None | Some(0)));
    });
}

#[test]
fn containers_of_podman_have_a_name_and_no_namespace() {
    if chainkit_lab::skip_unless_root() || !can_run(&[]) {
        return;
    }
    if let Some(program) = Podman::lacks() {
        return skip(&format!("{program} is not installed"));
    }
    on_node(|lab| {
        chain(lab);
        let podman = Podman::start(lab).unwrap();
        let (first, one) = podman.run_container("one", "lab").unwrap();
        let (second, two) = podman.run_container("two", "lab").unwrap();
        for (id, name) in [(&first, "one"), (&second, "two")] {
            assert_attached(lab, id, &["eth0"]);
            let record = record(lab, id);
            assert_eq!((&record["namespace"], &record["pod_name"]), (&json!(""), &json!(name)), "{record:#}");
        }
        let flow = first_flow(lab, (&one, &record(lab, &first)), (&two, &record(lab, &second)));
        assert_eq!((&flow["source"]["pod_name"], flow["source"].get("namespace")), (&json!("one"), None), "{flow:#}");
        assert_eq!(flow["extensions"]["value"]["source_container_id"], first.as_str(), "{flow:#}");
        for name in ["one", "two"] {
            podman.remove_container(name).unwrap();
        }
        // Which of its processes calls DEL, and whether anyone waits for it, is left to chance.
        eventually("podman does not call DEL", || records(lab).is_empty());
        drop((one, two));
        assert_nothing_left(lab);
        assert!(matches!(remembered(lab), None | Some(0)));
    });
}
