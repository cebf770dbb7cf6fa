// What the heat map draws: cells, frames, numbers, axes, the colour bar. heat.js says when.
import { DIGIT, LABEL_HEIGHT, boxOf, thinTicks } from "./layout.js";
import { UNKNOWN, formatCosine, formatNumber, isLight } from "./shades.js";

const GAP_FROM = 7; // pixels of CSS; larger cells stand apart
const NUMBER_WIDTH = 34, NUMBER_HEIGHT = 16;
const INK = "#111827";

// One pixel a cell; the browser enlarges it.
export function makeBitmap(cells, rows, columns, shades) {
  const bitmap = document.createElement("canvas");
  [bitmap.width, bitmap.height] = [columns, rows];
  const context = bitmap.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = new DataView(image.data.buffer);
  const numbers = shades.map(([r, g, b]) => ((r << 24) | (g << 16) | (b << 8) | 255) >>> 0);
  for (let at = 0; at < cells.length; at++) {
    if (cells[at] !== UNKNOWN) pixels.setUint32(4 * at, numbers[cells[at] + 100], false);
  }
  context.putImageData(image, 0, 0);
  return bitmap;
}

function paintNumbers(context, state, theme) {
  const { layout, cells, shape: [rows, columns] } = state;
  if (layout.cell[0] < NUMBER_WIDTH || layout.cell[1] < NUMBER_HEIGHT) return;
  context.font = `11px ${theme.font}`;
  [context.textAlign, context.textBaseline] = ["center", "middle"];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const value = cells[i * columns + j];
      if (value === UNKNOWN) continue;
      context.fillStyle = isLight(state.shades[value + 100]) ? INK : "#FFFFFF";
      const box = boxOf(layout, i, j);
      context.fillText(formatCosine(value), box.x + box.width / 2, box.y + box.height / 2 + 0.5);
    }
  }
}

// Aligned cells have a frame that can be seen however small they are. A letter that would cover another is left out.
function paintPairs(context, state, theme) {
  const { layout } = state;
  const isSmall = Math.min(...layout.cell) < 20;
  const taken = [];
  context.font = `700 10px ${theme.font}`;
  [context.textAlign, context.textBaseline] = ["left", "middle"];
  for (const [i, j, , color] of state.pairs) {
    const { x, y, width, height } = boxOf(layout, i, j, 5);
    const thick = isSmall ? 1.5 : 2.5;
    for (const [style, line] of [[INK, thick + 2], [color, thick]]) {
      [context.strokeStyle, context.lineWidth] = [style, line];
      context.strokeRect(x + 1, y + 1, width - 2, height - 2);
    }
  }
  for (const [i, j, letter, color] of state.pairs) {
    const { x, y, width } = boxOf(layout, i, j, 5);
    const size = context.measureText(letter).width + 6;
    const tag = isSmall ? { x: x + width + 1, y: y - 13 } : { x: x + 2, y: y + 2 };
    tag.x = Math.min(tag.x, layout.plot.left + layout.plot.width - size);
    tag.y = Math.max(tag.y, 0);
    if (taken.some((other) => Math.abs(other.x - tag.x) < size + 1 && Math.abs(other.y - tag.y) < 14)) continue;
    taken.push(tag);
    context.fillStyle = "#FFFFFF";
    context.fillRect(tag.x, tag.y, size, 13);
    [context.strokeStyle, context.lineWidth] = [color, 1];
    context.strokeRect(tag.x + 0.5, tag.y + 0.5, size - 1, 12);
    context.fillStyle = INK;
    context.fillText(letter, tag.x + 3, tag.y + 7);
  }
}

function clip(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let end = text.length;
  while (end > 1 && context.measureText(`${text.slice(0, end)}…`).width > width) end--;
  return `${text.slice(0, end)}…`;
}

