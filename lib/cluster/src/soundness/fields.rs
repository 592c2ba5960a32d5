//! Fields that no version of a policy has: a server drops them or refuses them, and what they were to say is not said.

use crate::model::Lines;

/// What may stand inside of something.
enum Schema {
    /// Anything.
    Any,
    /// These fields.
    Fields(&'static [(&'static str, &'static Schema)]),
    /// The same, where one of them is there: without any, it is what no version so far has, and fails closed where it is used.
    Choice(&'static [(&'static str, &'static Schema)]),
    /// A list of these.
    List(&'static Schema),
}

use Schema::{Any, Choice, Fields, List};

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
static CLUSTER_PEERS: Schema = List(&Choice(&[
    ("namespaces", &SELECTOR),
    ("pods", &POD_SELECTOR),
    ("nodes", &SELECTOR),
    ("networks", &ANY),
    ("domainNames", &ANY),
]));
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

static TRANSPORT: Schema =
    Fields(&[("destinationPort", &Fields(&[("number", &ANY), ("range", &Fields(&[("start", &ANY), ("end", &ANY)]))]))]);
static PROTOCOLS: Schema =
    List(&Choice(&[("tcp", &TRANSPORT), ("udp", &TRANSPORT), ("sctp", &TRANSPORT), ("destinationNamedPort", &ANY)]));
static CLUSTER_POLICY: Schema = Fields(&[
    ("tier", &ANY),
    ("priority", &ANY),
    ("subject", &SUBJECT),
    (
        "ingress",
        &List(&Fields(&[("name", &ANY), ("action", &ANY), ("from", &CLUSTER_PEERS), ("protocols", &PROTOCOLS)])),
    ),
    ("egress", &List(&Fields(&[("name", &ANY), ("action", &ANY), ("to", &CLUSTER_PEERS), ("protocols", &PROTOCOLS)]))),
]);

/// A field that there is not where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField<'a> {
    /// Its path, as [`Lines::line`] takes it: `spec.ingress[0][form]`.
    pub path: String,
    /// The path of what it stands in; empty for the object itself.
    pub inside: String,
    /// Its name.
    pub name: &'a str,
    /// The fields that there are.
    pub known: Vec<&'static str>,
}

/// Tells `each` field of a policy of `kind`, outside of its metadata and status, that such a policy does not have. What a
/// cluster-wide policy names as a peer or protocol and no version so far has is not among them: it fails closed by itself.
pub fn unknown_fields<'a>(kind: &str, lines: &'a Lines, each: &mut dyn FnMut(UnknownField<'a>)) {
    let spec = match kind {
        "NetworkPolicy" => &NETWORK_POLICY,
        "ClusterNetworkPolicy" => &CLUSTER_POLICY,
        _ => &ADMIN_POLICY,
    };
    let top = [("apiVersion", &ANY), ("kind", &ANY), ("metadata", &ANY), ("spec", spec), ("status", &ANY)];
    among(&top, lines, &mut String::new(), each);
}

fn inside<'a>(schema: &Schema, lines: &'a Lines, path: &mut String, each: &mut dyn FnMut(UnknownField<'a>)) {
    match schema {
        Any => {}
        Fields(known) => among(known, lines, path, each),
        Choice(known) => {
            if lines.each_field().any(|(name, _)| known.iter().any(|(known, _)| *known == name)) {
                among(known, lines, path, each);
            }
        }
        List(item) => {
            for (index, lines) in lines.each_item().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                inside(item, lines, path, each);
                path.truncate(length);
            }
        }
    }
}

fn among<'a>(
    known: &[(&'static str, &'static Schema)],
    lines: &'a Lines,
    path: &mut String,
    each: &mut dyn FnMut(UnknownField<'a>),
) {
    for (name, lines) in lines.each_field() {
        let Some((known, schema)) = known.iter().find(|(known, _)| *known == name) else {
            each(UnknownField {
                // In brackets a name may have dots in it.
                path: format!("{path}[{name}]"),
                inside: path.clone(),
                name,
                known: known.iter().map(|(known, _)| *known).collect(),
            });
            continue;
        };
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(known);
        inside(schema, lines, path, each);
        path.truncate(length);
    }
}
