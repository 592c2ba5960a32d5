//! How TCP connections of pods fare, as `flowdump --tcp-health` and `flowdump health` tell it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use chainkit_bpf::{Kit, find};
use chainkit_lab::peer::tcp;
use chainkit_lab::{Lab, Pod, Running, skip};
use serde_json::Value;

use crate::dump::{Dump, extra, flowdump, flows, records};
use crate::stage::{Watch, at, eventually, on_node};

/// Starts `flowdump` with these arguments, and waits until the kernel follows connections for it.
fn start(lab: &Lab, arguments: &[&str]) -> Dump {
    let file = lab.pods_file().unwrap();
    let dump = Dump::start(lab, &[arguments, &["--pods", file.to_str().unwrap()]].concat());
    eventually("flowdump does not ask how connections fare", || {
        find(lab.root()).unwrap().is_some_and(|datapath| datapath.control_value().unwrap().health != 0)
    });
    dump
}

/// Has two pods of a new node do something, and what `flowdump health` says of it at the end checked.
fn fares(act: impl FnOnce(&Lab, &Pod, &Pod) + Send, check: impl FnOnce(&Value) + Send) {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let dump = start(lab, &["health", "-j", "--by", "pod"]);
        act(lab, &cart, &web);
        let told = records(&dump.interrupt().stdout);
        let last = told.last().unwrap();
        assert_eq!(last["kind"], "Health");
        check(last);
    });
}

/// The finding of this id among those of all edges.
fn finding<'a>(health: &'a Value, id: &str) -> &'a Value {
    let edges = health["edges"].as_array().unwrap().iter();
    let mut all = edges.flat_map(|edge| edge["findings"].as_array().unwrap());
    all.find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id} in {health:#}"))
}

fn ids(health: &Value) -> Vec<&str> {
    let edges = health["edges"].as_array().unwrap().iter();
    edges.flat_map(|edge| edge["findings"].as_array().unwrap()).map(|finding| finding["id"].as_str().unwrap()).collect()
}

#[test]
fn a_connection_that_fares_well_has_round_trips_and_no_finding() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let dump = start(lab, &["-j", "--tcp-health"]);
        let server = web.run(|| tcp::sink(at(web.ip4, 0))).unwrap().unwrap();
        cart.run(|| tcp::source(server.address(), 200_000)).unwrap().unwrap();
        eventually("the server has not read all", || server.bytes() == 200_000);
        // The end is told with what came of it.
        thread::sleep(Duration::from_millis(300));
        let told = flows(&dump.interrupt().stdout);
        let mut of_cart = told.iter().filter(|flow| flow["interface"]["index"] == cart.host_ifindex);
        let last = of_cart.next_back().unwrap();
        let tcp = &extra(last)["connection"]["tcp"];
        assert!(tcp["tx"]["segments"].as_u64().unwrap() >= 200_000 / 65_536, "{tcp}");
        assert!(tcp["tx"]["srtt_ns"].as_u64().unwrap() > 0, "{tcp}");
        assert!(tcp["tx"]["rtt_min_ns"].as_u64() <= tcp["tx"]["rtt_max_ns"].as_u64(), "{tcp}");
        assert_eq!((&tcp["tx"]["retransmits"], &tcp["handshake"]), (&Value::Null, &Value::Null), "{tcp}");
    });
}

#[test]
fn refused_handshakes_are_told_by_who_refuses() {
    let act = |_: &Lab, cart: &Pod, web: &Pod| {
        for _ in 0..4 {
            assert!(cart.run(|| TcpStream::connect(at(web.ip4, 81))).unwrap().is_err());
        }
    };
    fares(act, |health| {
        let refused = finding(health, "refused");
        assert_eq!((&refused["count"], &refused["severity"]), (&4.into(), &"error".into()));
        assert_eq!(
            refused["message"],
            "shop/web:81 refuses 4 of 4 handshakes: nothing listens there, or a firewall rejects them"
        );
    });
}

#[test]
fn what_was_before_is_no_matter_of_now() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let _watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let refused = |port| assert!(cart.run(|| TcpStream::connect(at(web.ip4, port))).unwrap().is_err());
        refused(81);
        let dump = start(lab, &["health", "-j", "--by", "pod"]);
        refused(82);
        let told = records(&dump.interrupt().stdout);
        let ports: Vec<_> =
            told.last().unwrap()["edges"].as_array().unwrap().iter().map(|edge| &edge["port"]).collect();
        assert_eq!(ports, [82], "{told:#?}");
    });
}

