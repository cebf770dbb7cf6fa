// Where the cells of a heat map lie. All sizes are in pixels of CSS.
import { clamp } from "../numbers.js";

const WIDEST_CELL = 110, HIGHEST_CELL = 46;
const EVEN_FROM = 4; // cells at least this large are all of one size
export const LABEL_HEIGHT = 16;
export const DIGIT = 7; // the width of one

// For a map as wide as the page allows. `dpr`: pixels of the screen for one of CSS, on which edges fall; `windowHeight`
// limits the height.
export function computeLayout(width, rows, columns, { dpr, windowHeight }) {
  const snap = (value) => Math.max(1, Math.floor(value * dpr)) / dpr;
  const left = snap(26 + DIGIT * String(rows).length);
  const right = width < 420 ? 74 : 104;
  const highest = clamp(0.62 * windowHeight, 320, 1100);
  const fit = (space, n, largest) => {
    const cell = Math.min(space / n, largest);
    return cell >= EVEN_FROM ? snap(cell) * n : snap(space);
  };
  const plot = {
    left, top: snap(8),
    width: fit(Math.max(60, width - left - right), columns, WIDEST_CELL),
    height: fit(highest, rows, HIGHEST_CELL),
  };
  const barHeight = Math.max(plot.height, 110);
  return {
    dpr, plot, width, barHeight, height: plot.top + barHeight + 44,
    cell: [plot.width / columns, plot.height / rows],
  };
}

// The box of the cell in row `i` and column `j`; around its middle where it is smaller than `smallest`.
export function boxOf({ plot, cell }, i, j, smallest = 0) {
  const [width, height] = [Math.max(cell[0], smallest), Math.max(cell[1], smallest)];
  const x = plot.left + (j + 0.5) * cell[0] - width / 2;
  return { x, y: plot.top + (i + 0.5) * cell[1] - height / 2, width, height };
}

// [row, column] at a place of the map of this shape; null beside the cells.
export function cellAt({ plot, cell }, [rows, columns], [x, y]) {
  const [i, j] = [Math.floor((y - plot.top) / cell[1]), Math.floor((x - plot.left) / cell[0])];
  return i >= 0 && j >= 0 && i < rows && j < columns ? [i, j] : null;
}

// Numbers 1 to n at round steps, so far apart that labels of `space` pixels do not touch.
export function thinTicks(n, cell, space) {
  for (let scale = 1; ; scale *= 10) {
    for (const step of [scale, 2 * scale, 5 * scale]) {
      if (step * cell < space && step < n) continue;
      return Array.from({ length: Math.max(1, Math.floor(n / step)) }, (_, at) => (step < n ? (at + 1) * step : n));
    }
  }
}
