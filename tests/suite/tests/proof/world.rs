//! The nine pods, the objects that say what they are, and what a step is: policies are applied, and all that the pods ask each other has to be
//! answered as the oracle says, and as the test says itself.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use chainkit_bpf::Kit;
use chainkit_lab::{Lab, NODE_NAME, Pod, PodSpec, program};
use serde_json::{Value, json};

use crate::answer::{Answerers, PORTS};
use crate::ask::{Probe, ask, probes};
use crate::expected;

/// The pods. Each has the label `pod` with the last letter, and its namespace the label `ns` with the first.
pub(crate) const NAMES: [&str; 9] = ["x/a", "x/b", "x/c", "y/a", "y/b", "y/c", "z/a", "z/b", "z/c"];

/// In this time after `apply` has returned everything is to be right; where it is not, that is told.
const TARGET: Duration = Duration::from_secs(1);
/// After this it will not come right any more: long enough for an emulated machine under load.
const SOON: Duration = Duration::from_secs(60);

/// Runs a test on a new node with the nine pods, adopted, for each way in which this kernel can hang programs on interfaces.
pub(crate) fn by_each_kit(test: impl Fn(&mut World<'_>) + Sync) {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let kits: &[Kit] = match Kit::best() {
        Kit::Tcx => &[Kit::Tcx, Kit::Clsact],
        Kit::Clsact => &[Kit::Clsact],
    };
    for kit in kits {
        let lab = Lab::new().unwrap();
        let mut world = World::new(&lab);
        world.adopt(*kit);
        test(&mut world);
    }
}

/// A NetworkPolicy by `NAMESPACE/NAME`, with its spec in YAML.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {spec}\n"
    )
}

/// A node with the nine pods, who answer each other, and its objects.
pub(crate) struct World<'a> {
    lab: &'a Lab,
    /// In the order of [`NAMES`].
    pods: Vec<Pod>,
    objects: Value,
    probes: Vec<Vec<Probe>>,
    kit: &'static str,
    _answerers: Answerers,
}

impl<'a> World<'a> {
    /// The pods, with nothing of ours on their interfaces yet.
    pub(crate) fn new(lab: &'a Lab) -> Self {
        let spec = |name: &str| {
            let (namespace, pod) = name.split_once('/').unwrap();
            PodSpec::new(namespace, pod).label("pod", pod).ipv6()
        };
        let pods = NAMES.map(|name| lab.pod_of(&spec(name)).unwrap()).to_vec();
        let answerers = Answerers::start(&pods);
        let probes = probes(&NAMES, &pods);
        let mut world = Self { lab, pods, objects: lab.objects(), probes, kit: "no programs", _answerers: answerers };
        for name in ["x", "y", "z"] {
            world.label_namespace(name, "ns", Some(name));
        }
        for name in NAMES {
            world.name_ports(name, &all_ports());
        }
        world
    }

    pub(crate) fn lab(&self) -> &Lab {
        self.lab
    }

    pub(crate) fn pod(&self, name: &str) -> &Pod {
        &self.pods[NAMES.iter().position(|pod| *pod == name).unwrap()]
    }

