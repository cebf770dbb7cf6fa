"""No page stands in the way of people who read with a screen reader, or need contrast (axe-core, WCAG 2 A and AA)."""

from __future__ import annotations

import pytest

from gsd_core.methods.analyze_method import STRUCTURE
from gsd_core.store import Workspace
from tests import synthetic
from tests.browser.flows import wait_until_idle
from tests.test_dashboard_structure import plant_structure

pytestmark = pytest.mark.browser
PAGES = (
    "",
    "map",
    "trace",
    "alignment",
    "stresses",
    "twins",
    "timeline",
    "segments",
    "evidence",
    "trainings",
    "data",
    "help",
)
# Streamlit's own: its markup cannot be changed from a page.
NOT_OURS = ("[data-testid='stMainMenu']", "[data-testid='stToolbar']")


@pytest.fixture(scope="module")
def url(dashboard, tmp_path_factory) -> str:
    folder = synthetic.build_workspace(tmp_path_factory.mktemp("workspace"), n_samples=40)
    plant_structure(folder)
    assert Workspace.open(folder).open_run("planted").results.has(STRUCTURE, "step-20")
    return dashboard(folder)


def _run(axe, page) -> list[dict]:
    result = axe.run(page, context={"exclude": [[each] for each in NOT_OURS]})
    return [each for each in result.response["violations"] if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, url, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page.emulate_media(color_scheme=scheme)
    found = []
    for name in PAGES:
        page.goto(f"{url}/{name}?run=planted&checkpoint=step-20&span=sum-3%231")
        wait_until_idle(page)
        serious = _run(axe, page)
        if serious:  # colours that fade in while axe looks are not those that people read
            wait_until_idle(page)
            serious = _run(axe, page)
        for violation in serious:
            seen = [f"{node['failureSummary']} {node['html'][:160]}" for node in violation["nodes"][:3]]
            found.append(f"{name or 'overview'}: {violation['id']} ({len(violation['nodes'])}): {seen}")
    assert not found, "\n".join(found)
