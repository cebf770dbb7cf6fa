// Search in a trace, and its tools; put after copy.js and before trace.js, which calls makeTools. Found places are painted by the browser (CSS highlights), so the text stays as it was built.
const ALL = "gsd-found", CURRENT = "gsd-found-now";

function textNodes(root) {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) nodes.push(node);
  return nodes;
}

function findRanges(root, words) {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return [];
  const nodes = textNodes(root);
  const starts = [];
  let text = "";
  for (const node of nodes) { starts.push(text.length); text += node.data; }
  // Letter by letter, for some letters become two when lower-cased, and places would shift.
  text = Array.from({ length: text.length }, (_, at) => {
    const lower = text[at].toLowerCase();
    return lower.length === 1 ? lower : text[at];
  }).join("");
  const locate = (place) => {
    let low = 0, high = nodes.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= place) low = middle; else high = middle - 1;
    }
    return [nodes[low], place - starts[low]];
  };
  const ranges = [];
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
    const range = new Range();
    range.setStart(...locate(at));
    const [last, offset] = locate(at + wanted.length - 1);
    range.setEnd(last, offset + 1);
    ranges.push(range);
  }
  return ranges;
}

function paint(name, ranges) {
  if (!globalThis.CSS?.highlights) return;
  if (ranges.length) CSS.highlights.set(name, new Highlight(...ranges)); else CSS.highlights.delete(name);
}

function show(tools, state, step) {
  const { ranges } = tools;
  const n = ranges.length;
  tools.at = n ? (tools.at + step + n) % n : 0;
  paint(ALL, ranges);
  paint(CURRENT, n ? [ranges[tools.at]] : []);
  tools.count.textContent = tools.input.value.trim() ? (n ? `${tools.at + 1} of ${n}` : "not found") : "";
  if (n && step !== null) ranges[tools.at].startContainer.parentElement.scrollIntoView({ block: "nearest" });
}

function makeTools(state) {
  const bar = state.root.querySelector(".tools");
  const tools = {
    bar, input: bar.querySelector("input"), count: bar.querySelector("output"), ranges: [], at: 0,
    renew() {
      tools.ranges = findRanges(state.text, tools.input.value);
      tools.at = 0;
      show(tools, state, 0);
    },
  };
  tools.input.addEventListener("input", tools.renew);
  tools.input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") show(tools, state, event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") { tools.input.value = ""; tools.renew(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  copyOnClick(bar.querySelector("button"), () => state.text.textContent);
  return tools;
}
