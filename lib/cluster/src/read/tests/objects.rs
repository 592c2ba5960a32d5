//! What the objects of a text mean: workloads and their owners, services, cluster-wide policies, modes.

use super::super::*;
use super::{read, told};
use crate::model::{Action, ClusterPort, Mode, NamedPort, Protocol, TargetPort, Workload};

#[test]
fn every_pod_template_becomes_a_workload_without_address() {
    let template = "{metadata: {labels: {app: x}}, spec: {hostNetwork: true, containers: [{name: c, ports: [{name: http, containerPort: 80}, {containerPort: 81}]}]}}";
    let kinds = [
        ("v1", "ReplicationController"),
        ("apps/v1", "Deployment"),
        ("apps/v1", "ReplicaSet"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
    ];
    for (version, kind) in kinds {
        let template = match kind {
            "CronJob" => format!("jobTemplate: {{spec: {{template: {template}}}}}"),
            _ => format!("template: {template}"),
        };
        let cluster = read(&format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x, namespace: n}}\nspec: {{{template}}}\n"
        ));
        assert_eq!(told(&cluster), Vec::<String>::new(), "{kind}");
        let workload = &cluster.workloads[0];
        assert_eq!(workload.title(), format!("n/x[{kind}]"));
        assert_eq!(workload.labels["app"], "x");
        assert!(workload.addresses.is_empty() && workload.host_network);
        let port = NamedPort { name: "http".into(), number: 80, protocol: Protocol::Tcp };
        assert_eq!(workload.ports, [port]);
    }
}

#[test]
fn pods_fold_to_the_outermost_owner_that_can_be_told() {
    let owned = |kind: &str, name: &str, owner: &str| {
        format!(
            "kind: {kind}\nmetadata: {{name: {name}, ownerReferences: [{owner}]}}\nspec: {{template: {{}}, containers: []}}\n---\n"
        )
    };
    let text = [
        owned("Pod", "a", "{kind: ReplicaSet, name: web-1}"),
        owned("Pod", "b", "{kind: ReplicaSet, name: gone}"),
        owned("Pod", "c", "{kind: Node, name: n1}"),
        owned("Pod", "d", "{name: parent}"),
        owned("Pod", "e", "{kind: X, name: x}, {kind: Y, name: y, controller: true}"),
        owned("ReplicaSet", "web-1", "{kind: Deployment, name: web}"),
        owned("Deployment", "web", ""),
    ];
    let cluster = read(&text.concat());
    assert_eq!(told(&cluster), Vec::<String>::new());
    let titles: Vec<String> = cluster.workloads.iter().map(Workload::title).collect();
    assert_eq!(
        titles,
        [
            "default/web[Deployment]",
            "default/web[Deployment]",
            "default/gone[ReplicaSet]",
            "default/c[Pod]",
            "default/parent[Pod]",
            "default/y[Y]",
        ],
        "the ReplicaSet's template is its Deployment's"
    );
}

#[test]
fn a_cron_job_that_was_given_owns_the_pods_of_its_jobs_that_were_not() {
    let pod = "kind: Pod\nmetadata: {name: p, ownerReferences: [{kind: Job, name: nightly-29000000, controller: true}]}\n---\n";
    let cron = |name: &str| {
        format!("kind: CronJob\nmetadata: {{name: {name}}}\nspec: {{jobTemplate: {{spec: {{template: {{}}}}}}}}\n")
    };
    let pod_of = |text: &str| {
        let cluster = read(text);
        cluster.workloads.iter().find(|workload| workload.kind == "Pod").unwrap().title()
    };
    assert_eq!(pod_of(&format!("{pod}{}", cron("nightly"))), "default/nightly[CronJob]");
    assert_eq!(pod_of(&format!("{pod}{}", cron("other"))), "default/nightly-29000000[Job]");
}

#[test]
fn a_deployment_that_was_given_owns_the_pods_of_its_replica_sets_that_were_not() {
    let pod = "kind: Pod\nmetadata: {name: p, labels: {pod-template-hash: 5d4f8c}, ownerReferences: [{kind: ReplicaSet, name: web-5d4f8c}]}\n---\n";
    let deployment = |name: &str| format!("kind: Deployment\nmetadata: {{name: {name}}}\nspec: {{template: {{}}}}\n");
    let pod_of = |text: &str| read(text).workloads.iter().find(|workload| workload.kind == "Pod").unwrap().title();
    assert_eq!(pod_of(&format!("{pod}{}", deployment("web"))), "default/web[Deployment]");
    assert_eq!(pod_of(&format!("{pod}{}", deployment("other"))), "default/web-5d4f8c[ReplicaSet]");
    assert_eq!(pod_of(pod), "default/web-5d4f8c[ReplicaSet]");
}

