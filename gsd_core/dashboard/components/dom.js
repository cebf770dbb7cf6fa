// What components build their elements with. Texts come from people's files: they are written with textContent only.
const SVG = "http://www.w3.org/2000/svg";

export function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export function makeSvg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Where the mouse is, in pixels from the top left corner of `element`.
export function pixelsOf(event, element) {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

// Calls `enter` when the mouse or the focus reaches `element`, and `leave` when it goes.
export function watchPointing(element, enter, leave) {
  for (const name of ["pointerenter", "focus"]) element.addEventListener(name, enter);
  for (const name of ["pointerleave", "blur"]) element.addEventListener(name, leave);
}

// A link to `address` that calls `follow` instead, unless it is opened in a new tab.
export function makeLink(className, text, address, follow) {
  const link = make("a", className, text);
  link.href = address;
  link.target = "_self";
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    follow();
  });
  return link;
}
