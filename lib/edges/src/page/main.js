"use strict";
// What is asked for, what is picked, and when to draw.

(() => {
  const find = (id) => document.getElementById(id);
  const root = document.documentElement;
  const [search, namespace, protocol, verdict, tip] = ["search", "namespace", "protocol", "verdict", "tip"].map(find);
  let data = JSON.parse(find("data").textContent);
  let model = Model.build(data), layout = Layout.begin(model, null);
  let picked = {}, hover = {}, due = false, told = "", moved = false;
  const ask = { search: "", space: "", protocol: "", verdict: "" };

  function options(select, first, values) {
    const before = select.value;
    select.replaceChildren(new Option(first, ""), ...values.map(([value, text]) => new Option(text, value)));
    select.value = values.some(([value]) => value === before) ? before : "";
  }

  function lists() {
    // A namespace's value begins with a sign, so that the one without a name is not "all".
    options(namespace, "all", model.spaces.map((space) => [`=${space}`, space === "" ? "outside" : space]));
    options(protocol, "all", model.protocols.map((name) => [name, name]));
  }

  function redraw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      if (layout.done < Infinity) {
        if (Layout.work(layout, 9)) {
          layout.done = Infinity;
          root.dataset.settled = "true";
        }
        if (!moved) View.fit(model.nodes);
        redraw();
      }
      View.draw(model, layout.groups, picked.node || picked.edge ? picked : hover);
    });
  }

  function apply() {
    Object.assign(ask, { search: search.value.trim(), space: namespace.value, protocol: protocol.value, verdict: verdict.value });
    const counts = Model.filter(model, ask);
    const all = counts.edges === model.edges.length;
    const some = (shown, total, what) => `${Model.number(shown)}${all ? "" : ` of ${Model.number(total)}`} ${what}`;
    const parts = [some(counts.nodes, model.nodes.length, "nodes"), some(counts.edges, model.edges.length, "edges"),
      `${Model.number(data.flows)} flows`];
    if (data.lost > 0) parts.push(`${Model.number(data.lost)} events lost`);
    if (told) parts.push(told);
    find("counts").textContent = parts.join(" · ");
    find("nothing").hidden = counts.edges > 0;
    redraw();
  }

  function details() {
    if (picked.node) Side.node(model, picked.node, pick);
    else if (picked.edge) Side.edge(model, picked.edge, pick);
    else Side.overview(model, ask, pick);
  }

  function pick(what) {
    picked = what || {};
    details();
    remember();
    redraw();
  }

  // The address says what is looked at, so that it can be sent to somebody.
  function remember() {
    const words = new URLSearchParams();
    if (ask.search) words.set("q", ask.search);
    if (picked.node) words.set("node", picked.node.name);
    if (picked.edge) words.set("edge", `${picked.edge.src} ${picked.edge.dst} ${Model.over(picked.edge)}`);
    const text = words.toString();
    try { history.replaceState(null, "", text ? `#${text}` : "#"); } catch { /* not everywhere allowed, and not needed */ }
  }

  function recall() {
    const words = new URLSearchParams(location.hash.slice(1));
    search.value = words.get("q") || "";
    apply();
    const named = (edge) => `${edge.src} ${edge.dst} ${Model.over(edge)}`;
    const node = words.has("node") && model.nodes.find((one) => one.name === words.get("node"));
    const edge = words.has("edge") && model.edges.find((one) => named(one) === words.get("edge"));
    picked = node ? { node } : edge ? { edge } : {};
    details();
  }

  for (const control of [search, namespace, protocol, verdict]) {
    control.addEventListener("input", () => { picked = {}; apply(); details(); remember(); });
  }
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("fit").addEventListener("click", () => { moved = false; View.fit(model.nodes); redraw(); });

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const shade = (name) => { root.dataset.theme = name; View.theme(); redraw(); };
  find("theme").addEventListener("click", () => shade(root.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => shade(dark.matches ? "dark" : "light"));

  // The pointer: drag moves, wheel zooms, click picks.
  let drag = null;
  const place = (event) => { const box = View.canvas.getBoundingClientRect(); return { x: event.clientX - box.left, y: event.clientY - box.top }; };
  const worst = (pair) => pair.edges.filter((edge) => edge.shown).sort((a, b) => b.bad - a.bad || b.flows - a.flows)[0];
  View.canvas.addEventListener("pointerdown", (event) => {
    drag = { ...place(event), x0: View.at.x, y0: View.at.y, far: 0 };
    View.canvas.setPointerCapture(event.pointerId);
  });
  View.canvas.addEventListener("pointermove", (event) => {
    const here = place(event);
    if (drag) {
      drag.far = Math.max(drag.far, Math.hypot(here.x - drag.x, here.y - drag.y));
      if (drag.far > 4) {
        moved = true;
        View.canvas.className = "moving";
        View.at.x = drag.x0 - (here.x - drag.x) / View.at.zoom;
        View.at.y = drag.y0 - (here.y - drag.y) / View.at.zoom;
        redraw();
      }
      return;
    }
    const found = View.under(model, here.x, here.y);
    hover = !found ? {} : found.node ? { node: found.node } : { edge: worst(found.pair) };
    View.canvas.className = found ? "over" : "";
    tip.hidden = !found;
    if (found) {
      const edge = hover.edge;
      tip.textContent = hover.node ? `${hover.node.name}\n${hover.node.kind}, ${hover.node.edges.length} edges`
        : `${edge.src} → ${edge.dst}\n${Model.over(edge)}, ${Model.number(edge.flows)} flows`;
      tip.style.left = `${Math.max(4, Math.min(here.x + 14, View.canvas.clientWidth - 300))}px`;
      tip.style.top = `${here.y + 16}px`;
    }
    redraw();
  });
  View.canvas.addEventListener("pointerleave", () => { tip.hidden = true; hover = {}; redraw(); });
  View.canvas.addEventListener("pointerup", (event) => {
    const clicked = drag && drag.far <= 4;
    drag = null;
    View.canvas.className = "";
    if (!clicked) return;
    const here = place(event), found = View.under(model, here.x, here.y);
    pick(!found ? {} : found.node ? { node: found.node } : { edge: worst(found.pair) });
  });
  View.canvas.addEventListener("pointercancel", () => { drag = null; });
  View.canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    moved = true;
    const here = place(event);
    View.zoom(Math.exp(-event.deltaY * 0.0015), here.x, here.y);
    redraw();
  }, { passive: false });
  View.canvas.addEventListener("keydown", (event) => {
    const far = 60 / View.at.zoom;
    const act = {
      ArrowLeft: () => { View.at.x -= far; }, ArrowRight: () => { View.at.x += far; },
      ArrowUp: () => { View.at.y -= far; }, ArrowDown: () => { View.at.y += far; },
      "+": () => View.zoom(1.25), "=": () => View.zoom(1.25), "-": () => View.zoom(0.8),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    moved = true;
    act();
    redraw();
  });
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "SELECT"].includes(document.activeElement.tagName);
    if (event.key === "Escape") {
      if (typing && search.value) { search.value = ""; apply(); }
      pick({});
    } else if (event.key === "/" && !typing) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "0" && !typing) {
      moved = false;
      View.fit(model.nodes);
      redraw();
    }
  });
  window.addEventListener("hashchange", recall);
  new ResizeObserver(() => { View.measure(); if (!moved) View.fit(model.nodes); redraw(); }).observe(find("stage"));

  // A page that is served asks again every two seconds; what is picked stays picked, and what lies somewhere stays there.
  async function refresh() {
    try {
      const answer = await fetch("data.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const named = (node) => `${node.kind} ${node.name}`;
      const before = new Map(model.nodes.map((node) => [named(node), node]));
      const edgeName = (edge) => `${edge.src} ${edge.dst} ${Model.over(edge)}`;
      data = await answer.json();
      model = Model.build(data);
      layout = Layout.begin(model, before);
      lists();
      told = `live, ${new Date().toLocaleTimeString()}`;
      apply();
      hover = {};
      const node = picked.node && model.nodes.find((one) => named(one) === named(picked.node));
      const edge = picked.edge && model.edges.find((one) => edgeName(one) === edgeName(picked.edge));
      picked = node ? { node } : edge ? { edge } : {};
      // Who reads the list or goes through it by keyboard is not disturbed.
      if (!find("side").contains(document.activeElement) && !find("side").matches(":hover")) details();
    } catch {
      told = "flowdump does not answer";
      apply();
    }
    setTimeout(refresh, 2000);
  }

  lists();
  View.measure();
  shade(dark.matches ? "dark" : "light");
  recall();
  if (data.live) setTimeout(refresh, 1000);
  // What a test asks: where a node is on the screen.
  window.mapPlace = (name) => {
    const node = model.nodes.find((one) => one.name === name);
    const box = View.canvas.getBoundingClientRect(), spot = node && View.toScreen(node);
    return spot ? { x: spot.x + box.left, y: spot.y + box.top } : null;
  };
})();
