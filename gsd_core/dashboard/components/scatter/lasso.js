// Drawing around points: a free line or a box. Corners are kept in layout coordinates: the outline moves with the map.
import { makeSvg, pixelsOf } from "../dom.js";
import { cornersOfBox, thinCorners } from "./corners.js";

const LEAST_STEP = 3; // pixels between two corners of the line as it is drawn

export class Lasso {
  constructor(points, layer, onDrawn) {
    Object.assign(this, { points, layer, onDrawn, mode: "pan", corners: [], line: null });
    this.outline = makeSvg("polygon", { class: "outline" });
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

  start(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.layer.setPointerCapture(event.pointerId);
    this.line = [pixelsOf(event, this.layer)];
  }

  extend(event) {
    if (!this.line) return;
    const corner = pixelsOf(event, this.layer);
    const [x, y] = this.line.at(-1);
    if (this.mode === "box") this.line = [this.line[0], corner];
    else if (Math.hypot(corner[0] - x, corner[1] - y) >= LEAST_STEP) this.line.push(corner);
    this.drawOutline(this.pixels());
  }

  pixels() {
    return this.mode === "box" && this.line.length === 2 ? cornersOfBox(...this.line) : this.line;
  }

  end(event) {
    if (!this.line) return;
    const pixels = event.type === "pointerup" ? this.pixels() : [];
    this.line = null;
    if (pixels.length >= 3) {
      this.corners = thinCorners(pixels).map((corner) =>
        this.points.layoutAt(corner).map((value) => Number(value.toPrecision(7))));
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
    if (!this.line) this.drawOutline(this.corners.map((corner) => this.points.pixelsOf(corner)));
  }

  drawOutline(pixels) {
    const corners = pixels.map((corner) => corner.map((value) => value.toFixed(1)).join(","));
    this.outline.setAttribute("points", corners.join(" "));
  }
}
