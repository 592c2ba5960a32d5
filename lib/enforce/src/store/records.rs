//! What is said in the files, beside tables and objects.

use std::collections::BTreeMap;
use std::net::IpAddr;

use chainkit_cluster::model::Mode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which folder of policy is in force, in `active.json`.
///
/// Fields that this version does not know are kept, so that an older program does not lose what a newer one wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Always `PolicyMarker`.
    pub kind: String,
    /// The generation that judges.
    pub generation: u32,
    /// The folder it was made from.
    pub folder: String,
    /// The folder of the generation before, while the kernel may go back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// When the kernel goes back, in seconds since 1970; none once it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// The boot that generation and deadline are of, as `/proc/sys/kernel/random/boot_id` has it.
    #[serde(default)]
    pub boot_id: String,
    /// When it was put in force, RFC 3339.
    #[serde(default)]
    pub applied_at: String,
    /// When its objects were seen last, RFC 3339.
    #[serde(default)]
    pub objects_at: String,
    /// The node that its pods run on.
    #[serde(default)]
    pub node: String,
    /// What it was applied with, by the long name of the option.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// What a `polload watch` was told last and cannot have in force, in `refused.json`: what was in force before stays.
///
/// It holds until it is mended or gone, or other policy is put in force; also once the one who wrote it is no more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Each of them, in order.
    #[serde(default)]
    pub objects: Vec<Refusal>,
    /// How many more there are.
    #[serde(default)]
    pub more: usize,
}

/// What cannot be in force, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The object, as `Kind/namespace/name`; empty where it is all that came since.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// When it was told of, RFC 3339.
    #[serde(default)]
    pub since: String,
}

/// The pods of this node, and what those that are not here yet are to have; rewritten whole.
///
/// Here and below fields that this version does not know are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pods {
    /// By `namespace/name`.
    #[serde(default)]
    pub pods: BTreeMap<String, PodEntry>,
    /// Of a pod that is not among [`pods`](Self::pods), by its namespace.
    #[serde(default)]
    pub namespaces: BTreeMap<String, NamespaceEntry>,
    /// Of a pod whose namespace is not known either.
    #[serde(default)]
    pub others: NamespaceEntry,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodEntry {
    /// Its UID; empty where nobody knows. A pod of another UID is another pod.
    #[serde(default)]
    pub uid: String,
    /// Number of its rules; 0: no policy selects it.
    pub policy: u32,
    /// Its addresses, for endpoints of which nobody knows more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// How verdicts about it are used.
    pub mode: Mode,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// What a pod has of which nothing is known but its namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceEntry {
    /// How verdicts about it are used.
    pub mode: Mode,
    /// Directions in which it is isolated until more is known, bits of [`flag`](chainkit_abi::flag).
    #[serde(default)]
    pub isolate: u8,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A rule by its number, as the kernel tells it: a line of `rules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Its number, from [`rule::FIRST`](chainkit_abi::rule::FIRST) on.
    pub number: u32,
    /// Which packets it is about.
    pub direction: RuleDirection,
    /// What it does.
    pub action: RuleAction,
    /// The tier it is in, such as `NetworkPolicy`.
    pub tier: String,
    /// Its place among the rules of its policy for this direction, from 0; none where it is the policy as a whole.
    #[serde(default)]
    pub index: Option<u32>,
    /// Its policy; of [`RuleAction::Isolated`] all policies that isolate.
    #[serde(default)]
    pub policies: Vec<PolicyRef>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl RuleEntry {
    /// Whether it is the rule that another is, under whatever number: one that is worded anew in its place is the same.
    #[must_use]
    pub fn is_rule(&self, other: &Self) -> bool {
        (self.direction, &self.tier, self.index, &self.policies)
            == (other.direction, &other.tier, other.index, &other.policies)
    }
}

/// Whose opening a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleDirection {
    /// What others open to the pod.
    Ingress,
    /// What the pod opens.
    Egress,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// It lets pass.
    Allow,
    /// It denies.
    Deny,
    /// No rule allows, and policies isolate the pod.
    Isolated,
}

/// A policy by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyRef {
    /// Its kind, such as `NetworkPolicy`.
    pub kind: String,
    /// Its namespace; empty for one of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a line of `rules` says; the last line of a number holds.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleChange {
    /// The number is this rule's.
    Set(RuleEntry),
    /// The number is no rule's any more.
    Gone(u32),
}

/// What every line of `rules` has.
#[derive(Serialize, Deserialize)]
struct RuleLine {
    number: u32,
    #[serde(default)]
    gone: bool,
}

impl Serialize for RuleChange {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(rule) => rule.serialize(to),
            Self::Gone(number) => RuleLine { number: *number, gone: true }.serialize(to),
        }
    }
}

impl RuleChange {
    /// What a line says.
    pub(super) fn read(line: &[u8]) -> serde_json::Result<Self> {
        let head: RuleLine = serde_json::from_slice(line)?;
        Ok(if head.gone { Self::Gone(head.number) } else { Self::Set(serde_json::from_slice(line)?) })
    }
}
