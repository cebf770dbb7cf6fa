// The map of very many spans: blocks hold what their bytes say, the grid finds what a full search finds, coordinates
// lead back to where they came from, and outlines keep their form.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gunzipSync, gzipSync } from "node:zlib";

import { NO_PLACE, fetchBlock, isKept, readBlock } from "../../gsd_core/dashboard/components/scatter/blocks.js";
import { cornersOfBox, simplify, thinCorners } from "../../gsd_core/dashboard/components/scatter/corners.js";
import { buildGrid, countWithin, findNearest } from "../../gsd_core/dashboard/components/scatter/grid.js";
import { makePalette } from "../../gsd_core/dashboard/components/scatter/points.js";
import {
  STEPS, WHOLE_MAP, layoutToPlane, moveView, opacityOf, pixelsToPlane, planeToLayout, planeToPixels, planeToSteps,
  pointSizeOf, zoomOf,
} from "../../gsd_core/dashboard/components/scatter/view.js";
import { makeRandom } from "./random.js";

const BOX = [640, 400];

function makeBlock(kind, itemBytes, n, body, bounds = [0, 0, 0, 0]) {
  const bytes = new Uint8Array(48 + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("GSDM"));
  view.setUint8(4, 1);
  view.setUint8(5, kind);
  view.setUint16(6, itemBytes, true);
  view.setUint32(8, n, true);
  bounds.forEach((bound, at) => view.setFloat64(16 + 8 * at, bound, true));
  bytes.set(body, 48);
  return bytes.buffer;
}

function close(found, expected, tolerance = 1e-9) {
  assert.equal(found.length, expected.length);
  found.forEach((value, at) => assert.ok(Math.abs(value - expected[at]) <= tolerance, `${found} is not ${expected}`));
}

// Many points in few places, so that cells hold several; some have no place.
function makePlaces(n, seed) {
  const random = makeRandom(seed);
  const draw = () => Uint16Array.from({ length: n }, () => Math.min(STEPS, Math.floor(random() ** 2 * 65536)));
  const places = { n, x: draw(), y: draw(), bounds: [-3, 5, 10, 11] };
  for (let row = 0; row < n; row += 17) places.x[row] = NO_PLACE;
  const mask = { n, bits: Uint8Array.from({ length: Math.ceil(n / 8) }, () => Math.floor(random() * 256)) };
  return { places, mask, random };
}

test("a block holds what its layout says", () => {
  const body = new Uint8Array(new Uint16Array([0, 65534, 65535, 7, 8, 9]).buffer);
  const places = readBlock(makeBlock(1, 2, 3, body, [-1.5, 2, 0.25, 4]), "places");
  assert.deepEqual([places.n, [...places.x], [...places.y]], [3, [0, 65534, 65535], [7, 8, 9]]);
  assert.deepEqual(places.bounds, [-1.5, 2, 0.25, 4]);
  assert.deepEqual([...readBlock(makeBlock(2, 1, 3, [5, 0, 255]), "values").index], [5, 0, 255]);
  assert.deepEqual([...readBlock(makeBlock(2, 2, 2, [1, 1, 0, 2]), "values").index], [257, 512]);
  const mask = readBlock(makeBlock(3, 0, 10, [0b10000001, 0b10]), "mask");
  assert.deepEqual(Array.from({ length: 10 }, (_, row) => Boolean(isKept(mask, row))),
    [true, false, false, false, false, false, false, true, false, true]);
  assert.ok(isKept(null, 4), "without a filter every row is kept");
});

test("a block of another kind, length or program is refused", () => {
  const good = makeBlock(2, 1, 3, [5, 0, 255]);
  const foreign = good.slice(0);
  new Uint8Array(foreign)[0] = 0;
  const newer = good.slice(0);
  new Uint8Array(newer)[4] = 2;
  assert.throws(() => readBlock(good, "mask"), /no mask that this page can read/);
  for (const buffer of [good.slice(0, 50), foreign, newer]) {
    assert.throws(() => readBlock(buffer, "values"), /no values that this page can read/);
  }
  assert.throws(() => readBlock(good.slice(0, 47), "values"), /cut off/);
});

test("a block is asked for once; after a failure it is asked for again", async (context) => {
  const content = gzipSync(new Uint8Array(makeBlock(2, 1, 2, [1, 2])));
  const answers = [new Response("", { status: 404 }), new Response(content)];
  const ask = context.mock.method(globalThis, "fetch", async () => answers.shift());
  await assert.rejects(fetchBlock("/media/a", "values"), /the server answered 404/);
  const first = await fetchBlock("/media/a", "values");
  assert.equal(await fetchBlock("/media/a", "values"), first);
  assert.equal(ask.mock.callCount(), 2);
});

