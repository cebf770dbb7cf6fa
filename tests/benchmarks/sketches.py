"""Which sketch keeps the neighbours: candidates of equal size beside gradients that are (almost) not sketched.

    python -m tests.benchmarks.sketches RUN [--workspace DIR] [--checkpoint NAME] [--samples 150] [--json FILE]

The yardstick is a two-sided projection of rank 128 for each module, not folded: its own error is a quarter of that of
rank 32. Every candidate is a further projection of it, so all see the same spans.

* **random r**: orthogonal random sides, as ``gsd capture`` draws them.
* **eigen r**: the r leading eigenvectors of the modules' gradients on both sides, from the calibration samples.
* **fold now**: layers folded by random signs, half of the numbers for the output head.
* **fold by energy**: each layer gets numbers in proportion to its share of the squared norm.
* **keep half**: half of the numbers are the coordinates of largest variance over the calibration samples, as they are;
  the rest is folded by energy.

Overlap is the share of the ten nearest spans of other samples (centred cosine) that stay; rms and correlation are over
all pairs of spans of different samples. It needs the run's model, and 7 MB of memory a span on the disk.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.capture.capture import CaptureConfig, Capturer
from gsd_core.capture.modules import OUTPUT_HEAD
from gsd_core.console.progress import Progress
from gsd_core.stages.run_model import load_run_model, read_tokenized
from gsd_core.stages.run_reading import get_checkpoint
from gsd_core.store import Workspace

FINE = 128  # rank of the yardstick
WIDTHS = (1024, 2048)
N_STRIPES = 4
SCALE = 256.0  # unit vectors of millions of numbers would be subnormal in half precision


def capture_finely(run: Any, checkpoint: str, samples: list[str], path: Path) -> tuple[np.ndarray, np.ndarray, list]:
    """(n, W) half precision of unit length times ``SCALE``, samples (n,), and blocks (layer, sizes of its modules)."""
    with Progress() as progress:
        model = load_run_model(run, checkpoint, progress).model
        config = CaptureConfig(window=1, sketch_rank=FINE, sketch_width=10**9, all_token_losses=False, audit_share=0.0)
        capturer = Capturer(model, config)
        read = read_tokenized(run, checkpoint, samples)
        n = sum(len(each.spans) for each in read)
        found = np.lib.format.open_memmap(path, "w+", np.float16, (n, capturer.width))
        owners, row = [], 0
        with progress.stage("gradients", len(read), "samples") as stage:
            for number, each in enumerate(read):
                (gradients,) = capturer.compute_gradients([each], 1).gradients
                norms = np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-30)
                found[row : row + len(gradients)] = gradients / norms * SCALE
                row += len(gradients)
                owners += [number] * len(gradients)
                stage.advance()
    assert capturer.selection is not None
    blocks: dict[str, list[tuple[int, int]]] = {}
    for captured, module in zip(capturer.selection.captured, capturer.sketch.modules, strict=True):
        blocks.setdefault(captured.layer, []).append((module.p, module.q))
    return found, np.array(owners), list(blocks.items())


def iter_modules(found: np.ndarray, blocks: list) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Layer by layer: its modules' gradients (n, p, q) float32."""
    start = 0
    for layer, sizes in blocks:
        parts = []
        for p, q in sizes:
            part = np.asarray(found[:, start : start + p * q], dtype=np.float32) / SCALE
            parts.append(part.reshape(-1, p, q))
            start += p * q
        yield layer, parts


def project(
    gradients: np.ndarray, rank: int, is_known: np.ndarray, is_eigen: bool, random: np.random.Generator
) -> np.ndarray:
    """(n, r · r) of a module's gradients (n, p, q), on random or on calibrated sides."""
    sides = []
    for axis in (1, 2):
        size = gradients.shape[axis]
        if is_eigen:
            rows = np.moveaxis(gradients[is_known], axis, 0).reshape(size, -1)
            sides.append(np.linalg.eigh(rows @ rows.T)[1][:, ::-1][:, :rank])
        else:
            drawn, _ = np.linalg.qr(random.standard_normal((size, min(rank, size))))
            sides.append(drawn * np.sqrt(size / min(rank, size)))
    left, right = (side.astype(np.float32) for side in sides)
    return np.ascontiguousarray((left.T @ gradients @ right).reshape(len(gradients), -1))


