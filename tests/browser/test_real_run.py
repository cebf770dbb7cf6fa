"""The main job on real data: three hundred GSM8K problems under the demo model, from the file to a click on the map."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.browser.flows import follow_aligned_span, query_of, wait_until_settled
from tests.cli_support import ROOT, run_gsd_json

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIMIT = 300
MOST_ACTIONS = 10
README = (ROOT / "README.md").read_text("utf-8")


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


def test_an_uploaded_file_becomes_twins_in_as_few_actions_as_the_readme_says(
    page, dashboard, tmp_path: Path, shared_data: Path
) -> None:
    # The background job runs the same commands as a shell would, under SmolLM2, which the form offers first. The first
    # action, `make demo`, is the fixture's.
    told = README.split("## From your own file to twins")[1].split("\n\n")[1].splitlines()
    assert all(line.startswith(f"{number}. ") for number, line in enumerate(told, start=1))
    assert len(told) < MOST_ACTIONS
    lines = (shared_data / "gsm8k_test_socratic.jsonl").read_text("utf-8").splitlines()[:24]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    url = dashboard(tmp_path / "workspace")

    def open_map() -> None:
        page.get_by_role("link", name="Open the map").first.click(timeout=400_000)
        page.wait_for_url(re.compile(r"/map\?.*run=mine"))
        wait_until_settled(page)
        if folder := os.environ.get("GSD_SCREENSHOTS"):
            page.screenshot(path=str(Path(folder) / "uploaded-map.png"))

    def choose_other_words() -> None:
        page.wait_for_selector(".gsd-pair path", state="attached")
        page.get_by_text("In other words").click()

    actions = [
        lambda: page.goto(url),
        lambda: page.get_by_role("link", name="Data", exact=True).first.click(),
        lambda: page.set_input_files("input[type=file]", str(file)),
        lambda: page.get_by_role("button", name="Capture and analyse").click(),
        open_map,
        lambda: page.get_by_role("link", name="Twins", exact=True).first.click(),
        choose_other_words,
    ]
    assert 1 + len(actions) == len(told), "the README counts other actions than there are"
    for act in actions:
        act()
    page.wait_for_url(re.compile("words=other"))
    page.wait_for_selector(".gsd-pair path", state="attached")
    assert query_of(page)["run"] == "mine"
    assert not page.problems, page.problems


def test_a_cancelled_job_says_so_and_keeps_what_it_finished(page, dashboard, tmp_path: Path, shared_data: Path) -> None:
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
        return "patterns" if found["stresses"] else "no sequence recurs often enough"
    if name == "twins":
        return f"{run_gsd_json('twins', 'real', workspace=workspace)['n_twins']:,} of "
    if name == "evidence":
        run_gsd_json("evaluate", "real", "--label", "meta.step_ops", workspace=workspace)
        return "Best gradient: span gradient"
    return {"alignment": "Layer by layer", "timeline": "--checkpoints", "overview": "1,068"}[name]


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