    /// Has `cni-chain` take all pods in, whose names and addresses it finds where libcni keeps the results of their ADD.
    fn adopt(&mut self, kit: Kit) {
        let folder = self.lab.root().join("var/lib/cni/results");
        fs::create_dir_all(&folder).unwrap();
        for pod in &self.pods {
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
        let said = self.run("cni-chain", &["adopt", "--all", "--attach", kit.name(), "-o", "jsonl"]);
        assert_eq!(said.matches(r#""result":"adopted""#).count(), NAMES.len(), "{said}");
        self.kit = kit.name();
    }

    /// Runs a program on the node, which has to go well; what it printed.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = self.lab.node().command(program(name).unwrap());
        let output = command.env("CHAINKIT_ROOT", self.lab.root()).args(arguments).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{name} {arguments:?}: {}: {stderr}{stdout}", output.status);
        stdout
    }

    /// Gives a namespace a label, or takes it away, in the objects.
    pub(crate) fn label_namespace(&mut self, name: &str, key: &str, value: Option<&str>) {
        label(self.object("Namespace", None, name), key, value);
    }

    /// Gives a pod a label, or takes it away, in the objects.
    pub(crate) fn label_pod(&mut self, name: &str, key: &str, value: Option<&str>) {
        let (namespace, pod) = name.split_once('/').unwrap();
        label(self.object("Pod", Some(namespace), pod), key, value);
    }

    /// Says what a pod calls its ports, in the objects: name, protocol and number of each.
    pub(crate) fn name_ports(&mut self, name: &str, ports: &[(String, &str, u16)]) {
        let (namespace, pod) = name.split_once('/').unwrap();
        let ports: Vec<Value> = ports
            .iter()
            .map(|(name, protocol, number)| json!({"name": name, "protocol": protocol, "containerPort": number}))
            .collect();
        self.object("Pod", Some(namespace), pod)["spec"]["containers"][0]["ports"] = ports.into();
    }

    fn object(&mut self, kind: &str, namespace: Option<&str>, name: &str) -> &mut Value {
        let is_it = |object: &&mut Value| {
            let metadata = &object["metadata"];
            object["kind"] == kind && metadata["name"] == name && metadata["namespace"].as_str() == namespace
        };
        self.objects["items"].as_array_mut().unwrap().iter_mut().find(is_it).unwrap()
    }

    /// Applies these policies and no others. Each probe has to be answered as the oracle says of the objects and policies, and as `stated` says;
    /// of what a pod asks itself `stated` is not asked: it is always allowed.
    #[track_caller]
    pub(crate) fn step(&self, name: &str, policies: &[String], stated: impl Fn(&Probe) -> bool) {
        let mut files = vec![("objects.json".to_owned(), format!("{:#}\n", self.objects))];
        if !policies.is_empty() {
            files.push(("policies.yaml".to_owned(), policies.join("---\n")));
        }
        let allowed = expected::allowed(&files, &self.probes);
        self.agree(name, &allowed, &stated);
        let paths: Vec<String> = files
            .iter()
            .map(|(name, text)| {
                let path = self.lab.root().join("tmp").join(name);
                fs::write(&path, text).unwrap();
                path.into_os_string().into_string().unwrap()
            })
            .collect();
        let mut arguments = vec!["apply", "--node", NODE_NAME, "--mode", "enforce"];
        arguments.extend(paths.iter().map(String::as_str));
        let before = Instant::now();
        self.run("polload", &arguments);
        self.settles(&format!("{name}: applied in {} ms", before.elapsed().as_millis()), &allowed);
    }

    /// Takes all policy off the node: everything is allowed.
    #[track_caller]
    pub(crate) fn clear(&self) {
        self.run("polload", &["clear", "--now"]);
        self.is("cleared", |_| true);
    }

    /// Each probe has to be answered as `stated` says; nothing is applied.
    #[track_caller]
    pub(crate) fn is(&self, name: &str, stated: impl Fn(&Probe) -> bool) {
        let of = |probe: &Probe| probe.from == probe.to || stated(probe);
        let allowed: Vec<Vec<bool>> = self.probes.iter().map(|probes| probes.iter().map(of).collect()).collect();
        self.settles(name, &allowed);
    }

    /// The test's own expectation is the oracle's.
    #[track_caller]
    fn agree(&self, name: &str, allowed: &[Vec<bool>], stated: impl Fn(&Probe) -> bool) {
        for (probe, allowed) in self.probes.iter().flatten().zip(allowed.iter().flatten()) {
            let stated = probe.from == probe.to || stated(probe);
            assert_eq!(*allowed, stated, "{name}: {probe}: the oracle on the left, the test on the right");
        }
    }

    /// Asks until all is as expected, and tells how long it took from here.
    #[track_caller]
    fn settles(&self, name: &str, allowed: &[Vec<bool>]) {
        let since = Instant::now();
        for round in 0.. {
            let Asked { wrong, last, again } = self.asked(allowed);
            if wrong.is_empty() {
                let took = last - since;
                let when = match (round, again) {
                    (0, false) => "right from the first packet on".to_owned(),
                    _ if took > TARGET => format!("right after {} ms, LATER THAN IT SHOULD", took.as_millis()),
                    _ => format!("right after {} ms", took.as_millis()),
                };
                println!("{}: {name}: {when}", self.kit);
                return;
            }
            assert!(since.elapsed() < SOON, "{}: {name}: {}", self.kit, told(&wrong));
        }
    }

    /// Asks once.
    fn asked(&self, allowed: &[Vec<bool>]) -> Asked {
        let answers = ask(&self.pods, &self.probes, allowed);
        let wrong = self.probes.iter().flatten().zip(allowed.iter().flatten().zip(answers.iter().flatten()));
        let wrong = wrong.filter(|(_, (allowed, answer))| **allowed != answer.is_some());
        let wrong = wrong.map(|(probe, (allowed, _))| (*probe, *allowed)).collect();
        let answers = || answers.iter().flatten().flatten();
        // Pods always answer themselves.
        let last = answers().map(|answer| answer.sent).max().unwrap();
        Asked { wrong, last, again: answers().any(|answer| answer.again) }
    }

    /// Expecting that every probe is answered, or none: those for which that is wrong.
    pub(crate) fn otherwise_than(&self, allowed: bool) -> Vec<Probe> {
        let all: Vec<Vec<bool>> = self.probes.iter().map(|probes| vec![allowed; probes.len()]).collect();
        self.asked(&all).wrong.into_iter().map(|(probe, _)| probe).collect()
    }
}

/// What came of asking.
struct Asked {
    /// What was answered, or not, other than expected, which is beside it.
    wrong: Vec<(Probe, bool)>,
    /// When the last of those that were answered was sent.
    last: Instant,
    /// One of those had to be sent again.
    again: bool,
}

/// What was answered otherwise than expected, in the first few cases.
fn told(wrong: &[(Probe, bool)]) -> String {
    let mut told = format!("{} probes are wrong", wrong.len());
    for (probe, allowed) in wrong.iter().take(30) {
        let how = if *allowed { "is allowed, and was not answered" } else { "is denied, and was answered" };
        write!(told, "\n  {probe} {how}").unwrap();
    }
    told
}

/// `serve-80-tcp` and so on: what pods call their ports, where a test does not say otherwise.
pub(crate) fn all_ports() -> Vec<(String, &'static str, u16)> {
    let of = |port: u16| {
        ["TCP", "UDP", "SCTP"].map(|protocol| (format!("serve-{port}-{}", protocol.to_lowercase()), protocol, port))
    };
    PORTS.into_iter().flat_map(of).collect()
}

fn label(object: &mut Value, key: &str, value: Option<&str>) {
    let labels = object["metadata"]["labels"].as_object_mut().unwrap();
    match value {
        Some(value) => labels.insert(key.to_owned(), value.into()),
        None => labels.remove(key),
    };
}