function paintAxes(context, state, theme) {
  const { layout: { plot, cell }, shape: [rows, columns], names } = state;
  context.fillStyle = theme.text;
  context.font = `12px ${theme.font}`;
  [context.textAlign, context.textBaseline] = ["right", "middle"];
  for (const tick of thinTicks(rows, cell[1], LABEL_HEIGHT)) {
    context.fillText(String(tick), plot.left - 5, plot.top + (tick - 0.5) * cell[1]);
  }
  context.save();
  context.translate(8, plot.top + plot.height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(clip(context, `span of a: ${names[0]}`, plot.height), 0, 0);
  context.restore();
  [context.textAlign, context.textBaseline] = ["center", "top"];
  const below = plot.top + plot.height + 5;
  for (const tick of thinTicks(columns, cell[0], DIGIT * String(columns).length + 10)) {
    context.fillText(String(tick), plot.left + (tick - 0.5) * cell[0], below);
  }
  context.textAlign = "left";
  context.fillText(clip(context, `span of b: ${names[1]}`, state.layout.width - plot.left - 4), plot.left, below + 18);
}

function paintBar(context, state, theme) {
  const { layout: { plot, barHeight }, shades, threshold } = state;
  const x = plot.left + plot.width + 16;
  const placeOf = (value) => plot.top + ((1 - value) / 2) * barHeight;
  const gradient = context.createLinearGradient(0, placeOf(1), 0, placeOf(-1));
  for (let step = 0; step <= 20; step++) gradient.addColorStop(step / 20, `rgb(${shades[200 - 10 * step]})`);
  context.fillStyle = gradient;
  context.fillRect(x, plot.top, 10, barHeight);
  const marks = [[1, "1"], [0, "0"], [-1, "−1"]];
  const has = threshold !== null && Math.abs(threshold) <= 1;
  // A number that would touch that of the null is left out.
  const kept = has ? marks.filter(([at]) => Math.abs(placeOf(at) - placeOf(threshold)) > 26) : marks;
  context.fillStyle = theme.text;
  context.font = `12px ${theme.font}`;
  context.textAlign = "left";
  for (const [at, text] of kept) {
    context.textBaseline = { 1: "top", 0: "middle", "-1": "bottom" }[at];
    context.fillText(text, x + 16, placeOf(at));
  }
  if (has) {
    const y = placeOf(threshold);
    context.fillRect(x - 3, y - 1, 16, 2);
    context.textBaseline = "middle";
    context.fillText("null 95 %", x + 16, Math.max(plot.top + 7, y - 6));
    context.fillText(formatNumber(threshold), x + 16, Math.max(plot.top + 20, y + 8));
  }
  context.textBaseline = "top";
  context.fillText("cosine", x, plot.top + barHeight + 5);
}

function paintGaps(context, { layout: { plot, cell, dpr }, shape: [rows, columns] }, theme) {
  if (Math.min(...cell) < GAP_FROM) return;
  context.fillStyle = theme.background;
  const line = 1 / dpr;
  for (let j = 1; j < columns; j++) context.fillRect(plot.left + j * cell[0] - line, plot.top, line, plot.height);
  for (let i = 1; i < rows; i++) context.fillRect(plot.left, plot.top + i * cell[1] - line, plot.width, line);
}

function sizeCanvas(canvas, width, height, dpr) {
  [canvas.width, canvas.height] = [Math.round(width * dpr), Math.round(height * dpr)];
  [canvas.style.width, canvas.style.height] = [`${canvas.width / dpr}px`, `${canvas.height / dpr}px`];
  const context = canvas.getContext("2d");
  context.setTransform(dpr, 0, 0, dpr, 0, 0);
  return context;
}

function readTheme(root) {
  const style = getComputedStyle(root);
  return {
    text: style.color, font: style.fontFamily || "sans-serif",
    background: style.getPropertyValue("--st-background-color").trim() || "#FFFFFF",
  };
}

export function paint(state) {
  const { layout, bitmap } = state;
  const theme = readTheme(state.root);
  const context = sizeCanvas(state.canvas, layout.width, layout.height, layout.dpr);
  // Where a cell is less than a pixel, pixels show the mean of their cells.
  context.imageSmoothingEnabled = Math.min(...layout.cell) * layout.dpr < 1;
  context.imageSmoothingQuality = "high";
  const { left, top, width, height } = layout.plot;
  context.drawImage(bitmap, left, top, width, height);
  paintGaps(context, state, theme);
  paintNumbers(context, state, theme);
  paintPairs(context, state, theme);
  paintAxes(context, state, theme);
  paintBar(context, state, theme);
}

// The map to be saved, `scale` pixels for one of the page, with the frame that lies over the canvas on the page.
export function makePicture(state, scale) {
  const canvas = document.createElement("canvas");
  const layout = { ...state.layout, dpr: scale };
  paint({ ...state, canvas, layout });
  const context = canvas.getContext("2d");
  const { x, y, width, height } = boxOf(layout, ...state.chosen, 11);
  for (const [color, line, inset] of [[INK, 1.5, -0.75], ["#FACC15", 3, 1.5], [INK, 1.5, 3.75]]) {
    [context.strokeStyle, context.lineWidth] = [color, line];
    context.strokeRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
  }
  return canvas;
}

// The cells around one, enlarged: for maps whose cells are too small to be told apart.
export function paintLens(state, i, j) {
  const [cells, size] = [11, 12];
  const context = sizeCanvas(state.lens, cells * size, cells * size, state.layout.dpr);
  context.fillStyle = readTheme(state.root).background;
  context.fillRect(0, 0, cells * size, cells * size);
  context.imageSmoothingEnabled = false;
  const half = (cells - 1) / 2;
  const [x, y] = [Math.max(0, j - half), Math.max(0, i - half)];
  const [width, height] = [
    Math.min(state.shape[1], j + half + 1) - x, Math.min(state.shape[0], i + half + 1) - y];
  context.drawImage(state.bitmap, x, y, width, height,
    (x - j + half) * size, (y - i + half) * size, width * size, height * size);
  for (const [style, line] of [["#FFFFFF", 4], [INK, 2]]) {
    [context.strokeStyle, context.lineWidth] = [style, line];
    context.strokeRect(half * size, half * size, size, size);
  }
}
