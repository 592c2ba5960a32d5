//! Hubble's metrics: of each flow what its handlers would count (cilium, `pkg/hubble/metrics`), under the same names and labels.

use chainkit_flow::{
    DropReason, Flow, L7FlowType, Layer4, TrafficDirection, Verdict, dns_rcode, event_type, icmp_name,
};

use crate::config::{Config, Group};
use crate::context::direction;
use crate::metrics::Pod;
use crate::store::{Amount, Exemplar, Kind, Label, Metric, Store};

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: Kind::Counter }
}

const DNS_QUERIES: Metric = counter("hubble_dns_queries", "DNS queries observed");
const DNS_RESPONSES: Metric = counter("hubble_dns_responses", "DNS responses observed");
const DNS_RESPONSE_TYPES: Metric = counter("hubble_dns_response_types", "Records in DNS responses observed, by type");
const DROP: Metric = counter("hubble_drop", "Drops");
const TCP_FLAGS: Metric = counter("hubble_tcp_flags", "TCP flags seen");
const FLOWS: Metric = counter("hubble_flows_processed", "Flows processed");
const PORTS: Metric = counter("hubble_port_distribution", "Flows by destination port");
const ICMP: Metric = counter("hubble_icmp", "ICMP messages");
const HTTP_REQUESTS: Metric = counter("hubble_http_requests", "HTTP requests");
const HTTP_RESPONSES: Metric = counter("hubble_http_responses", "HTTP responses");
const HTTP_DURATION: Metric = Metric {
    name: "hubble_http_request_duration_seconds",
    help: "Time from an HTTP request to its response",
    kind: Kind::Histogram,
};
const TO_WORLD: Metric = counter("hubble_flows_to_world", "Flows to outside of the cluster");
const POLICY: Metric = counter("hubble_policy_verdicts", "Verdicts of network policies");
const KAFKA_REQUESTS: Metric = counter("hubble_kafka_requests", "Kafka requests");
const KAFKA_DURATION: Metric = Metric {
    name: "hubble_kafka_request_duration_seconds",
    help: "Time from a Kafka request to its response",
    kind: Kind::Histogram,
};
const LOST: Metric = counter("hubble_lost_events", "Events that were lost");

/// Counts events that were lost at a place.
pub(crate) fn lost(store: &mut Store, source: String, events: u64) {
    store.count(LOST, vec![("source", source)], &[], Amount::Add(events), None);
}

/// Counts a flow under one configuration.
pub(crate) fn count(config: &Config, flow: &Flow, store: &mut Store) {
    let mut counting = Counting { config, flow, store };
    match config.group {
        Group::Dns => counting.dns(),
        Group::Drop => counting.drop(),
        Group::Tcp => counting.tcp(),
        Group::Flow => counting.flow(),
        Group::PortDistribution => counting.ports(),
        Group::Icmp => counting.icmp(),
        Group::Http => counting.http(),
        Group::HttpV2 => counting.http_once(),
        Group::FlowsToWorld => counting.world(),
        Group::Policy => counting.policy(),
        Group::Kafka => counting.kafka(),
        Group::Chainkit => {}
    }
}

struct Counting<'a> {
    config: &'a Config,
    flow: &'a Flow,
    store: &'a mut Store,
}

