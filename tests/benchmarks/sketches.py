"""How many neighbours a sketch keeps, and its cost: random and calibrated ones beside hardly sketched gradients.

    python -m tests.benchmarks.sketches RUN [--workspace DIR] [--checkpoint NAME] [--samples 150] [--seeds 2]
        [--widths 1024 2048 4096] [--json FILE]

The yardstick is a random two-sided projection of rank 128 for each module, not folded: its own error is a quarter of
that of rank 32. Samples that a calibration looks at are not compared.

Overlap is the share of the ten nearest spans of other samples (centred cosine) that stay; rms and correlation are over
all pairs of spans of different samples. CPU seconds are those of the capture; with a calibration its own come before
them. Everything runs in one process, one after the other. It needs the run's model, and 7 MB of memory a span on the
disk for SmolLM2.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.capture.calibration import UNFOLDED, calibrate, choose_samples, take_fine
from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.sketch import FINE_RANK
from gsd_core.console.progress import Progress
from gsd_core.stages.run_model import load_run_model, read_tokenized
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.store import Workspace
from gsd_core.types import TokenizedSample

SCALE = 256.0  # unit vectors of millions of numbers would be subnormal in half precision
BLOCK = 2**16  # columns that are multiplied at a time
BATCH = 8  # samples


def capture(capturer: Capturer, samples: list[TokenizedSample], out: np.ndarray) -> float:
    """Unit vectors times ``SCALE`` of all spans into `out` (n, P); returns the CPU seconds."""
    started, row = time.process_time(), 0
    for first in range(0, len(samples), BATCH):
        for gradients in capturer.compute_gradients(samples[first : first + BATCH], 1).gradients:
            norms = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-30)
            out[row : row + len(gradients)] = gradients / norms * SCALE
            row += len(gradients)
    return time.process_time() - started


def compute_centred_cosines(rows: np.ndarray) -> np.ndarray:
    """(n, n) centred cosines of rows of equal length (n, P), which may lie on a disk."""
    gram = np.zeros((len(rows), len(rows)))
    for start in range(0, rows.shape[1], BLOCK):
        part = np.asarray(rows[:, start : start + BLOCK], np.float32) / SCALE
        gram += part @ part.T
    around = np.eye(len(gram)) - 1 / len(gram)
    centred = around @ gram @ around
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
    used = {each.id for samples in looked_at.values() for each in samples}
    order = np.random.default_rng(1).permutation(len(everything))
    samples = [everything[at] for at in order if everything[at].id not in used][: options.samples]
    owners = np.repeat(np.arange(len(samples)), [len(each.spans) for each in samples])
    with Progress() as progress:
        model = load_run_model(run, checkpoint, progress).model
    config = CaptureConfig(window=1, all_token_losses=False, audit_share=0.0)
    with tempfile.TemporaryDirectory() as folder:
        finest = Capturer(model, replace(config, sketch_rank=FINE_RANK, sketch_width=UNFOLDED))
        path = Path(folder) / "fine.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float16, (len(owners), finest.width))
        capture(finest, samples, rows)
        expected = compute_centred_cosines(rows)
    table: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for width in options.widths:
            for kind in ("random", "calibrated"):
                own = replace(config, seed=seed, sketch_width=width)
                started = time.process_time()
                if kind == "calibrated":
                    fine = take_fine(model, own, looked_at[seed])
                    assert fine is not None
                    own = replace(own, calibration=calibrate([fine], own))
                before = time.process_time() - started
                capturer = Capturer(model, own)
                found = np.zeros((len(owners), capturer.width), np.float32)
                seconds = capture(capturer, samples, found)
                table.append({"sketch": kind, "seed": seed, "width": capturer.width})
                table[-1] |= compare(compute_centred_cosines(found), expected, owners)
                table[-1] |= {"calibration CPU s": before, "capture CPU s": seconds}
                cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in table[-1].values())
                sys.stdout.write(" | ".join(cells) + "\n")
                sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
