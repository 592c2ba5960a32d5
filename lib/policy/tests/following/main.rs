//! Tables that follow a cluster are what tables of that cluster would be: one cluster at random becomes another, object
//! by object, in any order and in batches of any size.
//!
//! `PROPTEST_CASES` sets how many there are.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../properties/generate.rs"]
mod generate;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use chainkit_cluster::model::{Change, Cluster, Object, ObjectName};
use chainkit_policy::{
    ClassId, Direction, Engine, Flow, Live, Options, Party, PolicyId, PortTable, Prefix, Rows, Tables, Transport,
    Update, Virtual,
};
use common::{changes, objects};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

/// A copy of tables that is kept by what updates say alone.
#[derive(Debug, Default, PartialEq)]
struct Copy {
    rows: BTreeMap<(PolicyId, Direction, Option<ClassId>), PortTable>,
    backends: BTreeMap<u32, Vec<(ClassId, u16)>>,
    virtuals: BTreeMap<Virtual, u32>,
    prefixes: BTreeMap<Prefix, ClassId>,
    addresses: BTreeMap<IpAddr, ClassId>,
    subjects: BTreeMap<usize, PolicyId>,
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl Copy {
    fn of(live: &Live) -> Self {
        let tables = live.tables();
        let mut copy = Self {
            backends: tables.backends.clone().into_iter().collect(),
            virtuals: tables.virtuals.clone().into_iter().collect(),
            prefixes: tables.prefixes.iter().collect(),
            addresses: tables.addresses.clone().into_iter().collect(),
            ..Self::default()
        };
        for (policy, rows) in (0..).zip(&tables.policies) {
            for (direction, rows) in Direction::BOTH.into_iter().zip(rows) {
                let own = rows.classes.iter().map(|(class, table)| (Some(*class), *table));
                for (class, table) in rows.default.map(|table| (None, table)).into_iter().chain(own) {
                    copy.rows.insert((policy, direction, class), tables.port_table(table).unwrap().clone());
                }
            }
        }
        for at in 0..live.engine().world().cluster.workloads.len() {
            copy.subjects.extend(live.engine().policy_of(at).map(|policy| (at, policy)));
        }
        copy
    }

    fn follow(&mut self, update: Update, tables: &Tables) {
        for (policy, direction, class, table) in update.rows {
            put(&mut self.rows, (policy, direction, class), table.map(|id| tables.port_table(id).unwrap().clone()));
        }
        update.backends.into_iter().for_each(|(id, endpoints)| put(&mut self.backends, id, endpoints));
        update.virtuals.into_iter().for_each(|(target, id)| put(&mut self.virtuals, target, id));
        update.prefixes.into_iter().for_each(|(prefix, class)| put(&mut self.prefixes, prefix, class));
        update.addresses.into_iter().for_each(|(address, class)| put(&mut self.addresses, address, class));
        update.subjects.into_iter().for_each(|(at, policy)| put(&mut self.subjects, at, policy));
    }
}

/// Flows between one workload and everybody, at the addresses and ports that the generator's rules speak of.
fn flows(live: &Live, subject: usize) -> Vec<Flow> {
    let world = live.engine().world();
    let cluster: &Cluster = &world.cluster;
    let mut addresses: BTreeSet<IpAddr> = [
        "0.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.0.0.255",
        "10.0.1.0",
        "10.8.255.255",
        "10.10.0.0",
        "10.96.0.0",
        "10.112.0.0",
        "192.0.1.255",
        "192.0.2.0",
        "192.0.2.127",
        "192.0.2.128",
        "192.0.3.0",
        "198.51.100.9",
        "203.0.113.7",
        "255.255.255.255",
        "::",
        "fcff::",
        "fd00::",
        "fd00::8",
        "fe00::",
        "2001:db8::1",
        "2001:db9::",
    ]
    .map(common::ip)
    .into();
    cluster.workloads.iter().for_each(|other| addresses.extend(&other.addresses));
    cluster.nodes.iter().for_each(|node| addresses.extend(&node.addresses));
    cluster.services.iter().for_each(|service| addresses.extend(&service.cluster_ips));
    // While pods come and go, two may have one address: packets are of one of them alone.
    let met = |index: usize| {
        let own = cluster.workloads[index].addresses.iter().find(|address| world.pod_at(**address) == Some(index));
        own.map_or(Party::workload(index), |address| Party::pod(index, *address))
    };
    let own = met(subject);
    let mut peers: Vec<Party> = addresses.into_iter().map(Party::Address).collect();
    let there = cluster.workloads.iter().enumerate().filter(|(_, other)| !other.kind.is_empty());
    peers.extend(there.map(|(index, _)| met(index)));
    let mut flows = Vec::new();
    for transport in Transport::ALL {
        for port in [0u16, 53, 54, 80, 81, 443, 8080, 8480, 30_001, 30_002, 65_535] {
            if port > transport.last_port() {
                continue;
            }
            for peer in &peers {
                flows.push(Flow { source: own, destination: *peer, transport, port });
                flows.push(Flow { source: *peer, destination: own, transport, port });
            }
        }
    }
    flows
}

/// Engine, tables and copy are what they would be if they were made of the cluster as it is now.
fn check(live: &Live, copy: &Copy, options: &Options, subject: Index) -> Result<usize, TestCaseError> {
    let cluster: &Cluster = &live.engine().world().cluster;
    prop_assert_eq!(copy, &Copy::of(live));
    let fresh = Engine::new(cluster, options);
    let told = |engine: &Engine<'_>| -> Vec<String> {
        let names = |class: &chainkit_policy::Class| -> Vec<String> {
            let names = class.names.iter();
            let mut names: Vec<String> =
                names.map(|(name, over, at)| format!("{:?} {over} {at}", engine.rules().port_name(*name))).collect();
            names.sort();
            names
        };
        let classes = engine.classes().iter().map(|(_, class)| {
            let sets = class.peers.iter().filter_map(|set| engine.rules().peer_set(*set));
            let mut sets: Vec<String> = sets
                .map(|set| {
                    let pods = set.pods.iter().filter_map(|id| engine.rules().selections().get(*id));
                    let mut pods: Vec<String> = pods.map(ToString::to_string).collect();
                    pods.sort();
                    format!("{pods:?} {:?} {:?}", set.blocks, set.nodes)
                })
                .collect();
            sets.sort();
            format!("{sets:?}, {:?}, own {}, pod {}", names(class), class.own_node, class.pod)
        });
        let mut classes: Vec<String> = classes.collect();
        classes.sort();
        classes
    };
    prop_assert_eq!(told(live.engine()), told(&fresh), "classes");
    let in_use = |engine: &Engine<'_>| (0..).zip(engine.policies()).filter(|(id, _)| engine.is_in_use(*id)).count();
    prop_assert_eq!(in_use(live.engine()), in_use(&fresh), "policy ids");
    let tables = fresh.tables();
    prop_assert_eq!(live.tables().addresses.len(), tables.addresses.len(), "exact entries");
    prop_assert_eq!(live.tables().virtuals.len(), tables.virtuals.len(), "virtual addresses");
    prop_assert_eq!(live.tables().backends.len(), tables.backends.len(), "sets of endpoints");
    prop_assert_eq!(answers(live.engine(), live.tables()), answers(&fresh, &tables), "answers of all classes");
    for (_, rows) in sides(live.tables()) {
        for (class, table) in &rows.classes {
            prop_assert!(live.engine().classes().is_held(*class), "a row of a class that is not there");
            prop_assert!(Some(*table) != rows.default, "a row that says what is said without it");
        }
    }
    prop_assert_eq!(live.engine().problems().count(), fresh.problems().count(), "problems");
    let there: Vec<usize> = (0..cluster.workloads.len()).filter(|at| !cluster.workloads[*at].kind.is_empty()).collect();
    if there.is_empty() {
        return Ok(0);
    }
    let flows = flows(live, *subject.get(&there));
    for flow in &flows {
        common::check(cluster, live.engine(), live.tables(), flow).map_err(TestCaseError::fail)?;
    }
    Ok(flows.len())
}

