// The map as a whole: its parts, its tools, its keys, and what it sends to the server.
import { make, makeSvg, pixelsOf } from "../dom.js";
import { Memory, isChanged } from "../memory.js";
import { offerPick } from "../pick.js";
import { makeMarks } from "../rings/marks.js";
import { fetchBlock, isKept } from "./blocks.js";
import { followMouse } from "./camera.js";
import { buildGrid, drawDensity } from "./grid.js";
import { Lasso } from "./lasso.js";
import { Labels, placeDensity } from "./overlay.js";
import { makePicture } from "./picture.js";
import { Points, openGl } from "./points.js";

const REACH = 9; // pixels around the mouse in which a point can be clicked
const STEP = 0.2; // of the field, one press of an arrow key
const ZOOM = 1.4;
const TOOLS = [
  ["pan", "Pan", "Drag to move, click a point to choose it"], ["lasso", "Lasso", "Draw around points"],
  ["box", "Box", "Draw a box around points"], ["in", "+", "Zoom in"], ["out", "−", "Zoom out"],
  ["all", "Whole map", "Show all"],
];

class ScatterMap {
  constructor(root) {
    this.root = root;
    this.turn = 0;
    this.rings = { points: [], accent: "" };
    this.field = make("div", "field");
    this.field.tabIndex = 0;
    this.field.setAttribute("role", "group");
    this.density = make("canvas", "density");
    this.canvas = make("canvas", "points");
    this.names = make("div", "labels");
    this.layer = makeSvg("svg", { class: "layer" });
    this.ringGroup = makeSvg("g", { class: "rings" });
    this.layer.append(this.ringGroup);
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    this.status = make("div", "status");
    this.status.setAttribute("role", "status");
    const silent = [this.density, this.canvas, this.names, this.layer, this.tip];
    for (const element of silent) element.setAttribute("aria-hidden", "true");
    this.tools = make("div", "tools");
    this.legend = make("div", "legend");
    this.field.append(...silent, this.status);
    root.replaceChildren(this.tools, this.field, this.legend);
    this.labels = new Labels(this.names);
    this.buildTools();
    this.listen();
  }

  buildTools() {
    this.buttons = TOOLS.map(([tool, text, hint]) => {
      const button = make("button", "tool", text);
      button.type = "button";
      button.title = hint;
      button.setAttribute("aria-label", hint);
      if (["pan", "lasso", "box"].includes(tool)) button.setAttribute("aria-pressed", String(tool === "pan"));
      button.dataset.tool = tool;
      button.addEventListener("click", () => this.use(tool));
      return button;
    });
    this.tools.replaceChildren(...this.buttons);
  }

  use(tool) {
    if (!this.points) return;
    if (tool === "in" || tool === "out") this.points.move(0, 0, tool === "in" ? ZOOM : 1 / ZOOM);
    else if (tool === "all") this.points.showAll();
    else {
      this.lasso.setMode(tool);
      for (const button of this.buttons.filter((each) => each.hasAttribute("aria-pressed"))) {
        button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      }
    }
  }

