//! Another version of the programs, swapped in under traffic.

use std::fs;
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData};
use aya::programs::SchedClassifier;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use chainkit_abi::{ABI_VERSION, Control};
use chainkit_bpf::{
    Datapath, Direction, Error, Kit, NodeLock, Pins, Program, Settings, Version, abi_interfaces, attach_endpoint, hung,
    remove_abi,
};
use chainkit_lab::peer::tcp;
use chainkit_lab::{Lab, Pod};

use crate::stage::{Reader, TCP, UDP, at, eventually, on_node, on_node_by_each_kit, send_on, udp_sink};

/// Another version of our object.
fn another_version() -> Vec<u8> {
    chainkit_lab::another_version(chainkit_object::DATAPATH).unwrap()
}

fn lock(lab: &Lab) -> NodeLock {
    NodeLock::take(lab.root()).unwrap()
}

fn attached(lab: &Lab, pods: &[&Pod], kit: Kit) -> Pins {
    let pins = Pins::below(lab.root());
    let lock = lock(lab);
    let datapath = Datapath::install(&pins, &lock).unwrap();
    for pod in pods {
        attach_endpoint(&datapath, &pins, &lock, pod.host_ifindex, Settings::default(), kit).unwrap();
    }
    pins
}

fn tags(versions: &[Version]) -> Vec<String> {
    versions.iter().map(Version::tag_text).collect()
}

/// The programs that hang on a pod's interface.
fn hanging(pod: &Pod) -> Vec<u32> {
    let of = |direction| hung(pod.host_ifindex, direction).unwrap().into_iter().map(|hung| hung.program);
    Direction::BOTH.into_iter().flat_map(of).collect()
}

/// The programs that are pinned for hanging on interfaces, in the same order.
fn pinned(pins: &Pins) -> Vec<u32> {
    let versions = Datapath::open(pins).unwrap().unwrap().versions().unwrap();
    let of = |direction| versions.iter().find(|version| version.program == Program::of(direction)).unwrap().id;
    Direction::BOTH.map(of).into()
}

#[test]
fn programs_are_swapped_under_traffic_and_no_packet_is_missed_or_counted_twice() {
    on_node_by_each_kit(|lab, kit| {
        const BATCHES: u64 = 40;
        const BYTES: u64 = 200 << 20;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = attached(lab, &[&cart, &web], kit);
        let datapath = Datapath::open(&pins).unwrap().unwrap();
        let mut reader = Reader::start(&datapath, lab, 16 << 20, chainkit_abi::ObserverFilter::default());
        let (new, old) = (another_version(), chainkit_object::DATAPATH.to_vec());
        let (sink, download) = (udp_sink(&web), web.run(|| tcp::sink(at(web.ip4, 0))).unwrap().unwrap());
        let mut swaps = 0;
        std::thread::scope(|scope| {
            let datagrams = scope.spawn(|| {
                cart.run(|| {
                    let socket = std::net::UdpSocket::bind(at(cart.ip4, 0)).unwrap();
                    for _ in 0..BATCHES {
                        send_on(&socket, &sink, 100, 10);
                    }
                })
                .unwrap();
            });
            let stream = scope.spawn(|| cart.run(|| tcp::source(download.address(), BYTES).unwrap()).unwrap());
            while swaps < 4 || !(datagrams.is_finished() && stream.is_finished()) {
                let object = if swaps % 2 == 0 { &new } else { &old };
                let done = Datapath::upgrade_to(object, &pins, &lock(lab), false).unwrap();
                assert_eq!((done.links, done.unchanged), (4, false));
                assert_ne!(tags(&done.from), tags(&done.to));
                swaps += 1;
                reader.read();
            }
        });
        assert_eq!(download.bytes(), BYTES);
        let opened = Datapath::open(&pins).unwrap().unwrap();
        for (pod, sent) in [(&cart, true), (&web, false)] {
            assert_eq!(hanging(pod), pinned(&pins));
            let (slot, _) = opened.endpoint(pod.host_ifindex).unwrap().unwrap();
            let connections = opened.connections(slot).unwrap();
            let counters = |protocol| {
                let found: Vec<_> = connections.iter().filter(|found| found.protocol == protocol).collect();
                assert_eq!(found.len(), 1, "{connections:#?}");
                let conn = found[0].conn;
                if sent { (conn.tx_packets, conn.tx_bytes) } else { (conn.rx_packets, conn.rx_bytes) }
            };
            assert_eq!(counters(UDP), (BATCHES * 100, BATCHES * 100 * (42 + 10)), "after {swaps} swaps");
            assert!(counters(TCP).1 > BYTES);
        }
        // A reader from before is told of what comes after, and is told of nothing as new that is not.
        let is_first = |protocol| {
            let first = move |event: &&chainkit_abi::Event| {
                event.kind == chainkit_abi::kind::FIRST && event.protocol == protocol
            };
            reader.events.iter().filter(first).count()
        };
        assert_eq!((is_first(UDP), is_first(TCP)), (2, 2));
        crate::stage::send_all(&cart, &sink, 1, 10);
        reader.until("a datagram after the swaps", |events| {
            events.iter().filter(|event| event.kind == chainkit_abi::kind::FIRST && event.protocol == UDP).count() == 4
        });
    });
}

