//! What is wrong with edges, in words, with the numbers that say so.

use serde::Serialize;

use crate::edge::{Edge, EdgeTcp};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Users may feel it.
    Warning,
    /// Users do.
    Error,
}

/// Something that is wrong with an edge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What: `timeouts`, `refused`, `retransmits`, `out_of_order`, `zero_windows`, `resets`, `jitter`, `errors`, `kernel_drops` or
    /// `denied`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// In words.
    pub message: String,
    /// How many there were.
    pub count: u64,
    /// Of how many; 0 where there is nothing that it is a part of.
    pub of: u64,
}

/// Fewer segments than this say nothing of how many are lost.
const FEWEST_SEGMENTS: u64 = 20;

/// Findings of an edge, the worst first; none where nothing is known to be wrong.
#[must_use]
pub fn findings(edge: &Edge) -> Vec<Finding> {
    let mut all = Vec::new();
    if let Some(tcp) = &edge.tcp {
        of_handshakes(edge, tcp, &mut all);
        of_segments(edge, tcp, &mut all);
    }
    let (src, dst) = (&edge.src, place(edge));
    let failed = edge.errors.saturating_sub(edge.kernel_drops);
    if failed > 0 {
        let requests = edge.requests.max(failed);
        let message = format!("{failed} of {requests} requests to {dst} failed");
        all.push(finding("errors", rank(failed, requests, 1, 10), message, failed, requests));
    }
    if edge.kernel_drops > 0 {
        let message = format!(
            "the kernel dropped {} packets between {src} and {dst}: flowdump --drops tells why",
            edge.kernel_drops
        );
        all.push(finding("kernel_drops", Severity::Warning, message, edge.kernel_drops, 0));
    }
    if edge.denied > 0 {
        let by = edge.denied_by.first().map_or(String::new(), |policy| format!(", by {policy}"));
        let message = format!("policy denied {} packets from {src} to {dst}{by}", edge.denied);
        all.push(finding("denied", Severity::Warning, message, edge.denied, 0));
    }
    all.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| share(b).total_cmp(&share(a))).then(a.id.cmp(b.id)));
    all
}

/// How badly an edge fares: the worst severity among findings, then the sum of their parts, each from 0 to 1.
#[must_use]
pub fn badness(findings: &[Finding]) -> (Severity, f64) {
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Info);
    (worst, findings.iter().map(share).sum())
}

fn of_handshakes(edge: &Edge, tcp: &EdgeTcp, all: &mut Vec<Finding>) {
    let dst = place(edge);
    let connections = edge.connections.unwrap_or(0);
    if tcp.timeouts > 0 {
        let why = if edge.denied > 0 { "policy denies some" } else { "lost on the way, or dropped where they arrive" };
        let message = format!("{} of {connections} handshakes with {dst} are not answered: {why}", tcp.timeouts);
        all.push(finding("timeouts", rank(tcp.timeouts, connections, 0, 20), message, tcp.timeouts, connections));
    }
    if tcp.refused > 0 {
        let message = format!(
            "{dst} refuses {} of {connections} handshakes: nothing listens there, or a firewall rejects them",
            tcp.refused
        );
        all.push(finding("refused", rank(tcp.refused, connections, 0, 20), message, tcp.refused, connections));
    }
    for (who, resets) in [(&edge.src, tcp.resets_by_src), (&edge.dst, tcp.resets_by_dst)] {
        // One in ten, and not by a single accident.
        if resets >= 3 && resets.saturating_mul(10) >= connections {
            let message = format!("{who} resets {resets} of {connections} connections after their handshake");
            all.push(finding("resets", Severity::Warning, message, resets, connections));
        }
    }
}

fn of_segments(edge: &Edge, tcp: &EdgeTcp, all: &mut Vec<Finding>) {
    let (src, dst) = (&edge.src, &edge.dst);
    let ways = [
        (src, dst, tcp.segments_to, tcp.retransmits_to, tcp.out_of_order_to),
        (dst, src, tcp.segments_from, tcp.retransmits_from, tcp.out_of_order_from),
    ];
    for (from, to, segments, retransmits, overtaken) in ways {
        if segments >= FEWEST_SEGMENTS && retransmits.saturating_mul(100) >= segments {
            let message = format!(
                "{from} sent {retransmits} of {segments} segments to {to} again ({}): they are lost on the way",
                percent(retransmits, segments)
            );
            all.push(finding("retransmits", rank(retransmits, segments, 1, 5), message, retransmits, segments));
        }
        if segments >= FEWEST_SEGMENTS && overtaken.saturating_mul(100) >= segments {
            let message = format!(
                "{overtaken} of {segments} segments from {from} to {to} came out of order ({}): the way has several paths",
                percent(overtaken, segments)
            );
            all.push(finding("out_of_order", Severity::Info, message, overtaken, segments));
        }
    }
    for (who, count) in [(src, tcp.zero_windows_by_src), (dst, tcp.zero_windows_by_dst)] {
        if count > 0 {
            let message = format!("{who} closed its window {count} times: it does not read as fast as it is sent to");
            all.push(finding("zero_windows", Severity::Warning, message, count, 0));
        }
    }
    if let (Some(jitter), Some(rtt)) = (tcp.jitter_p50_ms, tcp.rtt_p50_ms)
        && jitter >= 5.0
        && jitter >= rtt / 2.0
    {
        let message = format!("the round trip to {dst} of {rtt:.1} ms varies by {jitter:.1} ms");
        all.push(finding("jitter", Severity::Info, message, 0, 0));
    }
}

