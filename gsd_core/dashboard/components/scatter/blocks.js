// Blocks of bytes from the server: fetched once, checked, read. encoding.py describes their layout.
const KINDS = { places: 1, values: 2, mask: 3 };
const HEADER_BYTES = 48;
export const NO_PLACE = 65535;
const MOST_KEPT = 8; // blocks; the oldest is forgotten

const kept = new Map(); // address -> promise of a block

async function load(address, kind) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const buffer = await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  return readBlock(buffer, kind);
}

// What a block of this kind holds. Throws where header and length do not agree.
export function readBlock(buffer, kind) {
  if (buffer.byteLength < HEADER_BYTES) throw new Error("the points are cut off");
  const view = new DataView(buffer);
  const [itemBytes, n] = [view.getUint16(6, true), view.getUint32(8, true)];
  const bodyBytes = { places: 4 * n, values: itemBytes * n, mask: Math.ceil(n / 8) }[kind];
  const isOurs = view.getUint32(0, false) === 0x4753444d && view.getUint8(4) === 1;
  if (!isOurs || view.getUint8(5) !== KINDS[kind] || buffer.byteLength !== HEADER_BYTES + bodyBytes) {
    throw new Error(`these are no ${kind} that this page can read`);
  }
  if (kind === "mask") return { n, bits: new Uint8Array(buffer, HEADER_BYTES) };
  const Items = itemBytes === 1 ? Uint8Array : Uint16Array;
  if (kind === "values") return { n, index: new Items(buffer, HEADER_BYTES, n) };
  const bounds = [16, 24, 32, 40].map((at) => view.getFloat64(at, true));
  const [x, y] = [0, 2 * n].map((at) => new Uint16Array(buffer, HEADER_BYTES + at, n));
  return { n, bounds, x, y };
}

export function fetchBlock(address, kind) {
  let block = kept.get(address);
  if (!block) {
    block = load(address, kind);
    block.catch(() => kept.delete(address)); // the next call tries again
    kept.set(address, block);
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return block;
}

export function isKept(mask, row) {
  return !mask || (mask.bits[row >> 3] >> (row & 7)) & 1;
}
