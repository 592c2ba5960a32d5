//! Fields that no version of a policy has: a server drops them or refuses them, and what they were to say is not said.

use chainkit_cluster::model::Lines;

use super::Severity;
use super::told::{self, Told};

/// What may stand inside of something.
enum Schema {
    /// Anything.
    Any,
    /// These fields.
    Fields(&'static [(&'static str, &'static Schema)]),
    /// A list of these.
    List(&'static Schema),
}

use Schema::{Any, Fields, List};

static ANY: Schema = Any;
static REQUIREMENTS: Schema = List(&Fields(&[("key", &ANY), ("operator", &ANY), ("values", &ANY)]));
static SELECTOR: Schema = Fields(&[("matchLabels", &ANY), ("matchExpressions", &REQUIREMENTS)]);
static POD_SELECTOR: Schema = Fields(&[("namespaceSelector", &SELECTOR), ("podSelector", &SELECTOR)]);

static BLOCK: Schema = Fields(&[("cidr", &ANY), ("except", &ANY)]);
static PEERS: Schema =
    List(&Fields(&[("podSelector", &SELECTOR), ("namespaceSelector", &SELECTOR), ("ipBlock", &BLOCK)]));
static PORTS: Schema = List(&Fields(&[("protocol", &ANY), ("port", &ANY), ("endPort", &ANY)]));
static NETWORK_POLICY: Schema = Fields(&[
    ("podSelector", &SELECTOR),
    ("policyTypes", &ANY),
    ("ingress", &List(&Fields(&[("from", &PEERS), ("ports", &PORTS)]))),
    ("egress", &List(&Fields(&[("to", &PEERS), ("ports", &PORTS)]))),
]);

static SUBJECT: Schema = Fields(&[("namespaces", &SELECTOR), ("pods", &POD_SELECTOR)]);
// What a peer says that is not known here is told elsewhere: it makes the rule fail closed.
static CLUSTER_PEERS: Schema = List(&Any);
static NUMBER: Schema = Fields(&[("protocol", &ANY), ("port", &ANY)]);
static RANGE: Schema = Fields(&[("protocol", &ANY), ("start", &ANY), ("end", &ANY)]);
static CLUSTER_PORTS: Schema = List(&Fields(&[("portNumber", &NUMBER), ("namedPort", &ANY), ("portRange", &RANGE)]));
static ADMIN_POLICY: Schema = Fields(&[
    ("priority", &ANY),
    ("subject", &SUBJECT),
    (
        "ingress",
        &List(&Fields(&[("name", &ANY), ("action", &ANY), ("from", &CLUSTER_PEERS), ("ports", &CLUSTER_PORTS)])),
    ),
    ("egress", &List(&Fields(&[("name", &ANY), ("action", &ANY), ("to", &CLUSTER_PEERS), ("ports", &CLUSTER_PORTS)]))),
]);
static CLUSTER_POLICY: Schema = Fields(&[
    ("tier", &ANY),
    ("priority", &ANY),
    ("subject", &SUBJECT),
    ("ingress", &List(&Fields(&[("name", &ANY), ("action", &ANY), ("from", &CLUSTER_PEERS), ("protocols", &ANY)]))),
    ("egress", &List(&Fields(&[("name", &ANY), ("action", &ANY), ("to", &CLUSTER_PEERS), ("protocols", &ANY)]))),
]);

/// Tells of fields inside `spec` that a policy of `kind` does not have.
pub(super) fn look(kind: &str, lines: &Lines, told: &mut Told<'_>) {
    let schema = match kind {
        "NetworkPolicy" => &NETWORK_POLICY,
        "ClusterNetworkPolicy" => &CLUSTER_POLICY,
        _ => &ADMIN_POLICY,
    };
    inside(schema, kind, lines, "spec", told);
}

fn inside(schema: &Schema, kind: &str, lines: &Lines, path: &str, told: &mut Told<'_>) {
    match schema {
        Any => {}
        Fields(known) => {
            for name in lines.fields(path) {
                if let Some((_, schema)) = known.iter().find(|(known, _)| *known == name) {
                    inside(schema, kind, lines, &format!("{path}.{name}"), told);
                    continue;
                }
                let shown = told::name(name);
                let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
                told.push(
                    "unknown-field",
                    Severity::Error,
                    // In brackets a name may have dots in it.
                    &format!("{path}[{name}]"),
                    format!("{path}.{shown} is no field of {kind}: what it was to say is not said"),
                    format!("fields here are {}", names.join(", ")),
                );
            }
        }
        List(item) => {
            let mut index = 0;
            while lines.contains(&format!("{path}[{index}]")) {
                inside(item, kind, lines, &format!("{path}[{index}]"), told);
                index += 1;
            }
        }
    }
}
