// Finds the charts of the page.

// The part of the page that has the class `name`, and the Plotly chart in it, where there are any.
export function findChart(name) {
  const holder = document.querySelector(`.${CSS.escape(name)}`);
  return { holder, chart: holder?.querySelector(".js-plotly-plot") };
}
