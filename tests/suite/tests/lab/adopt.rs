//! Pods that already run are adopted and released by `cni-chain`, and nothing that they have under way notices.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use chainkit_abi::{mode, opened, state};
use chainkit_bpf::{Connection, Datapath, Direction, Pins, hung};
use chainkit_lab::{Lab, Netns, Pod, program, skip};
use serde_json::{Value, json};

use crate::dump::records;
use crate::stage::{SOON, TCP, UDP, at, eventually, on_node};

/// Runs `cni-chain` on the node; its exit code, and what it printed.
fn cni_chain(lab: &Lab, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut command = lab.node().command(program("cni-chain").unwrap());
    command.env("RUST_BACKTRACE", "1").arg("--root").arg(lab.root()).args(arguments).args(["-o", "jsonl"]);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert!(
        status.success() || !stderr.is_empty(),
        "{arguments:?}: {status} and not a word: {}",
        String::from_utf8_lossy(&stdout)
    );
    (status.code(), records(&String::from_utf8(stdout).unwrap()))
}

/// As libcni keeps the result of a pod's ADD.
fn cached_result(lab: &Lab, pod: &Pod, container_id: &str) {
    let folder = lab.root().join("var/lib/cni/results");
    fs::create_dir_all(&folder).unwrap();
    let result = json!({
        "kind": "cniCacheV1", "containerId": container_id, "config": "e30=", "ifName": "eth0", "networkName": "aws-cni",
        "netns": pod.netns_path(),
        "cniArgs": [["K8S_POD_NAMESPACE", pod.namespace], ["K8S_POD_NAME", pod.name], ["K8S_POD_UID", pod.uid]],
        "result": {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": format!("{}/32", pod.ip4)}]},
    });
    fs::write(folder.join(format!("aws-cni-{container_id}-eth0")), result.to_string()).unwrap();
}

/// As the VPC CNI keeps its addresses; the pod's namespace has a name, as runtimes give it one.
fn allocation(lab: &Lab, pod: &Pod, container_id: &str) {
    let folder = lab.root().join("run/aws-node");
    fs::create_dir_all(&folder).unwrap();
    let file = json!({"version": "vpc-cni-ipam/1", "allocations": [{
        "networkName": "aws-cni", "containerID": container_id, "ifName": "eth0", "ipv4": pod.ip4,
        "allocationTimestamp": 1_760_000_000_000_000_000_u64,
        "metadata": {"k8sPodNamespace": pod.namespace, "k8sPodName": pod.name},
    }]});
    fs::write(folder.join("ipam.json"), file.to_string()).unwrap();
    named(lab, pod, &format!("cni-{container_id}"));
}

fn named(lab: &Lab, pod: &Pod, name: &str) -> PathBuf {
    let folder = lab.root().join("run/netns");
    fs::create_dir_all(&folder).unwrap();
    symlink(pod.netns_path(), folder.join(name)).unwrap();
    folder.join(name)
}

/// A TCP connection with both its ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

impl Pair {
    fn open(from: &Netns, to: SocketAddr, netns: &Netns, listening: SocketAddr) -> Self {
        let listener = netns.run(|| TcpListener::bind(listening)).unwrap().unwrap();
        let client = from.run(|| TcpStream::connect(to)).unwrap().unwrap();
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(SOON)).unwrap();
        }
        Self { client, server, listener }
    }

    /// A word there and one back.
    fn talk(&self) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"still here").unwrap();
            to.read_exact(&mut [0; 10]).unwrap();
        }
    }

    /// The pod's entry of it; `local` as it is on the wire.
    fn entry(&self, entries: &[Connection], local: SocketAddr) -> Connection {
        one(entries, TCP, local, self.client.local_addr().unwrap())
    }
}

#[track_caller]
fn one(entries: &[Connection], protocol: u8, local: SocketAddr, remote: SocketAddr) -> Connection {
    let found: Vec<&Connection> = entries
        .iter()
        .filter(|entry| entry.protocol == protocol)
        .filter(|entry| (at(entry.local, entry.local_port), at(entry.remote, entry.remote_port)) == (local, remote))
        .collect();
    assert_eq!(found.len(), 1, "{local} {remote} in {entries:#?}");
    *found[0]
}

/// Something that goes on until it is told to stop, and how often it has gone well.
struct Going {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    ends: Vec<JoinHandle<u64>>,
}