#[test]
fn owners_that_own_each_other_are_followed_no_further() {
    let text = "kind: ReplicaSet\nmetadata: {name: a, ownerReferences: [{kind: ReplicaSet, name: b}]}\nspec: {template: {}}\n---\n\
                kind: Pod\nmetadata: {name: p, ownerReferences: [{kind: ReplicaSet, name: a}]}\n---\n\
                kind: Pod\nmetadata: {name: q, ownerReferences: [{kind: Pod, name: q}]}\n";
    assert_eq!(read(text).workloads.len(), 3);
}

#[test]
fn addresses_are_those_a_pod_has_now() {
    let pod = |name: &str, status: &str| format!("kind: Pod\nmetadata: {{name: {name}}}\nstatus: {status}\n---\n");
    let text = [
        pod("a", "{podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}"),
        pod("b", "{podIP: '::ffff:10.0.0.2'}"),
        pod("c", "{phase: Succeeded, podIP: 10.0.0.3}"),
        pod("d", "{podIPs: [{ip: nonsense}]}"),
    ];
    let cluster = read(&text.concat());
    let addresses: Vec<String> = cluster.workloads.iter().map(|workload| format!("{:?}", workload.addresses)).collect();
    assert_eq!(addresses, ["[10.0.0.1, fd00::1]", "[10.0.0.2]", "[]", "[]"]);
    assert_eq!(
        told(&cluster),
        ["in.yaml:15: document 4: Pod/default/d: status.podIPs[0].ip: \"nonsense\" is no address: left out"]
    );
}

#[test]
fn services_and_their_slices_are_read() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [172.20.0.1, 'fd00::1']
  externalIPs: [192.0.2.1]
  internalTrafficPolicy: Local
  selector: {app: web}
  type: NodePort
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {port: 53, protocol: UDP}
status: {loadBalancer: {ingress: [{ip: 192.0.2.2}, {hostname: x}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: false}, nodeName: n1, targetRef: {kind: Pod, name: p}}
- {addresses: [10.0.0.2]}
ports: [{name: http, port: 8080}, {}]
";
    let cluster = read(text);
    assert_eq!(told(&cluster), Vec::<String>::new());
    let service = &cluster.services[0];
    assert_eq!((service.cluster_ips.len(), service.external_ips.len(), service.load_balancer_ips.len()), (2, 1, 1));
    assert!(service.stays_on_node);
    let ports: Vec<_> =
        service.ports.iter().map(|port| (port.port, port.protocol, &port.target, port.node_port)).collect();
    assert_eq!(
        ports,
        [
            (80, Protocol::Tcp, &TargetPort::Name("http".into()), Some(30080)),
            (53, Protocol::Udp, &TargetPort::Number(53), None),
        ]
    );
    let slice = &cluster.endpoint_slices[0];
    assert_eq!(slice.service.as_deref(), Some("web"));
    let nodes: Vec<_> = slice.endpoints.iter().map(|endpoint| endpoint.node.as_deref()).collect();
    assert_eq!(nodes, [Some("n1"), None]);
    let ready: Vec<bool> = slice.endpoints.iter().map(|endpoint| endpoint.ready).collect();
    assert_eq!(ready, [false, true]);
    assert_eq!(slice.endpoints[0].pod, Some(("shop".into(), "p".into())));
    assert_eq!(slice.ports.iter().map(|port| port.number).collect::<Vec<_>>(), [Some(8080), None]);
}

#[test]
fn traffic_of_a_service_goes_to_the_whole_cluster_unless_it_says_otherwise() {
    let of = |policy: &str| {
        let cluster = read(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 172.20.0.1{policy}}}\n"
        ));
        (cluster.services[0].stays_on_node, told(&cluster))
    };
    assert_eq!(of(""), (false, Vec::new()));
    assert_eq!(of(", internalTrafficPolicy: Cluster"), (false, Vec::new()));
    assert_eq!(of(", internalTrafficPolicy: Local"), (true, Vec::new()));
    assert_eq!(of(", externalTrafficPolicy: Local"), (false, Vec::new()));
    let (stays, told) = of(", internalTrafficPolicy: Near");
    assert!(!stays);
    let field = "spec.internalTrafficPolicy: neither Cluster nor Local: taken as Cluster";
    assert_eq!(told, [format!("in.yaml:4: document 1: Service/default/web: {field}")]);
}

