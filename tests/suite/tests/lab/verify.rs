//! `polload verify` says that all is well where it is, and finds whatever is not.

use std::fs;
use std::net::IpAddr;

use chainkit_abi::{
    BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RowKey, Run, Side, VirtualKey, flag, mode, opened,
};
use chainkit_bpf::{Connection, Entered, Known, Pins, Pod as Plain, Settings, Stage, Table, TableSet, Traffic};
use chainkit_enforce::{Delta, Keeper};
use chainkit_lab::Pod;
use serde_json::{Value, json};

use crate::policed::{POLICIES, Policed};
use crate::stage::on_node;

pub(crate) fn verify(node: &Policed<'_>) -> (Option<i32>, Value) {
    let (code, said) = node.run("polload", &["verify"]);
    assert_eq!(said.len(), 1, "{said:?}");
    (code, said[0].clone())
}

#[track_caller]
pub(crate) fn is_verified(node: &Policed<'_>) -> Value {
    let (code, said) = verify(node);
    assert_eq!((code, said["kind"].as_str()), (Some(0), Some("Verified")), "{said}");
    said
}

/// What it finds has to be in this table of what is in force; the finding.
#[track_caller]
fn is_found(node: &Policed<'_>, table: &str) -> Value {
    is_found_in(node, "in-force", table)
}

/// The same of a set of tables by name.
#[track_caller]
pub(crate) fn is_found_in(node: &Policed<'_>, set: &str, table: &str) -> Value {
    let (code, said) = verify(node);
    assert_eq!((code, said["kind"].as_str()), (Some(1), Some("Counterexample")), "{table}: {said}");
    assert_eq!((said["what"].as_str(), said["table"].as_str()), (Some("entry"), Some(table)), "{said}");
    assert_eq!(said["set"], set, "{said}");
    assert_ne!(said["expected"], said["found"], "{said}");
    said
}

/// Spoils the first entry that `is_used`, has it found, and mends it.
#[track_caller]
fn spoil<K: Plain + Default, V: Plain + Default>(
    node: &Policed<'_>,
    tables: &TableSet,
    table: Table,
    is_used: impl Fn(&V) -> bool,
    spoilt: impl Fn(V) -> V,
) {
    let entries = tables.entries::<K, V>(table).unwrap();
    let (key, value) =
        entries.iter().find(|(_, value)| is_used(value)).copied().unwrap_or_else(|| panic!("{table:?} is empty"));
    tables.write(table, &[(key, spoilt(value))]).unwrap();
    let said = is_found(node, table.name());
    assert_eq!(said["more"], 0, "{said}");
    tables.write(table, &[(key, value)]).unwrap();
}

/// Takes an entry out, has that found, and puts it back; and the same with one more that is nobody's.
#[track_caller]
fn lose_and_add<K: Plain + Default>(node: &Policed<'_>, tables: &TableSet, table: Table, more: K) {
    let entries = tables.entries::<K, u32>(table).unwrap();
    tables.remove(table, &[entries[0].0]).unwrap();
    assert_eq!(is_found(node, table.name())["found"], "no entry");
    tables.write(table, &entries[..1]).unwrap();
    tables.write(table, &[(more, 1_u32)]).unwrap();
    assert_eq!(is_found(node, table.name())["expected"], "no entry");
    tables.remove(table, &[more]).unwrap();
}

/// Every connection of every pod, and what pods have sent and received on connections.
fn remembered(node: &Policed<'_>) -> Vec<(Vec<Connection>, Traffic, Traffic)> {
    let datapath = node.datapath();
    let of = |pod: &Pod| {
        let slot = datapath.endpoint(pod.host_ifindex).unwrap().unwrap().0;
        let mut connections = datapath.connections(slot).unwrap();
        connections.sort_by_key(|one| format!("{:?}", one.key));
        let totals = datapath.totals(slot).unwrap();
        (connections, totals.from_pod, totals.to_pod)
    };
    [&node.db, &node.web, &node.free].map(of).into()
}

