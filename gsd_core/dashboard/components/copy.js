// A button that copies a text.
const ANSWER_MS = 1500; // how long the button says whether it worked

async function copyText(text) {
  if (navigator.clipboard && globalThis.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // a page that came over plain http has no clipboard
  area.value = text;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  if (!isDone) throw new Error("copy was refused");
  return undefined;
}

export function copyOnClick(button, readText) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await copyText(readText());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = label; }, ANSWER_MS);
  });
}
