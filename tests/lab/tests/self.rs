//! The lab does what its users rely on. Needs root, and says so where it is lacking.

#![expect(clippy::unwrap_used, reason = "a failure of the test's own means is a failure of the test")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chainkit_lab::peer::{dns, http, tcp, udp};
use chainkit_lab::{INTERNET, INTERNET6, Lab, NODE, NODE_NAME, NODE6, OTHER_NODE, PodSpec, Running, ServiceSpec};
use nix::sys::signal::Signal;

/// Long enough for an emulated machine.
const SOON: Duration = Duration::from_secs(20);

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Waits until `done`, which is up to the kernel to bring about.
fn eventually(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn mounted(path: &Path) -> bool {
    fs::read_to_string("/proc/self/mounts").unwrap().contains(&path.display().to_string())
}

#[test]
fn pods_are_wired_as_the_vpc_cni_wires_them() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let pod = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
    let ip = |arguments: &[&str]| {
        let mut command = pod.command("ip");
        command.args(arguments);
        output(command)
    };
    let addresses = ip(&["-o", "address", "show", "dev", "eth0", "scope", "global"]);
    assert!(addresses.contains("inet 10.1.1.1/32"), "{addresses}");
    assert!(addresses.contains("inet6 2001:db8:1:1::1/128"), "{addresses}");
    assert_eq!(
        ip(&["route"]).lines().map(str::trim).collect::<Vec<_>>(),
        ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    );
    let neighbours = ip(&["neighbour", "show", "169.254.1.1"]);
    let host_mac = pod.host_mac.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!(neighbours.trim(), format!("169.254.1.1 dev eth0 lladdr {host_mac} PERMANENT"));

    let ip = |arguments: &[&str]| {
        let mut command = lab.node().command("ip");
        command.args(arguments);
        output(command)
    };
    let rules = ip(&["rule"]);
    for rule in [
        "512:\tfrom all to 10.1.1.1 lookup main",
        "1024:\tfrom all fwmark 0x80/0x80 lookup main",
        "1536:\tfrom 10.1.1.1 lookup 2",
    ] {
        assert!(rules.contains(rule), "{rule} is not in\n{rules}");
    }
    let route = ip(&["route", "get", "10.1.1.1"]);
    assert!(route.contains(&format!("dev {} ", pod.host_ifname)), "{route}");
    let link = ip(&["-o", "link", "show", "dev", &pod.host_ifname]);
    assert!(link.starts_with(&format!("{}: {}@", pod.host_ifindex, pod.host_ifname)), "{link}");
    assert!(link.contains(&host_mac) && link.contains("mtu 9001") && link.contains("state UP"), "{link}");
}

#[test]
fn pods_reach_each_other_their_node_and_the_world_both_ways() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let cart = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
    let web = lab.pod_of(&PodSpec::new("shop", "web").ipv6()).unwrap();
    let far = lab.remote_pod("shop", "far").unwrap();
    let targets = [
        IpAddr::from(web.ip4),
        web.ip6.unwrap().into(),
        NODE.into(),
        NODE6.into(),
        OTHER_NODE.into(),
        INTERNET.into(),
        INTERNET6.into(),
        far.into(),
    ];
    for target in targets {
        let mut ping = cart.command("ping");
        ping.args(["-n", "-c", "1", "-W", "5", &target.to_string()]);
        output(ping);
    }
    let pod_addresses = [IpAddr::from(cart.ip4), cart.ip6.unwrap().into()];
    for (netns, target) in [lab.node(), lab.world()].into_iter().flat_map(|from| pod_addresses.map(|to| (from, to))) {
        let mut ping = netns.command("ping");
        ping.args(["-n", "-c", "1", "-W", "5", &target.to_string()]);
        output(ping);
    }
    // It went through the table of the secondary interface, and came back from a port of the pod's own address.
    let server = lab.world().run(|| tcp::echo(at(INTERNET, 80))).unwrap().unwrap();
    assert_eq!(cart.run(|| tcp::say(server.address(), b"hello")).unwrap().unwrap(), b"hello");
}

#[test]
fn peers_count_exactly_what_was_sent() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());

    let sink = cart.run(|| udp::sink(at(cart.ip4, 4000))).unwrap().unwrap();
    web.run(|| udp::send(sink.address(), 300, 100, Duration::from_micros(500))).unwrap().unwrap();
    eventually("all datagrams arrive", || sink.served() == 300);
    assert_eq!(sink.bytes(), 300 * 100);

    let sink = cart.run(|| tcp::sink(at(cart.ip4, 4000))).unwrap().unwrap();
    web.run(|| tcp::source(sink.address(), 1_234_567)).unwrap().unwrap();
    assert_eq!((sink.served(), sink.bytes()), (1, 1_234_567));

    let acceptor = cart.run(|| tcp::acceptor(at(cart.ip4, 4001))).unwrap().unwrap();
    web.run(|| tcp::connects(acceptor.address(), 200)).unwrap().unwrap();
    assert_eq!(acceptor.served(), 200);

    let echo = cart.run(|| udp::echo(at(cart.ip4, 4002))).unwrap().unwrap();
    assert_eq!(web.run(|| udp::ask(echo.address(), b"who")).unwrap().unwrap(), b"who");
}

