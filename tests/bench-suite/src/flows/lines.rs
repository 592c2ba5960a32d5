//! Saved lines to read, written by the writer that flowdump has.
//!
//! As long as those on which `hubble observe` was timed: 620 bytes a line in the mean, with the fields that a flow between two
//! pods always has, but labels and identities, for which there is no room. Which flow a number gives is decided by the number alone.

use std::{io::Write, net::IpAddr, sync::Arc};

use anyhow::{Context, Result};
use chainkit_abi::tcp;
use chainkit_flow::{
    DropReason, Endpoint, EventType, Flow, FlowId, FlowType, Format, Ip, IpVersion, Layer4, Lenient, Ports, Printer,
    PrinterOptions, Record, Tcp, TcpFlags, Time, TrafficDirection, Verdict, event_type,
};

/// Pods among which flows go, where pods do not come and go.
pub(super) const PODS: u64 = 500;
/// One flow of so many was dropped.
pub(super) const DROPPED: u64 = 10;

/// 2026-11-23T00:00:00Z, from which flows come every 20 µs: 50,000 a second.
const BEGIN_NS: i128 = 1_795_392_000_000_000_000;
const EVERY_NS: i128 = 20_000;

const APPS: [&str; 8] = ["web", "cart", "checkout", "payments", "catalogue", "search", "mail", "ledger"];

/// Flows by number.
#[derive(Debug)]
pub(super) struct Lines {
    printer: Printer,
    /// How many pods there are at a time.
    pods: u64,
    /// After how many flows a pod makes place for one that was never there.
    churn: Option<u64>,
}

impl Lines {
    /// Between the same pods.
    pub(super) fn steady() -> Self {
        Self::new(PODS, None)
    }

    /// Between pods that come and go: of 2,000, ten a second at 50,000 flows a second.
    pub(super) fn churning() -> Self {
        Self::new(4 * PODS, Some(5_000))
    }

    fn new(pods: u64, churn: Option<u64>) -> Self {
        Self {
            printer: Printer::new(PrinterOptions { format: Format::Jsonl, ..PrinterOptions::default() }),
            pods,
            churn,
        }
    }

    /// Appends the line of a flow, at the time its number says.
    pub(super) fn push(&mut self, number: u64, out: &mut Vec<u8>) -> Result<()> {
        let record = self.record(number, time(number)?);
        self.printer.print(&record, None, out).context("cannot write a flow")
    }

    /// Writes so many lines; answers how many bytes.
    pub(super) fn write(&mut self, count: u64, to: &mut dyn Write) -> Result<u64> {
        let mut bytes = 0;
        let mut out = Vec::new();
        for number in 0..count {
            out.clear();
            self.push(number, &mut out)?;
            to.write_all(&out).context("cannot write saved lines")?;
            bytes += u64::try_from(out.len())?;
        }
        Ok(bytes)
    }

    fn record(&self, number: u64, time: Time) -> Record {
        // A step that shares no factor with how many there are visits all.
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let from = self.pod(number, mixed >> 32);
        let to = self.pod(number, mixed >> 17);
        let dropped = number % DROPPED == 3;
        let is_reply = number % 2 == 1;
        let flags = match number % 4 {
            0 => tcp::SYN,
            1 => tcp::SYN | tcp::ACK,
            2 => tcp::PSH | tcp::ACK,
            _ => tcp::FIN | tcp::ACK,
        };
        let (ephemeral, service) = (32_768 + u32::try_from(number % 28_000).unwrap_or_default(), 8080);
        let (source_port, destination_port) = if is_reply { (service, ephemeral) } else { (ephemeral, service) };
        let is_udp = number % 16 == 15;
        let l4 = if is_udp {
            Layer4::Udp(Ports { source_port, destination_port })
        } else {
            Layer4::Tcp(Tcp { source_port, destination_port, flags: Some(TcpFlags(flags)) })
        };
        let node: Arc<str> = "worker-3".into();
        let flow = Flow {
            time: Some(time),
            uuid: FlowId::Number(u128::from(mixed) << 64 | 0x4000 << 64 | 1 << 63 | u128::from(number)),
            verdict: if dropped { Verdict::Dropped } else { Verdict::Forwarded },
            drop_reason: if dropped { 133 } else { 0 },
            drop_reason_desc: if dropped { DropReason::POLICY_DENIED } else { DropReason::default() },
            ip: Some(Ip {
                source: Some(Lenient::Known(address(from))),
                destination: Some(Lenient::Known(address(to))),
                version: IpVersion::V4,
                ..Ip::default()
            }),
            l4: Some(l4),
            source: Some(Arc::new(endpoint(from))),
            destination: Some(Arc::new(endpoint(to))),
            flow_type: FlowType::L3L4,
            node_name: Arc::clone(&node),
            event_type: Some(if dropped {
                EventType { kind: event_type::DROP, sub_type: 133 }
            } else {
                EventType { kind: event_type::TRACE, sub_type: event_type::FROM_ENDPOINT }
            }),
            traffic_direction: TrafficDirection::Egress,
            is_reply: Some(is_reply),
            summary: if is_udp {
                "UDP".into()
            } else {
                format!("TCP Flags: {}", TcpFlags(flags).names().collect::<Vec<_>>().join(", ")).into()
            },
            ..Flow::default()
        };
        Record { flow: Some(flow), node_name: node, time: Some(time), ..Record::default() }
    }

