//! From flags to a filter, in the order they were given.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::label::Selector;
use super::pod::PodPattern;
use super::{Alternative, End, Filter, Protocol};
use crate::enums::{IpVersion, TrafficDirection, Verdict};
use crate::layer4::TcpFlags;

/// A flag that filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FilterFlag {
    /// `--pod`
    Pod,
    /// `--from-pod`
    FromPod,
    /// `--to-pod`
    ToPod,
    /// `--namespace`
    Namespace,
    /// `--from-namespace`
    FromNamespace,
    /// `--to-namespace`
    ToNamespace,
    /// `--all-namespaces`; its value does not matter
    AllNamespaces,
    /// `--label`
    Label,
    /// `--from-label`
    FromLabel,
    /// `--to-label`
    ToLabel,
    /// `--ip`
    Ip,
    /// `--from-ip`
    FromIp,
    /// `--to-ip`
    ToIp,
    /// `--port`
    Port,
    /// `--from-port`
    FromPort,
    /// `--to-port`
    ToPort,
    /// `--protocol`
    Protocol,
    /// `--verdict`
    Verdict,
    /// `--traffic-direction`
    TrafficDirection,
    /// `--tcp-flags`
    TcpFlags,
    /// `--ip-version`, `-4`, `-6`
    IpVersion,
}

impl FilterFlag {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Pod,
        Self::FromPod,
        Self::ToPod,
        Self::Namespace,
        Self::FromNamespace,
        Self::ToNamespace,
        Self::AllNamespaces,
        Self::Label,
        Self::FromLabel,
        Self::ToLabel,
        Self::Ip,
        Self::FromIp,
        Self::ToIp,
        Self::Port,
        Self::FromPort,
        Self::ToPort,
        Self::Protocol,
        Self::Verdict,
        Self::TrafficDirection,
        Self::TcpFlags,
        Self::IpVersion,
    ];

    /// Its name, without the dashes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::FromPod => "from-pod",
            Self::ToPod => "to-pod",
            Self::Namespace => "namespace",
            Self::FromNamespace => "from-namespace",
            Self::ToNamespace => "to-namespace",
            Self::AllNamespaces => "all-namespaces",
            Self::Label => "label",
            Self::FromLabel => "from-label",
            Self::ToLabel => "to-label",
            Self::Ip => "ip",
            Self::FromIp => "from-ip",
            Self::ToIp => "to-ip",
            Self::Port => "port",
            Self::FromPort => "from-port",
            Self::ToPort => "to-port",
            Self::Protocol => "protocol",
            Self::Verdict => "verdict",
            Self::TrafficDirection => "traffic-direction",
            Self::TcpFlags => "tcp-flags",
            Self::IpVersion => "ip-version",
        }
    }
}

