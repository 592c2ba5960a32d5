//! Names, filters, the past, and pipes: what `flowdump` shows of what it sees.

use std::fs;
use std::process::Stdio;

use chainkit_abi::{flag, mode};
use chainkit_bpf::{Kit, Settings};
use chainkit_lab::peer::{tcp, udp};
use chainkit_lab::{INTERNET, Lab, Pod, Running};
use serde_json::Value;

use crate::dump::{Dump, extra, flowdump, flows, readers, run};
use crate::stage::{TCP, UDP, Watch, at, eventually, is_closed, on_node, send_all, udp_sink};

/// Flows of IPv4: the kernel's neighbour discovery, which comes when it likes, is left out.
fn of_ipv4(stdout: &str) -> Vec<Value> {
    let mut flows = flows(stdout);
    flows.retain(|flow| flow["IP"]["ipVersion"] == "IPv4");
    flows
}

fn pod_at(flow: &Value, end: &str) -> String {
    let end = &flow[end];
    format!("{}/{}", end["namespace"].as_str().unwrap_or(""), end["pod_name"].as_str().unwrap_or(""))
}

/// TCP and UDP between pods and with the world, and UDP to a pod that lets nothing in.
fn talk(watch: &Watch<'_>, pods: &[Pod; 3]) {
    let [cart, web, db] = pods;
    let mut ends = watch.sparse();
    let echo = web.run(|| tcp::echo(at(web.ip4, 8080))).unwrap().unwrap();
    let dns = web.run(|| udp::echo(at(web.ip4, 53))).unwrap().unwrap();
    let far = watch.lab.world().run(|| tcp::echo(at(INTERNET, 443))).unwrap().unwrap();
    cart.run(|| tcp::say(echo.address(), b"hello")).unwrap().unwrap();
    cart.run(|| udp::ask(dns.address(), b"hello")).unwrap().unwrap();
    cart.run(|| tcp::say(far.address(), b"hello")).unwrap().unwrap();
    cart.run(|| udp::send(at(db.ip4, 5432), 3, 10, std::time::Duration::ZERO)).unwrap().unwrap();
    ends.until("all that there is to see", |events| {
        let closed = events.iter().filter(|event| is_closed(&[**event], cart, TCP)).count();
        closed == 2
            && is_closed(events, web, TCP)
            && events.iter().filter(|event| event.protocol == UDP && event.verdict == 2).count() == 1
    });
}

