//! Policies: what an API server would not take is told, and not taken here either.
//!
//! What it would take and what means something else than it seems to is not told here, but by whoever looks for it.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use super::kinds::Key;
use crate::model::{ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterRule, ClusterSubject, Protocol, RawSpec};
use crate::selector;

/// A field, and what is wrong with it.
type Wrong = (String, String);

/// A cluster-wide policy as it is written.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a policy")]
pub(super) struct RawPolicy {
    spec: RawSpec,
}

/// Checks a network policy and fills in its namespace. Of its metadata only name and namespace are kept: the rest means
/// nothing to policy, and who managed which field is often the longest part.
pub(super) fn network_policy(mut policy: NetworkPolicy, key: &Key) -> Result<NetworkPolicy, Wrong> {
    let (namespace, name) = (Some(key.namespace.clone()), Some(key.name.clone()));
    policy.metadata = ObjectMeta { namespace, name, ..ObjectMeta::default() };
    // A server's is never missing: one that was not given selects every pod, and isolates it for ingress.
    let spec = policy.spec.get_or_insert_default();
    check_selector(spec.pod_selector.as_ref(), "spec.podSelector")?;
    for (index, kind) in spec.policy_types.iter().flatten().enumerate() {
        if !matches!(kind.as_str(), "Ingress" | "Egress") {
            return Err((format!("spec.policyTypes[{index}]"), format!("{:?}: give Ingress or Egress", short(kind))));
        }
    }
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        check_peers(rule.from.as_ref(), &format!("spec.ingress[{index}].from"))?;
        check_ports(rule.ports.as_ref(), &format!("spec.ingress[{index}].ports"))?;
    }
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        check_peers(rule.to.as_ref(), &format!("spec.egress[{index}].to"))?;
        check_ports(rule.ports.as_ref(), &format!("spec.egress[{index}].ports"))?;
    }
    Ok(policy)
}

fn check_peers(peers: Option<&Vec<NetworkPolicyPeer>>, path: &str) -> Result<(), Wrong> {
    for (index, peer) in peers.into_iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        check_selector(peer.pod_selector.as_ref(), &format!("{path}.podSelector"))?;
        check_selector(peer.namespace_selector.as_ref(), &format!("{path}.namespaceSelector"))?;
        match &peer.ip_block {
            Some(_) if peer.pod_selector.is_some() || peer.namespace_selector.is_some() => {
                return Err((path, "ipBlock stands alone: give it a peer of its own".to_owned()));
            }
            Some(block) => {
                check_cidr(&block.cidr, || format!("{path}.ipBlock.cidr"))?;
                for (index, except) in block.except.iter().flatten().enumerate() {
                    check_cidr(except, || format!("{path}.ipBlock.except[{index}]"))?;
                }
            }
            None if peer.pod_selector.is_none() && peer.namespace_selector.is_none() => {
                return Err((path, "an empty peer: give podSelector, namespaceSelector or ipBlock".to_owned()));
            }
            None => {}
        }
    }
    Ok(())
}

fn check_ports(ports: Option<&Vec<NetworkPolicyPort>>, path: &str) -> Result<(), Wrong> {
    for (index, port) in ports.into_iter().flatten().enumerate() {
        let field = |name: &str| format!("{path}[{index}].{name}");
        if let Some(protocol) = &port.protocol
            && Protocol::from_name(protocol).is_none()
        {
            return Err((field("protocol"), format!("{:?}: give TCP, UDP or SCTP", short(protocol))));
        }
        let in_range = |number: i32| (1..=65535).contains(&number);
        match &port.port {
            Some(IntOrString::Int(number)) if !in_range(*number) => {
                return Err((field("port"), format!("{number}: give a number from 1 to 65535")));
            }
            Some(IntOrString::String(name)) if name.is_empty() || name.len() > 15 => {
                return Err((field("port"), format!("{:?}: a port's name has 1 to 15 characters", short(name))));
            }
            _ => {}
        }
        match (port.end_port, &port.port) {
            (None, _) => {}
            (Some(end), _) if !in_range(end) => {
                return Err((field("endPort"), format!("{end}: give a number from 1 to 65535")));
            }
            (Some(_), None | Some(IntOrString::String(_))) => {
                return Err((field("endPort"), "needs a port that is a number".to_owned()));
            }
            (Some(_), Some(IntOrString::Int(_))) => {}
        }
    }
    Ok(())
}

/// Checks and lowers a cluster-wide policy.
pub(super) fn cluster_policy(policy: RawPolicy, kind: ClusterPolicyKind, key: &Key) -> Result<ClusterPolicy, Wrong> {
    let policy = policy.spec.into_policy(kind, key.name.clone())?;
    let ClusterSubject { namespaces, pods } = &policy.subject;
    check_selector(namespaces.as_ref(), "spec.subject.namespaces")?;
    if let Some(pods) = pods {
        check_selector(Some(&pods.namespace_selector), "spec.subject.pods.namespaceSelector")?;
        check_selector(Some(&pods.pod_selector), "spec.subject.pods.podSelector")?;
    }
    check_rules(&policy.ingress, "ingress", "from")?;
    check_rules(&policy.egress, "egress", "to")?;
    Ok(policy)
}

fn check_rules(rules: &[ClusterRule], direction: &str, peers: &str) -> Result<(), Wrong> {
    for (index, rule) in rules.iter().enumerate() {
        for (number, peer) in rule.peers.iter().enumerate() {
            check_cluster_peer(peer, &format!("spec.{direction}[{index}].{peers}[{number}]"))?;
        }
    }
    Ok(())
}

fn check_cluster_peer(peer: &ClusterPeer, path: &str) -> Result<(), Wrong> {
    check_selector(peer.namespaces.as_ref(), &format!("{path}.namespaces"))?;
    check_selector(peer.nodes.as_ref(), &format!("{path}.nodes"))?;
    if let Some(pods) = &peer.pods {
        check_selector(Some(&pods.namespace_selector), &format!("{path}.pods.namespaceSelector"))?;
        check_selector(Some(&pods.pod_selector), &format!("{path}.pods.podSelector"))?;
    }
    for (index, cidr) in peer.networks.iter().flatten().enumerate() {
        check_cidr(cidr, || format!("{path}.networks[{index}]"))?;
    }
    Ok(())
}

fn check_selector(selector: Option<&LabelSelector>, path: &str) -> Result<(), Wrong> {
    match selector.map(selector::check) {
        Some(Err((field, reason))) => Err((format!("{path}.{field}"), reason)),
        _ => Ok(()),
    }
}

fn check_cidr(cidr: &str, path: impl FnOnce() -> String) -> Result<(), Wrong> {
    match cidr.parse::<IpNet>() {
        Ok(_) => Ok(()),
        Err(_) => Err((path(), format!("{:?} is no CIDR: give one such as 10.0.0.0/8 or fd00::/8", short(cidr)))),
    }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
