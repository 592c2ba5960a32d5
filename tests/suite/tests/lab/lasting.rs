//! The datapath for good: installed, hung on interfaces by pins, taken off again, and what others put there left alone.

use std::fs;

use chainkit_abi::{mark, mode};
use chainkit_bpf::{
    Datapath, Direction, Error, Kit, Lease, NodeLock, Pins, Placed, Settings, attach_endpoint, detach_endpoint, hung,
};
use chainkit_lab::{Lab, Pod};

use crate::rival::{Place, Rival};
use crate::stage::{UDP, eventually, on_node, on_node_by_each_kit, send_all, udp_sink};

/// A node with the datapath installed, as each process opens it anew.
struct Node<'a> {
    lab: &'a Lab,
    pins: Pins,
}

impl<'a> Node<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self { lab, pins: Pins::below(lab.root()) }
    }

    fn lock(&self) -> NodeLock {
        NodeLock::take(self.lab.root()).unwrap()
    }

    fn install(&self) -> Datapath {
        Datapath::install(&self.pins, &self.lock()).unwrap()
    }

    fn attach(&self, pod: &Pod, kit: Kit) -> Placed {
        let (datapath, lock) = (self.install(), self.lock());
        attach_endpoint(&datapath, &self.pins, &lock, pod.host_ifindex, Settings::default(), kit).unwrap()
    }

    fn detach(&self, pod: &Pod) {
        let datapath = self.install();
        detach_endpoint(&datapath, &self.pins, &self.lock(), pod.host_ifindex).unwrap();
    }

    /// Packets of UDP that the datapath has counted from a pod.
    fn counted(&self, pod: &Pod) -> u64 {
        let datapath = self.install();
        let (slot, _) = datapath.endpoint(pod.host_ifindex).unwrap().unwrap();
        let connections = datapath.connections(slot).unwrap();
        connections.iter().filter(|found| found.protocol == UDP).map(|found| found.conn.tx_packets).sum()
    }

    fn links(&self) -> Vec<(u32, Direction)> {
        self.pins.links().unwrap().into_iter().map(|link| (link.ifindex, link.direction)).collect()
    }
}

/// How many programs hang on each end; a link goes a moment after its last holder.
fn are_left(pod: &Pod, count: usize) {
    for direction in Direction::BOTH {
        eventually("other programs hang there than should", || {
            hung(pod.host_ifindex, direction).unwrap().len() == count
        });
    }
}

fn has_clsact(lab: &Lab, pod: &Pod) -> bool {
    let output = lab.node().command("tc").args(["qdisc", "show", "dev", &pod.host_ifname]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("clsact")
}

fn both(pod: &Pod) -> Vec<(u32, Direction)> {
    Direction::BOTH.map(|direction| (pod.host_ifindex, direction)).to_vec()
}

#[test]
fn an_attached_pod_is_seen_with_no_process_alive_until_it_is_detached() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        let placed = node.attach(&cart, kit);
        assert_eq!((placed.kit, placed.added), (kit, true));
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 100);
        // Again, and nothing is new: neither slot nor programs, nor pins.
        let before: Vec<_> = Direction::BOTH.map(|direction| hung(cart.host_ifindex, direction).unwrap()).into();
        assert_eq!(node.attach(&cart, kit), Placed { added: false, ..placed });
        let after: Vec<_> = Direction::BOTH.map(|direction| hung(cart.host_ifindex, direction).unwrap()).into();
        assert_eq!(before, after);
        assert_eq!(node.links(), if kit == Kit::Tcx { both(&cart) } else { Vec::new() });
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 200);

        node.detach(&cart);
        are_left(&cart, 0);
        assert_eq!(node.links(), []);
        assert_eq!(node.install().endpoints().unwrap(), []);
        assert!(!has_clsact(lab, &cart), "what was empty and ours");
        // Nothing to do is no error.
        node.detach(&cart);
        // And it can come back, without anything of before.
        node.attach(&cart, kit);
        assert_eq!(node.counted(&cart), 0);
    });
}

