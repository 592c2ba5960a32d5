//! What is remembered of connections, so that nothing is counted twice.
//!
//! Counters are cumulative and told again and again, by the pods at both ends: of what one end tells of a connection the
//! largest value counts, whatever order it is told in, and of two ends the larger. So lines may be cut at either end,
//! come in any order, or be of two nodes.

use std::collections::{HashMap, HashSet};

use chainkit_abi::tcp;
use chainkit_flow::{ConnectionExtra, Extra, Flow, Handshake, L7FlowType, Layer4, TcpFlags, TcpWay};

use crate::oriented::{Protocol, Side, Tuple};
use crate::tally::{Sums, Tally, is_error};

/// Beginnings that are no further apart are of one connection: the wall clock is told anew each second, and moves.
const SAME_START_NS: i128 = 50_000_000;

/// As many connections one after another of the same addresses and ports are told apart on each side.
const MAX_CONNECTIONS: usize = 8;

/// All connections between the same addresses and ports.
#[derive(Clone, Debug)]
pub(crate) struct Tracked {
    /// The edge that they belong to, by its place.
    pub(crate) edge: usize,
    pub(crate) tally: Tally,
    pub(crate) client: View,
    pub(crate) server: View,
    /// When it was last touched, in flows.
    pub(crate) touched: u64,
}

impl Tracked {
    pub(crate) fn new(edge: usize) -> Self {
        Self { edge, tally: Tally::default(), client: View::default(), server: View::default(), touched: 0 }
    }

    pub(crate) const fn view(&mut self, side: Side) -> &mut View {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// What its ends say together.
    pub(crate) fn sums(&self, protocol: Protocol) -> Sums {
        together(self.client.sums(protocol), self.server.sums(protocol))
    }

    /// Whether bytes were told.
    pub(crate) fn knows_connections(&self) -> bool {
        self.client.knows_connections() || self.server.knows_connections()
    }

    /// Whether all that is known of has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.client.is_over() && self.server.is_over()
    }
}

/// Of all connections a quarter: those that are over, then those that were quiet longest.
pub(crate) fn quietest(tracked: &HashMap<Tuple, Tracked>) -> HashSet<Tuple> {
    let mut all: Vec<(bool, u64, Tuple)> =
        tracked.iter().map(|(tuple, tracked)| (!tracked.is_over(), tracked.touched, *tuple)).collect();
    all.sort_unstable();
    all.iter().take(all.len() / 4 + 1).map(|(.., tuple)| *tuple).collect()
}

/// What the client's side says and what the server's side says of the same.
pub(crate) fn together(client: Sums, server: Sums) -> Sums {
    let mut sums = client.most(server);
    // Answers that did not reach the client were sent: the client's word counts, where there is one.
    sums.unanswered = if client.connections > 0 { client.unanswered } else { server.unanswered };
    sums
}

/// What one end says.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    connections: Vec<Counters>,
    /// The sums of connections that were let go of.
    past: Sums,
    /// The latest beginning among those.
    past_until: Option<i128>,
    requests: u32,
    errors: u32,
    kernel_drops: u32,
    /// A reset was seen, of a connection of which nothing else is told.
    reset: bool,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    /// Nanoseconds since 1970.
    first_seen: i128,
    told: Told,
    /// What is not counted, since it may have been before.
    before: Told,
    answered: bool,
    ended: bool,
    reset: bool,
    rtt_told: bool,
    reset_by_client: bool,
    reset_by_server: bool,
    refused: bool,
    /// Its SYN is not answered.
    waits: bool,
    /// How it fares, where that is told: to the server, and from it.
    ways: Option<Box<[TcpWay; 2]>>,
}

/// Cumulative counters of a connection: to the server and from it.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    bytes_to: u64,
    bytes_from: u64,
    packets_to: u64,
    packets_from: u64,
}

/// What a flow has told that was not known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    /// The round-trip time of a handshake, nanoseconds.
    pub(crate) rtt: Option<u64>,
    /// Something was not counted, since it may have been before.
    pub(crate) left_out: bool,
}

