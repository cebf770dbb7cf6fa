// What components share, and that each of them loads as a module.
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { compareValues } from "../../gsd_core/dashboard/components/clusters/clusters.js";
import { Memory, isChanged } from "../../gsd_core/dashboard/components/memory.js";
import { channelsOf, clamp } from "../../gsd_core/dashboard/components/numbers.js";
import { ALIGNED, CHOSEN } from "../../gsd_core/dashboard/components/rings/marks.js";
import { makeShapes } from "../../gsd_core/dashboard/components/save/save.js";

const FOLDER = new URL("../../gsd_core/dashboard/components/", import.meta.url);
const ENTRIES = readdirSync(FOLDER).map((name) => new URL(`${name}/${name}.js`, FOLDER)).filter(existsSync);

test("every component is a module that mounts something", async () => {
  assert.ok(ENTRIES.length >= 9, "components are missing");
  for (const entry of ENTRIES) assert.equal(typeof (await import(entry)).default, "function", entry.pathname);
});

test("a state belongs to its element until it is forgotten", () => {
  const memory = new Memory((element) => ({ element }));
  const [one, other] = [{}, {}];
  assert.equal(memory.of(one), memory.of(one));
  assert.notEqual(memory.of(one), memory.of(other));
  assert.equal(memory.of(one).element, one);
  const before = memory.of(one);
  assert.deepEqual([memory.forget(one), memory.forget(one)], [true, false]);
  assert.notEqual(memory.of(one), before);
});

test("data are new once", () => {
  const state = {};
  const data = { spans: [["a", 1]] };
  assert.deepEqual([isChanged(state, data), isChanged(state, structuredClone(data))], [true, false]);
  data.spans[0][1] = 2;
  assert.ok(isChanged(state, data));
});

test("numbers stay within their limits, the lower one first", () => {
  assert.deepEqual([clamp(5, 0, 9), clamp(-5, 0, 9), clamp(50, 0, 9), clamp(3, 0, -1)], [5, 0, 9, 0]);
});

test("channels of a colour", () => {
  assert.deepEqual(channelsOf("#0a80FF"), [10, 128, 255]);
});

test("clusters sort by name with their numbers in order, and by count", () => {
  assert.deepEqual(["cluster 10", "cluster 9", "add"].sort(compareValues), ["add", "cluster 9", "cluster 10"]);
  assert.deepEqual([10, 9, 100].sort(compareValues), [9, 10, 100]);
});

test("a saved chart has the rings that the page shows", () => {
  const shapes = makeShapes({ points: [[1, 2], [3, 4], [5, 6]], accent: "#3A4FCB" }, "black");
  assert.deepEqual(shapes.map((shape) => shape.type), ["line", "line", "circle", "circle", "circle"]);
  const [near, chosen] = [shapes[2], shapes[4]];
  assert.deepEqual([near.xanchor, near.yanchor, near.x1, near.line.color], [3, 4, ALIGNED.radius, "black"]);
  assert.deepEqual([chosen.xanchor, chosen.yanchor], [1, 2]);
  assert.deepEqual([chosen.y0, chosen.line.width], [-CHOSEN.radius, CHOSEN.width]);
  assert.deepEqual(makeShapes({ points: [], accent: "#3A4FCB" }, "black"), []);
});
