//! What an operator does with `cni-chain`: upgrades with a download open, moves over from another ABI version, looks, and purges.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Output;

use aya::maps::{Array, Map, MapData};
use chainkit_abi::{ABI_VERSION, Control, mode, opened};
use chainkit_bpf::{Datapath, Direction, Kit, NodeLock, Pins, Program, Settings, attach_endpoint, hung};
use chainkit_lab::peer::tcp;
use chainkit_lab::{Lab, Pod, program};
use serde_json::Value;

use crate::dump::records;
use crate::stage::{SOON, TCP, at, on_node, on_node_by_each_kit, send_all, udp_sink};

/// What `cni-chain` said, and how it ended.
struct Said {
    code: Option<i32>,
    records: Vec<Value>,
    stderr: String,
}

fn cni_chain(lab: &Lab, arguments: &[&str]) -> Said {
    let mut command = lab.node().command(program("cni-chain").unwrap());
    let Output { status, stdout, stderr } =
        command.arg("--root").arg(lab.root()).args(arguments).arg("-j").output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    Said { code: status.code(), records: records(&String::from_utf8(stdout).unwrap()), stderr }
}

/// Runs it, which has to go well; its records.
#[track_caller]
fn fine(lab: &Lab, arguments: &[&str]) -> Vec<Value> {
    let said = cni_chain(lab, arguments);
    assert_eq!(said.code, Some(0), "{arguments:?}: {} {:?}", said.stderr, said.records);
    said.records
}

#[track_caller]
fn adopt(lab: &Lab, pods: &[&Pod]) {
    let mut arguments = vec!["adopt"];
    for pod in pods {
        arguments.extend(["--netns", pod.netns_path().to_str().unwrap()]);
    }
    for record in fine(lab, &arguments) {
        assert_eq!(record["result"], "adopted", "{record}");
    }
}