#[test]
fn each_filter_shows_exactly_what_it_means_live_and_from_saved_lines() {
    on_node(|lab| {
        let pods = ["cart", "web", "db"].map(|name| lab.pod("shop", name).unwrap());
        let [cart, web, db] = &pods;
        let mut watch = Watch::start(lab, &[cart, web], Kit::best());
        let isolated = Settings { mode: mode::ENFORCE, flags: flag::ISOLATED_INGRESS, ..Settings::default() };
        watch.add(db, isolated, Kit::best());
        let file = lab.pods_file().unwrap();
        let file = file.to_str().unwrap();

        type Wanted<'a> = &'a dyn Fn(&Value) -> bool;
        let web_ip = web.ip4.to_string();
        let either =
            |flow: &Value, wanted: &dyn Fn(&str) -> bool| wanted("source") || wanted("destination") || flow.is_null();
        let port = |flow: &Value, side: &str, number: u16| {
            ["TCP", "UDP"].iter().any(|transport| flow["l4"][transport][format!("{side}_port")] == number)
        };
        let filters: [(&[&str], Wanted<'_>); 14] = [
            (&["--pod", "shop/web"], &|flow| either(flow, &|end| pod_at(flow, end) == "shop/web")),
            (&["--from-pod", "shop/web"], &|flow| pod_at(flow, "source") == "shop/web"),
            (&["--to-pod", "shop/db"], &|flow| pod_at(flow, "destination") == "shop/db"),
            (&["--namespace", "shop", "--not", "--pod", "shop/web"], &|flow| {
                either(flow, &|end| flow[end]["namespace"] == "shop")
                    && !either(flow, &|end| pod_at(flow, end) == "shop/web")
            }),
            (&["--label", "app=db"], &|flow| {
                either(flow, &|end| {
                    flow[end]["labels"]
                        .as_array()
                        .is_some_and(|labels| labels.iter().any(|label| label == "k8s:app=db"))
                })
            }),
            (&["--ip", &web_ip], &|flow| {
                flow["IP"]["source"] == web_ip.as_str() || flow["IP"]["destination"] == web_ip.as_str()
            }),
            (&["--to-ip", "198.51.100.0/24"], &|flow| flow["IP"]["destination"] == "198.51.100.10"),
            (&["--port", "53"], &|flow| port(flow, "source", 53) || port(flow, "destination", 53)),
            (&["--to-port", "8080"], &|flow| port(flow, "destination", 8080)),
            (&["--protocol", "udp"], &|flow| flow["l4"]["UDP"].is_object()),
            (&["--protocol", "tcp", "--tcp-flags", "syn"], &|flow| flow["l4"]["TCP"]["flags"]["SYN"] == true),
            (&["--verdict", "DROPPED"], &|flow| flow["verdict"] == "DROPPED"),
            (&["--traffic-direction", "ingress"], &|flow| flow["traffic_direction"] == "INGRESS"),
            (&["-4", "--not", "--protocol", "tcp"], &|flow| !flow["l4"]["TCP"].is_object()),
        ];
        let common = ["--per-packet", "-j", "--pods", file];
        let all = Dump::start(lab, &common);
        let filtered: Vec<Dump> =
            filters.iter().map(|(filter, _)| Dump::start(lab, &[&common, *filter].concat())).collect();
        talk(&watch, &pods);
        let all = all.interrupt().stdout;
        let saved = lab.root().join("tmp/flows.jsonl");
        fs::write(&saved, &all).unwrap();
        let seen = of_ipv4(&all);
        assert!(seen.len() > 30, "{}", seen.len());
        for ((filter, wanted), dump) in filters.iter().zip(filtered) {
            let expected: Vec<Value> = seen.iter().filter(|flow| wanted(flow)).cloned().collect();
            assert!(
                !expected.is_empty() && expected.len() < seen.len(),
                "{filter:?} shows nothing: {}",
                expected.len()
            );
            assert_eq!(of_ipv4(&dump.interrupt().stdout), expected, "{filter:?}, live");
            let arguments = [&["-r", saved.to_str().unwrap(), "-j"], *filter].concat();
            let read = run(lab, &arguments).stdout;
            assert_eq!(of_ipv4(&read), expected, "{filter:?}, saved");
            // What is not changed is passed on as it was, to the byte.
            assert!(read.lines().all(|line| all.contains(line)), "{filter:?}");
        }
    });
}

#[test]
fn names_of_pods_come_with_their_labels_and_workloads() {
    on_node(|lab| {
        let pods = ["cart", "web", "db"].map(|name| lab.pod("shop", name).unwrap());
        let watch = Watch::start(lab, &[&pods[0], &pods[1], &pods[2]], Kit::best());
        let file = lab.pods_file().unwrap();
        // From a file, and from a pipe.
        let dump = Dump::start(lab, &["-j", "--pods", file.to_str().unwrap()]);
        let mut command = flowdump(lab, &["-o", "compact", "--pods", "-", "--protocol", "tcp", "--to-port", "8080"]);
        command.stdin(fs::File::open(&file).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let piped = Dump { running: Running::start_as_is(command).unwrap() };
        eventually("flowdump does not begin to look", || readers(lab) == 2);
        // The isolation of the third pod is another test's matter.
        let isolated = Settings { mode: mode::ENFORCE, flags: flag::ISOLATED_INGRESS, ..Settings::default() };
        watch.set(&pods[2], isolated);
        talk(&watch, &pods);
        let (dump, piped) = (dump.interrupt(), piped.interrupt());
        assert_eq!((dump.stderr.as_str(), piped.stderr.as_str()), ("", ""));
        let flows = of_ipv4(&dump.stdout);
        let syn = flows
            .iter()
            .find(|flow| flow["l4"]["TCP"]["destination_port"] == 8080 && extra(flow)["event"] == "first")
            .unwrap();
        for (end, name) in [("source", "cart"), ("destination", "web")] {
            let end = &syn[end];
            assert_eq!((end["namespace"].as_str(), end["pod_name"].as_str()), (Some("shop"), Some(name)));
            let labels = end["labels"].as_array().unwrap();
            assert!(labels.iter().any(|label| *label == format!("k8s:app={name}")), "{labels:?}");
            assert_eq!(end["workloads"][0]["name"], name);
            assert_eq!(end["workloads"][0]["kind"], "Deployment");
        }
        let far = flows.iter().find(|flow| flow["l4"]["TCP"]["destination_port"] == 443).unwrap();
        assert_eq!(far["destination"]["labels"][0], "reserved:world");
        let line = piped.stdout.lines().next().unwrap();
        assert!(line.contains("shop/cart:") && line.contains(" -> shop/web:8080"), "{line}");
        let denied = flows.iter().find(|flow| flow["verdict"] == "DROPPED").unwrap();
        assert_eq!(pod_at(denied, "destination"), "shop/db");
        assert_eq!(denied["drop_reason_desc"], "POLICY_DENIED");
    });
}

#[test]
fn names_come_from_the_records_of_endpoints_too() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let folder = lab.root().join("run/chainkit/endpoints");
        fs::create_dir_all(&folder).unwrap();
        let record = serde_json::json!({
            "kind": "Endpoint", "namespace": "shop", "pod_name": "cart", "addresses": [cart.ip4],
            "interfaces": [{"name": "eth0", "host_ifindex": cart.host_ifindex, "host_name": cart.host_ifname}],
        });
        fs::write(folder.join("a.json"), record.to_string()).unwrap();
        let dump = Dump::start(lab, &["--attach", "shop/cart", "-j"]);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 1, 64);
        let flows = of_ipv4(&dump.interrupt().stdout);
        assert_eq!(flows.len(), 1);
        assert_eq!(pod_at(&flows[0], "source"), "shop/cart");
        assert_eq!(pod_at(&flows[0], "destination"), "/");
    });
}

