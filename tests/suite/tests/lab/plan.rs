//! `polload plan` tells which live connections would end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use chainkit_lab::{NODE_NAME, program};
use serde_json::Value;

use crate::dump::records;
use crate::policed::{POLICIES, Policed};
use crate::stage::{SOON, at, eventually, on_node};

/// What the plan says of connections that would end: how many, and whose.
fn ends(node: &Policed<'_>, policies: &str) -> (u64, Vec<String>) {
    let [objects, policies] = node.files(policies);
    let (code, said) = node.run("polload", &["plan", "--node", NODE_NAME, &objects, &policies]);
    assert_eq!(code, Some(0), "{said:?}");
    let of = |one: &Value| format!("{} opened by {}", one["pod"].as_str().unwrap(), one["opened_by"].as_str().unwrap());
    let ended = said.iter().filter(|one| one["kind"] == "ConnectionEnd").map(of).collect();
    (said[0]["connections_ended"].as_u64().unwrap(), ended)
}

#[test]
fn a_connection_that_would_end_is_told_once_and_not_after_it_was_denied() {
    on_node(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &[]);
        let listener = node.db.run(|| TcpListener::bind(at(node.db.ip4, 5433))).unwrap().unwrap();
        let mut client = node.web.run(|| TcpStream::connect(at(node.db.ip4, 5433))).unwrap().unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        client.write_all(b"hello").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();

        // What verify sends is no connection that could end.
        assert_eq!(node.run("polload", &["verify"]).0, Some(0));
        assert_eq!(ends(&node, POLICIES), (0, vec![]));
        let tightened = POLICIES.replace("- from: [{podSelector: {matchLabels: {app: web}}}]", "- from: []");
        let tightened = tightened.replace(
            "  - from: []\n    ports: [{port: 5432}, {port: sql}, {protocol: UDP, port: 100, endPort: 200}]\n",
            "",
        );
        assert_ne!(tightened, POLICIES);
        assert_eq!(ends(&node, &tightened), (1, vec!["shop/db opened by peer".to_owned()]));

        node.apply(&tightened, &[]);
        let datapath = node.datapath();
        let slot = datapath.endpoint(node.db.host_ifindex).unwrap().unwrap().0;
        let of_db = || datapath.connections(slot).unwrap();
        // Nothing has come of it since: it lives, and is denied by what is in force all the same.
        assert_eq!(ends(&node, &tightened), (0, vec![]));
        let before = datapath.rule_hits().unwrap().iter().map(|(_, hits)| hits.denied).sum::<u64>();
        client.write_all(b"again").unwrap();
        eventually("a segment is denied", || {
            datapath.rule_hits().unwrap().iter().map(|(_, hits)| hits.denied).sum::<u64>() > before
        });
        assert_eq!(of_db().len(), 1, "it stays so that each segment is judged: {:?}", of_db());
        assert_eq!(ends(&node, &tightened), (0, vec![]));
        // The other end of it is no more denied than before.
        let closed = POLICIES.replace("    ports: [{port: sql}]\n", "    ports: [{port: 1}]\n");
        assert_eq!(ends(&node, &closed), (1, vec!["shop/web opened by pod".to_owned()]));
    });
}

#[test]
fn a_namespace_that_is_named_and_not_there_is_told() {
    on_node(|lab| {
        let node = Policed::new(lab);
        let [objects, policies] = node.files(POLICIES);
        let told = |arguments: &[&str]| {
            let mut command = lab.node().command(program("polload").unwrap());
            command.env("CHAINKIT_ROOT", lab.root()).args(["plan", "--node", NODE_NAME, "--log", "json"]);
            let output = command.args([&objects, &policies]).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let told = records(&String::from_utf8(output.stderr).unwrap());
            let of_namespace = |one: &Value| {
                one["message"].as_str().filter(|text| text.contains("no such namespace")).map(str::to_owned)
            };
            told.iter().filter_map(of_namespace).collect::<Vec<_>>()
        };
        assert!(told(&["--namespace-mode", "shop=audit", "--exclude-namespace", "shop"]).is_empty());
        let told = told(&["--namespace-mode", "shoop=audit", "--exclude-namespace", "kube-systen"]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("--namespace-mode shoop:") && told[1].starts_with("--exclude-namespace kube-systen:")
        );
    });
}
