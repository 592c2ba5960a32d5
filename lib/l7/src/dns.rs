//! DNS over UDP and TCP (RFC 1035), by content: whatever is not wholly a question or an answer is none.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Name, OPCODE, Packet, PacketFlag, QTYPE, TYPE};

use crate::decoder::{Context, Next};
use crate::detect::{Spoken, Verdict};
use crate::message::{Content, Dns, Kind, Message, Protocol};
use crate::piece::{Side, Sides};

/// Questions of one connection that may wait for their answers.
const MAX_WAITING: usize = 128;
/// Records of an answer that are told.
const MAX_RECORDS: usize = 256;
/// Length of the header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// Datagrams in a row that are no DNS, after which none is expected.
const MAX_OTHER: u32 = 16;

/// A question that waits.
#[derive(Debug)]
struct Question {
    id: u16,
    /// In lower case: servers may change its case.
    query: String,
    qtypes: Vec<String>,
    time_ns: u64,
}

/// The decoder of a connection, or of what goes to and fro between two ports.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    waiting: VecDeque<Question>,
    /// Of TCP: where a message begins is not known.
    lost: Sides<bool>,
    other: u32,
    /// Of UDP: a message was seen.
    is_dns: bool,
    pub(crate) next: Option<Next>,
}

/// What may be a message by its header alone, for what is not whole yet: a question or an answer of a standard query, with one
/// question and a bit that must be zero (RFC 1035, section 4.1.1, and RFC 2535, section 6.1).
fn may_be_header(bytes: &[u8]) -> bool {
    let [_, _, flags, codes, questions @ ..] = bytes else { return true };
    let is_response = flags & 0x80 != 0;
    // Responses of errors that servers send: up to BADCOOKIE; here four bits of it.
    let is_query = flags & 0x78 == 0 && codes & 0x40 == 0 && (is_response || codes & 0x0f == 0);
    let answers = match questions {
        [0, 1, answers @ ..] => answers,
        [] | [0] => return is_query,
        _ => return false,
    };
    // A question bears no answer; and one label at least begins like one.
    let fits = match answers {
        [high, low, ..] => is_response && *high < 0x10 || (*high == 0 && *low == 0),
        _ => true,
    };
    is_query && fits
}

/// Whether the bytes of a TCP stream begin like a message with its length (RFC 1035, section 4.2.2).
pub(crate) fn begins(bytes: &[u8]) -> Verdict {
    let [high, low, message @ ..] = bytes else { return Verdict::Maybe };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length <= HEADER || !may_be_header(message) {
        return Verdict::IsNot;
    }
    match message.get(..length) {
        Some(whole) if parse(whole).is_some() => Verdict::Is(Spoken::Dns),
        Some(_) => Verdict::IsNot,
        None => Verdict::Maybe,
    }
}

struct Parsed {
    id: u16,
    is_response: bool,
    dns: Dns,
}

fn parse(bytes: &[u8]) -> Option<Parsed> {
    if bytes.len() <= HEADER || !may_be_header(bytes) {
        return None;
    }
    // The parser makes room for as many records as the header says; one takes eleven bytes at least, a question five.
    let counts = bytes.get(6..HEADER)?.as_chunks::<2>().0.iter().map(|count| usize::from(u16::from_be_bytes(*count)));
    if counts.sum::<usize>().saturating_mul(11) > bytes.len() {
        return None;
    }
    // It also refuses questions for types that it has no name for: it is asked about another one.
    let at = question_type_at(bytes)?;
    let number = u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    let mut copy;
    let (readable, unnamed) = if QTYPE::try_from(number).is_ok() {
        (bytes, None)
    } else {
        copy = bytes.to_vec();
        copy.get_mut(at..)?.first_chunk_mut().map(|qtype| *qtype = u16::from(TYPE::A).to_be_bytes())?;
        (&copy[..], Some(type_name(TYPE::Unknown(number))))
    };
    let packet = Packet::parse(readable).ok()?;
    let [question] = &packet.questions[..] else { return None };
    let is_response = packet.has_flags(PacketFlag::RESPONSE);
    // Multicast DNS (RFC 6762, section 18.1 and 5.4) has no identifier, or asks for a unicast response.
    if packet.opcode() != OPCODE::StandardQuery
        || question.unicast_response
        || (packet.id() == 0 && is_local(&question.qname))
    {
        return None;
    }
    if !is_response && !packet.answers.is_empty() {
        return None;
    }
    let mut dns = Dns {
        query: text(&question.qname),
        qtypes: vec![unnamed.unwrap_or_else(|| qtype_name(question.qtype))],
        rcode: if is_response { rcode(bytes, &packet) } else { 0 },
        ..Dns::default()
    };
    dns.ttl = packet.answers.iter().map(|record| record.ttl).min().unwrap_or(0);
    for record in packet.answers.iter().take(MAX_RECORDS) {
        dns.rrtypes.push(type_name(record.rdata.type_code()));
        match &record.rdata {
            RData::A(a) => dns.ips.push(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
            RData::AAAA(aaaa) => dns.ips.push(IpAddr::V6(Ipv6Addr::from_bits(aaaa.address))),
            RData::CNAME(name) => dns.cnames.push(text(&name.0)),
            _ => {}
        }
    }
    Some(Parsed { id: packet.id(), is_response, dns })
}

/// Where the type of the first question is; its name cannot be compressed, since nothing comes before it.
fn question_type_at(bytes: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at.saturating_add(1)),
            length @ 1..=63 => at = at.saturating_add(1).saturating_add(length.into()),
            _ => return None,
        }
    }
}

