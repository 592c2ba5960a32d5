//! `polload lint`: mistakes that change what policies mean, each found where it is and nowhere else.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use common::{Ended, policy, run_on, shop};
use serde_json::Value;

fn lint(input: &str) -> Ended {
    run_on(input, &["lint", "-", "-j"])
}

/// Findings as (id, severity, line within the policy, whose object begins at line 1).
fn found(input: &str, before: &str) -> Vec<(String, String, i64)> {
    let first = i64::try_from(before.lines().count()).unwrap() + 1;
    let ended = lint(&format!("{before}{input}"));
    let records = ended.records();
    let serious = records.iter().any(|record| record["severity"] != "info");
    assert_eq!(ended.code, Some(i32::from(serious)), "{} {}", ended.stdout, ended.stderr);
    let found = records.iter().map(|record| {
        assert_eq!(record["kind"], "Lint");
        for field in ["id", "severity", "file", "object", "message", "remedy"] {
            assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {record}");
        }
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        (text("id"), text("severity"), record["line"].as_i64().unwrap() - first)
    });
    found.collect()
}

/// What is found of a policy of namespace `shop` with this spec, whose first line is line 5 after the separator.
fn in_spec(spec: &str) -> Vec<(String, String, i64)> {
    let text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n{}",
        spec.lines().map(|line| format!("  {line}\n")).collect::<String>()
    );
    found(&text, &shop())
}

fn one(id: &str, severity: &str, line: i64) -> Vec<(String, String, i64)> {
    vec![(id.to_owned(), severity.to_owned(), line)]
}

#[test]
fn sound_policies_have_no_findings() {
    for spec in [
        "{podSelector: {}, policyTypes: [Ingress, Egress]}",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}",
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]}",
        "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}",
        "{podSelector: {}, policyTypes: [Ingress], ingress: []}",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 1}, {port: 5, endPort: 9}]}, {ports: [{port: 7}]}]}",
    ] {
        let ended = lint(&[shop(), policy("p", spec)].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{spec}: {}", ended.stderr);
    }
}

#[test]
fn selectors_that_say_nothing_are_told_from_those_that_mean_all() {
    assert_eq!(in_spec("policyTypes: [Ingress]"), one("missing-pod-selector", "warning", 4));
    assert_eq!(in_spec("podSelector:\npolicyTypes: [Ingress]"), one("missing-pod-selector", "warning", 5));
    assert_eq!(in_spec("podSelector:\n  matchLabels:\n"), one("empty-match-labels", "warning", 6));
    let peer = "podSelector: {}\ningress:\n- from:\n  - namespaceSelector:\n      matchLabels: {}\n";
    assert_eq!(in_spec(peer), one("empty-match-labels", "warning", 9));
    let null = "podSelector: {}\ningress:\n- from:\n  - podSelector: {}\n    namespaceSelector:\n";
    assert_eq!(in_spec(null), one("null-selector", "warning", 9));
}

#[test]
fn lists_that_are_there_and_empty_are_told() {
    assert_eq!(in_spec("podSelector: {}\ningress:\n- from: []\n"), one("empty-peers", "warning", 7));
    assert_eq!(in_spec("podSelector: {}\ningress:\n- ports:\n"), one("empty-ports", "warning", 7));
}

#[test]
fn exceptions_outside_of_their_block_are_errors() {
    let block = |except: &str| {
        format!(
            "podSelector: {{}}\ningress:\n- from:\n  - ipBlock:\n      cidr: 10.0.0.0/8\n      except:\n      - {except}\n"
        )
    };
    for except in ["11.0.0.0/16", "10.0.0.0/7", "fd00::/16"] {
        assert_eq!(in_spec(&block(except)), one("except-outside-cidr", "error", 11), "{except}");
    }
    assert_eq!(in_spec(&block("10.0.0.0/8")), one("except-covers-cidr", "error", 11));
    assert_eq!(in_spec(&block("10.255.255.255/32")), []);
}

#[test]
fn names_of_ports_are_looked_up_where_the_connection_ends() {
    let ingress = |port: &str| format!("podSelector: {{matchLabels: {{app: db}}}}\ningress:\n- ports:\n  - {port}\n");
    assert_eq!(in_spec(&ingress("port: http")), []);
    assert_eq!(in_spec(&ingress("port: https")), one("unknown-port-name", "warning", 8));
    assert_eq!(in_spec(&ingress("{port: http, protocol: UDP}")), one("unknown-port-name", "warning", 8));
    let egress = |peer: &str| {
        format!("podSelector: {{}}\npolicyTypes: [Egress]\negress:\n- to:\n  - {peer}\n  ports:\n  - port: http\n")
    };
    assert_eq!(in_spec(&egress("podSelector: {}")), []);
    assert_eq!(in_spec(&egress("ipBlock: {cidr: 192.0.2.0/24}")), one("named-port-on-ip-block", "error", 11));
}