#[test]
fn the_past_is_in_the_tables() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        // Nobody looks while it happens.
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let sink = udp_sink(&web);
        let clients: Vec<u16> = (1..=5).map(|count| send_all(&cart, &sink, count, 64).port()).collect();
        assert_eq!(watch.connections(&cart).len(), 5);
        let shown = |arguments: &[&str]| -> Vec<(u64, u64)> {
            let flows = of_ipv4(&run(lab, &[&["-j", "--protocol", "udp"], arguments].concat()).stdout);
            let port = |flow: &Value| flow["l4"]["UDP"]["source_port"].as_u64().unwrap();
            flows.iter().map(|flow| (port(flow), extra(flow)["connection"]["tx_packets"].as_u64().unwrap())).collect()
        };
        let all: Vec<(u64, u64)> = clients.iter().map(|port| u64::from(*port)).zip(1..).collect();
        let sorted = |mut shown: Vec<(u64, u64)>| {
            shown.sort_unstable_by_key(|(_, packets)| *packets);
            shown
        };
        assert_eq!(sorted(shown(&["--last", "100"])), all);
        assert_eq!(shown(&["--last", "3"]).len(), 3);
        assert_eq!(sorted(shown(&["--since", "1h"])), all);
        assert_eq!(sorted(shown(&["--since", "1h", "--to-port", &sink.address().port().to_string()])), all);
        assert_eq!(shown(&["--since", "1h", "--until", "30m"]), []);
        // The past, and then what comes.
        let dump = Dump::start(lab, &["-j", "--protocol", "udp", "--last", "100", "-f"]);
        send_all(&cart, &sink, 1, 64);
        assert_eq!(of_ipv4(&dump.interrupt().stdout).len(), 6);
    });
}

/// `flowdump -j | flowdump -r - --protocol udp`, as a shell makes it.
fn pipe(lab: &Lab) -> (Dump, Dump) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut live = flowdump(lab, &["--per-packet", "-j"]);
    live.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let mut saved = flowdump(lab, &["-r", "-", "--protocol", "udp", "-j"]);
    saved.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    let saved = Dump { running: Running::start_as_is(saved).unwrap() };
    let live = Dump { running: Running::start_as_is(live).unwrap() };
    (live, saved)
}

#[test]
fn one_reads_what_another_writes_as_it_comes() {
    on_node(|lab| {
        let pods = ["cart", "web", "db"].map(|name| lab.pod("shop", name).unwrap());
        let watch = Watch::start(lab, &[&pods[0], &pods[1], &pods[2]], Kit::best());
        watch.set(&pods[2], Settings { mode: mode::ENFORCE, flags: flag::ISOLATED_INGRESS, ..Settings::default() });
        let all = Dump::start(lab, &["--per-packet", "-j"]);
        let (live, mut saved) = pipe(lab);
        eventually("flowdump does not begin to look", || readers(lab) == 2);
        talk(&watch, &pods);
        // Through the pipe before its end.
        saved.running.wait_for_stdout("5432", crate::stage::SOON).unwrap();
        let live = live.interrupt();
        // The end of the one is the end of the other.
        let saved = saved.wait();
        assert_eq!((saved.status.code(), saved.stderr.as_str(), live.stderr.as_str()), (Some(0), "", ""));
        let mut expected = of_ipv4(&all.interrupt().stdout);
        expected.retain(|flow| flow["l4"]["UDP"].is_object());
        assert!(expected.len() >= 8, "{}", expected.len());
        assert_eq!(of_ipv4(&saved.stdout), expected);
    });
}
