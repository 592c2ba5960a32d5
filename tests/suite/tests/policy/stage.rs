//! What every test begins with: a node with pods that `cni-chain` has adopted, their objects, and policy put in force by `polload`.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chainkit_lab::{Lab, NODE_NAME, Netns, Pod, PodSpec, Running, program};
use serde_json::{Value, json};

/// How long something may take that is sure to happen: long enough for a machine under load.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// How soon everything that is open is to be judged by what has changed; later is told, and does not fail.
pub(crate) const TARGET: Duration = Duration::from_secs(1);

/// A node, whose programs are run as people run them.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
}

impl Stage {
    /// `None`, after having said so: this needs root.
    pub(crate) fn new() -> Option<Self> {
        (!chainkit_lab::skip_unless_root()).then(|| Self { lab: Lab::new().unwrap() })
    }

    /// Adds a pod with an address of each family, `NAMESPACE/NAME`, and has it adopted.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        self.pod_of(spec(name).ipv6())
    }

    /// Adds a pod, and has it adopted.
    pub(crate) fn pod_of(&self, spec: PodSpec) -> Pod {
        let pod = self.lab.pod_of(&spec).unwrap();
        let addresses = [Some(IpAddr::from(pod.ip4)), pod.ip6.map(IpAddr::from)];
        self.cached(&pod, &addresses.into_iter().flatten().collect::<Vec<_>>());
        self.adopt();
        pod
    }

    /// As libcni keeps the result of a pod's ADD, by which `cni-chain` knows whose interface it is.
    fn cached(&self, pod: &Pod, addresses: &[IpAddr]) {
        let args = (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str());
        self.cached_result(&pod.container_id, pod.netns(), args, addresses);
    }

    /// The same of a namespace that is no pod of the lab's; `(namespace, name, uid)`.
    pub(crate) fn cached_result(&self, id: &str, netns: &Netns, of: (&str, &str, &str), addresses: &[IpAddr]) {
        let folder = self.lab.root().join("var/lib/cni/results");
        fs::create_dir_all(&folder).unwrap();
        let ips: Vec<Value> = addresses.iter().map(|address| json!({"address": whole(*address)})).collect();
        let (namespace, name, uid) = of;
        let result = json!({
            "kind": "cniCacheV1", "containerId": id, "config": "e30=", "ifName": "eth0", "networkName": "aws-cni",
            "netns": netns.path(),
            "cniArgs": [["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", name], ["K8S_POD_UID", uid]],
            "result": {"cniVersion": "1.0.0", "ips": ips},
        });
        fs::write(folder.join(format!("aws-cni-{id}-eth0")), result.to_string()).unwrap();
    }

    /// Has all pods that run adopted.
    pub(crate) fn adopt(&self) {
        self.run("cni-chain", &["adopt", "--all", "-o", "jsonl"]);
    }

    /// The items of `kubectl get … -o json`.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.lab.objects()["items"].as_array().unwrap().clone()
    }

    /// Puts policy in force: the lab's objects and these.
    #[track_caller]
    pub(crate) fn apply(&self, more: &[Value], options: &[&str]) {
        self.apply_exactly(&[&self.objects(), more].concat(), options);
    }

    /// The same with these objects and no others.
    #[track_caller]
    pub(crate) fn apply_exactly(&self, objects: &[Value], options: &[&str]) {
        let path = self.lab.root().join("tmp/objects.json");
        fs::write(&path, list(objects)).unwrap();
        let path = path.to_str().unwrap();
        self.run("polload", &[&["apply", "--node", NODE_NAME, path], options].concat());
    }

    /// Runs a program on the node, which has to go well; what it printed.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = self.lab.node().command(program(name).unwrap());
        let output = command.env("CHAINKIT_ROOT", self.lab.root()).args(arguments).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{name} {arguments:?}: {}: {stderr}{stdout}", output.status);
        stdout
    }
}

