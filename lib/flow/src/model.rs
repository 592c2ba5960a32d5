//! Hubble's `GetFlowsResponse` (cilium, `api/v1/observer/observer.proto` and `api/v1/flow/flow.proto`).
//!
//! Reading takes snake_case and camelCase, passes over fields it does not know, and keeps of a line what filters and
//! printers need: a line that is passed on is passed on as it came, not written again from these types. Writing gives
//! snake_case with zero values left out, in the order of the protobuf definition.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::drop_reason::DropReason;
use crate::enums::{FlowType, IpVersion, LostEventSource, NodeState, ObservationPoint, TrafficDirection, Verdict};
use crate::extra::Extensions;
use crate::layer4::Layer4;
use crate::layer7::Layer7;
use crate::resolve::Service;
use crate::text::{Lenient, Mac};
use crate::time::Time;
use crate::uuid::FlowId;
use crate::wire::{self, is_zero};

/// A line: a flow, or word of lost events or of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "an object with flow, lost_events or node_status")]
pub struct Record {
    /// A flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
    /// State of a node.
    #[serde(default, alias = "nodeStatus", skip_serializing_if = "Option::is_none")]
    pub node_status: Option<NodeStatus>,
    /// Events were lost.
    #[serde(default, alias = "lostEvents", skip_serializing_if = "Option::is_none")]
    pub lost_events: Option<LostEvents>,
    /// The node that it comes from.
    #[serde(default, alias = "nodeName", deserialize_with = "wire::nullable", skip_serializing_if = "is_empty")]
    pub node_name: Arc<str>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

impl Record {
    /// When it happened; what the flow says, where it says it.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        self.flow.as_ref().and_then(|flow| flow.time).or(self.time)
    }
}

fn is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

/// Packets of one connection, as they were seen at one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Identifies it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uuid: FlowId,
    /// What became of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verdict: Verdict,
    /// Why it was dropped, as a number.
    #[serde(default, alias = "dropReason", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub drop_reason: u32,
    /// Ethernet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ethernet: Option<Ethernet>,
    /// IP.
    #[serde(default, rename = "IP", skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    /// The transport.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l4: Option<Layer4>,
    /// Who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Arc<Endpoint>>,
    /// Whom it was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Arc<Endpoint>>,
    /// What it tells of.
    #[serde(default, rename = "Type", skip_serializing_if = "is_zero")]
    pub flow_type: FlowType,
    /// The node that saw it.
    #[serde(default, alias = "nodeName", deserialize_with = "wire::nullable", skip_serializing_if = "is_empty")]
    pub node_name: Arc<str>,
    /// Labels of the node that saw it, as `key=value`; Cilium tells them.
    #[serde(default, alias = "nodeLabels", deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub node_labels: Vec<String>,
    /// DNS names of the source.
    #[serde(
        default,
        alias = "sourceNames",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub source_names: Vec<String>,
    /// DNS names of the destination.
    #[serde(
        default,
        alias = "destinationNames",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub destination_names: Vec<String>,
    /// A message of its application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7: Option<Box<Layer7>>,
    /// What kind of event it was.
    #[serde(default, alias = "eventType", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// The service whose address the source is.
    #[serde(default, alias = "sourceService", skip_serializing_if = "Option::is_none")]
    pub source_service: Option<Service>,
    /// The service whose address the destination is.
    #[serde(default, alias = "destinationService", skip_serializing_if = "Option::is_none")]
    pub destination_service: Option<Service>,
    /// Which way the connection goes, seen from the observed pod.
    #[serde(default, alias = "trafficDirection", skip_serializing_if = "is_zero")]
    pub traffic_direction: TrafficDirection,
    /// What of a policy matched.
    #[serde(default, alias = "policyMatchType", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub policy_match_type: u32,
    /// Where it was seen.
    #[serde(default, alias = "traceObservationPoint", skip_serializing_if = "is_zero")]
    pub trace_observation_point: ObservationPoint,
    /// The trace of its request, where headers told one.
    #[serde(default, alias = "traceContext", skip_serializing_if = "Option::is_none")]
    pub trace_context: Option<Box<TraceContext>>,
    /// The trace that an IP option told.
    #[serde(default, alias = "ipTraceId", skip_serializing_if = "Option::is_none")]
    pub ip_trace_id: Option<IpTraceId>,
    /// Why it was dropped.
    #[serde(default, alias = "dropReasonDesc", skip_serializing_if = "is_zero")]
    pub drop_reason_desc: DropReason,
    /// Whether it goes against the direction its connection was opened in; none where that is not known.
    #[serde(default, alias = "isReply", skip_serializing_if = "Option::is_none")]
    pub is_reply: Option<bool>,
    /// The interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// What Hubble has no field for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
    /// Policies that let the sending pod send it.
    #[serde(
        default,
        alias = "egressAllowedBy",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "<[Policy]>::is_empty"
    )]
    pub egress_allowed_by: Arc<[Policy]>,
    /// Policies that let the receiving pod receive it.
    #[serde(
        default,
        alias = "ingressAllowedBy",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "<[Policy]>::is_empty"
    )]
    pub ingress_allowed_by: Arc<[Policy]>,
    /// Policies that deny the sending pod to send it.
    #[serde(
        default,
        alias = "egressDeniedBy",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "<[Policy]>::is_empty"
    )]
    pub egress_denied_by: Arc<[Policy]>,
    /// Policies that deny the receiving pod to receive it.
    #[serde(
        default,
        alias = "ingressDeniedBy",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "<[Policy]>::is_empty"
    )]
    pub ingress_denied_by: Arc<[Policy]>,
    /// It in short.
    #[serde(
        default,
        rename = "Summary",
        alias = "summary",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "str_is_empty"
    )]
    pub summary: Cow<'static, str>,
}

