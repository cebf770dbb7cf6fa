"""How many neighbours a sketch keeps, and its cost: random and calibrated ones beside whole gradients.

    python -m tests.benchmarks.sketches RUN [--workspace DIR] [--checkpoint NAME] [--samples 150] [--seeds 2]
        [--widths 1024 2048 4096] [--json FILE]

The yardstick is the whole gradient of every module, folded by random signs into 262,144 numbers, whose own error of a
cosine is 0.002. It takes 650 MB of memory a span for SmolLM2, so samples of more than eight spans are left out. Samples
that a calibration looks at are not compared.

Overlap is the share of the ten nearest spans of other samples (centred cosine) that stay; rms and correlation are over
all pairs of spans of different samples. CPU seconds are those of the capture; with a calibration its own come before
them. Everything runs in one process, one after the other. It needs the run's model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gsd_core.capture.calibration import UNFOLDED, calibrate, choose_samples, find_sides, sum_sides, take_numbers
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.sketch import seeded_generator
from gsd_core.console.progress import Progress
from gsd_core.stages.run_model import load_run_model, read_tokenized
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.store import Workspace
from gsd_core.types import TokenizedSample

BATCH = 8  # samples
YARDSTICK = 2**18
MOST_SPANS = 8  # of a sample


def capture(capturer: Capturer, samples: list[TokenizedSample], batch: int = BATCH) -> tuple[np.ndarray, float]:
    """Unit vectors (n, P) of all spans, and the CPU seconds."""
    started = time.process_time()
    rows = []
    for first in range(0, len(samples), batch):
        rows += capturer.compute_gradients(samples[first : first + batch], 1).gradients
    found = np.concatenate(rows)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30), time.process_time() - started


def make_whole(model: Any, config: CaptureConfig) -> Capturer:
    """A capturer of whole gradients, folded by random signs into ``YARDSTICK`` numbers module by module."""
    capturer = Capturer(model, replace(config, sketch_rank=2**30, sketch_width=UNFOLDED))
    sketch = capturer.sketch
    signs = []
    for module in sketch.modules:
        n = -(-module.p * module.q // YARDSTICK) * YARDSTICK
        drawn = torch.randint(0, 2, (n,), generator=seeded_generator(7, module.name), dtype=torch.int8)
        signs.append(drawn * 2 - 1)

    def fold(gradients: list[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros(len(gradients[0]), YARDSTICK)
        for sign, gradient in zip(signs, gradients, strict=True):
            for row, each in enumerate(gradient.flatten(1)):
                padded = torch.nn.functional.pad(each, (0, len(sign) - len(each)))
                total[row] += (padded * sign).view(-1, YARDSTICK).sum(0)
        return total

    sketch.fold, sketch.width = fold, YARDSTICK
    return capturer


def compute_centred_cosines(rows: np.ndarray) -> np.ndarray:
    """(n, n) centred cosines of rows of equal length (n, P)."""
    around = np.eye(len(rows)) - 1 / len(rows)
    centred = around @ (rows @ rows.T).astype(np.float64) @ around
    norms = np.sqrt(np.maximum(np.diag(centred), 1e-30))
    return np.asarray(centred / norms[:, None] / norms)


def compare(found: np.ndarray, expected: np.ndarray, owners: np.ndarray) -> dict[str, float]:
    """Overlap of the ten nearest, root mean square error and correlation of centred cosines."""
    other = owners[:, None] != owners[None, :]
    tops = [np.argsort(-np.where(other, each, -9.0), axis=1)[:, :10] for each in (found, expected)]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*tops, strict=True)]
    pairs = np.triu(other, 1)
    return {
        "overlap": float(np.mean(shared)),
        "rms": float(np.sqrt(np.mean((found - expected)[pairs] ** 2))),
        "correlation": float(np.corrcoef(found[pairs], expected[pairs])[0, 1]),
    }


def main() -> None:
    """Print the table; with ``--json`` also write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--workspace", default="gsd-workspace")
    parser.add_argument("--checkpoint")
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Workspace.open(options.workspace).open_run(options.run)
    checkpoint = get_checkpoint(run, options.checkpoint)
    names = sorted(set(run.read_spans(checkpoint, columns=["sample"])["sample"]))
    everything = read_tokenized(run, checkpoint, names)
    looked_at = {seed: choose_samples(everything, seed)[0] for seed in range(options.seeds)}
    used = {each.id for parts in looked_at.values() for part in parts for each in part}
    order = np.random.default_rng(1).permutation(len(everything))
    usable = [everything[at] for at in order if everything[at].id not in used]
    samples = [each for each in usable if 0 < len(each.spans) <= MOST_SPANS][: options.samples]
    owners = np.repeat(np.arange(len(samples)), [len(each.spans) for each in samples])
    with Progress() as progress:
        model = load_run_model(run, checkpoint, progress).model
    config = CaptureConfig(window=1, all_token_losses=False, audit_share=0.0)
    expected = compute_centred_cosines(capture(make_whole(model, config), samples, batch=1)[0])
    table: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for width in options.widths:
            for kind in ("random", "calibrated"):
                own = replace(config, seed=seed, sketch_width=width)
                started = time.process_time()
                if kind == "calibrated":
                    first, second = looked_at[seed]
                    sums = sum_sides(model, own, first)
                    assert sums is not None
                    sides = find_sides([sums])
                    own = replace(own, calibration=calibrate(sides, [take_numbers(model, own, sides, second)], own))
                before = time.process_time() - started
                found, seconds = capture(Capturer(model, own), samples)
                table.append({"sketch": kind, "seed": seed, "width": found.shape[1]})
                table[-1] |= compare(compute_centred_cosines(found), expected, owners)
                table[-1] |= {"calibration CPU s": before, "capture CPU s": seconds}
                cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in table[-1].values())
                sys.stdout.write(" | ".join(cells) + "\n")
                sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
