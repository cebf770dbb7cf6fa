// The heat map's browser side: which cell the mouse and the keys are on, and which one is chosen.
import { make, pixelsOf } from "../dom.js";
import { Memory } from "../memory.js";
import { clamp } from "../numbers.js";
import { offerPick } from "../pick.js";
import { boxOf, cellAt, computeLayout } from "./layout.js";
import { makeBitmap, makePicture, paint, paintLens } from "./paint.js";
import { formatCosine, makeShades } from "./shades.js";

const LENS_BELOW = 5; // pixels; smaller cells are shown enlarged
const LEAP = 10;
const states = new Memory((root) => {
  const part = (name) => root.querySelector(`.${name}`);
  const state = {
    root, map: part("map"), canvas: part("cells"), lens: part("lens"), tip: part("tip"), words: part("words"),
    line: part("line"), chosenFrame: part("chosen"), cursorFrame: part("cursor"),
  };
  listen(state);
  return state;
});

function tell(state, i, j) {
  const pair = state.pairs.find((each) => each[0] === i && each[1] === j);
  const value = formatCosine(state.cells[i * state.shape[1] + j]);
  return { value, pair: pair ? `${state.kind} ${pair[2]}` : "" };
}

function say(state, i, j) {
  const { value, pair } = tell(state, i, j);
  state.line.textContent = `span ${i + 1} of a, span ${j + 1} of b, cosine ${value}${pair ? `, ${pair}` : ""}`;
}

function placeFrame(state, frame, cell, smallest) {
  frame.hidden = !cell;
  if (!cell) return;
  const { x, y, width, height } = boxOf(state.layout, ...cell, smallest);
  Object.assign(frame.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
}

function showTip(state, cell) {
  state.tip.hidden = !cell;
  if (!cell) return;
  const [i, j] = cell;
  const { value, pair } = tell(state, i, j);
  const lines = [
    `${value} · a ${i + 1}, b ${j + 1}${pair ? ` · ${pair}` : ""}`, state.texts[0][i], `↔ ${state.texts[1][j]}`];
  state.words.replaceChildren(...lines.map((line) => make("div", "", line)));
  state.lens.hidden = Math.min(...state.layout.cell) >= LENS_BELOW;
  if (!state.lens.hidden) paintLens(state, i, j);
  const box = boxOf(state.layout, i, j, 9);
  const [width, height] = [state.tip.offsetWidth, state.tip.offsetHeight];
  const isRight = box.x + box.width + 10 + width <= state.layout.width;
  const below = Math.min(box.y + box.height + 8, state.layout.height - height);
  state.tip.style.left = `${Math.max(0, isRight ? box.x + box.width + 10 : box.x - width - 10)}px`;
  state.tip.style.top = `${Math.max(0, below)}px`;
}

function point(state, cell) {
  state.cursor = cell;
  placeFrame(state, state.cursorFrame, cell, 9);
  showTip(state, cell);
}

function choose(state, cell) {
  state.chosen = cell;
  placeFrame(state, state.chosenFrame, cell, 11);
  say(state, ...cell);
}

function send(state, cell) {
  choose(state, cell);
  offerPick(state.relay, cell, () => state.setTriggerValue("picked", cell));
}

function cellUnder(state, event) {
  return cellAt(state.layout, state.shape, pixelsOf(event, state.canvas));
}

function onKey(state, event) {
  if (event.altKey || event.metaKey) return;
  const [i, j] = state.cursor ?? state.chosen;
  const [rows, columns] = state.shape;
  const step = event.shiftKey ? LEAP : 1;
  const isWhole = event.ctrlKey;
  const target = {
    ArrowDown: [i + step, j], ArrowUp: [i - step, j], ArrowRight: [i, j + step], ArrowLeft: [i, j - step],
    PageDown: [i + LEAP, j], PageUp: [i - LEAP, j],
    Home: [isWhole ? 0 : i, 0], End: [isWhole ? rows - 1 : i, columns - 1],
  }[event.key];
  if (target) {
    point(state, [clamp(target[0], 0, rows - 1), clamp(target[1], 0, columns - 1)]);
    say(state, ...state.cursor);
  } else if (event.key === "Enter" || event.key === " ") {
    send(state, [i, j]);
  } else if (event.key === "Escape") {
    showTip(state, null);
    return;
  } else {
    return;
  }
  event.preventDefault();
}

function rest(state) {
  point(state, null);
  say(state, ...state.chosen);
}

function listen(state) {
  const { canvas, map, root } = state;
  canvas.addEventListener("pointermove", (event) => point(state, cellUnder(state, event)));
  canvas.addEventListener("pointerleave", () => rest(state));
  canvas.addEventListener("click", (event) => {
    const cell = cellUnder(state, event);
    if (cell) send(state, cell);
  });
  map.addEventListener("keydown", (event) => onKey(state, event));
  map.addEventListener("focus", () => { if (map.matches(":focus-visible")) point(state, state.chosen); });
  map.addEventListener("blur", () => rest(state));
  root.addEventListener("gsd-picture", ({ detail }) => { detail.canvas = makePicture(state, detail.scale); });
  root.addEventListener("transitionend", (event) => { if (event.target === root) paint(state); });
}

function draw(state) {
  if (!state.root.clientWidth) return;
  const screen = { dpr: globalThis.devicePixelRatio || 1, windowHeight: globalThis.innerHeight };
  state.layout = computeLayout(state.root.clientWidth, ...state.shape, screen);
  paint(state);
  placeFrame(state, state.chosenFrame, state.chosen, 11);
  point(state, state.cursor && state.cursor.every((at, axis) => at < state.shape[axis]) ? state.cursor : null);
  state.root.dataset.drawn = state.digest;
}

function take(state, data) {
  const { digest, shape, texts, names, pairs, kind, threshold } = data;
  const isOther = state.digest !== digest || String(state.shape) !== String(shape);
  Object.assign(state, { digest, shape, texts, names, pairs, kind, threshold });
  if (isOther) {
    state.cells = data.cells.getChildAt(0).toArray();
    state.shades = makeShades(data.colors);
    state.bitmap = makeBitmap(state.cells, ...shape, state.shades);
    state.cursor = null;
  }
  state.map.setAttribute("aria-label",
    `Cosines of ${shape[0]} spans of a, ${names[0]}, with ${shape[1]} spans of b, ${names[1]}. ` +
    "Arrow keys move between cells, Enter chooses one.");
  if (isOther || String(state.given) !== String(data.chosen)) {
    state.given = data.chosen;
    state.chosen = data.chosen.slice(0, 2);
  }
  draw(state);
  say(state, ...state.chosen);
  if (data.tells && state.root.dataset.drawn && !state.hasTold) {
    state.hasTold = true;
    // After the picture has reached the screen.
    requestAnimationFrame(() => setTimeout(() => state.setTriggerValue("drawn", true)));
  }
}

export default function mount({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gsd-heat");
  if (!root || !data) return undefined;
  const state = states.of(root);
  Object.assign(state, { setTriggerValue, relay: data.relay });
  take(state, data);
  const observer = new ResizeObserver(() => {
    const isResized = state.layout?.width !== root.clientWidth || state.layout.dpr !== globalThis.devicePixelRatio;
    if (isResized) draw(state);
  });
  observer.observe(root);
  return () => observer.disconnect();
}