fn finding(id: &'static str, severity: Severity, message: String, count: u64, of: u64) -> Finding {
    Finding { id, severity, message, count, of }
}

/// The one who is asked, with its port.
fn place(edge: &Edge) -> String {
    edge.port.map_or_else(|| edge.dst.clone(), |port| format!("{}:{port}", edge.dst))
}

/// By how many in a hundred it is a warning, and by how many an error.
fn rank(count: u64, of: u64, warning: u64, error: u64) -> Severity {
    let hundredfold = count.saturating_mul(100);
    if of > 0 && hundredfold >= of.saturating_mul(error) {
        Severity::Error
    } else if hundredfold >= of.saturating_mul(warning) {
        Severity::Warning
    } else {
        Severity::Info
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people, and for an order")]
fn share(finding: &Finding) -> f64 {
    if finding.of == 0 { 0.0 } else { (finding.count as f64 / finding.of as f64).min(1.0) }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
fn percent(count: u64, of: u64) -> String {
    format!("{:.1} %", count as f64 * 100.0 / of.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Kind;
    use crate::oriented::Protocol;

    fn edge(tcp: EdgeTcp, connections: u64) -> Edge {
        let node = |name: &str| crate::node::Node {
            kind: Kind::Workload,
            namespace: "shop".into(),
            name: name.into(),
            workload: "Deployment".into(),
        };
        let mut edge = crate::edge::empty(&node("web"), &node("db"), Some(5432), Protocol::Tcp);
        (edge.tcp, edge.connections) = (Some(tcp), Some(connections));
        edge
    }

    fn told(tcp: EdgeTcp, connections: u64) -> Vec<(&'static str, Severity)> {
        findings(&edge(tcp, connections)).iter().map(|finding| (finding.id, finding.severity)).collect()
    }

    #[test]
    fn an_edge_that_fares_well_has_no_findings() {
        assert_eq!(told(EdgeTcp { measured: 9, segments_to: 1000, retransmits_to: 9, ..EdgeTcp::default() }, 9), []);
        let few = EdgeTcp { measured: 1, segments_to: 3, retransmits_to: 1, ..EdgeTcp::default() };
        assert_eq!(told(few, 1), [], "one of three says nothing");
    }

    #[test]
    fn what_the_kernel_drops_is_no_request_that_failed() {
        let mut edge = edge(EdgeTcp::default(), 5);
        (edge.errors, edge.kernel_drops) = (3, 3);
        let told = findings(&edge);
        assert_eq!(told.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["kernel_drops"]);
        (edge.errors, edge.requests) = (4, 100);
        let told = findings(&edge);
        assert_eq!(told.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["errors", "kernel_drops"]);
        assert_eq!(told[0].message, "1 of 100 requests to shop/db:5432 failed");
    }

    #[test]
    fn what_is_wrong_is_told_the_worst_first() {
        let tcp = EdgeTcp {
            refused: 1,
            timeouts: 8,
            segments_to: 100,
            retransmits_to: 2,
            zero_windows_by_dst: 1,
            out_of_order_from: 1,
            segments_from: 100,
            ..EdgeTcp::default()
        };
        let (warning, error) = (Severity::Warning, Severity::Error);
        assert_eq!(
            told(tcp, 10),
            [
                ("timeouts", error),
                ("refused", warning),
                ("retransmits", warning),
                ("zero_windows", warning),
                ("out_of_order", Severity::Info)
            ]
        );
        let findings = findings(&edge(tcp, 10));
        assert_eq!(
            findings[0].message,
            "8 of 10 handshakes with shop/db:5432 are not answered: lost on the way, or dropped where they arrive"
        );
        assert_eq!(
            findings[2].message,
            "shop/web sent 2 of 100 segments to shop/db again (2.0 %): they are lost on the way"
        );
        let (worst, sum) = badness(&findings);
        assert_eq!((worst, format!("{sum:.2}")), (error, "0.93".to_owned()));
    }
}