fn problems(status: &Value) -> String {
    status["problems"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// A connection with both its ends.
fn connection(from: &Pod, to: &Pod) -> (TcpStream, TcpStream) {
    let listener = to.run(|| TcpListener::bind(at(to.ip4, 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let client = from.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(SOON)).unwrap();
    }
    (client, server)
}

fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(b"still here").unwrap();
    server.read_exact(&mut [0; 10]).unwrap();
    server.write_all(b"so am I..").unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
}

fn ids(pod: &Pod) -> Vec<u32> {
    let of = |direction| hung(pod.host_ifindex, direction).unwrap().into_iter().map(|hung| hung.program);
    Direction::BOTH.into_iter().flat_map(of).collect()
}

#[test]
fn upgrade_swaps_another_versions_programs_while_a_download_goes_on() {
    on_node_by_each_kit(|lab, kit| {
        const BYTES: u64 = 300 << 20;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let said = cni_chain(lab, &["upgrade"]);
        assert_eq!(said.code, Some(4));
        assert!(said.stderr.contains("nothing to upgrade"), "{}", said.stderr);
        let mut arguments = vec!["adopt", "--attach", kit.name()];
        for pod in [&cart, &web] {
            arguments.extend(["--netns", pod.netns_path().to_str().unwrap()]);
        }
        fine(lab, &arguments);
        // The node runs another version from here on.
        let pins = Pins::below(lab.root());
        let other = chainkit_lab::another_version(chainkit_object::DATAPATH).unwrap();
        let lock = NodeLock::take(lab.root()).unwrap();
        assert_eq!(Datapath::upgrade_to(&other, &pins, &lock, false).unwrap().links, 4);
        drop(lock);
        let before = ids(&cart);
        let status = cni_chain(lab, &["status"]);
        assert_eq!(status.code, Some(1));
        assert_eq!(status.records[0]["current"], false);
        assert!(problems(&status.records[0]).contains("cni-chain upgrade"), "{:?}", status.records);

        let sink = web.run(|| tcp::sink(at(web.ip4, 0))).unwrap().unwrap();
        let (mut client, mut server) = connection(&cart, &web);
        std::thread::scope(|scope| {
            let download = scope.spawn(|| cart.run(|| tcp::source(sink.address(), BYTES).unwrap()).unwrap());
            let plan = fine(lab, &["upgrade", "--dry-run"]);
            assert_eq!((&plan[0]["result"], &plan[0]["links"]), (&"would-upgrade".into(), &4.into()), "{plan:?}");
            assert_eq!(ids(&cart), before);
            let done = fine(lab, &["upgrade"]);
            assert_eq!((&done[0]["result"], &done[0]["links"]), (&"upgraded".into(), &4.into()), "{done:?}");
            download.join().unwrap();
        });
        assert_eq!(sink.bytes(), BYTES);
        talk(&mut client, &mut server);
        assert_ne!(ids(&cart), before);
        let again = fine(lab, &["upgrade"]);
        assert_eq!((&again[0]["result"], &again[0]["unchanged"]), (&"unchanged".into(), &true.into()), "{again:?}");
        assert_eq!(fine(lab, &["status"])[0]["current"], true);
        // Nothing was forgotten: what was sent before the swap is counted with what came after.
        let endpoints = fine(lab, &["endpoints"]);
        let of_web =
            endpoints.iter().find(|one| one["interfaces"][0]["host_name"] == web.host_ifname.as_str()).unwrap();
        let counters = &of_web["interfaces"][0]["counters"];
        assert!(counters["to_pod"]["bytes"].as_u64().unwrap() > BYTES, "{of_web}");
    });
}

#[test]
fn another_abi_is_refused_and_moved_over_from_with_connections_alive() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = Pins::below(lab.root());
        let lock = NodeLock::take(lab.root()).unwrap();
        let datapath = Datapath::install(&pins, &lock).unwrap();
        for pod in [&cart, &web] {
            attach_endpoint(&datapath, &pins, &lock, pod.host_ifindex, Settings::default(), kit).unwrap();
        }
        // As an older version would have left it: its own folder, its own number.
        let mut control: Array<MapData, Control> =
            Array::try_from(Map::Array(MapData::from_pin(pins.directory().join("maps/CONTROL")).unwrap())).unwrap();
        let value = control.get(&0, 0).unwrap();
        control.set(0, Control { abi: 1, ..value }, 0).unwrap();
        fs::rename(pins.directory(), lab.root().join("sys/fs/bpf/chainkit/1")).unwrap();
        drop((lock, datapath, control));
        let (mut client, mut server) = connection(&cart, &web);
        let old = ids(&cart);

        let refused = cni_chain(lab, &["upgrade"]);
        assert_eq!(refused.code, Some(4));
        assert!(refused.stderr.contains("ABI version 1") && refused.stderr.contains("--migrate"), "{}", refused.stderr);
        assert_eq!(ids(&cart), old);
        let plan = fine(lab, &["upgrade", "--migrate", "--dry-run"]);
        assert_eq!((&plan[0]["from_abi"], &plan[0]["migrated"]), (&1.into(), &2.into()), "{plan:?}");
        assert_eq!(ids(&cart), old);
        talk(&mut client, &mut server);
        let done = fine(lab, &["upgrade", "--migrate"]);
        assert_eq!((&done[0]["to_abi"], &done[0]["migrated"]), (&ABI_VERSION.into(), &2.into()), "{done:?}");
        talk(&mut client, &mut server);
        assert!(!lab.root().join("sys/fs/bpf/chainkit/1").exists());
        crate::stage::eventually("the other version's programs hang there still", || {
            ids(&cart).len() == 2 && ids(&cart).iter().all(|id| !old.contains(id))
        });
        let opened_now = Datapath::open(&pins).unwrap().unwrap();
        let (slot, endpoint) = opened_now.endpoint(cart.host_ifindex).unwrap().unwrap();
        assert_eq!(endpoint.mode, mode::OBSERVE);
        let entries = opened_now.connections(slot).unwrap();
        let entry = entries.iter().find(|entry| entry.protocol == TCP).unwrap();
        assert_eq!(entry.remote_port, server.local_addr().unwrap().port());
        // A socket of a connection that was opened does not tell by whom, unless somebody listens or tracks it.
        assert!([opened::UNKNOWN, opened::BY_POD].contains(&entry.conn.opened), "{entry:?}");
        assert_eq!(fine(lab, &["upgrade", "--migrate"])[0]["result"], "unchanged");
        assert_eq!(cni_chain(lab, &["status"]).code, Some(0));
    });
}

