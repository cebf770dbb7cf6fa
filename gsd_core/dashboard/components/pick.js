// Hands a pick to the relay called `to` (components/relay); where there is none, `otherwise` tells the component's own part of the page.
function offerPick(to, value, otherwise) {
  const offer = new CustomEvent("gsd-pick", { detail: { to, value }, cancelable: true });
  if (!to || document.dispatchEvent(offer)) otherwise();
}
