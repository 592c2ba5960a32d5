//! The datapath beyond its process: pinned, found again, and refused where it is not what it should be.

use std::fs;
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData};
use chainkit_abi::{ABI_VERSION, Control, MAGIC};
use chainkit_bpf::{Datapath, Error, Kit, Origin, Pins};
use chainkit_lab::Lab;

use crate::stage::{UDP, Watch, on_node, send_all, udp_sink};

fn control_pin(lab: &Lab) -> PathBuf {
    lab.root().join(format!("sys/fs/bpf/chainkit/{ABI_VERSION}/maps/CONTROL"))
}

#[test]
fn a_pinned_datapath_is_opened_by_the_next_process() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = Pins::below(lab.root());
        assert!(Datapath::open(&pins).unwrap().is_none());
        let Watch { datapath, attachments, .. } = Watch::start(lab, &[&cart, &web], Kit::best());
        datapath.pin(&pins).unwrap();
        assert!(control_pin(lab).exists());
        // Whoever comes second is told, and what is there stays.
        let error = Datapath::load().unwrap().pin(&pins).unwrap_err().to_string();
        assert!(error.contains(&pins.directory().display().to_string()), "{error}");
        let left: Vec<_> = fs::read_dir(lab.root().join("sys/fs/bpf/chainkit"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [ABI_VERSION.to_string().as_str()]);
        let endpoints = datapath.endpoints().unwrap();
        drop(datapath);

        let sink = udp_sink(&web);
        let client = send_all(&cart, &sink, 100, 10);
        let datapath = Datapath::open(&pins).unwrap().unwrap();
        assert_eq!(datapath.origin(), Origin::Pinned);
        assert!(datapath.is_of_this_namespace().unwrap());
        assert_eq!(datapath.endpoints().unwrap(), endpoints);
        let watch = Watch { lab, datapath, attachments };
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 100);
        assert_eq!(watch.connection(&web, UDP, client).conn.rx_packets, 100);
        // All of it works from there: clocks, sweeps, readers.
        assert!(watch.datapath.clock().unwrap().monotonic > 0);
        assert_eq!(watch.sweep(), 0);
        let mut reader = watch.each_packet();
        send_all(&cart, &sink, 100, 10);
        reader.until("packets", |events| events.iter().filter(|event| event.protocol == UDP).count() == 200);

        pins.remove().unwrap();
        assert!(Datapath::open(&pins).unwrap().is_none());
        assert!(!lab.root().join("sys/fs/bpf/chainkit").exists());
    });
}

#[test]
fn a_datapath_that_is_not_pinned_is_found_on_an_interface() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        assert!(Datapath::discover().unwrap().is_none());
        let watch = Watch::start(lab, &[&cart], Kit::best());
        let datapath = Datapath::discover().unwrap().unwrap();
        assert_eq!(datapath.origin(), Origin::Attached);
        assert_eq!(datapath.endpoints().unwrap(), watch.datapath.endpoints().unwrap());
        assert!(datapath.clock().unwrap().monotonic > 0);
        let Watch { attachments, datapath: first, .. } = watch;
        let watch = Watch { lab, datapath, attachments };
        let mut reader = watch.each_packet();
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 10, 10);
        assert_eq!(first.connections(watch.slot(&cart)).unwrap(), watch.connections(&cart));
        assert_eq!(watch.connection(&cart, UDP, sink.address()).conn.tx_packets, 10);
        reader.until("packets", |events| events.iter().filter(|event| event.protocol == UDP).count() == 10);
        // Whoever has loaded it may go.
        drop(first);
        let found = Datapath::discover().unwrap().unwrap();
        assert_eq!(found.connections(watch.slot(&cart)).unwrap(), watch.connections(&cart));
    });
}

