// Traces: words are found wherever their parts lie, and two texts scroll level with each other.
import assert from "node:assert/strict";
import { test } from "node:test";

import { carry, findChain } from "../../gsd_core/dashboard/components/pair/anchors.js";
import { findWords } from "../../gsd_core/dashboard/components/trace/find.js";
import { makeRandom } from "./random.js";

// What was found, read from the parts again.
function quote(texts, [[first, start], [last, end]]) {
  if (first === last) return texts[first].slice(start, end);
  return [texts[first].slice(start), ...texts.slice(first + 1, last), texts[last].slice(0, end)].join("");
}

test("words are found within a part and across parts, upper and lower case alike", () => {
  const texts = ["So the to", "tal is 12. ", "", "TO", "TAL again: total"];
  const found = findWords(texts, "  Total ");
  assert.deepEqual(found.map((place) => quote(texts, place).toLowerCase()), ["total", "total", "total"]);
  assert.deepEqual(found[0], [[0, 7], [1, 3]]);
});

test("nothing is found for no words or other words", () => {
  assert.deepEqual([findWords(["abc"], "  "), findWords(["abc"], "abd"), findWords([], "a")], [[], [], []]);
});

test("places of a repeated word do not overlap", () => {
  assert.deepEqual(findWords(["aaaaa"], "aa").map(([[, start], [, end]]) => [start, end]), [[0, 2], [2, 4]]);
});

test("letters that grow when lower-cased do not shift what follows", () => {
  const texts = ["İİİ İstan", "bul Total"]; // İ becomes two letters
  assert.deepEqual(findWords(texts, "total").map((place) => quote(texts, place)), ["Total"]);
});

test("a search in parts finds what a search in the whole finds", () => {
  const random = makeRandom(3);
  for (let turn = 0; turn < 200; turn++) {
    const texts = Array.from({ length: 1 + random() * 8 }, () =>
      Array.from({ length: random() * 6 }, () => "abA "[Math.floor(random() * 4)]).join(""));
    const words = ["ab", "a", "ba ab", "aa"][turn % 4];
    const n = texts.join("").toLowerCase().split(words).length - 1;
    const found = findWords(texts, words);
    assert.equal(found.length, n, `${words} in ${JSON.stringify(texts)}`);
    for (const place of found) assert.equal(quote(texts, place).toLowerCase(), words);
  }
});

test("pairs in the same order are all kept, sorted", () => {
  assert.deepEqual(findChain([[30, 300], [10, 50], [20, 200]]), [[10, 50], [20, 200], [30, 300]]);
  assert.deepEqual(findChain([]), []);
});

test("of pairs that cross, the longest chain is kept", () => {
  assert.deepEqual(findChain([[1, 90], [2, 10], [3, 20], [4, 5], [5, 30]]), [[2, 10], [3, 20], [5, 30]]);
});

test("a chain rises in both texts and no longer one exists", () => {
  const random = makeRandom(4);
  for (let turn = 0; turn < 100; turn++) {
    const pairs = Array.from({ length: 1 + Math.floor(random() * 8) }, () => [random(), random()]);
    const chain = findChain(pairs);
    const rises = (some) => some.every((pair, at) =>
      !at || (pair[0] > some[at - 1][0] && pair[1] > some[at - 1][1]));
    assert.ok(rises(chain));
    const sorted = [...pairs].sort((a, b) => a[0] - b[0]);
    let longest = 0;
    for (let bits = 0; bits < 2 ** sorted.length; bits++) {
      const some = sorted.filter((_, at) => (bits >> at) & 1);
      if (rises(some)) longest = Math.max(longest, some.length);
    }
    assert.equal(chain.length, longest);
  }
});

test("anchors lie level, places between them in proportion, and both ends meet", () => {
  const anchors = [[0, 0], [100, 300], [200, 320]];
  assert.deepEqual([0, 50, 100, 150, 200, 999].map((y) => carry(anchors, 0, y)), [0, 150, 300, 310, 320, 320]);
  for (const y of [0, 30, 100, 170, 200]) {
    assert.ok(Math.abs(carry(anchors, 1, carry(anchors, 0, y)) - y) < 1e-9, `there and back from ${y}`);
  }
});
