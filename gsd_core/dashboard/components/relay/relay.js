// Takes picks that other components offer under a name, see ../pick.js.
export default function (component) {
  const { data, setTriggerValue } = component;
  if (!data) return undefined;
  const take = (event) => {
    if (event.detail.to !== data.name) return;
    event.preventDefault(); // taken
    setTriggerValue("taken", event.detail.value);
  };
  document.addEventListener("gsd-pick", take);
  return () => document.removeEventListener("gsd-pick", take);
}
