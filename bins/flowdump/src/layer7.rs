//! `--l7`: payload, as the kernel copies it, becomes requests and responses; and the kernel is told what need not be copied.

use std::collections::HashMap;

use chainkit_abi::{Event, Piece, hook, kind, opened, piece_flag, tcp};
use chainkit_bpf::{Decision, Observer, Skip, Stream};
use chainkit_cli::Log;
use chainkit_flow::{Decoder, Dns, Exchange, Grpc, Http, HttpHeader, L7Extra, L7FlowType, Layer7, Record, Tls};
use chainkit_l7::{Connections, Content, Kind, Masker, Message, Options, Side, Transport};

const TCP: u8 = 6;

/// How many decisions about connections the kernel keeps: 8.5 MiB.
pub(crate) const DECISIONS: u32 = 1 << 16;

/// What was asked about the payload of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Bytes that all connections may take together.
    pub(crate) memory: usize,
    /// Mask nothing.
    pub(crate) show_secrets: bool,
}

/// A connection at an endpoint, and what a flow of it needs to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    stream: Stream,
    family: u8,
    protocol: u8,
    ifindex: u32,
    local: ([u8; 16], u16),
    remote: ([u8; 16], u16),
}

impl Place {
    fn of(piece: &Piece) -> Self {
        let source = (piece.source, piece.source_port);
        let destination = (piece.destination, piece.destination_port);
        let from_pod = piece.hook == hook::FROM_POD;
        let (local, remote) = if from_pod { (source, destination) } else { (destination, source) };
        let (family, protocol, ifindex) = (piece.family, piece.protocol, piece.ifindex);
        Self { stream: Stream::of(piece), family, protocol, ifindex, local, remote }
    }
}

/// The decoders of all connections.
pub(crate) struct Decoders {
    connections: Connections<Place>,
    /// What the kernel was last told about those it was told anything.
    decided: HashMap<Stream, Decision>,
    /// What it is still to be told.
    pending: Vec<(Stream, Option<Decision>)>,
    messages: Vec<Message>,
    forgotten: u64,
    refused: bool,
}

impl Decoders {
    pub(crate) fn new(ask: Ask) -> Self {
        let options =
            Options { masker: Masker { show_secrets: ask.show_secrets }, memory: ask.memory, ..Options::default() };
        Self {
            connections: Connections::new(options),
            decided: HashMap::new(),
            pending: Vec::new(),
            messages: Vec::new(),
            forgotten: 0,
            refused: false,
        }
    }

    /// Takes a piece of payload; what is whole by it goes to `take`.
    pub(crate) fn piece(
        &mut self,
        piece: &Piece,
        bytes: &[u8],
        decoder: &mut Decoder,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // Nothing of a fragmented datagram or segment is copied: to a stream it is a gap, which its numbers tell.
        if piece.flags & piece_flag::FRAGMENT != 0 {
            return Ok(());
        }
        let place = Place::of(piece);
        let advice = if piece.protocol == TCP {
            self.connections.piece(place, &segment(piece, bytes), &mut self.messages)
        } else {
            // What UDP a super-packet carries is datagrams of one length, but the last.
            let length = usize::try_from(piece.segment).ok().filter(|length| *length > 0).unwrap_or(bytes.len());
            let mut advice = chainkit_l7::Advice::default();
            for datagram in bytes.chunks(length.max(1)) {
                let piece = chainkit_l7::Piece { bytes: datagram, ..segment(piece, &[]) };
                advice = self.connections.piece(place, &piece, &mut self.messages);
            }
            advice
        };
        let skip = Skip { from_pod: advice.skip_until.local, to_pod: advice.skip_until.remote };
        self.wish(place.stream, piece.protocol == TCP, advice.not_l7, advice.recognised, skip);
        for message in self.messages.drain(..) {
            take(decoder.exchange(exchange(&place, message)))?;
        }
        Ok(())
    }

    /// Notes what the kernel is to be told, if that is news.
    fn wish(&mut self, stream: Stream, is_tcp: bool, not_l7: bool, recognised: bool, skip: Skip) {
        // UDP that is decoded is over before the kernel would ask for a word.
        let wanted = match (not_l7, recognised && is_tcp) {
            (true, _) => Decision::Nothing,
            (_, true) => Decision::All(skip),
            _ => return,
        };
        let known = self.decided.get(&stream);
        // A skip that is over was forgotten by the kernel, too.
        let is_news = match known {
            None => true,
            Some(_) if skip == Skip::default() && !not_l7 => false,
            Some(known) => *known != wanted,
        };
        if is_news {
            self.decided.insert(stream, wanted);
            self.pending.push((stream, Some(wanted)));
        }
    }

