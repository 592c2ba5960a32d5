//! Several `flowdump` at once, some of which die.

use std::thread;
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuArray};
use chainkit_abi::ABI_VERSION;
use chainkit_bpf::{Datapath, Direction, Kit, Pins, hung};
use chainkit_lab::Running;
use nix::sys::signal::Signal;

use crate::dump::{Dump, Ended, extra, flowdump, flows, readers, readers_word, records, sum};
use crate::stage::{UDP4_HEADERS, Watch, eventually, on_node, on_node_by_each_kit, send_all, udp_sink};

#[test]
fn two_agree_with_what_was_sent_while_a_third_is_killed() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let arguments = ["--attach", "all", "--attach-kind", kit.name(), "--per-packet", "-j"];
        let first = Dump::start(lab, &arguments);
        let second = Dump::start(lab, &arguments);
        let looking = readers_word(lab);
        let third = Dump::start(lab, &arguments);
        let thirds = readers_word(lab) & !looking;
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 1000, 64);
        let killed = third.end_by(Signal::SIGKILL);
        send_all(&cart, &sink, 1000, 64);
        let mut sent = 2000;
        // After its last sign of life has grown old, the next packet switches it off.
        eventually("the kernel goes on to tell a reader that is dead", || {
            send_all(&cart, &sink, 1, 64);
            sent += 1;
            thread::sleep(Duration::from_millis(100));
            readers(lab) == 2
        });
        // Its slot serves the next one.
        let fourth = Dump::start(lab, &["-j", "--per-packet"]);
        assert_eq!(readers_word(lab), looking | thirds);
        send_all(&cart, &sink, 100, 64);
        let fourth = fourth.interrupt();
        // Who has attached may go: the others have the interfaces, too.
        let first = first.interrupt();
        send_all(&cart, &sink, 100, 64);
        for direction in Direction::BOTH {
            assert_eq!(hung(cart.host_ifindex, direction).unwrap().len(), 1);
        }
        let second = second.interrupt();
        for direction in Direction::BOTH {
            assert_eq!(hung(cart.host_ifindex, direction).unwrap(), []);
        }
        let check = |ended: &Ended, count: u64| {
            assert_eq!(ended.stderr, "");
            assert!(records(&ended.stdout).iter().all(|record| record["lost_events"].is_null()));
            let flows = flows(&ended.stdout);
            for point in ["FROM_ENDPOINT", "TO_ENDPOINT"] {
                assert_eq!(sum(&flows, point, "UDP", "packets"), count, "{point}");
                assert_eq!(sum(&flows, point, "UDP", "bytes"), count * (64 + UDP4_HEADERS), "{point}");
            }
        };
        check(&first, sent + 100);
        check(&second, sent + 200);
        check(&fourth, 100);
        // What the third had written is whole lines, but for the last perhaps.
        let whole = killed.stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        assert!(sum(&flows(whole), "FROM_ENDPOINT", "UDP", "packets") <= 1000);
    });
}

#[test]
fn several_that_start_at_once_agree_on_one_datapath() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let arguments = ["--attach", "all", "--attach-kind", kit.name(), "--per-packet", "-j"];
        let dumps = [(); 4].map(|()| Dump { running: Running::start(flowdump(lab, &arguments)).unwrap() });
        eventually("four do not look at one datapath", || readers(lab) == 4);
        for (pod, direction) in [(&cart, Direction::Ingress), (&cart, Direction::Egress), (&web, Direction::Egress)] {
            assert_eq!(hung(pod.host_ifindex, direction).unwrap().len(), 1);
        }
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 500, 64);
        for dump in dumps {
            let ended = dump.interrupt();
            assert_eq!(ended.stderr, "");
            let flows = flows(&ended.stdout);
            assert_eq!(sum(&flows, "FROM_ENDPOINT", "UDP", "packets"), 500);
            assert_eq!(sum(&flows, "TO_ENDPOINT", "UDP", "packets"), 500);
        }
        for direction in Direction::BOTH {
            assert_eq!(hung(cart.host_ifindex, direction).unwrap(), []);
        }
    });
}

