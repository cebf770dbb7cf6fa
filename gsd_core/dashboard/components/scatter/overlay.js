// What lies over and under the points: density, cluster names, rings.
const SVG = "http://www.w3.org/2000/svg";
const FEWEST_LABELS = 14;
const MOST_LABELS = 80;
const LABEL_GAP = 4;

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function boxOfDensity(points) {
  const [left, top] = points.pixelsOf(-1, 1);
  const [right, bottom] = points.pixelsOf(1, -1);
  return { left, top, width: right - left, height: bottom - top };
}

function placeDensity(points, canvas) {
  const { left, top, width, height } = boxOfDensity(points);
  canvas.style.transform = `translate(${left}px, ${top}px) scale(${width / RASTER}, ${height / RASTER})`;
  canvas.style.opacity = Math.max(0, Math.min(1, (6 - points.zoom) / 5)); // gone where single points can be told apart
}

// Names of the biggest clusters in view; more of them the closer one looks, none over another.
class Labels {
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
      const [x, y] = points.pixelsOf(...points.fromData(entry.x, entry.y));
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

// The chosen span, the spans aligned with it, and lines between them; places in layout coordinates, the chosen first.
function placeRings(points, group, rings) {
  const [width, height] = points.box;
  const places = rings.points.map(([x, y]) => points.pixelsOf(...points.fromData(x, y)));
  const isInside = ([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height;
  const [chosen, ...aligned] = places;
  const shown = aligned.filter(isInside);
  const parts = [];
  if (chosen && isInside(chosen)) {
    const line = { x1: chosen[0], y1: chosen[1], stroke: rings.accent, "stroke-opacity": 0.45 };
    parts.push(...shown.map(([x, y]) => shape("line", { ...line, x2: x, y2: y })));
    parts.push(shape("circle", { cx: chosen[0], cy: chosen[1], r: 10, stroke: rings.accent, "stroke-width": 3 }));
  }
  parts.push(...shown.map(([x, y]) => shape("circle", { cx: x, cy: y, r: 7, stroke: "currentColor", "stroke-width": 1.8 })));
  group.replaceChildren(...parts);
}
