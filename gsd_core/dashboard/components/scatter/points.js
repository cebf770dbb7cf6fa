// The points themselves, drawn by one call of WebGL 2, and what is in view.
import { channelsOf } from "../numbers.js";
import { isKept } from "./blocks.js";
import { countWithin, findNearest } from "./grid.js";
import {
  STEPS, WHOLE_MAP, layoutToPlane, moveView, opacityOf, pixelsToPlane, planeToLayout, planeToPixels, planeToSteps,
  pointSizeOf, zoomOf,
} from "./view.js";

const GROUND = 0.04; // opacity of what a filter leaves out
const PALETTE_WIDTH = 256;

// Coordinates and indices go to the graphics card as they came. A point without a place is put where nothing is drawn.
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

// What draws on the canvas, null where the browser has no WebGL 2. The picture is kept so that it can be saved.
export function openGl(canvas) {
  return canvas.getContext("webgl2", { antialias: false, depth: false, preserveDrawingBuffer: true });
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

// Colours "#rrggbb" as the pixels of a picture.
export function makePalette(colors) {
  const rows = Math.ceil(colors.length / PALETTE_WIDTH);
  const picture = new Uint8Array(4 * PALETTE_WIDTH * rows);
  colors.forEach((color, at) => picture.set([...channelsOf(color), 255], 4 * at));
  return { rows, picture };
}

export class Points {
  // `onView` is called whenever the view has changed.
  constructor(canvas, onView) {
    Object.assign(this, { canvas, onView, gl: openGl(canvas), view: WHOLE_MAP });
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault()); // otherwise it never comes back
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
    const location = gl.getAttribLocation(this.program, name);
    if (typeof values === "number") {
      gl.disableVertexAttribArray(location);
      gl.vertexAttrib1f(location, values);
      return;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    const type = values.BYTES_PER_ELEMENT === 1 ? gl.UNSIGNED_BYTE : gl.UNSIGNED_SHORT;
    gl.vertexAttribPointer(location, 1, type, false, 0, 0);
  }

  // Draws these points from now on; resolves when the picture is on the canvas.
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
    const { rows, picture } = makePalette(colors);
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
    const size = pointSizeOf(this.grid.places.n, this.zoom);
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform3f(this.uniforms.view, view.scale, view.x, view.y);
    gl.uniform1f(this.uniforms.size, size * ratio);
    const ground = GROUND * Math.min(1, this.share + 0.3);
    gl.uniform2f(this.uniforms.opacity, ground, opacityOf(this.countInView(), size, this.box));
    gl.drawArrays(gl.POINTS, 0, this.grid.places.n);
    this.onView();
  }

  // About how many of the points that a filter keeps are in view.
  countInView() {
    const [width, height] = this.box;
    const [[x0, y0], [x1, y1]] = [this.stepsAt([0, height]), this.stepsAt([width, 0])];
    return this.share * countWithin(this.grid, x0, x1, y0, y1);
  }

  get zoom() {
    return zoomOf(this.view);
  }

  get box() {
    return [this.canvas.clientWidth || 1, this.canvas.clientHeight || 1];
  }

  pixelsOfPlane(plane) {
    return planeToPixels(this.view, this.box, plane);
  }

  stepsAt(pixels) {
    return planeToSteps(pixelsToPlane(this.view, this.box, pixels));
  }

  // Between pixels of the field and coordinates of the layout.
  layoutAt(pixels) {
    return planeToLayout(this.grid.places.bounds, pixelsToPlane(this.view, this.box, pixels));
  }

  pixelsOf(point) {
    return this.pixelsOfPlane(layoutToPlane(this.grid.places.bounds, point));
  }

  // The row of the nearest kept point within `reach` pixels, or -1.
  rowAt(pixels, mask, reach) {
    const [width, height] = this.box;
    const radius = (reach * STEPS) / this.view.scale;
    return findNearest(this.grid, mask, ...this.stepsAt(pixels), radius / width, radius / height);
  }

  move(dx, dy, factor, at) {
    this.view = moveView(this.view, dx, dy, factor, at);
    this.redraw();
  }

  showAll() {
    this.view = WHOLE_MAP;
    this.redraw();
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext(); // a page may have few of them
  }
}
