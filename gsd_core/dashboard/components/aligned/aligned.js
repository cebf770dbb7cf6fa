// The list of aligned spans in the browser.
import { make, makeLink } from "../dom.js";
import { Memory, isChanged } from "../memory.js";

const states = new Memory((root) => ({ root }));

function buildBar(share, tick, color) {
  const bar = make("div", "bar");
  const fill = make("div", "fill");
  fill.style.width = `${share}%`;
  fill.style.background = color;
  bar.append(fill);
  if (tick !== null) {
    const mark = make("div", "tick");
    mark.style.left = `calc(${tick}% - 1px)`;
    bar.append(mark);
  }
  return bar;
}

function buildChip(glyph, color, name) {
  const chip = make("span", "chip");
  chip.style.setProperty("--c", color);
  const mark = make("span", "mark", glyph);
  mark.setAttribute("aria-hidden", "true");
  chip.append(mark, make("span", "name", name));
  return chip;
}

function buildActions(state, span, link, address) {
  const actions = make("div", "actions");
  actions.append(makeLink("", link, address, () => state.setTriggerValue("opened", span)));
  if (state.canShow) {
    const shower = make("button", "", "Show here");
    shower.type = "button";
    shower.addEventListener("click", () => state.setTriggerValue("shown", span));
    actions.append(shower);
  }
  return actions;
}

function buildCard(state, [span, cosine, share, tick, beside, glyph, color, name, text, exact, link, address]) {
  const card = make("li");
  const top = make("div", "top");
  const numbers = make("span", "numbers");
  numbers.title = state.explained[0];
  numbers.append(make("b", "", cosine), make("span", "beside", beside));
  top.append(numbers);
  if (name) top.append(buildChip(glyph, color, name));
  const quote = make("div", "quote", text);
  quote.style.borderColor = color;
  card.append(top, buildBar(share, tick, color), quote);
  if (exact) {
    const line = make("div", "exact", exact);
    line.title = state.explained[1];
    card.append(line);
  }
  card.append(buildActions(state, span, link, address));
  return card;
}

export default function mount({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gsd-aligned");
  if (!root || !data) return;
  const state = states.of(root);
  state.setTriggerValue = setTriggerValue;
  if (!isChanged(state, data)) return;
  Object.assign(state, { explained: data.explained, canShow: data.canShow });
  const list = make("ol");
  list.setAttribute("aria-label", "Aligned spans, best first");
  list.append(...data.spans.map((each) => buildCard(state, each)));
  root.replaceChildren(list);
  root.dataset.of = data.of;
}
