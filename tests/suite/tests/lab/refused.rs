//! A policy that `polload watch` is told of and cannot use is a fault of `polload status` until it is mended, gone, or overruled.

use std::fs::File;
use std::io::Write;

use chainkit_lab::NODE_NAME;
use serde_json::{Value, json};

use crate::policed::{POLICIES, Policed};
use crate::stage::{eventually, on_node};

/// What `status` says is wrong.
fn faults(node: &Policed<'_>) -> (Option<i32>, Vec<String>) {
    let (code, said) = node.run("polload", &["status"]);
    let faults = said.iter().filter(|one| one["kind"] == "Fault");
    (code, faults.map(|one| one["what"].as_str().unwrap().to_owned()).collect())
}

/// The policy `shop/free`, with these rules.
fn free(ingress: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "free"},
        "spec": {"podSelector": {"matchLabels": {"app": "free"}}, "ingress": ingress},
    })
}

fn tell(writer: &mut File, kind: &str, object: &Value) {
    writeln!(writer, "{}", json!({"type": kind, "object": object})).unwrap();
}

/// The one fault there is, by policy and reason.
fn is_refused(node: &Policed<'_>) -> bool {
    let (code, faults) = faults(node);
    let [fault] = faults.as_slice() else { return false };
    assert_eq!(code, Some(1));
    fault.starts_with("NetworkPolicy/shop/free cannot be put in force") && fault.contains("spec.ingress")
}

fn is_fine(node: &Policed<'_>) -> bool {
    faults(node) == (Some(0), vec![])
}

#[test]
fn a_policy_that_cannot_be_used_is_a_fault_until_it_is_mended_or_gone() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let [objects, policies] = node.files(POLICIES);
        let fifo = lab.root().join("tmp/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let mut writer = File::options().read(true).write(true).open(&fifo).unwrap();
        let arguments = ["watch", "--node", NODE_NAME, &objects, &policies, fifo.to_str().unwrap()];
        let datapath = node.datapath();
        let (good, bad) = (free(&json!([{"ports": [{"port": 7}]}])), free(&json!("everything")));

        let watch = node.start(&arguments);
        tell(&mut writer, "ADDED", &good);
        eventually("policy is in force", || datapath.judging() != 0);
        eventually("nothing is wrong", || is_fine(&node));
        let generation = datapath.judging();
        tell(&mut writer, "MODIFIED", &bad);
        eventually("it is refused", || is_refused(&node));
        assert_eq!(datapath.judging(), generation);
        assert_eq!(node.run("polload", &["verify"]).0, Some(0));
        tell(&mut writer, "MODIFIED", &good);
        eventually("it is mended", || is_fine(&node));
        tell(&mut writer, "MODIFIED", &bad);
        eventually("it is refused again", || is_refused(&node));
        tell(&mut writer, "DELETED", &bad);
        eventually("it is gone", || is_fine(&node));

        // It holds after the one who was told is no more, and for who is told the same.
        tell(&mut writer, "ADDED", &bad);
        eventually("it is refused once more", || is_refused(&node));
        drop(watch);
        assert!(is_refused(&node));
        let before = datapath.judging();
        let watch = node.start(&arguments);
        tell(&mut writer, "ADDED", &bad);
        eventually("it is followed again", || datapath.judging() != before);
        eventually("it is refused from the start", || is_refused(&node));
        drop(watch);

        // Other policy is in force.
        node.apply(POLICIES, &[]);
        assert!(is_fine(&node), "{:?}", faults(&node));
        let note = lab.root().join("var/lib/chainkit/policy/refused.json");
        assert!(!note.exists());
        let refused = json!({"objects": [{"object": "NetworkPolicy/shop/free", "reason": "spec.ingress: why"}]});
        std::fs::write(&note, refused.to_string()).unwrap();
        assert!(is_refused(&node));
        assert_eq!(node.run("polload", &["clear", "--now"]).0, Some(0));
        assert!(!note.exists() && is_fine(&node));
        // One that is damaged is told, too.
        std::fs::write(&note, "{").unwrap();
        let (code, told) = faults(&node);
        assert!(code == Some(1) && told.len() == 1 && told[0].contains("refused.json"), "{told:?}");
    });
}
