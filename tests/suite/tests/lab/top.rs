//! `flowdump top` and `--aggregate-by` of live traffic.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dump::{Dump, records};
use crate::stage::{UDP4_HEADERS, at, eventually, on_node, send_all, send_on, udp_sink};

/// What a datagram of these tests takes on the wire.
const DATAGRAM: u64 = 64 + UDP4_HEADERS;

/// An idle connection of UDP is told of again after 30 s: what is known before that was asked for.
const BEFORE_THE_END: Duration = Duration::from_secs(20);

fn row<'a>(top: &'a Value, name: &str) -> Option<&'a Value> {
    top["rows"].as_array().unwrap().iter().find(|row| row["name"] == name)
}

#[test]
fn a_top_counts_what_connections_do_while_it_runs_and_no_event_tells() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let attached = Dump::start(lab, &["--attach", "all", "-j"]);
        let sink = udp_sink(&web);
        let port = format!("UDP {}", sink.address().port());
        let socket = cart.run(|| UdpSocket::bind(at(cart.ip4, 0)).unwrap()).unwrap();
        cart.run(|| send_on(&socket, &sink, 500, 64)).unwrap();
        let by_port = Dump::start(lab, &["top", "--by", "port", "--interval", "200ms", "-j"]);
        let by_pod = Dump::start(lab, &["top", "--interval", "200ms"]);
        for dump in [&by_port, &by_pod] {
            eventually("it shows nothing", || dump.running.stdout().contains('\n'));
        }
        cart.run(|| send_on(&socket, &sink, 300, 64)).unwrap();
        let sent = Instant::now();
        eventually("it does not see what was sent", || {
            assert!(sent.elapsed() < BEFORE_THE_END, "{}", by_port.running.stdout());
            let stdout = by_port.running.stdout();
            let (lines, _) = stdout.rsplit_once('\n').unwrap();
            let last = records(lines).pop().unwrap();
            row(&last, &port).is_some_and(|row| row["total"]["bytes_sent"] == 300 * DATAGRAM)
        });
        let tops = records(&by_port.interrupt().stdout);
        let rate = |top: &Value| row(top, &port).map_or(0.0, |row| row["rate"]["packets_sent"].as_f64().unwrap());
        // Rates are those of the while: together they are all that was sent, and none of what was before.
        let packets: f64 = tops.iter().map(|top| rate(top) * top["seconds"].as_f64().unwrap()).sum();
        assert!((packets - 300.0).abs() < 3.0, "{packets} in {tops:?}");
        assert!(tops.len() >= 2 && tops.iter().all(|top| top["kind"] == "Top" && top["by"] == "port"));
        // Each pod has what went through its own interface.
        let pods = records(&by_pod.interrupt().stdout).pop().unwrap();
        let total = |pod: &chainkit_lab::Pod, number: &str| {
            let (name, address) = (format!("shop/{}", pod.name), pod.ip4.to_string());
            let row = row(&pods, &name).or_else(|| row(&pods, &address)).unwrap_or_else(|| panic!("{pods}"));
            row["total"][number].clone()
        };
        assert_eq!((total(&cart, "bytes_sent"), total(&cart, "bytes_received")), ((300 * DATAGRAM).into(), 0.into()));
        assert_eq!((total(&web, "packets_sent"), total(&web, "packets_received")), (0.into(), 300.into()));
        attached.interrupt();
    });
}

#[test]
fn live_flows_are_folded_with_all_that_their_connections_carried() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let dump = Dump::start(lab, &["--attach", "all", "-j", "--aggregate-by", "client_ip,server_port,protocol"]);
        let sink = udp_sink(&web);
        for _ in 0..3 {
            send_all(&cart, &sink, 100, 64);
        }
        let groups = records(&dump.interrupt().stdout);
        let by = serde_json::json!({
            "client_ip": cart.ip4.to_string(), "server_port": sink.address().port(), "protocol": "UDP"
        });
        let group = groups.iter().find(|group| group["by"] == by).unwrap_or_else(|| panic!("{groups:?}"));
        assert_eq!((&group["connections"], &group["packets"]), (&3.into(), &300.into()));
        assert_eq!((&group["bytes_to"], &group["bytes_from"]), (&(300 * DATAGRAM).into(), &0.into()));
    });
}
