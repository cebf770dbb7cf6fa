"""Trains the demo model: a small Llama, first on plain data, then fine-tuned on the demo corpus' reasoning.

build_model       the untrained model
run_phase         one training phase; it can be resumed
compute_heldout_loss, compute_accuracy   mean loss and greedy accuracy on held-out demo questions
run_training      all phases, written to a folder
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
    iter_public_texts,
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


def _make_optimizers(model: LlamaForCausalLM, recipe: Recipe, scale: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices, AdamW for the (tied) embedding table and the norms."""
    table: Any = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not table]
    norms = [p for p in model.parameters() if p.ndim < 2]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_rate * scale, weight_decay=recipe.weight_decay),
        torch.optim.AdamW([table, *norms], lr=recipe.rate * scale, weight_decay=0.0, betas=(0.9, 0.95)),
    ]


def _is_bfloat16_quicker(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 take less time here than in float32: on a GPU always.

    Processors differ by a factor of four in both directions, and their flags do not tell which one; so two products
    of a layer's size are timed.
    """
    if device.type == "cuda":
        return True
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(4096, 256, dtype=dtype), torch.ones(256, 1024, dtype=dtype)
        runs = []
        for _ in range(5):
            begun = time.perf_counter()
            left @ right
            runs.append(time.perf_counter() - begun)
        seconds[dtype] = min(runs)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def run_phase(
    model: LlamaForCausalLM,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    recipe: Recipe,
    state_dir: Path,
    on_step: Callable[[int, float, int], None],
    rate_scale: float = 1.0,
) -> None:
    """Trains ``model`` in place, with a cosine rate; continues from a state in ``state_dir``.

    Matrix products run in bfloat16 (autocast) where the machine has them quicker; weights and their moments stay
    float32. ``rate_scale`` multiplies both rates of the recipe. ``on_step(step, loss, n_tokens)`` runs after each
    optimizer step, counted from 1.
    """
    device, use_bfloat16 = model.device, _is_bfloat16_quicker(model.device)
    optimizers = _make_optimizers(model, recipe, rate_scale)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    done = _load_state(state_dir, model, optimizers)
    if done >= steps:
        return
    model.train()
    for step in range(1, steps + 1):
        ids, labels = next(batches)
        if step <= done:
            continue  # the stream is seeded: skip what an earlier run has used
        scale = min(1.0, step / recipe.warmup) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * scale
        # Padding is on the right and attention is causal, so no mask is needed.
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
            logits = model(input_ids=ids.to(device)).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1).to(device), ignore_index=-100
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        on_step(step, float(loss.detach()), int((labels[:, 1:] >= 0).sum()))
        if step % recipe.save_every == 0 or step == steps:
            _save_state(state_dir, model, optimizers, step)


def _save_state(state_dir: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    tensors = {f"model.{name}": p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    for optimizer in optimizers:
        for name, p in model.named_parameters():
            for key, value in optimizer.state.get(p, {}).items():
                tensors[f"{key}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    tensors["step"] = torch.tensor(step)
    state_dir.mkdir(parents=True, exist_ok=True)
    save_file(tensors, state_dir / "state.part")
    os.replace(state_dir / "state.part", state_dir / "state.safetensors")


def _load_state(state_dir: Path, model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer]) -> int:
    """Puts a saved state into model and optimizers; returns its step, 0 where there is none."""
    path = state_dir / "state.safetensors"
    if not path.is_file():
        return 0
    tensors = load_file(path)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tensors[f"model.{name}"])
            for optimizer in optimizers:
                if any(p is each for group in optimizer.param_groups for each in group["params"]):
                    ends = [key for key in tensors if key.endswith(f".{name}") and key != f"model.{name}"]
                    kept = {key.removesuffix(f".{name}"): tensors[key] for key in ends}
                    optimizer.state[p] = {
                        key: value if key == "step" else value.to(p.device) for key, value in kept.items()
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
        losses = torch.nn.functional.cross_entropy(model(input_ids=row).logits[0, :-1], row[0, 1:], reduction="none")
        total += float(losses[first - 1 :].sum())
        count += len(ids) - first
    model.train()
    return total / count


@torch.no_grad()
def compute_accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, samples: list[Sample], max_new_tokens: int
) -> float:
    """Share of greedy rollouts whose answer is right. Prompts of one length run together."""
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
    right = [("Answer:" in text) and check_answer(sample, text) for sample, text in zip(samples, texts, strict=True)]
    return float(np.mean(right))


class _Log:
    """Loss curve: appended to a CSV file and printed at intervals."""

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
        _say(f"{self.phase} {step}/{self.steps} loss {np.mean(self.recent):.3f} {speed:.0f} loss tokens/s")
        self.recent = []


def run_training(data_dir: Path, out_dir: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """All phases. Works in ``<out_dir>.part``, from which a killed run continues, and renames it at the end.

    Returns the entries of ``checkpoints.json``.
    """
    if out_dir.exists():
        raise UserError("the output folder exists", str(out_dir), "remove it or give another --out")
    work = out_dir.with_name(out_dir.name + ".part")
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.n_threads)
    train = generate_corpus(recipe.tune_samples, seed=recipe.seed)
    heldout = generate_corpus(recipe.heldout_samples, seed=recipe.seed, split="heldout")
    plain = [
        sample
        for seed in range(recipe.seed + 100, recipe.seed + 100 + recipe.plain_sets)
        for sample in generate_corpus(recipe.tune_samples, seed, plain_share=recipe.plain_share, mixed_share=1.0)
    ]
    public_texts = list(iter_public_texts(data_dir))
    base_texts = list(iter_base_texts(data_dir, recipe))
    if (work / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(work))
    else:
        told_texts = [text for text, _ in iter_tune_texts([*train, *plain[: len(train)]])]
        tokenizer = train_tokenizer(base_texts + told_texts, recipe)
        tokenizer.save_pretrained(work)
    model = build_model(recipe, tokenizer)
    _place(model)
    pad, log_path = int(tokenizer.pad_token_id), work / "training_log.csv"
    public = [(text, 0) for text in public_texts]
    parts = (
        ("base", [(text, 0) for text in base_texts], recipe.base_steps, recipe.base_batch_tokens, 1.0),
        ("plain", [*iter_tune_texts(plain), *public], recipe.plain_steps, recipe.plain_batch_tokens, 1.0),
        (
            "told",
            [*iter_tune_texts(train), *public[:: max(1, 4 * len(public) // max(1, len(train)))]],
            recipe.told_steps,
            recipe.told_batch_tokens,
            recipe.told_rate_scale,
        ),
    )
    done = 0  # steps of the fine-tune's parts before this one
    for number, (part, texts, steps, batch_tokens, rate_scale) in enumerate(parts):
        examples, n_left = encode(tokenizer, texts, recipe.context)
        _say(f"{part}: {len(examples)} texts, {sum(len(i) for i, _ in examples)} tokens, {n_left} left out")
        batches = iter_batches(examples, batch_tokens, recipe.seed + number, pad)
        if number == 1:
            _save_step(model, work, 0)
        log = _Log(log_path, part, steps)

        def on_step(
            step: int,
            loss: float,
            n_tokens: int,
            log: _Log = log,
            before: int | None = done if number else None,
        ) -> None:
            log(step, loss, n_tokens)
            if before is not None and before + step in recipe.tune_keep:
                _save_step(model, work, before + step)

        run_phase(model, batches, steps, recipe, work / f"state-{part}", on_step, rate_scale)
        done += steps if number else 0
    entries = [_evaluate_step(work, step, tokenizer, train, heldout, recipe) for step in recipe.tune_keep]
    (work / "checkpoints.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    for part, *_ in parts:
        shutil.rmtree(work / f"state-{part}")
    os.replace(work, out_dir)
    return entries


def _save_step(model: LlamaForCausalLM, work: Path, step: int) -> None:
    """Save weights as bfloat16, under a partial name first.

    As many bytes as float16 on the disk, but a third fewer once a packer has been over them: its exponents repeat.
    """
    folder = work / f"step-{step:05d}"
    if folder.exists():
        return
    part = folder.with_name(folder.name + ".part")
    short = LlamaForCausalLM(model.config)
    short.load_state_dict(model.state_dict())
    short.bfloat16().save_pretrained(part)
    os.replace(part, folder)


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
    accuracy = compute_accuracy(model, tokenizer, heldout, recipe.max_new_tokens)
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
    parser = argparse.ArgumentParser(prog="python -m gsd_core.training.demo_model", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the four files of the base phase")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--minutes-scale", type=float, default=1.0, help="multiplies the steps of all phases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="use 1 where other work shares the processor")
    options = parser.parse_args(arguments)
    whole, scale = Recipe(), options.minutes_scale
    plain_steps, told_steps = (max(2, round(steps * scale)) for steps in (whole.plain_steps, whole.told_steps))
    recipe = Recipe(
        seed=options.seed,
        n_threads=options.threads,
        base_steps=max(2, round(whole.base_steps * scale)),
        plain_steps=plain_steps,
        told_steps=told_steps,
        tune_keep=tuple(sorted({min(round(step * scale), plain_steps + told_steps) for step in whole.tune_keep})),
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
