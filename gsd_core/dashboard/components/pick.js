// Offers a pick to the relay called `to` (relay/relay.js). Where no relay takes it, calls `otherwise`.
export function offerPick(to, value, otherwise) {
  const offer = new CustomEvent("gsd-pick", { detail: { to, value }, cancelable: true });
  if (!to || document.dispatchEvent(offer)) otherwise();
}
