//! From flags to a filter, in the order they were given.

use std::sync::Arc;

use super::flag::{FilterFlag, exclude_each_other};
use super::message::{Beyond, EventType, Experimental, FlowFilter, Header, Interface, Workload};
use super::{Alternative, Filter, Messages, compile};
use crate::drop_reason::DropReason;
use crate::enums::{IpVersion, TrafficDirection, Verdict, event_type};
use crate::layer4::TcpFlags;
use crate::print::{POINTS, RESERVED};

use FilterFlag as F;

/// What is wrong with the flags of a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A value cannot be meant.
    #[error("invalid value {value:?} for --{flag}: {reason}")]
    Value {
        /// The flag, without its dashes.
        flag: &'static str,
        /// Its value.
        value: String,
        /// Why, and what could be.
        reason: String,
    },
    /// A list of messages cannot be read, or a field of one cannot be meant.
    #[error("invalid value for --{flag}: {reason}")]
    List {
        /// The flag, without its dashes.
        flag: &'static str,
        /// Why.
        reason: String,
    },
    /// Two flags exclude each other.
    #[error("--{first} and --{second} cannot be combined: say --from-... and --to-... for each end")]
    Conflict {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A pod or service lies in none of the namespaces asked for.
    #[error("--{flag} {value} lies outside of --{namespace_flag} {namespace}")]
    OtherNamespace {
        /// The flag of the pod or service.
        flag: &'static str,
        /// Its value.
        value: String,
        /// The flag of the namespace.
        namespace_flag: &'static str,
        /// The namespace.
        namespace: String,
    },
    /// Flags that are right for themselves cannot be meant together.
    #[error("these filters cannot be combined: {reason}")]
    Together {
        /// Why.
        reason: String,
    },
}

/// Collects flags.
#[derive(Clone, Debug, Default)]
pub struct FilterBuilder {
    allow: Flags,
    deny: Flags,
}

/// Flags on one side of `--not`.
#[derive(Clone, Debug, Default)]
struct Flags {
    /// In their order.
    given: Vec<(F, String)>,
    /// Messages that were given as they are.
    list: Vec<FlowFilter>,
}

impl FilterBuilder {
    /// Adds a flag with its value; `negated`: it follows `--not`.
    ///
    /// # Errors
    /// When the value cannot be meant, or the flag excludes one that was given before.
    pub fn add(&mut self, negated: bool, flag: FilterFlag, value: &str) -> Result<(), FilterError> {
        let flags = if negated { &mut self.deny } else { &mut self.allow };
        if let Some((given, _)) = flags.given.iter().find(|(given, _)| exclude_each_other(*given, flag)) {
            return Err(FilterError::Conflict { first: given.name(), second: flag.name() });
        }
        let wrong = |reason| FilterError::Value { flag: flag.name(), value: value.to_owned(), reason };
        if is_namespace(flag) {
            namespace(flag, value).map_err(wrong)?;
        } else {
            // By itself, so that an error names this flag.
            let mut message = FlowFilter::default();
            put(&mut message, flag, value, true).map_err(wrong)?;
            compile::alternative(&message).map_err(|(_, _, reason)| wrong(reason))?;
        }
        flags.given.push((flag, value.to_owned()));
        Ok(())
    }

    /// Adds messages of Hubble's (`FlowFilter`, as JSON) to what is shown, or to what is left out.
    ///
    /// # Errors
    /// When it is no such JSON, has a field that is not known, or one whose value cannot be meant.
    pub fn add_list(&mut self, deny: bool, json: &str) -> Result<(), FilterError> {
        let (flags, flag) = if deny { (&mut self.deny, "denylist") } else { (&mut self.allow, "allowlist") };
        let wrong = |reason| FilterError::List { flag, reason };
        let list = FlowFilter::list(json).map_err(wrong)?;
        if list.is_empty() {
            return Err(wrong("there is no FlowFilter in it: {} is one that means every flow".to_owned()));
        }
        for message in &list {
            compile::alternative(message)
                .map_err(|(field, value, reason)| wrong(format!("{field}: {value:?}: {reason}")))?;
        }
        flags.list.extend(list);
        Ok(())
    }