/// The rows of each side that there is.
fn sides(tables: &Tables) -> impl Iterator<Item = (Direction, &Rows)> {
    let sides = tables.policies.iter().flat_map(|rows| Direction::BOTH.into_iter().zip(rows));
    sides.filter(|(_, rows)| rows.default.is_some())
}

/// How many sides there are, and how many lines all classes' port tables in them have together. Which classes have rows is not asked:
/// that is left from when the side was made.
fn answers(engine: &Engine<'_>, tables: &Tables) -> (usize, usize) {
    let lines = |table: u32| {
        let table = tables.port_table(table).unwrap();
        Transport::ALL.into_iter().map(|transport| table.rows(transport).count()).sum::<usize>()
    };
    let of_side = |rows: &Rows| -> usize {
        let classes = engine.classes().iter();
        classes.map(|(class, _)| lines(*rows.classes.get(&class).or(rows.default.as_ref()).unwrap())).sum()
    };
    (sides(tables).count(), sides(tables).map(|(_, rows)| of_side(rows)).sum())
}

#[test]
fn tables_that_follow_are_what_tables_of_the_cluster_would_be() {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = if asked {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        TestRunner::new_with_rng(Config { cases: 96, ..config }, rng)
    };
    let labels = proptest::sample::select(vec![("a", "x"), ("a", "y"), ("b", "x"), ("c", "x"), ("c", "")]);
    let relabelled = proptest::collection::vec((labels, any::<Index>()), 0..3);
    let strategy = (
        generate::case(),
        generate::case(),
        relabelled,
        proptest::collection::vec((any::<Index>(), 1..9usize), 1..12),
        any::<bool>(),
    );
    let flows = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |(first, second, relabelled, order, empty)| {
        let options = first.options.clone();
        let start = if empty { Cluster::default() } else { first.cluster.clone() };
        let mut live = Live::new(start.clone(), &options);
        let mut copy = Copy::of(&live);
        let mut left = changes(&start, &second.cluster);
        // Things that come and change, and go again.
        for object in objects(&first.cluster) {
            left.insert(order[0].0.index(left.len() + 1), Change::Set(Box::new(object)));
        }
        for ((name, team), at) in relabelled {
            let at = at.index(left.len() + 1);
            let change = if team.is_empty() {
                Change::Remove(ObjectName::Namespace(name.to_owned()))
            } else {
                Change::Set(Box::new(Object::Namespace(common::namespace(name, &[("team", team)]))))
            };
            left.insert(at, change);
        }
        let mut turns = order.iter().cycle();
        while !left.is_empty() {
            let (at, count) = turns.next().unwrap();
            let mut batch = Vec::new();
            for _ in 0..*count {
                if !left.is_empty() {
                    batch.push(left.remove(at.index(left.len())));
                }
            }
            let update = live.apply(batch);
            copy.follow(update, live.tables());
            if count % 3 == 0 {
                flows.set(flows.get() + check(&live, &copy, &options, first.subject)?);
            }
        }
        flows.set(flows.get() + check(&live, &copy, &options, second.subject)?);
        // Once all has gone, nothing is left.
        let gone = objects(&live.engine().world().cluster).into_iter().map(|object| Change::Remove(object.name()));
        let update = live.apply(gone.collect());
        copy.follow(update, live.tables());
        let nothing = Live::new(Cluster::default(), &options);
        prop_assert_eq!(&copy, &Copy::of(&live));
        prop_assert_eq!(live.tables().rows().count(), 0);
        prop_assert_eq!(live.engine().classes().iter().count(), nothing.engine().classes().iter().count());
        prop_assert!(live.tables().addresses.is_empty() && live.tables().virtuals.is_empty());
        prop_assert!(live.tables().backends.is_empty());
        let namespaces = live.engine().world().namespaces.iter().filter(|namespace| !namespace.name.is_empty());
        prop_assert_eq!(namespaces.count(), 0);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!("{} flows", flows.get());
    assert!(flows.get() > 100_000);
}

#[test]
fn a_pod_like_others_is_one_entry() {
    let mut cluster = common::large::busy(20);
    let node = chainkit_policy::Scope::Node("n0".to_owned());
    // Of the namespace of a pod that is here: its policies speak of the pods there.
    let mut added = cluster.workloads[0].clone();
    let mut live = Live::new(std::mem::take(&mut cluster), &Options { scope: node, cidrs_match_pods: true });
    added.name = "another".to_owned();
    added.node = Some("n7".to_owned());
    added.addresses = vec![common::ip("10.200.0.1")];
    let name = Object::Workload(added.clone()).name();
    let update = live.apply(vec![Change::Set(Box::new(Object::Workload(added.clone())))]);
    let class = live.engine().classes().of_address(added.addresses[0]);
    let expected = Update {
        addresses: vec![(added.addresses[0], Some(class))],
        // Its service has one more endpoint, of a class that is an endpoint's already.
        virtuals: update.virtuals.clone(),
        backends: update.backends.clone(),
        ..Update::default()
    };
    assert_eq!(update, expected);
    assert!(live.apply(vec![Change::Set(Box::new(Object::Workload(added)))]).is_empty(), "nothing is new");
    let update = live.apply(vec![Change::Remove(name)]);
    assert_eq!(update.addresses, [(common::ip("10.200.0.1"), None)]);
    assert!(update.rows.is_empty() && update.subjects.is_empty());
}

#[test]
fn a_set_of_every_pod_leaves_nothing_to_the_one_that_takes_its_number() {
    let mut cluster = Cluster::default();
    cluster.workloads.push(common::pod("a/db", &[("app", "db")], "fd00::9"));
    cluster.workloads.push(common::pod("a/web", &[("app", "web")], "fd00::5"));
    let of_all = serde_json::json!({"namespaceSelector": {}});
    let block = serde_json::json!({"ipBlock": {"cidr": "::/0"}});
    let to_db = |from: serde_json::Value| serde_json::json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": from, "ports": [{"port": 80}]}]});
    // One more rule speaks of every pod, and stays.
    let stays = serde_json::json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [{"from": [of_all], "ports": [{"port": 81}]}]});
    common::add_policy(&mut cluster, "a/stays", &stays);
    common::add_policy(&mut cluster, "a/p", &to_db(serde_json::json!([of_all, block])));
    let mut live = Live::new(cluster, &Options::default());
    let mut changed = Cluster::default();
    common::add_policy(&mut changed, "a/p", &to_db(serde_json::json!([block])));
    let policy = Object::NetworkPolicy(changed.network_policies.remove(0));
    // At once: the set of the old rule is gone when that of the new one comes.
    live.apply(vec![Change::Remove(policy.name()), Change::Set(Box::new(policy))]);
    let db = live.engine().world().cluster.workloads.iter().position(|pod| pod.name == "db").unwrap();
    let rules = live.engine().policy_of(db).unwrap();
    let ingress = Direction::Ingress;
    let verdict = live.tables().judge(rules, ingress, common::ip("fd00::5"), Transport::Tcp, 80);
    assert_eq!(verdict, Some(chainkit_policy::Verdict::Allowed));
    let class = live.engine().classes().of_address(common::ip("fd00::5"));
    let fresh = Engine::new(&live.engine().world().cluster, &Options::default());
    let as_fresh = fresh.classes().get(fresh.classes().of_address(common::ip("fd00::5"))).unwrap();
    assert_eq!(live.engine().classes().get(class).unwrap().peers.len(), as_fresh.peers.len());
}