fn str_is_empty(text: &str) -> bool {
    text.is_empty()
}

/// A policy that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its namespace; empty for one of the cluster.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels of its rule, in Cilium.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The number of policy as a whole in which the rule was met, in Cilium.
    #[serde(
        default,
        deserialize_with = "wire::integer",
        serialize_with = "wire::as_string",
        skip_serializing_if = "is_zero"
    )]
    pub revision: u64,
    /// Its kind, such as `NetworkPolicy`.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// Ethernet addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ethernet {
    /// Source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Lenient<Mac>>,
    /// Destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Lenient<Mac>>,
}

/// IP addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// Source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Lenient<IpAddr>>,
    /// What the source was translated to.
    #[serde(default, alias = "sourceXlated", skip_serializing_if = "Option::is_none")]
    pub source_xlated: Option<Lenient<IpAddr>>,
    /// Destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Lenient<IpAddr>>,
    /// Version.
    #[serde(default, rename = "ipVersion", alias = "ip_version", skip_serializing_if = "is_zero")]
    pub version: IpVersion,
    /// Whether it was encrypted between nodes.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "is_zero")]
    pub encrypted: bool,
}

/// Where a request belongs in a trace of OpenTelemetry and the like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// What it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TraceParent>,
}

/// What a request is a part of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceParent {
    /// Identifier of the trace.
    #[serde(default, alias = "traceId", deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
}

/// A trace that an IP option told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpTraceId {
    /// Its identifier.
    #[serde(
        default,
        alias = "traceId",
        deserialize_with = "wire::integer",
        serialize_with = "wire::as_string",
        skip_serializing_if = "is_zero"
    )]
    pub trace_id: u64,
    /// The type of the option.
    #[serde(default, alias = "ipOptionType", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub ip_option_type: u32,
}

/// One end of a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Cilium's number for it on its node.
    #[serde(default, rename = "ID", alias = "id", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub id: u32,
    /// Cilium's security identity; below 256 one of the reserved ones.
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub identity: u32,
    /// The cluster it is in.
    #[serde(
        default,
        alias = "clusterName",
        deserialize_with = "wire::nullable",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster_name: String,
    /// Namespace of the pod.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels, as `k8s:key=value` or `reserved:name`.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Name of the pod.
    #[serde(default, alias = "podName", deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// What the pod belongs to.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    /// ID of the sandbox container, where this node knows it. Hubble has no such field: it is told in `extensions`.
    #[serde(skip)]
    pub container_id: Option<Arc<str>>,
}

/// What a pod belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its kind, such as `Deployment`.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// What kind of event a flow was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// One of [`event_type`](crate::event_type).
    #[serde(default, rename = "type", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub kind: i32,
    /// Of a trace where it was seen, of a drop why.
    #[serde(default, alias = "subType", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub sub_type: i32,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its index.
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub index: u32,
    /// Its name.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "is_empty")]
    pub name: Arc<str>,
}

/// Events that were lost before anyone saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// Where they were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub source: LostEventSource,
    /// How many.
    #[serde(
        default,
        alias = "numEventsLost",
        deserialize_with = "wire::integer",
        serialize_with = "wire::as_string",
        skip_serializing_if = "is_zero"
    )]
    pub num_events_lost: u64,
    /// On which CPU, where that is known.
    #[serde(default, deserialize_with = "wire::optional_integer", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<i32>,
    /// When the first was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Time>,
    /// When the last was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Time>,
}

