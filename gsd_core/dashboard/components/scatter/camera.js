// The mouse moves the map: dragging pans, the wheel zooms around the pointer.
import { pixelsOf } from "../dom.js";

const WHEEL = 0.002; // growth, as an exponent, for a pixel of the wheel
const LINE_PIXELS = 16; // of wheels that count in lines

export function followMouse(canvas, points) {
  let last = null;
  // From -1 to 1, as a view counts.
  const place = (event) => {
    const [x, y] = pixelsOf(event, canvas);
    const { width, height } = canvas.getBoundingClientRect();
    return [(2 * x) / width - 1, 1 - (2 * y) / height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    last = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = place(event);
    points.move(now[0] - last[0], now[1] - last[1], 1);
    last = now;
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PIXELS : 1);
    points.move(0, 0, Math.exp(-WHEEL * pixels), place(event));
  }, { passive: false });
}
