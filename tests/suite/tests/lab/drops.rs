//! Packets that the kernel drops for other reasons than our policy, as `flowdump --drops` tells them.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use chainkit_bpf::{Direction, Kit};
use chainkit_lab::peer::{tcp, udp};
use chainkit_lab::{Lab, Pod, PodSpec, Running, program, skip};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::dump::{Dump, extra, flows, run};
use crate::policed::{POLICIES, Policed};
use crate::rival::{Place, Rival};
use crate::stage::{at, eventually, on_node};

/// `flowdump --drops` on a node, with names.
struct Drops {
    dump: Dump,
    // A pod is found by its processes.
    _processes: Vec<Running>,
}

impl Drops {
    fn start(lab: &Lab, pods: &[&Pod], arguments: &[&str]) -> Self {
        let processes = pods.iter().map(|pod| pod.spawn("sleep", ["600"]).unwrap()).collect();
        let names = lab.pods_file().unwrap().into_os_string().into_string().unwrap();
        let dump = Dump::start(lab, &[&["--attach", "all", "--pods", &names, "-j"], arguments].concat());
        Self { dump, _processes: processes }
    }

    /// Waits for a drop of this reason.
    fn wait_for(&self, reason: &str) -> Value {
        let mut found = None;
        eventually(&format!("no {reason} is told"), || {
            found = self.told().into_iter().find(|flow| of(flow)["reason"] == reason);
            found.is_some()
        });
        found.unwrap()
    }

    /// What the kernel dropped, so far.
    fn told(&self) -> Vec<Value> {
        let text = self.dump.running.stdout();
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        of_kernel(whole)
    }

    fn end(self) -> Vec<Value> {
        of_kernel(&self.dump.interrupt().stdout)
    }
}

fn of_kernel(text: &str) -> Vec<Value> {
    flows(text).into_iter().filter(|flow| extra(flow)["event"] == "kernel_drop").collect()
}

/// Why and where it was dropped.
fn of(flow: &Value) -> &Value {
    &extra(flow)["drop"]
}

/// Runs a program, which has to end well.
fn succeed(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Has the node's netfilter do this with what it forwards.
fn nft(lab: &Lab, rule: &str) {
    let mut command = lab.node().command("nft");
    command.arg(format!(
        "add table inet t; add chain inet t f {{ type filter hook forward priority 0; }}; add rule inet t f {rule}"
    ));
    succeed(command);
}

/// True, after having said so, where there is no `nft`, or the kernel has no nftables.
fn lacks_nft() -> bool {
    let works = Command::new("nft").args(["list", "tables"]).output().is_ok_and(|output| output.status.success());
    if !works {
        skip("needs nft, and nftables in the kernel");
    }
    !works
}

fn send(from: &Pod, to: impl Into<IpAddr>, port: u16, count: usize) {
    let to = at(to, port);
    from.run(|| {
        let socket = UdpSocket::bind(at(if to.is_ipv4() { from.ip4.into() } else { IpAddr::V6(from.ip6.unwrap()) }, 0));
        let socket = socket.unwrap();
        for _ in 0..count {
            // What comes back of it is an error of the next call.
            let _ = socket.send_to(b"hello", to);
        }
    })
    .unwrap();
}

/// The kernel tells why it drops from Linux 5.17 on, and most of its reasons came with 5.18 and 5.19.
fn on_node_with_reasons(test: impl FnOnce(&Lab) + Send) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<u32> = release.split(['.', '-']).map_while(|word| word.parse().ok()).take(2).collect();
    if version < vec![5, 19] {
        return skip("kernel that does not tell why it drops packets (Linux 5.19 does)");
    }
    on_node(test);
}

/// How many packets flows stand for.
fn packets(flows: &[Value], reason: &str) -> u64 {
    let of_reason = flows.iter().filter(|flow| of(flow)["reason"] == reason);
    of_reason.map(|flow| extra(flow)["count"].as_u64().unwrap()).sum()
}

/// A UDP packet over IPv4, made by hand.
fn by_hand(from: &Pod, source: Ipv4Addr, to: Ipv4Addr, port: u16, checksum: u16) {
    let [port_high, port_low] = port.to_be_bytes();
    let [high, low] = checksum.to_be_bytes();
    let mut packet = vec![0x45, 0, 0, 33, 0, 1, 0, 0, 64, 17, 0, 0];
    packet.extend(source.octets());
    packet.extend(to.octets());
    packet.extend([0x9c, 0x40, port_high, port_low, 0, 13, high, low]);
    packet.extend(b"hello");
    from.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        let place = SockaddrStorage::from(SocketAddr::new(to.into(), 0));
        sendto(socket.as_raw_fd(), &packet, &place, MsgFlags::empty()).unwrap();
    })
    .unwrap();
}