#[test]
fn pods_resolve_a_name_and_get_a_page() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
    let resolver = lab.pod("kube-system", "coredns").unwrap();
    let zone = [("cart.shop.svc.cluster.local".to_owned(), IpAddr::from(cart.ip4))];
    let _dns = resolver.run(|| dns::serve(at(resolver.ip4, 53), &zone)).unwrap().unwrap();
    let _http = cart.run(|| http::serve(at(cart.ip4, 80), "apples\n")).unwrap().unwrap();
    let answer = web.run(|| dns::query(at(resolver.ip4, 53), "cart.shop.svc.cluster.local", dns::Kind::A));
    let address = answer.unwrap().unwrap().addresses[0];
    let page = web.run(|| http::get(at(address, 80), "cart.shop", "/")).unwrap().unwrap();
    assert_eq!((page.status, page.body.as_slice()), (200, b"apples\n".as_slice()));
}

#[test]
fn nothing_of_the_lab_shows_outside_and_labs_stand_side_by_side() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let (one, other) = (Lab::new().unwrap(), Lab::new().unwrap());
    for lab in [&one, &other] {
        let pod = lab.pod("shop", "cart").unwrap();
        assert_eq!(pod.ip4, Ipv4Addr::new(10, 1, 1, 1));
        let mut links = Command::new("ip");
        links.args(["-o", "link"]);
        assert!(!output(links).contains(&pod.host_ifname));
    }
    assert_ne!(one.root(), other.root());
    assert!(one.pod("shop", "cart").unwrap_err().to_string().contains("shop/cart is already"));
}

#[test]
fn a_deleted_pod_leaves_the_node_as_it_was() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let state = || {
        let all: Vec<String> =
            [["rule"].as_slice(), &["-6", "rule"], &["route", "show", "table", "all"], &["-br", "link"]]
                .iter()
                .map(|arguments| {
                    let mut command = lab.node().command("ip");
                    command.args(*arguments);
                    output(command)
                })
                .collect();
        all.concat()
    };
    let before = state();
    let pod = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
    assert_ne!(state(), before);
    lab.delete_pod(&pod).unwrap();
    assert_eq!(state(), before);
    assert!(lab.delete_pod(&pod).is_err());
    assert_eq!(lab.objects()["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "Pod").count(), 0);
    assert_ne!(lab.pod("shop", "cart").unwrap().ip4, pod.ip4, "an address is not used again");
}

#[test]
fn objects_are_what_kubectl_would_print() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.pod_of(&PodSpec::new("shop", "cart").label("tier", "back").ipv6()).unwrap();
    lab.pod_of(&PodSpec::new("kube-system", "exporter").owner("DaemonSet", "node-exporter")).unwrap();
    lab.remote_pod("shop", "far").unwrap();
    lab.service(ServiceSpec {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        cluster_ip: Ipv4Addr::new(172, 20, 0, 7),
        ports: vec![("http".to_owned(), "TCP".to_owned(), 80, 8080)],
    });
    let file = lab.pods_file().unwrap();
    let list: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&"List".into(), &"v1".into()));
    let items = list["items"].as_array().unwrap();
    let find = |kind: &str, name: &str| {
        items.iter().find(|item| item["kind"] == kind && item["metadata"]["name"] == name).unwrap()
    };
    let cart = find("Pod", "cart");
    assert_eq!(cart["metadata"]["namespace"], "shop");
    assert_eq!(cart["metadata"]["labels"]["tier"], "back");
    assert_eq!(cart["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    let hash = cart["metadata"]["labels"]["pod-template-hash"].as_str().unwrap();
    assert_eq!(cart["metadata"]["ownerReferences"][0]["name"], format!("cart-{hash}"));
    assert_eq!(cart["status"]["podIPs"], serde_json::json!([{"ip": "10.1.1.1"}, {"ip": "2001:db8:1:1::1"}]));
    assert_eq!(cart["spec"]["nodeName"], NODE_NAME);
    assert_eq!(find("Pod", "exporter")["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    assert_ne!(find("Pod", "far")["spec"]["nodeName"], NODE_NAME);
    assert_eq!(find("Service", "cart")["spec"]["clusterIP"], "172.20.0.7");
    assert_eq!(find("Node", NODE_NAME)["status"]["addresses"][0]["address"], NODE.to_string());
    find("Namespace", "kube-system");
}

#[test]
fn a_program_started_inside_dies_with_its_guard_and_its_output_is_kept() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let mut one = lab.node().spawn("sh", ["-c", "echo started; echo beside >&2; exec sleep 1000"]).unwrap();
    one.wait_for_stdout("started\n", SOON).unwrap();
    one.wait_for_stderr("beside\n", SOON).unwrap();
    let pid = one.pid();
    let status = PathBuf::from(format!("/proc/{pid}/comm"));
    eventually("the wrappers replace themselves", || fs::read_to_string(&status).is_ok_and(|comm| comm == "sleep\n"));
    assert!(one.wait(Duration::from_millis(20)).unwrap_err().to_string().contains("did not end"));
    drop(one);
    assert!(!status.exists());

    let mut ending = lab.node().spawn("sh", ["-c", "echo gone; exit 3"]).unwrap();
    assert_eq!(ending.wait(SOON).unwrap().code(), Some(3));
    assert_eq!(ending.stdout(), "gone\n");
    let missed = ending.wait_for_stdout("never", SOON).unwrap_err().to_string();
    assert!(missed.contains("before it ended"), "{missed}");

    // Started by a thread that is gone, it goes on.
    let mut lasting =
        std::thread::scope(|scope| scope.spawn(|| lab.node().spawn("sleep", ["1000"])).join()).unwrap().unwrap();
    assert!(lasting.wait(Duration::from_millis(200)).is_err());
    lasting.signal(Signal::SIGTERM).unwrap();
    assert_eq!(lasting.wait(SOON).unwrap().code(), None);
}

#[test]
fn the_root_has_a_bpffs_of_its_own_and_goes_with_the_lab() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let root = lab.root().to_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains(&format!("bpffs {}/sys/fs/bpf bpf ", root.display())), "{mounts}");
    assert!(root.join("proc/self/status").exists() && root.join("sys/kernel").exists());
    fs::create_dir(root.join("sys/fs/bpf/chainkit")).unwrap();
    drop(lab);
    assert!(!root.exists() && !mounted(&root));
}

