//! DNS over UDP: a server with a fixed zone, and a client.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use super::{Server, udp};
use crate::Error;

/// How long answers may be kept, in seconds; as CoreDNS has it for names of the cluster.
const TTL: u32 = 5;

/// A client's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For IPv4 addresses.
    A,
    /// For IPv6 addresses.
    Aaaa,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code of RFC 1035, section 4.1.1: 0 no error, 2 server failure, 3 no such name, 4 not implemented, 5 refused;
    /// 255: another.
    pub rcode: u8,
    /// The addresses, in the order of the answer.
    pub addresses: Vec<IpAddr>,
}

/// Answers for the names of `zone`, each with its addresses, whatever the case of the letters; other names do not exist.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn serve(address: SocketAddr, zone: &[(String, IpAddr)]) -> Result<Server, Error> {
    let zone: Vec<(String, IpAddr)> =
        zone.iter().map(|(name, address)| (name.trim_end_matches('.').to_ascii_lowercase(), *address)).collect();
    Server::of_datagrams(address, move |datagram| answer(&zone, datagram))
}

/// Asks `server` for the addresses of `name`.
///
/// # Errors
/// When it does not answer, or with something that is no answer to the question.
pub fn query(server: SocketAddr, name: &str, kind: Kind) -> Result<Answer, Error> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let wrong = |problem: String| Error::Answer { peer: server.to_string(), protocol: "DNS", problem };
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let asked = Name::new(name).map_err(|error| wrong(format!("{name:?} is no domain name: {error}")))?;
    let qtype = match kind {
        Kind::A => TYPE::A,
        Kind::Aaaa => TYPE::AAAA,
    };
    packet.questions.push(Question::new(asked, QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN), false));
    let question = packet.build_bytes_vec().map_err(|error| wrong(format!("cannot ask for {name:?}: {error}")))?;
    let bytes = udp::ask(server, &question)?;
    let reply = Packet::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    if reply.id() != id || !reply.has_flags(PacketFlag::RESPONSE) {
        return Err(wrong(format!("it answers question {}, not {id}", reply.id())));
    }
    let addresses = (reply.answers.iter())
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::from(std::net::Ipv4Addr::from(a.address))),
            RData::AAAA(aaaa) => Some(IpAddr::from(std::net::Ipv6Addr::from(aaaa.address))),
            _ => None,
        })
        .collect();
    Ok(Answer { rcode: number(reply.rcode()), addresses })
}

/// The reply to `datagram`; none to what is no question.
fn answer(zone: &[(String, IpAddr)], datagram: &[u8]) -> Option<Vec<u8>> {
    let query = Packet::parse(datagram).ok().filter(|query| !query.has_flags(PacketFlag::RESPONSE))?;
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    // More than one question at once is something that no client does and RFC 9619 forbids.
    let [question] = query.questions.as_slice() else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply.build_bytes_vec().ok();
    };
    let name = question.qname.to_string().to_ascii_lowercase();
    if !zone.iter().any(|(known, _)| *known == name) {
        *reply.rcode_mut() = RCODE::NameError;
    }
    for (_, address) in zone.iter().filter(|(known, _)| *known == name) {
        let rdata = match (address, question.qtype) {
            (IpAddr::V4(address), QTYPE::TYPE(TYPE::A) | QTYPE::ANY) => RData::A((*address).into()),
            (IpAddr::V6(address), QTYPE::TYPE(TYPE::AAAA) | QTYPE::ANY) => RData::AAAA((*address).into()),
            _ => continue,
        };
        reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, rdata));
    }
    reply.questions.push(question.clone());
    reply.build_bytes_vec_compressed().ok()
}

fn number(rcode: RCODE) -> u8 {
    match rcode {
        RCODE::NoError => 0,
        RCODE::FormatError => 1,
        RCODE::ServerFailure => 2,
        RCODE::NameError => 3,
        RCODE::NotImplemented => 4,
        RCODE::Refused => 5,
        _ => 255,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{Answer, Kind, answer, query, serve};

    #[test]
    fn names_have_the_addresses_of_the_zone_and_others_do_not_exist() {
        let ip4 = IpAddr::from(Ipv4Addr::new(10, 1, 1, 1));
        let ip6 = IpAddr::from(Ipv6Addr::LOCALHOST);
        let zone = [("cart.shop.svc.cluster.local".to_owned(), ip4), ("Cart.Shop.svc.cluster.local.".to_owned(), ip6)];
        let server = serve((Ipv4Addr::LOCALHOST, 0).into(), &zone).unwrap();
        let ask = |name, kind| query(server.address(), name, kind).unwrap();
        assert_eq!(ask("cart.shop.svc.cluster.local", Kind::A), Answer { rcode: 0, addresses: vec![ip4] });
        assert_eq!(ask("CART.shop.svc.cluster.local", Kind::Aaaa), Answer { rcode: 0, addresses: vec![ip6] });
        assert_eq!(ask("card.shop.svc.cluster.local", Kind::A), Answer { rcode: 3, addresses: Vec::new() });
        assert_eq!(server.served(), 3);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        assert_eq!(answer(&[], b""), None);
        assert_eq!(answer(&[], &[0xff; 40]), None);
    }
}
