"use strict";
// The list beside the map: what needs a look, what was found, and the details of what was picked. All text is put in as
// text: nothing that a name says is ever taken for markup.

const Side = (() => {
  const side = document.getElementById("side");
  const MOST = 200;
  const { number, bytes, milliseconds, over, say } = Model;

  function make(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function row(name, more, count, bad, act) {
    const button = make("button", undefined, `row${bad === 2 ? " bad" : bad === 1 ? " warn" : ""}`);
    button.type = "button";
    button.append(make("span", name, "name"), make("span", count, "count"));
    if (more) button.append(make("span", more, "more"));
    button.title = name;
    button.addEventListener("click", act);
    const item = make("li");
    item.append(button);
    return item;
  }

  function list(title, rows, all) {
    const part = document.createDocumentFragment();
    if (rows.length === 0) return part;
    part.append(make("h3", all > rows.length ? `${title}: ${number(rows.length)} of ${number(all)}` : `${title}: ${number(all)}`));
    const items = make("ul");
    items.append(...rows);
    part.append(items);
    return part;
  }

  function trouble(edge) {
    const said = [];
    if (edge.denied > 0) said.push(`${number(edge.denied)} denied`);
    if (edge.errors > 0) said.push(`${number(edge.errors)} errors`);
    if (edge.would_deny > 0) said.push(`${number(edge.would_deny)} would be denied`);
    if (edge.resets > 0) said.push(`${number(edge.resets)} resets`);
    if (edge.unanswered > 0) said.push(`${number(edge.unanswered)} unanswered`);
    return said.join(", ");
  }

  const size = (edge) => (edge.bytes_to === null ? `${number(edge.flows)} flow${edge.flows === 1 ? "" : "s"}` : bytes(edge.bytes_to + edge.bytes_from));
  const edgeRow = (edge, pick) =>
    row(`${edge.src} → ${edge.dst}`, [over(edge), trouble(edge)].filter(Boolean).join(" · "), size(edge), edge.bad, () => pick({ edge }));
  const nodeRow = (node, pick) => row(node.name, node.kind, `${number(node.edges.length)} edges`, node.bad, () => pick({ node }));

  const clear = (...parts) => { side.replaceChildren(...parts); side.scrollTop = 0; };

  function overview(model, ask, pick) {
    const shown = model.edges.filter((edge) => edge.shown);
    const bad = shown.filter((edge) => edge.bad === 2).sort((a, b) => b.denied + b.errors - a.denied - a.errors);
    const parts = [];
    if (ask.search) {
      const words = ask.search.toLowerCase().split(/\s+/).filter(Boolean);
      const found = model.nodes.filter((node) => node.shown && words.every((word) => node.name.toLowerCase().includes(word)));
      parts.push(list("Nodes", found.slice(0, MOST).map((node) => nodeRow(node, pick)), found.length));
    }
    parts.push(list("Errors and denials", bad.slice(0, 50).map((edge) => edgeRow(edge, pick)), bad.length));
    parts.push(list("Edges", shown.slice(0, MOST).map((edge) => edgeRow(edge, pick)), shown.length));
    clear(make("h2", ask.search ? "Found" : "Overview"), ...parts);
  }

  function back(pick) {
    const button = make("button", "← Overview");
    button.type = "button";
    button.id = "back";
    button.addEventListener("click", () => pick({}));
    return button;
  }

  function facts(pairs) {
    const terms = make("dl");
    for (const [term, value, bad] of pairs) {
      if (value === undefined) continue;
      terms.append(make("dt", term), make("dd", say(value), bad ? "bad" : ""));
    }
    return terms;
  }

  function node(model, picked, pick) {
    const shown = picked.edges.filter((edge) => edge.shown);
    const into = shown.filter((edge) => edge.d === picked.at), from = shown.filter((edge) => edge.s === picked.at);
    const sum = (edges, of) => edges.reduce((total, edge) => total + (of(edge) || 0), 0);
    const known = shown.some((edge) => edge.bytes_to !== null);
    const bad = sum(into, (edge) => edge.errors + edge.denied);
    clear(back(pick), make("h2", picked.name), make("p", picked.space ? `${picked.kind} in ${picked.space}` : picked.kind),
      facts([
        ["Flows in, out", `${number(sum(into, (edge) => edge.flows))}, ${number(sum(from, (edge) => edge.flows))}`],
        ["Bytes received", known ? bytes(sum(into, (edge) => edge.bytes_to) + sum(from, (edge) => edge.bytes_from)) : null],
        ["Bytes sent", known ? bytes(sum(into, (edge) => edge.bytes_from) + sum(from, (edge) => edge.bytes_to)) : null],
        ["Errors, denied (in)", number(bad), bad > 0],
      ]),
      list("Asked by", into.slice(0, MOST).map((edge) => edgeRow(edge, pick)), into.length),
      list("Asks", from.slice(0, MOST).map((edge) => edgeRow(edge, pick)), from.length));
  }

  function edge(model, picked, pick) {
    const others = model.edges.filter((one) => one !== picked && one.shown
      && ((one.s === picked.s && one.d === picked.d) || (one.s === picked.d && one.d === picked.s)));
    const verdicts = Object.entries(picked.verdicts).filter(([, count]) => count > 0)
      .map(([name, count]) => `${number(count)} ${name}`).join(", ");
    const latency = picked.p50_ms === null ? null : `${milliseconds(picked.p50_ms)}, ${milliseconds(picked.p99_ms)}`;
    const recent = (picked.recent || []).map((flow) => {
      const one = make("details");
      one.append(make("summary", [flow.time, flow.verdict, flow.Summary].filter(Boolean).join(" ")),
        make("pre", JSON.stringify(flow, null, 2)));
      return one;
    });
    const ends = make("ul");
    ends.append(nodeRow(model.nodes[picked.s], pick), nodeRow(model.nodes[picked.d], pick));
    clear(back(pick), make("h2", `${picked.src} → ${picked.dst}`), make("p", over(picked)),
      facts([
        ["Flows", `${number(picked.flows)} (${picked.rate}/s)`],
        ["Connections", number(picked.connections)],
        ["Requests", number(picked.requests)],
        ["Bytes there", bytes(picked.bytes_to)],
        ["Bytes back", bytes(picked.bytes_from)],
        ["Latency p50, p99", latency],
        ["Latency of", picked.latency_of ? `${picked.latency_of}, at the ${picked.latency_at}, ${number(picked.latencies)} times` : undefined],
        ["Errors", number(picked.errors), picked.errors > 0],
        ["Denied", number(picked.denied), picked.denied > 0],
        ["Denied by", picked.denied_by ? picked.denied_by.join(", ") : undefined, picked.denied > 0],
        ["Would be denied", picked.would_deny > 0 ? number(picked.would_deny) : undefined],
        ["Resets", number(picked.resets)],
        ["Unanswered", number(picked.unanswered)],
        ["Verdicts", verdicts],
        ["Names", picked.names ? picked.names.join(", ") : undefined],
        ["First", picked.first], ["Last", picked.last],
        ["Note", picked.overflow ? "stands for edges that there was no room for" : undefined],
        ["Note", picked.partial ? "bytes and connections may be more" : undefined],
      ]),
      make("h3", "Ends"), ends,
      list("Also between them", others.slice(0, MOST).map((one) => edgeRow(one, pick)), others.length),
      make("h3", recent.length > 0 ? `Last flows: ${recent.length}` : "No raw flows were kept"), ...recent);
  }

  // Up and down go from row to row.
  side.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const rows = [...side.querySelectorAll("button, summary")];
    const place = rows.indexOf(document.activeElement);
    const next = rows[place + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) { next.focus(); event.preventDefault(); }
  });

  return { overview, node, edge };
})();
