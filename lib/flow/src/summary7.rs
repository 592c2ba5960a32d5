//! A request or a response in a few words, as Hubble has them (cilium, `pkg/hubble/parser/seven`); of what Hubble does
//! not know in as few.

use std::fmt::Write;

use crate::enums::L7FlowType;
use crate::layer7::{Dns, Grpc, L7Extra, Layer7, Tls};

/// The summary of a message of an application; `extra` is what Hubble has no field for.
#[must_use]
pub fn summary_of_layer7(l7: &Layer7, extra: Option<&L7Extra>) -> String {
    let response = l7.kind == L7FlowType::Response;
    let milliseconds = l7.latency_ns / 1_000_000;
    if let Some(grpc) = extra.and_then(|extra| extra.grpc.as_ref()) {
        return grpc_summary(grpc, response.then_some(milliseconds));
    }
    if let Some(tls) = extra.and_then(|extra| extra.tls.as_ref()) {
        return tls_summary(tls, extra.is_some_and(|extra| extra.protocol == "quic"));
    }
    if let Some(dns) = &l7.dns {
        return dns_summary(dns, response);
    }
    if let Some(http) = &l7.http {
        let request = format!("{} {}", http.method, http.url);
        return match response {
            true => format!("{} {} {milliseconds}ms ({request})", http.protocol, http.code),
            false => format!("{} {request}", http.protocol),
        };
    }
    if let Some(kafka) = &l7.kafka {
        let (key, id, topic) = (&kafka.api_key, kafka.correlation_id, &kafka.topic);
        return match response {
            true => {
                format!("Kafka response {key} correlation id {id} topic '{topic}' return code {}", kafka.error_code)
            }
            false => format!("Kafka request {key} correlation id {id} topic '{topic}'"),
        };
    }
    String::new()
}

fn dns_summary(dns: &Dns, response: bool) -> String {
    let types = dns.qtypes.join(",");
    if !response {
        return format!("DNS Query {} {types}", dns.query);
    }
    let answer = if dns.rcode == 0 {
        let addresses = (!dns.ips.is_empty()).then(|| format!("{:?}", dns.ips.join(",")));
        let names = (!dns.cnames.is_empty()).then(|| format!("CNAMEs: {:?}", dns.cnames.join(",")));
        addresses.into_iter().chain(names).collect::<Vec<_>>().join(" ")
    } else {
        format!("RCode: {}", dns_rcode(dns.rcode).unwrap_or("Unknown"))
    };
    let source = if dns.observation_source == "proxy" { "Proxy" } else { "Query" };
    format!("DNS Answer {answer} TTL: {} ({source} {} {types})", dns.ttl, dns.query)
}

/// Words for a DNS response code (IANA, "DNS RCODEs"), those of the library that Hubble uses; none where it has none.
#[must_use]
pub const fn dns_rcode(code: u32) -> Option<&'static str> {
    let words = match code {
        0 => "No Error",
        1 => "Format Error",
        2 => "Server Failure",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Server Not Authoritative for zone",
        10 => "Name not contained in zone",
        16 => "Bad OPT Version",
        17 => "Key not recognized",
        18 => "Signature out of time window",
        19 => "Bad TKEY Mode",
        20 => "Duplicate key name",
        21 => "Algorithm not supported",
        22 => "Bad Truncation",
        23 => "Bad/missing Server Cookie",
        _ => return None,
    };
    Some(words)
}

/// Such as `gRPC NOT_FOUND "no such cart" 3ms (shop.Cart/Get)`.
fn grpc_summary(grpc: &Grpc, milliseconds: Option<u64>) -> String {
    let call = format!("{}/{}", grpc.service, grpc.method);
    let Some(milliseconds) = milliseconds else { return format!("gRPC {call}") };
    let mut text = String::from("gRPC ");
    match grpc.status {
        Some(status) => match STATUSES.get(usize::try_from(status).unwrap_or(usize::MAX)) {
            Some(name) => text.push_str(name),
            None => text.push_str(&status.to_string()),
        },
        None => text.push_str("without status"),
    }
    if !grpc.message.is_empty() {
        let _ = write!(text, " {:?}", grpc.message);
    }
    let _ = write!(text, " {milliseconds}ms ({call})");
    text
}

