// Two traces side by side.
import { copyOnClick } from "../copy.js";
import { make, makeLink, makeSvg, watchPointing } from "../dom.js";
import { Memory, isChanged } from "../memory.js";
import { clamp } from "../numbers.js";
import { findAnchors, isScrollable, reveal, watchScrolling } from "./scroll.js";

const states = new Memory((root) => {
  const state = {
    root, lines: root.querySelector(".lines"), spans: [], links: [], texts: ["", ""],
    sides: [...root.querySelectorAll(".side")], together: root.querySelector(".tools input"),
  };
  state.redraw = () => draw(state);
  watchScrolling(state);
  root.querySelectorAll(".head button").forEach((button, at) => copyOnClick(button, () => state.texts[at]));
  return state;
});

function partnersOf(state, element) {
  const link = element.dataset.link;
  return link === undefined ? [] : state.spans.filter((other) => other !== element && other.dataset.link === link);
}

function setActive(state, element) {
  for (const other of state.spans) {
    const index = other === element ? 0 : -1;
    other.tabIndex = index;
    other.previousElementSibling.tabIndex = index;
  }
}

function near(state, element, isNear) {
  for (const each of [element, ...partnersOf(state, element)]) each.classList.toggle("near", isNear);
  for (const line of state.lines.children) {
    const others = isNear && element.dataset.link !== undefined && line.dataset.link !== element.dataset.link;
    line.style.opacity = others ? 0.2 : "";
  }
}

function onKey(state, event) {
  const element = event.currentTarget;
  const side = state.spans.filter((other) => other.dataset.side === element.dataset.side);
  const index = side.indexOf(element);
  const across = () => {
    const wanted = element.dataset.side === "left" ? "ArrowRight" : "ArrowLeft";
    if (event.key !== wanted) return undefined;
    const others = state.spans.filter((other) => other.dataset.side !== element.dataset.side);
    return partnersOf(state, element)[0] ?? others[Math.min(index, others.length - 1)];
  };
  const target = {
    ArrowDown: side[index + 1], ArrowUp: side[index - 1], Home: side[0], End: side.at(-1),
    ArrowLeft: across(), ArrowRight: across(),
  }[event.key];
  if (target) {
    event.preventDefault();
    setActive(state, target);
    target.focus();
  }
}

function buildSpan(state, segment, side, links) {
  const row = make("div", "row");
  const number = makeLink("number", String(segment.n), segment.a, () => state.setTriggerValue("opened", segment.s));
  number.title = "Open in its trace";
  number.setAttribute("aria-label", `Open span ${segment.n} in its trace`);
  const span = make("button", "span");
  span.type = "button";
  span.dataset.span = segment.s;
  span.dataset.side = side;
  span.title = segment.h;
  span.append(make("span", "text", segment.t.trim()));
  if (segment.l !== null) {
    const [color, letter, value] = links[segment.l];
    span.dataset.link = String(segment.l);
    span.classList.add("aligned");
    span.style.setProperty("--c", color);
    span.append(make("span", "letter", letter));
    span.setAttribute("aria-description", `Pair ${letter}, cosine ${value}. ${segment.h}`);
  } else {
    span.setAttribute("aria-description", `In no pair. ${segment.h}`);
  }
  span.addEventListener("click", () => {
    setActive(state, span);
    state.setTriggerValue("chosen", segment.s);
  });
  span.addEventListener("keydown", (event) => onKey(state, event));
  watchPointing(span, () => near(state, span, true), () => near(state, span, false));
  state.spans.push(span);
  row.append(number, span);
  return row;
}

function build(state, data) {
  state.spans = [];
  [["left", data.left], ["right", data.right]].forEach(([side, segments], at) => {
    const name = data.names[at];
    const column = state.sides[at];
    column.setAttribute("aria-label", `Trace of ${name}. Arrow keys move between spans, Enter chooses one.`);
    column.replaceChildren(...segments.map((segment) =>
      segment.s ? buildSpan(state, segment, side, data.links) : make("div", "between", segment.t.trim())));
    column.scrollTop = 0;
    const head = state.root.querySelector(`.head.${side}`);
    head.querySelector(".name").textContent = name;
    head.querySelector("button").setAttribute("aria-label", `Copy the trace of ${name}`);
    state.texts[at] = segments.map((segment) => segment.t).join("");
  });
  if (state.spans.length) setActive(state, state.spans[0]);
}

function addLine(state, link, tag, attributes) {
  const line = makeSvg(tag, attributes);
  line.dataset.link = String(link);
  state.lines.append(line);
  return line;
}

// Where one span of a pair is scrolled away, its line is dashed and ends at the edge of the box. Where both are, there
// is no line.
function draw(state) {
  const frame = state.root.getBoundingClientRect();
  const boxes = state.sides.map((side) => side.getBoundingClientRect());
  state.lines.replaceChildren();
  state.links.forEach(([color, , value], link) => {
    const [from, to] = ["left", "right"].map((side) =>
      state.spans.find((span) => span.dataset.side === side && span.dataset.link === String(link)));
    if (!from || !to) return;
    const [a, b] = [from.getBoundingClientRect(), to.getBoundingClientRect()];
    const [x0, x1] = [a.right - frame.left, b.left - frame.left];
    const middles = [a, b].map((box) => box.top + box.height / 2);
    const [at0, at1] = middles.map((y, side) => clamp(y, boxes[side].top, boxes[side].bottom));
    const nGone = (at0 !== middles[0]) + (at1 !== middles[1]);
    if (nGone === 2) return;
    const [y0, y1] = [at0 - frame.top, at1 - frame.top];
    const bend = (x1 - x0) / 2;
    const curve = `M${x0},${y0} C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}`;
    const line = addLine(state, link, "path", { d: curve, stroke: color });
    if (nGone) {
      line.setAttribute("stroke-dasharray", "3 5");
      return;
    }
    addLine(state, link, "text", { x: (x0 + x1) / 2, y: (y0 + y1) / 2 }).textContent = value;
  });
}

function mark(state, selected) {
  for (const span of state.spans) {
    const isChosen = selected.includes(span.dataset.span);
    span.classList.toggle("chosen", isChosen);
    span.setAttribute("aria-pressed", String(isChosen));
  }
}

export default function mount({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gsd-pair");
  if (!root || !data) return undefined;
  const state = states.of(root);
  state.setTriggerValue = setTriggerValue;
  if (isChanged(state, [data.left, data.right, data.links, data.names])) {
    state.links = data.links;
    build(state, data);
  }
  mark(state, data.selected);
  const measure = () => {
    state.root.querySelector(".tools").hidden = !state.sides.some(isScrollable);
    state.anchors = findAnchors(state);
    draw(state);
  };
  measure();
  if (state.selected !== String(data.selected)) {
    state.selected = String(data.selected);
    const chosen = state.spans.find((span) => span.classList.contains("chosen"));
    if (chosen) reveal(state, chosen);
  }
  const observer = new ResizeObserver(measure);
  observer.observe(root);
  return () => observer.disconnect();
}
