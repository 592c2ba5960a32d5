//! Findings on `NetworkPolicy`.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use chainkit_cluster::model::{Located, Protocol};
use chainkit_cluster::selector;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Severity;
use super::addresses::Addresses;
use super::network_rules::{self, Text};
use super::pods::{Group, Pods, PortNames};
use super::told::{self, Told};

/// Everything that can be looked at in one policy.
struct Look<'a, 'b> {
    policy: &'a Located<NetworkPolicy>,
    namespace: &'a str,
    subjects: Rc<BTreeSet<Group>>,
    pods: &'a Pods<'a>,
    addresses: &'a Addresses,
    told: &'b mut Told<'a>,
}

/// A rule of either direction.
struct Rule<'a> {
    path: String,
    peers_path: String,
    peers: Option<&'a Vec<NetworkPolicyPeer>>,
    ports: Option<&'a Vec<NetworkPolicyPort>>,
    ingress: bool,
    /// How many of its peers are address blocks.
    blocks: usize,
}

pub(super) fn look<'a>(
    policy: &'a Located<NetworkPolicy>,
    pods: &'a Pods<'a>,
    addresses: &'a Addresses,
    told: &mut Told<'a>,
) {
    let spec = policy.value.spec.as_ref();
    let namespace = policy.value.metadata.namespace.as_deref().unwrap_or_default();
    let subjects = pods.within(namespace, spec.and_then(|spec| spec.pod_selector.as_ref()));
    let mut look = Look { policy, namespace, subjects, pods, addresses, told };
    look.subject();
    look.types();
    let rules = look.rules();
    for rule in &rules {
        look.peers(rule);
        look.ports(rule);
    }
    look.covered(&rules);
}