/// Flags of which not both can be given: a bare one asks for either end, and would be one thing at one end and two at
/// the other. As Hubble has them.
const CONFLICTS: &[(FilterFlag, &[FilterFlag])] = &[
    (FilterFlag::Pod, &[FilterFlag::FromPod, FilterFlag::ToPod]),
    (
        FilterFlag::Namespace,
        &[
            FilterFlag::FromNamespace,
            FilterFlag::ToNamespace,
            FilterFlag::AllNamespaces,
            FilterFlag::FromPod,
            FilterFlag::ToPod,
        ],
    ),
    (
        FilterFlag::AllNamespaces,
        &[FilterFlag::FromNamespace, FilterFlag::ToNamespace, FilterFlag::FromPod, FilterFlag::ToPod],
    ),
    (FilterFlag::Label, &[FilterFlag::FromLabel, FilterFlag::ToLabel]),
    (FilterFlag::Ip, &[FilterFlag::FromIp, FilterFlag::ToIp]),
    (FilterFlag::Port, &[FilterFlag::FromPort, FilterFlag::ToPort]),
];

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
    /// Two flags exclude each other.
    #[error("--{first} and --{second} cannot be combined: say --from-... and --to-... for each end")]
    Conflict {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A pod lies in none of the namespaces asked for.
    #[error("--{flag} {value} lies outside of --{namespace_flag} {namespace}")]
    OtherNamespace {
        /// The flag of the pod.
        flag: &'static str,
        /// The pod.
        value: String,
        /// The flag of the namespace.
        namespace_flag: &'static str,
        /// The namespace.
        namespace: String,
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
    given: Vec<FilterFlag>,
    /// `--pod` and its like, as given, since namespaces are put before them only in the end.
    pods: Ends<String>,
    namespaces: Ends<Option<String>>,
    labels: Ends<Selector>,
    addresses: Ends<IpNet>,
    ports: Ends<RangeInclusive<u16>>,
    protocols: Vec<Protocol>,
    verdicts: Vec<Verdict>,
    directions: Vec<TrafficDirection>,
    tcp_flags: Vec<TcpFlags>,
    ip_versions: Vec<IpVersion>,
}

/// Which bare flags are about the source in an alternative, and not about the destination. A pod and its namespace go
/// together.
#[derive(Clone, Copy, Debug)]
struct BareAtSource {
    pods: bool,
    labels: bool,
    addresses: bool,
    ports: bool,
}

impl BareAtSource {
    /// How many there are.
    const CRITERIA: u8 = 4;

    /// One of the ways to choose, by number.
    const fn new(choice: u8) -> Self {
        Self { pods: choice & 1 == 0, labels: choice & 2 == 0, addresses: choice & 4 == 0, ports: choice & 8 == 0 }
    }
}

/// Values of a bare flag and of its two variants.
#[derive(Clone, Debug)]
struct Ends<T> {
    either: Vec<T>,
    from: Vec<T>,
    to: Vec<T>,
}

impl<T> Default for Ends<T> {
    fn default() -> Self {
        Self { either: Vec::new(), from: Vec::new(), to: Vec::new() }
    }
}

impl FilterBuilder {
    /// Adds a flag with its value; `negated`: it follows `--not`.
    ///
    /// # Errors
    /// When the value cannot be meant, or the flag excludes one that was given before.
    pub fn add(&mut self, negated: bool, flag: FilterFlag, value: &str) -> Result<(), FilterError> {
        let flags = if negated { &mut self.deny } else { &mut self.allow };
        flags.check_conflicts(flag)?;
        flags.given.push(flag);
        flags.add(flag, value).map_err(|reason| FilterError::Value {
            flag: flag.name(),
            value: value.to_owned(),
            reason,
        })
    }

    /// The filter.
    ///
    /// # Errors
    /// When a pod lies in none of the namespaces asked for.
    pub fn build(self) -> Result<Filter, FilterError> {
        Ok(Filter { allow: self.allow.alternatives()?, deny: self.deny.alternatives()? })
    }
}

impl Flags {
    fn check_conflicts(&self, flag: FilterFlag) -> Result<(), FilterError> {
        let excludes =
            |a: FilterFlag, b: FilterFlag| CONFLICTS.iter().any(|(bare, others)| *bare == a && others.contains(&b));
        match self.given.iter().find(|given| excludes(**given, flag) || excludes(flag, **given)) {
            Some(given) => Err(FilterError::Conflict { first: given.name(), second: flag.name() }),
            None => Ok(()),
        }
    }

    fn add(&mut self, flag: FilterFlag, value: &str) -> Result<(), String> {
        match flag {
            FilterFlag::Pod => self.pods.either.push(pod(value)?),
            FilterFlag::FromPod => self.pods.from.push(pod(value)?),
            FilterFlag::ToPod => self.pods.to.push(pod(value)?),
            FilterFlag::Namespace => self.namespaces.either.push(Some(namespace(value)?)),
            FilterFlag::FromNamespace => self.namespaces.from.push(Some(namespace(value)?)),
            FilterFlag::ToNamespace => self.namespaces.to.push(Some(namespace(value)?)),
            FilterFlag::AllNamespaces => self.namespaces.either.push(None),
            FilterFlag::Label => self.labels.either.push(value.parse()?),
            FilterFlag::FromLabel => self.labels.from.push(value.parse()?),
            FilterFlag::ToLabel => self.labels.to.push(value.parse()?),
            FilterFlag::Ip => self.addresses.either.push(address(value)?),
            FilterFlag::FromIp => self.addresses.from.push(address(value)?),
            FilterFlag::ToIp => self.addresses.to.push(address(value)?),
            FilterFlag::Port => self.ports.either.push(ports(value)?),
            FilterFlag::FromPort => self.ports.from.push(ports(value)?),
            FilterFlag::ToPort => self.ports.to.push(ports(value)?),
            FilterFlag::Protocol => self.protocols.push(protocol(value)?),
            FilterFlag::Verdict => self.verdicts.push(verdict(value)?),
            FilterFlag::TrafficDirection => self.directions.push(direction(value)?),
            FilterFlag::TcpFlags => self.tcp_flags.push(tcp_flags(value)?),
            FilterFlag::IpVersion => self.ip_versions.push(ip_version(value)?),
        }
        Ok(())
    }

    /// One alternative, and two for each bare flag, which asks for either end: for two such flags four, and so on.
    fn alternatives(self) -> Result<Vec<Alternative>, FilterError> {
        let mut alternatives = Vec::new();
        if self.given.is_empty() {
            return Ok(alternatives);
        }
        for choice in 0..1 << BareAtSource::CRITERIA {
            let alternative = self.alternative(BareAtSource::new(choice))?;
            if !alternatives.contains(&alternative) {
                alternatives.push(alternative);
            }
        }
        Ok(alternatives)
    }

    /// The alternative in which some bare flags ask for the source, and the others for the destination.
    fn alternative(&self, bare: BareAtSource) -> Result<Alternative, FilterError> {
        Ok(Alternative {
            source: self.end(bare, true)?,
            destination: self.end(bare, false)?,
            protocols: self.protocols.clone(),
            verdicts: self.verdicts.clone(),
            directions: self.directions.clone(),
            tcp_flags: self.tcp_flags.clone(),
            ip_versions: self.ip_versions.clone(),
        })
    }

    fn end(&self, bare: BareAtSource, is_source: bool) -> Result<End, FilterError> {
        Ok(End {
            pods: self.pods(bare.pods == is_source, is_source)?,
            labels: self.labels.values(bare.labels == is_source, is_source),
            addresses: self.addresses.values(bare.addresses == is_source, is_source),
            ports: self.ports.values(bare.ports == is_source, is_source),
        })
    }

    /// Patterns of one end: a pod without a namespace is of those asked for, and namespaces alone mean all their pods.
    fn pods(&self, with_bare: bool, is_source: bool) -> Result<Vec<PodPattern>, FilterError> {
        let pods = self.pods.values(with_bare, is_source);
        let namespaces = self.namespaces.values(with_bare, is_source);
        let whole =
            |namespace: &Option<String>| namespace.as_deref().map_or_else(PodPattern::any, PodPattern::namespace);
        if pods.is_empty() {
            return Ok(namespaces.iter().map(whole).collect());
        }
        let mut patterns = Vec::new();
        for pod in &pods {
            match pod.split_once('/') {
                Some((own, _)) => {
                    let outside = namespaces.iter().flatten().find(|wanted| !own.is_empty() && *wanted != own);
                    if let Some(outside) = outside {
                        return Err(self.other_namespace(pod, outside, is_source));
                    }
                    patterns.extend(PodPattern::parse(pod));
                }
                None if namespaces.is_empty() => patterns.extend(PodPattern::parse(pod)),
                None => patterns.extend(namespaces.iter().filter_map(|namespace| {
                    PodPattern::parse(&format!("{}/{pod}", namespace.as_deref().unwrap_or_default()))
                })),
            }
        }
        Ok(patterns)
    }

    fn other_namespace(&self, pod: &str, namespace: &str, is_source: bool) -> FilterError {
        let flag = |bare: bool, either, from, to| match (bare, is_source) {
            (true, _) => either,
            (false, true) => from,
            (false, false) => to,
        };
        let bare_pod = self.pods.either.iter().any(|bare| bare == pod);
        let bare_namespace = self.namespaces.either.iter().flatten().any(|bare| bare == namespace);
        FilterError::OtherNamespace {
            flag: flag(bare_pod, "pod", "from-pod", "to-pod"),
            value: pod.to_owned(),
            namespace_flag: flag(bare_namespace, "namespace", "from-namespace", "to-namespace"),
            namespace: namespace.to_owned(),
        }
    }
}

impl<T: Clone> Ends<T> {
    fn values(&self, with_bare: bool, is_source: bool) -> Vec<T> {
        let own = if is_source { &self.from } else { &self.to };
        let bare = if with_bare { self.either.as_slice() } else { &[] };
        bare.iter().chain(own).cloned().collect()
    }
}

fn pod(value: &str) -> Result<String, String> {
    match PodPattern::parse(value) {
        Some(_) => Ok(value.to_owned()),
        None => Err("expected [NAMESPACE/]NAME, or NAMESPACE/ for all pods of a namespace".to_owned()),
    }
}

fn namespace(value: &str) -> Result<String, String> {
    if value.is_empty() || value.contains('/') {
        return Err("expected the name of a namespace".to_owned());
    }
    Ok(value.to_owned())
}

fn address(value: &str) -> Result<IpNet, String> {
    let network: Option<IpNet> =
        if value.contains('/') { value.parse().ok() } else { value.parse::<IpAddr>().ok().map(IpNet::from) };
    network.map(|network| network.trunc()).ok_or_else(|| "expected an IP address or CIDR".to_owned())
}

fn ports(value: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "expected a port from 0 to 65535, or a range such as 8000-8100".to_owned();
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or_else(wrong)
    };
    let range = port(low)?..=port(high)?;
    if range.is_empty() { Err("the range ends before it begins".to_owned()) } else { Ok(range) }
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        "icmp" => Ok(Protocol::Icmp),
        "icmpv4" => Ok(Protocol::Icmp4),
        "icmpv6" => Ok(Protocol::Icmp6),
        "dns" | "http" | "kafka" => Err("it needs L7 visibility, which is not built yet".to_owned()),
        _ => Err("expected tcp, udp, sctp, icmp, icmpv4 or icmpv6".to_owned()),
    }
}

fn verdict(value: &str) -> Result<Verdict, String> {
    Verdict::from_name(&value.to_ascii_uppercase())
        .ok_or_else(|| "expected FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED".to_owned())
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
        _ => Err("expected 4 or 6".to_owned()),
    }
}
