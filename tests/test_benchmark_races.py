"""The races compare like with like, and the document says what was measured."""

from __future__ import annotations

import json
import subprocess
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from gsd_core.errors import UserError
from tests.benchmarks import race_busy, race_turns, races
from tests.benchmarks.race_chart import draw_chart
from tests.benchmarks.race_figures import (
    MAIN,
    Target,
    compute_memory,
    compute_ratio,
    compute_targets,
    race_key,
)
from tests.benchmarks.race_report import BEGIN, END, fill_document, render_markdown
from tests.benchmarks.race_turns import Entry, race
from tests.benchmarks.race_work import (
    BERGSON_WAYS,
    IGNORED,
    PLAIN,
    TIERS,
    Settings,
    Size,
    cut_borders,
    mask_rows,
    read_work,
    write_work,
)
from tests.tiny_models import relative_error

DOCS = Path(__file__).resolve().parents[1] / "docs"
UNEVEN = Size(samples=3, tokens=40, spans=5, uneven=True)


def _borders(size: Size) -> np.ndarray:
    random = np.random.default_rng(5)
    return np.stack([cut_borders(size, random) for _ in range(size.samples)])


@pytest.mark.parametrize("uneven", [False, True])
def test_spans_share_everything_after_the_prompt(uneven: bool) -> None:
    borders = _borders(Size(samples=20, tokens=64, spans=12, uneven=uneven))
    assert (np.diff(borders) >= 1).all()
    assert (borders[:, 0] == 8).all()
    assert (borders[:, -1] == 64).all()


def test_more_spans_than_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="do not hold 30 spans"):
        cut_borders(Size(tokens=32, spans=30), np.random.default_rng(0))


@pytest.mark.parametrize("cut", [False, True])
def test_masked_rows_label_each_target_once_and_in_its_own_span(cut: bool) -> None:
    borders = _borders(UNEVEN)
    ids = np.random.default_rng(1).integers(3, 90, (UNEVEN.samples, UNEVEN.tokens))
    rows, labels = mask_rows(ids, borders, cut)
    assert len(rows) == len(labels) == UNEVEN.samples * UNEVEN.spans
    for at, (row, marks) in enumerate(zip(rows, labels, strict=True)):
        sample, span = divmod(at, UNEVEN.spans)
        start, stop = borders[sample, span : span + 2]
        assert row == ids[sample, : stop if cut else UNEVEN.tokens].tolist()
        expected = [IGNORED] * len(row)
        expected[start:stop] = ids[sample, start:stop].tolist()
        assert marks == expected


def test_equal_sizes_are_raced_on_equal_rows(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_work(tmp_path / name, UNEVEN, width=32, layers=1)
    first, second = (read_work(tmp_path / name, Settings()) for name in ("a", "b"))
    assert (first.ids == second.ids).all()
    assert (first.borders == second.borders).all()
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_every_sample_is_in_one_batch_and_no_batch_is_too_large(tmp_path: Path) -> None:
    write_work(tmp_path, Size(samples=7, tokens=40, spans=2), width=32, layers=1)
    for batch_tokens, largest in ((100, 2), (10, 1), (4096, 7)):
        batches = read_work(tmp_path, Settings(batch_tokens)).iter_batches()
        assert sorted(chain.from_iterable(batches)) == list(range(7))
        assert max(map(len, batches)) == largest


def test_exact_tier_and_autograd_loop_do_the_same_work(tmp_path: Path) -> None:
    from tests.benchmarks.race_ways import AutogradLoop, Capture

    write_work(tmp_path, UNEVEN, width=32, layers=2)
    work = read_work(tmp_path, Settings(rank=4))
    ours = Capture(work, TIERS["exact"]).get_vectors()["vectors"]
    theirs = AutogradLoop(work).get_vectors()["vectors"]
    assert ours.shape[0] == UNEVEN.samples * UNEVEN.spans
    assert relative_error(ours, theirs) < 1e-5


def test_contestants_take_turns_and_each_reports_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_turns, "SCRATCH", tmp_path)
    turns: list[str] = []
    entries = [Entry(way, way, Settings()) for way in (PLAIN, "hidden")]
    found = race(Size(samples=2, tokens=16, spans=2), entries, 2, turns.append)
    order = [PLAIN if PLAIN in turn else "hidden" for turn in turns]
    assert order == [PLAIN, "hidden", "hidden", PLAIN]
    for way in found["ways"].values():
        assert len(way["cpu_s"]) == len(way["wall_s"]) == 2
        assert way["peak_bytes"] >= way["held_bytes"] > 0
    assert not list(tmp_path.iterdir()), "work files were left behind"


def test_a_contestant_that_dies_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_turns, "SCRATCH", tmp_path)
    with pytest.raises(RuntimeError, match="KeyError: 'no such way'"):
        race(Size(samples=2, tokens=16, spans=2), [Entry("x", "no such way", Settings())], 1)


