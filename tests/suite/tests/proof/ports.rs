//! Ports: by protocol, number, name and range.

use chainkit_policy::Transport;

use crate::ask::Probe;
use crate::world::{World, by_each_kit, policy};

const TCP80: (Transport, u16) = (Transport::Tcp, 80);
const TCP81: (Transport, u16) = (Transport::Tcp, 81);
const UDP80: (Transport, u16) = (Transport::Udp, 80);
const UDP81: (Transport, u16) = (Transport::Udp, 81);
const SCTP80: (Transport, u16) = (Transport::Sctp, 80);
const SCTP81: (Transport, u16) = (Transport::Sctp, 81);

fn of(probe: &Probe) -> (Transport, u16) {
    (probe.transport, probe.port())
}

/// Applies a policy on ingress of `x/a` with these ports from namespace `y`, to which alone they are to be open.
#[track_caller]
fn opens(world: &World<'_>, name: &str, ports: &str, open: &[(Transport, u16)]) {
    let from = "from: [{namespaceSelector: {matchLabels: {ns: y}}}]";
    let spec = format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{{from}, ports: {ports}}}]}}");
    world.step(name, &[policy("x/p", &spec)], |probe| {
        !probe.is_to(&["x/a"]) || probe.is_from(&["y"]) && open.contains(&of(probe))
    });
}

#[test]
fn ports_are_open_by_protocol_and_number() {
    by_each_kit(|world| {
        opens(world, "TCP by default", "[{port: 80}]", &[TCP80]);
        opens(world, "UDP", "[{port: 81, protocol: UDP}]", &[UDP81]);
        opens(world, "SCTP", "[{port: 80, protocol: SCTP}]", &[SCTP80]);
        opens(world, "a protocol alone", "[{protocol: UDP}]", &[UDP80, UDP81]);
    });
}

#[test]
fn several_ports_are_open_side_by_side() {
    by_each_kit(|world| {
        opens(
            world,
            "several",
            "[{port: 80}, {port: 81, protocol: UDP}, {port: 81, protocol: SCTP}]",
            &[TCP80, UDP81, SCTP81],
        );
        opens(world, "two protocols", "[{protocol: TCP}, {protocol: SCTP}]", &[TCP80, TCP81, SCTP80, SCTP81]);
        opens(world, "no list is all", "[]", &[TCP80, TCP81, UDP80, UDP81, SCTP80, SCTP81]);
        opens(world, "another port", "[{port: 82}]", &[]);
        let from = |namespace: &str| format!("from: [{{namespaceSelector: {{matchLabels: {{ns: {namespace}}}}}}}]");
        let rules = format!("[{{{}, ports: [{{port: 80}}]}}, {{{}, ports: [{{port: 81}}]}}]", from("y"), from("z"));
        world.step(
            "each peer its own",
            &[policy("x/p", &format!("{{podSelector: {{}}, ingress: {rules}}}"))],
            |probe| {
                !probe.is_to(&["x"])
                    || probe.is_from(&["y"]) && of(probe) == TCP80
                    || probe.is_from(&["z"]) && of(probe) == TCP81
            },
        );
    });
}

#[test]
fn a_range_reaches_from_port_to_end_port() {
    by_each_kit(|world| {
        opens(world, "both", "[{port: 80, endPort: 81}]", &[TCP80, TCP81]);
        opens(world, "up to the first", "[{port: 1, endPort: 80, protocol: UDP}]", &[UDP80]);
        opens(world, "from the second on", "[{port: 81, endPort: 65535, protocol: SCTP}]", &[SCTP81]);
        opens(world, "below", "[{port: 70, endPort: 79}]", &[]);
        opens(world, "above", "[{port: 82, endPort: 100}]", &[]);
        opens(world, "two that overlap", "[{port: 79, endPort: 80}, {port: 80, endPort: 81}]", &[TCP80, TCP81]);
    });
}

#[test]
fn a_named_port_is_what_the_asked_pod_calls_so() {
    by_each_kit(|world| {
        opens(world, "TCP", "[{port: serve-80-tcp}]", &[TCP80]);
        opens(world, "UDP", "[{port: serve-81-udp, protocol: UDP}]", &[UDP81]);
        opens(world, "SCTP", "[{port: serve-81-sctp, protocol: SCTP}]", &[SCTP81]);
        opens(world, "of another protocol", "[{port: serve-80-tcp, protocol: UDP}]", &[]);
        opens(world, "that nobody has", "[{port: serve-82-tcp}]", &[]);

        world.name_ports("y/b", &[("web".to_owned(), "TCP", 81), ("dns".to_owned(), "UDP", 80)]);
        world.name_ports("y/c", &[("web".to_owned(), "TCP", 80), ("dns".to_owned(), "UDP", 81)]);
        let spec =
            "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}, {port: dns, protocol: UDP}]}]}";
        let named = |probe: &Probe| match probe.to {
            "y/b" => [TCP81, UDP80].contains(&of(probe)),
            "y/c" => [TCP80, UDP81].contains(&of(probe)),
            _ => false,
        };
        world.step("for each pod its own, egress", &[policy("x/p", spec)], |probe| {
            !probe.is_from(&["x"]) || named(probe)
        });
        let spec = "{podSelector: {}, ingress: [{ports: [{port: web}, {port: dns, protocol: UDP}]}]}";
        world.step("for each pod its own, ingress", &[policy("y/p", spec)], |probe| {
            !probe.is_to(&["y"]) || named(probe)
        });
        world.name_ports("y/b", &[("web".to_owned(), "TCP", 80)]);
        world.step("moved", &[policy("y/p", spec)], |probe| {
            !probe.is_to(&["y"]) || if probe.is_to(&["y/b"]) { of(probe) == TCP80 } else { named(probe) }
        });
    });
}
