//! A node whose chain ends with `cni-chain`, two clients and a server on it, and policies that tell the clients apart.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use chainkit_lab::cni::Chain;
use chainkit_lab::peer::{Server, tcp};
use chainkit_lab::{Lab, NODE_NAME, Pod, PodSpec, program};
use serde_json::{Value, json};

/// The server's port.
pub(crate) const PORT: u16 = 80;
/// How long an answer is waited for that will not come.
const SILENCE: Duration = Duration::from_millis(400);
/// How long something may take that is sure to happen.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The node.
pub(crate) struct Ground<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) chain: Chain,
    pub(crate) a: Pod,
    pub(crate) b: Pod,
    pub(crate) server: Pod,
    _serving: Server,
}

/// Runs a test on a new node.
pub(crate) fn on_ground(test: impl FnOnce(&Ground<'_>) + Send) {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let chain = Chain::new(&lab, "aws-cni", "1.0.0").unwrap().plugin(json!({
        "type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict", "pluginLogFile": "/dev/null",
    }));
    let chain = chain.plugin(json!({"type": "cni-chain", "logFile": lab.root().join("var/log/cni-chain.log")}));
    let pod = |name: &str| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap();
    let (a, b, server) = (pod("a"), pod("b"), pod("server"));
    let serving = server.run(|| tcp::acceptor(SocketAddr::new(server.ip4.into(), PORT))).unwrap().unwrap();
    let ground = Ground { lab: &lab, chain, a, b, server, _serving: serving };
    lab.node().run(|| test(&ground)).unwrap();
}

/// A policy that lets only the pod `client` come to the server; as JSON.
pub(crate) fn lets(client: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "server"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": client}}}]}],
        },
    })
}

impl Ground<'_> {
    /// The objects of the cluster and these policies, in a file of this name.
    pub(crate) fn file(&self, name: &str, policies: &[Value]) -> PathBuf {
        self.file_with(name, policies, &[])
    }

    /// The same with more objects.
    pub(crate) fn file_with(&self, name: &str, policies: &[Value], more: &[Value]) -> PathBuf {
        let mut objects = self.lab.objects();
        let items = objects["items"].as_array_mut().unwrap();
        items.extend(policies.iter().cloned());
        items.extend(more.iter().cloned());
        let path = self.lab.root().join("tmp").join(name);
        fs::write(&path, objects.to_string()).unwrap();
        path
    }

    /// `polload`, to be run on the node.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.lab.node().command(program("polload").unwrap());
        command.env("CHAINKIT_ROOT", self.lab.root()).args(arguments);
        command
    }

    /// Runs `polload`; whatever comes of it.
    pub(crate) fn polload(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        output
    }

    /// Runs it, which has to go well.
    #[track_caller]
    pub(crate) fn fine(&self, arguments: &[&str]) -> String {
        let output = self.polload(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Applies what is in a file, which has to go well.
    #[track_caller]
    pub(crate) fn apply(&self, file: &std::path::Path) {
        self.fine(&["apply", "--node", NODE_NAME, file.to_str().unwrap()]);
    }

    /// Whether a pod comes to the server.
    pub(crate) fn reaches(&self, client: &Pod) -> bool {
        let to = SocketAddr::new(self.server.ip4.into(), PORT);
        client.run(|| TcpStream::connect_timeout(&to, SILENCE).is_ok()).unwrap()
    }

    /// Which of the two clients come to the server; exactly one of them does under [`lets`].
    pub(crate) fn who(&self) -> (bool, bool) {
        (self.reaches(&self.a), self.reaches(&self.b))
    }

    /// The kernel's tables and the files are what the policies say.
    #[track_caller]
    pub(crate) fn verified(&self) {
        self.fine(&["verify"]);
    }

    /// How many folders of policy there are.
    pub(crate) fn folders(&self) -> Vec<String> {
        let folder = self.lab.root().join("var/lib/chainkit/policy");
        let names = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()).collect());
        let mut names: Vec<_> = names.unwrap_or_else(|_| Vec::new());
        names.sort();
        names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| !name.ends_with(".json")).collect()
    }
}

/// How many of the kernel's maps bear one of the names that a set of tables has.
pub(crate) fn sets_of_tables() -> usize {
    aya::maps::loaded_maps().flatten().filter(|map| map.name_as_str() == Some("backends_of")).count()
}

/// Waits until `done`, which is sure to come true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
