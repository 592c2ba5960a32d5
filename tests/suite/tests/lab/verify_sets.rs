//! `polload verify` looks at every set of tables that is in use, and tells by name which one is wrong.

use std::io::Write;

use chainkit_abi::{RowKey, Run, TABLE_SETS, mode, set_of};
use chainkit_bpf::{Pod as Plain, Table, TableSet};
use chainkit_lab::NODE_NAME;
use serde_json::json;

use crate::policed::{POLICIES, Policed};
use crate::stage::{eventually, on_node};
use crate::verify::{is_found_in, is_verified, verify};

/// Spoils an entry, has that found in the set of this name, and mends it.
#[track_caller]
fn spoil<K: Plain + Default, V: Plain + Default>(
    node: &Policed<'_>,
    (tables, set): (&TableSet, &str),
    table: Table,
    is_used: impl Fn(&V) -> bool,
    spoilt: impl Fn(V) -> V,
) {
    let entries = tables.entries::<K, V>(table).unwrap();
    let (key, value) = entries.iter().find(|(_, value)| is_used(value)).copied().unwrap();
    tables.write(table, &[(key, spoilt(value))]).unwrap();
    is_found_in(node, set, table.name());
    tables.write(table, &[(key, value)]).unwrap();
}

#[track_caller]
fn spoil_some(node: &Policed<'_>, of: (&TableSet, &str)) {
    spoil::<u32, Run>(node, of, Table::Runs, |run| run.rule != 0, |run| Run { allowed: 1 - run.allowed, ..run });
    spoil::<RowKey, u32>(node, of, Table::Rows, |_| true, |value| value + 1);
    spoil::<u32, u32>(node, of, Table::Classes4, |_| true, |value| value + 1);
}

/// Has a pod judged by other rules there, has that found, and mends it.
#[track_caller]
fn spoil_subject(node: &Policed<'_>, (tables, set): (&TableSet, &str)) {
    let slot = node.datapath().endpoint(node.web.host_ifindex).unwrap().unwrap().0;
    let subject = tables.subject(slot).unwrap();
    assert_eq!(subject.ifindex, node.web.host_ifindex);
    tables.set_subject(slot, chainkit_abi::Subject { mode: mode::OBSERVE, ..subject }).unwrap();
    is_found_in(node, set, "SUBJECTS");
    tables.set_subject(slot, subject).unwrap();
}

#[test]
fn what_the_kernel_would_go_back_to_is_verified_while_a_confirmation_is_waited_for() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        let datapath = node.datapath();
        let before = set_of(datapath.judging());
        node.apply(&POLICIES.replace("port: 5432", "port: 5434"), &["--confirm", "10m"]);
        assert_eq!(is_verified(&node)["sets"], json!(["in-force", "fallback"]));
        let tables = datapath.tables_at(before).unwrap().unwrap();
        spoil_some(&node, (&tables, "fallback"));
        spoil_subject(&node, (&tables, "fallback"));
        is_verified(&node);
        datapath.take_tables(&node.lock(), before).unwrap();
        let (code, said) = verify(&node);
        assert_eq!((code, said["set"].as_str()), (Some(1), Some("fallback")), "{said}");
        assert!(said["found"].as_str().unwrap().starts_with("none"), "{said}");
        assert_eq!(node.run("polload", &["confirm"]).0, Some(0));
        assert_eq!(is_verified(&node)["sets"], json!(["in-force"]));
        // Without any policy before there is nothing to be looked at.
        assert_eq!(node.run("polload", &["clear"]).0, Some(0));
        node.apply(POLICIES, &["--confirm", "10m"]);
        assert_eq!(is_verified(&node)["sets"], json!(["in-force"]));
    });
}

#[test]
fn a_shadow_is_verified_for_as_long_as_it_is_loaded() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        let datapath = node.datapath();
        let [objects, policies] = node.files(&POLICIES.replace("port: 5432", "port: 5434"));
        let shadow = node.start(&["plan", "--shadow", "--node", NODE_NAME, &objects, &policies]);
        eventually("the shadow is loaded", || datapath.shadow() != 0);
        assert_eq!(is_verified(&node)["sets"], json!(["in-force", "shadow"]));
        let tables = datapath.tables_at(set_of(datapath.shadow())).unwrap().unwrap();
        spoil_some(&node, (&tables, "shadow"));
        spoil_subject(&node, (&tables, "shadow"));
        is_verified(&node);
        shadow.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
        eventually("the shadow is gone", || datapath.shadow() == 0);
        drop(shadow);
        assert_eq!(is_verified(&node)["sets"], json!(["in-force"]));
        // Nothing of it is left on disk once policy is changed by anybody.
        node.apply(POLICIES, &[]);
        let names = std::fs::read_dir(lab.root().join("var/lib/chainkit/policy")).unwrap();
        assert_eq!(names.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1);
    });
}

#[test]
fn the_second_set_of_a_watch_is_verified_while_it_runs() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let datapath = node.datapath();
        let [objects, policies] = node.files(POLICIES);
        let fifo = lab.root().join("tmp/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let mut writer = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let arguments = ["watch", "--node", NODE_NAME, &objects, &policies, fifo.to_str().unwrap()];
        let watch = node.start(&arguments);
        let second = || {
            let first = set_of(datapath.judging());
            let tag = datapath.tag(first);
            (0..TABLE_SETS).find(|set| tag != 0 && *set != first && datapath.tag(*set) == tag)
        };
        eventually("there is a second set", || second().is_some());
        assert_eq!(is_verified(&node)["sets"], json!(["in-force", "second"]));
        let tables = datapath.tables_at(second().unwrap()).unwrap().unwrap();
        spoil_some(&node, (&tables, "second"));
        is_verified(&node);

        // It changes places with the first, and is verified there.
        let generation = datapath.judging();
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "free"},
            "spec": {"podSelector": {"matchLabels": {"app": "free"}}, "ingress": [{"ports": [{"port": 7}]}]},
        });
        writeln!(writer, "{}", json!({"type": "ADDED", "object": policy})).unwrap();
        eventually("the change is in force", || datapath.judging() != generation);
        assert_eq!(is_verified(&node)["sets"], json!(["in-force", "second"]));
        let tables = datapath.tables_at(second().unwrap()).unwrap().unwrap();
        spoil_some(&node, (&tables, "second"));

        // What one that was killed has left is used by nobody.
        drop(watch);
        let spoilt = tables.entries::<u32, u32>(Table::Classes4).unwrap();
        tables.write(Table::Classes4, &[(spoilt[0].0, spoilt[0].1 + 1)]).unwrap();
        assert_eq!(is_verified(&node)["sets"], json!(["in-force"]));
    });
}
