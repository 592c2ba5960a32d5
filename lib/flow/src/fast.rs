//! Reading the lines that are most of all: as writers of flows write them, without a blank or an escape where it counts.
//!
//! What a line says is laid down by the `Deserialize` of [`Record`] alone. This reads what that would read, in a third of the
//! time, or gives up: at a field that comes twice, at one it does not know, at whatever looks unusual or is wrong. It reads the
//! fields that nearly every flow has by itself, and hands each other value to its type.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::again;
use crate::drop_reason::DropReason;
use crate::enums::{FlowType, IpVersion, ObservationPoint, TrafficDirection, Verdict};
use crate::layer4::{Layer4, Ports, Tcp, TcpFlags};
use crate::model::{EventType, Flow, Ip, Record};
use crate::text::Lenient;
use crate::time::Time;
use crate::uuid::FlowId;

/// The record of a line, unless it is for others to read.
pub(crate) fn record(line: &str) -> Option<Record> {
    let mut cursor = Cursor { text: line, at: 0 };
    let mut record = Record::default();
    let mut seen = Seen::default();
    cursor.object(|cursor, key| {
        match key {
            "flow" if seen.first(0) => record.flow = Some(flow(cursor)?),
            "node_name" if seen.first(1) => record.node_name = again::shared_name(cursor.string()?),
            "time" if seen.first(2) => record.time = Some(cursor.time()?),
            _ => return None,
        }
        Some(())
    })?;
    (cursor.at == line.len() && record.flow.is_some()).then_some(record)
}

fn flow(cursor: &mut Cursor<'_>) -> Option<Flow> {
    let mut flow = Flow::default();
    let mut seen = Seen::default();
    cursor.object(|cursor, key| {
        match key {
            "time" if seen.first(0) => flow.time = Some(cursor.time()?),
            "uuid" if seen.first(1) => flow.uuid = FlowId::from_text(cursor.string()?),
            "verdict" if seen.first(2) => flow.verdict = Verdict::from_name(cursor.string()?)?,
            "drop_reason" if seen.first(3) => flow.drop_reason = cursor.number()?,
            "ethernet" if seen.first(4) => flow.ethernet = Some(cursor.other()?),
            "IP" if seen.first(5) => flow.ip = Some(ip(cursor)?),
            "l4" if seen.first(6) => flow.l4 = Some(layer4(cursor)?),
            "source" if seen.first(7) => flow.source = Some(cursor.end()?),
            "destination" if seen.first(8) => flow.destination = Some(cursor.end()?),
            "Type" if seen.first(9) => flow.flow_type = FlowType::from_name(cursor.string()?)?,
            "node_name" if seen.first(10) => flow.node_name = again::shared_name(cursor.string()?),
            "l7" if seen.first(11) => flow.l7 = Some(cursor.other()?),
            "event_type" if seen.first(12) => flow.event_type = Some(event_type(cursor)?),
            "source_service" if seen.first(13) => flow.source_service = Some(cursor.other()?),
            "destination_service" if seen.first(14) => flow.destination_service = Some(cursor.other()?),
            "traffic_direction" if seen.first(15) => {
                flow.traffic_direction = TrafficDirection::from_name(cursor.string()?)?;
            }
            "policy_match_type" if seen.first(16) => flow.policy_match_type = cursor.number()?,
            "trace_observation_point" if seen.first(17) => {
                flow.trace_observation_point = ObservationPoint::from_name(cursor.string()?)?;
            }
            "drop_reason_desc" if seen.first(18) => {
                flow.drop_reason_desc = DropReason::from_name(cursor.string()?)?;
            }
            "is_reply" if seen.first(19) => flow.is_reply = Some(cursor.boolean()?),
            "interface" if seen.first(20) => flow.interface = Some(cursor.other()?),
            "extensions" if seen.first(21) => flow.extensions = Some(cursor.other()?),
            "Summary" if seen.first(22) => flow.summary = summary(cursor.string()?),
            "source_names" if seen.first(23) => flow.source_names = cursor.other()?,
            "destination_names" if seen.first(24) => flow.destination_names = cursor.other()?,
            "egress_allowed_by" if seen.first(25) => flow.egress_allowed_by = cursor.other()?,
            "ingress_allowed_by" if seen.first(26) => flow.ingress_allowed_by = cursor.other()?,
            "egress_denied_by" if seen.first(27) => flow.egress_denied_by = cursor.other()?,
            "ingress_denied_by" if seen.first(28) => flow.ingress_denied_by = cursor.other()?,
            _ => return None,
        }
        Some(())
    })?;
    Some(flow)
}

