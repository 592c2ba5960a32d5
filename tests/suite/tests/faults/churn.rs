//! Policies that come and go in random order under traffic, followed by `polload watch`: no wrong verdict, and nothing that grows.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use chainkit_lab::NODE_NAME;
use serde_json::{Value, json};

use crate::ground::{Ground, lets, on_ground, sets_of_tables};

/// Policies that may be there.
const POLICIES: usize = 2000;
/// Changes between two proofs.
const BETWEEN: usize = 100;
/// How long it goes on, in seconds. `CHAINKIT_SOAK` says how long it is to be at least, and has it go on until there were [`SOAK`] changes.
const SECONDS: u64 = 20;
/// Changes of a long run, at least.
const SOAK: usize = 2000;

/// A policy of many, which lets somebody else come to the server, or the server go somewhere.
fn other(number: usize) -> Value {
    let block = format!("172.{}.{}.{}/{}", 16 + number % 16, number / 16 % 256, number % 7 * 32, 24 + number % 8);
    let spec = match number % 4 {
        0 => {
            json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": [{"ipBlock": {"cidr": block}}]}]})
        }
        1 => {
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1000 + number}], "from": [{"podSelector": {"matchLabels": {"n": format!("{number}")}}}]}]})
        }
        2 => json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": [format!("10.{}.0.0/16", 100 + number % 100)]}}]}]}),
        _ => json!({"podSelector": {"matchLabels": {"n": format!("{number}")}}, "ingress": [{}]}),
    };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": format!("other-{number}")}, "spec": spec,
    })
}

/// Kibibytes of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn policies_come_and_go_in_random_order_without_a_wrong_verdict_or_a_leak() {
    on_ground(|ground| {
        let soak = std::env::var("CHAINKIT_SOAK").ok().map(|text| text.parse().unwrap());
        let (seconds, least) = soak.map_or((SECONDS, 0), |seconds| (seconds, SOAK));
        let file = ground.file("a.json", &[lets("a")]);
        let fifo = ground.lab.root().join("tmp/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let mut writer = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let arguments = ["watch", "--node", NODE_NAME, file.to_str().unwrap(), fifo.to_str().unwrap()];
        let mut watch = ground.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(watch.stdout.take().unwrap()).lines();
        let _ = told.next().unwrap().unwrap();
        assert_eq!(ground.who(), (true, false));
        let mut there = vec![false; POLICIES];
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let (mut changes, mut proofs) = (0usize, 0usize);
        let mut before: Option<(u64, usize)> = None;
        let mut verifying = Duration::ZERO;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(seconds) || changes < least || proofs < 3 {
            for _ in 0..BETWEEN {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = usize::try_from(random % POLICIES as u64).unwrap();
                let kind = if there[number] { "DELETED" } else { "ADDED" };
                there[number] = !there[number];
                writeln!(writer, "{}", json!({"type": kind, "object": other(number)})).unwrap();
                changes += 1;
            }
            settled(ground, &mut writer, &mut told);
            // The one that is let in always is, the other never, whatever else there is.
            assert_eq!(ground.who(), (true, false), "after {changes} changes");
            let began = Instant::now();
            ground.verified();
            verifying += began.elapsed();
            proofs += 1;
            let now = (resident(watch.id()), sets_of_tables());
            if proofs == 2 {
                before = Some(now);
            }
        }
        let (memory, sets) = before.unwrap();
        let now = (resident(watch.id()), sets_of_tables());
        println!(
            "{changes} changes in {:?}, {proofs} proofs that took {verifying:?}; {memory} -> {} KiB, {sets} -> {} sets of tables on this machine",
            started.elapsed(),
            now.0,
            now.1
        );
        assert!(now.0 < memory * 2 + 65_536, "{memory} -> {} KiB", now.0);
        assert_eq!(ground.folders().len(), 1, "{:?}", ground.folders());
        watch.kill().unwrap();
        watch.wait().unwrap();
    });
}

/// Waits until all that was written is in force: a policy that is told of last has been.
fn settled(ground: &Ground<'_>, writer: &mut fs::File, told: &mut impl Iterator<Item = std::io::Result<String>>) {
    let mark = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "shop", "name": "mark"},
        "spec": {"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}]},
    });
    for kind in ["ADDED", "DELETED"] {
        writeln!(writer, "{}", json!({"type": kind, "object": mark})).unwrap();
        let wanted = kind == "ADDED";
        loop {
            let line = told.next().unwrap().unwrap();
            assert!(line.contains("\"Updated\""), "{line}");
            let saved = saved_policies(ground);
            if saved == wanted {
                break;
            }
        }
    }
}

/// Whether the policy that marks the end is among the objects that are in force.
fn saved_policies(ground: &Ground<'_>) -> bool {
    let folders = ground.folders();
    let path = ground.lab.root().join("var/lib/chainkit/policy").join(&folders[0]).join("objects");
    let text = fs::read_to_string(path).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.contains("\"mark\""));
    last.is_some_and(|line| line.starts_with("{\"set\""))
}