    /// The filter.
    ///
    /// # Errors
    /// When a pod or service lies in none of the namespaces asked for, or criteria exclude each other.
    pub fn build(self) -> Result<Filter, FilterError> {
        let messages = Messages { allow: self.allow.messages()?, deny: self.deny.messages()? };
        let compiled = |messages: &[FlowFilter]| -> Result<Vec<Alternative>, FilterError> {
            messages
                .iter()
                .map(|message| compile::alternative(message).map_err(|(.., reason)| FilterError::Together { reason }))
                .collect()
        };
        Ok(Filter { allow: compiled(&messages.allow)?, deny: compiled(&messages.deny)?, messages: Arc::new(messages) })
    }
}

/// Criteria of one end: the bare flag, and those of the source and of the destination.
const ENDS: &[(F, F, F)] = &[
    (F::Service, F::FromService, F::ToService),
    (F::Workload, F::FromWorkload, F::ToWorkload),
    (F::Label, F::FromLabel, F::ToLabel),
    (F::Identity, F::FromIdentity, F::ToIdentity),
    (F::Cluster, F::FromCluster, F::ToCluster),
    (F::Ip, F::FromIp, F::ToIp),
    (F::Fqdn, F::FromFqdn, F::ToFqdn),
    (F::Port, F::FromPort, F::ToPort),
];

/// The flags of pods, as above.
const PODS: (F, F, F) = (F::Pod, F::FromPod, F::ToPod);
/// Those of services.
const SERVICES: (F, F, F) = (F::Service, F::FromService, F::ToService);

const fn is_namespace(flag: F) -> bool {
    matches!(
        flag,
        F::Namespace | F::FromNamespace | F::ToNamespace | F::AllNamespaces | F::FromAllNamespaces | F::ToAllNamespaces
    )
}

/// Which of three flags asks for this end in an alternative in which the bare one is about the source, or is not.
const fn asks((bare, from, to): (F, F, F), flag: F, bare_is_source: bool, is_source: bool) -> bool {
    let own = if is_source { from } else { to };
    flag as u8 == own as u8 || (flag as u8 == bare as u8 && bare_is_source == is_source)
}

impl Flags {
    /// One message, and two for each bare flag, which asks for either end: for two such flags four, and so on. Those that
    /// were given as they are come after them.
    fn messages(self) -> Result<Vec<FlowFilter>, FilterError> {
        let mut messages = Vec::new();
        if !self.given.is_empty() {
            let given = |flag: F| self.given.iter().any(|(given, _)| *given == flag);
            // A pod and its namespace go together.
            let mut bare: Vec<F> = ENDS.iter().map(|(bare, ..)| *bare).filter(|bare| given(*bare)).collect();
            bare.push(F::Pod);
            for choice in 0..1u32 << bare.len() {
                let at_destination: Vec<F> = bare
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| choice >> place & 1 == 1)
                    .map(|(_, flag)| *flag)
                    .collect();
                let message = self.message(&at_destination)?;
                if !messages.contains(&message) {
                    messages.push(message);
                }
            }
        }
        messages.extend(self.list);
        Ok(messages)
    }

    /// The message in which some bare flags ask for the destination, and the others for the source.
    fn message(&self, at_destination: &[F]) -> Result<FlowFilter, FilterError> {
        let mut message = FlowFilter::default();
        for (flag, value) in &self.given {
            let is_end = |ends: &(F, F, F)| [ends.0, ends.1, ends.2].contains(flag);
            if is_namespace(*flag) || is_end(&PODS) || is_end(&SERVICES) {
                continue;
            }
            let at_source = !at_destination.contains(flag);
            put(&mut message, *flag, value, at_source).map_err(|reason| FilterError::Together { reason })?;
        }
        for is_source in [true, false] {
            let (pods, services) = self.names(at_destination, is_source)?;
            let (to_pods, to_services) = match is_source {
                true => (&mut message.source_pod, &mut message.source_service),
                false => (&mut message.destination_pod, &mut message.destination_service),
            };
            (*to_pods, *to_services) = (pods, services);
        }
        Ok(message)
    }

    /// Pods and services of one end: one without a namespace is of those asked for, and namespaces alone mean all their
    /// pods.
    fn names(&self, at_destination: &[F], is_source: bool) -> Result<(Vec<String>, Vec<String>), FilterError> {
        let bare_is_source = |bare: F| !at_destination.contains(&bare);
        let of = |flags: (F, F, F)| -> Vec<&(F, String)> {
            let asks = |given: &&(F, String)| asks(flags, given.0, bare_is_source(flags.0), is_source);
            self.given.iter().filter(asks).collect()
        };
        // A namespace goes with the pods, or with the services where no pod is asked for at all.
        let any_given =
            |flags: (F, F, F)| self.given.iter().any(|given| [flags.0, flags.1, flags.2].contains(&given.0));
        let namespaces = |with: F| -> Vec<&(F, String)> {
            let own =
                if is_source { [F::FromNamespace, F::FromAllNamespaces] } else { [F::ToNamespace, F::ToAllNamespaces] };
            let bare = bare_is_source(with) == is_source;
            let asks = |given: &&(F, String)| {
                own.contains(&given.0) || (bare && matches!(given.0, F::Namespace | F::AllNamespaces))
            };
            self.given.iter().filter(asks).collect()
        };
        let (pods, services) = (of(PODS), of(SERVICES));
        if pods.is_empty() && services.is_empty() {
            let with = if any_given(PODS) || !any_given(SERVICES) { F::Pod } else { F::Service };
            let whole = namespaces(with).iter().map(|given| format!("{}/", given.1)).collect();
            return Ok((whole, Vec::new()));
        }
        Ok((qualified(&pods, &namespaces(F::Pod))?, qualified(&services, &namespaces(F::Service))?))
    }
}

