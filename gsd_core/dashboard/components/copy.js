// A button that copies a text. Put before the components that have one.
const SAID_MS = 1500; // how long the button says what became of it

async function copyText(text) {
  if (navigator.clipboard && globalThis.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // pages that came over plain http have no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("copy was refused");
}

function copyOnClick(button, readText) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await copyText(readText());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = label; }, SAID_MS);
  });
}
