// The heat map's browser side: which cell the mouse and the keys are on, and which one is chosen. Texts are written with
// textContent only: they come from files that people bring.
const LENS_BELOW = 5; // pixels; smaller cells are shown enlarged
const LEAP = 10;
const states = new WeakMap();

function tell(state, i, j) {
  const pair = state.pairs.find((each) => each[0] === i && each[1] === j);
  const value = formatCosine(state.cells[i * state.shape[1] + j]);
  return { value, pair: pair ? `${state.kind} ${pair[2]}` : "" };
}

function say(state, i, j) {
  const { value, pair } = tell(state, i, j);
  state.line.textContent = `span ${i + 1} of a, span ${j + 1} of b, cosine ${value}${pair ? `, ${pair}` : ""}`;
}

function place(state, frame, cell, smallest) {
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
  state.words.replaceChildren(...lines.map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  }));
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
  place(state, state.cursorFrame, cell, 9);
  showTip(state, cell);
}

function choose(state, cell) {
  state.chosen = cell;
  place(state, state.chosenFrame, cell, 11);
  say(state, ...cell);
}

function send(state, cell) {
  choose(state, cell);
  offerPick(state.relay, cell, () => state.setTriggerValue("picked", cell));
}

function cellAt(state, event) {
  const { left, top } = state.canvas.getBoundingClientRect();
  const { plot, cell } = state.layout;
  const [j, i] = [
    Math.floor((event.clientX - left - plot.left) / cell[0]), Math.floor((event.clientY - top - plot.top) / cell[1])];
  return i >= 0 && j >= 0 && i < state.shape[0] && j < state.shape[1] ? [i, j] : null;
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
    const within = (value, n) => Math.max(0, Math.min(n - 1, value));
    point(state, [within(target[0], rows), within(target[1], columns)]);
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
  canvas.addEventListener("pointermove", (event) => point(state, cellAt(state, event)));
  canvas.addEventListener("pointerleave", () => rest(state));
  canvas.addEventListener("click", (event) => {
    const cell = cellAt(state, event);
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
  state.layout = layOut(state.root.clientWidth, ...state.shape);
  paint(state);
  place(state, state.chosenFrame, state.chosen, 11);
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
    // After the frame that shows it.
    requestAnimationFrame(() => setTimeout(() => state.setTriggerValue("drawn", true)));
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".gsd-heat");
  if (!root || !data) return undefined;
  let state = states.get(root);
  if (!state) {
    const part = (name) => root.querySelector(`.${name}`);
    state = {
      root, map: part("map"), canvas: part("cells"), lens: part("lens"), tip: part("tip"), words: part("words"),
      line: part("line"), chosenFrame: part("chosen"), cursorFrame: part("cursor"),
    };
    states.set(root, state);
    listen(state);
  }
  Object.assign(state, { setTriggerValue, relay: data.relay });
  take(state, data);
  const observer = new ResizeObserver(() => {
    const isResized = state.layout?.width !== root.clientWidth || state.layout.dpr !== globalThis.devicePixelRatio;
    if (isResized) draw(state);
  });
  observer.observe(root);
  return () => observer.disconnect();
}
