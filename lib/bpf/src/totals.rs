//! What an endpoint has sent and received in all, whether or not its connections are still remembered.

use chainkit_abi::TableState;

use crate::{datapath::Datapath, error::Result, tables::Connection};

/// Packets on the wire, and bytes of their Ethernet frames without the check sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets; a GSO super-packet counts as its segments.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Counters of one endpoint since it got its slot.
///
/// Each packet that its programs have met is in just one of `from_pod`, `to_pod`, `dropped` and `others`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections remembered now that are not past their timeout.
    pub connections: u64,
    /// Connections that were still alive and had to make room for others.
    pub evicted: u64,
    /// Packets whose connection could not be remembered for lack of memory; they are in `others`, too.
    pub failed: u64,
    /// Packets dropped: denied, or unreadable where an isolated endpoint lets none such pass.
    pub dropped: u64,
    /// Packets that passed and belong to no connection: ARP, neighbour discovery and MLD, ICMP errors about a connection, what
    /// could not be read, and `failed`.
    pub others: u64,
    /// Packets of connections that the pod sent.
    pub from_pod: Traffic,
    /// Packets of connections that the pod received.
    pub to_pod: Traffic,
}

impl Datapath {
    /// What the endpoint of a slot has sent and received.
    ///
    /// Nothing is missed or counted twice, unless connections end so fast that none of eight readings of the table meets a pause:
    /// then those that end during the last reading may be. Counters of the established path are not atomic: of packets of one
    /// connection and direction that two CPUs count at one instant one may be lost.
    ///
    /// # Errors
    /// Where maps cannot be read.
    pub fn totals(&self, slot: u32) -> Result<Totals> {
        const READINGS: u32 = 8;
        let mut before = self.table_state(slot)?;
        let mut live = self.connections(slot)?;
        for _ in 1..READINGS {
            let after = self.table_state(slot)?;
            if after.ending == before.ended {
                break;
            }
            before = after;
            live = self.connections(slot)?;
        }
        let now = self.clock()?.jiffies;
        Ok(sum(&before, &live, now))
    }
}

fn sum(state: &TableState, live: &[Connection], now: u64) -> Totals {
    let is_alive = |found: &&Connection| now.saturating_sub(found.conn.last_seen) <= u64::from(found.conn.timeout);
    let mut totals = Totals {
        connections: u64::try_from(live.iter().filter(is_alive).count()).unwrap_or(u64::MAX),
        evicted: state.evicted,
        failed: state.failed,
        dropped: state.dropped,
        others: state.others,
        from_pod: Traffic { packets: state.tx_packets, bytes: state.tx_bytes },
        to_pod: Traffic { packets: state.rx_packets, bytes: state.rx_bytes },
    };
    for Connection { conn, .. } in live {
        totals.from_pod.packets = totals.from_pod.packets.saturating_add(conn.tx_packets);
        totals.from_pod.bytes = totals.from_pod.bytes.saturating_add(conn.tx_bytes);
        totals.to_pod.packets = totals.to_pod.packets.saturating_add(conn.rx_packets);
        totals.to_pod.bytes = totals.to_pod.bytes.saturating_add(conn.rx_bytes);
    }
    totals
}
