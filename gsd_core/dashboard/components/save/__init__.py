"""Pictures of a figure, made in the browser: nothing but the page is needed, no second browser on the server.

plot_save   the entries of a menu that save a figure as PNG or SVG

A page has no handle on the Plotly that Streamlit brings. The button "Download plot" of a chart's own tool bar has one:
the entries set what it is to save and press it. So the chart's bar must hold that button (``charts`` sees to it);
whether the button can be seen does not matter. The picture is what Plotly draws anew from the figure, with the zoom of
the moment and, of points drawn by WebGL, their pixels; rings over it (``rings``) are drawn into it. A figure of our own
that can be saved is marked ``data-drawn`` and answers the event ``gsd-picture`` with a canvas.
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


def plot_save(
    chart_key: str, file_name: str, key: str, formats: Sequence[str] = ("png", "svg"), scale: float = 2.0
) -> None:
    """Entries that save the figure whose key is ``chart_key`` as ``file_name`` (without ending).

    A PNG has ``scale`` times the pixels that the figure has on the page; an SVG has the chart's own size. A figure of
    our own can be saved as "png" only.
    """
    data = {
        "chart": f"st-key-{chart_key}",
        "name": file_name,
        "formats": list(formats),
        "scale": scale,
    }
    _save(key=key, data=data)