impl Counting<'_> {
    fn contexts(&self) -> (Vec<Label>, Vec<Pod>) {
        self.config.contexts.values(self.flow, false)
    }

    fn one(&mut self, metric: Metric, labels: Vec<Label>) {
        let (mut all, pods) = self.contexts();
        all.extend(labels);
        self.store.count(metric, all, &pods, Amount::Add(1), None);
    }

    fn dns(&mut self) {
        let Some(dns) = self.flow.l7.as_ref().and_then(|l7| l7.dns.as_ref()) else { return };
        let qtypes = dns.qtypes.join(",");
        if self.config.ignore_aaaa && qtypes == "AAAA" {
            return;
        }
        let with_query = |mut labels: Vec<Label>| {
            if self.config.query {
                labels.push(("query", dns.query.clone()));
            }
            labels
        };
        let dropped = self.flow.verdict == Verdict::Dropped;
        let is_reply = self.flow.is_reply == Some(true);
        let rcode = match (dropped, is_reply) {
            (true, _) => "Policy denied".to_owned(),
            (false, true) => dns_rcode(dns.rcode).map_or_else(|| dns.rcode.to_string(), str::to_owned),
            (false, false) => String::new(),
        };
        let labels =
            with_query(vec![("rcode", rcode), ("qtypes", qtypes.clone()), ("ips_returned", dns.ips.len().to_string())]);
        if dropped || !is_reply {
            return self.one(DNS_QUERIES, labels);
        }
        let types: Vec<_> = dns
            .rrtypes
            .iter()
            .map(|kind| with_query(vec![("type", kind.clone()), ("qtypes", qtypes.clone())]))
            .collect();
        self.one(DNS_RESPONSES, labels);
        for labels in types {
            self.one(DNS_RESPONSE_TYPES, labels);
        }
    }

    fn drop(&mut self) {
        if self.flow.verdict != Verdict::Dropped {
            return;
        }
        let desc = self.flow.drop_reason_desc;
        let extra = self.flow.extensions.as_ref().and_then(|extensions| extensions.extra());
        let by_kernel = extra.as_ref().and_then(|extra| Some((extra.drop.as_ref()?, extra.count)));
        let (reason, packets) = match by_kernel {
            // Where Hubble has no words for it the kernel's own say more; a flow stands for as many packets as it counts.
            Some((drop, count)) if desc == DropReason::default() => (drop.reason.to_string(), count.max(1)),
            Some((_, count)) => (desc.name().map_or_else(|| desc.0.to_string(), str::to_owned), count.max(1)),
            None => (desc.name().map_or_else(|| desc.0.to_string(), str::to_owned), 1),
        };
        let (mut labels, pods) = self.contexts();
        labels.extend([("reason", reason), ("protocol", protocol(self.flow).to_owned())]);
        self.store.count(DROP, labels, &pods, Amount::Add(packets.into()), None);
    }

    fn tcp(&mut self) {
        if !matches!(self.flow.verdict, Verdict::Forwarded | Verdict::Redirected) {
            return;
        }
        let (Some(Layer4::Tcp(tcp)), Some(ip)) = (&self.flow.l4, &self.flow.ip) else { return };
        let Some(flags) = tcp.flags else { return };
        let has = |name| flags.names().any(|flag| flag == name);
        let family = ip.version.to_string();
        for (flag, seen) in [
            ("FIN", has("FIN")),
            ("SYN", has("SYN") && !has("ACK")),
            ("SYN-ACK", has("SYN") && has("ACK")),
            ("RST", has("RST")),
        ] {
            if seen {
                self.one(TCP_FLAGS, vec![("flag", flag.to_owned()), ("family", family.clone())]);
            }
        }
    }

    fn flow(&mut self) {
        let event = self.flow.event_type.unwrap_or_default();
        let (kind, subtype) = match event.kind {
            event_type::L7 => ("L7", layer7(self.flow).unwrap_or_default().to_owned()),
            event_type::DROP => ("Drop", String::new()),
            CAPTURE => ("Capture", String::new()),
            event_type::TRACE => ("Trace", point(self.flow)),
            event_type::POLICY_VERDICT => ("PolicyVerdict", String::new()),
            other => ("Unknown", other.to_string()),
        };
        let labels = vec![
            ("protocol", protocol(self.flow).to_owned()),
            ("type", kind.to_owned()),
            ("subtype", subtype),
            ("verdict", self.flow.verdict.to_string()),
        ];
        self.one(FLOWS, labels);
    }

    fn ports(&mut self) {
        let passed = matches!(self.flow.verdict, Verdict::Forwarded | Verdict::Redirected);
        if !passed || self.flow.is_reply != Some(false) {
            return;
        }
        let (protocol, port) = match &self.flow.l4 {
            Some(Layer4::Tcp(tcp)) => ("TCP", tcp.destination_port),
            Some(Layer4::Udp(ports)) => ("UDP", ports.destination_port),
            Some(Layer4::Sctp(ports)) => ("SCTP", ports.destination_port),
            Some(Layer4::Icmp4(_)) => ("ICMPv4", 0),
            Some(Layer4::Icmp6(_)) => ("ICMPv6", 0),
            _ => return,
        };
        self.one(PORTS, vec![("protocol", protocol.to_owned()), ("port", port.to_string())]);
    }

    fn icmp(&mut self) {
        let (family, ipv6, icmp) = match &self.flow.l4 {
            Some(Layer4::Icmp4(icmp)) => ("IPv4", false, icmp),
            Some(Layer4::Icmp6(icmp)) => ("IPv6", true, icmp),
            _ => return,
        };
        let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        let name = icmp_name(ipv6, byte(icmp.kind), byte(icmp.code)).into_owned();
        self.one(ICMP, vec![("family", family.to_owned()), ("type", name)]);
    }

    /// Requests and responses, each as it comes.
    fn http(&mut self) {
        let Some(l7) = &self.flow.l7 else { return };
        let Some(http) = &l7.http else { return };
        let reporter = ("reporter", reporter(self.flow).to_owned());
        let method = ("method", http.method.clone());
        let protocol = ("protocol", http.protocol.clone().into_owned());
        match l7.kind {
            L7FlowType::Request => self.one(HTTP_REQUESTS, vec![method, protocol, reporter]),
            L7FlowType::Response => {
                let status = ("status", http.code.to_string());
                let (mut labels, pods) = self.contexts();
                let mut duration = labels.clone();
                labels.extend([method.clone(), protocol, status, reporter.clone()]);
                self.store.count(HTTP_RESPONSES, labels, &pods, Amount::Add(1), None);
                duration.extend([method, reporter]);
                if l7.latency_ns > 0 {
                    self.store.count(HTTP_DURATION, duration, &pods, seconds(l7.latency_ns), self.exemplar());
                }
            }
            _ => {}
        }
    }

    /// Requests by their responses, with the one who asked as the source.
    fn http_once(&mut self) {
        let Some(l7) = self.flow.l7.as_ref().filter(|l7| l7.kind == L7FlowType::Response) else { return };
        let Some(http) = &l7.http else { return };
        let (mut labels, pods) = self.config.contexts.values(self.flow, true);
        let mut duration = labels.clone();
        let reporter = ("reporter", reporter(self.flow).to_owned());
        let method = ("method", http.method.clone());
        labels.extend([
            method.clone(),
            ("protocol", http.protocol.clone().into_owned()),
            ("status", http.code.to_string()),
            reporter.clone(),
        ]);
        self.store.count(HTTP_REQUESTS, labels, &pods, Amount::Add(1), self.exemplar());
        duration.extend([method, reporter]);
        if l7.latency_ns > 0 {
            self.store.count(HTTP_DURATION, duration, &pods, seconds(l7.latency_ns), self.exemplar());
        }
    }

    /// The trace that an HTTP message belongs to, where it says so and exemplars are asked for.
    fn exemplar(&self) -> Option<Exemplar> {
        let http = self.flow.l7.as_ref()?.http.as_ref().filter(|_| self.config.exemplars)?;
        let header = http.headers.iter().find(|header| header.key.eq_ignore_ascii_case("traceparent"))?;
        // W3C, "Trace Context": version, trace-id, parent-id and flags, in hexadecimal.
        let trace = header.value.split('-').nth(1)?;
        let is_id = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| vec![("traceID", trace.to_owned())])
    }

    fn world(&mut self) {
        const WORLD: &str = "reserved:world";
        let outside = self.flow.destination.as_ref().is_some_and(|end| end.labels.iter().any(|label| label == WORLD));
        let Some(l4) = self.flow.l4.as_ref().filter(|_| outside && self.flow.event_type.is_some()) else { return };
        let dropped = self.flow.verdict == Verdict::Dropped;
        let by_policy = [DropReason::POLICY_DENIED, DropReason::POLICY_DENY].contains(&self.flow.drop_reason_desc);
        let is_reply = self.flow.is_reply == Some(true);
        // Of replies the destination port is the ephemeral one.
        if dropped && !self.config.any_drop && !by_policy || !dropped && is_reply {
            return;
        }
        if self.config.syn_only {
            let syn = matches!(l4, Layer4::Tcp(tcp) if tcp.flags.is_some_and(|flags| flags.names().any(|flag| flag == "SYN")));
            if !syn || is_reply {
                return;
            }
        }
        let mut labels = vec![("protocol", protocol(self.flow).to_owned()), ("verdict", self.flow.verdict.to_string())];
        if self.config.port {
            let port = match l4 {
                Layer4::Tcp(tcp) => tcp.destination_port.to_string(),
                Layer4::Udp(ports) | Layer4::Sctp(ports) => ports.destination_port.to_string(),
                _ => String::new(),
            };
            labels.push(("port", port));
        }
        self.one(TO_WORLD, labels);
    }

    /// Verdicts that are told as such, as Cilium does; and chainkit's denials and first packets, which tell who decided.
    fn policy(&mut self) {
        let flow = self.flow;
        let told = flow.event_type.is_some_and(|event| event.kind == event_type::POLICY_VERDICT);
        let ours = !told
            && flow.extensions.as_ref().and_then(|extensions| extensions.extra()).is_some_and(|extra| {
                matches!(&*extra.event, "first" | "denied" | "verdict")
                    && extra.decided_by.as_ref().is_some_and(|decided| !decided.action.is_empty())
            });
        // What the host sends may always come in, and health checks are not judged.
        let identity =
            |end: &Option<std::sync::Arc<chainkit_flow::Endpoint>>| end.as_ref().map_or(0, |end| end.identity);
        const HOST: u32 = 1;
        const HEALTH: u32 = 4;
        if !told && !ours || identity(&flow.source) == HOST {
            return;
        }
        if identity(&flow.source) == HEALTH || identity(&flow.destination) == HEALTH {
            return;
        }
        let matched = usize::try_from(flow.policy_match_type).ok().and_then(|number| MATCHES.get(number).copied());
        let labels = vec![
            ("direction", direction(flow)),
            ("match", matched.unwrap_or("unknown").to_owned()),
            ("action", flow.verdict.to_string().to_ascii_lowercase()),
        ];
        self.one(POLICY, labels);
    }

    fn kafka(&mut self) {
        let Some(l7) = &self.flow.l7 else { return };
        let Some(kafka) = &l7.kafka else { return };
        if l7.kind != L7FlowType::Response {
            return;
        }
        let common = [
            ("topic", kafka.topic.clone()),
            ("api_key", kafka.api_key.clone()),
            ("reporter", reporter(self.flow).to_owned()),
        ];
        let (mut labels, pods) = self.contexts();
        labels.extend(common.clone());
        self.store.count(KAFKA_DURATION, labels.clone(), &pods, seconds(l7.latency_ns), None);
        labels.push(("error_code", kafka.error_code.to_string()));
        self.store.count(KAFKA_REQUESTS, labels, &pods, Amount::Add(1), None);
    }
}

