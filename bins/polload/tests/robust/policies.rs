//! Policies, rules, peers, ports and labels in great number.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::common::{policy, shop};
use crate::*;

#[test]
fn selectors_of_10_000_values_and_expressions_select_what_they_say() {
    let scratch = Scratch::new();
    let pods = shop() + &each(1000, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}, tier: t{}", n % 10)));
    let many = sized(10_000).max(1000);
    let values = each(many, |n| format!("a{}, ", n * 2));
    let expressions = each(many, |n| format!("{{key: k{n}, operator: DoesNotExist}}, "));
    let spec = format!(
        "{{podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{values}db]}}]}}, ingress: [\
         {{from: [{{podSelector: {{matchExpressions: [{{key: app, operator: NotIn, values: [{values}x]}}, {expressions}\
         {{key: tier, operator: Exists}}]}}}}]}}]}}"
    );
    let file = scratch.file("values.yaml", &[pods.as_bytes(), policy("values", &spec).as_bytes()]);
    // Selected are those of an even number and db; let in are those of an odd one, and not web, which has no tier.
    assert!(allows(LITTLE, &file, "shop/p1", "shop/p998", "80/tcp"));
    assert!(allows(LITTLE, &file, "shop/p999", "shop/db", "80/tcp"));
    assert!(!allows(LITTLE, &file, "shop/p2", "shop/p998", "80/tcp"));
    assert!(!allows(LITTLE, &file, "shop/web", "shop/db", "80/tcp"));
    assert!(allows(LITTLE, &file, "shop/p2", "shop/p3", "80/tcp"));
    assert_eq!(run_within(LITTLE, &["lint", "-j", &file]).code.map(|code| code < 2), Some(true));
}

#[test]
fn rules_of_10_000_ports_and_100_000_peers_allow_what_they_say() {
    let scratch = Scratch::new();
    let head = |name: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec:\n  podSelector: {{}}\n  ingress:\n"
        )
    };
    let many = sized(10_000).max(1000);
    let ports = each(many, |n| format!("    - {{port: {}, endPort: {}}}\n", n * 6 + 1, n * 6 + 3));
    let ports = format!("{}{}  - ports:\n{ports}", shop(), head("ports"));
    let file = scratch.file("ports.yaml", &[ports.as_bytes()]);
    assert!(allows(LITTLE, &file, "shop/web", "shop/db", &format!("{}/tcp", many * 6 - 3)));
    assert!(!allows(LITTLE, &file, "shop/web", "shop/db", &format!("{}/tcp", many * 6 - 2)));

    let many = sized(100_000);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
    let blocks = each(many, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n)));
    let blocks = format!("{}{}  - from:\n{blocks}", shop(), head("blocks"));
    let excepts = each(many, |n| format!("        - {}\n", cidr(n)));
    let excepts = format!(
        "{}{}  - from:\n    - ipBlock:\n        cidr: 0.0.0.0/0\n        except:\n{excepts}",
        shop(),
        head("excepts")
    );
    let last = |n: usize| cidr(n).replace("0/24", "255");
    for (name, text, inside) in [("blocks.yaml", blocks, true), ("excepts.yaml", excepts, false)] {
        let file = scratch.file(name, &[text.as_bytes()]);
        assert_eq!(allows(MUCH, &file, &last(many - 1), "shop/db", "80"), inside, "{name}");
        assert_eq!(allows(MUCH, &file, &last(many), "shop/db", "80"), !inside, "{name}");
    }

    let pods = each(many, |n| {
        format!(
            "    - {{namespaceSelector: {{matchLabels: {{team: t{n}}}}}, podSelector: {{matchLabels: {{app: a{n}}}}}}}\n"
        )
    });
    let pods = format!("{}{}  - from:\n{pods}    - podSelector: {{matchLabels: {{app: web}}}}\n", shop(), head("pods"));
    let file = scratch.file("pods.yaml", &[pods.as_bytes()]);
    assert!(allows(MUCH, &file, "shop/web", "shop/db", "80"));
    assert!(!allows(MUCH, &file, "bank/till", "shop/db", "80"));
}

