//! What is read again is equal.

use std::net::IpAddr;
use std::sync::LazyLock;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::model::{
    Action, ClusterPolicyKind, ClusterPort, Mode, NamedPort, Object, ObjectName, Origin, Owner, PodFacts, Protocol,
    TargetPort,
};
use crate::read::Reader;

/// Everything that an object may say, in both dialects of policy.
const ALL_KINDS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}, annotations: {chainkit.dev/mode: audit}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {podCIDRs: [10.1.0.0/24, "fd00:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: ExternalIP, address: "2001:db8::1"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: db-0
  namespace: shop
  uid: u-1
  creationTimestamp: "2026-01-02T03:04:05Z"
  labels: {app: "d\"b\n"}
  annotations: {chainkit.dev/mode: enforce}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: u-2, controller: true}]
spec:
  nodeName: n1
  serviceAccountName: db
  containers: [{name: c, ports: [{name: pg, containerPort: 5432}, {name: dns, containerPort: 53, protocol: UDP}]}]
status: {podIPs: [{ip: 10.1.0.5}, {ip: "fd00:1::5"}], hostIPs: [{ip: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop}
spec: {hostNetwork: true, containers: []}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {}
  template: {metadata: {labels: {app: web}}, spec: {containers: []}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  type: LoadBalancer
  clusterIPs: [10.96.0.9, "fd00:2::9"]
  externalIPs: [198.51.100.4]
  selector: {app: db}
  ports:
  - {name: pg, port: 5432, targetPort: pg, nodePort: 30001}
  - {name: s, port: 90, protocol: SCTP, targetPort: 91}
status: {loadBalancer: {ingress: [{ip: 198.51.100.5}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- addresses: [10.1.0.5]
  conditions: {ready: false}
  nodeName: n1
  targetRef: {kind: Pod, name: db-0, namespace: shop}
- addresses: [10.1.0.6]
ports: [{name: pg, port: 5432}, {}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
  creationTimestamp: "2026-01-02T03:04:05.678Z"
  managedFields: [{manager: kubectl, time: "2026-01-02T03:04:05Z"}]
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [db]}, {key: x, operator: DoesNotExist}]}
  policyTypes: [Ingress, Egress]
  ingress:
  - {}
  - from:
    - podSelector: {}
    - namespaceSelector: {}
      podSelector: {matchLabels: {app: web}}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports: [{port: pg}, {port: 80, endPort: 90, protocol: UDP}, {}]
  egress: []
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
spec:
  priority: 5
  subject: {namespaces: {}}
  ingress:
  - {name: first, action: Allow, from: [{namespaces: {}}]}
  - {action: Pass, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}]}
  egress:
  - action: Deny
    to: [{networks: [10.0.0.0/8]}, {nodes: {}}, {somethingNew: 1}]
    ports: [{portNumber: {port: 80}}, {namedPort: x}, {portRange: {start: 1, end: 9, protocol: UDP}}, {else: 1}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: c}
spec:
  tier: Baseline
  priority: 7
  subject: {pods: {podSelector: {matchLabels: {a: b}}}}
  egress:
  - {action: Accept, to: [{domainNames: ["*.example.com"]}], protocols: [{tcp: {}}, {destinationNamedPort: y}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec: {subject: {namespaces: {matchLabels: {a: b}}}}
"#;

fn read_text(text: &str) -> Cluster {
    let mut reader = Reader::default();
    reader.text("all.yaml", text);
    let cluster = reader.finish();
    assert_eq!(cluster.problems, []);
    cluster
}

fn lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| serde_json::to_string(&value).unwrap()).collect()
}

fn read_lines(lines: &[String]) -> ClusterState {
    let (mut reader, mut state) = (SavedReader::default(), ClusterState::default());
    for line in lines {
        state.apply(reader.read(line.as_bytes()).unwrap());
    }
    state
}

#[test]
fn every_kind_comes_back_equal() {
    let cluster = read_text(ALL_KINDS);
    let lines = lines(cluster.saved());
    assert_eq!(lines.len(), 11);
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert_eq!(read_lines(&lines).into_cluster(), cluster);
}

#[test]
fn what_is_told_of_a_policy_points_at_the_same_line() {
    let cluster = read_text(ALL_KINDS);
    let again = read_lines(&lines(cluster.saved())).into_cluster();
    let (policy, same) = (&cluster.network_policies[0], &again.network_policies[0]);
    for path in ["spec.ingress[1].from[2].ipBlock.except[0]", "spec.egress", "metadata.name", "spec.nothing"] {
        assert_eq!(same.line(path), policy.line(path), "{path}");
    }
    assert_eq!(same.origin.to_string(), policy.origin.to_string());
    assert!(policy.line("spec.egress") > policy.line("spec.ingress[1].from"));
}

#[test]
fn a_state_that_is_read_again_goes_on_as_it_did() {
    // Who owns whom is told by what stands between, which a finished cluster has folded together.
    let text = "\
kind: Deployment
apiVersion: apps/v1
metadata: {name: web, namespace: shop}
---
kind: ReplicaSet
apiVersion: apps/v1
metadata: {name: web-1, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u}]}
---
kind: Pod
apiVersion: v1
metadata: {name: web-1-a, namespace: shop, ownerReferences: [{apiVersion: v1, kind: ReplicaSet, name: web-1, uid: u}]}
";
    let mut state = ClusterState::default();
    crate::read::text("in.yaml", text, &mut |said| {
        if let crate::Said::Set { object, .. } = said {
            state.apply(Change::Set(object));
        }
    });
    let mut again = read_lines(&lines(state.saved()));
    assert_eq!(again.cluster(), state.cluster());
    let gone =
        ObjectName::Workload { namespace: "shop".to_owned(), kind: "Deployment".to_owned(), name: "web".to_owned() };
    for state in [&mut state, &mut again] {
        assert!(state.apply(Change::Remove(gone.clone())).is_some());
    }
    assert_eq!(again.len(), 2);
    assert_eq!(again.cluster(), state.cluster());
}