test("blocks that Python wrote are read as they were meant", { skip: !process.env.GSD_BLOCKS }, () => {
  const folder = process.env.GSD_BLOCKS;
  const { x, y, values, mask } = JSON.parse(readFileSync(`${folder}/meant.json`, "utf-8"));
  const [places, colors, kept] = ["places", "values", "mask"].map((kind) => {
    const { buffer, byteOffset, byteLength } = gunzipSync(readFileSync(`${folder}/${kind}.gz`));
    return readBlock(buffer.slice(byteOffset, byteOffset + byteLength), kind);
  });
  assert.deepEqual([...colors.index], values);
  assert.deepEqual(mask.map((_, row) => Boolean(isKept(kept, row))), mask);
  x.forEach((value, row) => {
    if (value === null) {
      assert.equal(places.x[row], NO_PLACE);
      return;
    }
    const plane = [places.x[row], places.y[row]].map((steps) => (2 * steps) / STEPS - 1);
    close(planeToLayout(places.bounds, plane), [value, y[row]], 1e-3);
  });
});

test("the nearest kept row is the one that a full search finds", () => {
  const { places, mask, random } = makePlaces(3000, 1);
  const grid = buildGrid(places);
  assert.equal(grid.rows.length, places.n - Math.ceil(places.n / 17), "a row without a place is in the grid");
  const distanceOf = (row, x, y, rx, ry) => ((places.x[row] - x) / rx) ** 2 + ((places.y[row] - y) / ry) ** 2;
  for (let turn = 0; turn < 300; turn++) {
    const [x, y] = [random() * 80000 - 7000, random() * 80000 - 7000];
    const [rx, ry] = [1 + random() * 4000, 1 + random() * 4000];
    const filter = turn % 2 ? mask : null;
    let [best, expected] = [1, -1];
    for (const row of grid.rows) {
      const distance = distanceOf(row, x, y, rx, ry);
      if (distance < best && isKept(filter, row)) [best, expected] = [distance, row];
    }
    const found = findNearest(grid, filter, x, y, rx, ry);
    const same = found === expected || distanceOf(found, x, y, rx, ry) === best; // two rows may lie on one place
    assert.ok(same, `at ${x}, ${y} within ${rx}, ${ry}: row ${found}, not ${expected}`);
  }
});

test("the rows within a box are counted by whole cells", () => {
  const { places } = makePlaces(2000, 2);
  const grid = buildGrid(places);
  assert.equal(countWithin(grid, 0, STEPS, 0, STEPS), grid.rows.length);
  const cellOf = (steps) => steps >> 7;
  const inside = [...grid.rows].filter((row) =>
    cellOf(places.x[row]) >= 10 && cellOf(places.x[row]) <= 40 && cellOf(places.y[row]) <= 99);
  assert.equal(countWithin(grid, 10 * 128, 40 * 128 + 5, -500, 99 * 128), inside.length);
  assert.equal(countWithin(grid, 70000, 80000, 0, STEPS), 0, "beside the map there is nothing");
});

test("coordinates lead back to where they came from", () => {
  const bounds = [-3, 5, 10, 11];
  const view = moveView(WHOLE_MAP, 0.2, -0.1, 7, [0.3, 0.4]);
  for (const pixels of [[0, 0], [320, 200], [639.5, 12.25]]) {
    const plane = pixelsToPlane(view, BOX, pixels);
    close(planeToPixels(view, BOX, plane), pixels);
    close(layoutToPlane(bounds, planeToLayout(bounds, plane)), plane);
  }
  close(planeToSteps([-1, 1]), [0, STEPS]);
  close(planeToLayout(bounds, [-1, 1]), [-3, 11]);
  close(layoutToPlane([2, 2, 3, 3], [2, 3]), [-1, -1]);
});

test("the whole map fills its field, up is up", () => {
  const [left, top] = planeToPixels(WHOLE_MAP, BOX, [-1, 1]);
  close([left, top], [16, 10]);
  const [right, bottom] = planeToPixels(WHOLE_MAP, BOX, [1, -1]);
  close([right, bottom], [624, 390]);
  assert.equal(zoomOf(WHOLE_MAP), 1);
});

