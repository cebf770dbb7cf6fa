// Saves a figure of the page as a file: a Plotly chart by Plotly's own button, which need not be visible; a figure of
// our own by the canvas that it paints when asked.
import { findChart } from "../charts.js";
import { ALIGNED, CHOSEN, LINE } from "../rings/marks.js";

function findFigure(holder) {
  const roots = [...(holder?.querySelectorAll("*") ?? [])].map((each) => each.shadowRoot).filter(Boolean);
  return roots.map((root) => root.querySelector("[data-drawn]")).find(Boolean);
}

function findButton(chart) {
  const groups = chart?._fullLayout?._modeBar?.buttons ?? [];
  return groups.flat().find((button) => button.name === "toImage");
}

// Plotly's download clicks a link outside the menu, which closes it. The focus goes to the menu's button, so that who
// came by keyboard does not lose the place in the page.
function focusOpener() {
  const openers = document.querySelectorAll('[data-testid="stPopoverButton"][aria-expanded="true"]');
  [...openers].find((opener) => opener.offsetParent)?.focus();
}

function saveFigure(figure, { name, scale }, ground) {
  const asked = new CustomEvent("gsd-picture", { detail: { scale, canvas: null } });
  figure.dispatchEvent(asked);
  const { canvas } = asked.detail;
  if (!canvas) return false;
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d");
  context.fillStyle = ground;
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  copy.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  return true;
}

// Rings lie over the chart in a drawing of their own (../rings/): for the picture they become shapes of the figure.
export function makeShapes({ points, accent }, ink) {
  const [chosen, ...aligned] = points;
  const ring = ([x, y], { radius, width }, color) => ({
    type: "circle", xref: "x", yref: "y", xsizemode: "pixel", ysizemode: "pixel", xanchor: x, yanchor: y,
    x0: -radius, x1: radius, y0: -radius, y1: radius, line: { color, width },
  });
  const lines = aligned.map(([x, y]) => ({
    type: "line", xref: "x", yref: "y", x0: chosen[0], y0: chosen[1], x1: x, y1: y,
    opacity: LINE.opacity, line: { color: accent, width: LINE.width },
  }));
  const rings = aligned.map((point) => ring(point, ALIGNED, ink));
  return chosen ? [...lines, ...rings, ring(chosen, CHOSEN, accent)] : [];
}

function drawWithRings(chart, rings, draw) {
  const { layout } = chart;
  const before = layout.shapes;
  if (rings?.points.length) layout.shapes = [...(before ?? []), ...makeShapes(rings, getComputedStyle(chart).color)];
  try {
    draw(); // reads the layout at once, draws later
  } finally {
    if (before) layout.shapes = before; else delete layout.shapes;
  }
}

function saveChart(chart, data, format, rings) {
  const button = findButton(chart);
  if (!button) return false;
  const { width, height } = chart._fullLayout;
  const scale = format === "png" ? data.scale : 1;
  const before = chart._context.toImageButtonOptions;
  chart._context.toImageButtonOptions = { format, filename: data.name, width, height, scale };
  try {
    drawWithRings(chart, rings, () => button.click(chart)); // reads the options at once too
  } finally {
    chart._context.toImageButtonOptions = before;
  }
  return true;
}

function save(data, format, ground) {
  const { holder, chart } = findChart(data.chart);
  if (chart) return saveChart(chart, data, format, holder.gsdRings);
  const figure = findFigure(holder);
  return Boolean(figure) && saveFigure(figure, data, ground);
}

export default function mount({ data, parentElement }) {
  const menu = parentElement.querySelector(".gsd-save");
  if (!menu || !data) return;
  const said = menu.querySelector("output");
  for (const entry of menu.querySelectorAll("button")) {
    entry.hidden = !data.formats.includes(entry.dataset.format);
    entry.onclick = () => {
      const ground = getComputedStyle(menu).getPropertyValue("--st-background-color");
      const isDone = save(data, entry.dataset.format, ground);
      if (isDone) focusOpener();
      said.hidden = isDone;
      said.textContent = isDone ? "" : "The figure is not drawn yet. Try again when it is.";
    };
  }
}
