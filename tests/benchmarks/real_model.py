"""What ``gsd capture`` costs on SmolLM2, the whole command with everything on.

    python -m tests.benchmarks.real_model problems.jsonl

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

import torch

WAYS = {
    "state": ["--tier", "state"],
    "hidden": ["--tier", "hidden"],
    "span, window 1": ["--window", "1"],
    "span, exact": ["--window", "all"],
}
BATCH_TOKENS = 4096


def run_plain_step(file: Path, model_name: str, limit: int) -> dict[str, float]:
    """CPU seconds of the step alone, and peak bytes."""
    from gsd_core.capture.batches import plan_batches
    from gsd_core.dataset.load import load_dataset
    from gsd_core.dataset.segmenters import make_segmenter
    from gsd_core.dataset.tokenization import tokenize_sample
    from gsd_core.models.loading import load_model
    from gsd_core.types import TokenizedSample

    model, tokenizer = load_model(model_name, device="cpu")
    model.train()
    found = [
        tokenize_sample(each, tokenizer, make_segmenter("steps"), max_tokens=None)
        for each in load_dataset(str(file), limit=limit).samples
    ]
    samples = [each for each in found if isinstance(each, TokenizedSample)]
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


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure every way and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="a file of problems, such as GSM8K's")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--way", help="measure this one here and print JSON")
    flags = parser.parse_args()
    given = (flags.file, flags.model, flags.limit)
    if flags.way:
        torch.set_num_threads(1)
        found = run_plain_step(*given) if flags.way == "plain step" else run_command(*given, WAYS[flags.way])
        sys.stdout.write(f"{json.dumps(found)}\n")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    rows = {}
    for way in ("plain step", *WAYS):
        words = [sys.executable, "-m", "tests.benchmarks.real_model", *sys.argv[1:], "--way", way]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        rows[way] = json.loads(done.stdout.splitlines()[-1])
        sys.stderr.write(f"{way}: {rows[way]}\n")
    plain = rows["plain step"]
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