test("zooming leaves the place under the mouse where it is, and ends at its limits", () => {
  const at = [0.5, -0.25];
  const pixels = [((at[0] + 1) / 2) * BOX[0], ((1 - at[1]) / 2) * BOX[1]];
  const plane = pixelsToPlane(WHOLE_MAP, BOX, pixels);
  const near = moveView(WHOLE_MAP, 0, 0, 3, at);
  close(planeToPixels(near, BOX, plane), pixels);
  close([zoomOf(near)], [3]);
  const nearest = moveView(WHOLE_MAP, 0, 0, 1e9, at);
  close(planeToPixels(nearest, BOX, plane), pixels, 1e-6);
  close([zoomOf(nearest), zoomOf(moveView(WHOLE_MAP, 0, 0, 1e-9))], [5000, 0.25], 1e-6);
});

test("dragging moves every place by as much as the mouse", () => {
  const view = moveView(WHOLE_MAP, 0.1, 0.2, 1);
  const [x, y] = planeToPixels(WHOLE_MAP, BOX, [0.3, 0.3]);
  close(planeToPixels(view, BOX, [0.3, 0.3]), [x + 0.05 * BOX[0], y - 0.1 * BOX[1]]);
});

test("more points are smaller and fainter, within limits", () => {
  assert.deepEqual([pointSizeOf(10, 1), pointSizeOf(1e7, 1)], [5, 2]);
  assert.ok(pointSizeOf(1e5, 1) < pointSizeOf(1e4, 1));
  assert.equal(pointSizeOf(1e5, 0.25), pointSizeOf(1e5, 1), "points do not shrink with the map");
  assert.ok(pointSizeOf(1e5, 50) > 2 * pointSizeOf(1e5, 1));
  assert.deepEqual([opacityOf(0, 3, BOX), opacityOf(1e7, 3, BOX)], [0.85, 0.15]);
});

test("a palette holds a colour a pixel, row by row", () => {
  const colors = Array.from({ length: 300 }, (_, at) => `#0102${(at % 256).toString(16).padStart(2, "0")}`);
  const { rows, picture } = makePalette(colors);
  assert.deepEqual([rows, picture.length], [2, 4 * 256 * 2]);
  assert.deepEqual([...picture.slice(4 * 299, 4 * 299 + 8)], [1, 2, 43, 255, 0, 0, 0, 0]);
});

test("a box has four corners in turn", () => {
  assert.deepEqual(cornersOfBox([1, 2], [5, 9]), [[1, 2], [5, 2], [5, 9], [1, 9]]);
});

test("a short outline stays as it was drawn", () => {
  const line = [[0, 0], [10, 0], [10, 10]];
  assert.equal(thinCorners(line), line);
});

test("a long outline keeps both ends and its form with at most 64 corners", () => {
  const line = Array.from({ length: 2000 }, (_, at) => {
    const turn = (2 * Math.PI * at) / 2000;
    return [200 + 150 * Math.cos(turn), 200 + 150 * Math.sin(turn)];
  });
  const corners = thinCorners(line);
  assert.ok(corners.length >= 16 && corners.length <= 64, `${corners.length} corners`);
  assert.deepEqual([corners[0], corners.at(-1)], [line[0], line.at(-1)]);
  const area = corners.reduce((sum, [x, y], at) => {
    const [nextX, nextY] = corners[(at + 1) % corners.length];
    return sum + (x * nextY - nextX * y) / 2;
  }, 0);
  assert.ok(Math.abs(area / (Math.PI * 150 ** 2) - 1) < 0.02, "the outline lost its form");
});

test("the corners of a straight line are its ends; a spike stays", () => {
  const line = Array.from({ length: 100 }, (_, at) => [at, 0]);
  assert.deepEqual(thinCorners(line), [[0, 0], [99, 0]]);
  line[50] = [50, 40];
  assert.ok(thinCorners(line).some(([, y]) => y === 40), "the spike is gone");
  const closed = [...line, ...line.slice(0, 1)]; // ends where it began
  assert.ok(thinCorners(closed).some(([x]) => x > 90), "the far end of a closed line is gone");
});

test("what is left out of an outline lies within the tolerance of what is kept", () => {
  const random = makeRandom(5);
  for (const tolerance of [0.5, 3, 20]) {
    const line = Array.from({ length: 300 }, (_, at) => [at + random(), 50 * random()]);
    const kept = simplify(line, tolerance);
    assert.ok(kept.length < line.length);
    const indices = kept.map((corner) => line.indexOf(corner));
    line.forEach(([x, y], at) => {
      const next = indices.findIndex((index) => index >= at);
      if (indices[next] === at) return;
      const [[x0, y0], [x1, y1]] = [kept[next - 1], kept[next]];
      const distance = Math.abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / Math.hypot(x1 - x0, y1 - y0);
      assert.ok(distance <= tolerance, `corner ${at} lies ${distance} from the outline`);
    });
  }
});