fn list(objects: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

fn whole(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// A pod by `NAMESPACE/NAME`.
pub(crate) fn spec(name: &str) -> PodSpec {
    let (namespace, name) = name.split_once('/').unwrap();
    PodSpec::new(namespace, name)
}

pub(crate) fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// A NetworkPolicy by `NAMESPACE/NAME`.
pub(crate) fn policy(name: &str, spec: &Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// Isolates the pods of a namespace that are called so (their label `app`) in these directions.
pub(crate) fn isolate(namespace: &str, app: &str, directions: &[&str]) -> Value {
    let selector = json!({"matchLabels": {"app": app}});
    policy(&format!("{namespace}/isolate-{app}"), &json!({"podSelector": selector, "policyTypes": directions}))
}

/// Isolates all pods of a namespace both ways.
pub(crate) fn deny_all(namespace: &str) -> Value {
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    policy(&format!("{namespace}/deny-all"), &spec)
}

/// The peer that consists of the pods called so.
pub(crate) fn app(name: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": name}}})
}

/// The peer that consists of an address.
pub(crate) fn host(address: impl Into<IpAddr>) -> Value {
    json!({"ipBlock": {"cidr": whole(address.into())}})
}

/// The object of a pod among objects.
pub(crate) fn object<'a>(objects: &'a mut [Value], name: &str) -> &'a mut Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let is_it = |object: &&mut Value| {
        let metadata = &object["metadata"];
        object["kind"] == "Pod" && metadata["name"] == name && metadata["namespace"] == namespace
    };
    objects.iter_mut().find(is_it).unwrap()
}

/// The objects without that of a pod.
pub(crate) fn without(objects: &[Value], name: &str) -> Vec<Value> {
    let (namespace, name) = name.split_once('/').unwrap();
    let is_it = |object: &Value| {
        object["kind"] == "Pod" && object["metadata"]["name"] == name && object["metadata"]["namespace"] == namespace
    };
    objects.iter().filter(|object| !is_it(object)).cloned().collect()
}

/// A Service with a cluster IP, of the pods called as it is; ports with their targets, all TCP.
pub(crate) fn service(name: &str, ip: Ipv4Addr, port: u16, target: u16) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "selector": {"app": name},
            "ports": [{"name": "main", "protocol": "TCP", "port": port, "targetPort": target}],
        },
    })
}

/// The EndpointSlice of a service; each endpoint with the node it is on.
pub(crate) fn slice(service: &str, port: u16, endpoints: &[(Ipv4Addr, &str)]) -> Value {
    let (namespace, name) = service.split_once('/').unwrap();
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, node)| {
            json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true, "serving": true, "terminating": false}})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": namespace, "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "endpoints": endpoints,
        "ports": [{"name": "main", "protocol": "TCP", "port": port}],
    })
}

/// Waits until `done`, which is sure to come true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// As [`eventually`], and tells when it took longer than it should.
#[track_caller]
pub(crate) fn within_a_second(what: &str, done: impl FnMut() -> bool) {
    let started = Instant::now();
    eventually(what, done);
    if started.elapsed() > TARGET {
        println!("{what}: after {} ms, LATER THAN IT SHOULD", started.elapsed().as_millis());
    }
}

/// A `polload watch` that follows one pipe.
pub(crate) struct Watch {
    running: Running,
    pipe: File,
}

impl Watch {
    /// Starts one with these objects, and waits until they are in force.
    pub(crate) fn start(stage: &Stage, objects: &[Value], options: &[&str]) -> Self {
        let path = stage.lab.root().join("tmp/watched");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut command = stage.lab.node().command(program("polload").unwrap());
        command.env("CHAINKIT_ROOT", stage.lab.root()).args(["watch", "--node", NODE_NAME]).args(options).arg(&path);
        command.stdin(Stdio::null());
        let running = Running::start(command).unwrap();
        // Opened for reading too, so that it does not wait for a program that may have failed.
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        let mut watch = Self { running, pipe };
        for object in objects {
            watch.send("ADDED", object);
        }
        watch.tells(0);
        watch
    }

    /// Changes an object, and waits for nothing.
    pub(crate) fn send(&mut self, kind: &str, object: &Value) {
        writeln!(self.pipe, "{}", json!({"type": kind, "object": object})).unwrap();
    }

    fn told(&self) -> usize {
        self.running.stdout().lines().count()
    }

    fn tells(&self, before: usize) {
        eventually("polload watch tells of no change", || {
            assert!(!self.running.stderr().contains("error"), "{}", self.running.stderr());
            self.told() > before
        });
    }

    /// Changes an object, and waits until that is in force.
    pub(crate) fn change(&mut self, kind: &str, object: &Value) {
        let before = self.told();
        self.send(kind, object);
        self.tells(before);
    }
}
