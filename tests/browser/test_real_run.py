"""The main job on real data: three hundred GSM8K problems under the demo model, from the file to a click on the map."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.browser.flows import follow_aligned_span
from tests.cli_support import run_gsd_json

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIMIT = 300


@pytest.fixture(scope="module")
def workspace(shared_data: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "workspace"
    file = shared_data / "gsm8k_test_socratic.jsonl"
    captured = run_gsd_json(
        "capture", "--dataset", file, "--model", "demo", "--limit", LIMIT, "--run", "real", workspace=folder
    )
    assert captured["n_samples"] + captured["n_skipped"] == LIMIT
    assert captured["n_spans"] > LIMIT
    analyzed = run_gsd_json("analyze", "real", workspace=folder)
    assert analyzed["n_spans"] == captured["n_spans"]
    return folder


def test_neighbors_of_a_real_span_belong_to_other_samples(workspace: Path) -> None:
    found = run_gsd_json("neighbors", "real", "--span", "gsm8k-test-3#1", "--top", 8, workspace=workspace)
    assert len(found["neighbors"]) == 8
    assert all(each["sample"] != "gsm8k-test-3" for each in found["neighbors"])
    cosines = [each["cosine"] for each in found["neighbors"]]
    assert cosines == sorted(cosines, reverse=True)
    assert all(0 <= each["q_value"] <= 1 for each in found["neighbors"])


def test_a_click_on_the_map_of_real_data_shows_aligned_spans(page, dashboard, workspace: Path) -> None:
    follow_aligned_span(page, dashboard(workspace), "run=real")
    if folder := os.environ.get("GSD_SCREENSHOTS"):
        page.go_back()
        page.wait_for_selector("text=Aligned spans of other samples")
        page.screenshot(path=str(Path(folder) / "real-map.png"))


def test_an_uploaded_file_becomes_a_map_by_clicks_alone(
    page, dashboard, tmp_path: Path, shared_data: Path
) -> None:
    # Upload, look, start, wait, open: the background job runs the same commands as a shell would.
    lines = (shared_data / "gsm8k_test_socratic.jsonl").read_text("utf-8").splitlines()[:30]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    page.goto(f"{dashboard(tmp_path / 'workspace')}/data")
    page.set_input_files("input[type=file]", str(file))
    page.get_by_role("button", name="Capture and analyse").click()
    page.get_by_role("link", name="Open the map").first.click(timeout=400_000)
    page.wait_for_function("!!document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.l2p")
    assert "run=mine" in page.url
    assert not page.problems, page.problems
    if folder := os.environ.get("GSD_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "uploaded-map.png"))


def test_a_cancelled_job_says_so_and_keeps_what_it_finished(
    page, dashboard, tmp_path: Path, shared_data: Path
) -> None:
    lines = (shared_data / "gsm8k_test_socratic.jsonl").read_text("utf-8").splitlines()
    file = tmp_path / "many.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    page.goto(f"{dashboard(tmp_path / 'workspace')}/data")
    page.set_input_files("input[type=file]", str(file))
    page.get_by_role("button", name="Capture and analyse").click()
    page.get_by_role("button", name="Cancel").first.click()
    page.wait_for_selector("text=Cancelled", timeout=400_000)
    assert not page.problems, page.problems


def describe_page(name: str, workspace: Path) -> str:
    """What the page must say of this run, told by the command line."""
    if name == "stresses":
        found = run_gsd_json("stresses", "real", workspace=workspace)
        return "patterns" if found["stresses"] else "No sequence of clusters recurs"
    if name == "twins":
        return f"{run_gsd_json('twins', 'real', workspace=workspace)['n_twins']:,} of "
    if name == "evidence":
        run_gsd_json("evaluate", "real", "--label", "meta.step_ops", workspace=workspace)
        return "Best gradient: span gradient"
    return {"alignment": "In which layers", "timeline": "--checkpoints", "overview": "1,068"}[name]


@pytest.mark.parametrize("name", ["alignment", "stresses", "twins", "timeline", "evidence", "overview"])
def test_every_page_stands_on_real_data(page, dashboard, workspace: Path, name: str) -> None:
    said = describe_page(name, workspace)
    page.goto(f"{dashboard(workspace)}/{name if name != 'overview' else ''}?run=real")
    page.wait_for_selector(f"h1:has-text('{name}')" if name != "overview" else "h1")
    page.wait_for_selector(f"[data-testid=stMain] >> text={said}")
    if name in ("alignment", "twins", "evidence"):
        page.wait_for_function("!!document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.l2p")
    page.wait_for_load_state("networkidle")
    assert not page.locator("[data-testid=stException]").count()
    assert not page.problems, page.problems
    if folder := os.environ.get("GSD_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"real-{name}.png"))