#[test]
fn what_netfilter_drops_is_told_with_its_reason_and_names() {
    if lacks_nft() {
        return;
    }
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        nft(lab, "udp dport 7777 drop");
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        send(&web, db.ip4, 7777, 1);
        let flow = drops.wait_for("NETFILTER_DROP");
        assert_eq!((&flow["verdict"], &flow["event_type"]["type"]), (&"DROPPED".into(), &1.into()), "{flow}");
        assert_eq!(flow["source"]["pod_name"], "web", "{flow}");
        assert_eq!(flow["destination"]["pod_name"], "db", "{flow}");
        assert_eq!(flow["l4"]["UDP"]["destination_port"], 7777, "{flow}");
        assert_eq!(flow["traffic_direction"], "EGRESS", "{flow}");
        assert_eq!(flow["interface"]["name"], web.host_ifname, "{flow}");
        // Where the verdict is told apart differs between kernels.
        let location = of(&flow)["location"].as_str().unwrap();
        assert!(["nft_do_chain", "nf_hook_slow"].contains(&location), "{flow}");
        assert_eq!(of(&flow)["length"], 20 + 8 + 5, "{flow}");
        assert_eq!(drops.end().len(), 1);
    });
}

#[test]
fn many_of_a_kind_are_a_few_lines_that_count_each_packet() {
    if lacks_nft() {
        return;
    }
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        nft(lab, "udp dport 7777 drop");
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        send(&web, db.ip4, 7777, 2000);
        // The first is told at once, the rest when a second has passed without one.
        eventually("the rest is not told", || packets(&drops.told(), "NETFILTER_DROP") == 2000);
        let told = drops.end();
        assert_eq!(packets(&told, "NETFILTER_DROP"), 2000);
        assert_eq!(extra(&told[0])["count"], 1);
        assert!(told.len() < 100, "{} lines", told.len());
    });
}

#[test]
fn a_packet_to_a_closed_port_is_told_in_the_pod_that_it_came_to() {
    on_node_with_reasons(|lab| {
        let pod = |name| lab.pod_of(&PodSpec::new("shop", name).ipv6()).unwrap();
        let (web, db) = (pod("web"), pod("db"));
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        send(&web, db.ip4, 9, 1);
        send(&web, db.ip6.unwrap(), 10, 1);
        eventually("both families are not told", || packets(&drops.told(), "NO_SOCKET") == 2);
        for (flow, version) in drops.end().iter().zip(["IPv4", "IPv6"]) {
            assert_eq!(
                (&flow["IP"]["ipVersion"], &flow["traffic_direction"]),
                (&version.into(), &"INGRESS".into()),
                "{flow}"
            );
            assert_eq!(
                (&flow["destination"]["pod_name"], &flow["interface"]["name"]),
                (&"db".into(), &"eth0".into()),
                "{flow}"
            );
        }
    });
}

#[test]
fn a_bad_checksum_and_a_forged_source_are_told_in_hubbles_words_too() {
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        let _sink = db.run(|| udp::sink(at(db.ip4, 7000))).unwrap().unwrap();
        let setting = format!("/proc/sys/net/ipv4/conf/{}/rp_filter", web.host_ifname);
        let mut strict = lab.node().command("sh");
        strict.args(["-c", &format!("echo 1 >{setting}")]);
        succeed(strict);
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        by_hand(&web, web.ip4, db.ip4, 7000, 0x1234);
        let flow = drops.wait_for("UDP_CSUM");
        assert_eq!(flow["drop_reason_desc"], "INVALID_PACKET_DROPPED", "{flow}");
        assert_eq!(flow["traffic_direction"], "INGRESS", "{flow}");
        // The kernel sends what is forged by a raw socket as it is; the node knows that this address is not behind there.
        by_hand(&web, Ipv4Addr::new(198, 51, 100, 7), db.ip4, 7000, 0);
        let flow = drops.wait_for("IP_RPFILTER");
        assert_eq!(flow["drop_reason_desc"], "INVALID_SOURCE_IP", "{flow}");
        assert_eq!(flow["IP"]["source"], "198.51.100.7", "{flow}");
        drops.end();
    });
}

#[test]
fn of_a_socket_whose_buffer_is_full_each_datagram_is_read_or_told() {
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        let socket = db
            .run(|| {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
                socket.set_recv_buffer_size(4096).unwrap();
                socket.bind(&at(db.ip4, 7000).into()).unwrap();
                socket.set_nonblocking(true).unwrap();
                UdpSocket::from(socket)
            })
            .unwrap();
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        send(&web, db.ip4, 7000, 400);
        let mut told = 0;
        eventually("what did not fit is not told", || {
            let now = packets(&drops.told(), "SOCKET_RCVBUFF");
            let settled = now > 0 && now == told;
            told = now;
            thread::sleep(Duration::from_secs(2));
            settled
        });
        let read = std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count();
        assert_eq!(packets(&drops.end(), "SOCKET_RCVBUFF") + read as u64, 400);
    });
}

