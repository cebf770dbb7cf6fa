// The trace viewer's browser side.
import { make, watchPointing } from "../dom.js";
import { Memory, isChanged } from "../memory.js";
import { clamp } from "../numbers.js";
import { offerPick } from "../pick.js";
import { makeTools } from "./tools.js";

const states = new Memory((root) => {
  const [text, tip, bar] = ["text", "tip", "tools"].map((name) => root.querySelector(`.${name}`));
  return { root, text, tip, spans: [], tools: makeTools(bar, text) };
});

// Makes `element` the one span that Tab reaches. There may be hundreds, so only what changes is touched: otherwise the
// browser looks at all of them.
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
  const target = state.spans[clamp(index, 0, state.spans.length - 1)];
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
  state.tip.replaceChildren(...lines.map((line) => make("div", "", line)));
  state.tip.hidden = false;
  const frame = state.root.getBoundingClientRect();
  const box = element.getClientRects()[0];
  const left = Math.max(0, Math.min(box.left - frame.left, frame.width - state.tip.offsetWidth - 4));
  const above = box.top - frame.top - state.tip.offsetHeight - 6;
  state.tip.style.left = `${left}px`;
  state.tip.style.top = `${above < -state.tip.offsetHeight / 2 ? box.bottom - frame.top + 6 : above}px`;
}

function buildSpan(state, segment) {
  const element = make("span", "span");
  element.dataset.span = segment.s;
  element.style.setProperty("--c", segment.c);
  if (state.clickable) {
    element.setAttribute("role", "button");
    element.setAttribute("aria-pressed", "false");
  }
  element.tabIndex = -1;
  if (segment.k) {
    for (const [text, share] of segment.k) {
      const token = make("span", "token", text);
      token.style.background = `color-mix(in srgb, #D55E00 ${Math.round(share * 75)}%, transparent)`;
      element.append(token);
    }
  } else {
    element.textContent = segment.t;
  }
  if (segment.l) element.setAttribute("aria-description", segment.l);
  element.addEventListener("click", () => send(state, element));
  element.addEventListener("keydown", (event) => onKey(state, event));
  watchPointing(element, () => showTip(state, element, segment.h), () => { state.tip.hidden = true; });
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

export default function mount({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gsd-trace");
  if (!root || !data) return;
  const state = states.of(root);
  Object.assign(state, { setTriggerValue, relay: data.relay });
  const isNew = isChanged(state, [data.segments, data.maxHeight, data.name, data.clickable, data.tools]);
  if (isNew) {
    const kept = state.chosen?.dataset.span;
    build(state, data);
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
