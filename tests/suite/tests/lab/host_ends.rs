//! What the node finds out about a pod's interfaces, with every kind of interface that a CNI may have put there.

use std::fs;
use std::os::unix::fs::symlink;

use chainkit_lab::{Error, PodSpec};
use chainkit_node::{HostEnd, Netns, host_ends, netns_of_interface, pod_addresses, survey};

use crate::stage::{eventually, on_node};

/// `name > host name`, as found.
fn told(ends: &[HostEnd]) -> Vec<String> {
    ends.iter().map(|end| format!("{} > {}", end.pod_name, end.host_name)).collect()
}

#[test]
fn every_veth_to_the_node_is_found_and_nothing_else() {
    on_node(|lab| {
        let pod = lab.pod("shop", "cart").unwrap();
        let other = lab.pod("shop", "web").unwrap();
        let (node, inside) = (lab.node().path().display(), other.netns_path().display());
        // The VPC CNI's egress-cni and multi-NIC pods add veths to the node; Multus adds what one likes.
        pod.netns()
            .ip([
                format!("link add v4if0 type veth peer name egress0 netns {node}").as_str(),
                "link add pair0 type veth peer name pair1",
                format!("link add side0 type veth peer name side0 netns {inside}").as_str(),
            ])
            .unwrap();
        // Seen from the pod, the one moved there leads to the node as well, but it is no veth.
        let moved = format!("link set ipvlan0 netns {}", pod.netns_path().display());
        for (netns, commands) in [
            (pod.netns(), vec!["link add dummy0 type dummy"]),
            (pod.netns(), vec!["link add link eth0 name eth0.7 type vlan id 7"]),
            (pod.netns(), vec!["link add link eth0 name macvlan0 type macvlan"]),
            (pod.netns(), vec!["link add bridge0 type bridge"]),
            (lab.node(), vec!["link add link egress0 name ipvlan0 type ipvlan", &moved]),
        ] {
            match netns.ip(commands) {
                // Not every kernel has every kind.
                Err(Error::Ip { said, .. }) if said.contains("Unknown device type") => {}
                other => other.unwrap(),
            }
        }
        let netns = Netns::open(pod.netns_path()).unwrap();
        let ends = host_ends(&netns).unwrap();
        assert_eq!(told(&ends), [format!("eth0 > {}", pod.host_ifname), "v4if0 > egress0".to_owned()]);
        assert_eq!((ends[0].host_ifindex, ends[0].mac, ends[0].mtu), (pod.host_ifindex, Some(pod.mac), Some(9001)));
        assert_eq!(survey(&netns).unwrap().host_ends, ends);
        // Interfaces of one and the same index in their pods are told apart.
        let others = host_ends(&Netns::open(other.netns_path()).unwrap()).unwrap();
        assert_eq!(told(&others), [format!("eth0 > {}", other.host_ifname)]);
        // The node's own namespace is nobody's pod.
        assert_eq!(survey(&Netns::current().unwrap()).unwrap().host_ends, []);
        // From where the other ends are not, there are none.
        lab.world().run(|| assert_eq!(host_ends(&netns).unwrap(), [])).unwrap();
    });
}

#[test]
fn addresses_of_global_scope_are_the_pods() {
    on_node(|lab| {
        let pod = lab.pod_of(&PodSpec::new("shop", "cart").ipv6()).unwrap();
        pod.netns()
            .ip([
                "link add v4if0 type veth peer name v4if1",
                "link set v4if0 up",
                "address add 169.254.172.2/22 dev v4if0",
                "address add 169.254.9.3/24 dev v4if0 scope link",
                "address add 10.9.9.9/32 dev lo",
                "address add 10.5.0.1 peer 10.5.0.2/32 dev v4if0",
            ])
            .unwrap();
        let found = pod_addresses(&Netns::open(pod.netns_path()).unwrap()).unwrap();
        let mut told: Vec<String> = found.iter().map(|found| format!("{} {}", found.ifname, found.address)).collect();
        told.sort();
        let mut expected = vec![
            format!("eth0 {}", pod.ip4),
            format!("eth0 {}", pod.ip6.unwrap()),
            "v4if0 10.5.0.1".to_owned(),
            "v4if0 169.254.172.2".to_owned(),
        ];
        expected.sort();
        assert_eq!(told, expected);
        assert_eq!(survey(&Netns::open(pod.netns_path()).unwrap()).unwrap().addresses, found);
    });
}

#[test]
fn the_namespace_behind_an_interface_is_found_by_a_name_or_by_a_process() {
    on_node(|lab| {
        let pod = lab.pod("shop", "cart").unwrap();
        let other = lab.pod("shop", "web").unwrap();
        let sleeper = pod.spawn("sleep", ["600"]).unwrap();
        eventually("the process is inside", || netns_of_interface(lab.root(), pod.host_ifindex).unwrap().is_some());
        let found = || {
            let found = netns_of_interface(lab.root(), pod.host_ifindex).unwrap().unwrap();
            let inode = Netns::open(pod.netns_path()).unwrap().inode();
            assert_eq!(Netns::open(&found).unwrap().inode(), inode, "{}", found.display());
            found
        };
        assert!(found().ends_with(format!("proc/{}/ns/net", sleeper.pid())), "{}", found().display());
        let folder = lab.root().join("run/netns");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a-torn-one"), "").unwrap();
        symlink(other.netns_path(), folder.join("cni-other")).unwrap();
        symlink(pod.netns_path(), folder.join("cni-pod")).unwrap();
        assert_eq!(found(), folder.join("cni-pod"));
        drop(sleeper);
        for index in [1, u32::MAX >> 1] {
            assert_eq!(netns_of_interface(lab.root(), index).unwrap(), None);
        }
    });
}
