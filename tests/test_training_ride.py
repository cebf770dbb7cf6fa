"""Riding: what hooks read off a training is tier position, and the training does not notice."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.errors import UserError
from gsd_core.training import RowCollator, SpanGradientCallback, add_row_numbers, make_training_rows
from gsd_core.training.probing import unchanged_training
from gsd_core.training.riding import GradientRide
from gsd_core.types import SpanRecord
from tests.tiny_models import make_model, make_sample, make_samples, relative_error
from tests.training_support import CollectingSink, TinyTraining

CONFIG = CaptureConfig(tier="position", sketch_width=300)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyTraining:
    return TinyTraining(tmp_path_factory.mktemp("ride"))


def add_lora(model: Any) -> Any:
    """Adapters whose second factor is not zero, so that gradients reach the first."""
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def cosine_of(a: SpanRecord, b: SpanRecord) -> float:
    """Cosine of two directions, free of the rounding of their length."""
    left, right = a.direction.astype(np.float64), b.direction.astype(np.float64)
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "checkpointed": {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    },
    "checkpointed, reentrant": {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
    "lora adapters": {},
    "lora base": {},
    "autocast": {"bf16": True},
    "bfloat16 weights": {},
    "left padding": {},
    "clipped": {"max_grad_norm": 0.01},
}


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("way", WAYS)
def test_a_ride_gives_what_tier_position_gives(tiny: TinyTraining, way: str) -> None:
    # Learning rate 0: the weights stay, so one capture is the reference for every step.
    model = tiny.load(dtype=torch.bfloat16 if way == "bfloat16 weights" else torch.float32)
    if "lora" in way:
        model = add_lora(model)
        model.enable_input_require_grads()
    config = CaptureConfig(tier="position", sketch_width=300, lora="base" if way == "lora base" else "adapters")
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, config)
    trainer = tiny.trainer(model, samples, SpanGradientCallback(ride=sink), learning_rate=0.0, max_steps=3, **WAYS[way])
    if way == "left padding":
        tokenizer = tiny.tokenizer.__class__.from_pretrained(tiny.model_folder, padding_side="left")
        trainer.data_collator = RowCollator(DataCollatorForSeq2Seq(tokenizer))
    trainer.train()
    assert sorted(sink.results) == [0, 1, 2]
    narrow = way in ("autocast", "bfloat16 weights")
    with unchanged_training(model):
        reference = {each.tokenized.id: each for each in Capturer(model.eval(), config).capture(samples)}
    n_rows = 0
    for batches in sink.results.values():
        assert len(batches) == WAYS[way].get("gradient_accumulation_steps", 1), "one batch a micro-batch"
        for found in batches:
            n_rows += len(found)
            for result in found:
                expected = reference[result.tokenized.id]
                assert len(result.records) == len(expected.records) > 0
                ratios = []
                for record, wanted in zip(result.records, expected.records, strict=True):
                    cosine = cosine_of(record, wanted)
                    assert cosine >= (0.98 if narrow else 0.99999), f"{way}, {wanted.span}: cosine {cosine:.5f}"
                    assert record.loss == pytest.approx(wanted.loss, abs=0.05 if narrow else 1e-4)
                    assert record.coherence == pytest.approx(wanted.coherence, abs=0.05 if narrow else 1e-3)
                    ratios.append(record.norm / wanted.norm)
                # The trainer's loss is a mean over the step's tokens, the tier's over the sample's: one factor each.
                assert np.allclose(ratios, ratios[0], rtol=0.1 if narrow else 1e-3), f"{way}: {ratios}"
    assert n_rows == sum(len(batch) for batches in sink.results.values() for batch in batches) > 6


def test_norms_are_shares_of_the_trainers_loss(tiny: TinyTraining) -> None:
    # n_i / N: the sample's targets among all targets of the accumulated step.
    model = tiny.load()
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, CONFIG)
    options = {"learning_rate": 0.0, "max_steps": 1, "gradient_accumulation_steps": 2}
    tiny.trainer(model, samples, SpanGradientCallback(ride=sink), **options).train()
    reference = {each.tokenized.id: each for each in Capturer(model.eval(), CONFIG).capture(samples)}
    results = [result for batch in sink.results[0] for result in batch]
    targets = {r.tokenized.id: len(r.tokenized.token_ids) - r.tokenized.prompt_tokens for r in results}
    for result in results:
        share = targets[result.tokenized.id] / sum(targets.values())
        norm = reference[result.tokenized.id].records[0].norm
        assert result.records[0].norm == pytest.approx(share * norm, rel=1e-3)


def ride_once(
    samples: list[Any], numbers: list[int], ids: torch.Tensor, **inputs: Any
) -> tuple[Any, Any, GradientRide]:
    model = make_model("llama").train()
    ride = GradientRide(Capturer(model, CONFIG), samples)
    ride.attach(model)
    ride.is_on = True
    labels = ids.masked_fill(ids == 0, -100)  # padding
    model(input_ids=ids, labels=labels, gsd_row=torch.tensor(numbers), **inputs).loss.backward()
    return model, ride.take(), ride


def as_ids(samples: list[Any]) -> torch.Tensor:
    """Token ids (B, T), padded on the right with zeros."""
    width = max(len(s.token_ids) for s in samples)
    rows = [np.pad(s.token_ids.astype("int64"), (0, width - len(s.token_ids))) for s in samples]
    return torch.from_numpy(np.stack(rows))


def test_shares_of_a_partition_add_up_to_the_gradient_that_the_optimizer_takes() -> None:
    # Spans that cover every position: their shares must be the whole weight gradient, here of an untied head.
    sample = make_sample("whole", 20, [(1, 7), (7, 8), (8, 20)])
    model, taken, ride = ride_once([sample], [0], as_ids([sample]))
    records = taken[0][0].records
    total = sum(record.direction.astype(np.float64) * record.norm for record in records)
    capturer = Capturer(model, CONFIG)
    assert capturer.selection is not None
    assert capturer.sketch is not None
    dense = [captured.module.weight.grad for captured in capturer.selection.captured]
    # float16 directions are good to three digits
    assert relative_error(total, capturer.sketch.project_dense(dense).numpy()) <= 1e-3
    ride.detach()


def test_rows_that_are_no_sample_are_trained_on_and_not_captured() -> None:
    samples = make_samples()
    other = make_sample("other", 40, [(4, 9)])
    _, taken, _ = ride_once(samples, [2, -1, 0], as_ids([samples[2], other, samples[0]]))
    assert [result.tokenized.id for result in taken[0]] == ["c", "a"]
    alone, _ = ride_once(samples, [2], as_ids([samples[2]]))[1:]
    assert cosine_of(taken[0][0].records[1], alone[0][0].records[1]) >= 0.99999, (
        "its neighbours in the batch change a row's direction"
    )


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda ids: (ids.reshape(1, -1), {}), "packed or flattened"),
        (lambda ids: (ids.flip(1), {}), "its tokens differ"),
        (lambda ids: (ids[:, :12], {}), "its tokens differ, or it was cut"),
    ],
    ids=["packed", "other tokens", "cut"],
)
def test_rows_that_cannot_be_trusted_are_refused(break_it: Any, message: str) -> None:
    samples = make_samples()[:2]
    ids, inputs = break_it(as_ids(samples))
    with pytest.raises(UserError, match=message):
        ride_once(samples, [0, 1], ids, **inputs)


def test_modules_that_the_backward_pass_does_not_reach_are_told(tiny: TinyTraining) -> None:
    # Under adapters nothing before the first of them has a gradient: part of layer 0 would silently be zero.
    model = add_lora(tiny.load())
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, CaptureConfig(tier="position", sketch_width=300, lora="base"))
    with pytest.raises(UserError, match="enable_input_require_grads"):
        tiny.trainer(model, samples, SpanGradientCallback(ride=sink)).train()


def test_a_row_number_beyond_the_samples_is_refused() -> None:
    samples = make_samples()[:2]
    with pytest.raises(UserError, match="gsd_row 7 names no sample; there are 2"):
        ride_once(samples, [0, 7], as_ids(samples))


def test_a_head_that_is_never_called_is_told_not_missed() -> None:
    # Fused losses read the head's weight and leave its forward out: its block would silently be zero.
    sample = make_sample("fused", 20, [(4, 12)])
    model = make_model("llama").train()
    ride = GradientRide(Capturer(model, CONFIG), [sample])
    ride.attach(model)
    ride.is_on = True
    plain = model.forward

    def fused(input_ids: torch.Tensor, **_: Any) -> Any:
        hidden = model.model(input_ids=input_ids).last_hidden_state
        return torch.nn.functional.linear(hidden, model.lm_head.weight).logsumexp(-1).mean()

    model.forward = fused
    model(input_ids=as_ids([sample]), gsd_row=torch.tensor([0])).backward()
    with pytest.raises(UserError, match="with_head=False"):
        ride.take()
    model.forward = plain


def test_hooks_go_with_the_ride() -> None:
    # A training that died in an exception never says goodbye; its hooks must not watch the next one.
    sample = make_sample("gone", 20, [(4, 12)])
    model, _, ride = ride_once([sample], [0], as_ids([sample]))
    assert count_hooks(model) > 0
    del ride
    gc.collect()
    assert count_hooks(model) == 0


def count_hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_evaluation_and_steps_between_are_not_captured(tiny: TinyTraining) -> None:
    model = tiny.load()
    samples = tiny.open_probe(model).samples
    sink = CollectingSink(samples, CONFIG)
    callback = SpanGradientCallback(ride=sink, ride_every=2)
    trainer = tiny.trainer(model, samples, callback, max_steps=4)
    trainer.eval_dataset = trainer.train_dataset
    trainer.args.eval_strategy, trainer.args.eval_steps = "steps", 1
    trainer.state.eval_steps = 1
    trainer.train()
    assert sum("eval_loss" in logs for logs in trainer.state.log_history) == 4
    assert sorted(sink.results) == [0, 2]
    assert all(len(batches) == 1 for batches in sink.results.values())
    assert count_hooks(model) == 0


def test_a_collator_without_numbers_and_dropped_columns_are_told(tiny: TinyTraining) -> None:
    model = tiny.load()
    samples = tiny.open_probe(model).samples
    callback = SpanGradientCallback(ride=CollectingSink(samples, CONFIG))
    with pytest.raises(UserError, match="set remove_unused_columns=False"):
        tiny.trainer(model, samples, callback, remove_unused_columns=True).train()
    trainer = tiny.trainer(model, samples, callback)
    trainer.train_dataset = trainer.train_dataset.remove_columns("gsd_row")
    with pytest.raises(UserError, match="wrap the collator in RowCollator"):
        trainer.train()
    callback.detach()
    assert count_hooks(model) == 0


def test_rows_tokenised_elsewhere_find_their_sample(tiny: TinyTraining) -> None:
    samples = tiny.open_probe(tiny.load()).samples
    rows = make_training_rows(samples, end_token=1)
    number = add_row_numbers(samples)
    assert [number(row)["gsd_row"] for row in rows] == list(range(len(samples)))
    assert number({"input_ids": [5, 4, 3]}) == {"gsd_row": -1}
    for row, sample in zip(rows, samples, strict=True):
        assert row["labels"].count(-100) == sample.prompt_tokens
        assert row["input_ids"][-1] == row["labels"][-1] == 1


def test_a_collator_leaves_other_batches_alone(tiny: TinyTraining) -> None:
    inner = DataCollatorForSeq2Seq(tiny.tokenizer)
    collate = RowCollator(inner)
    plain = [{"input_ids": [3, 4], "labels": [3, 4]}, {"input_ids": [5], "labels": [5]}]
    assert set(collate([dict(row) for row in plain])) == set(inner([dict(row) for row in plain]))
    mixed = collate([{**plain[0], "gsd_row": 4}, dict(plain[1])])
    assert mixed["gsd_row"].tolist() == [4, -1]


def test_trl_rides_without_the_head_it_fuses(tiny: TinyTraining, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    model = tiny.load()
    samples = tiny.open_probe(model).samples
    config = CaptureConfig(tier="position", sketch_width=300, with_head=False)
    sink = CollectingSink(samples, config)
    trainer = trl.SFTTrainer(
        model,
        args=trl.SFTConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=3,
            learning_rate=0.0,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            remove_unused_columns=False,
            max_length=None,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(make_training_rows(samples)),
        data_collator=RowCollator(DataCollatorForSeq2Seq(tiny.tokenizer)),
        processing_class=tiny.tokenizer,
        callbacks=[SpanGradientCallback(ride=sink)],
    )
    trainer.train()
    reference = {each.tokenized.id: each for each in Capturer(model.eval(), config).capture(samples)}
    results = [result for batches in sink.results.values() for batch in batches for result in batch]
    assert len(results) == 6
    for result in results:
        for record, wanted in zip(result.records, reference[result.tokenized.id].records, strict=True):
            assert cosine_of(record, wanted) >= 0.99999
            assert record.loss == pytest.approx(wanted.loss, abs=1e-3)