#[test]
fn a_policy_that_selects_nothing_is_told() {
    assert_eq!(in_spec("podSelector: {matchLabels: {app: wbe}}"), one("selects-nothing", "warning", 5));
    let peer = "podSelector: {}\ningress:\n- from:\n  - podSelector: {matchLabels: {app: till}}\n";
    assert_eq!(in_spec(peer), one("peer-selects-nothing", "info", 8));
}

#[test]
fn rules_that_another_covers_are_unreachable() {
    let rules = |first: &str, second: &str| format!("podSelector: {{}}\ningress:\n- {first}\n- {second}\n");
    let web = "from: [{podSelector: {matchLabels: {app: web}}}]";
    for (first, second) in [
        ("{}".to_owned(), format!("{{{web}}}")),
        (format!("{{{web}}}"), format!("{{{web}, ports: [{{port: 80}}]}}")),
        ("{ports: [{port: 1, endPort: 90}]}".to_owned(), format!("{{{web}, ports: [{{port: 80}}]}}")),
        ("{from: [{namespaceSelector: {}}]}".to_owned(), format!("{{{web}}}")),
        ("{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}".to_owned(), "{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}".to_owned()),
    ] {
        assert_eq!(in_spec(&rules(&first, &second)), one("unreachable-rule", "warning", 8), "{first} {second}");
        assert_eq!(in_spec(&rules(&second, &first)), one("unreachable-rule", "warning", 7), "{second} {first}");
    }
    assert_eq!(in_spec(&rules("{ports: [{port: 80}]}", "{ports: [{port: 80, protocol: UDP}]}")), []);
}

#[test]
fn policy_types_that_surprise_are_told() {
    let egress = "egress:\n- to: [{podSelector: {}}]\n";
    assert_eq!(in_spec(&format!("podSelector: {{}}\n{egress}")), one("ingress-implied", "warning", 6));
    assert_eq!(
        in_spec(&format!("podSelector: {{}}\npolicyTypes: [Ingress]\n{egress}")),
        one("egress-ignored", "error", 7)
    );
    assert_eq!(in_spec("podSelector: {}\npolicyTypes: [Egress]\ningress:\n- {}\n"), one("ingress-ignored", "error", 7));
    assert_eq!(in_spec("podSelector: {}\negress: []\n"), one("egress-not-isolated", "warning", 6));
}

#[test]
fn blocks_of_service_addresses_alone_are_told() {
    let service =
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIPs: [172.20.0.9]}\n";
    let block = |cidr: &str| {
        policy(
            "p",
            &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}"),
        )
    };
    let before = [&shop(), service].concat();
    for cidr in ["172.20.0.9/32", "172.20.0.0/16"] {
        assert_eq!(found(&block(cidr), &before), one("only-virtual-addresses", "warning", 4), "{cidr}");
    }
    for cidr in ["0.0.0.0/0", "172.21.0.0/16", "10.0.0.0/16"] {
        assert_eq!(found(&block(cidr), &before), [], "{cidr}");
    }
    let networks = admin("a", 1, "{namespaces: {}}", "  - action: Deny\n    to: [{networks: [172.20.0.9/32]}]\n");
    let networks = networks.replace("ingress:", "egress:");
    assert_eq!(found(&networks, &before), one("only-virtual-addresses", "warning", 9));
}

#[test]
fn fields_that_do_not_exist_are_told() {
    assert_eq!(in_spec("podSelector: {}\ningres:\n- {}\n"), one("unknown-field", "error", 6));
    let peer = "podSelector: {}\ningress:\n- from:\n  - podSelector: {}\n    nameSpaceSelector: {}\n";
    assert_eq!(in_spec(peer), one("unknown-field", "error", 9));
}

#[test]
fn ranges_of_ports_the_wrong_way_round_match_nothing() {
    assert_eq!(
        in_spec("podSelector: {}\ningress:\n- ports:\n  - port: 90\n    endPort: 80\n"),
        one("end-port-below-port", "error", 9)
    );
}

#[test]
fn what_cannot_be_used_is_a_finding() {
    let ended = lint(&format!("{}{}", shop(), policy("p", "{podSelector: 7}")));
    assert_eq!(ended.code, Some(1));
    let record: &Value = &ended.records()[0];
    assert_eq!((&record["id"], &record["object"]), (&"unusable".into(), &"NetworkPolicy/shop/p".into()));
    assert!(record["message"].as_str().unwrap().starts_with("spec.podSelector: "), "{record}");
}

fn admin(name: &str, priority: i32, subject: &str, ingress: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec:\n  priority: {priority}\n  subject: {subject}\n  ingress:\n{ingress}"
    )
}

