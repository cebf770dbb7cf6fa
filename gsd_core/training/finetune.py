"""Supervised fine-tuning on tokenized chain of thought with transformers' Trainer; it resumes and keeps checkpoints.

Recipe             every number of a fine-tune
choose_kept_steps  steps whose weights are kept where none are asked for
count_steps        optimizer steps of a number of passes over the data
order_samples      which samples each step gets
has_bfloat16       whether the processor multiplies bfloat16 itself
add_lora           adapters on all linear layers
check_memory       refuses a fine-tune whose weights, gradients and moments do not fit
fine_tune          train in place, from the beginning or from the last saved state
compute_loss       mean loss of samples, nats a token
cut_log            remove lines of steps that a resumed training repeats
name_step          name of the folder of a step

The loss is on what the labels say (``objectives``), by default everything after the prompt: reasoning, answer, end of
text. Source: ours; the recipe is the usual one (AdamW, warm-up, cosine, gradients clipped at 1).
"""

from __future__ import annotations

import csv
import inspect
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from gsd_core.errors import UserError
from gsd_core.models.memory import find_free_bytes, trim_freed
from gsd_core.store.trainings import LOG
from gsd_core.training.rows import ROW, make_training_rows
from gsd_core.types import TokenizedSample

STATES = "unfinished"  # folder with the trainer's state, removed at the end
LOG_FIELDS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "tokens", "seconds", "trained")
SAVE_SECONDS = 300.0  # a kill loses at most so much work
GROUPED_BATCHES = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """``keep``: steps whose weights are kept; ``has_autocast``: whether products run in bfloat16; others: flags."""

    steps: int
    keep: tuple[int, ...]
    batch_size: int
    micro_batch: int
    rate: float
    warmup: int
    has_autocast: bool
    gradient_checkpointing: bool
    seed: int


def count_steps(n_samples: int, batch_size: int, epochs: float) -> int:
    """Optimizer steps of `epochs` passes; the last batch is filled up from the next pass."""
    return max(1, math.ceil(round(epochs * n_samples) / batch_size))


def order_samples(lengths: Sequence[int] | np.ndarray, recipe: Recipe) -> np.ndarray:
    """(steps × batch size,) numbers of the samples, in the order in which they are trained on.

    Seeded passes over the data, one after the other. Within 50 batches those of like length share a batch, which saves
    padding; the batches themselves are in random order, so that no stretch of the training has long samples only.
    """
    random = np.random.default_rng(recipe.seed)
    n, wanted, part = len(lengths), recipe.steps * recipe.batch_size, GROUPED_BATCHES * recipe.batch_size
    stream = np.concatenate([random.permutation(n) for _ in range(math.ceil(wanted / n))])[:wanted]
    length_of, ordered = np.asarray(lengths), []
    for first in range(0, wanted, part):
        found = stream[first : first + part]
        batches = found[np.argsort(length_of[found], kind="stable")].reshape(-1, recipe.batch_size)
        ordered.append(batches[random.permutation(len(batches))].ravel())
    return np.concatenate(ordered)


def choose_kept_steps(steps: int) -> tuple[int, ...]:
    """0, a tenth, a third and all of `steps`, without repetition."""
    return tuple(sorted({0, round(steps / 10), round(steps / 3), steps}))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself. Elsewhere autocast would be slower, not faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def add_lora(model: Any, rank: int, seed: int, base: str) -> Any:
    """`model` with adapters of `rank` on all linear layers but the head, scaled by 2; only they are trained.

    `base` is what the saved adapters name as their model.
    """
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - an extra second that only adapters pay

    torch.manual_seed(seed)
    adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapters)
    model.active_peft_config.base_model_name_or_path = base
    return model


