//! However `flowdump` ends, it leaves nothing behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aya::programs::loaded_programs;
use chainkit_bpf::{Direction, Kit, hung};
use chainkit_lab::{Lab, Pod, Running};
use nix::sys::signal::Signal;

use crate::dump::{Dump, flowdump, flows, readers};
use crate::rival::{Place, Rival};
use crate::stage::{eventually, on_node, on_node_by_each_kit, send_all, udp_sink};

/// Ids of the maps that the programs on a pod's interface use, and of the programs.
fn in_kernel(pod: &Pod) -> (Vec<u32>, Vec<u32>) {
    let programs: Vec<u32> = Direction::BOTH
        .iter()
        .flat_map(|direction| hung(pod.host_ifindex, *direction).unwrap())
        .map(|hung| hung.program)
        .collect();
    let maps = loaded_programs()
        .filter_map(Result::ok)
        .filter(|info| programs.contains(&info.id()))
        .flat_map(|info| info.map_ids().unwrap().unwrap())
        .collect();
    (programs, maps)
}

fn qdiscs(lab: &Lab, pod: &Pod) -> String {
    let mut tc = lab.node().command("tc");
    tc.args(["qdisc", "show", "dev", &pod.host_ifname]);
    String::from_utf8(tc.output().unwrap().stdout).unwrap()
}

fn pinned(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("sys/fs/bpf")).unwrap().map(|entry| entry.unwrap().file_name());
    // Made by the kernel itself, for `bpftool iter`.
    let names = entries.map(|name| name.into_string().unwrap()).filter(|name| !name.ends_with(".debug"));
    names.collect()
}

/// How it comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Signal(Signal),
    ClosedPipe { traffic: bool },
    Duration,
    First,
}

#[test]
fn every_end_is_quiet_and_leaves_nothing_behind() {
    let ends = [
        End::Signal(Signal::SIGINT),
        End::Signal(Signal::SIGTERM),
        End::ClosedPipe { traffic: true },
        End::ClosedPipe { traffic: false },
        End::Duration,
        End::First,
    ];
    for end in ends {
        on_node_by_each_kit(|lab, kit| ends_well(lab, kit.name(), end));
    }
}

fn ends_well(lab: &Lab, kit: &str, end: End) {
    let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
    let mut arguments = vec!["--attach", "all", "--attach-kind", kit, "--per-packet", "-j"];
    match end {
        End::Duration => arguments.extend(["--duration", "3s"]),
        End::First => arguments.extend(["--first", "7", "--protocol", "udp"]),
        _ => {}
    }
    let mut command = flowdump(lab, &arguments);
    let (reader, writer) = std::io::pipe().unwrap();
    let running = if let End::ClosedPipe { .. } = end {
        command.stdin(std::process::Stdio::null()).stdout(writer).stderr(std::process::Stdio::piped());
        Running::start_as_is(command).unwrap()
    } else {
        drop(writer);
        Running::start(command).unwrap()
    };
    eventually("flowdump does not begin to look", || {
        assert!(!running.stderr().contains("error"), "{}", running.stderr());
        readers(lab) == 1
    });
    let (programs, maps) = in_kernel(&cart);
    assert!(programs.len() == 2 && maps.len() > 10, "{programs:?} {maps:?}");
    assert_eq!(qdiscs(lab, &cart).contains("clsact"), kit == "clsact");
    assert!(pinned(lab.root()).is_empty());

    let sink = udp_sink(&web);
    let dump = Dump { running };
    let ended = match end {
        End::Signal(signal) => {
            send_all(&cart, &sink, 100, 64);
            dump.end_by(signal)
        }
        End::ClosedPipe { traffic } => {
            drop(reader);
            if traffic {
                send_all(&cart, &sink, 100, 64);
            }
            dump.wait()
        }
        End::Duration => dump.wait(),
        End::First => {
            send_all(&cart, &sink, 100, 64);
            dump.wait()
        }
    };
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{kit} {end:?}");
    match end {
        End::Signal(_) => assert!(flows(&ended.stdout).len() >= 200, "what was sent before the end is shown"),
        End::First => assert_eq!(flows(&ended.stdout).len(), 7),
        _ => {}
    }

    for pod in [&cart, &web] {
        for direction in Direction::BOTH {
            assert_eq!(hung(pod.host_ifindex, direction).unwrap(), [], "{kit} {end:?}");
        }
        assert!(!qdiscs(lab, pod).contains("clsact"), "{kit} {end:?}");
    }
    assert!(pinned(lab.root()).is_empty());
    // The kernel takes its time to free what nobody holds.
    eventually("programs or maps are left in the kernel", || {
        let left = loaded_programs().filter_map(Result::ok).any(|info| programs.contains(&info.id()));
        let maps_left = aya::maps::loaded_maps().filter_map(Result::ok).any(|info| maps.contains(&info.id()));
        !left && !maps_left
    });
}

#[test]
fn a_clsact_qdisc_of_others_and_their_programs_stay() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let mut rival = Rival::polite();
        rival.hang(&cart.host_ifname, Direction::Ingress, Place::Clsact(3));
        let dump = Dump::start(lab, &["--attach", "all", "--attach-kind", "clsact", "--per-packet", "-j"]);
        let sink = udp_sink(&web);
        let client = send_all(&cart, &sink, 100, 64);
        dump.interrupt();
        assert!(qdiscs(lab, &cart).contains("clsact") && !qdiscs(lab, &web).contains("clsact"));
        let left = hung(cart.host_ifindex, Direction::Ingress).unwrap();
        assert_eq!(left.iter().map(|hung| hung.program).collect::<Vec<_>>(), [rival.id()]);
        assert_eq!(rival.counted(client.port(), sink.address().port()), 100);
    });
}

