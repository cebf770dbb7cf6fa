"""Samples as rows, of data sets and of runs.

iter_sample_batches       samples → record batches of ``schema.sample_schema`` or ``run_sample_schema``
RUN_SAMPLE_COLUMNS        columns of ``RunReader.read_samples``
list_stored_columns, make_sample_frame   those columns from stored rows
check_ids                 refuse repeated ids
to_sample                 row → ``Sample``
compute_tokens            row of a run (and losses) → frame of its tokens
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gsd_core.errors import UserError
from gsd_core.store.files import encode_json
from gsd_core.store.infos import RunSample
from gsd_core.types import Sample, StepRanges, join_span

RUN_SAMPLE_COLUMNS = (
    "sample",
    "question",
    "reasoning",
    "answer",
    "steps",
    "meta",
    "input_text",
    "n_tokens",
    "prompt_tokens",
    "reasoning_start",
    "n_spans_cut",
    "skipped_spans",
)
_STORED_AS = {
    "steps": ("step_starts", "step_ends"),
    "n_tokens": ("token_ids",),
}  # others are stored under their name

_SURROGATE = re.compile("[\ud800-\udfff]")
_ROWS = 512  # samples in a record batch; limits memory


def _sample_row(sample: Sample) -> dict[str, Any]:
    if isinstance(sample.steps, StepRanges):
        starts, ends = sample.steps.bounds()
    else:
        starts, ends = np.asarray(sample.steps, np.int32).reshape(-1, 2).T
    return {
        "sample": sample.id,
        "question": sample.question,
        "reasoning": sample.reasoning,
        "answer": sample.answer,
        "step_starts": starts,
        "step_ends": ends,
        "meta": encode_json(sample.meta),
    }


def _run_sample_row(row: RunSample) -> dict[str, Any]:
    read = row.tokenized
    if read.id != row.sample.id:
        raise ValueError(f"tokenized sample {read.id!r} was paired with sample {row.sample.id!r}")
    embedding = row.question_embedding
    return {
        **_sample_row(row.sample),
        "input_text": read.input_text,
        "reasoning_start": read.reasoning_start,
        "prompt_tokens": read.prompt_tokens,
        "token_ids": np.asarray(read.token_ids, np.int32),
        "token_starts": np.asarray(read.token_starts, np.int32),
        "token_ends": np.asarray(read.token_ends, np.int32),
        "span_index": [span.index for span in read.spans],
        "span_start": [span.start for span in read.spans],
        "span_end": [span.end for span in read.spans],
        "n_spans_cut": read.n_spans_cut,
        "skipped_spans": encode_json([list(each) for each in read.skipped_spans]),
        "question_embedding": None if embedding is None else np.asarray(embedding, np.float32),
    }


def _to_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    try:
        columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
        return pa.RecordBatch.from_arrays(columns, schema=schema)
    except UnicodeEncodeError:
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and _SURROGATE.search(value):
                    what = "the text holds half of a character (an unpaired surrogate)"
                    where = f"sample {row['sample']!a}, field {name}"
                    raise UserError(what, where, "repair that row of the source") from None
        raise


def check_ids(ids: Sequence[str], where: str) -> None:
    """Raise ``UserError`` for a repeated id."""
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise UserError(f"two samples have the id {each!r}", where, "give every row an id of its own")
        seen.add(each)


def iter_sample_batches(samples: Sequence[Sample | RunSample], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches of ``schema.sample_schema``, or of ``run_sample_schema`` for samples of a run, in order."""
    for start in range(0, len(samples), _ROWS):
        part = samples[start : start + _ROWS]
        rows = [_run_sample_row(each) if isinstance(each, RunSample) else _sample_row(each) for each in part]
        yield _to_batch(rows, schema)


def to_sample(row: dict[str, Any]) -> Sample:
    """The sample of a row; its ``meta`` is read from JSON."""
    return Sample(
        id=row["sample"],
        question=row["question"],
        reasoning=row["reasoning"],
        answer=row["answer"],
        steps=tuple(zip(row["step_starts"], row["step_ends"], strict=True)),
        meta=json.loads(row["meta"]),
    )


def compute_tokens(row: dict[str, Any], losses: np.ndarray | None) -> pd.DataFrame:
    """Tokens of one sample in order: ``position, token_id, text, start, end, span, loss``.

    ``span`` is ``SAMPLE#K``, or None outside spans; ``loss`` is NaN if unknown; ``start`` and ``end`` are characters of
    the model's input, and ``text`` is that slice.
    """
    n_tokens = len(row["token_ids"])
    owner: list[str | None] = [None] * n_tokens
    for index, start, end in zip(row["span_index"], row["span_start"], row["span_end"], strict=True):
        owner[start:end] = [join_span(row["sample"], index)] * (end - start)
    known = losses is not None and len(losses) == n_tokens
    text = row["input_text"]
    return pd.DataFrame(
        {
            "position": np.arange(n_tokens, dtype=np.int32),
            "token_id": np.asarray(row["token_ids"], np.int32),
            "text": [text[a:b] for a, b in zip(row["token_starts"], row["token_ends"], strict=True)],
            "start": np.asarray(row["token_starts"], np.int32),
            "end": np.asarray(row["token_ends"], np.int32),
            "span": pd.Series(owner, dtype=object),
            "loss": losses if known else np.full(n_tokens, np.nan, np.float32),
        }
    )


def list_stored_columns(columns: Sequence[str]) -> list[str]:
    """Stored columns for these ``RUN_SAMPLE_COLUMNS``. Raises ``ValueError`` for an unknown one."""
    unknown = [name for name in columns if name not in RUN_SAMPLE_COLUMNS]
    if unknown:
        raise ValueError(f"no column {unknown[0]!r}; there are {', '.join(RUN_SAMPLE_COLUMNS)}")
    return [each for name in columns for each in _STORED_AS.get(name, (name,))]


def make_sample_frame(rows: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Stored rows → a frame of these ``RUN_SAMPLE_COLUMNS``, with nested values parsed."""
    return pd.DataFrame({name: _sample_column(rows, name) for name in columns})


def _sample_column(rows: pa.Table, name: str) -> pd.Series:
    """One of ``RUN_SAMPLE_COLUMNS`` from stored rows."""
    if name == "n_tokens":
        return pc.list_value_length(rows.column("token_ids")).to_pandas().astype(np.int32)
    if name == "steps":
        starts, ends = rows.column("step_starts").to_pylist(), rows.column("step_ends").to_pylist()
        values: list[Any] = [tuple(zip(a, b, strict=True)) for a, b in zip(starts, ends, strict=True)]
    elif name == "meta":
        values = [json.loads(text) for text in rows.column(name).to_pylist()]
    elif name == "skipped_spans":
        values = [[tuple(each) for each in json.loads(text)] for text in rows.column(name).to_pylist()]
    else:
        return rows.column(name).to_pandas()
    return pd.Series(values, dtype=object)
