//! Policy put in force by the real `polload`, and whom the real `flowdump` names for what passes and what does not.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use chainkit_lab::cni::Chain;
use chainkit_lab::peer::{Server, tcp, udp};
use chainkit_lab::{Lab, Pod, PodSpec, program};
use serde_json::{Value, json};

use crate::dump::{Dump, extra, records, run};
use crate::stage::{at, eventually, on_node};

/// `web` hears from `cart` alone, and nobody may ask `kube-system`.
const POLICIES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-from-cart, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: nobody}}}]
  - from: [{podSelector: {matchLabels: {app: cart}}}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-system}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}
  egress:
  - {name: system, action: Deny, to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]}
"#;

/// A source that is no pod's.
const SPOOFED: &str = "10.66.66.66";

/// A node whose pods a chain attached, with policy in force.
pub(crate) struct Stage<'a> {
    lab: &'a Lab,
    pub(crate) web: Pod,
    pub(crate) cart: Pod,
    pub(crate) other: Pod,
    pub(crate) dns: Pod,
    objects: PathBuf,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let chain = Chain::new(lab, "aws-cni", "0.4.0").unwrap();
        let chain = chain
            .plugin(json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "ipv6": false, "pluginLogFile": "/dev/null"}))
            .plugin(json!({"type": "cni-chain", "logFile": lab.root().join("var/log/cni-chain.log")}));
        let pod = |namespace, name| lab.pod_through(&chain, &PodSpec::new(namespace, name)).unwrap();
        let (web, cart) = (pod("shop", "web"), pod("shop", "cart"));
        let (other, dns) = (pod("shop", "other"), pod("kube-system", "dns"));
        Self { lab, web, cart, other, dns, objects: lab.pods_file().unwrap() }
    }

    pub(crate) fn apply(&self, arguments: &[&str]) {
        let policies = self.lab.root().join("tmp/policies.yaml");
        fs::write(&policies, POLICIES).unwrap();
        let mut command = self.lab.node().command(program("polload").unwrap());
        command.args(["apply", "-j", "--root"]).arg(self.lab.root()).arg(&self.objects).arg(&policies).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn dump(&self) -> Dump {
        Dump::start(self.lab, &["-j", "--pods", self.objects.to_str().unwrap()])
    }

    fn echo(&self) -> Server {
        self.web.run(|| tcp::echo(at(self.web.ip4, 0))).unwrap().unwrap()
    }
}

/// Whether a pod gets an answer over TCP. One that gets none is not waited for as long as one that does.
fn reaches(from: &Pod, to: SocketAddr) -> bool {
    from.run(|| match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
        Ok(_) => tcp::say(to, b"hello").unwrap() == b"hello",
        Err(error) if error.kind() == ErrorKind::TimedOut => false,
        Err(error) => panic!("{to}: {error}"),
    })
    .unwrap()
}

fn flows_in(text: &str) -> Vec<Value> {
    records(text).into_iter().map(|mut record| record["flow"].take()).filter(Value::is_object).collect()
}

/// Waits until flows of all kinds have been told; what was told.
fn told_by(dump: Dump, kinds: &[&dyn Fn(&Value) -> bool]) -> String {
    let whole = |text: &str| text.rfind('\n').map_or(String::new(), |end| text[..=end].to_owned());
    eventually("not all flows are told", || {
        let flows = flows_in(&whole(&dump.running.stdout()));
        kinds.iter().all(|kind| flows.iter().any(kind))
    });
    dump.interrupt().stdout
}

/// A flow from one pod to another, as the receiver's interface (`TO_ENDPOINT`, or a drop there) or the sender's has it.
fn is_between(flow: &Value, from: &str, to: &str, direction: &str) -> bool {
    flow["source"]["pod_name"] == from
        && flow["destination"]["pod_name"] == to
        && flow["traffic_direction"] == direction
        && flow["is_reply"] != true
}

fn names(policies: &Value) -> Vec<String> {
    let name = |policy: &Value| {
        format!(
            "{} {}/{}",
            policy["kind"].as_str().unwrap(),
            policy["namespace"].as_str().unwrap_or_default(),
            policy["name"].as_str().unwrap()
        )
    };
    let mut names: Vec<String> = policies.as_array().map(|all| all.iter().map(name).collect()).unwrap_or_default();
    names.sort();
    names
}

const ISOLATING: [&str; 2] = ["NetworkPolicy shop/default-deny", "NetworkPolicy shop/web-from-cart"];

