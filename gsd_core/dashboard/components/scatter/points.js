// The points themselves: what we ask of regl-scatterplot, and where things lie on the screen.
//
// Coordinates: quantised (0 … 65534, as in the blocks), plane (-1 … 1, regl-scatterplot's) and pixels of the field.
// Its own index of points, lasso and filter are left out: they copy every point they touch, which a million cannot bear.
const STEPS = NO_PLACE - 1;
const HOME = 0.95; // scale of the whole map, with a margin
const FAR = 1e6;
const GROUND = 0.04; // opacity of what a filter leaves out
const FILL = 0.22; // share of the field that points should cover at most
const OUTSIDE = 4; // where the one point of the index that nobody uses lies

const toPlane = (steps) => (2 * steps) / STEPS - 1;
const toSteps = (plane) => ((plane + 1) / 2) * STEPS;

// What regl-scatterplot cannot do without.
function canDraw() {
  const gl = document.createElement("canvas").getContext("webgl");
  const needed = ["OES_texture_float", "OES_element_index_uint", "WEBGL_color_buffer_float", "EXT_float_blend"];
  const can = Boolean(gl) && needed.every((name) => gl.getExtension(name));
  gl?.getExtension("WEBGL_lose_context")?.loseContext(); // a page may hold few contexts
  return can;
}

function homeView() {
  return Float32Array.of(HOME, 0, 0, 0, 0, HOME, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1);
}

function pointSizeOf(n) {
  return Math.min(5, Math.max(2, 150 / n ** 0.42));
}

class Points {
  constructor(library, canvas, n, onView) {
    this.library = library;
    this.canvas = canvas;
    this.size = pointSizeOf(n);
    this.plot = library.default({
      canvas, pointSize: this.size, opacityBy: "valueB", opacity: [GROUND, 0.8], colorBy: "valueA",
      deselectOnDblClick: false, deselectOnEscape: false, lassoInitiator: false, lassoOnLongPress: false,
      actionKeyMap: {}, showReticle: false, spatialIndexUseWorker: false, cameraView: homeView(),
    });
    this.plot.subscribe("drawing", onView, Infinity);
    this.turns = Promise.resolve();
    this.drawn = {};
  }

  // Draw what is new of places, values, mask and colours; resolves when the picture is on the canvas.
  show(next) {
    this.turns = this.turns.then(() => this.draw(next));
    return this.turns;
  }

  async draw({ grid, values, mask, colors }) {
    const { places } = grid;
    if (this.drawn.grid !== grid) {
      this.rows = Array.from({ length: places.n }, (_, row) =>
        places.x[row] === NO_PLACE ? [FAR, FAR, 0, 0] : [toPlane(places.x[row]), toPlane(places.y[row]), 0, 0]);
    }
    let nKept = 0;
    for (let row = 0; row < places.n; row++) {
      const kept = isKept(mask, row) ? 1 : 0;
      this.rows[row][2] = values.index[row];
      this.rows[row][3] = kept;
      nKept += kept;
    }
    this.share = nKept / Math.max(1, places.n);
    this.index ??= await this.library.createSpatialIndex([[OUTSIDE, OUTSIDE]], false);
    this.plot.set({ pointColor: colors.length > 1 ? colors : [colors[0], colors[0]] });
    this.grid = grid;
    this.fit();
    this.shade();
    await this.plot.draw(this.rows, {
      zDataType: "categorical", wDataType: "categorical", spatialIndex: this.index,
      preventFilterReset: this.drawn.grid === grid,
    });
    this.drawn = { grid };
  }

  get view() {
    return this.plot.get("cameraView");
  }

  get zoom() {
    return this.view[0] / HOME;
  }

  get box() {
    return [this.canvas.clientWidth || 1, this.canvas.clientHeight || 1];
  }

  // The map fills its field: the plane's x is stretched by the field's proportion.
  fit() {
    const [width, height] = this.box;
    if (this.aspect === width / height) return;
    this.aspect = width / height;
    this.plot.set({ aspectRatio: this.aspect });
  }

  // So many points in view, so faint is each; zooming in and filters make them solid.
  shade() {
    if (!this.grid) return;
    const [width, height] = this.box;
    const [x0, y0] = this.stepsAt(0, height);
    const [x1, y1] = this.stepsAt(width, 0);
    const n = Math.max(1, this.share * countWithin(this.grid, x0, x1, y0, y1));
    const size = this.size * Math.max(1, Math.asinh(this.zoom) / Math.asinh(1));
    const opacity = Math.min(0.85, Math.max(0.15, (FILL * width * height) / (n * size * size)));
    if (this.opacity === opacity) return; // setting it draws, and drawing comes back here
    this.opacity = opacity;
    this.plot.set({ opacity: [GROUND * Math.min(1, this.share + 0.3), opacity] });
  }

  pixelsOf(planeX, planeY) {
    const [width, height] = this.box;
    const view = this.view;
    return [
      ((view[0] * planeX + view[12] / this.aspect + 1) / 2) * width,
      ((1 - (view[5] * planeY + view[13])) / 2) * height,
    ];
  }

  planeAt(px, py) {
    const [width, height] = this.box;
    const view = this.view;
    return [((2 * px) / width - 1 - view[12] / this.aspect) / view[0], (1 - (2 * py) / height - view[13]) / view[5]];
  }

  stepsAt(px, py) {
    return this.planeAt(px, py).map(toSteps);
  }

  toData(planeX, planeY) {
    const [x0, x1, y0, y1] = this.grid.places.bounds;
    return [x0 + ((planeX + 1) / 2) * (x1 - x0), y0 + ((planeY + 1) / 2) * (y1 - y0)];
  }

  fromData(x, y) {
    const [x0, x1, y0, y1] = this.grid.places.bounds;
    return [(2 * (x - x0)) / (x1 - x0 || 1) - 1, (2 * (y - y0)) / (y1 - y0 || 1) - 1];
  }

  rowAt(px, py, mask, reach) {
    const [width, height] = this.box;
    const view = this.view;
    const [x, y] = this.stepsAt(px, py);
    const [rx, ry] = [(reach / width / view[0]) * STEPS, (reach / height / view[5]) * STEPS];
    return findNearest(this.grid, mask, x, y, rx, ry);
  }

  move(dx, dy, factor) {
    const view = Float32Array.from(this.view);
    for (const at of [0, 5, 12, 13]) view[at] *= factor;
    view[12] += dx * this.aspect;
    view[13] += dy;
    this.plot.view(view);
  }

  showAll() {
    this.plot.view(homeView());
  }

  destroy() {
    this.turns.finally(() => this.plot.destroy());
  }
}