#[test]
fn another_kits_attachment_is_kept() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let node = Node::new(lab);
        node.attach(&cart, Kit::Clsact);
        assert_eq!(node.attach(&cart, Kit::best()).kit, Kit::Clsact);
        are_left(&cart, 1);
    });
}

#[test]
fn what_others_hang_on_the_interface_stays() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        let sink = udp_sink(&web);
        // Before ours, and after ours was there: neither loses its qdisc.
        let mut first = Rival::polite();
        first.hang(&cart.host_ifname, Direction::Egress, Place::Clsact(7));
        node.attach(&cart, kit);
        node.detach(&cart);
        assert!(has_clsact(lab, &cart));
        drop(first);
        let tc = lab.node().command("tc").args(["qdisc", "del", "dev", &cart.host_ifname, "clsact"]).status().unwrap();
        assert!(tc.success());
        node.attach(&cart, kit);
        let mut second = Rival::polite();
        second.hang(&cart.host_ifname, Direction::Ingress, Place::Clsact(7));
        node.detach(&cart);
        eventually("ours stays", || hung(cart.host_ifindex, Direction::Ingress).unwrap().len() == 1);
        let client = send_all(&cart, &sink, 50, 10);
        assert_eq!(second.counted(client.port(), sink.address().port()), 50);
    });
}

#[test]
fn an_error_leaves_nothing_behind() {
    on_node_by_each_kit(|lab, kit| {
        let cart = lab.pod("shop", "cart").unwrap();
        let node = Node::new(lab);
        let (datapath, lock) = (node.install(), node.lock());
        let attach = |ifindex| attach_endpoint(&datapath, &node.pins, &lock, ifindex, Settings::default(), kit);
        let error = attach(54321).unwrap_err().to_string();
        assert!(error.contains("interface 54321") && error.contains(kit.name()), "{error}");
        assert_eq!(datapath.endpoints().unwrap(), []);
        assert_eq!(node.links(), []);
        if kit == Kit::Clsact {
            // Somebody else's filter holds our priority at one end: the other end is not left half done.
            let tc = |arguments: &[&str]| {
                assert!(lab.node().command("tc").args(arguments).status().unwrap().success(), "{arguments:?}");
            };
            tc(&["qdisc", "add", "dev", &cart.host_ifname, "clsact"]);
            let filter = ["filter", "add", "dev", &cart.host_ifname, "egress", "prio", "1", "protocol", "ip"];
            tc(&[&filter[..], &["u32", "match", "ip", "dst", "192.0.2.1"]].concat());
            let error = attach(cart.host_ifindex).unwrap_err().to_string();
            assert!(error.contains("u32") && error.contains("priority 1") && error.contains("egress"), "{error}");
            are_left(&cart, 0);
            assert_eq!(datapath.endpoints().unwrap(), []);
            assert!(has_clsact(lab, &cart), "it was there before");
        }
    });
}

#[test]
fn names_that_are_not_ours_are_left_alone_among_the_pins() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let node = Node::new(lab);
        node.attach(&cart, Kit::best());
        let links = node.pins.directory().join("links");
        for name in ["7-sideways", "007-ingress", "-egress", "+7-egress", "7-ingress-old", "99999999999-egress"] {
            fs::create_dir_all(links.join(name)).unwrap();
        }
        fs::create_dir_all(lab.root().join("sys/fs/bpf/chainkit/99")).unwrap();
        fs::create_dir_all(lab.root().join("sys/fs/bpf/chainkit/elsewhere")).unwrap();
        if Kit::best() == Kit::Tcx {
            assert_eq!(node.links(), both(&cart));
        }
        // What is left of a datapath, without its maps, is none.
        assert_eq!(Pins::other_abis(lab.root()).unwrap(), Vec::<u32>::new());
        assert_eq!(node.install().endpoints_gone(&node.pins).unwrap(), Vec::<u32>::new());
        node.detach(&cart);
        assert_eq!(node.links(), []);
        assert!(links.join("7-sideways").exists());
    });
}

