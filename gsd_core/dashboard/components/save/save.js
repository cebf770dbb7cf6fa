// Saves a Plotly chart of the page by the button that Plotly itself has for that, which need not be visible; a figure of
// our own by the pixels of its canvas.
function findCanvas(holder) {
  const roots = [...(holder?.querySelectorAll("*") ?? [])].map((each) => each.shadowRoot ?? each);
  return roots.map((root) => root.querySelector("canvas")).find(Boolean);
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

function saveCanvas(canvas, name, ground) {
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
}

function saveChart(chart, data, format) {
  const button = findButton(chart);
  if (!button) return false;
  const { width, height } = chart._fullLayout;
  const scale = format === "png" ? data.scale : 1;
  const before = chart._context.toImageButtonOptions;
  chart._context.toImageButtonOptions = { format, filename: data.name, width, height, scale };
  try {
    button.click(chart); // reads the options at once, draws later
  } finally {
    chart._context.toImageButtonOptions = before;
  }
  return true;
}

function save(data, format, ground) {
  const holder = document.querySelector(`.${CSS.escape(data.chart)}`);
  const chart = holder?.querySelector(".js-plotly-plot");
  if (chart) return saveChart(chart, data, format);
  const canvas = findCanvas(holder);
  if (canvas) saveCanvas(canvas, data.name, ground);
  return Boolean(canvas);
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