/// Puts namespaces before names that have none.
fn qualified(names: &[&(F, String)], namespaces: &[&(F, String)]) -> Result<Vec<String>, FilterError> {
    let mut full = Vec::new();
    for (flag, name) in names {
        match name.split_once('/') {
            Some((own, _)) => {
                let outside = |wanted: &&&(F, String)| !own.is_empty() && !wanted.1.is_empty() && wanted.1 != own;
                if let Some((namespace_flag, namespace)) = namespaces.iter().find(outside) {
                    return Err(FilterError::OtherNamespace {
                        flag: flag.name(),
                        value: name.clone(),
                        namespace_flag: namespace_flag.name(),
                        namespace: namespace.clone(),
                    });
                }
                full.push(name.clone());
            }
            None if namespaces.is_empty() => full.push(name.clone()),
            None => full.extend(namespaces.iter().map(|(_, namespace)| format!("{namespace}/{name}"))),
        }
    }
    Ok(full)
}

fn namespace(flag: F, value: &str) -> Result<(), String> {
    let all = matches!(flag, F::AllNamespaces | F::FromAllNamespaces | F::ToAllNamespaces);
    if all == value.is_empty() && !value.contains('/') {
        return Ok(());
    }
    Err("expected the name of a namespace".to_owned())
}

