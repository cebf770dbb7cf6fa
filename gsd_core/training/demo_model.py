"""Trains the demo model: a small Llama, first on plain data, then fine-tuned on the demo corpus' reasoning.

build_model       the untrained model
run_phase         one training phase, resumable
compute_heldout_loss, compute_accuracy   mean loss and greedy accuracy on held-out demo questions
run_training      all phases, written whole to a folder
main              the command line

Usage: ``python -m gsd_core.training.demo_model --data DIR --out DIR``. Everything here is ours, from no paper.
Texts, tokenizer and batches are in ``demo_data``. Shapes: B batch, T tokens.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gsd_core.dataset.demo import check_answer, generate_corpus
from gsd_core.errors import UserError
from gsd_core.training.demo_data import (
    Recipe,
    encode,
    iter_base_texts,
    iter_batches,
    iter_tune_texts,
    train_tokenizer,
)
from gsd_core.types import Sample


def _say(line: str) -> None:
    """Progress goes to standard error, so that standard output stays one JSON object."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model, weights seeded by the recipe."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.width,
            intermediate_size=recipe.mlp_width,
            num_hidden_layers=recipe.n_layers,
            num_attention_heads=recipe.n_heads,
            num_key_value_heads=recipe.n_kv_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            attn_implementation="eager",  # type: ignore[call-arg]  # on a CPU quicker than the fused kernel
            initializer_range=0.02,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def run_phase(
    model: LlamaForCausalLM,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    rate: float,
    recipe: Recipe,
    state_dir: Path,
    on_step: Callable[[int, float, int], None],
    table_scale: float = 1.0,
) -> None:
    """Trains ``model`` in place with AdamW and a cosine rate; goes on from ``state_dir`` where that holds a state.

    Matrix products run in bfloat16 (autocast), weights and their moments stay float32.
    ``table_scale`` multiplies the rate of the (tied) embedding table.
    ``on_step(step, loss, n_tokens)`` runs after each optimizer step, counted from 1.
    """
    device = model.device
    table = model.get_input_embeddings().weight
    decay = [p for p in model.parameters() if p.ndim > 1 and p is not table]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups.append({"params": [table], "weight_decay": recipe.weight_decay, "scale": table_scale})
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    done = _load_state(state_dir, model, optimizer)
    if done >= steps:
        return
    model.train()
    for step in range(1, steps + 1):
        ids, labels = next(batches)
        if step <= done:
            continue  # the stream is seeded: skip what the earlier run has seen
        scale = min(1.0, step / recipe.warmup) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale * group.get("scale", 1.0)
        # Padding stands on the right and attention is causal, so no mask is needed.
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(input_ids=ids.to(device)).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1).to(device), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        on_step(step, float(loss.detach()), int((labels[:, 1:] >= 0).sum()))
        if step % recipe.save_every == 0 or step == steps:
            _save_state(state_dir, model, optimizer, step)


def _save_state(
    state_dir: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int
) -> None:
    tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{name}"] = optimizer.state[p][key].detach().cpu().contiguous()
    tensors["step"] = torch.tensor(step)
    state_dir.mkdir(parents=True, exist_ok=True)
    save_file(tensors, state_dir / "state.part")
    os.replace(state_dir / "state.part", state_dir / "state.safetensors")


def _load_state(state_dir: Path, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer) -> int:
    """Puts a saved state into model and optimizer; returns its step, 0 where there is none."""
    path = state_dir / "state.safetensors"
    if not path.is_file():
        return 0
    tensors = load_file(path)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[f"model.{name}"])
            optimizer.state[p] = {
                "step": tensors["step"].float(),
                **{key: tensors[f"{key}.{name}"].to(p.device) for key in ("exp_avg", "exp_avg_sq")},
            }
    return int(tensors["step"])


def _place(model: LlamaForCausalLM) -> None:
    """Moves the model to the GPU where there is one."""
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))  # type: ignore[arg-type]  # decorated