#[test]
fn leftovers_of_killed_processes_are_swept_and_half_states_mended() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        let base = lab.root().join("sys/fs/bpf/chainkit");
        let abi = node.pins.directory().file_name().unwrap().to_str().unwrap().to_owned();
        let leftover = base.join(format!("{abi}-4194305"));
        // As killed before the first pin, and in the middle.
        fs::create_dir_all(leftover.join("maps")).unwrap();
        fs::create_dir_all(node.pins.directory().join("maps")).unwrap();
        node.install();
        assert!(!leftover.exists());
        let ids = |datapath: &Datapath| {
            datapath.versions().unwrap().into_iter().map(|version| version.id).collect::<Vec<_>>()
        };
        let first = ids(&node.install());
        assert_eq!(ids(&node.install()), first, "the same datapath");

        let kit = node.attach(&cart, Kit::best()).kit;
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        // A program's pin is gone: it is loaded anew, with the maps that are there.
        for gone in ["programs/sweep", "programs/to_pod"] {
            fs::remove_file(node.pins.directory().join(gone)).unwrap();
            assert_eq!(node.counted(&cart), 100, "after {gone} was removed");
            assert!(node.pins.directory().join(gone).exists());
        }
        // Maps' pins are gone: what hangs on the interface still has them.
        for gone in ["maps/TABLES", "maps/CONTROL"] {
            fs::remove_file(node.pins.directory().join(gone)).unwrap();
            if kit == Kit::Tcx {
                assert_eq!(node.counted(&cart), 100, "after {gone} was removed");
                assert!(node.pins.directory().join(gone).exists());
            } else {
                let error = Datapath::install(&node.pins, &node.lock()).unwrap_err().to_string();
                assert!(error.contains(&node.pins.directory().display().to_string()), "{error}");
                return;
            }
        }
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 200);
    });
}

#[test]
fn the_datapath_of_another_network_namespace_is_refused() {
    on_node(|one| {
        let node = Node::new(one);
        node.install();
        on_node(|_| {
            let error = Datapath::install(&node.pins, &node.lock()).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }) && error.to_string().contains("namespace"), "{error}");
            let strange = Datapath::open(&node.pins).unwrap().unwrap();
            strange.sweep_gone(&node.pins, &node.lock()).unwrap_err();
        });
    });
}

#[test]
fn pins_are_not_made_through_links_of_the_filesystem() {
    on_node(|lab| {
        let elsewhere = lab.root().join("sys/fs/bpf/elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, lab.root().join("sys/fs/bpf/chainkit")).unwrap();
        let node = Node::new(lab);
        let error = Datapath::install(&node.pins, &node.lock()).unwrap_err().to_string();
        assert!(error.contains("link"), "{error}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    });
}

#[test]
fn a_lease_from_before_and_the_lasting_datapath_both_count_and_each_goes_alone() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        let mut lease = Lease::open(lab.root().to_owned(), Some(kit)).unwrap();
        assert!(lease.attach(cart.host_ifindex, Settings::default()).unwrap());
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 10, 10);
        // The node's own is another datapath: the leased one belongs to a process.
        assert!(node.attach(&cart, kit).added);
        are_left(&cart, 2);
        let client = send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 100);
        let (slot, _) = lease.datapath().endpoint(cart.host_ifindex).unwrap().unwrap();
        let leased = lease.datapath().connections(slot).unwrap();
        let of_leased: Vec<_> = leased
            .iter()
            .filter(|found| found.local_port == client.port())
            .map(|found| found.conn.tx_packets)
            .collect();
        assert_eq!(of_leased, [100]);
        lease.release().unwrap();
        are_left(&cart, 1);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 200);
        // The qdisc was the lease's, and has become the node's.
        node.detach(&cart);
        are_left(&cart, 0);
        assert!(!has_clsact(lab, &cart));
    });
}

#[test]
fn what_a_lease_has_hung_becomes_lasting_and_outlives_it() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        node.install();
        // The pinned datapath, leased.
        let mut lease = Lease::open(lab.root().to_owned(), Some(kit)).unwrap();
        lease.attach(cart.host_ifindex, Settings::default()).unwrap();
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert!(node.attach(&cart, kit).added);
        are_left(&cart, 1);
        drop(lease);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 200);
        are_left(&cart, 1);
        // Who comes now finds it there for good, and leaves it.
        let mut lease = Lease::open(lab.root().to_owned(), Some(kit)).unwrap();
        assert!(!lease.attach(cart.host_ifindex, Settings::default()).unwrap());
        drop(lease);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 300);
        node.detach(&cart);
        are_left(&cart, 0);
        assert!(!has_clsact(lab, &cart));
    });
}

