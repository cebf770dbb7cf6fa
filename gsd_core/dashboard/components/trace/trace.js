// The trace viewer's browser side. Text is written with textContent only: it comes from files that people bring.
const states = new WeakMap();

function fingerprint(data) {
  return JSON.stringify([data.segments, data.maxHeight, data.name, data.clickable, data.tools]);
}

// The one span that Tab reaches. There may be hundreds: only what changes is touched, or the browser looks at all of them.
function putInTabOrder(state, element) {
  if (state.reached) state.reached.tabIndex = -1;
  state.reached = element;
  if (element) element.tabIndex = 0;
}

function choose(state, element) {
  for (const [span, isChosen] of [[state.chosen, false], [element, true]]) {
    span?.classList.toggle("chosen", isChosen);
    if (state.clickable) span?.setAttribute("aria-pressed", String(isChosen));
  }
  state.chosen = element;
  putInTabOrder(state, element ?? state.spans[0]);
}

function moveTo(state, index) {
  const target = state.spans[Math.max(0, Math.min(state.spans.length - 1, index))];
  if (!target) return;
  putInTabOrder(state, target);
  target.focus();
}

function onKey(state, event) {
  const index = state.spans.indexOf(event.currentTarget);
  const moves = {
    ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1,
    Home: 0, End: state.spans.length - 1,
  };
  if (event.key in moves) {
    event.preventDefault();
    moveTo(state, moves[event.key]);
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    send(state, event.currentTarget);
  }
}

function send(state, element) {
  if (!state.clickable) return;
  choose(state, element);
  offerPick(state.relay, element.dataset.span, () => state.setTriggerValue("chosen", element.dataset.span));
}

function showTip(state, element, lines) {
  if (state.tipped === element && !state.tip.hidden) return; // a click gives focus to what the mouse is on already
  state.tipped = element;
  state.tip.replaceChildren(...lines.map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  }));
  state.tip.hidden = false;
  const frame = state.root.getBoundingClientRect();
  const box = element.getClientRects()[0];
  const left = Math.max(0, Math.min(box.left - frame.left, frame.width - state.tip.offsetWidth - 4));
  const above = box.top - frame.top - state.tip.offsetHeight - 6;
  state.tip.style.left = `${left}px`;
  state.tip.style.top = `${above < -state.tip.offsetHeight / 2 ? box.bottom - frame.top + 6 : above}px`;
}

function buildSpan(state, segment) {
  const element = document.createElement("span");
  element.className = "span";
  element.dataset.span = segment.s;
  element.style.setProperty("--c", segment.c);
  if (state.clickable) {
    element.setAttribute("role", "button");
    element.setAttribute("aria-pressed", "false");
  }
  element.tabIndex = -1;
  if (segment.k) {
    for (const [text, share] of segment.k) {
      const token = document.createElement("span");
      token.className = "token";
      token.textContent = text;
      token.style.background = `color-mix(in srgb, #D55E00 ${Math.round(share * 75)}%, transparent)`;
      element.append(token);
    }
  } else {
    element.textContent = segment.t;
  }
  if (segment.l) element.setAttribute("aria-description", segment.l);
  element.addEventListener("click", () => send(state, element));
  element.addEventListener("keydown", (event) => onKey(state, event));
  for (const name of ["pointerenter", "focus"]) {
    element.addEventListener(name, () => showTip(state, element, segment.h));
  }
  for (const name of ["pointerleave", "blur"]) {
    element.addEventListener(name, () => { state.tip.hidden = true; });
  }
  return element;
}

function build(state, data) {
  state.text.setAttribute("aria-label", `${data.name}. Arrow keys move between spans, Enter chooses one.`);
  state.text.style.maxHeight = data.maxHeight ? `${data.maxHeight}px` : "";
  state.text.classList.toggle("tinted", data.segments.some((segment) => segment.k));
  state.clickable = data.clickable;
  Object.assign(state, { spans: [], chosen: undefined, reached: undefined });
  const nodes = data.segments.map((segment) => {
    if (!segment.s) return document.createTextNode(segment.t);
    const element = buildSpan(state, segment);
    state.spans.push(element);
    return element;
  });
  state.text.replaceChildren(...nodes);
  state.tools.bar.hidden = !data.tools;
  state.tools.renew();
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".gsd-trace");
  if (!root || !data) return;
  let state = states.get(root);
  if (!state) {
    state = { root, text: root.querySelector(".text"), tip: root.querySelector(".tip"), spans: [] };
    state.tools = makeTools(state);
    states.set(root, state);
  }
  Object.assign(state, { setTriggerValue, relay: data.relay });
  const print = fingerprint(data);
  const isNew = state.print !== print;
  if (isNew) {
    const kept = state.chosen?.dataset.span;
    build(state, data);
    state.print = print;
    if (state.selected === data.selected && kept) {
      choose(state, state.spans.find((element) => element.dataset.span === kept));
      return;
    }
  }
  if (isNew || state.selected !== data.selected) {
    state.selected = data.selected;
    const target = state.spans.find((element) => element.dataset.span === data.selected);
    choose(state, target);
    if (target && data.maxHeight) {
      state.text.scrollTop = target.offsetTop - state.text.offsetTop - data.maxHeight / 3;
    }
  }
}