impl<'a> Look<'a, '_> {
    fn rules(&self) -> Vec<Rule<'a>> {
        let spec = self.policy.value.spec.as_ref();
        let ingress = spec.and_then(|spec| spec.ingress.as_ref()).into_iter().flatten().enumerate();
        let ingress = ingress.map(|(index, rule)| Rule {
            path: format!("spec.ingress[{index}]"),
            peers_path: format!("spec.ingress[{index}].from"),
            peers: rule.from.as_ref(),
            ports: rule.ports.as_ref(),
            ingress: true,
            blocks: blocks(rule.from.as_ref()),
        });
        let egress = spec.and_then(|spec| spec.egress.as_ref()).into_iter().flatten().enumerate();
        let egress = egress.map(|(index, rule)| Rule {
            path: format!("spec.egress[{index}]"),
            peers_path: format!("spec.egress[{index}].to"),
            peers: rule.to.as_ref(),
            ports: rule.ports.as_ref(),
            ingress: false,
            blocks: blocks(rule.to.as_ref()),
        });
        ingress.chain(egress).collect()
    }

    /// Whom the policy is about.
    fn subject(&mut self) {
        let path = "spec.podSelector";
        let selector = self.policy.value.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        // What is null and what is missing are one thing to the server.
        if !self.policy.lines.contains(path) || selector.is_none() {
            self.told.push(
                "missing-pod-selector",
                Severity::Warning,
                path,
                format!("without a podSelector it selects every pod of namespace {}", self.namespace),
                "write podSelector: {} if that is meant, or select the pods it is for",
            );
        }
        self.empty_labels(selector, path);
        if self.subjects.is_empty() {
            self.told.push(
                "selects-nothing",
                Severity::Warning,
                path,
                format!("it selects no pod of namespace {}: it does nothing", self.namespace),
                "compare its labels and its namespace with those of the pods it is for",
            );
            return;
        }
        let (mut on_host, mut others) = (0, 0);
        for pod in self.pods.of(&self.subjects) {
            *(if pod.host_network { &mut on_host } else { &mut others }) += 1;
        }
        if on_host > 0 {
            let severity = if others == 0 { Severity::Warning } else { Severity::Info };
            self.told.push(
                "host-network-subject",
                severity,
                path,
                format!(
                    "{on_host} of the {} pods it selects are on their node's network: no policy holds for them",
                    on_host + others
                ),
                "take hostNetwork from the pods, or protect the node by other means",
            );
        }
    }

    /// `matchLabels` that is there and says nothing: most likely its labels were lost.
    fn empty_labels(&mut self, selector: Option<&LabelSelector>, path: &str) {
        let labels = format!("{path}.matchLabels");
        if selector.is_some_and(selector::is_empty) && self.policy.lines.contains(&labels) {
            self.told.push(
                "empty-match-labels",
                Severity::Warning,
                &labels,
                format!("{labels} is empty: the selector selects all"),
                "write {} for the selector if all is meant, or give the labels",
            );
        }
    }

    /// A selector that is there as null: it is no selector at all, and not an empty one.
    fn null_selector(&mut self, selector: Option<&LabelSelector>, peer: &str, name: &str, means: &str) {
        let path = format!("{peer}.{name}");
        if selector.is_none() && self.policy.lines.contains(&path) {
            self.told.push(
                "null-selector",
                Severity::Warning,
                &path,
                format!("{name} is null, which is as if it were not there: the peer is of {means}"),
                "write {} to select all, or leave it out",
            );
        }
    }

    /// Which directions are isolated, and which rules count.
    fn types(&mut self) {
        let Some(spec) = self.policy.value.spec.as_ref() else {
            return;
        };
        let has = |rules: bool, name: &str| rules && self.policy.lines.contains(name);
        let ingress = has(spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty()), "spec.ingress");
        let egress = has(spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()), "spec.egress");
        let types = spec.policy_types.as_deref().unwrap_or_default();
        let lists = |name: &str| types.iter().any(|kind| kind == name);
        if types.is_empty() {
            if egress && !ingress && !self.policy.lines.contains("spec.ingress") {
                self.told.push(
                    "ingress-implied",
                    Severity::Warning,
                    "spec.egress",
                    "it has egress rules alone and no policyTypes: it denies all ingress, too".to_owned(),
                    "write policyTypes: [Egress], or [Ingress, Egress] if that is meant",
                );
            }
            if !egress && self.policy.lines.contains("spec.egress") {
                self.told.push(
                    "egress-not-isolated",
                    Severity::Warning,
                    "spec.egress",
                    "an empty egress without policyTypes isolates nothing: all egress stays allowed".to_owned(),
                    "write policyTypes: [Egress] to deny all egress, or leave egress out",
                );
            }
            return;
        }
        for (rules, name, field) in [(ingress, "Ingress", "spec.ingress"), (egress, "Egress", "spec.egress")] {
            if rules && !lists(name) {
                self.told.push(
                    if name == "Ingress" { "ingress-ignored" } else { "egress-ignored" },
                    Severity::Error,
                    field,
                    format!("policyTypes does not list {name}: these rules count for nothing"),
                    format!("add {name} to policyTypes, or take the rules out"),
                );
            }
        }
    }

    /// The other side of a rule.
    fn peers(&mut self, rule: &Rule<'_>) {
        let path = &rule.peers_path;
        if self.policy.lines.contains(path) && rule.peers.is_none_or(Vec::is_empty) {
            self.told.push(
                "empty-peers",
                Severity::Warning,
                path,
                format!("{path} is empty: the rule allows everybody, not nobody"),
                "leave it out if everybody is meant; to allow nobody, take the rule out",
            );
        }
        for (index, peer) in rule.peers.into_iter().flatten().enumerate() {
            let path = format!("{path}[{index}]");
            self.null_selector(
                peer.namespace_selector.as_ref(),
                &path,
                "namespaceSelector",
                "the policy's own namespace",
            );
            self.null_selector(peer.pod_selector.as_ref(), &path, "podSelector", "every pod");
            self.empty_labels(peer.pod_selector.as_ref(), &format!("{path}.podSelector"));
            self.empty_labels(peer.namespace_selector.as_ref(), &format!("{path}.namespaceSelector"));
            if let Some(block) = &peer.ip_block {
                self.block(block, &format!("{path}.ipBlock"));
            } else if self.peer_groups(peer).is_empty() {
                self.told.push(
                    "peer-selects-nothing",
                    Severity::Info,
                    &path,
                    "no pod that was read is such a peer".to_owned(),
                    "compare its labels with those of the pods and namespaces that are meant",
                );
            }
            let before = index.checked_sub(1).and_then(|before| rule.peers?.get(before));
            let alone = |peer: &NetworkPolicyPeer| (peer.pod_selector.is_some(), peer.namespace_selector.is_some());
            if let Some(before) = before
                && matches!(
                    (alone(before), alone(peer)),
                    ((true, false), (false, true)) | ((false, true), (true, false))
                )
            {
                self.told.push(
                    "peers-are-alternatives",
                    Severity::Info,
                    &path,
                    "podSelector and namespaceSelector stand in two peers: either is enough".to_owned(),
                    "put both under one dash if both are to hold",
                );
            }
        }
    }

    fn peer_groups(&self, peer: &NetworkPolicyPeer) -> Rc<BTreeSet<Group>> {
        match &peer.namespace_selector {
            Some(namespaces) => self.pods.among(namespaces, peer.pod_selector.as_ref()),
            None => self.pods.within(self.namespace, peer.pod_selector.as_ref()),
        }
    }

    /// A block and what is excepted from it.
    fn block(&mut self, block: &IPBlock, path: &str) {
        let Ok(cidr) = block.cidr.parse::<IpNet>() else {
            return;
        };
        if cidr.addr() != cidr.network() {
            self.told.push(
                "host-bits",
                Severity::Info,
                &format!("{path}.cidr"),
                format!("{} means {}", block.cidr, cidr.trunc()),
                "write the network's first address",
            );
        }
        if self.addresses.only_virtual(&cidr) {
            self.told.push(
                "only-virtual-addresses",
                Severity::Warning,
                &format!("{path}.cidr"),
                format!("{} covers addresses of services alone, as far as can be told: a policy meets the pods behind them, so it may match nothing", block.cidr),
                "select the pods of the service by their labels",
            );
        }
        for (index, text) in block.except.iter().flatten().enumerate() {
            let path = format!("{path}.except[{index}]");
            let Ok(except) = text.parse::<IpNet>() else {
                continue;
            };
            let inside = cidr.contains(&except.network()) && except.prefix_len() >= cidr.prefix_len();
            if !inside {
                self.told.push(
                    "except-outside-cidr",
                    Severity::Error,
                    &path,
                    format!("{text} does not lie inside of {}: it excepts nothing that was allowed", block.cidr),
                    "except limits its own ipBlock alone, and denies nothing elsewhere; give a range inside of its cidr",
                );
            } else if except.prefix_len() == cidr.prefix_len() {
                self.told.push(
                    "except-covers-cidr",
                    Severity::Error,
                    &path,
                    format!("{text} excepts all of {}: the block matches nothing", block.cidr),
                    "except a part of it, or take the block out",
                );
            }
        }
    }

    /// The ports of a rule.
    fn ports(&mut self, rule: &Rule<'_>) {
        let path = format!("{}.ports", rule.path);
        if self.policy.lines.contains(&path) && rule.ports.is_none_or(Vec::is_empty) {
            self.told.push(
                "empty-ports",
                Severity::Warning,
                &path,
                format!("{path} is empty: the rule allows every port, not none"),
                "leave it out if every port is meant",
            );
        }
        let names = OnceCell::new();
        for (index, port) in rule.ports.into_iter().flatten().enumerate() {
            let path = format!("{path}[{index}]");
            match (&port.port, port.end_port) {
                (Some(IntOrString::Int(first)), Some(last)) if last < *first => self.told.push(
                    "end-port-below-port",
                    Severity::Error,
                    &format!("{path}.endPort"),
                    format!("endPort {last} is below port {first}: it matches nothing"),
                    "give the lower as port and the higher as endPort",
                ),
                (Some(IntOrString::String(name)), _) => {
                    self.named_port(rule, (name, port.protocol.as_deref()), &names, &path);
                }
                _ => {}
            }
        }
    }

    /// A port's name counts where the destination pod has it, under its protocol.
    fn named_port(
        &mut self,
        rule: &Rule<'_>,
        (name, protocol): (&str, Option<&str>),
        names: &OnceCell<PortNames<'a>>,
        path: &str,
    ) {
        let protocol = Protocol::from_name(protocol.unwrap_or("TCP"));
        let field = format!("{path}.port");
        let shown = told::name(name);
        let names = names.get_or_init(|| PortNames::of(self.pods.of(&self.destinations(rule))));
        if !rule.ingress && rule.blocks > 0 {
            let alone = rule.peers.is_some_and(|peers| peers.len() == rule.blocks);
            self.told.push(
                "named-port-on-ip-block",
                if alone { Severity::Error } else { Severity::Warning },
                &field,
                format!("{shown:?} is a name, and an ipBlock has no names: the rule matches nothing of it"),
                "give the port's number",
            );
            if alone {
                return;
            }
        }
        let protocols = names.protocols(name);
        let has = protocol.is_some_and(|protocol| protocols.contains(&protocol));
        // Where nobody is selected, that is the finding.
        if names.any() && !has {
            let protocol = protocol.map_or("TCP", Protocol::name);
            let (message, remedy) = if protocols.is_empty() {
                (
                    format!("no pod it is for has a {protocol} port named {shown:?}"),
                    "name a port of the pods' containers, or give its number",
                )
            } else {
                (
                    format!("no pod it is for has a {protocol} port named {shown:?}, but one of another protocol"),
                    "name the protocol of the port",
                )
            };
            self.told.push("unknown-port-name", Severity::Warning, &field, message, remedy);
        }
    }

    /// Pods at whose ports a rule ends.
    fn destinations(&self, rule: &Rule<'_>) -> Rc<BTreeSet<Group>> {
        if rule.ingress {
            return Rc::clone(&self.subjects);
        }
        match rule.peers.filter(|peers| !peers.is_empty()) {
            None => self.pods.among(&LabelSelector::default(), None),
            Some(peers) => {
                let selected = peers.iter().filter(|peer| peer.ip_block.is_none());
                Rc::new(selected.fold(BTreeSet::new(), |mut all, peer| {
                    all.extend(self.peer_groups(peer).iter());
                    all
                }))
            }
        }
    }

    /// Rules that another rule of the policy leaves nothing to allow.
    fn covered(&mut self, rules: &[Rule<'_>]) {
        let texts = rules.iter().map(|rule| Text { ingress: rule.ingress, peers: rule.peers, ports: rule.ports });
        let found = network_rules::covered(&texts.collect::<Vec<_>>());
        for (rule, by) in found.pairs {
            if let (Some(rule), Some(by)) = (rules.get(rule), rules.get(by)) {
                self.told.push(
                    "unreachable-rule",
                    Severity::Warning,
                    &rule.path,
                    format!("{} allows all that this rule allows: it changes nothing", by.path),
                    "take it out, or narrow the other",
                );
            }
        }
        if let Some(rule) = rules.get(found.compared) {
            self.told.push(
                "unreachable-not-looked-for",
                Severity::Info,
                &rule.path,
                format!(
                    "whether other rules leave {} of the {} rules anything to allow was not looked for: they have too many \
                     peers and ports to compare",
                    rules.len() - found.compared,
                    rules.len()
                ),
                "split the policy, or ask polload redundant",
            );
        }
    }
}

/// How many peers are address blocks.
fn blocks(peers: Option<&Vec<NetworkPolicyPeer>>) -> usize {
    peers.into_iter().flatten().filter(|peer| peer.ip_block.is_some()).count()
}
