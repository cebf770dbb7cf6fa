"""Did all contestants do the same work? Their vectors, compared.

compute_checks   the comparisons, as numbers
export_sides     our projection's two sides under Bergson's names

Ours against the autograd loop goes through the whole sketch. Bergson gets our two projection sides in place of its own;
its (p, q) block of every module then goes through our fold, so that all numbers can be compared one by one. Dense
gradients, without any projection, are compared by the cosines between spans on a model small enough for that.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.race_turns import SCRATCH, Entry, Worker
from tests.benchmarks.race_work import (
    BERGSON_WAYS,
    TIERS,
    Settings,
    Size,
    Work,
    load_model,
    read_work,
    write_work,
)

DENSE = 10**7  # a rank and width that no module of the small model reaches: nothing is projected or folded


def compute_checks(with_bergson: bool, size: Size | None = None) -> dict[str, float]:
    """By comparison: the largest relative error of a span's vector, or the largest difference of two cosines."""
    import torch

    from tests.benchmarks.race_ways import AutogradLoop, Capture, make_capturer, make_samples

    size = size or Size(samples=8, uneven=True)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        folder = Path(name)
        write_work(folder, size)
        work = read_work(folder, Settings())
        exact = Capture(work, TIERS["exact"]).get_vectors()["vectors"]
        checks = {"exact, autograd loop": _worst_error(exact, AutogradLoop(work).get_vectors()["vectors"])}
        if with_bergson:
            capturer = make_capturer(load_model(work), TIERS["exact"], work.settings.rank)
            assert capturer.sketch is not None
            assert capturer.selection is not None
            names = [captured.name.removeprefix("model.") for captured in capturer.selection.captured]
            sides = {}
            for module, short in zip(capturer.sketch.modules, names, strict=True):
                assert module.left is not None
                assert module.right is not None
                sides |= {f"{short}/left": module.left.numpy(), f"{short}/right": module.right.numpy()}
            np.savez(folder / "projection.npz", **sides)
            for way in BERGSON_WAYS:
                found = _ask_bergson(way, work)
                blocks = [
                    torch.from_numpy(found[short]).view(-1, module.p, module.q)
                    for module, short in zip(capturer.sketch.modules, names, strict=True)
                ]
                checks[f"exact, {way}"] = _worst_error(exact, capturer.sketch.fold(blocks).numpy())
    if with_bergson:
        with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
            write_work(Path(name), Size(4, 48, 4, uneven=True), width=32, layers=2)
            work = read_work(Path(name), Settings())
            dense = make_capturer(load_model(work), TIERS["exact"], DENSE, DENSE)
            ours = np.concatenate(dense.compute_gradients(make_samples(work)).gradients)
            for way in BERGSON_WAYS:
                theirs = np.concatenate(list(_ask_bergson(way, work).values()), axis=1)
                gap = np.abs(_cosines(ours) - _cosines(theirs)).max()
                checks[f"cosines of dense gradients, {way}"] = float(gap)
    return checks


def _ask_bergson(way: str, work: Work) -> dict[str, np.ndarray]:
    worker = Worker(Entry(way, way, work.settings), work.folder)
    try:
        worker.ask(f"save {work.folder / 'bergson.npz'}")
    finally:
        worker.close()
    with np.load(work.folder / "bergson.npz") as found:
        return dict(found)


def _worst_error(found: np.ndarray, expected: np.ndarray) -> float:
    gaps = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(gaps.max())


def _cosines(vectors: np.ndarray) -> np.ndarray:
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return units @ units.T