impl View {
    /// Takes what a flow says. What began no later than `forgotten` may have been counted and let go of.
    pub(crate) fn take(&mut self, flow: &Flow, extra: Option<&Extra>, side: Side, forgotten: Option<i128>) -> News {
        if let Some(l7) = &flow.l7 {
            self.requests = self.requests.saturating_add(u32::from(l7.kind == L7FlowType::Request));
            self.errors = self.errors.saturating_add(u32::from(is_error(l7, extra)));
        }
        // What the kernel has dropped has not reset anything, nor told of counters.
        if let Some(extra) = extra.filter(|extra| extra.drop.is_some()) {
            self.kernel_drops = self.kernel_drops.saturating_add(extra.count.max(1));
            return News::default();
        }
        let connection = extra.and_then(|extra| extra.connection.as_ref());
        let Some((connection, first_seen)) =
            connection.and_then(|connection| Some((connection, connection.first_seen?.0.as_nanosecond())))
        else {
            if let Some(Layer4::Tcp(segment)) = flow.l4 {
                self.reset |= segment.flags.is_some_and(|flags| flags.contains(TcpFlags(tcp::RST)));
            }
            return News::default();
        };
        let is_first = extra.is_some_and(|extra| extra.event == "first");
        let mut news = News::default();
        let Some(counters) = self.counters(first_seen, connection, side, forgotten.filter(|_| !is_first), &mut news)
        else {
            return News { left_out: true, ..news };
        };
        counters.told = counters.told.most(Told::of(connection, side));
        counters.answered |= connection.tx_packets > 0 && connection.rx_packets > 0;
        counters.ended |= extra.is_some_and(|extra| extra.event == "close");
        let flags = connection.tx_flags.0.0 | connection.rx_flags.0.0;
        let reset = extra.and_then(|extra| extra.reason.as_deref()) == Some("rst");
        counters.reset |= reset || flags & tcp::RST != 0;
        let (asks, answers) = (connection.tx_flags.0.0, connection.rx_flags.0.0);
        let (asks, answers) = if side == Side::Client { (asks, answers) } else { (answers, asks) };
        counters.reset_by_client |= asks & tcp::RST != 0;
        counters.reset_by_server |= answers & tcp::RST != 0;
        match extra.and_then(|extra| Handshake::of(connection, extra)) {
            Some(Handshake::Refused) => counters.refused = true,
            Some(Handshake::Timeout | Handshake::Unanswered) => counters.waits = true,
            None => {}
        }
        if let Some(health) = &connection.tcp {
            let (to, from) = if side == Side::Client { (health.tx, health.rx) } else { (health.rx, health.tx) };
            let [known_to, known_from] = counters.ways.get_or_insert_default().as_mut();
            most(known_to, &to);
            most(known_from, &from);
        }
        if connection.rtt_ns > 0 && !counters.rtt_told {
            counters.rtt_told = true;
            news.rtt = Some(connection.rtt_ns);
        }
        news
    }

    /// The counters of the connection that began then; none of one that was let go of.
    fn counters(
        &mut self,
        first_seen: i128,
        connection: &ConnectionExtra,
        side: Side,
        forgotten: Option<i128>,
        news: &mut News,
    ) -> Option<&mut Counters> {
        let same = |known: &Counters| (known.first_seen - first_seen).abs() <= SAME_START_NS;
        if let Some(place) = self.connections.iter().position(same) {
            return self.connections.get_mut(place);
        }
        if self.past_until.is_some_and(|until| first_seen <= until + SAME_START_NS) {
            return None;
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.let_go_of_oldest();
        }
        let mut counters = Counters { first_seen, ..Counters::default() };
        if forgotten.is_some_and(|until| first_seen <= until) {
            counters.before = Told::of(connection, side);
            news.left_out = true;
        }
        self.connections.push(counters);
        self.connections.last_mut()
    }

    fn let_go_of_oldest(&mut self) {
        let oldest = self.connections.iter().enumerate().min_by_key(|(_, counters)| counters.first_seen);
        if let Some(place) = oldest.map(|(place, _)| place) {
            let gone = self.connections.swap_remove(place);
            self.past.add(gone.sums());
            self.past_until = self.past_until.max(Some(gone.first_seen));
        }
    }

