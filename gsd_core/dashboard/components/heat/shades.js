// The colours of the heat map, and how its cosines are written. A cosine is a whole number of hundredths here.
import { channelsOf } from "../numbers.js";

export const UNKNOWN = -128; // as in __init__.py

// The colour of each hundredth from -1 to 1, straight between the stops.
export function makeShades(stops) {
  const colors = stops.map(channelsOf);
  return Array.from({ length: 201 }, (_, step) => {
    const at = (step / 200) * (colors.length - 1);
    const low = Math.min(Math.floor(at), colors.length - 2);
    return colors[low].map((value, c) => Math.round(value + (colors[low + 1][c] - value) * (at - low)));
  });
}

// Whether dark letters can be read on a shade.
export function isLight([r, g, b]) {
  return 0.299 * r + 0.587 * g + 0.114 * b > 140;
}

export function formatCosine(hundredths) {
  return hundredths === UNKNOWN ? "unknown" : formatNumber(hundredths / 100);
}

export function formatNumber(value) {
  return value.toFixed(2).replace("-", "−");
}
