"""The report is one file that needs no network, says what is missing, and shows texts from data as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli_support import run_gsd, run_gsd_json, write_run
from tests.synthetic import build_workspace
from tests.test_dashboard_structure import plant_structure

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    metas = [{"kinds": [f"{HOSTILE}{k}" for k in range(4)]} for _ in range(24)]
    place = write_run(tmp_path_factory.mktemp("report") / "workspace", n_samples=24, metas=metas)
    run_gsd_json("analyze", "planted", workspace=place)
    run_gsd_json("evaluate", "planted", "--label", "meta.kinds", workspace=place)
    return place


def test_the_report_holds_every_part_and_forbids_loading(workspace: Path, tmp_path: Path) -> None:
    out = tmp_path / "planted.html"
    result = run_gsd_json("export", "planted", "--what", "report", "--out", out, workspace=workspace)
    assert result["rows"] == 96
    text = out.read_text(encoding="utf-8")
    for part in (
        "Map of span",
        "Clusters",
        "Structural twins",
        "sequential stresses",
        "Cosines",
        "Evidence: meta.kinds",
    ):
        assert part in text, f"the report lacks {part}"
    assert "default-src 'none'" in text
    head = text[: text.index("<script>")]
    assert not re.search(r"(?:src|href)=", head), "the report loads something"
    assert HOSTILE not in text, "a text from data stands in the page as markup"
    assert list(tmp_path.iterdir()) == [out], "a partial file is left behind"


def test_a_run_without_analysis_says_what_is_missing(tmp_path: Path) -> None:
    place = write_run(tmp_path / "workspace")
    out = tmp_path / "raw.html"
    run_gsd_json("export", "planted", "--what", "report", "--out", out, workspace=place)
    assert "Not computed for this checkpoint: layout and clusters, twins and stresses" in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("planted", "--out", "x.csv"), ".html"), (("nobody", "--out", "x.html"), "nobody")],
)
def test_a_report_that_cannot_be_is_refused(workspace: Path, words: tuple[str, ...], said: str) -> None:
    outcome = run_gsd("export", *words, "--what", "report", workspace=workspace)
    assert outcome.code == 2
    assert said in outcome.err


def test_the_report_lists_twins_in_other_words(tmp_path: Path) -> None:
    folder = build_workspace(tmp_path, n_samples=40)
    plant_structure(folder)
    out = tmp_path / "report.html"
    words = ("export", "planted", "--what", "report", "--checkpoint", "step-20", "--out", out)
    run_gsd_json(*words, workspace=folder)
    text = out.read_text(encoding="utf-8")
    assert text.index("Structural twins") < text.index("In other words") < text.index("sequential stresses")
