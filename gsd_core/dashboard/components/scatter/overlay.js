// What lies under and over the points: the density and the cluster names.
import { make } from "../dom.js";
import { clamp } from "../numbers.js";
import { RASTER } from "./grid.js";

const FEWEST_LABELS = 14;
const MOST_LABELS = 80;
const LABEL_GAP = 4;

export function boxOfDensity(points) {
  const [left, top] = points.pixelsOfPlane([-1, 1]);
  const [right, bottom] = points.pixelsOfPlane([1, -1]);
  return { left, top, width: right - left, height: bottom - top };
}

export function placeDensity(points, canvas) {
  const { left, top, width, height } = boxOfDensity(points);
  canvas.style.transform = `translate(${left}px, ${top}px) scale(${width / RASTER}, ${height / RASTER})`;
  canvas.style.opacity = clamp((6 - points.zoom) / 5, 0, 1); // gone where single points can be told apart
}

// Names of the biggest clusters in view: more of them when zoomed in, none over another.
export class Labels {
  constructor(holder) {
    this.holder = holder;
    this.entries = [];
  }

  set(labels, countOf) {
    this.entries = labels.filter(([, , index]) => countOf(index) > 0).map(([x, y, , text]) => {
      const element = make("span", "label", text);
      element.style.visibility = "hidden";
      return { x, y, element, size: null };
    });
    this.holder.replaceChildren(...this.entries.map((entry) => entry.element));
    for (const entry of this.entries) entry.size = [entry.element.offsetWidth, entry.element.offsetHeight];
  }

  place(points) {
    const [width, height] = points.box;
    const most = Math.min(MOST_LABELS, Math.round(FEWEST_LABELS * Math.max(1, points.zoom)));
    const taken = [];
    for (const entry of this.entries) {
      const [x, y] = points.pixelsOf([entry.x, entry.y]);
      const [w, h] = entry.size;
      const box = [x - w / 2 - LABEL_GAP, y - h / 2 - LABEL_GAP, x + w / 2 + LABEL_GAP, y + h / 2 + LABEL_GAP];
      const isInside = box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height;
      const isFree = !taken.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3]);
      const isShown = taken.length < most && isInside && isFree;
      if (isShown) {
        taken.push(box);
        entry.element.style.transform = `translate(${x - w / 2}px, ${y - h / 2}px)`;
      }
      entry.element.style.visibility = isShown ? "visible" : "hidden";
    }
  }
}
