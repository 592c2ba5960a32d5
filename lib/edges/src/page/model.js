"use strict";
// What there is to draw: nodes, edges, and the pairs of nodes that have edges; and which of them were asked for.

const Model = (() => {
  const say = (value) => (value === null || value === undefined ? "–" : String(value));
  const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US"));

  function bytes(value) {
    if (value === null || value === undefined) return "–";
    let unit = 0;
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
  }

  function milliseconds(value) {
    if (value === null || value === undefined) return "–";
    return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  }

  const over = (edge) => [edge.protocol, edge.port, edge.l7].filter((part) => part !== null && part !== undefined).join(" ");

  // 2: something failed or was denied. 1: something may be wrong. 0: neither.
  function badness(edge) {
    if (edge.denied > 0 || edge.errors > 0) return 2;
    return edge.would_deny > 0 || edge.resets > 0 || edge.unanswered > 0 ? 1 : 0;
  }

  function build(data) {
    const nodes = data.nodes.map((node, at) => ({
      at, name: node.name, kind: node.kind, space: node.namespace || "", edges: [], bad: 0, x: 0, y: 0, vx: 0, vy: 0, r: 5,
      shown: true,
    }));
    const edges = data.edges.map((edge, at) => {
      const words = [edge.src, edge.dst, over(edge)].concat(edge.denied_by || [], edge.names || []);
      return Object.assign(edge, { at, bad: badness(edge), text: words.join(" ").toLowerCase(), shown: true });
    });
    const pairs = new Map();
    for (const edge of edges) {
      nodes[edge.s].edges.push(edge);
      if (edge.d !== edge.s) nodes[edge.d].edges.push(edge);
      const key = edge.s * nodes.length + edge.d;
      let pair = pairs.get(key);
      if (!pair) pairs.set(key, (pair = { s: nodes[edge.s], d: nodes[edge.d], edges: [], bad: 0, weight: 0, shown: true }));
      pair.edges.push(edge);
    }
    for (const node of nodes) node.r = Math.min(13, 4 + Math.sqrt(node.edges.length) * 1.1);
    const spaces = [...new Set(nodes.map((node) => node.space))].sort();
    const protocols = [...new Set(edges.flatMap((edge) => [edge.protocol, edge.l7].filter(Boolean)))].sort();
    return { nodes, edges, pairs: [...pairs.values()], spaces, protocols, data };
  }

  // Shows what matches; the rest is left out.
  function filter(model, ask) {
    const words = ask.search.toLowerCase().split(/\s+/).filter(Boolean);
    const verdict = {
      "": () => true,
      bad: (edge) => edge.bad === 2,
      forwarded: (edge) => edge.verdicts.forwarded > 0,
      dropped: (edge) => edge.verdicts.dropped > 0,
      audit: (edge) => edge.verdicts.audit > 0,
    }[ask.verdict] || (() => true);
    for (const node of model.nodes) { node.shown = false; node.bad = 0; }
    let shown = 0;
    for (const edge of model.edges) {
      const [source, destination] = [model.nodes[edge.s], model.nodes[edge.d]];
      edge.shown = (ask.space === "" || source.space === ask.space.slice(1) || destination.space === ask.space.slice(1))
        && (ask.protocol === "" || edge.protocol === ask.protocol || edge.l7 === ask.protocol)
        && verdict(edge) && words.every((word) => edge.text.includes(word));
      if (edge.shown) {
        shown += 1;
        source.shown = destination.shown = true;
        destination.bad = Math.max(destination.bad, edge.bad);
      }
    }
    for (const pair of model.pairs) {
      pair.bad = 0; pair.weight = 0; pair.shown = false;
      for (const edge of pair.edges) {
        if (!edge.shown) continue;
        pair.shown = true;
        pair.bad = Math.max(pair.bad, edge.bad);
        pair.weight += edge.bytes_to === null ? edge.flows * 500 : edge.bytes_to + edge.bytes_from;
      }
    }
    return { edges: shown, nodes: model.nodes.reduce((sum, node) => sum + (node.shown ? 1 : 0), 0) };
  }

  return { build, filter, over, bytes, milliseconds, number, say };
})();
