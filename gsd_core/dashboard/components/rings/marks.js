// How the chosen span and the spans aligned with it are marked, on every map and on every picture of one.
import { makeSvg } from "../dom.js";

// Radii and widths in pixels.
export const CHOSEN = { radius: 10, width: 3 };
export const ALIGNED = { radius: 7, width: 1.8 };
export const LINE = { width: 1, opacity: 0.45 };

// The marks as elements of SVG. `points` are [x, y] in pixels, the chosen span first; only what `isInside` is drawn.
export function makeMarks(points, accent, isInside) {
  const [chosen, ...others] = points;
  const aligned = others.filter(isInside);
  const ring = ([x, y], { radius, width }, stroke) =>
    makeSvg("circle", { cx: x, cy: y, r: radius, fill: "none", stroke, "stroke-width": width });
  const rings = aligned.map((point) => ring(point, ALIGNED, "currentColor"));
  if (!chosen || !isInside(chosen)) return rings;
  const lines = aligned.map(([x, y]) => makeSvg("line", {
    x1: chosen[0], y1: chosen[1], x2: x, y2: y,
    stroke: accent, "stroke-width": LINE.width, "stroke-opacity": LINE.opacity,
  }));
  return [...lines, ...rings, ring(chosen, CHOSEN, accent)];
}