#[test]
fn each_node_finds_its_own_datapath() {
    on_node(|one| {
        let cart = one.pod("shop", "cart").unwrap();
        let first = Watch::start(one, &[&cart], Kit::best());
        first.datapath.pin(&Pins::below(one.root())).unwrap();
        on_node(|other| {
            assert!(Datapath::discover().unwrap().is_none());
            assert!(Datapath::open(&Pins::below(other.root())).unwrap().is_none());
            let pods = ["a", "b", "c"].map(|name| other.pod("shop", name).unwrap());
            let second = Watch::start(other, &[&pods[0], &pods[1], &pods[2]], Kit::best());
            let found = Datapath::discover().unwrap().unwrap();
            assert_eq!(found.endpoints().unwrap(), second.datapath.endpoints().unwrap());
            assert!(found.is_of_this_namespace().unwrap());
            // Interface numbers are the same in both, which is why a datapath says whose it means.
            let strange = Datapath::open(&Pins::below(one.root())).unwrap().unwrap();
            assert!(!strange.is_of_this_namespace().unwrap());
            // Readers of one do not read the other's.
            let mut reader = second.each_packet();
            let sink = udp_sink(&pods[1]);
            send_all(&pods[0], &sink, 10, 10);
            reader.until("packets", |events| events.iter().filter(|event| event.protocol == UDP).count() == 20);
            assert_eq!(first.datapath.control_value().unwrap().observers, 0);
            let of_first = first.connections(&cart);
            assert!(of_first.iter().all(|found| found.protocol != UDP), "{of_first:?}");
        });
        let found = Datapath::discover().unwrap().unwrap();
        assert_eq!(found.endpoints().unwrap(), first.datapath.endpoints().unwrap());
    });
}

#[test]
fn a_pinned_datapath_of_another_abi_is_refused_by_name() {
    on_node(|lab| {
        let pins = Pins::below(lab.root());
        let cart = lab.pod("shop", "cart").unwrap();
        let watch = Watch::start(lab, &[&cart], Kit::best());
        watch.datapath.pin(&pins).unwrap();
        let mut control: Array<MapData, Control> =
            Array::try_from(Map::Array(MapData::from_pin(control_pin(lab)).unwrap())).unwrap();
        let found = control.get(&0, 0).unwrap();
        control.set(0, Control { abi: 99, ..found }, 0).unwrap();
        let error = Datapath::open(&pins).unwrap_err();
        assert!(matches!(error, Error::Abi { found: 99, ours: ABI_VERSION, .. }), "{error:?}");
        let place = pins.directory().display().to_string();
        assert!(error.to_string().contains(&place) && error.to_string().contains("upgrade"), "{error}");
        let error = Datapath::discover().unwrap_err();
        assert!(matches!(error, Error::Abi { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains(&cart.host_ifname), "{error}");
        // As would be one that is none of ours, though all its maps have the right shapes.
        control.set(0, Control { magic: 0x1234_5678, ..found }, 0).unwrap();
        let error = Datapath::open(&pins).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }) && error.to_string().contains(&place), "{error:?}");
        control.set(0, found, 0).unwrap();
        assert!(Datapath::open(&pins).unwrap().is_some());
    });
}

#[test]
fn one_of_another_abi_is_told_by_its_version_though_its_maps_have_other_shapes() {
    on_node(|lab| {
        const ARRAY: u32 = 2;
        const MMAPABLE: u32 = 1 << 10;
        let (pins, path) = (Pins::below(lab.root()), control_pin(lab));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let shape = aya_obj::Map::new_from_params(ARRAY, 4, 64, 1, MMAPABLE);
        let map = MapData::create(shape, "CONTROL", None).unwrap();
        map.pin(&path).unwrap();
        let mut control: Array<MapData, [u32; 16]> = Map::Array(map).try_into().unwrap();
        let mut word = [0; 16];
        word[..2].copy_from_slice(&[MAGIC, ABI_VERSION + 1]);
        control.set(0, word, 0).unwrap();
        let error = Datapath::open(&pins).unwrap_err();
        assert!(matches!(error, Error::Abi { found, .. } if found == ABI_VERSION + 1), "{error:?}");
        word[0] = 0;
        control.set(0, word, 0).unwrap();
        let error = Datapath::open(&pins).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
    });
}

#[test]
fn a_foreign_map_under_our_name_is_refused_and_left_alone() {
    on_node(|lab| {
        let (pins, path) = (Pins::below(lab.root()), control_pin(lab));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Somebody else's map, of eight bytes.
        let object = aya::Ebpf::load(chainkit_object::FLOOR).unwrap();
        object.map("FLOWS4").unwrap().pin(&path).unwrap();
        let error = Datapath::open(&pins).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains("CONTROL"), "{error}");
        assert!(path.exists());
    });
}

#[test]
fn without_a_bpf_filesystem_nothing_is_pinned_and_the_remedy_is_told() {
    on_node(|lab| {
        let elsewhere = lab.root().join("tmp");
        let pins = Pins::below(&elsewhere);
        assert!(!pins.is_available());
        let error = Datapath::load().unwrap().pin(&pins).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf"), "{error}");
        assert!(!elsewhere.join("sys").exists());
    });
}