    pub(crate) fn sums(&self, protocol: Protocol) -> Sums {
        let mut sums = self.past;
        for counters in &self.connections {
            sums.add(counters.sums());
        }
        if !self.knows_connections() {
            sums.resets = u64::from(self.reset);
        }
        if protocol != Protocol::Tcp {
            // Others do not have to answer.
            sums.unanswered = 0;
        }
        Sums {
            requests: self.requests.into(),
            errors: self.errors.saturating_add(self.kernel_drops).into(),
            kernel_drops: self.kernel_drops.into(),
            ..sums
        }
    }

    fn knows_connections(&self) -> bool {
        !self.connections.is_empty() || self.past.connections > 0
    }

    fn is_over(&self) -> bool {
        self.connections.iter().all(|counters| counters.ended)
    }

    /// Round-trip times and jitters that the connections have now, nanoseconds: to the other end, as this side measures them.
    pub(crate) fn round_trips(&self, side: Side) -> impl Iterator<Item = (u64, u64)> {
        let ways = self.connections.iter().filter_map(|counters| counters.ways.as_deref());
        ways.map(move |[to, from]| if side == Side::Client { to } else { from })
            .filter(|way| way.rtt_samples > 0)
            .map(|way| (way.srtt_ns, way.jitter_ns))
    }

    /// When its connections began.
    pub(crate) fn beginnings(&self) -> impl Iterator<Item = i128> {
        self.connections.iter().map(|counters| counters.first_seen)
    }
}

/// Takes of each counter the larger, and of the round-trip time what comes of more measurements.
fn most(known: &mut TcpWay, told: &TcpWay) {
    for (mine, theirs) in [
        (&mut known.segments, told.segments),
        (&mut known.retransmits, told.retransmits),
        (&mut known.out_of_order, told.out_of_order),
        (&mut known.zero_windows, told.zero_windows),
    ] {
        *mine = theirs.max(*mine);
    }
    if told.rtt_samples > known.rtt_samples {
        (known.rtt_samples, known.srtt_ns, known.jitter_ns) = (told.rtt_samples, told.srtt_ns, told.jitter_ns);
    }
}

impl Counters {
    fn sums(&self) -> Sums {
        let fares = self.ways.as_deref().map_or(Sums::default(), |[to, from]| Sums {
            measured: 1,
            segments_to: to.segments,
            segments_from: from.segments,
            retransmits_to: to.retransmits,
            retransmits_from: from.retransmits,
            out_of_order_to: to.out_of_order,
            out_of_order_from: from.out_of_order,
            zero_windows_by_src: to.zero_windows,
            zero_windows_by_dst: from.zero_windows,
            ..Sums::default()
        });
        Sums {
            bytes_to: self.told.bytes_to.saturating_sub(self.before.bytes_to),
            bytes_from: self.told.bytes_from.saturating_sub(self.before.bytes_from),
            packets_to: self.told.packets_to.saturating_sub(self.before.packets_to),
            packets_from: self.told.packets_from.saturating_sub(self.before.packets_from),
            resets_by_src: self.reset_by_client.into(),
            resets_by_dst: (self.reset_by_server && !self.refused).into(),
            refused: self.refused.into(),
            // An answer that came after all is told later.
            timeouts: (self.waits && !self.answered && !self.refused).into(),
            connections: 1,
            resets: self.reset.into(),
            unanswered: (self.ended && !self.answered).into(),
            ..fares
        }
    }
}

impl Told {
    const fn of(connection: &ConnectionExtra, side: Side) -> Self {
        let &ConnectionExtra { tx_bytes, rx_bytes, tx_packets, rx_packets, .. } = connection;
        match side {
            Side::Client => {
                Self { bytes_to: tx_bytes, bytes_from: rx_bytes, packets_to: tx_packets, packets_from: rx_packets }
            }
            Side::Server => {
                Self { bytes_to: rx_bytes, bytes_from: tx_bytes, packets_to: rx_packets, packets_from: tx_packets }
            }
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            bytes_to: self.bytes_to.max(other.bytes_to),
            bytes_from: self.bytes_from.max(other.bytes_from),
            packets_to: self.packets_to.max(other.packets_to),
            packets_from: self.packets_from.max(other.packets_from),
        }
    }
}
