//! chainkit's flow model: what Hubble writes a line of JSON for, to the letter, so that what reads Hubble reads us.
//!
//! Events of the datapath become flows, saved lines become flows, and both go through the same filters and printers. It
//! never opens a file or a map, and input of any kind neither makes it panic nor makes it take memory without bound.
//!
//! Start at [`Record`], a line; [`Decoder`] makes one of an event and [`LineBuffer`] of saved input, [`Filter`] chooses,
//! [`Printer`] prints.

#![forbid(unsafe_code)]

mod again;
mod decided;
mod decode;
mod drop_reason;
mod enrich;
mod enums;
mod extra;
mod fast;
mod filter;
mod icmp;
mod layer4;
mod layer7;
mod model;
mod named;
mod print;
mod read;
mod resolve;
mod summary;
mod summary7;
mod tcp_health;
mod text;
mod time;
mod uuid;
mod wire;

pub use decided::{DecidedBy, Rule, RuleAction};
pub use decode::{Connection, ConnectionKey, Decoder, Exchange, KernelDrop, WallClock};
pub use drop_reason::DropReason;
pub use enrich::with_names;
pub use enums::{
    FlowType, IpVersion, L7FlowType, LostEventSource, NodeState, ObservationPoint, TrafficDirection, Verdict,
    event_type,
};
pub use extra::{ConnectionExtra, DropExtra, Extensions, Extra, FlagNames};
pub use filter::{Filter, FilterBuilder, FilterError, FilterFlag, PodPattern, SlotSet};
pub use icmp::name as icmp_name;
pub use layer4::{Icmp, Layer4, Ports, Tcp, TcpFlags};
pub use layer7::{Dns, Grpc, Http, HttpHeader, Kafka, L7Extra, Layer7, Tls};
pub use model::{
    Endpoint, Ethernet, EventType, Flow, Interface, Ip, IpTraceId, LostEvents, NodeStatus, Policy, Record,
    TraceContext, TraceParent, Workload,
};
pub use print::{Format, MAX_TEXT_LINE, Printer, PrinterOptions, TimeFormat};
pub use read::{BadLine, LineBuffer, MAX_LINE, parse};
pub use resolve::{Resolver, Service};
pub use summary7::{dns_rcode, summary_of_layer7};
pub use tcp_health::{Handshake, TcpExtra, TcpWay};
pub use text::{Lenient, Mac};
pub use time::Time;
pub use uuid::{FlowId, FlowIds};