const FROM_ALL: &str = "from: [{namespaces: {}}]";

#[test]
fn equal_priorities_are_told_and_matter_where_subjects_meet() {
    let rule = format!("  - {{action: Deny, {FROM_ALL}, ports: [{{portNumber: {{port: 1}}}}]}}\n");
    let other = rule.replace("port: 1", "port: 2");
    let shop_only = "{namespaces: {matchLabels: {team: a}}}";
    let first = admin("one", 5, "{namespaces: {}}", &rule);
    let before = [shop(), first].concat();
    assert_eq!(found(&admin("two", 5, shop_only, &other), &before), one("same-priority", "warning", 5));
    assert_eq!(found(&admin("two", 6, shop_only, &other), &before), []);
    let elsewhere = admin("one", 5, "{namespaces: {matchLabels: {team: b}}}", &rule);
    let before = [shop(), elsewhere].concat();
    assert_eq!(found(&admin("two", 5, shop_only, &other), &before), one("same-priority", "info", 5));
}

#[test]
fn cluster_wide_rules_that_never_come_first_are_unreachable() {
    let ports = |action: &str, port: u16| {
        format!("  - {{action: {action}, {FROM_ALL}, ports: [{{portNumber: {{port: {port}}}}}]}}\n")
    };
    let all = |action: &str| format!("  - {{action: {action}, {FROM_ALL}}}\n");
    let subject = "{namespaces: {}}";
    for (rules, line) in [
        ([all("Pass"), ports("Deny", 80)].concat(), 9),
        ([ports("Allow", 80), ports("Pass", 81), all("Deny"), ports("Pass", 82)].concat(), 11),
    ] {
        assert_eq!(
            found(&admin("a", 1, subject, &rules), &shop()),
            one("unreachable-rule", "warning", line),
            "{rules}"
        );
    }
    assert_eq!(found(&admin("a", 1, subject, &[ports("Allow", 80), all("Deny")].concat()), &shop()), []);
    // Another policy of the tier comes first, too; a rule of another tier does not.
    let before = [shop(), admin("first", 1, subject, &all("Pass"))].concat();
    assert_eq!(found(&admin("second", 2, subject, &all("Deny")), &before), one("unreachable-rule", "warning", 8));
    let baseline = admin("default", 1, subject, &all("Deny"))
        .replace("AdminNetworkPolicy", "BaselineAdminNetworkPolicy")
        .replace("  priority: 1\n", "");
    assert_eq!(found(&baseline, &before), []);
}

#[test]
fn what_fails_closed_is_told() {
    let rule = |peer: &str, ports: &str| format!("  - {{action: Allow, from: [{{{peer}}}]{ports}}}\n");
    let subject = "{namespaces: {}}";
    let ids = |text: &str| found(text, &shop()).into_iter().map(|(id, severity, _)| (id, severity)).collect::<Vec<_>>();
    let pair = |id: &str, severity: &str| (id.to_owned(), severity.to_owned());
    assert_eq!(ids(&admin("a", 1, subject, &rule("future: {}", ""))), [pair("unknown-peer", "error")]);
    assert_eq!(
        ids(&admin("a", 1, subject, &rule("namespaces: {}", ", ports: [{namedPort: nothing}]"))),
        [pair("unknown-port-name", "warning")]
    );
    let egress = admin("a", 1, subject, &rule("domainNames: [example.org]", ""))
        .replace("ingress:", "egress:")
        .replace("from:", "to:");
    assert_eq!(ids(&egress), [pair("domain-names", "error")]);
}

#[test]
fn findings_come_as_a_table_and_as_one_array() {
    let input = [shop(), policy("p", "{podSelector: {matchLabels: {app: wbe}}}")].concat();
    let table = run_on(&input, &["lint", "-"]);
    assert_eq!(table.code, Some(1));
    assert!(table.stdout.starts_with("SEVERITY") && table.stdout.contains("selects-nothing"), "{}", table.stdout);
    let array = run_on(&input, &["lint", "-", "-o", "json"]);
    let array: Value = serde_json::from_str(&array.stdout).unwrap();
    assert_eq!(array[0]["object"], "NetworkPolicy/shop/p");
    let clean = run_on(&shop(), &["lint", "-", "-o", "json"]);
    assert_eq!((clean.code, clean.stdout.trim()), (Some(0), "[]"));
}

#[test]
fn whom_policies_select_is_not_told_where_no_pod_was_given() {
    let text = policy("p", "{podSelector: {matchLabels: {app: nobody}}, ingress: [{from: [{podSelector: {}}]}]}");
    assert_eq!(
        found(&text, "").iter().map(|(id, severity, _)| (id.as_str(), severity.as_str())).collect::<Vec<_>>(),
        [("no-pods", "info")]
    );
}