def check_memory(model: Any, device: torch.device) -> None:
    """Refuse to begin where gradients and AdamW's two moments do not fit beside the loaded weights.

    Raises
    ------
    UserError
        They do not fit; activations are not counted.
    """
    needed = sum(3 * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    free = find_free_bytes(device)
    if needed > free:
        raise UserError(
            f"gradients and moments need {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free",
            "gsd train",
            "train adapters with --lora 16, or a smaller model",
        )


def name_step(step: int) -> str:
    """Name of a step's folder: ``step-00050``."""
    return f"step-{step:05d}"


def compute_loss(model: Any, tokenizer: Any, samples: Sequence[TokenizedSample], micro_batch: int) -> float:
    """Mean loss in nats a token over everything after the prompt, in evaluation mode."""
    rows = sorted(_make_rows(samples, tokenizer), key=lambda row: len(row["input_ids"]))
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    device = next(model.parameters()).device
    with torch.no_grad():
        for first in range(0, len(rows), micro_batch):
            ids, labels = _pad(rows[first : first + micro_batch])
            labels = labels[:, 1:]
            logits = model(input_ids=ids.to(device), use_cache=False).logits[:, :-1]
            wanted = labels >= 0
            losses = torch.nn.functional.cross_entropy(
                logits[wanted.to(device)].float(), labels[wanted].to(device), reduction="sum"
            )
            total, count = total + float(losses), count + int(wanted.sum())
    model.train(was_training)
    return total / max(1, count)


def fine_tune(
    model: Any,
    tokenizer: Any,
    samples: Sequence[TokenizedSample],
    recipe: Recipe,
    folder: Path,
    *,
    labels: Sequence[np.ndarray] | None = None,
    on_step: Callable[[int, float | None], None],
    on_kept: Callable[[int], None],
    callbacks: Sequence[TrainerCallback] = (),
) -> int:
    """Train `model` in place; the weights of kept steps go into ``folder/step-00050`` and the log beside them.

    ``labels`` (T,) of each sample say where the loss is. A state in the folder is continued from. ``on_step(step,
    loss)`` follows each step, and with loss None the beginning at a later one; ``on_kept(step)`` follows each kept one,
    `callbacks` come after them. Returns the step at which this attempt began. Raises ``UserError`` for a loss that is
    no number.
    """
    states = folder / STATES
    last = _find_last_state(states)
    rows = _make_rows(samples, tokenizer, labels)
    lengths = np.array([len(row["input_ids"]) for row in rows])
    trained = np.array([sum(each >= 0 for each in row["labels"]) for row in rows])
    order = order_samples(lengths, recipe)
    n_tokens, n_trained = (
        np.cumsum(each[order].reshape(-1, recipe.batch_size).sum(axis=1)) for each in (lengths, trained)
    )
    keeper = _Keeper(folder, recipe, (len(rows), n_tokens, n_trained), on_step, on_kept)
    arguments = TrainingArguments(
        output_dir=str(states),
        max_steps=recipe.steps,
        per_device_train_batch_size=min(recipe.micro_batch, recipe.batch_size),
        gradient_accumulation_steps=max(1, recipe.batch_size // recipe.micro_batch),
        learning_rate=recipe.rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=recipe.has_autocast,
        activation_checkpointing=recipe.gradient_checkpointing,
        train_sampling_strategy="sequential",  # of rows in the order of `order_samples`
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=next(model.parameters()).device.type == "cpu",
        logging_steps=1,
        save_strategy="no",  # the keeper says when
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=_Rows(rows, order),
        data_collator=_Collator(model),
        compute_loss_func=_compute_tail_loss,
        callbacks=[keeper, *callbacks],
    )
    trainer.remove_callback(PrinterCallback)  # standard output belongs to the command's result
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    shutil.rmtree(states, ignore_errors=True)
    return 0 if last is None else _step_of(last)


class _Collator:
    """Pads rows; says how many last logits of the batch have a loss, where the model can leave out the others.

    The vocabulary's product is a fifth of a step of SmolLM2, and half of GSM8K's tokens are prompts.
    """

    def __init__(self, model: Any) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.can_skip = "logits_to_keep" in inspect.signature(base.forward).parameters

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows → ``input_ids`` and ``labels`` (B, T), ``logits_to_keep``."""
        ids, labels = _pad(rows)
        batch: dict[str, Any] = {"input_ids": ids, "labels": labels}
        if self.can_skip:
            first = min(int((row >= 0).nonzero()[0]) for row in labels)
            batch["logits_to_keep"] = labels.shape[1] - first + 1  # a token's loss is read one place earlier
        return batch


def _pad(rows: list[dict[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels (B, T). Padding is on the right and attention is causal, so no mask is needed."""
    ids, labels = (
        pad_sequence([torch.tensor(row[key]) for row in rows], batch_first=True, padding_value=value)
        for key, value in (("input_ids", 0), ("labels", -100))
    )
    return ids, labels


def _compute_tail_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None) -> Any:
    """Cross entropy of (B, K, V) last logits with the last K of (B, T) labels: sum over the tokens of the whole step,
    divided by their number."""
    logits = outputs["logits"][:, :-1].float()
    targets = labels[:, -logits.shape[1] :].to(logits.device)
    total = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
    )
    return total / ((targets >= 0).sum() if num_items_in_batch is None else num_items_in_batch)


