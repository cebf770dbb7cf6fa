"""Gradient indexes that Bergson wrote (format read in Bergson 2.5.1; also its stores without ``base_dtype``).

BergsonStore        an index of ``bergson build`` or of its trainer callback
is_bergson          whether a folder looks like one
get_loss_reduction  whether the stored losses are means or sums over labels

An index is a folder: ``info.json`` (``num_items``, ``num_grads``, ``grad_sizes``: module → columns, ``base_dtype``),
``gradients.bin`` (num_grads × Σ grad_sizes, row-major), with ``attribute_tokens`` also ``offsets.npy``; beside them
``data.hf`` with the rows' tokens and losses, and ``config.yaml``. Its normalizers and Hessians (``*.pth``) are not
read, because the rows contain their effect already. Row t of a sequence holds ``δ_t a_tᵀ`` under the loss of the whole.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from gsd_core.errors import UserError
from gsd_core.importing.foreign_rows import UNKNOWN_LAYER, ModuleColumns, check_values, group_layers

MAX_DOCUMENT_BYTES = 16 * 2**20  # info.json and config.yaml; a mixture of experts has tens of thousands of modules
DTYPES = {
    "float16": ("<f2", torch.float16),
    "float32": ("<f4", torch.float32),
    "float64": ("<f8", torch.float64),
    "bfloat16": ("<i2", torch.bfloat16),  # numpy has none: read as bits, then reinterpreted
}
_ADVICE = "point to the folder that `bergson build` wrote"


def is_bergson(folder: Path) -> bool:
    """Whether ``folder`` holds an index's two main files."""
    return (folder / "info.json").is_file() and (folder / "gradients.bin").is_file()


class BergsonStore:
    """An opened index; a ``ForeignStore``. Its rows are memory-mapped.

    Raises ``UserError`` for documents that cannot be read, sizes that contradict each other, an unfinished or an
    aggregated index, and dtypes other than float16, bfloat16, float32 and float64.
    """

    def __init__(self, folder: Path) -> None:
        self.format = "bergson"
        self.path = folder
        self.notes: list[str] = []
        if folder.name.endswith(".part"):
            raise UserError("the index is not finished", str(folder), "let `bergson build` finish")
        info = _read_object(folder / "info.json")
        if "num_scores" in info:
            raise UserError("this folder holds scores, not gradients", str(folder), _ADVICE)
        sizes = _read_sizes(info, folder)
        self.n_rows = _read_count(info, "num_grads", folder)
        is_by_token = info.get("attribute_tokens") is True
        self.n_items = _read_count(info, "num_items", folder) if "num_items" in info else self.n_rows
        layers = [UNKNOWN_LAYER] if list(sizes) == ["gradients"] else group_layers(list(sizes))
        self.modules = tuple(
            ModuleColumns(name, layer, width) for (name, width), layer in zip(sizes.items(), layers, strict=True)
        )
        self._dtype = _read_dtype(info, folder)
        self._rows = self._map_rows(sum(sizes.values()))
        self.offsets = self._read_offsets() if is_by_token else None
        if not is_by_token and self.n_rows != self.n_items:
            raise UserError(
                f"it names {self.n_rows:,} rows and {self.n_items:,} sequences",
                f"{folder}/info.json",
                _ADVICE,
            )
        config = self._read_config()
        index, preprocess = config.get("index_cfg") or {}, config.get("preprocess_cfg") or {}
        aggregation = preprocess.get("aggregation", "none")
        if aggregation != "none" or self._is_query():
            raise UserError(
                f"the rows were aggregated ({aggregation}) into {self.n_rows}, so no sample has its own row",
                str(folder),
                "build the index with aggregation none",
            )
        self.details = _describe(index, preprocess, config.get("bergson_version"), self._dtype, is_by_token)
        if self.details.get("chunk_length"):
            raise UserError(
                f"its rows are chunks of {self.details['chunk_length']} tokens, not samples",
                str(folder),
                "build the index without chunk_length",
            )
        self.has_norms = preprocess.get("unit_normalize") is not True

    def read_rows(self, start: int, stop: int) -> torch.Tensor:
        """(stop − start, D) float32."""
        part = torch.from_numpy(np.array(self._rows[start:stop]))
        if self._dtype == "bfloat16":
            part = part.view(torch.bfloat16)
        return part.to(torch.float32)

    def _map_rows(self, width: int) -> np.memmap:
        check_values(width, f"{self.path}/info.json")
        kind = np.dtype(DTYPES[self._dtype][0])
        path = self.path / "gradients.bin"
        wanted, found = self.n_rows * width * kind.itemsize, path.stat().st_size
        if wanted != found:
            raise UserError(
                f"the file has {found:,} bytes, and {self.n_rows:,} rows of {width:,} {self._dtype} take {wanted:,}",
                str(path),
                "copy it again: it is incomplete, or belongs to another info.json",
            )
        return np.memmap(path, dtype=kind, mode="r", shape=(self.n_rows, width))

    def _read_offsets(self) -> np.ndarray:
        path = self.path / "offsets.npy"
        if not path.is_file():
            raise UserError("an index by token needs its offsets.npy", str(self.path), "copy the whole folder")
        try:
            offsets = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as problem:
            raise UserError(f"it cannot be read ({problem})", str(path), "copy it again") from None
        is_right = (
            offsets.shape == (self.n_items + 1,)
            and offsets.dtype.kind in "iu"
            and offsets[0] == 0
            and offsets[-1] == self.n_rows
            and bool((np.diff(offsets.astype(np.int64)) >= 0).all())
        )
        if not is_right:
            raise UserError(
                f"it does not divide {self.n_rows:,} rows among {self.n_items:,} sequences",
                str(path),
                "copy it again",
            )
        return np.asarray(offsets, np.int64)

    def _is_query(self) -> bool:
        """Whether its data says that it is aggregated, for an index without config."""
        path = self.path / "data.hf" / "dataset_info.json"
        return path.is_file() and list(_read_object(path).get("features") or {}) == ["query_index"]

    def _read_config(self) -> dict[str, Any]:
        """The settings of the build step; empty where there is no config (the trainer callback writes none)."""
        path = self.path / "config.yaml"
        if not path.is_file():
            return {}
        try:
            document = yaml.safe_load(_read_text(path))
        except (yaml.YAMLError, RecursionError):
            raise UserError("it is not valid YAML", str(path), "copy it again, or remove it") from None
        if not isinstance(document, dict):
            return {}
        found: dict[str, Any] = {}
        steps = document.get("steps")
        for step in steps if isinstance(steps, list) else []:
            for settings in step.values() if isinstance(step, dict) else []:
                if isinstance(settings, dict) and isinstance(settings.get("index_cfg"), dict):
                    kept = ("index_cfg", "preprocess_cfg")
                    found = {key: settings[key] for key in kept if isinstance(settings.get(key), dict)}
        metadata = document.get("metadata")
        if isinstance(metadata, dict):
            found["bergson_version"] = metadata.get("bergson_version")
        return found