#[test]
fn a_line_is_what_it_looks_like() {
    let text =
        "kind: Pod\napiVersion: v1\nmetadata: {name: a, namespace: b, annotations: {chainkit.dev/mode: audit}}\n";
    let cluster = read_text(text);
    let pod = lines(cluster.saved().filter(|saved| matches!(saved.set, Borrowed::Workload(_))));
    let expected = concat!(
        r#"{"set":{"workload":{"namespace":"b","name":"a","kind":"Pod","serviceAccount":"default","created":0,"#,
        r#""facts":{"mode":"audit"},"origin":{"file":"all.yaml","document":1,"line":1}}}}"#
    );
    assert_eq!(pod, [expected]);
    let remove = Change::Remove(ObjectName::Service { namespace: "shop".to_owned(), name: "db".to_owned() });
    assert_eq!(lines([remove]), [r#"{"remove":{"service":{"namespace":"shop","name":"db"}}}"#]);
}

#[test]
fn the_name_of_a_file_is_kept_once() {
    let cluster = read_text(ALL_KINDS);
    let mut reader = SavedReader::default();
    let changes: Vec<Change> =
        lines(cluster.saved()).iter().map(|line| reader.read(line.as_bytes()).unwrap()).collect();
    let files = changes.iter().map(|change| match change {
        Change::Set(object) => &object.origin().file,
        Change::Remove(_) => panic!("nothing was removed"),
    });
    let files: Vec<_> = files.filter(|file| !file.is_empty()).collect();
    assert!(files.iter().all(|file| Arc::ptr_eq(file, files[0])));
}

#[test]
fn a_line_that_is_none_is_told_with_its_number_and_the_next_is_read() {
    let mut reader = SavedReader::default();
    let nested = format!(r#"{{"set":{{"networkPolicy":{}"#, "[".repeat(100_000));
    let deep = format!(
        r#"{{"set":{{"networkPolicy":{{"value":{{"metadata":{{}}}},"lines":[{}1,0,0]}}}}}}"#,
        "1,0,1,".repeat(10_000)
    );
    let few = r#"{"set":{"networkPolicy":{"value":{"metadata":{}},"lines":[1,18446744073709551615,9]}}}"#;
    let many = r#"{"set":{"networkPolicy":{"value":{"metadata":{}},"lines":[1,0,0,5]}}}"#;
    let bad = ["", "{}", "7", r#"{"set":{}}"#, r#"{"set":{"secret":{}}}"#, r#"{"remove":{"node":1}}"#, "\u{fffd}"];
    let bad = bad.into_iter().chain([nested.as_str(), deep.as_str(), few, many]);
    let mut count = 0;
    for line in bad {
        count += 1;
        let error = reader.read(line.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("line {count} says nothing")), "{error}");
    }
    assert!(reader.read(br#"{"set":{"namespace":{"name":"a","new":[1]}}}"#).is_ok());
}

/// Texts that JSON must escape, and that are names of fields elsewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,3}", Just("set".to_owned()), Just("\"\\\n\u{0}\u{2028}é".to_owned()), Just(String::new())]
}

fn labels() -> impl Strategy<Value = crate::model::Labels> {
    btree_map(text(), text(), 0..3)
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    vec(any::<IpAddr>().prop_map(|address| address.to_canonical()), 0..3)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    proptest::sample::select(&Protocol::ALL[..])
}

fn origin() -> impl Strategy<Value = Origin> {
    let given = (text(), any::<usize>(), any::<usize>());
    of(given).prop_map(|given| {
        given.map_or_else(Origin::none, |(file, document, line)| Origin { file: file.into(), document, line })
    })
}

fn mode() -> impl Strategy<Value = Option<Mode>> {
    of(proptest::sample::select(&Mode::ALL[..]))
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    of((text(), text()).prop_map(|(kind, name)| Owner { kind, name }))
}

fn workload() -> impl Strategy<Value = Object> {
    let facts = (text(), owner(), addresses(), mode());
    let facts = of(facts.prop_map(|(uid, controller, host_addresses, mode)| {
        Box::new(PodFacts { uid, controller, host_addresses, mode })
    }));
    let ports = vec((text(), any::<u16>(), protocol()), 0..3).prop_map(|ports| {
        ports.into_iter().map(|(name, number, protocol)| NamedPort { name, number, protocol }).collect()
    });
    let named = (text(), text(), text(), owner(), labels(), addresses());
    let rest = (ports, any::<bool>(), of(text()), text(), any::<i64>(), facts, origin());
    (named, rest).prop_map(|(named, rest)| {
        let (namespace, name, kind, owner, labels, addresses) = named;
        let (ports, host_network, node, service_account, created, facts, origin) = rest;
        Object::Workload(Workload {
            namespace,
            name,
            kind,
            owner,
            labels,
            addresses,
            ports,
            host_network,
            node,
            service_account,
            created,
            facts,
            origin,
        })
    })
}

fn service() -> impl Strategy<Value = Object> {
    let target = prop_oneof![any::<u16>().prop_map(TargetPort::Number), text().prop_map(TargetPort::Name)];
    let port = (text(), any::<u16>(), protocol(), target, of(any::<u16>()));
    let ports = vec(port, 0..3).prop_map(|ports| {
        let port = |(name, port, protocol, target, node_port)| crate::model::ServicePort {
            name,
            port,
            protocol,
            target,
            node_port,
        };
        ports.into_iter().map(port).collect()
    });
    let all = (text(), text(), addresses(), addresses(), addresses(), any::<bool>(), labels(), text(), ports, origin());
    all.prop_map(
        |(
            namespace,
            name,
            cluster_ips,
            external_ips,
            load_balancer_ips,
            stays_on_node,
            selector,
            type_,
            ports,
            origin,
        )| {
            Object::Service(Service {
                namespace,
                name,
                cluster_ips,
                external_ips,
                load_balancer_ips,
                stays_on_node,
                selector,
                type_,
                ports,
                origin,
            })
        },
    )
}

/// Lines as deep and as many as a reader makes them.
fn field_lines() -> impl Strategy<Value = crate::model::Lines> {
    let leaf = any::<usize>().prop_map(crate::model::Lines::at);
    leaf.prop_recursive(6, 60, 20, |inside| {
        (any::<usize>(), vec((text(), inside.clone()), 0..20), vec(inside, 0..3)).prop_map(|(line, fields, items)| {
            let mut lines = crate::model::Lines::at(line);
            fields.into_iter().for_each(|(name, field)| lines.push_field(name, field));
            items.into_iter().for_each(|item| lines.push_item(item));
            lines
        })
    })
}

fn cluster_policy() -> impl Strategy<Value = Object> {
    let port = prop_oneof![
        Just(ClusterPort::Unknown),
        text().prop_map(ClusterPort::Named),
        (protocol(), any::<u16>(), any::<u16>()).prop_map(|(protocol, first, last)| ClusterPort::Range {
            protocol,
            first,
            last
        }),
    ];
    let peer = (any::<[bool; 3]>(), of(vec(text(), 0..2)), of(vec(text(), 0..2)));
    let peer = peer.prop_map(|([namespaces, pods, nodes], networks, domain_names)| crate::model::ClusterPeer {
        namespaces: namespaces.then(Default::default),
        pods: pods.then(Default::default),
        nodes: nodes.then(Default::default),
        networks,
        domain_names,
    });
    let action = proptest::sample::select(&[Action::Accept, Action::Deny, Action::Pass][..]);
    let rule = (text(), action, vec(peer, 0..3), of(vec(port, 0..3)));
    let rule =
        rule.prop_map(|(name, action, peers, ports)| crate::model::ClusterRule { name, action, peers, ports }).boxed();
    let kinds = vec![ClusterPolicyKind::Admin, ClusterPolicyKind::BaselineAdmin, ClusterPolicyKind::Cluster];
    let head = (proptest::sample::select(kinds), text(), any::<i32>(), any::<bool>());
    (head, vec(rule.clone(), 0..3), vec(rule, 0..3), field_lines(), origin()).prop_map(
        |((kind, name, priority, baseline), ingress, egress, lines, origin)| {
            let tier = if baseline { crate::model::Tier::Baseline } else { crate::model::Tier::Admin };
            let subject = crate::model::ClusterSubject::default();
            let value = ClusterPolicy { kind, name, tier, priority, subject, ingress, egress };
            Object::ClusterPolicy(Located { value, origin, lines })
        },
    )
}

fn namespace() -> impl Strategy<Value = Object> {
    let all = (text(), labels(), mode(), origin());
    all.prop_map(|(name, labels, mode, origin)| Object::Namespace(Namespace { name, labels, mode, origin }))
}

proptest! {
    #[test]
    fn any_object_comes_back_equal(object in prop_oneof![workload(), service(), cluster_policy(), namespace()]) {
        let name = object.name();
        for change in [Change::Set(Box::new(object)), Change::Remove(name)] {
            let line = serde_json::to_vec(&change).unwrap();
            prop_assert!(!line.contains(&b'\n'));
            prop_assert_eq!(SavedReader::default().read(&line).unwrap(), change);
        }
    }

    #[test]
    fn a_damaged_line_is_read_or_told(at in any::<prop::sample::Index>(), which in 0_usize..11, byte in any::<u8>()) {
        static LINES: LazyLock<Vec<String>> = LazyLock::new(|| lines(read_text(ALL_KINDS).saved()));
        let mut line = LINES[which].clone().into_bytes();
        let at = at.index(line.len());
        line[at] = byte;
        if let Ok(change) = SavedReader::default().read(&line) {
            let again = serde_json::to_vec(&change).unwrap();
            prop_assert_eq!(SavedReader::default().read(&again).unwrap(), change);
        }
    }
}
