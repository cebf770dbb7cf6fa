"""What the demo model's training and its shipped files promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from gsd_core.dataset.demo import generate_corpus
from gsd_core.errors import UserError
from gsd_core.training import demo_model
from gsd_core.training.demo_data import BASE_FILES, Recipe, encode, format_text, iter_batches, iter_tune_texts

SHIPPED = Path(demo_model.__file__).parents[1] / "assets" / "demo_model"
TINY = Recipe(
    vocab_size=400,
    width=16,
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    mlp_width=16,
    base_steps=3,
    base_demo_sets=1,
    base_drills=6,
    base_batch_tokens=512,
    plain_steps=4,
    plain_sets=1,
    plain_batch_tokens=512,
    told_steps=2,
    told_batch_tokens=512,
    tune_samples=24,
    tune_keep=(0, 2, 6),
    warmup=1,
    heldout_samples=3,
    max_new_tokens=4,
    save_every=1,
    n_threads=1,
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(SHIPPED)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    row = json.dumps({"id": "1", "question": "What is 2 plus 2?", "reasoning": ["2 and 2 is 4."], "answer": "4"})
    for name in BASE_FILES:
        (folder / f"{name}.jsonl").write_text(row + "\n", encoding="utf-8")
    return folder


def test_tokens_are_lossless_and_digits_stand_alone(tokenizer: PreTrainedTokenizerBase):
    texts = [format_text(s.question, s.reasoning, s.answer) for s in generate_corpus(40)]
    for text in [*texts, "Häuser – 3,14 €\n\nWait, 😀 12345\tx", " leading", ""]:
        encoded = tokenizer(text, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"][1:]  # the first token is the start of the text
        assert tokenizer.decode(encoded["input_ids"][1:]) == text
        covered = sorted({i for start, end in offsets for i in range(start, end)})
        assert covered == list(range(len(text))), "an offset misses a character: blanks must belong to a token"
        assert all(end - start == 1 for start, end in offsets if any(c.isdigit() for c in text[start:end]))
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.chat_template is None


def test_loss_covers_reasoning_answer_and_end_but_not_the_question(tokenizer: PreTrainedTokenizerBase):
    samples = generate_corpus(5)
    examples, n_left_out = encode(tokenizer, list(iter_tune_texts(samples)), context=1024)
    assert n_left_out == 0
    for (ids, first), sample in zip(examples, samples, strict=True):
        learned = tokenizer.decode(ids[first:], skip_special_tokens=True)
        assert learned == f" {sample.reasoning}\nAnswer: {sample.answer}"
        assert ids[-1] == tokenizer.eos_token_id


def test_an_epoch_holds_every_example_once():
    examples = [([1, *([5 + i] * (i % 7 + 2))], 1) for i in range(30)]
    stream = iter_batches(examples, batch_tokens=40, seed=3, pad_id=0)
    seen: list[int] = []
    while len(seen) < len(examples):
        ids, labels = next(stream)
        assert ids.numel() <= 40 or len(ids) == 1
        assert ((labels == ids) | (labels == -100)).all()
        seen += [int(row[1]) for row in ids]
    assert sorted(seen) == [5 + i for i in range(30)]


def test_a_killed_training_goes_on_to_the_same_weights(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = demo_model.run_training(data_dir, tmp_path / "whole", TINY)
    assert [entry["step"] for entry in whole] == [0, 2, 6]

    class Killed(Exception):
        pass

    save_step = demo_model._save_step

    def die_at_two(model: torch.nn.Module, work: Path, step: int) -> None:
        save_step(model, work, step)
        if step == 2:
            raise Killed

    monkeypatch.setattr(demo_model, "_save_step", die_at_two)
    with pytest.raises(Killed):
        demo_model.run_training(data_dir, tmp_path / "cut", TINY)
    assert not (tmp_path / "cut").exists(), "half a training stands under the final name"
    monkeypatch.setattr(demo_model, "_save_step", save_step)
    demo_model.run_training(data_dir, tmp_path / "cut", TINY)
    for step in (0, 2, 6):
        name = f"step-{step:05d}/model.safetensors"
        one, two = ((tmp_path / run / name).read_bytes() for run in ("whole", "cut"))
        assert one == two, f"step {step} differs: state that a checkpoint does not hold, or a batch skipped twice"
    with pytest.raises(UserError, match="exists"):
        demo_model.run_training(data_dir, tmp_path / "cut", TINY)


def test_missing_training_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert demo_model.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert "gsm8k_train.jsonl" in error
    assert "--data" in error


def test_shipped_checkpoints_are_complete_small_and_half_precision():
    entries = json.loads((SHIPPED / "checkpoints.json").read_text(encoding="utf-8"))
    steps = [entry["step"] for entry in entries]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert len(steps) >= 4
    assert sorted(path.name for path in SHIPPED.glob("step-*")) == [entry["path"] for entry in entries]
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 25e6
    config = json.loads((SHIPPED / entries[-1]["path"] / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "bfloat16"


def test_shipped_model_has_learned_the_corpus(tokenizer: PreTrainedTokenizerBase):
    # Half of the truth of checkpoints.json, measured again on a few samples: a wrong file or tokenizer shows here.
    samples = generate_corpus(12, split="heldout")
    entries = json.loads((SHIPPED / "checkpoints.json").read_text(encoding="utf-8"))
    losses = []
    for entry in (entries[0], entries[-1]):
        model = AutoModelForCausalLM.from_pretrained(SHIPPED / entry["path"], dtype=torch.float32)
        losses.append(demo_model.compute_heldout_loss(model, tokenizer, samples, 1024))
        assert losses[-1] == pytest.approx(entry["heldout_loss"], rel=0.25)
    assert losses[1] < 0.5 * losses[0]
    assert np.isfinite(losses).all()
