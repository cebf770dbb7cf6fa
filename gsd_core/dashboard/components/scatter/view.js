// The camera's mathematics: which part of the map is shown, and where its points lie in the field.
//
// There are four kinds of coordinates: those of the layout; steps, 0 to 65534, as in the blocks; those of the plane,
// from -1 to 1; and pixels of the field, from its top left corner. A view {scale, x, y} shows what
// scale × plane + (x, y) puts between -1 and 1.
import { clamp } from "../numbers.js";
import { NO_PLACE } from "./blocks.js";

export const STEPS = NO_PLACE - 1;
const HOME = 0.95; // scale of the whole map, with a margin
const [NEAREST, FARTHEST] = [5000 * HOME, HOME / 4];
const FILL = 0.22; // share of the field that points should cover at most

export const WHOLE_MAP = { scale: HOME, x: 0, y: 0 };

export function zoomOf(view) {
  return view.scale / HOME;
}

// The view moved by (dx, dy) of the field, and grown by `factor` around a place of it, by default its middle.
export function moveView({ scale, x, y }, dx, dy, factor, [atX, atY] = [0, 0]) {
  const grown = clamp(scale * factor, FARTHEST, NEAREST);
  const real = grown / scale;
  return { scale: grown, x: atX + (x - atX) * real + dx, y: atY + (y - atY) * real + dy };
}

export function planeToPixels({ scale, x, y }, [width, height], [planeX, planeY]) {
  return [((scale * planeX + x + 1) / 2) * width, ((1 - scale * planeY - y) / 2) * height];
}

export function pixelsToPlane({ scale, x, y }, [width, height], [px, py]) {
  return [((2 * px) / width - 1 - x) / scale, (1 - (2 * py) / height - y) / scale];
}

export function planeToSteps(plane) {
  return plane.map((value) => ((value + 1) / 2) * STEPS);
}

export function planeToLayout([x0, x1, y0, y1], [planeX, planeY]) {
  return [x0 + ((planeX + 1) / 2) * (x1 - x0), y0 + ((planeY + 1) / 2) * (y1 - y0)];
}

export function layoutToPlane([x0, x1, y0, y1], [x, y]) {
  return [(2 * (x - x0)) / (x1 - x0 || 1) - 1, (2 * (y - y0)) / (y1 - y0 || 1) - 1];
}

// The diameter in pixels of each of `n` points: more of them are smaller, and they grow with the zoom.
export function pointSizeOf(n, zoom) {
  return clamp(150 / n ** 0.42, 2, 5) * Math.max(1, Math.asinh(zoom) / Math.asinh(1));
}

// How opaque each of `n` points in view is: fewer of them are more solid.
export function opacityOf(n, size, [width, height]) {
  return clamp((FILL * width * height) / (Math.max(1, n) * size * size), 0.15, 0.85);
}