class _Rows(Dataset[dict[str, Any]]):
    """Rows in a given order, with repetition."""

    def __init__(self, rows: list[dict[str, Any]], order: np.ndarray) -> None:
        self.rows, self.order = rows, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self.rows[self.order[at]]


class _Keeper(TrainerCallback):
    """Keeps weights, writes the log, and asks the trainer to save its state every few minutes."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        counts: tuple[int, np.ndarray, np.ndarray],
        on_step: Callable[[int, float | None], None],
        on_kept: Callable[[int], None],
    ) -> None:
        self.folder, self.recipe = folder, recipe
        # Of the data; up to each step, padding not counted; of those the ones with loss.
        self.n_samples, self.n_tokens, self.n_trained = counts
        self.report_step, self.report_kept = on_step, on_kept
        self.saved = self.begun = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Forget lines of the log that this attempt repeats; keep step 0."""
        cut_log(self.folder / LOG, state.global_step)
        if state.global_step:
            self.report_step(state.global_step, None)
        self.saved = self.begun = time.monotonic()
        if state.global_step == 0:
            self._keep(0, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the weights, or the trainer's state, where it is time."""
        self._keep(state.global_step, kwargs["model"])
        trim_freed()
        if time.monotonic() - self.saved > SAVE_SECONDS and state.global_step < state.max_steps:
            control.should_save = True
            self.saved = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write a step's line. Raises ``UserError`` where the loss is no number, before more steps are wasted."""
        found = kwargs.get("logs") or {}
        if "loss" not in found:
            return
        loss = float(found["loss"])
        if not math.isfinite(loss) or not math.isfinite(float(found.get("grad_norm", 0.0))):
            raise UserError(
                f"the loss or its gradient is no number at step {state.global_step}",
                f"--rate {self.recipe.rate}",
                "use a lower rate, or --autocast none; --resume goes on from the last good state",
            )
        path = self.folder / LOG
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            if is_new:
                writer.writerow(LOG_FIELDS)
            writer.writerow(
                [
                    state.global_step,
                    f"{state.global_step * self.recipe.batch_size / self.n_samples:.4f}",
                    f"{loss:.4f}",
                    f"{float(found.get('grad_norm', 0.0)):.4f}",
                    f"{found['learning_rate']:.3e}",
                    int(self.n_tokens[state.global_step - 1]),
                    f"{time.monotonic() - self.begun:.1f}",
                    int(self.n_trained[state.global_step - 1]),
                ]
            )
        self.report_step(state.global_step, loss)

    def _keep(self, step: int, model: Any) -> None:
        """Save weights under a partial name first. A folder that an earlier attempt has made is replaced."""
        if step not in self.recipe.keep:
            return
        folder = self.folder / name_step(step)
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        model.save_pretrained(part)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
        self.report_kept(step)


def cut_log(path: Path, step: int) -> None:
    """Remove lines of steps after `step`, which a resumed training repeats."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as opened:
        lines = list(csv.DictReader(opened))
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, LOG_FIELDS)
        writer.writeheader()
        writer.writerows(line for line in lines if int(line["step"]) <= step)
    os.replace(part, path)


def _make_rows(
    samples: Sequence[TokenizedSample], tokenizer: Any, labels: Sequence[np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """Rows of token ids and labels; the end of text is added where no chat template has put it."""
    end = tokenizer.eos_token_id
    has_end = end is None or any(end in sample.token_ids[-2:] for sample in samples[:1])
    rows = make_training_rows(samples, None if has_end else int(end), labels)
    return [{key: row[key] for key in row if key != ROW} for row in rows]


def _step_of(state: Path) -> int:
    return int(state.name.rsplit("-", 1)[-1])


def _find_last_state(states: Path) -> Path | None:
    """The newest state that is whole: the trainer writes ``trainer_state.json`` last."""
    whole = [each.parent for each in states.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=_step_of, default=None)
