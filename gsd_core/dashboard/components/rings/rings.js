// Rings over a Plotly chart, in an SVG of our own that follows the chart's axes. The figure itself is never touched.
const SPACE = "http://www.w3.org/2000/svg";
const LOOK_MS = 200; // how often to look whether Streamlit has put a new chart in place of the old one

function overlayOf(chart) {
  const holder = chart.querySelector(".svg-container");
  if (!holder) return null;
  let overlay = holder.querySelector(":scope > .gsd-rings-overlay");
  if (!overlay) {
    overlay = document.createElementNS(SPACE, "svg");
    overlay.setAttribute("class", "gsd-rings-overlay");
    overlay.setAttribute("aria-hidden", "true");
    overlay.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none;overflow:hidden";
    holder.append(overlay);
  }
  return overlay;
}

function add(overlay, name, attributes) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  overlay.append(element);
}

function draw(chart, data) {
  const overlay = overlayOf(chart);
  const layout = chart._fullLayout;
  if (!overlay || !layout?.xaxis?.l2p) return;
  overlay.replaceChildren();
  const { xaxis, yaxis } = layout;
  const places = data.points.map(([x, y]) => [xaxis._offset + xaxis.l2p(x), yaxis._offset + yaxis.l2p(y)]);
  const inside = ([x, y]) =>
    x >= xaxis._offset && x <= xaxis._offset + xaxis._length &&
    y >= yaxis._offset && y <= yaxis._offset + yaxis._length;
  if (!places.length) return;
  const [chosen, ...aligned] = places;
  for (const place of aligned) {
    if (!inside(place) || !inside(chosen)) continue;
    add(overlay, "line", {
      x1: chosen[0], y1: chosen[1], x2: place[0], y2: place[1],
      stroke: data.accent, "stroke-width": 1, "stroke-opacity": 0.45,
    });
  }
  for (const place of aligned.filter(inside)) {
    add(overlay, "circle", { cx: place[0], cy: place[1], r: 7, fill: "none", stroke: "currentColor", "stroke-width": 1.8 });
  }
  if (inside(chosen)) {
    add(overlay, "circle", { cx: chosen[0], cy: chosen[1], r: 10, fill: "none", stroke: data.accent, "stroke-width": 3 });
  }
}

const followers = new WeakMap(); // element of ours -> what it follows

function follow(state) {
  const holder = document.querySelector(`.${CSS.escape(state.data.chart)}`);
  const chart = holder?.querySelector(".js-plotly-plot");
  if (holder && holder.gsdRings !== state.data) {
    holder.gsdRings = state.data; // for a map that draws its own rings (components/scatter), and to be saved (components/save)
    holder.dispatchEvent(new Event("gsd-rings"));
  }
  if (!chart || !chart.on || !chart._fullLayout) return;
  if (chart !== state.chart) {
    state.chart = chart;
    for (const name of ["plotly_afterplot", "plotly_relayout", "plotly_relayouting"]) {
      chart.on(name, () => { if (state.chart === chart && state.alive) draw(chart, state.data); });
    }
    draw(chart, state.data);
  } else if (!chart.querySelector(".gsd-rings-overlay")) {
    draw(chart, state.data);
  }
}

export default function (component) {
  const { data, parentElement } = component;
  const anchor = parentElement.querySelector(".gsd-rings");
  if (!anchor || !data) return undefined;
  let state = followers.get(anchor);
  if (!state) {
    state = { alive: true, chart: null, data };
    followers.set(anchor, state);
  }
  state.alive = true;
  state.data = data;
  clearInterval(state.timer);
  state.timer = setInterval(() => follow(state), LOOK_MS);
  follow(state);
  if (state.chart) draw(state.chart, data);
  return () => {
    state.alive = false;
    clearInterval(state.timer);
    state.chart?.querySelector(".gsd-rings-overlay")?.remove();
    state.chart = null;
  };
}
