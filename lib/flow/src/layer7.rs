//! A request or a response: Hubble's `Layer7` (cilium, `api/v1/flow/flow.proto`), and what Hubble has no field for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::enums::L7FlowType;
use crate::wire::{self, is_zero};

/// A message of an application, as it was seen on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer7 {
    /// Whether it asks or answers.
    #[serde(default, rename = "type", skip_serializing_if = "is_zero")]
    pub kind: L7FlowType,
    /// Of a response, nanoseconds since its request; 0 where that was not seen.
    #[serde(
        default,
        alias = "latencyNs",
        deserialize_with = "wire::integer",
        serialize_with = "wire::as_string",
        skip_serializing_if = "is_zero"
    )]
    pub latency_ns: u64,
    /// DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Kafka, which others write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// A DNS message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The name that is asked for, with its last dot.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Addresses in the answer.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// The least time to live in the answer, seconds.
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub ttl: u32,
    /// Names that the name stands for, in their order.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub cnames: Vec<String>,
    /// Who saw it; `proxy` in Cilium.
    #[serde(
        default,
        alias = "observationSource",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "str::is_empty"
    )]
    pub observation_source: Cow<'static, str>,
    /// The response code (RFC 1035, section 4.1.1, and RFC 6895).
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub rcode: u32,
    /// Record types asked for, such as `A`.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub qtypes: Vec<String>,
    /// Record types in the answer.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub rrtypes: Vec<String>,
}

/// An HTTP message; of a response, with what its request was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http {
    /// Status of a response.
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub code: u32,
    /// Method of the request.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// What is asked for: scheme, host and path.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "str::is_empty")]
    pub protocol: Cow<'static, str>,
    /// Headers, in their order.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Its name.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Its value; `*****` where it is masked.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A Kafka message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kafka {
    /// Why it failed.
    #[serde(default, alias = "errorCode", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub error_code: i32,
    /// Version of the request.
    #[serde(default, alias = "apiVersion", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub api_version: i32,
    /// What is asked for.
    #[serde(default, alias = "apiKey", deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub api_key: String,
    /// Which request it answers.
    #[serde(default, alias = "correlationId", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub correlation_id: i32,
    /// The topic.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub topic: String,
}

/// What of a message Hubble has no field for; in `extensions`, as `l7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct L7Extra {
    /// `http1`, `http2`, `grpc`, `dns`, `tls` or `quic`.
    #[serde(default)]
    pub protocol: Cow<'static, str>,
    /// Something of its connection was not seen, so that fields may be missing; none is wrong.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partial: bool,
    /// The stream within its connection: of HTTP/2 its identifier, of DNS that of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<u32>,
    /// Bytes of the body, where they were counted to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Headers that are not told, since they were too much for a line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub headers_left_out: u32,
    /// gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Grpc>,
    /// The ClientHello of TLS, also of that within QUIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A gRPC call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grpc {
    /// The service, as `package.Service`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Its method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Of a response its `grpc-status` (0: OK); none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Its `grpc-message`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a client says in the clear as it begins TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The server's name; of an encrypted ClientHello the outer one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sni: String,
    /// Protocols offered, as `h2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// The highest version offered, as `1.3`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub version: Cow<'static, str>,
    /// Whether it bears an encrypted ClientHello, so that the name may be another.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ech: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_written_as_hubble_writes_it_and_read_back() {
        for json in [
            r#"{"type":"RESPONSE","latency_ns":"1500000","dns":{"query":"db.shop.svc.cluster.local.","ips":["10.0.0.7"],"ttl":30,"cnames":["a."],"observation_source":"proxy","rcode":3,"qtypes":["A"],"rrtypes":["CNAME","A"]}}"#,
            r#"{"type":"RESPONSE","latency_ns":"7","http":{"code":503,"method":"GET","url":"http://cart/items","protocol":"HTTP/1.1","headers":[{"key":"Server","value":"x"}]}}"#,
            r#"{"type":"SAMPLE","kafka":{"error_code":-1,"api_version":7,"api_key":"fetch","correlation_id":12,"topic":"orders"}}"#,
        ] {
            let l7: Layer7 = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&l7).unwrap(), json);
        }
    }

    #[test]
    fn camel_case_numbers_and_nulls_mean_the_same() {
        let camel = r#"{"type":2,"latencyNs":7,"dns":{"query":"x.","ips":null,"observationSource":"proxy","rcode":"0","later":{}},"http":null}"#;
        let l7: Layer7 = serde_json::from_str(camel).unwrap();
        let written = r#"{"type":"RESPONSE","latency_ns":"7","dns":{"query":"x.","observation_source":"proxy"}}"#;
        assert_eq!(serde_json::to_string(&l7).unwrap(), written);
    }
}
