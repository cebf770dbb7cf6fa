"""The callback: it never changes the training, captures what ``gsd capture`` would, and at the steps it was told."""

from __future__ import annotations

import contextlib
import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.errors import UserError
from gsd_core.training import SpanGradientCallback
from gsd_core.training.probing import check_can_track, compute_fingerprint, unchanged_training
from tests.cli_support import run_gsd_json
from tests.test_training_ride import count_hooks
from tests.training_support import CollectingSink, TinyTraining, weights_of

SPAN = CaptureConfig(tier="span", window=1, sketch_width=128)
POSITION = CaptureConfig(tier="position", sketch_width=128)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyTraining:
    return TinyTraining(tmp_path_factory.mktemp("callback"))


class DrawingSink(CollectingSink):
    """A sink that draws random numbers, as a store or an encoder might."""

    def start(self, capturer: Any, step: int) -> None:
        super().start(capturer, step)
        torch.rand(3), random.random(), np.random.rand()

    def write(self, step: int, batch: int, results: Any) -> None:
        super().write(step, batch, results)
        torch.rand(3), random.random(), np.random.rand()


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "autocast": {"bf16": True},
    "bfloat16 weights": {},
    "checkpointed": {"gradient_checkpointing": True},
    "lora": {},
}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("way", WAYS)
def test_the_training_is_the_same_bit_for_bit(tiny: TinyTraining, way: str) -> None:
    # Dropout on purpose: one random number drawn by the capture, or by the probe's sink, would show in every weight.
    ends, logs, flags = [], [], []
    for tracked in (False, True):
        dtype = torch.bfloat16 if way == "bfloat16 weights" else torch.float32
        model = tiny.load(attention_dropout=0.2, dtype=dtype)
        if way == "lora":
            model = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.3, target_modules=["q_proj", "up_proj"]))
        samples = tiny.open_probe(model).samples
        callback = None
        if tracked:
            probe, ride = DrawingSink(samples, SPAN), CollectingSink(samples, POSITION)
            callback = SpanGradientCallback(probe, every=1, ride=ride)
        trainer = tiny.trainer(model, samples, callback, logging_steps=1, data_seed=5, **WAYS[way])
        trainer.train()
        ends.append(weights_of(model))
        logs.append([entry.get("loss") for entry in trainer.state.log_history])
        flags.append([(p.requires_grad, p.grad is None) for p in model.parameters()])
        flags.append([m.training for m in model.modules()])
        flags.append([count_hooks(model)])
        if tracked:
            assert sorted(probe.results) == [0, 1, 2, 3, 4]
            assert sorted(ride.results) == [0, 1, 2, 3]
    assert torch.equal(*ends), f"{way}: weights differ by {(ends[0] - ends[1]).abs().max():.1e}"
    assert logs[0] == logs[1]
    assert flags[:3] == flags[3:]


@pytest.mark.parametrize(
    ("choices", "captured"),
    [
        ({"every": 2}, [0, 2, 4, 5]),
        ({"steps": [1, 3]}, [0, 1, 3, 5]),
        ({"every": 5, "at_end": False}, [0, 5]),
        ({"steps": [2], "at_start": False, "at_end": False}, [2]),
        ({"steps": [0], "at_start": False}, [0, 5]),
        ({}, [0, 5]),
    ],
)
def test_the_chosen_steps_are_captured(tiny: TinyTraining, choices: dict[str, Any], captured: list[int]) -> None:
    model = tiny.load()
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, CaptureConfig(tier="hidden", sketch_width=64))
    tiny.trainer(model, samples, SpanGradientCallback(sink, **choices), max_steps=5).train()
    assert sorted(sink.results) == captured


def test_a_training_that_stops_early_is_captured_at_its_end(tiny: TinyTraining) -> None:
    class StopAt(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 3

    model = tiny.load()
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, CaptureConfig(tier="hidden", sketch_width=64))
    trainer = tiny.trainer(model, samples, SpanGradientCallback(sink), max_steps=9)
    trainer.add_callback(StopAt())
    trainer.train()
    assert sorted(sink.results) == [0, 3]


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "autocast"])
def test_a_captured_step_is_what_gsd_capture_gives_for_the_saved_checkpoint(tmp_path: Path, bf16: bool) -> None:
    # Under autocast too: the probe is captured in the dtype of the weights, as a loaded checkpoint is.
    tiny = TinyTraining(tmp_path)
    model = tiny.load()
    probe = tiny.open_probe(model, run="probe", window="all")
    callback = SpanGradientCallback(probe, steps=[2])
    trainer = tiny.trainer(
        model, probe.samples, callback, save_strategy="steps", save_steps=2, save_total_limit=3, bf16=bf16
    )
    trainer.processing_class = tiny.tokenizer
    trainer.train()
    run_gsd_json(
        *("capture", "--dataset", "apples", "--model", tmp_path / "out", "--checkpoints", "checkpoint-2"),
        *("--sketch-width", 128, "--window", "all", "--run", "after"),
        workspace=tiny.workspace,
    )
    import gsd_core as gsd

    tracked = gsd.open_run("probe", workspace=tiny.workspace, checkpoint="step-00002")
    after = gsd.open_run("after", workspace=tiny.workspace)
    assert list(tracked.spans["span"]) == list(after.spans["span"])
    np.testing.assert_array_equal(np.asarray(tracked.vectors), np.asarray(after.vectors))
    np.testing.assert_allclose(tracked.spans["loss"], after.spans["loss"], rtol=1e-6)
    start = gsd.open_run("probe", workspace=tiny.workspace, checkpoint="step-00000")
    assert not np.array_equal(np.asarray(start.vectors), np.asarray(after.vectors))


