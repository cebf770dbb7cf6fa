// Saves a Plotly chart of the page by the button that Plotly itself has for that, which need not be visible.
function findChart(name) {
  return document.querySelector(`.${CSS.escape(name)} .js-plotly-plot`);
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

function save(data, format) {
  const chart = findChart(data.chart);
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

export default function (component) {
  const { data, parentElement } = component;
  const menu = parentElement.querySelector(".gsd-save");
  if (!menu || !data) return undefined;
  const said = menu.querySelector("output");
  for (const entry of menu.querySelectorAll("button")) {
    entry.onclick = () => {
      const isDone = save(data, entry.dataset.format);
      if (isDone) focusOpener();
      said.hidden = isDone;
      said.textContent = isDone ? "" : "The figure is not drawn yet. Try again when it is.";
    };
  }
  return undefined;
}