/// The codes of `grpc-status` (grpc.io, "Status codes and their use in gRPC").
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Such as `TLS 1.3 ClientHello api.example.com ALPN h2,http/1.1 ECH`.
fn tls_summary(tls: &Tls, quic: bool) -> String {
    let mut text = String::from(if quic { "QUIC" } else { "TLS" });
    for part in [tls.version.as_ref(), "ClientHello", &tls.sni].into_iter().filter(|part| !part.is_empty()) {
        text.push(' ');
        text.push_str(part);
    }
    if !tls.alpn.is_empty() {
        let _ = write!(text, " ALPN {}", tls.alpn.join(","));
    }
    if tls.ech {
        text.push_str(" ECH");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(l7: &str, extra: &str) -> String {
        let extra: Option<L7Extra> = serde_json::from_str(extra).unwrap();
        summary_of_layer7(&serde_json::from_str(l7).unwrap(), extra.as_ref())
    }

    #[test]
    fn messages_are_summed_up_as_hubble_does() {
        for (l7, text) in [
            (r#"{"type":"REQUEST","dns":{"query":"db.shop.","qtypes":["A","AAAA"]}}"#, "DNS Query db.shop. A,AAAA"),
            (
                r#"{"type":"RESPONSE","dns":{"query":"db.","qtypes":["A"],"ips":["10.0.0.7","10.0.0.8"],"ttl":30}}"#,
                "DNS Answer \"10.0.0.7,10.0.0.8\" TTL: 30 (Query db. A)",
            ),
            (
                r#"{"type":"RESPONSE","dns":{"query":"db.","qtypes":["A"],"ips":["10.0.0.7"],"cnames":["a.","b."],"ttl":5,"observation_source":"proxy"}}"#,
                "DNS Answer \"10.0.0.7\" CNAMEs: \"a.,b.\" TTL: 5 (Proxy db. A)",
            ),
            (
                r#"{"type":"RESPONSE","dns":{"query":"no.","qtypes":["A"],"rcode":3}}"#,
                "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query no. A)",
            ),
            (
                r#"{"type":"REQUEST","http":{"protocol":"HTTP/1.1","method":"GET","url":"http://cart/items"}}"#,
                "HTTP/1.1 GET http://cart/items",
            ),
            (
                r#"{"type":"RESPONSE","latency_ns":"3999999","http":{"code":503,"protocol":"HTTP/2","method":"GET","url":"/x"}}"#,
                "HTTP/2 503 3ms (GET /x)",
            ),
            (
                r#"{"type":"REQUEST","kafka":{"api_key":"fetch","correlation_id":7,"topic":"orders"}}"#,
                "Kafka request fetch correlation id 7 topic 'orders'",
            ),
            (
                r#"{"type":"RESPONSE","kafka":{"api_key":"fetch","correlation_id":7,"topic":"orders","error_code":-1}}"#,
                "Kafka response fetch correlation id 7 topic 'orders' return code -1",
            ),
            (r#"{"type":"SAMPLE"}"#, ""),
        ] {
            assert_eq!(summary(l7, "null"), text);
        }
    }

    #[test]
    fn grpc_and_tls_are_summed_up_in_as_few_words() {
        let call = r#""service":"shop.Cart","method":"Get""#;
        let http = r#""http":{"protocol":"HTTP/2","method":"POST","url":"/shop.Cart/Get"}"#;
        let request = format!(r#"{{"type":"REQUEST",{http}}}"#);
        let response = format!(r#"{{"type":"RESPONSE","latency_ns":"3000000",{http}}}"#);
        let grpc = |more: &str| format!(r#"{{"protocol":"grpc","grpc":{{{call}{more}}}}}"#);
        assert_eq!(summary(&request, &grpc("")), "gRPC shop.Cart/Get");
        assert_eq!(summary(&response, &grpc(r#","status":0"#)), "gRPC OK 3ms (shop.Cart/Get)");
        assert_eq!(
            summary(&response, &grpc(r#","status":5,"message":"no \"x\"""#)),
            "gRPC NOT_FOUND \"no \\\"x\\\"\" 3ms (shop.Cart/Get)"
        );
        assert_eq!(summary(&response, &grpc(r#","status":99"#)), "gRPC 99 3ms (shop.Cart/Get)");
        assert_eq!(summary(&response, &grpc("")), "gRPC without status 3ms (shop.Cart/Get)");
        let tls = r#"{"protocol":"tls","tls":{"sni":"a.example","alpn":["h2","http/1.1"],"version":"1.3","ech":true}}"#;
        let hello = r#"{"type":"REQUEST"}"#;
        assert_eq!(summary(hello, tls), "TLS 1.3 ClientHello a.example ALPN h2,http/1.1 ECH");
        assert_eq!(summary(hello, r#"{"protocol":"quic","tls":{"sni":"a.example"}}"#), "QUIC ClientHello a.example");
    }
}