#[test]
fn what_a_killed_one_left_is_taken_over_and_taken_off_by_the_next() {
    on_node_by_each_kit(|lab, kit| {
        let kit = kit.name();
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let arguments = ["--attach", "all", "--attach-kind", kit, "--per-packet", "-j"];
        Dump::start(lab, &arguments).end_by(Signal::SIGKILL);
        let left = hung(cart.host_ifindex, Direction::Ingress).unwrap().len();
        // A link goes with its holder, a filter stays.
        assert_eq!(left, usize::from(kit == "clsact"));
        let running = Running::start(flowdump(lab, &arguments)).unwrap();
        let sink = udp_sink(&web);
        eventually("the next one sees nothing", || {
            send_all(&cart, &sink, 1, 64);
            std::thread::sleep(Duration::from_millis(50));
            running.stdout().contains("UDP")
        });
        assert_eq!(hung(cart.host_ifindex, Direction::Ingress).unwrap().len(), 1);
        let ended = Dump { running }.interrupt();
        assert_eq!(ended.stderr, "");
        for pod in [&cart, &web] {
            for direction in Direction::BOTH {
                assert_eq!(hung(pod.host_ifindex, direction).unwrap(), [], "{kit}");
            }
            // An empty qdisc stays: with the killed one went the knowledge that it was not there before.
            assert_eq!(qdiscs(lab, pod).contains("clsact"), kit == "clsact");
        }
    });
}

#[test]
fn pods_that_come_are_taken_in_and_those_that_go_are_forgotten() {
    on_node(|lab| {
        let web = lab.pod("shop", "web").unwrap();
        let dump = Dump::start(lab, &["--attach", "all", "--per-packet", "-j"]);
        let late = lab.pod("shop", "late").unwrap();
        eventually("a new pod is not taken in", || {
            Direction::BOTH.iter().all(|direction| hung(late.host_ifindex, *direction).unwrap().len() == 1)
        });
        let sink = udp_sink(&web);
        send_all(&late, &sink, 100, 64);
        lab.delete_pod(&web).unwrap();
        lab.delete_pod(&late).unwrap();
        let other = lab.pod("shop", "other").unwrap();
        eventually("a new pod is not taken in", || {
            Direction::BOTH.iter().all(|direction| hung(other.host_ifindex, *direction).unwrap().len() == 1)
        });
        let ended = dump.interrupt();
        assert_eq!(ended.stderr, "");
        let flows = flows(&ended.stdout);
        let of_late = |flow: &&serde_json::Value| {
            flow["interface"]["name"] == late.host_ifname.as_str() && flow["l4"]["UDP"].is_object()
        };
        assert_eq!(flows.iter().filter(of_late).count(), 100);
        assert_eq!(hung(other.host_ifindex, Direction::Ingress).unwrap(), []);
    });
}

#[test]
fn only_what_was_asked_for_is_attached() {
    on_node(|lab| {
        let pods = ["cart", "web", "db"].map(|name| lab.pod("shop", name).unwrap());
        let [cart, web, db] = &pods;
        let file = lab.pods_file().unwrap();
        let file = file.to_str().unwrap();
        // By name, and by interface.
        for arguments in [["--attach", "shop/cart", "--pods", file], ["--attach", &cart.host_ifname, "--pods", file]] {
            let dump = Dump::start(lab, &[&arguments[..], &["--per-packet", "-j"]].concat());
            assert_eq!(hung(cart.host_ifindex, Direction::Ingress).unwrap().len(), 1);
            assert_eq!(hung(web.host_ifindex, Direction::Ingress).unwrap(), []);
            // Another one asks for all, and the first goes on with its own.
            let all = Dump::start(lab, &["--attach", "all", "--per-packet", "-j"]);
            assert_eq!(hung(web.host_ifindex, Direction::Ingress).unwrap().len(), 1);
            let sink = udp_sink(web);
            send_all(db, &sink, 10, 64);
            send_all(cart, &sink, 10, 64);
            let of_udp = |stdout: &str| flows(stdout).iter().filter(|flow| flow["l4"]["UDP"].is_object()).count();
            assert_eq!(of_udp(&all.interrupt().stdout), 40);
            assert_eq!(hung(web.host_ifindex, Direction::Ingress).unwrap(), []);
            assert_eq!(of_udp(&dump.interrupt().stdout), 10);
        }
        // Without anything to read from, it says what to do.
        let ended = Dump { running: Running::start(flowdump(lab, &[])).unwrap() }.wait();
        assert_eq!(ended.status.code(), Some(4));
        assert!(ended.stderr.contains("--attach all"), "{}", ended.stderr);
    });
}

#[test]
fn a_rival_that_runs_first_is_named_on_stderr() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let mut dump = Dump::start(lab, &["--attach", "all"]);
        let mut rival = Rival::rude();
        rival.hang(&cart.host_ifname, Direction::Ingress, Place::Clsact(1));
        // After ours, with tcx; before ours, from now on.
        let mut first = Rival::rude();
        first.hang(
            &cart.host_ifname,
            Direction::Ingress,
            if Kit::best() == Kit::Tcx { Place::TcxFirst } else { Place::Clsact(1) },
        );
        dump.running.wait_for_stderr(&format!("(id {})", first.id()), crate::stage::SOON).unwrap();
        let ended = dump.interrupt();
        assert!(ended.stderr.contains(&cart.host_ifname), "{}", ended.stderr);
        assert_eq!(ended.stderr.contains(&format!("(id {})", rival.id())), Kit::best() == Kit::Clsact);
    });
}
