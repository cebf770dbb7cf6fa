// Which heights of two texts belong together, from the pairs of aligned spans.
import { clamp } from "../numbers.js";

// Of the pairs [height in the left text, height in the right one], those that follow one another in both: the longest
// such chain, as texts cannot be level where their pairs cross.
export function findChain(pairs) {
  const sorted = [...pairs].sort((a, b) => a[0] - b[0]);
  const chains = []; // for each pair: the length of the longest chain that ends with it, and the pair before it
  sorted.forEach(([, right], at) => {
    let before = -1;
    for (let k = 0; k < at; k++) {
      if (sorted[k][1] < right && (before < 0 || chains[k].n > chains[before].n)) before = k;
    }
    chains.push({ n: 1 + (before < 0 ? 0 : chains[before].n), before });
  });
  const kept = [];
  let at = chains.reduce((best, chain, k) => (best < 0 || chain.n > chains[best].n ? k : best), -1);
  for (; at >= 0; at = chains[at].before) kept.unshift(sorted[at]);
  return kept;
}

// The height in one text that belongs beside `y` in the other, on which side `from` says: straight between anchors.
export function carry(anchors, from, y) {
  const to = 1 - from;
  let next = anchors.findIndex((anchor) => anchor[from] > y);
  if (next <= 0) next = anchors.length - 1;
  const [low, high] = [anchors[next - 1], anchors[next]];
  const share = (y - low[from]) / Math.max(1, high[from] - low[from]);
  return low[to] + clamp(share, 0, 1) * (high[to] - low[to]);
}
