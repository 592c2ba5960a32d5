use super::*;
use crate::Reader;
use crate::model::Cluster;

fn read(text: &str) -> Cluster {
    let mut reader = Reader::default();
    reader.text("in.yaml", text);
    let cluster = reader.finish();
    assert_eq!(cluster.problems, []);
    cluster
}

/// Doubts about a network policy with these lines in its spec, which begin at line 5.
fn of_spec(lines: &str) -> Vec<(Weight, usize, String)> {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n";
    let cluster = read(&format!("{head}{lines}"));
    doubts(&network_policy(&cluster.network_policies[0]))
}

fn doubts(doubts: &[Doubt]) -> Vec<(Weight, usize, String)> {
    doubts.iter().map(|doubt| (doubt.weight, doubt.problem.line, doubt.problem.field.clone())).collect()
}

fn refused(line: usize, field: &str) -> Vec<(Weight, usize, String)> {
    vec![(Weight::Refused, line, field.to_owned())]
}

fn block(cidr: &str, except: &str) -> Vec<(Weight, usize, String)> {
    of_spec(&format!(
        "podSelector: {{}}\negress:\n- to:\n  - ipBlock:\n      cidr: '{cidr}'\n      except: ['{except}']\n"
    ))
}

#[test]
fn fields_that_no_policy_has_are_told_with_their_lines() {
    assert_eq!(
        of_spec("podSelector: {}\ningress:\n- form:\n  - podSelector: {}\n"),
        refused(7, "spec.ingress[0].form")
    );
    let ports = "podSelector: {}\ningress:\n- ports:\n  - {port: 1}\n  - {prot: 80}\n";
    assert_eq!(of_spec(ports), refused(9, "spec.ingress[0].ports[1].prot"));
    let cluster = read("kind: NetworkPolicy\nmetadata: {name: p, namespace: n}\nspce: {podSelector: {}}\n");
    assert_eq!(doubts(&network_policy(&cluster.network_policies[0])), refused(3, "spce"));
    let sound = "{podSelector: {matchExpressions: [{key: a, operator: Exists}]}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 1, endPort: 2, protocol: UDP}]}]}";
    let cluster =
        read(&format!("kind: NetworkPolicy\nmetadata: {{name: p, namespace: n}}\nspec: {sound}\nstatus: {{}}\n"));
    assert_eq!(network_policy(&cluster.network_policies[0]), []);
}

#[test]
fn of_cluster_wide_policies_what_fails_closed_by_itself_is_no_doubt() {
    let policy = |rule: &str| {
        let head =
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\nspec:\n";
        let cluster = read(&format!(
            "{head}  tier: Admin\n  priority: 1\n  subject: {{namespaces: {{}}}}\n  egress:\n  - {rule}\n"
        ));
        doubts(&cluster_policy(&cluster.cluster_policies[0]))
    };
    assert_eq!(policy("{action: Accept, to: [{future: {}}], protocols: [{quic: {}}]}"), []);
    assert_eq!(
        policy(
            "{action: Accept, to: [{networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 2}}}}]}"
        ),
        []
    );
    let rule = |field: &str| refused(9, &format!("spec.egress[0].{field}"));
    let to = "to: [{namespaces: {}}]";
    assert_eq!(
        policy("{action: Accept, to: [{namespaces: {matchLabel: {a: b}}}]}"),
        rule("to[0].namespaces.matchLabel")
    );
    assert_eq!(policy(&format!("{{action: Accept, {to}, protocol: [{{udp: {{}}}}]}}")), rule("protocol"));
    let port = "protocols: [{tcp: {destinationPrt: {number: 80}}}]";
    assert_eq!(policy(&format!("{{action: Accept, {to}, {port}}}")), rule("protocols[0].tcp.destinationPrt"));
}

#[test]
fn what_is_excepted_leaves_something_of_its_block() {
    let except = "spec.egress[0].to[0].ipBlock.except[0]";
    for (cidr, inside) in [("10.0.0.0/8", "10.1.2.3/9"), ("::/0", "fd00::/8"), ("10.0.0.0/8", "10.0.0.0/9")] {
        assert_eq!(block(cidr, inside), [], "{cidr} {inside}");
    }
    for (cidr, outside) in [
        ("10.0.0.0/8", "11.0.0.0/16"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/16", "10.0.0.0/8"),
        ("10.0.0.0/8", "fd00::/16"),
    ] {
        assert_eq!(block(cidr, outside), refused(10, except), "{cidr} {outside}");
    }
}

#[test]
fn ranges_of_ports_the_wrong_way_round_are_refused() {
    let ports = "podSelector: {}\ningress:\n- ports:\n  - port: 90\n    endPort: 80\n";
    assert_eq!(of_spec(ports), refused(9, "spec.ingress[0].ports[0].endPort"));
}

#[test]
fn cidrs_that_were_always_taken_are_told_with_what_they_are_taken_for() {
    for (text, means) in [("::ffff:10.1.64.0/120", "10.1.64.0/24"), ("10.1.064.0/24", "10.1.64.0/24")] {
        let spec = format!("podSelector: {{}}\negress:\n- to: [{{ipBlock: {{cidr: '{text}'}}}}]\n");
        let found = of_spec(&spec);
        let field = "spec.egress[0].to[0].ipBlock.cidr".to_owned();
        assert_eq!(found, [(Weight::Legacy, 7, field)], "{text}");
        assert_eq!(canonical(text.parse().unwrap()).to_string(), means, "{text}");
    }
    for plain in ["0.0.0.0/0", "10.0.0.0/8", "::/0", "fd00:0:0a::/48", "::ffff:0:0/90"] {
        let found = of_spec(&format!("podSelector: {{}}\negress:\n- to: [{{ipBlock: {{cidr: '{plain}'}}}}]\n"));
        assert_eq!(found, [], "{plain}");
    }
}

#[test]
fn a_namespace_that_was_not_given_is_assumed_and_told() {
    let cluster = read("kind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n");
    let found = network_policy(&cluster.network_policies[0]);
    assert_eq!(doubts(&found), [(Weight::Assumed, 2, "metadata.namespace".to_owned())]);
}

#[test]
fn doubts_are_bounded_and_the_worst_of_the_rest_counts() {
    let fields: String = (0..1000).map(|number| format!("f{number}: 1\n")).collect();
    let found = of_spec(&format!("podSelector: {{}}\n{fields}"));
    assert_eq!((found.len(), found.last().unwrap().0), (MAX_DOUBTS + 1, Weight::Refused));
}
