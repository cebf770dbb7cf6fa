"""A small run with planted structure, written through the real store.

build_workspace   a workspace with an analysed run, a run without analysis and a data set
write_run         one run
make_samples      samples that follow planted procedures
PLANTED           planted kinds of steps: name → sentences
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gsd_core.store import RunSample, Workspace
from gsd_core.types import Sample, SampleRecords, SpanRecord, TokenizedSample, TokenSpan

WIDTH, EMBEDDING_WIDTH = 64, 8
PLANTED = {
    "split": [
        "{n} {things} are shared equally, so each group gets {a}.",
        "Dividing the {n} {things} into equal parts leaves {a} apiece.",
    ],
    "total": [
        "Together that makes {a} + {b} = {c} {things}.",
        "Putting both piles of {things} side by side gives {c}.",
    ],
    "remain": [
        "After {b} {things} are gone, {a} are left.",
        "Taking away {b} from what she had leaves {a} {things}.",
    ],
    "price": ["Each of the {things} costs ${a}, which comes to ${c}.", "At ${a} a piece the bill is ${c}."],
    "recall": ["The question tells us about {n} {things}.", "We start from {n} {things}, as stated."],
    "check": [
        "Wait, let me check that: {a} plus {b} is indeed {c}.",
        "Hmm, is {c} plausible? Yes, it agrees with the start.",
    ],
}
THINGS = ["apples", "marbles", "tickets", "stamps", "pencils", "shells", "coins", "cookies"]
ORDERS = [
    ["recall", "split", "total"],
    ["recall", "remain", "price", "check"],
    ["recall", "total", "split", "remain"],
    ["recall", "price", "total"],
]


def make_samples(n: int, seed: int = 0) -> list[Sample]:
    """Samples that follow one of four procedures. ``meta`` labels the sample and its steps."""
    generator = np.random.default_rng(seed)
    samples = []
    for number in range(n):
        kind = int(generator.integers(len(ORDERS)))
        things = THINGS[int(generator.integers(len(THINGS)))]
        a, b = (int(value) for value in generator.integers(2, 60, 2))
        words = {"n": a * 4, "a": a, "b": b, "c": a + b, "things": things}
        steps = [PLANTED[step][int(generator.integers(len(PLANTED[step])))].format(**words) for step in ORDERS[kind]]
        ranges, at = [], 0
        for step in steps:
            ranges.append((at, at + len(step)))
            at += len(step) + 1
        samples.append(
            Sample(
                id=f"sum-{number}",
                question=f"Mia has {a * 4} {things} and shares them; how many {things} are there in the end?",
                reasoning="\n".join(steps),
                answer=str(a + b),
                steps=tuple(ranges),
                meta={
                    "procedure": f"procedure {kind}",
                    "topic": things,
                    "step_kind": ORDERS[kind],
                    "n_steps": len(steps),
                },
            )
        )
    return samples


def _tokenized(sample: Sample) -> TokenizedSample:
    """Each character after the prompt is a token, so offsets can be checked."""
    prompt = f"Question: {sample.question}\nReasoning: "
    text = prompt + sample.reasoning
    starts = np.array([0, *range(len(prompt), len(text))], dtype=np.int32)
    ends = np.array([len(prompt), *range(len(prompt) + 1, len(text) + 1)], dtype=np.int32)
    spans = tuple(
        TokenSpan(index, 1 + start, 1 + end, start, end, sample.reasoning[start:end])
        for index, (start, end) in enumerate(sample.steps)
    )
    ids = np.arange(len(starts), dtype=np.int32)
    return TokenizedSample(sample.id, text, ids, starts, ends, spans, 1, len(prompt))


def _records(sample: Sample, centres: dict[str, np.ndarray], generator: np.random.Generator) -> SampleRecords:
    tokenized = _tokenized(sample)
    records = []
    for span, kind in zip(tokenized.spans, sample.meta["step_kind"], strict=True):
        direction = 0.8 * centres[""] + centres[kind] + generator.normal(0, 0.07, WIDTH)
        direction /= np.linalg.norm(direction)
        records.append(
            SpanRecord(
                span,
                direction.astype(np.float16),
                norm=float(generator.lognormal(0, 0.6)),
                loss=float(generator.gamma(2, 0.6)),
                coherence=float(generator.uniform(0.2, 0.9)),
            )
        )
    losses = generator.gamma(1, 1, len(tokenized.token_ids)).astype(np.float32)
    return SampleRecords(tokenized, tuple(records), losses)


def write_run(
    workspace: Workspace,
    name: str,
    samples: list[Sample],
    checkpoints: tuple[str, ...] = ("final",),
    analyzed: bool = True,
    zero_every: int = 0,
) -> None:
    """Write ``samples`` as captured (and analysed) without a model; each kind of step has a centre of directions.

    The first span of every ``zero_every``-th sample has a gradient of zero.
    """
    generator = np.random.default_rng(1)
    centres = {
        kind: vector / np.linalg.norm(vector)
        for kind, vector in ((kind, generator.normal(0, 1, WIDTH)) for kind in ("", *PLANTED))
    }
    manifest = {
        "gsd_version": "0",
        "created": "2026-01-01T10:00:00+00:00",
        "dataset": {"name": "sums", "source": "sums.jsonl", "data_hash": "0", "n_samples": len(samples)},
        "model": {"source": "demo", "hash": "0", "architecture": "LlamaForCausalLM", "n_parameters": 1},
        "checkpoints": [{"name": c, "step": i, "hash": "0"} for i, c in enumerate(checkpoints)],
        "tier": "span",
        "window": "all",
        "segmenter": "steps",
    }
    run = workspace.create_run(name, manifest, sketch_width=WIDTH, embedding_width=EMBEDDING_WIDTH)
    run.write_samples([RunSample(_tokenized(sample), sample, None) for sample in samples])
    for step, checkpoint in enumerate(checkpoints):
        results = [_records(sample, centres, generator) for sample in samples]
        for each in results[::zero_every] if zero_every else ():
            each.records[0].direction[:] = 0
        for batch, start in enumerate(range(0, len(results), 32)):
            run.append_batch(checkpoint, step, batch, results[start : start + 32])
        run.flush()
        if analyzed:
            _analyze(run, checkpoint, samples, generator)
    run.update_manifest(status="captured")
    run.close()


def _analyze(run, checkpoint: str, samples: list[Sample], generator: np.random.Generator) -> None:
    spans = run.read_spans(checkpoint)
    kinds = {sample.id: sample.meta["step_kind"] for sample in samples}
    names = list(PLANTED)
    truth = np.array([names.index(kinds[s][k]) for s, k in zip(spans["sample"], spans["index"], strict=True)])
    angle = 2 * np.pi * truth / len(names)
    x = 6 * np.cos(angle) + generator.normal(0, 0.9, len(spans))
    y = 5 * np.sin(angle) + generator.normal(0, 0.9, len(spans))
    labels = np.where(generator.uniform(size=len(spans)) < 0.06, -1, truth)
    points = pd.DataFrame(
        {
            "span": spans["span"],
            "x": x.astype(np.float32),
            "y": y.astype(np.float32),
            "cluster": labels.astype(np.int32),
            "probability": np.where(labels < 0, 0.0, 1.0).astype(np.float32),
        }
    )
    words = {
        "split": "divide · each · share",
        "total": "together · makes · sum",
        "remain": "left · away · gone",
        "price": "cost · bill · piece",
        "recall": "question · start · told",
        "check": "wait · check · plausible",
    }
    rows = []
    for cluster, name in enumerate(names):
        own = spans.loc[labels == cluster]
        if len(own):
            exemplars = own.drop_duplicates("sample")["span"].head(3).tolist()
            rows.append(
                {
                    "cluster": cluster,
                    "size": len(own),
                    "label": words[name],
                    "terms": words[name].split(" · "),
                    "exemplars": exemplars,
                }
            )
    vectors = run.read_vectors(checkpoint).astype(np.float32)
    run.write_analysis(
        checkpoint,
        points,
        pd.DataFrame(rows, columns=["cluster", "size", "label", "terms", "exemplars"]),
        {"mean": vectors.mean(axis=0)},
        {"n_clusters": len(rows)},
    )


def build_workspace(folder: Path, n_samples: int = 60) -> Path:
    """A workspace with the runs ``planted`` (two checkpoints) and ``raw`` (not analysed) and the data set ``sums``."""
    workspace = Workspace.open(folder)
    samples = make_samples(n_samples)
    workspace.write_dataset(
        "sums",
        samples,
        {"source": "sums.jsonl", "data_hash": "0", "format": "jsonl", "fields": {}, "rejected": []},
    )
    write_run(workspace, "raw", samples[:12], analyzed=False)
    write_run(workspace, "planted", samples, checkpoints=("step-10", "step-20"))
    return folder
