//! The lowered form: ordered tiers of rules, one for every dialect.
//!
//! A flow is judged tier by tier. In a tier the rules of the policies that select the subject are tried in order, and the
//! first that matches decides: *Allow* and *Deny* for good, *Pass* hands over to the next tier. Where none matches, the
//! tier's [`TierDefault`] says what happens. What no tier decides is allowed.
//!
//! # How the dialects map
//!
//! * `NetworkPolicy`: one tier with [`TierDefault::DenyIsolated`]. All rules are *Allow*, so order does not matter; they are
//!   kept in the order of namespace, name and index, and the first that matches is the one told of.
//! * `AdminNetworkPolicy`, `ClusterNetworkPolicy` of tier Admin: a tier before it, [`TierDefault::Pass`], by priority.
//! * `BaselineAdminNetworkPolicy`, `ClusterNetworkPolicy` of tier Baseline: a tier after it, likewise.
//! * Calico: each of its tiers is a [`Tier`] at its `order`; policies sort by `order` (none is last), then name. A tier's
//!   `defaultAction` applies where one of its policies selects the endpoint, which is what
//!   [`Policy::isolates`] and [`TierDefault::DenyIsolated`] say. `Log` matches without deciding and so makes no rule of its own.
//!   `notNets`, `notPorts`, `notSelector` and `notProtocol` are complements, which are exact on groups, prefixes and ports: a
//!   `notNets` is a block `0.0.0.0/0` with that `except`, a `notPorts` is what [`PortSet::difference`](crate::PortSet::difference) leaves. Kubernetes'
//!   own policies are a tier at 1,000,000; the namespace's profile is the default of allowing what no tier decided.
//! * Cilium: one tier with [`TierDefault::DenyIsolated`] in which rules of `ingressDeny` and `egressDeny` come
//!   before all others, Kubernetes' own allows included: deny over allow is then first match. `enableDefaultDeny` is
//!   [`Policy::isolates`]. Its CIDRs do not match pods: [`Options::cidrs_match_pods`](crate::Options). What speaks of layer 7 is to be
//!   refused, not widened.

use std::sync::Arc;

use chainkit_cluster::model::{Origin, Problem};

use crate::flow::{Direction, Transport};
use crate::prefix::Prefix;
use crate::world::{GroupId, SelectionId};

/// Everything that rules say, in the order it is to be tried.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The tiers in order.
    pub tiers: Vec<Tier>,
    /// The sets of peers that rules speak of.
    pub peer_sets: Vec<PeerSet>,
    /// The pods of each selection that peer sets name; `None` is every pod.
    pub selections: Vec<Option<Arc<[GroupId]>>>,
    /// Named ports that rules ask for; [`PortMatch::Named`] holds a place in here.
    pub port_names: Vec<String>,
    /// What could not be taken as it stands, and how it was taken.
    pub problems: Vec<Problem>,
}

/// A tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// `Admin`, `NetworkPolicy` or `Baseline`.
    pub name: &'static str,
    /// What happens to what no rule of it matches.
    pub default: TierDefault,
    /// Its policies in order.
    pub policies: Vec<Policy>,
}

/// What happens to what no rule of a tier matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierDefault {
    /// The next tier decides.
    Pass,
    /// It is denied where a policy of the tier isolates the subject in this direction, save what goes to the subject's
    /// own node; else the next tier decides.
    DenyIsolated,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; none for a cluster-wide one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub origin: Origin,
    /// Its priority within the tier, lower first; 0 where the kind has none.
    pub priority: i32,
    /// Groups it selects, in order. Only those that have a subject in the scope.
    pub subjects: Vec<GroupId>,
    /// Whether it isolates its subjects, by [`Direction::index`].
    pub isolates: [bool; 2],
    /// Its rules, each direction in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The direction it judges.
    pub direction: Direction,
    /// Its place in the list of its direction, from 0. A rule whose parts differ in what ports they take is several with
    /// one index.
    pub index: usize,
    /// The other side.
    pub peers: Peers,
    /// The ports.
    pub ports: Ports,
    /// What it does.
    pub action: Action,
    /// The line it stands at in its policy's file.
    pub line: usize,
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Allowed, whatever comes after.
    Allow,
    /// Denied, whatever comes after.
    Deny,
    /// The next tier decides.
    Pass,
}

/// The other side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peers {
    /// Anybody, inside and outside.
    Any,
    /// A set, by its place in [`Ruleset::peer_sets`].
    Set(u32),
}

/// Peers, any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerSet {
    /// Pods, by their place in [`Ruleset::selections`].
    pub pods: Vec<SelectionId>,
    /// Address blocks.
    pub blocks: Vec<Block>,
    /// Nodes, by their place in the cluster: every address of theirs.
    pub nodes: Vec<u32>,
}

/// A prefix without the prefixes excepted from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// The prefix.
    pub prefix: Prefix,
    /// What is left out of it.
    pub except: Vec<Prefix>,
}

/// The destination ports of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Everything, also what has no ports.
    Any,
    /// Any of these.
    List(Vec<PortMatch>),
}

/// Some destination ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortMatch {
    /// `first` to `last`, both included.
    Range {
        /// Of this transport.
        transport: Transport,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The ports of this name that the destination pod has.
    Named {
        /// By its place in [`Ruleset::port_names`].
        name: u32,
        /// Those of this transport; `None` is those of any.
        transport: Option<Transport>,
    },
}

/// A rule by its places in a [`Ruleset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// The tier.
    pub tier: u32,
    /// The policy in the tier.
    pub policy: u32,
    /// The rule in the policy.
    pub rule: u32,
}

impl Ruleset {
    /// A policy.
    #[must_use]
    pub fn policy(&self, tier: u32, policy: u32) -> Option<&Policy> {
        self.tiers.get(tier as usize)?.policies.get(policy as usize)
    }

    /// A rule.
    #[must_use]
    pub fn rule(&self, at: RuleRef) -> Option<&Rule> {
        self.policy(at.tier, at.policy)?.rules.get(at.rule as usize)
    }
}