#[test]
fn endpoints_tell_what_hangs_there_and_what_went_by() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        assert_eq!(fine(lab, &["endpoints"]), [] as [Value; 0]);
        adopt(lab, &[&cart, &web]);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        let endpoints = fine(lab, &["endpoints"]);
        assert_eq!(endpoints.len(), 2);
        for (pod, from, to) in [(&cart, 100, 0), (&web, 0, 100)] {
            let endpoint =
                endpoints.iter().find(|one| one["interfaces"][0]["host_name"] == pod.host_ifname.as_str()).unwrap();
            assert_eq!(endpoint["kind"], "Endpoint");
            assert_eq!(endpoint["addresses"], serde_json::json!([pod.ip4]));
            assert_eq!((&endpoint["mode"], &endpoint["problems"]), (&"observe".into(), &serde_json::json!([])));
            let interface = &endpoint["interfaces"][0];
            assert_eq!((&interface["name"], &interface["host_ifindex"]), (&"eth0".into(), &pod.host_ifindex.into()));
            assert_eq!(interface["attach"], Kit::best().name());
            let hooks: Vec<&str> =
                interface["programs"].as_array().unwrap().iter().map(|one| one["hook"].as_str().unwrap()).collect();
            assert_eq!(hooks, [Program::FromPod.name(), Program::ToPod.name()]);
            let counters = &interface["counters"];
            let of_udp = |side: &str| counters[side]["packets"].as_u64().unwrap();
            assert_eq!((of_udp("from_pod"), of_udp("to_pod")), (from, to), "{endpoint}");
            assert_eq!((&counters["connections"], &counters["dropped"]), (&1.into(), &0.into()));
        }
    });
}

#[test]
fn status_names_what_is_not_as_it_should_be() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let absent = cni_chain(lab, &["status"]);
        assert_eq!(absent.code, Some(1));
        assert_eq!((&absent.records[0]["installed"], &absent.records[0]["abi"]), (&false.into(), &Value::Null));
        adopt(lab, &[&cart]);
        let good = fine(lab, &["status"]);
        assert_eq!(good[0]["problems"], serde_json::json!([]));
        assert_eq!((&good[0]["abi"], &good[0]["current"]), (&ABI_VERSION.into(), &true.into()));
        assert_eq!((&good[0]["version"], &good[0]["endpoints"]), (&env!("CARGO_PKG_VERSION").into(), &1.into()));

        // A link that somebody has taken away.
        let pins = Pins::below(lab.root());
        let links = pins.links().unwrap();
        let lost = links.iter().find(|link| link.direction == Direction::Ingress);
        if let Some(lost) = lost {
            fs::remove_file(&lost.path).unwrap();
            crate::stage::eventually("it hangs there still", || {
                hung(cart.host_ifindex, Direction::Ingress).unwrap().is_empty()
            });
            let bad = cni_chain(lab, &["status"]);
            assert_eq!(bad.code, Some(1));
            let said = problems(&bad.records[0]);
            assert!(said.contains(&cart.host_ifname) && said.contains("ingress"), "{said}");
            adopt(lab, &[&cart]);
            assert_eq!(cni_chain(lab, &["status"]).code, Some(0));
        }
        // A record that is torn.
        let folder: PathBuf = lab.root().join("run/chainkit/endpoints");
        fs::write(folder.join("torn.json"), "{\"kind\":").unwrap();
        let bad = cni_chain(lab, &["status"]);
        assert_eq!(bad.code, Some(1));
        assert!(problems(&bad.records[0]).contains("torn.json"), "{:?}", bad.records);
    });
}

#[test]
fn release_takes_one_or_all_and_purge_leaves_nothing() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        adopt(lab, &[&cart, &web]);
        let (mut client, mut server) = connection(&cart, &web);
        let plan = fine(lab, &["release", "--ifname", &cart.host_ifname, "--dry-run"]);
        assert_eq!(plan[0]["result"], "would-release");
        assert_eq!(ids(&cart).len(), 2);
        let missing = cni_chain(lab, &["release", "--pod", "shop/nobody"]);
        assert_eq!(missing.code, Some(2));
        assert!(missing.stderr.contains("shop/nobody"), "{}", missing.stderr);
        assert_eq!(fine(lab, &["release", "--netns", cart.netns_path().to_str().unwrap()])[0]["result"], "released");
        crate::stage::eventually("cart is still attached", || ids(&cart).is_empty());
        assert_eq!(ids(&web).len(), 2);
        talk(&mut client, &mut server);
        assert_eq!(fine(lab, &["release", "--all", "--purge"]).len(), 1);
        crate::stage::eventually("web is still attached", || ids(&web).is_empty());
        talk(&mut client, &mut server);
        assert!(!lab.root().join("sys/fs/bpf/chainkit").exists());
        let left: Vec<_> = fs::read_dir(lab.root().join("run/chainkit"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.contains("lock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(fine(lab, &["release", "--all", "--purge"]), [] as [Value; 0]);
    });
}

/// The mode that is in force at a pod's interface.
fn mode_of(lab: &Lab, pod: &Pod) -> u8 {
    let datapath = Datapath::open(&Pins::below(lab.root())).unwrap().unwrap();
    datapath.endpoint(pod.host_ifindex).unwrap().unwrap().1.mode
}