def get_loss_reduction(details: dict[str, Any]) -> str | None:
    """ "mean" or "sum" over a sequence's labels, in nats; None for other losses and where it is unknown."""
    is_plain = details.get("loss_fn") == "ce" and not details.get("label_smoothing") and not details.get("weighted")
    reduction = details.get("loss_reduction")
    return str(reduction) if is_plain and reduction in ("mean", "sum") else None


def _describe(
    index: dict[str, Any], preprocess: dict[str, Any], version: object, dtype: str, is_by_token: bool
) -> dict[str, Any]:
    """Settings for the manifest, as plain values; long texts are cut."""
    given = index.get("data")
    data: dict[str, Any] = given if isinstance(given, dict) else {}
    names = ("model", "tokenizer", "revision", "projection_dim", "projection_type", "projection_target")
    more = ("optimizer_state", "loss_fn", "loss_reduction", "label_smoothing")
    found: dict[str, Any] = {
        **{name: index.get(name) for name in (*names, *more)},
        **{name: preprocess.get(name) for name in ("unit_normalize", "hessian_path")},
        "weighted": bool(data.get("reward_column") or data.get("advantage_column")),
        "source_data": data.get("dataset"),
        "chunk_length": data.get("chunk_length"),
        "version": version,
    }
    plain = {
        key: value[:300] if isinstance(value, str) else value
        for key, value in found.items()
        if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))
    }
    return {**plain, "dtype": dtype, "attribute_tokens": is_by_token}


def _read_sizes(info: dict[str, Any], folder: Path) -> dict[str, int]:
    sizes = info.get("grad_sizes")
    is_right = isinstance(sizes, dict) and all(type(size) is int and size > 0 for size in sizes.values())
    if not is_right or not sizes:
        raise UserError("grad_sizes does not map modules to their widths", f"{folder}/info.json", _ADVICE)
    return dict(sizes)


def _read_count(info: dict[str, Any], key: str, folder: Path) -> int:
    count = info.get(key)
    if type(count) is not int or count < 1:
        raise UserError(f"{key} is {count!r}, not a number of rows", f"{folder}/info.json", _ADVICE)
    return count


def _read_dtype(info: dict[str, Any], folder: Path) -> str:
    name = info.get("base_dtype")
    if name is None:  # before 2.5: a structured dtype, a field a module
        formats = (info.get("dtype") or {}).get("formats") if isinstance(info.get("dtype"), dict) else None
        text = formats[0] if isinstance(formats, list) and formats and isinstance(formats[0], str) else ""
        letters = text.rsplit(")", 1)[-1].lstrip("<=|")
        name = {"f2": "float16", "f4": "float32", "f8": "float64"}.get(letters, letters)
    if not isinstance(name, str) or name not in DTYPES:
        raise UserError(f"rows of {name!r} cannot be read", f"{folder}/info.json", f"known are {', '.join(DTYPES)}")
    return name


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        raise UserError("it is not valid JSON", str(path), "copy it again") from None
    if not isinstance(value, dict):
        raise UserError("it is not a JSON object", str(path), "copy it again")
    return value


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_DOCUMENT_BYTES:
            raise UserError(f"it has {size:,} bytes, too many for such a document", str(path), "check what it is")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"it cannot be read ({problem})", str(path), "copy it again") from None