fn ip(cursor: &mut Cursor<'_>) -> Option<Ip> {
    let mut ip = Ip::default();
    let mut seen = Seen::default();
    cursor.object(|cursor, key| {
        match key {
            "source" if seen.first(0) => ip.source = Some(cursor.address()?),
            "destination" if seen.first(1) => ip.destination = Some(cursor.address()?),
            "ipVersion" if seen.first(2) => ip.version = IpVersion::from_name(cursor.string()?)?,
            _ => return None,
        }
        Some(())
    })?;
    Some(ip)
}

fn layer4(cursor: &mut Cursor<'_>) -> Option<Layer4> {
    let mut found = None;
    cursor.object(|cursor, key| {
        let value = match key {
            "TCP" => {
                let (ports, flags) = ports(cursor, true)?;
                let Ports { source_port, destination_port } = ports;
                Layer4::Tcp(Tcp { source_port, destination_port, flags })
            }
            "UDP" => Layer4::Udp(ports(cursor, false)?.0),
            "ICMPv4" => Layer4::Icmp4(cursor.other()?),
            "ICMPv6" => Layer4::Icmp6(cursor.other()?),
            _ => return None,
        };
        found.replace(value).is_none().then_some(())
    })?;
    found
}

fn ports(cursor: &mut Cursor<'_>, has_flags: bool) -> Option<(Ports, Option<TcpFlags>)> {
    let (mut ports, mut flags) = (Ports::default(), None);
    let mut seen = Seen::default();
    cursor.object(|cursor, key| {
        match key {
            "source_port" if seen.first(0) => ports.source_port = cursor.number()?,
            "destination_port" if seen.first(1) => ports.destination_port = cursor.number()?,
            "flags" if has_flags && seen.first(2) => flags = Some(tcp_flags(cursor)?),
            _ => return None,
        }
        Some(())
    })?;
    Some((ports, flags))
}

fn tcp_flags(cursor: &mut Cursor<'_>) -> Option<TcpFlags> {
    let mut flags = TcpFlags::default();
    cursor.object(|cursor, key| {
        let flag = TcpFlags::from_name(key)?;
        flags.0 |= if cursor.boolean()? { flag.0 } else { 0 };
        Some(())
    })?;
    Some(flags)
}

fn event_type(cursor: &mut Cursor<'_>) -> Option<EventType> {
    let mut event = EventType::default();
    let mut seen = Seen::default();
    cursor.object(|cursor, key| {
        let number = |cursor: &mut Cursor<'_>| i32::try_from(cursor.number()?).ok();
        match key {
            "type" if seen.first(0) => event.kind = number(cursor)?,
            "sub_type" if seen.first(1) => event.sub_type = number(cursor)?,
            _ => return None,
        }
        Some(())
    })?;
    Some(event)
}

/// Those that nearly all flows bear are not copied.
fn summary(text: &str) -> Cow<'static, str> {
    const USUAL: [&str; 9] = [
        "TCP Flags: SYN",
        "TCP Flags: SYN, ACK",
        "TCP Flags: ACK",
        "TCP Flags: ACK, PSH",
        "TCP Flags: ACK, FIN",
        "TCP Flags: ACK, RST",
        "TCP Flags: RST",
        "TCP",
        "UDP",
    ];
    match USUAL.iter().find(|usual| **usual == text) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(text.to_owned()),
    }
}

/// Fields that came already.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    /// Whether a field comes for the first time.
    fn first(&mut self, field: u32) -> bool {
        let bit = 1 << field;
        let first = self.0 & bit == 0;
        self.0 |= bit;
        first
    }
}