/// Puts a flag into a message; one that is bare at the source, or at the destination.
fn put(message: &mut FlowFilter, flag: F, value: &str, bare_is_source: bool) -> Result<(), String> {
    let text = || value.to_owned();
    let is_source = ENDS
        .iter()
        .chain([&PODS])
        .find_map(|ends| match flag {
            _ if flag == ends.1 => Some(true),
            _ if flag == ends.2 => Some(false),
            _ => None,
        })
        .unwrap_or(bare_is_source);
    macro_rules! end {
        ($source:ident, $destination:ident, $value:expr) => {
            if is_source { message.$source.push($value) } else { message.$destination.push($value) }
        };
    }
    match flag {
        F::Namespace
        | F::FromNamespace
        | F::ToNamespace
        | F::AllNamespaces
        | F::FromAllNamespaces
        | F::ToAllNamespaces => {}
        F::Pod | F::FromPod | F::ToPod => end!(source_pod, destination_pod, text()),
        F::Service | F::FromService | F::ToService => end!(source_service, destination_service, text()),
        F::Workload | F::FromWorkload | F::ToWorkload => {
            end!(source_workload, destination_workload, workload(value)?);
        }
        F::Label | F::FromLabel | F::ToLabel => end!(source_label, destination_label, text()),
        F::Identity | F::FromIdentity | F::ToIdentity => {
            end!(source_identity, destination_identity, identity(value)?);
        }
        F::Cluster | F::FromCluster | F::ToCluster => end!(source_cluster_name, destination_cluster_name, text()),
        F::Ip | F::FromIp | F::ToIp => end!(source_ip, destination_ip, text()),
        F::SnatIp => message.source_ip_xlated.push(text()),
        F::Fqdn | F::FromFqdn | F::ToFqdn => end!(source_fqdn, destination_fqdn, text()),
        F::Port | F::FromPort | F::ToPort => end!(source_port, destination_port, text()),
        F::Protocol => message.protocol.push(text()),
        F::TcpFlags => message.tcp_flags.push(tcp_flags(value)?),
        F::IpVersion => message.ip_version.push(ip_version(value)?),
        F::Encrypted => message.encrypted.push(true),
        F::Unencrypted => message.encrypted.push(false),
        F::Type => message.event_type.push(event_type(value)?),
        F::Verdict => message.verdict.push(verdict(value)?),
        F::DropReason => message.drop_reason_desc.push(drop_reason(value)?),
        F::TrafficDirection => message.traffic_direction.push(direction(value)?),
        F::Reply => message.reply.push(value.parse().map_err(|_| "expected true or false".to_owned())?),
        F::Interface if value.is_empty() => return Err("expected the name of an interface".to_owned()),
        F::Interface => message.interface.push(Interface { index: 0, name: text() }),
        F::NodeName => message.node_name.push(text()),
        F::NodeLabel => message.node_labels.push(text()),
        F::Uuid => message.uuid.push(text()),
        F::TraceId => message.trace_id.push(text()),
        F::IpTraceId => {
            let id = value.parse().ok().filter(|id| *id != 0);
            message.ip_trace_id.push(id.ok_or_else(|| "expected a number above 0".to_owned())?);
        }
        F::HttpStatus => message.http_status_code.push(text()),
        F::HttpMethod if value.is_empty() => return Err("expected a method such as GET".to_owned()),
        F::HttpMethod => message.http_method.push(text()),
        F::HttpPath => message.http_path.push(text()),
        F::HttpUrl => message.http_url.push(text()),
        F::HttpHeader => message.http_header.push(header(value)?),
        F::DnsQuery => message.dns_query.push(text()),
        F::CelExpression => experimental(&mut message.experimental, text()),
        F::Policy => beyond(&mut message.chainkit, |beyond| &mut beyond.policy, text()),
        F::Sni => beyond(&mut message.chainkit, |beyond| &mut beyond.sni, text()),
        F::Latency => beyond(&mut message.chainkit, |beyond| &mut beyond.latency, text()),
        F::MinBytes => beyond(&mut message.chainkit, |beyond| &mut beyond.min_bytes, text()),
    }
    Ok(())
}

fn experimental(experimental: &mut Experimental, text: String) {
    experimental.cel_expression.push(text);
}

fn beyond(beyond: &mut Beyond, field: fn(&mut Beyond) -> &mut Vec<String>, text: String) {
    field(beyond).push(text);
}

/// `[KIND/][NAME]`, as Hubble has it.
fn workload(value: &str) -> Result<Workload, String> {
    let (kind, name) = value.split_once('/').unwrap_or(("", value));
    if kind.is_empty() && name.is_empty() {
        return Err("expected NAME, KIND/NAME such as Deployment/web, or KIND/".to_owned());
    }
    Ok(Workload { name: name.to_owned(), kind: kind.to_owned() })
}

/// A number, or the name of a reserved identity.
fn identity(value: &str) -> Result<u32, String> {
    let reserved =
        RESERVED.iter().skip(1).position(|name| *name == value).and_then(|place| u32::try_from(place + 1).ok());
    reserved
        .or_else(|| value.parse().ok())
        .ok_or_else(|| format!("expected a number, or one of {}", RESERVED.get(1..).unwrap_or_default().join(", ")))
}

