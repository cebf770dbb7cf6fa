// The picture of the map that is saved: what the page shows of it, without its tools, on one canvas.
import { boxOfDensity } from "./overlay.js";

const LARGEST_SIDE = 8192; // pixels; more is refused by some graphics cards

function boxIn(origin, element) {
  const box = element.getBoundingClientRect();
  return { x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height };
}

function writeElement(context, origin, element, style) {
  const { x, y, height } = boxIn(origin, element);
  const { fontSize, fontFamily, color, paddingLeft } = style;
  context.font = `${fontSize} ${fontFamily}`;
  context.fillStyle = color;
  [context.textAlign, context.textBaseline] = ["left", "middle"];
  context.fillText(element.textContent, x + parseFloat(paddingLeft), y + height / 2);
}

function paintLabels(context, origin, labels, ground) {
  for (const { element } of labels.entries) {
    const style = getComputedStyle(element);
    if (style.visibility === "hidden") continue;
    const { x, y, width, height } = boxIn(origin, element);
    context.globalAlpha = 0.78;
    context.fillStyle = ground;
    context.fillRect(x, y, width, height);
    context.globalAlpha = 1;
    writeElement(context, origin, element, style);
  }
}

function paintRings(context, group, ink) {
  for (const mark of group.children) {
    const of = (name) => Number(mark.getAttribute(name));
    context.beginPath();
    if (mark.tagName === "line") {
      context.moveTo(of("x1"), of("y1"));
      context.lineTo(of("x2"), of("y2"));
    } else {
      context.arc(of("cx"), of("cy"), of("r"), 0, 2 * Math.PI);
    }
    const color = mark.getAttribute("stroke");
    context.strokeStyle = color === "currentColor" ? ink : color;
    context.globalAlpha = mark.hasAttribute("stroke-opacity") ? of("stroke-opacity") : 1;
    context.lineWidth = mark.hasAttribute("stroke-width") ? of("stroke-width") : 1;
    context.stroke();
  }
  context.globalAlpha = 1;
}

function paintLegend(context, origin, legend, colors) {
  for (const element of legend.children) {
    const style = getComputedStyle(element);
    const { x, y, width, height } = boxIn(origin, element);
    if (element.className === "bar") {
      const gradient = context.createLinearGradient(x, 0, x + width, 0);
      const shades = colors.slice(0, -1);
      shades.forEach((color, at) => gradient.addColorStop(at / Math.max(1, shades.length - 1), color));
      context.fillStyle = gradient;
      context.fillRect(x, y, width, height);
      continue;
    }
    const mark = element.className === "entry" ? parseFloat(style.fontSize) : 0;
    if (mark) {
      context.fillStyle = style.getPropertyValue("--c");
      context.beginPath();
      context.arc(x + 0.3 * mark, y + height / 2, 0.3 * mark, 0, 2 * Math.PI);
      context.fill();
    }
    writeElement(context, { left: origin.left - 0.95 * mark, top: origin.top }, element, style);
  }
}

// With `scale` pixels for one of the page; null before the map is drawn.
export function makePicture(map, scale) {
  const { points, root, field, legend } = map;
  if (!points) return null;
  const origin = field.getBoundingClientRect();
  const [width, height] = [origin.width, Math.max(origin.bottom, legend.getBoundingClientRect().bottom) - origin.top];
  const ratio = Math.min(scale, LARGEST_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(root);
  context.save();
  context.beginPath();
  context.rect(0, 0, origin.width, origin.height);
  context.clip();
  const density = boxOfDensity(points);
  context.globalAlpha = Number(map.density.style.opacity || 1);
  context.drawImage(map.density, density.left, density.top, density.width, density.height);
  context.globalAlpha = 1;
  points.paint(ratio);
  context.drawImage(map.canvas, 0, 0, origin.width, origin.height);
  points.paint();
  paintLabels(context, origin, map.labels, style.getPropertyValue("--st-background-color").trim() || "#FFFFFF");
  paintRings(context, map.ringGroup, style.color);
  context.restore();
  paintLegend(context, origin, legend, map.data.colors);
  return canvas;
}
