"""Folders as one data set: shards, files of one kind, and several data sets saved together.

is_data_folder    whether a path is a folder that holds such files
iter_folder_rows  its rows as a ``RowSource``

The splits of a folder are those that its files' names or its own document name. One split is read: the one that is
asked for, else "train", else the only one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from gsd_core.dataset.json_rows import Row
from gsd_core.dataset.readers import RowSource, iter_rows
from gsd_core.dataset.saved import iter_saved_rows
from gsd_core.errors import UserError
from gsd_core.types import Rejection

DICT_FILE = "dataset_dict.json"
DOCUMENTS = ("dataset_info.json", "state.json", "dataset_infos.json", DICT_FILE)
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
COMPRESSIONS = (".gz", ".zst", ".zstd")
MOST_FILES = 10_000
_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|validation|valid|val|dev|eval)(?=[^a-z]|$)", re.IGNORECASE)


def is_data_folder(path: str | Path) -> bool:
    """Whether `path` is a folder of saved data sets or of data files, there or in its folder ``data``."""
    folder = Path(path)
    return folder.is_dir() and ((folder / DICT_FILE).is_file() or bool(_list_files(folder)))


def iter_folder_rows(path: str | Path, split: str | None = None) -> RowSource:
    """Rows of all files of one split, file after file in the order of their names.

    Raises `UserError` for an unknown split, files of several kinds, and a folder with none.
    """
    folder = Path(path)
    if (folder / DICT_FILE).is_file():
        name, note = _choose(_read_splits(folder), split, str(folder))
        rows = iter_saved_rows(folder / name)
        rows.notes += note
        return rows
    files = _list_files(folder)
    if not files:
        raise UserError(
            "the folder holds no file of data", str(folder), f"give a file, or files ending in {', '.join(KINDS)}"
        )
    if len(files) > MOST_FILES:
        raise UserError(f"the folder holds {len(files):,} files", str(folder), "join them, or give fewer")
    kinds = sorted({_kind_of(file) for file in files})
    if len(kinds) > 1:
        raise UserError(
            f"the folder holds files of several kinds ({', '.join(kinds)})", str(folder), "name one of them"
        )
    by_split: dict[str, list[Path]] = {}
    for file in files:
        found = _SPLIT.search(file.name)
        by_split.setdefault(found[1].lower() if found else "", []).append(file)
    name, note = _choose(list(by_split), split, str(folder))
    chosen = by_split[name]
    first = iter_rows(chosen[0])
    notes = [*note, *first.notes]
    if len(chosen) > 1:
        notes.append(f"{len(chosen):,} files were read as one data set, {chosen[0].name} first")
    return RowSource(_join(first, chosen), f"{first.format} × {len(chosen)}", first.columns, first.encoding, notes)


def _join(first: RowSource, files: list[Path]) -> Iterator[Row]:
    number = 0
    for at, file in enumerate(files):
        with first if at == 0 else iter_rows(file) as rows:
            for _, row in rows:
                number += 1
                if isinstance(row, Rejection):
                    row = Rejection(number, f"{file.name}: {row.reason}")
                yield number, row


def _list_files(folder: Path) -> list[Path]:
    """Files of data in the folder, else in its folder ``data``, in the order of their names."""
    for place in (folder, folder / "data"):
        if not place.is_dir():
            continue
        found = [
            file for file in place.iterdir() if _kind_of(file) and file.is_file() and not file.name.startswith(".")
        ]
        found = [file for file in found if file.name not in ("dataset_info.json", "state.json", "dataset_infos.json")]
        if found:
            return sorted(found, key=_natural)
    return []


def _kind_of(file: Path) -> str:
    name = file.name.lower()
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    return next((kind for kind in KINDS if name.endswith(kind)), "")


def _natural(file: Path) -> list[tuple[int, str]]:
    """part2 before part10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _read_splits(folder: Path) -> list[str]:
    where = str(folder / DICT_FILE)
    try:
        names = json.loads((folder / DICT_FILE).read_text("utf-8"))["splits"]
        is_plain = all(
            isinstance(name, str) and Path(name).name == name and name not in ("", ".", "..") for name in names
        )
    except (OSError, ValueError, KeyError, TypeError):
        is_plain, names = False, []
    if not is_plain or not names:
        raise UserError("it does not name the splits of the data set", where, "save the data set again")
    return list(names)


def _choose(splits: list[str], wanted: str | None, where: str) -> tuple[str, list[str]]:
    """The split to read, and a sentence about the others."""
    named = [split for split in splits if split]
    if wanted is not None:
        if wanted not in named:
            known = f"it has {', '.join(named)}" if named else "its files name none"
            raise UserError(f"there is no split {wanted!r}", where, known)
        return wanted, []
    chosen = next((split for split in splits if split == "train"), splits[0])
    if len(splits) == 1:
        return chosen, []
    if chosen != "train":
        raise UserError(f"it holds several splits ({', '.join(named)})", where, "choose one with --split")
    others = ", ".join(split or "files without a split" for split in splits if split != chosen)
    return chosen, [f"the split train was read; --split chooses another: {others}"]
