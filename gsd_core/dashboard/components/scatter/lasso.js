// Drawing around points: a free line or a box. Corners are kept in layout coordinates, so that the outline moves with the map.
const MOST_CORNERS = 64; // some 1.2 kB when sent
const LEAST_STEP = 3; // pixels between two corners of the line as it is drawn

class Lasso {
  constructor(points, layer, onDrawn) {
    Object.assign(this, { points, layer, onDrawn, mode: "pan", corners: [], line: null });
    this.outline = shape("polygon", { class: "outline" });
    layer.append(this.outline);
    layer.addEventListener("pointerdown", (event) => this.start(event));
    layer.addEventListener("pointermove", (event) => this.extend(event));
    for (const name of ["pointerup", "pointercancel"]) layer.addEventListener(name, (event) => this.end(event));
  }

  setMode(mode) {
    this.mode = mode;
    this.line = null;
    this.layer.classList.toggle("draws", mode !== "pan");
    this.place();
  }

  placeOf(event) {
    const box = this.layer.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  start(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.layer.setPointerCapture(event.pointerId);
    this.line = [this.placeOf(event)];
  }

  extend(event) {
    if (!this.line) return;
    const place = this.placeOf(event);
    const [x, y] = this.line.at(-1);
    if (this.mode === "box") this.line = [this.line[0], place];
    else if (Math.hypot(place[0] - x, place[1] - y) >= LEAST_STEP) this.line.push(place);
    this.drawOutline(this.pixels());
  }

  pixels() {
    if (this.mode !== "box" || this.line.length < 2) return this.line;
    const [[x0, y0], [x1, y1]] = this.line;
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  end(event) {
    if (!this.line) return;
    const pixels = event.type === "pointerup" ? this.pixels() : [];
    this.line = null;
    if (pixels.length >= 3) {
      this.corners = thin(pixels).map(([x, y]) =>
        this.points.toData(...this.points.planeAt(x, y)).map((value) => Number(value.toPrecision(7))));
      this.onDrawn(this.corners);
    }
    this.place();
  }

  clear() {
    this.line = null;
    const had = this.corners.length > 0;
    this.corners = [];
    this.place();
    if (had) this.onDrawn([]);
  }

  place() {
    if (!this.line) this.drawOutline(this.corners.map(([x, y]) => this.points.pixelsOf(...this.points.fromData(x, y))));
  }

  drawOutline(pixels) {
    this.outline.setAttribute("points", pixels.map((place) => place.map((value) => value.toFixed(1)).join(",")).join(" "));
  }
}

// The corners that matter most: those farthest from the line between their neighbours stay (Douglas & Peucker 1973),
// with a tolerance that grows until they are few enough.
function thin(pixels) {
  let tolerance = 0.5;
  let corners = pixels;
  while (corners.length > MOST_CORNERS) {
    corners = simplify(pixels, tolerance);
    tolerance *= 1.6;
  }
  return corners;
}

function simplify(pixels, tolerance) {
  const keep = new Set([0, pixels.length - 1]);
  const parts = [[0, pixels.length - 1]];
  while (parts.length) {
    const [first, last] = parts.pop();
    const [[x0, y0], [x1, y1]] = [pixels[first], pixels[last]];
    const length = Math.hypot(x1 - x0, y1 - y0);
    let [farthest, at] = [tolerance, -1];
    for (let i = first + 1; i < last; i++) {
      const [x, y] = pixels[i];
      const distance = length
        ? Math.abs((x1 - x0) * (y0 - y) - (x0 - x) * (y1 - y0)) / length
        : Math.hypot(x - x0, y - y0);
      if (distance > farthest) [farthest, at] = [distance, i];
    }
    if (at >= 0) {
      keep.add(at);
      parts.push([first, at], [at, last]);
    }
  }
  return [...keep].sort((a, b) => a - b).map((at) => pixels[at]);
}
