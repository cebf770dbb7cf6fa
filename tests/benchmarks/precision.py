"""What half precision and coarser sketches do to directions: cosines beside single precision and dense gradients.

    python -m tests.benchmarks.precision [--samples 48] [--checkpoints step-01000 step-03600] [--json FILE]

The bundled demo model reads its generated corpus. *Direction*: cosine of a span's sketched gradient to the one that a
float32 model gives, same sketch. *Pairs*: root mean square difference of the centred cosines of all pairs of spans of
different samples. *Neighbours*: share of the ten nearest spans of other samples that stay. The last rows compare
sketches with dense gradients of a few samples. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from gsd_core.capture.capture import CaptureConfig, Capturer, iter_captured
from gsd_core.capture.exact import compute_dense
from gsd_core.comparison.centring import compute_directions
from gsd_core.dataset.demo import generate_corpus
from gsd_core.dataset.segmenters import make_segmenter
from gsd_core.dataset.tokenization import tokenize_sample
from gsd_core.models.loading import load_model
from gsd_core.models.sources import resolve_checkpoints
from gsd_core.types import SampleRecords, TokenizedSample

N_DENSE, N_NEAREST = 12, 10
WAYS: dict[str, dict[str, Any]] = {
    "exact": {"window": None},
    "window 1": {"window": 1},
    "position": {"tier": "position"},
    "hidden": {"tier": "hidden"},
}


def tokenize(n: int, tokenizer: Any) -> list[TokenizedSample]:
    """The first `n` samples of the generated corpus as the model reads them."""
    segmenter = make_segmenter("steps")
    found = [tokenize_sample(s, tokenizer, segmenter, max_tokens=1024) for s in generate_corpus(n, seed=0)[:n]]
    return [each for each in found if isinstance(each, TokenizedSample) and each.spans]


def capture(model: Any, samples: Sequence[TokenizedSample], **choices: Any) -> tuple[np.ndarray, np.ndarray]:
    """Directions (n, P) float32 in the samples' order and norms (n,)."""
    capturer = Capturer(model, CaptureConfig(audit_share=0.0, all_token_losses=False, **choices))
    records = {
        each.tokenized.id: each.records
        for _, results in iter_captured(capturer, samples)
        for each in results
        if isinstance(each, SampleRecords)
    }
    flat = [record for sample in samples for record in records[sample.id]]
    return np.stack([r.direction for r in flat]).astype(np.float32), np.array([r.norm for r in flat])


def compare(one: np.ndarray, two: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """Pairs and neighbours of two sets of unit rows (n, P); `owner` (n,) is each row's sample."""
    apart = owner[:, None] != owner[None, :]
    cosines = [rows @ rows.T for rows in (one, two)]
    pairs = float(np.sqrt(np.mean((cosines[0] - cosines[1])[apart] ** 2)))
    near = [np.argsort(np.where(apart, -c, np.inf), axis=1)[:, :N_NEAREST] for c in cosines]
    kept = np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]) / N_NEAREST
    return pairs, float(kept)


def measure_dtypes(source: str, n: int) -> list[dict[str, Any]]:
    """A row a way and half precision, beside float32."""
    (checkpoint,) = resolve_checkpoints("demo", [source])
    rows = []
    for way, choices in WAYS.items():
        found = {}
        for dtype in ("float32", "bfloat16", "float16"):
            model, tokenizer = load_model("demo", checkpoint=checkpoint, dtype=dtype, device="cpu")
            samples = tokenize(n, tokenizer)
            found[dtype] = capture(model, samples, **choices)
        owner = np.repeat(np.arange(len(samples)), [len(s.spans) for s in samples])
        whole, norms = found["float32"]
        for dtype in ("bfloat16", "float16"):
            half, half_norms = found[dtype]
            own = (whole * half).sum(1)
            pairs, kept = compare(compute_directions(whole), compute_directions(half), owner)
            rows.append(
                {
                    "checkpoint": source,
                    "way": way,
                    "dtype": dtype,
                    "spans": len(own),
                    "direction": float(own.mean()),
                    "direction_p05": float(np.percentile(own, 5)),
                    "norm": float(np.median(np.abs(half_norms / norms - 1))),
                    "pairs": pairs,
                    "neighbours": kept,
                }
            )
            row = rows[-1]
            _say(
                f"{source}  {way:9} {dtype:9} {len(own):4} spans  direction {row['direction']:.4f} "
                f"(5 %: {row['direction_p05']:.4f})  norm off by {row['norm']:.1%}  pairs {pairs:.4f}  "
                f"neighbours {kept:.2f}"
            )
    return rows


def measure_ranks(source: str) -> list[dict[str, Any]]:
    """A row a rank and width of the sketch, beside dense gradients."""
    (checkpoint,) = resolve_checkpoints("demo", [source])
    model, tokenizer = load_model("demo", checkpoint=checkpoint, dtype="float32", device="cpu")
    samples = tokenize(N_DENSE, tokenizer)
    owner = np.repeat(np.arange(len(samples)), [len(s.spans) for s in samples])
    capturer = Capturer(model, CaptureConfig())
    assert capturer.selection is not None
    dense = np.stack([
        torch.cat([w.flatten() for w in compute_dense(model, capturer.selection, s, span).weights]).numpy()
        for s in samples
        for span in s.spans
    ])  # fmt: skip
    centred = compute_directions(dense)
    rows = []
    for rank, width in ((8, 2048), (16, 2048), (32, 2048), (32, 8192)):
        sketched, _ = capture(model, samples, sketch_rank=rank, sketch_width=width)
        pairs, kept = compare(centred, compute_directions(sketched), owner)
        rows.append({"checkpoint": source, "rank": rank, "width": width, "pairs": pairs, "neighbours": kept})
        _say(f"{source}  rank {rank:2}, width {width}: pairs {pairs:.4f}, neighbours {kept:.2f}")
    return rows


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--checkpoints", nargs="+", default=["step-01000", "step-03600"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    disable_progress_bar()
    found: dict[str, Any] = {"dtypes": [], "ranks": []}
    for source in options.checkpoints:
        found["dtypes"] += measure_dtypes(source, options.samples)
        found["ranks"] += measure_ranks(source)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
