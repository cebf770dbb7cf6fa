"""What ``gsd capture`` costs on SmolLM2, the whole command with everything on.

    python -m tests.benchmarks.real_model problems.jsonl [--bergson]
    python -m tests.benchmarks.real_model problems.jsonl --large --limit 16

``--bergson`` adds Bergson's rows cut at the span's end (``real_bergson``); ``--large`` takes a random model of 494
million parameters and 151,936 words in place of SmolLM2, and only the default way: is its estimate right?

The table is divided by a plain fine-tuning step on the same samples: forward and backward with weight gradients, no
optimizer, without start-up. Every row runs in a process of its own, one after the other, on one thread. CPU time is
that of the whole process and its children; memory is the most it ever held.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from gsd_core.capture.batches import plan_batches
from gsd_core.dataset.load import load_dataset
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.models.loading import load_model
from gsd_core.types import TokenizedSample
from tests.benchmarks.race_peers import ensure_bergson

WAYS = {
    "state": ["--tier", "state"],
    "hidden": ["--tier", "hidden"],
    "span, window 1": ["--window", "1"],
    "span, exact": ["--window", "all"],
}
PLAIN, BERGSON, DEFAULT = "plain step", "Bergson, cut rows", "default"
BATCH_TOKENS = 4096


def read_samples(file: Path, tokenizer: Any, limit: int) -> list[TokenizedSample]:
    """The first samples of the file as the model reads them."""
    found = [
        tokenize_sample(each, tokenizer, make_segmenter("steps"), max_tokens=None)
        for each in load_dataset(str(file), limit=limit).samples
    ]
    return [each for each in found if isinstance(each, TokenizedSample)]


def run_bergson(file: Path, model_name: str, limit: int) -> dict[str, float]:
    """The same numbers of Bergson in its own environment, from the rows that our spans make."""
    model, tokenizer = load_model(model_name, device="cpu")
    rows: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
    for sample in read_samples(file, tokenizer, limit):
        ids = sample.token_ids.tolist()
        for span in sample.spans:
            rows["input_ids"].append(ids[: span.end])
            rows["labels"].append([-100] * span.start + ids[span.start : span.end])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        path.write_text(json.dumps(rows))
        words = [str(ensure_bergson()), "-m", "tests.benchmarks.real_bergson", str(model.name_or_path), str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_large_model(folder: Path) -> None:
    """A random model of Qwen2-0.5B's shape with SmolLM2's tokenizer; equal bytes each time."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    load_model("smollm2", device="cpu")[1].save_pretrained(folder)


def run_plain_step(file: Path, model_name: str, limit: int) -> dict[str, float]:
    """CPU seconds of the step alone, and peak bytes."""
    model, tokenizer = load_model(model_name, device="cpu")
    model.train()
    samples = read_samples(file, tokenizer, limit)
    before = _cpu(resource.RUSAGE_SELF)
    for members in plan_batches(samples, BATCH_TOKENS):
        batch = [samples[i] for i in members]
        width = max(len(each.token_ids) for each in batch)
        ids, labels = torch.zeros(len(batch), width, dtype=torch.int64), torch.full((len(batch), width), -100)
        mask = torch.zeros_like(ids)
        for row, sample in enumerate(batch):
            n_tokens, prompt = len(sample.token_ids), sample.prompt_tokens
            tokens = torch.from_numpy(sample.token_ids.astype("int64"))
            ids[row, :n_tokens], mask[row, :n_tokens], labels[row, prompt:n_tokens] = tokens, 1, tokens[prompt:]
        model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss.backward()
        model.zero_grad(set_to_none=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu_s": _cpu(resource.RUSAGE_SELF) - before, "peak": peak, "estimate": 0}


def run_command(file: Path, model_name: str, limit: int, flags: list[str]) -> dict[str, float]:
    """CPU seconds of the whole command, peak bytes, and the command's own estimate of them."""
    with tempfile.TemporaryDirectory() as workspace:
        words = [sys.executable, "-m", "gsd_core", "--workspace", workspace, "--json", "capture", "--run", "real"]
        words += ["--dataset", str(file), "--model", model_name, "--limit", str(limit), *flags]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    estimate = json.loads(done.stdout)["estimated_memory_bytes"]
    return {"cpu_s": _cpu(resource.RUSAGE_CHILDREN), "peak": peak, "estimate": estimate}


def _run_way(way: str, file: Path, model_name: str, limit: int) -> dict[str, float]:
    """Measure a way in this process and its children."""
    if way == PLAIN:
        return run_plain_step(file, model_name, limit)
    if way == BERGSON:
        return run_bergson(file, model_name, limit)
    return run_command(file, model_name, limit, WAYS.get(way, []))


def _start_way(way: str, file: Path, model_name: str, limit: int) -> dict[str, float]:
    """Measure a way in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.real_model", str(file), "--model", model_name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    words += ["--limit", str(limit), "--way", way]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    found = dict(json.loads(done.stdout.splitlines()[-1]))
    sys.stderr.write(f"{way}: {found}\n")
    return found


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure every way and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="a file of problems, such as GSM8K's")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--bergson", action="store_true", help="add Bergson, installed on first use")
    parser.add_argument("--large", action="store_true", help="a random model with a vocabulary of 151,936")
    parser.add_argument("--way", help="measure this one here and print JSON")
    flags = parser.parse_args()
    given = (flags.file, flags.model, flags.limit)
    if flags.way:
        torch.set_num_threads(1)
        sys.stdout.write(f"{json.dumps(_run_way(flags.way, *given))}\n")
        return
    ways = [PLAIN, *WAYS, *([BERGSON] if flags.bergson else [])]
    with tempfile.TemporaryDirectory() as folder:
        if flags.large:
            write_large_model(Path(folder))
            flags.model, ways = folder, [PLAIN, DEFAULT]
        rows = {way: _start_way(way, flags.file, flags.model, flags.limit) for way in ways}
    plain = rows[PLAIN]
    table = ["| way | CPU s | CPU / plain step | peak GiB | / plain | estimate GiB |", "| --- " * 6 + "|"]
    for way, row in rows.items():
        estimate = f"{row['estimate'] / 2**30:.1f}" if row["estimate"] else "–"
        table.append(
            f"| {way} | {row['cpu_s']:.0f} | **{row['cpu_s'] / plain['cpu_s']:.2f}** | {row['peak'] / 2**30:.1f} "
            f"| {row['peak'] / plain['peak']:.2f} | {estimate} |"
        )
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