impl Going {
    fn new() -> Self {
        Self { stop: Arc::default(), count: Arc::default(), ends: Vec::new() }
    }

    /// Waits until it has gone well some more times.
    fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("nothing goes on", || {
            assert!(self.ends.iter().all(|end| !end.is_finished()), "it has ended");
            self.count.load(Ordering::Relaxed) > before + 20
        });
    }

    /// Ends it; what each side counted.
    fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.ends.into_iter().map(|end| end.join().unwrap()).collect()
    }
}

/// A download over HTTP: the server sends a pattern until it is stopped, and the client checks each byte.
fn download(client: &Pod, server: &Pod) -> (Going, SocketAddr, SocketAddr) {
    const CHUNK: u16 = 32 * 1024;
    let mut going = Going::new();
    let listener = server.run(|| TcpListener::bind(at(server.ip4, 0))).unwrap().unwrap();
    let to = listener.local_addr().unwrap();
    let mut reader = client.run(|| TcpStream::connect(to)).unwrap().unwrap();
    reader.set_read_timeout(Some(SOON)).unwrap();
    let from = reader.local_addr().unwrap();
    let stop = Arc::clone(&going.stop);
    going.ends.push(thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 18]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let chunk: Vec<u8> = (sent..sent + u64::from(CHUNK)).map(|byte| (byte % 251) as u8).collect();
            stream.write_all(&chunk).unwrap();
            sent += u64::from(CHUNK);
            thread::sleep(std::time::Duration::from_millis(2));
        }
        sent
    }));
    let count = Arc::clone(&going.count);
    going.ends.push(thread::spawn(move || {
        reader.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        reader.read_exact(&mut [0; 38]).unwrap();
        let (mut read, mut chunk) = (0, vec![0; usize::from(CHUNK)]);
        loop {
            let length = reader.read(&mut chunk).unwrap();
            if length == 0 {
                return read;
            }
            for byte in &chunk[..length] {
                assert_eq!(u64::from(*byte), read % 251);
                read += 1;
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    (going, from, to)
}

/// Questions to a UDP server whose socket has no peer: each is asked once, and has to be answered.
fn questions(client: &Pod, server: &Pod) -> (Going, SocketAddr, SocketAddr) {
    let mut going = Going::new();
    let answering = server.run(|| UdpSocket::bind(at(server.ip4, 0))).unwrap().unwrap();
    let asking = client.run(|| UdpSocket::bind(at(client.ip4, 0))).unwrap().unwrap();
    let (from, to) = (asking.local_addr().unwrap(), answering.local_addr().unwrap());
    asking.set_read_timeout(Some(SOON)).unwrap();
    answering.set_read_timeout(Some(SOON)).unwrap();
    going.ends.push(thread::spawn(move || {
        let mut answered = 0;
        loop {
            let mut question = [0; 8];
            let (_, from) = answering.recv_from(&mut question).unwrap();
            answering.send_to(&question, from).unwrap();
            if question == u64::MAX.to_be_bytes() {
                return answered;
            }
            answered += 1;
        }
    }));
    let (stop, count) = (Arc::clone(&going.stop), Arc::clone(&going.count));
    going.ends.push(thread::spawn(move || {
        let mut asked = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            asking.send_to(&asked.to_be_bytes(), to).unwrap();
            let mut answer = [0; 8];
            asking.recv_from(&mut answer).unwrap();
            assert_eq!(u64::from_be_bytes(answer), asked, "a question or answer was lost");
            asked += 1;
            count.store(asked, Ordering::Relaxed);
            thread::sleep(std::time::Duration::from_millis(1));
        }
        asking.send_to(&u64::MAX.to_be_bytes(), to).unwrap();
        asked
    }));
    (going, from, to)
}

fn entries(datapath: &Datapath, pod: &Pod) -> Vec<Connection> {
    let (slot, _) = datapath.endpoint(pod.host_ifindex).unwrap().unwrap();
    datapath.connections(slot).unwrap()
}

/// Who said so of each pod, and what was done with it.
fn told(rows: &[Value]) -> Vec<String> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| {
            format!(
                "{}/{} {} {}",
                text(row, "namespace"),
                text(row, "pod_name"),
                text(row, "source"),
                text(row, "result")
            )
        })
        .collect()
}

/// False, after having said so, where `iptables` is missing.
fn iptables(netns: &Netns, rule: &str) -> bool {
    let output = netns.command("iptables").args(rule.split(' ')).output().unwrap();
    if output.status.code() == Some(127) {
        skip("iptables is missing");
        return false;
    }
    assert!(output.status.success(), "iptables {rule}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

/// All that the issue of adopting pods is about, at once; `tracked`: the node tracks connections.
fn all_stays_alive(lab: &Lab, tracked: bool) {
    let (cart, web, mesh) =
        (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap(), lab.pod("shop", "mesh").unwrap());
    let redirect = "-t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 15006";
    let track = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT";
    if !iptables(mesh.netns(), redirect) || (tracked && !iptables(lab.node(), track)) {
        return;
    }
    cached_result(lab, &cart, "c-cart");
    allocation(lab, &web, "c-web");
    cached_result(lab, &mesh, "c-mesh");

    let (http, http_from, http_to) = download(&cart, &web);
    let (asking, udp_from, udp_to) = questions(&cart, &web);
    let idle = Pair::open(cart.netns(), at(web.ip4, 8001), web.netns(), at(web.ip4, 8001));
    let mut orphan = Pair::open(cart.netns(), at(web.ip4, 8002), web.netns(), at(web.ip4, 8002));
    let redirected = Pair::open(cart.netns(), at(mesh.ip4, 80), mesh.netns(), at([0, 0, 0, 0], 15006));
    for pair in [&idle, &orphan, &redirected] {
        pair.talk();
    }
    // The listener is replaced by one that nobody reaches, and so closed.
    orphan.listener = lab.world().run(|| TcpListener::bind(at([127, 0, 0, 1], 0))).unwrap().unwrap();
    http.goes_on();
    // Long enough for acknowledgements that were put off (200 ms at the most): the idle ones are to be silent now.
    (0..15).for_each(|_| asking.goes_on());

    let (code, rows) = cni_chain(lab, &["adopt", "--all", "--mode", "enforce"]);
    assert_eq!(code, Some(0), "{rows:#?}");
    let expected = ["shop/cart cached-result", "shop/mesh cached-result", "shop/web ipam"];
    assert_eq!(told(&rows), expected.map(|pod| format!("{pod} adopted")));

    // What is there before another packet was sent on them, is what was entered.
    let datapath = Datapath::open(&Pins::below(lab.root())).unwrap().unwrap();
    let [of_cart, of_mesh, of_web] = [&cart, &mesh, &web].map(|pod| {
        assert_eq!(datapath.endpoint(pod.host_ifindex).unwrap().unwrap().1.mode, mode::ENFORCE);
        entries(&datapath, pod)
    });
    let entered = |entry: Connection| {
        assert_eq!(entry.conn.state, state::ESTABLISHED);
        assert_eq!((entry.conn.tx_packets, entry.conn.rx_packets), (0, 0), "{entry:?}");
        entry.conn.opened
    };
    let listener_is_gone = if tracked { opened::BY_REMOTE } else { opened::UNKNOWN };
    assert_eq!(entered(idle.entry(&of_web, at(web.ip4, 8001))), opened::BY_REMOTE);
    assert_eq!(entered(orphan.entry(&of_web, at(web.ip4, 8002))), listener_is_gone);
    assert_eq!(entered(redirected.entry(&of_mesh, at(mesh.ip4, 80))), opened::BY_REMOTE);
    assert!(of_mesh.iter().all(|entry| entry.local_port != 15006), "{of_mesh:#?}");
    let client = idle.client.local_addr().unwrap();
    let by_client = if tracked { opened::BY_POD } else { opened::UNKNOWN };
    assert_eq!(entered(one(&of_cart, TCP, client, at(web.ip4, 8001))), by_client);

    for pair in [&idle, &orphan, &redirected] {
        pair.talk();
    }
    http.goes_on();
    asking.goes_on();
    // Each connection goes on in the entry that was made for it, with both directions in it.
    let (of_mesh, of_web) = (entries(&datapath, &mesh), entries(&datapath, &web));
    for entry in [
        idle.entry(&of_web, at(web.ip4, 8001)),
        orphan.entry(&of_web, at(web.ip4, 8002)),
        redirected.entry(&of_mesh, at(mesh.ip4, 80)),
        one(&of_web, TCP, http_to, http_from),
        one(&of_web, UDP, udp_to, udp_from),
    ] {
        assert!(entry.conn.tx_packets > 0 && entry.conn.rx_packets > 0, "{entry:?}");
    }

    let (code, rows) = cni_chain(lab, &["adopt", "--all", "--mode", "enforce"]);
    assert_eq!((code, told(&rows)), (Some(0), expected.map(|pod| format!("{pod} already")).to_vec()));
    drop(datapath);
    let (code, rows) = cni_chain(lab, &["release", "--all", "--purge"]);
    assert_eq!((code, rows.len()), (Some(0), 3), "{rows:#?}");
    for pod in [&cart, &web, &mesh] {
        for direction in Direction::BOTH {
            // A link whose last pin is gone is taken off a moment later.
            eventually("a program stays", || hung(pod.host_ifindex, direction).unwrap().is_empty());
        }
    }
    assert!(Datapath::open(&Pins::below(lab.root())).unwrap().is_none());

    for pair in [&idle, &orphan, &redirected] {
        pair.talk();
    }
    http.goes_on();
    asking.goes_on();
    for counts in [http.stop(), asking.stop()] {
        assert_eq!(counts[0], counts[1], "what one side sent is not what the other has got");
    }
}

#[test]
fn what_is_under_way_stays_alive_where_the_node_tracks_connections() {
    on_node(|lab| all_stays_alive(lab, true));
}

#[test]
fn what_is_under_way_stays_alive_where_only_sockets_tell() {
    on_node(|lab| all_stays_alive(lab, false));
}

#[test]
fn pods_are_chosen_by_name_interface_or_namespace() {
    on_node(|lab| {
        let [cart, web, bare] = ["cart", "web", "bare"].map(|name| lab.pod("shop", name).unwrap());
        cached_result(lab, &cart, "c-cart");
        cached_result(lab, &web, "c-web");
        let place = named(lab, &bare, "cni-bare");
        let adopted = |arguments: &[&str]| {
            let (code, rows) = cni_chain(lab, &[&["adopt"], arguments].concat());
            assert_eq!(code, Some(0), "{rows:#?}");
            let rows = told(&rows);
            assert_eq!(cni_chain(lab, &["release", "--all"]).0, Some(0));
            rows
        };
        assert_eq!(adopted(&["--pod", "shop/web"]), ["shop/web cached-result adopted"]);
        assert_eq!(adopted(&["--ifname", &cart.host_ifname]), ["shop/cart cached-result adopted"]);
        let place = place.to_str().unwrap();
        // Nobody knows its name, and nothing else is put in its place.
        assert_eq!(adopted(&["--ifname", &bare.host_ifname]), ["/ interface adopted"]);
        assert_eq!(
            adopted(&["--netns", place, "--pod", "shop/web"]),
            ["shop/web cached-result adopted", "/ netns adopted"]
        );
        for wrong in [["--pod", "shop/none"], ["--ifname", "eth0"], ["--ifname", "none0"], ["--netns", "/dev/null"]] {
            let (code, rows) = cni_chain(lab, &[&["adopt"], &wrong[..]].concat());
            assert_eq!((code, rows), (Some(2), vec![]), "{wrong:?}");
        }
    });
}

#[test]
fn what_is_kept_of_pods_that_are_gone_is_not_adopted() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        cached_result(lab, &cart, "c-cart");
        // As after a reboot: the path is there again, and another pod is behind it.
        let reused = fs::read_to_string(lab.root().join("var/lib/cni/results/aws-cni-c-cart-eth0")).unwrap();
        let netns = |pod: &Pod| json!(pod.netns_path()).to_string();
        let reused = reused.replace(&netns(&cart), &netns(&web)).replace("cart", "old");
        fs::write(lab.root().join("var/lib/cni/results/aws-cni-c-old-eth0"), &reused).unwrap();
        let gone = reused.replace(&netns(&web), "\"/run/netns/cni-gone\"").replace("old", "gone");
        fs::write(lab.root().join("var/lib/cni/results/aws-cni-c-gone-eth0"), gone).unwrap();
        let (code, rows) = cni_chain(lab, &["adopt", "--all", "--dry-run"]);
        assert_eq!((code, told(&rows)), (Some(0), vec!["shop/cart cached-result would-adopt".to_owned()]));
    });
}
