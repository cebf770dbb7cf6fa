// The heat map: colours, numbers, and where its cells lie.
import assert from "node:assert/strict";
import { test } from "node:test";

import { boxOf, cellAt, computeLayout, thinTicks } from "../../gsd_core/dashboard/components/heat/layout.js";
import {
  UNKNOWN, formatCosine, formatNumber, isLight, makeShades,
} from "../../gsd_core/dashboard/components/heat/shades.js";

const SCREEN = { dpr: 1, windowHeight: 900 };

test("a shade for each hundredth, straight between the stops", () => {
  const shades = makeShades(["#000000", "#808080", "#FF0000"]);
  assert.equal(shades.length, 201);
  assert.deepEqual([shades[0], shades[50], shades[100], shades[200]],
    [[0, 0, 0], [64, 64, 64], [128, 128, 128], [255, 0, 0]]);
  assert.deepEqual(shades[150], [192, 64, 64]);
});

test("letters on a shade are dark where it is light", () => {
  assert.deepEqual([[255, 255, 255], [0, 0, 0], [0, 0, 255], [255, 255, 0]].map(isLight), [true, false, false, true]);
});

test("cosines are written with two decimals and a true minus", () => {
  assert.deepEqual([100, 7, 0, -3, UNKNOWN].map(formatCosine), ["1.00", "0.07", "0.00", "−0.03", "unknown"]);
  assert.equal(formatNumber(-0.1234), "−0.12");
});

for (const [rows, columns, dpr] of [[1, 1, 1], [7, 30, 2], [60, 8, 1.25], [1000, 1000, 1], [1000, 3, 1.5]]) {
  test(`${rows} × ${columns} cells at ${dpr} pixels fit, and each is found under its middle`, () => {
    const width = 700;
    const layout = computeLayout(width, rows, columns, { ...SCREEN, dpr });
    const { plot, cell } = layout;
    assert.ok(plot.left + plot.width < width && plot.top + plot.height < layout.height);
    assert.ok(plot.height <= Math.max(0.62 * SCREEN.windowHeight, 1), "the map is higher than its window");
    for (const edge of [plot.left, plot.top, plot.left + plot.width, plot.top + plot.height]) {
      assert.ok(Math.abs(edge * dpr - Math.round(edge * dpr)) < 1e-6, "an edge lies between two pixels of the screen");
    }
    for (const [i, j] of [[0, 0], [rows - 1, 0], [0, columns - 1], [rows >> 1, columns >> 1]]) {
      const box = boxOf(layout, i, j);
      assert.deepEqual(cellAt(layout, [rows, columns], [box.x + box.width / 2, box.y + box.height / 2]), [i, j]);
    }
    for (const [x, y] of [[plot.left - 1, 20], [plot.left + plot.width + 1, 20], [plot.left + 1, plot.top - 1]]) {
      assert.equal(cellAt(layout, [rows, columns], [x, y]), null);
    }
    assert.ok(Math.abs(cell[0] * columns - plot.width) < 1e-6);
  });
}

test("a small cell has a box around its middle", () => {
  const layout = computeLayout(700, 1000, 1000, SCREEN);
  const [small, large] = [boxOf(layout, 500, 20), boxOf(layout, 500, 20, 9)];
  assert.deepEqual([large.width, large.height], [9, 9]);
  assert.ok(Math.abs(small.x + small.width / 2 - large.x - 4.5) < 1e-9);
});

test("ticks are round, within the map, and do not touch", () => {
  assert.deepEqual(thinTicks(5, 20, 16), [1, 2, 3, 4, 5]);
  assert.deepEqual(thinTicks(1, 2, 16), [1]);
  for (const [n, cell] of [[7, 3], [100, 2], [1000, 0.5], [1000, 0.03]]) {
    const ticks = thinTicks(n, cell, 16);
    assert.ok(ticks.length >= 1 && ticks.every((tick) => tick >= 1 && tick <= n), `${n}: ${ticks}`);
    assert.ok(ticks.every((tick, at) => !at || (tick - ticks[at - 1]) * cell >= 16), `${n}: ${ticks} touch`);
  }
});
