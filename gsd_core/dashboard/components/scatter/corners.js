// The corners of what is drawn around points.
const MOST_CORNERS = 64; // some 1.2 kB when sent

export function cornersOfBox([x0, y0], [x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

// At most 64 of the corners of a line: those farthest from the line between their neighbours (Douglas & Peucker 1973),
// with a tolerance that grows until they are few enough.
export function thinCorners(line) {
  let tolerance = 0.5;
  let corners = line;
  while (corners.length > MOST_CORNERS) {
    corners = simplify(line, tolerance);
    tolerance *= 1.6;
  }
  return corners;
}

// How far a place lies from the straight line through two others; from their one place where both are the same.
function distanceFrom([x0, y0], [x1, y1], [x, y]) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  return length ? Math.abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length : Math.hypot(x - x0, y - y0);
}

// The corners of a line without those that lie within `tolerance` of the line between their neighbours.
export function simplify(line, tolerance) {
  const kept = new Set([0, line.length - 1]);
  const parts = [[0, line.length - 1]];
  while (parts.length) {
    const [first, last] = parts.pop();
    let [farthest, at] = [tolerance, -1];
    for (let i = first + 1; i < last; i++) {
      const distance = distanceFrom(line[first], line[last], line[i]);
      if (distance > farthest) [farthest, at] = [distance, i];
    }
    if (at >= 0) {
      kept.add(at);
      parts.push([first, at], [at, last]);
    }
  }
  return [...kept].sort((a, b) => a - b).map((at) => line[at]);
}
