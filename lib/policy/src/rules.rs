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

use std::collections::BTreeSet;

use chainkit_cluster::model::{Origin, Problem};

use crate::flow::{Direction, Transport};
use crate::interned::Interned;
use crate::prefix::Prefix;
use crate::selections::{SelectionId, Selections};
use crate::world::GroupId;

/// Everything that rules say.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The tiers in order.
    pub tiers: Vec<Tier>,
    pub(crate) peer_sets: Interned<PeerSet>,
    pub(crate) selections: Selections,
    pub(crate) port_names: Interned<String>,
    /// Sets that hold every pod there is or will be.
    pub(crate) everywhere: BTreeSet<u32>,
}

/// A tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// `Admin`, `NetworkPolicy` or `Baseline`.
    pub name: &'static str,
    /// What happens to what no rule of it matches.
    pub default: TierDefault,
    /// Its policies, each at a place of its own for as long as it is there; a free place has one that selects nobody. In
    /// which order they are tried [`Policy::rank`] says.
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
#[derive(Clone, Debug, Default)]
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
    /// Its place among the policies of the cluster of its kind of kinds: network policies, or cluster-wide ones.
    pub(crate) source: usize,
    /// Groups it selects, in order. Only those that have a subject in the scope.
    pub subjects: Vec<GroupId>,
    /// Whether it isolates its subjects, by [`Direction::index`].
    pub isolates: [bool; 2],
    /// Its rules, each direction in order.
    pub rules: Vec<Rule>,
    /// What could not be taken as it stands, and how it was taken.
    pub problems: Vec<Problem>,
}

impl Policy {
    /// What orders the policies of a tier: the lowest is tried first.
    ///
    /// Network policies go by namespace and name. Cluster-wide ones go by priority; equal priorities have no order by
    /// specification, and kind and name make one that is the same each time. The singleton, which has no priority, comes
    /// after all that have one.
    #[must_use]
    pub fn rank(&self) -> (bool, i32, &str, Option<&str>, &str) {
        let is_singleton = self.kind == "BaselineAdminNetworkPolicy";
        (is_singleton, self.priority, self.kind, self.namespace.as_deref(), &self.name)
    }
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
    /// A set, by its number in [`Ruleset::peer_set`].
    Set(u32),
}

/// Peers, any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerSet {
    /// Pods, by their numbers in [`Ruleset::selections`].
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
        /// By its number in [`Ruleset::port_name`].
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

    pub(crate) fn policy_mut(&mut self, tier: u32, policy: u32) -> Option<&mut Policy> {
        self.tiers.get_mut(tier as usize)?.policies.get_mut(policy as usize)
    }

    /// A rule.
    #[must_use]
    pub fn rule(&self, at: RuleRef) -> Option<&Rule> {
        self.policy(at.tier, at.policy)?.rules.get(at.rule as usize)
    }

    /// A set of peers; [`Peers::Set`] holds its number.
    #[must_use]
    pub fn peer_set(&self, id: u32) -> Option<&PeerSet> {
        self.peer_sets.get(id)
    }

    /// A selection of pods, by the number that [`PeerSet::pods`] holds.
    #[must_use]
    pub fn selections(&self) -> &Selections {
        &self.selections
    }

    /// The name of a port, by the number that [`PortMatch::Named`] holds.
    #[must_use]
    pub fn port_name(&self, id: u32) -> Option<&str> {
        self.port_names.get(id).map(String::as_str)
    }

    /// Whether a set of peers holds every pod there is or will be.
    #[must_use]
    pub fn is_everywhere(&self, set: u32) -> bool {
        self.everywhere.contains(&set)
    }

    /// Holds a set of peers once more, one number for equal ones.
    pub(crate) fn hold_set(&mut self, set: PeerSet) -> u32 {
        let (id, new) = self.peer_sets.hold(set);
        if new && let Some(set) = self.peer_sets.get(id) {
            set.pods.iter().for_each(|id| self.selections.hold_again(*id));
            if set.pods.iter().any(|id| self.selections.get(*id).is_some_and(|selection| selection.is_everywhere)) {
                self.everywhere.insert(id);
            }
        }
        id
    }

    /// Lets go of a set of peers once.
    pub(crate) fn release_set(&mut self, id: u32) {
        if let Some(gone) = self.peer_sets.release(id) {
            gone.pods.into_iter().for_each(|id| self.selections.release(id));
            self.everywhere.remove(&id);
        }
    }

    /// Lets go of what rules hold that are no more.
    pub(crate) fn release(&mut self, rules: &[Rule]) {
        for rule in rules {
            if let Peers::Set(set) = rule.peers {
                self.release_set(set);
            }
            for name in rule.ports.names() {
                self.port_names.release(name);
            }
        }
    }
}

impl Ports {
    /// The names in them, by the number that [`PortMatch::Named`] holds.
    pub(crate) fn names(&self) -> impl Iterator<Item = u32> + '_ {
        let list = if let Self::List(list) = self { list.as_slice() } else { &[] };
        list.iter().filter_map(|port| if let PortMatch::Named { name, .. } = port { Some(*name) } else { None })
    }

    pub(crate) fn has_names(&self) -> bool {
        self.names().next().is_some()
    }

    pub(crate) fn without_names(&self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::List(list) => {
                Self::List(list.iter().filter(|port| !matches!(port, PortMatch::Named { .. })).copied().collect())
            }
        }
    }
}
