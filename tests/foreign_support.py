"""Stores as Bergson and LESS write them, for tests that must not need either program.

write_bergson   an index folder: info.json, gradients.bin, offsets.npy, data.hf, config.yaml
write_less      a ``dimN`` folder: chunks, all_unormalized.pt, all_orig.pt
SIZES           modules of a model with two layers and a head
make_problems   rows with prompt, completion and a topic
open_layout     an opened store with its layout
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gsd_core.importing.foreign_rows import MAX_WIDTH, DirectionLayout, ForeignStore
from gsd_core.importing.foreign_stores import open_store

SIZES = {"layers.0.attn.q": 6, "layers.0.mlp.up": 4, "layers.1.attn.q": 6, "lm_head": 8}


def make_problems(n: int = 12) -> list[dict[str, Any]]:
    """Problems of two or three lines and a result, as Bergson's prompt-completion data has them."""
    rows = []
    for number in range(n):
        lines = [f"There are {number + 2} apples.", f"Three more make {number + 5}."]
        lines += [f"So it is {number + 5}."] if number % 2 else []
        rows.append(
            {
                "prompt": f"Ann has {number + 2} apples and gets 3. How many?",
                "completion": "\n".join(lines) + f"\n#### {number + 5}",
                "topic": f"t{number % 3}",
            }
        )
    return rows


def write_bergson(
    folder: Path,
    rows: np.ndarray,
    *,
    sizes: dict[str, int] | None = None,
    dtype: str = "float32",
    lengths: Sequence[int] | None = None,
    data: list[dict[str, Any]] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """An index of ``rows`` (n_rows, D), as Bergson 2.5.1 writes it.

    ``lengths`` (rows a sequence) makes it one by token. ``data`` are the rows of data.hf; None writes none. ``config``
    overrides settings, with "preprocess_cfg." before those of that section.
    """
    sizes = sizes or SIZES
    folder.mkdir(parents=True)
    assert rows.shape[1] == sum(sizes.values())
    stored = torch.from_numpy(np.ascontiguousarray(rows)).to(getattr(torch, dtype)).contiguous()
    (folder / "gradients.bin").write_bytes(stored.view(torch.uint8).numpy().tobytes())
    n_items = len(rows) if lengths is None else len(lengths)
    info = {
        "attribute_tokens": lengths is not None,
        "num_items": n_items,
        "num_grads": len(rows),
        "grad_sizes": sizes,
        "base_dtype": dtype,
    }
    (folder / "info.json").write_text(json.dumps(info, indent=2))
    if lengths is not None:
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    index: dict[str, Any] = {"model": "tiny", "tokenizer": "", "projection_dim": 4, "loss_fn": "ce"}
    index |= {
        "loss_reduction": "sum",
        "label_smoothing": 0.0,
        "data": {"dataset": "x.jsonl", "reward_column": ""},
    }
    preprocess: dict[str, Any] = {"unit_normalize": False, "hessian_path": None, "aggregation": "none"}
    for key, value in (config or {}).items():
        section, name = (preprocess, key.split(".")[1]) if key.startswith("preprocess_cfg.") else (index, key)
        section[name] = value
    steps = [{"build": {"index_cfg": index, "preprocess_cfg": preprocess}}]
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"steps": steps, "metadata": {"bergson_version": "2.5.1"}}, sort_keys=False)
    )
    if data is not None:
        import datasets

        datasets.disable_progress_bars()
        datasets.Dataset.from_list(data).save_to_disk(str(folder / "data.hf"))
    return folder


def write_less(
    folder: Path,
    rows: torch.Tensor,
    *,
    chunk: int | None = None,
    merged: Sequence[str] = ("all_orig.pt", "all_unormalized.pt"),
) -> Path:
    """A ``dimN`` folder of ``rows`` (n, N), as LESS's ``collect_grads`` writes it."""
    folder.mkdir(parents=True)
    chunk = chunk or len(rows)
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk].clone()
        torch.save(part, folder / f"grads-{start + len(part)}.pt")
    made = {"all_orig.pt": torch.nn.functional.normalize(rows, dim=1), "all_unormalized.pt": rows.clone()}
    for name in merged:
        torch.save(made[name], folder / name)
    return folder


def open_layout(path: Path, width: int = MAX_WIDTH, seed: int = 0) -> tuple[ForeignStore, DirectionLayout]:
    """The store at ``path``, opened, and its layout."""
    store = open_store(path)
    return store, DirectionLayout(store.modules, width, seed)
