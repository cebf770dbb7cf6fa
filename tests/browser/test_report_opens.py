"""The report opens from a file, draws its figures and asks nothing of the network."""

from __future__ import annotations

from pathlib import Path

from tests.cli_support import run_gsd_json, write_run


def test_the_report_draws_offline(browser, tmp_path: Path) -> None:
    workspace = write_run(tmp_path / "workspace", n_samples=24)
    run_gsd_json("analyze", "planted", workspace=workspace)
    out = tmp_path / "planted.html"
    run_gsd_json("export", "planted", "--what", "report", "--out", out, workspace=workspace)
    page = browser.new_page()
    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(out.as_uri())
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point", state="attached")
    page.wait_for_function("document.querySelectorAll('.main-svg').length >= 6")
    assert not [url for url in asked if url.startswith("http")]
    assert not problems
    page.close()
