// Points sorted into cells: which point is under the mouse, how many are in view, and how dense the map is.
import { NO_PLACE, isKept } from "./blocks.js";

const CELLS = 512; // a side; the cell of a quantised coordinate is the coordinate shifted by 7
const SHIFT = 7;
export const RASTER = 256;

function cellOf(places, row) {
  return (places.y[row] >> SHIFT) * CELLS + (places.x[row] >> SHIFT);
}

// Rows by cell: those of cell c are rows[starts[c]] … rows[starts[c + 1] - 1]. Spans without a place are left out.
export function buildGrid(places) {
  const starts = new Uint32Array(CELLS * CELLS + 1);
  const isPlaced = (row) => places.x[row] !== NO_PLACE;
  for (let row = 0; row < places.n; row++) if (isPlaced(row)) starts[cellOf(places, row) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
  const next = starts.slice();
  const rows = new Uint32Array(starts[CELLS * CELLS]);
  for (let row = 0; row < places.n; row++) if (isPlaced(row)) rows[next[cellOf(places, row)]++] = row;
  return { places, starts, rows };
}

function cellsAround(low, high) {
  return [Math.max(0, Math.floor(low) >> SHIFT), Math.min(CELLS - 1, Math.floor(high) >> SHIFT)];
}

// The kept row nearest to (x, y) within rx, ry (all quantised; distances count in those radii), or -1.
export function findNearest(grid, mask, x, y, rx, ry) {
  const [left, right] = cellsAround(x - rx, x + rx);
  const [low, high] = cellsAround(y - ry, y + ry);
  let [best, found] = [1, -1];
  for (let line = low; line <= high; line++) {
    // Cells of a line lie side by side, and so do their rows.
    const end = grid.starts[line * CELLS + right + 1];
    for (let at = grid.starts[line * CELLS + left]; at < end; at++) {
      const row = grid.rows[at];
      const distance = ((grid.places.x[row] - x) / rx) ** 2 + ((grid.places.y[row] - y) / ry) ** 2;
      if (distance < best && isKept(mask, row)) [best, found] = [distance, row];
    }
  }
  return found;
}

export function countWithin(grid, x0, x1, y0, y1) {
  const [left, right] = cellsAround(x0, x1);
  const [low, high] = cellsAround(y0, y1);
  let n = 0;
  for (let line = low; line <= high && left <= right; line++) {
    n += grid.starts[line * CELLS + right + 1] - grid.starts[line * CELLS + left];
  }
  return n;
}

// The density of all spans as a grey picture, log scale: what lies under the points, and what a filter leaves.
export function drawDensity(grid, canvas) {
  const counts = new Uint32Array(RASTER * RASTER);
  for (let line = 0; line < CELLS; line++) {
    for (let column = 0; column < CELLS; column++) {
      const cell = line * CELLS + column;
      counts[(RASTER - 1 - (line >> 1)) * RASTER + (column >> 1)] += grid.starts[cell + 1] - grid.starts[cell];
    }
  }
  const top = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
  canvas.width = RASTER;
  canvas.height = RASTER;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(RASTER, RASTER);
  picture.data.fill(128);
  for (let cell = 0; cell < counts.length; cell++) {
    picture.data[4 * cell + 3] = counts[cell] ? 30 + (110 * Math.log1p(counts[cell])) / top : 0;
  }
  context.putImageData(picture, 0, 0);
}
