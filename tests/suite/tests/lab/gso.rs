//! Super-packets: what crosses a veth as one is counted as the segments that it stands for.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use chainkit_abi::hook;
use chainkit_bpf::Kit;
use chainkit_lab::peer::tcp;
use chainkit_lab::{Lab, Netns, Pod};
use nix::sys::socket::{
    setsockopt,
    sockopt::{SndBuf, UdpGsoSegment},
};

use crate::stage::{Reader, TCP, UDP, UDP4_HEADERS, Watch, at, eventually, on_node, sums, udp_sink};

/// Bytes of a segment's headers: Ethernet 14, IPv4 20, TCP 20 and 12 of timestamps.
const HEADERS: u64 = 66;
/// How often a transfer is made again in which something was retransmitted.
const ATTEMPTS: u32 = 50;
/// Bytes of a SYN of Linux, with its options.
const SYN: u64 = 74;

fn offloads(netns: &Netns, interface: &str, features: &[(&str, &str)]) {
    let mut command = netns.command("ethtool");
    command.args(["-K", interface]);
    command.args(features.iter().flat_map(|(feature, value)| [*feature, *value]));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn set_offloads(lab: &Lab, pods: &[&Pod], features: &[(&str, &str)]) {
    for pod in pods {
        offloads(pod.netns(), "eth0", features);
        offloads(lab.node(), &pod.host_ifname, features);
    }
}

/// How often a socket has found that segments came out of order.
const REORDERED: &str = "reord_seen";

/// What the kernel itself has counted for a pod's TCP socket to `peer` (`TCP_INFO`, as `ss` prints it).
fn tcp_info(pod: &Pod, peer: SocketAddr) -> HashMap<String, u64> {
    let mut command = pod.command("ss");
    command.args(["-tinOH", "dst", &peer.ip().to_string(), "dport", &format!("= :{}", peer.port())]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text:?} {}", String::from_utf8_lossy(&output.stderr));
    let pairs = text.split_whitespace().filter_map(|word| word.split_once(':'));
    let counts =
        pairs.filter(|(name, _)| name.starts_with("segs_") || name.starts_with("bytes_") || *name == REORDERED);
    counts.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Sends `length` bytes from one pod to the other and compares the datapath's counts with the sockets' own.
///
/// Whether something was retransmitted, or overtaken by what was sent after it, is up to the machine's load; such a transfer says little
/// and is made again. Of what was overtaken, acknowledgements bear options (RFC 2018) whose bytes no socket counts.
fn transfer(watch: &Watch<'_>, from: &Pod, to: &Pod, length: usize) -> Reader {
    for _ in 0..ATTEMPTS {
        let mut reader = watch.each_packet();
        let sink = to.run(|| tcp::sink(at(to.ip4, 0))).unwrap().unwrap();
        let peer = sink.address();
        let mut stream = from.run(|| TcpStream::connect(peer).unwrap()).unwrap();
        // Far less than the queue between the two ends of a veth holds (`net.core.netdev_max_backlog`, 1000 packets).
        setsockopt(&stream, SndBuf, &(128 << 10)).unwrap();
        stream.write_all(&vec![0x5a; length]).unwrap();
        eventually("bytes do not arrive", || sink.bytes() == length as u64);
        let mut last = None;
        eventually("the connection does not fall silent", || {
            let now = (watch.connection(from, TCP, peer).conn, tcp_info(from, peer));
            // The peer's last acknowledgement of data may be delayed, up to 200 ms.
            let all_is_acknowledged = now.1["bytes_acked"] >= length as u64;
            let before = last.replace(now.clone());
            std::thread::sleep(std::time::Duration::from_millis(50));
            all_is_acknowledged && before == Some(now)
        });
        let (conn, info) = last.unwrap();
        if info.contains_key("bytes_retrans") || info.contains_key(REORDERED) {
            continue;
        }
        assert_eq!((conn.tx_packets, conn.rx_packets), (info["segs_out"], info["segs_in"]), "{info:#?}");
        assert_eq!(info["bytes_sent"], length as u64);
        assert_eq!(conn.tx_bytes, SYN + (info["segs_out"] - 1) * HEADERS + length as u64);
        assert_eq!(conn.rx_bytes, SYN + (info["segs_in"] - 1) * HEADERS);
        reader.read();
        let of_this = |mut events: Vec<chainkit_abi::Event>| {
            events.retain(|event| [event.source_port, event.destination_port].contains(&peer.port()));
            sums(&events)
        };
        for (pod, hook, counted) in [
            (from, hook::FROM_POD, (conn.tx_packets, conn.tx_bytes)),
            (to, hook::TO_POD, (conn.tx_packets, conn.tx_bytes)),
            (to, hook::FROM_POD, (conn.rx_packets, conn.rx_bytes)),
            (from, hook::TO_POD, (conn.rx_packets, conn.rx_bytes)),
        ] {
            assert_eq!(of_this(reader.met(pod, hook, TCP)), counted);
        }
        reader.lost_nothing();
        watch.all_was_readable();
        return reader;
    }
    panic!("{ATTEMPTS} transfers, and something was retransmitted or overtaken in each");
}

fn largest(reader: &Reader, pod: &Pod, hook: u8) -> u32 {
    reader.met(pod, hook, TCP).iter().map(|event| event.packets).max().unwrap()
}

const LENGTH: usize = 2 << 20;

#[test]
fn a_bulk_transfer_with_offloads_is_counted_in_segments() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        set_offloads(lab, &[&cart, &web], &[("tso", "on"), ("gso", "on"), ("gro", "off")]);
        let reader = transfer(&watch, &cart, &web, LENGTH);
        for (pod, hook) in [(&cart, hook::FROM_POD), (&web, hook::TO_POD)] {
            assert!(largest(&reader, pod, hook) > 1, "no super-packet was met: the test shows nothing");
        }
    });
}