#[test]
fn one_that_was_stopped_is_switched_on_again_and_says_so() {
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let dump = Dump::start(lab, &["--attach", "all", "--per-packet", "-j", "--fail-on-loss"]);
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 1, 64);
        dump.running.signal(Signal::SIGSTOP).unwrap();
        eventually("the kernel goes on to tell a reader that stands still", || {
            send_all(&cart, &sink, 1, 64);
            thread::sleep(Duration::from_millis(100));
            readers(lab) == 0
        });
        // Nobody is told of these.
        send_all(&cart, &sink, 10, 640);
        dump.running.signal(Signal::SIGCONT).unwrap();
        eventually("the reader is not switched on again", || readers(lab) == 1);
        send_all(&cart, &sink, 10, 64);
        let ended = dump.end_by(Signal::SIGINT);
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stderr.contains("was stopped"), "{}", ended.stderr);
        let sizes: Vec<u64> = flows(&ended.stdout)
            .iter()
            .filter(|flow| flow["l4"]["UDP"].is_object())
            .map(|flow| extra(flow)["bytes"].as_u64().unwrap())
            .collect();
        assert!(sizes.len() >= 22 && sizes.iter().all(|size| *size == 64 + UDP4_HEADERS), "{sizes:?}");
    });
}

/// Events sent to and lost by the reader of a slot, as the kernel counts them.
fn losses(lab: &chainkit_lab::Lab, slot: u32) -> (u64, u64) {
    let path = lab.root().join(format!("sys/fs/bpf/chainkit/{ABI_VERSION}/maps/LOSSES"));
    let cells: PerCpuArray<MapData, [u64; 2]> = Map::PerCpuArray(MapData::from_pin(path).unwrap()).try_into().unwrap();
    cells.get(&slot, 0).unwrap().iter().fold((0, 0), |(sent, lost), cell| (sent + cell[0], lost + cell[1]))
}

#[test]
fn a_killed_one_costs_nothing_though_no_process_is_left() {
    on_node_by_each_kit(|lab, kit| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let pins = Pins::below(lab.root());
        let Watch { datapath, attachments, .. } = Watch::start(lab, &[&cart, &web], kit);
        datapath.pin(&pins).unwrap();
        drop(datapath);
        // Filters stay by themselves; a link has to be held, which is all that this process does.
        let held = (kit == Kit::Tcx).then_some(attachments);

        let dump = Dump::start(lab, &["--per-packet", "-j"]);
        let slot = readers_word(lab).trailing_zeros();
        let sink = udp_sink(&web);
        send_all(&cart, &sink, 100, 64);
        dump.end_by(Signal::SIGKILL);
        eventually("the kernel goes on to tell a reader that is dead", || {
            send_all(&cart, &sink, 1, 64);
            thread::sleep(Duration::from_millis(100));
            readers_word(lab) == 0
        });
        let before = losses(lab, slot);
        assert!(before.0 >= 200, "{before:?}");
        send_all(&cart, &sink, 1000, 64);
        assert_eq!(losses(lab, slot), before, "something is still copied for it");

        // Who comes next gets its slot, empty.
        let datapath = Datapath::open(&pins).unwrap().unwrap();
        let watch = Watch { lab, datapath, attachments: held.unwrap_or_default() };
        let mut reader = watch.each_packet();
        assert_eq!(reader.observer.slot(), slot);
        assert_eq!(losses(lab, slot), (0, 0));
        send_all(&cart, &sink, 10, 64);
        reader.until("packets", |events| events.len() >= 20);
        reader.lost_nothing();
    });
}

#[test]
fn losses_are_told_among_the_flows_and_on_demand_by_the_exit_code() {
    for (fail_on_loss, status) in [(true, 1), (false, 0)] {
        on_node(|lab| {
            const COUNT: u64 = 5000;
            let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
            // Room for some twenty events, looked at a hundred times a second.
            let mut arguments = vec!["--attach", "all", "--per-packet", "-j", "--protocol", "udp", "--buffer", "4KiB"];
            arguments.extend(fail_on_loss.then_some("--fail-on-loss"));
            let dump = Dump::start(lab, &arguments);
            let sink = udp_sink(&web);
            send_all(&cart, &sink, COUNT, 64);
            let ended = dump.end_by(Signal::SIGINT);
            let lost: u64 = records(&ended.stdout)
                .iter()
                .filter_map(|record| {
                    let lost = &record["lost_events"]["num_events_lost"];
                    // A uint64, which protobuf's JSON has as a string; a number is read as well.
                    lost.as_u64().or_else(|| lost.as_str().map(|text| text.parse().unwrap()))
                })
                .sum();
            assert!(lost > 0, "nothing was lost: the test shows nothing");
            assert_eq!(flows(&ended.stdout).len() as u64 + lost, 2 * COUNT);
            assert_eq!(ended.status.code(), Some(status));
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.contains(&lost.to_string()) && last.contains("lost"), "{}", ended.stderr);
        });
    }
}
