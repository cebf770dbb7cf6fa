"""A capture is seen to move within ten seconds, whatever the model: reports come inside a batch, and counts stay exact.

The model of these tests is slow by the test's own clock: every module that is called, and every gradient that passes
one, takes seconds of it. Nothing sleeps.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from gsd_core.capture.capture import CaptureConfig, Capturer, capture_batch
from gsd_core.capture.controls import iter_controls
from gsd_core.capture.modules import get_sizes
from gsd_core.capture.pulse import Pulse
from gsd_core.console.progress import BEAT_INTERVAL_S, LINE_INTERVAL_S, Progress, Stage
from gsd_core.driver.capture_plan import CaptureOptions
from gsd_core.execution import LocalExecutor, RayExecutor, ray_executor
from gsd_core.models.loading import compute_model_hash
from gsd_core.stages.capture_stage import run_capture
from gsd_core.store import Workspace
from gsd_core.tiers import TIERS
from tests.cli_support import make_rows, save_tiny_model, write_rows
from tests.tiny_models import make_model, make_samples

PATIENCE_S = 10.0
N_ROWS = 160  # tokens of ``make_samples``, padding included


class Clock:
    """Seconds that pass only where the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def make_slow(model: torch.nn.Module, clock: Clock, seconds: float) -> None:
    """Let `N_ROWS` tokens take so long in every linear module, and as long on their way back."""

    def take_time(module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        taken = seconds * output[..., 0].numel() / N_ROWS
        clock.wait(taken)
        if output.requires_grad:
            output.register_hook(lambda _: clock.wait(taken))

    for module in model.modules():
        if get_sizes(module):
            module.register_forward_hook(take_time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gsd_core.capture.capture.Pulse", functools.partial(Pulse, clock=clock))
    return clock


@pytest.mark.parametrize(
    ("tier", "more"),
    [
        *((tier, {}) for tier in TIERS),
        ("span", {"window": 0}),
        ("span", {"window": 1, "measures": True}),
        ("span", {"window": 1, "gradient_checkpointing": True}),
        ("position", {"measures": True, "with_head": False}),
    ],
)
@pytest.mark.parametrize("kind", ["llama-gqa", "gpt2"])
def test_a_slow_batch_reports_within_ten_seconds(tier: str, more: dict[str, Any], kind: str, clock: Clock) -> None:
    model, heard = make_model(kind), []
    capturer = Capturer(model, CaptureConfig(tier=tier, sketch_width=64, **more))
    capture_batch(capturer, make_samples())  # checks of the model come once and are not what is looked at
    make_slow(model, clock, 5.0)
    begun = clock.now
    capture_batch(capturer, make_samples(), {"b"}, lambda share: heard.append((clock.now, share)))
    times = [begun, *(when for when, _ in heard), clock.now]
    shares = [share for _, share in heard]
    assert clock.now - begun > 3 * PATIENCE_S, "the model is not slow enough to show anything"
    assert max(b - a for a, b in pairwise(times)) <= PATIENCE_S
    assert shares == sorted(shares), "the bar goes back"
    assert 0 < shares[0] < shares[-1] < 1
    half = shares[len(shares) // 2]
    assert 0.2 < half < 0.9, f"{half:.2f} is shown after half of the work"


def test_memory_that_runs_out_starts_the_halves_in_their_own_parts(clock: Clock) -> None:
    model, heard = make_model("llama-gqa"), []
    capturer = Capturer(model, CaptureConfig(tier="hidden", sketch_width=64))
    make_slow(model, clock, 2.0)
    usual = capturer.capture

    def capture(samples: Any, audited: Any, report: Any) -> Any:
        if len(samples) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return usual(samples, audited, report)

    capturer.capture = capture  # type: ignore[method-assign]
    capture_batch(capturer, make_samples(), (), heard.append)
    assert heard == sorted(heard)
    assert heard[0] < 0.5 < heard[-1]


def test_controls_report_inside_their_batches(clock: Clock) -> None:
    model, heard = make_model("llama-gqa"), []
    capturer = Capturer(model, CaptureConfig(tier="position", sketch_width=64))
    make_slow(model, clock, 2.0)
    list(iter_controls(capturer, make_samples(), heard.append))
    assert len(heard) > 8
    assert heard == sorted(heard)


def test_hashing_reports_by_bytes() -> None:
    heard: list[float] = []
    model = make_model("llama")
    compute_model_hash(model, heard.append)
    assert len(heard) == len(model.state_dict())
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_no_hook_is_left_and_without_a_listener_none_is_set() -> None:
    model = make_model("llama-gqa")
    with Pulse(model, 10.0, lambda share: None):
        assert any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    before = [len(module._forward_hooks) for module in model.modules()]
    Capturer(model, CaptureConfig(tier="hidden")).capture(make_samples())
    assert [len(module._forward_hooks) for module in model.modules()] == before


# -- from the worker to the bar ---------------------------------------------------------------------------------------


def test_the_local_executor_hands_reports_on() -> None:
    heard: list[Mapping[int, float]] = []

    def work(batch: int, report: Callable[[float], None]) -> int:
        report(0.25)
        report(0.5)
        return batch

    with LocalExecutor() as executor:
        assert list(executor.run_batches(lambda: work, [(3, 1), (4, 2)], heard.append)) == [(3, 1), (4, 2)]
    assert heard == [{3: 0.25}, {3: 0.5}, {4: 0.25}, {4: 0.5}]


class Waiter:
    """Makes workers that go on when somebody opens the other end of a pipe."""

    def __init__(self, pipe: Path) -> None:
        self.pipe = pipe

    def __call__(self) -> Callable[..., Any]:
        return self.work

    def work(self, batch: int, report: Callable[[float], None]) -> int:
        os.close(os.open(self.pipe, os.O_RDONLY))
        return batch


def test_ray_tells_what_is_under_way_while_nothing_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_executor, "NEWS_INTERVAL_S", 0.01)
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)

    def on_news(in_flight: Mapping[int, float]) -> None:
        heard.append(dict(in_flight))
        # The worker waits for this, so the batch cannot end before it was told of; without reader there is no writer.
        try:
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return

    with RayExecutor(1) as executor:
        assert list(executor.run_batches(Waiter(pipe), [(7, 1)], on_news)) == [(7, 1)]
    assert heard
    assert all(each == {7: 0.0} for each in heard)


def test_what_is_under_way_is_shown_but_not_counted(tmp_path: Path) -> None:
    clock = Clock()
    stage = Progress(quiet=True, clock=clock).stage("capture", 1_000, "tokens")
    clock.wait(10)
    stage.skip(500)
    stage.show(50)
    assert (stage.done, stage.shown) == (500, 550)
    assert stage.rate_per_s() == pytest.approx(5.0), "only what this run has done makes its rate"
    clock.wait(10)
    stage.show(80)
    stage.advance(100)
    assert (stage.done, stage.shown) == (600, 600)
    stage.show(30)
    stage.finish()
    assert (stage.done, stage.shown) == (600, 600), "work that was broken off counts as done"


def test_a_stage_without_news_says_that_it_still_works(tmp_path: Path) -> None:
    clock, stream, path = Clock(), io.StringIO(), tmp_path / "progress.json"
    progress = Progress(stream=stream, path=path, clock=clock)
    progress.stage("loading", 1, "model")
    progress.beat()
    assert stream.getvalue() == "", "it beats without need"
    for _ in range(10):
        clock.wait(BEAT_INTERVAL_S)
        before = path.read_bytes()
        progress.beat()
        assert path.read_bytes() != before, "the page sees no sign of life"
    lines = stream.getvalue().splitlines()
    assert LINE_INTERVAL_S <= PATIENCE_S
    assert len(lines) == int(10 * BEAT_INTERVAL_S // LINE_INTERVAL_S)
    assert "still working, 8.0 s" in lines[0]
    progress.close()
    progress.beat()
    assert "still working" not in stream.getvalue().splitlines()[-1]


class Recorder(Progress):
    """Progress that keeps what every report showed."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.shown: dict[str, list[int]] = {}
        self.stages: dict[str, Stage] = {}

    def _report(self, stage: Stage, force: bool = False) -> None:
        self.shown.setdefault(stage.name, []).append(stage.shown)
        self.stages[stage.name] = stage


def test_a_capture_moves_inside_its_batches_and_counts_each_token_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsd_core.capture.pulse.INTERVAL_S", 0.0)
    write_rows(tmp_path / "apples.jsonl", make_rows(8))
    save_tiny_model(tmp_path / "model")
    options = CaptureOptions(
        dataset=str(tmp_path / "apples.jsonl"),
        model=str(tmp_path / "model"),
        window="1",
        batch_tokens=512,
        run="one",
    )
    seen = Recorder()
    run_capture(Workspace.open(tmp_path / "w"), options, seen)
    for name in ("capturing model", "controls of model"):
        stage, shown = seen.stages[name], seen.shown[name]
        assert stage.done == stage.total == shown[-1]
        assert len(set(shown)) > 10, f"{name} reports nothing inside a batch"
        assert shown == sorted(shown)
    assert len(set(seen.shown["loading model"])) > 5, "hashing the weights reports nothing"