    /// Takes an event: where it is the end of a connection, what can still be told of that goes to `take`. Payload came before: a
    /// connection is over with the packet after both sides have ended it, and what resets it carries nothing.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        decoder: &mut Decoder,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if event.kind != kind::CLOSE || event.first_seen == 0 {
            return Ok(());
        }
        let from_pod = match event.hook {
            hook::FROM_POD => true,
            hook::SWEEP => event.opened != opened::BY_REMOTE,
            _ => false,
        };
        let place = Place::of(&Piece {
            hook: if from_pod { hook::FROM_POD } else { hook::TO_POD },
            family: event.family,
            protocol: event.protocol,
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            slot: event.slot,
            ifindex: event.ifindex,
            first_seen: event.first_seen,
            ..Piece::default()
        });
        self.connections.close(place, event.time, &mut self.messages);
        if self.decided.remove(&place.stream).is_some() {
            self.pending.push((place.stream, None));
        }
        for message in self.messages.drain(..) {
            take(decoder.exchange(exchange(&place, message)))?;
        }
        Ok(())
    }

    /// Nobody looks any more: what can be told of what is under way goes to `take`.
    pub(crate) fn finish(
        &mut self,
        now: u64,
        decoder: &mut Decoder,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut messages = Vec::new();
        self.connections.finish(now, &mut messages);
        messages.sort_by_key(|(_, message)| message.time_ns);
        for (place, message) in messages {
            take(decoder.exchange(exchange(&place, message)))?;
        }
        Ok(())
    }

    /// Lets time pass; to be called about once a second, with `CLOCK_MONOTONIC`.
    pub(crate) fn tick(
        &mut self,
        now: u64,
        decoder: &mut Decoder,
        log: Log,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut messages = Vec::new();
        self.connections.tick(now, &mut messages);
        for (place, message) in messages {
            take(decoder.exchange(exchange(&place, message)))?;
        }
        let forgotten = self.connections.forgotten();
        if forgotten > self.forgotten {
            log.warning(format!(
                "{} connections were forgotten for want of memory: what is told of them is partial; give more by --l7-memory",
                forgotten - self.forgotten
            ));
            self.forgotten = forgotten;
        }
        // The kernel forgets as well: what it was told is worth no more memory than it has.
        if self.decided.len() > usize::try_from(DECISIONS).unwrap_or(usize::MAX) {
            self.decided.clear();
        }
        Ok(())
    }

    /// Tells the kernel what was decided.
    pub(crate) fn decide(&mut self, observer: &Observer, log: Log) {
        for (stream, decision) in self.pending.drain(..) {
            let told = match decision {
                Some(decision) => observer.decide(&stream, decision),
                None => observer.undecide(&stream),
            };
            if let Err(error) = told
                && !self.refused
            {
                self.refused = true;
                log.warning(format!(
                    "the kernel does not take what was decided about payload, and goes on to copy all of it: {error}"
                ));
            }
        }
    }

    /// Another observer has taken the place of the one that was told: it knows of nothing.
    pub(crate) fn forget_decisions(&mut self) {
        self.decided.clear();
        self.pending.clear();
    }
}

/// A piece as decoders take it.
fn segment<'a>(piece: &Piece, bytes: &'a [u8]) -> chainkit_l7::Piece<'a> {
    let has = |flag| piece.tcp_flags & flag != 0;
    let end = piece.offset.saturating_add(piece.length);
    // Of a packet that is told in several pieces, the first begins the stream and the last ends it.
    let syn = has(tcp::SYN) && piece.offset == 0;
    let told_alone = piece.length == 0;
    let fin = has(tcp::FIN) && (told_alone || end == piece.packet_length);
    let seq = match (syn, told_alone && fin) {
        (true, _) => piece.sequence.wrapping_sub(1),
        // Its bytes were not copied.
        (false, true) => piece.sequence.wrapping_sub(piece.offset).wrapping_add(piece.packet_length),
        _ => piece.sequence,
    };
    chainkit_l7::Piece {
        from: if piece.hook == hook::FROM_POD { Side::Local } else { Side::Remote },
        transport: if piece.protocol == TCP { Transport::Tcp } else { Transport::Udp },
        seq,
        time_ns: piece.time,
        syn,
        fin,
        rst: has(tcp::RST),
        bytes,
    }
}

/// What a flow says of a message.
fn exchange(place: &Place, message: Message) -> Exchange {
    let from_pod = message.from == Side::Local;
    let (source, destination) = if from_pod { (place.local, place.remote) } else { (place.remote, place.local) };
    let mut layer7 = Layer7 {
        kind: match message.kind {
            Kind::Request => L7FlowType::Request,
            Kind::Response => L7FlowType::Response,
        },
        latency_ns: message.latency_ns.unwrap_or_default(),
        ..Layer7::default()
    };
    let mut extra = L7Extra {
        protocol: message.protocol.name().into(),
        partial: message.partial,
        stream: message.stream,
        body_bytes: message.body_bytes,
        ..L7Extra::default()
    };
    match message.content {
        Content::Http(http) => {
            layer7.http = Some(Http {
                code: http.code.into(),
                method: http.method,
                url: http.url,
                protocol: http.version.into(),
                headers: http.headers.into_iter().map(|(key, value)| HttpHeader { key, value }).collect(),
            });
            extra.grpc = http.grpc.map(|grpc| Grpc {
                service: grpc.service,
                method: grpc.method,
                status: grpc.status,
                message: grpc.message,
            });
        }
        Content::Dns(dns) => {
            layer7.dns = Some(Dns {
                query: dns.query,
                ips: dns.ips.iter().map(ToString::to_string).collect(),
                ttl: dns.ttl,
                cnames: dns.cnames,
                observation_source: "".into(),
                rcode: dns.rcode.into(),
                qtypes: dns.qtypes,
                rrtypes: dns.rrtypes,
            });
        }
        Content::Tls(tls) => {
            extra.tls = Some(Tls { sni: tls.sni, alpn: tls.alpn, version: tls.version.into(), ech: tls.ech });
        }
    }
    Exchange {
        time: message.time_ns,
        family: place.family,
        protocol: place.protocol,
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
        from_pod,
        ifindex: place.ifindex,
        layer7,
        extra,
    }
}
