"""What is stored beside the spans: structure tables, and the checkpoint that they make the first look."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gsd_core.errors import UserError
from gsd_core.store import Workspace
from tests.cli_support import write_run


def test_structure_is_replaced_whole_and_dropped_with_its_clusters(tmp_path: Path) -> None:
    place = write_run(tmp_path / "workspace", checkpoints=("a",))
    run = Workspace.open(place).open_run("planted")
    first = pd.DataFrame(
        {"name": ["x", "y"], "n": [1, 2], "share": [0.5, float("nan")], "is_real": [True, False]}
    )
    run.write_structure("a", {"one": first}, {"n_twins": 2})
    pd.testing.assert_frame_equal(run.read_structure("a", "one"), first)
    run.write_structure("a", {"two": first.head(1)}, {"n_twins": 1})
    assert run.structure_info("a") == {"n_twins": 1}
    with pytest.raises(UserError, match="it has two"):
        run.read_structure("a", "one")
    assert len(list((place / "runs" / "planted" / "structure").iterdir())) == 1, (
        "the former tables are left behind"
    )
    points = pd.DataFrame(
        {"span": run.read_spans("a")["span"], "x": 0.0, "y": 0.0, "cluster": 0, "probability": 1.0}
    )
    clusters = pd.DataFrame([], columns=["cluster", "size", "label", "terms", "exemplars"])
    run.write_analysis("a", points, clusters, {}, {"noise_share": 0.1})
    assert not run.has_structure("a"), "twins of clusters that are no more"
    with pytest.raises(UserError, match="gsd analyze planted"):
        run.read_structure("a", "two")


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}])
def test_nested_cells_are_refused_and_nothing_is_stored(tmp_path: Path, cell: object) -> None:
    run = Workspace.open(write_run(tmp_path / "workspace", checkpoints=("a",))).open_run("planted")
    with pytest.raises(ValueError, match="JSON text"):
        run.write_structure("a", {"one": pd.DataFrame({"cell": [cell]})}, {})
    assert not run.has_structure("a")


def test_the_first_look_goes_to_most_twins_then_to_most_clustered_then_to_the_last(tmp_path: Path) -> None:
    place = write_run(tmp_path / "workspace", checkpoints=("a", "b", "c"))
    run = Workspace.open(place).open_run("planted")
    spans = run.read_spans("a")["span"]
    points = pd.DataFrame({"span": spans, "x": 0.0, "y": 0.0, "cluster": 0, "probability": 1.0})
    clusters = pd.DataFrame([], columns=["cluster", "size", "label", "terms", "exemplars"])

    def analyze(checkpoint: str, noise_share: float, **info: int) -> str:
        run.write_analysis(checkpoint, points, clusters, {}, {"noise_share": noise_share})
        if info:
            run.write_structure(checkpoint, {"twins": pd.DataFrame({"rank": [1]})}, info)
        return Workspace.open(place).open_run("planted").default_checkpoint

    assert run.default_checkpoint == "c"
    assert analyze("a", 0.9) == "a", "one that is not analysed has nothing to look at"
    assert analyze("b", 0.2) == "b"
    assert analyze("c", 0.2) == "c", "of equal ones the last"
    assert analyze("a", 0.9, n_twins=3) == "a"
    assert analyze("b", 0.2, n_twins=4) == "b"
    assert analyze("a", 0.9, n_twins=3, n_rewordings=1) == "a", "those in other words say more"
    assert Workspace.open(place).list_runs()[0].first_look == "a"