/// What the next test starts in a process of its own, told by this variable; does nothing otherwise.
const TO_BE_KILLED: &str = "CHAINKIT_LAB_TO_BE_KILLED";

#[test]
fn a_process_with_a_lab_that_is_to_be_killed() {
    if std::env::var_os(TO_BE_KILLED).is_none() {
        return;
    }
    let lab = Lab::new().unwrap();
    let child = lab.node().spawn("sleep", ["1000"]).unwrap();
    println!("\nroot {}", lab.root().display());
    println!("child {}", child.pid());
    println!("ready");
    std::thread::sleep(SOON);
}

#[test]
fn a_killed_process_takes_its_children_along_and_the_next_lab_sweeps_its_root() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_process_with_a_lab_that_is_to_be_killed", "--nocapture"]);
    command.env(TO_BE_KILLED, "1");
    let mut killed = Running::start(command).unwrap();
    killed.wait_for_stdout("ready\n", SOON).unwrap();
    let said = killed.stdout();
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let root = Path::new(field("root "));
    let child = Path::new("/proc").join(field("child "));
    assert!(mounted(root) && child.exists());
    killed.signal(Signal::SIGKILL).unwrap();
    killed.wait(SOON).unwrap();
    eventually("the child dies with its parent", || !child.exists() || is_zombie(&child));
    // Any other test's lab may be the one that sweeps.
    drop(Lab::new().unwrap());
    eventually("the root is swept", || !root.exists() && !mounted(root));
}

/// Whether a process has ended and nobody has asked for its status yet, as happens to orphans where there is no init.
fn is_zombie(process: &Path) -> bool {
    fs::read_to_string(process.join("stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn the_binary_serves_in_a_pod_and_cleans_up_when_told_to_end() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab_binary = env!("CARGO_BIN_EXE_chainkit-lab");
    let mut command = Command::new(lab_binary);
    command.args(["up", "--pod", "shop/cart", "--pod", "shop/web", "--service", "shop/cart=172.20.0.7:80/tcp"]);
    let mut up = Running::start(command).unwrap();
    up.wait_for_stdout("ready\n", SOON).unwrap();
    let said = up.stdout();
    let field = |line: &str, number: usize| {
        let line = said.lines().find(|said| said.starts_with(line)).unwrap();
        line.split(' ').nth(number).unwrap().to_owned()
    };
    let inside = |pod: &str, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter"]).arg(format!("--net={}", field(pod, 4)));
        command.arg(lab_binary).args(arguments).stdin(Stdio::null());
        command
    };
    let address = format!("{}:80", field("pod shop/cart", 2));
    let mut server = Running::start(inside("pod shop/cart", &["http-server", &address, "--body", "apples"])).unwrap();
    server.wait_for_stdout(&format!("listening {address}"), SOON).unwrap();
    assert_eq!(output(inside("pod shop/web", &["http-get", &address])), "apples");
    assert!(!inside("pod shop/web", &["http-get", &address, "/status/503"]).output().unwrap().status.success());
    let objects = fs::read_to_string(field("pods-file", 1)).unwrap();
    assert!(objects.contains("172.20.0.7"));

    up.signal(Signal::SIGTERM).unwrap();
    assert!(up.wait(SOON).unwrap().success());
    assert!(!Path::new(&field("root", 1)).exists());
}