/// State of the nodes that flows come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// What changed.
    #[serde(default, alias = "stateChange", skip_serializing_if = "is_zero")]
    pub state_change: NodeState,
    /// Of which nodes.
    #[serde(default, alias = "nodeNames", deserialize_with = "wire::nullable", skip_serializing_if = "Vec::is_empty")]
    pub node_names: Vec<String>,
    /// In words.
    #[serde(default, deserialize_with = "wire::nullable", skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer4::{Tcp, TcpFlags};

    /// A flow in the style that `hubble observe -o jsonpb` writes.
    const HUBBLE: &str = r#"{"flow":{"time":"2026-11-23T00:15:57.123456789Z","uuid":"5f4a9fb2-0d1e-4b0f-8d86-2c3a7c4c1d11","verdict":"DROPPED","drop_reason":133,"ethernet":{"source":"0a:00:00:00:00:01","destination":"0a:00:00:00:00:02"},"IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":40000,"destination_port":80,"flags":{"SYN":true}}},"source":{"ID":7,"identity":4711,"cluster_name":"prod","namespace":"shop","labels":["k8s:app=web"],"pod_name":"web-1","workloads":[{"name":"web","kind":"Deployment"}]},"destination":{"identity":2,"labels":["reserved:world"]},"Type":"L3_L4","node_name":"n1","event_type":{"type":1,"sub_type":133},"destination_service":{"name":"db","namespace":"shop"},"traffic_direction":"EGRESS","drop_reason_desc":"POLICY_DENIED","is_reply":false,"interface":{"index":12,"name":"eni1"},"Summary":"TCP Flags: SYN"},"node_name":"n1","time":"2026-11-23T00:15:57.123456789Z"}"#;

    #[test]
    fn a_line_is_written_as_it_was_read() {
        let record: Record = serde_json::from_str(HUBBLE).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), HUBBLE);
    }

    #[test]
    fn camel_case_numbers_and_nulls_mean_the_same() {
        let camel = r#"{"flow":{"time":"2026-11-23T00:15:57.123456789Z","uuid":"5f4a9fb2-0d1e-4b0f-8d86-2c3a7c4c1d11",
            "verdict":2,"dropReason":"133","l7":null,"egressDeniedBy":null,"socketCookie":"99","sourceNames":null,
            "ethernet":{"source":"0a:00:00:00:00:01","destination":"0a:00:00:00:00:02"},
            "IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":1},
            "l4":{"TCP":{"sourcePort":40000,"destinationPort":"80","flags":{"SYN":true,"ACK":false}}},
            "source":{"ID":7,"identity":4711,"clusterName":"prod","namespace":"shop","labels":["k8s:app=web"],
                "podName":"web-1","workloads":[{"name":"web","kind":"Deployment"}]},
            "destination":{"identity":2,"labels":["reserved:world"],"namespace":null},"Type":1,"nodeName":"n1",
            "eventType":{"type":1,"subType":133},"destinationService":{"name":"db","namespace":"shop"},
            "trafficDirection":2,"dropReasonDesc":133,"isReply":false,"interface":{"index":12,"name":"eni1"},
            "Summary":"TCP Flags: SYN"},"nodeName":"n1","time":"2026-11-23T00:15:57.123456789Z"}"#;
        let camel: Record = serde_json::from_str(camel).unwrap();
        assert_eq!(camel, serde_json::from_str(HUBBLE).unwrap());
    }

    #[test]
    fn policies_of_both_spellings_are_read_and_written_as_hubble_does() {
        let json = r#"{"egress_allowed_by":[{"name":"a","namespace":"n","labels":["k8s:x=y"],"revision":"7","kind":"CiliumNetworkPolicy"}],"ingress_denied_by":[{"name":"b"}]}"#;
        let flow: Flow = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&flow).unwrap(), json);
        let camel = r#"{"egressAllowedBy":[{"name":"a","namespace":"n","labels":["k8s:x=y"],"revision":7,
            "kind":"CiliumNetworkPolicy","later":1}],"ingressDeniedBy":[{"name":"b","labels":null}],"egressDeniedBy":[]}"#;
        assert_eq!(serde_json::from_str::<Flow>(camel).unwrap(), flow);
    }

    #[test]
    fn zero_values_are_left_out() {
        let flow = Flow {
            verdict: Verdict::Forwarded,
            l4: Some(Layer4::Tcp(Tcp { source_port: 0, destination_port: 80, flags: Some(TcpFlags(0)) })),
            event_type: Some(EventType { kind: 4, sub_type: 0 }),
            ..Flow::default()
        };
        assert_eq!(
            serde_json::to_string(&flow).unwrap(),
            r#"{"verdict":"FORWARDED","l4":{"TCP":{"destination_port":80,"flags":{}}},"event_type":{"type":4}}"#
        );
    }

    #[test]
    fn losses_are_counted_in_a_string() {
        let json = r#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"18446744073709551615"}}"#;
        let record: Record = serde_json::from_str(json).unwrap();
        assert_eq!(record.lost_events.as_ref().unwrap().num_events_lost, u64::MAX);
        assert_eq!(serde_json::to_string(&record).unwrap(), json);
        let other = r#"{"lostEvents":{"source":3,"numEventsLost":7,"cpu":null}}"#;
        let record: Record = serde_json::from_str(other).unwrap();
        assert_eq!(record.lost_events.unwrap().num_events_lost, 7);
    }

    #[test]
    fn addresses_that_are_none_are_kept_as_text() {
        let ip: Ip = serde_json::from_str(r#"{"source":"nonsense","destination":"::1"}"#).unwrap();
        assert_eq!(ip.source, Some(Lenient::Text("nonsense".into())));
        assert_eq!(ip.destination.as_ref().and_then(Lenient::known), Some(&"::1".parse().unwrap()));
        assert_eq!(serde_json::to_string(&ip).unwrap(), r#"{"source":"nonsense","destination":"::1"}"#);
    }
}
