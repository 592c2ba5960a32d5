"use strict";
// Draws the map on the canvas, and finds what is under the pointer.

const View = (() => {
  const canvas = document.getElementById("map");
  const pen = canvas.getContext("2d");
  const at = { x: 0, y: 0, zoom: 1 };
  let width = 0, height = 0, colours = {}, hues = new Map();

  function measure() {
    const box = canvas.getBoundingClientRect(), fine = window.devicePixelRatio || 1;
    width = box.width; height = box.height;
    canvas.width = Math.round(width * fine); canvas.height = Math.round(height * fine);
    pen.setTransform(fine, 0, 0, fine, 0, 0);
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["back", "panel", "text", "soft", "rule", "edge", "bad", "warn", "focus", "hull", "light"]) {
      colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }

  function hue(space) {
    if (!hues.has(space)) hues.set(space, (205 + hues.size * 137.5) % 360);
    return hues.get(space);
  }
  // Red is for what is bad: no namespace has it.
  const colour = (space, alpha = 1) =>
    space === "" ? colours.soft : `hsl(${30 + hue(space) * 0.84} 48% ${colours.light} / ${alpha})`;

  const toScreen = (point) => ({ x: (point.x - at.x) * at.zoom + width / 2, y: (point.y - at.y) * at.zoom + height / 2 });
  const toMap = (x, y) => ({ x: (x - width / 2) / at.zoom + at.x, y: (y - height / 2) / at.zoom + at.y });

  function fit(nodes) {
    const shown = nodes.filter((node) => node.shown);
    if (shown.length === 0) return;
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const node of shown) {
      left = Math.min(left, node.x); right = Math.max(right, node.x);
      top = Math.min(top, node.y); bottom = Math.max(bottom, node.y);
    }
    at.x = (left + right) / 2; at.y = (top + bottom) / 2;
    at.zoom = Math.min(2, (width - 90) / (right - left + 90), (height - 110) / (bottom - top + 110));
    if (!(at.zoom > 0)) at.zoom = 1;
  }

  function zoom(by, x = width / 2, y = height / 2) {
    const before = toMap(x, y);
    at.zoom = Math.min(8, Math.max(0.03, at.zoom * by));
    const after = toMap(x, y);
    at.x += before.x - after.x; at.y += before.y - after.y;
  }

  // The middle of a pair's curve; there and back bend to different sides.
  function bend({ s, d }) {
    const dx = d.x - s.x, dy = d.y - s.y;
    return { x: (s.x + d.x) / 2 - dy * 0.14, y: (s.y + d.y) / 2 + dx * 0.14 };
  }

  function curve(pair) {
    const s = toScreen(pair.s), d = toScreen(pair.d);
    if (pair.s === pair.d) {
      const r = pair.s.r * at.zoom + 5;
      pen.moveTo(s.x, s.y);
      pen.bezierCurveTo(s.x - r * 2.4, s.y - r * 2.6, s.x + r * 2.4, s.y - r * 2.6, d.x, d.y);
      return;
    }
    const middle = toScreen(bend(pair));
    pen.moveTo(s.x, s.y);
    pen.quadraticCurveTo(middle.x, middle.y, d.x, d.y);
  }

  function arrow(pair, size) {
    if (pair.s === pair.d) return;
    const from = toScreen(bend(pair)), to = toScreen(pair.d);
    const far = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const ux = (to.x - from.x) / far, uy = (to.y - from.y) / far;
    const back = pair.d.r * Math.max(0.7, at.zoom) + 2;
    const x = to.x - ux * back, y = to.y - uy * back;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x - ux * size - uy * size * 0.5, y - uy * size + ux * size * 0.5);
    pen.lineTo(x - ux * size + uy * size * 0.5, y - uy * size - ux * size * 0.5);
    pen.fill();
  }

  const near = (pair, picked) => pair.s === picked.node || pair.d === picked.node
    || (picked.edge && picked.edge.s === pair.s.at && picked.edge.d === pair.d.at);

  function draw(model, groups, picked) {
    pen.clearRect(0, 0, width, height);
    discs(groups);
    const focus = picked.node || picked.edge;
    const pairs = model.pairs.filter((pair) => pair.shown);
    const crowd = Math.max(0.07, Math.min(0.55, 42 / Math.sqrt(pairs.length * 14 + 1)));
    // What is bad is drawn last, what is picked after that.
    for (const [level, name] of [[0, "edge"], [1, "warn"], [2, "bad"]]) {
      pen.strokeStyle = pen.fillStyle = colours[name];
      for (const pair of pairs) {
        if (pair.bad !== level || (focus && near(pair, picked))) continue;
        pen.globalAlpha = focus ? crowd * 0.25 : level > 0 ? Math.min(0.85, crowd * 3) : crowd;
        pen.lineWidth = thickness(pair);
        pen.beginPath(); curve(pair); pen.stroke();
        if (!focus && (pairs.length < 250 || at.zoom > 1.2)) arrow(pair, 6);
      }
    }
    const marked = new Set();
    if (focus) {
      if (picked.node) marked.add(picked.node);
      for (const pair of pairs) {
        if (!near(pair, picked)) continue;
        marked.add(pair.s); marked.add(pair.d);
        pen.strokeStyle = pen.fillStyle = pair.bad === 2 ? colours.bad : pair.bad === 1 ? colours.warn : colours.focus;
        pen.globalAlpha = 0.9;
        pen.lineWidth = thickness(pair) + 0.7;
        pen.beginPath(); curve(pair); pen.stroke();
        arrow(pair, 8);
      }
    }
    pen.globalAlpha = 1;
    for (const node of model.nodes) if (node.shown) dot(node, !focus || marked.has(node), node === picked.node);
    labels(model, groups, marked, focus);
  }

  const thickness = (pair) => Math.max(0.7, Math.min(4.5, Math.log10(pair.weight + 10) * 0.45)) * Math.min(1.4, Math.max(0.6, at.zoom));

  function discs(groups) {
    for (const group of groups) {
      if (!group.nodes.some((node) => node.shown)) continue;
      const middle = toScreen(group), r = group.r * at.zoom;
      pen.beginPath();
      pen.arc(middle.x, middle.y, r, 0, Math.PI * 2);
      pen.fillStyle = colour(group.space);
      pen.globalAlpha = Number(colours.hull);
      pen.fill();
      pen.globalAlpha = 0.35;
      pen.lineWidth = 1;
      pen.strokeStyle = colour(group.space);
      pen.stroke();
      pen.globalAlpha = 1;
    }
  }

  function dot(node, clear, picked) {
    const place = toScreen(node), r = Math.max(2.2, node.r * Math.min(1.6, Math.max(0.35, at.zoom)));
    pen.globalAlpha = clear ? 1 : 0.25;
    pen.fillStyle = colour(node.space);
    pen.beginPath();
    if (node.space === "" && node.kind !== "namespace") {
      pen.moveTo(place.x, place.y - r); pen.lineTo(place.x + r, place.y);
      pen.lineTo(place.x, place.y + r); pen.lineTo(place.x - r, place.y);
      pen.closePath();
    } else {
      pen.arc(place.x, place.y, r, 0, Math.PI * 2);
    }
    pen.fill();
    pen.lineWidth = picked ? 3 : node.bad > 0 ? 2 : 1;
    pen.strokeStyle = picked ? colours.focus : node.bad === 2 ? colours.bad : node.bad === 1 ? colours.warn : colours.panel;
    pen.stroke();
    pen.globalAlpha = 1;
  }

  // As many names as do not lie on each other: discs first, then what is picked, then what has most edges.
  function labels(model, groups, marked, focus) {
    const taken = [];
    const put = (text, x, y, font, ink, must) => {
      pen.font = font;
      const half = pen.measureText(text).width / 2 + 3;
      if (x + half < 0 || x - half > width || y < 0 || y > height) return;
      const box = [x - half, y - 9, x + half, y + 9];
      if (!must && taken.some((one) => box[0] < one[2] && one[0] < box[2] && box[1] < one[3] && one[1] < box[3])) return;
      taken.push(box);
      pen.lineWidth = 3.5; pen.strokeStyle = colours.back; pen.lineJoin = "round";
      pen.strokeText(text, x, y);
      pen.fillStyle = ink;
      pen.fillText(text, x, y);
    };
    pen.textAlign = "center"; pen.textBaseline = "middle";
    for (const group of groups) {
      if (!group.nodes.some((node) => node.shown)) continue;
      const top = toScreen({ x: group.x, y: group.y - group.r });
      const name = group.space === "" ? (group.nodes[0].kind === "namespace" ? "" : "outside") : short(group.space);
      if (name) put(name, top.x, top.y - 9, "600 12.5px system-ui, sans-serif", colours.text, true);
    }
    const order = model.nodes.filter((node) => node.shown && (!focus || marked.has(node)))
      .sort((a, b) => (marked.has(b) - marked.has(a)) || b.bad - a.bad || b.edges.length - a.edges.length);
    const most = focus ? 80 : 160;
    for (const node of order.slice(0, most)) {
      const place = toScreen(node);
      const name = node.space && node.name.startsWith(`${node.space}/`) ? node.name.slice(node.space.length + 1) : node.name;
      put(short(name), place.x, place.y + node.r * Math.min(1.6, Math.max(0.35, at.zoom)) + 9, "11px system-ui, sans-serif",
        node.bad === 2 ? colours.bad : colours.text, false);
    }
  }

  const short = (name) => (name.length > 34 ? `${name.slice(0, 33)}…` : name);

  // What lies under a place of the canvas: a node, else the pair whose curve is nearest.
  function under(model, x, y) {
    let best = null, least = Infinity;
    for (const node of model.nodes) {
      if (!node.shown) continue;
      const place = toScreen(node), far = Math.hypot(place.x - x, place.y - y);
      if (far < least && far < Math.max(9, node.r * at.zoom + 4)) { best = { node }; least = far; }
    }
    if (best) return best;
    least = 6;
    for (const pair of model.pairs) {
      if (!pair.shown || pair.s === pair.d) continue;
      const s = toScreen(pair.s), m = toScreen(bend(pair)), d = toScreen(pair.d);
      const slack = 8;
      if (x < Math.min(s.x, m.x, d.x) - slack || x > Math.max(s.x, m.x, d.x) + slack
        || y < Math.min(s.y, m.y, d.y) - slack || y > Math.max(s.y, m.y, d.y) + slack) continue;
      for (let t = 0.04; t < 0.98; t += 0.04) {
        const u = 1 - t;
        const far = Math.hypot(u * u * s.x + 2 * u * t * m.x + t * t * d.x - x, u * u * s.y + 2 * u * t * m.y + t * t * d.y - y)
          - pair.bad;
        if (far < least) { least = far; best = { pair }; }
      }
    }
    return best;
  }

  return { canvas, at, measure, theme, fit, zoom, draw, under, toScreen };
})();