#[test]
fn what_the_datapath_denies_is_told_once_and_what_a_rival_drops_is_told() {
    on_node_with_reasons(|lab| {
        let node = Policed::new(lab);
        node.apply(POLICIES, &["--mode", "enforce"]);
        let _processes: Vec<Running> =
            [&node.web, &node.db, &node.free].iter().map(|pod| pod.spawn("sleep", ["600"]).unwrap()).collect();
        let dump = Dump::start(lab, &["-j", "--drops"]);
        // Denied on the way out, and on the way in.
        send(&node.web, node.db.ip4, 9999, 1);
        send(&node.free, node.db.ip4, 9999, 1);
        // After our program, another's.
        let mut rival = Rival::dropping();
        let place = match Kit::best() {
            Kit::Tcx => Place::TcxLast,
            Kit::Clsact => Place::Clsact(60000),
        };
        let _hung = rival.hang(&node.free.host_ifname, Direction::Ingress, place);
        send(&node.free, node.web.ip4, 8888, 1);
        eventually("the rival's drop is not told", || dump.running.stdout().contains("TC_INGRESS"));
        let all = flows(&dump.interrupt().stdout);
        let of_port = |port: u16| {
            let is_it = |flow: &&Value| flow["l4"]["UDP"]["destination_port"] == port && flow["verdict"] == "DROPPED";
            all.iter().filter(is_it).map(|flow| extra(flow)["event"].as_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(of_port(9999), ["denied", "denied"], "{all:#?}");
        assert_eq!(of_port(8888), ["kernel_drop"], "{all:#?}");
    });
}

#[test]
fn ordinary_traffic_and_that_of_others_under_the_same_addresses_tells_nothing() {
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        let others = Lab::new().unwrap();
        let (twin, other) = (others.pod("shop", "web").unwrap(), others.pod("shop", "db").unwrap());
        assert_eq!((web.ip4, db.ip4), (twin.ip4, other.ip4));
        let drops = Drops::start(lab, &[&web, &db], &["--drops"]);
        send(&twin, other.ip4, 9, 10);
        let echo = db.run(|| tcp::echo(at(db.ip4, 0))).unwrap().unwrap();
        let udp_echo = db.run(|| udp::echo(at(db.ip4, 0))).unwrap().unwrap();
        web.run(|| {
            for _ in 0..20 {
                let mut stream = TcpStream::connect(echo.address()).unwrap();
                stream.write_all(&[1; 20_000]).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 20_000);
                udp::ask(udp_echo.address(), b"question").unwrap();
            }
        })
        .unwrap();
        // What comes last is told, so all before it would have been.
        send(&web, db.ip4, 9, 1);
        drops.wait_for("NO_SOCKET");
        let told = drops.end();
        assert_eq!(told.len(), 1, "{told:#?}");
    });
}

#[test]
fn one_that_is_killed_leaves_nothing_in_the_kernel() {
    on_node(|lab| {
        let web = lab.pod("shop", "web").unwrap();
        let drops = Drops::start(lab, &[&web], &["--drops"]);
        let pid = drops.dump.running.pid();
        let mut own = HashSet::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            own.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
        }
        let here = || {
            let all = aya::programs::loaded_programs().flatten();
            all.filter(|info| own.contains(&info.id()) && info.name_as_str() == Some("drops")).count()
        };
        assert_eq!(here(), 1);
        drops.dump.end_by(Signal::SIGKILL);
        eventually("the program is still there", || here() == 0);
    });
}

#[test]
fn saved_drops_read_back_and_are_counted_and_filtered_alike() {
    on_node_with_reasons(|lab| {
        let (web, db) = (lab.pod("shop", "web").unwrap(), lab.pod("shop", "db").unwrap());
        let drops = Drops::start(lab, &[&web, &db], &["--drops", "--verdict", "DROPPED", "--to-port", "9"]);
        send(&web, db.ip4, 9, 1);
        send(&web, db.ip4, 10, 1);
        drops.wait_for("NO_SOCKET");
        let text = drops.dump.interrupt().stdout;
        assert_eq!(text.lines().count(), 1, "{text}");
        let file = lab.root().join("tmp/drops.jsonl");
        std::fs::write(&file, &text).unwrap();
        let file = file.into_os_string().into_string().unwrap();
        let command = |arguments: &[&str]| {
            let output = lab.node().command(program("flowdump").unwrap()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(lab, &["-r", &file, "-j"]).stdout, text);
        let compact = run(lab, &["-r", &file, "--type", "drop"]).stdout;
        assert!(compact.contains("NO_SOCKET in ") && compact.contains("DROPPED"), "{compact}");
        let metrics = command(&["metrics", "-r", &file, "--once"]);
        assert!(metrics.contains(r#"reason="NO_SOCKET""#), "{metrics}");
        let map = command(&["map", "-r", &file, "-j"]);
        let edge: Value = serde_json::from_str(map.lines().next().unwrap()).unwrap();
        assert_eq!((&edge["denied"], &edge["errors"]), (&0.into(), &1.into()), "{edge}");
    });
}
