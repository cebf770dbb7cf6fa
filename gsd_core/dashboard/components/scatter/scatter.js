// The map as a whole: its parts, its tools, its keys, and what it tells the server.
const REACH = 9; // pixels around the mouse in which a point counts as meant
const STEP = 0.2; // of the field, one press of an arrow key
const ZOOM = 1.4;
const TOOLS = [
  ["pan", "Pan", "Drag to move, click a point to choose it"], ["lasso", "Lasso", "Draw around points"],
  ["box", "Box", "Draw a box around points"], ["in", "+", "Zoom in"], ["out", "−", "Zoom out"], ["all", "Whole map", "Show all"],
];

const maps = new WeakMap(); // our element -> its map

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
    this.layer = shape("svg", { class: "layer" });
    this.ringGroup = shape("g", { fill: "none", class: "rings" });
    this.layer.append(this.ringGroup);
    this.tip = make("div", "tip");
    this.tip.hidden = true;
    this.status = make("div", "status");
    this.status.setAttribute("role", "status");
    for (const element of [this.density, this.canvas, this.names, this.layer, this.tip]) element.setAttribute("aria-hidden", "true");
    this.tools = make("div", "tools");
    this.legend = make("div", "legend");
    this.field.append(this.density, this.canvas, this.names, this.layer, this.tip, this.status);
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
      for (const button of this.buttons) {
        if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
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
    // Rings come from another element of the page, which writes them on the chart's holder (rings.js).
    this.holder = this.root.getRootNode().host?.closest('[class*="st-key-"]') ?? this.root.closest('[class*="st-key-"]');
    this.onRings = () => {
      this.rings = this.holder.gsdRings ?? this.rings;
      if (this.points) placeRings(this.points, this.ringGroup, this.rings);
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
      Enter: () => this.choose(...this.points.box.map((side) => side / 2), Infinity),
      Escape: () => { this.lasso.clear(); this.use("pan"); this.tip.hidden = true; },
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  onClick(event) {
    const [x, y] = this.pressed ?? [];
    if (Math.hypot(event.clientX - x, event.clientY - y) < 4) this.choose(...this.placeOf(event), REACH);
  }

  choose(x, y, reach) {
    const radius = Number.isFinite(reach) ? reach : Math.max(...this.points.box) / 4; // Enter: nearest to the middle
    const row = this.points.rowAt(x, y, this.mask, radius);
    if (row >= 0) offerPick(this.relay, row, () => this.send("picked", row));
  }

  onHover(event) {
    if (!this.points?.grid || this.hovering) return;
    this.hovering = requestAnimationFrame(() => {
      this.hovering = null;
      const [x, y] = this.placeOf(event);
      const row = event.buttons ? -1 : this.points.rowAt(x, y, this.mask, REACH);
      const name = row >= 0 ? this.data.names[this.values.index[row]] : "";
      this.canvas.style.cursor = row >= 0 ? "pointer" : "";
      this.tip.hidden = !name;
      this.tip.textContent = name;
      const isLeft = x > this.points.box[0] / 2;
      this.tip.style.transform = `translate(${x + (isLeft ? -12 : 12)}px, ${y - 10}px) translate(${isLeft ? "-100%" : "0"}, -50%)`;
    });
  }

  // Everything that follows the view.
  follow() {
    const { points } = this;
    placeDensity(points, this.density);
    this.labels.place(points);
    placeRings(points, this.ringGroup, this.rings);
    this.lasso.place();
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
        fetchBlock(data.places, "places"), fetchBlock(data.values, "values"), data.mask ? fetchBlock(data.mask, "mask") : null,
      ]);
      if (values.n !== places.n || (mask && mask.n !== places.n)) throw new Error("points and colours do not belong together");
      if (turn === this.turn) await this.show({ places, values, mask });
    } catch (error) {
      if (turn === this.turn) this.say(`The map cannot be drawn: ${error.message}. Reload the page to try again.`);
    }
  }

  async show({ places, values, mask }) {
    const turn = this.turn;
    if (!this.points) {
      this.points = new Points(this.canvas, places.n, () => this.follow());
      followMouse(this.canvas, this.points);
      this.lasso = new Lasso(this.points, this.layer, (corners) => this.send("drawn", corners));
    }
    if (this.places !== places) this.grid = buildGrid(places);
    if (this.places !== places) drawDensity(this.grid, this.density);
    Object.assign(this, { places, values, mask });
    this.drawLegend();
    await this.points.show({ grid: this.grid, values, mask, colors: this.data.colors });
    if (turn !== this.turn) return;
    const counts = new Uint32Array(this.data.colors.length + 1);
    if (this.data.labels.length) for (let row = 0; row < places.n; row++) if (isKept(mask, row)) counts[values.index[row]]++;
    this.labels.set(this.data.labels, (index) => counts[index]);
    this.onRings();
    this.follow();
    this.say("");
    this.root.dataset.drawn = String(turn);
  }

  drawLegend() {
    const { legend, scale, title, colors } = this.data;
    if (scale) {
      const bar = make("span", "bar");
      bar.style.background = `linear-gradient(to right, ${colors.slice(0, -1).filter((_, i) => i % 16 === 0).join(", ")})`;
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

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".gsd-scatter");
  if (!root || !data) return undefined;
  let map = maps.get(root);
  if (!map) {
    map = new ScatterMap(root);
    maps.set(root, map);
  }
  Object.assign(map, { send: setTriggerValue, relay: data.relay });
  const print = JSON.stringify(data);
  if (map.print !== print) {
    map.print = print;
    map.update(data);
  }
  // Called before every rerun too: the map goes only with its element.
  return () => requestAnimationFrame(() => {
    if (!root.isConnected && maps.delete(root)) map.destroy();
  });
}
