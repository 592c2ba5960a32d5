//! Programs on interfaces: both kits, beside the programs of others, and when interfaces go.

use chainkit_bpf::{Datapath, Direction, Hung, Kit, NodeLock, Program, Settings, attach, hidden, hung};
use chainkit_lab::{Lab, Pod};

use crate::rival::{Place, Rival};
use crate::stage::{UDP, Watch, at, eventually, kits, on_node, on_node_by_each_kit, send_all, udp_sink};

/// What of ours hangs on a pod's interface.
fn ours(pod: &Pod, direction: Direction) -> Vec<Hung> {
    let mut found = hung(pod.host_ifindex, direction).unwrap();
    found.retain(|hung| hung.name == Program::of(direction).name());
    found
}

/// Waits until so many programs are left: a link goes with its last descriptor, and a child that this process has forked
/// for another test has one of each until it calls exec.
fn are_left(pod: &Pod, direction: Direction, count: usize) {
    eventually("what was taken off still hangs there", || hung(pod.host_ifindex, direction).unwrap().len() == count);
}

fn two_pods(lab: &Lab) -> (Pod, Pod) {
    (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap())
}

#[test]
fn either_kit_sees_traffic_and_leaves_no_program_behind() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = two_pods(lab);
        let mut watch = Watch::start(lab, &[&cart, &web], kit);
        assert!(watch.attachments.iter().all(|attachment| attachment.kit() == kit));
        for direction in Direction::BOTH {
            let found = ours(&cart, direction);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].kit, kit);
            assert_eq!(hidden(&watch.datapath, cart.host_ifindex, direction).unwrap(), []);
        }
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 100);
        assert_eq!(watch.connection(&web, UDP, at(cart.ip4, 0)).conn.rx_packets, 100);

        for attachment in watch.attachments.drain(..) {
            attachment.detach().unwrap();
        }
        for (pod, direction) in [(&cart, Direction::Ingress), (&cart, Direction::Egress), (&web, Direction::Ingress)] {
            are_left(pod, direction, 0);
        }
        send_all(&cart, &sink, 100, 10);
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 100);
    });
}

#[test]
fn programs_of_others_before_and_after_ours_keep_running() {
    // Those of tcx run before those of clsact, whichever of them is ours.
    let places = [
        (Kit::Tcx, Place::TcxFirst, Place::TcxLast),
        (Kit::Tcx, Place::TcxFirst, Place::Clsact(1)),
        (Kit::Clsact, Place::Clsact(1), Place::Clsact(2)),
        (Kit::Clsact, Place::TcxLast, Place::Clsact(7)),
    ];
    for (kit, before, after) in places {
        if [before, after].iter().any(|place| place.is_tcx() && Kit::best() != Kit::Tcx) || !kits().contains(&kit) {
            continue;
        }
        on_node(|lab| {
            let (cart, web) = two_pods(lab);
            let (mut first, mut last) = (Rival::polite(), Rival::polite());
            // One is there before us, one comes after us.
            last.hang(&cart.host_ifname, Direction::Ingress, after);
            let mut watch = Watch::start(lab, &[&cart], kit);
            let kinds = hung(cart.host_ifindex, Direction::Ingress).unwrap();
            assert_eq!(kinds[0].name, Program::FromPod.name(), "we are not first: {kinds:?}");
            first.hang(&cart.host_ifname, Direction::Ingress, before);
            let order: Vec<u32> =
                hung(cart.host_ifindex, Direction::Ingress).unwrap().iter().map(|hung| hung.program).collect();
            assert_eq!((order.len(), order[0], order[2]), (3, first.id(), last.id()), "{before:?} {after:?}");
            // It could keep packets from us, so we are told of it, though it does not.
            let found = hidden(&watch.datapath, cart.host_ifindex, Direction::Ingress).unwrap();
            assert_eq!(found.iter().map(|hung| hung.program).collect::<Vec<_>>(), [first.id()]);

            let sink = udp_sink(&web);
            let client = send_all(&cart, &sink, 300, 10);
            let ours = watch.connection(&cart, UDP, sink.address()).conn.tx_packets;
            let [before, after] = [&first, &last].map(|rival| rival.counted(client.port(), sink.address().port()));
            assert_eq!((before, ours, after), (300, 300, 300), "{kit:?}");

            // And they are still there when we are not.
            for attachment in watch.attachments.drain(..) {
                attachment.detach().unwrap();
            }
            are_left(&cart, Direction::Ingress, 2);
            let client = send_all(&cart, &sink, 300, 10);
            let [before, after] = [&first, &last].map(|rival| rival.counted(client.port(), sink.address().port()));
            assert_eq!((before, after), (300, 300));
        });
    }
}