@torch.no_grad()
def compute_heldout_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, samples: list[Sample], context: int
) -> float:
    """Mean negative log-likelihood (nats a token) of reasoning and answer."""
    model.eval()
    examples, _ = encode(tokenizer, list(iter_tune_texts(samples)), context)
    total, count = 0.0, 0
    for ids, first in examples:
        row = torch.tensor([ids], device=model.device)
        losses = torch.nn.functional.cross_entropy(
            model(input_ids=row).logits[0, :-1], row[0, 1:], reduction="none"
        )
        total += float(losses[first - 1 :].sum())
        count += len(ids) - first
    model.train()
    return total / count


@torch.no_grad()
def compute_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, samples: list[Sample], max_new_tokens: int
) -> tuple[float, list[str]]:
    """Share of greedy rollouts whose answer is right, and the rollouts. Prompts of one length run together."""
    model.eval()
    prompts = [tokenizer(f"Question: {sample.question}\nReasoning:")["input_ids"] for sample in samples]
    by_length: dict[int, list[int]] = {}
    for i, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(i)
    texts = [""] * len(samples)
    for rows in by_length.values():
        ids = torch.tensor([prompts[i] for i in rows], device=model.device)
        out = model.generate(  # type: ignore[misc]  # its mixin types `self` as a wider class
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, produced in zip(rows, out[:, ids.shape[1] :], strict=True):
            texts[i] = str(tokenizer.decode(produced, skip_special_tokens=True))
    model.train()
    right = [
        ("Answer:" in text) and check_answer(sample, text)
        for sample, text in zip(samples, texts, strict=True)
    ]
    return float(np.mean(right)), texts


class _Log:
    """Loss curve: appended to a CSV file and, now and then, printed."""

    def __init__(self, path: Path, phase: str, steps: int, every: int = 20) -> None:
        self.path, self.phase, self.steps, self.every = path, phase, steps, every
        self.begun, self.tokens = time.monotonic(), 0
        self.recent: list[float] = []

    def __call__(self, step: int, loss: float, n_tokens: int) -> None:
        self.recent.append(loss)
        self.tokens += n_tokens
        if step % self.every and step != self.steps:
            return
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            if is_new:
                writer.writerow(["phase", "step", "train_loss"])
            writer.writerow([self.phase, step, f"{np.mean(self.recent):.4f}"])
        speed = self.tokens / (time.monotonic() - self.begun)
        message = (
            f"{self.phase} {step}/{self.steps} loss {np.mean(self.recent):.3f} {speed:.0f} loss tokens/s"
        )
        _say(message)
        self.recent = []


def run_training(data_dir: Path, out_dir: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """All phases. Works in ``<out_dir>.part``, from which a killed run goes on, and renames it when all is there.

    Returns the entries of ``checkpoints.json``.
    """
    if out_dir.exists():
        raise UserError("the output folder exists", str(out_dir), "remove it or give another --out")
    work = out_dir.with_name(out_dir.name + ".part")
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.n_threads)
    train = generate_corpus(recipe.tune_samples, seed=recipe.seed)
    heldout = generate_corpus(recipe.heldout_samples, seed=recipe.seed, split="heldout", open_share=0.0)
    base_texts = list(iter_base_texts(data_dir, recipe))
    tune_texts = list(iter_tune_texts(train))
    if (work / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(work))
    else:
        tokenizer = train_tokenizer(base_texts + [text for text, _ in tune_texts], recipe)
        tokenizer.save_pretrained(work)
    model = build_model(recipe, tokenizer)
    _place(model)
    pad, log_path = int(tokenizer.pad_token_id), work / "training_log.csv"

    examples, n_left = encode(tokenizer, [(text, 0) for text in base_texts], recipe.context)
    _say(f"base: {len(examples)} texts, {sum(len(i) for i, _ in examples)} tokens, {n_left} left out")
    batches = iter_batches(examples, recipe.base_batch_tokens, recipe.seed, pad)
    log = _Log(log_path, "base", recipe.base_steps)
    run_phase(model, batches, recipe.base_steps, recipe.base_rate, recipe, work / "state-base", log)

    examples, n_left = encode(tokenizer, tune_texts, recipe.context)
    _say(f"tune: {len(examples)} texts, {sum(len(i) for i, _ in examples)} tokens, {n_left} left out")
    batches = iter_batches(examples, recipe.tune_batch_tokens, recipe.seed + 1, pad)
    log = _Log(log_path, "tune", recipe.tune_steps)
    _save_step(model, work, 0)

    def on_step(step: int, loss: float, n_tokens: int) -> None:
        log(step, loss, n_tokens)
        if step in recipe.tune_keep:
            _save_step(model, work, step)

    run_phase(
        model,
        batches,
        recipe.tune_steps,
        recipe.tune_rate,
        recipe,
        work / "state-tune",
        on_step,
        recipe.tune_table_scale,
    )
    # Samples seen eight times are learned by heart before names are copied from the question: fresh ones teach that.
    seeds = range(recipe.seed + 100, recipe.seed + 100 + recipe.fresh_sets)
    fresh = [sample for seed in seeds for sample in generate_corpus(recipe.tune_samples, seed)]
    examples, _ = encode(tokenizer, list(iter_tune_texts(fresh)), recipe.context)
    batches = iter_batches(examples, recipe.tune_batch_tokens, recipe.seed + 2, pad)
    fresh_log = _Log(log_path, "fresh", recipe.fresh_steps)

    def on_fresh_step(step: int, loss: float, n_tokens: int) -> None:
        fresh_log(step, loss, n_tokens)
        if step + recipe.tune_steps in recipe.tune_keep:
            _save_step(model, work, step + recipe.tune_steps)

    run_phase(
        model, batches, recipe.fresh_steps, recipe.fresh_rate, recipe, work / "state-fresh", on_fresh_step
    )
    entries = [_evaluate_step(work, step, tokenizer, train, heldout, recipe) for step in recipe.tune_keep]
    (work / "checkpoints.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    for phase in ("base", "tune", "fresh"):
        shutil.rmtree(work / f"state-{phase}")
    os.replace(work, out_dir)
    return entries


def _save_step(model: LlamaForCausalLM, work: Path, step: int) -> None:
    """Weights in half precision under their final name, by way of a partial one."""
    place = work / f"step-{step:05d}"
    if place.exists():
        return
    part = place.with_name(place.name + ".part")
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(part)
    os.replace(part, place)


def _evaluate_step(
    work: Path,
    step: int,
    tokenizer: PreTrainedTokenizerFast,
    train: list[Sample],
    heldout: list[Sample],
    recipe: Recipe,
) -> dict[str, Any]:
    name = f"step-{step:05d}"
    model = LlamaForCausalLM.from_pretrained(work / name, dtype=torch.float32)
    _place(model)
    accuracy, _ = compute_accuracy(model, tokenizer, heldout, recipe.max_new_tokens)
    entry = {
        "step": step,
        "path": name,
        "heldout_loss": round(compute_heldout_loss(model, tokenizer, heldout, recipe.context), 4),
        "heldout_accuracy": round(accuracy, 4),
        "train_loss": round(compute_heldout_loss(model, tokenizer, train[: len(heldout)], recipe.context), 4),
    }
    _say(json.dumps(entry))
    return entry


def main(arguments: list[str] | None = None) -> int:
    """``--data DIR --out DIR [--minutes-scale X] [--seed N] [--threads N]``; prints the checkpoints as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m gsd_core.training.demo_model", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the four files of the base phase"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument(
        "--minutes-scale", type=float, default=1.0, help="multiplies the steps of both phases"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="use 1 where other work shares the processor")
    options = parser.parse_args(arguments)
    plain, scale = Recipe(), options.minutes_scale
    tune_steps, fresh_steps = (
        max(2, round(steps * scale)) for steps in (plain.tune_steps, plain.fresh_steps)
    )
    recipe = Recipe(
        seed=options.seed,
        n_threads=options.threads,
        base_steps=max(2, round(plain.base_steps * scale)),
        tune_steps=tune_steps,
        fresh_steps=fresh_steps,
        tune_keep=tuple(
            sorted({min(round(step * scale), tune_steps + fresh_steps) for step in plain.tune_keep})
        ),
    )
    try:
        entries = run_training(options.data, options.out, recipe)
    except UserError as error:
        _say(f"error: {error.one_line()}")
        return 2
    sys.stdout.write(json.dumps({"out": str(options.out), "checkpoints": entries}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
