"""Capture by several workers holds, byte for byte, what one process holds; also where a worker is killed half-way.

Ray, the model and the store are real; the workers are processes of their own.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from gsd_core.capture import calibration
from gsd_core.console.progress import Progress
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.driver.capture_worker import CaptureSamples
from gsd_core.errors import UserError
from gsd_core.execution import BatchesLost, LocalExecutor, RayExecutor
from gsd_core.stages import capture_stage
from gsd_core.stages.capture_stage import run_capture
from gsd_core.store import Run, Workspace
from tests.cli_support import make_rows, run_gsd, run_gsd_json, save_tiny_model, start_gsd, write_rows
from tests.store_rows import read_everything

N_SAMPLES = 40


@dataclass(frozen=True)
class Meet:
    """A job that ends when another worker does its counterpart: opening a pipe waits for its other end."""

    pipe: str
    flags: int

    def run(self, worker: object, report: object) -> None:
        os.close(os.open(self.pipe, self.flags))


class MeetingExecutor(RayExecutor):
    """Both workers are loaded before the first batch is given out, so that both are sure to get some."""

    def __init__(self, pipe: Path, kill_at: int | None = None) -> None:
        super().__init__(2)
        self._pipe, self._kill_at = str(pipe), kill_at
        self.n_received = 0

    def run_batches(
        self, make_worker: Any, batches: Iterable[tuple[int, Any]], on_news: Any = None
    ) -> Iterator[tuple[int, Any]]:
        waiting = iter(batches)
        for first in itertools.islice(waiting, 1):
            if isinstance(first[1], CaptureSamples):
                meet = [(-1, Meet(self._pipe, os.O_WRONLY)), (-2, Meet(self._pipe, os.O_RDONLY))]
                assert len(list(super().run_batches(make_worker, meet))) == 2
                assert len(self.pids) == 2
            for index, result in super().run_batches(make_worker, itertools.chain([first], waiting), on_news):
                if isinstance(first[1], CaptureSamples):
                    assert result.written is not None, "directions travelled through the driver"
                    assert not result.results
                    self.n_received += 1
                    if self.n_received == self._kill_at:
                        os.kill(self.pids[0], signal.SIGKILL)
                yield index, result


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    write_rows(folder / "apples.jsonl", make_rows(N_SAMPLES))
    save_tiny_model(folder / "model")
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # As the workers have it: sums over other numbers of threads may differ in the last bit.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_with(inputs: Path, name: str, make: Callable[..., Any], **more: Any) -> Run:
    """One capture into a workspace of its own, with an executor that ``make`` makes."""
    workspace = Workspace.open(inputs / name)
    options = CaptureOptions(
        dataset=str(inputs / "apples.jsonl"),
        model=str(inputs / "model"),
        window="1",
        batch_tokens=192,
        run="one",
        **more,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capture_stage, "make_executor", make)
        run_capture(workspace, options, Progress(quiet=True))
    return workspace.open_run("one")


@pytest.fixture(scope="module")
def undisturbed(inputs: Path) -> dict[str, Any]:
    run = run_with(inputs, "whole", lambda _: LocalExecutor())
    assert len(run.finished_batches(run.default_checkpoint)) > 12, "too few batches to tell anything"
    return read_everything(run)


def assert_same(run: Run, expected: dict[str, Any]) -> None:
    found = read_everything(run)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == value, f"{key} differ from those of one process"


def test_two_workers_give_the_bytes_of_one_process(inputs: Path, undisturbed: dict[str, Any]) -> None:
    os.mkfifo(inputs / "meet-two")
    executor = MeetingExecutor(inputs / "meet-two")
    assert_same(run_with(inputs, "two", lambda _: executor), undisturbed)
    assert executor.n_lost == 0


def test_workers_share_what_the_first_one_saw_of_the_gradients(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LEAST_SPANS", 20)  # whether to look is decided here, not by a worker
    expected = run_with(inputs, "calibrated", lambda _: LocalExecutor(), sketch_width=512)
    assert expected.manifest["sketch"]["calibration"]
    os.mkfifo(inputs / "meet-calibrated")
    executor = MeetingExecutor(inputs / "meet-calibrated")
    found = run_with(inputs, "calibrated-two", lambda _: executor, sketch_width=512)
    assert_same(found, read_everything(expected))


def test_a_worker_killed_half_way_changes_nothing(inputs: Path, undisturbed: dict[str, Any]) -> None:
    os.mkfifo(inputs / "meet-killed")
    executor = MeetingExecutor(inputs / "meet-killed", kill_at=4)
    assert_same(run_with(inputs, "killed", lambda _: executor), undisturbed)
    assert executor.n_lost == 1, "no worker was lost: the test killed the wrong process"


def test_interrupted_keeps_what_is_finished_and_ends_its_workers(inputs: Path, undisturbed: dict[str, Any]) -> None:
    words = ["capture", "--dataset", inputs / "apples.jsonl", "--model", inputs / "model", "--run", "one"]
    words += ["--window", "1", "--batch-tokens", "192", "--executor", "ray", "--workers", "2"]
    process = start_gsd("--workspace", inputs / "cut", "--json", *words)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"embedding"):  # a worker holds the model, and the next thing is to capture
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children, "Ray runs elsewhere, and this test sees nothing of it"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130, err.decode()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, f"left running: {[each.name() for each in alive]}"
    resume = shlex.split(json.loads(out)["resume"])
    assert resume[resume.index("--executor") + 1] == "ray"
    resume[resume.index("--executor") + 1] = "local"  # the executor decides nothing about the numbers
    at = resume.index("--workers")
    run_gsd_json(*resume[1:at], *resume[at + 2 :])
    assert_same(Workspace.open(inputs / "cut").open_run("one"), undisturbed)


class LosingExecutor(LocalExecutor):
    """Loses the batches named, as an executor does whose workers end under them."""

    def __init__(self, *losing: int) -> None:
        super().__init__()
        self._losing = losing

    def run_batches(
        self, make_worker: Any, batches: Iterable[tuple[int, Any]], on_news: Any = None
    ) -> Iterator[tuple[int, Any]]:
        lost = {}

        def kept() -> Iterator[tuple[int, Any]]:
            for index, batch in batches:
                if isinstance(batch, CaptureSamples) and index in self._losing:
                    lost[index] = "killed by the system"
                else:
                    yield index, batch

        yield from super().run_batches(make_worker, kept(), on_news)
        if lost:
            raise BatchesLost(lost)


def test_a_lost_batch_is_named_and_can_be_captured_later(inputs: Path, undisturbed: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        run_with(inputs, "lossy", lambda _: LosingExecutor(1, 2))
    run = Workspace.open(inputs / "lossy").open_run("one")
    whole = Workspace.open(inputs / "whole").open_run("one")
    everything = whole.read_spans()
    lost = everything[everything["batch"].isin([1, 2])]
    assert run.finished_batches(run.default_checkpoint) == set(everything["batch"]) - {1, 2}
    assert run.manifest["status"] == "capturing"
    for part in ("2 of ", "killed by the system", "--resume", *lost["sample"].unique()):
        assert part in caught.value.one_line()
    assert_same(run_with(inputs, "lossy", lambda _: LocalExecutor(), resume=True), undisturbed)


def test_workers_of_one_process_are_refused(inputs: Path) -> None:
    words = ["capture", "--dataset", inputs / "apples.jsonl", "--model", inputs / "model", "--workers", "2"]
    outcome = run_gsd(*words, workspace=inputs / "refused")
    assert outcome.code == 2
    assert "--workers 2, add --executor ray" in outcome.err
