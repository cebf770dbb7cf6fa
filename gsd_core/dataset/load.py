"""From a file or a hub id to samples, in one call.

Choices          which split, and which turns of a chat
LoadedDataset    samples, rejections, and how the source was understood
load_dataset     reads a whole source
preview_dataset  reads its first rows in the same way; a mapping that is incomplete is no error
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gsd_core.dataset.columns import parse_cell
from gsd_core.dataset.fields import Mapping, apply_map, find_unknown, guess_mapping, row_to_sample
from gsd_core.dataset.folders import is_data_folder, iter_folder_rows
from gsd_core.dataset.hub import iter_hub_rows, looks_like_hub_id
from gsd_core.dataset.messages import is_chat, list_turns
from gsd_core.dataset.readers import RowSource, iter_rows
from gsd_core.dataset.saved import is_saved_dataset, iter_saved_rows
from gsd_core.dataset.streams import compute_file_hash
from gsd_core.dataset.values import BadValue, to_plain
from gsd_core.errors import UserError
from gsd_core.types import Rejection, Sample

GUESS_ROWS = 200  # rows from which the mapping is guessed
PROGRESS_ROWS = 1000  # rows between two calls of `on_progress`
SHOWN_REASONS = 3
SHOWN_CHARS = 80  # of a reasoning, in an example


@dataclass(frozen=True, slots=True)
class Choices:
    """What a source that holds several things gives.

    ``split``; ``turns`` of a chat: "last" that has a thought, or "all", each a sample; ``marks``: "read", or "ignore",
    which leaves every text whole.
    """

    split: str | None = None
    turns: str = "last"
    marks: str = "read"


@dataclass(slots=True)
class LoadedDataset:
    """The samples of a source, and how it was understood.

    ``fields`` says which column became question, reasoning, answer and id ("" for none), the ``layout``, and under
    ``split`` the marks that split texts, with the number of rows. It has ``runner_up``, the column that comes next as
    reasoning, where there is one, and ``encoding`` where that is not UTF-8. ``guesses`` are what the reader has decided
    in rows: ``{what, rows, row, example}``, the last two of the first such row. ``notes`` are sentences to show before
    the samples are used. ``data_hash`` is the SHA-256 of the file's bytes; of a hub data set, a folder or a saved one,
    of the rows as JSON.
    """

    samples: list[Sample]
    rejected: list[Rejection]
    format: str
    fields: dict[str, str]
    columns: list[str]
    data_hash: str
    source: str
    notes: list[str] = field(default_factory=list)
    guesses: list[dict[str, Any]] = field(default_factory=list)


def load_dataset(
    source: str | Path,
    *,
    map: dict[str, str] | None = None,
    strict: bool = False,
    limit: int | None = None,
    choices: Choices | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> LoadedDataset:
    """Read a file, a folder of shards or of ``save_to_disk``, or a hub data set (``hub:owner/name[:config][@split]``,
    or ``owner/name`` if no such file exists).

    Parameters
    ----------
    map
        Columns for question, reasoning, answer and id, in place of the guessed ones (`fields.parse_map_flag`).
    strict
        Raise for any row that cannot be used.
    limit
        Stop after so many samples.
    choices
        Which split, and which turns of a chat.
    on_progress
        Called with the number of rows read, after every thousand rows and at the end.

    Raises `UserError` for a source that cannot be read, has no rows, or gives no sample.
    """
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} leaves no sample", "--limit", "give 1 or more")
    loaded = _read(source, map, choices or Choices(), (limit, None), on_progress)
    n_rejected = len(loaded.rejected)
    if strict and n_rejected:
        raise UserError(
            f"{n_rejected} rows cannot be used: {_first_reasons(loaded.rejected)}",
            loaded.source,
            "fix them, or read without --strict",
        )
    if not loaded.samples:
        raise UserError(
            f"none of {n_rejected} rows can be used: {_first_reasons(loaded.rejected)}",
            loaded.source,
            f"name the columns with --map question=COL,reasoning=COL,answer=COL; they are {', '.join(loaded.columns)}"
            if loaded.columns
            else "fix the rows: each has to be one object or record with named columns (docs/data-formats.md)",
        )
    return loaded


def preview_dataset(
    source: str | Path, head: int = 20, map: dict[str, str] | None = None, choices: Choices | None = None
) -> LoadedDataset:
    """The first `head` rows, read as `load_dataset` reads them; rows without use are listed, and none is an error."""
    return _read(source, map, choices or Choices(), (None, head), None)


def _first_reasons(rejected: list[Rejection]) -> str:
    shown = "; ".join(f"row {item.row}: {item.reason}" for item in rejected[:SHOWN_REASONS])
    return f"{shown}; …" if len(rejected) > SHOWN_REASONS else shown


def _open(source: str | Path, split: str | None) -> tuple[RowSource, bool]:
    """The rows of a source, and whether it is a file."""
    name = str(source)
    if looks_like_hub_id(name):
        if split is not None and "@" in name:
            raise UserError("the id names a split already", f"{name} --split {split}", "leave one of them out")
        return iter_hub_rows(name if split is None else f"{name}@{split}"), False
    if is_saved_dataset(source):
        if split is not None:
            raise UserError("this folder holds one split", f"{name} --split {split}", "leave --split out")
        return iter_saved_rows(source), False
    if is_data_folder(source):
        return iter_folder_rows(source, split), False
    return iter_rows(source), True


def _read(
    source: str | Path,
    chosen: dict[str, str] | None,
    choices: Choices,
    most: tuple[int | None, int | None],
    on_progress: Callable[[int], None] | None,
) -> LoadedDataset:
    """`most` samples and rows are read."""
    name, (max_samples, max_rows) = str(source), most
    opened, is_file = _open(source, choices.split)
    digest = None if is_file else hashlib.sha256()
    # The hash frees the interpreter: on a second core it costs no time.
    with ThreadPoolExecutor(1) as aside, opened as rows, _no_collection():
        file_hash = aside.submit(compute_file_hash, source) if is_file else None
        mapping = _choose_mapping(rows, chosen, name)
        reader = _Reader(mapping, choices, is_file)
        for n_rows, (number, row) in enumerate(rows, start=1):
            if digest is not None and isinstance(row, dict):
                digest.update(_row_bytes(row))
            reader.add(number, row)
            if on_progress and n_rows % PROGRESS_ROWS == 0:
                on_progress(n_rows)
            if n_rows == max_rows or len(reader.samples) == max_samples:
                break
        if on_progress and reader.n_rows % PROGRESS_ROWS:
            on_progress(reader.n_rows)
        if not reader.n_rows:
            raise UserError("the source holds no rows", name, "give a file with at least one record")
        if is_file and choices.split is not None and not reader.splits[choices.split]:
            known = f"it has {', '.join(reader.splits)}" if reader.splits else "its records name none"
            raise UserError(f"there is no split {choices.split!r}", name, known)
        fields = {role: getattr(mapping, role) or "" for role in ("question", "reasoning", "answer", "id")}
        if not mapping.answer and any(sample.answer for sample in reader.samples):
            fields["answer"] = mapping.reasoning or ""
        fields["layout"] = mapping.layout
        if mapping.runner_up and mapping.runner_up not in fields.values():
            fields["runner_up"] = mapping.runner_up
        if reader.split_counts:
            fields["split"] = "; ".join(f"{mark} in {n} rows" for mark, n in reader.split_counts.most_common())
        if rows.encoding.removesuffix("-sig") != "utf-8":
            fields["encoding"] = rows.encoding
        return LoadedDataset(
            samples=reader.samples,
            rejected=reader.rejected,
            format=rows.format,
            fields=fields,
            columns=rows.columns,
            data_hash=file_hash.result() if file_hash else digest.hexdigest() if digest else "",
            source=name,
            notes=[*rows.notes, *reader.notes(), *_id_notes(mapping, rows.columns)],
            guesses=[
                {"what": mark, "rows": n, **reader.examples.get(mark, {})}
                for mark, n in reader.split_counts.most_common()
            ],
        )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's search for cycles: among millions of new objects that are all kept it costs a tenth of the time
    and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _choose_mapping(rows: RowSource, chosen: dict[str, str] | None, where: str) -> Mapping:
    head = _records(rows, GUESS_ROWS)
    chosen = chosen or {}
    guess, n_rows = guess_mapping(head), GUESS_ROWS
    if any(find_unknown(column, head) for column in chosen.values()):
        # A column may first appear late in the file; only the whole file shows that it does not exist.
        while len(rows.peek(n_rows)) == n_rows:
            n_rows *= 2
    return apply_map(guess, chosen, _records(rows, n_rows), where)


def _records(rows: RowSource, n_rows: int) -> list[dict[str, Any]]:
    return [row for _, row in rows.peek(n_rows) if isinstance(row, dict)]


def _id_notes(mapping: Mapping, columns: list[str]) -> list[str]:
    unused = [name for name in columns if name.lower() == "id"]
    if mapping.id or not unused:
        return []
    return [f"the column {unused[0]!r} does not tell the rows apart; they are called row-N and keep it in meta"]


def _row_bytes(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(to_plain(row, "row"), sort_keys=True).encode() + b"\n"
    except BadValue:
        return repr(sorted(row)).encode() + b"\n"


def _show(result: Sample | Rejection) -> str:
    """A sample in a line: the beginning of its reasoning, and its answer."""
    if isinstance(result, Rejection):
        return result.reason
    start = " ".join(result.reasoning[:SHOWN_CHARS].split())
    return f"{start}{' …' if len(result.reasoning) > SHOWN_CHARS else ''} → {result.answer[:40] or 'no answer'}"


class _Reader:
    """Collects samples and rejections, and makes ids distinct."""

    def __init__(self, mapping: Mapping, choices: Choices, is_file: bool):
        self.mapping, self.choices, self.is_file = mapping, choices, is_file
        self.splits: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.rejected: list[Rejection] = []
        self.split_counts: Counter[str] = Counter()
        self.examples: dict[str, dict[str, Any]] = {}
        self.n_rows = 0
        self._seen: dict[str, int] = {}
        self._repeated: list[int] = []
        self._unnamed: list[int] = []

    def add(self, number: int, row: dict[str, Any] | Rejection) -> None:
        self.n_rows += 1
        if isinstance(row, Rejection):
            self.rejected.append(row)
            return
        if self.is_file and isinstance(row.get("split"), str):
            self.splits[row["split"]] += 1
            if self.choices.split not in (None, row["split"]):
                return
        for turn, part in enumerate(self._list_turns(row), start=1):
            result = row_to_sample(
                part, number, self.mapping, self.split_counts, has_marks=self.choices.marks == "read"
            )
            for mark in self.split_counts.keys() - self.examples.keys():
                self.examples[mark] = {"row": number, "example": _show(result)}
            if not isinstance(result, Rejection) and turn > 1:
                result = replace(result, id=f"{result.id}/{turn}")
            self._keep(number, result)

    def _list_turns(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """The row, once for each turn that is to be a sample."""
        column = self.mapping.reasoning
        if self.choices.turns != "all" or column not in row:
            return [row]
        chat = parse_cell(row[column], is_chat)
        try:
            turns = list_turns(chat, column) if is_chat(chat) else []
        except BadValue:
            return [row]  # it is rejected with the reason
        return [{**row, column: turn} for turn in turns] or [row]

    def _keep(self, number: int, result: Sample | Rejection) -> None:
        if isinstance(result, Rejection):
            self.rejected.append(result)
            return
        if self.mapping.id and result.id == f"row-{number}":
            self._unnamed.append(number)
        self.samples.append(self._with_own_id(result, number))

    def _with_own_id(self, sample: Sample, number: int) -> Sample:
        """The sample, named ``ID~2``, ``ID~3``, … where its id was used before; meta then keeps the given id."""
        given = sample.id
        if given not in self._seen:
            self._seen[given] = 1
            return sample
        self._repeated.append(number)
        while True:
            self._seen[given] += 1
            name = f"{given}~{self._seen[given]}"
            if name not in self._seen:
                break
        self._seen[name] = 1
        return replace(sample, id=name, meta={**sample.meta, "given_id": sample.meta.get("given_id", given)})

    def notes(self) -> list[str]:
        notes = []
        if self._repeated:
            notes.append(
                f"{len(self._repeated)} rows repeat an id (first: row {self._repeated[0]}); "
                "they are called ID~2, ID~3, … and keep the id in meta.given_id"
            )
        if self._unnamed:
            notes.append(
                f"{len(self._unnamed)} rows have no usable id (first: row {self._unnamed[0]}); they are called row-N"
            )
        return notes
