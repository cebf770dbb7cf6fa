"""Pictures of a figure, made in the browser, so that the server needs none.

plot_save   the menu entries that save a figure as PNG or SVG

A page cannot reach the Plotly that Streamlit loads, but the button "Download plot" in a chart's tool bar can. An entry
sets what that button saves and presses it, so ``charts`` keeps the button in the bar; it may be invisible. Plotly draws
the picture again with the current zoom, and the rings of ``rings`` are drawn into it. A figure of our own that can be
saved is marked ``data-drawn`` and answers the event ``gsd-picture`` with a canvas.
"""

from __future__ import annotations

from collections.abc import Sequence

from gsd_core.dashboard.components import declare

_SHELL = """
<div class="gsd-save">
  <button type="button" data-format="png">PNG</button>
  <button type="button" data-format="svg">SVG</button>
  <output aria-live="polite" hidden></output>
</div>
"""

_save = declare("save", _SHELL)


def plot_save(chart_key: str, file_name: str, key: str, formats: Sequence[str]) -> None:
    """Entries that save the figure whose key is ``chart_key`` as ``file_name`` (without ending).

    A PNG has twice the pixels of the figure on the page; an SVG has the figure's size. A figure of our own
    can be saved as "png" only.
    """
    data = {"chart": f"st-key-{chart_key}", "name": file_name, "formats": list(formats), "scale": 2.0}
    _save(key=key, data=data)