#[test]
fn of_pods_that_claim_one_address_the_youngest_has_it_for_as_long_as_it_is_there() {
    let mut cluster = Cluster::default();
    cluster.workloads.push(common::pod("a/db", &[("app", "db")], "10.0.0.9"));
    let mut old = common::pod("a/old", &[("app", "web")], "10.0.0.1");
    let mut young = common::pod("a/young", &[("app", "api")], "10.0.0.1");
    (old.created, young.created) = (100, 200);
    let from_web = serde_json::json!([{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]);
    let spec = serde_json::json!({"podSelector": {"matchLabels": {"app": "db"}}, "ingress": from_web});
    common::add_policy(&mut cluster, "a/p", &spec);
    let mut live = Live::new(cluster, &Options::default());
    let set = |live: &mut Live, pod: &chainkit_cluster::model::Workload| {
        live.apply(vec![Change::Set(Box::new(Object::Workload(pod.clone())))])
    };
    let asked = |live: &Live| {
        let cluster = &live.engine().world().cluster;
        let flow = common::tcp(Party::Address(common::ip("10.0.0.1")), common::party(cluster, "a/db"), 80);
        common::check(cluster, live.engine(), live.tables(), &flow).unwrap()
    };
    use chainkit_policy::Verdict::{Allowed, Denied};
    for first_is_old in [true, false] {
        let (first, second) = if first_is_old { (&old, &young) } else { (&young, &old) };
        set(&mut live, first);
        assert_eq!(asked(&live), if first_is_old { Allowed } else { Denied });
        set(&mut live, second);
        assert_eq!(asked(&live), Denied, "the younger one has it");
        live.apply(vec![Change::Remove(Object::Workload(young.clone()).name())]);
        assert_eq!(asked(&live), Allowed);
        live.apply(vec![Change::Remove(Object::Workload(old.clone()).name())]);
        assert_eq!(asked(&live), Denied);
    }
}

#[test]
fn a_service_leads_to_whoever_has_the_address_of_its_endpoint() {
    let mut cluster = Cluster::default();
    cluster.workloads.push(common::pod("a/web", &[("app", "web")], "10.0.0.9"));
    let mut old = common::pod("b/old", &[("app", "api")], "10.0.0.1");
    let mut young = common::pod("b/young", &[("app", "db")], "10.0.0.1");
    (old.created, young.created) = (100, 200);
    cluster.workloads.extend([old, young.clone()]);
    let target = chainkit_cluster::model::TargetPort::Number(80);
    cluster.services.push(common::service("b/s", &[("app", "api")], "10.96.0.1", 80, target));
    let to = serde_json::json!([{"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}]}]);
    common::add_policy(
        &mut cluster,
        "a/p",
        &serde_json::json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": to}),
    );
    let mut live = Live::new(cluster, &Options::default());
    let asked = |live: &Live| {
        let cluster = &live.engine().world().cluster;
        let flow = common::tcp(common::party(cluster, "a/web"), Party::Address(common::ip("10.96.0.1")), 80);
        common::check(cluster, live.engine(), live.tables(), &flow).unwrap()
    };
    assert_eq!(asked(&live), chainkit_policy::Verdict::Denied, "the younger one has the address");
    live.apply(vec![Change::Remove(Object::Workload(young).name())]);
    assert_eq!(asked(&live), chainkit_policy::Verdict::Allowed);
}

#[test]
fn a_policy_that_changes_concerns_its_own_subjects_alone() {
    let cluster = common::large::busy(50);
    let policy = cluster.network_policies[0].clone();
    assert_eq!(policy.value.metadata.namespace.as_deref(), Some("ns0"));
    let scope = chainkit_policy::Scope::Node("n0".to_owned());
    let mut live = Live::new(cluster, &Options { scope, cidrs_match_pods: true });
    let mut changed = policy.clone();
    let rules = changed.value.spec.as_mut().unwrap().ingress.as_mut().unwrap();
    rules[1].ports.as_mut().unwrap()[0].port =
        Some(k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(9091));
    let update = live.apply(vec![Change::Set(Box::new(Object::NetworkPolicy(changed)))]);
    let subject = live.engine().policy_of(0).unwrap();
    assert!(!update.rows.is_empty() && update.rows.iter().all(|(policy, ..)| *policy == subject));
    assert_eq!((update.addresses, update.prefixes), (Vec::new(), Vec::new()));
    let judge = |live: &Live, port| {
        let cluster = &live.engine().world().cluster;
        let flow = common::tcp(common::party(cluster, "ns20/p2"), common::party(cluster, "ns0/p0"), port);
        common::check(cluster, live.engine(), live.tables(), &flow).unwrap()
    };
    use chainkit_policy::Verdict::{Allowed, Denied};
    assert_eq!((judge(&live, 9090), judge(&live, 9091)), (Denied, Allowed));
    let update = live.apply(vec![Change::Set(Box::new(Object::NetworkPolicy(policy)))]);
    assert!(!update.is_empty());
    assert_eq!((judge(&live, 9090), judge(&live, 9091)), (Allowed, Denied));
    let rows: HashMap<_, _> =
        update.rows.iter().map(|(policy, direction, class, table)| ((*policy, *direction, *class), *table)).collect();
    assert_eq!(rows.len(), update.rows.len(), "each row once");
}
