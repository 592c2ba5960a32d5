//! The map as one page that needs nothing else: no network, no library.
//!
//! Names come from outside. They are in the page as JSON alone, in which nothing can end the element that holds it, and the
//! page puts them in as text. Its policy lets no other script run than the one that is named by its hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chainkit_flow::Time;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::edge::{Edge, Snapshot};
use crate::node::Kind;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = concat!(
    include_str!("page/model.js"),
    include_str!("page/layout.js"),
    include_str!("page/view.js"),
    include_str!("page/side.js"),
    include_str!("page/main.js"),
);

/// Bytes of flows that a page holds: those of edges on which something was denied or failed first.
const MAX_RECENT_BYTES: usize = 4 << 20;

/// How a page comes to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// As a file.
    File,
    /// From a server that gives what [`data`] makes under `data.json` beside it, and is asked for it again and again.
    Served,
}

/// The map as an HTML page.
#[must_use]
pub fn page(map: &Snapshot, kind: Page) -> String {
    let connect = if kind == Page::Served { "'self'" } else { "'none'" };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src {connect}; base-uri \
         'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let data = data(map, kind);
    let parts = [("{{policy}}", policy.as_str()), ("{{style}}", STYLE), ("{{data}}", &data), ("{{script}}", SCRIPT)];
    let mut out = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut rest = PAGE;
    for (mark, text) in parts {
        // Each is looked for behind the one before, so that no text can hold the next mark.
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        out.push_str(before);
        out.push_str(text);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The map as the page wants it: JSON in which no character has a meaning to HTML, or ends a line to JavaScript.
#[must_use]
pub fn data(map: &Snapshot, kind: Page) -> String {
    let (nodes, edges) = map.numbered();
    let mut left = MAX_RECENT_BYTES;
    let mut take_recent = |edge: &Edge| {
        let bytes = edge.recent.iter().map(|flow| flow.get().len()).sum();
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    };
    let bad: Vec<bool> = edges.iter().map(|(.., edge)| edge.is_bad() && take_recent(edge)).collect();
    let edges = edges.iter().zip(bad).map(|((s, d, edge), is_taken)| {
        let recent = is_taken || (!edge.is_bad() && take_recent(edge));
        PageEdge { s: *s, d: *d, edge, recent: if recent { &edge.recent } else { &[] } }
    });
    let page = PageData {
        live: kind == Page::Served,
        flows: map.flows,
        lost: map.lost,
        first: map.first,
        last: map.last,
        nodes: nodes.iter().map(|(kind, namespace, name)| PageNode { name, kind: *kind, namespace }).collect(),
        edges: edges.collect(),
    };
    // Numbers and text cannot fail to be written; were it so, there would be nothing to show.
    let json = serde_json::to_string(&page).unwrap_or_else(|_| "{\"nodes\":[],\"edges\":[]}".to_owned());
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

#[derive(Serialize)]
struct PageData<'a> {
    live: bool,
    flows: u64,
    lost: u64,
    first: Option<Time>,
    last: Option<Time>,
    nodes: Vec<PageNode<'a>>,
    edges: Vec<PageEdge<'a>>,
}

#[derive(Serialize)]
struct PageNode<'a> {
    name: &'a str,
    kind: Kind,
    namespace: &'a str,
}

#[derive(Serialize)]
struct PageEdge<'a> {
    s: usize,
    d: usize,
    #[serde(flatten)]
    edge: &'a Edge,
    recent: &'a [Box<RawValue>],
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::tests::{HOSTILE, sample};

    fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
        text.split_once(before).unwrap().1.split_once(after).unwrap().0
    }

    #[test]
    fn no_name_gets_out_of_the_data() {
        let page = page(&sample(HOSTILE), Page::File);
        assert_eq!(page.matches("</script").count(), 2, "the data and the program");
        assert!(!page.contains('\u{2028}') && !page.contains("alert(1)</script"));
        let data = between(&page, "<script type=\"application/json\" id=\"data\">", "</script>");
        assert!(!data.contains(['<', '>', '&']));
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        let names: Vec<&str> =
            data["nodes"].as_array().unwrap().iter().filter_map(|node| node["name"].as_str()).collect();
        assert!(names.contains(&HOSTILE), "it is there as it is: {names:?}");
        assert_eq!(data["edges"][1]["recent"][0]["Summary"], HOSTILE);
    }

    #[test]
    fn a_name_that_looks_like_a_mark_of_the_page_stays_a_name() {
        let page = page(&sample("{{script}} {{data}}"), Page::File);
        assert_eq!(page.matches("{{script}} {{data}}").count(), 3, "a node, an edge, a flow");
        assert!(page.trim_end().ends_with("</html>"));
    }

    #[test]
    fn only_its_own_script_and_style_may_run_and_a_file_asks_nobody() {
        let file = page(&sample("x"), Page::File);
        let policy = between(&file, "Content-Security-Policy\" content=\"", "\"");
        let script = file.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        assert!(policy.contains(&format!("script-src 'sha256-{}'", hash(script))), "{policy}");
        assert!(policy.contains(&format!("style-src 'sha256-{}'", hash(between(&file, "<style>", "</style>")))));
        assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"));
        assert!(page(&sample("x"), Page::Served).contains("connect-src 'self'"));
        for outside in
            ["http://", "https://", "src=", "@import", "url(", "innerHTML", "outerHTML", "document.write", "eval("]
        {
            assert!(!file.contains(outside), "{outside}");
        }
    }

    #[test]
    fn flows_are_kept_where_something_went_wrong_first() {
        let mut map = sample("x");
        let long = serde_json::value::to_raw_value(&"y".repeat(MAX_RECENT_BYTES - 10)).unwrap();
        let Some(good) = map.edges.first_mut() else { panic!("two edges") };
        good.recent = vec![long];
        let data: serde_json::Value = serde_json::from_str(&data(&map, Page::File)).unwrap();
        assert_eq!(data["edges"][0]["recent"], serde_json::json!([]), "no room is left");
        assert_eq!(data["edges"][1]["recent"].as_array().unwrap().len(), 1);
    }
}
