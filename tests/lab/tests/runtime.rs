//! Real container runtimes work on the lab's node and leave nothing behind. Needs root and the runtimes, and says so where they are
//! lacking.

#![expect(clippy::unwrap_used, reason = "a failure of the test's own means is a failure of the test")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chainkit_lab::cni::{Chain, has_debian_plugins};
use chainkit_lab::runtime::{Containerd, Podman, SandboxSpec};
use chainkit_lab::{Lab, Netns, Running};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Long enough for a machine under load.
const SOON: Duration = Duration::from_secs(60);

fn can_run(lacking: Option<&str>) -> bool {
    if chainkit_lab::skip_unless_root() {
        return false;
    }
    if let Some(program) = lacking {
        chainkit_lab::skip(&format!("{program} is not installed"));
        return false;
    }
    if !has_debian_plugins() {
        chainkit_lab::skip("Debian's containernetworking-plugins are not installed");
        return false;
    }
    true
}

/// A list of Debian's plugins whose last one writes down how it was called.
fn chain(lab: &Lab, version: &str) -> Chain {
    let subnet = json!({"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": lab.root().join("var/lib/ipam")});
    let chain = Chain::new(lab, "lab", version)
        .unwrap()
        .plugin(json!({"type": "ptp", "ipam": subnet}))
        .plugin(json!({"type": "lab-mock", "record": lab.root().join("tmp/record"),
            "capabilities": {"io.kubernetes.cri.pod-annotations": true}}));
    fs::write(lab.root().join("etc/cni/net.d/10-lab.conflist"), chain.conflist()).unwrap();
    chain
}

fn calls(lab: &Lab) -> Vec<(String, Value, Value)> {
    let text = fs::read_to_string(lab.root().join("tmp/record")).unwrap_or_default();
    let call = |line: &str| {
        let call: Value = serde_json::from_str(line).unwrap();
        let stdin = serde_json::from_str(call.get("stdin").unwrap().as_str().unwrap()).unwrap();
        let env = call.get("env").unwrap().clone();
        (env.get("CNI_COMMAND").unwrap().as_str().unwrap().to_owned(), env, stdin)
    };
    text.lines().map(call).collect()
}

fn eventually(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_eth0(netns: &Netns) -> bool {
    let mut ip: Command = netns.command("ip");
    ip.args(["link", "show", "dev", "eth0"]).output().unwrap().status.success()
}

/// Cgroups of the labs of a process, wherever cgroups are mounted.
fn cgroups(pid: u32) -> Vec<String> {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "3", "-type", "d", "-name"])
        .arg(format!("chainkit-lab.{pid}.*"))
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn containerd_runs_pods_as_the_kubelet_asks_and_survives_its_own_death() {
    if !can_run(Containerd::lacks()) {
        return;
    }
    let lab = Lab::new().unwrap();
    chain(&lab, "1.0.0");
    let mut containerd = Containerd::start(&lab).unwrap();
    let mut spec = SandboxSpec::new("shop", "web", "uid-1");
    spec.annotations.insert("lab/color".to_owned(), "green".to_owned());
    let pod = containerd.run_pod(&spec).unwrap();
    assert!(has_eth0(&pod.netns));
    assert_eq!(pod.status.addresses.first().unwrap().to_string(), "10.88.0.2");
    let (verb, env, stdin) = calls(&lab).pop().unwrap();
    assert_eq!(verb, "ADD");
    assert_eq!(env.get("CNI_CONTAINERID").unwrap(), &pod.id);
    let args = env.get("CNI_ARGS").unwrap().as_str().unwrap();
    for part in [
        "K8S_POD_NAMESPACE=shop",
        "K8S_POD_NAME=web",
        "K8S_POD_UID=uid-1",
        &format!("K8S_POD_INFRA_CONTAINER_ID={}", pod.id),
    ] {
        assert!(args.contains(part), "{args}");
    }
    let annotations = stdin.pointer("/runtimeConfig/io.kubernetes.cri.pod-annotations").unwrap();
    assert_eq!(annotations, &json!({"lab/color": "green"}));

    containerd.restart().unwrap();
    assert!(has_eth0(&pod.netns));
    assert_eq!(containerd.status(&pod.id).unwrap().addresses, pod.status.addresses);
    containerd.stop_pod(&pod.id).unwrap();
    containerd.stop_pod(&pod.id).unwrap();
    containerd.remove_pod(&pod.id).unwrap();
    let verbs: Vec<String> = calls(&lab).into_iter().map(|(verb, ..)| verb).collect();
    assert_eq!(verbs.iter().filter(|verb| *verb == "ADD").count(), 1, "{verbs:?}");
    assert!(verbs.iter().filter(|verb| *verb == "DEL").count() >= 1, "{verbs:?}");
}