#[test]
fn a_bulk_transfer_without_offloads_has_the_same_sums() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        set_offloads(lab, &[&cart, &web], &[("tso", "off"), ("gso", "off"), ("gro", "off")]);
        let reader = transfer(&watch, &cart, &web, LENGTH);
        assert_eq!(largest(&reader, &cart, hook::FROM_POD), 1);
        // As many as it takes, at 8949 bytes of payload a segment of 9001.
        let data = reader.met(&cart, hook::FROM_POD, TCP);
        let data = data.iter().filter(|event| u64::from(event.bytes) > SYN).count();
        assert!(data >= LENGTH.div_ceil(8949), "{data} segments");
    });
}

#[test]
fn segments_that_gro_joins_are_counted_one_by_one() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        // They leave the pod one by one, and are joined (non-linear, by page or by list) on their way in.
        offloads(cart.netns(), "eth0", &[("tso", "off"), ("gso", "off")]);
        offloads(lab.node(), &cart.host_ifname, &[("gro", "on")]);
        let reader = transfer(&watch, &cart, &web, LENGTH);
        assert!(largest(&reader, &cart, hook::FROM_POD) > 1, "nothing was joined: the test shows nothing");
    });
}

#[test]
fn udp_segmentation_offload_is_counted_in_datagrams() {
    on_node(|lab| {
        const DATAGRAMS: u64 = 10;
        const LENGTH: u64 = 1000;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut reader = watch.each_packet();
        let sink = udp_sink(&web);
        cart.run(|| {
            let socket = UdpSocket::bind(at(cart.ip4, 0)).unwrap();
            setsockopt(&socket, UdpGsoSegment, &i32::try_from(LENGTH).unwrap()).unwrap();
            // The last one is shorter.
            let payload = vec![0x5a; usize::try_from(DATAGRAMS * LENGTH - 300).unwrap()];
            socket.send_to(&payload, sink.address()).unwrap();
        })
        .unwrap();
        eventually("datagrams do not arrive", || sink.served() == DATAGRAMS);
        assert_eq!(sink.bytes(), DATAGRAMS * LENGTH - 300);
        reader.read();
        for (pod, hook) in [(&cart, hook::FROM_POD), (&web, hook::TO_POD)] {
            let events = reader.met(pod, hook, UDP);
            assert_eq!(sums(&events), (DATAGRAMS, DATAGRAMS * (LENGTH + UDP4_HEADERS) - 300));
            assert_eq!(events.len(), 1, "no super-packet was met: the test shows nothing");
        }
        watch.all_was_readable();
    });
}
