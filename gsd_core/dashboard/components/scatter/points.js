// The points themselves, drawn by one call of WebGL 2, and where things lie on the screen.
//
// Coordinates: quantised (0 … 65534, as in the blocks), plane (-1 … 1) and pixels of the field. The map fills its field:
// what `view` makes of the plane, scale × place + shift, is shown between -1 and 1.
const STEPS = NO_PLACE - 1;
const HOME = 0.95; // scale of the whole map, with a margin
const [NEAREST, FARTHEST] = [5000 * HOME, HOME / 4];
const GROUND = 0.04; // opacity of what a filter leaves out
const FILL = 0.22; // share of the field that points should cover at most
const PALETTE_WIDTH = 256;

// Coordinates and indices go to the graphics card as they came; a point without a place is put where nothing is drawn.
const VERTEX = `#version 300 es
in float x, y, index, kept;
uniform vec3 view;
uniform float size;
uniform vec2 opacity;
uniform sampler2D palette;
flat out vec4 color;
void main() {
  vec2 plane = vec2(x, y) * (2.0 / ${STEPS}.0) - 1.0;
  gl_Position = x > ${STEPS}.5 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(view.x * plane + view.yz, 0.0, 1.0);
  gl_PointSize = size;
  int at = int(index);
  float alpha = kept > 0.5 ? opacity.y : opacity.x;
  color = vec4(texelFetch(palette, ivec2(at % ${PALETTE_WIDTH}, at / ${PALETTE_WIDTH}), 0).rgb * alpha, alpha);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform float size;
flat in vec4 color;
out vec4 pixel;
void main() {
  float radius = 0.5 * size;
  pixel = color * clamp(radius + 0.5 - radius * length(2.0 * gl_PointCoord - 1.0), 0.0, 1.0);
}`;

const toPlane = (steps) => (2 * steps) / STEPS - 1;
const toSteps = (plane) => ((plane + 1) / 2) * STEPS;

// The canvas' way to draw, null where the browser has none. The picture is kept so that it can be saved.
function openGl(canvas) {
  return canvas.getContext("webgl2", { antialias: false, depth: false, preserveDrawingBuffer: true });
}

function pointSizeOf(n) {
  return Math.min(5, Math.max(2, 150 / n ** 0.42));
}

function makeProgram(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program) || "the graphics card refuses to draw points");
  }
  return program;
}

// "#rrggbb", many, as rows of a picture.
function paletteOf(colors) {
  const rows = Math.ceil(colors.length / PALETTE_WIDTH);
  const picture = new Uint8Array(4 * PALETTE_WIDTH * rows);
  colors.forEach((color, at) => {
    const number = parseInt(color.slice(1), 16);
    picture.set([number >> 16, (number >> 8) & 255, number & 255, 255], 4 * at);
  });
  return { rows, picture };
}

class Points {
  constructor(canvas, n, onView) {
    Object.assign(this, { canvas, onView, size: pointSizeOf(n), gl: openGl(canvas), kept: null });
    this.view = { scale: HOME, x: 0, y: 0 };
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // so that it may come back
    canvas.addEventListener("webglcontextrestored", () => {
      this.build();
      if (this.shown) this.show(this.shown);
    });
  }

  build() {
    const { gl } = this;
    this.program = makeProgram(gl);
    gl.useProgram(this.program);
    this.uniforms = Object.fromEntries(
      ["view", "size", "opacity"].map((name) => [name, gl.getUniformLocation(this.program, name)]));
    this.buffers = Object.fromEntries(["x", "y", "index", "kept"].map((name) => [name, gl.createBuffer()]));
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA); // colours hold their opacity already
    this.sent = {};
  }

  // An attribute of every point: an array of whole numbers, or one number for all. What is on the card stays there.
  send(name, values) {
    if (this.sent[name] === values) return;
    this.sent[name] = values;
    const { gl } = this;
    const place = gl.getAttribLocation(this.program, name);
    if (typeof values === "number") {
      gl.disableVertexAttribArray(place);
      gl.vertexAttrib1f(place, values);
      return;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 1, values.BYTES_PER_ELEMENT === 1 ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT, false, 0, 0);
  }

  // Draw these points from now on; resolves when the picture is on the canvas.
  show({ grid, values, mask, colors }) {
    const { gl } = this;
    const { places } = grid;
    Object.assign(this, { shown: { grid, values, mask, colors }, grid });
    const kept = mask ? Uint8Array.from({ length: places.n }, (_, row) => isKept(mask, row)) : 1;
    this.share = mask ? kept.reduce((sum, bit) => sum + bit, 0) / Math.max(1, places.n) : 1;
    this.send("x", places.x);
    this.send("y", places.y);
    this.send("index", values.index);
    this.send("kept", kept);
    const { rows, picture } = paletteOf(colors);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, PALETTE_WIDTH, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    this.paint();
    return this.finished();
  }

  finished() {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    return new Promise((resolve) => {
      const look = () => {
        if (!gl.isContextLost() && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) requestAnimationFrame(look);
        else resolve();
      };
      look();
    });
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  paint(ratio = window.devicePixelRatio || 1) {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    if (!this.grid) return;
    const { gl, canvas, view } = this;
    const [width, height] = this.box.map((side) => Math.round(side * ratio));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const size = this.size * Math.max(1, Math.asinh(this.zoom) / Math.asinh(1));
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform3f(this.uniforms.view, view.scale, view.x, view.y);
    gl.uniform1f(this.uniforms.size, size * ratio);
    gl.uniform2f(this.uniforms.opacity, GROUND * Math.min(1, this.share + 0.3), this.opacityOf(size));
    gl.drawArrays(gl.POINTS, 0, this.grid.places.n);
    this.onView();
  }

  // So many points in view, so faint is each; zooming in and filters make them solid.
  opacityOf(size) {
    const [width, height] = this.box;
    const [x0, y0] = this.stepsAt(0, height);
    const [x1, y1] = this.stepsAt(width, 0);
    const n = Math.max(1, this.share * countWithin(this.grid, x0, x1, y0, y1));
    return Math.min(0.85, Math.max(0.15, (FILL * width * height) / (n * size * size)));
  }

  get zoom() {
    return this.view.scale / HOME;
  }

  get box() {
    return [this.canvas.clientWidth || 1, this.canvas.clientHeight || 1];
  }

  pixelsOf(planeX, planeY) {
    const [width, height] = this.box;
    const { scale, x, y } = this.view;
    return [((scale * planeX + x + 1) / 2) * width, ((1 - scale * planeY - y) / 2) * height];
  }

  planeAt(px, py) {
    const [width, height] = this.box;
    const { scale, x, y } = this.view;
    return [((2 * px) / width - 1 - x) / scale, (1 - (2 * py) / height - y) / scale];
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
    const radius = (reach * STEPS) / this.view.scale;
    return findNearest(this.grid, mask, ...this.stepsAt(px, py), radius / width, radius / height);
  }

  // Bring (dx, dy) of the field nearer, and grow by `factor` around a place of the field, its middle by default.
  move(dx, dy, factor, [atX, atY] = [0, 0]) {
    const { scale, x, y } = this.view;
    const grown = Math.min(NEAREST, Math.max(FARTHEST, scale * factor));
    const real = grown / scale;
    this.view = { scale: grown, x: atX + (x - atX) * real + dx, y: atY + (y - atY) * real + dy };
    this.redraw();
  }

  showAll() {
    this.view = { scale: HOME, x: 0, y: 0 };
    this.redraw();
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext(); // a page may hold few
  }
}
