// The list of clusters in the browser.
import { make } from "../dom.js";
import { Memory, isChanged } from "../memory.js";
import { clamp } from "../numbers.js";

const COLUMNS = [["", 3], ["Spans", 4], ["Samples", 5]]; // title, index in a row that the server sends
const states = new Memory((root) => ({ root }));

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
  const last = state.lines.length - 1;
  const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last };
  if (at < 0 || !(event.key in targets)) return;
  event.preventDefault();
  state.lines[clamp(targets[event.key], 0, last)].button.focus();
}

// Names in the order of the alphabet, with their numbers in order too.
export function compareValues(a, b) {
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

// Sorts by one column. The first press puts the largest counts first, but names from A to Z; the next press turns it.
function sort(state, column) {
  const first = column === COLUMNS[0][1] ? 1 : -1;
  const sign = state.sorted?.column === column ? -state.sorted.sign : first;
  state.sorted = { column, sign };
  state.lines.sort((a, b) => sign * compareValues(a.values[column], b.values[column]));
  state.body.append(...state.lines.map((line) => line.element));
  for (const head of state.heads) {
    const sorted = sign > 0 ? "ascending" : "descending";
    const order = head.column === column ? sorted : "none";
    head.element.setAttribute("aria-sort", order);
  }
}

function build(state, data) {
  const table = make("table");
  table.setAttribute("aria-label", `${data.title}. Arrow keys move between rows, Enter opens one.`);
  const top = make("tr");
  top.append(make("td"));
  state.heads = COLUMNS.map(([title, column]) => {
    const element = make("th", column === COLUMNS[0][1] ? "" : "count");
    const button = make("button", "", title || data.title);
    button.type = "button";
    button.addEventListener("click", () => sort(state, column));
    element.scope = "col";
    element.append(button);
    top.append(element);
    return { element, column };
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

export default function mount({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".gsd-clusters");
  if (!root || !data) return;
  const state = states.of(root);
  state.setStateValue = setStateValue;
  if (isChanged(state, data)) build(state, data);
}