#[test]
fn what_was_applied_is_verified_in_each_mode_and_leaves_no_trace_but_hits_of_rules() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let (code, said) = verify(&node);
        assert_eq!(code, Some(1), "{said}");
        assert!(said["message"].as_str().unwrap().contains("no policy is in force"), "{said}");
        // Such as samples are, and the pod's own: from a port below 1024, and without ports.
        let datapath = node.datapath();
        let slot = datapath.endpoint(node.db.host_ifindex).unwrap().unwrap().0;
        for (protocol, remote_port, opened) in [
            (6, 3, opened::BY_REMOTE),
            (254, 0, opened::BY_REMOTE),
            (253, 0, opened::BY_POD),
            (17, 700, opened::BY_REMOTE),
        ] {
            let known = Known {
                local: node.db.ip4.into(),
                remote: node.web.ip4.into(),
                local_port: if protocol > 200 { 0 } else { 150 },
                remote_port,
                protocol,
                opened,
                replied: true,
                stage: Stage::Established,
            };
            assert_eq!(datapath.enter(&node.lock(), slot, &known).unwrap(), Entered::New);
        }
        let before = remembered(&node);
        assert_eq!(before[0].0.len(), 4, "{before:?}");
        for mode in ["enforce", "audit", "observe"] {
            node.apply(POLICIES, &["--mode", mode]);
            let said = is_verified(&node);
            assert_eq!((&said["endpoints"], &said["sets"]), (&json!(3), &json!(["in-force"])), "{said}");
            assert!(said["entries"].as_u64().unwrap() > 40, "{said}");
            assert!(said["boundaries"].as_u64().unwrap() > 5000, "{said}");
            assert!((90..=3 * 64 + 6).contains(&said["packets"].as_u64().unwrap()), "{said}");
            assert_eq!(remembered(&node), before, "in {mode} mode");
        }
        node.apply(POLICIES, &[]);
        let (code, said) = node.run("polload", &["verify", "--no-packets"]);
        assert_eq!((code, &said[0]["packets"]), (Some(0), &json!(0)), "{said:?}");
        // Again and again it sends as many.
        let packets = is_verified(&node)["packets"].clone();
        assert_eq!(is_verified(&node)["packets"], packets);
        assert_eq!(remembered(&node), before);
    });
}

#[test]
fn one_wrong_entry_of_any_table_is_found() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        is_verified(&node);
        let (tables, datapath) = (node.tables(), node.datapath());
        let next = |value: u32| value + 1;

        let slot = datapath.endpoint(node.web.host_ifindex).unwrap().unwrap().0;
        let subject = tables.subject(slot).unwrap();
        for wrong in [
            chainkit_abi::Subject { policy: 0, ..subject },
            chainkit_abi::Subject { mode: mode::AUDIT, ..subject },
            chainkit_abi::Subject { isolated: flag::ISOLATED_EGRESS, ..subject },
            chainkit_abi::Subject { ifindex: 99_999, ..subject },
        ] {
            tables.set_subject(slot, wrong).unwrap();
            let said = is_found(&node, "SUBJECTS");
            assert!(said["means"].as_str().unwrap().contains("shop/web"), "{said}");
            tables.set_subject(slot, subject).unwrap();
        }
        let is_side = |side: &Side| *side != Side::default();
        spoil::<u32, Side>(&node, &tables, Table::Sides, is_side, |side| Side { table: side.table + 1, ..side });
        spoil::<u32, Side>(&node, &tables, Table::Sides, is_side, |side| Side {
            restricts: 1 - side.restricts,
            ..side
        });
        spoil::<RowKey, u32>(&node, &tables, Table::Rows, |_| true, next);
        spoil::<u32, PortRuns>(
            &node,
            &tables,
            Table::Ports,
            |ports| ports.starts[4] != 0,
            |mut ports| {
                ports.starts[4] += 1;
                ports
            },
        );
        spoil::<u32, Run>(
            &node,
            &tables,
            Table::Runs,
            |run| run.last != 0,
            |run| Run { allowed: 1 - run.allowed, ..run },
        );
        spoil::<u32, Run>(&node, &tables, Table::Runs, |run| run.rule != 0, |run| Run { rule: run.rule + 1, ..run });
        spoil::<u32, u32>(&node, &tables, Table::Classes4, |_| true, next);
        spoil::<[u64; 2], u32>(&node, &tables, Table::Classes6, |_| true, next);
        spoil::<Prefix4, u32>(&node, &tables, Table::Prefixes4, |_| true, next);
        spoil::<Prefix6, u32>(&node, &tables, Table::Prefixes6, |_| true, next);
        spoil::<VirtualKey, u32>(&node, &tables, Table::Virtuals, |_| true, next);
        spoil::<u32, BackendsOf>(
            &node,
            &tables,
            Table::BackendsOf,
            |of| of.count != 0,
            |of| BackendsOf { count: 0, ..of },
        );
        spoil::<u32, BackendOf>(
            &node,
            &tables,
            Table::Backends,
            |one| one.port != 0,
            |one| BackendOf { port: 1, ..one },
        );

        lose_and_add(&node, &tables, Table::Rows, RowKey { side: 2, class: 9999 });
        lose_and_add(&node, &tables, Table::Classes4, u32::from_ne_bytes([203, 0, 113, 9]));
        lose_and_add(&node, &tables, Table::Classes6, [7_u64, 7]);
        lose_and_add(&node, &tables, Table::Prefixes4, Prefix4 { length: 24, address: [203, 0, 113, 0] });
        lose_and_add(&node, &tables, Table::Prefixes6, Prefix6 { length: 128, address: [7; 16] });
        lose_and_add(
            &node,
            &tables,
            Table::Virtuals,
            VirtualKey { port: 7, protocol: 6, family: 4, ..VirtualKey::default() },
        );
        // Beyond the end of what was written, too.
        let last = tables.entries::<u32, Run>(Table::Runs).unwrap().len() - 1;
        tables.write(Table::Runs, &[(u32::try_from(last).unwrap(), Run { allowed: 1, ..Run::default() })]).unwrap();
        is_found(&node, "RUNS");
        tables.write(Table::Runs, &[(u32::try_from(last).unwrap(), Run::default())]).unwrap();

        let own: Vec<IpAddr> = vec![node.db.ip4.into(), node.db.ip6.unwrap().into()];
        let sources =
            |addresses: &[IpAddr]| datapath.set_sources(&node.lock(), node.db.host_ifindex, addresses).unwrap();
        sources(&[own.clone(), vec!["10.9.9.9".parse().unwrap()]].concat());
        let said = is_found(&node, "SOURCES");
        assert!(said["entry"].as_str().unwrap().contains("10.9.9.9"), "{said}");
        sources(&own[..1]);
        is_found(&node, "SOURCES");
        sources(&own);
        is_verified(&node);
    });
}