#[test]
fn a_second_upgrade_finds_nothing_to_do_and_a_dry_run_does_nothing() {
    on_node_by_each_kit(|lab, kit| {
        let cart = lab.pod("shop", "cart").unwrap();
        let pins = attached(lab, &[&cart], kit);
        let before = (hanging(&cart), pinned(&pins));
        let same = Datapath::upgrade(&pins, &lock(lab), false).unwrap();
        assert_eq!((same.unchanged, same.links, same.from == same.to), (true, 0, true));
        let would = Datapath::upgrade_to(&another_version(), &pins, &lock(lab), true).unwrap();
        assert_eq!((would.unchanged, would.links), (false, 2));
        assert_eq!((hanging(&cart), pinned(&pins)), before);
        Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap();
        assert_ne!(pinned(&pins), before.1);
        assert_eq!(hanging(&cart), pinned(&pins));
        assert!(Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap().unchanged);
        // Who attaches now takes the new programs, and knows the pod that has them.
        let web = lab.pod("shop", "web").unwrap();
        attached(lab, &[&cart, &web], kit);
        assert_eq!((hanging(&cart), hanging(&web)), (pinned(&pins), pinned(&pins)));
    });
}

fn program_pin(pins: &Pins, program: Program) -> PathBuf {
    pins.directory().join("programs").join(program.name())
}

#[test]
fn an_upgrade_that_was_killed_is_completed_by_the_next() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = attached(lab, &[&cart, &web], kit);
        let open = |program| SchedClassifier::from_pin(program_pin(&pins, program)).unwrap();
        let mut old: Vec<(Program, SchedClassifier)> = Program::ALL.map(|program| (program, open(program))).into();
        let ours_is_known = || {
            // Whatever version hangs there, whoever attaches takes it for ours and hangs nothing twice.
            attached(lab, &[&cart, &web], kit);
            assert_eq!((hanging(&cart).len(), hanging(&web).len()), (2, 2));
        };
        // Killed when the first so many pins were replaced.
        for replaced in [0, 1, 3] {
            Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap();
            for (program, pinned) in &mut old[replaced..] {
                fs::remove_file(program_pin(&pins, *program)).unwrap();
                pinned.pin(program_pin(&pins, *program)).unwrap();
            }
            let leftover = pins.directory().join("programs/from_pod-4194305");
            old[0].1.pin(&leftover).unwrap();
            ours_is_known();
            let done = Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap();
            assert!(!done.unchanged);
            assert!(!leftover.exists());
            assert_eq!((hanging(&cart), hanging(&web)), (pinned(&pins), pinned(&pins)));
            assert!(Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap().unchanged);
            Datapath::upgrade(&pins, &lock(lab), false).unwrap();
            old = Program::ALL.map(|program| (program, open(program))).into();
        }
        if kit != Kit::Tcx {
            return;
        }
        // One link has the old program, all pins are new.
        Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap();
        let path = pins.directory().join(format!("links/{}-ingress", cart.host_ifindex));
        let link: SchedClassifierLink = FdLink::from(PinnedLink::from_pin(path).unwrap()).try_into().unwrap();
        old[0].1.attach_to_link(link).unwrap();
        ours_is_known();
        let done = Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap();
        assert_eq!((done.unchanged, done.links, done.from == done.to), (false, 1, true));
        assert_eq!(hanging(&cart), pinned(&pins));
    });
}

