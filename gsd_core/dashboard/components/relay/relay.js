// Takes picks that other components offer under a name (../pick.js).
export default function mount({ data, setTriggerValue }) {
  if (!data) return undefined;
  const take = (event) => {
    if (event.detail.to !== data.name) return;
    event.preventDefault(); // tells the component that the pick is taken
    setTriggerValue("taken", event.detail.value);
  };
  document.addEventListener("gsd-pick", take);
  return () => document.removeEventListener("gsd-pick", take);
}