#[test]
fn label_sets_of_65_000_pods_are_told_apart() {
    let scratch = Scratch::new();
    let (pods, namespaces) = (sized(65_000), if cfg!(debug_assertions) { 50 } else { 650 });
    let mut text = String::new();
    for n in 0..namespaces {
        writeln!(text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: n{n}, labels: {{team: t{}}}}}", n % 20)
            .unwrap();
        let expression = match n % 4 {
            0 => format!("{{key: app, operator: In, values: [a{n}, a{}]}}", n + namespaces),
            1 => format!("{{key: app, operator: NotIn, values: [a{n}, a{}]}}", n + namespaces),
            2 => "{key: gold, operator: Exists}".to_owned(),
            _ => "{key: gold, operator: DoesNotExist}".to_owned(),
        };
        let selector = format!("{{matchExpressions: [{expression}]}}");
        writeln!(
            text,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: x, namespace: n{n}}}\nspec: \
             {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: t{}}}}}, podSelector: \
             {selector}}}], ports: [{{port: 80}}]}}]}}",
            n % 20
        )
        .unwrap();
    }
    for n in 0..pods {
        let gold = if n % 3 == 0 { ", gold: ''" } else { "" };
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{n}, namespace: n{}, labels: {{app: a{n}{gold}}}}}\nstatus: \
             {{podIP: {}}}",
            n % namespaces,
            address(n + 1)
        )
        .unwrap();
    }
    let file = scratch.file("labels.yaml", &[text.as_bytes()]);
    let pod = |namespace: usize, turn: usize| format!("n{namespace}/p{}", namespace + turn * namespaces);
    let (last, asked) = (pods / namespaces - 1, |from: &str, to: &str| allows(LITTLE, &file, from, to, "80"));
    assert!(asked(&pod(0, 1), &pod(0, last)) && !asked(&pod(0, 2), &pod(0, last)), "In");
    assert!(!asked(&pod(1, 1), &pod(1, last)) && asked(&pod(1, 2), &pod(1, last)), "NotIn");
    assert!(asked(&pod(2, 2), &pod(2, last)) && !asked(&pod(2, 3), &pod(2, last)), "Exists");
    assert!(!asked(&pod(3, 0), &pod(3, last)) && asked(&pod(3, 1), &pod(3, last)), "DoesNotExist");
    assert!(!asked(&pod(4, 0), &pod(3, last)), "of another team");
}

#[test]
fn policies_of_one_namespace_are_10_000_and_all_count() {
    let scratch = Scratch::new();
    let count = sized(10_000);
    let mut text = shop() + &each(100, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    text += &each(count, |n| {
        let from = if n % 2 == 0 {
            format!("{{podSelector: {{matchLabels: {{app: a{n}}}}}}}")
        } else {
            format!("{{ipBlock: {{cidr: 11.{}.{}.0/24}}}}", n >> 8, n & 255)
        };
        policy(
            &format!("x{n}"),
            &format!("{{podSelector: {{}}, ingress: [{{from: [{from}], ports: [{{port: {}}}]}}]}}", n + 1),
        )
    });
    let file = scratch.file("policies.yaml", &[text.as_bytes()]);
    assert!(allows(LITTLE, &file, "shop/p98", "shop/p1", "99"));
    assert!(!allows(LITTLE, &file, "shop/p98", "shop/p1", "98"));
    let last = count - 1;
    let outside = format!("11.{}.{}.9", last >> 8, last & 255);
    assert!(allows(LITTLE, &file, &outside, "shop/p1", &count.to_string()));
    assert!(!allows(LITTLE, &file, &outside, "shop/p1", &last.to_string()));
    let matrix = run_within(LITTLE, &["matrix", "-j", &file]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    let reached = |row: &serde_json::Value| row["src"] == "shop/p98[Pod]" && row["dst"] == "shop/p1[Pod]";
    let rows = matrix.records().into_iter().filter(reached).collect::<Vec<_>>();
    assert_eq!((rows.len(), rows[0]["allow"]["TCP"].to_string()), (1, "[[99,99]]".to_owned()));
}

/// What `lint` says of files with so many findings of each kind; each is a line that can be taken in.
fn findings(memory: usize, files: &[&str]) -> BTreeMap<String, usize> {
    let lint = run_within(memory, &[&["lint", "-j"], files].concat());
    assert_eq!((lint.code, lint.stderr.as_str()), (Some(1), ""));
    let longest = lint.stdout.lines().map(str::len).max();
    assert!(longest < Some(10_000), "{longest:?}");
    let mut ids = BTreeMap::new();
    for record in lint.records() {
        *ids.entry(record["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ids
}

#[test]
fn lint_compares_10_000_cluster_wide_policies_and_10_000_rules() {
    let scratch = Scratch::new();
    let (count, others) = (sized(10_000), if cfg!(debug_assertions) { 30 } else { 1000 });
    let pods = shop() + &each(others, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    let pods = scratch.file("pods.yaml", &[pods.as_bytes()]);
    let policy = |n: usize, peers: &str, ports: &str| {
        let but = |n: usize| format!("{{matchExpressions: [{{key: app, operator: NotIn, values: [a{n}]}}]}}");
        let subject = format!("{{pods: {{namespaceSelector: {{}}, podSelector: {}}}}}", but(n % others));
        let peers = peers.replace("BUT", &but(n % (others - 3)));
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: x{n}}}\n\
             spec: {{tier: Admin, priority: {}, subject: {subject}, ingress: [{{action: Deny, from: [{peers}]{ports}}}]}}\n",
            n % 1000
        )
    };
    let shadowed = each(count, |n| policy(n, "{namespaces: {}}", ""));
    let shadowed = scratch.file("shadowed.yaml", &[shadowed.as_bytes()]);
    // The first has all but one pod for its subjects, and the second that one.
    assert_eq!(findings(LITTLE, &[&pods, &shadowed]).get("unreachable-rule"), Some(&(count - 2)));
    let peers = "{pods: {namespaceSelector: {}, podSelector: BUT}}";
    let ports = |n: usize| format!(", protocols: [{{tcp: {{destinationPort: {{number: {}}}}}}}]", n + 1);
    let apart = each(count, |n| policy(n, peers, &ports(n)));
    let apart = scratch.file("apart.yaml", &[apart.as_bytes()]);
    let lint = run_within(MUCH, &["lint", "-j", &pods, &apart]);
    assert!(!lint.stdout.contains("unreachable-rule"), "{}", lint.stderr);
    assert_eq!(lint.stdout.contains("unreachable-not-looked-for"), !cfg!(debug_assertions), "{}", lint.stderr);
}

#[test]
fn lint_compares_rules_of_100_000_peers() {
    let scratch = Scratch::new();
    let count = sized(100_000);
    let pods = scratch.file("pods.yaml", &[shop().as_bytes()]);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x, namespace: shop}\n\
                spec:\n  podSelector: {}\n  ingress:\n";
    for (name, peers, others) in [
        ("blocks.yaml", each(count, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n))), None),
        ("pods.yaml", each(count, |n| format!("    - podSelector: {{matchLabels: {{app: a{n}}}}}\n")), Some(101)),
    ] {
        // Turned round, so that what is looked for comes last.
        let turned: String = peers.lines().rev().flat_map(|line| [line, "\n"]).collect();
        let text = format!("{head}  - from:\n{peers}  - from:\n{turned}");
        let found = findings(MUCH, &[&pods, &scratch.file(&format!("rules-{name}"), &[text.as_bytes()])]);
        assert_eq!(found.get("unreachable-rule"), Some(&1), "{name}: {found:?}");
        // A hundred, and how many more there are.
        assert_eq!(found.get("peer-selects-nothing").copied(), others, "{name}: {found:?}");
    }
}