  listen() {
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    this.canvas.addEventListener("pointerdown", (event) => { this.pressed = [event.clientX, event.clientY]; });
    this.canvas.addEventListener("click", (event) => this.onClick(event));
    this.canvas.addEventListener("pointermove", (event) => this.onHover(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.resized = new ResizeObserver(() => {
      if (this.canvas.clientWidth) this.points?.redraw();
    });
    this.resized.observe(this.field);
    // Rings come from another element of the page, which writes them on the chart's holder (../rings/).
    const keyed = '[class*="st-key-"]';
    this.holder = this.root.getRootNode().host?.closest(keyed) ?? this.root.closest(keyed);
    this.onRings = () => {
      this.rings = this.holder.gsdRings ?? this.rings;
      this.drawRings();
    };
    this.holder?.addEventListener("gsd-rings", this.onRings);
    this.root.addEventListener("gsd-picture", ({ detail }) => { detail.canvas = makePicture(this, detail.scale); });
  }

  onKey(event) {
    if (!this.points || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => this.points.move(STEP, 0, 1), ArrowRight: () => this.points.move(-STEP, 0, 1),
      ArrowUp: () => this.points.move(0, -STEP, 1), ArrowDown: () => this.points.move(0, STEP, 1),
      "+": () => this.use("in"), "=": () => this.use("in"), "-": () => this.use("out"), "0": () => this.use("all"),
      Enter: () => this.choose(this.points.box.map((side) => side / 2), Math.max(...this.points.box) / 4),
      Escape: () => { this.lasso.clear(); this.use("pan"); this.tip.hidden = true; },
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  onClick(event) {
    const [x, y] = this.pressed ?? [];
    if (Math.hypot(event.clientX - x, event.clientY - y) < 4) this.choose(pixelsOf(event, this.canvas), REACH);
  }

  choose(pixels, reach) {
    const row = this.points.rowAt(pixels, this.mask, reach);
    if (row >= 0) offerPick(this.relay, row, () => this.send("picked", row));
  }

  onHover(event) {
    if (!this.points?.grid || this.hovering) return;
    this.hovering = requestAnimationFrame(() => {
      this.hovering = null;
      const [x, y] = pixelsOf(event, this.canvas);
      const row = event.buttons ? -1 : this.points.rowAt([x, y], this.mask, REACH);
      const name = row >= 0 ? this.data.names[this.values.index[row]] : "";
      this.canvas.style.cursor = row >= 0 ? "pointer" : "";
      this.tip.hidden = !name;
      this.tip.textContent = name;
      const [left, shift] = x > this.points.box[0] / 2 ? [x - 12, "-100%"] : [x + 12, "0"];
      this.tip.style.transform = `translate(${left}px, ${y - 10}px) translate(${shift}, -50%)`;
    });
  }

  // Places everything that moves with the view.
  follow() {
    placeDensity(this.points, this.density);
    this.labels.place(this.points);
    this.drawRings();
    this.lasso.place();
  }

  drawRings() {
    if (!this.points) return;
    const [width, height] = this.points.box;
    const points = this.rings.points.map((point) => this.points.pixelsOf(point));
    const isInside = ([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height;
    this.ringGroup.replaceChildren(...makeMarks(points, this.rings.accent, isInside));
  }

  async update(data) {
    const turn = ++this.turn;
    this.data = data;
    this.field.style.height = `${data.height}px`;
    this.field.setAttribute("aria-label", `${data.name}. Arrow keys move the map, plus and minus zoom, 0 shows all, ` +
      "Enter chooses the span nearest to the middle, Escape gives up what was drawn around.");
    if (!openGl(this.canvas)) {
      this.say("This browser has no WebGL, which a map of so many spans needs.");
      this.send("missing", true);
      return;
    }
    if (!this.points) this.say("Reading the points …");
    try {
      const [places, values, mask] = await Promise.all([
        fetchBlock(data.places, "places"), fetchBlock(data.values, "values"),
        data.mask ? fetchBlock(data.mask, "mask") : null,
      ]);
      if (values.n !== places.n || (mask && mask.n !== places.n)) {
        throw new Error("points and colours do not belong together");
      }
      if (turn === this.turn) await this.show({ places, values, mask });
    } catch (error) {
      if (turn === this.turn) this.say(`The map cannot be drawn: ${error.message}. Reload the page to try again.`);
    }
  }

  async show({ places, values, mask }) {
    const turn = this.turn;
    if (!this.points) {
      this.points = new Points(this.canvas, () => this.follow());
      followMouse(this.canvas, this.points);
      this.lasso = new Lasso(this.points, this.layer, (corners) => this.send("drawn", corners));
    }
    if (this.places !== places) this.grid = buildGrid(places);
    if (this.places !== places) drawDensity(this.grid, this.density);
    Object.assign(this, { places, values, mask });
    this.drawLegend();
    await this.points.show({ grid: this.grid, values, mask, colors: this.data.colors });
    if (turn !== this.turn) return;
    const counts = this.data.labels.length ? this.countColors() : [];
    this.labels.set(this.data.labels, (index) => counts[index]);
    this.onRings();
    this.follow();
    this.say("");
    this.root.dataset.drawn = String(turn);
  }

  // How many points of each colour a filter keeps.
  countColors() {
    const { places, values, mask } = this;
    const counts = new Uint32Array(this.data.colors.length + 1);
    for (let row = 0; row < places.n; row++) if (isKept(mask, row)) counts[values.index[row]]++;
    return counts;
  }

  drawLegend() {
    const { legend, scale, title, colors } = this.data;
    if (scale) {
      const bar = make("span", "bar");
      const stops = colors.slice(0, -1).filter((_, i) => i % 16 === 0);
      bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      this.legend.replaceChildren(make("span", "", `${title}: ${scale[0]}`), bar, make("span", "", scale[1]));
      return;
    }
    this.legend.replaceChildren(...legend.map(([color, name]) => {
      const entry = make("span", "entry", name);
      entry.style.setProperty("--c", color);
      return entry;
    }));
  }

  say(text) {
    this.status.textContent = text;
    this.status.hidden = !text;
  }

  destroy() {
    this.turn++;
    this.resized.disconnect();
    this.holder?.removeEventListener("gsd-rings", this.onRings);
    this.points?.destroy();
  }
}

const maps = new Memory((root) => new ScatterMap(root));

export default function mount({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gsd-scatter");
  if (!root || !data) return undefined;
  const map = maps.of(root);
  Object.assign(map, { send: setTriggerValue, relay: data.relay });
  if (isChanged(map, data)) map.update(data);
  // Streamlit calls this before every rerun too: the map ends only with its element.
  return () => requestAnimationFrame(() => {
    if (!root.isConnected && maps.forget(root)) map.destroy();
  });
}
