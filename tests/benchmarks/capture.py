"""Cost of capture beside a plain fine-tuning step: CPU time, wall time and peak memory, as ratios in one run.

Run ``python -m tests.benchmarks.capture``. Every way works on the same model and samples in a process of its own: Llama
shape, width 256, 6 layers, 64 samples × 256 tokens, 8 spans each, batches of 8 (the set-up of the peers' table).
A plain step is forward and backward with weight gradients. Memory is the growth of the process's peak over what it
held with the model loaded; time is the best of the repeats, in seconds of CPU and of the wall clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

WAYS = ("plain", "hidden", "position", "window 0", "window 1", "window 2", "exact")
BATCH = 8


def run_way(way: str, n_samples: int, n_tokens: int, n_spans: int, repeats: int) -> dict[str, float]:
    """Do one way's work in this process; seconds of CPU and wall, and peak growth in bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from gsd_core.capture.capture import CaptureConfig, Capturer
    from gsd_core.types import TokenizedSample, TokenSpan

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=2048,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=n_tokens,
        )
    )
    rng = np.random.default_rng(0)
    prompt = n_tokens // 5
    edges = np.linspace(prompt, n_tokens, n_spans + 1).astype(int)
    zeros = np.zeros(n_tokens, dtype=np.int32)
    spans = tuple(TokenSpan(k, int(edges[k]), int(edges[k + 1]), 0, 0, "") for k in range(n_spans))
    samples = [
        TokenizedSample(
            str(i), "", rng.integers(3, 2048, n_tokens).astype(np.int32), zeros, zeros, spans, prompt, 0
        )
        for i in range(n_samples)
    ]
    batches = [samples[i : i + BATCH] for i in range(0, n_samples, BATCH)]

    def plain_step(batch: list[Any]) -> None:
        ids = torch.from_numpy(np.stack([s.token_ids for s in batch]).astype("int64"))
        labels = ids.clone()
        labels[:, :prompt] = -100
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        model.zero_grad(set_to_none=True)

    if way == "plain":
        model.train()
        work = plain_step
    else:
        window = {"window 0": 0, "window 1": 1, "window 2": 2}.get(way)
        tier = way if way in ("hidden", "position") else "span"
        config = CaptureConfig(
            tier=tier,
            window=window,
            sketch_width=1536,
            sketch_rank=16,
            audit_share=0.0,
            all_token_losses=False,
        )
        capturer = Capturer(model, config)

        def work(batch: list[Any]) -> None:
            capturer.capture(batch)

    held = _peak_bytes()
    work(batches[0])
    times = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        for batch in batches:
            work(batch)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = min(times)
    return {"cpu_s": cpu_s, "wall_s": wall_s, "peak_growth_bytes": _peak_bytes() - held}


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run every way and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--spans", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    sizes = (flags.samples, flags.tokens, flags.spans, flags.repeats)
    if flags.one:
        print(json.dumps(run_way(flags.one, *sizes)))  # noqa: T201 - the parent reads it
        return
    print(f"{flags.samples} samples x {flags.tokens} tokens, {flags.spans} spans")  # noqa: T201
    print(f"{'way':10} {'CPU s':>8} {'ratio':>6} {'wall s':>8} {'ratio':>6} {'MiB':>7} {'ratio':>6}")  # noqa: T201
    base: dict[str, float] = {}
    for way in dict.fromkeys(["plain", *flags.ways]):
        words = [sys.executable, "-m", "tests.benchmarks.capture", "--one", way]
        for name in ("samples", "tokens", "spans", "repeats"):
            words += [f"--{name}", str(getattr(flags, name))]
        answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found = json.loads(answer.splitlines()[-1])
        base = base or found
        ratios = {key: found[key] / base[key] for key in found}
        print(  # noqa: T201
            f"{way:10} {found['cpu_s']:8.2f} {ratios['cpu_s']:6.2f} {found['wall_s']:8.2f} {ratios['wall_s']:6.2f} "
            f"{found['peak_growth_bytes'] / 2**20:7.0f} {ratios['peak_growth_bytes']:6.2f}"
        )


if __name__ == "__main__":
    main()
