//! How a TCP connection fares, as flows tell it.

use std::borrow::Cow;

use chainkit_abi::{Health, Way, tcp};
use serde::{Deserialize, Serialize};

use crate::extra::{ConnectionExtra, Extensions, Extra};
use crate::model::Record;

/// How a TCP connection fares, from the pod's side: what was counted since somebody looked, which may be later than it began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpExtra {
    /// What the pod sends; the round trip is that to the other side.
    #[serde(default)]
    pub tx: TcpWay,
    /// What it receives; the round trip is that within the pod.
    #[serde(default)]
    pub rx: TcpWay,
    /// How its handshake has failed: one of [`Handshake`]'s names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Cow<'static, str>>,
}

/// One direction; counters only grow, and what is 0 is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpWay {
    /// Segments on the wire with payload or a FIN.
    #[serde(skip_serializing_if = "is_zero")]
    pub segments: u64,
    /// Of these, those that were sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retransmits: u64,
    /// Of these, those of which the first was lost before it came to the pod's interface.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost_before: u64,
    /// Segments that came late: others had overtaken them.
    #[serde(skip_serializing_if = "is_zero")]
    pub out_of_order: u64,
    /// Acknowledgements that its sender repeated while data was under way to it.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicate_acks: u64,
    /// How often its sender closed its window.
    #[serde(skip_serializing_if = "is_zero")]
    pub zero_windows: u64,
    /// Packets with SYN.
    #[serde(skip_serializing_if = "is_zero")]
    pub syns: u64,
    /// Packets with RST.
    #[serde(skip_serializing_if = "is_zero")]
    pub resets: u64,
    /// Of these, those that answer a SYN.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// Round-trip time, smoothed as in RFC 6298, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub srtt_ns: u64,
    /// Its variation by the same rules, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_ns: u64,
    /// The shortest, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt_min_ns: u64,
    /// The longest, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt_max_ns: u64,
    /// How many were measured.
    #[serde(skip_serializing_if = "is_zero")]
    pub rtt_samples: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<&Way> for TcpWay {
    fn from(way: &Way) -> Self {
        Self {
            segments: way.segments,
            retransmits: way.retransmits,
            lost_before: way.lost_before.into(),
            out_of_order: way.out_of_order.into(),
            duplicate_acks: way.duplicate_acks.into(),
            zero_windows: way.zero_windows.into(),
            syns: way.syns.into(),
            resets: way.resets.into(),
            refused: way.refused.into(),
            srtt_ns: way.srtt,
            jitter_ns: way.rttvar,
            rtt_min_ns: way.rtt_min,
            rtt_max_ns: way.rtt_max,
            rtt_samples: way.rtt_samples.into(),
        }
    }
}

impl TcpExtra {
    /// What the kernel has found, in the order of `chainkit_abi::hook`.
    #[must_use]
    pub fn new(health: &Health) -> Self {
        let [tx, rx] = &health.ways;
        Self { tx: tx.into(), rx: rx.into(), handshake: None }
    }
}

impl Record {
    /// Tells how the TCP connection of a flow that was decoded here fares; of another record nothing is changed.
    pub fn tell_health(&mut self, health: &Health) {
        let Some(Extensions::Ours(extra)) = self.flow.as_mut().and_then(|flow| flow.extensions.as_mut()) else {
            return;
        };
        let Some(mut connection) = extra.connection.take() else { return };
        connection.tcp = Some(Box::new(TcpExtra::new(health)));
        let failed = Handshake::of(&connection, extra);
        if let Some(tcp) = &mut connection.tcp {
            tcp.handshake = failed.map(|failed| failed.name().into());
        }
        extra.connection = Some(connection);
    }
}

/// How a TCP handshake has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The SYN was answered by a reset: nothing listens there, or something on the way refuses.
    Refused,
    /// The SYN was never answered, and the connection is given up.
    Timeout,
    /// The SYN was sent again, and is not answered yet.
    Unanswered,
}

