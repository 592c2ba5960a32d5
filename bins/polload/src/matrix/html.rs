//! The matrix as one page that fetches nothing: a grid while it can be taken in, and the list of all pairs to search.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use super::{Row, Rows};

/// How many sides a grid may have; a larger one shows nothing that the list does not.
const MAX_GRID: usize = 60;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Who may reach whom</title>
<style>
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
body { margin: 2rem; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8886; padding: .2rem .5rem; text-align: left; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; }
.grid th.col { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: normal; }
.grid td { width: 1.4rem; text-align: center; }
.all { background: #2a72; } .some { background: #d922; } .self { background: #8883; }
input { font: inherit; width: 30rem; max-width: 100%; margin: 1rem 0; padding: .3rem; }
code { font-family: ui-monospace, monospace; }
</style>
</head>
<body>
<h1>Who may reach whom</h1>
"#;

const SEARCH: &str = r##"<script>
const rows = document.querySelectorAll("#pairs tbody tr");
document.getElementById("search").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
});
</script>
</body>
</html>
"##;

pub(super) fn page(out: &mut impl Write, rows: &Rows<'_>) -> io::Result<()> {
    let mut all = Vec::new();
    rows.each(&mut |row| {
        all.push(row);
        Ok(())
    })?;
    out.write_all(HEAD.as_bytes())?;
    writeln!(out, "<p>{} workloads, {} pairs that are allowed anything.</p>", rows.0.folded.len(), all.len())?;
    grid(out, rows, &all)?;
    writeln!(out, "<h2>Pairs</h2>\n<input id=\"search\" type=\"search\" placeholder=\"Words that a pair must have\">")?;
    writeln!(
        out,
        "<table id=\"pairs\">\n<thead><tr><th>Source</th><th>Destination</th><th>Allowed</th></tr></thead>\n<tbody>"
    )?;
    for row in &all {
        writeln!(
            out,
            "<tr><td><code>{}</code></td><td><code>{}</code></td><td>{}</td></tr>",
            escaped(&row.src),
            escaped(&row.dst),
            escaped(&row.allow.in_words())
        )?;
    }
    writeln!(out, "</tbody>\n</table>")?;
    out.write_all(SEARCH.as_bytes())
}

/// Sources down, destinations across.
fn grid(out: &mut impl Write, rows: &Rows<'_>, all: &[Row]) -> io::Result<()> {
    let workloads: BTreeSet<&str> = rows.0.folded.iter().map(|folded| &*folded.title).collect();
    let sides = all.iter().flat_map(|row| [&row.src, &row.dst]);
    let outside: BTreeSet<&str> = sides.map(|side| &**side).filter(|side| !workloads.contains(side)).collect();
    let sides: Vec<&str> = workloads.iter().chain(&outside).copied().collect();
    if sides.is_empty() || sides.len() > MAX_GRID {
        return Ok(());
    }
    let pairs: HashMap<(&str, &str), &Row> = all.iter().map(|row| ((&*row.src, &*row.dst), row)).collect();
    writeln!(out, "<h2>Grid</h2>\n<table class=\"grid\">\n<thead><tr><th>Source \\ Destination</th>")?;
    for side in &sides {
        writeln!(out, "<th class=\"col\">{}</th>", escaped(side))?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for source in &sides {
        write!(out, "<tr><th>{}</th>", escaped(source))?;
        for destination in &sides {
            match pairs.get(&(*source, *destination)) {
                _ if source == destination => write!(out, "<td class=\"self\"></td>")?,
                None => write!(out, "<td></td>")?,
                Some(row) => {
                    let (class, sign) = if row.allow.is_all() { ("all", "●") } else { ("some", "◐") };
                    let words = escaped(&row.allow.in_words()).into_owned();
                    write!(out, "<td class=\"{class}\" title=\"{words}\">{sign}</td>")?;
                }
            }
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>\n<p>● everything, ◐ some ports (point at it), empty: nothing.</p>")
}

/// Text for HTML, in an attribute too.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => clean.push_str("&amp;"),
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '"' => clean.push_str("&quot;"),
            '\'' => clean.push_str("&#39;"),
            c => clean.push(c),
        }
    }
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_bring_markup_along() {
        assert_eq!(escaped("<b a=\"x\" b='y'>&"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;");
        assert_eq!(escaped("shop/web[Pod]"), "shop/web[Pod]");
    }
}
