// Two sides that scroll together, aligned spans level with each other.
import { carry, findChain } from "./anchors.js";

// The heights in both texts that belong together: both ends, and the middles of aligned spans.
export function findAnchors({ sides, links }) {
  const [left, right] = sides;
  const pairs = links.map((_, link) => sides.map((side) => {
    const span = side.querySelector(`.span[data-link="${link}"]`);
    return span && middleOf(side, span);
  }));
  const chain = findChain(pairs.filter((pair) => pair.every((height) => height !== null)));
  return [[0, 0], ...chain, [left.scrollHeight, right.scrollHeight]];
}

function middleOf(side, span) {
  const [frame, box] = [side.getBoundingClientRect(), span.getBoundingClientRect()];
  return box.top + box.height / 2 - frame.top + side.scrollTop;
}

export function isScrollable(side) {
  return side.scrollHeight > side.clientHeight + 1;
}

// The line at which the texts are level moves down the box as the text moves up, so that both ends are reached.
function follow(state, from) {
  const [leader, follower] = [state.sides[from], state.sides[1 - from]];
  const range = leader.scrollHeight - leader.clientHeight;
  const share = range > 0 ? leader.scrollTop / range : 0;
  const y = carry(state.anchors, from, leader.scrollTop + share * leader.clientHeight);
  follower.scrollTop = y - share * follower.clientHeight;
  state.followed[1 - from] = follower.scrollTop;
}

function onScroll(state, from) {
  // A side that this script moved must not move the other one back.
  const isOwn = Math.abs((state.followed[from] ?? -9) - state.sides[from].scrollTop) < 2;
  state.followed[from] = null;
  if (!isOwn && state.together.checked) follow(state, from);
  state.redraw();
}

export function watchScrolling(state) {
  state.followed = [null, null];
  state.sides.forEach((side, from) => side.addEventListener("scroll", () => onScroll(state, from)));
  state.together.addEventListener("change", () => { if (state.together.checked) follow(state, 0); });
}

// Scrolls a span into its box, a third from the top. The page itself stays where it is.
export function reveal(state, span) {
  const from = span.dataset.side === "left" ? 0 : 1;
  const side = state.sides[from];
  const y = middleOf(side, span);
  if (y >= side.scrollTop && y <= side.scrollTop + side.clientHeight) return;
  side.scrollTop = y - side.clientHeight / 3;
}