impl Handshake {
    /// How the handshake of a flow's connection has failed, if it has: by what is known of any connection, and where it was asked
    /// for, of how it fares.
    #[must_use]
    pub fn of(connection: &ConnectionExtra, extra: &Extra) -> Option<Self> {
        let (tx, rx) = (connection.tx_flags.0.0, connection.rx_flags.0.0);
        let (asks, answers) = match connection.opened.as_ref() {
            "pod" => (tx, rx),
            "remote" => (rx, tx),
            _ => return None,
        };
        if asks & tcp::SYN == 0 || answers & tcp::SYN != 0 {
            return None;
        }
        if answers & tcp::RST != 0 {
            return Some(Self::Refused);
        }
        if connection.state != "syn_sent" {
            return None;
        }
        if extra.event == "close" && extra.reason.as_deref() == Some("expired") {
            return Some(Self::Timeout);
        }
        let syns = connection.tcp.as_ref().map_or(0, |health| health.tx.syns.max(health.rx.syns));
        (syns > 1).then_some(Self::Unanswered)
    }

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unanswered => "unanswered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extra::FlagNames;
    use crate::layer4::TcpFlags;

    fn connection(opened: &'static str, state: &'static str, tx: u16, rx: u16) -> ConnectionExtra {
        ConnectionExtra {
            opened: opened.into(),
            state: state.into(),
            tx_flags: FlagNames(TcpFlags(tx)),
            rx_flags: FlagNames(TcpFlags(rx)),
            ..ConnectionExtra::default()
        }
    }

    fn told(event: &'static str, reason: Option<&'static str>) -> Extra {
        Extra { event: event.into(), reason: reason.map(Into::into), ..Extra::default() }
    }

    #[test]
    fn it_is_told_how_a_handshake_has_failed() {
        let (first, expired) = (told("first", None), told("close", Some("expired")));
        let refused = connection("pod", "closed", tcp::SYN, tcp::RST | tcp::ACK);
        assert_eq!(Handshake::of(&refused, &first), Some(Handshake::Refused));
        let by_pod = connection("remote", "closed", tcp::RST, tcp::SYN);
        assert_eq!(Handshake::of(&by_pod, &first), Some(Handshake::Refused));
        let reset = connection("pod", "closed", tcp::SYN | tcp::ACK, tcp::SYN | tcp::ACK | tcp::RST);
        assert_eq!(Handshake::of(&reset, &first), None, "a reset later is no refusal");
        let mut waiting = connection("pod", "syn_sent", tcp::SYN, 0);
        assert_eq!(Handshake::of(&waiting, &first), None);
        assert_eq!(Handshake::of(&waiting, &expired), Some(Handshake::Timeout));
        assert_eq!(Handshake::of(&waiting, &told("close", Some("evicted"))), None, "it may have been answered since");
        waiting.tcp = Some(Box::new(TcpExtra { tx: TcpWay { syns: 2, ..TcpWay::default() }, ..TcpExtra::default() }));
        assert_eq!(Handshake::of(&waiting, &first), Some(Handshake::Unanswered));
        let joined = connection("unknown", "established", tcp::ACK, tcp::RST);
        assert_eq!(Handshake::of(&joined, &first), None);
    }

    #[test]
    fn what_is_nothing_is_left_out_and_all_is_read_back() {
        let mut health = Health::default();
        health.ways[0] = Way { segments: 4, retransmits: 1, srtt: 7, rttvar: 3, ..Way::default() };
        let extra = TcpExtra::new(&health);
        let json = serde_json::to_string(&extra).unwrap();
        assert_eq!(json, r#"{"tx":{"segments":4,"retransmits":1,"srtt_ns":7,"jitter_ns":3},"rx":{}}"#);
        assert_eq!(serde_json::from_str::<TcpExtra>(&json).unwrap(), extra);
    }
}
