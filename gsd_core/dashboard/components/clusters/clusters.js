// The list of clusters in the browser. Names come from people's texts: they are written with textContent only.
const COLUMNS = [["Cluster", 3], ["Spans", 4], ["Samples", 5]]; // title, place in a row as the server sends it
const states = new WeakMap();

function open(state, line) {
  for (const other of state.lines) {
    other.button.setAttribute("aria-pressed", String(other === line));
    other.button.tabIndex = other === line ? 0 : -1;
    other.element.classList.toggle("open", other === line);
  }
}

function buildLine(state, [cluster, glyph, color, name, ...counts]) {
  const element = make("tr");
  const button = make("button", "", name);
  button.type = "button";
  const mark = make("td", "mark", glyph);
  mark.style.color = color;
  mark.setAttribute("aria-hidden", "true");
  const cell = make("td");
  cell.append(button);
  element.append(mark, cell, ...counts.map((count) => make("td", "count", count.toLocaleString("en"))));
  const line = { element, button, values: [cluster, glyph, color, name, ...counts] };
  element.addEventListener("click", () => {
    open(state, line);
    state.setStateValue("opened", cluster);
  });
  return line;
}

function onKey(state, event) {
  const at = state.lines.findIndex((line) => line.button === event.target);
  const places = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: state.lines.length - 1 };
  if (at < 0 || !(event.key in places)) return;
  event.preventDefault();
  state.lines[Math.max(0, Math.min(state.lines.length - 1, places[event.key]))].button.focus();
}

// By one column, largest first at the first press; names from A on.
function sort(state, place) {
  const isText = place === COLUMNS[0][1];
  const sign = state.sorted?.place === place ? -state.sorted.sign : isText ? 1 : -1;
  state.sorted = { place, sign };
  const compare = (a, b) => isText ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  state.lines.sort((a, b) => sign * compare(a.values[place], b.values[place]));
  state.body.append(...state.lines.map((line) => line.element));
  for (const head of state.heads) {
    const order = head.place !== place ? "none" : sign > 0 ? "ascending" : "descending";
    head.element.setAttribute("aria-sort", order);
  }
}

function build(state, data) {
  const table = make("table");
  table.setAttribute("aria-label", "Clusters. Arrow keys move between them, Enter opens one.");
  const top = make("tr");
  top.append(make("td"));
  state.heads = COLUMNS.map(([title, place]) => {
    const element = make("th", place === COLUMNS[0][1] ? "" : "count");
    const button = make("button", "", title);
    button.type = "button";
    button.addEventListener("click", () => sort(state, place));
    element.scope = "col";
    element.append(button);
    top.append(element);
    return { element, place };
  });
  const head = make("thead");
  head.append(top);
  state.sorted = null;
  state.lines = data.rows.map((row) => buildLine(state, row));
  state.body = make("tbody");
  state.body.append(...state.lines.map((line) => line.element));
  state.body.addEventListener("keydown", (event) => onKey(state, event));
  table.append(head, state.body);
  state.root.style.maxHeight = `${data.maxHeight}px`;
  state.root.replaceChildren(table);
  open(state, state.lines[0]);
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".gsd-clusters");
  if (!root || !data) return;
  let state = states.get(root);
  if (!state) {
    state = { root };
    states.set(root, state);
  }
  state.setStateValue = setStateValue;
  const print = JSON.stringify(data);
  if (state.print === print) return;
  state.print = print;
  build(state, data);
}
