"use strict";
// Where nodes lie: each namespace is a disc of its nodes, discs do not overlap, and what talks to each other is near. It is
// computed in small steps between frames, so that the page answers all the while; the same map always lies alike.

const Layout = (() => {
  const GOLDEN = Math.PI * (3 - Math.sqrt(5));
  const GAP = 34;
  const REACH = 90;
  const STEPS = 260;

  function begin(model, before) {
    const groups = new Map();
    for (const node of model.nodes) {
      if (!groups.has(node.space)) groups.set(node.space, { space: node.space, nodes: [], x: 0, y: 0, r: 0, links: 0 });
      groups.get(node.space).nodes.push(node);
      node.group = groups.get(node.space);
    }
    const list = [...groups.values()].sort((a, b) => b.nodes.length - a.nodes.length || (a.space < b.space ? -1 : 1));
    let fresh = 0;
    list.forEach((group, place) => {
      group.r = 30 + Math.sqrt(group.nodes.length) * 30;
      const far = place === 0 ? 0 : 260 * Math.sqrt(place);
      group.x = Math.cos(place * GOLDEN) * far * 1.5;
      group.y = Math.sin(place * GOLDEN) * far;
      group.nodes.sort((a, b) => b.edges.length - a.edges.length || (a.name < b.name ? -1 : 1));
      group.nodes.forEach((node, at) => {
        const old = before && before.get(`${node.kind} ${node.name}`);
        if (old) { node.x = old.x; node.y = old.y; return; }
        fresh += 1;
        const out = 24 * Math.sqrt(at);
        node.x = group.x + Math.cos(at * GOLDEN) * out;
        node.y = group.y + Math.sin(at * GOLDEN) * out;
      });
    });
    const links = model.pairs.filter((pair) => pair.s !== pair.d);
    // A map that is only refreshed stays where it is.
    const done = before && fresh === 0 ? STEPS : before ? STEPS - 60 : 0;
    return { groups: list, links, nodes: model.nodes, done };
  }

  function step(state) {
    const heat = Math.max(0.04, 1 - state.done / STEPS);
    for (const { s, d } of state.links) {
      const inside = s.group === d.group;
      const dx = d.x - s.x, dy = d.y - s.y;
      const far = Math.hypot(dx, dy) || 1;
      const pull = (inside ? 0.06 * (far - 70) : 0.012 * (far - 160)) / far
        / Math.max(1, Math.sqrt(Math.min(s.edges.length, d.edges.length)));
      s.vx += dx * pull; s.vy += dy * pull; d.vx -= dx * pull; d.vy -= dy * pull;
    }
    // Nodes of a disc push each other off; far ones do not matter.
    for (const group of state.groups) {
      const cells = new Map();
      for (const node of group.nodes) {
        const key = Math.floor(node.x / REACH) * 65536 + Math.floor(node.y / REACH);
        if (!cells.has(key)) cells.set(key, []);
        cells.get(key).push(node);
      }
      for (const node of group.nodes) {
        const cx = Math.floor(node.x / REACH), cy = Math.floor(node.y / REACH);
        for (let x = cx - 1; x <= cx + 1; x += 1) for (let y = cy - 1; y <= cy + 1; y += 1) {
          for (const other of cells.get(x * 65536 + y) || []) {
            if (other === node) continue;
            let dx = node.x - other.x, dy = node.y - other.y;
            let far = Math.hypot(dx, dy);
            if (far < 0.1) { dx = (node.at % 7) - 3.1; dy = (node.at % 5) - 2.1; far = Math.hypot(dx, dy); }
            if (far >= REACH) continue;
            const push = (1 - far / REACH) * 9 / far;
            node.vx += dx * push; node.vy += dy * push;
          }
        }
        node.vx += (group.x - node.x) * 0.045; node.vy += (group.y - node.y) * 0.045;
      }
    }
    for (const node of state.nodes) {
      const speed = Math.hypot(node.vx, node.vy), most = 24 * heat;
      const slow = speed > most ? most / speed : 1;
      node.x += node.vx * slow; node.y += node.vy * slow;
      node.vx *= 0.35; node.vy *= 0.35;
    }
    measure(state.groups);
    for (let a = 0; a < state.groups.length; a += 1) for (let b = a + 1; b < state.groups.length; b += 1) {
      const one = state.groups[a], two = state.groups[b];
      let dx = two.x - one.x, dy = two.y - one.y;
      const far = Math.hypot(dx, dy) || (dx = 1), least = one.r + two.r + GAP;
      if (far >= least) continue;
      const push = (least - far) / far / 2;
      const share = two.r / (one.r + two.r);
      shift(one, -dx * push * 2 * share, -dy * push * 2 * share);
      shift(two, dx * push * 2 * (1 - share), dy * push * 2 * (1 - share));
    }
    for (const group of state.groups) shift(group, -group.x * 0.012 * heat, -group.y * 0.016 * heat);
    state.done += 1;
  }

  function measure(groups) {
    for (const group of groups) {
      let x = 0, y = 0, r = 0;
      for (const node of group.nodes) { x += node.x; y += node.y; }
      group.x = x / group.nodes.length; group.y = y / group.nodes.length;
      for (const node of group.nodes) r = Math.max(r, Math.hypot(node.x - group.x, node.y - group.y) + node.r);
      group.r = r + 22;
    }
  }

  function shift(group, dx, dy) {
    group.x += dx; group.y += dy;
    for (const node of group.nodes) { node.x += dx; node.y += dy; }
  }

  // Goes on for some milliseconds; true: it is done.
  function work(state, milliseconds) {
    const until = performance.now() + milliseconds;
    while (state.done < STEPS && performance.now() < until) step(state);
    if (state.done >= STEPS) measure(state.groups);
    return state.done >= STEPS;
  }

  return { begin, work };
})();