#[test]
fn what_is_detached_under_a_living_lease_stays_for_that_lease() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let node = Node::new(lab);
        node.install();
        let mut lease = Lease::open(lab.root().to_owned(), Some(kit)).unwrap();
        lease.attach(cart.host_ifindex, Settings::default()).unwrap();
        node.attach(&cart, kit);
        node.detach(&cart);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 10);
        assert_eq!(node.counted(&cart), 100);
        lease.release().unwrap();
        are_left(&cart, 0);
        assert_eq!(node.install().endpoints().unwrap(), []);
        assert!(!has_clsact(lab, &cart));
    });
}

#[test]
fn endpoints_of_interfaces_that_are_gone_are_swept() {
    on_node_by_each_kit(|lab, kit| {
        let pods = ["a", "b", "c"].map(|name| lab.pod("shop", name).unwrap());
        let node = Node::new(lab);
        for pod in &pods {
            node.attach(pod, kit);
        }
        let datapath = node.install();
        assert_eq!(datapath.endpoints_gone(&node.pins).unwrap(), Vec::<u32>::new());
        for pod in &pods[..2] {
            lab.delete_pod(pod).unwrap();
        }
        let mut gone = vec![pods[0].host_ifindex, pods[1].host_ifindex];
        gone.sort_unstable();
        assert_eq!(datapath.endpoints_gone(&node.pins).unwrap(), gone);
        assert_eq!(datapath.sweep_gone(&node.pins, &node.lock()).unwrap(), gone);
        assert_eq!(datapath.sweep_gone(&node.pins, &node.lock()).unwrap(), Vec::<u32>::new());
        let left: Vec<u32> = datapath.endpoints().unwrap().into_iter().map(|(_, endpoint)| endpoint.ifindex).collect();
        assert_eq!(left, [pods[2].host_ifindex]);
        assert_eq!(node.links(), if kit == Kit::Tcx { both(&pods[2]) } else { Vec::new() });
        are_left(&pods[2], 1);
    });
}

#[test]
fn settings_are_taken_and_the_mark_of_what_lasts_is_kept() {
    on_node(|lab| {
        let cart = lab.pod("shop", "cart").unwrap();
        let node = Node::new(lab);
        node.attach(&cart, Kit::best());
        let datapath = node.install();
        let audit = Settings { mode: mode::AUDIT, ..Settings::default() };
        datapath.add_endpoint(&node.lock(), cart.host_ifindex, audit).unwrap();
        let (_, endpoint) = datapath.endpoint(cart.host_ifindex).unwrap().unwrap();
        assert_eq!((endpoint.mode, endpoint.marks & mark::LASTING), (mode::AUDIT, mark::LASTING));
    });
}

#[test]
fn many_pods_come_and_go_and_their_slots_are_used_again() {
    on_node(|lab| {
        let node = Node::new(lab);
        let (datapath, lock) = (node.install(), node.lock());
        // More than there are spares; no interface is needed for a slot.
        let mut slots = std::collections::HashSet::new();
        for round in 0..4 {
            for number in 0..40 {
                let ifindex = 100_000 + round * 1000 + number;
                slots.insert(datapath.add_endpoint(&lock, ifindex, Settings::default()).unwrap());
                assert_eq!(datapath.endpoint(ifindex).unwrap().unwrap().1.ifindex, ifindex);
            }
            assert_eq!(datapath.endpoints().unwrap().len(), 40);
            for number in 0..40 {
                datapath.remove_endpoint(&lock, 100_000 + round * 1000 + number).unwrap();
            }
            assert_eq!(datapath.endpoints().unwrap(), []);
        }
        assert!(slots.len() <= 44, "{slots:?}");
    });
}
