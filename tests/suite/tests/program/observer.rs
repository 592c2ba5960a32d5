//! Observers: what they are told adds up, there may be many of them, and one that died is not told for long.

use std::{
    env,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chainkit_abi::{HEARTBEAT_TIMEOUT_NS, OBSERVERS, ObserverFilter, kind};
use chainkit_bpf::{Datapath, Error, Observer, ObserverSettings, Pins};
use chainkit_lab::Lab;

use crate::{
    frame::{UDP, udp},
    node::{FROM_POD, Node, drain, observing, per_packet},
};

fn tiny() -> ObserverSettings {
    ObserverSettings { ring_bytes: 4096, filter: per_packet() }
}

#[test]
fn sent_and_lost_are_all_that_there_was() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    const PACKETS: u64 = 1000;
    let node = Node::new(observing());
    let mut observer = Observer::start(&node.datapath, node.root(), tiny()).unwrap();
    let ends = node.ends(4);
    let frame = ends.outgoing(UDP, &udp(1, 2, 0));
    let mut read = Vec::new();
    for number in 1..=PACKETS {
        node.run(FROM_POD, &frame);
        // Reads now and then, and too seldom.
        if number % 100 == 0 {
            read.extend(drain(&mut observer));
            let losses = observer.losses().unwrap();
            assert_eq!((losses.sent + losses.lost, losses.sent), (number, read.len() as u64), "after {number}");
        }
    }
    let losses = observer.losses().unwrap();
    assert!(losses.lost > 0 && losses.sent > 0, "{losses:?}");
    assert_eq!(losses.pauses, 0);
    // Those that came are whole and in order, and the connection's own counters show where one is missing.
    let mut last = 0;
    for event in &read {
        assert!(event.tx_packets > last, "{} after {last}", event.tx_packets);
        last = event.tx_packets;
    }
    assert_eq!(node.connection(ends, UDP, 1, 2).unwrap().tx_packets, PACKETS, "nothing is lost to the tables");
}

#[test]
fn each_observer_has_losses_of_its_own() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut large = node.observe(per_packet());
    let small = Observer::start(&node.datapath, node.root(), tiny()).unwrap();
    let mut sparse = node.observe(ObserverFilter::default());
    let frame = node.ends(6).outgoing(UDP, &udp(1, 2, 0));
    for _ in 0..100 {
        node.run(FROM_POD, &frame);
    }
    let (kept, dropped, few) = (large.losses().unwrap(), small.losses().unwrap(), sparse.losses().unwrap());
    assert_eq!((kept.sent, kept.lost), (100, 0));
    assert!(dropped.lost > 50, "{dropped:?}");
    assert_eq!(dropped.sent + dropped.lost, 100);
    assert_eq!((few.sent, few.lost), (1, 0), "what a filter leaves out is neither sent nor lost");
    assert_eq!((drain(&mut large).len(), drain(&mut sparse).len()), (100, 1));
}

#[test]
fn there_may_be_sixty_four_at_once_and_no_more() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let start = || Observer::start(&node.datapath, node.root(), tiny());
    let mut observers: Vec<_> = (0..OBSERVERS).map(|_| start().unwrap()).collect();
    let mut slots: Vec<_> = observers.iter().map(Observer::slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, (0..OBSERVERS).collect::<Vec<_>>());
    let refused = start().unwrap_err();
    assert!(matches!(refused, Error::Full(OBSERVERS, _)), "{refused}");

    // All are told, the first and the last alike.
    let frame = node.ends(4).outgoing(UDP, &udp(1, 2, 0));
    for _ in 0..3 {
        node.run(FROM_POD, &frame);
    }
    for observer in &mut observers {
        let kinds: Vec<_> = drain(observer).iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [kind::FIRST, kind::PACKET, kind::PACKET], "observer {}", observer.slot());
    }
    // Whoever goes makes room, and whoever comes has nothing of its forerunner's.
    let gone = observers.swap_remove(17);
    let slot = gone.slot();
    drop(gone);
    let mut newcomer = Observer::start(&node.datapath, node.root(), tiny()).unwrap();
    assert_eq!(newcomer.slot(), slot);
    assert_eq!(newcomer.losses().unwrap(), chainkit_bpf::Losses::default());
    assert_eq!(drain(&mut newcomer), []);
    node.run(FROM_POD, &frame);
    assert_eq!(drain(&mut newcomer).len(), 1);
}

#[test]
fn one_that_has_stopped_is_told_no_more_and_may_still_read() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(per_packet());
    let frame = node.ends(4).outgoing(UDP, &udp(1, 2, 0));
    node.run(FROM_POD, &frame);
    observer.stop();
    node.run(FROM_POD, &frame);
    assert_eq!(node.datapath.control_value().unwrap().observers, 0);
    assert_eq!(drain(&mut observer).len(), 1);
    assert_eq!(observer.losses().unwrap().sent, 1);
}

/// What a test that starts itself anew hands to the copy: the root of a node.
const ROOT: &str = "CHAINKIT_TEST_OBSERVE";

#[test]
fn one_that_was_killed_is_switched_off_by_the_kernel() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    if let Some(root) = env::var_os(ROOT) {
        observe_until_killed(&PathBuf::from(root));
    }
    // Another process finds a datapath by its pins, for which there must be a BPF filesystem.
    let lab = Lab::new().unwrap();
    let node = Node::new(observing());
    let ends = node.ends(4);
    let frame = ends.outgoing(UDP, &udp(1, 2, 8));
    node.datapath.pin(&Pins::below(lab.root())).unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "observer::one_that_was_killed_is_switched_off_by_the_kernel", "--nocapture"])
        .env(ROOT, lab.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let slot: u32 = said.into_iter().find_map(|line| line.rsplit_once("observing in slot ")?.1.parse().ok()).unwrap();
    let observers = || {
        let word = node.datapath.control_value().unwrap();
        assert_eq!(word.payload, word.observers, "it wants payload, too, as long as it looks");
        word.observers
    };
    assert_eq!(observers(), 1 << slot);

    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    node.run(FROM_POD, &frame);
    assert_eq!(observers(), 1 << slot, "the kernel cannot know yet");
    assert!(killed.elapsed() < Duration::from_millis(1500), "this machine is too slow for this test");
    // The last sign of life was at most when it was killed.
    thread::sleep((killed + Duration::from_nanos(HEARTBEAT_TIMEOUT_NS)).saturating_duration_since(Instant::now()));
    thread::sleep(Duration::from_millis(50));
    assert_eq!(observers(), 1 << slot, "nobody but a packet does it");
    node.run(FROM_POD, &frame);
    assert_eq!(observers(), 0);
    // From here on a packet takes the short way again, and is counted as ever.
    node.run(FROM_POD, &frame);
    assert_eq!(node.connection(ends, UDP, 1, 2).unwrap().tx_packets, 3);
    // Its slot is free.
    let mut next = Observer::start(&node.datapath, lab.root(), tiny()).unwrap();
    assert_eq!(next.slot(), slot);
    node.run(FROM_POD, &frame);
    assert_eq!(drain(&mut next).len(), 1);
}

/// Is the other process, which lives no longer than the first.
fn observe_until_killed(root: &Path) -> ! {
    let datapath = Datapath::open(&Pins::below(root)).unwrap().unwrap();
    let mut observer = Observer::start(&datapath, root, tiny()).unwrap();
    observer.want_payload(&datapath, 0).unwrap();
    println!("observing in slot {}", observer.slot());
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
    process::exit(0)
}
