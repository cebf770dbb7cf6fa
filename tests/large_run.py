"""Runs of any size, written with the real store and without a model, to test big maps.

write_large_run   an analysed run of ``n_spans`` spans; directions, layout and clusters are planted
SPANS_A_SAMPLE    default number of spans in a sample

Each cluster has a planted direction and planted coordinates; its spans add noise to both. Cluster −1 is noise.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from gsd_core.store import RunSample, Workspace
from gsd_core.types import Sample, SampleRecords, SpanRecord, TokenizedSample, TokenSpan

SPANS_A_SAMPLE, BATCH_SAMPLES, NOISE_SHARE = 10, 500, 0.15
VERBS = ("divide", "multiply", "add", "compare", "recall", "check", "rewrite", "substitute")
THINGS = ("apples", "marbles", "tickets", "stamps", "pencils", "shells", "coins", "cookies")


def _make_sample(number: int, n: int) -> tuple[Sample, TokenizedSample]:
    steps = [
        f"Step {k + 1}: we {VERBS[(number + k) % 8]} the {THINGS[number % 8]} of box {number * 7 % 1009} and "
        f"get {(number * 31 + k * 17) % 997}."
        for k in range(n)
    ]
    ends = np.cumsum([len(step) + 1 for step in steps]) - 1
    ranges = tuple((int(end) - len(step), int(end)) for step, end in zip(steps, ends, strict=True))
    question = f"How many {THINGS[number % 8]} are in box {number}?"
    sample = Sample(f"s{number}", question, "\n".join(steps), str(number), ranges, {"topic": THINGS[number % 8]})
    tokens = np.arange(n * 2 + 1, dtype=np.int32)
    spans = tuple(TokenSpan(k, 2 * k + 1, 2 * k + 3, start, end, steps[k]) for k, (start, end) in enumerate(ranges))
    text = f"{question}\n{sample.reasoning}"
    return sample, TokenizedSample(sample.id, text, tokens, tokens, tokens, spans, 1, len(question) + 1)


def _iter_batches(
    tokenized: list[TokenizedSample], clusters: np.ndarray, centres: np.ndarray
) -> Iterator[list[SampleRecords]]:
    """``clusters`` (n,), ``centres`` (C + 1, P) unit rows; the last row belongs to noise."""
    width, spans_a_sample = centres.shape[1], len(clusters) // len(tokenized)
    for first in range(0, len(tokenized), BATCH_SAMPLES):
        part = tokenized[first : first + BATCH_SAMPLES]
        own = clusters[first * spans_a_sample : (first + len(part)) * spans_a_sample]
        seeded = np.random.default_rng([1, first])
        vectors = seeded.standard_normal((len(own), width), dtype=np.float32) / np.sqrt(width)
        vectors += 0.8 * centres[own]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        halves, measures = vectors.astype(np.float16), seeded.random((len(own), 3)) + 0.05
        yield [
            SampleRecords(
                each,
                tuple(
                    SpanRecord(span, halves[row], *map(float, measures[row]))
                    for row, span in enumerate(each.spans, at * spans_a_sample)
                ),
                np.zeros(len(each.token_ids), np.float32),
            )
            for at, each in enumerate(part)
        ]


def write_large_run(
    workspace: Workspace,
    name: str,
    n_spans: int,
    *,
    width: int = 64,
    n_clusters: int = 200,
    spans_a_sample: int = SPANS_A_SAMPLE,
) -> None:
    """``n_spans`` must be a multiple of ``spans_a_sample``. The store builds an index if the run is big enough."""
    random = np.random.default_rng(0)
    pairs = [_make_sample(number, spans_a_sample) for number in range(n_spans // spans_a_sample)]
    clusters = np.minimum(random.geometric(3 / n_clusters, n_spans) - 1, n_clusters - 1)
    clusters[random.random(n_spans) < NOISE_SHARE] = -1
    centres = random.standard_normal((n_clusters + 1, width), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    manifest = {
        "gsd_version": "0",
        "created": "2026-01-01T10:00:00+00:00",
        "dataset": {"name": "large", "source": "large.jsonl", "data_hash": "0", "n_samples": len(pairs)},
        "model": {"source": "demo", "hash": "0", "architecture": "LlamaForCausalLM", "n_parameters": 1},
        "checkpoints": [{"name": "final", "step": 0, "hash": "0"}],
        "tier": "span",
        "window": "all",
        "segmenter": "steps",
    }
    with workspace.create_run(name, manifest, sketch_width=width, embedding_width=4) as run:
        run.write_samples([RunSample(tokenized, sample) for sample, tokenized in pairs])
        for number, batch in enumerate(_iter_batches([each for _, each in pairs], clusters, centres)):
            run.append_batch("final", 0, number, batch)
        run.flush()
        homes = random.uniform(-20, 20, (n_clusters + 1, 2))
        places = homes[clusters] + random.standard_normal((n_spans, 2))
        is_noise = clusters < 0
        places[is_noise] = random.uniform(-22, 22, (int(is_noise.sum()), 2))
        spans = run.read_spans("final", ["span"])["span"]
        points = pd.DataFrame(
            {
                "span": spans,
                "x": places[:, 0].astype(np.float32),
                "y": places[:, 1].astype(np.float32),
                "cluster": clusters.astype(np.int32),
                "probability": np.where(is_noise, 0.0, 1.0).astype(np.float32),
            }
        )
        rows = [
            {
                "cluster": cluster,
                "size": int(size),
                "label": f"{VERBS[cluster % 8]} · {THINGS[cluster // 8 % 8]}",
                "terms": [VERBS[cluster % 8], THINGS[cluster // 8 % 8]],
                "exemplars": spans[np.flatnonzero(clusters == cluster)[:3]].tolist(),
            }
            for cluster, size in enumerate(np.bincount(clusters[~is_noise], minlength=n_clusters))
            if size
        ]
        blocks = np.concatenate([run.read_vectors("final", at, at + 256) for at in range(0, n_spans, n_spans // 16)])
        cosines = random.normal(0, 0.1, 20_000).astype(np.float32)
        run.write_analysis(
            "final",
            points,
            pd.DataFrame(rows),
            {"mean": blocks.astype(np.float32).mean(axis=0), "null": cosines},
            {"n_clusters": len(rows), "noise_share": float(is_noise.mean())},
        )
        run.build_index("final")