/// A place in a line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// An object; `field` takes the value of each key.
    fn object(&mut self, mut field: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.take(b':')?;
            field(self, key)?;
            let next = self.peek()?;
            self.at += 1;
            match next {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A string that stands for itself.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let is_plain = |byte: &u8| *byte != b'"' && *byte != b'\\' && *byte >= b' ';
        self.at += self.rest().iter().position(|byte| !is_plain(byte))?;
        let text = self.text.get(start..self.at)?;
        self.take(b'"')?;
        Some(text)
    }

    /// A whole number without sign: as many digits as surely fit.
    fn number(&mut self) -> Option<u32> {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let digits = rest.get(..length).filter(|digits| (1..=9).contains(&digits.len()))?;
        if length > 1 && digits.first() == Some(&b'0') || matches!(rest.get(length), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += length;
        Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    fn boolean(&mut self) -> Option<bool> {
        let (value, length) = match self.rest() {
            [b't', b'r', b'u', b'e', ..] => (true, 4),
            [b'f', b'a', b'l', b's', b'e', ..] => (false, 5),
            _ => return None,
        };
        self.at += length;
        Some(value)
    }

    fn time(&mut self) -> Option<Time> {
        Time::usual(self.string()?.as_bytes())
    }

    fn address(&mut self) -> Option<Lenient<IpAddr>> {
        let text = self.string()?;
        Some(text.parse().map_or_else(|_| Lenient::Text(text.into()), Lenient::Known))
    }

    /// An end; one that was read before is found by its text up to the brace that seems to close it. Should that be another
    /// one, as braces may lie in strings, then no end has this text, since none ends within itself.
    fn end(&mut self) -> Option<Arc<crate::Endpoint>> {
        let rest = self.rest();
        let mut open = 0usize;
        for at in memchr::memchr2_iter(b'{', b'}', rest) {
            if rest.get(at) == Some(&b'{') {
                open += 1;
                continue;
            }
            open = open.checked_sub(1)?;
            if open == 0 {
                let text = self.text.get(self.at..self.at + at + 1)?;
                if let Some(end) = again::known_end(text) {
                    self.at += text.len();
                    return Some(end);
                }
                break;
            }
        }
        let start = self.at;
        let end: Arc<crate::Endpoint> = self.other()?;
        again::keep_end(self.text.get(start..self.at)?, &end);
        Some(end)
    }

    /// An object or a list, as its type reads it.
    fn other<T: DeserializeOwned>(&mut self) -> Option<T> {
        if !matches!(self.peek()?, b'{' | b'[') {
            return None;
        }
        let mut values = serde_json::Deserializer::from_str(self.text.get(self.at..)?).into_iter::<T>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOW: &str = r#"{"flow":{"time":"2026-11-23T00:15:57.123Z","uuid":"01234567-89ab-4def-8123-456789abcdef","verdict":"DROPPED","drop_reason":133,"ethernet":{"source":"0a:1b:2c:3d:4e:ff"},"IP":{"source":"10.0.0.1","destination":"x","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":1,"destination_port":8080,"flags":{"SYN":true,"ACK":false}}},"source":{"identity":7,"namespace":"shop","labels":["k8s:app={}"],"pod_name":"web","workloads":[{"name":"web"}]},"destination":{"labels":["reserved:world"]},"Type":"L3_L4","node_name":"n","source_names":["a"],"event_type":{"type":1,"sub_type":133},"traffic_direction":"EGRESS","drop_reason_desc":"POLICY_DENIED","is_reply":false,"interface":{"index":3},"extensions":{"@type":"x","value":{"a":[1]}},"egress_denied_by":[{"name":"p"}],"Summary":"TCP Flags: SYN"},"node_name":"n","time":"2026-11-23T00:15:57.123Z"}"#;

    /// Whether it gave up, or read what is to be read.
    fn agrees(line: &str) -> bool {
        record(line).is_none_or(|read| serde_json::from_str::<Record>(line).is_ok_and(|meant| meant == read))
    }

    #[test]
    fn a_usual_line_is_read_to_its_end() {
        let meant: Record = serde_json::from_str(FLOW).unwrap();
        assert_eq!(record(FLOW), Some(meant.clone()));
        assert_eq!(record(FLOW), Some(meant), "with ends that were read before");
    }

    #[test]
    fn what_is_unusual_or_wrong_is_left_to_others() {
        for (from, to) in [
            (r#""drop_reason":133"#, r#""drop_reason":"133""#),
            (r#""drop_reason":133"#, r#""drop_reason":0133"#),
            (r#""drop_reason":133"#, r#""drop_reason":133.0"#),
            (r#""drop_reason":133"#, r#""drop_reason":4294967296"#),
            (r#""is_reply":false"#, r#""is_reply":null"#),
            (r#""verdict":"DROPPED""#, r#""verdict":2"#),
            (r#""verdict":"DROPPED""#, r#""verdict":"PONDERED""#),
            (r#""verdict":"DROPPED""#, r#""verdict":"DROPPED","verdict":"DROPPED""#),
            (r#""Summary":"TCP Flags: SYN""#, r#""Summary":"TCP\u0020Flags""#),
            (r#""Summary":"#, r#""summary":"#),
            (r#""Summary":"#, r#""never heard of":"#),
            (r#""Summary":"#, r#" "Summary":"#),
            (r#""source":{"identity":7"#, r#""source":{"identity":true"#),
            (r#""SYN":true"#, r#""SYN":tru"#),
            (r#"{"flow""#, r#"{"lost_events":{},"flow""#),
        ] {
            let line = FLOW.replacen(from, to, 1);
            assert_ne!(line, FLOW, "{from}");
            assert_eq!(record(&line), None, "{to}");
        }
        for end in 0..FLOW.len() {
            assert_eq!(record(&FLOW[..end]), None);
        }
        assert_eq!(record(&format!("{FLOW}}}")), None);
        assert_eq!(record("{}"), None);
    }

    proptest! {
        #[test]
        fn a_mangled_line_is_read_as_it_is_meant_or_left_to_others(
            at in 0..FLOW.len(), length in 0usize..12, put in "[ -~]{0,6}|\"|,|\\{|\\}|é|:\\{\\}|\\}\\}|,\"IP\":\\{\\}",
        ) {
            let mut line = FLOW.to_owned();
            line.replace_range(at..(at + length).min(FLOW.len()), &put);
            prop_assert!(agrees(&line), "{line}");
            prop_assert!(agrees(FLOW));
        }

        #[test]
        fn fields_in_any_number_and_order_are_read_as_they_are_meant(
            fields in proptest::collection::vec((0usize..30, 0usize..16), 0..12)
        ) {
            const KEYS: [&str; 30] = [
                "time", "uuid", "verdict", "drop_reason", "ethernet", "IP", "l4", "source", "destination", "Type",
                "node_name", "l7", "event_type", "source_service", "destination_service", "traffic_direction",
                "policy_match_type", "trace_observation_point", "drop_reason_desc", "is_reply", "interface", "extensions",
                "Summary", "source_names", "destination_names", "egress_allowed_by", "ingress_allowed_by",
                "egress_denied_by", "ingress_denied_by", "sourceNames",
            ];
            const VALUES: [&str; 16] = [
                "\"\"", "\"x\"", "\"AUDIT\"", "0", "7", "-1", "1e3", "null", "true", "{}", "[]", "[\"x\"]",
                "{\"name\":\"x\",\"TCP\":{\"source_port\":1},\"source\":\"10.0.0.1\"}", "{\"TCP\":{},\"UDP\":{}}",
                "{\"type\":4,\"sub_type\":5}", "[{\"name\":\"x\",\"revision\":\"7\"}]",
            ];
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("\"{}\":{}", KEYS[*key], VALUES[*value])).collect();
            let line = format!("{{\"flow\":{{{}}}}}", fields.join(","));
            prop_assert!(agrees(&line), "{line}");
        }
    }
}
