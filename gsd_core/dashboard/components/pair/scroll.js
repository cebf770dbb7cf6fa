// Two sides that scroll together, aligned spans level with each other. Put before pair.js.

// Where the middles of aligned spans lie in both texts: only pairs that follow one another in both, longest such chain,
// for texts cannot be brought level where their pairs cross.
function findAnchors(state) {
  const [left, right] = state.sides;
  const middles = state.links.map((_, link) => state.sides.map((side) => {
    const span = side.querySelector(`.span[data-link="${link}"]`);
    return span && placeIn(side, span);
  })).filter(([a, b]) => a != null && b != null).sort((a, b) => a[0] - b[0]);
  const chains = []; // per pair: the longest chain that ends with it, and the pair before it
  middles.forEach(([, b], at) => {
    let before = -1;
    for (let k = 0; k < at; k++) {
      if (middles[k][1] < b && (before < 0 || chains[k].n > chains[before].n)) before = k;
    }
    chains.push({ n: 1 + (before < 0 ? 0 : chains[before].n), before });
  });
  const kept = [];
  let at = chains.reduce((best, chain, k) => (best < 0 || chain.n > chains[best].n ? k : best), -1);
  for (; at >= 0; at = chains[at].before) kept.unshift(middles[at]);
  return [[0, 0], ...kept, [left.scrollHeight, right.scrollHeight]];
}

function placeIn(side, span) {
  const [frame, box] = [side.getBoundingClientRect(), span.getBoundingClientRect()];
  return box.top + box.height / 2 - frame.top + side.scrollTop;
}

// The place in one text that belongs beside `y` in the other: straight between anchors.
function carry(anchors, from, y) {
  const to = 1 - from;
  let next = anchors.findIndex((anchor) => anchor[from] > y);
  if (next <= 0) next = anchors.length - 1;
  const [low, high] = [anchors[next - 1], anchors[next]];
  const share = (y - low[from]) / Math.max(1, high[from] - low[from]);
  return low[to] + Math.min(1, Math.max(0, share)) * (high[to] - low[to]);
}

function isScrollable(side) {
  return side.scrollHeight > side.clientHeight + 1;
}

// The line at which the texts are level moves from top to bottom of the box as the text does: so both ends are reached.
function follow(state, from) {
  const [leader, follower] = [state.sides[from], state.sides[1 - from]];
  const range = leader.scrollHeight - leader.clientHeight;
  const share = range > 0 ? leader.scrollTop / range : 0;
  const y = carry(state.anchors, from, leader.scrollTop + share * leader.clientHeight);
  follower.scrollTop = y - share * follower.clientHeight;
  state.followed[1 - from] = follower.scrollTop;
}

function onScroll(state, from) {
  // What this script moved itself must not move the other side back.
  const isOwn = Math.abs((state.followed[from] ?? -9) - state.sides[from].scrollTop) < 2;
  state.followed[from] = null;
  if (!isOwn && state.together.checked) follow(state, from);
  state.redraw();
}

function watchScrolling(state) {
  state.followed = [null, null];
  state.sides.forEach((side, from) => side.addEventListener("scroll", () => onScroll(state, from)));
  state.together.addEventListener("change", () => { if (state.together.checked) follow(state, 0); });
}

// Bring a span into its box, a third from the top; the page itself stays where it is.
function reveal(state, span) {
  const from = span.dataset.side === "left" ? 0 : 1;
  const side = state.sides[from];
  const y = placeIn(side, span);
  if (y >= side.scrollTop && y <= side.scrollTop + side.clientHeight) return;
  side.scrollTop = y - side.clientHeight / 3;
}