#[test]
fn tables_that_are_what_was_written_and_not_what_the_objects_say_are_found() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        let (tables, datapath) = (node.tables(), node.datapath());
        let keeper = Keeper::new(&datapath, lab.root());
        // As a compiler would that takes one verdict for the other: in the kernel and on disk alike.
        let runs = tables.entries::<u32, Run>(Table::Runs).unwrap();
        let of_a_rule = runs.iter().filter(|(_, run)| run.allowed == 1 && run.rule != 0);
        for (place, run) in of_a_rule.copied().collect::<Vec<_>>() {
            let write = |run: Run| {
                tables.write(Table::Runs, &[(place, run)]).unwrap();
                let mut saved = keeper.saved().unwrap().unwrap();
                saved.append_tables(&Delta { runs: vec![(place, run)], ..Delta::default() }).unwrap();
            };
            write(Run { allowed: 0, ..run });
            let (code, said) = verify(&node);
            assert_eq!((code, said["what"].as_str()), (Some(1), Some("verdict")), "{said}");
            assert_eq!(said["expected"], "ALLOWED", "{said}");
            let flow = &said["flow"];
            assert!(["shop/db", "shop/web"].contains(&flow["pod"].as_str().unwrap()), "{said}");
            write(run);
        }
        is_verified(&node);
    });
}

#[test]
fn a_program_that_does_not_do_what_its_tables_say_is_found() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        let datapath = node.datapath();
        let (_, endpoint) = datapath.endpoint(node.db.host_ifindex).unwrap().unwrap();
        let set = |mode| {
            let settings = Settings { mode, flags: endpoint.flags, ..Settings::default() };
            datapath.add_endpoint(&node.lock(), node.db.host_ifindex, settings).unwrap();
        };
        // The programs take the interface for nobody's.
        for other in [mode::NONE, mode::ENFORCE] {
            set(other);
            assert!(is_found(&node, "ENDPOINTS")["means"].as_str().unwrap().contains("shop/db"));
            set(endpoint.mode);
            is_verified(&node);
        }
        // One does what the other is to do.
        let programs = Pins::below(lab.root()).directory().join("programs");
        let swap = || {
            for (from, to) in [("from_pod", "aside"), ("to_pod", "from_pod"), ("aside", "to_pod")] {
                fs::rename(programs.join(from), programs.join(to)).unwrap();
            }
        };
        swap();
        let (code, said) = verify(&node);
        assert_eq!((code, said["what"].as_str()), (Some(1), Some("packet")), "{said}");
        assert!(said["flow"]["pod"].as_str().unwrap().starts_with("shop/"), "{said}");
        swap();
        is_verified(&node);
    });
}
