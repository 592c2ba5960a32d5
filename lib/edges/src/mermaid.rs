//! The map for Mermaid.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::edge::Snapshot;
use crate::label::{in_short, is_warned};
use crate::node::Kind;

/// As many edges Mermaid draws unless its `maxEdges` says otherwise (mermaid.js.org/config/schema-docs/config.html).
const MAX_EDGES: usize = 500;

/// The map as a flowchart of Mermaid, namespaces as subgraphs. Edges on which something was denied or failed are red,
/// those where policy would deny are orange.
#[must_use]
pub fn mermaid(map: &Snapshot) -> String {
    let (nodes, edges) = map.numbered();
    let mut out = String::from("flowchart LR\n");
    if edges.len() > MAX_EDGES {
        let _ = writeln!(out, "  %% {} edges: Mermaid draws {MAX_EDGES} unless its maxEdges is raised", edges.len());
    }
    let mut clusters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, (kind, namespace, _)) in nodes.iter().enumerate() {
        let cluster = if *kind == Kind::Namespace { "" } else { namespace };
        clusters.entry(cluster).or_default().push(number);
    }
    for (place, (namespace, members)) in clusters.iter().enumerate() {
        let indent = if namespace.is_empty() { "  " } else { "    " };
        if !namespace.is_empty() {
            let _ = writeln!(out, "  subgraph s{place}[{}]", quoted(namespace));
        }
        for number in members {
            if let Some((kind, _, name)) = nodes.get(*number) {
                let outside = matches!(kind, Kind::Name | Kind::Address | Kind::Reserved | Kind::Others);
                let (open, close) = if outside { ("([", "])") } else { ("[", "]") };
                let _ = writeln!(out, "{indent}n{number}{open}{}{close}", quoted(name));
            }
        }
        if !namespace.is_empty() {
            out.push_str("  end\n");
        }
    }
    for (source, destination, edge) in &edges {
        let _ = writeln!(out, "  n{source} -->|{}| n{destination}", quoted(&in_short(edge)));
    }
    for (place, (.., edge)) in edges.iter().enumerate() {
        if edge.is_bad() {
            let _ = writeln!(out, "  linkStyle {place} stroke:#d33,color:#d33");
        } else if is_warned(edge) {
            let _ = writeln!(out, "  linkStyle {place} stroke:#e80,color:#e80");
        }
    }
    out
}

/// A label: whatever may mean something to Mermaid, to Markdown or to HTML is written as an entity by its number.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push_str("#65533;"),
            c if c.is_alphanumeric() || " ./:-,()".contains(c) => out.push(c),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
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
            mermaid(&sample("shop/db")),
            "flowchart LR
  n0([\"example.com\"])
  subgraph s1[\"shop\"]
    n1[\"shop/db\"]
    n2[\"shop/web\"]
  end
  n2 -->|\"TCP 5432, 7 flows, 9.8 KiB, p99 4 ms rtt\"| n1
  n2 -->|\"TCP 443 http, 3 flows, 12 denied, 2 errors\"| n0
  linkStyle 1 stroke:#d33,color:#d33
"
        );
    }

    #[test]
    fn no_name_breaks_the_syntax() {
        let drawn = mermaid(&sample(HOSTILE));
        assert_eq!(drawn.lines().count(), mermaid(&sample("x")).lines().count());
        let line = drawn.lines().find(|line| line.contains("script")).unwrap();
        let name = line.trim().strip_prefix("n1[\"").and_then(|rest| rest.strip_suffix("\"]")).unwrap();
        assert!(name.chars().all(|c| c.is_alphanumeric() || " ./:-,()#;".contains(c)), "{name}");
    }
}