/// Type of an event that captures packets (cilium, `pkg/monitor/api/types.go`).
const CAPTURE: i32 = 9;

/// What of a policy matched, in small letters (as above).
const MATCHES: [&str; 7] = ["none", "l3-only", "l3-l4", "l4-only", "all", "l3-proto", "proto-only"];

/// Nanoseconds as what a histogram counts.
pub(crate) fn seconds(nanoseconds: u64) -> Amount {
    Amount::Seconds(std::time::Duration::from_nanos(nanoseconds).as_secs_f64())
}

/// Who saw it: the server's side or the client's.
pub(crate) fn reporter(flow: &Flow) -> &'static str {
    match flow.traffic_direction {
        TrafficDirection::Ingress => "server",
        TrafficDirection::Egress => "client",
        _ => "unknown",
    }
}

/// The protocol of an application, as Hubble calls it.
fn layer7(flow: &Flow) -> Option<&'static str> {
    let l7 = flow.l7.as_ref()?;
    match (&l7.dns, &l7.http, &l7.kafka) {
        (Some(_), _, _) => Some("DNS"),
        (_, Some(_), _) => Some("HTTP"),
        (_, _, Some(_)) => Some("Kafka"),
        _ => None,
    }
}

/// The protocol of a flow, as Hubble calls it.
pub(crate) fn protocol(flow: &Flow) -> &'static str {
    match flow.event_type.unwrap_or_default().kind {
        event_type::L7 => layer7(flow).unwrap_or("Unknown L7"),
        event_type::DROP | event_type::TRACE | event_type::POLICY_VERDICT | CAPTURE => match &flow.l4 {
            Some(Layer4::Tcp(_)) => "TCP",
            Some(Layer4::Udp(_)) => "UDP",
            Some(Layer4::Icmp4(_)) => "ICMPv4",
            Some(Layer4::Icmp6(_)) => "ICMPv6",
            Some(Layer4::Sctp(_)) => "SCTP",
            _ => "Unknown L4",
        },
        _ => "Unknown flow",
    }
}

/// Where a trace was seen, such as `to-endpoint`.
fn point(flow: &Flow) -> String {
    use chainkit_flow::ObservationPoint;
    let sub_type = flow.event_type.unwrap_or_default().sub_type & 0xff;
    // In the enum of JSON, 0 is taken for what is not known.
    let point = if sub_type == event_type::TO_ENDPOINT {
        ObservationPoint::ToEndpoint
    } else {
        ObservationPoint::from_number(sub_type)
    };
    point.name().map_or_else(|| sub_type.to_string(), |name| name.to_ascii_lowercase().replace('_', "-"))
}