#[test]
fn one_that_is_moved_to_anothers_datapath_goes_on_to_tell() {
    on_node(|lab| {
        // Each loads a datapath, since there is nothing to attach to; the first to attach then gives the other its own.
        let arguments = ["--attach", "all", "--tcp-health", "-j"];
        let dumps = [(); 2].map(|()| Running::start(flowdump(lab, &arguments)).unwrap());
        thread::sleep(Duration::from_secs(1));
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        eventually("two do not look at one datapath", || {
            find(lab.root()).unwrap().is_some_and(|datapath| {
                let control = datapath.control_value().unwrap();
                control.observers.count_ones() == 2 && control.health.count_ones() == 2
            })
        });
        let server = web.run(|| tcp::sink(at(web.ip4, 0))).unwrap().unwrap();
        cart.run(|| tcp::source(server.address(), 100_000)).unwrap().unwrap();
        eventually("the server has not read all", || server.bytes() == 100_000);
        thread::sleep(Duration::from_millis(300));
        for running in dumps {
            let told = flows(&Dump { running }.interrupt().stdout);
            let fares = told.iter().any(|flow| extra(flow)["connection"]["tcp"]["tx"]["segments"].is_u64());
            assert!(fares, "{told:#?}");
        }
    });
}

fn has_nft() -> bool {
    std::process::Command::new("nft").arg("--version").output().is_ok()
}

/// Has the node drop what the rule matches, on its way between pods.
fn drop_on_node(lab: &Lab, rule: &str) {
    let text = format!("table ip lab {{ chain f {{ type filter hook forward priority 0; {rule} drop; }}; }}");
    let output = lab.node().command("nft").arg(&text).output().unwrap();
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn handshakes_that_nobody_answers_are_told() {
    if !has_nft() {
        return skip("nft is missing");
    }
    let act = |lab: &Lab, cart: &Pod, web: &Pod| {
        drop_on_node(lab, "tcp dport 82");
        let to = SocketAddr::from((web.ip4, 82));
        // Long enough for the SYN to be sent again.
        assert!(cart.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(2500))).unwrap().is_err());
    };
    fares(act, |health| {
        let timeouts = finding(health, "timeouts");
        assert_eq!((&timeouts["count"], &timeouts["of"]), (&1.into(), &1.into()), "{health:#}");
    });
}

#[test]
fn what_is_lost_on_the_node_is_told_as_sent_again() {
    if !has_nft() {
        return skip("nft is missing");
    }
    let act = |lab: &Lab, cart: &Pod, web: &Pod| {
        let server = web.run(|| tcp::sink(at(web.ip4, 83))).unwrap().unwrap();
        // Of what has payload every seventh packet.
        drop_on_node(lab, "tcp dport 83 ip length > 500 numgen inc mod 7 3");
        cart.run(|| tcp::source(server.address(), 3_000_000)).unwrap().unwrap();
        eventually("the server has not read all", || server.bytes() == 3_000_000);
    };
    fares(act, |health| {
        let again = finding(health, "retransmits");
        assert!(again["message"].as_str().unwrap().starts_with("shop/cart sent "), "{again}");
        let (count, of) = (again["count"].as_u64().unwrap(), again["of"].as_u64().unwrap());
        assert!(count > 0 && count < of, "{again}");
    });
}

#[test]
fn who_does_not_read_is_told_by_its_closed_window() {
    let act = |_: &Lab, cart: &Pod, web: &Pod| {
        let listener = web.run(|| TcpListener::bind(at(web.ip4, 84)).unwrap()).unwrap();
        let mut stream = cart.run(|| TcpStream::connect(at(web.ip4, 84)).unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut sent, block) = (0, vec![0; 1 << 16]);
        // Until nothing more is taken for a while.
        let mut idle = 0;
        while idle < 20 {
            match stream.write(&block) {
                Ok(length) => (sent, idle) = (sent + length, 0),
                Err(_) => {
                    idle += 1;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        drop(stream);
        let mut all = Vec::new();
        served.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent);
    };
    fares(act, |health| {
        let closed = finding(health, "zero_windows");
        assert!(closed["message"].as_str().unwrap().starts_with("shop/web closed its window "), "{closed}");
        assert!(!ids(health).contains(&"resets"), "{health:#}");
    });
}
