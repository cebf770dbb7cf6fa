"""Progress: correct numbers, a whole file, nothing on standard output."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from gsd_core.console.progress import FILE_INTERVAL_S, Progress


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_follow_the_work() -> None:
    clock = Clock()
    stage = Progress(quiet=True, clock=clock).stage("capture", 100, "tokens")
    assert stage.rate_per_s() is None, "there is a rate before any work"
    assert stage.eta_s() is None
    for _ in range(5):
        clock.now += 2.0
        stage.advance(10)
    assert stage.rate_per_s() == pytest.approx(5.0)
    assert stage.eta_s() == pytest.approx(10.0)


def test_work_finished_earlier_does_not_count_in_the_rate() -> None:
    # Otherwise a resumed capture would promise minutes when hours are left.
    clock = Clock()
    stage = Progress(quiet=True, clock=clock).stage("capture", 1_000, "tokens")
    clock.now += 1.0
    stage.skip(900)
    assert stage.done == 900
    assert stage.rate_per_s() is None
    clock.now += 1.0
    stage.advance(10)
    assert stage.rate_per_s() == pytest.approx(5.0)
    assert stage.eta_s() == pytest.approx(18.0)


def test_rate_forgets_a_slow_start() -> None:
    # Loading and compiling come first; a rate over the whole stage would be too low.
    clock = Clock()
    stage = Progress(quiet=True, clock=clock).stage("capture", 10_000, "tokens")
    clock.now += 300.0
    stage.advance(1)
    for _ in range(40):
        clock.now += 1.0
        stage.advance(10)
    assert stage.rate_per_s() == pytest.approx(10.0, rel=0.01), "the rate still includes the slow start"


def test_progress_file_is_whole_throttled_and_has_the_last_state(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    progress = Progress(quiet=True, path=path, clock=clock)
    stage = progress.stage("capture", 4, "spans")
    first = json.loads(path.read_text())
    assert {
        "stage",
        "done",
        "total",
        "unit",
        "rate_per_s",
        "eta_s",
        "memory_bytes",
        "updated",
        "notes",
    } == set(first)
    stage.advance(1)
    assert json.loads(path.read_text())["done"] == 0, "every advance writes the file"
    clock.now += FILE_INTERVAL_S
    stage.advance(1, loss=float("nan"), text="a\x00b")
    seen = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} in the file"))
    assert (seen["done"], seen["notes"]["loss"]) == (2, None)
    assert seen["memory_bytes"] > 1_000_000
    stage.advance(2)
    progress.close()
    assert json.loads(path.read_text())["done"] == 4, "the last state was not written"
    assert [each.name for each in tmp_path.iterdir()] == ["progress.json"], "a partial file was left behind"


def test_environment_variable_names_the_progress_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "here.json"
    monkeypatch.setenv("GSD_PROGRESS_FILE", str(path))
    Progress(quiet=True).stage("reading")
    assert json.loads(path.read_text())["stage"] == "reading"


def test_unwritable_progress_file_does_not_stop_the_work(tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream, path=tmp_path / "no" / "such" / "folder.json")
    progress.stage("capture", 1).advance()
    progress.close()
    assert stream.getvalue().count("cannot be written") == 1, "the message is missing or repeated"


def test_opening_a_stage_finishes_the_previous_one() -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    first = progress.stage("reading", 1, "rows")
    progress.stage("capturing", 2, "tokens")
    assert first.is_finished
    assert "reading: 0/1 rows" in stream.getvalue()


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    with progress.stage("capture", 1) as stage:
        stage.advance()
    progress.note("hello")
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal_is_removed() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress(stream=stream) as progress:
        stage = progress.stage("[red]capture[/red]", 3, "spans")
        stage.advance(3, batch=1)
    text = stream.getvalue()
    assert "[red]capture[/red]" in text, "a stage's name was read as markup"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor stays hidden after the bar"
