//! kube-proxy's rules, made by hand on the node: in iptables and in nftables.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Stdio;

use chainkit_lab::{Netns, skip};

/// What makes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Iptables,
    Nftables,
}

/// Both.
pub(crate) const PROXIES: [Proxy; 2] = [Proxy::Iptables, Proxy::Nftables];

/// Where a service is met over TCP, and what it is forwarded to.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// None: it is rejected, as kube-proxy does where a service has none.
    pub(crate) backends: Vec<SocketAddrV4>,
    /// Whether it is dropped instead, as kube-proxy does where all are on other nodes and traffic is to stay on this one.
    pub(crate) drops: bool,
    /// Whether a client meets the same backend again (`sessionAffinity: ClientIP`).
    pub(crate) affinity: bool,
    /// Whether what is forwarded bears the node's address (node ports with `externalTrafficPolicy: Cluster`).
    pub(crate) masquerade: bool,
}

impl Front {
    pub(crate) fn new(address: Ipv4Addr, port: u16, backends: &[(Ipv4Addr, u16)]) -> Self {
        let backends = backends.iter().map(|(address, port)| SocketAddrV4::new(*address, *port)).collect();
        Self { address, port, backends, drops: false, affinity: false, masquerade: false }
    }
}

/// The mark by which kube-proxy says that a packet is to bear the node's address.
const MARK: &str = "0x4000";

impl Proxy {
    /// Has the node forward these and nothing else; false, after having said so, where the means are missing.
    pub(crate) fn install(self, node: &Netns, fronts: &[Front]) -> bool {
        match self {
            Self::Iptables => feed(node, &["iptables-restore"], &iptables(fronts)),
            Self::Nftables => feed(node, &["nft", "-f", "-"], &nftables(fronts)),
        }
    }
}

fn feed(node: &Netns, command: &[&str], rules: &str) -> bool {
    let mut process = node.command(command[0]);
    process.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().unwrap();
    // What ends before it has read all of it says why.
    drop(child.stdin.take().unwrap().write_all(rules.as_bytes()));
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(127) {
        skip(&format!("{} is missing", command[0]));
        return false;
    }
    assert!(output.status.success(), "{command:?}: {}{rules}", String::from_utf8_lossy(&output.stderr));
    true
}

fn iptables(fronts: &[Front]) -> String {
    let mut chains = String::from("*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n");
    let (mut rules, mut rejects) = (String::new(), String::new());
    for (front, Front { address, port, backends, drops, affinity, masquerade }) in fronts.iter().enumerate() {
        let met = format!("-p tcp -d {address}/32 --dport {port}");
        if backends.is_empty() {
            writeln!(rejects, "-A FORWARD {met} -j {}", if *drops { "DROP" } else { "REJECT" }).unwrap();
            continue;
        }
        writeln!(chains, ":SVC-{front} - [0:0]").unwrap();
        writeln!(rules, "-A PREROUTING {met} -j SVC-{front}").unwrap();
        if *masquerade {
            writeln!(rules, "-A SVC-{front} -j MARK --set-xmark {MARK}/{MARK}").unwrap();
        }
        for backend in 0..backends.len() {
            let of = format!("SEP-{front}-{backend}");
            writeln!(chains, ":{of} - [0:0]").unwrap();
            if *affinity {
                writeln!(rules, "-A SVC-{front} -m recent --name {of} --rcheck --seconds 10800 --reap -j {of}")
                    .unwrap();
            }
        }
        for (index, backend) in backends.iter().enumerate() {
            let of = format!("SEP-{front}-{index}");
            let left = backends.len() - index;
            let chance = match left {
                1 => String::new(),
                left => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
            };
            writeln!(rules, "-A SVC-{front} {chance}-j {of}").unwrap();
            writeln!(rules, "-A {of} -s {}/32 -j MARK --set-xmark {MARK}/{MARK}", backend.ip()).unwrap();
            let remember = if *affinity { format!("-m recent --name {of} --set ") } else { String::new() };
            writeln!(rules, "-A {of} -p tcp {remember}-j DNAT --to-destination {backend}").unwrap();
        }
    }
    writeln!(rules, "-A POSTROUTING -m mark --mark {MARK}/{MARK} -j MASQUERADE\nCOMMIT").unwrap();
    format!("{chains}{rules}*filter\n:FORWARD ACCEPT [0:0]\n{rejects}COMMIT\n")
}

fn nftables(fronts: &[Front]) -> String {
    let (mut chains, mut dispatch, mut rejects) = (String::new(), String::new(), String::new());
    for (front, Front { address, port, backends, drops, affinity, masquerade }) in fronts.iter().enumerate() {
        let met = format!("ip daddr {address} tcp dport {port}");
        if backends.is_empty() {
            writeln!(rejects, "{met} {}", if *drops { "drop" } else { "reject" }).unwrap();
            continue;
        }
        writeln!(dispatch, "{met} goto svc-{front}").unwrap();
        let (mut service, mut places) = (String::new(), Vec::new());
        if *masquerade {
            writeln!(service, "meta mark set meta mark or {MARK}").unwrap();
        }
        for (index, backend) in backends.iter().enumerate() {
            let of = format!("sep-{front}-{index}");
            let mut remember = String::new();
            if *affinity {
                writeln!(
                    chains,
                    "set affinity-{front}-{index} {{ type ipv4_addr; flags dynamic,timeout; timeout 3h; }}"
                )
                .unwrap();
                writeln!(service, "ip saddr @affinity-{front}-{index} goto {of}").unwrap();
                remember = format!("update @affinity-{front}-{index} {{ ip saddr }}; ");
            }
            let hairpin = format!("ip saddr {} meta mark set meta mark or {MARK};", backend.ip());
            writeln!(chains, "chain {of} {{ {hairpin} {remember}meta l4proto tcp dnat to {backend}; }}").unwrap();
            places.push(format!("{index} : goto {of}"));
        }
        writeln!(service, "numgen random mod {} vmap {{ {} }}", backends.len(), places.join(", ")).unwrap();
        writeln!(chains, "chain svc-{front} {{\n{service}}}").unwrap();
    }
    format!(
        "table ip kube-proxy\ndelete table ip kube-proxy\ntable ip kube-proxy {{\n{chains}\
         chain nat-prerouting {{ type nat hook prerouting priority dstnat;\n{dispatch}}}\n\
         chain nat-postrouting {{ type nat hook postrouting priority srcnat;\nmeta mark & {MARK} == {MARK} masquerade\n}}\n\
         chain filter-forward {{ type filter hook forward priority filter;\n{rejects}}}\n}}\n"
    )
}