    /// The pod that has a place when a flow is seen.
    fn pod(&self, number: u64, mixed: u64) -> u64 {
        let place = mixed % self.pods;
        let Some(churn) = self.churn else { return place };
        // Places are renewed in turn.
        let renewed = number / churn;
        let rounds = renewed / self.pods + u64::from(renewed % self.pods > place);
        place + rounds * self.pods
    }
}

fn time(number: u64) -> Result<Time> {
    let at = BEGIN_NS + i128::from(number) * EVERY_NS;
    Ok(Time(jiff::Timestamp::from_nanosecond(at).context("a time out of range")?))
}

fn address(pod: u64) -> IpAddr {
    let [.., a, b, c] = pod.to_be_bytes();
    IpAddr::from([10, a, b, c])
}

fn endpoint(pod: u64) -> Endpoint {
    let place = usize::try_from(pod).unwrap_or_default();
    let app = APPS.get(place % APPS.len()).copied().unwrap_or_default();
    let hash = pod.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Endpoint {
        namespace: "shop".to_owned(),
        pod_name: format!("{app}-{:08x}-{:05x}", hash >> 32, hash & 0xf_ffff),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chainkit_flow::{LineBuffer, parse};

    use super::*;

    fn records(lines: &mut Lines, count: u64) -> Vec<(Vec<u8>, Record)> {
        let mut all = Vec::new();
        lines.write(count, &mut all).unwrap();
        let mut buffer = LineBuffer::default();
        buffer.push(&all);
        let mut records = Vec::new();
        while let Some((_, line)) = buffer.next_line() {
            let line = line.unwrap().to_vec();
            let record = parse(&line).unwrap().unwrap();
            records.push((line, record));
        }
        records
    }

    #[test]
    fn a_line_is_as_long_as_those_that_others_were_timed_on() {
        let mut all = Vec::new();
        let bytes = Lines::steady().write(10_000, &mut all).unwrap();
        let mean = bytes / 10_000;
        assert!((610..=630).contains(&mean), "{mean}");
    }

    #[test]
    fn every_line_is_read_back_as_it_was_meant() {
        for mut lines in [Lines::steady(), Lines::churning()] {
            let read = records(&mut lines, 20_000);
            assert_eq!(read.len(), 20_000);
            for (number, (line, record)) in (0..).zip(&read) {
                let meant = lines.record(number, time(number).unwrap());
                let again = serde_json::to_vec(record).unwrap();
                assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(line));
                let (flow, meant) = (record.flow.as_ref().unwrap(), meant.flow.unwrap());
                assert_eq!((&flow.source, &flow.destination, flow.l4), (&meant.source, &meant.destination, meant.l4));
                assert_eq!(flow.uuid.to_string(), meant.uuid.to_string());
            }
            let dropped = read.iter().filter(|(_, record)| record.flow.as_ref().unwrap().verdict == Verdict::Dropped);
            assert_eq!(u64::try_from(dropped.count()).unwrap(), 20_000 / DROPPED);
        }
    }

    #[test]
    fn pods_come_and_go_and_are_no_more_than_so_many_at_a_time() {
        let lines = Lines::churning();
        let mut ever = HashSet::new();
        for number in 0..200_000u64 {
            ever.insert(lines.pod(number, number));
        }
        assert_eq!(ever.len(), usize::try_from(4 * PODS + 200_000 / 5_000 - 1).unwrap());
        let steady: HashSet<u64> = (0..200_000).map(|number| Lines::steady().pod(number, number)).collect();
        assert_eq!(steady.len(), usize::try_from(PODS).unwrap());
    }
}