#[test]
fn the_three_cluster_wide_kinds_are_one_type() {
    let admin = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec:\n  priority: 7\n  subject: {namespaces: {}}\n  egress:\n  - {name: r, action: Allow, to: [{networks: [10.0.0.0/8]}, {nodes: {}}], ports: [{portNumber: {protocol: UDP, port: 53}}, {namedPort: http}, {portRange: {start: 1, end: 9}}]}\n";
    let baseline = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: default}\nspec:\n  subject: {pods: {podSelector: {}}}\n  ingress:\n  - {action: Deny, from: [{namespaces: {}}]}\n";
    let cluster_wide = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec:\n  tier: Baseline\n  priority: 9\n  subject: {namespaces: {}}\n  ingress:\n  - {action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {}}}, {future: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}, {sctp: {}}, {icmp: {}}, {destinationNamedPort: http}]}\n";
    let cluster = read(&[admin, baseline, cluster_wide].join("---\n"));
    assert_eq!(told(&cluster), Vec::<String>::new());
    let [admin, baseline, wide] = cluster.cluster_policies.as_slice() else {
        panic!("{:?}", cluster.cluster_policies);
    };
    let rule = &admin.value.egress[0];
    assert_eq!((admin.value.priority, rule.action, rule.name.as_str()), (7, Action::Accept, "r"));
    let range = |protocol, first, last| ClusterPort::Range { protocol, first, last };
    let named = || ClusterPort::Named("http".into());
    assert_eq!(rule.ports, Some(vec![range(Protocol::Udp, 53, 53), named(), range(Protocol::Tcp, 1, 9)]));
    assert_eq!(admin.line("spec.egress[0].to"), 8);
    assert_eq!((baseline.value.ingress[0].action, &baseline.value.ingress[0].ports), (Action::Deny, &None));
    let rule = &wide.value.ingress[0];
    assert_eq!(rule.peers.iter().map(crate::model::ClusterPeer::is_known).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        rule.ports,
        Some(vec![range(Protocol::Tcp, 80, 80), range(Protocol::Sctp, 0, 65535), ClusterPort::Unknown, named()])
    );
    for (from, to, field) in [
        ("priority: 7", "priority: 1001", "spec.priority"),
        ("priority: 7", "x: 7", "spec.priority"),
        ("action: Allow", "action: Permit", "spec.egress[0].action"),
        ("namespaces: {}", "", "spec.subject"),
        ("10.0.0.0/8", "10", "spec.egress[0].to[0].networks[0]"),
        ("to: [", "from: [", "spec.egress[0].to"),
    ] {
        let text = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec:\n  priority: 7\n  subject: {namespaces: {}}\n  egress:\n  - {action: Allow, to: [{networks: [10.0.0.0/8]}]}\n";
        let cluster = read(&text.replace(from, to));
        assert!(cluster.cluster_policies.is_empty(), "{to}");
        assert_eq!(cluster.problems[0].field, field, "{to}: {:?}", cluster.problems);
    }
}

/// A pod and a namespace that ask for a mode.
fn asking(mode: &str) -> String {
    let metadata = format!("metadata:\n  name: a\n  annotations:\n    chainkit.dev/mode: {mode}\n");
    format!("apiVersion: v1\nkind: Pod\n{metadata}---\napiVersion: v1\nkind: Namespace\n{metadata}")
}

fn modes(cluster: &Cluster) -> (Option<Mode>, Option<Mode>) {
    let namespace = cluster.namespaces.iter().find(|namespace| namespace.name == "a").unwrap();
    (cluster.workloads[0].facts.as_ref().unwrap().mode, namespace.mode)
}

#[test]
fn pods_and_namespaces_ask_for_a_mode() {
    for mode in Mode::ALL {
        let cluster = read(&asking(mode.name()));
        assert_eq!(told(&cluster), Vec::<String>::new());
        assert_eq!(modes(&cluster), (Some(mode), Some(mode)));
    }
    let cluster = read(&asking("observe").replace("chainkit.dev/mode", "chainkit.dev/other"));
    assert_eq!((modes(&cluster), told(&cluster).len()), ((None, None), 0));
}

#[test]
fn a_mode_that_is_none_is_told_and_is_the_tightest_for_a_pod_and_nothing_for_a_namespace() {
    for mode in ["Enforce", "none", "\"\"", "' audit'"] {
        let cluster = read(&asking(mode));
        assert_eq!(modes(&cluster), (Some(Mode::Enforce), None), "{mode}");
        let told = told(&cluster);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("in.yaml:6: document 1: Pod/default/a: metadata.annotations[chainkit.dev/mode]"));
        assert!(told[0].ends_with("is no mode: taken for enforce: give observe, audit or enforce"), "{told:?}");
        assert!(told[1].starts_with("in.yaml:13: document 2: Namespace/a: "), "{told:?}");
        assert!(told[1].ends_with("is no mode: left out: give observe, audit or enforce"), "{told:?}");
    }
}

#[test]
fn a_mode_is_read_of_json_and_of_a_watch_as_well() {
    let object = |kind: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{{"name":"a","annotations":{{"chainkit.dev/mode":"audit"}}}}}}"#
        )
    };
    let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{},{}]}}"#, object("Pod"), object("Namespace"));
    let event = |kind| format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", object(kind));
    let watch = format!("{}{}", event("Pod"), event("Namespace"));
    for text in [list, watch] {
        let cluster = read(&text);
        assert_eq!(told(&cluster), Vec::<String>::new());
        assert_eq!(modes(&cluster), (Some(Mode::Audit), Some(Mode::Audit)), "{text}");
    }
}
