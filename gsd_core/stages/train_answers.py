"""What a model in training answers to questions that it is not trained on.

Asked           questions, and how they are asked
measure_answers writes what the model answers at a step; returns shares and lengths
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.console.files import whole_file
from gsd_core.console.output import format_json
from gsd_core.console.progress import Progress
from gsd_core.rollouts.generation import generate_texts, read_answer
from gsd_core.rollouts.verify import AnswerChecker
from gsd_core.store.trainings import name_answers
from gsd_core.types import TokenizedSample


@dataclass(frozen=True, slots=True)
class Asked:
    """``samples`` with the ``answers`` that are right; rollouts of at most ``max_tokens``, ``batch_size`` at a time."""

    samples: Sequence[TokenizedSample]
    answers: Sequence[str]
    max_tokens: int
    batch_size: int


def measure_answers(
    model: Any, tokenizer: Any, asked: Asked, folder: Path, step: int, progress: Progress
) -> dict[str, Any]:
    """Greedy answers into ``answers-STEP.jsonl``.

    Returns ``accuracy``, ``n_answers``, ``mean_tokens`` of a rollout, ``n_cut`` that did not end, ``n_undecided``
    comparisons that took too long.
    """
    with progress.stage(f"answering at step {step:,}", len(asked.samples), "questions") as stage:
        rollouts = generate_texts(
            model,
            tokenizer,
            asked.samples,
            max_new_tokens=asked.max_tokens,
            batch_size=asked.batch_size,
            report=stage.advance,
        )
    rows = []
    with AnswerChecker() as checker:
        for rollout, wanted in zip(rollouts, asked.answers, strict=True):
            answer = read_answer(rollout.text)
            row: dict[str, Any] = {
                "sample": rollout.sample,
                "text": rollout.text,
                "answer": answer,
                "wanted": wanted,
            }
            row |= {
                "is_right": checker.is_right(answer, wanted),
                "n_tokens": rollout.n_tokens,
                "is_cut": rollout.is_cut,
            }
            rows.append(row)
        n_undecided = checker.n_undecided
    with whole_file(folder / name_answers(step)) as partial:
        partial.write_text("".join(format_json(row, is_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return {
        "accuracy": float(np.mean([row["is_right"] for row in rows])),
        "n_answers": len(rows),
        "mean_tokens": float(np.mean([row["n_tokens"] for row in rows])),
        "n_cut": int(sum(bool(row["is_cut"]) for row in rows)),
        "n_undecided": n_undecided,
    }