def test_nothing_is_left_behind_by_a_capture_that_fails(tiny: TinyTraining) -> None:
    class Failing(CollectingSink):
        def write(self, step: int, batch: int, results: Any) -> None:
            raise RuntimeError("disk full")

    model = tiny.load()
    samples = tiny.open_probe(model).samples
    model.train()
    forward, flags = model.forward, [p.requires_grad for p in model.parameters()]
    callback = SpanGradientCallback(Failing(samples, SPAN))
    with pytest.raises(RuntimeError, match="disk full"):
        tiny.trainer(model, samples, callback, bf16=False).train()
    assert all(m.training for m in model.modules())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert model.forward == forward
    assert count_hooks(model) == 0


def test_random_generators_and_the_patched_forward_are_as_before() -> None:
    model = torch.nn.Linear(2, 2)
    model._original_forward = model.forward
    model.forward = lambda x: x
    patched = model.forward

    def draw() -> tuple[Any, ...]:
        return random.getstate()[1], np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()

    before = draw()
    with contextlib.suppress(KeyError), unchanged_training(model):
        assert model.forward == model._original_forward
        random.random(), np.random.rand(), torch.rand(1)
        assert draw() != before
        raise KeyError
    assert model.forward is patched
    assert draw() == before


def test_a_fingerprint_knows_weights(tiny: TinyTraining) -> None:
    a, b = tiny.load(), tiny.load()
    assert compute_fingerprint(a) == compute_fingerprint(b)
    with torch.no_grad():
        b.model.norm.weight[0] += 1e-6
    assert compute_fingerprint(a) != compute_fingerprint(b)


def test_the_cost_is_measured_predicted_and_told(tiny: TinyTraining, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.load()
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, SPAN)
    callback = SpanGradientCallback(sink, every=3)
    trainer = tiny.trainer(model, samples, callback, max_steps=9)
    with caplog.at_level(logging.INFO, logger="gsd_core"):
        trainer.train()
    cost = callback.overhead
    assert cost is not None
    assert sink.overhead == cost
    assert 0 < cost.capture_seconds < cost.seconds
    assert 0 < cost.capture_cpu_seconds < cost.cpu_seconds
    assert cost.share == pytest.approx(cost.capture_seconds / cost.seconds)
    assert cost.predicted_share is not None
    assert 0 < cost.predicted_share < 1
    assert set(cost.describe()) >= {"share", "cpu_share", "predicted_share"}
    told = next(record.getMessage() for record in caplog.records if "tracking took" in record.getMessage())
    assert f"{100 * cost.share:.1f} %" in told


@pytest.mark.parametrize(
    ("choices", "needle"),
    [
        ({}, "nothing to track"),
        ({"probe": "probe", "every": 0}, "0 is not a number of steps"),
        ({"probe": "probe", "steps": [-1]}, "a step below 0"),
        ({"ride": "probe"}, "a ride needs tier position, not hidden"),
    ],
)
def test_impossible_choices_are_refused(choices: dict[str, Any], needle: str) -> None:
    probe = CollectingSink([], CaptureConfig(tier="hidden"))
    made = {key: probe if value == "probe" else value for key, value in choices.items()}
    with pytest.raises(UserError, match=needle):
        SpanGradientCallback(**made)


@pytest.mark.parametrize(
    ("setting", "value", "rides", "needle"),
    [
        ("fsdp", "full_shard", False, "sharded over processes"),
        ("fp16", True, True, "use bf16=True"),
        ("n_gpu", 2, True, "start one process a GPU"),
        ("torch_compile", True, True, "leave torch_compile out"),
        ("deepspeed", {"stage": 2}, True, "DeepSpeed runs the backward pass itself"),
    ],
)
def test_trainings_that_cannot_be_tracked_are_refused(setting: str, value: object, rides: bool, needle: str) -> None:
    class Arguments:
        pass

    arguments, model = Arguments(), torch.nn.Linear(2, 2)
    check_can_track(arguments, model, rides=True)
    setattr(arguments, setting, value)
    with pytest.raises(UserError, match=needle):
        check_can_track(arguments, model, rides)


def test_weights_that_another_process_holds_are_refused() -> None:
    model = torch.nn.Linear(2, 2)
    model.weight = torch.nn.Parameter(torch.empty(0))
    with pytest.raises(UserError, match="gsd capture --checkpoints"):
        check_can_track(object(), model, rides=False)


def test_trl_tracks_a_probe(tiny: TinyTraining, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    rows = [{"prompt": "Question: 2 and 3?\nReasoning: ", "completion": f"Three more make {n}."} for n in range(8)]
    ends = []
    for tracked in (False, True):
        model = tiny.load(attention_dropout=0.2)
        sink = CollectingSink(tiny.open_probe(model).samples, SPAN)
        trl.SFTTrainer(
            model,
            args=trl.SFTConfig(
                output_dir=str(tmp_path),
                max_steps=3,
                per_device_train_batch_size=2,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny.tokenizer,
            callbacks=[SpanGradientCallback(sink, every=2)] if tracked else [],
        ).train()
        ends.append(weights_of(model))
    assert sorted(sink.results) == [0, 2, 3]
    assert torch.equal(*ends)
    last = {r.tokenized.id: r for batch in sink.results[3] for r in batch}
    with unchanged_training(model):
        for wanted in Capturer(model, SPAN).capture(sink.samples):
            for record, other in zip(last[wanted.tokenized.id].records, wanted.records, strict=True):
                assert record.norm == pytest.approx(other.norm, rel=1e-4)