fn header(value: &str) -> Result<Header, String> {
    match value.split_once(':') {
        Some((key, value)) if !(key.is_empty() && value.is_empty()) => {
            Ok(Header { key: key.to_owned(), value: value.to_owned() })
        }
        _ => Err("expected NAME:VALUE; without one of them it may be any".to_owned()),
    }
}

/// Types of events (cilium, `pkg/monitor/api/types.go`), which an agent's own are not.
const TYPES: [(&str, i32); 6] = [
    ("drop", event_type::DROP),
    ("capture", 3),
    ("trace", event_type::TRACE),
    ("policy-verdict", event_type::POLICY_VERDICT),
    ("trace-sock", 7),
    ("l7", event_type::L7),
];

/// `TYPE[:SUBTYPE]`, each by name or number: of a trace the place, of a drop the reason.
fn event_type(value: &str) -> Result<EventType, String> {
    let (name, sub) = match value.split_once(':') {
        Some((name, sub)) => (name, Some(sub)),
        None => (value, None),
    };
    let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0);
    let known = TYPES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let kind = known.or_else(|| number(name)).ok_or_else(|| {
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        format!("expected a number, or one of {}", names.join(", "))
    })?;
    let sub_type = sub.map(|sub| {
        let point = || POINTS.iter().position(|point| *point == sub).and_then(|place| i32::try_from(place).ok());
        let named = match kind {
            event_type::TRACE => point(),
            event_type::DROP => DropReason::from_name(&sub.to_ascii_uppercase()).map(|reason| reason.0),
            _ => None,
        };
        named.or_else(|| number(sub)).ok_or_else(|| match kind {
            event_type::TRACE => format!("unknown sub-type {sub:?}: use a number, or one of {}", POINTS.join(", ")),
            event_type::DROP => format!("unknown sub-type {sub:?}: use a drop reason such as POLICY_DENIED"),
            _ => format!("unknown sub-type {sub:?}: use a number"),
        })
    });
    let sub_type = sub_type.transpose()?;
    Ok(EventType { kind, match_sub_type: sub_type.is_some(), sub_type: sub_type.unwrap_or_default() })
}

fn verdict(value: &str) -> Result<Verdict, String> {
    Verdict::from_name(&value.to_ascii_uppercase())
        .ok_or_else(|| "expected FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED".to_owned())
}

fn drop_reason(value: &str) -> Result<DropReason, String> {
    DropReason::from_name(&value.to_ascii_uppercase()).ok_or_else(|| {
        "expected a reason as flows have it, such as POLICY_DENIED or UNSUPPORTED_L3_PROTOCOL".to_owned()
    })
}

fn direction(value: &str) -> Result<TrafficDirection, String> {
    match value.to_ascii_lowercase().as_str() {
        "ingress" => Ok(TrafficDirection::Ingress),
        "egress" => Ok(TrafficDirection::Egress),
        _ => Err("expected ingress or egress".to_owned()),
    }
}

/// Names with commas between them, all of which must be set.
fn tcp_flags(value: &str) -> Result<TcpFlags, String> {
    let mut flags = TcpFlags::default();
    for name in value.split(',') {
        let flag = TcpFlags::from_name(&name.trim().to_ascii_uppercase())
            .ok_or_else(|| format!("unknown flag {name:?}: use SYN, ACK, FIN, RST, PSH, URG, ECE, CWR and NS"))?;
        flags.0 |= flag.0;
    }
    Ok(flags)
}

fn ip_version(value: &str) -> Result<IpVersion, String> {
    match value.to_ascii_lowercase().as_str() {
        "4" | "v4" | "ipv4" | "ip4" => Ok(IpVersion::V4),
        "6" | "v6" | "ipv6" | "ip6" => Ok(IpVersion::V6),
        "none" => Ok(IpVersion::NotUsed),
        _ => Err("expected 4, 6 or none".to_owned()),
    }
}
