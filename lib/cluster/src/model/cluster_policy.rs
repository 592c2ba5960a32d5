//! Cluster-wide policies of `policy.networking.k8s.io`: `AdminNetworkPolicy` and `BaselineAdminNetworkPolicy`
//! (v1alpha1), and `ClusterNetworkPolicy` (v1alpha2) which replaces both.
//!
//! The three differ in names more than in meaning, so one type holds them: what is `Allow` in the older ones is
//! [`Action::Accept`], `ports` and `protocols` are one list of [`ClusterPort`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Deserializer, Serialize};

use super::Protocol;

/// A cluster-wide policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterPolicy {
    /// Its kind.
    pub kind: ClusterPolicyKind,
    /// Its name.
    pub name: String,
    /// Whether it comes before or after network policies.
    pub tier: Tier,
    /// 0 to 1000, lower first; 0 for a `BaselineAdminNetworkPolicy`, of which there is one.
    pub priority: i32,
    /// The pods it is about.
    pub subject: ClusterSubject,
    /// Rules on what comes to the subject, first match first (`spec.ingress`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<ClusterRule>,
    /// Rules on what the subject sends, first match first (`spec.egress`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<ClusterRule>,
}

/// The kind of a cluster-wide policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ClusterPolicyKind {
    /// `AdminNetworkPolicy` (v1alpha1)
    #[serde(rename = "AdminNetworkPolicy")]
    Admin,
    /// `BaselineAdminNetworkPolicy` (v1alpha1), a singleton named `default`
    #[serde(rename = "BaselineAdminNetworkPolicy")]
    BaselineAdmin,
    /// `ClusterNetworkPolicy` (v1alpha2)
    #[serde(rename = "ClusterNetworkPolicy")]
    Cluster,
}

impl ClusterPolicyKind {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "AdminNetworkPolicy",
            Self::BaselineAdmin => "BaselineAdminNetworkPolicy",
            Self::Cluster => "ClusterNetworkPolicy",
        }
    }
}

/// Where a cluster-wide policy stands among the others: Admin, then network policies, then Baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Before network policies.
    Admin,
    /// After them, for pods that none of them isolates.
    Baseline,
}

impl Tier {
    /// As Kubernetes writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        }
    }
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Lets it through, whatever comes after (`Allow` in v1alpha1).
    #[serde(alias = "Allow")]
    Accept,
    /// Keeps it out, whatever comes after.
    Deny,
    /// Leaves it to the next tier.
    Pass,
}

/// The pods a cluster-wide policy is about. One of both is set in a valid one; with none nothing is selected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(expecting = "a subject")]
pub struct ClusterSubject {
    /// All pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// These pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
}

/// Pods by namespace and label: both must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a selector of namespaces and pods")]
pub struct PodSelector {
    /// Their namespaces; an empty selector selects all.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// The pods of those; an empty selector selects all.
    #[serde(default)]
    pub pod_selector: LabelSelector,
}

/// A rule of a cluster-wide policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRule {
    /// Its name; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The other side, any of these (`from` in an ingress rule, `to` in an egress rule).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<ClusterPeer>,
    /// The ports, any of these; `None` is every protocol and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<ClusterPort>>,
}

/// The other side of a rule. One field is set in a valid one; see [`Self::is_known`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a peer")]
pub struct ClusterPeer {
    /// All pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// These pods of these namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// The addresses of these nodes (egress only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<LabelSelector>,
    /// CIDRs, in-cluster addresses in them included (egress only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    /// Domain names (egress only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_names: Option<Vec<String>>,
}

impl ClusterPeer {
    /// Whether exactly one field is set. A peer of which none is known says something that this version does not
    /// understand: the rule fails closed (Accept matches nothing, Deny and Pass deny all).
    #[must_use]
    pub fn is_known(&self) -> bool {
        let set = [
            self.namespaces.is_some(),
            self.pods.is_some(),
            self.nodes.is_some(),
            self.networks.is_some(),
            self.domain_names.is_some(),
        ];
        set.into_iter().filter(|set| *set).count() == 1
    }
}

/// A port of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterPort {
    /// A range of ports of a protocol, both ends included; a single port is a range of one. A first that is above the last
    /// is no port at all.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
    /// The port of this name, of whatever protocol the pod has it in.
    Named(String),
    /// Something this version does not understand: the rule fails closed, as with an unknown peer.
    Unknown,
}

/// What the three kinds say in `spec`.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the spec of a policy")]
pub(crate) struct RawSpec {
    tier: Option<Tier>,
    priority: Option<i32>,
    subject: ClusterSubject,
    #[serde(default, deserialize_with = "null_is_none")]
    ingress: Option<Vec<RawRule>>,
    #[serde(default, deserialize_with = "null_is_none")]
    egress: Option<Vec<RawRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a rule")]
struct RawRule {
    name: Option<String>,
    action: Action,
    from: Option<Vec<ClusterPeer>>,
    to: Option<Vec<ClusterPeer>>,
    ports: Option<Vec<RawPort>>,
    protocols: Option<Vec<RawProtocol>>,
}

/// A port of v1alpha1.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a port")]
struct RawPort {
    port_number: Option<RawNumber>,
    named_port: Option<String>,
    port_range: Option<RawRange>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a port number")]
struct RawNumber {
    protocol: Option<String>,
    port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a range of ports")]
struct RawRange {
    protocol: Option<String>,
    start: u16,
    end: u16,
}

/// A protocol of v1alpha2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a protocol")]
struct RawProtocol {
    tcp: Option<RawTransport>,
    udp: Option<RawTransport>,
    sctp: Option<RawTransport>,
    destination_named_port: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "ports of a protocol")]
struct RawTransport {
    destination_port: Option<RawDestination>,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "a port")]
struct RawDestination {
    number: Option<u16>,
    range: Option<RawRange>,
}

fn null_is_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(value)
}

