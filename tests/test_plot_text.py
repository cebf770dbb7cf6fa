"""Labels inside plots: none covers another, the important ones stay."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gsd_core.dashboard.look.plot_text import keep_apart, name_in_plot


def test_labels_that_would_cover_one_another_are_left_out_and_the_first_stay() -> None:
    random = np.random.default_rng(0)
    points = pd.DataFrame(random.uniform(-5, 9, (3000, 2)), columns=["x", "y"])
    notes = [
        name_in_plot(points.iloc[[at]], f"name {at} · " + "word " * random.integers(1, 4), "#000", "#fff")
        for at in range(120)
    ]
    kept = keep_apart(notes, points, 640, 420, 120)
    assert kept[0] is notes[0]
    assert 10 < len(kept) < 120, "the plot must be too small for all and big enough for some"
    places = [notes.index(note) for note in kept]
    assert places == sorted(places)
    scale = np.array([640, 420]) / (points.max() - points.min()).to_numpy()
    for at, one in enumerate(kept):
        for other in kept[:at]:
            apart = np.abs(np.array([one["x"] - other["x"], one["y"] - other["y"]])) * scale
            assert apart[1] >= 20 or apart[0] >= 3 * (len(one["text"]) + len(other["text"]))
    assert keep_apart(notes, points, 640, 420, 3) == kept[:3]


def test_points_in_one_place_have_one_label() -> None:
    points = pd.DataFrame({"x": [1.0, 1.0], "y": [2.0, 2.0]})
    notes = [name_in_plot(points, name, "#000", "#fff") for name in ("first", "second")]
    assert [note["text"] for note in keep_apart(notes, points, 640, 420, 5)] == ["first"]