def fold(rows: np.ndarray, width: int, random: np.random.Generator) -> np.ndarray:
    """(n, width) by random signs, each number in four stripes as in a capture."""
    out = np.zeros((width, len(rows)), np.float32)
    for _ in range(N_STRIPES):
        signs = random.choice([-1.0, 1.0], rows.shape[1]).astype(np.float32) / np.sqrt(N_STRIPES)
        np.add.at(out, random.integers(0, width, rows.shape[1]), (rows * signs).T)
    return out.T


def share_out(total: int, weights: np.ndarray) -> list[int]:
    """Numbers of each layer in proportion to its weight, at least four."""
    return [max(4, round(total * float(weight))) for weight in weights / weights.sum()]


def centre(gram: np.ndarray) -> np.ndarray:
    """(n, n) centred cosines of an inner-product matrix."""
    norms = np.sqrt(np.diag(gram))
    cosines = gram / norms[:, None] / norms[None, :]
    around = np.eye(len(gram)) - 1 / len(gram)
    cosines = around @ cosines @ around
    norms = np.sqrt(np.diag(cosines))
    return np.asarray(cosines / norms[:, None] / norms[None, :])


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


def try_folds(
    layers: list[str], rows: list[np.ndarray], is_known: np.ndarray, width: int, random: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (n, about `width`)) of each way to fold one way of projecting."""
    n_layers = len(layers) - 1
    now = [width // 2 if layer == OUTPUT_HEAD else (width - width // 2) // n_layers for layer in layers]
    yield "fold now", np.concatenate([fold(*each, random) for each in zip(rows, now, strict=True)], axis=1)
    energy = np.array([float(np.square(each[is_known]).sum()) for each in rows])
    sizes = share_out(width, energy)
    yield "fold by energy", np.concatenate([fold(*each, random) for each in zip(rows, sizes, strict=True)], axis=1)
    variances = [each[is_known].var(axis=0) for each in rows]
    level = np.sort(np.concatenate(variances))[-width // 2]
    kept = [each >= level for each in variances]
    rest = np.array([float(np.square(each[is_known][:, ~k]).sum()) for each, k in zip(rows, kept, strict=True)])
    parts = []
    for each, k, size in zip(rows, kept, share_out(width - width // 2, rest), strict=True):
        parts += [each[:, k], fold(each[:, ~k], size, random)]
    yield "keep half", np.concatenate(parts, axis=1)


def main() -> None:
    """Print the table; with ``--json`` also write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--workspace", default="gsd-workspace")
    parser.add_argument("--checkpoint")
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--calibration", type=int, default=12, help="samples that the calibrated candidates see")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Workspace.open(options.workspace).open_run(options.run)
    checkpoint = get_checkpoint(run, options.checkpoint)
    random = np.random.default_rng(options.seed)
    names = sorted(set(run.read_spans(checkpoint, columns=["sample"])["sample"]))
    names = [names[at] for at in random.permutation(len(names))[: options.samples]]
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        found, owners, blocks = capture_finely(run, checkpoint, names, Path(folder) / "fine.npy")
        is_known = owners < options.calibration
        ways: dict[str, list[np.ndarray]] = {"random 32": [], "eigen 32": [], "eigen 48": []}
        gram = np.zeros((len(found), len(found)))
        for _, modules in iter_modules(found, blocks):
            gram += sum(each.reshape(len(each), -1) @ each.reshape(len(each), -1).T for each in modules)
            for way, rows in ways.items():
                kind, rank = way.split()
                done = [project(each, int(rank), is_known, kind == "eigen", random) for each in modules]
                rows.append(np.concatenate(done, axis=1))
        expected, layers = centre(gram), [layer for layer, _ in blocks]
        for way, rows in ways.items():
            table.append({"sides": way, "fold": "none", "width": sum(each.shape[1] for each in rows)})
            table[-1] |= compare(centre(sum(each @ each.T for each in rows)), expected, owners)
            for width in WIDTHS:
                for name, vectors in try_folds(layers, rows, is_known, width, random):
                    numbers = compare(centre(vectors @ vectors.T), expected, owners)
                    table.append({"sides": way, "fold": name, "width": vectors.shape[1], **numbers})
    for row in table:
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        sys.stdout.write(" | ".join(cells) + "\n")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