#[test]
fn adopting_again_without_a_mode_loosens_nothing() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let netns = cart.netns_path().to_str().unwrap();
        fine(lab, &["adopt", "--netns", netns, "--mode", "enforce"]);
        assert_eq!(fine(lab, &["adopt", "--netns", netns])[0]["result"], "already");
        assert_eq!(mode_of(lab, &cart), mode::ENFORCE);
        assert_eq!(fine(lab, &["adopt", "--netns", netns, "--mode", "audit"])[0]["result"], "adopted");
        assert_eq!(mode_of(lab, &cart), mode::AUDIT);
    });
}

#[test]
fn what_has_lost_its_record_is_named_and_can_be_released() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        adopt(lab, &[&cart]);
        let folder = lab.root().join("run/chainkit/endpoints");
        fs::remove_dir_all(&folder).unwrap();
        let bad = cni_chain(lab, &["status"]);
        assert_eq!(bad.code, Some(1));
        assert!(problems(&bad.records[0]).contains(&cart.host_ifname), "{:?}", bad.records);
        assert!(fine(lab, &["endpoints"])[0]["problems"][0].as_str().unwrap().contains("no record"));
        assert_eq!(fine(lab, &["release", "--all"])[0]["interfaces"][0], cart.host_ifname.as_str());
        crate::stage::eventually("cart is still attached", || ids(&cart).is_empty());
        assert_eq!(cni_chain(lab, &["status"]).code, Some(0));
    });
}

#[test]
fn nothing_is_said_to_be_released_where_the_pins_cannot_be_seen() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        adopt(lab, &[&cart]);
        // Another tree, with the records and without the BPF filesystem: as in a container that lacks the mount.
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(elsewhere.path().join("run/chainkit/endpoints")).unwrap();
        for record in fs::read_dir(lab.root().join("run/chainkit/endpoints")).unwrap() {
            let record = record.unwrap();
            fs::copy(record.path(), elsewhere.path().join("run/chainkit/endpoints").join(record.file_name())).unwrap();
        }
        let mut command = lab.node().command(program("cni-chain").unwrap());
        let Output { status, stdout, .. } =
            command.arg("--root").arg(elsewhere.path()).args(["release", "--all", "-j"]).output().unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(records(&String::from_utf8(stdout).unwrap())[0]["result"], "failed");
        assert_eq!(ids(&cart).len(), 2);
    });
}

#[test]
fn an_interface_that_was_renamed_is_named_and_released_by_either_name() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        adopt(lab, &[&cart]);
        let down = format!("link set {} down", cart.host_ifname);
        let name = format!("link set {} name enirenamed", cart.host_ifname);
        lab.node().ip([down.as_str(), name.as_str(), "link set enirenamed up"]).unwrap();
        let bad = cni_chain(lab, &["status"]);
        assert_eq!(bad.code, Some(1));
        assert!(problems(&bad.records[0]).contains("called enirenamed now"), "{:?}", bad.records);
        assert_eq!(fine(lab, &["release", "--ifname", "enirenamed"])[0]["result"], "released");
        crate::stage::eventually("cart is still attached", || ids(&cart).is_empty());
    });
}

#[test]
fn a_process_that_holds_the_lock_for_good_holds_up_no_look() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        adopt(lab, &[&cart]);
        let _held = NodeLock::take(lab.root()).unwrap();
        let status = cni_chain(lab, &["status"]);
        assert_eq!((status.code, &status.records[0]["current"]), (Some(1), &Value::Null));
        assert!(problems(&status.records[0]).contains("lock"), "{:?}", status.records);
        assert_eq!(fine(lab, &["endpoints"]).len(), 1);
        let held_up = cni_chain(lab, &["release", "--all"]);
        assert_eq!(held_up.code, Some(4));
        assert!(held_up.stderr.contains("lock"), "{}", held_up.stderr);
        assert_eq!(ids(&cart).len(), 2);
    });
}

#[test]
fn what_may_not_be_looked_at_is_not_said_to_be_absent() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        adopt(lab, &[&cart]);
        let cni_chain = program("cni-chain").unwrap();
        for arguments in [&["status"][..], &["endpoints"], &["release", "--all"], &["adopt", "--all"]] {
            let mut command = lab.node().command("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(&cni_chain);
            let Output { status, stdout, stderr } =
                command.arg("--root").arg(lab.root()).args(arguments).output().unwrap();
            let stderr = String::from_utf8_lossy(&stderr);
            assert_eq!((status.code(), stdout.len()), (Some(3), 0), "{arguments:?}: {stderr}");
            assert!(stderr.contains("CAP_BPF") && stderr.contains("CAP_NET_ADMIN"), "{arguments:?}: {stderr}");
        }
        assert_eq!(ids(&cart).len(), 2);
    });
}
