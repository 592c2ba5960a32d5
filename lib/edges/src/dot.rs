//! The map for Graphviz.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::edge::{Edge, Snapshot};
use crate::label::{in_short, is_warned};
use crate::node::Kind;

/// The map in the DOT language (graphviz.org/doc/info/lang.html), namespaces as clusters. Edges on which something was
/// denied or failed are red, those where policy would deny are orange.
#[must_use]
pub fn dot(map: &Snapshot) -> String {
    let (nodes, edges) = map.numbered();
    let mut out = String::from(
        "digraph flows {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    let mut clusters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, (kind, namespace, _)) in nodes.iter().enumerate() {
        let cluster = if *kind == Kind::Namespace { "" } else { namespace };
        clusters.entry(cluster).or_default().push(number);
    }
    for (place, (namespace, members)) in clusters.iter().enumerate() {
        let indent = if namespace.is_empty() { "  " } else { "    " };
        if !namespace.is_empty() {
            let _ = writeln!(out, "  subgraph cluster_{place} {{\n    label={};\n    color=gray;", quoted(namespace));
        }
        for number in members {
            if let Some((kind, _, name)) = nodes.get(*number) {
                let outside = if matches!(kind, Kind::Name | Kind::Address | Kind::Reserved | Kind::Others) {
                    ", style=\"rounded,dashed\""
                } else {
                    ""
                };
                let _ = writeln!(out, "{indent}n{number} [label={}{outside}];", quoted(name));
            }
        }
        if !namespace.is_empty() {
            out.push_str("  }\n");
        }
    }
    for (source, destination, edge) in edges {
        let label = quoted(&in_short(edge));
        let _ = writeln!(out, "  n{source} -> n{destination} [label={label}{}];", colour(edge));
    }
    out.push_str("}\n");
    out
}

fn colour(edge: &Edge) -> &'static str {
    if edge.is_bad() {
        ", color=red, fontcolor=red"
    } else if is_warned(edge) {
        ", color=orange, fontcolor=orange3"
    } else {
        ""
    }
}

/// A string of the language: nothing within ends it, is an escape, or breaks the line. `&` would begin an entity.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::tests::{HOSTILE, sample};

    #[test]
    fn a_map_is_drawn_with_its_namespaces_and_what_is_bad_is_red() {
        assert_eq!(
            dot(&sample("shop/db")),
            "digraph flows {
  rankdir=LR;
  node [shape=box, style=rounded, fontname=\"sans-serif\"];
  edge [fontname=\"sans-serif\", fontsize=10];
  n0 [label=\"example.com\", style=\"rounded,dashed\"];
  subgraph cluster_1 {
    label=\"shop\";
    color=gray;
    n1 [label=\"shop/db\"];
    n2 [label=\"shop/web\"];
  }
  n2 -> n1 [label=\"TCP 5432, 7 flows, 9.8 KiB, p99 4 ms rtt\"];
  n2 -> n0 [label=\"TCP 443 http, 3 flows, 12 denied, 2 errors\", color=red, fontcolor=red];
}
"
        );
    }

    #[test]
    fn no_name_ends_its_string() {
        let drawn = dot(&sample(HOSTILE));
        for line in drawn.lines().filter(|line| line.contains("label=")) {
            let unescaped = line.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(unescaped.matches('"').count() % 2, 0, "{line}");
        }
        assert!(!drawn.contains('\u{7}') && drawn.lines().count() == dot(&sample("x")).lines().count());
        assert!(drawn.contains("\\\\\\\"\"];"), "{drawn}");
    }
}
