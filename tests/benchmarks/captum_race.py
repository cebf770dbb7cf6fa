"""Integrated gradients of an answer: CPU and wall time beside Captum's, the same nodes and traces in one run.

    python -m tests.benchmarks.captum_race [--model demo] [--tokens 1000] [--question 0.5 0.75] [--points 16]
        [--traces 3] [--repeats 3]

Captum (`LayerIntegratedGradients` on the embedding, as its language model attribution does it) and ours take turns, so
that a busy machine disturbs both alike. Baseline pad has nothing to share; with the question kept, ours reads it once
and Captum at every point. F is the log-probability of the answer's tokens in both, whose logits alone are computed
where the model can leave out the others, so the difference is not the vocabulary's product. Both tell their residual,
which takes two more forward passes. Scores are compared too.
Random tokens: only time is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients

from gsd_core.attribution.integrated import AnswerGradients, AnswerTrace, PathSettings
from gsd_core.capture.tier_capture import get_pad_id
from gsd_core.models.loading import open_model

N_ANSWER = 4
BATCH_TOKENS = 4096


def attribute_with_captum(
    model: torch.nn.Module, pad: int, trace: AnswerTrace, baseline: str, n_points: int
) -> np.ndarray:
    """(T − 1,) scores with Gauss nodes."""
    ids = torch.as_tensor(trace.token_ids[:-1].astype(np.int64))[None]
    start = torch.full_like(ids, pad)
    if baseline == "question":
        start[:, : trace.n_question] = ids[:, : trace.n_question]
    targets = torch.as_tensor(trace.token_ids[trace.answer_start :].astype(np.int64))

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=inputs, use_cache=False, logits_to_keep=len(targets)).logits.float()
        return logits.log_softmax(-1).gather(-1, targets.expand(len(inputs), -1)[..., None]).sum((1, 2))

    oracle = LayerIntegratedGradients(forward, model.get_input_embeddings())  # type: ignore[operator]
    found, _ = oracle.attribute(
        ids,
        start,
        n_steps=n_points,
        method="gausslegendre",
        internal_batch_size=max(1, BATCH_TOKENS // ids.shape[1]),
        return_convergence_delta=True,
    )
    return np.asarray(found.sum(-1)[0].detach())


def measure(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float, float]:
    """Result, CPU seconds, wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Print a row for each baseline."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--question", type=float, nargs="+", default=[0.5, 0.75])
    for name, number in (("tokens", 1000), ("points", 16), ("traces", 3), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    options = parser.parse_args()
    loaded = open_model(options.model)
    model, pad = loaded.model.eval(), get_pad_id(loaded.model)
    rng = np.random.default_rng(0)
    vocabulary = int(model.config.get_text_config().vocab_size)
    rows = ["| baseline | kept question | CPU, ours / Captum | wall, ours / Captum | largest difference of a score |"]
    rows.append("|---|---|---|---|---|")
    for baseline, share in [("pad", 0.0), *(("question", each) for each in options.question)]:
        ratios, apart = [], 0.0
        for _ in range(options.traces):
            ids = rng.integers(3, vocabulary, options.tokens).astype(np.int32)
            trace = AnswerTrace(ids, options.tokens - N_ANSWER, round(share * options.tokens))
            settings = PathSettings(baseline, "gauss", options.points, batch_tokens=BATCH_TOKENS)
            ours = AnswerGradients(model, pad, settings)
            for _ in range(options.repeats):
                own, own_cpu, own_wall = measure(lambda: ours.attribute(trace).scores[:-1])  # noqa: B023
                other, cpu, wall = measure(
                    lambda: attribute_with_captum(model, pad, trace, baseline, options.points)  # noqa: B023
                )
                ratios.append((own_cpu / cpu, own_wall / wall))
                apart = max(apart, float(np.abs(own - other).max() / np.abs(other).max()))
        cpu_ratio, wall_ratio = (statistics.median(each) for each in zip(*ratios, strict=True))
        kept = f"{share:.0%}" if share else "–"
        rows.append(f"| {baseline} | {kept} | {cpu_ratio:.2f} | {wall_ratio:.2f} | {apart:.1e} |")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
