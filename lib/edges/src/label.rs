//! Numbers for people.

use crate::edge::Edge;

/// Bytes with a unit, as `1.5 MiB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    human_byte_rate(bytes as f64)
}

/// The same of what need not be whole.
#[must_use]
pub fn human_byte_rate(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let mut value = bytes;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Milliseconds with as many digits as tell something, as `0.25`, `4` or `1200`.
#[must_use]
pub fn human_milliseconds(value: f64) -> String {
    let digits = if value < 1.0 { 2 } else { usize::from(value < 10.0) };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An edge in a few words.
pub(crate) fn in_short(edge: &Edge) -> String {
    let mut words = vec![edge.over(), format!("{} flows", edge.flows)];
    words.extend(edge.bytes().map(human_bytes));
    if let (Some(latency), Some(of)) = (edge.p99_ms, edge.latency_of) {
        words.push(format!("p99 {} ms {of}", human_milliseconds(latency)));
    }
    for (count, what) in [(edge.denied, "denied"), (edge.would_deny, "would be denied"), (edge.errors, "errors")] {
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    }
    words.join(", ")
}

/// Whether policy would deny on it, or connections failed, and nothing is worse.
pub(crate) fn is_warned(edge: &Edge) -> bool {
    edge.would_deny > 0 || edge.resets > 0 || edge.unanswered.is_some_and(|count| count > 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::edge::{Snapshot, empty};
    use crate::node::{Kind, Node};
    use crate::oriented::Protocol;
    use chainkit_flow::parse;

    /// A name that would like to be something else.
    pub(crate) const HOSTILE: &str = "</script><script>alert(1)</script>\u{2028}\"];end`#&\u{7}\n|x]\\\"";

    fn node(kind: Kind, namespace: &str, name: &str) -> Node {
        Node { kind, namespace: namespace.into(), name: name.into(), workload: "Deployment".into() }
    }

    /// Two edges, the second of which is bad; `called` is what the first leads to.
    pub(crate) fn sample(called: &str) -> Snapshot {
        let web = node(Kind::Workload, "shop", "web");
        let mut good = empty(&web, &node(Kind::Workload, "shop", "db"), Some(5432), Protocol::Tcp);
        good.dst = called.to_owned();
        (good.flows, good.bytes_to, good.bytes_from) = (7, Some(1000), Some(9000));
        (good.p50_ms, good.p99_ms, good.latency_of) = (Some(2.0), Some(4.0), Some("rtt"));
        let mut bad = empty(&web, &node(Kind::Name, "", "example.com"), Some(443), Protocol::Tcp);
        (bad.flows, bad.denied, bad.errors, bad.l7) = (3, 12, 2, Some("http"));
        let flow =
            format!(r#"{{"flow":{{"verdict":"DROPPED","Summary":{}}}}}"#, serde_json::to_string(called).unwrap());
        let flow = parse(flow.as_bytes()).unwrap().unwrap().flow.unwrap();
        bad.recent = vec![serde_json::value::to_raw_value(&flow).unwrap()];
        Snapshot { edges: vec![good, bad], flows: 10, ..Snapshot::default() }
    }

    #[test]
    fn numbers_are_short() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10_240, "10 KiB"), (u64::MAX, "16 EiB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
        for (value, text) in [(0.25, "0.25"), (0.5, "0.5"), (4.0, "4"), (4.24, "4.2"), (100.0, "100"), (1234.5, "1234")]
        {
            assert_eq!(human_milliseconds(value), text);
        }
    }
}
