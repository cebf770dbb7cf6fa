// Saves a Plotly chart of the page by the button that Plotly itself has for that, which need not be visible; a figure of
// our own by a canvas that it paints when asked.
function findFigure(holder) {
  const roots = [...(holder?.querySelectorAll("*") ?? [])].map((each) => each.shadowRoot).filter(Boolean);
  return roots.map((root) => root.querySelector("[data-drawn]")).find(Boolean);
}

function findButton(chart) {
  const groups = chart?._fullLayout?._modeBar?.buttons ?? [];
  return groups.flat().find((button) => button.name === "toImage");
}

// Plotly's download clicks a link outside the menu, which closes it: whoever came by keyboard shall not fall out of the
// page with it.
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

// Rings lie over the chart in a drawing of their own (rings.js): for the picture they become part of the figure.
function shapesOf({ points, accent }, ink) {
  const [chosen, ...aligned] = points;
  const around = ([x, y], r, color, width) => ({
    type: "circle", xref: "x", yref: "y", xsizemode: "pixel", ysizemode: "pixel", xanchor: x, yanchor: y,
    x0: -r, x1: r, y0: -r, y1: r, line: { color, width },
  });
  const lines = aligned.map(([x, y]) => ({
    type: "line", xref: "x", yref: "y", x0: chosen[0], y0: chosen[1], x1: x, y1: y, opacity: 0.45, line: { color: accent, width: 1 },
  }));
  return [...lines, ...aligned.map((place) => around(place, 7, ink, 1.8)), ...(chosen ? [around(chosen, 10, accent, 3)] : [])];
}

function drawWithRings(chart, rings, draw) {
  const { layout } = chart;
  const before = layout.shapes;
  if (rings?.points.length) layout.shapes = [...(before ?? []), ...shapesOf(rings, getComputedStyle(chart).color)];
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
  const holder = document.querySelector(`.${CSS.escape(data.chart)}`);
  const chart = holder?.querySelector(".js-plotly-plot");
  if (chart) return saveChart(chart, data, format, holder.gsdRings);
  const figure = findFigure(holder);
  return Boolean(figure) && saveFigure(figure, data, ground);
}

export default function (component) {
  const { data, parentElement } = component;
  const menu = parentElement.querySelector(".gsd-save");
  if (!menu || !data) return undefined;
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
  return undefined;
}
