//! The prober itself: without policy everything is answered, and it misses nothing that nftables drops.

use chainkit_lab::{Lab, skip, skip_unless_root};

use crate::ask::Probe;
use crate::world::{World, by_each_kit};

#[test]
fn everything_is_reachable_without_policy() {
    by_each_kit(|world| world.is("without policy", |_| true));
}

#[test]
fn the_prober_sees_what_nft_drops() {
    if skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let world = World::new(&lab);
    world.is("without anything", |_| true);
    let (x_a, y_b) = (world.pod("x/a"), world.pod("y/b"));
    let (y_b6, z_c6) = (y_b.ip6.unwrap(), world.pod("z/c").ip6.unwrap());
    let rules = [
        // One pair, one protocol, one port, one family.
        format!("ip saddr {} ip daddr {} tcp dport 80 drop", x_a.ip4, y_b.ip4),
        // All that goes to a pod over IPv6, in one protocol.
        format!("ip6 daddr {z_c6} udp dport 80-81 drop"),
        format!("ip6 saddr {y_b6} sctp dport 81 drop"),
        // Answers alone.
        format!("ip saddr {} udp sport 81 drop", x_a.ip4),
    ];
    if !nft(&world, "add table inet t; add chain inet t f { type filter hook forward priority 0; }") {
        return;
    }
    for rule in rules {
        assert!(nft(&world, &format!("add rule inet t f {rule}")));
    }
    let is_dropped = |probe: &Probe| {
        let first = |probe: &Probe| probe.ipv4() && probe.tcp() && probe.port() == 80;
        let second = |probe: &Probe| !probe.ipv4() && probe.udp();
        let third = |probe: &Probe| !probe.ipv4() && probe.sctp() && probe.port() == 81;
        let fourth = |probe: &Probe| probe.ipv4() && probe.udp() && probe.port() == 81;
        probe.from != probe.to
            && (first(probe) && probe.is_from(&["x/a"]) && probe.is_to(&["y/b"])
                || second(probe) && probe.is_to(&["z/c"])
                || third(probe) && probe.is_from(&["y/b"])
                || fourth(probe) && probe.is_to(&["x/a"]))
    };
    world.is("with rules of nftables", |probe| !is_dropped(probe));
    // What is expected has no part in what is seen.
    let silent = world.otherwise_than(true);
    assert_eq!(silent.len(), 1 + 8 * 2 + 8 + 8);
    assert!(silent.iter().all(is_dropped), "{silent:?}");
    // 81 pairs, three protocols, two ports, two versions of IP.
    let answered = world.otherwise_than(false);
    assert_eq!(answered.len(), 81 * 12 - silent.len());
    assert!(!answered.iter().any(is_dropped), "{answered:?}");
    assert!(nft(&world, "flush chain inet t f; add rule inet t f drop"));
    world.is("with everything dropped", |_| false);
    assert!(nft(&world, "delete table inet t"));
    world.is("without them again", |_| true);
}

/// False, after having said so, where `nft` is missing.
fn nft(world: &World<'_>, commands: &str) -> bool {
    let output = world.lab().node().command("nft").arg(commands).output().unwrap();
    if output.status.code() == Some(127) {
        skip("nft is missing");
        return false;
    }
    assert!(output.status.success(), "nft {commands}: {}", String::from_utf8_lossy(&output.stderr));
    true
}