#[test]
fn ctr_names_no_pod() {
    if !can_run(Containerd::lacks()) {
        return;
    }
    let lab = Lab::new().unwrap();
    chain(&lab, "0.4.0");
    let containerd = Containerd::start(&lab).unwrap();
    containerd.wait_for_network().unwrap();
    let (mut running, netns) = containerd.run_container("one").unwrap();
    assert!(has_eth0(&netns));
    let (verb, env, _) = calls(&lab).pop().unwrap();
    assert_eq!((verb.as_str(), env.get("CNI_CONTAINERID").unwrap()), ("ADD", &json!("default-one")));
    assert_eq!(env.get("CNI_ARGS").and_then(Value::as_str).unwrap_or_default(), "");
    containerd.kill_container("one").unwrap();
    running.wait(SOON).unwrap();
    let (verb, env, _) = calls(&lab).pop().unwrap();
    assert_eq!((verb.as_str(), env.get("CNI_NETNS").and_then(Value::as_str).unwrap_or_default()), ("DEL", ""));
}

#[test]
fn podman_names_the_container_as_a_pod_without_a_namespace() {
    if !can_run(Podman::lacks()) {
        return;
    }
    let lab = Lab::new().unwrap();
    chain(&lab, "0.4.0");
    let podman = Podman::start(&lab).unwrap();
    let (id, netns) = podman.run_container("one", "lab").unwrap();
    assert!(has_eth0(&netns));
    let (verb, env, _) = calls(&lab).pop().unwrap();
    assert_eq!((verb.as_str(), env.get("CNI_CONTAINERID").unwrap()), ("ADD", &json!(id)));
    let args = env.get("CNI_ARGS").unwrap().as_str().unwrap();
    assert!(args.contains("K8S_POD_NAME=one") && !args.contains("K8S_POD_NAMESPACE="), "{args}");
    podman.remove_container("one").unwrap();
    assert_eq!(calls(&lab).pop().unwrap().0, "DEL");
}

#[test]
fn nothing_of_a_runtime_is_left_when_its_lab_goes() {
    if !can_run(Containerd::lacks()) {
        return;
    }
    let lab = Lab::new().unwrap();
    chain(&lab, "1.0.0");
    let containerd = Containerd::start(&lab).unwrap();
    let pod = containerd.run_pod(&SandboxSpec::new("shop", "web", "uid-1")).unwrap();
    let cached = lab.root().join(format!("var/lib/cni/results/lab-{}-eth0", pod.id));
    assert!(cached.exists(), "the runtime caches its results elsewhere");
    // All but the pod's own namespace, which this test holds by `pod`.
    let socket = containerd.socket();
    assert!(is_listening(&socket));
    drop(containerd);
    assert!(!is_listening(&socket));
    let root = lab.root().display().to_string();
    eventually("processes of the runtime live on", || processes_of(&root).is_empty());
    for folder in ["/var/lib/cni/results", "/run/netns", "/run/containerd/s"] {
        let left = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains(&pod.id)).collect();
        assert!(left.is_empty(), "{folder} of the real machine holds {left:?}");
    }
    assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!("{root}/tmp")));
    drop(pod);
    drop(lab);
    assert!(!Path::new(&root).exists());
}

/// Set for the process that is to be killed.
const TO_BE_KILLED: &str = "CHAINKIT_RUNTIME_TO_BE_KILLED";

#[test]
fn a_process_with_a_runtime_that_is_to_be_killed() {
    if std::env::var_os(TO_BE_KILLED).is_none() {
        return;
    }
    let lab = Lab::new().unwrap();
    chain(&lab, "1.0.0");
    let containerd = Containerd::start(&lab).unwrap();
    containerd.run_pod(&SandboxSpec::new("shop", "web", "uid-1")).unwrap();
    println!("\nroot {}", lab.root().display());
    println!("ready");
    std::thread::sleep(SOON);
}

#[test]
fn a_killed_process_takes_its_runtime_along_and_the_next_sweeps_its_cgroups() {
    if !can_run(Containerd::lacks()) {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_with_a_runtime_that_is_to_be_killed", "--nocapture"]);
    let mut killed = Running::start({
        command.env(TO_BE_KILLED, "1");
        command
    })
    .unwrap();
    killed.wait_for_stdout("ready\n", SOON).unwrap();
    let groups = cgroups(killed.pid());
    assert!(!groups.is_empty());
    let said = killed.stdout();
    let root = said.lines().find_map(|line| line.strip_prefix("root ")).unwrap();
    killed.signal(Signal::SIGKILL).unwrap();
    killed.wait(SOON).unwrap();
    eventually("processes of the runtime live on", || processes_of(root).is_empty());
    // Those of the machine end at the same time, but not at once.
    eventually("cgroups stay", || {
        let lab = Lab::new().unwrap();
        drop(Containerd::start(&lab).unwrap());
        cgroups(killed.pid()).is_empty()
    });
}

/// Process ids of the real machine that name this folder in their command lines.
fn processes_of(root: &str) -> String {
    let processes = Command::new("pgrep").args(["--full", "--", root]).output().unwrap();
    String::from_utf8(processes.stdout).unwrap()
}

/// Whether somebody listens on a Unix socket.
fn is_listening(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}
