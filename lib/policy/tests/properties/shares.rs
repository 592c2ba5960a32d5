//! How much of what policies can say the cases reach.

use std::collections::BTreeMap;

use chainkit_cluster::model::{Action, Cluster, ClusterPort};
use chainkit_policy::{Party, Verdict};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Features that are taken away to see whether a verdict changes.
pub(crate) const REMOVABLE: [&str; 7] =
    ["tiers", "Pass", "except", "named port", "endPort", "service", "internalTrafficPolicy"];
/// A feature of its own kind: that an address of it was denied.
pub(crate) const V6: &str = "IPv6";

/// What was counted.
#[derive(Default)]
pub(crate) struct Shares {
    pub(crate) cases: usize,
    /// In how many of them the features that decide were looked for.
    pub(crate) measured: usize,
    reached: BTreeMap<&'static str, usize>,
    flows: usize,
    denied: usize,
}

impl Shares {
    pub(crate) fn verdict(&mut self, verdict: Verdict) {
        self.flows += 1;
        self.denied += usize::from(verdict == Verdict::Denied);
    }

    /// A feature decided in one of the cases that are measured.
    pub(crate) fn reached(&mut self, feature: &'static str) {
        *self.reached.entry(feature).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.measured += other.measured;
        self.flows += other.flows;
        self.denied += other.denied;
        for (feature, count) in other.reached {
            *self.reached.entry(feature).or_default() += count;
        }
    }

    /// Prints the shares, and fails where `enough` cases were seen to say that one is too small.
    pub(crate) fn assert(&self, enough: bool) {
        let per_mille = |part: usize, whole: usize| part * 1000 / whole.max(1);
        println!("{} cases, {} flows; features measured in {} cases", self.cases, self.flows, self.measured);
        for feature in REMOVABLE.into_iter().chain([V6]) {
            let share = per_mille(self.reached.get(feature).copied().unwrap_or(0), self.measured);
            println!("{feature}: decides in {}.{} % of cases", share / 10, share % 10);
            assert!(!enough || share >= 50, "{feature} decides in less than 5 % of cases");
        }
        let denied = per_mille(self.denied, self.flows);
        println!("denied: {}.{} % of verdicts", denied / 10, denied % 10);
        assert!(!enough || (200..=800).contains(&denied), "a test of answers that are all alike");
    }
}

/// The cluster without something, so that it shows in which flows that something decides.
pub(crate) fn without(cluster: &Cluster, what: &str) -> Cluster {
    let mut cluster = cluster.clone();
    for located in &mut cluster.cluster_policies {
        let policy = &mut located.value;
        for rules in [&mut policy.ingress, &mut policy.egress] {
            match what {
                "tiers" => rules.clear(),
                "Pass" => rules.retain(|rule| rule.action != Action::Pass),
                "named port" => rules.iter_mut().for_each(|rule| {
                    rule.ports.iter_mut().for_each(|ports| ports.retain(|port| !matches!(port, ClusterPort::Named(_))));
                }),
                _ => {}
            }
        }
    }
    for spec in cluster.network_policies.iter_mut().filter_map(|located| located.value.spec.as_mut()) {
        let ingress = spec.ingress.iter_mut().flatten().map(|rule| (&mut rule.from, &mut rule.ports));
        let egress = spec.egress.iter_mut().flatten().map(|rule| (&mut rule.to, &mut rule.ports));
        for (peers, ports) in ingress.chain(egress) {
            for block in peers.iter_mut().flatten().filter_map(|peer| peer.ip_block.as_mut()) {
                if what == "except" {
                    block.except = None;
                }
            }
            for port in ports.iter_mut().flatten() {
                match what {
                    "endPort" => port.end_port = None,
                    "named port" if matches!(port.port, Some(IntOrString::String(_))) => {
                        port.port = Some(IntOrString::Int(61_616));
                    }
                    _ => {}
                }
            }
        }
    }
    match what {
        "service" => cluster.services.clear(),
        "internalTrafficPolicy" => cluster.services.iter_mut().for_each(|service| service.stays_on_node = false),
        _ => {}
    }
    cluster
}

pub(crate) fn is_v6(party: Party) -> bool {
    match party {
        Party::Address(address) | Party::Workload { address: Some(address), .. } => address.is_ipv6(),
        _ => false,
    }
}