impl RawSpec {
    /// The policy it says; else the field that is wrong, and why.
    pub(crate) fn into_policy(self, kind: ClusterPolicyKind, name: String) -> Result<ClusterPolicy, (String, String)> {
        let wrong = |field: &str, reason: &str| Err((field.to_owned(), reason.to_owned()));
        let tier = match (kind, self.tier) {
            (ClusterPolicyKind::Admin, _) => Tier::Admin,
            (ClusterPolicyKind::BaselineAdmin, _) => Tier::Baseline,
            (ClusterPolicyKind::Cluster, Some(tier)) => tier,
            (ClusterPolicyKind::Cluster, None) => return wrong("spec.tier", "missing: give Admin or Baseline"),
        };
        let priority = match (kind, self.priority) {
            (ClusterPolicyKind::BaselineAdmin, _) => 0,
            (_, Some(priority)) if (0..=1000).contains(&priority) => priority,
            (_, Some(priority)) => {
                return Err(("spec.priority".to_owned(), format!("{priority}: give a number from 0 to 1000")));
            }
            (_, None) => return wrong("spec.priority", "missing: give a number from 0 to 1000"),
        };
        if self.subject.namespaces.is_some() == self.subject.pods.is_some() {
            return wrong("spec.subject", "give one of namespaces and pods");
        }
        let ingress = rules(self.ingress, kind, "ingress")?;
        let egress = rules(self.egress, kind, "egress")?;
        Ok(ClusterPolicy { kind, name, tier, priority, subject: self.subject, ingress, egress })
    }
}

/// The rules of one direction.
fn rules(
    raw: Option<Vec<RawRule>>,
    kind: ClusterPolicyKind,
    direction: &str,
) -> Result<Vec<ClusterRule>, (String, String)> {
    let rules = raw.into_iter().flatten().enumerate();
    rules.map(|(index, rule)| rule.into_rule(kind, direction, &format!("spec.{direction}[{index}]"))).collect()
}

impl RawRule {
    fn into_rule(self, kind: ClusterPolicyKind, direction: &str, path: &str) -> Result<ClusterRule, (String, String)> {
        let wrong = |field: &str, reason: &str| Err((format!("{path}.{field}"), reason.to_owned()));
        if kind == ClusterPolicyKind::BaselineAdmin && self.action == Action::Pass {
            return wrong("action", "Pass has no tier to go to: give Allow or Deny");
        }
        let (peers, field, other) = match direction {
            "ingress" => (self.from, "from", self.to),
            _ => (self.to, "to", self.from),
        };
        if other.is_some() {
            return wrong(field, "the other direction's field was given");
        }
        // An empty list is what a server refuses; here it matches nothing, as its text says.
        let Some(peers) = peers else {
            return wrong(field, "missing: give at least one peer");
        };
        let ports = match (self.ports, self.protocols) {
            (Some(ports), None) => Some(ports.into_iter().map(RawPort::into_port).collect::<Vec<_>>()),
            (None, Some(protocols)) => Some(protocols.into_iter().flat_map(RawProtocol::into_ports).collect()),
            (None, None) => None,
            (Some(_), Some(_)) => return wrong("protocols", "ports were given, too"),
        };
        // An empty list says nothing of ports.
        let ports = ports.filter(|ports| !ports.is_empty());
        Ok(ClusterRule { name: self.name.unwrap_or_default(), action: self.action, peers, ports })
    }
}

/// A range, of TCP where nothing is said.
fn range(protocol: Option<&str>, first: u16, last: u16) -> ClusterPort {
    match Protocol::from_name(protocol.unwrap_or("TCP")) {
        Some(protocol) => ClusterPort::Range { protocol, first, last },
        None => ClusterPort::Unknown,
    }
}

impl RawPort {
    fn into_port(self) -> ClusterPort {
        match (self.port_number, self.named_port, self.port_range) {
            (Some(number), None, None) => range(number.protocol.as_deref(), number.port, number.port),
            (None, Some(name), None) => ClusterPort::Named(name),
            (None, None, Some(ports)) => range(ports.protocol.as_deref(), ports.start, ports.end),
            _ => ClusterPort::Unknown,
        }
    }
}

impl RawProtocol {
    fn into_ports(self) -> Vec<ClusterPort> {
        let transports = [(Protocol::Tcp, self.tcp), (Protocol::Udp, self.udp), (Protocol::Sctp, self.sctp)];
        let transports = transports.into_iter().filter_map(|(protocol, ports)| {
            let destination = ports?.destination_port;
            Some(match destination.map(|port| (port.number, port.range)) {
                None => ClusterPort::Range { protocol, first: 0, last: u16::MAX },
                Some((Some(number), None)) => ClusterPort::Range { protocol, first: number, last: number },
                Some((None, Some(range))) => ClusterPort::Range { protocol, first: range.start, last: range.end },
                Some(_) => ClusterPort::Unknown,
            })
        });
        let ports: Vec<_> = transports.chain(self.destination_named_port.map(ClusterPort::Named)).collect();
        // Exactly one is to be set.
        if ports.len() == 1 { ports } else { vec![ClusterPort::Unknown] }
    }
}
