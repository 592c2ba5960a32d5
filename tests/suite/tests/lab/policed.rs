//! A node whose pods are adopted and judged: with `cni-chain` and `polload` as a user has them.

use std::fs;
use std::path::PathBuf;

use chainkit_abi::set_of;
use chainkit_bpf::{Datapath, NodeLock, Pins, TableSet};
use chainkit_lab::{Lab, NODE_NAME, Pod, PodSpec, Running, program};
use serde_json::{Value, json};

use crate::dump::records;

/// Policies of both directions and families, with whole and cut prefixes, ports alone and in ranges, and names.
pub(crate) const POLICIES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}, {port: sql}, {protocol: UDP, port: 100, endPort: 200}]
  - from: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.128/25]}}, {ipBlock: {cidr: "2001:db8:7::/48"}}]
  egress:
  - to: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 80}]
  - to: [{ipBlock: {cidr: 192.0.2.0/28}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}]
    ports: [{port: sql}]
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: db}
spec:
  clusterIP: 10.100.0.10
  clusterIPs: [10.100.0.10]
  selector: {app: db}
  ports: [{name: sql, port: 3306, targetPort: 5432, protocol: TCP, nodePort: 30306}]
"#;

/// The node, and what is asked of it.
pub(crate) struct Policed<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) db: Pod,
    pub(crate) web: Pod,
    pub(crate) free: Pod,
}

impl<'a> Policed<'a> {
    /// Three pods, adopted, of which [`POLICIES`] select two; no policy is in force yet.
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let pod = |name: &str| lab.pod_of(&PodSpec::new("shop", name).label("app", name).ipv6()).unwrap();
        let node = Self { lab, db: pod("db"), web: pod("web"), free: pod("free") };
        for pod in [&node.db, &node.web, &node.free] {
            node.cache_result(pod);
        }
        let (code, adopted) = node.run("cni-chain", &["adopt", "--all"]);
        assert_eq!(
            (code, adopted.iter().filter(|one| one["result"] == "adopted").count()),
            (Some(0), 3),
            "{adopted:?}"
        );
        node
    }

    /// As libcni keeps the result of a pod's ADD, by which its name and addresses are found.
    pub(crate) fn cache_result(&self, pod: &Pod) {
        let folder = self.lab.root().join("var/lib/cni/results");
        fs::create_dir_all(&folder).unwrap();
        let result = json!({
            "kind": "cniCacheV1", "containerId": pod.container_id, "config": "e30=", "ifName": "eth0",
            "networkName": "aws-cni", "netns": pod.netns_path(),
            "cniArgs": [["K8S_POD_NAMESPACE", pod.namespace], ["K8S_POD_NAME", pod.name], ["K8S_POD_UID", pod.uid]],
            "result": {"cniVersion": "1.0.0", "ips": [
                {"address": format!("{}/32", pod.ip4)}, {"address": format!("{}/128", pod.ip6.unwrap())},
            ]},
        });
        fs::write(folder.join(format!("aws-cni-{}-eth0", pod.container_id)), result.to_string()).unwrap();
    }

    /// Runs a program on the node; its exit code and its records, or its complaint in place of them.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
        let mut command = self.lab.node().command(program(name).unwrap());
        command.env("CHAINKIT_ROOT", self.lab.root()).env("RUST_BACKTRACE", "1");
        let output = command.args(arguments).args(["-o", "jsonl", "--log", "json"]).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(!stderr.contains("panicked"), "{name} {arguments:?}: {stderr}");
        let said = records(if stdout.is_empty() { &stderr } else { &stdout });
        (output.status.code(), said)
    }

    /// Starts a `polload` that goes on until it is dropped.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.lab.node().command(program("polload").unwrap());
        command.env("CHAINKIT_ROOT", self.lab.root()).args(arguments);
        Running::start(command).unwrap()
    }

    /// The pods, nodes and namespaces, with a name for a port of the database.
    fn objects(&self) -> Value {
        let mut objects = self.lab.objects();
        for pod in objects["items"].as_array_mut().unwrap().iter_mut().filter(|one| one["metadata"]["name"] == "db") {
            pod["spec"]["containers"][0]["ports"] = json!([{"name": "sql", "containerPort": 5433, "protocol": "TCP"}]);
        }
        objects
    }

    /// Files of objects and policies.
    pub(crate) fn files(&self, policies: &str) -> [String; 2] {
        let write = |name: &str, text: &str| {
            let path: PathBuf = self.lab.root().join("tmp").join(name);
            fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        [write("objects.json", &self.objects().to_string()), write("policies.yaml", policies)]
    }

    /// Puts policies in force, with more arguments.
    pub(crate) fn apply(&self, policies: &str, arguments: &[&str]) {
        let [objects, policies] = self.files(policies);
        let (code, said) =
            self.run("polload", &[&["apply", "--node", NODE_NAME, &objects, &policies], arguments].concat());
        assert_eq!(code, Some(0), "{said:?}");
    }

    pub(crate) fn datapath(&self) -> Datapath {
        Datapath::open(&Pins::below(self.lab.root())).unwrap().unwrap()
    }

    pub(crate) fn lock(&self) -> NodeLock {
        NodeLock::take(self.lab.root()).unwrap()
    }

    /// The tables in force.
    pub(crate) fn tables(&self) -> TableSet {
        let datapath = self.datapath();
        datapath.tables_at(set_of(datapath.judging())).unwrap().unwrap()
    }
}
