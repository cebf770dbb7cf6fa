// Rings over a Plotly chart, in an SVG of our own that follows the chart's axes. The figure itself is never touched.
import { findChart } from "../charts.js";
import { makeSvg } from "../dom.js";
import { Memory } from "../memory.js";
import { makeMarks } from "./marks.js";

const LOOK_MS = 200; // how often to look whether Streamlit has replaced the chart

const states = new Memory(() => ({ chart: null }));

function overlayOf(chart) {
  const holder = chart.querySelector(".svg-container");
  if (!holder) return null;
  let overlay = holder.querySelector(":scope > .gsd-rings-overlay");
  if (!overlay) {
    overlay = makeSvg("svg", { class: "gsd-rings-overlay", "aria-hidden": "true" });
    overlay.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none;overflow:hidden";
    holder.append(overlay);
  }
  return overlay;
}

function draw(chart, data) {
  const overlay = overlayOf(chart);
  const { xaxis, yaxis } = chart._fullLayout ?? {};
  if (!overlay || !xaxis?.l2p) return;
  const points = data.points.map(([x, y]) => [xaxis._offset + xaxis.l2p(x), yaxis._offset + yaxis.l2p(y)]);
  const isWithin = (value, axis) => value >= axis._offset && value <= axis._offset + axis._length;
  overlay.replaceChildren(...makeMarks(points, data.accent, ([x, y]) => isWithin(x, xaxis) && isWithin(y, yaxis)));
}

function follow(state) {
  const { holder, chart } = findChart(state.data.chart);
  if (holder && holder.gsdRings !== state.data) {
    holder.gsdRings = state.data; // for ../scatter/, which draws its own rings, and for ../save/
    holder.dispatchEvent(new Event("gsd-rings"));
  }
  if (!chart || !chart.on || !chart._fullLayout) return;
  if (chart !== state.chart) {
    state.chart = chart;
    for (const name of ["plotly_afterplot", "plotly_relayout", "plotly_relayouting"]) {
      chart.on(name, () => { if (state.chart === chart && state.isMounted) draw(chart, state.data); });
    }
    draw(chart, state.data);
  } else if (!chart.querySelector(".gsd-rings-overlay")) {
    draw(chart, state.data);
  }
}

export default function mount({ data, parentElement }) {
  const anchor = parentElement.querySelector(".gsd-rings");
  if (!anchor || !data) return undefined;
  const state = states.of(anchor);
  Object.assign(state, { isMounted: true, data });
  clearInterval(state.timer);
  state.timer = setInterval(() => follow(state), LOOK_MS);
  follow(state);
  if (state.chart) draw(state.chart, data);
  return () => {
    state.isMounted = false;
    clearInterval(state.timer);
    state.chart?.querySelector(".gsd-rings-overlay")?.remove();
    state.chart = null;
  };
}