fn set_abi(control: &std::path::Path, abi: u32) {
    let mut control: Array<MapData, Control> =
        Array::try_from(Map::Array(MapData::from_pin(control).unwrap())).unwrap();
    let found = control.get(&0, 0).unwrap();
    control.set(0, Control { abi, ..found }, 0).unwrap();
}

#[test]
fn what_is_not_of_this_version_or_not_there_is_refused_and_left_as_it_is() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let pins = Pins::below(lab.root());
        let error = Datapath::upgrade(&pins, &lock(lab), false).unwrap_err().to_string();
        assert!(error.contains("nothing to upgrade"), "{error}");
        attached(lab, &[&cart], Kit::best());
        let before = hanging(&cart);
        let control = pins.directory().join("maps/CONTROL");
        set_abi(&control, 99);
        for object in [chainkit_object::DATAPATH.to_vec(), another_version()] {
            let error = Datapath::upgrade_to(&object, &pins, &lock(lab), false).unwrap_err();
            assert!(matches!(error, Error::Abi { found: 99, ours: ABI_VERSION, .. }), "{error:?}");
            assert!(error.to_string().contains("--migrate"), "{error}");
        }
        set_abi(&control, ABI_VERSION);
        // A map of another shape under one of our names.
        let clock = pins.directory().join("maps/CLOCK");
        fs::remove_file(&clock).unwrap();
        let object = aya::Ebpf::load(chainkit_object::FLOOR).unwrap();
        object.map("FLOWS4").unwrap().pin(&clock).unwrap();
        let error = Datapath::upgrade_to(&another_version(), &pins, &lock(lab), false).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }) && error.to_string().contains("CLOCK"), "{error:?}");
        assert_eq!(hanging(&cart), before);
        // Where only another version is pinned, it is named.
        let other = lab.root().join("sys/fs/bpf/chainkit/99");
        fs::rename(pins.directory(), &other).unwrap();
        let error = Datapath::upgrade(&pins, &lock(lab), false).unwrap_err();
        assert!(matches!(error, Error::Abi { found: 99, .. }), "{error:?}");
    });
}

#[test]
fn a_datapath_of_another_abi_is_taken_off_once_ours_is_on() {
    on_node_by_each_kit(|lab, kit| {
        const OLD: u32 = ABI_VERSION - 1;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = attached(lab, &[&cart, &web], kit);
        // What was made by another version lies in its own directory, and says so.
        let old = lab.root().join(format!("sys/fs/bpf/chainkit/{OLD}"));
        set_abi(&pins.directory().join("maps/CONTROL"), OLD);
        fs::rename(pins.directory(), &old).unwrap();
        assert_eq!(Pins::other_abis(lab.root()).unwrap(), [OLD]);
        let mut interfaces = vec![cart.host_ifindex, web.host_ifindex];
        interfaces.sort_unstable();
        assert_eq!(abi_interfaces(lab.root(), OLD).unwrap(), interfaces);
        assert_eq!(abi_interfaces(lab.root(), 77).unwrap(), Vec::<u32>::new());
        let error = remove_abi(lab.root(), ABI_VERSION, &lock(lab)).unwrap_err().to_string();
        assert!(error.contains("own"), "{error}");

        attached(lab, &[&cart, &web], kit);
        remove_abi(lab.root(), OLD, &lock(lab)).unwrap();
        for pod in [&cart, &web] {
            eventually("the old one stays", || hanging(pod) == pinned(&pins));
        }
        assert!(!old.exists());
        assert_eq!(Pins::other_abis(lab.root()).unwrap(), Vec::<u32>::new());
        remove_abi(lab.root(), OLD, &lock(lab)).unwrap();
        let sink = udp_sink(&web);
        crate::stage::send_all(&cart, &sink, 10, 10);
        let datapath = Datapath::open(&pins).unwrap().unwrap();
        let (slot, _) = datapath.endpoint(cart.host_ifindex).unwrap().unwrap();
        assert_eq!(datapath.totals(slot).unwrap().from_pod.packets, 10);
    });
}
