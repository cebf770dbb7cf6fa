// The tools over a trace: search and copy. The browser itself paints what is found (CSS highlights), so that the text
// stays as it was built.
import { copyOnClick } from "../copy.js";
import { findWords } from "./find.js";

const ALL = "gsd-found", CURRENT = "gsd-found-now";

function textNodes(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) nodes.push(node);
  return nodes;
}

function findRanges(root, words) {
  if (!words.trim()) return [];
  const nodes = textNodes(root);
  return findWords(nodes.map((node) => node.data), words).map(([[first, start], [last, end]]) => {
    const range = new Range();
    range.setStart(nodes[first], start);
    range.setEnd(nodes[last], end);
    return range;
  });
}

function paint(name, ranges) {
  if (!globalThis.CSS?.highlights) return;
  if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges)); else CSS.highlights.delete(name);
}

function show(tools, step) {
  const { ranges } = tools;
  const n = ranges.length;
  tools.at = n ? (tools.at + step + n) % n : 0;
  paint(ALL, ranges);
  paint(CURRENT, n ? [ranges[tools.at]] : []);
  const answer = n ? `${tools.at + 1} of ${n}` : "not found";
  tools.count.textContent = tools.input.value.trim() ? answer : "";
  if (n) ranges[tools.at].startContainer.parentElement.scrollIntoView({ block: "nearest" });
}

// The tools in `bar` for the trace in `text`; `renew` searches again after the text has changed.
export function makeTools(bar, text) {
  const tools = {
    bar, input: bar.querySelector("input"), count: bar.querySelector("output"), ranges: [], at: 0,
    renew() {
      tools.ranges = findRanges(text, tools.input.value);
      tools.at = 0;
      show(tools, 0);
    },
  };
  tools.input.addEventListener("input", tools.renew);
  tools.input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") show(tools, event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") { tools.input.value = ""; tools.renew(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  copyOnClick(bar.querySelector("button"), () => text.textContent);
  return tools;
}
