"""Descriptions of data sets and runs, and a sample of a run.

DatasetInfo   a data set: counts, mapping, rejected rows, source
RunInfo       a run: status, counts, manifest, results
RunSample     one sample of a run, as given and as the model reads it
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gsd_core.types import Sample, TokenizedSample


@dataclass(frozen=True)
class DatasetInfo:
    """A data set in the workspace."""

    name: str
    n_samples: int
    n_rejected: int
    n_tokens: int | None
    """Tokens under the tokenizer that was used; None if none was used yet."""
    n_words: int
    """Whitespace-separated words of question, reasoning and answer."""
    data_hash: str
    """sha256 of the source's bytes."""
    format: str
    fields: dict[str, Any]
    """The columns of question, reasoning, answer and id; and the layout."""
    rejected: list[dict[str, Any]]
    """``{"row", "reason"}`` of every row that could not be used."""
    source: str
    created: str
    """ISO 8601, UTC."""
    problem: str = ""
    """Why the data set cannot be read; empty if it can."""
    extra: dict[str, Any] = field(default_factory=dict)
    """All other fields of its description."""


@dataclass(frozen=True)
class RunInfo:
    """A run in the workspace."""

    name: str
    status: str
    """``"capturing"``, ``"captured"``, ``"analyzed"`` or ``"broken"``."""
    manifest: dict[str, Any]
    n_spans: int
    """Spans captured at the last checkpoint."""
    n_samples: int
    """Samples of the run, captured or not."""
    checkpoints: list[str]
    created: str
    """ISO 8601, UTC."""
    problem: str = ""
    """Why a broken run cannot be read."""
    first_look: str = ""
    """The default checkpoint (``RunReader.default_checkpoint``)."""
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Name of a result → checkpoint (``""`` for a result of the run) → its ``info``."""


@dataclass(frozen=True, eq=False)
class RunSample:
    """One sample of a run. ``question_embedding`` (E,) float32 or None."""

    tokenized: TokenizedSample
    sample: Sample
    question_embedding: np.ndarray | None = None