#[test]
fn lint_cuts_what_it_says_of_900_000_fields_and_of_names_of_a_megabyte() {
    let scratch = Scratch::new();
    let pods = scratch.file("pods.yaml", &[shop().as_bytes()]);
    let policy = |fields: &str| {
        format!(
            "{{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{{\"name\":\"big\",\
             \"namespace\":\"shop\"}},\"spec\":{{\"podSelector\":{{}}{fields}}}}}"
        )
    };
    let fields = policy(&each(sized(900_000), |n| format!(",\"f{n}\":1")));
    let found = findings(MUCH, &[&pods, &scratch.file("fields.json", &[fields.as_bytes()])]);
    assert_eq!(found, BTreeMap::from([("unknown-field".to_owned(), 101)]));
    let name = policy(&format!(",\"{}\":1", "x".repeat(1 << 20)));
    let found = findings(LITTLE, &[&pods, &scratch.file("name.json", &[name.as_bytes()])]);
    assert_eq!(found, BTreeMap::from([("unknown-field".to_owned(), 1)]));
}

#[test]
fn ranges_outside_are_worked_out_once_for_1000_pods() {
    let scratch = Scratch::new();
    let count = sized(100_000);
    let cidr = |n: usize| format!("{}.{}.{}.0/24", 11 + (n >> 15), n >> 7 & 255, n << 1 & 255);
    let blocks = each(count, |n| format!("    - ipBlock: {{cidr: {}}}\n", cidr(n)));
    let many = sized(1000).max(100);
    let pods = shop() + &each(many, |n| labelled(&format!("p{n}"), n + 256, &format!("app: a{n}")));
    let text = format!(
        "{pods}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: x, namespace: shop}}\n\
         spec:\n  podSelector: {{}}\n  ingress:\n  - from:\n{blocks}    ports: [{{port: 80}}]\n  - from:\n    - ipBlock: \
         {{cidr: 0.0.0.0/0}}\n"
    );
    let file = scratch.file("blocks.yaml", &[text.as_bytes()]);
    let matrix = run_within(MUCH, &["matrix", "-j", &file]);
    assert_eq!((matrix.code, matrix.stderr.as_str()), (Some(0), ""));
    let from = |row: &&str| row.contains("\"src\":\"0.0.0.0-255.255.255.255\"");
    assert_eq!(matrix.stdout.lines().filter(from).count(), many + 3, "each pod");
    let diff = run_within(MUCH, &["diff", "-j", &file, &file]);
    assert_eq!((diff.code, diff.stdout.as_str()), (Some(0), ""), "{}", diff.stderr);
}