/// With the eight bits that EDNS adds to the four of the header (RFC 6891, section 6.1.3).
fn rcode(bytes: &[u8], packet: &Packet<'_>) -> u16 {
    let low = u16::from(bytes.get(3).copied().unwrap_or_default() & 0x0f);
    // The parser has put both together already where it knows the sum.
    let known = packet.rcode() as u16;
    if known & 0x0f == low { known } else { low }
}

fn is_local(name: &Name<'_>) -> bool {
    name.as_bytes().last().is_some_and(|label| label.eq_ignore_ascii_case(b"local"))
}

/// A name with its last dot; what is not printable, and dots within labels, are escaped (RFC 1035, section 5.1).
fn text(name: &Name<'_>) -> String {
    let mut text = String::new();
    for label in name.as_bytes() {
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                0x21..=0x7e => text.push(char::from(*byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

fn qtype_name(qtype: QTYPE) -> String {
    match qtype {
        QTYPE::TYPE(one) => type_name(one),
        other => format!("{other:?}"),
    }
}

/// As zone files write it (the DNS parameters of IANA); what has no name by its number (RFC 3597, section 5).
fn type_name(one: TYPE) -> String {
    match one {
        TYPE::Unknown(39) => "DNAME".to_owned(),
        TYPE::Unknown(44) => "SSHFP".to_owned(),
        TYPE::Unknown(50) => "NSEC3".to_owned(),
        TYPE::Unknown(51) => "NSEC3PARAM".to_owned(),
        TYPE::Unknown(52) => "TLSA".to_owned(),
        TYPE::Unknown(59) => "CDS".to_owned(),
        TYPE::Unknown(60) => "CDNSKEY".to_owned(),
        TYPE::Unknown(99) => "SPF".to_owned(),
        TYPE::Unknown(number) => format!("TYPE{number}"),
        TYPE::RouteThrough => "RT".to_owned(),
        TYPE::NSAP_PTR => "NSAP-PTR".to_owned(),
        named => format!("{named:?}"),
    }
}

impl Decoder {
    pub(crate) fn join(&mut self, side: Side) {
        *self.lost.of_mut(side) = true;
    }

    pub(crate) fn piece_begins(&mut self, side: Side) {
        *self.lost.of_mut(side) = false;
    }

    /// Whether no message was seen.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_dns && self.other == 0
    }

    /// A datagram.
    pub(crate) fn datagram(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) {
        let Some(parsed) = parse(bytes) else {
            self.other = self.other.saturating_add(1);
            // The first datagram tells; later ones may be torn.
            if !self.is_dns || self.other >= MAX_OTHER {
                self.next = Some(Next::Done);
            }
            return;
        };
        self.is_dns = true;
        self.other = 0;
        self.message(side, parsed, cx);
    }

    pub(crate) fn data(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let mut used = 0usize;
        while let [high, low, rest @ ..] = bytes.get(used..).unwrap_or_default() {
            if *self.lost.of(side) {
                return bytes.len();
            }
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(message) = rest.get(..length) else {
                if !may_be_header(rest) || length <= HEADER {
                    self.lose(side, cx);
                    continue;
                }
                break;
            };
            let Some(parsed) = parse(message) else {
                self.lose(side, cx);
                continue;
            };
            self.message(side, parsed, cx);
            used = used.saturating_add(length).saturating_add(2);
        }
        if *self.lost.of(side) { bytes.len() } else { used }
    }

    fn lose(&mut self, side: Side, cx: &mut Context<'_>) {
        *self.lost.of_mut(side) = true;
        cx.partial = true;
        self.other = self.other.saturating_add(1);
        if self.other >= MAX_OTHER {
            self.next = Some(Next::Done);
        }
    }

    pub(crate) fn gap(&mut self, side: Side) {
        *self.lost.of_mut(side) = true;
    }

    fn message(&mut self, side: Side, parsed: Parsed, cx: &mut Context<'_>) {
        let Parsed { id, is_response, dns } = parsed;
        let query = dns.query.to_ascii_lowercase();
        let is_same =
            |question: &Question| question.id == id && question.query == query && question.qtypes == dns.qtypes;
        let at = self.waiting.iter().position(is_same);
        let mut latency_ns = None;
        if is_response {
            let question = at.and_then(|at| self.waiting.remove(at));
            latency_ns = question.map(|question| cx.now.saturating_sub(question.time_ns));
        } else if at.is_none() {
            // Asked again, it waits since it was asked first.
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back(Question { id, query, qtypes: dns.qtypes.clone(), time_ns: cx.now });
        }
        cx.tell(Message {
            time_ns: cx.now,
            from: side,
            kind: if is_response { Kind::Response } else { Kind::Request },
            protocol: Protocol::Dns,
            latency_ns,
            partial: cx.partial || (is_response && latency_ns.is_none()),
            stream: Some(id.into()),
            body_bytes: None,
            content: Content::Dns(dns),
        });
    }

    /// Bytes of memory beyond its own, reckoned.
    pub(crate) fn memory(&self) -> usize {
        let of_question = |one: &Question| size_of::<Question>().saturating_add(one.query.len()).saturating_add(40);
        self.waiting.iter().map(of_question).sum()
    }
}