def _way(cpu_s: list[float], growth: int = 100) -> dict[str, object]:
    return {
        "settings": {"batch_tokens": 2048},
        "cpu_s": cpu_s,
        "wall_s": [2 * value for value in cpu_s],
        "held_bytes": 1000,
        "peak_bytes": 1000 + growth,
    }


def _stored() -> dict[str, object]:
    found = {}
    for spans, exact in ((8, 2.0), (32, 10.0)):
        ways = {PLAIN: _way([1.0, 5.0, 1.0]), "exact": _way([exact, 5 * exact, 9.0 * exact], growth=150)}
        ways |= {way: _way([6.0, 30.0, 6.0]) for way in BERGSON_WAYS}
        found[race_key(Size(spans=spans))] = {
            "size": {"samples": 64, "tokens": 256, "spans": spans},
            "ways": ways,
        }
    keys = (
        "processor",
        "cores",
        "memory_gib",
        "threads",
        "torch",
        "transformers",
        "bergson",
        "rounds",
        "date",
    )
    return {"races": found, "environment": dict.fromkeys(keys, "x"), "checks": {"exact, autograd loop": 1e-7}}


def test_a_round_in_which_the_machine_was_slow_changes_no_ratio() -> None:
    ratio = compute_ratio(_stored()["races"][MAIN], "exact")
    assert (ratio.median, ratio.lowest, ratio.highest) == (2.0, 2.0, 18.0)


def test_memory_is_compared_whole_and_without_what_was_held_before() -> None:
    assert compute_memory(_stored()["races"][MAIN], "exact") == (1150 / 1100, 1.5)


def test_targets_tell_reached_from_missed_from_not_run() -> None:
    found = {target.what: target for target in compute_targets(_stored()["races"])}
    assert found["exact / plain step, 8 spans"].is_met
    assert found["Bergson's masked rows / exact, 8 spans"].is_met
    assert not found["exact, 32 spans over 8 spans (linear: 4)"].is_met
    assert found["exact, 32 spans over 8 spans (linear: 4)"].reached == 5.0
    assert found["hidden / plain step"].reached is None
    assert not found["hidden / plain step"].is_met
    assert Target("", 2.0, 2.5, at_least=True).is_met
    assert not Target("", 2.0, 1.5, at_least=True).is_met


def test_the_document_is_filled_between_its_markers_however_often() -> None:
    once = fill_document(f"before\n{BEGIN}\nold\n{END}\nafter\n", "new")
    assert once == fill_document(once, "new")
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    with pytest.raises(ValueError, match="markers"):
        fill_document(f"only {END}", "new")


def test_every_raced_way_is_in_the_table_and_the_chart() -> None:
    stored = _stored()
    table, chart = render_markdown(stored), draw_chart(stored)
    for way in stored["races"][MAIN]["ways"]:
        assert f"| {way} |" in table
        assert f">{way}</text>" in chart
    assert "not run" in table


def test_races_of_another_machine_or_size_are_not_mixed_with_stored_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "performance.json"
    stored.write_text(json.dumps(_stored()))
    monkeypatch.setattr(races, "STORED", stored)
    with pytest.raises(UserError, match="no race 'nothing'"):
        races.run_all(Settings(), 3, False, False, ["nothing"])
    with pytest.raises(UserError, match=r"measured differently .*processor"):
        races.run_all(Settings(), 3, False, False, ["checks"])
    assert json.loads(stored.read_text()) == json.loads(json.dumps(_stored()))


def test_document_and_chart_are_those_of_the_stored_result() -> None:
    stored = json.loads((DOCS / "performance.json").read_text())
    text = (DOCS / "performance.md").read_text()
    assert text == fill_document(text, render_markdown(stored)), "run: make bench BENCH=--draw"
    assert (DOCS / "images" / "performance.svg").read_text() == draw_chart(stored), "run: make bench BENCH=--draw"


def test_both_ways_to_wait_are_compared_within_a_round() -> None:
    def race_of(spin: list[float], rest: list[float]) -> dict[str, object]:
        found = {"threads spin": spin, "threads yield": rest}
        return {
            "ways": {
                f"{way}, {label}": {"wall_s": seconds, "cpu_s": seconds}
                for way in race_busy.WAYS
                for label, seconds in found.items()
            }
        }

    rows = race_busy.format_busy(
        {"idle": race_of([1.0, 2.0], [1.0, 2.0]), "busy": race_of([4.0, 8.0, 6.0], [2.0, 4.0, 2.0])}
    )
    assert len(rows) == 2 * len(race_busy.WAYS)
    assert rows[0][3] == "**1.00** (1.00–1.00)"
    assert rows[-1][3] == rows[-1][6] == "**0.50** (0.33–0.50)"


def test_a_busy_core_is_busy_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    usual = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: begun.append(usual(*a, **k)) or begun[-1])
    with race_busy.busy_core():
        assert begun[0].poll() is None
    assert begun[0].poll() is not None
