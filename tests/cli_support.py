"""Helpers of the command line's tests.

Outcome        exit code, standard output, standard error
run_gsd        run one command in this process → ``Outcome``
run_gsd_json   the same with ``--json``; checks the exit code and returns the object
start_gsd      start one command as a process
write_run      write a synthetic run with the real store
write_rows     rows as a JSON Lines file
make_rows      small labelled problems
save_tiny_model   a random model with its tokenizer, as a folder
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gsd_core.cli.command_line import main

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Outcome:
    """Exit code and both streams of a command."""

    code: int
    out: str
    err: str


def run_gsd(*words: object, workspace: Path | None = None) -> Outcome:
    """Run one command in this process."""
    head = ["--workspace", str(workspace)] if workspace is not None else []
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*head, *map(str, words)])
    return Outcome(code, out.getvalue(), err.getvalue())


def run_gsd_json(*words: object, workspace: Path | None = None, code: int = 0) -> dict[str, Any]:
    """Run one command with ``--json``. Its exit code must be ``code`` and its output one object."""
    outcome = run_gsd("--json", *words, workspace=workspace)
    assert outcome.code == code, f"exit {outcome.code}, not {code}; standard error: {outcome.err}"
    value = json.loads(outcome.out)
    assert isinstance(value, dict)
    return value


def start_gsd(*words: object, **environment: str) -> subprocess.Popen[bytes]:
    """Start ``python -m gsd_core`` as a process, with pipes for both streams."""
    return subprocess.Popen(
        [sys.executable, "-m", "gsd_core", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        bufsize=0,  # reading a line must not buffer what follows
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """``rows`` as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_run(
    workspace: Path,
    name: str = "planted",
    *,
    n_samples: int = 12,
    n_steps: int = 4,
    width: int = 16,
    checkpoints: Sequence[str] = ("step-1", "step-2"),
    metas: Sequence[dict[str, Any]] | None = None,
    seed: int = 0,
) -> Path:
    """A captured run: span K of each sample has the direction of axis K with a little noise.

    Sample ids are ``s0``, ``s1``, …; every step's text names its number; token losses are K + 0.5.
    """
    from gsd_core.store import RunSample, Workspace
    from gsd_core.types import Sample, SampleRecords, SpanRecord, TokenizedSample, TokenSpan

    rng = np.random.default_rng(seed)
    manifest = {
        "created": "2026-01-01T00:00:00+00:00",
        "gsd_version": "0.1.0",
        "dataset": {"name": name, "source": "planted", "data_hash": "0" * 64, "n_samples": n_samples},
        "model": {"source": "planted", "hash": "0" * 64},
        "checkpoints": [{"name": each, "step": step, "hash": ""} for step, each in enumerate(checkpoints)],
        "tier": "span",
        "window": "all",
        "segmenter": "steps",
        "sketch": {
            "width": width,
            "seed": 0,
            "layers": [["layer.0", 0, width // 2], ["layer.1", width // 2, width]],
        },
        "seed": 0,
        "flags": {},
        "status": "captured",
    }
    run = Workspace.open(str(workspace)).create_run(name, manifest, sketch_width=width, embedding_width=8)
    rows, tokenized = [], []
    for number in range(n_samples):
        texts = [f"Step {step} of tale {number}.\n" for step in range(n_steps)]
        reasoning, question = "".join(texts), f"What is tale {number}? "
        starts = np.concatenate([[0], len(question) + np.cumsum([0] + [len(text) for text in texts])[:-1]])
        ends = np.concatenate([starts[1:], [len(question + reasoning)]])
        spans, place = [], 0
        for step, text in enumerate(texts):
            spans.append(TokenSpan(step, step + 1, step + 2, place, place + len(text), text))
            place += len(text)
        one = TokenizedSample(
            id=f"s{number}",
            input_text=question + reasoning,
            token_ids=np.arange(n_steps + 1, dtype=np.int32),
            token_starts=starts.astype(np.int32),
            token_ends=ends.astype(np.int32),
            spans=tuple(spans),
            prompt_tokens=1,
            reasoning_start=len(question),
        )
        meta = (
            metas[number]
            if metas is not None
            else {"topic": f"t{number % 3}", "kinds": [f"k{k}" for k in range(n_steps)]}
        )
        sample = Sample(one.id, question, reasoning, str(number), meta=dict(meta))
        tokenized.append(one)
        rows.append(RunSample(one, sample, rng.normal(size=8).astype(np.float32)))
    run.write_samples(rows)
    ids = [f"{one.id}#{span.index}" for one in tokenized for span in one.spans]
    run.write_embeddings(ids, rng.normal(size=(len(ids), 8)).astype(np.float32))
    for step, checkpoint in enumerate(checkpoints):
        results = []
        for one in tokenized:
            records = []
            for span in one.spans:
                vector = np.eye(width)[span.index] + 0.1 * rng.normal(size=width)
                direction = (vector / np.linalg.norm(vector)).astype(np.float16)
                measures = {"spectral": (span.index + 1) / (n_steps + 1), "grace": 0.1 * span.index}
                records.append(SpanRecord(span, direction, norm=2.0, loss=span.index + 0.5, coherence=0.9, **measures))
            losses = np.array([np.nan] + [span.index + 0.5 for span in one.spans], dtype=np.float32)
            results.append(SampleRecords(one, tuple(records), losses))
        run.append_batch(checkpoint, step, 0, results)
    run.close()
    return workspace


def save_tiny_model(folder: Path, *, context: int = 192, offsets: bool = True) -> Path:
    """A random two-layer model with a tokenizer of its own (byte-level, 300 tokens), as a folder.

    Without ``offsets`` the tokenizer has no character offsets.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import ByT5Tokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    if not offsets:
        ByT5Tokenizer().save_pretrained(folder)
        return folder
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["Question: Reasoning: Answer: the number of apples is added"], trainer)
    PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>").save_pretrained(
        folder
    )
    return folder


def make_rows(n: int = 6) -> list[dict[str, Any]]:
    """Small problems with two or three labelled steps."""
    rows = []
    for number in range(n):
        steps = [f"There are {number + 2} apples.", f"Three more make {number + 5}."]
        if number % 2:
            steps.append(f"So it is {number + 5}.")
        rows.append(
            {
                "id": f"apples/{number}",
                "question": f"Ann has {number + 2} apples and gets 3. How many?",
                "steps": steps,
                "answer": str(number + 5),
                "topic": "fruit",
                "step_kinds": ["count", "add", "end"][: len(steps)],
            }
        )
    return rows