#[test]
fn denied_and_allowed_flows_name_their_policies() {
    on_node(|lab| {
        let stage = Stage::new(lab);
        let Stage { web, cart, other, dns, .. } = &stage;
        let (echo, sink) = (stage.echo(), dns.run(|| udp::sink(at(dns.ip4, 0))).unwrap().unwrap());
        let dump = stage.dump();
        // After flowdump has begun: it has to notice.
        stage.apply(&[]);
        assert!(reaches(cart, echo.address()));
        assert!(!reaches(other, echo.address()));
        let send = |from: &Pod, source: &str, to: SocketAddr| {
            let socket = from.run(|| UdpSocket::bind(format!("{source}:0"))).unwrap().unwrap();
            // A program of ours that drops at the host's side of the interface is no error at this one.
            socket.send_to(b"hello", to).unwrap();
        };
        send(cart, &cart.ip4.to_string(), sink.address());
        cart.netns().ip([format!("address add {SPOOFED}/32 dev lo").as_str()]).unwrap();
        send(cart, SPOOFED, at(web.ip4, 53));

        let allowed = |flow: &Value| is_between(flow, "cart", "web", "INGRESS") && flow["verdict"] == "FORWARDED";
        let isolated = |flow: &Value| is_between(flow, "other", "web", "INGRESS") && flow["verdict"] == "DROPPED";
        let denied = |flow: &Value| is_between(flow, "cart", "dns", "EGRESS") && flow["verdict"] == "DROPPED";
        let spoofed = |flow: &Value| flow["IP"]["source"] == SPOOFED && flow["verdict"] == "DROPPED";
        let text = told_by(dump, &[&allowed, &isolated, &denied, &spoofed]);
        let flows = flows_in(&text);
        let of = |kind: &dyn Fn(&Value) -> bool| flows.iter().filter(|flow| kind(flow)).collect::<Vec<_>>();

        for flow in of(&allowed) {
            assert_eq!(names(&flow["ingress_allowed_by"]), ["NetworkPolicy shop/web-from-cart"], "{flow}");
            let decided = json!({"direction": "ingress", "action": "allow", "tier": "NetworkPolicy", "rule": 1});
            assert_eq!(extra(flow)["decided_by"], decided, "{flow}");
            assert_eq!(flow["ingress_denied_by"], Value::Null);
        }
        for flow in of(&isolated) {
            assert_eq!(names(&flow["ingress_denied_by"]), ISOLATING, "{flow}");
            let decided = json!({"direction": "ingress", "action": "isolated", "tier": "NetworkPolicy"});
            assert_eq!(extra(flow)["decided_by"], decided, "{flow}");
            assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&json!(133), &json!("POLICY_DENIED")));
        }
        for flow in of(&denied) {
            assert_eq!(names(&flow["egress_denied_by"]), ["ClusterNetworkPolicy /no-system"], "{flow}");
            let decided = json!({"direction": "egress", "action": "deny", "tier": "Admin", "rule": 0});
            assert_eq!(extra(flow)["decided_by"], decided, "{flow}");
            assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&json!(181), &json!("POLICY_DENY")));
        }
        for flow in of(&spoofed) {
            assert_eq!(flow["source"]["pod_name"], "cart", "{flow}");
            assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&json!(132), &json!("INVALID_SOURCE_IP")));
            assert_eq!(extra(flow)["reason"], "invalid_source");
            assert_eq!(extra(flow)["decided_by"], Value::Null);
        }
        assert_eq!(sink.served(), 0);

        // Saved lines keep it, and people are told in words.
        let saved = lab.root().join("tmp/flows.jsonl");
        fs::write(&saved, &text).unwrap();
        let saved = saved.to_str().unwrap();
        assert_eq!(flows_in(&run(lab, &["-r", saved, "-j"]).stdout), flows);
        let compact = run(lab, &["-r", saved, "--verdict", "DROPPED"]).stdout;
        for expected in [
            " Policy denied DROPPED BY NetworkPolicy shop/default-deny, NetworkPolicy shop/web-from-cart (ingress, isolated) (TCP",
            " Policy denied by denylist DROPPED BY ClusterNetworkPolicy no-system (egress, tier Admin, rule 0) (UDP)",
            " Invalid source ip DROPPED (UDP)",
        ] {
            assert!(compact.contains(expected), "{expected} in {compact}");
        }
        // What is in the connection tables has names, too.
        let tables = flows_in(&run(lab, &["--last", "1000", "-j", "--pods", stage.objects.to_str().unwrap()]).stdout);
        let named = |flow: &&Value| is_between(flow, "cart", "web", "INGRESS");
        assert!(tables.iter().any(|flow| named(&flow)), "{tables:?}");
        for flow in tables.iter().filter(named) {
            assert_eq!(names(&flow["ingress_allowed_by"]), ["NetworkPolicy shop/web-from-cart"], "{flow}");
        }
    });
}

#[test]
fn audited_flows_pass_and_name_who_would_deny() {
    on_node(|lab| {
        let stage = Stage::new(lab);
        let echo = stage.echo();
        stage.apply(&["--mode", "audit"]);
        let dump = stage.dump();
        assert!(reaches(&stage.other, echo.address()));
        let audited = |flow: &Value| is_between(flow, "other", "web", "INGRESS") && flow["verdict"] == "AUDIT";
        let flows = flows_in(&told_by(dump, &[&audited]));
        for flow in flows.iter().filter(|flow| audited(flow)) {
            assert_eq!(names(&flow["ingress_denied_by"]), ISOLATING, "{flow}");
            assert_eq!(extra(flow)["decided_by"]["action"], "isolated", "{flow}");
            assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&Value::Null, &Value::Null), "{flow}");
        }
        assert!(flows.iter().all(|flow| flow["verdict"] != "DROPPED"), "{flows:?}");
        let tables = flows_in(&run(lab, &["--last", "1000", "-j", "--pods", stage.objects.to_str().unwrap()]).stdout);
        let entries: Vec<&Value> = tables.iter().filter(|flow| audited(flow)).collect();
        assert!(!entries.is_empty(), "{tables:?}");
        for flow in entries {
            assert_eq!(names(&flow["ingress_denied_by"]), ISOLATING, "{flow}");
        }
    });
}