#[test]
fn a_rival_that_hides_packets_from_us_is_detected() {
    for (kit, place) in [(Kit::Tcx, Place::TcxFirst), (Kit::Clsact, Place::Clsact(1)), (Kit::Clsact, Place::TcxFirst)] {
        if place.is_tcx() && Kit::best() != Kit::Tcx || !kits().contains(&kit) {
            continue;
        }
        on_node(|lab| {
            let (cart, web) = two_pods(lab);
            let watch = Watch::start(lab, &[&cart], kit);
            assert_eq!(hidden(&watch.datapath, cart.host_ifindex, Direction::Ingress).unwrap(), []);
            let mut rude = Rival::rude();
            rude.hang(&cart.host_ifname, Direction::Ingress, place);
            let sink = udp_sink(&web);
            let client = send_all(&cart, &sink, 100, 10);
            assert_eq!(rude.counted(client.port(), sink.address().port()), 100);
            assert_eq!(
                watch.connections(&cart),
                [],
                "{kit:?}: the rival does not hide anything: the test shows nothing"
            );
            let found = hidden(&watch.datapath, cart.host_ifindex, Direction::Ingress).unwrap();
            assert_eq!(found.iter().map(|hung| hung.program).collect::<Vec<_>>(), [rude.id()]);
            assert_eq!(hidden(&watch.datapath, cart.host_ifindex, Direction::Egress).unwrap(), []);
            drop(rude);
            are_left(&cart, Direction::Ingress, 1);
            assert_eq!(hidden(&watch.datapath, cart.host_ifindex, Direction::Ingress).unwrap(), []);
        });
    }
}

#[test]
fn what_hangs_already_is_taken_over_and_not_hung_twice() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = two_pods(lab);
        let mut watch = Watch::start(lab, &[&cart], kit);
        // By the same process, and by one that finds the datapath on the interface.
        let found = Datapath::discover().unwrap().unwrap();
        let again: Vec<_> = [&watch.datapath, &found]
            .into_iter()
            .flat_map(|datapath| Direction::BOTH.map(|direction| (datapath, direction)))
            .map(|(datapath, direction)| attach(datapath, cart.host_ifindex, direction, kit).unwrap())
            .collect();
        assert!(again.iter().all(|attachment| attachment.kit() == kit));
        for direction in Direction::BOTH {
            assert_eq!(ours(&cart, direction).len(), 1);
        }
        // The first holder goes: it goes on with the others.
        watch.attachments.clear();
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 100);
        for attachment in again.into_iter().take(if kit == Kit::Tcx { 4 } else { 2 }) {
            attachment.detach().unwrap();
        }
        for direction in Direction::BOTH {
            are_left(&cart, direction, 0);
        }
    });
}

#[test]
fn a_filter_left_by_a_dead_datapath_is_replaced() {
    on_node(|lab| {
        let (cart, web) = two_pods(lab);
        let dead = Watch::start(lab, &[&cart], Kit::Clsact);
        let left = ours(&cart, Direction::Ingress);
        // As after a kill: the filter stays, and with it the program.
        drop(dead);
        assert_eq!(ours(&cart, Direction::Ingress), left);
        let watch = Watch::start(lab, &[&cart], Kit::Clsact);
        let now = ours(&cart, Direction::Ingress);
        assert_eq!(now.len(), 1);
        assert_ne!(now[0].program, left[0].program);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 100);
    });
}

#[test]
fn an_interface_that_goes_is_left_in_peace() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = two_pods(lab);
        let mut watch = Watch::start(lab, &[&cart, &web], kit);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 10, 10);
        let lock = NodeLock::take(lab.root()).unwrap();
        lab.delete_pod(&cart).unwrap();
        assert_eq!(hung(cart.host_ifindex, Direction::Ingress).unwrap(), []);
        assert_eq!(hidden(&watch.datapath, cart.host_ifindex, Direction::Ingress).unwrap(), []);
        for attachment in watch.attachments.drain(..) {
            attachment.detach().unwrap();
        }
        watch.datapath.remove_endpoint(&lock, cart.host_ifindex).unwrap();
        assert_eq!(watch.datapath.endpoint(cart.host_ifindex).unwrap(), None);
        // Not of ours any more: gone a second time, and asked for, is said.
        watch.datapath.remove_endpoint(&lock, cart.host_ifindex).unwrap();
        let error = attach(&watch.datapath, cart.host_ifindex, Direction::Ingress, kit).unwrap_err().to_string();
        assert!(error.contains(&format!("interface {}", cart.host_ifindex)) && error.contains(kit.name()), "{error}");
        drop(lock);
        // Its slot serves the next pod.
        let next = lab.pod("shop", "next").unwrap();
        watch.add(&next, Settings::default(), kit);
        send_all(&next, &sink, 10, 10);
        assert_eq!(watch.connection(&next, UDP, sink.address()).conn.tx_packets, 10);
    });
}
